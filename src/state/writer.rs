//! The one writer: takes what waits, commits it as a group, and tells the callers. The manifest gets
//! the records later, many at once: whoever wants to read it asks for what it lacks first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::checkpoint::Place;
use super::error::StateError;
use super::keeper::{Done, Due, Keeper, Task, Told};
use super::ledger::{Draft, Ledger, Segment, Written};
use super::manifest::{Log, MAX_KEPT_BYTES, Store};
use super::queue::{Closing, Queue};
use crate::clock::Clock;
use crate::domain::{AuditKind, JobName, Record, RunId, RunStarted, Target, TargetId, Triggers};

/// A group is written when it has this many bytes, even where more waits: it bounds the memory
/// and how long the first caller waits for the last one's bytes.
const MAX_GROUP_BYTES: usize = 1 << 20;

/// How long closing waits for what is done beside the writer. A checkpoint of a million files takes
/// some seconds; what takes longer is given up, and done when the state is next opened.
const CLOSE_GRACE: Duration = Duration::from_mins(1);

/// Most records that are in the ledger and not yet in the manifest. To apply them one group at a time costs
/// sled several writes each; so many of them are some hundred kilobytes of memory, and some milliseconds
/// of replay after a crash.
const MAX_UNAPPLIED: usize = 512;

/// A run that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedRun {
    /// Its number.
    pub run: RunId,
    /// What the job was about in its run before, where that was something else.
    pub previous_target: Option<Target>,
}

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    /// Begin a run.
    Start {
        job: JobName,
        target: Target,
        audit: Option<AuditKind>,
        triggers: Triggers,
        done: Reply<StartedRun>,
    },
    /// Keep records.
    Commit { drafts: Vec<Draft>, done: Reply<()> },
    /// Take in what a task beside the writer came to. Asked only from inside.
    Kept(Told),
    /// Bring the manifest to the ledger's end.
    Apply(mpsc::SyncSender<Result<(), StateError>>),
}

/// Records that are durable, and that the manifest lacks.
#[derive(Debug, Default)]
pub(super) struct Unapplied {
    records: Vec<Written>,
    count: Arc<AtomicUsize>,
}

/// How far the manifest is behind the ledger, for those who read it.
#[derive(Clone, Debug)]
pub(super) struct Lag(Arc<AtomicUsize>);

impl Unapplied {
    pub(super) fn lag(&self) -> Lag {
        Lag(self.count.clone())
    }

    fn add(&mut self, written: Vec<Written>) {
        self.records.extend(written);
        self.count.store(self.records.len(), Ordering::Release);
    }

    fn clear(&mut self) {
        self.records.clear();
        self.count.store(0, Ordering::Release);
    }
}

impl Lag {
    #[cfg(test)]
    pub(super) fn records(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Has the manifest take in all that was acknowledged before. Blocks.
    pub(super) fn make_up(&self, queue: &Queue<Request>) -> Result<(), StateError> {
        if self.0.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let (done, told) = mpsc::sync_channel(1);
        queue.push_inside_if_open(Request::Apply(done))?;
        told.recv().unwrap_or(Err(StateError::Stopped))
    }
}

type Reply<T> = oneshot::Sender<Result<T, StateError>>;

/// What a caller is told when its records are durable.
enum Promise {
    Started(Reply<StartedRun>, StartedRun),
    Committed(Reply<()>),
}

/// The writer's thread.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue<Request>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) unapplied: Unapplied,
    pub(super) keeper: Keeper,
    /// Whether a segment was sealed while the keeper was at work.
    pub(super) sealed: Sealed,
    /// What could not be done to keep the ledger's folder, and can be tried again.
    pub(super) passing: Option<StateError>,
    /// The target of each run that was started here and has not ended.
    pub(super) runs: HashMap<RunId, TargetId>,
}

/// What the writer leaves behind when it ends well.
#[derive(Debug)]
pub(super) struct Ended {
    /// What could not be done to keep the ledger's folder.
    pub(super) unkept: Option<StateError>,
    /// How much the manifest's log has grown.
    pub(super) log: Log,
}

/// Whether there is something new for the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    Nothing,
    Segment,
}

/// Requests that are committed together.
#[derive(Default)]
struct Group {
    drafts: Vec<Draft>,
    bytes: usize,
    promises: Vec<Promise>,
}

impl Writer {
    /// Works until the queue is closed and empty, then waits for the keeper and brings the manifest
    /// to the ledger's end. Tells then what could not be done to keep the folder, if anything, and how
    /// much the manifest's log has grown.
    pub(super) fn run(mut self) -> Result<Ended, StateError> {
        // Told in whatever way this thread ends.
        let _exit = self.queue.clone().close_on_exit();
        if let Err(error) = self.work_to_the_end() {
            // Those who still read should find what was acknowledged; if not, it is replayed.
            drop(self.apply());
            return Err(error);
        }
        Ok(Ended { unkept: self.passing, log: self.store.log() })
    }

    fn work_to_the_end(&mut self) -> Result<(), StateError> {
        self.keep()?;
        self.work()?;
        self.wait_for_keeper(CLOSE_GRACE)?;
        self.settle()?;
        self.store.flush()
    }

    /// Commits group after group; ends with the first failure.
    fn work(&mut self) -> Result<(), StateError> {
        while let Some(first) = self.queue.wait() {
            let mut group = Group::default();
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Kept(told) => self.take_in(told)?,
                    Request::Apply(done) => self.apply_for(&done)?,
                    request => self.admit(request, &mut group),
                }
                next = if group.bytes < MAX_GROUP_BYTES { self.queue.next() } else { None };
            }
            if !group.drafts.is_empty() {
                let Group { drafts, promises, .. } = group;
                let outcome = self.commit(drafts);
                if outcome.is_err() {
                    // Before anybody is told, and reads or asks whether it goes on.
                    drop(self.apply());
                    self.queue.close(Closing::Failed);
                }
                let told = outcome.as_ref().map(drop).map_err(Clone::clone);
                for promise in promises {
                    promise.keep(told.clone());
                }
                outcome?;
                self.keep_if_sealed()?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, drafts: Vec<Draft>) -> Result<(), StateError> {
        let (written, segment) = self.ledger.append(self.clock.now(), drafts)?;
        let a_run_ended = written.iter().any(|line| matches!(line.record, Record::RunFinished(_)));
        self.unapplied.add(written);
        if let Segment::New = segment {
            // Bounds what has to be replayed for a tree that was not written to for long.
            self.settle()?;
            self.sealed = Sealed::Segment;
        } else if a_run_ended || self.unapplied.records.len() >= MAX_UNAPPLIED {
            self.apply()?;
        }
        Ok(())
    }

    /// Brings the manifest to the ledger's end.
    fn apply(&mut self) -> Result<(), StateError> {
        if !self.unapplied.records.is_empty() {
            self.store.apply(&self.unapplied.records, self.ledger.end())?;
            self.unapplied.clear();
        }
        Ok(())
    }

    /// The same, all its trees.
    fn settle(&mut self) -> Result<(), StateError> {
        self.apply()?;
        self.store.settle(self.ledger.end())
    }

    /// The same for somebody who waits for it. A caller that is gone is no failure.
    fn apply_for(&mut self, done: &mpsc::SyncSender<Result<(), StateError>>) -> Result<(), StateError> {
        let outcome = self.apply();
        if outcome.is_err() {
            self.queue.close(Closing::Failed);
        }
        drop(done.send(outcome.clone()));
        outcome
    }

    /// Commits a record that the ledger tells of itself.
    fn tell(&mut self, record: Record) -> Result<(), StateError> {
        self.commit(vec![Draft::new(None, record)?])
    }

    fn keep_if_sealed(&mut self) -> Result<(), StateError> {
        if self.sealed == Sealed::Segment && !self.keeper.is_busy() { self.keep() } else { Ok(()) }
    }

    /// Begins to look after the ledger's folder.
    fn keep(&mut self) -> Result<(), StateError> {
        (self.passing, self.sealed) = (None, Sealed::Nothing);
        self.begin(Task::Compress { current: self.ledger.segment() })
    }

    fn begin(&mut self, task: Task) -> Result<(), StateError> {
        let queue = self.queue.clone();
        let begun = self.keeper.begin(task, move |told| queue.push_inside(Request::Kept(told)));
        match begun {
            Ok(()) if self.keeper.patience().is_zero() => Ok(()),
            Ok(()) => self.wait_for_keeper(self.keeper.patience()),
            Err(error) => {
                self.passing = Some(error);
                Ok(())
            }
        }
    }

    /// Takes in what the keeper tells until it has nothing to do, so long at most.
    fn wait_for_keeper(&mut self, longest: Duration) -> Result<(), StateError> {
        let begun = Instant::now();
        while self.keeper.is_busy() {
            match self.queue.wait_inside(longest.saturating_sub(begun.elapsed())) {
                Some(Request::Kept(told)) => self.take_in(told)?,
                Some(Request::Apply(done)) => self.apply_for(&done)?,
                Some(Request::Start { .. } | Request::Commit { .. }) => {}
                None => {
                    self.passing = Some(StateError::Unkept { seconds: begun.elapsed().as_secs() });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Records what a task came to, and begins the next one. What can wait does not stop the writer.
    fn take_in(&mut self, told: Told) -> Result<(), StateError> {
        self.keeper.end();
        let current = self.ledger.segment();
        match told {
            Ok(Done::Compressed(Due::Now)) => {
                self.apply()?;
                let (end, agent, at) = (self.ledger.end(), self.ledger.agent(), self.clock.now());
                match self.store.snapshot(MAX_KEPT_BYTES) {
                    Ok(snapshot) => {
                        let place = Place { end, segment: current, agent, at };
                        self.begin(Task::Checkpoint { place, snapshot })
                    }
                    Err(error) => {
                        self.passing = Some(error);
                        Ok(())
                    }
                }
            }
            Ok(Done::Compressed(Due::Later)) => self.begin(Task::Find { current, now: self.clock.now() }),
            Ok(Done::Made(made)) => {
                self.tell(Record::Checkpoint(made.clone()))?;
                match self.keeper.publish(&made) {
                    Ok(()) => {
                        let (current, now) = (self.ledger.segment(), self.clock.now());
                        self.begin(Task::Find { current, now })
                    }
                    Err(error) => {
                        self.passing = Some(error);
                        Ok(())
                    }
                }
            }
            Ok(Done::Found(Some(expired))) => {
                let last = expired.segment;
                self.tell(Record::Expired(expired))?;
                self.begin(Task::Remove { last })
            }
            Ok(Done::Found(None) | Done::Removed) => self.keep_if_sealed(),
            Err(error) => {
                self.passing = Some(error);
                Ok(())
            }
        }
    }

    /// Adds a request to a group, or refuses it.
    fn admit(&mut self, request: Request, group: &mut Group) {
        match request {
            Request::Start { job, target, audit, triggers, done } => {
                match self.start(job, target, audit, triggers) {
                    Ok((started, draft)) => {
                        group.add(vec![draft], Promise::Started(done, started));
                    }
                    Err(error) => drop(done.send(Err(error))),
                }
            }
            Request::Commit { drafts, done } => match drafts.iter().try_for_each(|draft| self.check(draft)) {
                Ok(()) => group.add(drafts, Promise::Committed(done)),
                Err(error) => drop(done.send(Err(error))),
            },
            // They come from inside, and are never in a group.
            Request::Kept(_) | Request::Apply(_) => {}
        }
    }

    fn start(
        &mut self,
        job: JobName,
        target: Target,
        audit: Option<AuditKind>,
        triggers: Triggers,
    ) -> Result<(StartedRun, Draft), StateError> {
        let run = RunId(self.store.last_run.0.saturating_add(1));
        let id = target.id();
        let record =
            Record::RunStarted(RunStarted { run, job: job.clone(), target: target.clone(), audit, triggers });
        let draft = Draft::new(Some(id), record)?;
        self.store.last_run = run;
        let previous = self.store.jobs.insert(job, target);
        self.runs.insert(run, id);
        let previous_target = previous.filter(|previous| previous.id() != id);
        Ok((StartedRun { run, previous_target }, draft))
    }

    /// Refuses records of runs that never began, or that belong to another target.
    fn check(&mut self, draft: &Draft) -> Result<(), StateError> {
        // What the ledger tells of itself is not committed from outside.
        let run = draft.record.run().unwrap_or(RunId(0));
        let foreign = run > self.store.last_run
            || self.runs.get(&run).is_some_and(|target| Some(*target) != draft.target)
            || matches!(draft.record, Record::RunStarted(_) | Record::Checkpoint(_) | Record::Expired(_));
        if foreign {
            return Err(StateError::ForeignRun { run });
        }
        if let Record::RunFinished(_) = draft.record {
            self.runs.remove(&run);
        }
        Ok(())
    }
}

impl Group {
    fn add(&mut self, drafts: Vec<Draft>, promise: Promise) {
        self.bytes += drafts.iter().map(Draft::bytes).sum::<usize>();
        self.drafts.extend(drafts);
        self.promises.push(promise);
    }
}

impl Promise {
    /// Tells a caller how its group ended. A caller that is gone is no failure.
    fn keep(self, outcome: Result<(), StateError>) {
        match self {
            Self::Started(done, started) => drop(done.send(outcome.map(|()| started))),
            Self::Committed(done) => drop(done.send(outcome)),
        }
    }
}
