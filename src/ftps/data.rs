//! Data connections: opened beside a session, bound to its control connection's peer.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::control::handshake_error;
use super::error::{FtpsError, Step};
use super::tls::{Offer, TlsError};

/// A data connection under TLS, whose other end is the control connection's peer.
#[derive(Debug)]
pub(super) struct DataConnection {
    stream: TlsStream<TcpStream>,
    kind: Option<HandshakeKind>,
}

/// Most bytes that wait for the end, so as to go in one packet with it: each packet wakes the server
/// once more. As many as a TLS record takes, and far fewer than the connection buffers.
const MAX_LAST_BYTES: usize = 16 * 1024;

/// How the server's side of a data connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataEnd {
    /// With `close_notify`: the server has done with it.
    Clean,
    /// Otherwise.
    Cut,
}

/// What a data connection must prove about its other end.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) config: Arc<ClientConfig>,
    /// The control connection's name, also where the data connection goes to an address.
    pub(super) name: ServerName<'static>,
    /// The control connection's certificate.
    pub(super) certificate: CertificateDer<'static>,
    /// What its handshakes offer.
    pub(super) offer: Offer,
}

impl DataConnection {
    /// Makes sure of the other end: it resumes a session of the control connection, or shows the same
    /// certificate. We are TLS's client also where the server has connected to us (RFC 4217, section
    /// 7). The handshake needs no reply of the server to its `STOR`, so both go on at once.
    pub(super) async fn over(tcp: TcpStream, identity: Identity, limit: Duration) -> Result<Self, FtpsError> {
        // Pure-FTPd in TLS 1.3 says nothing after the handshake: without this the first record
        // waits for a delayed acknowledgement.
        tcp.set_nodelay(true).map_err(|source| FtpsError::Io { step: Step::DataConnect, source })?;
        let handshake = TlsConnector::from(identity.config).connect(identity.name, tcp);
        let stream = match timeout(limit, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(handshake_error(error, Step::DataHandshake).knowing(&identity.offer));
            }
            Err(_) => return Err(FtpsError::Timeout { step: Step::DataHandshake, limit }),
        };
        let (_, tls) = stream.get_ref();
        let kind = tls.handshake_kind();
        let same = tls.peer_certificates().and_then(<[_]>::first) == Some(&identity.certificate);
        if kind != Some(HandshakeKind::Resumed) && !same {
            return Err(FtpsError::OtherPeer);
        }
        Ok(Self { stream, kind })
    }

    /// Whether the handshake resumed a session of the control connection.
    pub(super) fn is_resumed(&self) -> bool {
        self.kind == Some(HandshakeKind::Resumed)
    }

    /// Sends bytes; the limit is for each call.
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), FtpsError> {
        let step = Step::Transfer;
        match timeout(limit, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(FtpsError::Io { step, source }),
            Err(_) => Err(FtpsError::Timeout { step, limit }),
        }
    }

    /// Sends the last bytes. Few of them go together with the [end](Self::shutdown).
    pub(super) async fn write_last(&mut self, bytes: &[u8], limit: Duration) -> Result<(), FtpsError> {
        if bytes.len() > MAX_LAST_BYTES {
            return self.write(bytes, limit).await;
        }
        let (_, tls) = self.stream.get_mut();
        tls.writer().write_all(bytes).map_err(|source| FtpsError::Io { step: Step::Transfer, source })
    }

    /// Fills a buffer as far as bytes come before the end; 0 at the end. The limit is for the
    /// whole buffer. A connection that is cut without `close_notify` is an error, since bytes may
    /// be missing (RFC 8446, section 6.1).
    pub(super) async fn fill(&mut self, buffer: &mut [u8], limit: Duration) -> Result<usize, FtpsError> {
        let step = Step::Transfer;
        let fill = async {
            let mut filled = 0;
            while let Some(room @ [_, ..]) = buffer.get_mut(filled..) {
                match self.stream.read(room).await? {
                    0 => break,
                    count => filled += count,
                }
            }
            Ok(filled)
        };
        match timeout(limit, fill).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => Err(match TlsError::from_io(&error) {
                Some(tls) => FtpsError::Garbled { step, detail: tls.to_string() },
                None => FtpsError::Io { step, source: error },
            }),
            Err(_) => Err(FtpsError::Timeout { step, limit }),
        }
    }

    /// Ends what was sent: `close_notify`, then FIN of our half. The other half stays open, and
    /// must be drained before the socket is dropped: unread bytes (TLS tickets) would turn our
    /// FIN into a reset, and vsftpd and pyftpdlib then cut the file.
    ///
    /// In a download it comes after the server's end, although ours costs vsftpd a round trip then: where a server closes
    /// without having read it, its own end is a reset, which throws away what is still on its way.
    pub(super) async fn shutdown(&mut self, limit: Duration) -> Result<(), FtpsError> {
        let step = Step::Transfer;
        match timeout(limit, self.stream.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(FtpsError::Io { step, source }),
            Err(_) => Err(FtpsError::Timeout { step, limit }),
        }
    }

    /// Reads until the end or an error; neither is a failure after a shutdown. Takes fresh tickets
    /// in on the way.
    pub(super) async fn drain(&mut self) -> DataEnd {
        let mut rest = [0; 512];
        loop {
            match self.stream.read(&mut rest).await {
                Ok(0) => return DataEnd::Clean,
                Ok(_) => {}
                Err(_) => return DataEnd::Cut,
            }
        }
    }
}
