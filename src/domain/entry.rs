//! What is known of a path, and what a scan finds.

use serde::{Deserialize, Serialize};

use super::{Digest, FileStat, ProofMethod, RelPath, Timestamp, Twins};

/// What the manifest knows of one path of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How sure it is that the server got these bytes.
    pub status: EntryStatus,
    /// What the source file was when it was last read.
    pub stat: FileStat,
    /// When the source file was looked at.
    pub observed_at: Timestamp,
    /// Bytes that were delivered.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// How the delivery was proved.
    pub method: ProofMethod,
    /// The server's time of the delivered file, as `MDTM` gives it.
    pub modified: Option<String>,
    /// When it was delivered.
    pub delivered_at: Timestamp,
}

/// How sure it is that the server got the bytes of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntryStatus {
    /// Proved.
    Delivered,
    /// Most likely delivered and taken by the consumer; a person has to settle it.
    Presumed,
    /// Proved; its source was deleted or moved afterwards, as the job wants it.
    Retired,
    /// It was proved, but later nothing was found there: it must be sent again.
    FoundMissing,
    /// It was proved, but later something else was found there: it must be sent again.
    FoundChanged,
    /// It was presumed, and a person said that the receiver has it: neither proved nor sent again.
    Attested,
}

/// What a scan of a source folder finds, in the order of [`RelPath`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file with a path that can be sent.
    File {
        /// Its path.
        path: RelPath,
        /// Its facts.
        stat: FileStat,
        /// When they were read.
        observed_at: Timestamp,
        /// Names that some servers take for its own.
        twins: Twins,
    },
    /// Something that is neither file nor folder, or lies behind a link.
    Skipped {
        /// Its name as shown to people.
        name: String,
        /// Why it is not sent.
        reason: String,
    },
    /// A file with a name that cannot be sent.
    Refused {
        /// Its name as shown to people.
        name: String,
        /// Why, with the remedy.
        reason: String,
    },
    /// A folder or file that could not be looked at: the scan is not complete.
    Unreadable {
        /// Its name as shown to people.
        name: String,
        /// Why.
        reason: String,
    },
}
