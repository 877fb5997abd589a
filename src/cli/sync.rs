//! `nightferry sync`.

use super::asked::through_agent;
use super::engine::{self, Synced};
use super::error::CliError;
use super::fold::folded;
use super::output::{Format, Loudness, Output};
use super::select;
use super::watch::Watch;
use crate::agent::Client;
use crate::config::Config;
use crate::domain::{Exit, RunId, RunReport};
use crate::observe::{detailed_summary, summary, trouble};

/// Runs jobs one after another and says what came of each. Those who asked for silence hear of
/// the runs that did not end well.
pub(super) fn run(
    config: &Config,
    jobs: &[String],
    approved: Option<RunId>,
    output: &Output,
) -> Result<Exit, CliError> {
    let jobs = select::jobs(config, jobs)?;
    if let Some(agent) = Client::connect(&config.agent.state_dir)? {
        return through_agent(agent, &jobs, approved, output);
    }
    let watch = Watch::start(output);
    let synced = engine::sync(config, &jobs, approved, &watch.sink(), &|text| output.warning(text, None));
    watch.finish()?;
    let Synced { reports, error, .. } = synced?;
    for report in &reports {
        closing_words(report, output)?;
    }
    let mut exit = if reports.len() < jobs.len() { Exit::Interrupted } else { Exit::Done };
    if let Some(error) = error {
        output.error(&error);
        exit = error.exit();
    }
    for job in jobs.iter().skip(reports.len()) {
        output.problem(format_args!("{}: not begun, or not brought to its end", job.name), None);
    }
    Ok(reports.iter().map(RunReport::exit).fold(exit, Exit::worst))
}

/// What came of a run.
pub(super) fn closing_words(report: &RunReport, output: &Output) -> Result<(), CliError> {
    match output.format {
        Format::Text if output.loudness > Loudness::Quiet || report.exit() != Exit::Done => {
            let is_detailed = output.loudness >= Loudness::Verbose;
            let text = if is_detailed { detailed_summary(report) } else { summary(report) };
            output.data(folded(&text, 2, output.data_width))?;
        }
        // The report went to standard output; whoever reads the log must see the failure too.
        Format::Json if report.exit() != Exit::Done => output.problem(trouble(report), None),
        Format::Text | Format::Json => {}
    }
    Ok(())
}
