//! Finds out what is wrong with which certificate of a chain that was refused.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::{CertRevocationListError, CertificateError, Error};
use x509_parser::prelude::{CertificateRevocationList, X509Certificate};

use super::certificate::{CertificateFacts, SignedBy};
use super::distrust::{Defect, Flaw};

/// Fewest bits of an RSA key that are taken (NIST SP 800-131A Rev. 2; ring takes no fewer).
const MIN_RSA_BITS: usize = 2048;

/// A chain as the server sent it, its own certificate first, and the lists that were held against
/// it.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) end_entity: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) lists: &'a [CertificateRevocationListDer<'static>],
}

/// What is wrong, and with which certificate if it is not the server's own.
#[derive(Debug)]
pub(super) struct Blame {
    pub(super) flaw: Flaw,
    pub(super) above: Option<CertificateFacts>,
}

impl From<Defect> for Blame {
    fn from(defect: Defect) -> Self {
        Flaw::Defect(defect).into()
    }
}

impl From<Flaw> for Blame {
    fn from(flaw: Flaw) -> Self {
        Self { flaw, above: None }
    }
}

/// Finds out what a refusal means. `None` where it is none of a certificate.
pub(super) fn blame(error: &Error, own: &CertificateFacts, chain: Chain<'_>) -> Option<Blame> {
    Some(match error {
        Error::InvalidCertificate(problem) => of_certificate(problem, own, chain),
        Error::InvalidCertRevocationList(problem) => {
            chain.at_list(|_| true, Flaw::BadList(list_error(problem).to_owned()))
        }
        _ => return None,
    })
}

fn of_certificate(problem: &CertificateError, own: &CertificateFacts, chain: Chain<'_>) -> Blame {
    let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            let not_after = seconds(not_after);
            chain.at(Flaw::Expired, |facts| facts.not_after == not_after)
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let not_before = seconds(not_before);
            chain.at(Flaw::NotYetValid, |facts| facts.not_before == not_before)
        }
        // Its days end before they begin.
        CertificateError::Expired => chain.at(Flaw::Expired, |facts| facts.not_after < facts.not_before),
        CertificateError::NotValidYet => Flaw::NotYetValid.into(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            if own.names.is_empty() { Flaw::NoNames.into() } else { Flaw::OtherNames.into() }
        }
        CertificateError::UnknownIssuer => chain.unvouched(),
        CertificateError::Revoked => chain.revoked(),
        CertificateError::UnknownRevocationStatus => chain.uncovered(),
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            let until = seconds(next_update);
            let ends = |list: &CertificateRevocationList<'_>| {
                list.next_update().is_some_and(|end| end.timestamp() == until)
            };
            chain.at_list(ends, Flaw::OldList(until))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Defect::OtherPurpose.into()
        }
        CertificateError::BadSignature => {
            let short = |facts: &CertificateFacts| facts.rsa_bits.is_some_and(|bits| bits < MIN_RSA_BITS);
            let bits = chain.facts().find(short).and_then(|facts| facts.rsa_bits);
            bits.map_or(Defect::Forged.into(), |bits| chain.at(Flaw::Defect(Defect::ShortKey(bits)), short))
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Defect::Signature.into()
        }
        CertificateError::UnhandledCriticalExtension => Defect::Extension.into(),
        CertificateError::BadEncoding => Defect::Malformed.into(),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => of_webpki(error, own).into(),
            None => Defect::Other(other.to_string()).into(),
        },
        // The enumeration is open: what a later rustls adds is shown in its words.
        other => Defect::Other(other.to_string()).into(),
    }
}

/// What rustls passes on as it came.
fn of_webpki(error: &webpki::Error, own: &CertificateFacts) -> Flaw {
    Flaw::Defect(match error {
        webpki::Error::CaUsedAsEndEntity if own.signed_by == SignedBy::Itself => {
            return Flaw::SelfSignedAuthority;
        }
        webpki::Error::CaUsedAsEndEntity => Defect::Authority,
        webpki::Error::EndEntityUsedAsCa => Defect::IssuerNoAuthority,
        webpki::Error::NameConstraintViolation => Defect::OutsideConstraints,
        webpki::Error::PathLenConstraintViolated => Defect::TooDeep,
        webpki::Error::UnsupportedCriticalExtension => Defect::Extension,
        webpki::Error::MalformedExtensions | webpki::Error::ExtensionValueInvalid => Defect::Malformed,
        // The enumeration is open, and these are the ones that servers in the field show.
        other => Defect::Other(format!("{other:?}")),
    })
}

fn list_error(problem: &CertRevocationListError) -> &'static str {
    match problem {
        CertRevocationListError::BadSignature => "its signature is not that of the issuer",
        CertRevocationListError::IssuerInvalidForCrl => {
            "the issuer's certificate does not allow it to sign lists (cRLSign)"
        }
        _ => "it is malformed, or signed in a way that is not taken",
    }
}

impl<'a> Chain<'a> {
    fn ders(self) -> impl Iterator<Item = &'a CertificateDer<'a>> {
        std::iter::once(self.end_entity).chain(self.intermediates)
    }

    fn facts(self) -> impl Iterator<Item = CertificateFacts> {
        self.ders().filter_map(CertificateFacts::read)
    }

    fn parsed(self) -> impl Iterator<Item = X509Certificate<'a>> {
        self.ders().filter_map(|der| Some(x509_parser::parse_x509_certificate(der).ok()?.1))
    }

    fn lists(self) -> impl Iterator<Item = CertificateRevocationList<'a>> {
        self.lists.iter().filter_map(|der| Some(x509_parser::parse_x509_crl(der).ok()?.1))
    }

    /// Blames the first certificate of which this holds.
    fn at(self, flaw: Flaw, holds: impl Fn(&CertificateFacts) -> bool) -> Blame {
        let at = self.facts().position(|facts| holds(&facts));
        Blame { flaw, above: self.nth_above(at) }
    }

    /// What stands in the n-th certificate; `None` for the server's own.
    fn nth_above(self, at: Option<usize>) -> Option<CertificateFacts> {
        at.filter(|at| *at > 0).and_then(|at| self.facts().nth(at))
    }

    /// Nobody who is trusted issued the last certificate that the others lead to.
    fn unvouched(self) -> Blame {
        let known: Vec<CertificateFacts> = self.facts().collect();
        let mut last: Option<&CertificateFacts> = known.first();
        // Each step takes another certificate of the chain, so that a ring of them ends.
        for _ in &known {
            let issuer = last
                .and_then(|last| known.iter().find(|facts| facts.subject == last.issuer && *facts != last));
            let Some(issuer) = issuer else { break };
            last = Some(issuer);
        }
        let above = last.filter(|last| known.first() != Some(*last)).cloned();
        Blame { flaw: Flaw::UnknownIssuer, above }
    }

    fn revoked(self) -> Blame {
        let listed = |certificate: &X509Certificate<'_>| {
            let from_issuer = |list: &CertificateRevocationList<'_>| {
                list.issuer().as_raw() == certificate.issuer().as_raw()
            };
            self.lists().filter(from_issuer).any(|list| {
                list.iter_revoked_certificates()
                    .any(|revoked| revoked.raw_serial() == certificate.raw_serial())
            })
        };
        let at = self.parsed().position(|certificate| listed(&certificate));
        Blame { flaw: Flaw::Revoked, above: self.nth_above(at) }
    }

    fn uncovered(self) -> Blame {
        let covered = |certificate: &X509Certificate<'_>| {
            self.lists().any(|list| list.issuer().as_raw() == certificate.issuer().as_raw())
        };
        let at = self.parsed().position(|certificate| !covered(&certificate));
        Blame { flaw: Flaw::NoList, above: self.nth_above(at) }
    }

    /// Blames the list of a certificate's issuer of which this holds.
    fn at_list(self, holds: impl Fn(&CertificateRevocationList<'_>) -> bool, flaw: Flaw) -> Blame {
        let hit = |certificate: &X509Certificate<'_>| {
            self.lists().any(|list| list.issuer().as_raw() == certificate.issuer().as_raw() && holds(&list))
        };
        let at = self.parsed().position(|certificate| hit(&certificate));
        Blame { flaw, above: self.nth_above(at) }
    }
}
