//! The plan of a run, made in a blocking thread while files are already on their way.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_channel::Sender;
use tokio::task::spawn_blocking;

use super::failure::describe;
use super::retire::check_place;
use super::shared::{Outcome, Shared, Work, WorkKind};
use super::waiting::waiting;
use crate::domain::{
    AfterDelivery, EntryStatus, Failure, FailureClass, Hasher, Job, RelPath, Scope, SourceSeen,
};
use crate::plan::guard::Missing;
use crate::plan::{Action, CompleteScan, Reason, ScanEnd, plan};
use crate::source::{Filter, SourceRoot};
use crate::state::Manifest;

/// Opens the source folder, and sees to it that nothing is moved from there to there.
pub(super) async fn open_source(job: &Job) -> Result<SourceRoot, Failure> {
    let job = job.clone();
    let open = move || {
        let opened = SourceRoot::of(&job);
        let root = opened.map_err(|error| Failure::new(error.class(), describe(&error)))?;
        check_place(&root, &job.after_delivery).map(|()| root)
    };
    match spawn_blocking(open).await {
        Ok(opened) => opened,
        Err(_) => Err(Failure::new(FailureClass::Other, "the source folder could not be opened")),
    }
}

/// Walks the source, holds it against the manifest, and adds what is to be done to the backlog. Files
/// with an unsettled intent are left alone: sending them might deliver them twice. Delivered files go
/// to `retirements` where the job deletes or moves them. Tells what a complete scan saw. Blocks.
pub(super) fn make_plan(
    shared: &Shared,
    retirements: &Sender<RelPath>,
    unsettled: &BTreeSet<RelPath>,
) -> Option<Seen> {
    let tell = |outcome| {
        let _run_ended = shared.outcomes.blocking_send(outcome).is_err();
    };
    let stop = |failure| {
        shared.stop.cancel();
        tell(Outcome::Stop { failure });
    };
    // What an earlier run delivered, and could not delete or move.
    let hand_on = |path| {
        if shared.delivery.job.after_delivery != AfterDelivery::Keep {
            let _run_ended = retirements.send_blocking(path).is_err();
        }
    };
    let (filter, manifest) = prepare(shared).map_err(stop).ok()?;
    let scope = shared.scope();
    let scan = shared.root.scan_within(&filter, &scope, || shared.delivery.clock.now());
    let (mut unchanged, mut not_reached, mut tally) = (0, 0, Tally::default());
    for action in plan(scan, manifest.entries_within(&scope), |path| filter.admits(path)) {
        if shared.cut_off.is_cancelled() {
            return None;
        }
        let _counted = action.as_ref().map(|action| tally.add(action, &shared.root));
        if let Some(waiting) = action.as_ref().ok().and_then(|action| waiting(shared, unsettled, action)) {
            tell(waiting);
            continue;
        }
        let work = match action {
            Ok(Action::Send { path, stat, known, twins, .. }) => {
                Work { path, size: stat.size, known, twins, kind: WorkKind::Send }
            }
            Ok(Action::Hash { path, reason: Reason::TooCloseToTrust, .. }) if shared.is_settled(&path) => {
                hand_on(path);
                continue;
            }
            Ok(Action::Hash { path, stat, known, twins, .. }) => {
                Work { path, size: stat.size, known: Some(known), twins, kind: WorkKind::HashFirst }
            }
            Ok(Action::Unchanged { path }) => {
                unchanged += u64::from(!shared.is_settled(&path) && !unsettled.contains(&path));
                hand_on(path);
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
        tell(Outcome::Planned { bytes: work.size });
        if matches!(work.kind, WorkKind::Send)
            && let Err(error) = shared.check_path(&work.path)
        {
            tell(Shared::given_up(&work.path, &error));
            continue;
        }
        // Nobody takes files any more once the run has stopped; the rest is only counted.
        if shared.stop.is_cancelled() || shared.backlog.offer(work).is_err() {
            not_reached += 1;
        }
    }
    shared.backlog.complete();
    tell(Outcome::PlanComplete { unchanged });
    if not_reached > 0 {
        tell(Outcome::NotReached { files: not_reached });
    }
    // Of a part, what was not looked at is not known to be gone, and of what share it would be neither.
    if scope == Scope::All { tally.seen(&shared.root) } else { None }
}

/// What a plan is made from.
fn prepare(shared: &Shared) -> Result<(Filter, Manifest), Failure> {
    let job = &shared.delivery.job;
    let filter = Filter::of(job);
    let filter = filter.map_err(|error| Failure::new(FailureClass::Other, describe(&error)))?;
    let (remote, destination) = (Arc::clone(&shared.delivery.remote), job.destination.clone());
    let filter = filter.carrying(move |path| remote.check_path(&destination.join(path)).is_ok());
    let manifest = shared.delivery.state.manifest(shared.target);
    Ok((filter, manifest.map_err(|error| Failure::new(error.class(), describe(&error)))?))
}

/// What a complete scan saw, held against what is known.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) source: SourceSeen,
    /// Files that were delivered and that the job's patterns admit.
    pub(super) known: u64,
    pub(super) missing: Missing,
    pub(super) complete: CompleteScan,
}

/// Counts what a plan says.
#[derive(Default)]
struct Tally {
    files: u64,
    known: u64,
    missing: u64,
    paths: Hasher,
    complete: Option<CompleteScan>,
}

impl Tally {
    fn add(&mut self, action: &Action, root: &SourceRoot) {
        match action {
            Action::Send { known, .. } => {
                self.files += 1;
                let delivered = known.as_ref().is_some_and(|known| match known.status {
                    EntryStatus::Delivered | EntryStatus::FoundMissing | EntryStatus::FoundChanged => true,
                    EntryStatus::Presumed | EntryStatus::Retired | EntryStatus::Attested => false,
                });
                self.known += u64::from(delivered);
            }
            Action::Attested { .. } => self.files += 1,
            Action::Hash { known, .. } => {
                self.files += 1;
                self.known += u64::from(match known.status {
                    EntryStatus::Presumed | EntryStatus::Attested => false,
                    EntryStatus::Delivered
                    | EntryStatus::Retired
                    | EntryStatus::FoundMissing
                    | EntryStatus::FoundChanged => true,
                });
            }
            Action::Unchanged { .. } => {
                self.files += 1;
                self.known += 1;
            }
            // Where a link or a folder has its name now, nothing is deleted on the server.
            Action::Missing { path, .. } if !root.lacks(path) => self.known += 1,
            Action::Missing { path, .. } => {
                self.known += 1;
                self.missing += 1;
                self.paths.update(path.as_str().as_bytes());
                self.paths.update(b"\n");
            }
            Action::Presumed { .. }
            | Action::Skip { .. }
            | Action::Refuse { .. }
            | Action::Unreadable { .. } => {}
            Action::End(ScanEnd::Complete(complete)) => self.complete = Some(*complete),
            Action::End(ScanEnd::Incomplete) => self.complete = None,
        }
    }

    /// `None` after an incomplete scan.
    fn seen(self, root: &SourceRoot) -> Option<Seen> {
        let complete = self.complete?;
        let (device, filesystem) = root.place().ok()?;
        let source = SourceSeen { device, filesystem, files: self.files };
        let missing = Missing { files: self.missing, paths: self.paths.finish() };
        Some(Seen { source, known: self.known, missing, complete })
    }
}

/// What comes of an action that no worker takes, if anything is to be said.
fn outcome_of(action: Action) -> Option<Outcome> {
    let refused = |name, class, reason| Outcome::Refused { name, failure: Failure::new(class, reason) };
    match action {
        Action::Presumed { path } => Some(Outcome::Presumed { path }),
        Action::Attested { path } => Some(Outcome::Attested { path }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Found;

    /// What cannot be read hides files, and is no proof that they are gone.
    #[test]
    fn an_incomplete_scan_has_seen_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = SourceRoot::open(folder.path()).unwrap();
        let seen = |found: Vec<Found>| {
            let mut tally = Tally::default();
            for action in plan(found, std::iter::empty::<Result<_, std::io::Error>>(), |_| true) {
                tally.add(&action.unwrap(), &root);
            }
            tally.seen(&root)
        };
        assert_eq!(seen(vec![]).map(|seen| (seen.known, seen.missing.files)), Some((0, 0)));
        let unreadable = Found::Unreadable { name: "a".into(), reason: "denied".into() };
        assert!(seen(vec![unreadable]).is_none());
    }
}
