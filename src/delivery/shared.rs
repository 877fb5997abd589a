//! What the workers of a run share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use unicode_normalization::UnicodeNormalization as _;

use super::backlog::Backlog;
use super::door::Door;
use super::failure::{DeliveryError, ForRun};
use super::names::Names;
use super::room::{Room, RoomLeft};
use super::run::Delivery;
use crate::domain::{
    Entry, Event, Failure, FileProgress, Mount, ProofMethod, PublishWay, Publishing, Record, RelPath,
    RemotePath, Removal, Retry, RetryBudget, RunId, Scope, Sidecars, StagedFile, Storing, Symlinks, TargetId,
    Twins, WaitCause,
};
use crate::plain::chain;
use crate::remote::{Answer, Share};
use crate::source::{SourceError, SourceRoot};
use crate::state::StateError;

/// A file to be looked at by a worker.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) path: RelPath,
    /// Its bytes, as the scan saw them.
    pub(super) size: u64,
    /// What was delivered before.
    pub(super) known: Option<Entry>,
    /// Names that some servers take for its own.
    pub(super) twins: Twins,
    pub(super) kind: WorkKind,
}

/// What to do with it.
#[derive(Clone, Debug)]
pub(super) enum WorkKind {
    Send,
    /// Read it first, and send it only if it is not what was delivered.
    HashFirst,
    /// Find out what became of an earlier run's intent, and no more.
    Settle(Box<Publishing>),
    /// Publish the sidecars that an earlier run owes it, and no more.
    Sidecars,
}

/// What the run is told.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The plan has one more file to send or to read.
    Planned {
        bytes: u64,
    },
    /// All files are known.
    PlanComplete {
        unchanged: u64,
    },
    Delivered {
        path: RelPath,
        size: u64,
        method: ProofMethod,
        publish: PublishWay,
    },
    /// Delivered by an earlier run that could not record it.
    Settled {
        path: RelPath,
    },
    /// An earlier run's intent came to nothing, or is presumed: the plan decides anew.
    Withdrawn,
    Confirmed {
        path: RelPath,
    },
    Presumed {
        path: RelPath,
    },
    /// A person said that the receiver has it.
    Attested {
        path: RelPath,
    },
    /// It is not sent yet.
    Waiting {
        path: RelPath,
        age_ms: u64,
        cause: WaitCause,
    },
    Skipped {
        name: String,
        reason: String,
    },
    /// A file that has no path which can be sent.
    Refused {
        name: String,
        failure: Failure,
    },
    Failed {
        path: RelPath,
        failure: Failure,
    },
    /// The same, because the server had no room for it.
    NoRoom {
        path: RelPath,
        failure: Failure,
    },
    /// The source of a delivered file was deleted, or moved.
    Retired {
        path: RelPath,
        moved_to: Option<String>,
    },
    /// It should have been, and was not.
    Retained {
        path: RelPath,
        failure: Failure,
    },
    /// A remote file whose source is gone is no concern any more.
    Removed {
        path: RelPath,
        removal: Removal,
    },
    /// It should have been deleted or moved to the trash, and was not.
    NotRemoved {
        path: RelPath,
        failure: Failure,
    },
    /// The run ended before the turn of this many files.
    NotReached {
        files: u64,
    },
    /// No file would fare better from here on.
    Stop {
        failure: Failure,
    },
}

/// What the workers of a run share.
pub(super) struct Shared {
    pub(super) delivery: Delivery,
    pub(super) run: RunId,
    pub(super) target: TargetId,
    pub(super) root: SourceRoot,
    /// Cancelled when no more files shall be begun.
    pub(super) stop: CancellationToken,
    /// Cancelled when even files under way are given up.
    pub(super) cut_off: CancellationToken,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    /// What was found out of how the server stores names.
    pub(super) names: Names,
    /// The files that wait.
    pub(super) backlog: Backlog,
    /// The run's share in the server's sessions.
    pub(super) share: Share,
    /// The way to a session.
    pub(super) door: Door,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Folders on the server that were there, or were asked for and answered.
    made: BTreeSet<RemotePath>,
    /// Folders that were asked for and refused, with the reply: they exist, or cannot be made.
    refused: BTreeMap<RemotePath, String>,
    /// Folders whose staging is durable.
    staged: BTreeSet<RemotePath>,
    /// Folders in which a temporary file may be left.
    leftovers: BTreeSet<RemotePath>,
    /// Large files of which a part may stand under a temporary name.
    partials: BTreeMap<RelPath, StagedFile>,
    /// Uploads to final names whose end is not known.
    storings: BTreeMap<RelPath, Storing>,
    /// Files that an earlier run had delivered, as this one found out.
    settled: BTreeSet<RelPath>,
    /// The file systems below the source that are to be remembered, where that is news.
    mounts: Option<Vec<Mount>>,
    /// The kinds of sidecars that this target ever had.
    sidecars: Sidecars,
    /// Files that this run has delivered and whose sidecars are owed.
    owing: BTreeMap<RelPath, Outcome>,
    /// How often files may still be tried again.
    retries: RetryBudget,
    /// How large files may be that the server has room for.
    room: Room,
}

impl Shared {
    pub(super) fn new(
        delivery: Delivery,
        run: RunId,
        root: SourceRoot,
        stop: CancellationToken,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Arc<Self> {
        let target = delivery.target.id();
        let (share, was_met) = (delivery.remote.share(), delivery.remote.was_met());
        Arc::new(Self {
            delivery,
            run,
            target,
            root,
            stop,
            cut_off: CancellationToken::new(),
            outcomes,
            names: Names::default(),
            backlog: Backlog::new(),
            share,
            door: Door::new(was_met),
            notes: Mutex::default(),
        })
    }

    /// Which part of the source the run is about. Where links are followed a change may lie behind
    /// any of them.
    pub(super) fn scope(&self) -> Scope {
        match self.delivery.job.symlinks {
            Symlinks::Follow => Scope::All,
            Symlinks::Skip | Symlinks::Fail => self.delivery.scope.clone(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each change is one call on one set, so a panic elsewhere leaves them whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a file will stand on the server.
    pub(super) fn destination(&self, path: &RelPath) -> RemotePath {
        self.delivery.job.destination.join(path)
    }

    /// A fresh temporary name beside a final name; none where it would be too long to send.
    pub(super) fn temporary(&self, destination: &RemotePath) -> Option<RemotePath> {
        let name = format!("{}{:016x}", self.temporary_prefix(), self.delivery.clock.random());
        destination.folder()?.child(&name).ok()
    }

    /// How the names of this target's temporary files begin. They are hidden, so that a
    /// consumer's `*` does not meet them, and carry the agent's id and a part of the target's, so
    /// that neither another agent nor another job with the same destination sweeps them.
    pub(super) fn temporary_prefix(&self) -> String {
        format!(".nf-{}-{}-", self.delivery.state.agent(), self.target.short())
    }

    /// A fresh name for a source file that is set aside in its folder: of the same form, which no
    /// scan takes for a file to send.
    pub(super) fn private_name(&self) -> String {
        format!("{}{:016x}", self.temporary_prefix(), self.delivery.clock.random())
    }

    /// Bytes of a temporary name: all have the same.
    const TEMPORARY_NAME_BYTES: usize = 38;

    /// Whether a name on the server is that of a temporary file that begins with `prefix`. Servers
    /// that decompose what they store have more bytes for it than were sent.
    pub(super) fn is_temporary(name: &str, prefix: &str) -> bool {
        let bytes = name.nfc().map(char::len_utf8).sum::<usize>();
        bytes == Self::TEMPORARY_NAME_BYTES && name.starts_with(prefix)
    }

    /// Most folders that are asked for in one write: a deep path in few round trips, and fewer
    /// replies at once than a session takes in.
    pub(super) const MAX_FOLDERS_AT_ONCE: usize = 16;

    /// Whether a file may be tried again, for all that the run has tried again already.
    pub(super) fn may_retry(&self) -> Retry {
        self.notes().retries.take()
    }

    /// The server had no room for a file of so many bytes.
    pub(super) fn no_room_for(&self, size: u64) -> RoomLeft {
        self.notes().room.refused(size)
    }

    /// The server had room for a file.
    pub(super) fn had_room(&self) {
        self.notes().room.taken();
    }

    /// Whether the server may have room for so many bytes.
    pub(super) fn may_have_room_for(&self, size: u64) -> bool {
        self.notes().room.may_hold(size)
    }

    /// Whether a file's path can be sent at all, and those of its sidecars.
    pub(super) fn check_path(&self, path: &RelPath) -> Result<(), DeliveryError> {
        let remote = &self.delivery.remote;
        remote.check_path(&self.destination(path))?;
        let sidecars = &self.delivery.job.sidecars;
        sidecars.check_name(path)?;
        for beside in sidecars.iter().filter_map(|sidecar| sidecar.beside(path)) {
            remote.check_path(&self.destination(&beside))?;
        }
        Ok(())
    }

    /// What is mounted below the source is not what is remembered of it.
    pub(super) fn saw_mounts(&self, mounts: Vec<Mount>) {
        self.notes().mounts = Some(mounts);
    }

    /// What is to be remembered of what is mounted below the source, where that is news.
    pub(super) fn mounts(&self) -> Option<Vec<Mount>> {
        self.notes().mounts.clone()
    }

    /// The kinds of sidecars that may stand beside files: those that the job wants, and those that it
    /// wanted once.
    pub(super) fn sidecar_kinds(&self) -> Sidecars {
        self.notes().sidecars.with(&self.delivery.job.sidecars)
    }

    /// What kinds of sidecars the target had so far.
    pub(super) fn had_sidecars(&self, sidecars: Sidecars) {
        self.notes().sidecars = sidecars;
    }

    /// A file is delivered, and has this outcome once its sidecars stand.
    pub(super) fn owe(&self, path: RelPath, outcome: Outcome) {
        self.notes().owing.insert(path, outcome);
    }

    /// Whether a file was delivered by this run, and its sidecars are owed.
    pub(super) fn owes(&self, path: &RelPath) -> bool {
        self.notes().owing.contains_key(path)
    }

    /// The outcome of a file whose sidecars stand now, or failed for this run.
    pub(super) fn owes_no_more(&self, path: &RelPath) -> Option<Outcome> {
        self.notes().owing.remove(path)
    }

    /// Tells that a file is given up.
    pub(super) async fn give_up(&self, path: &RelPath, error: &DeliveryError) {
        self.tell(Self::given_up(path, error)).await;
    }

    /// What becomes of a file that is given up.
    pub(super) fn given_up(path: &RelPath, error: &DeliveryError) -> Outcome {
        if let DeliveryError::Source(SourceError::Gone { .. }) = error {
            return Outcome::Skipped {
                name: path.to_string(),
                reason: "gone before it could be read".to_owned(),
            };
        }
        let (disposition, path) = (error.disposition(), path.clone());
        let failure = Failure::new(disposition.class, chain(error));
        match disposition.run {
            ForRun::Smaller => Outcome::NoRoom { path, failure },
            ForRun::GoOn | ForRun::Alone | ForRun::Stop => Outcome::Failed { path, failure },
        }
    }

    /// Makes a record durable.
    pub(super) async fn commit(&self, record: Record) -> Result<(), StateError> {
        self.delivery.state.commit(self.target, vec![record]).await
    }

    /// Tells the run. It outlives its workers, so somebody listens.
    pub(super) async fn tell(&self, outcome: Outcome) {
        if matches!(outcome, Outcome::Delivered { .. }) {
            self.notes().retries.earn();
        }
        let _run_ended = self.outcomes.send(outcome).await.is_err();
    }

    /// Tells those who watch.
    pub(super) fn emit(&self, path: &RelPath, progress: FileProgress) {
        self.delivery.sink.emit(Event::File { path: path.clone(), progress });
    }

    /// The folders from `folder` up which are not known to have been asked for, outermost first.
    pub(super) fn folders_to_make(&self, folder: &RemotePath) -> Vec<RemotePath> {
        let notes = self.notes();
        let above = std::iter::successors(Some(folder.clone()), RemotePath::folder);
        let mut missing: Vec<_> = above
            .take_while(|folder| !matches!(folder.as_str(), "/" | ".") && !notes.made.contains(folder))
            .collect();
        missing.reverse();
        missing
    }

    /// Takes in what the server answered to the wish for these folders. A refusal may mean that one
    /// exists: whether it is there is found by `STOR`.
    pub(super) fn take_in_folders(
        &self,
        folders: Vec<RemotePath>,
        answers: Vec<Answer>,
    ) -> Result<(), DeliveryError> {
        let mut notes = self.notes();
        for (folder, answer) in folders.into_iter().zip(answers) {
            if let Answer::Refused(refusal) | Answer::Absent(refusal) = answer {
                if refusal.is_passing() {
                    return Err(DeliveryError::NotNow { refusal });
                }
                notes.refused.insert(folder.clone(), refusal.reply);
            }
            notes.made.insert(folder);
        }
        Ok(())
    }

    /// What was answered when a folder was asked for, if that was a refusal.
    pub(super) fn folder_refusal(&self, folder: &RemotePath) -> Option<String> {
        self.notes().refused.get(folder).cloned()
    }

    pub(super) fn is_staged(&self, folder: &RemotePath) -> bool {
        self.notes().staged.contains(folder)
    }

    pub(super) fn staged(&self, folder: RemotePath) {
        self.notes().staged.insert(folder);
    }

    pub(super) fn left_over(&self, folder: RemotePath) {
        self.notes().leftovers.insert(folder);
    }

    /// Nothing is left in a folder any more.
    pub(super) fn swept(&self, folder: &RemotePath) {
        self.notes().leftovers.remove(folder);
    }

    /// The folders in which temporary files may be left.
    pub(super) fn leftovers(&self) -> Vec<RemotePath> {
        let notes = self.notes();
        let of_partials = notes.partials.values().filter_map(|partial| partial.temporary.folder());
        let folders: BTreeSet<_> = notes.leftovers.iter().cloned().chain(of_partials).collect();
        folders.into_iter().collect()
    }

    /// A part of a large file may stand on the server, as the ledger knows.
    pub(super) fn keep_partial(&self, partial: StagedFile) {
        self.notes().partials.insert(partial.path.clone(), partial);
    }

    /// The part of a large file that may stand on the server.
    pub(super) fn partial(&self, path: &RelPath) -> Option<StagedFile> {
        self.notes().partials.get(path).cloned()
    }

    /// A part of a large file is not to be gone on with.
    pub(super) fn forget_partial(&self, path: &RelPath) -> Option<StagedFile> {
        self.notes().partials.remove(path)
    }

    /// An upload to a final name begins, or the end of an earlier one is not known.
    pub(super) fn keep_storing(&self, storing: Storing) {
        self.notes().storings.insert(storing.path.clone(), storing);
    }

    /// The upload of a file to its final name whose end is not known.
    pub(super) fn storing(&self, path: &RelPath) -> Option<Storing> {
        self.notes().storings.get(path).cloned()
    }

    /// The end of an upload to a final name is recorded.
    pub(super) fn forget_storing(&self, path: &RelPath) {
        self.notes().storings.remove(path);
    }

    /// Whether a temporary name is one that this target gives to this file: neither another
    /// agent's nor another job's.
    pub(super) fn is_own_temporary(&self, temporary: &RemotePath, path: &RelPath) -> bool {
        let name = temporary.name();
        name.len() == Self::TEMPORARY_NAME_BYTES
            && name.starts_with(&self.temporary_prefix())
            && temporary.folder() == self.destination(path).folder()
    }

    pub(super) fn settled(&self, path: RelPath) {
        self.notes().settled.insert(path);
    }

    /// Whether a file has its outcome already: the plan meets it once more.
    pub(super) fn is_settled(&self, path: &RelPath) -> bool {
        self.notes().settled.contains(path)
    }
}
