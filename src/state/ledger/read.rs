//! Reading the ledger: every line checked against the one before, and a torn tail told from
//! damage.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::line::{
    Declaration, FORMAT_VERSION, Head, LINE_START, Line, MAX_LINE_BYTES, NOTHING_BEFORE, is_whole,
};
use super::segments::{Form, SegmentFile, is_about_content, list, path, plain_name};
use super::{LedgerId, Position};
use crate::domain::{AgentId, Digest, Timestamp};
use crate::plain::Plain;
use crate::state::error::StateError;
use crate::state::storage::Storage;

/// What a ledger holds, as `nightferry ledger verify` tells it.
#[derive(Clone, Debug)]
pub struct LedgerSummary {
    /// Which ledger.
    pub ledger: LedgerId,
    /// Who writes it.
    pub agent: AgentId,
    /// Records.
    pub records: u64,
    /// Segments that are there.
    pub segments: u32,
    /// The number of the oldest of them: those before it were older than the ledger is kept.
    pub oldest_segment: u32,
    /// Checkpoints that are there.
    pub checkpoints: u32,
    /// Bytes of all lines, a torn tail not counted. On the disk, sealed segments take less.
    pub bytes: u64,
    /// When the first record was written.
    pub first_at: Option<Timestamp>,
    /// When the last record was written.
    pub last_at: Option<Timestamp>,
    /// The SHA-256 of the last line: kept elsewhere, it proves that nothing before it changed.
    pub head: Digest,
    /// What stands behind the last whole line, if anything does.
    pub torn_tail: Option<TornTail>,
}

/// The rest of a write that never became durable: nothing in it was acknowledged. It is cut off
/// when the state is next opened. A process that is writing just now looks the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// The first line that is not whole, from 1.
    pub line: u64,
    /// The sequence of the record that it would have held.
    pub seq: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the file.
    pub bytes: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Where a walk through the ledger ended, and what it met.
#[derive(Clone, Debug)]
pub(in crate::state) struct Walk {
    pub(in crate::state) ledger: LedgerId,
    pub(in crate::state) agent: AgentId,
    /// The last segment.
    pub(in crate::state) segment: u32,
    /// Bytes of the last segment's whole lines.
    pub(in crate::state) length: u64,
    /// Where in the last segment the lines begin that no later line declares durable.
    pub(in crate::state) undeclared: u64,
    /// The last whole line.
    pub(in crate::state) end: Position,
    pub(in crate::state) torn: Option<TornTail>,
    bytes: u64,
    records: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

/// A line that a walk meets: a head as the place that it stands for, or a record.
#[derive(Debug)]
pub(in crate::state) struct Walked<'a> {
    /// The place of the line.
    pub(in crate::state) at: Position,
    /// Its record; none for a head.
    pub(in crate::state) line: Option<&'a Line>,
    /// The line as it stands in the ledger, without its line feed.
    pub(in crate::state) raw: &'a [u8],
}

/// From where a ledger is walked.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) enum Start {
    /// From its oldest segment.
    Oldest,
    /// From this segment.
    Segment(u32),
    /// From the segment that holds this record; the last one, where it lies beyond that.
    Record(u64),
}

/// Reads the segments of a ledger.
#[derive(Debug)]
pub(in crate::state) struct Reader<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
    /// All segments, in order and without a gap.
    files: Vec<SegmentFile>,
    /// The head of the last segment.
    last: Head,
}

impl<'a> Reader<'a> {
    /// Finds the segments, and reads the last one's head.
    ///
    /// `None` where there is no segment at all.
    pub(in crate::state) fn open(
        storage: &'a dyn Storage,
        folder: &'a Path,
    ) -> Result<Option<Self>, StateError> {
        let files = list(storage).map_err(StateError::io(folder))?;
        let (Some(oldest), Some(last)) = (files.first().copied(), files.last().copied()) else {
            return Ok(None);
        };
        let source = Source { storage, folder };
        for (expected, file) in (oldest.number..).zip(&files) {
            if file.number != expected {
                return Err(source.missing(expected));
            }
        }
        if last.form == Form::Compressed {
            // It was compressed only after the next one had begun.
            return Err(source.missing(last.number.saturating_add(1)));
        }
        let (head, _) = source.head(last)?;
        Ok(Some(Self { storage, folder, files, last: head }))
    }

    /// Says that a segment is missing.
    pub(in crate::state) fn missing(&self, number: u32) -> StateError {
        self.source().missing(number)
    }

    /// Which ledger this is.
    pub(in crate::state) const fn ledger(&self) -> LedgerId {
        self.last.ledger
    }

    /// The number of the oldest segment.
    pub(in crate::state) fn oldest_segment(&self) -> u32 {
        self.files.first().map_or(1, |file| file.number)
    }

    /// How many segments there are.
    pub(in crate::state) fn segments(&self) -> u32 {
        self.last.segment.saturating_sub(self.oldest_segment()).saturating_add(1)
    }

    /// The head of the oldest segment.
    pub(in crate::state) fn oldest_head(&self) -> Result<Head, StateError> {
        match self.files.first() {
            Some(file) => self.source().head(*file).map(|(head, _)| head),
            None => Err(self.source().missing(1)),
        }
    }

    /// The head of a segment; none where there is no such segment.
    pub(in crate::state) fn head_of(&self, number: u32) -> Result<Option<Head>, StateError> {
        let file = self.files.iter().find(|file| file.number == number);
        file.map(|file| self.source().head(*file).map(|(head, _)| head)).transpose()
    }

    /// Walks every line from a start to the end. Earlier segments are not looked at.
    pub(in crate::state) fn walk(
        &self,
        start: Start,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
    ) -> Result<Walk, StateError> {
        let mut state: Option<Walk> = None;
        for (file, head) in self.from(start)? {
            let rest = if head.segment == self.last.segment { Rest::Nothing } else { Rest::Segments };
            state = Some(self.segment(file, &head, state, rest, visit)?);
        }
        state.ok_or_else(|| self.source().missing(1))
    }

    /// Walks the lines of one segment.
    pub(in crate::state) fn walk_segment(
        &self,
        number: u32,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let Some(file) = self.files.iter().find(|file| file.number == number).copied() else {
            return Err(self.source().missing(number));
        };
        let (head, _) = self.source().head(file)?;
        let rest = if number == self.last.segment { Rest::Nothing } else { Rest::Segments };
        self.segment(file, &head, None, rest, visit).map(drop)
    }

    /// Walks the segments from the newest back, for as long as `more` wants the one before a head. The
    /// lines of each come in their order.
    pub(in crate::state) fn walk_back(
        &self,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
        more: &mut dyn FnMut(&Head) -> bool,
    ) -> Result<(), StateError> {
        let mut later: Option<(SegmentFile, Head)> = None;
        for file in self.files.iter().rev().copied() {
            let (head, _) = self.source().head(file)?;
            let rest = if later.is_none() { Rest::Nothing } else { Rest::Segments };
            let walk = self.segment(file, &head, None, rest, visit)?;
            if let Some((file, later)) = later
                && (later.ledger != head.ledger
                    || later.first.checked_sub(1) != Some(walk.end.seq)
                    || later.prev != walk.end.hash)
            {
                let reason = "the segment before it does not end where this one begins";
                return Err(self.source().damaged(file, 1, reason));
            }
            if !more(&head) {
                break;
            }
            later = Some((file, head));
        }
        Ok(())
    }

    /// The segments from a start on, with their heads.
    fn from(&self, start: Start) -> Result<Vec<(SegmentFile, Head)>, StateError> {
        let mut found: Vec<(SegmentFile, Head)> = Vec::new();
        let mut later = &self.last;
        for file in self.files.iter().rev() {
            if let Start::Segment(number) = start
                && file.number < number
            {
                break;
            }
            let (head, _) = self.source().head(*file)?;
            if head.ledger != later.ledger || head.first > later.first {
                return Err(self.source().misplaced(*file));
            }
            let reached = matches!(start, Start::Record(seq) if head.first <= seq.max(1));
            found.push((*file, head));
            if reached {
                found.reverse();
                return Ok(found);
            }
            later = found.last().map_or(&self.last, |(_, head)| head);
        }
        if let Start::Record(_) = start {
            return Err(self.source().missing(self.oldest_segment().saturating_sub(1)));
        }
        found.reverse();
        Ok(found)
    }

    /// Walks one segment.
    fn segment(
        &self,
        file: SegmentFile,
        head: &Head,
        before: Option<Walk>,
        rest: Rest,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
    ) -> Result<Walk, StateError> {
        let source = self.source();
        let (_, mut lines) = source.head(file)?;
        let mut walk = self.enter(file, head, before, &lines)?;
        visit(Walked { at: walk.end, line: None, raw: lines.content() })?;
        while let Some(raw) = lines.next().map_err(|error| source.trouble(file, lines.number, error))? {
            let bad = match raw {
                Raw::Whole => match self.follow(file, &mut walk, &lines)? {
                    Step::Taken(line) => {
                        walk.length = lines.offset;
                        visit(Walked { at: walk.end, line: Some(&line), raw: lines.content() })?;
                        continue;
                    }
                    Step::Misfit(reason) => return Err(source.damaged(file, lines.number, reason)),
                },
                Raw::Broken(reason) => reason,
            };
            if let Rest::Segments = rest {
                return Err(source.damaged(file, lines.number, bad));
            }
            walk.torn = Some(self.tail(file, &walk, lines, bad)?);
            break;
        }
        walk.bytes += walk.length;
        Ok(walk)
    }

    /// Begins a segment: its head must follow the segment before.
    fn enter(
        &self,
        file: SegmentFile,
        head: &Head,
        before: Option<Walk>,
        lines: &Lines,
    ) -> Result<Walk, StateError> {
        let end = Position { ledger: head.ledger.0, seq: head.first.saturating_sub(1), hash: lines.hash() };
        let Some(before) = before else {
            return Ok(Walk {
                ledger: head.ledger,
                agent: head.agent,
                segment: head.segment,
                length: lines.offset,
                undeclared: lines.offset,
                end,
                torn: None,
                bytes: 0,
                records: 0,
                first_at: None,
                last_at: None,
            });
        };
        if before.end.seq != end.seq {
            let reason = format!("expects record {}, but {} are before it", head.first, before.end.seq);
            return Err(self.source().damaged(file, 1, reason));
        }
        if before.end.hash != head.prev {
            let reason = "the last line of the segment before was changed";
            return Err(self.source().damaged(file, 1, reason));
        }
        let (length, undeclared) = (lines.offset, lines.offset);
        Ok(Walk { segment: head.segment, length, undeclared, end, ..before })
    }

    /// Takes a whole line, if it follows the one before.
    fn follow(&self, file: SegmentFile, walk: &mut Walk, lines: &Lines) -> Result<Step, StateError> {
        let line: Line = self.source().parse(file, lines)?;
        if line.prev != walk.end.hash {
            return Ok(Step::Misfit("the line before it was changed or taken away".to_owned()));
        }
        if walk.end.seq.checked_add(1) != Some(line.seq) {
            return Ok(Step::Misfit(format!("has number {} after {}", line.seq, walk.end.seq)));
        }
        match line.durable {
            Some(durable) if durable != walk.end.seq => {
                return Ok(Step::Misfit(format!("declares {durable} durable after {}", walk.end.seq)));
            }
            Some(_) => walk.undeclared = walk.length,
            None => {}
        }
        walk.end = Position { seq: line.seq, hash: lines.hash(), ..walk.end };
        walk.records += 1;
        walk.first_at = walk.first_at.or(Some(line.at));
        walk.last_at = Some(line.at);
        Ok(Step::Taken(Box::new(line)))
    }

    /// Judges what stands behind the last good line: a torn tail, unless a later line declares
    /// it durable.
    fn tail(
        &self,
        file: SegmentFile,
        walk: &Walk,
        mut lines: Lines,
        reason: String,
    ) -> Result<TornTail, StateError> {
        let (number, seq) = (lines.number, walk.end.seq.saturating_add(1));
        loop {
            if whole_end(lines.content()).is_some_and(|line| declares(line, seq)) {
                return Err(self.source().damaged(file, number, reason));
            }
            if lines.next().map_err(|error| self.source().trouble(file, number, error))?.is_none() {
                break;
            }
        }
        Ok(TornTail {
            file: path(self.folder, file),
            line: number,
            seq,
            offset: walk.length,
            bytes: lines.offset.saturating_sub(walk.length),
            reason,
        })
    }

    const fn source(&self) -> Source<'a> {
        Source { storage: self.storage, folder: self.folder }
    }
}

/// Where segments are read, and what is wrong with them.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
}

impl Source<'_> {
    /// Reads and checks the head of a segment.
    fn head(&self, file: SegmentFile) -> Result<(Head, Lines), StateError> {
        let input = file.open(self.storage).map_err(StateError::io(path(self.folder, file)))?;
        let mut lines = Lines::new(input);
        match lines.next().map_err(|error| self.trouble(file, 1, error))? {
            Some(Raw::Whole) => {}
            Some(Raw::Broken(reason)) => return Err(self.damaged(file, 1, reason)),
            None => return Err(self.damaged(file, 1, "the file is empty")),
        }
        let head: Head = self.parse(file, &lines)?;
        if head.nightferry_ledger != FORMAT_VERSION {
            let reason = format!("format version {}", head.nightferry_ledger);
            return Err(StateError::Newer { file: path(self.folder, file), line: 1, reason });
        }
        let begins = head.first == 1 && head.prev == NOTHING_BEFORE;
        if head.segment != file.number || begins != (file.number == 1) {
            return Err(self.misplaced(file));
        }
        Ok((head, lines))
    }

    /// Understands a whole line.
    fn parse<T: DeserializeOwned>(&self, file: SegmentFile, lines: &Lines) -> Result<T, StateError> {
        serde_json::from_slice(lines.content()).map_err(|error| StateError::Newer {
            file: path(self.folder, file),
            line: lines.number,
            reason: error.to_string(),
        })
    }

    /// A segment that cannot be read: what it holds is bad, or the system says no.
    fn trouble(&self, file: SegmentFile, line: u64, error: std::io::Error) -> StateError {
        match file.form {
            Form::Compressed if is_about_content(&error) => {
                self.damaged(file, line, format!("its compression is damaged: {}", Plain(&error)))
            }
            Form::Plain | Form::Compressed => StateError::io(path(self.folder, file))(error),
        }
    }

    fn misplaced(&self, file: SegmentFile) -> StateError {
        self.damaged(file, 1, "it belongs to another ledger or another place in it")
    }

    fn missing(&self, number: u32) -> StateError {
        let (file, reason) = (self.folder.join(plain_name(number)), "the segment is missing".to_owned());
        StateError::Damaged { file, line: 1, reason, remedy: StateError::REMEDY }
    }

    fn damaged(&self, file: SegmentFile, line: u64, reason: impl Into<String>) -> StateError {
        let (file, reason) = (path(self.folder, file), reason.into());
        StateError::Damaged { file, line, reason, remedy: StateError::REMEDY }
    }
}

impl Walk {
    /// What was met, in a walk from the oldest segment.
    pub(in crate::state) fn summary(self, reader: &Reader<'_>, checkpoints: u32) -> LedgerSummary {
        LedgerSummary {
            ledger: self.ledger,
            agent: self.agent,
            records: self.records,
            segments: reader.segments(),
            oldest_segment: reader.oldest_segment(),
            checkpoints,
            bytes: self.bytes,
            first_at: self.first_at,
            last_at: self.last_at,
            head: self.end.hash,
            torn_tail: self.torn,
        }
    }
}

/// The whole line with which some bytes end: where a line feed was damaged, it does not stand
/// alone.
fn whole_end(bytes: &[u8]) -> Option<&[u8]> {
    let starts = bytes.windows(LINE_START.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == LINE_START).map(|(at, _)| at);
    starts.filter_map(|at| bytes.get(at..)).find(|line| is_whole(line))
}

/// Whether a whole line says that record `seq` was durable when it was written.
fn declares(line: &[u8], seq: u64) -> bool {
    serde_json::from_slice::<Declaration>(line)
        .is_ok_and(|declared| declared.durable.is_some_and(|durable| durable >= seq))
}

/// What follows a segment.
#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    Segments,
}

enum Step {
    Taken(Box<Line>),
    Misfit(String),
}

enum Raw {
    Whole,
    Broken(String),
}

/// The lines of one file, of bounded length.
struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
    /// The number of the line in the buffer, from 1.
    number: u64,
    /// Where the line in the buffer ends in the file.
    offset: u64,
}

impl Lines {
    fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input: BufReader::new(input), buffer: Vec::new(), number: 0, offset: 0 }
    }

    /// Reads a line into the buffer; a longer one than can be is taken in pieces. `None` at the
    /// end.
    fn next(&mut self) -> std::io::Result<Option<Raw>> {
        self.buffer.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let count = self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?;
        self.offset += u64::try_from(count).unwrap_or(u64::MAX);
        self.number += 1;
        if count == 0 {
            return Ok(None);
        }
        if self.buffer.last() != Some(&b'\n') {
            return Ok(Some(Raw::Broken("the line is not complete".to_owned())));
        }
        if !is_whole(self.content()) {
            return Ok(Some(Raw::Broken("the line does not match its checksum".to_owned())));
        }
        Ok(Some(Raw::Whole))
    }

    /// The line without its line feed.
    fn content(&self) -> &[u8] {
        self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer)
    }

    fn hash(&self) -> Digest {
        Digest::of(self.content())
    }
}
