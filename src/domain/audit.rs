//! What came of looking at files that were delivered: verify, adopt and restore.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::worse;
use super::{Exit, FailedFile, Failure, FailureClass, JobName, MAX_FAILED_FILES_NAMED, ProofMethod, RunId};

/// Most differing files that a report names; all are counted, and verifying records all.
pub const MAX_DIFFERENCES_NAMED: usize = 1_000;

/// Which of the ways back a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditKind {
    /// The server is held against the manifest.
    Verify,
    /// What stands on the server is held against the source, and becomes known.
    Adopt,
    /// What was delivered is brought back.
    Restore,
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Verify => "verify",
            Self::Adopt => "adopt",
            Self::Restore => "restore",
        })
    }
}

/// How many files had which outcome. Each file that was looked at has exactly one; of sidecars only those
/// count that are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCounts {
    /// Verify: stands there as it was delivered. Adopt: stands there as in the source, and is
    /// known from now on. Restore: proved and placed.
    pub proved: u64,
    /// Bytes of the proved files.
    pub bytes_proved: u64,
    /// Not on the server. A sidecar that is missing beside a proved file counts by itself.
    pub missing: u64,
    /// On the server, but with other content. So does one that is not that of its file.
    pub changed: u64,
    /// Nothing to do. Verify: presumed, which is for a person to settle. Adopt: known already. Restore: there already, with the same content.
    pub kept: u64,
    /// Not on the server, as it should be in a drop: a consumer took it.
    pub taken: u64,
    /// Neither files nor folders in the source.
    pub skipped: u64,
    /// It could not be found out, or not be done.
    pub failed: u64,
    /// The run ended before their turn.
    pub not_reached: u64,
}

impl AuditCounts {
    /// Files of which the server was asked and which it told of.
    pub const fn looked_at(&self) -> u64 {
        self.proved + self.missing + self.changed + self.taken
    }

    /// Files that should have been looked at and were not.
    pub const fn left_to_do(&self) -> u64 {
        self.failed + self.not_reached
    }
}

/// In what way a file on the server is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Nothing stands there.
    Missing,
    /// Something else stands there.
    Changed,
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
        })
    }
}

/// A file that is not on the server as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The file.
    pub name: String,
    /// In what way.
    pub kind: DifferenceKind,
    /// What should stand there, in words.
    pub expected: String,
    /// What was found, in words free of control characters.
    pub found: String,
}

/// What came of a run of verify, adopt or restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The run.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// Which of the three.
    pub audit: AuditKind,
    /// How many files had which outcome.
    pub counts: AuditCounts,
    /// How many files were proved by which method.
    pub proofs: BTreeMap<ProofMethod, u64>,
    /// What is not as it should be, the first [`MAX_DIFFERENCES_NAMED`].
    pub differences: Vec<Difference>,
    /// The failed files, the first [`MAX_FAILED_FILES_NAMED`].
    pub failed: Vec<FailedFile>,
    /// The worst that befell a file; files beyond the named ones count.
    pub worst: Option<FailureClass>,
    /// Why the run ended before all was looked at.
    pub stopped: Option<Failure>,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
}

impl AuditReport {
    /// The report of a run that has done nothing yet.
    pub fn new(run: RunId, job: JobName, audit: AuditKind) -> Self {
        Self {
            run,
            job,
            audit,
            counts: AuditCounts::default(),
            proofs: BTreeMap::new(),
            differences: Vec::new(),
            failed: Vec::new(),
            worst: None,
            stopped: None,
            elapsed_ms: 0,
        }
    }

    /// Counts a proved file.
    pub fn add_proved(&mut self, bytes: u64, method: ProofMethod) {
        self.counts.proved += 1;
        self.counts.bytes_proved = self.counts.bytes_proved.saturating_add(bytes);
        *self.proofs.entry(method).or_default() += 1;
    }

    /// Counts a file that is not as it should be.
    pub fn add_difference(&mut self, difference: Difference) {
        match difference.kind {
            DifferenceKind::Missing => self.counts.missing += 1,
            DifferenceKind::Changed => self.counts.changed += 1,
        }
        if self.differences.len() < MAX_DIFFERENCES_NAMED {
            self.differences.push(difference);
        }
    }

    /// Counts a failed file.
    pub fn add_failed(&mut self, file: FailedFile) {
        self.counts.failed += 1;
        self.worst = Some(worse(self.worst, file.failure.class));
        if self.failed.len() < MAX_FAILED_FILES_NAMED {
            self.failed.push(file);
        }
    }

    /// How a command that made this run should end. What differs is a failed verification, but
    /// not when adopting: what is missing there will be sent, and what differs could not be
    /// adopted.
    pub fn exit(&self) -> Exit {
        let AuditCounts { missing, changed, .. } = self.counts;
        let differences = match (self.audit, missing, changed) {
            (_, 0, 0) | (AuditKind::Adopt, _, 0) => Exit::Done,
            (AuditKind::Adopt, _, _) => Exit::FilesFailed,
            (AuditKind::Verify | AuditKind::Restore, _, _) => Exit::Verification,
        };
        let files = self.worst.map_or(Exit::Done, FailureClass::exit);
        let stopped = self.stopped.as_ref().map_or(Exit::Done, |failure| failure.class.exit());
        differences.worst(files).worst(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(audit: AuditKind, kinds: &[DifferenceKind]) -> Exit {
        let mut report = AuditReport::new(RunId(1), "j".parse().unwrap(), audit);
        for &kind in kinds {
            let (expected, found) = ("4 bytes".into(), "nothing".into());
            report.add_difference(Difference { name: "a".into(), kind, expected, found });
        }
        report.exit()
    }

    #[test]
    fn differences_end_a_run_as_what_they_mean_to_it() {
        use {AuditKind as Kind, DifferenceKind::Changed, DifferenceKind::Missing};
        for (audit, missing, changed) in [
            (Kind::Verify, Exit::Verification, Exit::Verification),
            (Kind::Restore, Exit::Verification, Exit::Verification),
            (Kind::Adopt, Exit::Done, Exit::FilesFailed),
        ] {
            assert_eq!(exit(audit, &[]), Exit::Done, "{audit}");
            assert_eq!(exit(audit, &[Missing]), missing, "{audit}");
            assert_eq!(exit(audit, &[Missing, Changed]), changed, "{audit}");
        }
    }

    #[test]
    fn all_differences_count_but_only_the_first_are_named() {
        let mut report = AuditReport::new(RunId(1), "j".parse().unwrap(), AuditKind::Verify);
        for nth in 0..MAX_DIFFERENCES_NAMED + 5 {
            let (name, kind) = (nth.to_string(), DifferenceKind::Missing);
            report.add_difference(Difference { name, kind, expected: String::new(), found: String::new() });
        }
        assert_eq!((report.counts.missing, report.differences.len()), (1_005, MAX_DIFFERENCES_NAMED));
    }
}
