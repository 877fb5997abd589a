//! The control connection: lines in, bytes out, and the change from plain text to TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::drip::dripping;
use crate::faults::Cut;

/// The longest command line: a path of 4,096 bytes and its verb.
const COMMAND_LINE: usize = 8 * 1024;
/// How long a silent client is kept where nothing else is asked for; tests are over sooner.
pub(crate) const IDLE: Duration = Duration::from_mins(5);
/// How long a TLS handshake may take, and how long a client may leave a reply unread.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One control connection.
#[derive(Debug)]
pub(crate) struct Control {
    stream: Stream,
    input: Vec<u8>,
    peer: SocketAddr,
    local: SocketAddr,
    idle: Duration,
    /// How often bytes have come.
    writes: u64,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the two, and after a handshake that failed.
    Lost,
}

/// Whether the control connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Plain,
    Encrypted,
}

impl Control {
    pub(crate) fn new(stream: TcpStream, idle: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Self { stream: Stream::Plain(stream), input: Vec::new(), peer, local, idle, writes: 0 })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn channel(&self) -> Channel {
        match self.stream {
            Stream::Tls(_) => Channel::Encrypted,
            Stream::Plain(_) | Stream::Lost => Channel::Plain,
        }
    }

    /// Lets what this side sends come byte by byte from now on; only before TLS.
    pub(crate) async fn drip(&mut self, pause: Duration) -> io::Result<()> {
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Lost) else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        self.stream = Stream::Plain(dripping(plain, pause).await?);
        Ok(())
    }

    /// Sends bytes beneath TLS, or before it.
    pub(crate) async fn write_plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writing = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => stream.get_mut().0.write_all(bytes).await,
                Stream::Lost => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        timeout(PATIENCE, writing).await?
    }

    /// Cuts the connection, without `close_notify`.
    pub(crate) async fn cut(&mut self, cut: Cut) -> io::Result<()> {
        let tcp = match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_mut().0,
            Stream::Lost => return Ok(()),
        };
        match cut {
            Cut::Reset => tcp.set_zero_linger()?,
            Cut::Fin => tcp.shutdown().await?,
            Cut::Silence => return self.ignore().await,
        }
        self.stream = Stream::Lost;
        Ok(())
    }

    /// Makes the TLS handshake. What the client sent in plain text before it is forgotten.
    pub(crate) async fn encrypt(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Lost) else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        self.input.clear();
        let encrypted = timeout(PATIENCE, TlsAcceptor::from(config).accept(plain)).await??;
        self.stream = Stream::Tls(Box::new(encrypted));
        Ok(())
    }

    /// The name that the client asked for in its handshake (SNI), and the application protocol that
    /// was agreed upon (ALPN).
    pub(crate) fn wanted(&self) -> (Option<&str>, Option<&[u8]>) {
        match &self.stream {
            Stream::Tls(stream) => {
                let tls = stream.get_ref().1;
                (tls.server_name(), tls.alpn_protocol())
            }
            Stream::Plain(_) | Stream::Lost => (None, None),
        }
    }

    /// The next command line without its end, or nothing once the client is gone.
    pub(crate) async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            if self.input.len() > COMMAND_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "command line too long"));
            }
            let mut chunk = [0; 4096];
            let read = timeout(self.idle, self.read(&mut chunk)).await??;
            let Some(received) = chunk.get(..read).filter(|received| !received.is_empty()) else {
                return Ok(None);
            };
            self.input.extend(received);
            self.writes += 1;
        }
    }

    /// How often bytes have come.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether a command that begins so has come behind the one at hand, or comes within this time.
    pub(crate) async fn hears(&mut self, start: &str, patience: Duration) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        while self.input.is_empty() {
            let Ok(read) = timeout(patience, self.read(&mut chunk)).await else { return Ok(false) };
            let Some(received) = chunk.get(..read?).filter(|received| !received.is_empty()) else {
                return Ok(false);
            };
            self.input.extend(received);
            self.writes += 1;
        }
        Ok(self.input.split(|byte| *byte == b'\n').any(|line| line.starts_with(start.as_bytes())))
    }

    /// Forgets what the client has sent already.
    pub(crate) fn forget_input(&mut self) {
        self.input.clear();
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writing = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Lost => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        timeout(PATIENCE, writing).await?
    }

    /// Waits until the client is gone, whatever it still sends.
    pub(crate) async fn ignore(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        while timeout(self.idle, self.read(&mut chunk)).await?? > 0 {}
        Ok(())
    }

    /// Says goodbye: `close_notify` and FIN.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => timeout(PATIENCE, stream.shutdown()).await?,
            Stream::Lost => Ok(()),
        }
    }

    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(chunk).await,
            Stream::Tls(stream) => stream.read(chunk).await,
            Stream::Lost => Ok(0),
        }
    }
}
