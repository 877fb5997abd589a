//! The bytes of a source file on their way to the network: read and hashed in a blocking thread,
//! handed over in buffers that come back. A file that fits into one buffer is read whole when it is
//! opened, since going back and forth between threads costs more than that.

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

const READER_DIED: &str = "the reader of a source file died";

/// A file that is being read, or was.
#[derive(Debug)]
pub(super) struct Pump {
    stat: FileStat,
    bytes: Bytes,
}

/// Where a file's bytes are.
#[derive(Debug)]
enum Bytes {
    /// Here, until they are asked for, with what they come to.
    Whole(Option<Vec<u8>>, Sent),
    /// On their way.
    Reader(Reader),
}

/// A thread that reads a file.
#[derive(Debug)]
struct Reader {
    full: mpsc::Receiver<Vec<u8>>,
    empty: mpsc::Sender<Vec<u8>>,
    thread: JoinHandle<Result<Sent, SourceError>>,
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

/// A file that was opened.
enum Opened {
    Whole(FileStat, Vec<u8>, Sent),
    Large(Box<SourceFile>),
}

impl Pump {
    /// Opens a file and begins to read it.
    pub(super) async fn start(root: SourceRoot, path: RelPath) -> Result<Self, DeliveryError> {
        match spawn_blocking(move || open(&root, &path)).await {
            Ok(Ok(Opened::Whole(stat, bytes, sent))) => {
                Ok(Self { stat, bytes: Bytes::Whole(Some(bytes), sent) })
            }
            Ok(Ok(Opened::Large(file))) => {
                let mut pump = Self::reading(|| Ok(*file)).await?;
                pump.stop_skipping();
                Ok(pump)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(DeliveryError::Internal(READER_DIED)),
        }
    }

    /// Opens a file whose first bytes may be [skipped](Self::skip_to): none is handed over before
    /// [`next`](Self::next) is called.
    pub(super) async fn hold(root: SourceRoot, path: RelPath) -> Result<Self, DeliveryError> {
        Self::reading(move || root.open_file(&path)).await
    }

    async fn reading(
        open: impl FnOnce() -> Result<SourceFile, SourceError> + Send + 'static,
    ) -> Result<Self, DeliveryError> {
        let (skips, to_skip) = mpsc::channel(1);
        let (full_in, full) = mpsc::channel(BUFFERS_WAITING);
        let (empty, empty_out) = mpsc::channel(BUFFERS_WAITING + 2);
        let (opened_in, opened) = oneshot::channel();
        let thread = spawn_blocking(move || {
            let file = open()?;
            // Nobody listens any more only when the delivery was dropped; reading then ends below.
            let _delivery_dropped = opened_in.send(file.stat()).is_err();
            read(file, to_skip, &full_in, empty_out)
        });
        match opened.await {
            Ok(stat) => {
                Ok(Self { stat, bytes: Bytes::Reader(Reader { full, empty, thread, skips: Some(skips) }) })
            }
            Err(_) => Err(match thread.await {
                Ok(Err(error)) => error.into(),
                Ok(Ok(_)) | Err(_) => DeliveryError::Internal(READER_DIED),
            }),
        }
    }

    /// What the file was when it was opened.
    pub(super) fn stat(&self) -> FileStat {
        self.stat
    }

    /// Whether all bytes come at once.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.bytes, Bytes::Whole(..))
    }

    /// Reads and hashes the bytes up to `to`, without handing them over. Where this fails, and
    /// where the future is dropped, the pump has ended: [`finish`](Self::finish) tells why.
    pub(super) async fn skip_to(&self, to: u64) -> Skipped {
        let (done, skipped) = oneshot::channel();
        let Bytes::Reader(Reader { skips: Some(skips), .. }) = &self.bytes else { return Skipped::Failed };
        let asked = skips.send(Skip { to, done }).await;
        if asked.is_ok() && skipped.await.is_ok() { Skipped::All } else { Skipped::Failed }
    }

    fn stop_skipping(&mut self) {
        if let Bytes::Reader(reader) = &mut self.bytes {
            reader.skips = None;
        }
    }

    /// The next bytes; `None` at the end, or when reading failed.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.stop_skipping();
        match &mut self.bytes {
            Bytes::Whole(bytes, _) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Bytes::Reader(reader) => reader.full.recv().await,
        }
    }

    /// Gives a buffer back.
    pub(super) fn reuse(&self, buffer: Vec<u8>) {
        if let Bytes::Reader(reader) = &self.bytes {
            // A full queue has buffers enough: this one can go.
            let _enough = reader.empty.try_send(buffer).is_err();
        }
    }

    /// What was read in all. Fails where the file changed meanwhile.
    pub(super) async fn finish(self) -> Result<Sent, DeliveryError> {
        let Reader { full, skips, thread, .. } = match self.bytes {
            Bytes::Whole(_, sent) => return Ok(sent),
            Bytes::Reader(reader) => reader,
        };
        drop((full, skips));
        match thread.await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(DeliveryError::Internal(READER_DIED)),
        }
    }
}

/// Opens a file, and reads it to its end where it is small.
fn open(root: &SourceRoot, path: &RelPath) -> Result<Opened, SourceError> {
    let mut file = root.open_file(path)?;
    let stat = file.stat();
    let size = usize::try_from(stat.size).unwrap_or(usize::MAX);
    if size > BUFFER_BYTES {
        return Ok(Opened::Large(Box::new(file)));
    }
    let (mut bytes, mut filled) = (vec![0; size], 0);
    while let Some(room @ [_, ..]) = bytes.get_mut(filled..) {
        match file.read(room)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    let (sent, _) = file.finish()?;
    Ok(Opened::Whole(stat, bytes, sent))
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
