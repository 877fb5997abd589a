//! Looking after the ledger's folder: sealed segments are compressed, checkpoints made, and what
//! is older than the ledger is kept taken away.
//!
//! The work is done on a thread beside the writer, one task after another, and touches only files
//! that the writer does not. What it comes to is told to the writer, which alone records it. What
//! fails here loses nothing, and is tried again when the next segment is full or the state is
//! opened.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::checkpoint::{self, Place, Soundness};
use super::error::StateError;
use super::halt::Halt;
use super::ledger::{Form, Reader, SEGMENT_BYTES, compress, list, remove_up_to};
use super::manifest::Snapshot;
use super::storage::Storage;
use crate::domain::{Checkpoint, Expired, Record, Timestamp};

/// How much of the ledger is kept, and in which pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// How long a segment grows, in bytes.
    pub(super) segment_bytes: u64,
    /// How long records are kept at least.
    pub(super) retain: Duration,
    /// How long the writer waits for a task that was begun before it commits more: not at all,
    /// but in tests that count steps.
    pub(super) patience: Duration,
}

/// How long records are kept where nothing else is said: six years, as 45 CFR 164.316(b)(2)(i)
/// asks of documentation.
pub const DEFAULT_RETAIN: Duration = Duration::from_hours(6 * 366 * 24);

impl Default for Keeping {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, retain: DEFAULT_RETAIN, patience: Duration::ZERO }
    }
}

/// Something to be done beside the writer.
#[derive(Debug)]
pub(super) enum Task {
    /// Compress the segments before this one, and find out whether a checkpoint is due.
    Compress { current: u32 },
    /// Make a checkpoint.
    Checkpoint { place: Place, snapshot: Snapshot },
    /// Take old checkpoints away, and find the segments that are kept no longer.
    Find { current: u32, now: Timestamp },
    /// Take away the segments up to this one.
    Remove { last: u32 },
}

/// What a task came to.
#[derive(Debug)]
pub(super) enum Done {
    /// What was sealed is compressed.
    Compressed(Due),
    /// A checkpoint is durable, and is to be recorded and [named](checkpoint::publish).
    Made(Checkpoint),
    /// The segments that are kept no longer, if there are any. To be recorded before they go.
    Found(Option<Expired>),
    /// They are gone.
    Removed,
}

/// Whether a checkpoint is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    Later,
}

/// What is told of a task.
pub(super) type Told = Result<Done, StateError>;

/// Looks after the folder of one ledger. When it is dropped, the task under way is asked to end,
/// and waited for.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: Arc<Folder>,
    halt: Halt,
    working: Option<JoinHandle<()>>,
    patience: Duration,
}

/// What the tasks work on.
#[derive(Debug)]
struct Folder {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    retain: Duration,
}

impl Keeper {
    pub(super) fn new(storage: Arc<dyn Storage>, path: &Path, keeping: Keeping) -> Self {
        let Keeping { retain, patience, .. } = keeping;
        let folder = Arc::new(Folder { storage, path: path.to_owned(), retain });
        Self { folder, halt: Halt::default(), working: None, patience }
    }

    /// How long the writer waits for a task that was begun.
    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether a task was begun that was not [ended](Self::end).
    pub(super) const fn is_busy(&self) -> bool {
        self.working.is_some()
    }

    /// Begins a task, when none is under way. What it comes to is told in whatever way it ends.
    pub(super) fn begin(
        &mut self,
        task: Task,
        tell: impl FnOnce(Told) + Send + 'static,
    ) -> Result<(), StateError> {
        let (folder, halt) = (self.folder.clone(), self.halt.clone());
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(|| folder.work(task, &halt)));
            tell(done.unwrap_or_else(|_| Err(folder.io(io::Error::other("the work panicked")))));
        };
        let thread = thread::Builder::new().name("state-keeper".to_owned()).spawn(work);
        self.working = Some(thread.map_err(|error| self.folder.io(error))?);
        Ok(())
    }

    /// Takes note that a task has told what it came to.
    pub(super) fn end(&mut self) {
        if let Some(thread) = self.working.take() {
            // It has told already, even where it panicked.
            drop(thread.join());
        }
    }

    /// Gives the checkpoint that was made and recorded its name.
    pub(super) fn publish(&self, made: &Checkpoint) -> Result<(), StateError> {
        checkpoint::publish(&*self.folder.storage, made.segment).map_err(|error| self.folder.io(error))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.halt.ask();
        self.end();
    }
}

impl Folder {
    fn work(&self, task: Task, halt: &Halt) -> Told {
        match task {
            Task::Compress { current } => {
                self.compress(current, halt)?;
                self.weigh(current).map(Done::Compressed)
            }
            Task::Checkpoint { place, snapshot } => {
                checkpoint::write(&*self.storage, &self.path, place, snapshot, halt).map(Done::Made)
            }
            Task::Find { current, now } => {
                checkpoint::prune(&*self.storage).map_err(|error| self.io(error))?;
                self.expired(current, now).map(Done::Found)
            }
            Task::Remove { last } => remove_up_to(&*self.storage, &self.path, last).map(|()| Done::Removed),
        }
    }

    /// Compresses the segments that were sealed.
    fn compress(&self, current: u32, halt: &Halt) -> Result<(), StateError> {
        let files = list(&*self.storage).map_err(|error| self.io(error))?;
        let sealed = files.iter().filter(|file| file.form == Form::Plain && file.number < current);
        sealed.into_iter().try_for_each(|file| compress(&*self.storage, &self.path, file.number, halt))
    }

    /// Whether the segments sealed since the last checkpoint weigh as much as it does: so all of
    /// them together cost no more than the ledger itself, and a rebuild reads at most about twice
    /// the checkpoint's size of records.
    fn weigh(&self, current: u32) -> Result<Due, StateError> {
        let weigh = || -> io::Result<Due> {
            let made = checkpoint::list(&*self.storage)?;
            let newest = made.into_iter().rfind(|number| *number <= current);
            let files = list(&*self.storage)?;
            let since = |number: u32| number < current && number >= newest.unwrap_or(0);
            let sizes =
                files.iter().filter(|file| since(file.number)).map(|file| self.storage.size(&file.name()));
            let sizes: Vec<u64> = sizes.collect::<Result<_, _>>()?;
            let last = newest.map_or(Ok(0), |newest| self.storage.size(&checkpoint::name(newest)))?;
            let is_due = !sizes.is_empty() && sizes.iter().sum::<u64>() >= last;
            Ok(if is_due { Due::Now } else { Due::Later })
        };
        weigh().map_err(|error| self.io(error))
    }

    /// The segments that are kept no longer: all their records are old enough, and a checkpoint
    /// stands for them. A clock that runs ahead must not take anything away, so what counts is
    /// when the segment that is written was begun, if that is earlier.
    fn expired(&self, current: u32, now: Timestamp) -> Result<Option<Expired>, StateError> {
        let retain = i64::try_from(self.retain.as_nanos()).unwrap_or(i64::MAX);
        let Some(reader) = Reader::open(&*self.storage, &self.path)? else { return Ok(None) };
        let Some(begun) = reader.head_of(current)?.map(|head| head.at) else { return Ok(None) };
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
        if expired.is_some() && !self.is_sound(&reader, covered, current)? {
            return Ok(None);
        }
        Ok(expired)
    }

    /// Whether the checkpoint that was made in a segment can stand for what was before it.
    fn is_sound(&self, reader: &Reader<'_>, segment: u32, current: u32) -> Result<bool, StateError> {
        match recorded(reader, segment, current)? {
            Some(recorded) => {
                let soundness = checkpoint::look_at(&*self.storage, &recorded);
                soundness.map(|found| found == Soundness::Whole).map_err(|error| self.io(error))
            }
            None => Ok(false),
        }
    }

    fn io(&self, error: io::Error) -> StateError {
        StateError::io(&self.path)(error)
    }
}

/// The record of the checkpoint that was made in a segment: it stands there, or, where it took
/// long to make, in one of the next. The segment that is written is not looked into: what is half
/// written there would look like damage.
fn recorded(reader: &Reader<'_>, segment: u32, current: u32) -> Result<Option<Checkpoint>, StateError> {
    let mut found = None;
    for number in segment..current {
        reader.walk_segment(number, &mut |walked| {
            if let Some(Record::Checkpoint(checkpoint)) = walked.line.map(|line| &line.event)
                && checkpoint.segment == segment
            {
                found = Some(checkpoint.clone());
            }
            Ok(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}
