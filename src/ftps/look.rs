//! A look at a server's certificate, without trust and without a login.

use std::net::SocketAddr;

use super::connect::connect;
use super::control::{ClearControl, handshake_error};
use super::error::{FtpsError, Step};
use super::limits::Deadlines;
use super::login::{TlsStart, auth_tls, greeting};
use super::tls::{CertificateFacts, TlsError, ViewError, Viewer, server_name};
use super::way::Family;

/// Where to look. It names no user and no trust: neither is used.
#[derive(Clone, Debug)]
pub struct LookAt {
    /// A DNS name or IP address.
    pub host: String,
    /// The TCP port of the control connection.
    pub port: u16,
    /// Which of its addresses are used.
    pub family: Family,
    /// When TLS begins.
    pub start: TlsStart,
    /// How long things may take.
    pub deadlines: Deadlines,
}

/// What a server showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The server's address.
    pub peer: SocketAddr,
    /// Its certificate, whose key it has proved to have.
    pub certificate: CertificateFacts,
}

/// Asks a server for its certificate and hangs up. Nothing but `AUTH TLS` is sent, and nothing that
/// was seen is trusted: what comes back is for people to compare.
pub async fn look(at: &LookAt) -> Result<Seen, FtpsError> {
    let LookAt { host, port, family, start, deadlines } = at;
    let name = server_name(host).map_err(FtpsError::Tls)?;
    let viewer = Viewer::new().map_err(FtpsError::Tls)?;
    let (tcp, peer) = connect(host, *port, *family, deadlines.connect, &mut |_| {}).await?;
    let mut clear = ClearControl::new(tcp, peer);
    if *start == TlsStart::Explicit {
        greeting(&mut clear, deadlines.greeting).await?;
        auth_tls(&mut clear, deadlines.reply).await?;
    }
    let tcp = clear.into_stream()?;
    let limit = deadlines.handshake;
    let der = viewer.view(tcp, name, limit).await.map_err(|error| match error {
        ViewError::Handshake(error) => handshake_error(error, Step::Handshake),
        ViewError::Timeout => FtpsError::Timeout { step: Step::Handshake, limit },
        ViewError::Tls(error) => FtpsError::Tls(error),
    })?;
    let unreadable = || FtpsError::Tls(TlsError::Other("its certificate cannot be read".to_owned()));
    Ok(Seen { peer, certificate: CertificateFacts::read(&der).ok_or_else(unreadable)? })
}
