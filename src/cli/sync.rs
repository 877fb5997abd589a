//! `nightferry sync`.

use super::error::CliError;
use super::output::{Format, Loudness, Output};
use super::watch::Watch;
use super::{engine, select};
use crate::config::Config;
use crate::domain::{Exit, RunReport};
use crate::observe::summary;

/// Runs jobs one after another and says what came of each. Those who asked for silence hear of
/// the runs that did not end well.
pub(super) fn run(config: &Config, jobs: &[String], output: &Output) -> Result<Exit, CliError> {
    let jobs = select::jobs(config, jobs)?;
    let watch = Watch::start(output);
    let reports = engine::sync(config, &jobs, &watch.sink(), &|text| output.warning(text, None));
    watch.finish()?;
    let reports = reports?;
    for report in &reports {
        let told = output.loudness > Loudness::Quiet || report.exit() != Exit::Done;
        if output.format == Format::Text && told {
            output.data(summary(report))?;
        }
    }
    Ok(reports.iter().map(RunReport::exit).fold(Exit::Done, Exit::worst))
}
