//! Certificates for tests: an authority of its own, and what it signs, good and bad.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The names under which the server is reached in tests.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority that lives as long as this value.
pub struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    /// The certificates that go with those that it signs: its own, unless it is a root, and those
    /// above it.
    chain: Vec<CertificateDer<'static>>,
    serial: SerialNumber,
}

/// A certificate with its key, and those that stand between it and a root.
pub struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    chain: Vec<CertificateDer<'static>>,
    serial: Option<SerialNumber>,
    key: PrivatePkcs8KeyDer<'static>,
    key_pem: String,
}

impl Pki {
    /// Makes a new authority; no two are alike.
    pub fn new() -> Self {
        Self::named("Throw-away test authority")
    }

    /// The same under another name.
    pub fn named(name: &str) -> Self {
        let params = authority(name);
        let serial = params.serial_number.clone().unwrap_or_else(new_serial);
        let ca = CertifiedIssuer::self_signed(params, new_key()).expect("an authority can be signed");
        Self { ca, chain: Vec::new(), serial }
    }

    /// An authority below this one, made as `edit` wants it. Servers send its certificate with what
    /// it signs.
    #[must_use]
    pub fn intermediate(&self, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority("Throw-away intermediate authority");
        params.use_authority_key_identifier_extension = true;
        edit(&mut params);
        let serial = params.serial_number.clone().unwrap_or_else(new_serial);
        let ca = CertifiedIssuer::signed_by(params, new_key(), &self.ca).expect("an authority can be signed");
        let chain = std::iter::once(ca.der().clone()).chain(self.chain.iter().cloned()).collect();
        Self { ca, chain, serial }
    }

    /// As [`Pki::server`], but made as `edit` wants it.
    pub fn issue(&self, edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params_for(&LOCAL_NAMES, "localhost");
        edit(&mut params);
        self.sign(params)
    }

    /// The private key, in PEM, for tools that sign what this cannot.
    pub fn key_pem(&self) -> String {
        self.ca.key().serialize_pem()
    }

    /// Its number with the authority above it.
    pub fn serial(&self) -> SerialNumber {
        self.serial.clone()
    }

    /// A list of revoked certificates, in PEM, which is good until this year begins.
    pub fn revocation_list(&self, revoked: &[SerialNumber], until_year: i32) -> String {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 2),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.ca).and_then(|list| list.pem()).expect("a list can be signed")
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

    /// As [`Pki::server`], for other names and addresses.
    pub fn server_for(&self, names: &[&str]) -> Identity {
        self.sign(params_for(names, "elsewhere"))
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
        Self::self_signed_with(|_| {})
    }

    /// The same, made as `edit` wants it.
    pub fn self_signed_with(edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = new_key();
        let mut params = params_for(&LOCAL_NAMES, "localhost");
        edit(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        Identity::new(certificate.der().clone(), certificate.pem(), &key)
    }

    fn sign(&self, mut params: CertificateParams) -> Identity {
        params.use_authority_key_identifier_extension = true;
        let key = new_key();
        let certificate = params.signed_by(&key, &self.ca).expect("a certificate can be signed");
        Identity {
            chain: self.chain.clone(),
            serial: params.serial_number.clone(),
            ..Identity::new(certificate.der().clone(), certificate.pem(), &key)
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
    fn new(certificate: CertificateDer<'static>, certificate_pem: String, key: &KeyPair) -> Self {
        Self {
            certificate,
            certificate_pem,
            chain: Vec::new(),
            serial: None,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            key_pem: key.serialize_pem(),
        }
    }

    /// The key of this one with another certificate for it, made by other tools: one or more in PEM,
    /// its own first. Panics when there is none.
    #[must_use]
    pub fn with_certificates(self, pem: &str) -> Self {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let mut all = all.expect("certificates in PEM").into_iter();
        let certificate = all.next().expect("one certificate at least");
        Self { certificate, certificate_pem: pem.to_owned(), chain: all.collect(), ..self }
    }

    /// The same certificate with a key that is not its own, as a thief of certificates has it.
    #[must_use]
    pub fn with_key_of(self, other: &Self) -> Self {
        Self { key: other.key.clone_key(), key_pem: other.key_pem.clone(), ..self }
    }

    /// The same with these bytes behind its certificate, as if they were more certificates.
    #[must_use]
    pub fn followed_by(mut self, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.chain.extend(more.into_iter().map(CertificateDer::from));
        self
    }

    /// The same, but sent without those that stand between it and a root.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.chain.clear();
        self
    }

    /// Its number with its authority, if one signed it.
    pub fn serial(&self) -> Option<SerialNumber> {
        self.serial.clone()
    }

    /// What is sent, in DER, its own certificate first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
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
        self.key_pem.clone()
    }

    /// The private key, in DER (PKCS #8).
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            certificate_pem: self.certificate_pem.clone(),
            chain: self.chain.clone(),
            serial: self.serial.clone(),
            key: self.key.clone_key(),
            key_pem: self.key_pem.clone(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params_for(&[], name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![];
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// A number that no other certificate here has.
fn new_serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(0x1000);
    SerialNumber::from(NEXT.fetch_add(1, Ordering::Relaxed))
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
    params.serial_number = Some(new_serial());
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}
