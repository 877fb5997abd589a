//! The next file of a worker, taken and opened while the present one is not through yet.
//!
//! It rides along: its folders and its port are asked for in one write with the proof of the present
//! file, and its `STOR` goes in one write with the rename. That saves three of seven round trips
//! (`ftps`). It gets its own proof, intent and rename all the same, one batch after the other; where it
//! cannot ride along it is only taken, and sent like any other.

use super::attempt::{Broken, Left, Staged, Start, is_resumable, not_staged, stage, transfer};
use super::failure::DeliveryError;
use super::names::is_sure_of_name;
use super::pump::Pump;
use super::shared::{Shared, Work};
use crate::domain::{FileProgress, FileStat, PublishWay, Record, RemotePath, Sent, Staging, Timestamp};
use crate::remote::{Along, Answer, Closing, Connection, FtpsError, Request};

/// From how many bytes on a file keeps the next one waiting for too long: its proof takes longer than
/// the round trips that are saved.
const PATIENCE_BYTES: u64 = 16 * 1024 * 1024;

/// The place of a worker's next file.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    next: Option<NextFile>,
    policy: Policy,
}

/// Whether files are taken ahead at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Policy {
    #[default]
    Taken,
    NotTaken,
}

/// A file that comes next.
#[derive(Debug)]
pub(super) struct NextFile {
    pub(super) work: Work,
    pub(super) start: HeadStart,
}

/// How far a file has come before its turn.
#[derive(Debug)]
pub(super) enum HeadStart {
    /// Not at all.
    None,
    /// It is open.
    Open(Head, Pump),
    /// The server was asked to store it.
    Begun(Head, Pump),
    /// It stands under its temporary name.
    Sent(Head, Sent),
    /// It could not be stored.
    Failed(Head, DeliveryError),
}

/// What is known of a file that is open.
#[derive(Debug)]
pub(super) struct Head {
    temporary: RemotePath,
    stat: FileStat,
    observed_at: Timestamp,
}

/// How far the present file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// It is about to be proved: more has to be asked about it.
    Proof,
    /// It is about to get its name: nothing more is to be asked, if all goes well.
    Rename,
}

impl Ahead {
    /// A place that stays empty.
    pub(super) fn never() -> Self {
        Self { next: None, policy: Policy::NotTaken }
    }

    /// The next file, if there is one.
    pub(super) fn take(&mut self) -> Option<NextFile> {
        self.next.take()
    }

    /// Puts the next file back.
    pub(super) fn keep(&mut self, next: NextFile) {
        self.next = Some(next);
    }

    /// Takes the next file off the backlog and opens it, if it can ride along with a file of `size`
    /// bytes on this session. Not cancel safe.
    pub(super) async fn prepare(&mut self, shared: &Shared, connection: &Connection, size: u64) {
        let wanted = self.next.is_none()
            && self.policy == Policy::Taken
            && size < PATIENCE_BYTES
            && connection.overlaps()
            && shared.delivery.job.publish == PublishWay::Rename
            // They come and go between the files.
            && shared.sidecar_kinds().is_empty()
            && !shared.stop.is_cancelled()
            && !connection.permit().is_wanted_elsewhere();
        if !wanted {
            return;
        }
        if let Some(work) = shared.backlog.take_ahead() {
            let start = open(shared, &work).await.unwrap_or(HeadStart::None);
            self.next = Some(NextFile { work, start });
        }
    }

    /// Asks what is to be asked of the present file, and in the same write what the next one needs.
    /// Not cancel safe.
    pub(super) async fn perform(
        &mut self,
        shared: &Shared,
        connection: &mut Connection,
        mut requests: Vec<Request>,
        size: u64,
        moment: Moment,
    ) -> Result<Vec<Answer>, FtpsError> {
        let folders = self.folders(shared);
        let present = requests.len();
        requests.extend(folders.iter().cloned().map(Request::MakeFolder));
        let path = self.temporary_to_store(moment).filter(|_| folders.is_empty());
        let along = match (&path, &self.next) {
            (Some(path), _) => Along::Store(path),
            (None, Some(NextFile { start: HeadStart::Open(..), .. })) => Along::Port,
            (None, _) => Along::Nothing,
        };
        if path.is_some() {
            // Before anything is sent: where no answer comes, something may stand there.
            self.change(|start| match start {
                HeadStart::Open(head, pump) => HeadStart::Begun(head, pump),
                other => other,
            });
        }
        let mut answers = connection.perform_along(&requests, size, along).await?;
        if path.is_some() && !connection.is_storing() {
            // There was no port to store it at.
            self.change(|start| match start {
                HeadStart::Begun(head, pump) => HeadStart::Open(head, pump),
                other => other,
            });
        }
        let made = answers.split_off(present.min(answers.len()));
        if shared.take_in_folders(folders, made).is_err() {
            // It is asked for once more in the file's own turn, and is the file's failure then.
            self.change(|_| HeadStart::None);
        }
        Ok(answers)
    }

    /// Sends the next file if the server waits for it, so that something else can be asked about the
    /// present one. Not cancel safe.
    pub(super) async fn finish(&mut self, shared: &Shared, connection: &mut Connection) {
        let Some(NextFile { work, start: HeadStart::Begun(..) }) = &self.next else { return };
        let work = work.clone();
        let Some(NextFile { start: HeadStart::Begun(head, pump), .. }) = self.next.take() else { return };
        let start = match send(shared, connection, &work, &head, pump, Closing::Awaited).await {
            Ok(sent) => HeadStart::Sent(head, sent),
            Err(error) => HeadStart::Failed(head, error),
        };
        self.next = Some(NextFile { work, start });
    }

    /// Under which name the next file is to be stored now.
    fn temporary_to_store(&self, moment: Moment) -> Option<RemotePath> {
        match (moment, &self.next) {
            (Moment::Rename, Some(NextFile { start: HeadStart::Open(head, _), .. })) => {
                Some(head.temporary.clone())
            }
            _ => None,
        }
    }

    /// The folders that have to be made for the next file.
    fn folders(&self, shared: &Shared) -> Vec<RemotePath> {
        match &self.next {
            Some(NextFile { start: HeadStart::Open(head, _), .. }) => {
                head.temporary.folder().map(|folder| shared.folders_to_make(&folder)).unwrap_or_default()
            }
            Some(_) | None => vec![],
        }
    }

    fn change(&mut self, change: impl FnOnce(HeadStart) -> HeadStart) {
        if let Some(NextFile { work, start }) = self.next.take() {
            self.next = Some(NextFile { work, start: change(start) });
        }
    }
}

impl HeadStart {
    /// Whether the server knows of it.
    pub(super) const fn is_begun(&self) -> bool {
        match self {
            Self::None | Self::Open(..) => false,
            Self::Begun(..) | Self::Sent(..) | Self::Failed(..) => true,
        }
    }

    /// The name under which something may stand on the server.
    pub(super) fn into_temporary(self) -> Option<RemotePath> {
        match self {
            Self::None | Self::Open(..) => None,
            Self::Begun(head, _) | Self::Sent(head, _) | Self::Failed(head, _) => Some(head.temporary),
        }
    }

    /// Brings the file under its temporary name from there.
    pub(super) async fn stage(
        self,
        shared: &Shared,
        connection: &mut Connection,
        work: &Work,
        observed_at: Timestamp,
    ) -> Result<Staged, Broken> {
        let (head, sent) = match self {
            Self::None => {
                return stage(shared, connection, work, &shared.destination(&work.path), observed_at).await;
            }
            Self::Open(head, pump) | Self::Begun(head, pump) => {
                let closing = connection.closing();
                let sent = send(shared, connection, work, &head, pump, closing).await;
                (head, sent)
            }
            Self::Sent(head, sent) => (head, Ok(sent)),
            Self::Failed(head, error) => (head, Err(error)),
        };
        let Head { temporary, stat, observed_at } = head;
        match sent {
            Ok(sent) => Ok(Staged { temporary, stat, observed_at, sent, start: Start::Afresh }),
            Err(error) => Err(Broken { error, left: Left::Temporary(temporary) }),
        }
    }
}

/// Opens a file, and makes the staging of its folder durable; `None` where it has to be looked at more
/// closely in its own turn, or cannot be opened, which is told there.
async fn open(shared: &Shared, work: &Work) -> Option<HeadStart> {
    let destination = shared.destination(&work.path);
    let folder = destination.folder()?;
    let plain = shared.partial(&work.path).is_none()
        && shared.storing(&work.path).is_none()
        && is_sure_of_name(shared, work)
        && shared.folders_to_make(&folder).len() <= Shared::MAX_FOLDERS_AT_ONCE;
    if !plain {
        return None;
    }
    // The time comes first, so that a later change never seems older than the look.
    let observed_at = shared.delivery.clock.now();
    let pump = Pump::start(shared.root.clone(), work.path.clone()).await.ok()?;
    let stat = pump.stat();
    if is_resumable(shared, stat) {
        return None;
    }
    let temporary = shared.temporary(&destination)?;
    if !shared.is_staged(&folder) {
        let staging = Staging { run: shared.run, folder: folder.clone(), file: None };
        shared.commit(Record::Staging(staging)).await.ok()?;
        shared.staged(folder);
    }
    Some(HeadStart::Open(Head { temporary, stat, observed_at }, pump))
}

/// Stores a file that is open.
async fn send(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    head: &Head,
    pump: Pump,
    closing: Closing,
) -> Result<Sent, DeliveryError> {
    shared.emit(&work.path, FileProgress::Started { size: head.stat.size });
    let upload = connection.upload(&head.temporary).await;
    let upload = upload.map_err(|error| not_staged(shared, &shared.destination(&work.path), error))?;
    transfer(shared, &work.path, pump, upload, closing).await
}
