//! `nightferry run`.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::error::CliError;
use super::log;
use super::output::Output;
use crate::agent::{self, Start};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::Exit;

/// Runs the agent until a signal ends it.
pub(super) fn run(config: Config, output: &Output) -> Result<Exit, CliError> {
    log::start_service(config.agent.log, output);
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    let ended = runtime.block_on(agent::run(Start { config, clock: Arc::new(SystemClock) }));
    // A file that is still being read belongs to a run that was cut off: it need not be waited for.
    runtime.shutdown_background();
    ended?;
    Ok(Exit::Done)
}
