//! What runs came to, from the ledger.

mod back;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::back::LookBack;
use self::back::{Step, Wanted, gather};
use super::past::Past;
use super::watched::Guard;
use crate::domain::{
    AuditCounts, AuditKind, Counts, FailedFile, Failure, FailureClass, JobName, RunId, RunReport, RunStarted,
    Timestamp, Trigger, Triggers, Windows,
};
use crate::state::StateError;
use crate::trigger::{Again, RetryTrigger};

/// Most runs of which a history tells: a year of a job that runs every hour.
pub(super) const MAX_RUNS: usize = 10_000;
/// Most failed files that are named for a run; `nightferry history show` tells all.
pub(super) const MAX_FILES_NAMED: usize = 20;
/// Most runs that are open at once in a ledger that is read: those that were cut off never end,
/// and are forgotten from the oldest.
const MAX_OPEN: usize = 1_000;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    /// The run.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// What it was begun for, where that is not delivery.
    pub audit: Option<AuditKind>,
    /// Why it began.
    pub triggers: Triggers,
    /// When.
    pub began: Timestamp,
    /// When it ended. `None` where it goes on, or was cut off.
    pub ended: Option<Timestamp>,
    /// How many files had which outcome.
    pub counts: Counts,
    /// The same of a run that was begun for something else than delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited: Option<AuditCounts>,
    /// Why it ended before its plan was done.
    pub stopped: Option<Failure>,
    /// The first of the failed files.
    pub failed: Vec<FailedFile>,
    /// What else says whether its job is tried again.
    #[serde(skip)]
    pub(super) trouble: Trouble,
}

/// What kinds of trouble a run met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// How files failed.
    files: BTreeSet<FailureClass>,
    guard: Guard,
}

impl RunEntry {
    /// Of a run that just ended.
    pub(super) fn of(report: &RunReport, began: Timestamp, ended: Timestamp) -> Self {
        Self {
            run: report.run,
            job: report.job.clone(),
            audit: None,
            triggers: report.triggers.clone(),
            began,
            ended: Some(ended),
            counts: report.counts,
            audited: None,
            stopped: report.stopped.clone(),
            failed: report.failed.iter().take(MAX_FILES_NAMED).cloned().collect(),
            trouble: Trouble::default(),
        }
    }

    /// Of a run that began, and of whose end nothing is known yet.
    fn begun(started: &RunStarted, began: Timestamp) -> Self {
        Self {
            run: started.run,
            job: started.job.clone(),
            audit: started.audit,
            triggers: started.triggers.clone(),
            began,
            ended: None,
            counts: Counts::default(),
            audited: None,
            stopped: None,
            failed: Vec::new(),
            trouble: Trouble::default(),
        }
    }

    /// What is due for its job, whose `windows` these are, when the agent is started after it: as far as it was read
    /// from the ledger. A run that was cut off, or interrupted by a signal, goes on, but for one that a person asked
    /// for: they know.
    pub(super) fn recalled(&self, windows: &Windows, now: Timestamp, random: u64) -> Option<RetryTrigger> {
        let attempt = |trigger: &Trigger| match trigger {
            Trigger::Retry { attempt } => Some(*attempt),
            _ => None,
        };
        let attempt = self.triggers.iter().find_map(attempt).unwrap_or(1);
        let at = self.ended.unwrap_or(self.began);
        let is_by_hand = self.triggers.iter().all(|trigger| *trigger == Trigger::Manual);
        let class = self.stopped.as_ref().map(|failure| failure.class);
        let again = match (self.ended, class) {
            (None, _) | (_, Some(FailureClass::Interrupted)) => (!is_by_hand).then_some(Again::Passing),
            // Its hours were over.
            (Some(ended), Some(FailureClass::Deadline)) if !windows.is_open(ended) => Some(Again::Passing),
            _ if self.trouble.guard == Guard::Tripped => Some(Again::Guarded),
            _ => Again::of(self.stopped.as_ref(), self.trouble.files.iter().copied(), &self.counts),
        };
        again.map(|again| RetryTrigger::recalled(again, attempt, at, now, random))
    }

    /// Whether its job waits for room on the server.
    pub fn is_parked(&self) -> bool {
        self.ended.is_some() && self.counts.is_parked(self.stopped.as_ref())
    }

    /// Whether it ended, and nothing is left for it to do.
    pub fn is_well(&self) -> bool {
        self.ended.is_some() && self.stopped.is_none() && self.counts.left_to_do() == 0
    }
}

/// The last runs, as a fold over what the ledger's records tell of them.
#[derive(Clone, Debug, Default)]
pub struct History {
    most: usize,
    job: Option<JobName>,
    open: BTreeMap<RunId, RunEntry>,
    runs: VecDeque<RunEntry>,
    /// The last run of each job that delivers.
    last: BTreeMap<JobName, RunEntry>,
    /// The last run of each job that ended well.
    last_well: BTreeMap<JobName, Timestamp>,
    /// What is expected of each job is held against this.
    past: BTreeMap<JobName, Past>,
}

impl History {
    /// Reads the last runs from the ledger of a state folder, of one job or of all: at most `most`.
    /// Nothing where there is no ledger. Blocks. Takes no lock, and reads the ledger back from its end
    /// only as far as those runs lie.
    pub fn runs(folder: &Path, job: Option<&JobName>, most: usize) -> Result<Self, StateError> {
        let most = most.min(MAX_RUNS);
        gather(folder, Wanted::Runs { job: job.cloned(), most })
    }

    /// Reads what some jobs did of late, each as far back as it is asked for; blocks, like
    /// [`runs`](Self::runs). Of what lies further back it knows nothing.
    pub fn of_jobs(folder: &Path, jobs: Vec<LookBack>) -> Result<Self, StateError> {
        gather(folder, Wanted::Jobs(jobs))
    }

    fn empty(job: Option<JobName>, most: usize) -> Self {
        Self { most, job, ..Self::default() }
    }

    /// Takes in a step; they come in their order.
    fn add(&mut self, at: Timestamp, step: &Step) {
        if let Step::Started(RunStarted { job, .. }) | Step::Scheduled(job) = step {
            self.past.entry(job.clone()).or_insert_with(|| Past::from(at));
        }
        match step {
            Step::Started(started) if self.job.as_ref().is_none_or(|job| *job == started.job) => {
                let entry = RunEntry::begun(started, at);
                // A run of its job before it that has no end was cut off.
                let cut_off = self.open.values().find(|open| open.job == entry.job).map(|open| open.run);
                self.open.insert(entry.run, entry);
                let oldest = (self.open.len() > MAX_OPEN).then(|| self.open.keys().next().copied());
                if let Some(run) = cut_off.or(oldest.flatten()) {
                    self.close(run);
                }
            }
            Step::Started(_) | Step::Scheduled(_) => {}
            Step::Failed { run, files, classes, named } => {
                if let Some(entry) = self.open.get_mut(run) {
                    entry.counts.failed += files;
                    entry.trouble.files.extend(classes);
                    let room = MAX_FILES_NAMED.saturating_sub(entry.failed.len());
                    entry.failed.extend(named.iter().take(room).cloned());
                }
            }
            Step::Guarded(run) => {
                if let Some(entry) = self.open.get_mut(run) {
                    entry.trouble.guard = Guard::Tripped;
                }
            }
            Step::Audited { run, counts } => {
                if let Some(entry) = self.open.get_mut(run) {
                    entry.audited = Some(*counts);
                }
            }
            Step::Finished { run, counts, stopped } => {
                if let Some(entry) = self.open.get_mut(run) {
                    entry.ended = Some(at);
                    entry.counts = *counts;
                    entry.stopped.clone_from(stopped);
                    self.close(*run);
                }
            }
        }
    }

    fn close(&mut self, run: RunId) {
        let Some(entry) = self.open.remove(&run) else { return };
        if let (Some(AuditKind::Verify), Some(ended), Some(counts)) =
            (entry.audit, entry.ended, &entry.audited)
            && let Some(past) = self.past.get_mut(&entry.job)
        {
            past.verified(ended, entry.stopped.as_ref(), counts);
        }
        if entry.audit.is_none() {
            if let (true, Some(ended)) = (entry.is_well(), entry.ended) {
                self.last_well.insert(entry.job.clone(), ended);
            }
            if let Some(past) = self.past.get_mut(&entry.job) {
                past.add(&entry);
            }
            self.last.insert(entry.job.clone(), entry.clone());
        }
        self.runs.push_back(entry);
        if self.runs.len() > self.most {
            self.runs.pop_front();
        }
    }

    /// The last run of a job that delivers, and came to its end or was cut off.
    pub fn last(&self, job: &JobName) -> Option<&RunEntry> {
        self.last.get(job)
    }

    /// The last run of a job that delivers, though it has no end: it goes on, or was cut off and is the newest.
    pub(super) fn newest(&self, job: &JobName) -> Option<&RunEntry> {
        let delivers = |entry: &&RunEntry| entry.job == *job && entry.audit.is_none();
        self.open.values().rev().find(delivers).or_else(|| self.last(job))
    }

    /// When a run of a job last ended well.
    pub fn last_well(&self, job: &JobName) -> Option<Timestamp> {
        self.last_well.get(job).copied()
    }

    /// When all that a job delivered was last held against its server, and there was something.
    pub fn last_verified(&self, job: &JobName) -> Option<Timestamp> {
        self.past.get(job).and_then(|past| past.rounds.seen())
    }

    /// What a job did of late.
    pub(super) fn past(&self, job: &JobName) -> Option<&Past> {
        self.past.get(job)
    }

    /// The runs in the order in which they began; those without an end may go on.
    pub fn into_runs(self) -> Vec<RunEntry> {
        let mut runs: Vec<_> = self.runs.into_iter().chain(self.open.into_values()).collect();
        runs.sort_by_key(|entry| entry.run);
        let surplus = runs.len().saturating_sub(self.most);
        runs.split_off(surplus)
    }
}
