//! One attempt to deliver one file on one session.

use super::ahead::{Ahead, HeadStart, Moment};
use super::failure::DeliveryError;
use super::publish::{Draft, Input, Proof, Publish, RenameOver, ServerHash, Spec, Step, Turn};
use super::pump::Pump;
use super::resume::go_on;
use super::settle::{Case, Settle, SettleStep, Settled};
use super::shared::{Shared, Work};
use super::sidecars::{Strangers, Subject, take_down};
use crate::domain::{
    Entry, FileProgress, FileStat, Publishing, Record, RelPath, RemotePath, Sent, StagedFile, Staging,
    Timestamp, Verified, Withdrawn,
};
use crate::remote::{
    Ability, Along, Answer, Closing, Connection, FtpsError, Refusal, Request, Trouble, Upload,
};

/// Why an attempt failed, and what it left on the server.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: DeliveryError,
    pub(super) left: Left,
}

/// What an attempt left on the server.
#[derive(Debug)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// A temporary file, or a part of one.
    Temporary(RemotePath),
    /// The beginning of a large file, to be gone on with, of which the run knows.
    Partial,
    /// An intent that must be settled.
    Intent(Box<Publishing>),
}

impl<E: Into<DeliveryError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self { error: error.into(), left: Left::Nothing }
    }
}

/// A file under a temporary name.
pub(super) struct Staged {
    pub(super) temporary: RemotePath,
    pub(super) stat: FileStat,
    pub(super) observed_at: Timestamp,
    pub(super) sent: Sent,
    pub(super) start: Start,
}

/// Where an attempt began to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the first byte.
    Afresh,
    /// Behind what an earlier attempt had stored.
    Resumed,
    /// Nowhere: an earlier attempt had stored all of it.
    Whole,
}

/// Delivers a file: stage, prove, publish, record. The next one may be taken and begun on the way.
/// Not cancel safe: what is dropped midway is settled, gone on with or swept by the next run.
pub(super) async fn deliver(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    head_start: HeadStart,
    ahead: &mut Ahead,
) -> Result<Verified, Broken> {
    let delivered = try_deliver(shared, connection, work, head_start, ahead).await;
    let Some(partial) = shared.partial(&work.path) else { return delivered };
    match delivered {
        Err(Broken { error, left: Left::Temporary(temporary) }) if temporary == partial.temporary => {
            if error.leaves_a_beginning() {
                return Err(Broken { error, left: Left::Partial });
            }
            shared.forget_partial(&work.path);
            let cause = error.to_string();
            let withdrawn = Withdrawn { run: shared.run, path: work.path.clone(), cause };
            let left = Left::Temporary(temporary);
            Err(match shared.commit(Record::Withdrawn(withdrawn)).await {
                Ok(()) => Broken { error, left },
                Err(state) => Broken { error: state.into(), left },
            })
        }
        // The file's end, or its intent, is on record.
        Ok(_) | Err(Broken { left: Left::Intent(_), .. }) => {
            shared.forget_partial(&work.path);
            delivered
        }
        Err(Broken { left: Left::Nothing | Left::Partial | Left::Temporary(_), .. }) => delivered,
    }
}

async fn try_deliver(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    head_start: HeadStart,
    ahead: &mut Ahead,
) -> Result<Verified, Broken> {
    let destination = shared.destination(&work.path);
    let proof = match choose_proof(shared, connection) {
        Ok(proof) => proof,
        Err(error) => {
            // A head start may have left something there.
            let left = head_start.into_temporary().map_or(Left::Nothing, Left::Temporary);
            return Err(Broken { error, left });
        }
    };
    // The time comes first, so that a later change never seems older than the look.
    let observed_at = shared.delivery.clock.now();
    let staged = match shared.partial(&work.path) {
        Some(partial) => go_on(shared, connection, &partial, observed_at).await?,
        None => head_start.stage(shared, connection, work, observed_at).await?,
    };
    let Staged { temporary, stat, observed_at, sent, start } = staged;
    let draft = Draft {
        run: shared.run,
        path: work.path.clone(),
        temporary,
        stat,
        observed_at,
        sidecars: shared.delivery.job.sidecars.clone(),
        session: connection.facts().clone(),
    };
    let left = Left::Temporary(draft.temporary.clone());
    let spec = spec(shared, draft, sent, destination, proof, work.known.clone())
        .map_err(|error| Broken { error, left })?;
    let published = publish(shared, connection, Subject::File, Publish::new(spec), ahead).await;
    if start == Start::Afresh { published } else { judge_resumed(shared, start, published) }
}

/// What the end of an upload that was gone on with says of the server and of the beginning: a
/// beginning that another attempt stored may be what is wrong.
fn judge_resumed(
    shared: &Shared,
    start: Start,
    published: Result<Verified, Broken>,
) -> Result<Verified, Broken> {
    let remote = &shared.delivery.remote;
    match published {
        Ok(verified) => {
            if start == Start::Resumed {
                remote.learn_resume(Ability::Yes);
            }
            Ok(verified)
        }
        Err(Broken { error: error @ (DeliveryError::Mismatch(_) | DeliveryError::NoProof { .. }), left }) => {
            let mismatch = matches!(error, DeliveryError::Mismatch(_));
            // It may have taken the rest for the whole.
            if mismatch && start == Start::Resumed && remote.resume() == Ability::Unknown {
                remote.learn_resume(Ability::No);
            }
            Err(Broken { error: DeliveryError::ResumedWrong(Box::new(error)), left })
        }
        Err(broken) => Err(broken),
    }
}

pub(super) fn choose_proof(shared: &Shared, connection: &Connection) -> Result<Proof, DeliveryError> {
    let offered = if connection.has_hash() { ServerHash::Offered } else { ServerHash::Missing };
    Proof::choose(shared.delivery.job.verify, offered)
}

pub(super) fn spec(
    shared: &Shared,
    draft: Draft,
    sent: Sent,
    destination: RemotePath,
    proof: Proof,
    known: Option<Entry>,
) -> Result<Spec, DeliveryError> {
    let job = &shared.delivery.job;
    let (policy, overwrite, mode) = (job.verify, job.overwrite, job.mode);
    let rename_over = match shared.delivery.remote.profile().rename_over {
        Ability::No => RenameOver::Refused,
        Ability::Unknown | Ability::Yes => RenameOver::Replaces,
    };
    let displace_to = shared.temporary(&destination).ok_or(DeliveryError::NoTemporaryName)?;
    Ok(Spec { draft, sent, destination, proof, policy, overwrite, mode, known, rename_over, displace_to })
}

/// Stores the file under a fresh temporary name beside its final one.
pub(super) async fn stage(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    destination: &RemotePath,
    observed_at: Timestamp,
) -> Result<Staged, Broken> {
    let pump = Pump::start(shared.root.clone(), work.path.clone()).await?;
    let stat = pump.stat();
    shared.emit(&work.path, FileProgress::Started { size: stat.size });
    let temporary = shared.temporary(destination).ok_or(DeliveryError::NoTemporaryName)?;
    if let Some(folder) = destination.folder() {
        let file = is_resumable(shared, stat).then(|| StagedFile {
            path: work.path.clone(),
            temporary: temporary.clone(),
            stat,
        });
        prepare_folder(shared, connection, folder, file).await?;
    }
    // From here on something may stand there, whatever the server answered.
    let left = |error: DeliveryError| Broken { error, left: Left::Temporary(temporary.clone()) };
    let refused = |error| left(not_staged(shared, destination, error));
    let closing = connection.closing();
    let upload = connection.upload(&temporary).await.map_err(refused)?;
    let sent = transfer(shared, &work.path, pump, upload, closing).await.map_err(left)?;
    Ok(Staged { temporary, stat, observed_at, sent, start: Start::Afresh })
}

/// Whether an interrupted upload of a file is to be gone on with.
pub(super) fn is_resumable(shared: &Shared, stat: FileStat) -> bool {
    stat.size >= shared.delivery.resume_from && shared.delivery.remote.resume() != Ability::No
}

/// Sends what a pump gives.
pub(super) async fn transfer(
    shared: &Shared,
    path: &RelPath,
    mut pump: Pump,
    mut upload: Upload<'_>,
    closing: Closing,
) -> Result<Sent, DeliveryError> {
    let whole = pump.is_whole();
    while let Some(buffer) = pump.next().await {
        if whole { upload.write_last(&buffer).await } else { upload.write(&buffer).await }?;
        shared.emit(path, FileProgress::Bytes { count: buffer.len() as u64 });
        pump.reuse(buffer);
    }
    let read = pump.finish().await;
    // Also after a failed read, so that the session can go on.
    let finished = upload.finish(if read.is_ok() { closing } else { Closing::Awaited }).await;
    let sent = read?;
    finished?;
    Ok(sent)
}

/// Servers say little of why they do not store a file; that its folder could not be made says more.
pub(super) fn not_stored(shared: &Shared, destination: &RemotePath, error: FtpsError) -> DeliveryError {
    let folder = destination.folder().filter(|_| error.trouble() == Trouble::Refused);
    let refusal = folder.and_then(|folder| Some((shared.folder_refusal(&folder)?, folder)));
    match refusal {
        Some((reply, folder)) => DeliveryError::NotStored { source: Box::new(error), folder, reply },
        None => error.into(),
    }
}

/// The same of a temporary name. Some servers take none that begins with a dot (vsftpd: `deny_file`,
/// ProFTPD: `PathDenyFilter`, Pure-FTPd: `-x`), each in words of its own.
pub(super) fn not_staged(shared: &Shared, destination: &RemotePath, error: FtpsError) -> DeliveryError {
    let denied =
        matches!(error, FtpsError::Refused { verb: "STOR", .. }) && error.trouble() == Trouble::Refused;
    let error = not_stored(shared, destination, error);
    if denied { DeliveryError::NotStaged { source: Box::new(error) } } else { error }
}

/// Sees to it that a folder is there, and that what may be left in it can be found again, and be
/// gone on with where it is a part of a large `file`.
pub(super) async fn prepare_folder(
    shared: &Shared,
    connection: &mut Connection,
    folder: RemotePath,
    file: Option<StagedFile>,
) -> Result<(), DeliveryError> {
    make_folders(shared, connection, &folder).await?;
    if file.is_some() || !shared.is_staged(&folder) {
        let staging = Staging { run: shared.run, folder: folder.clone(), file: file.clone() };
        shared.commit(Record::Staging(staging)).await?;
        shared.staged(folder);
    }
    if let Some(file) = file {
        shared.keep_partial(file);
    }
    Ok(())
}

/// Asks for a folder and those above it, once a run.
pub(super) async fn make_folders(
    shared: &Shared,
    connection: &mut Connection,
    folder: &RemotePath,
) -> Result<(), DeliveryError> {
    let missing = shared.folders_to_make(folder);
    if !missing.is_empty() {
        let requests: Vec<_> = missing.iter().cloned().map(Request::MakeFolder).collect();
        // Servers refuse folders that exist in many ways; whether it is there is found by STOR.
        for (folders, batch) in
            missing.chunks(Shared::MAX_FOLDERS_AT_ONCE).zip(requests.chunks(Shared::MAX_FOLDERS_AT_ONCE))
        {
            // What follows is an upload.
            let answers = connection.perform_along(batch, 0, Along::Port).await?;
            shared.take_in_folders(folders.to_vec(), answers)?;
        }
    }
    Ok(())
}

/// Proves and publishes what stands under a temporary name. The sidecars of what stood under the final
/// name go first: before the first intent of this attempt is durable. Where that fails, a next file that
/// was begun meanwhile is stored first, so that the session can go on.
pub(super) async fn publish(
    shared: &Shared,
    connection: &mut Connection,
    subject: Subject<'_>,
    machine: Publish,
    ahead: &mut Ahead,
) -> Result<Verified, Broken> {
    let published = Box::pin(drive(shared, connection, subject, machine, ahead)).await;
    if published.is_err() && connection.is_storing() {
        ahead.finish(shared, connection).await;
    }
    published
}

async fn drive(
    shared: &Shared,
    connection: &mut Connection,
    subject: Subject<'_>,
    mut machine: Publish,
    ahead: &mut Ahead,
) -> Result<Verified, Broken> {
    let mut bare = match subject {
        Subject::File => Bare::NotYet(machine.left()),
        Subject::Sidecar { .. } => Bare::Yes,
    };
    let (mut step, mut renamed_over, mut old_version) = (machine.start(), None, None);
    loop {
        if let (Step::Commit(record), Bare::NotYet(_)) = (&step, &bare)
            && let Record::Publishing(intent) = record.as_ref()
        {
            let (path, known, stored) = (&intent.path, machine.known(), machine.temporary());
            let taken_down =
                take_down(shared, connection, path, known, Some(stored), Strangers::AsOverwrite).await;
            // The intent is not durable yet, unless it was before.
            if let (Err(error), Bare::NotYet(left)) = (taken_down, std::mem::replace(&mut bare, Bare::Yes)) {
                return Err(Broken { error, left });
            }
        }
        let (size, turn) = (machine.size(), machine.turn());
        if machine.intent().is_some() {
            let seen = machine.renamed_over();
            if seen == Some(RenameOver::Refused) && renamed_over != seen {
                learn_rename_over(shared, RenameOver::Refused);
            }
            renamed_over = seen.or(renamed_over);
            old_version = machine.old_version();
        }
        let input = match (step, turn) {
            (Step::Done(verified), _) => {
                if renamed_over == Some(RenameOver::Replaces) {
                    learn_rename_over(shared, RenameOver::Replaces);
                }
                if let Some(old_version) = old_version {
                    ahead.finish(shared, connection).await;
                    clear_old_version(shared, connection, old_version).await;
                }
                return Ok(verified);
            }
            (Step::Failed(error), _) => return Err(Broken { error, left: machine.left() }),
            (Step::Commit(record), _) => {
                perform(shared, connection, Step::Commit(Box::new(subject.record(*record))), size).await
            }
            (step, turn) => ask(shared, connection, (step, turn), size, ahead).await,
        };
        step = match input {
            Ok(input) => machine.next(input),
            Err(error) => return Err(Broken { error, left: machine.left() }),
        };
    }
}

/// Asks the server what a machine wants to know, and in the same write what the next file needs.
async fn ask(
    shared: &Shared,
    connection: &mut Connection,
    (step, turn): (Step, Turn),
    size: u64,
    ahead: &mut Ahead,
) -> Result<Input, DeliveryError> {
    let answers = match (step, turn) {
        (Step::Perform(requests), Turn::Proof(Proof::ReadBack)) => {
            connection.perform_along(&requests, size, Along::Port).await
        }
        (Step::Perform(requests), Turn::Proof(Proof::Hash | Proof::Size)) => {
            ahead.prepare(shared, connection, size).await;
            ahead.perform(shared, connection, requests, size, Moment::Proof).await
        }
        (Step::Perform(requests), Turn::Rename) => {
            ahead.prepare(shared, connection, 0).await;
            ahead.perform(shared, connection, requests, size, Moment::Rename).await
        }
        (Step::ReadBack(path), _) => {
            ahead.finish(shared, connection).await;
            let closing = connection.closing();
            return read_back(connection, &path, size, closing).await;
        }
        (step, _) => {
            ahead.finish(shared, connection).await;
            return perform(shared, connection, step, size).await;
        }
    };
    Ok(Input::Answers(answers?))
}

/// Whether the final name has no sidecars beside it.
enum Bare {
    /// Not for certain; and what is left on the server if it does not come to that.
    NotYet(Left),
    Yes,
}

/// Keeps what a delivery showed of the server's renames over files.
fn learn_rename_over(shared: &Shared, renamed_over: RenameOver) {
    let ability = match renamed_over {
        RenameOver::Replaces => Ability::Yes,
        RenameOver::Refused => Ability::No,
    };
    shared.delivery.remote.learn(|profile| profile.rename_over = ability);
}

/// Deletes an old version that made room, now that the new one is recorded. Where that fails, it
/// is a leftover for the next run to sweep.
async fn clear_old_version(shared: &Shared, connection: &mut Connection, old_version: RemotePath) {
    let folder = old_version.folder();
    let answers = connection.perform(&[Request::Delete(old_version)], 0).await;
    if !matches!(answers.as_deref(), Ok([Answer::Done | Answer::Absent(_)]))
        && let Some(folder) = folder
    {
        shared.left_over(folder);
    }
}

/// Does what a machine asks for.
pub(super) async fn perform(
    shared: &Shared,
    connection: &mut Connection,
    step: Step,
    size: u64,
) -> Result<Input, DeliveryError> {
    Ok(match step {
        Step::Perform(requests) => Input::Answers(connection.perform(&requests, size).await?),
        Step::ReadBack(path) => read_back(connection, &path, size, Closing::Awaited).await?,
        Step::Commit(record) => {
            shared.commit(*record).await?;
            Input::Committed
        }
        Step::Done(_) | Step::Failed(_) => {
            return Err(DeliveryError::Internal("a delivery went on after its end"));
        }
    })
}

/// Reads a file back for its proof, which is in the bytes and not in what the server says at the end.
async fn read_back(
    connection: &mut Connection,
    path: &RemotePath,
    size: u64,
    closing: Closing,
) -> Result<Input, DeliveryError> {
    match connection.read_back(path, size, closing).await {
        Ok(incoming) => Ok(Input::Incoming(incoming)),
        Err(error) if error.trouble() == Trouble::Refused => Ok(Input::Unreadable(refusal_in(error)?)),
        Err(error) => Err(error.into()),
    }
}

/// What a server refused.
fn refusal_in(error: FtpsError) -> Result<Refusal, FtpsError> {
    match error {
        FtpsError::Refused { verb, reply } => {
            Ok(Refusal { verb, code: reply.code(), reply: reply.to_string() })
        }
        error => Err(error),
    }
}

/// What became of an intent whose end nobody recorded. One that still stands is proved afresh
/// and published.
pub(super) async fn settle(
    shared: &Shared,
    connection: &mut Connection,
    intent: Publishing,
    known: Option<Entry>,
) -> Result<Settled, Broken> {
    settle_subject(shared, connection, Subject::File, intent, known).await
}

/// The same of an intent for this subject.
pub(super) async fn settle_subject(
    shared: &Shared,
    connection: &mut Connection,
    subject: Subject<'_>,
    intent: Publishing,
    known: Option<Entry>,
) -> Result<Settled, Broken> {
    let destination = shared.destination(&intent.path);
    let proof = choose_proof(shared, connection)?;
    let size = intent.verified.size();
    let in_doubt = |error| Broken { error, left: Left::Intent(Box::new(intent.clone())) };
    if let Some(folder) = destination.folder() {
        // A folder that somebody deleted would hide what became of the file for ever.
        make_folders(shared, connection, &folder).await.map_err(in_doubt)?;
    }
    let mut machine = Settle::new(Case {
        run: shared.run,
        intent: intent.clone(),
        destination: destination.clone(),
        mode: shared.delivery.job.mode,
        overwrite: shared.delivery.job.overwrite,
        policy: shared.delivery.job.verify,
        proof,
        session: connection.facts().clone(),
    });
    let mut step = machine.start();
    let settled = loop {
        step = match step {
            SettleStep::Do(step) => {
                let step = match step {
                    Step::Commit(record) => Step::Commit(Box::new(subject.record(*record))),
                    step => step,
                };
                machine.next(perform(shared, connection, step, size).await.map_err(in_doubt)?)
            }
            SettleStep::Known(settled) => break settled,
            SettleStep::Unknown(error) => return Err(in_doubt(error)),
        };
    };
    if settled != Settled::Stands {
        if let (Settled::Delivered(_) | Settled::Presumed, Some(displaced)) = (settled, &intent.displaced) {
            clear_old_version(shared, connection, displaced.to.clone()).await;
        }
        return Ok(settled);
    }
    let draft = Draft {
        run: shared.run,
        path: intent.path.clone(),
        temporary: intent.temporary.clone(),
        stat: intent.stat,
        observed_at: intent.observed_at,
        sidecars: intent.sidecars.clone(),
        session: connection.facts().clone(),
    };
    let sent = Sent { size, digest: intent.verified.digest() };
    let spec = spec(shared, draft, sent, destination, proof, known).map_err(in_doubt)?;
    let machine = Publish::again(spec, intent.clone());
    publish(shared, connection, subject, machine, &mut Ahead::never()).await.map(Settled::Delivered)
}

impl Publish {
    /// What is left on the server when the machine stops here.
    fn left(&self) -> Left {
        match self.intent() {
            Some(intent) => Left::Intent(Box::new(intent.clone())),
            None => Left::Temporary(self.temporary().clone()),
        }
    }
}
