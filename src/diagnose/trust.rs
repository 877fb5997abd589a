//! The certificate that a server shows, for people to compare.

use crate::domain::{Server, TlsMode};
use crate::ftps::{Deadlines, FtpsError, LookAt, Seen, TlsStart};
use crate::remote::family;

/// Asks a server for its certificate and hangs up. Neither user nor password is sent, and nothing
/// is trusted or kept.
pub async fn look(server: &Server, deadlines: Deadlines) -> Result<Seen, FtpsError> {
    let start = match server.tls {
        TlsMode::Explicit => TlsStart::Explicit,
        TlsMode::Implicit => TlsStart::Implicit,
    };
    let at = LookAt {
        host: server.host.clone(),
        port: server.port,
        family: family(server.network.family),
        start,
        deadlines,
    };
    crate::ftps::look(&at).await
}
