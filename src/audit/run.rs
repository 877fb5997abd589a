//! One run, from its first record to its last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Audit;
use super::book::{Book, OUTCOMES_WAITING, Outcome};
use super::feed::Feed;
use super::pool::{Examine, Pool, Worker};
use crate::domain::{
    AuditKind, AuditReport, Audited, Counts, Event, Failure, FailureClass, Leftovers, LimitCause, Record,
    RunFinished, RunId, RunLimit,
};
use crate::plain::chain;
use crate::state::StateError;

/// Batches that wait for a worker: enough that none waits for the disk, and little memory.
const BATCHES_WAITING: usize = 64;

/// How long a source that does not answer may hold up the end of a run that was stopped.
const GRACE: Duration = Duration::from_secs(10);

/// Runs one of the three: `feed` finds the files in a blocking thread, the workers look at them.
/// When `stop` is cancelled, what is under way is dropped. An error means that the run could not
/// even be recorded.
pub(super) async fn run<E: Examine>(
    audit: &Audit,
    kind: AuditKind,
    stop: CancellationToken,
    examine: impl FnOnce(RunId) -> E,
    feed: impl FnOnce(&mut Feed<E::Item>) -> Result<(), Failure> + Send + 'static,
) -> Result<AuditReport, StateError> {
    let began = Instant::now();
    let job = audit.job.name.clone();
    let started = audit.state.start_audit(&job, &audit.target, kind).await?;
    audit.sink.emit(Event::AuditStarted { run: started.run, job: job.clone(), audit: kind });
    if let Some(previous) = started.previous_target {
        let (before, now) = (previous.to_string(), audit.target.to_string());
        audit.sink.emit(Event::TargetChanged { before, now });
    }
    let report = AuditReport::new(started.run, job, kind);
    let mut book = Book::new(audit.clone(), report, stop.child_token());
    let cut = book.stop.clone();
    let ends = {
        let work = carry_out(&mut book, examine(started.run), feed);
        tokio::pin!(work);
        tokio::select! {
            biased;
            () = &mut work => None,
            failure = reached(audit.limit) => {
                cut.cancel();
                work.await;
                Some(failure)
            }
        }
    };
    if let Some(failure) = ends {
        book.stopped(failure);
    }
    if stop.is_cancelled() && book.report.stopped.is_none() {
        book.stopped(Failure::new(FailureClass::Interrupted, "interrupted by a signal"));
    }
    Ok(close(book, began).await)
}

/// Waits until the run has to end; for ever, where it need not.
async fn reached(limit: Option<RunLimit>) -> Failure {
    let Some(RunLimit { after, cause }) = limit else { return std::future::pending().await };
    sleep(after).await;
    let text = match cause {
        LimitCause::Deadline => "looking took longer than the job's `deadline`",
        LimitCause::WindowClosed => "the hours in which the job may run (`window`) are over",
    };
    Failure::new(FailureClass::Deadline, text)
}

async fn carry_out<E: Examine>(
    book: &mut Book,
    examine: E,
    feed: impl FnOnce(&mut Feed<E::Item>) -> Result<(), Failure> + Send + 'static,
) {
    let (outcomes, mut told) = mpsc::channel(OUTCOMES_WAITING);
    let (queue_in, queue) = async_channel::bounded(BATCHES_WAITING);
    let stop = book.stop.clone();
    let finder = {
        let (outcomes, stop) = (outcomes.clone(), stop.clone());
        move || {
            let mut found = Feed::new(queue_in, outcomes, E::BATCH_FILES);
            if let Err(failure) = feed(&mut found) {
                stop.cancel();
                found.tell(Outcome::Stop { failure });
            }
            found.end();
        }
    };
    let finder = spawn_blocking(finder);
    let pool = Arc::new(Pool::new(book.audit.clone(), examine, stop.clone()));
    let mut tasks = JoinSet::new();
    for _ in 0..pool.workers() {
        tasks.spawn(Worker::new(Arc::clone(&pool), queue.clone(), outcomes.clone()).work());
    }
    drop(outcomes);
    let grace = async {
        stop.cancelled().await;
        // The finder notices, and only counts from then on.
        queue.close();
        sleep(GRACE).await;
    };
    let whole = tokio::select! {
        biased;
        () = book.keep(&mut told) => true,
        () = grace => false,
    };
    let mut died = false;
    if whole {
        died |= finder.await.is_err();
        while let Some(ended) = tasks.join_next().await {
            died |= ended.is_err();
        }
    }
    tasks.shutdown().await;
    book.keep_rest(&mut told).await;
    let mut left = pool.returned();
    while let Ok(batch) = queue.try_recv() {
        left += u64::try_from(batch.len()).unwrap_or(u64::MAX);
    }
    book.report.counts.not_reached += left;
    if died {
        book.stopped(Failure::new(FailureClass::Other, "a part of the program failed; please report it"));
    }
}

/// Records the end of the run.
async fn close(mut book: Book, began: Instant) -> AuditReport {
    let AuditReport { run, audit, counts, ref proofs, .. } = book.report;
    let audited = Audited { run, audit, counts, proofs: proofs.clone() };
    let finished = RunFinished {
        run,
        counts: Counts { failed: counts.failed, not_reached: counts.not_reached, ..Counts::default() },
        stopped: book.report.stopped.clone(),
        // Nothing was stored, and nobody looked for what others left.
        leftovers: Leftovers::AllStaged,
        mounts: None,
        source: None,
        skipped: Vec::new(),
    };
    let records = vec![Record::Audited(audited), Record::RunFinished(finished)];
    if let Err(error) = book.audit.state.commit(book.audit.target.id(), records).await {
        error!(error = %chain(&error), "The end of the run could not be recorded.");
        book.stopped(Failure::new(error.class(), chain(&error)));
    }
    book.report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let report = Box::new(book.report.clone());
    book.audit.sink.emit(Event::AuditFinished { report });
    book.report
}
