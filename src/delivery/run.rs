//! One run of one job, from its first record to its last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::failure::describe;
use super::planner::{make_plan, open_source};
use super::recover::recover;
use super::shared::{Outcome, Shared, Work};
use super::worker::Worker;
use crate::clock::Clock;
use crate::domain::{
    Backoff, Event, EventSink, Failed, FailedFile, Failure, FailureClass, FileProgress, Job, Leftovers,
    Record, RemotePath, RunFinished, RunReport, Target,
};
use crate::remote::Remote;
use crate::state::{State, StateError};

/// Outcomes that wait for the run's book-keeping; a full queue slows the workers down.
const OUTCOMES_WAITING: usize = 1_024;

/// Files that wait for a worker: enough that none waits for the plan, and little memory.
const FILES_WAITING: usize = 1_024;

/// How long files under way may go on after a signal.
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
    /// The waits between attempts; [`Delivery::BACKOFF`] where nothing else is wanted.
    pub backoff: Backoff,
}

impl Delivery {
    /// Waits that are long enough, in all, for a server to come back from a restart.
    pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), limit: Duration::from_secs(15) };
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
    let started = delivery.state.start_run(&delivery.job.name, &delivery.target).await?;
    let (run, job) = (started.run, delivery.job.name.clone());
    delivery.sink.emit(Event::RunStarted { run, job: job.clone() });
    if let Some(previous) = started.previous_target {
        let (before, now) = (previous.to_string(), delivery.target.to_string());
        delivery.sink.emit(Event::TargetChanged { before, now });
    }
    let mut book =
        Book { delivery: delivery.clone(), report: RunReport::new(run, job), stop: stop.child_token() };
    let leftovers = match open_source(&delivery.job.source).await {
        Ok(root) => {
            let (outcomes, told) = mpsc::channel(OUTCOMES_WAITING);
            let shared = Shared::new(delivery.clone(), run, root, book.stop.clone(), outcomes);
            tokio::join!(carry_out(shared), book.keep(told)).0
        }
        Err(failure) => {
            book.stopped(failure);
            carry_over(&delivery).await
        }
    };
    if stop.is_cancelled() && book.report.stopped.is_none() {
        book.stopped(Failure::new(FailureClass::Interrupted, "interrupted by a signal"));
    }
    Ok(book.close(leftovers, began).await)
}

/// The folders that earlier runs left something in, for a run that could not look after them.
async fn carry_over(delivery: &Delivery) -> Vec<RemotePath> {
    let (state, target) = (delivery.state.clone(), delivery.target.id());
    let folders =
        spawn_blocking(move || state.manifest(target).and_then(|manifest| manifest.staged_folders()));
    folders.await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Settles what earlier runs left, then plans and delivers. Returns the folders in which
/// temporary files may be left.
async fn carry_out(shared: Arc<Shared>) -> Vec<RemotePath> {
    let Some(unsettled) = recover(&shared).await else { return shared.leftovers() };
    let (queue_in, queue) = async_channel::bounded(FILES_WAITING);
    let workers = usize::from(shared.delivery.remote.server().connections.get());
    shared.begin_work(workers);
    let mut tasks = JoinSet::new();
    let planner = Arc::clone(&shared);
    tasks.spawn_blocking(move || make_plan(&planner, &queue_in, &unsettled));
    for _ in 0..workers {
        tasks.spawn(Worker::new(Arc::clone(&shared)).work(queue.clone()));
    }
    let grace = async {
        shared.stop.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::pin!(grace);
    let mut cut_off = false;
    let mut closed = false;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled(), if !closed => {
                closed = true;
                not_reached(&shared, &queue).await;
            }
            ended = tasks.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    shared.all_may_be_left();
                    if error.is_panic() {
                        let failure = Failure::new(FailureClass::Other, "a part of the program failed; please report it");
                        shared.stop.cancel();
                        shared.tell(Outcome::Stop { failure }).await;
                    }
                }
            },
            () = &mut grace, if !cut_off => {
                cut_off = true;
                tasks.abort_all();
            }
        }
    }
    not_reached(&shared, &queue).await;
    shared.leftovers()
}

/// Closes the queue, which the planner notices, and counts what nobody took from it.
async fn not_reached(shared: &Shared, queue: &async_channel::Receiver<Work>) {
    queue.close();
    let mut files = 0;
    while queue.try_recv().is_ok() {
        files += 1;
    }
    if files > 0 {
        shared.tell(Outcome::NotReached { files }).await;
    }
}

/// The run's books: its report, kept by one task from what workers and planner tell.
struct Book {
    delivery: Delivery,
    report: RunReport,
    stop: CancellationToken,
}

impl Book {
    /// Takes in what is told until nobody is left to tell.
    async fn keep(&mut self, mut told: mpsc::Receiver<Outcome>) {
        while let Some(outcome) = told.recv().await {
            self.enter(outcome).await;
        }
    }

    async fn enter(&mut self, outcome: Outcome) {
        let emit = |event| self.delivery.sink.emit(event);
        let file = |path, progress| Event::File { path, progress };
        let counts = &mut self.report.counts;
        match outcome {
            Outcome::Planned { bytes } => emit(Event::Planned { bytes }),
            Outcome::PlanComplete { unchanged } => {
                counts.unchanged += unchanged;
                emit(Event::PlanComplete { unchanged });
            }
            Outcome::Delivered { path, size, method } => {
                self.report.add_delivered(size, method);
                emit(file(path, FileProgress::Delivered { size, method }));
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
                counts.presumed += 1;
                emit(file(path, FileProgress::Presumed));
            }
            Outcome::Withdrawn => {}
            Outcome::Skipped { name, reason } => {
                counts.skipped += 1;
                emit(Event::Skipped { name, reason });
            }
            Outcome::Refused { name, failure } => {
                emit(Event::Refused { name: name.clone(), failure: failure.clone() });
                self.failed(FailedFile { name, failure }).await;
            }
            Outcome::Failed { path, failure } => {
                emit(file(path.clone(), FileProgress::Failed { failure: failure.clone() }));
                self.failed(FailedFile::new(&path, failure)).await;
            }
            Outcome::NotReached { files } => counts.not_reached += files,
            Outcome::Stop { failure } => self.stopped(failure),
        }
    }

    async fn failed(&mut self, file: FailedFile) {
        let FailedFile { name, failure } = file.clone();
        self.report.add_failed(file);
        let record = Record::Failed(Failed { run: self.report.run, name, failure });
        let committed = self.delivery.state.commit(self.delivery.target.id(), vec![record]).await;
        if let Err(error) = committed {
            self.stopped(Failure::new(error.class(), describe(&error)));
        }
    }

    /// No more files are begun. The first cause is the one that counts.
    fn stopped(&mut self, failure: Failure) {
        self.stop.cancel();
        self.report.stopped.get_or_insert(failure);
    }

    /// Records the end of the run.
    async fn close(mut self, leftovers: Vec<RemotePath>, began: Instant) -> RunReport {
        let finished = RunFinished {
            run: self.report.run,
            counts: self.report.counts,
            stopped: self.report.stopped.clone(),
            leftovers: Leftovers::of(leftovers),
        };
        let committed =
            self.delivery.state.commit(self.delivery.target.id(), vec![Record::RunFinished(finished)]).await;
        if let Err(error) = committed {
            error!(%error, "The end of the run could not be recorded.");
            self.stopped(Failure::new(error.class(), describe(&error)));
        }
        self.report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Box::new(self.report.clone());
        self.delivery.sink.emit(Event::RunFinished { report });
        self.report
    }
}
