//! Certificates for tests: an authority of its own, and what it signs, good and bad.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The names under which the server is reached in tests.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority that lives as long as this value.
pub struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
    /// What is sent behind the certificate.
    chain: Vec<CertificateDer<'static>>,
}

impl Pki {
    /// Makes a new authority; no two are alike.
    pub fn new() -> Self {
        let mut params = params_for(&[], "Throw-away test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Self { ca: CertifiedIssuer::self_signed(params, new_key()).expect("an authority can be signed") }
    }

    /// The authority's certificate, in PEM.
    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// The authority's certificate, in DER.
    pub fn ca_der(&self) -> CertificateDer<'static> {
        self.ca.der().clone()
    }

    /// A good server certificate for `localhost`, 127.0.0.1 and `::1`.
    pub fn server(&self) -> Identity {
        self.sign(params_for(&LOCAL_NAMES, "localhost"))
    }

    /// As [`Pki::server`], but it ended in 2001.
    pub fn expired(&self) -> Identity {
        let mut params = params_for(&LOCAL_NAMES, "localhost");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    /// As [`Pki::server`], but it begins in 2090.
    pub fn not_yet_valid(&self) -> Identity {
        let mut params = params_for(&LOCAL_NAMES, "localhost");
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
        self.sign(params)
    }

    /// A certificate for another host.
    pub fn wrong_host(&self) -> Identity {
        self.sign(params_for(&["elsewhere.example"], "elsewhere.example"))
    }

    /// A certificate that names `localhost` in its common name only, as before the year 2000.
    pub fn name_in_common_name_only(&self) -> Identity {
        self.sign(params_for(&[], "localhost"))
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Identity {
        let mut params = params_for(&[], name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A certificate for the local names which no authority signed.
    pub fn self_signed() -> Identity {
        let key = new_key();
        let certificate =
            params_for(&LOCAL_NAMES, "localhost").self_signed(&key).expect("a certificate can be signed");
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key,
            chain: Vec::new(),
        }
    }

    fn sign(&self, mut params: CertificateParams) -> Identity {
        params.use_authority_key_identifier_extension = true;
        let key = new_key();
        let certificate = params.signed_by(&key, &self.ca).expect("a certificate can be signed");
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key,
            chain: Vec::new(),
        }
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").finish_non_exhaustive()
    }
}

impl Identity {
    /// The same with these bytes behind its certificate, as if they were more certificates.
    #[must_use]
    pub fn followed_by(mut self, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.chain.extend(more.into_iter().map(CertificateDer::from));
        self
    }

    /// All that is sent in a handshake.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(self.certificate.clone()).chain(self.chain.iter().cloned()).collect()
    }

    /// The certificate, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate, in DER.
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The private key, in PEM (PKCS #8).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The private key, in DER (PKCS #8).
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn params_for(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}
