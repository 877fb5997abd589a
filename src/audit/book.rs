//! The books of a run: what came of each file, recorded first, then counted and told.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Audit;
use crate::domain::{
    AuditReport, Difference, DifferenceKind, Event, Failed, FailedFile, Failure, FileProgress, ProofMethod,
    Record, RelPath,
};
use crate::plain::chain;

/// Outcomes that wait for the books; a full queue slows the workers down.
pub(super) const OUTCOMES_WAITING: usize = 1_024;

/// What the run is told.
#[derive(Debug)]
pub(super) enum Outcome {
    /// There is one more file to look at.
    Planned {
        bytes: u64,
    },
    /// All files are known.
    PlanComplete,
    Proved {
        path: RelPath,
        size: u64,
        method: ProofMethod,
        record: Option<Box<Record>>,
    },
    Differs {
        path: RelPath,
        kind: DifferenceKind,
        expected: String,
        found: String,
        record: Option<Box<Record>>,
    },
    /// Something that is to be kept, of which nobody needs to hear.
    Noted {
        record: Box<Record>,
    },
    /// Nothing to do, and this is known of the file.
    Kept {
        path: RelPath,
    },
    /// Nothing to do for one more file.
    Known,
    Taken {
        path: RelPath,
    },
    Skipped {
        name: String,
        reason: String,
    },
    /// A file that has no path which can be sent.
    Refused {
        name: String,
        failure: Failure,
    },
    Failed {
        path: RelPath,
        failure: Failure,
    },
    NotReached {
        files: u64,
    },
    /// No file would fare better from here on.
    Stop {
        failure: Failure,
    },
}

/// The run's report, and what is not durable yet.
pub(super) struct Book {
    pub(super) audit: Audit,
    pub(super) report: AuditReport,
    pub(super) stop: CancellationToken,
    to_record: Vec<Record>,
    to_tell: Vec<Event>,
}

impl Book {
    pub(super) fn new(audit: Audit, report: AuditReport, stop: CancellationToken) -> Self {
        Self { audit, report, stop, to_record: Vec::new(), to_tell: Vec::new() }
    }

    /// Takes in what is told until nobody is left who could tell anything. Cancel safe, but for
    /// outcomes that were taken and not recorded yet.
    pub(super) async fn keep(&mut self, told: &mut mpsc::Receiver<Outcome>) {
        while let Some(outcome) = told.recv().await {
            self.enter(outcome);
            // All that waits shares one commit.
            while let Ok(outcome) = told.try_recv() {
                self.enter(outcome);
                if self.to_tell.len() >= OUTCOMES_WAITING {
                    break;
                }
            }
            self.record().await;
        }
    }

    /// Takes in what was told already.
    pub(super) async fn keep_rest(&mut self, told: &mut mpsc::Receiver<Outcome>) {
        while let Ok(outcome) = told.try_recv() {
            self.enter(outcome);
        }
        self.record().await;
    }

    /// Makes durable what was entered, and tells of it.
    async fn record(&mut self) {
        let records = std::mem::take(&mut self.to_record);
        if let Err(error) = self.audit.state.commit(self.audit.target.id(), records).await {
            self.stopped(Failure::new(error.class(), chain(&error)));
        }
        for event in std::mem::take(&mut self.to_tell) {
            self.audit.sink.emit(event);
        }
    }

    fn enter(&mut self, outcome: Outcome) {
        let counts = &mut self.report.counts;
        match outcome {
            Outcome::Planned { bytes } => self.to_tell.push(Event::Planned { bytes }),
            Outcome::PlanComplete => {
                self.to_tell.push(Event::PlanComplete { unchanged: counts.kept });
            }
            Outcome::Proved { path, size, method, record } => {
                self.to_record.extend(record.map(|record| *record));
                self.report.add_proved(size, method);
                self.tell(path, FileProgress::Proved { size, method });
            }
            Outcome::Differs { path, kind, expected, found, record } => {
                self.to_record.extend(record.map(|record| *record));
                let difference = Difference { name: path.to_string(), kind, expected, found };
                self.report.add_difference(difference.clone());
                self.tell(path, FileProgress::Differs { difference });
            }
            Outcome::Noted { record } => self.to_record.push(*record),
            Outcome::Kept { path } => {
                counts.kept += 1;
                self.tell(path, FileProgress::Kept);
            }
            Outcome::Known => counts.kept += 1,
            Outcome::Taken { path } => {
                counts.taken += 1;
                self.tell(path, FileProgress::Taken);
            }
            Outcome::Skipped { name, reason } => {
                counts.skipped += 1;
                self.to_tell.push(Event::Skipped { name, reason });
            }
            Outcome::Refused { name, failure } => {
                self.to_tell.push(Event::Refused { name: name.clone(), failure: failure.clone() });
                self.failed(FailedFile { name, failure });
            }
            Outcome::Failed { path, failure } => {
                self.tell(path.clone(), FileProgress::Failed { failure: failure.clone() });
                self.failed(FailedFile::new(&path, failure));
            }
            Outcome::NotReached { files } => counts.not_reached += files,
            Outcome::Stop { failure } => self.stopped(failure),
        }
    }

    fn tell(&mut self, path: RelPath, progress: FileProgress) {
        self.to_tell.push(Event::File { path, progress });
    }

    fn failed(&mut self, file: FailedFile) {
        let FailedFile { name, failure } = file.clone();
        self.report.add_failed(file);
        self.to_record.push(Record::Failed(Failed { run: self.report.run, name, failure }));
    }

    /// No more files are begun. The first cause is the one that counts.
    pub(super) fn stopped(&mut self, failure: Failure) {
        self.stop.cancel();
        self.report.stopped.get_or_insert(failure);
    }
}
