//! The seam between the verbs and the engine.

use super::error::CliError;
use crate::config::Config;
use crate::domain::{EventSink, Job, RunReport};
use crate::observe::Planned;

/// Runs jobs one after another; `sink` takes their events, and each run's report comes back.
pub(super) fn sync(
    _config: &Config,
    _jobs: &[&Job],
    _sink: &dyn EventSink,
) -> Result<Vec<RunReport>, CliError> {
    Err(CliError::NotInThisBuild { verb: "sync" })
}

/// Finds out what a run of a job would do; `take` takes it file by file.
pub(super) fn plan(
    _config: &Config,
    _job: &Job,
    _take: &mut dyn FnMut(Planned) -> Result<(), CliError>,
) -> Result<(), CliError> {
    Err(CliError::NotInThisBuild { verb: "plan" })
}

/// What the ledger is, if it is whole.
pub(super) struct LedgerFacts {
    pub(super) segments: u64,
    pub(super) records: u64,
}

/// Checks the chain of the ledger's records.
pub(super) fn verify_ledger(_config: &Config) -> Result<LedgerFacts, CliError> {
    Err(CliError::NotInThisBuild { verb: "ledger verify" })
}
