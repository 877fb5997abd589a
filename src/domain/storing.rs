//! Uploads straight to final names.

use serde::{Deserialize, Serialize};

use super::{Digest, FileStat, RelPath, RunId, SessionFacts, Standing, Timestamp};

/// A file is about to be stored under its final name at once (`publish: direct`): until its delivery
/// is recorded, half of it may stand there, and it is sent again unless what stands there is the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storing {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What the source file was when it was read.
    pub stat: FileStat,
    /// When the source file was looked at.
    pub observed_at: Timestamp,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// What stood under the final name, and was ours to replace; after an upload that failed on a
    /// session which went on, what it left there.
    pub standing: Standing,
    /// How far it is.
    #[serde(default, skip_serializing_if = "StoringStep::is_begun")]
    pub step: StoringStep,
    /// The session in which it is stored.
    pub session: SessionFacts,
}

/// How far an upload to a final name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoringStep {
    /// It is about to begin, or failed: what stands there may be half the file, or wrong.
    #[default]
    Begun,
    /// The server said that it stored the file whole. Committed in a drop, where a consumer may take it
    /// before it is proved.
    Stored,
}

impl StoringStep {
    /// Whether it is the first step, of which records do not tell.
    pub fn is_begun(&self) -> bool {
        matches!(self, Self::Begun)
    }
}
