//! A TLS handshake that trusts nobody: it looks at the server's certificate and hangs up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Policy, TlsError, provider};

/// Looks at one server's certificate.
///
/// It accepts any certificate, so its TLS must not carry anything. Neither the configuration nor
/// the stream can be had from it: [`view`](Self::view) takes the connection, and gives back the
/// certificate alone. A [session](crate::ftps::Session) takes
/// [`TlsSettings`](super::TlsSettings), of which this is none.
#[derive(Debug)]
pub(in crate::ftps) struct Viewer {
    config: ClientConfig,
    seen: Arc<Onlooker>,
}

/// Why there is no certificate to show.
#[derive(Debug)]
pub(in crate::ftps) enum ViewError {
    /// The handshake failed before the server proved that it has the certificate's key.
    Handshake(std::io::Error),
    /// It took longer than it may.
    Timeout,
    /// No certificate came, or TLS cannot be set up here.
    Tls(TlsError),
}

impl Viewer {
    /// Makes ready to look.
    pub(in crate::ftps) fn new() -> Result<Self, TlsError> {
        let provider = Arc::new(provider(Policy::Standard));
        let seen = Arc::new(Onlooker { provider: Arc::clone(&provider), shown: Mutex::default() });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TlsError::from_rustls(&error))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as _)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"ftp".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { config, seen })
    }

    /// Shakes hands, hangs up, and gives back the certificate, of which the server has proved that
    /// it has the key. A server that wants a certificate of ours shows its own first.
    pub(in crate::ftps) async fn view(
        self,
        tcp: TcpStream,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<CertificateDer<'static>, ViewError> {
        let handshake = async {
            let mut stream = TlsConnector::from(Arc::new(self.config)).connect(name, tcp).await?;
            stream.shutdown().await
        };
        let ended = timeout(limit, handshake).await;
        let shown = self.seen.shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (shown, ended) {
            (Some(certificate), _) => Ok(certificate),
            (None, Ok(Ok(()))) => Err(ViewError::Tls(TlsError::Other("no certificate came".to_owned()))),
            (None, Ok(Err(error))) => Err(ViewError::Handshake(error)),
            (None, Err(_)) => Err(ViewError::Timeout),
        }
    }
}

/// Accepts any certificate, and keeps the one whose key signed the handshake.
#[derive(Debug)]
struct Onlooker {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<CertificateDer<'static>>>,
}

impl Onlooker {
    fn keep(&self, certificate: &CertificateDer<'_>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.clone().into_owned());
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms).inspect(|_| self.keep(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms).inspect(|_| self.keep(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
