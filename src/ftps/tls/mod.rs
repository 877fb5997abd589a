//! TLS as FTPS needs it: what is trusted, what is shown, and which session a data connection
//! resumes. The only place that builds a TLS configuration for FTPS.

mod blame;
mod certificate;
mod distrust;
mod error;
mod files;
mod jar;
mod offer;
mod policy;
mod verifier;
mod viewer;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion};

pub use self::certificate::{CertificateFacts, SignedBy};
pub use self::distrust::{Authorities, Defect, Distrust, Flaw};
pub use self::error::{TlsError, TlsSettingsError};
pub(super) use self::jar::{SessionJar, Stock};
pub(super) use self::offer::Offer;
pub use self::offer::OwnCertificate;
use self::offer::Request;
pub use self::policy::Policy;
use self::policy::provider;
use self::verifier::{PeerVerifier, SessionVerifier, Vouched};
pub(super) use self::viewer::{ViewError, Viewer};

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// What is trusted and what is shown, as files.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file of the authorities; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the public keys of which the server must show one. With `ca_file` the chain
    /// must be good as well; without, the key alone is enough.
    pub pins: Vec<[u8; 32]>,
    /// Lists of revoked certificates, PEM or DER.
    pub crl_files: Vec<PathBuf>,
    /// Our certificate chain and its key, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Which cipher suites, groups and signatures are good enough.
    pub policy: Policy,
}

/// What is trusted and what is shown, ready for use. Made once a server, and shared by all its
/// connections.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    tls12: Arc<ClientConfig>,
    tls13: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
    verifier: Arc<PeerVerifier>,
    policy: Policy,
    own: OwnCertificate,
}

/// The TLS of one control connection and its data connections.
#[derive(Debug)]
pub(super) struct SessionTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) jar: Arc<SessionJar>,
    pub(super) offer: Offer,
}

impl TlsSettings {
    /// Reads the files. Blocks for as long as that takes.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsSettingsError> {
        let provider = Arc::new(provider(options.policy));
        let verifier = Arc::new(verifier(options, &provider)?);
        let identity =
            options.client_certificate.as_ref().map(|(cert, key)| files::identity(cert, key)).transpose()?;
        let build = |versions: &[&'static SupportedProtocolVersion]| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(TlsSettingsError::Rustls)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
            let mut config = match &identity {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => builder
                    .with_client_auth_cert(chain.clone(), key.clone_key())
                    .map_err(TlsSettingsError::ClientCertificate)?,
            };
            // A server that answers with another protocol is not the one we mean (ALPACA).
            config.alpn_protocols = vec![b"ftp".to_vec()];
            Ok(Arc::new(config))
        };
        Ok(Self {
            tls12: build(&[&rustls::version::TLS12])?,
            tls13: build(&[&rustls::version::TLS13])?,
            both: build(&[&rustls::version::TLS13, &rustls::version::TLS12])?,
            verifier,
            policy: options.policy,
            own: if identity.is_some() { OwnCertificate::Shown } else { OwnCertificate::None },
        })
    }

    /// The configuration of one control connection and its data connections, with a session
    /// store of its own: ProFTPD takes on a data connection only a session of its own control
    /// connection, and sessions must not wander between servers or trust settings.
    pub(super) fn for_session(&self, min: Version, max: Version) -> SessionTls {
        let base = match (min, max) {
            (Version::Tls12, Version::Tls12) => &self.tls12,
            (Version::Tls13, _) => &self.tls13,
            (Version::Tls12, Version::Tls13) => &self.both,
        };
        let jar = Arc::new(SessionJar::default());
        let mut config = ClientConfig::clone(base);
        let verifier = SessionVerifier::new(Arc::clone(&self.verifier));
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.resumption = Resumption::store(Arc::clone(&jar) as _);
        let request = Arc::new(Request::new(Arc::clone(&config.client_auth_cert_resolver)));
        config.client_auth_cert_resolver = Arc::clone(&request) as _;
        let offer = Offer { min, max, policy: self.policy, own: self.own, request };
        SessionTls { config: Arc::new(config), jar, offer }
    }
}

fn verifier(options: &TlsOptions, provider: &Arc<CryptoProvider>) -> Result<PeerVerifier, TlsSettingsError> {
    let pins = options.pins.clone();
    if options.ca_file.is_none() && !pins.is_empty() {
        return Ok(PeerVerifier::pinned(pins, Arc::clone(provider)));
    }
    let (roots, authorities) = match &options.ca_file {
        Some(file) => (files::roots(file)?, Authorities::File(file.clone())),
        None => (files::system_roots()?, Authorities::System),
    };
    let lists: Vec<_> = options.crl_files.iter().map(|file| files::lists(file)).collect::<Result<_, _>>()?;
    let lists = lists.concat();
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !lists.is_empty() {
        builder = builder.with_crls(lists.clone()).enforce_revocation_expiration();
    }
    let verifier = builder.build().map_err(TlsSettingsError::Verifier)?;
    Ok(PeerVerifier::chained(Vouched { verifier, authorities, lists }, pins, Arc::clone(provider)))
}

/// Until when the first certificate of a PEM file is good, in seconds since 1970; `None` where it cannot be read.
/// Blocks.
pub fn own_good_until(cert_file: &Path) -> Option<i64> {
    let chain = files::certificates(cert_file).ok()?;
    chain.first().and_then(CertificateFacts::read).map(|facts| facts.not_after)
}

/// The name that a server's certificate must carry, from the configured host.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::HostName { host: host.to_owned() })
}
