//! What is to be done about each file: the merge of a scan and a manifest.
//!
//! Pure and synchronous: it does not know where the two streams come from, and does nothing
//! itself. Deliveries carry out its [`Action`]s; `nightferry plan` shows them.
//!
//! Both streams are in the order of [`RelPath`]s, so that one step of each is all that is held.

mod action;
pub mod guard;

pub use self::action::{Action, CompleteScan, Reason, ScanEnd};

use std::cmp::Ordering;
use std::fmt;
use std::iter::Fuse;

use crate::domain::{Entry, EntryStatus, FileStat, Found, RelPath, Timestamp, Twins};

/// Why a plan ends before its time. What was planned so far holds; nothing follows.
#[derive(Debug, thiserror::Error)]
pub enum PlanError<E> {
    /// The manifest cannot be read.
    #[error("the manifest cannot be read")]
    Manifest(#[source] E),
    /// A stream is not in the order of its paths, or holds one twice: merging it would take
    /// delivered files for new ones and present ones for missing. A mistake of ours.
    #[error("the {stream} is out of order: `{after}` follows `{before}`")]
    OutOfOrder {
        /// Which stream.
        stream: Stream,
        /// The path that came first.
        before: RelPath,
        /// The path that came next.
        after: RelPath,
    },
}

/// One of the two streams that a plan merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What the source holds.
    Scan,
    /// What is known.
    Manifest,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scan => "scan",
            Self::Manifest => "manifest",
        })
    }
}

/// Merges a scan and a manifest, both in the order of their paths, into what is to be done.
///
/// `admits` tells which paths the job's patterns admit now: a delivered file that they no longer
/// admit is not missing, only no concern of the job. The mode of the job has no say here: in a
/// drop, what was retired is no longer in the manifest and so is new.
///
/// The last item is [`Action::End`], unless an error is. Nothing follows either.
pub fn plan<S, M, E, F>(scan: S, manifest: M, admits: F) -> Plan<S::IntoIter, M::IntoIter, F>
where
    S: IntoIterator<Item = Found>,
    M: IntoIterator<Item = Result<(RelPath, Entry), E>>,
    F: Fn(&RelPath) -> bool,
{
    Plan {
        scan: scan.into_iter().fuse(),
        manifest: manifest.into_iter().fuse(),
        admits,
        file: Ahead::new(Stream::Scan),
        entry: Ahead::new(Stream::Manifest),
        end: ScanEnd::Complete(CompleteScan::new()),
        state: State::Merging,
    }
}

/// The stream of actions that [`plan`] makes.
pub struct Plan<S, M, F> {
    scan: Fuse<S>,
    manifest: Fuse<M>,
    admits: F,
    file: Ahead<File>,
    entry: Ahead<(RelPath, Entry)>,
    end: ScanEnd,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Merging,
    Ended,
}

/// A file of the scan.
struct File {
    path: RelPath,
    stat: FileStat,
    observed_at: Timestamp,
    twins: Twins,
}

/// The one item of a stream that has been read and not yet merged.
struct Ahead<T> {
    item: Option<T>,
    last: Option<RelPath>,
    stream: Stream,
}

impl<T> Ahead<T> {
    const fn new(stream: Stream) -> Self {
        Self { item: None, last: None, stream }
    }

    fn put<E>(&mut self, path: &RelPath, item: T) -> Result<(), PlanError<E>> {
        match self.last.replace(path.clone()) {
            Some(before) if before >= *path => {
                Err(PlanError::OutOfOrder { stream: self.stream, before, after: path.clone() })
            }
            _ => {
                self.item = Some(item);
                Ok(())
            }
        }
    }
}

impl<S, M, E, F> Plan<S, M, F>
where
    S: Iterator<Item = Found>,
    M: Iterator<Item = Result<(RelPath, Entry), E>>,
    F: Fn(&RelPath) -> bool,
{
    /// The next action; `None` if this step of the merge needs none.
    fn step(&mut self) -> Result<Option<Action>, PlanError<E>> {
        if self.file.item.is_none()
            && let Some(found) = self.scan.next()
        {
            return self.take(found);
        }
        if self.entry.item.is_none()
            && let Some(known) = self.manifest.next()
        {
            let (path, entry) = known.map_err(PlanError::Manifest)?;
            self.entry.put(&path.clone(), (path, entry))?;
        }
        let order = match (&self.file.item, &self.entry.item) {
            (Some(file), Some((path, _))) => file.path.cmp(path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => {
                self.state = State::Ended;
                return Ok(Some(Action::End(self.end)));
            }
        };
        let file = if order.is_le() { self.file.item.take() } else { None };
        let entry = if order.is_ge() { self.entry.item.take() } else { None };
        Ok(match (file, entry) {
            (Some(file), Some((_, entry))) => Some(compare(file, entry)),
            (Some(file), None) => Some(send(file, None, Reason::New)),
            (None, Some((path, entry))) => self.absent(path, entry),
            (None, None) => None,
        })
    }

    fn take(&mut self, found: Found) -> Result<Option<Action>, PlanError<E>> {
        Ok(match found {
            Found::File { path, stat, observed_at, twins } => {
                self.file.put(&path.clone(), File { path, stat, observed_at, twins })?;
                None
            }
            Found::Skipped { name, reason } => Some(Action::Skip { name, reason }),
            Found::Refused { name, reason } => Some(Action::Refuse { name, reason }),
            Found::Unreadable { name, reason } => {
                self.end = ScanEnd::Incomplete;
                Some(Action::Unreadable { name, reason })
            }
        })
    }

    /// What is to be said of something known that the scan did not find.
    fn absent(&self, path: RelPath, known: Entry) -> Option<Action> {
        match (known.status, self.end) {
            (EntryStatus::Presumed, _) => Some(Action::Presumed { path }),
            (
                EntryStatus::Delivered | EntryStatus::FoundMissing | EntryStatus::FoundChanged,
                ScanEnd::Complete(_),
            ) if (self.admits)(&path) => Some(Action::Missing { path, known }),
            (
                EntryStatus::Delivered
                | EntryStatus::Retired
                | EntryStatus::FoundMissing
                | EntryStatus::FoundChanged,
                _,
            ) => None,
        }
    }
}

impl<S, M, E, F> Iterator for Plan<S, M, F>
where
    S: Iterator<Item = Found>,
    M: Iterator<Item = Result<(RelPath, Entry), E>>,
    F: Fn(&RelPath) -> bool,
{
    type Item = Result<Action, PlanError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state == State::Merging {
            match self.step() {
                Ok(None) => {}
                Ok(Some(action)) => return Some(Ok(action)),
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<S, M, F> fmt::Debug for Plan<S, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("last_file", &self.file.last)
            .field("last_entry", &self.entry.last)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What is to be done about a file of which something is known.
fn compare(file: File, known: Entry) -> Action {
    let was = &known.stat;
    match known.status {
        EntryStatus::Presumed if file.stat.size == was.size && file.stat.mtime == was.mtime => {
            Action::Presumed { path: file.path }
        }
        // Only other bytes are a new file: a touch must not double what was most likely taken.
        EntryStatus::Presumed if file.stat.size == was.size => {
            let reason = Reason::TimeChanged { was: was.mtime };
            let File { path, stat, observed_at, twins } = file;
            Action::Hash { path, stat, observed_at, known, reason, twins }
        }
        EntryStatus::Presumed => send(file, Some(known), Reason::ChangedSincePresumed),
        EntryStatus::Retired => send(file, Some(known), Reason::New),
        EntryStatus::FoundMissing => send(file, Some(known), Reason::FoundMissing),
        EntryStatus::FoundChanged => send(file, Some(known), Reason::FoundChanged),
        EntryStatus::Delivered if file.stat.size != known.size => {
            let reason = Reason::SizeChanged { was: known.size };
            send(file, Some(known), reason)
        }
        EntryStatus::Delivered => match reason_to_read(&file.stat, &known) {
            None => Action::Unchanged { path: file.path },
            Some(reason) => {
                let File { path, stat, observed_at, twins } = file;
                Action::Hash { path, stat, observed_at, known, reason, twins }
            }
        },
    }
}

/// Why the facts alone do not tell that a file of the same size is unchanged.
fn reason_to_read(now: &FileStat, known: &Entry) -> Option<Reason> {
    let was = &known.stat;
    if now.mtime != was.mtime {
        Some(Reason::TimeChanged { was: was.mtime })
    } else if now.inode != was.inode {
        Some(Reason::InodeChanged)
    } else if now.ctime != was.ctime {
        Some(Reason::AttributesChanged)
    } else if now != was || was.is_racy(known.observed_at) {
        Some(Reason::TooCloseToTrust)
    } else {
        None
    }
}

fn send(file: File, known: Option<Entry>, reason: Reason) -> Action {
    let File { path, stat, observed_at, twins } = file;
    Action::Send { path, stat, observed_at, known, reason, twins }
}

#[cfg(test)]
mod tests;
