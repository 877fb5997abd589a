//! What can be wrong with certificates and TLS, in words that name the remedy.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;
use rustls::{AlertDescription, CertificateError, Error};

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
    /// The certificate is not good.
    #[error("the server's certificate is not trusted: {reason}; {remedy}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server wants a certificate from us, or does not like ours.
    #[error(
        "the server refused our certificate (alert {alert:?}); give one that it trusts as `client_certificate`"
    )]
    ClientCertificate {
        /// Its alert.
        alert: AlertDescription,
    },
    /// No TLS version or cipher suite in common.
    #[error(
        "the server and we have no TLS version or cipher in common: {reason}; TLS 1.2 is the oldest we speak"
    )]
    NothingInCommon {
        /// What was said.
        reason: String,
    },
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
            Error::InvalidCertificate(problem) => {
                Self::Certificate { reason: error_text(problem), remedy: remedy(problem) }
            }
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            ) => Self::ClientCertificate { alert: *alert },
            Error::AlertReceived(
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity,
            )
            | Error::PeerIncompatible(_) => Self::NothingInCommon { reason: error.to_string() },
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

fn error_text(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "it was issued by an authority that is not trusted here".to_owned()
        }
        CertificateError::Revoked => "it is revoked".to_owned(),
        CertificateError::Other(other) if is_authority(other) => {
            "it is self-signed and marked as an authority".to_owned()
        }
        CertificateError::Other(other) => other.to_string(),
        other => other.to_string(),
    }
}

/// webpki's answer to the certificates that `openssl req -x509` makes.
fn is_authority(error: &rustls::OtherError) -> bool {
    error.to_string().contains("CaUsedAsEndEntity") || format!("{error:?}").contains("CaUsedAsEndEntity")
}

fn remedy(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "ask whoever runs the server to renew it, and check this machine's clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check this machine's clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "give a name that the certificate carries as `host`, or ask for a certificate with this name"
        }
        CertificateError::UnknownIssuer => {
            "give the authority's certificate as `trust.ca_file`, or the server's public key, which \
             `nightferry trust` shows, in `trust.pins`"
        }
        CertificateError::Other(other) if is_authority(other) => {
            "no authority can vouch for it: give the server's public key, which `nightferry trust` shows, in \
             `trust.pins`"
        }
        CertificateError::Other(_) => {
            "if whoever runs the server confirms that its key has changed, put the new one into `trust.pins`"
        }
        CertificateError::Revoked => "its authority withdrew it: ask whoever runs the server",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "give current lists for each authority in `trust.crl_files`"
        }
        _ => "ask whoever runs the server for a proper certificate",
    }
}
