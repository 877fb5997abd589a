//! TLS as FTPS needs it: what is trusted, what is shown, and which session a data connection
//! resumes. The only place that builds a TLS configuration for FTPS.

mod certificate;
mod error;
mod jar;
mod verifier;
mod viewer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

pub use self::certificate::{CertificateFacts, SignedBy};
pub use self::error::{TlsError, TlsSettingsError};
pub(super) use self::jar::{SessionJar, Stock};
use self::verifier::PeerVerifier;
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
}

/// What is trusted and what is shown, ready for use. Made once a server, and shared by all its
/// connections.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    tls12: Arc<ClientConfig>,
    tls13: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
}

impl TlsSettings {
    /// Reads the files. Blocks for as long as that takes.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsSettingsError> {
        let provider = Arc::new(provider());
        let verifier = Arc::new(verifier(options, &provider)?);
        let identity =
            options.client_certificate.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?;
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
        })
    }

    /// The configuration of one control connection and its data connections, with a session
    /// store of its own: ProFTPD takes on a data connection only a session of its own control
    /// connection, and sessions must not wander between servers or trust settings.
    pub(super) fn for_session(&self, min: Version, max: Version) -> (Arc<ClientConfig>, Arc<SessionJar>) {
        let base = match (min, max) {
            (Version::Tls12, Version::Tls12) => &self.tls12,
            (Version::Tls13, _) => &self.tls13,
            (Version::Tls12, Version::Tls13) => &self.both,
        };
        let jar = Arc::new(SessionJar::default());
        let mut config = ClientConfig::clone(base);
        config.resumption = Resumption::store(Arc::clone(&jar) as _);
        (Arc::new(config), jar)
    }
}

/// P-256 comes first: vsftpd 3.0.3 and Pure-FTPd 1.0.50 know nothing else, and a first offer of
/// X25519 would cost a round trip at each handshake. (It is as strong, and NIST's choice.)
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let rank = |group: &&'static dyn SupportedKxGroup| group.name() != rustls::NamedGroup::secp256r1;
    provider.kx_groups.sort_by_key(rank);
    provider
}

fn verifier(options: &TlsOptions, provider: &Arc<CryptoProvider>) -> Result<PeerVerifier, TlsSettingsError> {
    let pins = options.pins.clone();
    if options.ca_file.is_none() && !pins.is_empty() {
        return Ok(PeerVerifier::pinned(pins, Arc::clone(provider)));
    }
    let roots = match &options.ca_file {
        Some(file) => roots_from(file)?,
        None => system_roots()?,
    };
    let crls = options.crl_files.iter().map(|file| crl(file)).collect::<Result<Vec<_>, _>>()?;
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !crls.is_empty() {
        builder = builder.with_crls(crls).enforce_revocation_expiration();
    }
    let chain = builder.build().map_err(TlsSettingsError::Verifier)?;
    Ok(PeerVerifier::chained(chain, pins, Arc::clone(provider)))
}

fn roots_from(file: &Path) -> Result<RootCertStore, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(file)? {
        roots.add(cert).map_err(|source| TlsSettingsError::Authority { file: file.to_owned(), source })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsSettingsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store may hold what rustls cannot use; one usable authority is enough to start.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 { Err(TlsSettingsError::NoSystemRoots) } else { Ok(roots) }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let unreadable = |source| TlsSettingsError::Pem { file: file.to_owned(), source };
    let certs = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let certs = certs.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certs.is_empty() { Err(TlsSettingsError::NoCertificate { file: file.to_owned() }) } else { Ok(certs) }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsSettingsError> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsSettingsError::Pem { file: key.to_owned(), source })?;
    Ok((chain, key))
}

fn crl(file: &Path) -> Result<CertificateRevocationListDer<'static>, TlsSettingsError> {
    let bytes = std::fs::read(file)
        .map_err(|source| TlsSettingsError::Unreadable { file: file.to_owned(), source })?;
    if bytes.starts_with(b"-----BEGIN") || !bytes.starts_with(&[0x30]) {
        return CertificateRevocationListDer::from_pem_slice(&bytes)
            .map_err(|source| TlsSettingsError::Pem { file: file.to_owned(), source });
    }
    Ok(CertificateRevocationListDer::from(bytes))
}

/// The name that a server's certificate must carry, from the configured host.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::HostName { host: host.to_owned() })
}
