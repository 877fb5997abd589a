//! What came of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Exit, JobName, ProofMethod, PublishWay, RelPath, RunId, Timestamp, Triggers, WaitCause, WaitingFile,
};

/// Most failed files that a report names; all are counted, and all stand in the ledger.
pub const MAX_FAILED_FILES_NAMED: usize = 1_000;

/// Most presumed files that a report names; all are counted, and `nightferry settle` lists them.
pub const MAX_PRESUMED_FILES_NAMED: usize = 1_000;

/// Most skipped files that a report names; all are counted, and each run over all of the source meets them anew.
pub const MAX_SKIPPED_FILES_NAMED: usize = MAX_FAILED_FILES_NAMED;

/// Most bytes of their names and reasons: all stand in one record of the ledger, which has room for a multiple of it.
const MAX_SKIPPED_BYTES_NAMED: usize = 256 * 1024;

/// Most waiting files that a report names; all are counted, and each run meets them anew.
pub const MAX_WAITING_FILES_NAMED: usize = 1_000;

/// What kind of trouble a failure was: it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The file itself: unreadable, changed while it was read, a name that cannot be sent, or
    /// refused by the server.
    File,
    /// The source folder is missing or could not be walked to its end.
    Source,
    /// The network or the server, for now.
    Temporary,
    /// What the server stored is not what was sent.
    Verification,
    /// The server refused for good: login, quota, permission.
    Refused,
    /// Certificate or TLS.
    Trust,
    /// The run took longer than it may, or its hours were over.
    Deadline,
    /// A signal asked to stop.
    Interrupted,
    /// Our own state or system: disk full, damaged state.
    Other,
}

impl FailureClass {
    /// The exit code of a run in which this happened.
    pub const fn exit(self) -> Exit {
        match self {
            Self::File => Exit::FilesFailed,
            Self::Source => Exit::Source,
            Self::Temporary => Exit::Temporary,
            Self::Verification => Exit::Verification,
            Self::Refused => Exit::Refused,
            Self::Trust => Exit::Trust,
            Self::Deadline => Exit::Deadline,
            Self::Interrupted => Exit::Interrupted,
            Self::Other => Exit::Other,
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of trouble.
    pub class: FailureClass,
    /// The cause, with what to do about it where that is known; free of control characters.
    pub cause: String,
}

impl Failure {
    /// A failure with its cause. Control characters, which may come from a server's reply, are
    /// escaped, so that the text can stand in a log or on a terminal.
    pub fn new(class: FailureClass, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        let cause = if cause.contains(char::is_control) { cause.escape_debug().to_string() } else { cause };
        Self { class, cause }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// A file that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFile {
    /// The file as shown to people: names that cannot be sent have no [`RelPath`].
    pub name: String,
    /// Why.
    pub failure: Failure,
}

impl FailedFile {
    /// A file that could be sent, but was not.
    pub fn new(path: &RelPath, failure: Failure) -> Self {
        Self { name: path.to_string(), failure }
    }
}

/// A file that was not to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// The file as shown to people.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl SkippedFile {
    fn bytes(&self) -> usize {
        self.name.len() + self.reason.len()
    }
}

/// How many files had which outcome. Each file that was found has exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sent and proved.
    pub delivered: u64,
    /// Delivered by an earlier run that could not record it any more; found so by this one.
    pub settled: u64,
    /// Same facts as when they were delivered: not read.
    pub unchanged: u64,
    /// Read and found to hold what was delivered: not sent.
    pub confirmed: u64,
    /// Neither files nor folders (links, pipes, devices), or gone before they could be read: not sent.
    pub skipped: u64,
    /// Most likely delivered, and taken by the consumer; a person should look.
    pub presumed: u64,
    /// The same, and a person said that the receiver has them: not sent.
    #[serde(default)]
    pub attested: u64,
    /// Not delivered.
    pub failed: u64,
    /// Of the failed ones: those for which the server had no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_room: u64,
    /// To be sent, but the run ended before their turn.
    #[serde(default)]
    pub not_reached: u64,
    /// Not sent yet: they may still be being written, or their ready marker is not there.
    #[serde(default)]
    pub waiting: u64,
    /// Bytes of the delivered files.
    pub bytes_delivered: u64,
    /// Source files that were deleted or moved after their delivery, now or earlier.
    #[serde(default)]
    pub retired: u64,
    /// Source files that should have been, and could not: they are delivered all the same.
    #[serde(default)]
    pub retained: u64,
    /// Remote files that were deleted or moved to the trash, because their source is gone.
    #[serde(default)]
    pub removed: u64,
    /// Remote files that should have been, and could not.
    #[serde(default)]
    pub not_removed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counts {
    /// Files with which someone or a later run has something to do.
    pub const fn left_to_do(&self) -> u64 {
        self.failed + self.presumed + self.retained + self.not_removed + self.not_reached
    }

    /// Whether the job is parked after a run that `stopped` so: the server had no room, and nothing graver is the
    /// matter. Smaller files still go; the others wait until there is room.
    pub fn is_parked(&self, stopped: Option<&Failure>) -> bool {
        self.no_room > 0 && stopped.is_none_or(|failure| failure.class == FailureClass::Refused)
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// Why it started.
    #[serde(default, skip_serializing_if = "Triggers::is_empty")]
    pub triggers: Triggers,
    /// How files came under their names.
    #[serde(default, skip_serializing_if = "PublishWay::is_rename")]
    pub publish: PublishWay,
    /// How many files had which outcome.
    pub counts: Counts,
    /// How many files were proved by which method.
    pub proofs: BTreeMap<ProofMethod, u64>,
    /// The failed files, the first [`MAX_FAILED_FILES_NAMED`] of them.
    pub failed: Vec<FailedFile>,
    /// The presumed files as shown to people, the first [`MAX_PRESUMED_FILES_NAMED`] of them.
    #[serde(default)]
    pub presumed: Vec<String>,
    /// The skipped files, the first [`MAX_SKIPPED_FILES_NAMED`] of them; fewer where their names are very long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedFile>,
    /// The files that are not sent yet, the first [`MAX_WAITING_FILES_NAMED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingFile>,
    /// When the first of them may have been written to its end: a run over the same part of the source
    /// is due then. Those that wait for a marker are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_again: Option<Timestamp>,
    /// Of all files that are not sent yet, the one whose last change is the longest ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting: Option<WaitingFile>,
    /// The worst that befell a file; files beyond the named ones count.
    pub worst: Option<FailureClass>,
    /// How files failed; files beyond the named ones count. Known where the run was made.
    #[serde(skip)]
    pub classes: BTreeSet<FailureClass>,
    /// Why the run ended before its plan was done.
    pub stopped: Option<Failure>,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
}

impl RunReport {
    /// The report of a run that has done nothing yet.
    pub fn new(run: RunId, job: JobName) -> Self {
        Self {
            run,
            job,
            triggers: Triggers::default(),
            publish: PublishWay::Rename,
            counts: Counts::default(),
            proofs: BTreeMap::new(),
            failed: Vec::new(),
            presumed: Vec::new(),
            skipped: Vec::new(),
            waiting: Vec::new(),
            look_again: None,
            oldest_waiting: None,
            worst: None,
            classes: BTreeSet::new(),
            stopped: None,
            elapsed_ms: 0,
        }
    }

    /// Counts a delivered file.
    pub fn add_delivered(&mut self, bytes: u64, method: ProofMethod) {
        self.counts.delivered += 1;
        self.counts.bytes_delivered = self.counts.bytes_delivered.saturating_add(bytes);
        *self.proofs.entry(method).or_default() += 1;
    }

    /// Counts a file that most likely was delivered and taken.
    pub fn add_presumed(&mut self, path: &RelPath) {
        self.counts.presumed += 1;
        if self.presumed.len() < MAX_PRESUMED_FILES_NAMED {
            self.presumed.push(path.to_string());
        }
    }

    /// Counts a file that was not to be sent.
    pub fn add_skipped(&mut self, file: SkippedFile) {
        // Behind the first that has no room none is named, so that the named ones are the first.
        let are_all_named = u64::try_from(self.skipped.len()).is_ok_and(|named| named == self.counts.skipped);
        self.counts.skipped += 1;
        if !are_all_named || self.skipped.len() >= MAX_SKIPPED_FILES_NAMED {
            return;
        }
        let bytes: usize = self.skipped.iter().map(SkippedFile::bytes).sum();
        if bytes + file.bytes() <= MAX_SKIPPED_BYTES_NAMED {
            self.skipped.push(file);
        }
    }

    /// Counts a file that is not sent yet.
    pub fn add_waiting(&mut self, file: WaitingFile) {
        self.counts.waiting += 1;
        if let WaitCause::NotAtRest { until } = file.cause {
            self.look_again = Some(self.look_again.map_or(until, |at| at.min(until)));
        }
        if self.oldest_waiting.as_ref().is_none_or(|oldest| oldest.age_ms < file.age_ms) {
            self.oldest_waiting = Some(file.clone());
        }
        if self.waiting.len() < MAX_WAITING_FILES_NAMED {
            self.waiting.push(file);
        }
    }

    /// Counts a failed file.
    pub fn add_failed(&mut self, file: FailedFile) {
        self.counts.failed += 1;
        self.name(file);
    }

    /// Counts a file that was delivered, and whose source stayed against the job's wish.
    pub fn add_retained(&mut self, file: FailedFile) {
        self.counts.retained += 1;
        self.name(file);
    }

    /// Counts a remote file that should have been deleted or moved to the trash, and was not.
    pub fn add_not_removed(&mut self, file: FailedFile) {
        self.counts.not_removed += 1;
        self.name(file);
    }

    fn name(&mut self, file: FailedFile) {
        self.worst = Some(worse(self.worst, file.failure.class));
        self.classes.insert(file.failure.class);
        if self.failed.len() < MAX_FAILED_FILES_NAMED {
            self.failed.push(file);
        }
    }

    /// Whether the job waits for room on the server.
    pub fn is_parked(&self) -> bool {
        self.counts.is_parked(self.stopped.as_ref())
    }

    /// Whether the run came to its end, and left nothing to do.
    pub fn is_well(&self) -> bool {
        self.stopped.is_none() && self.counts.left_to_do() == 0
    }

    /// How a command that made this run should end. A run with a failed file never ends as done, nor does one
    /// that did not reach a file.
    pub fn exit(&self) -> Exit {
        let stopped = self.stopped.as_ref().map_or(Exit::Done, |failure| failure.class.exit());
        let presumed = if self.counts.presumed > 0 { Exit::FilesFailed } else { Exit::Done };
        let files = match self.worst {
            None if self.counts.not_reached > 0 && self.stopped.is_none() => Exit::Temporary,
            None => Exit::Done,
            Some(class) => class.exit(),
        };
        files.worst(presumed).worst(stopped)
    }
}

/// The one of two kinds of trouble that must be seen first.
pub(super) fn worse(known: Option<FailureClass>, class: FailureClass) -> FailureClass {
    match known {
        Some(worst) if worst.exit().worst(class.exit()) == worst.exit() => worst,
        _ => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(classes: &[FailureClass]) -> RunReport {
        let mut report = RunReport::new(RunId(1), "j".parse().unwrap());
        for &class in classes {
            report.add_failed(FailedFile { name: "f".into(), failure: Failure::new(class, "why") });
        }
        report
    }

    #[test]
    fn a_run_with_a_failed_file_never_ends_as_done() {
        assert_eq!(report(&[]).exit(), Exit::Done);
        assert_eq!(report(&[FailureClass::File]).exit(), Exit::FilesFailed);
        assert_eq!(report(&[FailureClass::File, FailureClass::Verification]).exit(), Exit::Verification);
        assert_eq!(report(&[FailureClass::Verification, FailureClass::File]).exit(), Exit::Verification);
        let mut stopped = report(&[FailureClass::File]);
        stopped.stopped = Some(Failure::new(FailureClass::Trust, "expired"));
        assert_eq!(stopped.exit(), Exit::Trust);
    }

    #[test]
    fn a_run_that_did_not_reach_a_file_never_ends_as_done() {
        let mut report = report(&[]);
        report.counts.not_reached = 1;
        assert_eq!(report.exit(), Exit::Temporary);
        report.stopped = Some(Failure::new(FailureClass::Interrupted, "stopped"));
        assert_eq!(report.exit(), Exit::Interrupted, "what stopped it says more");
    }

    #[test]
    fn all_failed_files_count_but_only_the_first_are_named() {
        let mut report = report(&vec![FailureClass::File; MAX_FAILED_FILES_NAMED + 5]);
        report.add_failed(FailedFile {
            name: "late".into(),
            failure: Failure::new(FailureClass::Refused, "550"),
        });
        assert_eq!(report.counts.failed, 1_006);
        assert_eq!(report.failed.len(), MAX_FAILED_FILES_NAMED);
        assert_eq!(report.exit(), Exit::Refused);
    }

    #[test]
    fn all_skipped_files_count_but_only_the_first_are_named() {
        let skipped = |length| SkippedFile { name: "n".repeat(length), reason: "named pipe".into() };
        let mut report = report(&[]);
        for _ in 0..MAX_SKIPPED_FILES_NAMED + 5 {
            report.add_skipped(skipped(9));
        }
        assert_eq!((report.counts.skipped, report.skipped.len()), (1_005, MAX_SKIPPED_FILES_NAMED));
        let mut report = RunReport::new(RunId(1), "j".parse().unwrap());
        for length in [4_000].repeat(100).into_iter().chain([1]) {
            report.add_skipped(skipped(length));
        }
        assert_eq!(report.counts.skipped, 101);
        assert!((60..70).contains(&report.skipped.len()), "{}", report.skipped.len());
        assert!(report.skipped.iter().all(|file| file.name.len() == 4_000), "one behind was named");
        assert_eq!(report.exit(), Exit::Done);
    }

    #[test]
    fn causes_cannot_forge_log_lines() {
        let failure = Failure::new(FailureClass::File, "550 no\n2026 all delivered\x1b[2J");
        assert_eq!(failure.cause, r"550 no\n2026 all delivered\u{1b}[2J");
    }
}
