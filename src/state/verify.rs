//! Reading a ledger as it stands, without the lock and without changing anything: all of it
//! checked, or record by record.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::{self, Soundness};
use super::error::StateError;
use super::ledger::{Head, LedgerSummary, Reader, Start, Walked};
use super::open::ledger_folder;
use super::storage::{Disk, Storage};
use crate::domain::{Record, RunId, Timestamp};

/// A record of a ledger, and the line in which it stands.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLine<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// What it tells.
    pub record: &'a Record,
    /// The line as it stands there, without its line feed: JSON. Its SHA-256 is the `prev` of the
    /// next one.
    pub text: &'a str,
}

/// Reads a ledger from its oldest line to its last, sealed segments and checkpoints included, in
/// constant memory.
///
/// A process that writes to it meanwhile can make it look as if it had a torn tail.
pub fn verify_ledger(folder: &Path) -> Result<LedgerSummary, StateError> {
    let folder = ledger_folder(folder);
    verify_on(&Disk::new(&folder), &folder)
}

/// Hands over every record of a ledger, oldest first, checked like [`verify_ledger`]; but for the
/// checkpoints, which hold no records. Ends at a torn tail.
pub fn read_ledger(folder: &Path, visit: &mut dyn FnMut(LedgerLine<'_>)) -> Result<(), StateError> {
    let folder = ledger_folder(folder);
    let disk = Disk::new(&folder);
    let reader = reader(&disk, &folder)?;
    let mut take = |walked: Walked<'_>| {
        if let (Some(line), Ok(text)) = (walked.line, std::str::from_utf8(walked.raw)) {
            visit(LedgerLine { at: line.at, record: &line.event, text });
        }
        Ok(())
    };
    reader.walk(Start::Oldest, &mut take).map(drop)
}

/// Whoever reads a ledger from its newest segment back.
pub trait Backward {
    /// Takes in a record. Those of one segment come oldest first.
    fn record(&mut self, line: LedgerLine<'_>);

    /// Takes note that all of a segment has come, which began then. Says whether the one before is
    /// wanted.
    fn segment(&mut self, begun: Timestamp) -> Further;
}

/// Whether more of a ledger is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// The segment before.
    Older,
    /// What was read will do.
    Enough,
}

/// Hands over a ledger's records, the newest segment first, until there is enough: what is older is
/// not even opened. What is read is checked like [`read_ledger`] does.
pub fn read_ledger_back(folder: &Path, reading: &mut dyn Backward) -> Result<(), StateError> {
    let folder = ledger_folder(folder);
    read_back_on(&Disk::new(&folder), &folder, reading)
}

/// Reads a ledger that lies in `storage` back.
pub(super) fn read_back_on(
    storage: &dyn Storage,
    folder: &Path,
    reading: &mut dyn Backward,
) -> Result<(), StateError> {
    let reading = RefCell::new(reading);
    let mut take = |walked: Walked<'_>| {
        if let (Some(line), Ok(text)) = (walked.line, std::str::from_utf8(walked.raw)) {
            reading.borrow_mut().record(LedgerLine { at: line.at, record: &line.event, text });
        }
        Ok(())
    };
    let mut more = |head: &Head| reading.borrow_mut().segment(head.at) == Further::Older;
    reader(storage, folder)?.walk_back(&mut take, &mut more)
}

/// Hands over the records of one run in their order, checked like [`read_ledger`] does. Reads back to the
/// segment in which the run began, then forth from there, and holds none of them: a run can have millions.
/// What is older is not even opened.
pub fn read_run(folder: &Path, run: RunId, visit: &mut dyn FnMut(LedgerLine<'_>)) -> Result<(), StateError> {
    let folder = ledger_folder(folder);
    let disk = Disk::new(&folder);
    let reader = reader(&disk, &folder)?;
    let (first, mut start) = (Cell::new(None), Start::Oldest);
    let mut look = |walked: Walked<'_>| {
        if let Some(Record::RunStarted(started)) = walked.line.map(|line| &line.event) {
            first.set(first.get().or(Some(started.run)));
        }
        Ok(())
    };
    // Runs begin in the order of their numbers: where an earlier one began, this one did as well, or later.
    let mut more = |head: &Head| {
        let is_reached = first.take().is_some_and(|first| first <= run);
        if is_reached {
            start = Start::Segment(head.segment);
        }
        !is_reached
    };
    reader.walk_back(&mut look, &mut more)?;
    let mut take = |walked: Walked<'_>| {
        if let (Some(line), Ok(text)) = (walked.line, std::str::from_utf8(walked.raw))
            && line.event.run() == Some(run)
        {
            visit(LedgerLine { at: line.at, record: &line.event, text });
        }
        Ok(())
    };
    reader.walk(start, &mut take).map(drop)
}

/// Reads a ledger that lies in `storage`.
pub(super) fn verify_on(storage: &dyn Storage, folder: &Path) -> Result<LedgerSummary, StateError> {
    let reader = reader(storage, folder)?;
    let oldest = reader.oldest_head()?;
    let mut is_vouched_for = oldest.segment == 1;
    let mut recorded = BTreeMap::new();
    let walk = reader.walk(Start::Oldest, &mut |walked| {
        match walked.line.map(|line| &line.event) {
            Some(Record::Expired(expired)) => {
                let is_before = expired.segment.saturating_add(1) == oldest.segment
                    && expired.seq.saturating_add(1) == oldest.first
                    && expired.line == oldest.prev;
                is_vouched_for |= is_before || expired.segment >= oldest.segment;
            }
            Some(Record::Checkpoint(made)) => drop(recorded.insert(made.segment, made.clone())),
            _ => {}
        }
        Ok(())
    })?;
    if !is_vouched_for {
        return Err(reader.missing(oldest.segment.saturating_sub(1)));
    }
    let mut whole = 0;
    for made in recorded.values() {
        match checkpoint::look_at(storage, made).map_err(StateError::io(folder))? {
            Soundness::Whole => whole += 1,
            Soundness::Missing => {}
            Soundness::Damaged => {
                return Err(StateError::BadCheckpoint { file: folder.join(checkpoint::name(made.segment)) });
            }
        }
    }
    if whole == 0 && oldest.segment > 1 {
        return Err(StateError::NoCheckpoint { folder: folder.to_owned() });
    }
    Ok(walk.summary(&reader, whole))
}

fn reader<'a>(storage: &'a dyn Storage, folder: &'a Path) -> Result<Reader<'a>, StateError> {
    let missing = || StateError::LedgerMissing { folder: folder.to_owned() };
    Reader::open(storage, folder)?.ok_or_else(missing)
}
