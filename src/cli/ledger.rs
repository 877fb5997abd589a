//! `nightferry ledger verify`.

use std::collections::BTreeSet;

use serde_json::json;

use super::error::CliError;
use super::output::{Format, Output};
use super::{engine, select};
use crate::config::Config;
use crate::domain::{Exit, JobName, Record, Timestamp};
use crate::observe::count;

/// Checks the ledger's chain, and says what it holds.
pub(super) fn verify(config: &Config, output: &Output) -> Result<Exit, CliError> {
    let ledger = engine::ledger(config)?;
    match output.format {
        Format::Json => output.json(&json!({
            "whole": true,
            "ledger": ledger.ledger,
            "segments": ledger.segments,
            "oldest_segment": ledger.oldest_segment,
            "checkpoints": ledger.checkpoints,
            "records": ledger.records,
            "bytes": ledger.bytes,
            "first_at": ledger.first_at,
            "last_at": ledger.last_at,
            "head": ledger.head,
            "torn_tail": ledger.torn_tail.is_some(),
        }))?,
        Format::Text => output.data(format_args!(
            "the ledger is whole: {} in {}; SHA-256 of the last line:\n  {}",
            count(ledger.records, "record"),
            count(u64::from(ledger.segments), "segment"),
            ledger.head
        ))?,
    }
    if ledger.torn_tail.is_some() {
        output.warning(
            "behind the last whole line stands a part of one, as a crash in the middle of a write leaves it",
            Some(
                "the next run cuts it off and says so; if it had been acknowledged, that run refuses instead",
            ),
        );
    }
    Ok(Exit::Done)
}

/// Prints the ledger's lines. A run's records belong to its job.
pub(super) fn export(
    config: &Config,
    since: Option<Timestamp>,
    job: Option<&JobName>,
    output: &Output,
) -> Result<Exit, CliError> {
    let (mut runs, mut recorded) = (BTreeSet::new(), BTreeSet::new());
    let mut written = Ok(());
    engine::records(config, &mut |line| {
        if let (Record::RunStarted(started), Some(job)) = (line.record, job) {
            if started.job == *job {
                runs.insert(started.run);
            } else if !recorded.contains(&started.job) {
                recorded.insert(started.job.clone());
            }
        }
        let is_of_job = job.is_none() || line.record.run().is_some_and(|run| runs.contains(&run));
        if written.is_ok() && is_of_job && since.is_none_or(|since| line.at >= since) {
            written = output.data(line.text);
        }
    })?;
    written?;
    // A job that is not configured any more has its records all the same, and a new one none yet.
    if let Some(job) = job.filter(|job| runs.is_empty() && !config.jobs.contains_key(*job)) {
        return Err(select::unknown_job(job.as_str(), config.jobs.keys().chain(&recorded)));
    }
    Ok(Exit::Done)
}
