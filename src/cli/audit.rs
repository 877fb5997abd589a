//! What verify, adopt and restore have in common: state, servers and runs, and the closing words.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::engine::{self, StopSignals, until_stopped};
use super::error::CliError;
use super::fold::folded;
use super::output::{Format, Loudness, Output};
use super::watch::Watch;
use crate::audit::Audit;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::{AuditReport, Exit, Job, Target};
use crate::observe::{audit_summary, audit_trouble};
use crate::remote::Profiles;
use crate::state::State;

/// Runs jobs one after another, each by `work`, and says what came of each.
pub(super) fn run<W, F>(
    config: &Config,
    jobs: &[&Job],
    output: &Output,
    mut work: W,
) -> Result<Exit, CliError>
where
    W: FnMut(Audit, CancellationToken) -> F,
    F: Future<Output = Result<AuditReport, CliError>> + Send + 'static,
{
    let profiles = Arc::new(Profiles::open(&config.agent.state_dir.join(Profiles::FILE)));
    let remotes = jobs.iter().map(|job| engine::remote(config, &job.server, &profiles).map(Arc::new));
    let remotes = remotes.collect::<Result<Vec<_>, _>>()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    let mut signals = runtime.block_on(async { StopSignals::new() })?;
    let opened = State::open_keeping(&config.agent.state_dir, Arc::clone(&clock), config.ledger.retain)?;
    opened.notices.iter().for_each(|text| output.warning(text, None));
    let watch = Watch::start(output);
    let sink = watch.sink();
    let audits = jobs.iter().zip(remotes).map(|(job, remote)| Audit {
        target: Target::of(job, remote.server()),
        job: (*job).clone(),
        remote,
        state: opened.state.clone(),
        clock: Arc::clone(&clock),
        sink: Arc::clone(&sink),
        limit: None,
        backoff: Audit::BACKOFF,
    });
    let stop = CancellationToken::new();
    let (mut reports, mut error) = (Vec::new(), None);
    for audit in audits {
        if stop.is_cancelled() {
            break;
        }
        // A task of its own, so that signals are heard whatever it does.
        let mut task = JoinSet::new();
        task.spawn_on(work(audit, stop.child_token()), runtime.handle());
        let ended = runtime.block_on(until_stopped(task.join_next(), &mut signals, &stop));
        match ended.and_then(|ended| ended.and_then(Result::ok).unwrap_or(Err(CliError::Died))) {
            Ok(report) => reports.push(report),
            Err(failed) => {
                error = Some(failed);
                break;
            }
        }
    }
    profiles.finish_writing();
    watch.finish()?;
    match engine::close(runtime, opened.state, signals) {
        Ok(notices) => notices.iter().for_each(|text| output.warning(text, None)),
        Err(failed) => drop(error.get_or_insert(failed.into())),
    }
    for report in &reports {
        told(report, output)?;
    }
    let mut exit = if reports.len() < jobs.len() { Exit::Interrupted } else { Exit::Done };
    if let Some(error) = error {
        output.error(&error);
        exit = error.exit();
    }
    for job in jobs.iter().skip(reports.len()) {
        output.problem(format_args!("{}: not begun, or not brought to its end", job.name), None);
    }
    Ok(reports.iter().map(AuditReport::exit).fold(exit, Exit::worst))
}

fn told(report: &AuditReport, output: &Output) -> Result<(), CliError> {
    match output.format {
        Format::Text if output.loudness > Loudness::Quiet || report.exit() != Exit::Done => {
            output.data(folded(&audit_summary(report), 2, output.data_width))
        }
        // The report went to standard output; whoever reads the log must see the failure too.
        Format::Json if report.exit() != Exit::Done => {
            output.problem(audit_trouble(report), None);
            Ok(())
        }
        Format::Text | Format::Json => Ok(()),
    }
}
