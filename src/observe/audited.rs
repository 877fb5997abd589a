//! The closing words of verify, adopt and restore.

use std::time::Duration;

use super::text::{bytes, count, duration, escaped};
use crate::domain::{AuditCounts, AuditKind, AuditReport, Difference};

/// Most files that are named of each kind; the rest is counted.
const MAX_FILES_NAMED: usize = 20;

/// What came of a run, in a few lines without a line end behind the last: how many files were
/// proved and how, and each that differs with what was expected and what was found.
pub fn audit_summary(report: &AuditReport) -> String {
    let mut lines = vec![format!("{}: {}", report.job, headline(report))];
    if !report.proofs.is_empty() {
        let proofs: Vec<_> =
            report.proofs.iter().map(|(method, files)| format!("{files} by {method}")).collect();
        lines.push(format!("  proved: {}", proofs.join(", ")));
    }
    for (number, what) in asides(report) {
        if number > 0 {
            lines.push(format!("  {number} {what}"));
        }
    }
    let differing = report.counts.missing + report.counts.changed;
    let differences = report.differences.iter().take(MAX_FILES_NAMED);
    let named = differences.map(|difference| {
        let name = escaped(&difference.name);
        format!("    {} {name}: {}", difference.kind, what_differs(difference))
    });
    lines.extend(listed("not as they should be", named.collect(), differing));
    let failed = report.failed.iter().take(MAX_FILES_NAMED);
    let named = failed.map(|file| format!("    {}: {}", escaped(&file.name), escaped(&file.failure.cause)));
    lines.extend(listed("failed", named.collect(), report.counts.failed));
    if differing > 0 {
        lines.push(format!("  {}", advice(report.audit)));
    }
    if let Some(failure) = &report.stopped {
        lines.push(format!("  stopped before the end: {}", escaped(&failure.cause)));
    }
    lines.join("\n")
}

/// One line about a run that did not end well: its gravest cause.
pub fn audit_trouble(report: &AuditReport) -> String {
    let AuditCounts { missing, changed, failed, .. } = report.counts;
    let cause = match (&report.stopped, report.differences.first(), report.failed.first()) {
        (Some(failure), _, _) => escaped(&failure.cause).into_owned(),
        (None, Some(first), _) => {
            format!("{missing} missing, {changed} changed, the first of them {}", escaped(&first.name))
        }
        (None, None, Some(first)) => {
            let (name, cause) = (escaped(&first.name), escaped(&first.failure.cause));
            format!("{} failed, the first of them {name}: {cause}", count(failed, "file"))
        }
        (None, None, None) => "it did not end well".to_owned(),
    };
    format!("{}: {}: {cause}", report.job, report.audit)
}

/// What was expected of a file, and what was found.
pub(super) fn what_differs(difference: &Difference) -> String {
    format!("found {}; expected {}", escaped(&difference.found), escaped(&difference.expected))
}

fn headline(report: &AuditReport) -> String {
    let AuditCounts { proved, bytes_proved, missing, changed, failed, .. } = report.counts;
    let what = match report.audit {
        AuditKind::Verify => "as delivered",
        AuditKind::Adopt => "adopted",
        AuditKind::Restore => "restored",
    };
    let mut text = match nothing(report) {
        Some(text) => text.to_owned(),
        None => format!("{} {what}, {}", count(proved, "file"), bytes(bytes_proved)),
    };
    for (number, what) in [(missing, "missing"), (changed, "changed"), (failed, "failed")] {
        if number > 0 {
            text = format!("{text}; {number} {what}");
        }
    }
    format!("{text}; in {}", duration(Duration::from_millis(report.elapsed_ms)))
}

/// What is said where there was no file to be told of.
fn nothing(report: &AuditReport) -> Option<&'static str> {
    let counts = &report.counts;
    let is_idle = report.stopped.is_none() && counts.looked_at() + counts.left_to_do() == 0;
    match (report.audit, counts.kept + counts.skipped) {
        _ if !is_idle => None,
        (AuditKind::Verify, 0) => Some("nothing to look at: no file is known to be delivered"),
        (AuditKind::Adopt, 0) => Some("nothing to adopt: there is no file in the source"),
        (AuditKind::Restore, 0) => {
            Some("nothing to restore: no file that was asked for is known to be delivered")
        }
        (AuditKind::Verify, _) => Some("nothing to look at"),
        (AuditKind::Adopt | AuditKind::Restore, _) => None,
    }
}

fn asides(report: &AuditReport) -> [(u64, &'static str); 4] {
    let AuditCounts { kept, taken, skipped, not_reached, .. } = report.counts;
    let kept_because = match report.audit {
        AuditKind::Verify => "presumed delivered and taken away: not looked at",
        AuditKind::Adopt => "known already: left alone",
        AuditKind::Restore => "there already, with the same content",
    };
    [
        (kept, kept_because),
        (taken, "not on the server: in a drop that is as it should be"),
        (skipped, "skipped: neither files nor folders"),
        (not_reached, "not reached before the run ended"),
    ]
}

fn listed(what: &str, named: Vec<String>, all: u64) -> Vec<String> {
    if all == 0 {
        return Vec::new();
    }
    let more = all - u64::try_from(named.len()).unwrap_or(all).min(all);
    let mut lines = vec![format!("  {what}:")];
    lines.extend(named);
    if more > 0 {
        lines.push(format!("    and {more} more"));
    }
    lines
}

const fn advice(audit: AuditKind) -> &'static str {
    match audit {
        AuditKind::Verify => {
            "the next sync sends them again; what somebody else wrote there is left alone unless the job says \
             `overwrite: replace`"
        }
        AuditKind::Adopt => {
            "the next sync sends what is missing; what differs is left alone unless the job says `overwrite: \
             replace`"
        }
        AuditKind::Restore => "what could not be proved was not restored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DifferenceKind, FailedFile, Failure, FailureClass, ProofMethod, RunId};

    fn report(audit: AuditKind) -> AuditReport {
        AuditReport::new(RunId(1), "offsite".parse().unwrap(), audit)
    }

    #[test]
    fn all_is_well_in_two_lines() {
        let mut report = report(AuditKind::Verify);
        report.add_proved(2048, ProofMethod::Size);
        assert_eq!(
            audit_summary(&report),
            "offsite: 1 file as delivered, 2.0 KiB; in 0.0 s\n  proved: 1 by size"
        );
    }

    #[test]
    fn where_there_was_nothing_to_look_at_no_file_is_as_delivered() {
        for (audit, kept, expected) in [
            (AuditKind::Verify, 0, "offsite: nothing to look at: no file is known to be delivered; in 0.0 s"),
            (
                AuditKind::Verify,
                2,
                "offsite: nothing to look at; in 0.0 s\n  2 presumed delivered and taken away: not looked at",
            ),
            (AuditKind::Adopt, 0, "offsite: nothing to adopt: there is no file in the source; in 0.0 s"),
            (
                AuditKind::Restore,
                0,
                "offsite: nothing to restore: no file that was asked for is known to be delivered; in 0.0 s",
            ),
        ] {
            let mut report = report(audit);
            report.counts.kept = kept;
            assert_eq!(audit_summary(&report), expected);
        }
        let mut cut = report(AuditKind::Verify);
        cut.stopped = Some(Failure::new(FailureClass::Temporary, "no answer"));
        assert!(audit_summary(&cut).starts_with("offsite: 0 files as delivered"), "{}", audit_summary(&cut));
    }

    #[test]
    fn everything_is_accounted_for() {
        for audit in [AuditKind::Verify, AuditKind::Adopt, AuditKind::Restore] {
            let mut report = report(audit);
            report.add_proved(1024, ProofMethod::ReadBack);
            report.counts.kept = 2;
            report.counts.taken = 3;
            report.counts.skipped = 4;
            report.counts.not_reached = 5;
            for (name, kind) in [("a\nb", DifferenceKind::Missing), ("c", DifferenceKind::Changed)] {
                let (expected, found) = ("4 bytes".to_owned(), "nothing\x1b[2J".to_owned());
                report.add_difference(Difference { name: name.into(), kind, expected, found });
            }
            for nth in 0..22 {
                let failure = Failure::new(FailureClass::File, "550 no");
                report.add_failed(FailedFile { name: format!("f{nth}"), failure });
            }
            insta::assert_snapshot!(format!("{audit}"), audit_summary(&report));
            assert!(audit_trouble(&report).contains("1 missing, 1 changed, the first of them a\\nb"));
        }
    }
}
