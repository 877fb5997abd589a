//! The events of one run: into the log, the status, and to those who follow it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{OwnedPermit, Sender};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::meter::Meter;
use super::protocol::Told;
use super::status::RunProgress;
use crate::domain::{Event, EventSink, Exit, FailureClass, FileProgress, JobName, RunId, RunReport};
use crate::observe::{Json, Progress, Weight, audit_trouble, escaped, line, trouble};

/// How often followers are told how far a run is: as often as eyes can follow.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Somebody who wants to know of one run. What happens in it is left out where they do not keep
/// up; the last word always has its place.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) events: Sender<Told>,
    pub(super) last: OwnedPermit<Told>,
}

/// The events of one run.
pub(super) struct Watched {
    job: JobName,
    began: Instant,
    followers: Vec<Sender<Told>>,
    meter: Meter,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    run: Option<RunId>,
    guard: Guard,
    progress: Progress,
    json: Json,
    told: Option<Instant>,
}

/// Whether a guard stopped a run before it deleted anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guard {
    #[default]
    Quiet,
    Tripped,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Watched {
    pub(super) fn new(job: JobName, followers: Vec<Sender<Told>>, meter: Meter) -> Self {
        Self { job, began: Instant::now(), followers, meter, seen: Mutex::default() }
    }

    /// The run's number, once it is recorded, and how far it is.
    pub(super) fn now(&self) -> (Option<RunId>, RunProgress) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let run = seen.run;
        (run, seen.progress.at(self.began.elapsed()).into())
    }

    /// Whether a guard stopped it.
    pub(super) fn guard(&self) -> Guard {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).guard
    }

    fn tell(&self, told: &Told) {
        for follower in &self.followers {
            // Full: they do not keep up. Closed: they are gone, and the run goes on.
            drop(follower.try_send(told.clone()));
        }
    }

    /// Takes the event into the status. What is to be told to followers comes back.
    fn enter(&self, event: &Event) -> Option<Told> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::RunStarted { run, .. } | Event::AuditStarted { run, .. } = event {
            seen.run = Some(*run);
        }
        if let Event::GuardTripped { .. } = event {
            seen.guard = Guard::Tripped;
        }
        seen.progress.apply(event, self.began.elapsed());
        if self.followers.is_empty() {
            return None;
        }
        let object = seen.json.line(event).and_then(|text| serde_json::from_str(&text).ok());
        let line = line(event);
        if object.is_some() || line.is_some() {
            let detail = line.as_ref().is_some_and(|line| line.weight == Weight::Detail);
            return Some(Told::Event { object, line: line.map(|line| line.text), detail });
        }
        let now = Instant::now();
        if seen.told.is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) {
            return None;
        }
        seen.told = Some(now);
        let progress = seen.progress.at(self.began.elapsed()).into();
        Some(Told::Progress { job: self.job.clone(), progress })
    }
}

impl EventSink for Watched {
    fn emit(&self, event: Event) {
        log(&self.job, &event);
        self.meter.apply(&self.job, &event);
        if let Some(told) = self.enter(&event) {
            self.tell(&told);
        }
    }
}

/// What the log says of an event. What goes well with a single file is for those only who ask for more.
fn log(job: &JobName, event: &Event) {
    match event {
        Event::RunStarted { run, triggers, .. } => info!(%job, %run, why = %triggers, "The run began."),
        Event::AuditStarted { run, audit, .. } => info!(%job, %run, what = %audit, "The run began."),
        Event::TargetChanged { before, now } => {
            let (before, now) = (escaped(before), escaped(now));
            warn!(%job, %before, %now, "The job goes elsewhere than in its last run; all is sent again.");
        }
        Event::Notice { text } => {
            let text = escaped(text);
            info!(%job, notice = %text, "The server needs a way round.");
        }
        Event::File { path, progress: FileProgress::Failed { failure } } => {
            let (file, cause) = (escaped(path.as_str()), escaped(&failure.cause));
            warn!(%job, %file, %cause, "A file was not delivered.");
        }
        Event::Refused { name, failure } => {
            let (file, cause) = (escaped(name), escaped(&failure.cause));
            warn!(%job, %file, %cause, "A file was not delivered.");
        }
        Event::File { path, progress: FileProgress::Retrying { failure, attempt } } => {
            let (file, cause) = (escaped(path.as_str()), escaped(&failure.cause));
            info!(%job, %file, %cause, attempt, "A file is tried again.");
        }
        Event::File { path, progress: FileProgress::Delivered { size, method, publish } } => {
            let file = escaped(path.as_str());
            debug!(%job, %file, size, proof = %method, direct = !publish.is_rename(), "A file was delivered.");
        }
        Event::RunFinished { report } => log_end(report),
        Event::AuditFinished { report } => {
            let (run, counts) = (report.run, report.counts);
            let (proved, missing, changed) = (counts.proved, counts.missing, counts.changed);
            if report.exit() == Exit::Done {
                info!(%job, %run, proved, missing, changed, "The run ended well.");
                return;
            }
            let cause = audit_trouble(report);
            if missing + changed > 0 {
                error!(%job, %run, proved, missing, changed, %cause, "Files are missing or changed on the server.");
            } else {
                warn!(%job, %run, proved, %cause, "The run did not end well.");
            }
        }
        _ => {}
    }
}

fn log_end(report: &RunReport) {
    let RunReport { job, run, counts, elapsed_ms, .. } = report;
    let (delivered, unchanged, failed) = (counts.delivered, counts.unchanged, counts.failed);
    if report.exit() == Exit::Done {
        info!(%job, %run, delivered, unchanged, elapsed_ms, "The run ended well.");
        return;
    }
    let cause = trouble(report);
    let class = report.stopped.as_ref().map(|failure| failure.class).or(report.worst);
    match class {
        Some(FailureClass::Temporary | FailureClass::Interrupted | FailureClass::Deadline) => {
            warn!(%job, %run, delivered, unchanged, failed, elapsed_ms, %cause, "The run did not end well.");
        }
        _ => {
            error!(%job, %run, delivered, unchanged, failed, elapsed_ms, %cause, "The run needs someone to act.");
        }
    }
}
