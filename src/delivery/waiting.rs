//! Files that are not sent yet, because they may still be being written.

use std::collections::BTreeSet;

use super::shared::{Outcome, Shared};
use crate::domain::{FileStat, Job, RelPath, Timestamp, WaitCause};
use crate::plan::Action;
use crate::source::SourceRoot;

/// What is to be told instead of reading or sending a file that is not ready. Blocks.
pub(super) fn waiting(shared: &Shared, unsettled: &BTreeSet<RelPath>, action: &Action) -> Option<Outcome> {
    let (Action::Send { path, stat, observed_at, .. } | Action::Hash { path, stat, observed_at, .. }) =
        action
    else {
        return None;
    };
    // These have another outcome in this run.
    if shared.is_settled(path) || unsettled.contains(path) {
        return None;
    }
    let cause = waits_for(&shared.delivery.job, &shared.root, path, stat, *observed_at)?;
    let age = observed_at.since(stat.ctime.max(stat.mtime).min(*observed_at));
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Some(Outcome::Waiting { path: path.clone(), age_ms, cause })
}

/// What a file waits for before it is read or sent. Blocks.
pub fn waits_for(
    job: &Job,
    root: &SourceRoot,
    path: &RelPath,
    stat: &FileStat,
    observed_at: Timestamp,
) -> Option<WaitCause> {
    let watching = job.watch.as_ref()?;
    if let Some(until) = watching.rest.waits(stat, observed_at) {
        return Some(WaitCause::NotAtRest { until });
    }
    let marker = watching.ready_marker.as_ref()?.of(path);
    let found = marker.as_ref().and_then(|marker| root.open_file(marker).ok()).map(|file| file.stat());
    // One from before the last change was made for another version. A time in the future says nothing.
    let is_meant = |found: FileStat| found.ctime.max(found.mtime) >= stat.mtime || stat.mtime > observed_at;
    let name = || marker.as_ref().map_or_else(|| "its marker".to_owned(), |marker| marker.name().to_owned());
    (!found.is_some_and(is_meant)).then(|| WaitCause::NoMarker { marker: name() })
}
