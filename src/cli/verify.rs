//! `nightferry verify`.

use super::error::CliError;
use super::output::{Loudness, Output};
use super::{audit, select};
use crate::audit::{Depth, verify};
use crate::config::Config;
use crate::domain::{Exit, Mode};

/// Compares servers with what was delivered. Where no job is named, drops are left out: on their
/// servers absence is success.
pub(super) fn run(
    config: &Config,
    names: &[String],
    depth: Depth,
    output: &Output,
) -> Result<Exit, CliError> {
    let mut jobs = select::jobs(config, names)?;
    let drops: Vec<_> =
        jobs.iter().filter(|job| job.mode == Mode::Drop).map(|job| job.name.clone()).collect();
    if names.is_empty() {
        jobs.retain(|job| job.mode == Mode::Mirror);
        for name in &drops {
            output.line(Loudness::Normal, format_args!("{name}: a drop, where absence is success: left out"));
        }
    } else {
        for name in &drops {
            let text = "a drop, where absence is success: only what is there is compared";
            output.line(Loudness::Normal, format_args!("{name}: {text}"));
        }
    }
    let work = |job, stop| async move { Ok(verify(job, depth, stop).await?) };
    audit::run(config, &jobs, output, work)
}
