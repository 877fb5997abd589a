//! The presumed files of a job, and what a person decides about them. Asks no server: what it could
//! tell, the run that presumed them has asked.

use std::collections::BTreeMap;

use crate::domain::{
    Decided, Decision, Entry, EntryStatus, FileStat, Job, Person, Presumed, Record, RelPath, RunId, Target,
};
use crate::source::{Filter, SourceRoot};
use crate::state::{State, StateError};

/// Most decisions in one commit: their paths take 4 MiB at most.
const DECISIONS_AT_ONCE: usize = 1_000;

/// A file that is presumed to be delivered.
#[derive(Clone, Debug)]
pub struct PresumedFile {
    /// The file.
    pub path: RelPath,
    /// What is known of it.
    pub entry: Entry,
    /// How it came to be presumed; not known of what an early version recorded.
    pub how: Option<Presumed>,
    /// What its source is now.
    pub source: SourceNow,
}

/// What the source of a presumed file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceNow {
    /// The same size and time as when it was read.
    Same,
    /// Another file: the next run sends it, whatever is decided.
    Changed,
    /// Not there, or no regular file any more.
    Gone,
    /// There, but the job's patterns do not admit it.
    NotAdmitted,
}

impl SourceNow {
    /// Whether a run would find something to send.
    pub const fn can_be_sent(self) -> bool {
        match self {
            Self::Same | Self::Changed => true,
            Self::Gone | Self::NotAdmitted => false,
        }
    }
}

/// What waits for a person's decision, and what the next run finds out by itself.
#[derive(Debug)]
pub struct Undecided {
    /// The presumed files, ordered by path.
    pub presumed: Vec<PresumedFile>,
    /// Files whose publishing was cut off, which the next run looks into.
    pub in_doubt: usize,
}

/// Reads what waits for a decision. Blocks. A source that cannot be opened has none of its files.
pub fn undecided(state: &State, job: &Job, target: &Target) -> Result<Undecided, StateError> {
    let manifest = state.manifest(target.id())?;
    let how = manifest.presumed()?.into_iter().map(|presumed| (presumed.path.clone(), presumed));
    let mut how: BTreeMap<RelPath, Presumed> = how.collect();
    let (root, filter) = (SourceRoot::open(&job.source).ok(), Filter::of(job).ok());
    let source = |path: &RelPath, was: &FileStat| {
        let admitted = filter.as_ref().is_some_and(|filter| filter.admits(path));
        match root.as_ref().and_then(|root| root.open_file(path).ok()).map(|file| file.stat()) {
            None => SourceNow::Gone,
            Some(_) if !admitted => SourceNow::NotAdmitted,
            // What the plan takes for the same file.
            Some(now) if (now.size, now.mtime) == (was.size, was.mtime) => SourceNow::Same,
            Some(_) => SourceNow::Changed,
        }
    };
    let mut presumed = Vec::new();
    for known in manifest.entries() {
        let (path, entry) = known?;
        if entry.status == EntryStatus::Presumed {
            let source = source(&path, &entry.stat);
            presumed.push(PresumedFile { how: how.remove(&path), path, entry, source });
        }
    }
    Ok(Undecided { presumed, in_doubt: manifest.intents()?.len() + manifest.storings()?.len() })
}

/// Makes a person's decision about presumed files durable.
///
/// Cancel safety: decisions that were begun may come to be kept when the future is dropped.
pub async fn decide(
    state: &State,
    target: &Target,
    files: &[&PresumedFile],
    decision: Decision,
    by: &Person,
) -> Result<(), StateError> {
    for files in files.chunks(DECISIONS_AT_ONCE) {
        let decided = |file: &&PresumedFile| {
            Record::Decided(Decided {
                // 0 is no run's number.
                run: file.how.as_ref().map_or(RunId(0), |how| how.run),
                path: file.path.clone(),
                size: file.entry.size,
                digest: file.entry.digest,
                decision,
                by: by.clone(),
            })
        };
        state.commit(target.id(), files.iter().map(decided).collect()).await?;
    }
    Ok(())
}
