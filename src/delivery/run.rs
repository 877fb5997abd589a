//! One run of one job, from its first record to its last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::planner::{make_plan, open_source};
use super::recover::recover;
use super::removal::remove_missing;
use super::retire::{finish_earlier, retire};
use super::shared::{Outcome, Shared};
use super::worker::Worker;
use crate::clock::Clock;
use crate::domain::{
    Backoff, Event, EventSink, Failed, FailedFile, Failure, FailureClass, FileProgress, Job, Leftovers,
    LimitCause, Mount, Record, RelPath, Removal, RunFinished, RunId, RunLimit, RunReport, Scope, SkippedFile,
    SourceSeen, Target, Triggers, WaitingFile,
};
use crate::plain::chain;
use crate::remote::Remote;
use crate::state::{State, StateError};

/// Outcomes that wait for the run's book-keeping; a full queue slows the workers down.
const OUTCOMES_WAITING: usize = 1_024;

/// Delivered files that wait to be taken out of the source: little memory.
const RETIREMENTS_WAITING: usize = 1_024;

/// How long files under way may go on once the run stops, by a signal or for a cause that would
/// meet every file.
const GRACE: Duration = Duration::from_secs(10);

/// What a run needs.
#[derive(Clone)]
pub struct Delivery {
    /// The job.
    pub job: Job,
    /// What the run is about.
    pub target: Target,
    /// The job's server.
    pub remote: Arc<Remote>,
    /// Where records go and what is known comes from.
    pub state: State,
    /// The time of day and random numbers.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub sink: Arc<dyn EventSink>,
    /// Why the run starts.
    pub triggers: Triggers,
    /// Which part of the source it is about. Remote files are deleted only by a run over all of it.
    pub scope: Scope,
    /// When the run has to end.
    pub limit: Option<RunLimit>,
    /// The run whose stopped deletions a person has approved.
    pub approved: Option<RunId>,
    /// The waits between attempts; [`Delivery::BACKOFF`] where nothing else is wanted.
    pub backoff: Backoff,
    /// From how many bytes on a file's interrupted upload is gone on with;
    /// [`Delivery::RESUME_FROM`] where nothing else is wanted.
    pub resume_from: u64,
}

impl Delivery {
    /// Waits that are long enough, in all, for a server to come back from a restart.
    pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), limit: Duration::from_secs(15) };

    /// A file of 64 MiB crosses a line of 10 Mbit/s in a minute. Smaller ones are not worth a
    /// durable record each, and are sent again sooner than is found out what became of them.
    pub const RESUME_FROM: u64 = 64 * 1024 * 1024;
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("job", &self.job)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Runs a job once. When `stop` is cancelled, files under way may go on for a short grace, and
/// no others are begun. An error means that the run could not even be recorded.
///
/// Not cancel safe: a run that is dropped midway leaves intents and temporary files, which the
/// next run settles and sweeps.
pub async fn run(delivery: Delivery, stop: CancellationToken) -> Result<RunReport, StateError> {
    let began = Instant::now();
    let started = {
        let triggers = delivery.triggers.clone();
        delivery.state.start_run_for(&delivery.job.name, &delivery.target, triggers).await?
    };
    let (run, job) = (started.run, delivery.job.name.clone());
    delivery.sink.emit(Event::RunStarted { run, job: job.clone(), triggers: delivery.triggers.clone() });
    if let Some(previous) = started.previous_target {
        let (before, now) = (previous.to_string(), delivery.target.to_string());
        delivery.sink.emit(Event::TargetChanged { before, now });
    }
    let mut book = Book {
        delivery: delivery.clone(),
        report: RunReport {
            triggers: delivery.triggers.clone(),
            publish: delivery.job.publish,
            ..RunReport::new(run, job)
        },
        stop: stop.child_token(),
        to_record: vec![],
    };
    let ends = delivery.limit.map(|limit| (began + limit.after, limit.cause));
    let carried_out = match within(ends, open_source(&delivery.job)).await {
        Ok(root) => {
            let (outcomes, told) = mpsc::channel(OUTCOMES_WAITING);
            let shared = Shared::new(delivery.clone(), run, root, book.stop.clone(), outcomes);
            book.keep(told, ends, Box::pin(carry_out(shared))).await
        }
        Err(failure) => {
            book.stopped(failure);
            CarriedOut::NOTHING
        }
    };
    if stop.is_cancelled() && book.report.stopped.is_none() {
        let cause = match carried_out.end {
            End::Orderly => "interrupted by a signal",
            End::CutOff => {
                "interrupted by a signal; what was under way was cut off, and parts of files may stand under \
                 temporary names on the server until the next run deletes them"
            }
        };
        book.stopped(Failure::new(FailureClass::Interrupted, cause));
    }
    Ok(book.close(carried_out, began).await)
}

/// Waits until the run has to end; for ever, where it need not.
async fn reached(ends: Option<(Instant, LimitCause)>) -> Failure {
    let Some((at, cause)) = ends else { return std::future::pending().await };
    sleep_until(at).await;
    let text = match cause {
        LimitCause::Deadline => "the run took longer than its `deadline`; the next one goes on from here",
        LimitCause::WindowClosed => {
            "the hours in which it may run (`window`) are over; it goes on when they come again"
        }
    };
    Failure::new(FailureClass::Deadline, text)
}

/// Does something, but no longer than the run may take.
async fn within<T>(
    ends: Option<(Instant, LimitCause)>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        failure = reached(ends) => Err(failure),
    }
}

/// Settles what earlier runs left, then plans and delivers. Returns where temporary files may be
/// left.
async fn carry_out(shared: Arc<Shared>) -> CarriedOut {
    let grace = async {
        shared.stop.cancelled().await;
        not_reached(&shared).await;
        sleep(GRACE).await;
    };
    tokio::pin!(grace);
    let unsettled = tokio::select! {
        biased;
        unsettled = Box::pin(begin(&shared)) => unsettled,
        () = &mut grace => return CarriedOut { end: End::CutOff, ..CarriedOut::NOTHING },
    };
    let Some(unsettled) = unsettled else { return CarriedOut::NOTHING };
    let (retirements, to_retire) = async_channel::bounded(RETIREMENTS_WAITING);
    let mut tasks = JoinSet::new();
    // Those that no session is worth opening for only wait.
    for _ in 0..shared.delivery.remote.server().connections.get() {
        let worker = Worker::new(Arc::clone(&shared)).retiring(retirements.clone());
        tasks.spawn(worker.work());
    }
    tasks.spawn(retire_all(Arc::clone(&shared), to_retire));
    let planner = Arc::clone(&shared);
    let mut plan = spawn_blocking(move || make_plan(&planner, &retirements, &unsettled));
    let (mut died, mut all_known, mut whole, mut seen) = (false, false, true, None);
    while whole && !(all_known && tasks.is_empty()) {
        tokio::select! {
            biased;
            ended = &mut plan, if !all_known => {
                all_known = true;
                died |= ended.is_err();
                seen = ended.ok().flatten();
            }
            ended = tasks.join_next(), if !tasks.is_empty() => died |= matches!(ended, Some(Err(_))),
            // The plan may be stuck in a source that does not answer: it is not waited for.
            () = &mut grace => whole = false,
        }
        if died {
            shared.stop.cancel();
        }
        if all_known {
            // Also where the plan died.
            shared.backlog.complete();
        }
    }
    let mut source = None;
    if let Some(seen) = seen.filter(|_| whole && !shared.stop.is_cancelled()) {
        tokio::select! {
            biased;
            remembered = remove_missing(&shared, &seen) => source = remembered,
            () = &mut grace => whole = false,
        }
    }
    shared.cut_off.cancel();
    tasks.shutdown().await;
    not_reached(&shared).await;
    let in_hand = shared.backlog.in_hand();
    if in_hand > 0 {
        shared.tell(Outcome::NotReached { files: in_hand }).await;
    }
    if died {
        let failure = Failure::new(FailureClass::Other, "a part of the program failed; please report it");
        shared.tell(Outcome::Stop { failure }).await;
    }
    let leftovers = if whole && !died { Leftovers::of(shared.leftovers()) } else { Leftovers::AllStaged };
    let end = if whole { End::Orderly } else { End::CutOff };
    CarriedOut { leftovers, source, mounts: shared.mounts(), end }
}

/// Whether all that was under way came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    CutOff,
}

/// What is to be remembered after a run.
struct CarriedOut {
    /// Where temporary files may be left.
    leftovers: Leftovers,
    /// What a complete scan saw of the source.
    source: Option<SourceSeen>,
    /// What is mounted below the source, where that is news.
    mounts: Option<Vec<Mount>>,
    end: End,
}

impl CarriedOut {
    /// Of a run that ended before it looked.
    const NOTHING: Self =
        Self { leftovers: Leftovers::AllStaged, source: None, mounts: None, end: End::Orderly };
}

/// Deletes or moves the sources of delivered files, until nobody hands on any more.
async fn retire_all(shared: Arc<Shared>, to_retire: async_channel::Receiver<RelPath>) {
    while let Ok(path) = to_retire.recv().await {
        retire(&shared, &path).await;
    }
}

/// Settles what earlier runs left. Returns the paths that could not be settled; `None` where the run
/// must stop.
async fn begin(shared: &Arc<Shared>) -> Option<BTreeSet<RelPath>> {
    if let Err(error) = finish_earlier(shared).await {
        shared.stop.cancel();
        let failure = Failure::new(error.class(), chain(&error));
        shared.tell(Outcome::Stop { failure }).await;
        return None;
    }
    Box::pin(recover(shared)).await
}

/// Closes the backlog, which the planner notices, and counts what nobody took from it.
async fn not_reached(shared: &Shared) {
    let files = shared.backlog.close();
    if files > 0 {
        shared.tell(Outcome::NotReached { files }).await;
    }
}

/// The run's books: its report, kept by one task from what workers and planner tell.
struct Book {
    delivery: Delivery,
    report: RunReport,
    stop: CancellationToken,
    /// Failures that are not durable yet.
    to_record: Vec<Record>,
}

impl Book {
    /// Takes in what is told until the run is carried out.
    async fn keep(
        &mut self,
        mut told: mpsc::Receiver<Outcome>,
        ends: Option<(Instant, LimitCause)>,
        carried_out: impl Future<Output = CarriedOut>,
    ) -> CarriedOut {
        let time_is_up = reached(ends);
        tokio::pin!(carried_out, time_is_up);
        let mut timed_out = false;
        loop {
            tokio::select! {
                biased;
                Some(outcome) = told.recv() => {
                    self.enter(outcome);
                    // All that waits shares one commit.
                    while let Ok(outcome) = told.try_recv() {
                        self.enter(outcome);
                        if self.to_record.len() >= OUTCOMES_WAITING {
                            break;
                        }
                    }
                    self.record().await;
                }
                failure = &mut time_is_up, if !timed_out => {
                    timed_out = true;
                    self.stopped(failure);
                }
                ended = &mut carried_out => {
                    while let Ok(outcome) = told.try_recv() {
                        self.enter(outcome);
                    }
                    self.record().await;
                    return ended;
                }
            }
        }
    }

    /// Makes the failures that were entered durable.
    async fn record(&mut self) {
        let records = std::mem::take(&mut self.to_record);
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.delivery.state.commit(self.delivery.target.id(), records).await {
            self.stopped(Failure::new(error.class(), chain(&error)));
        }
    }

    fn enter(&mut self, outcome: Outcome) {
        let emit = |event| self.delivery.sink.emit(event);
        let file = |path, progress| Event::File { path, progress };
        let counts = &mut self.report.counts;
        match outcome {
            Outcome::Planned { bytes } => emit(Event::Planned { bytes }),
            Outcome::PlanComplete { unchanged } => {
                counts.unchanged += unchanged;
                emit(Event::PlanComplete { unchanged });
            }
            Outcome::Delivered { path, size, method, publish } => {
                self.report.add_delivered(size, method);
                emit(file(path, FileProgress::Delivered { size, method, publish }));
            }
            Outcome::Settled { path } => {
                counts.settled += 1;
                emit(file(path, FileProgress::Settled));
            }
            Outcome::Confirmed { path } => {
                counts.confirmed += 1;
                emit(file(path, FileProgress::Confirmed));
            }
            Outcome::Presumed { path } => {
                self.report.add_presumed(&path);
                emit(file(path, FileProgress::Presumed));
            }
            Outcome::Attested { path } => {
                counts.attested += 1;
                emit(file(path, FileProgress::Attested));
            }
            Outcome::Withdrawn => {}
            Outcome::Waiting { path, age_ms, cause } => {
                let (name, told) = (path.to_string(), cause.clone());
                self.report.add_waiting(WaitingFile { name, age_ms, cause });
                emit(file(path, FileProgress::Waiting { age_ms, cause: told }));
            }
            Outcome::Skipped { name, reason } => {
                self.report.add_skipped(SkippedFile { name: name.clone(), reason: reason.clone() });
                emit(Event::Skipped { name, reason });
            }
            Outcome::Refused { name, failure } => {
                emit(Event::Refused { name: name.clone(), failure: failure.clone() });
                self.failed(FailedFile { name, failure });
            }
            Outcome::Failed { path, failure } => {
                emit(file(path.clone(), FileProgress::Failed { failure: failure.clone() }));
                self.failed(FailedFile::new(&path, failure));
            }
            Outcome::NoRoom { path, failure } => {
                counts.no_room += 1;
                self.enter(Outcome::Failed { path, failure });
            }
            Outcome::Retired { path, moved_to } => {
                counts.retired += 1;
                emit(file(path, FileProgress::Retired { moved_to }));
            }
            Outcome::Retained { path, failure } => {
                emit(file(path.clone(), FileProgress::Retained { failure: failure.clone() }));
                self.report.add_retained(FailedFile::new(&path, failure));
            }
            Outcome::Removed { path, removal } => {
                counts.removed += u64::from(matches!(removal, Removal::Deleted | Removal::Trashed));
                emit(file(path, FileProgress::Removed { removal }));
            }
            Outcome::NotRemoved { path, failure } => {
                emit(file(path.clone(), FileProgress::NotRemoved { failure: failure.clone() }));
                self.report.add_not_removed(FailedFile::new(&path, failure));
            }
            Outcome::NotReached { files } => counts.not_reached += files,
            Outcome::Stop { failure } => self.stopped(failure),
        }
    }

    fn failed(&mut self, file: FailedFile) {
        let FailedFile { name, failure } = file.clone();
        self.report.add_failed(file);
        self.to_record.push(Record::Failed(Failed { run: self.report.run, name, failure }));
    }

    /// No more files are begun. The first cause is the one that counts.
    fn stopped(&mut self, failure: Failure) {
        self.stop.cancel();
        self.report.stopped.get_or_insert(failure);
    }

    /// Records the end of the run.
    async fn close(mut self, carried_out: CarriedOut, began: Instant) -> RunReport {
        let CarriedOut { leftovers, source, mounts, end: _ } = carried_out;
        let finished = RunFinished {
            run: self.report.run,
            counts: self.report.counts,
            stopped: self.report.stopped.clone(),
            leftovers,
            source,
            mounts,
            skipped: self.report.skipped.clone(),
        };
        let committed =
            self.delivery.state.commit(self.delivery.target.id(), vec![Record::RunFinished(finished)]).await;
        if let Err(error) = committed {
            error!(error = %chain(&error), "The end of the run could not be recorded.");
            self.stopped(Failure::new(error.class(), chain(&error)));
        }
        self.report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Box::new(self.report.clone());
        self.delivery.sink.emit(Event::RunFinished { report });
        self.report
    }
}
