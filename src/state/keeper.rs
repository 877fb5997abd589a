//! Looking after the ledger's folder: sealed segments are compressed, checkpoints made, and what
//! is older than the ledger is kept taken away.
//!
//! It works on the writer's thread, between groups, when a segment was sealed and after opening:
//! whoever commits meanwhile waits some seconds, about once in a hundred thousand records. What
//! fails here loses nothing, and is tried again the next time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::{self, Place, Soundness};
use super::error::StateError;
use super::ledger::{Draft, Form, Ledger, Reader, SEGMENT_BYTES, Segment, compress, list, remove_up_to};
use super::manifest::Store;
use super::storage::Storage;
use crate::domain::{Checkpoint, Expired, Record, Timestamp};

/// How much of the ledger is kept, and in which pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// How long a segment grows, in bytes.
    pub(super) segment_bytes: u64,
    /// How long records are kept at least.
    pub(super) retain: Duration,
}

/// How long records are kept where nothing else is said: six years, as 45 CFR 164.316(b)(2)(i)
/// asks of documentation.
pub const DEFAULT_RETAIN: Duration = Duration::from_hours(6 * 366 * 24);

impl Default for Keeping {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, retain: DEFAULT_RETAIN }
    }
}

/// Looks after the folder of one ledger.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) folder: PathBuf,
    pub(super) retain: Duration,
}

/// What went wrong on the way.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A record could not be committed: nothing more may be.
    Fatal(StateError),
    /// Something was not done that can be done later.
    Passing(StateError),
}

impl Keeper {
    /// Does what is due.
    pub(super) fn keep(&self, ledger: &mut Ledger, store: &mut Store, now: Timestamp) -> Result<(), Trouble> {
        self.compress(ledger).map_err(Trouble::Passing)?;
        if self.is_checkpoint_due(ledger).map_err(Trouble::Passing)? {
            let agent = ledger.agent();
            let place = Place { end: ledger.end(), segment: ledger.segment().0, agent, at: now };
            let made = checkpoint::write(&*self.storage, &self.folder, place, store);
            let made = made.map_err(Trouble::Passing)?;
            commit(ledger, store, now, Record::Checkpoint(made)).map_err(Trouble::Fatal)?;
            checkpoint::prune(&*self.storage).map_err(|error| Trouble::Passing(self.io(error)))?;
        }
        if let Some(expired) = self.expired(ledger, now).map_err(Trouble::Passing)? {
            let last = expired.segment;
            commit(ledger, store, now, Record::Expired(expired)).map_err(Trouble::Fatal)?;
            remove_up_to(&*self.storage, &self.folder, last).map_err(Trouble::Passing)?;
        }
        Ok(())
    }

    /// Compresses the segments that were sealed.
    fn compress(&self, ledger: &Ledger) -> Result<(), StateError> {
        let (current, _) = ledger.segment();
        let files = list(&*self.storage).map_err(|error| self.io(error))?;
        let sealed = files.iter().filter(|file| file.form == Form::Plain && file.number < current);
        sealed.into_iter().try_for_each(|file| compress(&*self.storage, &self.folder, file.number))
    }

    /// Whether the segments sealed since the last checkpoint weigh as much as it does: so all of
    /// them together cost no more than the ledger itself, and a rebuild reads at most about twice
    /// the checkpoint's size of records.
    fn is_checkpoint_due(&self, ledger: &Ledger) -> Result<bool, StateError> {
        let weigh = || -> io::Result<bool> {
            let (current, _) = ledger.segment();
            let made = checkpoint::list(&*self.storage)?;
            let newest = made.into_iter().rfind(|number| *number <= current);
            let files = list(&*self.storage)?;
            let since = |number: u32| number < current && number >= newest.unwrap_or(0);
            let sizes =
                files.iter().filter(|file| since(file.number)).map(|file| self.storage.size(&file.name()));
            let sizes: Vec<u64> = sizes.collect::<Result<_, _>>()?;
            let last = newest.map_or(Ok(0), |newest| self.storage.size(&checkpoint::name(newest)))?;
            Ok(!sizes.is_empty() && sizes.iter().sum::<u64>() >= last)
        };
        weigh().map_err(|error| self.io(error))
    }

    /// The segments that are kept no longer: all their records are old enough, and a checkpoint
    /// stands for them. A clock that runs ahead must not take anything away, so what counts is
    /// when the last segment was begun, if that is earlier.
    fn expired(&self, ledger: &Ledger, now: Timestamp) -> Result<Option<Expired>, StateError> {
        let (_, begun) = ledger.segment();
        let retain = i64::try_from(self.retain.as_nanos()).unwrap_or(i64::MAX);
        let Some(reader) = Reader::open(&*self.storage, &self.folder)? else { return Ok(None) };
        let covered = checkpoint::list(&*self.storage).map_err(|error| self.io(error))?;
        let Some(covered) = covered.first().copied() else { return Ok(None) };
        let mut expired = None;
        for number in reader.oldest_segment()..covered {
            let Some(next) = reader.head_of(number.saturating_add(1))? else { break };
            if now.min(begun).nanos_since(next.at) < retain {
                break;
            }
            expired = Some(Expired {
                segment: number,
                seq: next.first.saturating_sub(1),
                line: next.prev,
                before: next.at,
            });
        }
        if expired.is_some() && !self.is_sound(&reader, covered)? {
            return Ok(None);
        }
        Ok(expired)
    }

    /// Whether the checkpoint that was made in a segment can stand for what was before it.
    fn is_sound(&self, reader: &Reader<'_>, segment: u32) -> Result<bool, StateError> {
        match recorded(reader, segment)? {
            Some(recorded) => {
                let soundness = checkpoint::look_at(&*self.storage, &recorded);
                soundness.map(|found| found == Soundness::Whole).map_err(|error| self.io(error))
            }
            None => Ok(false),
        }
    }

    fn io(&self, error: io::Error) -> StateError {
        StateError::io(&self.folder)(error)
    }
}

/// The record of the checkpoint that was made in a segment.
fn recorded(reader: &Reader<'_>, segment: u32) -> Result<Option<Checkpoint>, StateError> {
    let mut found = None;
    reader.walk_segment(segment, &mut |walked| {
        if let Some(Record::Checkpoint(checkpoint)) = walked.line.map(|line| &line.event)
            && checkpoint.segment == segment
        {
            found = Some(checkpoint.clone());
        }
        Ok(())
    })?;
    Ok(found)
}

/// Commits a record that the ledger tells of itself.
fn commit(ledger: &mut Ledger, store: &mut Store, now: Timestamp, record: Record) -> Result<(), StateError> {
    let (written, segment) = ledger.append(now, vec![Draft::new(None, record)?])?;
    store.apply(&written, ledger.end())?;
    match segment {
        Segment::Same => Ok(()),
        Segment::New => store.settle(ledger.end()),
    }
}
