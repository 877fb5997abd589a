//! Why a server's certificate is refused, with what stands in it, in words that name the remedy.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::certificate::{CertificateFacts, SignedBy};
use super::words::{date, days_between, names, pin, shown, time};

/// A server's certificate that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// What is wrong.
    pub flaw: Flaw,
    /// What stands in the server's certificate.
    pub certificate: CertificateFacts,
    /// What stands in the certificate at fault, where that is not the server's own but one of
    /// those that vouch for it.
    pub above: Option<CertificateFacts>,
    /// The configured host.
    pub host: String,
    /// The time of our clock, in seconds since 1970.
    pub now: i64,
    /// By what certificates of this server are judged.
    pub authorities: Authorities,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is good for other names than the configured host.
    OtherNames,
    /// It is good for no name: what its subject says has not counted since RFC 6125.
    NoNames,
    /// Nobody who is trusted vouches for it.
    UnknownIssuer,
    /// It vouches for itself, and is marked as an authority (what `openssl req -x509` makes).
    SelfSignedAuthority,
    /// Its public key is none of those that are pinned, which are these.
    OtherKey(Vec<[u8; 32]>),
    /// Its issuer has withdrawn it.
    Revoked,
    /// None of the lists of revoked certificates comes from its issuer.
    NoList,
    /// The list of its issuer is out of date since this time, in seconds since 1970.
    OldList(i64),
    /// The list of its issuer is not good itself, for this reason.
    BadList(String),
    /// It is not made as certificates of servers are.
    Defect(Defect),
}

/// What is wrong with how a certificate is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// It is an authority's, which is no server.
    Authority,
    /// It is not meant for servers.
    OtherPurpose,
    /// An RSA key of so many bits is too short.
    ShortKey(usize),
    /// It, or the handshake, is signed in a way that is not taken: SHA-1, or what a policy
    /// excludes.
    Signature,
    /// Its signature does not come from its issuer.
    Forged,
    /// The server does not prove that it has its key.
    NotItsKey,
    /// It holds a critical extension that nobody here knows.
    Extension,
    /// Its authority may not vouch for this name.
    OutsideConstraints,
    /// There are more authorities between it and the root than one of them allows.
    TooDeep,
    /// Who vouches for it is no authority.
    IssuerNoAuthority,
    /// It is malformed.
    Malformed,
    /// Something else, in the words of the library that found it.
    Other(String),
}

/// By what a server's certificates are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities of the system.
    System,
    /// Those in a file.
    File(PathBuf),
    /// None: a pinned key is trusted by itself.
    None,
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system's authorities"),
            Self::File(file) => write!(f, "the authorities in {}", file.display()),
            Self::None => f.write_str("no authorities"),
        }
    }
}

impl std::error::Error for Distrust {}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's certificate is not trusted: {}; {}", self.reason(), self.remedy())
    }
}

impl Distrust {
    /// The certificate at fault.
    fn faulty(&self) -> &CertificateFacts {
        self.above.as_ref().unwrap_or(&self.certificate)
    }

    /// What is wrong with which certificate.
    pub fn reason(&self) -> String {
        let (facts, own) = (self.faulty(), &self.certificate);
        let it = match &self.above {
            None => format!("it ({})", shown(&own.subject)),
            Some(above) => format!("the certificate of its issuer {}", shown(&above.subject)),
        };
        let (issuer, host) = (shown(&facts.issuer), &self.host);
        match &self.flaw {
            Flaw::Expired => {
                let days = days_between(facts.not_after, self.now);
                format!(
                    "{it} ended on {}, {days} ago, by our clock, where it is {}",
                    date(facts.not_after),
                    time(self.now)
                )
            }
            Flaw::NotYetValid => {
                let days = days_between(self.now, facts.not_before);
                format!(
                    "{it} begins on {}, in {days}, by our clock, where it is {}",
                    date(facts.not_before),
                    time(self.now)
                )
            }
            Flaw::OtherNames if own.names.contains(host) => {
                format!("{it} carries `{host}` as a DNS name, which does not count for an address")
            }
            Flaw::OtherNames => format!("{it} is for {}, not for `{host}`", names(&own.names)),
            Flaw::NoNames => format!("{it} carries no name (no subjectAltName), so none is `{host}`"),
            Flaw::UnknownIssuer if facts.signed_by == SignedBy::Itself => {
                format!("{it} is self-signed, and not among {}", self.authorities)
            }
            Flaw::UnknownIssuer => format!(
                "{it} was issued by {issuer}, which is not among {}, and none of them vouches for that issuer",
                self.authorities
            ),
            Flaw::SelfSignedAuthority => format!("{it} is self-signed and marked as an authority (CA:TRUE)"),
            Flaw::OtherKey(pins) => {
                let pins: Vec<String> = pins.iter().map(pin).collect();
                format!(
                    "its public key is {}, and pinned {} {}",
                    own.pin(),
                    if pins.len() == 1 { "is" } else { "are" },
                    pins.join(", ")
                )
            }
            Flaw::Revoked => format!("{it} was revoked by {issuer} (serial {})", shown(&facts.serial)),
            Flaw::NoList => format!("no list in `trust.crl_files` comes from {issuer}, who issued {it}"),
            Flaw::OldList(until) => format!(
                "the list of revoked certificates of {issuer} ended on {}, by our clock, where it is {}",
                time(*until),
                time(self.now)
            ),
            Flaw::BadList(why) => format!("the list of revoked certificates of {issuer} is not good: {why}"),
            Flaw::Defect(defect) => self.defect(defect, &it),
        }
    }

    fn defect(&self, defect: &Defect, it: &str) -> String {
        let issuer = shown(&self.faulty().issuer);
        match defect {
            Defect::Authority => {
                format!("{it} is an authority's (CA:TRUE), not a server's; issued by {issuer}")
            }
            Defect::OtherPurpose => {
                format!("{it} is not meant for servers (no serverAuth in extendedKeyUsage)")
            }
            Defect::ShortKey(bits) => {
                format!("the RSA key of {it} has {bits} bits; fewer than 2048 are not safe")
            }
            Defect::Signature => {
                format!("{it} is signed in a way that is not taken, such as with SHA-1; issued by {issuer}")
            }
            Defect::Forged => format!("the signature on {it} is not that of {issuer}"),
            Defect::NotItsKey => format!("the server does not prove that it has the key of {it}"),
            Defect::Extension => format!("{it} has a critical extension that is not known here"),
            Defect::OutsideConstraints => {
                format!("an authority above {it} may not vouch for {}", names(&self.certificate.names))
            }
            Defect::TooDeep => {
                format!("more authorities stand between {it} and the root than one of them allows (pathlen)")
            }
            Defect::IssuerNoAuthority => format!(
                "{it} was issued by {issuer}, whose certificate is not that of an authority (CA:FALSE)"
            ),
            Defect::Malformed => "it, or a certificate sent with it, is malformed".to_owned(),
            Defect::Other(words) => format!("{it}: {words}"),
        }
    }

    /// What to do, ready to be pasted where the configuration is to change.
    pub fn remedy(&self) -> String {
        let own = &self.certificate;
        match &self.flaw {
            Flaw::Expired | Flaw::NotYetValid => {
                "if our clock is right, ask whoever runs the server for a certificate that is good today".to_owned()
            }
            Flaw::OtherNames => match own.names.iter().find(|name| self.could_be_host(name)) {
                Some(name) => format!(
                    "if that is the server that you mean, give `host: {name}`; else ask for a certificate for `{}`",
                    self.host
                ),
                None => format!("ask for a certificate for `{}`", self.host),
            },
            Flaw::NoNames => format!("ask for a certificate with `{}` as its subjectAltName, or {}", self.host, self.trust_the_key()),
            Flaw::UnknownIssuer if own.signed_by == SignedBy::Itself => self.trust_the_key(),
            Flaw::UnknownIssuer => format!(
                "get the certificate of {} from whoever runs it and give `trust: {{ca_file: FILE.pem}}`, or {}",
                shown(&self.faulty().issuer),
                self.trust_the_key()
            ),
            Flaw::SelfSignedAuthority => format!("no authority can vouch for it: {}", self.trust_the_key()),
            Flaw::OtherKey(_) => format!(
                "somebody may be in between: ask whoever runs the server whether the key has changed, over \
                 another way than this one, and only then put it into `trust` beside the old one: \"{}\"",
                own.pin()
            ),
            Flaw::Revoked => "do not use it: ask whoever runs the server why, and for another".to_owned(),
            Flaw::NoList => format!(
                "add the list of {} to `trust: {{crl_files: [..]}}`: each issuer of the chain needs one",
                shown(&self.faulty().issuer)
            ),
            Flaw::OldList(_) | Flaw::BadList(_) => {
                "fetch a fresh one from that issuer into `trust.crl_files`; if this happens again, fetch it daily".to_owned()
            }
            Flaw::Defect(Defect::Forged) => {
                "either that authority has a new key, and whoever runs it can give you its certificate for \
                 `trust: {ca_file: FILE.pem}`, or somebody is in between"
                    .to_owned()
            }
            Flaw::Defect(Defect::IssuerNoAuthority | Defect::NotItsKey | Defect::OutsideConstraints) => "somebody may be in between: ask whoever runs the server".to_owned(),
            Flaw::Defect(
                Defect::Authority
                | Defect::OtherPurpose
                | Defect::ShortKey(_)
                | Defect::Signature
                | Defect::Extension
                | Defect::TooDeep
                | Defect::Malformed
                | Defect::Other(_),
            ) => "ask whoever runs the server for a proper certificate".to_owned(),
        }
    }

    /// Whether a name of the certificate may stand as `host`. The server's words go into no line
    /// that may be pasted unless they are a name.
    fn could_be_host(&self, name: &str) -> bool {
        *name != self.host && ServerName::try_from(name).is_ok()
    }

    /// The line that pins the key, and what must come before it: only people can know whose key
    /// it is.
    fn trust_the_key(&self) -> String {
        format!(
            "give `trust: {{pins: [\"{}\"]}}`, but only once whoever runs the server has confirmed that this is \
             its key, over another way than this one",
            self.certificate.pin()
        )
    }
}
