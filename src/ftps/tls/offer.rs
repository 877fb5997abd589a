//! What we offer in a handshake, and what the server asked for: what its refusal is explained by.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::{Policy, Version};

/// Whether we have a certificate of our own for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnCertificate {
    /// The configuration names none.
    None,
    /// It was shown.
    Shown,
}

/// What we offer to a server on one control connection and its data connections.
#[derive(Clone, Debug)]
pub(in crate::ftps) struct Offer {
    pub(super) min: Version,
    pub(super) max: Version,
    pub(super) policy: Policy,
    pub(super) own: OwnCertificate,
    pub(super) request: Arc<Request>,
}

impl Offer {
    /// Whether the server has asked for a certificate of ours.
    pub(in crate::ftps) fn was_asked(&self) -> bool {
        self.request.asked.load(Ordering::Relaxed)
    }

    /// Whether we have a certificate of our own for it.
    pub(in crate::ftps) fn own(&self) -> OwnCertificate {
        self.own
    }

    /// The settings that leave something out, for a server that wants just that.
    pub(super) fn settings(&self) -> String {
        let versions = match (self.min, self.max) {
            (Version::Tls12, Version::Tls13) => None,
            (Version::Tls13, _) => {
                Some("`tls_version` allows TLS 1.3 only; `tls_version: {min: 1.2}` allows 1.2 as well")
            }
            (Version::Tls12, Version::Tls12) => {
                Some("`tls_version` allows TLS 1.2 only; `tls_version: {max: 1.3}` allows 1.3 as well")
            }
        };
        let policy = match self.policy {
            Policy::Standard => None,
            Policy::Nist80052r2 => Some(
                "`tls_policy: nist-800-52r2` allows AES-GCM with P-256 or P-384 only, and no Ed25519; \
                 `tls_policy: standard` allows more",
            ),
        };
        match (versions, policy) {
            (None, None) => {
                "we speak TLS 1.2 and 1.3 with AEAD ciphers and ephemeral keys, and nothing older: the \
                 server must be brought up to date"
                    .to_owned()
            }
            (one, other) => [one, other].into_iter().flatten().collect::<Vec<_>>().join(", and "),
        }
    }
}

/// Notes whether the server asks for a certificate, and answers with the one there is.
pub(super) struct Request {
    answer: Arc<dyn ResolvesClientCert>,
    asked: AtomicBool,
}

impl Request {
    pub(super) fn new(answer: Arc<dyn ResolvesClientCert>) -> Self {
        Self { answer, asked: AtomicBool::new(false) }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Request {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.answer.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        self.answer.has_certs()
    }
}
