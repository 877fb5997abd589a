//! Writing the ledger: groups of records, durable before anybody is told.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{ENVELOPE_BYTES, Envelope, FORMAT_VERSION, Head, MAX_LINE_BYTES, NOTHING_BEFORE};
use super::read::{TornTail, Walk};
use super::segments::{plain_name, remove_if_there};
use super::{LedgerId, Position};
use crate::domain::{AgentId, Record, TargetId, Timestamp};
use crate::state::error::StateError;
use crate::state::storage::{Append, Storage};

/// A segment that has grown this long is sealed, and the next one begun: small enough that the last one
/// is read and checked at every start in a tenth of a second, large enough that years make some thousand
/// files at most.
pub(in crate::state) const SEGMENT_BYTES: u64 = 16 << 20;
/// Most bytes of records in one commit: they wait in memory.
const MAX_COMMIT_BYTES: usize = 16 << 20;
/// What a segment is called until its head is durable.
const UNFINISHED: &str = "segment.new";
/// How many torn tails of one record are kept apart before opening gives up.
const MAX_TORN_TAILS: u32 = 1_000;

/// A record to be written, with its JSON.
#[derive(Debug)]
pub(in crate::state) struct Draft {
    /// The manifest that it is about.
    pub(in crate::state) target: Option<TargetId>,
    pub(in crate::state) record: Record,
    pub(in crate::state) json: String,
}

impl Draft {
    /// Writes a record's JSON; refuses one that makes too long a line.
    pub(in crate::state) fn new(target: Option<TargetId>, record: Record) -> Result<Self, StateError> {
        let json = serde_json::to_string(&record).map_err(|error| StateError::io("")(error.into()))?;
        let limit = MAX_LINE_BYTES - ENVELOPE_BYTES;
        if json.len() > limit {
            return Err(StateError::TooLarge { bytes: json.len(), limit });
        }
        Ok(Self { target, record, json })
    }

    /// The drafts of a commit.
    pub(in crate::state) fn all(target: TargetId, records: Vec<Record>) -> Result<Vec<Self>, StateError> {
        let drafts: Vec<Self> =
            records.into_iter().map(|record| Self::new(Some(target), record)).collect::<Result<_, _>>()?;
        let bytes = drafts.iter().map(Self::bytes).sum();
        if bytes > MAX_COMMIT_BYTES {
            return Err(StateError::TooLarge { bytes, limit: MAX_COMMIT_BYTES });
        }
        Ok(drafts)
    }

    /// How many bytes its line has, about.
    pub(in crate::state) const fn bytes(&self) -> usize {
        self.json.len() + ENVELOPE_BYTES
    }
}

/// A record that is durable.
#[derive(Debug)]
pub(in crate::state) struct Written {
    pub(in crate::state) seq: u64,
    pub(in crate::state) at: Timestamp,
    /// The manifest that it is about.
    pub(in crate::state) target: Option<TargetId>,
    pub(in crate::state) record: Record,
}

/// Whether a group began a new segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Segment {
    Same,
    New,
}

/// The end of the ledger, to be written on.
#[derive(Debug)]
pub(in crate::state) struct Ledger {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    id: LedgerId,
    agent: AgentId,
    segment_bytes: u64,
    file: Box<dyn Append>,
    segment: u32,
    length: u64,
    end: Position,
}

impl Ledger {
    /// Begins a ledger. Its first segment is durable when this returns.
    pub(in crate::state) fn begin(
        storage: &dyn Storage,
        folder: &Path,
        id: LedgerId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let head = Head {
            nightferry_ledger: FORMAT_VERSION,
            ledger: id,
            agent,
            segment: 1,
            first: 1,
            prev: NOTHING_BEFORE,
            at: now,
        };
        begin_segment(storage, folder, &head).map(drop)
    }

    /// Takes up a ledger where a walk ended. A torn tail is cut off and kept in a file of its
    /// own. What no line declares durable yet is written over with the same bytes and synced:
    /// after a failed sync a page counts as clean though it never reached the disk.
    pub(in crate::state) fn resume(
        storage: Arc<dyn Storage>,
        folder: &Path,
        walk: &Walk,
        segment_bytes: u64,
    ) -> Result<(Self, Option<PathBuf>), StateError> {
        let name = plain_name(walk.segment);
        let error = || StateError::io(folder.join(&name));
        let mut file = storage.append(&name).map_err(error())?;
        let kept = match &walk.torn {
            None => None,
            Some(torn) => Some(keep_torn(&*storage, folder, &name, torn)?),
        };
        let mut settle = || {
            let tail = section(&*storage, &name, walk.undeclared, walk.length)?;
            file.truncate(walk.length)?;
            file.rewrite(walk.undeclared, &tail)?;
            file.sync()?;
            // A process that was killed may have left its name, and the folder's, unsynced.
            storage.sync_names()?;
            if walk.end.seq == 0 { storage.sync_home() } else { Ok(()) }
        };
        settle().map_err(error())?;
        let ledger = Self {
            storage,
            folder: folder.to_owned(),
            id: walk.ledger,
            agent: walk.agent,
            segment_bytes,
            file,
            segment: walk.segment,
            length: walk.length,
            end: walk.end,
        };
        Ok((ledger, kept))
    }

    /// The last durable line.
    pub(in crate::state) const fn end(&self) -> Position {
        self.end
    }

    /// The segment that is written.
    pub(in crate::state) const fn segment(&self) -> u32 {
        self.segment
    }

    /// Who writes it.
    pub(in crate::state) const fn agent(&self) -> AgentId {
        self.agent
    }

    /// Writes a group and returns when it is durable. After an error nothing of the group counts
    /// as written, and the ledger must not be written on.
    pub(in crate::state) fn append(
        &mut self,
        at: Timestamp,
        drafts: Vec<Draft>,
    ) -> Result<(Vec<Written>, Segment), StateError> {
        let segment = self.seal_if_full(at)?;
        let mut bytes = Vec::new();
        let mut written = Vec::with_capacity(drafts.len());
        let mut end = self.end;
        let mut durable = Some(end.seq);
        for Draft { target, record, json } in drafts {
            end.seq += 1;
            let envelope = Envelope { seq: end.seq, prev: end.hash, at, durable: durable.take(), target };
            end.hash = envelope.write(&json, &mut bytes);
            written.push(Written { seq: end.seq, at, target, record });
        }
        if let Err(error) = self.file.append(&bytes).and_then(|()| self.file.sync()) {
            // As far as it can be done: what is left over is refused or cut when it is opened.
            let cut = self.file.truncate(self.length).and_then(|()| self.file.sync());
            drop(cut);
            return Err(StateError::io(self.folder.join(plain_name(self.segment)))(error));
        }
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.end = end;
        Ok((written, segment))
    }

    fn seal_if_full(&mut self, now: Timestamp) -> Result<Segment, StateError> {
        if self.length < self.segment_bytes {
            return Ok(Segment::Same);
        }
        let head = Head {
            nightferry_ledger: FORMAT_VERSION,
            ledger: self.id,
            agent: self.agent,
            segment: self.segment + 1,
            first: self.end.seq + 1,
            prev: self.end.hash,
            at: now,
        };
        let begun = begin_segment(&*self.storage, &self.folder, &head)?;
        self.file = begun.file;
        self.length = begun.length;
        self.segment = head.segment;
        self.end.hash = begun.hash;
        Ok(Segment::New)
    }
}

struct Begun {
    file: Box<dyn Append>,
    length: u64,
    hash: crate::domain::Digest,
}

/// Makes a segment that appears under its name only with a whole and durable head.
fn begin_segment(storage: &dyn Storage, folder: &Path, head: &Head) -> Result<Begun, StateError> {
    let name = plain_name(head.segment);
    let mut bytes = Vec::new();
    let mut begin = || -> io::Result<Begun> {
        let hash = head.write(&mut bytes)?;
        remove_if_there(storage, UNFINISHED)?;
        let mut file = storage.create(UNFINISHED)?;
        file.append(&bytes)?;
        file.sync()?;
        storage.rename(UNFINISHED, &name)?;
        storage.sync_names()?;
        Ok(Begun { file, length: u64::try_from(bytes.len()).unwrap_or(u64::MAX), hash })
    };
    begin().map_err(StateError::io(folder.join(name)))
}

/// Copies a torn tail into a file of its own, so that nothing is lost in silence.
fn keep_torn(
    storage: &dyn Storage,
    folder: &Path,
    segment: &str,
    torn: &TornTail,
) -> Result<PathBuf, StateError> {
    let base = format!("{segment}.torn-{}", torn.seq);
    let taken = storage.names().map_err(StateError::io(folder))?;
    let name = (1..MAX_TORN_TAILS)
        .map(|number| if number == 1 { base.clone() } else { format!("{base}-{number}") })
        .find(|name| !taken.contains(name))
        .unwrap_or(base);
    let copy = || -> io::Result<()> {
        let mut file = storage.create(&name)?;
        let mut input = skip(storage, segment, torn.offset)?;
        let mut piece = vec![0; 1 << 16];
        loop {
            match input.read(&mut piece)? {
                0 => break,
                count => file.append(piece.get(..count).unwrap_or_default())?,
            }
        }
        file.sync()?;
        storage.sync_names()
    };
    copy().map_err(StateError::io(folder.join(&name)))?;
    Ok(folder.join(name))
}

/// The bytes of a file from one offset to another.
fn section(storage: &dyn Storage, name: &str, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    skip(storage, name, from)?.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn skip(storage: &dyn Storage, name: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut input = storage.read(name)?;
    io::copy(&mut input.by_ref().take(offset), &mut io::sink())?;
    Ok(input)
}
