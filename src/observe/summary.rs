//! The closing words of a run.

use std::time::Duration;

use super::nameless::{failed_by_kind, nameless};
use super::text::{bytes, count, duration, escaped, rate};
use crate::domain::{Counts, FileNames, JobName, PublishWay, RunReport, Trigger};

/// Most failed files that are named; the rest is counted.
pub(super) const MAX_FILES_NAMED: usize = 20;

/// What `publish: direct` means.
const DIRECT: &str =
    "direct: readers may have seen half a file, and each was delivered at least once (`publish: direct`)";

/// What came of a run, in a few lines without a line end behind the last: how many files were
/// sent and how each was proved, what was not sent and why, and the failed files with the cause.
pub fn summary(report: &RunReport) -> String {
    summary_for(report, FileNames::Told)
}

/// The same with the names of the skipped files, and why each was.
pub fn detailed_summary(report: &RunReport) -> String {
    let mut text = summary(report);
    let named = report.skipped.iter().take(MAX_FILES_NAMED);
    let lines = named.map(|file| format!("\n    {}: {}", escaped(&file.name), escaped(&file.reason)));
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return text;
    }
    let more = report.counts.skipped.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    text.push_str("\n  skipped:");
    text.extend(lines);
    if more > 0 {
        text.extend([format!("\n    and {more} more")]);
    }
    text
}

/// The same for somebody who may not know the names of files.
pub(super) fn summary_for(report: &RunReport, of_files: FileNames) -> String {
    let mut lines = vec![format!("{}: {}", report.job, headline(report))];
    // Who started it by hand knows.
    if report.triggers.iter().any(|trigger| *trigger != Trigger::Manual) {
        lines.push(format!("  started: {}", report.triggers));
    }
    if !report.proofs.is_empty() {
        let proofs: Vec<_> =
            report.proofs.iter().map(|(method, files)| format!("{files} by {method}")).collect();
        lines.push(format!("  proved: {}", proofs.join(", ")));
    }
    if report.publish == PublishWay::Direct && report.counts.delivered > 0 {
        lines.push(format!("  {DIRECT}"));
    }
    for (number, what) in asides(&report.counts) {
        if number > 0 {
            lines.push(format!("  {number} {what}"));
        }
    }
    if report.is_parked() {
        lines.push(format!("  parked: {}", parked(&report.counts)));
    }
    lines.extend(presumed(report, of_files));
    lines.extend(failed(report, of_files));
    if let Some(failure) = &report.stopped {
        let cause = match of_files {
            FileNames::Told => escaped(&failure.cause).into_owned(),
            FileNames::Withheld => nameless(failure),
        };
        lines.push(format!("  stopped before the end: {cause}"));
    }
    lines.join("\n")
}

/// The failed files with the cause of each, or how many there are of which kind.
fn failed(report: &RunReport, of_files: FileNames) -> Vec<String> {
    let told = report.counts.failed + report.counts.retained + report.counts.not_removed;
    if told == 0 {
        return Vec::new();
    }
    let mut lines = vec!["  failed:".to_owned()];
    let named = match of_files {
        FileNames::Withheld => {
            lines.extend(failed_by_kind(report).iter().map(|kind| format!("    {kind}")));
            report.failed.len()
        }
        FileNames::Told => {
            let named = report.failed.iter().take(MAX_FILES_NAMED);
            // What ended the run is told once, at its end.
            let ended = |cause: &str| report.stopped.as_ref().is_some_and(|stopped| stopped.cause == cause);
            lines.extend(named.map(|file| match escaped(&file.failure.cause) {
                _ if ended(&file.failure.cause) => format!("    {}", escaped(&file.name)),
                cause => format!("    {}: {cause}", escaped(&file.name)),
            }));
            report.failed.len().min(MAX_FILES_NAMED)
        }
    };
    let named = u64::try_from(named).unwrap_or(u64::MAX);
    if told > named {
        lines.push(format!("    and {} more", told - named));
    }
    lines
}

/// Where the server has no room: what that means for the job.
pub fn parked(counts: &Counts) -> String {
    format!(
        "the server has no room for {}; smaller files are still sent, and an agent tries again within an hour",
        count(counts.no_room, "file")
    )
}

/// One line about a run that did not end well: its gravest cause.
pub fn trouble(report: &RunReport) -> String {
    let parked = if report.is_parked() { format!("{}: ", parked(&report.counts)) } else { String::new() };
    let cause = match (&report.stopped, report.failed.first()) {
        (Some(failure), _) => escaped(&failure.cause).into_owned(),
        (None, Some(file)) => {
            let what = match report.counts.failed {
                0 if report.counts.retained > 0 => {
                    format!("{} could not be taken out of the source", count(report.counts.retained, "file"))
                }
                0 => {
                    format!("{} could not be deleted on the server", count(report.counts.not_removed, "file"))
                }
                failed => format!("{} failed", count(failed, "file")),
            };
            format!("{what}, the first of them {}: {}", escaped(&file.name), escaped(&file.failure.cause))
        }
        (None, None) => {
            let first = report.presumed.first().map(|name| format!(", the first of them {}", escaped(name)));
            let (files, first) = (count(report.counts.presumed, "file"), first.unwrap_or_default());
            format!("{files} cannot be proved to have arrived{first}; {}", advice(&report.job))
        }
    };
    format!("{}: {parked}{cause}", report.job)
}

/// The presumed files by name, with the command to decide about them.
fn presumed(report: &RunReport, of_files: FileNames) -> Vec<String> {
    let all = report.counts.presumed;
    if all == 0 {
        return Vec::new();
    }
    let mut lines = vec![format!("  {all} most likely delivered and taken away, which cannot be proved:")];
    if of_files == FileNames::Withheld {
        lines.push(format!("    {}", advice(&report.job)));
        return lines;
    }
    let named = report.presumed.iter().take(MAX_FILES_NAMED);
    lines.extend(named.map(|name| format!("    {}", escaped(name))));
    let named = u64::try_from(report.presumed.len().min(MAX_FILES_NAMED)).unwrap_or(u64::MAX);
    if all > named {
        lines.push(format!("    and {} more", all - named));
    }
    lines.push(format!("    {}", advice(&report.job)));
    lines
}

/// What to do about presumed files.
pub(super) fn advice(job: &JobName) -> String {
    format!("ask the receiver, then decide: `nightferry settle {job}`")
}

fn headline(report: &RunReport) -> String {
    let Counts { delivered, unchanged, failed, bytes_delivered, .. } = report.counts;
    let elapsed = Duration::from_millis(report.elapsed_ms);
    let sent = match delivered {
        0 => "nothing sent".to_owned(),
        _ => format!("{} sent, {}", count(delivered, "file"), bytes(bytes_delivered)),
    };
    let failed = if failed > 0 { format!("; {failed} failed") } else { String::new() };
    // A rate over less than a second says more about the start than about the line.
    let rate = match elapsed.as_secs() {
        0 => String::new(),
        _ if delivered == 0 => String::new(),
        _ => format!(" ({})", rate(bytes_delivered.saturating_mul(1000) / report.elapsed_ms.max(1))),
    };
    format!("{sent}{failed}; {unchanged} unchanged; in {}{rate}", duration(elapsed))
}

fn asides(counts: &Counts) -> [(u64, &'static str); 10] {
    [
        (counts.confirmed, "touched, but with the same content as before: not sent"),
        (counts.settled, "delivered by an earlier run that was cut short: found in place"),
        (counts.retired, "taken out of the source after their delivery"),
        (counts.retained, "delivered, but still in the source: they could not be deleted or moved"),
        (counts.removed, "deleted on the server or moved to its trash: their sources are gone"),
        (counts.not_removed, "still on the server, though their sources are gone"),
        (counts.skipped, "skipped: neither files nor folders, or gone before they could be read"),
        (counts.attested, "not proved, but the receiver has them, as a person said: not sent"),
        (counts.waiting, "waiting: still being written, or without their ready marker"),
        (counts.not_reached, "not reached before the run ended; the next run goes on"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailedFile, Failure, FailureClass, ProofMethod, RelPath, RunId, SkippedFile};

    fn report() -> RunReport {
        RunReport::new(RunId(1), "daily-reports".parse().unwrap())
    }

    #[test]
    fn a_run_without_work() {
        let mut report = report();
        report.counts.unchanged = 2000;
        report.elapsed_ms = 412;
        assert_eq!(summary(&report), "daily-reports: nothing sent; 2000 unchanged; in 0.4 s");
    }

    #[test]
    fn skipped_files_are_named_to_those_who_want_details() {
        let mut report = report();
        for number in 0..22 {
            report.add_skipped(SkippedFile { name: format!("s\n{number}"), reason: "named pipe".into() });
        }
        assert!(!summary(&report).contains("named pipe"), "{}", summary(&report));
        let detailed = detailed_summary(&report);
        assert!(detailed.starts_with(&summary(&report)), "{detailed}");
        assert!(detailed.contains("\n  skipped:\n    s\\n0: named pipe\n"), "{detailed}");
        assert!(detailed.ends_with("    s\\n19: named pipe\n    and 2 more"), "{detailed}");
        let nothing = RunReport::new(RunId(1), "j".parse().unwrap());
        assert_eq!(detailed_summary(&nothing), summary(&nothing));
    }

    #[test]
    fn everything_is_accounted_for() {
        let mut report = report();
        for method in [ProofMethod::ServerHash, ProofMethod::ReadBack, ProofMethod::ReadBack] {
            report.add_delivered(1024 * 1024, method);
        }
        report.counts.unchanged = 7;
        report.counts.confirmed = 1;
        report.counts.settled = 2;
        report.counts.skipped = 3;
        for number in 0..22 {
            report.add_presumed(&RelPath::new(format!("p\u{202e}{number}")).unwrap());
        }
        report.counts.attested = 6;
        report.counts.waiting = 4;
        report.counts.not_reached = 5;
        for number in 0..22 {
            let failure = Failure::new(FailureClass::File, "550 no\nspace");
            report.add_failed(FailedFile { name: format!("f\n{number}"), failure });
        }
        report.stopped = Some(Failure::new(FailureClass::Temporary, "connection refused"));
        report.elapsed_ms = 3_000;
        insta::assert_snapshot!(summary(&report));
    }
}
