//! What was delivered is brought back, proved on the way.

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::Audit;
use super::book::Outcome;
use super::failure::AuditError;
use super::feed::Feed;
use super::look::{Unproved, concerns_file, expected, found, refused};
use super::pool::Examine;
use super::run::run;
use super::verify::Known;
use crate::domain::{
    AuditKind, AuditReport, DifferenceKind, Event, Evidence, Failure, FailureClass, FileProgress, Hasher,
    Mode, RelPath, RemotePath, VerifyPolicy, compare,
};
use crate::plain::chain;
use crate::remote::{Connection, FtpsError, Incoming};
use crate::source::{Occupant, PlaceError, PlacePolicy, Placing, RestoreFolder};
use crate::state::StateError;

/// Bytes of a buffer between the network and the disk.
const BUFFER_BYTES: usize = 256 * 1024;

/// Full buffers that wait for the disk.
const BUFFERS_WAITING: usize = 2;

/// What is to be brought back, and where to.
#[derive(Clone, Debug)]
pub struct Restore {
    /// These files, and all below these folders; everything where there are none.
    pub paths: Vec<RelPath>,
    /// The folder into which they go.
    pub folder: RestoreFolder,
    /// What to do where another file has the place.
    pub policy: PlacePolicy,
}

/// Fetches each delivered file that is asked for, and puts it into its place if its bytes have the
/// SHA-256 that was delivered. What cannot be proved is not placed. Works from the manifest alone: the
/// job's source need not exist. What has its place already, with the same content, is left alone.
pub async fn restore(
    audit: Audit,
    wanted: Restore,
    stop: CancellationToken,
) -> Result<AuditReport, StateError> {
    let (state, target) = (audit.state.clone(), audit.target.id());
    let paths = wanted.paths.clone();
    let feed = move |feed: &mut Feed<Known>| {
        let fault = |error: StateError| Failure::new(error.class(), chain(&error));
        let mut asked: Vec<_> = paths.into_iter().map(|path| (path, Seen::Never)).collect();
        let everything = asked.is_empty();
        let mut anything = Seen::Never;
        for known in state.manifest(target).map_err(fault)?.entries() {
            let (path, entry) = known.map_err(fault)?;
            anything = Seen::Once;
            let mut wanted = everything;
            for (above, seen) in &mut asked {
                if path == *above || path.folders().any(|folder| folder == *above) {
                    *seen = Seen::Once;
                    wanted = true;
                }
            }
            if wanted {
                let bytes = entry.size;
                feed.put(Known { path, entry }, bytes);
            }
        }
        if anything == Seen::Never {
            let cause = "nothing is known of what was delivered; `adopt` makes known what stands on the server, \
                         if the source still has it";
            return Err(Failure::new(FailureClass::File, cause));
        }
        for (path, _) in asked.into_iter().filter(|(_, seen)| *seen == Seen::Never) {
            let failure = Failure::new(FailureClass::File, "nothing of this name was delivered");
            feed.tell(Outcome::Failed { path, failure });
        }
        Ok(())
    };
    let report = run(
        &audit,
        AuditKind::Restore,
        stop,
        |_| Fetch { audit: audit.clone(), wanted: wanted.clone() },
        feed,
    );
    let report = report.await;
    drop(spawn_blocking(move || wanted.folder.close()).await);
    report
}

/// Whether the manifest had what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Never,
    Once,
}

struct Fetch {
    audit: Audit,
    wanted: Restore,
}

impl Examine for Fetch {
    type Item = Known;

    const BATCH_FILES: usize = 1;

    fn path(item: &Known) -> &RelPath {
        &item.path
    }

    async fn examine(
        &self,
        connection: &mut Connection,
        items: &[Known],
    ) -> Result<Vec<Outcome>, AuditError> {
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            outcomes.push(match self.bring_back(connection, item).await {
                Ok(outcome) => outcome,
                Err(AuditError::Place(error)) if !error.meets_all() => {
                    Outcome::Failed { path: item.path.clone(), failure: AuditError::Place(error).failure() }
                }
                Err(error) => return Err(error),
            });
        }
        Ok(outcomes)
    }
}

impl Fetch {
    async fn bring_back(&self, connection: &mut Connection, item: &Known) -> Result<Outcome, AuditError> {
        let (sent, path) = (item.sent(), item.path.clone());
        let occupant = {
            let (folder, path) = (self.wanted.folder.clone(), path.clone());
            blocking(move || folder.occupant(&path, &sent)).await?
        };
        match (occupant, self.wanted.policy) {
            (Occupant::Same, _) => return Ok(Outcome::Kept { path }),
            (Occupant::Other, PlacePolicy::KeepOther) => return Err(PlaceError::Occupied.into()),
            (Occupant::Nobody, _) | (Occupant::Other, PlacePolicy::ReplaceOther) => {}
        }
        self.emit(&path, FileProgress::Started { size: sent.size });
        let (placing, incoming) = match self.fetch(connection, item).await? {
            Ok(fetched) => fetched,
            Err(Unproved::NotThere(failure)) => return Ok(self.absent(item, &failure.cause)),
            Err(Unproved::Unread(failure)) => return Ok(Outcome::Failed { path, failure }),
            Err(Unproved::Other(_)) => return Err(AuditError::Internal("a file was compared too early")),
        };
        let evidence = Evidence::ReadBack { size: incoming.size, digest: incoming.digest };
        let verified = match compare(&sent, &evidence, VerifyPolicy::ReadBack) {
            Ok(verified) => verified,
            Err(mismatch) => return Ok(differs(item, DifferenceKind::Changed, found(&mismatch))),
        };
        let (place, mtime, policy) = (path.clone(), item.entry.stat.mtime, self.wanted.policy);
        blocking(move || placing.place(&place, mtime, policy)).await?;
        Ok(Outcome::Proved { path, size: verified.size(), method: verified.method(), record: None })
    }

    /// Fetches a file aside.
    async fn fetch(
        &self,
        connection: &mut Connection,
        item: &Known,
    ) -> Result<Result<(Placing, Incoming), Unproved>, AuditError> {
        let remote = self.audit.destination(&item.path);
        let (folder, number) = (self.wanted.folder.clone(), self.audit.clock.random());
        let placing = blocking(move || folder.begin(number)).await?;
        let (full, waiting) = mpsc::channel(BUFFERS_WAITING);
        let writer = spawn_blocking(move || write(placing, waiting));
        let came = self.receive(connection, &remote, item, &full).await;
        drop(full);
        match came {
            Ok(()) => Ok(Ok(written(writer).await?)),
            Err(error) => {
                // What was written goes with its writer. Where that failed first, that is the cause.
                let failed = written(writer).await.err();
                match failed {
                    Some(place) => Err(place),
                    None if concerns_file(connection, &error) => Ok(Err(refused(error))),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// Hands what comes to the writer, up to more than there should be.
    async fn receive(
        &self,
        connection: &mut Connection,
        remote: &RemotePath,
        item: &Known,
        full: &mpsc::Sender<Vec<u8>>,
    ) -> Result<(), FtpsError> {
        let mut download = connection.download(remote).await?;
        let mut total = 0_u64;
        loop {
            let mut buffer = vec![0; BUFFER_BYTES];
            let count = download.read(&mut buffer).await?;
            buffer.truncate(count);
            if buffer.is_empty() {
                return download.finish().await.map(drop);
            }
            total = total.saturating_add(count as u64);
            let stalled = full.send(buffer).await.is_err();
            self.emit(&item.path, FileProgress::Bytes { count: count as u64 });
            if stalled || total > item.entry.size {
                // The session ends here: there may be no end to what comes.
                return Ok(());
            }
        }
    }

    fn absent(&self, item: &Known, said: &str) -> Outcome {
        match self.audit.job.mode {
            Mode::Mirror => differs(item, DifferenceKind::Missing, format!("nothing ({said})")),
            Mode::Drop => Outcome::Taken { path: item.path.clone() },
        }
    }

    fn emit(&self, path: &RelPath, progress: FileProgress) {
        self.audit.sink.emit(Event::File { path: path.clone(), progress });
    }
}

/// Writes and hashes what comes. Blocks.
fn write(
    mut placing: Placing,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) -> Result<(Placing, Incoming), PlaceError> {
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    while let Some(buffer) = waiting.blocking_recv() {
        hasher.update(&buffer);
        size = size.saturating_add(buffer.len() as u64);
        placing.write(&buffer)?;
    }
    Ok((placing, Incoming { size, digest: hasher.finish() }))
}

async fn written(
    writer: JoinHandle<Result<(Placing, Incoming), PlaceError>>,
) -> Result<(Placing, Incoming), AuditError> {
    match writer.await {
        Ok(written) => Ok(written?),
        Err(_) => Err(AuditError::Internal("the writer of a file died")),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaceError> + Send + 'static,
) -> Result<T, AuditError> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(AuditError::Internal("the writer of a file died")),
    }
}

fn differs(item: &Known, kind: DifferenceKind, found: String) -> Outcome {
    let (path, expected) = (item.path.clone(), expected(&item.sent()));
    Outcome::Differs { path, kind, expected, found, record: None }
}
