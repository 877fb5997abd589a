//! Reading a ledger as it stands, without the lock and without changing anything: all of it
//! checked, or record by record.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::{self, Soundness};
use super::error::StateError;
use super::ledger::{LedgerSummary, Reader, Start, Walked};
use super::open::ledger_folder;
use super::storage::{Disk, Storage};
use crate::domain::{Record, Timestamp};

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
