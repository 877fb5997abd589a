//! A server: an FTPS endpoint, how to log in, and how to trust it.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Bandwidth, Charset, Digest, Network, ServerName};

/// An FTPS endpoint and how to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in the configuration.
    pub name: ServerName,
    /// A DNS name or IP address, which its certificate must carry.
    pub host: String,
    /// The TCP port of the control connection.
    pub port: u16,
    /// When TLS begins.
    pub tls: TlsMode,
    /// The TLS versions that may be spoken.
    pub tls_versions: TlsVersions,
    /// What else TLS must satisfy.
    pub tls_policy: TlsPolicy,
    /// The login name, without control characters.
    pub username: String,
    /// Where the password is kept.
    pub password: SecretRef,
    /// What makes its certificate good.
    pub trust: Trust,
    /// The certificate that is shown to the server, if it wants one.
    pub client_certificate: Option<ClientCertificate>,
    /// Most control connections at once, over all jobs.
    pub connections: NonZeroU16,
    /// How it is reached.
    pub network: Network,
    /// The character encoding of its file names.
    pub charset: Charset,
    /// How fast files may cross, over all jobs.
    pub bandwidth: Bandwidth,
}

impl Server {
    /// Connections where the configuration says nothing. On distant servers more of them are all that helps (a small
    /// file takes four round trips on each, or eight), and the sample configuration of Pure-FTPd allows 8 from one address.
    /// Of a server that takes fewer that is found out, by its refusal of one more.
    pub const DEFAULT_CONNECTIONS: u16 = 8;
    /// Most connections that can be configured.
    pub const MAX_CONNECTIONS: u16 = 64;
}

/// When TLS begins on the control connection (RFC 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// After `AUTH TLS`; port 21 by default.
    Explicit,
    /// With the first byte; port 990 by default.
    Implicit,
}

impl TlsMode {
    /// The port that is meant where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Explicit => 21,
            Self::Implicit => 990,
        }
    }
}

/// A TLS version that Nightferry speaks; nothing older exists here (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}

/// The TLS versions that may be spoken with a server, `min` at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsVersions {
    /// The oldest.
    pub min: TlsVersion,
    /// The newest.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 }
    }
}

/// What TLS must satisfy besides its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// All that rustls holds to be safe.
    #[default]
    Standard,
    /// What NIST SP 800-52 Rev. 2 recommends for clients: AES-GCM with ephemeral keys on NIST's
    /// curves.
    Nist80052r2,
}

/// Where a secret is kept. The secret itself never stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file that only its owner can read; one trailing line end is taken off.
    File(PathBuf),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A program and its arguments, which prints the secret; no shell is involved.
    Command(Vec<String>),
}

/// What makes a server's certificate good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// Public keys of which the server must show one. With `ca_file` its certificate must be
    /// good as well; without, a pinned key is trusted by itself: issuer, names and dates of its
    /// certificate do not matter.
    pub pins: Vec<SpkiPin>,
    /// PEM or DER files with lists of revoked certificates. When there are any, each
    /// certificate of the chain must be covered by one, and none may be revoked. None where
    /// pinned keys are trusted by themselves: there is no chain.
    pub crl_files: Vec<PathBuf>,
}

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo` (RFC 7469, section 2.4), written
/// `sha256:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpkiPin(pub Digest);

/// A certificate that is shown to the server, and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and any intermediates.
    pub cert_file: PathBuf,
    /// Its private key, unencrypted; only its owner may read the file.
    pub key_file: PathBuf,
}
