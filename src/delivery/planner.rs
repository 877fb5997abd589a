//! The plan of a run, made in a blocking thread while files are already on their way.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_channel::Sender;
use tokio::task::spawn_blocking;

use super::retire::check_place;
use super::shared::{Outcome, Shared, Work, WorkKind};
use super::waiting::waiting;
use crate::domain::{
    AfterDelivery, EntryStatus, Failure, FailureClass, Hasher, Job, Mount, RelPath, Scope, SourceSeen,
};
use crate::plain::{chain, plain};
use crate::plan::guard::Missing;
use crate::plan::{Action, CompleteScan, Reason, ScanEnd, plan};
use crate::source::{Filter, SourceRoot};
use crate::state::Manifest;

/// Opens the source folder, and sees to it that nothing is moved from there to there.
pub(super) async fn open_source(job: &Job) -> Result<SourceRoot, Failure> {
    let job = job.clone();
    let open = move || {
        let opened = SourceRoot::of(&job);
        let root = opened.map_err(|error| Failure::new(error.class(), chain(&error)))?;
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
    let mut tally = Tally::begin(shared, &manifest).map_err(stop).ok()?;
    let scope = shared.scope();
    let scan = shared.root.scan_within(&filter, &scope, || shared.delivery.clock.now());
    let (mut unchanged, mut not_reached) = (0, 0);
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
                stop(Failure::new(FailureClass::Other, chain(&error)));
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
    tally.remember_mounts(shared, &scope);
    shared.backlog.complete();
    tell(Outcome::PlanComplete { unchanged });
    tell(Outcome::NotReached { files: not_reached });
    // Of a part, what was not looked at is not known to be gone, and of what share it would be neither.
    if scope == Scope::All { tally.seen(&shared.root) } else { None }
}

/// What a plan is made from.
fn prepare(shared: &Shared) -> Result<(Filter, Manifest), Failure> {
    let job = &shared.delivery.job;
    let filter = Filter::of(job);
    let filter = filter.map_err(|error| Failure::new(FailureClass::Other, chain(&error)))?;
    let (remote, destination) = (Arc::clone(&shared.delivery.remote), job.destination.clone());
    let filter = filter.carrying(move |path| remote.check_path(&destination.join(path)).is_ok());
    let manifest = shared.delivery.state.manifest(shared.target);
    Ok((filter, manifest.map_err(|error| Failure::new(error.class(), chain(&error)))?))
}

/// Whether delivered files are missing from a file system that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    NoneMissing,
    Missing,
}

/// What a complete scan saw, held against what is known.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) source: SourceSeen,
    /// Files that were delivered and that the job's patterns admit.
    pub(super) known: u64,
    pub(super) missing: Missing,
    /// One that was mounted below the source, is not any more, and from which files are missing.
    pub(super) gone_mount: Option<Mount>,
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
    /// File systems that are mounted below the source.
    mounted: Vec<Mount>,
    /// Those that were when files were delivered.
    remembered: Vec<Mount>,
    /// Those of them that are not any more.
    gone: Vec<(Mount, Holds)>,
}

impl Tally {
    /// Before the scan: what goes away while it goes on counts as mounted, and is missed.
    fn begin(shared: &Shared, manifest: &Manifest) -> Result<Self, Failure> {
        let mounted = shared.root.mounts().map_err(|error| {
            let cause = format!("what is mounted below the source cannot be read: {}", plain(&error));
            Failure::new(FailureClass::Source, cause)
        })?;
        let remembered = manifest.mounts().map_err(|error| Failure::new(error.class(), chain(&error)))?;
        let is_gone = |was: &&Mount| !mounted.iter().any(|now| now.is_same(was));
        let gone =
            remembered.iter().filter(is_gone).map(|mount| (mount.clone(), Holds::NoneMissing)).collect();
        Ok(Self { mounted, remembered, gone, ..Self::default() })
    }

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
                for (mount, holds) in &mut self.gone {
                    if mount.holds(path) {
                        *holds = Holds::Missing;
                    }
                }
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

    /// Has those that are mounted kept in mind, and those that are gone, until a complete scan found that
    /// nothing is missing from them.
    fn remember_mounts(&self, shared: &Shared, scope: &Scope) {
        let all_seen = self.complete.is_some() && *scope == Scope::All;
        let kept = self.gone.iter().filter(|(_, holds)| !all_seen || *holds == Holds::Missing);
        let mut mounts: Vec<_> = kept.map(|(mount, _)| mount.clone()).collect();
        // Another one in the same folder must not make it forgotten.
        mounts.extend(self.mounted.iter().cloned());
        mounts.sort_by(|one, other| one.folder.cmp(&other.folder));
        if mounts != self.remembered {
            shared.saw_mounts(mounts);
        }
    }

    /// `None` after an incomplete scan.
    fn seen(self, root: &SourceRoot) -> Option<Seen> {
        let complete = self.complete?;
        let (device, filesystem) = root.place().ok()?;
        let source = SourceSeen { device, filesystem, files: self.files };
        let missing = Missing { files: self.missing, paths: self.paths.finish() };
        let gone_mount = self.gone.into_iter().find(|(_, holds)| *holds == Holds::Missing);
        let gone_mount = gone_mount.map(|(mount, _)| mount);
        Some(Seen { source, known: self.known, missing, gone_mount, complete })
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
