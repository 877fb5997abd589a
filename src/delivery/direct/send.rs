//! Drives the machine on one session, and takes up what earlier runs left.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Direct, DirectStep, Part, Sizes, Spec, Upload};
use crate::delivery::attempt::{Broken, choose_proof, make_folders, not_stored, perform, transfer};
use crate::delivery::failure::DeliveryError;
use crate::delivery::publish::{ServerHash, Step};
use crate::delivery::pump::Pump;
use crate::delivery::shared::{Outcome, Shared, Work};
use crate::delivery::sidecars::{Strangers, take_down};
use crate::domain::{
    Beginning, Failure, FileProgress, FileStat, Hasher, Record, RemotePath, Sent, Storing, Timestamp,
    Verified, Withdrawn,
};
use crate::plain::chain;
use crate::remote::{Closing, Connection, FtpsError, Trouble};
use crate::source::{Filter, SourceError, hash_beginning, hash_with_beginnings};

/// Bytes of a part that are read at a time: what a TLS record holds, four times.
const PART_BUFFER_BYTES: usize = 64 * 1024;

/// How a delivery ended well.
pub(in crate::delivery) enum Ended {
    Delivered(Verified),
    /// Gone before it was proved; recorded as presumed.
    Presumed,
}

/// Delivers a file straight to its final name. What is dropped midway, or fails after its intent, is
/// taken up by the next attempt or run. Not cancel safe.
pub(in crate::delivery) async fn deliver(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
) -> Result<Ended, Broken> {
    let destination = shared.destination(&work.path);
    // The time comes first, so that a later change never seems older than the look.
    let observed_at = shared.delivery.clock.now();
    let (root, path) = (shared.root.clone(), work.path.clone());
    let (sent, stat, beginnings) = blocking(move || hash_with_beginnings(&root, &path)).await?;
    if let Some(folder) = destination.folder() {
        make_folders(shared, connection, &folder).await?;
    }
    let spec = spec(shared, connection, work, Read { sent, stat, observed_at, beginnings })?;
    let mut machine = Direct::new(spec);
    let mut step = machine.start();
    loop {
        step = match step {
            DirectStep::Do(Step::Done(verified)) => return Ok(Ended::Delivered(verified)),
            DirectStep::Presumed => return Ok(Ended::Presumed),
            DirectStep::Do(Step::Failed(error)) => return Err(error.into()),
            DirectStep::Do(Step::Commit(record)) => {
                if let Record::Storing(storing) = record.as_ref() {
                    let known = work.known.as_ref();
                    take_down(shared, connection, &work.path, known, None, Strangers::AsOverwrite).await?;
                    // Before it is durable, since it may be when the answer is lost.
                    shared.keep_storing(storing.clone());
                }
                let ends = closes(&record);
                let input = perform(shared, connection, Step::Commit(record), 0).await?;
                if ends {
                    shared.forget_storing(&work.path);
                }
                machine.next(input)
            }
            DirectStep::Do(step) => machine.next(perform(shared, connection, step, machine.size()).await?),
            DirectStep::Store => {
                let upload = store(shared, connection, work, &destination, stat).await;
                match upload {
                    Upload::Broken(error) if !connection.is_usable() => return Err(error.into()),
                    upload => machine.stored(upload),
                }
            }
            DirectStep::Beginning(bytes) => {
                let (root, path) = (shared.root.clone(), work.path.clone());
                machine.beginning(blocking(move || hash_beginning(&root, &path, &stat, bytes)).await?)
            }
            DirectStep::ReadPart(bytes) => {
                machine.part(read_part(connection, &destination, bytes, machine.size()).await?)
            }
        };
    }
}

/// Reads what stands there for its size and the digest of its first bytes. What has more than `most` bytes
/// is not read to its end, and the session is lost.
async fn read_part(
    connection: &mut Connection,
    path: &RemotePath,
    bytes: u64,
    most: u64,
) -> Result<Part, DeliveryError> {
    let mut download = match connection.download(path).await {
        Ok(download) => download,
        Err(error) if error.trouble() == Trouble::Refused => return Ok(Part::Unreadable),
        Err(error) => return Err(error.into()),
    };
    let mut buffer = vec![0; PART_BUFFER_BYTES];
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    loop {
        let count = download.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        let left = usize::try_from(bytes.saturating_sub(size)).unwrap_or(usize::MAX);
        hasher.update(buffer.get(..count.min(left)).unwrap_or_default());
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if size > most {
            return Ok(Part::Read { size, beginning: hasher.finish() });
        }
    }
    match download.finish().await {
        Ok(()) => Ok(Part::Read { size, beginning: hasher.finish() }),
        Err(error) if error.trouble() == Trouble::Refused => Ok(Part::Unreadable),
        Err(error) => Err(error.into()),
    }
}

/// Whether a record tells the end of an upload.
fn closes(record: &Record) -> bool {
    matches!(record, Record::Delivered(_) | Record::Presumed(_) | Record::Withdrawn(_))
}

/// What was read of the source file before anything is sent.
struct Read {
    sent: Sent,
    stat: FileStat,
    observed_at: Timestamp,
    beginnings: Vec<Beginning>,
}

fn spec(shared: &Shared, connection: &Connection, work: &Work, read: Read) -> Result<Spec, DeliveryError> {
    let job = &shared.delivery.job;
    let Read { sent, stat, observed_at, beginnings } = read;
    Ok(Spec {
        run: shared.run,
        path: work.path.clone(),
        destination: shared.destination(&work.path),
        stat,
        observed_at,
        session: connection.facts().clone(),
        sent,
        beginnings,
        proof: choose_proof(shared, connection)?,
        policy: job.verify,
        overwrite: job.overwrite,
        mode: job.mode,
        sidecars: job.sidecars.clone(),
        known: work.known.clone(),
        open: shared.storing(&work.path),
        sizes: if connection.features().has("SIZE") { Sizes::Offered } else { Sizes::Missing },
        hash: if connection.has_hash() { ServerHash::Offered } else { ServerHash::Missing },
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, DeliveryError> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(DeliveryError::Internal("the reader of a source file died")),
    }
}

/// Sends the file, if it is still the one that was read.
async fn store(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
    destination: &RemotePath,
    stat: FileStat,
) -> Upload {
    let pump = match Pump::start(shared.root.clone(), work.path.clone()).await {
        Ok(pump) if pump.stat() == stat => pump,
        Ok(_) => return Upload::Refused(DeliveryError::ChangedBetween),
        Err(error) => return Upload::Refused(error),
    };
    shared.emit(&work.path, FileProgress::Started { size: stat.size });
    let upload = match connection.upload(destination).await {
        Ok(upload) => upload,
        Err(error) => {
            let begun = not_begun(&error);
            let error = not_stored(shared, destination, error);
            return if begun { Upload::Refused(error) } else { Upload::Broken(error) };
        }
    };
    match transfer(shared, &work.path, pump, upload, Closing::Awaited).await {
        Ok(sent) => Upload::Whole(sent),
        Err(error) => Upload::Broken(error),
    }
}

/// Whether a server refused `STOR` in words by which it has not touched the file: neither the data
/// connection nor the room for it is to blame.
fn not_begun(error: &FtpsError) -> bool {
    match error {
        FtpsError::Refused { verb: "STOR", reply } => {
            matches!(reply.code(), 500..=504 | 530 | 532 | 550 | 553)
        }
        _ => false,
    }
}

/// Takes up the uploads of earlier runs whose end is not known. The plan comes to them again; those
/// whose source it does not come to are told once, since half a file may stand there.
pub(in crate::delivery) async fn take_up(shared: &Arc<Shared>) -> Result<(), Failure> {
    let reader = Arc::clone(shared);
    let read = spawn_blocking(move || {
        let open = reader.delivery.state.manifest(reader.target)?.storings()?;
        let job = &reader.delivery.job;
        let filter = Filter::new(&job.include, &job.exclude).ok();
        let comes = |open: &Storing| {
            filter.as_ref().is_some_and(|filter| filter.admits(&open.path)) && !reader.root.lacks(&open.path)
        };
        Ok::<_, DeliveryError>(open.into_iter().partition::<Vec<_>, _>(comes))
    });
    let failed = |error: DeliveryError| Failure::new(error.disposition().class, chain(&error));
    let (open, lost) = match read.await {
        Ok(read) => read.map_err(failed)?,
        Err(_) => return Err(failed(DeliveryError::Internal("the manifest could not be read"))),
    };
    for storing in open {
        shared.keep_storing(storing);
    }
    for Storing { path, .. } in lost {
        let error = DeliveryError::CutOff { path: shared.destination(&path).to_string() };
        let withdrawn = Withdrawn { run: shared.run, path: path.clone(), cause: error.to_string() };
        shared.commit(Record::Withdrawn(withdrawn)).await.map_err(|error| failed(error.into()))?;
        let failure = failed(error);
        shared.tell(Outcome::Failed { path, failure }).await;
    }
    Ok(())
}
