//! `nightferry restore`.

use std::path::Path;

use super::error::CliError;
use super::output::Output;
use super::{audit, select};
use crate::audit::{Audit, Restore, restore};
use crate::config::Config;
use crate::domain::{Exit, RelPath};
use crate::observe::escaped;
use crate::source::{PlacePolicy, RestoreFolder};

/// Brings back what a job has delivered.
pub(super) fn run(
    config: &Config,
    name: &str,
    paths: &[String],
    to: &Path,
    policy: PlacePolicy,
    output: &Output,
) -> Result<Exit, CliError> {
    let jobs = select::jobs(config, &[name.to_owned()])?;
    let paths = paths.iter().map(|path| checked(path)).collect::<Result<Vec<_>, _>>()?;
    let work = |job: Audit, stop| {
        let (paths, to) = (paths.clone(), to.to_owned());
        async move {
            let folder = RestoreFolder::open(&to, job.state.agent())?;
            Ok(restore(job, Restore { paths, folder, policy }, stop).await?)
        }
    };
    audit::run(config, &jobs, output, work)
}

/// A path below the source, as people write it: with or without `./` in front and a slash behind.
pub(super) fn checked(path: &str) -> Result<RelPath, CliError> {
    let bare = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    RelPath::new(bare).map_err(|source| CliError::NoPath { path: escaped(path).into_owned(), source })
}
