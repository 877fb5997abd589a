//! `nightferry history`.

use serde_json::json;

use super::error::CliError;
use super::fold::{broken, wrapped};
use super::output::{Format, Output};
use super::select;
use super::status::result;
use crate::agent::{History, RunEntry};
use crate::config::Config;
use crate::domain::{AuditCounts, AuditKind, Counts, Exit, JobName, Record, RunId, Zone};
use crate::observe::{bytes, count, duration, escaped};
use crate::state::read_run;

/// Shows the last runs, from the ledger, also while an agent writes to it.
pub(super) fn run(config: &Config, job: Option<&str>, limit: u16, output: &Output) -> Result<Exit, CliError> {
    // A job that was taken out of the configuration still has its past.
    let job: Option<JobName> = match job {
        None => None,
        Some(name) => Some(name.parse().map_err(|_| select::unknown_job(name, config.jobs.keys()))?),
    };
    let runs = History::runs(&config.agent.state_dir, job.as_ref(), limit.into())?.into_runs();
    if let (true, Some(job)) = (runs.is_empty(), &job)
        && !config.jobs.contains_key(job)
    {
        return Err(select::unknown_job(job.as_str(), config.jobs.keys()));
    }
    let longest = runs.iter().map(|entry| entry.job.as_str().chars().count()).max();
    let columns = longest.unwrap_or(0).clamp("JOB".len(), MAX_JOB_COLUMNS);
    if output.format == Format::Text {
        output.data(format_args!(
            "{:>6}  {:<columns$}  {:<20}  {:<11}  RESULT",
            "RUN", "JOB", "BEGAN", "TOOK"
        ))?;
    }
    for entry in &runs {
        match output.format {
            Format::Json => output.json(entry)?,
            Format::Text => output.data(line(config, entry, columns, output.data_width))?,
        }
    }
    Ok(Exit::Done)
}

/// Widest column of names; longer ones move the rest of their line.
const MAX_JOB_COLUMNS: usize = 20;

fn line(config: &Config, entry: &RunEntry, columns: usize, width: Option<usize>) -> String {
    let began = zone_of(config, &entry.job).to_minutes(entry.began);
    let took = entry.ended.map_or_else(|| "-".to_owned(), |ended| duration(ended.since(entry.began)));
    let what =
        entry.audit.map_or_else(|| result(entry), |audit| format!("{audit}: {}", outcome(entry, audit)));
    let before = format!("{:>6}  {:<columns$}  {began:<20}  {took:<11}  ", entry.run.0, entry.job);
    let indent = before.chars().count();
    before + &wrapped(&what, indent, width)
}

/// What came of a run that was begun for something else than delivery.
fn outcome(entry: &RunEntry, audit: AuditKind) -> String {
    let counts = entry.audited.unwrap_or_default();
    match (entry.ended, &entry.stopped) {
        (None, _) => "no end known".to_owned(),
        (Some(_), None) => audited_in_words(audit, &counts),
        (Some(_), Some(_)) if counts == AuditCounts::default() => "stopped".to_owned(),
        (Some(_), Some(_)) => format!("stopped, {}", audited_in_words(audit, &counts)),
    }
}

fn audited_in_words(audit: AuditKind, counts: &AuditCounts) -> String {
    let (proved, kept, nothing) = match audit {
        AuditKind::Verify => ("as delivered", "presumed: not looked at", "nothing to look at"),
        AuditKind::Adopt => ("adopted", "known already", "nothing to adopt"),
        AuditKind::Restore => ("restored", "there already", "nothing to restore"),
    };
    let parts = in_words(&[
        (counts.proved, proved),
        (counts.missing, "missing"),
        (counts.changed, "changed"),
        (counts.kept, kept),
        (counts.taken, "taken away"),
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.not_reached, "not reached"),
    ]);
    if parts.is_empty() { nothing.to_owned() } else { parts }
}

/// How many files a delivery left in which way: those that it sent, and what else there is to say.
fn delivered_in_words(counts: &Counts) -> String {
    let others = in_words(&[
        (counts.settled, "found in place"),
        (counts.unchanged, "unchanged"),
        (counts.confirmed, "touched only"),
        (counts.attested, "with the receiver, as a person said"),
        (counts.waiting, "not ready yet"),
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.presumed, "presumed delivered"),
        (counts.not_reached, "not reached"),
        (counts.retired, "taken out of the source"),
        (counts.retained, "not taken out of the source"),
        (counts.removed, "removed on the server"),
        (counts.not_removed, "not removed on the server"),
    ]);
    let sent = format!("{} sent", counts.delivered);
    if others.is_empty() { sent } else { format!("{sent}, {others}") }
}

/// The numbers that are none but zero.
fn in_words(numbers: &[(u64, &str)]) -> String {
    let parts = numbers.iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

/// In which a job's times are shown. One that was taken out of the configuration has the agent's.
fn zone_of(config: &Config, job: &JobName) -> Zone {
    config.jobs.get(job).and_then(|job| job.timing.zone).unwrap_or(config.agent.zone)
}

/// Shows one run, with what became of its files.
pub(super) fn show(config: &Config, run: RunId, output: &Output) -> Result<Exit, CliError> {
    let (mut known, mut failed, mut zone) = (false, None, config.agent.zone);
    let mut audited = None;
    read_run(&config.agent.state_dir, run, &mut |line| {
        if failed.is_some() {
            return;
        }
        known = true;
        if let Record::RunStarted(started) = line.record {
            zone = zone_of(config, &started.job);
        }
        if let Record::Audited(came_to) = line.record {
            audited = Some(audited_in_words(came_to.audit, &came_to.counts));
        }
        let told = match output.format {
            Format::Json => output.json(&json!({"at": line.at, "record": line.record})),
            Format::Text => {
                let at = zone.to_minutes(line.at);
                let indent = at.chars().count() + 2 + LABEL;
                let mut lines =
                    skipped(line.record).into_iter().chain(words(line.record, audited.as_deref()));
                lines.try_for_each(|words| {
                    output.data(broken(&format!("{at}  {words}"), 0, indent, output.data_width))
                })
            }
        };
        failed = told.err();
    })?;
    match failed {
        Some(error) => Err(error),
        None if known => Ok(Exit::Done),
        None => Err(CliError::NoRun { run }),
    }
}

/// Columns of what happened, with the space behind it.
const LABEL: usize = 11;

/// The files that a run skipped, which stand in the record of its end; and how many more there were.
fn skipped(record: &Record) -> Vec<String> {
    let Record::RunFinished(finished) = record else { return Vec::new() };
    let named = finished.skipped.iter();
    let mut lines: Vec<_> =
        named.map(|file| format!("skipped    {}  {}", escaped(&file.name), escaped(&file.reason))).collect();
    let more = finished.counts.skipped.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    if more > 0 {
        lines.push(format!("skipped    {}, not named", count(more, "file")));
    }
    lines
}

/// What a record says to people; steps in between say nothing. `audited` is what the run came to, where
/// it was begun for something else than delivery.
fn words(record: &Record, audited: Option<&str>) -> Option<String> {
    Some(match record {
        Record::RunStarted(started) => {
            let why =
                if started.triggers.is_empty() { String::new() } else { format!("  {}", started.triggers) };
            let what = started.audit.map_or_else(String::new, |audit| format!("  {audit}"));
            format!("began      {}{what}{why}  {}", started.job, escaped(&started.target.to_string()))
        }
        Record::Delivered(file) => {
            let (name, proof) = (escaped(file.path.as_str()), &file.verified);
            format!(
                "delivered  {name}  {}  {}  sha256 {}",
                bytes(proof.size()),
                proof.method(),
                proof.digest()
            )
        }
        Record::Adopted(file) => format!("adopted    {}", escaped(file.path.as_str())),
        Record::Presumed(file) => format!("presumed   {}", escaped(file.path.as_str())),
        Record::Failed(file) => {
            format!("failed     {}  {}", escaped(&file.name), escaped(&file.failure.cause))
        }
        Record::Retired(file) => format!("retired    {}", escaped(file.path.as_str())),
        Record::Removed(file) => format!("removed    {}", escaped(file.path.as_str())),
        Record::FoundMissing(file) => format!("missing    {}", escaped(file.path.as_str())),
        Record::FoundChanged(file) => format!("changed    {}", escaped(file.path.as_str())),
        Record::GuardTripped(guard) => format!("guard      {}", escaped(&guard.cause)),
        Record::RunFinished(finished) => {
            let counts = audited.map_or_else(|| delivered_in_words(&finished.counts), str::to_owned);
            let why = finished.stopped.as_ref();
            let why = why.map_or_else(String::new, |why| format!("; stopped: {}", escaped(&why.cause)));
            format!("ended      {counts}{why}")
        }
        _ => return None,
    })
}
