//! What was sent, what the server showed, and the only function that calls it proved.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// What was sent: read once from one unchanged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Bytes.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

/// What the server showed of the bytes it stored. Its `226` is none: three of four servers say
/// it of a file that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The server hashed its file (`HASH` or `XSHA256`).
    ServerHash {
        /// The SHA-256 it answered.
        digest: Digest,
    },
    /// The file was read back and hashed here.
    ReadBack {
        /// Bytes that came back.
        size: u64,
        /// Their SHA-256.
        digest: Digest,
    },
    /// The server told the size of its file (`SIZE`).
    Size {
        /// Bytes.
        size: u64,
    },
}

impl Evidence {
    /// The method by which this was found.
    pub const fn method(&self) -> ProofMethod {
        match self {
            Self::ServerHash { .. } => ProofMethod::ServerHash,
            Self::ReadBack { .. } => ProofMethod::ReadBack,
            Self::Size { .. } => ProofMethod::Size,
        }
    }
}

/// How a delivery was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofMethod {
    /// The server's own SHA-256 of its file equals ours.
    ServerHash,
    /// The file, read back, has our SHA-256.
    ReadBack,
    /// The server's file has our size; nothing is known of its bytes.
    Size,
}

impl fmt::Display for ProofMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ServerHash => "server hash",
            Self::ReadBack => "read back",
            Self::Size => "size",
        })
    }
}

/// Which proof a job wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VerifyPolicy {
    /// The server's hash, and where it has none, reading back.
    #[default]
    Auto,
    /// The server's hash and nothing else.
    Hash,
    /// Reading back, even where the server has a hash.
    ReadBack,
    /// The size alone. For servers that allow nothing better.
    Size,
}

impl VerifyPolicy {
    /// Whether the job takes a proof by this method.
    pub const fn admits(self, method: ProofMethod) -> bool {
        match (self, method) {
            (Self::Auto | Self::Hash, ProofMethod::ServerHash)
            | (Self::Auto | Self::ReadBack, ProofMethod::ReadBack)
            | (Self::Size, ProofMethod::Size) => true,
            (Self::Auto | Self::Hash, ProofMethod::Size)
            | (Self::Hash, ProofMethod::ReadBack)
            | (Self::ReadBack, ProofMethod::ServerHash | ProofMethod::Size)
            | (Self::Size, ProofMethod::ServerHash | ProofMethod::ReadBack) => false,
        }
    }
}

/// The proof that the bytes with this digest stand on the server, and how it was found.
///
/// Only [`compare`] makes one (and reading back a record that holds one): code that skips the
/// comparison does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    size: u64,
    digest: Digest,
    method: ProofMethod,
}

impl Verified {
    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 of the bytes that were read from the source.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How it was proved.
    pub const fn method(&self) -> ProofMethod {
        self.method
    }
}

/// What is known of the bytes of a file that most likely was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// They were proved before the file was gone.
    Verified(Verified),
    /// They were sent, and the server said that it stored them; the file was gone before the proof.
    Sent(Sent),
}

impl Basis {
    /// Bytes.
    pub const fn size(&self) -> u64 {
        match self {
            Self::Verified(verified) => verified.size,
            Self::Sent(sent) => sent.size,
        }
    }

    /// The SHA-256 of the bytes that were read from the source.
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Verified(verified) => verified.digest,
            Self::Sent(sent) => sent.digest,
        }
    }
}

/// What the server stored is not what was sent, or was not proved as the job wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another size.
    #[error("{sent} bytes were sent, but the server has {stored}")]
    Size {
        /// Bytes sent.
        sent: u64,
        /// Bytes that the server has.
        stored: u64,
    },
    /// Other bytes.
    #[error("its file has the SHA-256 {}, but {} was sent", stored.short(), sent.short())]
    Digest {
        /// The digest of what was sent.
        sent: Digest,
        /// The digest of what the server has.
        stored: Digest,
    },
    /// A weaker or other proof than the job asks for.
    #[error("a proof by {method} is not what the job asks for")]
    NotAdmitted {
        /// The method of the evidence.
        method: ProofMethod,
    },
}

/// Holds what the server showed against what was sent.
pub fn compare(sent: &Sent, evidence: &Evidence, policy: VerifyPolicy) -> Result<Verified, Mismatch> {
    let method = evidence.method();
    if !policy.admits(method) {
        return Err(Mismatch::NotAdmitted { method });
    }
    let (size, digest) = match *evidence {
        Evidence::ServerHash { digest } => (None, Some(digest)),
        Evidence::ReadBack { size, digest } => (Some(size), Some(digest)),
        Evidence::Size { size } => (Some(size), None),
    };
    match (size, digest) {
        (Some(stored), _) if stored != sent.size => Err(Mismatch::Size { sent: sent.size, stored }),
        (_, Some(stored)) if stored != sent.digest => Err(Mismatch::Digest { sent: sent.digest, stored }),
        _ => Ok(Verified { size: sent.size, digest: sent.digest, method }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn check(evidence: Evidence, policy: VerifyPolicy, expected: Result<ProofMethod, Mismatch>) {
        let sent = Sent { size: 3, digest: digest("abc") };
        let found = compare(&sent, &evidence, policy);
        assert_eq!(found.map(|verified| verified.method()), expected, "{evidence:?} under {policy:?}");
        if let Ok(verified) = found {
            assert_eq!((verified.size(), verified.digest()), (3, digest("abc")));
        }
    }

    #[test]
    fn the_same_bytes_are_proved_by_what_the_job_admits() {
        let hash = Evidence::ServerHash { digest: digest("abc") };
        let read = Evidence::ReadBack { size: 3, digest: digest("abc") };
        let size = Evidence::Size { size: 3 };
        let refused = |method| Err(Mismatch::NotAdmitted { method });
        check(hash, VerifyPolicy::Auto, Ok(ProofMethod::ServerHash));
        check(read, VerifyPolicy::Auto, Ok(ProofMethod::ReadBack));
        check(size, VerifyPolicy::Auto, refused(ProofMethod::Size));
        check(hash, VerifyPolicy::Hash, Ok(ProofMethod::ServerHash));
        check(read, VerifyPolicy::Hash, refused(ProofMethod::ReadBack));
        check(size, VerifyPolicy::Hash, refused(ProofMethod::Size));
        check(hash, VerifyPolicy::ReadBack, refused(ProofMethod::ServerHash));
        check(read, VerifyPolicy::ReadBack, Ok(ProofMethod::ReadBack));
        check(size, VerifyPolicy::ReadBack, refused(ProofMethod::Size));
        check(hash, VerifyPolicy::Size, refused(ProofMethod::ServerHash));
        check(read, VerifyPolicy::Size, refused(ProofMethod::ReadBack));
        check(size, VerifyPolicy::Size, Ok(ProofMethod::Size));
    }

    #[test]
    fn other_bytes_are_never_proved() {
        let other = Mismatch::Digest { sent: digest("abc"), stored: digest("abd") };
        let short = Mismatch::Size { sent: 3, stored: 2 };
        check(Evidence::ServerHash { digest: digest("abd") }, VerifyPolicy::Auto, Err(other));
        check(Evidence::ReadBack { size: 3, digest: digest("abd") }, VerifyPolicy::Auto, Err(other));
        check(Evidence::ReadBack { size: 2, digest: digest("abc") }, VerifyPolicy::Auto, Err(short));
        check(Evidence::Size { size: 2 }, VerifyPolicy::Size, Err(short));
    }
}
