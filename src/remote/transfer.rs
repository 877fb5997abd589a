//! A file on its way to or from a server, within its bandwidth.

use super::connection::Incoming;
use super::throttle::Throttle;
use crate::domain::Hasher;
use crate::ftps::{self, Closing, FtpsError};

/// What is read at once of a file that is read back: as much as the stall deadline is for.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// A file on its way to the server. Dropping it before [`finish`](Self::finish) abandons the
/// session, and leaves what came so far under the name.
#[derive(Debug)]
pub struct Upload<'a> {
    inner: ftps::Upload<'a>,
    throttle: &'a Throttle,
}

impl<'a> Upload<'a> {
    pub(super) fn new(inner: ftps::Upload<'a>, throttle: &'a Throttle) -> Self {
        Self { inner, throttle }
    }

    /// Sends bytes, at most 256 KiB at once: the stall deadline is for each call, not counting what
    /// the bandwidth makes it wait. After an error the upload has ended; where the server said why,
    /// the session can be used again.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), FtpsError> {
        while !bytes.is_empty() {
            let (piece, rest) = self.next_piece(bytes).await;
            self.inner.write(piece).await?;
            bytes = rest;
        }
        Ok(())
    }

    /// The same of the last bytes: the last few of them leave with the [end](Self::finish).
    pub async fn write_last(&mut self, mut bytes: &[u8]) -> Result<(), FtpsError> {
        while !bytes.is_empty() {
            let (piece, rest) = self.next_piece(bytes).await;
            if rest.is_empty() {
                self.inner.write_last(piece).await?;
            } else {
                self.inner.write(piece).await?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// What may pass now, and the rest.
    async fn next_piece<'b>(&self, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let (piece, rest) = bytes.split_at_checked(self.throttle.piece()).unwrap_or((bytes, &[]));
        self.throttle.pass(piece.len()).await;
        (piece, rest)
    }

    /// Ends the upload: `close_notify`, FIN, drain, and the server's reply. A `2xx` means only
    /// that the server is content: it is no proof of what it stored.
    pub async fn finish(self, closing: Closing) -> Result<(), FtpsError> {
        self.inner.finish(closing).await
    }
}

/// A file on its way from the server. Dropping it before [`finish`](Self::finish) abandons the
/// session.
#[derive(Debug)]
pub struct Download<'a> {
    inner: ftps::Download<'a>,
    throttle: &'a Throttle,
}

impl<'a> Download<'a> {
    pub(super) fn new(inner: ftps::Download<'a>, throttle: &'a Throttle) -> Self {
        Self { inner, throttle }
    }

    /// Reads into a buffer, of at most 256 KiB, as far as bytes come before the end and the
    /// bandwidth gives at once; 0 at the end. The stall deadline is for each call.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FtpsError> {
        let room = buffer.len().min(self.throttle.piece());
        let count = self.inner.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        self.throttle.pass(count).await;
        Ok(count)
    }

    /// Reads a file that should have `size` bytes, and ends the download. Where more come, the rest
    /// is not read, and the session is lost. Where all came, a refusal behind them is passed over: their
    /// digest says more. Where fewer came it is waited for, and says why.
    pub(super) async fn digest(mut self, size: u64, closing: Closing) -> Result<Incoming, FtpsError> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut total = 0_u64;
        loop {
            let count = self.read(&mut buffer).await?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            total += piece.len() as u64;
            hasher.update(piece);
            if total > size {
                // There may be no end to it: the session stays in the middle of the exchange.
                return Ok(Incoming { size: total, digest: hasher.finish() });
            }
        }
        let whole = total == size;
        match self.inner.finish(if whole { closing } else { Closing::Awaited }).await {
            Err(FtpsError::Refused { .. }) if whole => {}
            ended => ended?,
        }
        Ok(Incoming { size: total, digest: hasher.finish() })
    }

    /// Ends the download once all was read: the server says whether that was all.
    pub async fn finish(self) -> Result<(), FtpsError> {
        self.inner.finish(Closing::Awaited).await
    }
}
