//! The server's TLS: versions, certificates, and which sessions may be resumed where.
//!
//! Each control connection has a session store of its own, which its data connections share: as on
//! ProFTPD, a session of another control connection is not taken. Sessions may be resumed more than
//! once, as with servers on OpenSSL.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientCertVerifierBuilder, NoServerSessionStorage, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::dialect::Dialect;
use crate::pki::Identity;

/// The sessions kept per control connection: each data connection of TLS 1.3 adds one or two.
const SESSIONS: usize = 256;

/// Which versions of TLS the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 only.
    Only12,
    /// 1.3 only.
    Only13,
}

/// Whether clients must show a certificate.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// They need none.
    NotAsked,
    /// They are asked for one that this authority signed, and need none, as with vsftpd's `ssl_request_cert`.
    Asked(CertificateDer<'static>),
    /// They need one that this authority signed.
    Required(CertificateDer<'static>),
}

/// How the server speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsManner {
    pub(crate) versions: TlsVersions,
    pub(crate) clients: ClientCertificates,
    /// All that there are, if none are named.
    pub(crate) suites: Option<Vec<CipherSuite>>,
    /// All that there are, if none are named.
    pub(crate) groups: Option<Vec<NamedGroup>>,
    /// Names of application protocols (ALPN).
    pub(crate) protocols: Vec<Vec<u8>>,
}

impl Default for TlsManner {
    fn default() -> Self {
        Self {
            versions: TlsVersions::Both,
            clients: ClientCertificates::NotAsked,
            suites: None,
            groups: None,
            protocols: vec![b"ftp".to_vec()],
        }
    }
}

/// The TLS configurations from which each control connection gets its own.
#[derive(Debug)]
pub(crate) struct Tls {
    base: ServerConfig,
    other: Arc<ServerConfig>,
    control_tickets: usize,
    data_tickets: usize,
}

/// The TLS configurations of one control connection.
#[derive(Debug)]
pub(crate) struct SessionTls {
    pub(crate) control: Arc<ServerConfig>,
    pub(crate) data: Arc<ServerConfig>,
    /// Shows another certificate and resumes nothing.
    pub(crate) other: Arc<ServerConfig>,
}

impl Tls {
    pub(crate) fn new(
        identity: &Identity,
        other: &Identity,
        manner: &TlsManner,
        dialect: &Dialect,
    ) -> Result<Self, rustls::Error> {
        let base = config(identity, manner)?;
        let mut other = config(other, manner)?;
        other.session_storage = Arc::new(NoServerSessionStorage {});
        other.send_tls13_tickets = 0;
        Ok(Self {
            base,
            other: Arc::new(other),
            control_tickets: dialect.control_tickets,
            data_tickets: dialect.data_tickets,
        })
    }

    pub(crate) fn for_control_connection(&self) -> SessionTls {
        let mut control = self.base.clone();
        control.session_storage = Arc::new(Sessions::default());
        control.send_tls13_tickets = self.control_tickets;
        let mut data = control.clone();
        data.send_tls13_tickets = self.data_tickets;
        SessionTls { control: Arc::new(control), data: Arc::new(data), other: Arc::clone(&self.other) }
    }
}

fn config(identity: &Identity, manner: &TlsManner) -> Result<ServerConfig, rustls::Error> {
    let mut provider = ring::default_provider();
    if let Some(suites) = &manner.suites {
        provider.cipher_suites.retain(|suite| suites.contains(&suite.suite()));
    }
    if let Some(groups) = &manner.groups {
        provider.kx_groups.retain(|group| groups.contains(&group.name()));
    }
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&supported(manner.versions))?;
    let builder = match &manner.clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Asked(ca) => {
            builder.with_client_cert_verifier(built(verifier(ca, &provider)?.allow_unauthenticated())?)
        }
        ClientCertificates::Required(ca) => {
            builder.with_client_cert_verifier(built(verifier(ca, &provider)?)?)
        }
    };
    // Unlike `with_single_cert`, this looks at neither, so that they may be bad.
    let key = CertifiedKey::new(
        identity.certificates(),
        provider.key_provider.load_private_key(identity.key_der())?,
    );
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    // As ProFTPD does; clients that offer no protocol are served all the same.
    config.alpn_protocols.clone_from(&manner.protocols);
    Ok(config)
}

fn verifier(
    ca: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientCertVerifierBuilder, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)))
}

fn built(verifier: ClientCertVerifierBuilder) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    verifier.build().map_err(|error| rustls::Error::General(error.to_string()))
}

fn supported(versions: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    match versions {
        TlsVersions::Both => vec![&version::TLS13, &version::TLS12],
        TlsVersions::Only12 => vec![&version::TLS12],
        TlsVersions::Only13 => vec![&version::TLS13],
    }
}

/// The sessions of one control connection, oldest first.
#[derive(Debug, Default)]
struct Sessions {
    kept: Mutex<VecDeque<(Vec<u8>, Vec<u8>)>>,
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SESSIONS {
            kept.pop_front();
        }
        kept.push_back((key, value));
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
