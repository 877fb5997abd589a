//! Whether a server's certificate is good: by its chain, by its public key, or by both.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// Holds a server's certificate against authorities and pins.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    /// `None` where the pinned key alone is trusted.
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

/// The server's public key is none of those that are pinned.
#[derive(Debug, thiserror::Error)]
#[error("its public key is `sha256:{}`, which is none of the configured pins", encode(.found))]
pub(super) struct PinMismatch {
    found: [u8; 32],
}

fn encode(pin: &[u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(pin)
}

impl PeerVerifier {
    /// Trusts what chains up to an authority, and, if there are pins, has a pinned key.
    pub(super) fn chained(
        chain: Arc<WebPkiServerVerifier>,
        pins: Vec<[u8; 32]>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { chain: Some(chain), pins, provider }
    }

    /// Trusts the pinned keys alone, whatever their certificates say.
    pub(super) fn pinned(pins: Vec<[u8; 32]>, provider: Arc<CryptoProvider>) -> Self {
        Self { chain: None, pins, provider }
    }

    fn check_pin(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let found =
            public_key_digest(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.pins.contains(&found) {
            return Ok(());
        }
        let mismatch = OtherError(Arc::new(PinMismatch { found }));
        Err(Error::InvalidCertificate(CertificateError::Other(mismatch)))
    }
}

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo` (RFC 7469, section 2.4).
pub(super) fn public_key_digest(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Sha256::digest(certificate.tbs_certificate.subject_pki.raw).into())
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        if self.chain.is_none() || !self.pins.is_empty() {
            self.check_pin(end_entity)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;
    use crate::ftps::tls::TlsError;

    fn certificate() -> (CertificateDer<'static>, [u8; 32]) {
        let key = KeyPair::generate().unwrap();
        let cert =
            CertificateParams::new(vec!["other.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (cert.der().clone(), Sha256::digest(key.subject_public_key_info()).into())
    }

    fn verify(verifier: &PeerVerifier, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let name = ServerName::try_from("localhost").unwrap();
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn a_pinned_key_is_good_by_itself_and_no_other_is() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (pinned, pin) = certificate();
        let (other, other_pin) = certificate();
        let verifier = PeerVerifier::pinned(vec![[0; 32], pin], provider);
        assert_eq!(verify(&verifier, &pinned), Ok(()));
        let refused = TlsError::from_rustls(&verify(&verifier, &other).unwrap_err()).to_string();
        assert!(refused.contains(&encode(&other_pin)), "{refused}");
        assert!(verify(&verifier, &CertificateDer::from(vec![0x30, 0x00])).is_err());
    }

    #[test]
    fn with_an_authority_both_must_be_good() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (leaf, pin) = certificate();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaf.clone()).unwrap();
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = chain.build().unwrap();
        // Pinned, but for another host.
        let verifier = PeerVerifier::chained(Arc::clone(&chain), vec![pin], Arc::clone(&provider));
        assert!(verify(&verifier, &leaf).is_err());
        let name = ServerName::try_from("other.example").unwrap();
        let good = |v: &PeerVerifier| v.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok();
        assert!(good(&verifier));
        assert!(good(&PeerVerifier::chained(Arc::clone(&chain), vec![], Arc::clone(&provider))));
        assert!(!good(&PeerVerifier::chained(chain, vec![[0; 32]], provider)));
    }
}
