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
    /// By which a part of the file is known when the source is another one by then. Older
    /// records have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beginnings: Vec<Beginning>,
    /// The session in which it is stored.
    pub session: SessionFacts,
}

impl Storing {
    /// The longest recorded beginning that a part of `size` bytes has room for. `None` where nothing
    /// is recorded by which so short a part could be known.
    pub fn beginning_within(&self, size: u64) -> Option<Beginning> {
        self.beginnings.iter().copied().filter(|beginning| beginning.size <= size).max_by_key(|it| it.size)
    }
}

/// The first bytes of a file: shorter than the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Bytes.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

impl Beginning {
    /// Most beginnings of a file that are recorded: enough for 10^15 bytes, and some 15 KB in a record.
    pub const MOST: usize = 128;
    /// The shortest. Fewer bytes may be those of any file of its kind: a header, a line of titles.
    const LEAST_BYTES: u64 = 1024;
    /// A beginning is longer by this share than the one before, so that of a part of ours, however long, at
    /// most a fifth (or 1 KiB) is not compared.
    const STEPS: u64 = 4;

    /// How long the next beginning is, after one of `size` bytes (0: the first).
    pub const fn next_size(size: u64) -> u64 {
        let step = size / Self::STEPS;
        size.saturating_add(if step > Self::LEAST_BYTES { step } else { Self::LEAST_BYTES })
    }
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
