//! What stands in a certificate, for people.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::words;

/// Most names of a certificate that are read: no more are worth showing.
const MAX_NAMES: usize = 100;

/// What stands in a server's certificate. The texts are the server's: they are data, and may
/// hold anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is.
    pub subject: String,
    /// The DNS names and addresses for which it is good, at most 100.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Its number with that issuer, in hexadecimal, as `openssl x509 -serial` shows it but for
    /// the colons.
    pub serial: String,
    /// From when it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
    /// The SHA-256 of the whole certificate (DER).
    pub fingerprint: [u8; 32],
    /// The SHA-256 of its `SubjectPublicKeyInfo`, which is what a pin holds.
    pub public_key: [u8; 32],
    /// Who vouches for it, by its own words.
    pub signed_by: SignedBy,
    /// The bits of its key, where that is one of RSA.
    pub rsa_bits: Option<usize>,
}

/// Who vouches for a certificate, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// It names itself as its issuer.
    Itself,
    /// It names an authority.
    Another,
}

impl CertificateFacts {
    /// Reads a certificate. `None` where it is none.
    pub(in crate::ftps) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        let itself = subject.as_raw() == issuer.as_raw();
        Some(Self {
            subject: subject.to_string(),
            names: names(&certificate),
            issuer: issuer.to_string(),
            serial: certificate.raw_serial_as_string(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint: Sha256::digest(der).into(),
            public_key: Sha256::digest(certificate.tbs_certificate.subject_pki.raw).into(),
            signed_by: if itself { SignedBy::Itself } else { SignedBy::Another },
            rsa_bits: rsa_bits(&certificate),
        })
    }

    /// The public key as a pin in the configuration's form.
    pub fn pin(&self) -> String {
        words::pin(&self.public_key)
    }

    /// What stands in it, in bounded length and without what steers terminals: whose it is, its
    /// first names, its issuer and its days.
    pub fn described(&self) -> String {
        let names = if self.names.is_empty() {
            "no name".to_owned()
        } else {
            words::names(&self.names).replace('`', "")
        };
        format!(
            "{}, for {names}; issued by {}; good from {} to {}",
            words::shown(&self.subject),
            words::shown(&self.issuer),
            words::date(self.not_before),
            words::date(self.not_after),
        )
    }
}

fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.modulus.iter().skip_while(|byte| **byte == 0).count() * 8),
        _ => None,
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;

    #[test]
    fn names_dates_and_keys_are_read() {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(["ftps.example", "10.0.0.1", "::1"].map(String::from)).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let der = params.self_signed(&key).unwrap().der().clone();
        let facts = CertificateFacts::read(&der).unwrap();
        assert_eq!(facts.names, ["ftps.example", "10.0.0.1", "::1"]);
        assert_eq!((facts.not_before, facts.not_after), (1_577_836_800, 1_609_459_200));
        assert_eq!((facts.signed_by, facts.rsa_bits), (SignedBy::Itself, None));
        assert_eq!(facts.public_key[..], Sha256::digest(key.subject_public_key_info())[..]);
        assert_eq!(CertificateFacts::read(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
