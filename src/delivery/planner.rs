//! The plan of a run, made in a blocking thread while files are already on their way.

use std::collections::BTreeSet;
use std::path::Path;

use async_channel::Sender;
use tokio::task::spawn_blocking;

use super::failure::describe;
use super::shared::{Outcome, Shared, Work, WorkKind};
use crate::domain::{Failure, FailureClass, RelPath};
use crate::plan::{Action, Reason, plan};
use crate::source::{Filter, SourceRoot};

/// Opens the source folder.
pub(super) async fn open_source(path: &Path) -> Result<SourceRoot, Failure> {
    let path = path.to_owned();
    match spawn_blocking(move || SourceRoot::open(&path)).await {
        Ok(Ok(root)) => Ok(root),
        Ok(Err(error)) => Err(Failure::new(error.class(), describe(&error))),
        Err(_) => Err(Failure::new(FailureClass::Other, "the source folder could not be opened")),
    }
}

/// Walks the source, holds it against the manifest, and queues what is to be done. Files with an
/// unsettled intent are left alone: sending them might deliver them twice. Blocks.
pub(super) fn make_plan(shared: &Shared, queue: &Sender<Work>, unsettled: &BTreeSet<RelPath>) {
    let tell = |outcome| {
        let _run_ended = shared.outcomes.blocking_send(outcome).is_err();
    };
    let stop = |failure| {
        shared.stop.cancel();
        tell(Outcome::Stop { failure });
    };
    let job = &shared.delivery.job;
    let filter = match Filter::new(&job.include, &job.exclude) {
        Ok(filter) => filter,
        Err(error) => return stop(Failure::new(FailureClass::Other, describe(&error))),
    };
    let manifest = match shared.delivery.state.manifest(shared.target) {
        Ok(manifest) => manifest,
        Err(error) => return stop(Failure::new(error.class(), describe(&error))),
    };
    let clock = &shared.delivery.clock;
    let scan = shared.root.scan(&filter, || clock.now());
    let (mut unchanged, mut not_reached) = (0, 0);
    for action in plan(scan, manifest.entries(), |path| filter.admits(path)) {
        if shared.cut_off.is_cancelled() {
            return;
        }
        let (path, size, known, twins, kind) = match action {
            Ok(Action::Send { path, stat, known, twins, .. }) => {
                (path, stat.size, known, twins, WorkKind::Send)
            }
            Ok(Action::Unchanged { path } | Action::Hash { path, reason: Reason::TooCloseToTrust, .. })
                if shared.is_settled(&path) =>
            {
                continue;
            }
            Ok(Action::Hash { path, stat, known, twins, .. }) => {
                (path, stat.size, Some(known), twins, WorkKind::HashFirst)
            }
            Ok(Action::Unchanged { .. }) => {
                unchanged += 1;
                continue;
            }
            Ok(Action::Presumed { path }) => {
                tell(Outcome::Presumed { path });
                continue;
            }
            Ok(Action::Skip { name, reason }) => {
                tell(Outcome::Skipped { name, reason });
                continue;
            }
            Ok(Action::Refuse { name, reason }) => {
                tell(Outcome::Refused { name, failure: Failure::new(FailureClass::File, reason) });
                continue;
            }
            Ok(Action::Unreadable { name, reason }) => {
                tell(Outcome::Refused { name, failure: Failure::new(FailureClass::Source, reason) });
                continue;
            }
            Ok(Action::Missing { .. } | Action::End(_)) => continue,
            Err(error) => {
                stop(Failure::new(FailureClass::Other, describe(&error)));
                break;
            }
        };
        if unsettled.contains(&path) {
            continue;
        }
        tell(Outcome::Planned { bytes: size });
        // Nobody takes files any more once the run has stopped; the rest is only counted.
        if shared.stop.is_cancelled() || queue.send_blocking(Work { path, known, twins, kind }).is_err() {
            not_reached += 1;
        }
    }
    tell(Outcome::PlanComplete { unchanged });
    if not_reached > 0 {
        tell(Outcome::NotReached { files: not_reached });
    }
}
