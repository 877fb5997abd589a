//! Whether a server's certificate is good: by its chain, by its public key, or by both.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::blame::{Blame, Chain, blame};
use super::certificate::CertificateFacts;
use super::distrust::{Authorities, Defect, Distrust, Flaw};

/// Holds a server's certificate against authorities and pins.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    /// `None` where the pinned key alone is trusted.
    chain: Option<Vouched>,
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

/// What makes a chain good.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) authorities: Authorities,
    /// The lists of revoked certificates that the verifier holds too: for saying which of them
    /// names what.
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
}

impl PeerVerifier {
    /// Trusts what chains up to an authority, and, if there are pins, has a pinned key.
    pub(super) fn chained(chain: Vouched, pins: Vec<[u8; 32]>, provider: Arc<CryptoProvider>) -> Self {
        Self { chain: Some(chain), pins, provider }
    }

    /// Trusts the pinned keys alone, whatever their certificates say.
    pub(super) fn pinned(pins: Vec<[u8; 32]>, provider: Arc<CryptoProvider>) -> Self {
        Self { chain: None, pins, provider }
    }

    /// Puts what is wrong with which certificate in the place of an error.
    fn explained(&self, error: Error, seen: Seen<'_>) -> Error {
        let lists = self.chain.as_ref().map_or(&[][..], |chain| &chain.lists);
        let chain = Chain { end_entity: seen.end_entity, intermediates: seen.intermediates, lists };
        let facts = CertificateFacts::read(seen.end_entity);
        match facts.and_then(|facts| Some((blame(&error, &facts, chain)?, facts))) {
            Some((blame, facts)) => self.distrusted(blame, facts, seen),
            None => error,
        }
    }

    fn distrusted(
        &self,
        Blame { flaw, above }: Blame,
        certificate: CertificateFacts,
        seen: Seen<'_>,
    ) -> Error {
        let authorities = self.chain.as_ref().map_or(Authorities::None, |chain| chain.authorities.clone());
        let now = i64::try_from(seen.now.as_secs()).unwrap_or(i64::MAX);
        let host = seen.host.map_or_else(String::new, |host| host.to_str().into_owned());
        let distrust = Distrust { flaw, certificate, above, host, now, authorities };
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }

    fn check_pin(&self, seen: Seen<'_>) -> Result<(), Error> {
        let facts = CertificateFacts::read(seen.end_entity)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.pins.contains(&facts.public_key) {
            return Ok(());
        }
        Err(self.distrusted(Flaw::OtherKey(self.pins.clone()).into(), facts, seen))
    }

    /// A signature of the handshake that is not good is the certificate's fault: its key is too
    /// short, or not the server's.
    fn explained_signature(&self, error: Error, certificate: &CertificateDer<'_>) -> Error {
        let now = UnixTime::now();
        let seen = Seen { end_entity: certificate, intermediates: &[], host: None, now };
        let facts = CertificateFacts::read(certificate);
        let chain = Chain { end_entity: certificate, intermediates: &[], lists: &[] };
        match facts.and_then(|facts| Some((blame(&error, &facts, chain)?, facts))) {
            Some((Blame { flaw: Flaw::Defect(Defect::Forged), .. }, facts)) => {
                self.distrusted(Defect::NotItsKey.into(), facts, seen)
            }
            Some((blame, facts)) => self.distrusted(blame, facts, seen),
            None => error,
        }
    }
}

/// What a server has shown, where, and when.
#[derive(Clone, Copy)]
struct Seen<'a> {
    end_entity: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    /// Not known where a handshake's signature is judged.
    host: Option<&'a ServerName<'a>>,
    now: UnixTime,
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
        let seen = Seen { end_entity, intermediates, host: Some(server_name), now };
        if let Some(chain) = &self.chain {
            let verifier = &chain.verifier;
            verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| self.explained(error, seen))?;
        }
        if self.chain.is_none() || !self.pins.is_empty() {
            self.check_pin(seen)?;
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
            .map_err(|error| self.explained_signature(error, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
            .map_err(|error| self.explained_signature(error, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The same for one control connection and its data connections. A certificate that was found good on
/// the former is not judged again on each of the latter, which only have to show that they lead to
/// the same server: a server that resumes no sessions (Pure-FTPd 1.0.50 in TLS 1.3) shows it for every
/// file. That it holds the key is proved each time.
#[derive(Debug)]
pub(super) struct SessionVerifier {
    peer: Arc<PeerVerifier>,
    good: OnceLock<(CertificateDer<'static>, ServerName<'static>)>,
}

impl SessionVerifier {
    pub(super) fn new(peer: Arc<PeerVerifier>) -> Self {
        Self { peer, good: OnceLock::new() }
    }
}

impl ServerCertVerifier for SessionVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.good.get().is_some_and(|(good, name)| good == end_entity && name == server_name) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            self.peer.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.good.get_or_init(|| (end_entity.clone().into_owned(), server_name.to_owned()));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.peer.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.peer.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.peer.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::ftps::tls::TlsError;
    use crate::ftps::tls::words;

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
        assert!(refused.contains(&words::pin(&[0; 32])), "{refused}");
        assert!(refused.contains(&words::pin(&other_pin)), "{refused}");
        assert!(verify(&verifier, &CertificateDer::from(vec![0x30, 0x00])).is_err());
    }

    #[test]
    fn a_session_judges_a_certificate_once_and_any_other_one_each_time() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ((good, pin), (other, _)) = (certificate(), certificate());
        let name = |name: &'static str| ServerName::try_from(name).unwrap();
        let verify = |session: &SessionVerifier, certificate: &CertificateDer<'_>, host| {
            session.verify_server_cert(certificate, &[], &name(host), &[], UnixTime::now()).is_ok()
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(good.clone()).unwrap();
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain =
            Vouched { verifier: chain.build().unwrap(), authorities: Authorities::System, lists: vec![] };
        let session = SessionVerifier::new(Arc::new(PeerVerifier::chained(chain, vec![], provider.clone())));
        // What was refused is not remembered as good.
        assert!(!verify(&session, &other, "other.example"));
        assert!(!verify(&session, &other, "other.example"));
        assert!(verify(&session, &good, "other.example"));
        // Under another name it is judged, and so is another certificate of the same name.
        assert!(!verify(&session, &good, "localhost"));
        assert!(!verify(&session, &other, "other.example"));
        // Long after its last day it is as good as on the day when it was judged.
        let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1 << 40));
        let again = |session: &SessionVerifier| {
            session.verify_server_cert(&good, &[], &name("other.example"), &[], late).is_ok()
        };
        assert!(again(&session));
        let session = SessionVerifier::new(Arc::new(PeerVerifier::pinned(vec![pin], provider)));
        assert!(verify(&session, &good, "any.example") && !verify(&session, &other, "any.example"));
    }

    #[test]
    fn with_an_authority_both_must_be_good() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (leaf, pin) = certificate();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaf.clone()).unwrap();
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = chain.build().unwrap();
        let chain =
            || Vouched { verifier: Arc::clone(&verifier), authorities: Authorities::System, lists: vec![] };
        // Pinned, but for another host.
        let verifier = PeerVerifier::chained(chain(), vec![pin], Arc::clone(&provider));
        assert!(verify(&verifier, &leaf).is_err());
        let name = ServerName::try_from("other.example").unwrap();
        let good = |v: &PeerVerifier| v.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok();
        assert!(good(&verifier));
        assert!(good(&PeerVerifier::chained(chain(), vec![], Arc::clone(&provider))));
        assert!(!good(&PeerVerifier::chained(chain(), vec![[0; 32]], provider)));
    }
}
