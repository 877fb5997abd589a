//! Reading the ledger: every line checked against the one before, and a torn tail told from
//! damage.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::line::{
    Declaration, FORMAT_VERSION, Head, LINE_START, Line, MAX_LINE_BYTES, NOTHING_BEFORE, is_whole,
};
use super::{LedgerId, Position, segment_name};
use crate::domain::{AgentId, Digest, Timestamp};
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
    /// Segment files.
    pub segments: u32,
    /// Bytes of all segments, a torn tail not counted.
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
}

/// Reads the segments of a ledger.
#[derive(Debug)]
pub(in crate::state) struct Reader<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
    /// The heads of all segments, in order.
    heads: Vec<Head>,
}

impl<'a> Reader<'a> {
    /// Finds the segments and checks that their heads make one ledger.
    ///
    /// `None` where there is no segment at all.
    pub(in crate::state) fn open(
        storage: &'a dyn Storage,
        folder: &'a Path,
    ) -> Result<Option<Self>, StateError> {
        let names = storage.names().map_err(StateError::io(folder))?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".jsonl"))
            .filter(|digits| digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .filter_map(|digits| digits.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut reader = Self { storage, folder, heads: Vec::new() };
        for (expected, number) in (1..).zip(numbers) {
            if number != expected {
                return Err(reader.damaged(expected, 1, "the segment is missing"));
            }
            let (head, _) = reader.head(number)?;
            reader.heads.push(head);
        }
        Ok(if reader.heads.is_empty() { None } else { Some(reader) })
    }

    /// Which ledger this is.
    pub(in crate::state) fn ledger(&self) -> Option<LedgerId> {
        self.heads.first().map(|head| head.ledger)
    }

    /// Walks every line from the segment that holds record `seq` (the last segment, where `seq`
    /// lies beyond it) to the end. Earlier segments are taken by their heads.
    pub(in crate::state) fn walk(
        &self,
        seq: u64,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
    ) -> Result<Walk, StateError> {
        let from = self.heads.iter().rposition(|head| head.first <= seq.max(1)).unwrap_or(0);
        let mut state: Option<Walk> = None;
        for (at, head) in self.heads.iter().enumerate().skip(from) {
            let rest = if at + 1 == self.heads.len() { Rest::Nothing } else { Rest::Segments };
            state = Some(self.segment(head, state, rest, visit)?);
        }
        state.ok_or_else(|| self.damaged(1, 1, "the segment is missing"))
    }

    /// Walks one segment.
    fn segment(
        &self,
        head: &Head,
        before: Option<Walk>,
        rest: Rest,
        visit: &mut dyn FnMut(Walked<'_>) -> Result<(), StateError>,
    ) -> Result<Walk, StateError> {
        let (_, mut lines) = self.head(head.segment)?;
        let mut walk = self.enter(head, before, &lines)?;
        visit(Walked { at: walk.end, line: None })?;
        while let Some(raw) = lines.next().map_err(StateError::io(self.path(head.segment)))? {
            let bad = match raw {
                Raw::Whole => match self.follow(&mut walk, &lines)? {
                    Step::Taken(line) => {
                        walk.length = lines.offset;
                        visit(Walked { at: walk.end, line: Some(&line) })?;
                        continue;
                    }
                    Step::Misfit(reason) => {
                        return Err(self.damaged(head.segment, lines.number, reason));
                    }
                },
                Raw::Broken(reason) => reason,
            };
            if let Rest::Segments = rest {
                return Err(self.damaged(head.segment, lines.number, bad));
            }
            walk.torn = Some(self.tail(&walk, lines, bad)?);
            break;
        }
        walk.bytes += walk.length;
        Ok(walk)
    }

    /// Begins a segment: its head must follow the segment before.
    fn enter(&self, head: &Head, before: Option<Walk>, lines: &Lines) -> Result<Walk, StateError> {
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
            return Err(self.damaged(head.segment, 1, reason));
        }
        if before.end.hash != head.prev {
            return Err(self.damaged(head.segment, 1, "the last line of the segment before was changed"));
        }
        let (length, undeclared) = (lines.offset, lines.offset);
        Ok(Walk { segment: head.segment, length, undeclared, end, ..before })
    }

    /// Takes a whole line, if it follows the one before.
    fn follow(&self, walk: &mut Walk, lines: &Lines) -> Result<Step, StateError> {
        let line: Line = self.parse(walk.segment, lines)?;
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
    fn tail(&self, walk: &Walk, mut lines: Lines, reason: String) -> Result<TornTail, StateError> {
        let (number, seq) = (lines.number, walk.end.seq.saturating_add(1));
        let io = || StateError::io(self.path(walk.segment));
        loop {
            if whole_end(lines.content()).is_some_and(|line| declares(line, seq)) {
                return Err(self.damaged(walk.segment, number, reason));
            }
            if lines.next().map_err(io())?.is_none() {
                break;
            }
        }
        Ok(TornTail {
            file: self.path(walk.segment),
            line: number,
            seq,
            offset: walk.length,
            bytes: lines.offset.saturating_sub(walk.length),
            reason,
        })
    }

    /// Reads and checks the head of a segment.
    fn head(&self, number: u32) -> Result<(Head, Lines), StateError> {
        let path = self.path(number);
        let input = self.storage.read(&segment_name(number)).map_err(StateError::io(&path))?;
        let mut lines = Lines::new(input);
        match lines.next().map_err(StateError::io(&path))? {
            Some(Raw::Whole) => {}
            Some(Raw::Broken(reason)) => return Err(self.damaged(number, 1, reason)),
            None => return Err(self.damaged(number, 1, "the file is empty")),
        }
        let head: Head = self.parse(number, &lines)?;
        if head.nightferry_ledger != FORMAT_VERSION {
            let reason = format!("format version {}", head.nightferry_ledger);
            return Err(StateError::Newer { file: path, line: 1, reason });
        }
        let before = self.heads.last();
        let fits = match before {
            None => head.first == 1 && head.prev == NOTHING_BEFORE,
            Some(before) => head.ledger == before.ledger && head.first >= before.first,
        };
        if head.segment != number || (number as usize == self.heads.len() + 1 && !fits) {
            return Err(self.damaged(number, 1, "it belongs to another ledger or another place in it"));
        }
        Ok((head, lines))
    }

    /// Understands a whole line.
    fn parse<T: DeserializeOwned>(&self, segment: u32, lines: &Lines) -> Result<T, StateError> {
        serde_json::from_slice(lines.content()).map_err(|error| StateError::Newer {
            file: self.path(segment),
            line: lines.number,
            reason: error.to_string(),
        })
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(segment_name(number))
    }

    fn damaged(&self, segment: u32, line: u64, reason: impl Into<String>) -> StateError {
        let (file, reason) = (self.path(segment), reason.into());
        StateError::Damaged { file, line, reason, remedy: StateError::REMEDY }
    }
}

impl Walk {
    /// What was met, in a walk from the beginning.
    pub(in crate::state) fn summary(self) -> LedgerSummary {
        LedgerSummary {
            ledger: self.ledger,
            agent: self.agent,
            records: self.records,
            segments: self.segment,
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
