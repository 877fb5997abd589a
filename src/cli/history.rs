//! `nightferry history`.

use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output};
use super::select;
use super::status::result;
use crate::agent::{History, RunEntry};
use crate::config::Config;
use crate::domain::{Exit, JobName, Record, RunId, Zone};
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
    if output.format == Format::Text {
        output.data(format_args!("{:>6}  {:<20}  {:<20}  {:<11}  RESULT", "RUN", "JOB", "BEGAN", "TOOK"))?;
    }
    for entry in &runs {
        match output.format {
            Format::Json => output.json(entry)?,
            Format::Text => output.data(line(config, entry))?,
        }
    }
    Ok(Exit::Done)
}

fn line(config: &Config, entry: &RunEntry) -> String {
    let began = zone_of(config, &entry.job).to_minutes(entry.began);
    let took = entry.ended.map_or_else(|| "-".to_owned(), |ended| duration(ended.since(entry.began)));
    let what = entry.audit.map_or_else(|| result(entry), |audit| audit.to_string());
    format!("{:>6}  {:<20}  {began:<20}  {took:<11}  {what}", entry.run.0, entry.job)
}

/// In which a job's times are shown. One that was taken out of the configuration has the agent's.
fn zone_of(config: &Config, job: &JobName) -> Zone {
    config.jobs.get(job).and_then(|job| job.timing.zone).unwrap_or(config.agent.zone)
}

/// Shows one run, with what became of its files.
pub(super) fn show(config: &Config, run: RunId, output: &Output) -> Result<Exit, CliError> {
    let (mut known, mut failed, mut zone) = (false, None, config.agent.zone);
    read_run(&config.agent.state_dir, run, &mut |line| {
        if failed.is_some() {
            return;
        }
        known = true;
        if let Record::RunStarted(started) = line.record {
            zone = zone_of(config, &started.job);
        }
        let told = match output.format {
            Format::Json => output.json(&json!({"at": line.at, "record": line.record})),
            Format::Text => {
                let mut lines = skipped(line.record).into_iter().chain(words(line.record));
                lines.try_for_each(|words| output.data(format_args!("{}  {words}", zone.to_minutes(line.at))))
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

/// What a record says to people; steps in between say nothing.
fn words(record: &Record) -> Option<String> {
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
            let (counts, stopped) = (&finished.counts, &finished.stopped);
            let why = stopped.as_ref().map_or_else(String::new, |why| format!("  {}", escaped(&why.cause)));
            let (sent, unchanged, failed) = (counts.delivered, counts.unchanged, counts.failed);
            format!("ended      {sent} sent, {unchanged} unchanged, {failed} failed{why}")
        }
        _ => return None,
    })
}
