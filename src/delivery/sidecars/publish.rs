//! Publishing the sidecars that a delivery owes.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::down::holds;
use super::{Subject, commit, place};
use crate::delivery::ahead::Ahead;
use crate::delivery::attempt::{
    Broken, Left, choose_proof, make_folders, prepare_folder, publish, settle_subject, spec,
};
use crate::delivery::failure::DeliveryError;
use crate::delivery::publish::{Draft, Publish, is_ours};
use crate::delivery::settle::Settled;
use crate::delivery::shared::Shared;
use crate::domain::{
    Beside, Digest, Entry, EntryStatus, FileStat, FoundDiffering, Mode, Overwrite, Owed, ProofMethod,
    PublishWay, Record, RelPath, RemotePath, Sent, Sidecar, SidecarStep, Sidecars, Standing,
};
use crate::remote::{Answer, Closing, Connection, Request};

/// Since when it is known that the file stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Freshness {
    /// It was delivered just now.
    JustDelivered,
    /// An earlier attempt or run delivered it.
    Earlier,
}

/// Publishes what is owed to a delivered file. Where it fails, the rest stays owed. Not cancel safe:
/// what is dropped midway is settled by the next run.
pub(in crate::delivery) async fn publish_owed(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    file: &RelPath,
    freshness: Freshness,
) -> Result<(), Broken> {
    let Some(Read { mut owed, entry, beside }) = read(shared, file).await? else { return Ok(()) };
    let beside = beside.filter(|beside| beside.digest == owed.digest);
    let stood = |sidecar: Sidecar, content: &[u8]| {
        let modified = beside.as_ref().and_then(|beside| beside.sidecars.get(&sidecar));
        modified.map(|modified| as_it_stood(shared, content, modified.clone()))
    };
    if let Some((sidecar, intent)) = owed.intent.take() {
        let subject = Subject::Sidecar { of: file, sidecar };
        let known = stood(sidecar, &sidecar.content(file, owed.digest));
        match settle_subject(shared, connection, subject, *intent, known).await {
            Ok(Settled::Delivered(_) | Settled::Presumed) => owed.sidecars.remove(sidecar),
            Ok(Settled::Withdrawn | Settled::Stands) => {}
            Err(broken) => return Err(about(shared, file, sidecar, broken)),
        }
    }
    let wanted = owed.sidecars.among(&shared.delivery.job.sidecars);
    if wanted.is_empty() {
        if !owed.sidecars.is_empty() {
            let cause = "the job does not ask for sidecars any more".to_owned();
            commit(shared, file, SidecarStep::Waived { cause }).await?;
        }
        return Ok(());
    }
    if freshness == Freshness::Earlier && !stands(shared, connection, file, entry.as_ref(), &owed).await? {
        return Ok(());
    }
    for sidecar in wanted.iter() {
        let content = sidecar.content(file, owed.digest);
        let known = stood(sidecar, &content);
        let wanted = Wanted { file, sidecar, content, known };
        publish_one(shared, connection, wanted, freshness)
            .await
            .map_err(|broken| about(shared, file, sidecar, broken))?;
    }
    Ok(())
}

/// A sidecar that is to be published.
struct Wanted<'a> {
    file: &'a RelPath,
    sidecar: Sidecar,
    content: Vec<u8>,
    /// How it stood there before, where it did.
    known: Option<Entry>,
}

async fn publish_one(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    wanted: Wanted<'_>,
    freshness: Freshness,
) -> Result<(), Broken> {
    if freshness == Freshness::Earlier && found(shared, connection, &wanted).await? {
        return Ok(());
    }
    match shared.delivery.job.publish {
        PublishWay::Rename => by_rename(shared, connection, wanted).await,
        PublishWay::Direct => direct(shared, connection, wanted).await,
    }
}

/// What is owed to a file, and what is known of it and of the sidecars beside it.
struct Read {
    owed: Owed,
    entry: Option<Entry>,
    beside: Option<Beside>,
}

async fn read(shared: &Arc<Shared>, file: &RelPath) -> Result<Option<Read>, DeliveryError> {
    let (reader, path) = (Arc::clone(shared), file.clone());
    let read = spawn_blocking(move || {
        let manifest = reader.delivery.state.manifest(reader.target)?;
        Ok::<_, DeliveryError>(match manifest.owed(&path)? {
            Some(owed) => Some(Read { owed, entry: manifest.get(&path)?, beside: manifest.beside(&path)? }),
            None => None,
        })
    });
    match read.await {
        Ok(read) => read,
        Err(_) => Err(DeliveryError::Internal("what reads of sidecars died")),
    }
}

/// Says of which sidecar an error is. Its intent is in the manifest, by which the next attempt settles it.
fn about(shared: &Shared, file: &RelPath, sidecar: Sidecar, broken: Broken) -> Broken {
    let Broken { error, left } = broken;
    let left = if let Left::Intent(_) = left { Left::Nothing } else { left };
    let name = shared.destination(file).to_string() + sidecar.suffix();
    Broken { error: DeliveryError::Sidecar { name, source: Box::new(error) }, left }
}

/// Whether the file stands as it was delivered. Where it does not, its sidecars are waived: in a drop the
/// consumer was faster; in a mirror it is damage, and the file is sent again.
async fn stands(
    shared: &Shared,
    connection: &mut Connection,
    file: &RelPath,
    entry: Option<&Entry>,
    owed: &Owed,
) -> Result<bool, DeliveryError> {
    let waive =
        async |cause: &str| commit(shared, file, SidecarStep::Waived { cause: cause.to_owned() }).await;
    let known = entry.filter(|entry| entry.digest == owed.digest);
    let Some(known) = known.filter(|known| is_sound(known.status)) else {
        waive("what was delivered there is to be sent again, or is not known any more").await?;
        return Ok(false);
    };
    let there = shared.destination(file);
    let looks = [Request::Size(there.clone()), Request::Modified(there.clone()), Request::Stands(there)];
    // The third question is for what is not there only: answered, it would touch the file.
    let [first, second, third] = looks;
    let answers = connection.perform(&[first, second], 0).await?;
    let standing = match answers.as_slice() {
        [Answer::Size(size), Answer::Modified(time)] => {
            Standing::File { size: *size, modified: Some(time.clone()) }
        }
        [Answer::Size(size), _] => Standing::File { size: *size, modified: None },
        [Answer::Refused(refusal), _] if refusal.is_passing() => {
            return Err(DeliveryError::NotNow { refusal: refusal.clone() });
        }
        // Some servers tell no sizes; some cannot rename.
        [Answer::Absent(_), _] => match connection.perform(&[third], 0).await?.as_slice() {
            [Answer::Absent(_)] => Standing::Absent,
            _ if connection.features().has("SIZE") && shared.delivery.job.publish == PublishWay::Direct => {
                Standing::Absent
            }
            _ => Standing::Unknown,
        },
        _ => Standing::Unknown,
    };
    let (ours, gone) = (is_ours(&standing, Some(known)), standing == Standing::Absent);
    match (shared.delivery.job.mode, &standing) {
        (_, Standing::Unknown) => return Ok(true),
        _ if ours => return Ok(true),
        (Mode::Drop, Standing::Absent) => {
            waive("the consumer took the file before them").await?;
            return Ok(false);
        }
        (Mode::Mirror | Mode::Drop, _) => {}
    }
    let what = if gone { "nothing" } else { "another file" };
    let found = format!("{what} where its sidecars were about to be published");
    let Owed { digest, .. } = *owed;
    let differing = FoundDiffering { run: shared.run, path: file.clone(), size: known.size, digest, found };
    let record = if gone { Record::FoundMissing(differing) } else { Record::FoundChanged(differing) };
    shared.commit(record).await?;
    waive("the file does not stand there as it was delivered").await?;
    Ok(false)
}

const fn is_sound(status: EntryStatus) -> bool {
    match status {
        EntryStatus::Delivered | EntryStatus::Retired => true,
        EntryStatus::Presumed
        | EntryStatus::FoundMissing
        | EntryStatus::FoundChanged
        | EntryStatus::Attested => false,
    }
}

/// Whether a sidecar stands already, with the bytes that it should have; recorded then.
async fn found(
    shared: &Shared,
    connection: &mut Connection,
    wanted: &Wanted<'_>,
) -> Result<bool, DeliveryError> {
    let Wanted { file, sidecar, content, .. } = wanted;
    let (_, there) = place(shared, file, *sidecar)?;
    let answers = connection.perform(&look_at(&there), 0).await?;
    let [Answer::Size(size), time] = answers.as_slice() else { return Ok(false) };
    let Some(method) = holds(shared, connection, &there, *size, content).await? else { return Ok(false) };
    commit(shared, file, SidecarStep::Stands { sidecar: *sidecar, method, modified: time_of(time) }).await?;
    Ok(true)
}

fn look_at(there: &RemotePath) -> [Request; 2] {
    [Request::Size(there.clone()), Request::Modified(there.clone())]
}

fn time_of(answer: &Answer) -> Option<String> {
    if let Answer::Modified(time) = answer { Some(time.clone()) } else { None }
}

/// A sidecar as it stood there: other bytes under its size and time are damage to it, and are replaced.
fn as_it_stood(shared: &Shared, content: &[u8], modified: Option<String>) -> Entry {
    let (sent, stat) = facts(shared, content);
    Entry {
        status: EntryStatus::FoundChanged,
        stat,
        observed_at: stat.mtime,
        size: sent.size,
        digest: sent.digest,
        // Such an entry is for telling whose it is, and claims no proof; the weakest stands for none.
        method: ProofMethod::Size,
        modified,
        delivered_at: stat.mtime,
    }
}

/// Under a temporary name, proved, renamed: as a file.
async fn by_rename(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    wanted: Wanted<'_>,
) -> Result<(), Broken> {
    let Wanted { file, sidecar, content, known } = wanted;
    let (path, destination) = place(shared, file, sidecar)?;
    let temporary = shared.temporary(&destination).ok_or(DeliveryError::NoTemporaryName)?;
    if let Some(folder) = destination.folder() {
        prepare_folder(shared, connection, folder, None).await?;
    }
    let left = |error: DeliveryError| Broken { error, left: Left::Temporary(temporary.clone()) };
    let (sent, stat) = facts(shared, &content);
    let proof = choose_proof(shared, connection)?;
    store(connection, &temporary, &content).await.map_err(left)?;
    let draft = Draft {
        run: shared.run,
        path,
        temporary: temporary.clone(),
        stat,
        observed_at: stat.mtime,
        sidecars: Sidecars::NONE,
        session: connection.facts().clone(),
    };
    let spec = spec(shared, draft, sent, destination, proof, known).map_err(left)?;
    let subject = Subject::Sidecar { of: file, sidecar };
    publish(shared, connection, subject, Publish::new(spec), &mut Ahead::never()).await.map(drop)
}

/// Under its name at once: what stands there was taken down, or is a beginning of it.
async fn direct(shared: &Arc<Shared>, connection: &mut Connection, wanted: Wanted<'_>) -> Result<(), Broken> {
    let Wanted { file, sidecar, content, known } = wanted;
    let (_, destination) = place(shared, file, sidecar)?;
    if let Some(folder) = destination.folder() {
        make_folders(shared, connection, &folder).await?;
    }
    let look = look_at(&destination);
    if let [Answer::Size(size), time] = connection.perform(&look, 0).await?.as_slice()
        && !is_ours(&Standing::File { size: *size, modified: time_of(time) }, known.as_ref())
        && !is_beginning(shared, connection, &destination, *size, &content).await?
    {
        let error = DeliveryError::SidecarTaken { path: destination.to_string(), size: Some(*size) };
        return Err(error.into());
    }
    store(connection, &destination, &content).await?;
    let step = match (connection.perform(&look, 0).await?.as_slice(), shared.delivery.job.mode) {
        // The consumer waits for it, and may be fast.
        ([Answer::Absent(_), _], Mode::Drop) => SidecarStep::Taken { sidecar },
        ([Answer::Size(size), time], _) => {
            let method = holds(shared, connection, &destination, *size, &content).await?;
            let method = method.ok_or(DeliveryError::NoProof { refusal: None })?;
            SidecarStep::Stands { sidecar, method, modified: time_of(time) }
        }
        ([Answer::Absent(refusal) | Answer::Refused(refusal), _], _) => {
            return Err(DeliveryError::NoProof { refusal: Some(refusal.clone()) }.into());
        }
        _ => return Err(DeliveryError::NoProof { refusal: None }.into()),
    };
    commit(shared, file, step).await?;
    Ok(())
}

/// Whether what stands there is the beginning of a sidecar, that an upload left which was cut off.
async fn is_beginning(
    shared: &Shared,
    connection: &mut Connection,
    there: &RemotePath,
    size: u64,
    content: &[u8],
) -> Result<bool, DeliveryError> {
    if shared.delivery.job.overwrite == Overwrite::Replace {
        return Ok(true);
    }
    let beginning = usize::try_from(size).ok().and_then(|size| content.get(..size));
    let Some(beginning) = beginning else { return Ok(false) };
    Ok(holds(shared, connection, there, size, beginning).await?.is_some())
}

/// What a sidecar is, as of a source file: its time is that of its making.
fn facts(shared: &Shared, content: &[u8]) -> (Sent, FileStat) {
    let (size, now) = (content.len() as u64, shared.delivery.clock.now());
    let stat = FileStat { size, mtime: now, ctime: now, inode: 0 };
    (Sent { size, digest: Digest::of(content) }, stat)
}

async fn store(connection: &mut Connection, there: &RemotePath, content: &[u8]) -> Result<(), DeliveryError> {
    let mut upload = connection.upload(there).await?;
    if !content.is_empty() {
        upload.write(content).await?;
    }
    upload.finish(Closing::Awaited).await?;
    Ok(())
}
