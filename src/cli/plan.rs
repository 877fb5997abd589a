//! `nightferry plan`.

use serde_json::json;

use super::error::CliError;
use super::fold::folded;
use super::output::{Format, Loudness, Output};
use super::{engine, select};
use crate::config::Config;
use crate::domain::{Exit, PublishWay};
use crate::observe::{PlanTotals, Planned, PlannedAction};

/// How far to the right a line about a file goes on: below its name.
const REASON_HANG: usize = 11;

/// Shows what a run would do, file by file, and a line for each job. Unchanged files are shown
/// to those who ask for more.
pub(super) fn run(config: &Config, jobs: &[String], output: &Output) -> Result<Exit, CliError> {
    for job in select::jobs(config, jobs)? {
        match job.publish {
            PublishWay::Rename => {}
            PublishWay::Direct => output.warning(
                format!(
                    "job {}: publish: direct: readers may see half a file, and each is delivered at least once",
                    job.name
                ),
                None,
            ),
        }
        let mut totals = PlanTotals::default();
        let mut take = |planned: Planned| {
            totals.add(&planned);
            let quiet = matches!(planned.action, PlannedAction::Unchanged | PlannedAction::Attested);
            let shown = !quiet || output.loudness >= Loudness::Verbose;
            match output.format {
                _ if !shown => Ok(()),
                Format::Text => output.data(folded(&planned.line(), REASON_HANG, output.data_width)),
                Format::Json => output.json(&json!({"event": "planned", "job": job.name, "file": planned})),
            }
        };
        engine::plan(config, job, &mut take, &|text| output.warning(text, None))?;
        match output.format {
            Format::Text => output.data(folded(&totals.line(&job.name), 2, output.data_width))?,
            Format::Json => {
                output.json(&json!({"event": "plan-finished", "job": job.name, "totals": totals}))?;
            }
        }
    }
    Ok(Exit::Done)
}
