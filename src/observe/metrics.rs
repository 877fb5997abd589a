//! Counters and gauges of what happens: a pure fold over events and reports of runs, and the text that
//! monitoring reads.

mod family;
mod text;

use std::collections::BTreeMap;

pub use self::family::{Family, Kind, Metric, Scale};
use crate::domain::{
    AuditKind, Counts, Event, Exit, FailureClass, FileProgress, JobName, ProofMethod, RunReport, Timestamp,
};

/// What was counted and measured so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// By the values of its labels, in the order of [`Family::labels`].
    values: BTreeMap<Metric, BTreeMap<Vec<String>, u64>>,
}

impl Metrics {
    /// Nothing but the program's version.
    pub fn new() -> Self {
        let mut metrics = Self::default();
        metrics.set(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1);
        metrics
    }

    /// Gives a job's counters a value, so that their first step is seen as one. What stands there
    /// already stays.
    pub fn begin(&mut self, job: &JobName) {
        let job = job.as_str();
        for metric in [Metric::GuardTrips, Metric::WatchOverflows, Metric::MissedRuns, Metric::RunDuration] {
            self.add(metric, &[job], 0);
        }
        for (action, _) in actions(&Counts::default()) {
            self.add(Metric::Files, &[job, action], 0);
        }
        for action in [DELIVERED, SENT] {
            self.add(Metric::Bytes, &[job, action], 0);
        }
    }

    /// Forgets jobs and servers that stand in the configuration no more. What is said of all of them
    /// goes as well, until it is set again.
    pub fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        for (metric, values) in &mut self.values {
            if metric.is_of_job() {
                values.retain(|labels, _| labels.first().is_some_and(|job| stays(job)));
            }
        }
        for metric in Metric::ALL.into_iter().filter(|metric| !metric.is_of_job()) {
            if metric != Metric::BuildInfo {
                self.values.remove(&metric);
            }
        }
    }

    /// Takes in an event of a run of this job.
    pub fn apply(&mut self, job: &JobName, event: &Event) {
        let job = job.as_str();
        match event {
            Event::GuardTripped { .. } => self.add(Metric::GuardTrips, &[job], 1),
            Event::AuditFinished { report } if report.audit == AuditKind::Verify => {
                self.set(Metric::Differing, &[job], report.counts.missing + report.counts.changed);
            }
            Event::Refused { failure, .. } => {
                self.add(Metric::FileFailures, &[job, class_word(failure.class)], 1);
            }
            Event::File { progress, .. } => match progress {
                FileProgress::Bytes { count } => self.add(Metric::Bytes, &[job, SENT], *count),
                FileProgress::Retrying { failure, .. } => {
                    self.add(Metric::Retries, &[job, class_word(failure.class)], 1);
                }
                FileProgress::Failed { failure } => {
                    self.add(Metric::FileFailures, &[job, class_word(failure.class)], 1);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Takes in the end of a run that delivers, at this time.
    pub fn ended(&mut self, report: &RunReport, at: Timestamp) {
        let (job, exit) = (report.job.as_str(), report.exit());
        self.add(Metric::Runs, &[job, result_word(exit)], 1);
        self.add(Metric::RunDuration, &[job], report.elapsed_ms);
        for (action, files) in actions(&report.counts) {
            self.add(Metric::Files, &[job, action], files);
        }
        self.add(Metric::Bytes, &[job, DELIVERED], report.counts.bytes_delivered);
        for (method, files) in &report.proofs {
            self.add(Metric::Proofs, &[job, method_word(*method)], *files);
        }
        self.set_time(Metric::LastRun, &[job], at);
        self.set(Metric::LastRunDuration, &[job], report.elapsed_ms);
        self.set(Metric::LastRunExitCode, &[job], exit.code().into());
        self.set(Metric::LastRunFailedFiles, &[job], report.counts.failed);
        self.set(Metric::WaitingFiles, &[job], report.counts.waiting);
        let oldest = report.oldest_waiting.as_ref().map_or(0, |file| file.age_ms / 1_000);
        self.set(Metric::OldestWaiting, &[job], oldest);
        if report.is_well() {
            self.set_time(Metric::LastSuccess, &[job], at);
        }
    }

    /// Counts so many more.
    pub fn add(&mut self, metric: Metric, labels: &[&str], more: u64) {
        let value = self.value(metric, labels);
        *value = value.saturating_add(more);
    }

    /// Says how much it is.
    pub fn set(&mut self, metric: Metric, labels: &[&str], value: u64) {
        *self.value(metric, labels) = value;
    }

    /// Says when it is, in seconds since 1970; of times before that, none.
    pub fn set_time(&mut self, metric: Metric, labels: &[&str], at: Timestamp) {
        self.set(metric, labels, u64::try_from(at.unix_nanos() / 1_000_000_000).unwrap_or(0));
    }

    /// Says that nothing is known of it.
    pub fn clear(&mut self, metric: Metric) {
        self.values.remove(&metric);
    }

    /// How much it is, where something is known of it.
    pub fn get(&self, metric: Metric, labels: &[&str]) -> Option<u64> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        self.values.get(&metric)?.get(&labels).copied()
    }

    fn value(&mut self, metric: Metric, labels: &[&str]) -> &mut u64 {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.values.entry(metric).or_default().entry(labels).or_default()
    }
}

/// Bytes of files that were delivered.
const DELIVERED: &str = "delivered";
/// Bytes that were handed to the network.
const SENT: &str = "sent";

fn actions(counts: &Counts) -> [(&'static str, u64); 14] {
    let Counts {
        delivered,
        settled,
        unchanged,
        confirmed,
        skipped,
        presumed,
        attested,
        failed,
        not_reached,
        waiting,
        no_room: _,
        bytes_delivered: _,
        retired,
        retained,
        removed,
        not_removed,
    } = *counts;
    [
        (DELIVERED, delivered),
        ("settled", settled),
        ("unchanged", unchanged),
        ("confirmed", confirmed),
        ("skipped", skipped),
        ("presumed", presumed),
        ("attested", attested),
        ("failed", failed),
        ("not-reached", not_reached),
        ("waiting", waiting),
        ("retired", retired),
        ("retained", retained),
        ("removed", removed),
        ("not-removed", not_removed),
    ]
}

const fn class_word(class: FailureClass) -> &'static str {
    match class {
        FailureClass::File => "file",
        FailureClass::Source => "source",
        FailureClass::Temporary => "temporary",
        FailureClass::Verification => "verification",
        FailureClass::Refused => "refused",
        FailureClass::Trust => "trust",
        FailureClass::Deadline => "deadline",
        FailureClass::Interrupted => "interrupted",
        FailureClass::Other => "other",
    }
}

const fn method_word(method: ProofMethod) -> &'static str {
    match method {
        ProofMethod::ServerHash => "server-hash",
        ProofMethod::ReadBack => "read-back",
        ProofMethod::Size => "size",
    }
}

const fn result_word(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "done",
        Exit::Other => "other",
        Exit::Usage => "usage",
        Exit::FilesFailed => "files-failed",
        Exit::Source => "source",
        Exit::Temporary => "temporary",
        Exit::Verification => "verification",
        Exit::Refused => "refused",
        Exit::Trust => "trust",
        Exit::Deadline => "deadline",
        Exit::Locked => "locked",
        Exit::Interrupted => "interrupted",
    }
}

#[cfg(test)]
mod tests;
