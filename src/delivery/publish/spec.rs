//! What is to be published, and how it is proved.

use crate::delivery::failure::DeliveryError;
use crate::domain::{
    Entry, FileStat, Mode, Overwrite, Publishing, RelPath, RemotePath, RunId, Sent, SessionFacts, Sidecars,
    Standing, Timestamp, Verified, VerifyPolicy,
};

/// How the proof is got from this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Proof {
    Hash,
    ReadBack,
    Size,
}

impl Proof {
    /// The strongest proof that the job wants and the server offers.
    pub(in crate::delivery) fn choose(
        policy: VerifyPolicy,
        server: ServerHash,
    ) -> Result<Self, DeliveryError> {
        match (policy, server) {
            (VerifyPolicy::Auto | VerifyPolicy::Hash, ServerHash::Offered) => Ok(Self::Hash),
            (VerifyPolicy::Hash, ServerHash::Missing) => Err(DeliveryError::NoServerHash),
            (VerifyPolicy::Auto, ServerHash::Missing) | (VerifyPolicy::ReadBack, _) => Ok(Self::ReadBack),
            (VerifyPolicy::Size, _) => Ok(Self::Size),
        }
    }
}

/// Whether the server can tell the SHA-256 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum ServerHash {
    Offered,
    Missing,
}

/// What is to be published.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Spec {
    /// The intent as it will be committed, but for what is found out on the way (proof, time
    /// and what stands under the final name).
    pub(in crate::delivery) draft: Draft,
    pub(in crate::delivery) sent: Sent,
    pub(in crate::delivery) destination: RemotePath,
    pub(in crate::delivery) proof: Proof,
    pub(in crate::delivery) policy: VerifyPolicy,
    pub(in crate::delivery) overwrite: Overwrite,
    /// Whether a file that is gone at once was taken or lost.
    pub(in crate::delivery) mode: Mode,
    /// What was delivered there before.
    pub(in crate::delivery) known: Option<Entry>,
    /// What the server makes of a file under the final name.
    pub(in crate::delivery) rename_over: RenameOver,
    /// Where that file goes first, where the server does not replace it.
    pub(in crate::delivery) displace_to: RemotePath,
}

/// What a server makes of a rename to a name under which a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum RenameOver {
    /// It replaces the file, as far as is known.
    Replaces,
    /// It refuses: the file must leave its name first.
    Refused,
}

/// The parts of an intent that are known before the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Draft {
    pub(in crate::delivery) run: RunId,
    pub(in crate::delivery) path: RelPath,
    pub(in crate::delivery) temporary: RemotePath,
    pub(in crate::delivery) stat: FileStat,
    pub(in crate::delivery) observed_at: Timestamp,
    /// Those that the delivery will owe.
    pub(in crate::delivery) sidecars: Sidecars,
    pub(in crate::delivery) session: SessionFacts,
}

impl Draft {
    pub(super) fn intent(
        self,
        verified: Verified,
        modified: Option<String>,
        standing: Standing,
    ) -> Publishing {
        let Self { run, path, temporary, stat, observed_at, sidecars, session } = self;
        let displaced = None;
        Publishing {
            run,
            path,
            temporary,
            stat,
            observed_at,
            verified,
            modified,
            standing,
            displaced,
            sidecars,
            session,
        }
    }
}
