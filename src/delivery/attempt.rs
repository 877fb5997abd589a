//! One attempt to deliver one file on one session.

use super::failure::DeliveryError;
use super::publish::{Draft, Input, Proof, Publish, ServerHash, Spec, Step};
use super::pump::Pump;
use super::settle::{Case, Settle, SettleStep, Settled};
use super::shared::{Shared, Work};
use crate::domain::{
    Entry, FileProgress, FileStat, Publishing, Record, RemotePath, Sent, Staging, Timestamp, Verified,
};
use crate::remote::{Answer, Connection, FtpsError, Request, Trouble};

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
    /// An intent that must be settled.
    Intent(Box<Publishing>),
}

impl<E: Into<DeliveryError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self { error: error.into(), left: Left::Nothing }
    }
}

/// A file under a temporary name.
struct Staged {
    temporary: RemotePath,
    stat: FileStat,
    observed_at: Timestamp,
    sent: Sent,
}

/// Delivers a file: stage, prove, publish, record. Not cancel safe: what is dropped midway is
/// settled or swept by the next run.
pub(super) async fn deliver(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
) -> Result<Verified, Broken> {
    let destination = shared.destination(&work.path);
    let proof = choose_proof(shared, connection)?;
    let staged = stage(shared, connection, work, &destination).await?;
    let Staged { temporary, stat, observed_at, sent } = staged;
    let draft = Draft {
        run: shared.run,
        path: work.path.clone(),
        temporary,
        stat,
        observed_at,
        session: connection.facts().clone(),
    };
    let spec = spec(shared, draft, sent, destination, proof, work.known.clone());
    publish(shared, connection, Publish::new(spec)).await
}

fn choose_proof(shared: &Shared, connection: &Connection) -> Result<Proof, DeliveryError> {
    let offered = if connection.has_hash() { ServerHash::Offered } else { ServerHash::Missing };
    Proof::choose(shared.delivery.job.verify, offered)
}

fn spec(
    shared: &Shared,
    draft: Draft,
    sent: Sent,
    destination: RemotePath,
    proof: Proof,
    known: Option<Entry>,
) -> Spec {
    let job = &shared.delivery.job;
    let (policy, overwrite, mode) = (job.verify, job.overwrite, job.mode);
    Spec { draft, sent, destination, proof, policy, overwrite, mode, known }
}

/// Stores the file under a fresh temporary name beside its final one.
async fn stage(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    destination: &RemotePath,
) -> Result<Staged, Broken> {
    // The time comes first, so that a later change never seems older than the look.
    let observed_at = shared.delivery.clock.now();
    let mut pump = Pump::start(shared.root.clone(), work.path.clone()).await?;
    let stat = pump.stat();
    shared.emit(&work.path, FileProgress::Started { size: stat.size });
    let temporary = shared.temporary(destination).ok_or(DeliveryError::NoTemporaryName)?;
    if let Some(folder) = destination.folder() {
        prepare_folder(shared, connection, folder).await?;
    }
    // From here on something may stand there, whatever the server answered.
    let left = |error: DeliveryError| Broken { error, left: Left::Temporary(temporary.clone()) };
    let refused = |error| left(not_stored(shared, destination, error));
    let mut upload = connection.upload(&temporary).await.map_err(refused)?;
    while let Some(buffer) = pump.next().await {
        upload.write(&buffer).await.map_err(|error| left(error.into()))?;
        shared.emit(&work.path, FileProgress::Bytes { count: buffer.len() as u64 });
        pump.reuse(buffer);
    }
    let read = pump.finish().await;
    // Also after a failed read, so that the session can go on.
    let finished = upload.finish().await;
    let sent = read.map_err(left)?;
    finished.map_err(|error| left(error.into()))?;
    Ok(Staged { temporary, stat, observed_at, sent })
}

/// Servers say little of why they do not store a file; that its folder could not be made says more.
fn not_stored(shared: &Shared, destination: &RemotePath, error: FtpsError) -> DeliveryError {
    let folder = destination.folder().filter(|_| error.trouble() == Trouble::Refused);
    let refusal = folder.and_then(|folder| Some((shared.folder_refusal(&folder)?, folder)));
    match refusal {
        Some((reply, folder)) => DeliveryError::NotStored { source: error, folder, reply },
        None => error.into(),
    }
}

/// Sees to it that a folder is there, and that what may be left in it can be found again.
pub(super) async fn prepare_folder(
    shared: &Shared,
    connection: &mut Connection,
    folder: RemotePath,
) -> Result<(), DeliveryError> {
    make_folders(shared, connection, &folder).await?;
    if !shared.is_staged(&folder) {
        let staging = Staging { run: shared.run, folder: folder.clone() };
        shared.commit(Record::Staging(staging)).await?;
        shared.staged(folder);
    }
    Ok(())
}

/// Asks for a folder and those above it, once a run.
async fn make_folders(
    shared: &Shared,
    connection: &mut Connection,
    folder: &RemotePath,
) -> Result<(), DeliveryError> {
    let missing = shared.folders_to_make(folder);
    if !missing.is_empty() {
        let requests: Vec<_> = missing.iter().cloned().map(Request::MakeFolder).collect();
        // Servers refuse folders that exist in many ways; whether it is there is found by STOR.
        for batch in requests.chunks(Shared::MAX_FOLDERS_AT_ONCE) {
            let answers = connection.perform(batch, 0).await?;
            for (request, answer) in batch.iter().zip(answers) {
                if let (Request::MakeFolder(folder), Answer::Refused(refusal) | Answer::Absent(refusal)) =
                    (request, answer)
                {
                    shared.folder_refused(folder.clone(), refusal.reply);
                }
            }
        }
        shared.folders_made(missing);
    }
    Ok(())
}

/// Proves and publishes what stands under a temporary name.
async fn publish(
    shared: &Shared,
    connection: &mut Connection,
    mut machine: Publish,
) -> Result<Verified, Broken> {
    let mut step = machine.start();
    loop {
        let size = machine.size();
        let input = match step {
            Step::Done(verified) => return Ok(verified),
            Step::Failed(error) => return Err(Broken { error, left: machine.left() }),
            step => perform(shared, connection, step, size).await,
        };
        step = match input {
            Ok(input) => machine.next(input),
            Err(error) => return Err(Broken { error, left: machine.left() }),
        };
    }
}

/// Does what a machine asks for.
async fn perform(
    shared: &Shared,
    connection: &mut Connection,
    step: Step,
    size: u64,
) -> Result<Input, DeliveryError> {
    Ok(match step {
        Step::Perform(requests) => Input::Answers(connection.perform(&requests, size).await?),
        Step::ReadBack(path) => Input::Incoming(connection.read_back(&path, size).await?),
        Step::Commit(record) => {
            shared.commit(*record).await?;
            Input::Committed
        }
        Step::Done(_) | Step::Failed(_) => {
            return Err(DeliveryError::Internal("a delivery went on after its end"));
        }
    })
}

/// What became of an intent whose end nobody recorded. One that still stands is proved afresh
/// and published.
pub(super) async fn settle(
    shared: &Shared,
    connection: &mut Connection,
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
        policy: shared.delivery.job.verify,
        proof,
        session: connection.facts().clone(),
    });
    let mut step = machine.start();
    let settled = loop {
        step = match step {
            SettleStep::Do(step) => {
                machine.next(perform(shared, connection, step, size).await.map_err(in_doubt)?)
            }
            SettleStep::Known(settled) => break settled,
            SettleStep::Unknown(error) => return Err(in_doubt(error)),
        };
    };
    if settled != Settled::Stands {
        return Ok(settled);
    }
    let draft = Draft {
        run: shared.run,
        path: intent.path.clone(),
        temporary: intent.temporary.clone(),
        stat: intent.stat,
        observed_at: intent.observed_at,
        session: connection.facts().clone(),
    };
    let sent = Sent { size, digest: intent.verified.digest() };
    let machine = Publish::again(spec(shared, draft, sent, destination, proof, known), intent.clone());
    publish(shared, connection, machine).await.map(Settled::Delivered)
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
