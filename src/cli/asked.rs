//! `nightferry sync` while an agent runs: it is asked to do it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::error::CliError;
use super::output::{Format, Loudness, Output};
use super::sync::closing_words;
use crate::agent::{Client, Request, Told};
use crate::domain::{Exit, Job, RunId};
use crate::observe::{bytes, escaped, rate};

/// How often a spinner turns while nothing is told.
const TURN: Duration = Duration::from_millis(200);

/// Has the agent run jobs, and shows what comes of them. The runs go on when this command is
/// stopped.
pub(super) fn through_agent(
    mut agent: Client,
    jobs: &[&Job],
    approved: Option<RunId>,
    output: &Output,
) -> Result<Exit, CliError> {
    let names = jobs.iter().map(|job| job.name.clone()).collect();
    agent.ask(Request::Sync { jobs: names, approved })?;
    output.line(Loudness::Normal, "the agent runs this; it goes on there when this command is stopped");
    let bar = output.bars.add(ProgressBar::new_spinner());
    // The template is a constant: it always parses. What is longer than a line is cut at its end.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TURN);
    let (mut exit, mut ended) = (Exit::Done, 0);
    while let Some(told) = agent.answer()? {
        match told {
            Told::Report(report) => {
                ended += 1;
                exit = exit.worst(report.exit());
                closing_words(&report, output)?;
            }
            Told::Lost { job, cause, code } => {
                ended += 1;
                exit = exit.worst(Exit::of_code(code).unwrap_or(Exit::Other));
                output.problem(format_args!("{job}: {}", escaped(&cause)), None);
            }
            Told::Refused { text, remedy, code } => {
                bar.finish_and_clear();
                return Err(refused(&text, remedy, code));
            }
            Told::Waits { job } => {
                output.line(
                    Loudness::Normal,
                    format_args!("{job}: a run is under way; another one follows it"),
                );
            }
            Told::Event { object, line, detail } => {
                let least = if detail { Loudness::Verbose } else { Loudness::Normal };
                match (output.format, object, line) {
                    (Format::Json, Some(object), _) => output.json(&object)?,
                    (Format::Text, _, Some(line)) => output.line(least, escaped(&line)),
                    (Format::Json, None, _) | (Format::Text, _, None) => {}
                }
            }
            Told::Progress { job, progress } => {
                let (done, total) = (progress.files_done, progress.files_total);
                let speed = progress.rate.map_or_else(String::new, |speed| format!("  {}", rate(speed)));
                bar.set_message(format!(
                    "{job}  {done} of {total} files  {}{speed}",
                    bytes(progress.bytes_done)
                ));
            }
            Told::Status(_) => {}
        }
    }
    bar.finish_and_clear();
    if ended < jobs.len() {
        let error = CliError::Silent;
        output.error(&error);
        exit = exit.worst(error.exit());
    }
    Ok(exit)
}

/// What the agent does not do.
pub(super) fn refused(text: &str, remedy: Option<String>, code: u8) -> CliError {
    let text = escaped(text).into_owned();
    CliError::Refused { text, remedy, exit: Exit::of_code(code).unwrap_or(Exit::Other) }
}
