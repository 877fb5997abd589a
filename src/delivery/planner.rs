//! The plan of a run, made in a blocking thread while files are already on their way.

use std::collections::BTreeSet;

use async_channel::Sender;
use tokio::task::spawn_blocking;

use super::failure::describe;
use super::retire::check_place;
use super::shared::{Outcome, Shared, Work, WorkKind};
use crate::domain::{AfterDelivery, Failure, FailureClass, Job, RelPath};
use crate::plan::{Action, Reason, plan};
use crate::source::{Filter, SourceRoot};

/// Opens the source folder, and sees to it that nothing is moved from there to there.
pub(super) async fn open_source(job: &Job) -> Result<SourceRoot, Failure> {
    let (path, after) = (job.source.clone(), job.after_delivery.clone());
    let open = move || {
        let opened = SourceRoot::open(&path);
        let root = opened.map_err(|error| Failure::new(error.class(), describe(&error)))?;
        check_place(&root, &after).map(|()| root)
    };
    match spawn_blocking(open).await {
        Ok(opened) => opened,
        Err(_) => Err(Failure::new(FailureClass::Other, "the source folder could not be opened")),
    }
}

/// Walks the source, holds it against the manifest, and queues what is to be done. Files with an
/// unsettled intent are left alone: sending them might deliver them twice. Delivered files go to
/// `retirements` where the job deletes or moves them. Blocks.
pub(super) fn make_plan(
    shared: &Shared,
    queue: &Sender<Work>,
    retirements: &Sender<RelPath>,
    unsettled: &BTreeSet<RelPath>,
) {
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
    let scan = shared.root.scan(&filter, || shared.delivery.clock.now());
    let (mut unchanged, mut not_reached) = (0, 0);
    for action in plan(scan, manifest.entries(), |path| filter.admits(path)) {
        if shared.cut_off.is_cancelled() {
            return;
        }
        let (path, size, known, kind) = match action {
            Ok(Action::Send { path, stat, known, .. }) => (path, stat.size, known, WorkKind::Send),
            Ok(Action::Hash { path, reason: Reason::TooCloseToTrust, .. }) if shared.is_settled(&path) => {
                continue;
            }
            Ok(Action::Hash { path, stat, known, .. }) => (path, stat.size, Some(known), WorkKind::HashFirst),
            Ok(Action::Unchanged { path, .. }) => {
                unchanged += u64::from(!shared.is_settled(&path));
                if job.after_delivery == AfterDelivery::Keep {
                    continue;
                }
                // An earlier run delivered it, and could not delete or move it.
                let _run_ended = retirements.send_blocking(path).is_err();
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
                tell(refused(name, FailureClass::File, reason));
                continue;
            }
            Ok(Action::Unreadable { name, reason }) => {
                tell(refused(name, FailureClass::Source, reason));
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
        if shared.stop.is_cancelled() || queue.send_blocking(Work { path, known, kind }).is_err() {
            not_reached += 1;
        }
    }
    tell(Outcome::PlanComplete { unchanged });
    if not_reached > 0 {
        tell(Outcome::NotReached { files: not_reached });
    }
}

/// What is said of something that cannot be sent or looked at.
fn refused(name: String, class: FailureClass, reason: String) -> Outcome {
    Outcome::Refused { name, failure: Failure::new(class, reason) }
}
