//! The control connection: bytes out, replies in, each under a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::charset::Charset;
use super::command::Command;
use super::error::{FtpsError, OtherProtocol, Step};
use super::limits::MAX_PRELIMINARY_REPLIES;
use super::reply::{Reply, ReplyError, ReplyKind, ReplyParser};
use super::tls::TlsError;

/// Bytes that are read at once. Most replies are below 200, and the buffer is part of every
/// future that waits for one.
const READ_BUFFER: usize = 1024;

/// How long an alert is looked for on a connection that is broken: what came stands there already.
const LAST_WORD: Duration = Duration::from_millis(100);

/// A control connection over `S`. What it was told in clear is forgotten when TLS begins: the
/// parser does not outlive its stream.
#[derive(Debug)]
pub(super) struct Control<S> {
    stream: S,
    parser: ReplyParser,
    peer: SocketAddr,
}

/// A control connection in clear. Only `AUTH TLS` is ever sent on it.
pub(super) type ClearControl = Control<TcpStream>;

/// A control connection under TLS.
pub(super) type TlsControl = Control<TlsStream<TcpStream>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Control<S> {
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self { stream, parser: ReplyParser::default(), peer }
    }

    /// Texts of replies are in this encoding from here on.
    pub(super) fn set_charset(&mut self, charset: Charset) {
        self.parser.set_charset(charset);
    }

    /// The server's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The stream beneath.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends commands in one write. Not cancel safe.
    pub(super) async fn send(&mut self, commands: &[Command], limit: Duration) -> Result<(), FtpsError> {
        // A reply that nobody asked for would be taken for the answer to what is sent now.
        self.take_in_what_is_there().await?;
        if let Some(error) = self.unasked() {
            return Err(error);
        }
        self.send_behind(commands, limit).await
    }

    /// The same while the reply to something earlier is still to come. Not cancel safe.
    pub(super) async fn send_behind(
        &mut self,
        commands: &[Command],
        limit: Duration,
    ) -> Result<(), FtpsError> {
        let step = Step::Command(commands.first().map_or("nothing", Command::verb));
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        for command in commands {
            debug!(peer = %self.peer, command = ?command.to_string(), "Sent.");
            command.encode(&mut bytes);
        }
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.last_word(stream_error(error, step), step).await),
            Err(_) => Err(FtpsError::Timeout { step, limit }),
        }
    }

    /// Nothing can be written any more: the server may have said why before, in an alert that still
    /// stands in the socket. (In TLS 1.3 it judges our certificate after the handshake, and its RST
    /// may reach us while we write.)
    async fn last_word(&mut self, error: FtpsError, step: Step) -> FtpsError {
        let mut buffer = [0; READ_BUFFER];
        match timeout(LAST_WORD, self.stream.read(&mut buffer)).await {
            Ok(Err(said)) => match stream_error(said, step) {
                said @ FtpsError::Tls(_) => said,
                _ => error,
            },
            Ok(Ok(_)) | Err(_) => error,
        }
    }

    /// Takes in bytes that have come already, without waiting for any.
    async fn take_in_what_is_there(&mut self) -> Result<(), FtpsError> {
        let step = Step::Command("nothing");
        let mut buffer = [0; READ_BUFFER];
        while self.parser.is_empty() {
            let count = tokio::select! {
                biased;
                count = self.stream.read(&mut buffer) => count.map_err(|error| stream_error(error, step))?,
                () = std::future::ready(()) => return Ok(()),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Err(FtpsError::Closed { step });
            }
            self.parser.feed(bytes)?;
        }
        Ok(())
    }

    /// Whether a reply has begun to come. Cancel safe.
    pub(super) async fn begins_to_answer(&mut self) -> Result<bool, FtpsError> {
        self.take_in_what_is_there().await?;
        Ok(!self.parser.is_empty())
    }

    /// A reply, or a part of one, that came though nobody asked for it.
    pub(super) fn unasked(&mut self) -> Option<FtpsError> {
        if self.parser.is_empty() {
            return None;
        }
        Some(match self.parser.next_reply() {
            Some(reply) if reply.code() == 421 => FtpsError::Closing { reply },
            Some(reply) => FtpsError::Unexpected { verb: "nothing", reply },
            None => FtpsError::BadReply(ReplyError::Flood),
        })
    }

    /// The next reply, whatever it is. Cancel safe: bytes that came are kept.
    async fn next_reply(&mut self, step: Step) -> Result<Reply, FtpsError> {
        let mut buffer = [0; READ_BUFFER];
        loop {
            if let Some(reply) = self.parser.next_reply() {
                debug!(peer = %self.peer, reply = ?reply.to_string(), "Received.");
                return Ok(reply);
            }
            let count = self.stream.read(&mut buffer).await.map_err(|error| stream_error(error, step))?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Err(FtpsError::Closed { step });
            }
            if step == Step::Greeting
                && let Some(protocol) = other_protocol(bytes)
            {
                return Err(FtpsError::OtherProtocol(protocol));
            }
            self.parser.feed(bytes)?;
        }
    }

    /// The next reply of any kind but 421, which ends every session. Cancel safe.
    pub(super) async fn reply(&mut self, step: Step, limit: Duration) -> Result<Reply, FtpsError> {
        match timeout(limit, self.next_reply(step)).await {
            Ok(Ok(reply)) if reply.code() == 421 => Err(FtpsError::Closing { reply }),
            Ok(result) => result,
            Err(_) => Err(FtpsError::Timeout { step, limit }),
        }
    }

    /// The next reply that is no `1xx`; the limit is for all of them together. Cancel safe.
    pub(super) async fn final_reply(&mut self, step: Step, limit: Duration) -> Result<Reply, FtpsError> {
        let verb = if let Step::Command(verb) = step { verb } else { "the transfer" };
        let replies = async {
            let mut last = None;
            for _ in 0..=MAX_PRELIMINARY_REPLIES {
                let reply = self.reply(step, limit).await?;
                if reply.kind() != ReplyKind::Preliminary {
                    return Ok(reply);
                }
                last = Some(reply);
            }
            Err(last.map_or(FtpsError::Abandoned, |reply| FtpsError::Unexpected { verb, reply }))
        };
        timeout(limit, replies).await.unwrap_or(Err(FtpsError::Timeout { step, limit }))
    }
}

impl ClearControl {
    /// The connection itself, for a handshake. Bytes that stand in the buffer came in clear behind the reply to `AUTH
    /// TLS`, and are an attack (CVE-2021-22947 and its kin).
    pub(super) fn into_stream(self) -> Result<TcpStream, FtpsError> {
        if self.parser.is_empty() { Ok(self.stream) } else { Err(FtpsError::Injected) }
    }

    /// Goes over to TLS.
    pub(super) async fn into_tls(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<TlsControl, FtpsError> {
        let peer = self.peer;
        let handshake = TlsConnector::from(config).connect(name, self.into_stream()?);
        match timeout(limit, handshake).await {
            Ok(Ok(stream)) => Ok(Control::new(stream, peer)),
            Ok(Err(error)) => Err(handshake_error(error, Step::Handshake)),
            Err(_) => Err(FtpsError::Timeout { step: Step::Handshake, limit }),
        }
    }
}

fn other_protocol(bytes: &[u8]) -> Option<OtherProtocol> {
    if bytes.starts_with(b"SSH-") {
        Some(OtherProtocol::Ssh)
    } else if bytes.starts_with(b"HTTP/") || bytes.starts_with(b"<") {
        Some(OtherProtocol::Http)
    } else if matches!(bytes, [0x15 | 0x16, 0x03, ..]) {
        Some(OtherProtocol::Tls)
    } else {
        None
    }
}

/// An error of the control connection: TLS's own, or the network's.
fn stream_error(error: io::Error, step: Step) -> FtpsError {
    match TlsError::from_io(&error) {
        // In TLS 1.3 a server judges our certificate after the handshake.
        Some(tls @ TlsError::ClientCertificate { .. }) => return FtpsError::Tls(tls),
        Some(tls) => return FtpsError::Garbled { step, detail: tls.to_string() },
        None => {}
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FtpsError::Closed { step },
        _ => FtpsError::Io { step, source: error },
    }
}

/// An error of a handshake: TLS's own, or the server hanging up.
pub(super) fn handshake_error(error: io::Error, step: Step) -> FtpsError {
    let wrap = if step == Step::DataHandshake { FtpsError::DataTls } else { FtpsError::Tls };
    wrap(TlsError::from_io(&error).unwrap_or(TlsError::Closed(error)))
}
