//! Reading the ledger back from its end, as far as what is wanted of it lies: it is kept for years, and
//! what happened of late stands in its last segments.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use super::{History, MAX_FILES_NAMED};
use crate::domain::{
    AuditCounts, Counts, Deliveries, FailedFile, Failure, FailureClass, Job, JobName, Record, RunId,
    RunStarted, Timestamp, Timing,
};
use crate::state::{Backward, Further, LedgerLine, State, StateError, read_ledger_back};

/// How far back one looks at most for what a job has never done, such as to end well. Jobs that run once
/// a year have done it within.
const FURTHEST: Duration = Duration::from_hours(400 * 24);
/// How many times the time between two verifies is looked back at: in one of them a whole one may be due
/// and have failed.
const VERIFIES: u32 = 2;

/// What is wanted of a ledger.
pub(super) enum Wanted {
    /// The last runs, of one job or of all.
    Runs { job: Option<JobName>, most: usize },
    /// What these jobs did of late.
    Jobs(Vec<LookBack>),
}

/// How far one looks back for what a job did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookBack {
    pub(in crate::agent) job: JobName,
    /// All that is known of it since then counts.
    pub(in crate::agent) from: Timestamp,
    /// What is older is of no use.
    furthest: Timestamp,
    usual: Usual,
}

/// Whether enough runs are wanted to tell what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usual {
    Wanted,
    OfNoUse,
}

impl LookBack {
    /// As far as what is expected of a job needs, and to its last run and its last good one.
    pub fn of(job: &Job, now: Timestamp) -> Self {
        Self::new(job.name.clone(), &job.timing, now)
    }

    pub(super) fn new(job: JobName, timing: &Timing, now: Timestamp) -> Self {
        let verifies = timing.verify_every.map(|every| every.saturating_mul(VERIFIES));
        let spans = [timing.expectation.max_age, verifies].into_iter().flatten();
        let span = spans.fold(Deliveries::KEPT, Duration::max);
        Self {
            job,
            from: now.minus(span),
            furthest: now.minus(span.max(FURTHEST)),
            usual: if timing.expectation.unusual.is_some() { Usual::Wanted } else { Usual::OfNoUse },
        }
    }

    /// Whether what was read for the other one may be too little.
    pub(in crate::agent) fn reaches_beyond(&self, other: &Self) -> bool {
        let tells_more = self.usual == Usual::Wanted && other.usual == Usual::OfNoUse;
        self.from < other.from || self.furthest < other.furthest || tells_more
    }

    /// Whether what began with a segment that was begun then is enough.
    fn is_met(&self, history: &History, begun: Timestamp) -> bool {
        let is_known = history.past(&self.job).is_some_and(|past| {
            past.since() <= self.from && (self.usual == Usual::OfNoUse || past.knows_the_usual())
        });
        let has_run = history.last(&self.job).is_some() && history.last_well(&self.job).is_some();
        is_known && has_run || begun <= self.furthest
    }
}

/// What a record tells of runs.
#[derive(Debug)]
pub(super) enum Step {
    /// A job is known.
    Scheduled(JobName),
    Started(RunStarted),
    /// So many files failed, in these ways; the first of them are named.
    Failed {
        run: RunId,
        files: u64,
        classes: BTreeSet<FailureClass>,
        named: Vec<FailedFile>,
    },
    /// A guard stopped it.
    Guarded(RunId),
    /// What a run came to that was begun for something else than delivery; its end follows.
    Audited {
        run: RunId,
        counts: AuditCounts,
    },
    Finished {
        run: RunId,
        counts: Counts,
        stopped: Option<Failure>,
    },
}

/// Reads what is wanted. Nothing where there is no ledger.
pub(super) fn gather(folder: &Path, wanted: Wanted) -> Result<History, StateError> {
    let mut gathered = Gathered::of(wanted);
    if State::is_begun(folder) {
        read_ledger_back(folder, &mut gathered)?;
    }
    Ok(gathered.history())
}

/// The steps of the segments that were read, the newest segment first.
pub(super) struct Gathered {
    wanted: Wanted,
    segments: Vec<Vec<(Timestamp, Step)>>,
    current: Segment,
}

/// The steps of one segment, in their order.
#[derive(Default)]
struct Segment {
    steps: Vec<(Timestamp, Step)>,
    /// Where the failed files of a run are counted.
    failed: HashMap<RunId, usize>,
}

impl Backward for Gathered {
    fn record(&mut self, line: LedgerLine<'_>) {
        let step = match line.record {
            Record::RunStarted(started) => Step::Started(started.clone()),
            Record::Scheduled(scheduled) => Step::Scheduled(scheduled.job.clone()),
            Record::Audited(audited) => Step::Audited { run: audited.run, counts: audited.counts },
            Record::RunFinished(finished) => Step::Finished {
                run: finished.run,
                counts: finished.counts,
                stopped: finished.stopped.clone(),
            },
            Record::GuardTripped(guard) => Step::Guarded(guard.run),
            Record::Failed(failed) => {
                let file = FailedFile { name: failed.name.clone(), failure: failed.failure.clone() };
                return self.current.add_failed(line.at, failed.run, file);
            }
            _ => return,
        };
        self.current.steps.push((line.at, step));
    }

    fn segment(&mut self, begun: Timestamp) -> Further {
        self.segments.push(std::mem::take(&mut self.current).steps);
        let is_enough = match &self.wanted {
            Wanted::Runs { job, most } => {
                let steps = self.segments.iter().flatten();
                let is_one = |step: &Step| {
                    matches!(step, Step::Started(started)
                        if job.as_ref().is_none_or(|job| *job == started.job))
                };
                steps.filter(|(_, step)| is_one(step)).count() >= *most
            }
            Wanted::Jobs(jobs) => {
                let history = self.history();
                jobs.iter().all(|look| look.is_met(&history, begun))
            }
        };
        if is_enough { Further::Enough } else { Further::Older }
    }
}

impl Gathered {
    pub(super) fn of(wanted: Wanted) -> Self {
        Self { wanted, segments: Vec::new(), current: Segment::default() }
    }

    /// What all that was read comes to.
    pub(super) fn history(&self) -> History {
        let mut history = match &self.wanted {
            Wanted::Runs { job, most } => History::empty(job.clone(), *most),
            Wanted::Jobs(_) => History::empty(None, 1),
        };
        for (at, step) in self.segments.iter().rev().flatten() {
            history.add(*at, step);
        }
        history
    }
}

impl Segment {
    /// A run in which a million files fail must not take the memory for all of them.
    fn add_failed(&mut self, at: Timestamp, run: RunId, file: FailedFile) {
        let place = *self.failed.entry(run).or_insert(self.steps.len());
        if let Some((_, Step::Failed { files, classes, named, .. })) = self.steps.get_mut(place) {
            *files += 1;
            classes.insert(file.failure.class);
            if named.len() < MAX_FILES_NAMED {
                named.push(file);
            }
        } else {
            let classes = BTreeSet::from([file.failure.class]);
            self.steps.push((at, Step::Failed { run, files: 1, classes, named: vec![file] }));
        }
    }
}
