//! What is looked at, and what came of it.

use serde::Serialize;

use crate::domain::{Exit, TlsMode};
use crate::ftps::CertificateFacts;

/// One thing that is looked at on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The host name has an address.
    Resolution,
    /// The port takes a connection.
    Tcp,
    /// An FTP server greets.
    Greeting,
    /// It goes over to TLS.
    AuthTls,
    /// Its certificate is trusted.
    Certificate,
    /// TLS version and cipher.
    Tls,
    /// It lets us in.
    Login,
    /// It protects data connections.
    Protection,
    /// What it says it can do.
    Features,
    /// The folder can be entered.
    Folder,
    /// Which address the server names for data connections.
    PasvAddress,
    /// A data connection can be opened.
    Data,
    /// A file can be stored.
    Upload,
    /// Data connections resume the control connection's TLS session.
    Reuse,
    /// The server's own SHA-256 of what it stored.
    ServerHash,
    /// What it stored, read back.
    ReadBack,
    /// The size of what it stored.
    Size,
    /// A file's time can be set.
    Time,
    /// A file can be renamed.
    Rename,
    /// A file can be renamed over another.
    RenameOver,
    /// A listing shows our temporary names.
    Listing,
    /// Names come back as they were sent, and which of them are the same.
    Names,
    /// An upload can go on where it stopped.
    Resume,
    /// Several commands in one write are answered in order.
    Pipelining,
    /// As many sessions as are configured can be open at once.
    Connections,
    /// A file can be deleted, and nothing is left.
    Delete,
    /// A session bears silence.
    Idle,
}

impl Check {
    const EXPLICIT: [Self; 27] = [
        Self::Resolution,
        Self::Tcp,
        Self::Greeting,
        Self::AuthTls,
        Self::Certificate,
        Self::Tls,
        Self::Login,
        Self::Protection,
        Self::Features,
        Self::Folder,
        Self::PasvAddress,
        Self::Data,
        Self::Upload,
        Self::Reuse,
        Self::ServerHash,
        Self::ReadBack,
        Self::Size,
        Self::Time,
        Self::Rename,
        Self::RenameOver,
        Self::Listing,
        Self::Names,
        Self::Resume,
        Self::Pipelining,
        Self::Connections,
        Self::Delete,
        Self::Idle,
    ];

    /// The checks in their order: with implicit TLS the handshake comes first and there is no
    /// `AUTH TLS`.
    pub fn in_order(mode: TlsMode) -> Vec<Self> {
        match mode {
            TlsMode::Explicit => Self::EXPLICIT.to_vec(),
            TlsMode::Implicit => {
                let begin = [Self::Resolution, Self::Tcp, Self::Certificate, Self::Tls, Self::Greeting];
                let rest = Self::EXPLICIT.iter().skip_while(|check| **check != Self::Login);
                begin.iter().chain(rest).copied().collect()
            }
        }
    }

    /// Its name for people, at most 15 columns.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Resolution => "name resolution",
            Self::Tcp => "TCP",
            Self::Greeting => "greeting",
            Self::AuthTls => "AUTH TLS",
            Self::Certificate => "certificate",
            Self::Tls => "TLS",
            Self::Login => "login",
            Self::Protection => "PROT P",
            Self::Features => "features",
            Self::Folder => "folder",
            Self::PasvAddress => "PASV address",
            Self::Data => "data connection",
            Self::Upload => "upload",
            Self::Reuse => "session reuse",
            Self::ServerHash => "server hash",
            Self::ReadBack => "read back",
            Self::Size => "size",
            Self::Time => "time setting",
            Self::Rename => "rename",
            Self::RenameOver => "rename over",
            Self::Listing => "listing",
            Self::Names => "names",
            Self::Resume => "resume",
            Self::Pipelining => "pipelining",
            Self::Connections => "connections",
            Self::Delete => "delete",
            Self::Idle => "idle limit",
        }
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// The server cannot do it; jobs run without.
    Lacking,
    /// Something that it depends on failed.
    NotTried,
    /// Jobs would fail here, with this class.
    Failed(Exit),
}

/// A check with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen. The server's words may stand in it.
    pub text: String,
    /// The likely cause and what to do.
    pub help: Option<String>,
    /// The server's certificate, where this is about it.
    pub certificate: Option<Box<CertificateFacts>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implicit_tls_has_all_checks_but_auth_in_another_order() {
        let (explicit, implicit) = (Check::in_order(TlsMode::Explicit), Check::in_order(TlsMode::Implicit));
        assert_eq!(implicit.len() + 1, explicit.len());
        assert!(explicit.iter().all(|check| implicit.contains(check) != (*check == Check::AuthTls)));
        assert!(explicit.iter().all(|check| check.title().len() <= 15));
    }
}
