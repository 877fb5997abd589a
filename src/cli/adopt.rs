//! `nightferry adopt`.

use super::error::CliError;
use super::output::Output;
use super::{audit, select};
use crate::audit::adopt;
use crate::config::Config;
use crate::domain::Exit;

/// Takes over what stands on a job's server already.
pub(super) fn run(config: &Config, name: &str, output: &Output) -> Result<Exit, CliError> {
    let jobs = select::jobs(config, &[name.to_owned()])?;
    let work = |job, stop| async move { adopt(job, stop).await.map_err(CliError::Adopt) };
    audit::run(config, &jobs, output, work)
}
