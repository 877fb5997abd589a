//! What becomes of remote files whose source is gone.

use serde::{Deserialize, Serialize};

use super::RelPath;

/// What becomes of remote files that Nightferry delivered and whose source is gone, and within
/// which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletes {
    /// What becomes of them.
    pub remote: RemoteDelete,
    /// Most of them in one run, in percent of all files that were delivered.
    pub max_percent: u8,
    /// Most of them in one run.
    pub max_files: u64,
    /// A file that must stand in the source; where it does not, something else is mounted there.
    pub marker: Option<RelPath>,
    /// After how many days they leave the trash.
    pub trash_days: u16,
}

impl Deletes {
    /// Most files in one run, in percent, where the configuration says nothing.
    pub const DEFAULT_PERCENT: u8 = 10;
    /// Most files in one run where the configuration says nothing.
    pub const DEFAULT_FILES: u64 = 1_000;
    /// Days in the trash where the configuration says nothing.
    pub const DEFAULT_TRASH_DAYS: u16 = 30;
}

impl Default for Deletes {
    fn default() -> Self {
        Self {
            remote: RemoteDelete::default(),
            max_percent: Self::DEFAULT_PERCENT,
            max_files: Self::DEFAULT_FILES,
            marker: None,
            trash_days: Self::DEFAULT_TRASH_DAYS,
        }
    }
}

/// What becomes of a remote file whose source is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RemoteDelete {
    /// It stays.
    #[default]
    Keep,
    /// It is moved into a dated folder beneath the destination, and deleted later.
    Trash,
    /// It is deleted.
    Delete,
}

/// What a complete scan saw of a source, to be held against the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSeen {
    /// The device number of the source folder.
    pub device: u64,
    /// The file system's own id (`f_fsid` of `statfs`), which outlives a restart where device
    /// numbers may not; 0 where it has none.
    pub filesystem: u64,
    /// Files that the job's patterns admit.
    pub files: u64,
}

impl SourceSeen {
    /// Whether both stand on the same file system. Where both have an id, that decides: the disk that
    /// comes next gets the device number of the one before.
    pub fn same_place(&self, other: &Self) -> bool {
        same_filesystem((self.device, self.filesystem), (other.device, other.filesystem))
    }
}

/// Whether two devices with these file systems are the same one.
pub(super) const fn same_filesystem(one: (u64, u64), other: (u64, u64)) -> bool {
    match (one.1, other.1) {
        (0, _) | (_, 0) => one.0 == other.0,
        (one, other) => one == other,
    }
}
