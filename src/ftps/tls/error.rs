//! What can be wrong with certificates and TLS, in words that name the remedy.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;
use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerMisbehaved};

use super::distrust::Distrust;
use super::offer::{Offer, OwnCertificate};
use super::words::shown;

/// Why the settings cannot be used. The configuration, or a file that it names, is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsError {
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM, or cannot be read.
    #[error("cannot read {} as PEM", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A folder, pipe or device.
    #[error("{} is not a regular file", file.display())]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// It is larger than any file of its kind.
    #[error("{} is larger than {} MiB, which no file of its kind is", file.display(), limit / 1024 / 1024)]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The private key cannot be read.
    #[error(
        "{} holds no private key that can be used: it must be in PEM and not encrypted (`openssl pkey -in FILE` \
         takes a passphrase off)",
        file.display()
    )]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Others than the owner may read or change the private key.
    #[error("the private key {0} is open to other users (mode {mode:04o}): chmod 600 {0}", file.display())]
    ExposedKey {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The private key belongs to somebody else, who may read and change it.
    #[error(
        "the private key {} belongs to another user (uid {owner}): chown it to the user who runs nightferry",
        file.display()
    )]
    ForeignKey {
        /// The file.
        file: PathBuf,
        /// The user who owns it.
        owner: u32,
    },
    /// A file holds no list of revoked certificates.
    #[error("{} holds no list of revoked certificates (in DER, or `X509 CRL` in PEM)", file.display())]
    NoList {
        /// The file.
        file: PathBuf,
    },
    /// A list of revoked certificates is of version 1, which openssl writes without being told
    /// otherwise, and which RFC 5280, section 5.1.2.1, does not allow.
    #[error(
        "a list of revoked certificates in {} is of version 1: its authority must write version 2 (openssl: \
         `crl_extensions` with `authorityKeyIdentifier`, and `crlnumber`)",
        file.display()
    )]
    OldList {
        /// The file.
        file: PathBuf,
    },
    /// A list of revoked certificates cannot be used.
    #[error("a list of revoked certificates in {} cannot be used", file.display())]
    List {
        /// The file.
        file: PathBuf,
        /// Why.
        source: webpki::Error,
    },
    /// A PEM file holds no certificate.
    #[error("{} holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate cannot serve as an authority.
    #[error("a certificate in {} cannot be used as an authority", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Error,
    },
    /// The system has no authorities.
    #[error("the system has no certificate authorities; install `ca-certificates`, or give `trust.ca_file`")]
    NoSystemRoots,
    /// The lists of revoked certificates or the authorities cannot be used.
    #[error("the authorities or lists of revoked certificates cannot be used")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// Our own certificate and key do not fit.
    #[error("the client certificate cannot be used with its key")]
    ClientCertificate(#[source] Error),
    /// rustls refuses the settings.
    #[error("the TLS settings cannot be used")]
    Rustls(#[source] Error),
}

/// Why there is no TLS with a server. Each text says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The configured host is neither a DNS name nor an address.
    #[error("`{host}` is no name that a certificate could carry; give a DNS name or an IP address as `host`")]
    HostName {
        /// The configured host.
        host: String,
    },
    /// The server's certificate is not good.
    #[error("{0}")]
    Certificate(Box<Distrust>),
    /// The server's certificate is not good, and cannot even be read.
    #[error(
        "the server's certificate is not trusted: {reason}; ask whoever runs the server for a proper one"
    )]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The server wants a certificate from us, or does not like ours; without an alert that is a guess.
    #[error("{}", client_certificate(*.alert, *.own))]
    ClientCertificate {
        /// Its alert, if it sent one before it hung up.
        alert: Option<AlertDescription>,
        /// Whether we showed one.
        own: OwnCertificate,
    },
    /// No TLS version, cipher suite, group or signature in common.
    #[error("the server and we have no TLS version or cipher in common ({reason}): {settings}")]
    NothingInCommon {
        /// What was said.
        reason: String,
        /// The settings that leave something out.
        settings: String,
        /// The server's alert, if it refused and not we.
        alert: Option<AlertDescription>,
    },
    /// The server's TLS is for another protocol than FTP (RFC 7301; alpaca-attack.com).
    #[error(
        "this TLS server is for another protocol than FTP (ALPN): somebody may have turned the connection \
         elsewhere; check `host` and `port`"
    )]
    OtherProtocol,
    /// What came is not TLS.
    #[error(
        "the server sent something that is not TLS; is `tls: explicit` or `implicit` right for this port?"
    )]
    NotTls,
    /// The server ended the connection in the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    Closed(#[source] io::Error),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsError {
    /// What an error of a TLS stream means. `None` where it is no TLS error but the network's.
    pub(in crate::ftps) fn from_io(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
        Some(Self::from_rustls(inner))
    }

    pub(super) fn from_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(problem) => match problem {
                CertificateError::Other(OtherError(inner)) if inner.is::<Distrust>() => {
                    let distrust = inner.downcast_ref::<Distrust>().cloned();
                    distrust
                        .map_or_else(|| Self::Other(error.to_string()), |it| Self::Certificate(Box::new(it)))
                }
                problem => Self::Unreadable { reason: shown(&problem.to_string()) },
            },
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            ) => Self::ClientCertificate { alert: Some(*alert), own: OwnCertificate::Shown },
            Error::AlertReceived(
                alert @ (AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity),
            ) => Self::nothing_in_common(error, Some(*alert)),
            Error::PeerIncompatible(_) => Self::nothing_in_common(error, None),
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::NoApplicationProtocol
            | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
                Self::OtherProtocol
            }
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(shown(&other.to_string())),
        }
    }

    fn nothing_in_common(error: &Error, alert: Option<AlertDescription>) -> Self {
        Self::NothingInCommon { reason: shown(&error.to_string()), settings: String::new(), alert }
    }

    /// The same, explained by what we offered and the server asked for. OpenSSL answers a missing
    /// client certificate in TLS 1.2 as it answers ciphers that it does not have; that it had asked
    /// for one tells the two apart.
    pub(in crate::ftps) fn knowing(self, offer: &Offer) -> Self {
        let wanted = offer.was_asked() && offer.own() == OwnCertificate::None;
        match self {
            Self::ClientCertificate { alert, .. } => Self::ClientCertificate { alert, own: offer.own() },
            Self::NothingInCommon { alert: Some(alert @ AlertDescription::HandshakeFailure), .. }
                if offer.was_asked() =>
            {
                Self::ClientCertificate { alert: Some(alert), own: offer.own() }
            }
            Self::Closed(_) if wanted => Self::ClientCertificate { alert: None, own: offer.own() },
            Self::NothingInCommon { reason, alert, .. } => {
                Self::NothingInCommon { reason, settings: offer.settings(), alert }
            }
            other => other,
        }
    }
}

fn client_certificate(alert: Option<AlertDescription>, own: OwnCertificate) -> String {
    let give =
        "give one that it trusts, as in `client_certificate: {cert_file: FILE.pem, key_file: FILE.key}`";
    match (own, alert) {
        (OwnCertificate::None, Some(alert)) => {
            format!("the server wants a certificate from us (alert {alert:?}): {give}")
        }
        (OwnCertificate::None, None) => format!(
            "the server asked for a certificate from us and hung up, for that or for another reason; if it \
             does so each time: {give}"
        ),
        (OwnCertificate::Shown, alert) => {
            let how = alert.map_or_else(|| "it hung up".to_owned(), |alert| format!("alert {alert:?}"));
            format!(
                "the server does not take our certificate ({how}): let whoever runs it say which authority must \
                 have signed it, and look at its dates; it stands in `client_certificate`"
            )
        }
    }
}
