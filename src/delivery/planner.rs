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
        let (size, work) = match action {
            Ok(Action::Send { path, stat, known, twins, .. }) => {
                (stat.size, Work { path, known, twins, kind: WorkKind::Send })
            }
            Ok(Action::Unchanged { path } | Action::Hash { path, reason: Reason::TooCloseToTrust, .. })
                if shared.is_settled(&path) =>
            {
                continue;
            }
            Ok(Action::Hash { path, stat, known, twins, .. }) => {
                (stat.size, Work { path, known: Some(known), twins, kind: WorkKind::HashFirst })
            }
            Ok(Action::Unchanged { .. }) => {
                unchanged += 1;
                continue;
            }
            Ok(other) => {
                outcome_of(other).into_iter().for_each(&tell);
                continue;
            }
            Err(error) => {
                stop(Failure::new(FailureClass::Other, describe(&error)));
                break;
            }
        };
        if unsettled.contains(&work.path) {
            continue;
        }
        tell(Outcome::Planned { bytes: size });
        // Nobody takes files any more once the run has stopped; the rest is only counted.
        if shared.stop.is_cancelled() || queue.send_blocking(work).is_err() {
            not_reached += 1;
        }
    }
    tell(Outcome::PlanComplete { unchanged });
    if not_reached > 0 {
        tell(Outcome::NotReached { files: not_reached });
    }
}

/// What comes of an action that no worker takes, if anything is to be said.
fn outcome_of(action: Action) -> Option<Outcome> {
    let refused = |name, class, reason| Outcome::Refused { name, failure: Failure::new(class, reason) };
    match action {
        Action::Presumed { path } => Some(Outcome::Presumed { path }),
        Action::Skip { name, reason } => Some(Outcome::Skipped { name, reason }),
        Action::Refuse { name, reason } => Some(refused(name, FailureClass::File, reason)),
        Action::Unreadable { name, reason } => Some(refused(name, FailureClass::Source, reason)),
        Action::Send { .. }
        | Action::Hash { .. }
        | Action::Unchanged { .. }
        | Action::Missing { .. }
        | Action::End(_) => None,
    }
}
