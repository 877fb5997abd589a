//! The bytes of a source file on their way to the network: read and hashed in a blocking thread,
//! handed over in buffers that come back.

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::failure::DeliveryError;
use crate::domain::{FileStat, RelPath, Sent};
use crate::source::{SourceError, SourceFile, SourceRoot};

/// Bytes of a buffer. Larger ones gain nothing that can be measured, and four of them are under
/// way for each connection.
const BUFFER_BYTES: usize = 256 * 1024;

/// Full buffers that wait for the network.
const BUFFERS_WAITING: usize = 2;

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Pump {
    stat: FileStat,
    full: mpsc::Receiver<Vec<u8>>,
    empty: mpsc::Sender<Vec<u8>>,
    reader: JoinHandle<Result<Sent, SourceError>>,
    /// While it is there, bytes are only hashed, and only up to where they are asked for.
    skips: Option<mpsc::Sender<Skip>>,
}

/// What came of skipping bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// They were read and hashed.
    All,
    /// They could not all be read.
    Failed,
}

/// Bytes that are to be hashed and not handed over.
#[derive(Debug)]
struct Skip {
    /// Up to this one, counted from the file's beginning.
    to: u64,
    /// Told when they are; dropped when reading failed.
    done: oneshot::Sender<()>,
}

impl Pump {
    /// Opens a file and begins to read it.
    pub(super) async fn start(root: SourceRoot, path: RelPath) -> Result<Self, DeliveryError> {
        let mut pump = Self::hold(root, path).await?;
        pump.skips = None;
        Ok(pump)
    }

    /// Opens a file whose first bytes may be [skipped](Self::skip_to): none is handed over before
    /// [`next`](Self::next) is called.
    pub(super) async fn hold(root: SourceRoot, path: RelPath) -> Result<Self, DeliveryError> {
        let (skips, to_skip) = mpsc::channel(1);
        let (full_in, full) = mpsc::channel(BUFFERS_WAITING);
        let (empty, empty_out) = mpsc::channel(BUFFERS_WAITING + 2);
        let (opened_in, opened) = oneshot::channel();
        let reader = spawn_blocking(move || {
            let file = root.open_file(&path)?;
            // Nobody listens any more only when the delivery was dropped; reading then ends below.
            let _delivery_dropped = opened_in.send(file.stat()).is_err();
            read(file, to_skip, &full_in, empty_out)
        });
        match opened.await {
            Ok(stat) => Ok(Self { stat, full, empty, reader, skips: Some(skips) }),
            Err(_) => Err(match reader.await {
                Ok(Err(error)) => error.into(),
                Ok(Ok(_)) | Err(_) => DeliveryError::Internal("the reader of a source file died"),
            }),
        }
    }

    /// What the file was when it was opened.
    pub(super) fn stat(&self) -> FileStat {
        self.stat
    }

    /// Reads and hashes the bytes up to `to`, without handing them over. Where this fails, and
    /// where the future is dropped, the pump has ended: [`finish`](Self::finish) tells why.
    pub(super) async fn skip_to(&self, to: u64) -> Skipped {
        let (done, skipped) = oneshot::channel();
        let Some(skips) = &self.skips else { return Skipped::Failed };
        let asked = skips.send(Skip { to, done }).await;
        if asked.is_ok() && skipped.await.is_ok() { Skipped::All } else { Skipped::Failed }
    }

    /// The next bytes; `None` at the end, or when reading failed.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.skips = None;
        self.full.recv().await
    }

    /// Gives a buffer back.
    pub(super) fn reuse(&self, buffer: Vec<u8>) {
        // A full queue has buffers enough: this one can go.
        let _enough = self.empty.try_send(buffer).is_err();
    }

    /// What was read in all. Fails where the file changed meanwhile.
    pub(super) async fn finish(self) -> Result<Sent, DeliveryError> {
        drop(self.full);
        drop(self.skips);
        match self.reader.await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(DeliveryError::Internal("the reader of a source file died")),
        }
    }
}

fn read(
    mut file: SourceFile,
    mut to_skip: mpsc::Receiver<Skip>,
    full: &mpsc::Sender<Vec<u8>>,
    mut empty: mpsc::Receiver<Vec<u8>>,
) -> Result<Sent, SourceError> {
    let size = usize::try_from(file.stat().size).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES);
    let mut skipped = 0;
    let mut skipping = Vec::new();
    while let Some(Skip { to, done }) = to_skip.blocking_recv() {
        while skipped < to {
            skipping.resize(usize::try_from(to - skipped).unwrap_or(size).min(size), 0);
            let count = file.read(&mut skipping)?;
            if count == 0 || done.is_closed() {
                // What would come next is not what is waited for.
                return file.finish().map(|(sent, _)| sent);
            }
            skipped += u64::try_from(count).unwrap_or(u64::MAX);
        }
        // Nobody listens any more only when the delivery was dropped.
        let _delivery_dropped = done.send(()).is_err();
    }
    drop(skipping);
    loop {
        let mut buffer = empty.try_recv().unwrap_or_default();
        buffer.resize(size, 0);
        let count = file.read(&mut buffer)?;
        buffer.truncate(count);
        if buffer.is_empty() || full.blocking_send(buffer).is_err() {
            return file.finish().map(|(sent, _)| sent);
        }
    }
}
