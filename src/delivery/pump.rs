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
}

impl Pump {
    /// Opens a file and begins to read it.
    pub(super) async fn start(root: SourceRoot, path: RelPath) -> Result<Self, DeliveryError> {
        let (full_in, full) = mpsc::channel(BUFFERS_WAITING);
        let (empty, empty_out) = mpsc::channel(BUFFERS_WAITING + 2);
        let (opened_in, opened) = oneshot::channel();
        let reader = spawn_blocking(move || {
            let file = root.open_file(&path)?;
            // Nobody listens any more only when the delivery was dropped; reading then ends below.
            let _delivery_dropped = opened_in.send(file.stat()).is_err();
            read(file, &full_in, empty_out)
        });
        match opened.await {
            Ok(stat) => Ok(Self { stat, full, empty, reader }),
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

    /// The next bytes; `None` at the end, or when reading failed.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
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
        match self.reader.await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(DeliveryError::Internal("the reader of a source file died")),
        }
    }
}

fn read(
    mut file: SourceFile,
    full: &mpsc::Sender<Vec<u8>>,
    mut empty: mpsc::Receiver<Vec<u8>>,
) -> Result<Sent, SourceError> {
    let size = usize::try_from(file.stat().size).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES);
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
