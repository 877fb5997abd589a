//! File systems mounted below a source folder.

use serde::{Deserialize, Serialize};

use super::{RelPath, same_filesystem};

/// A file system that is mounted below a source folder. Where it is gone, its files seem deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The folder on which it is mounted, below the source.
    pub folder: RelPath,
    /// Its device number.
    pub device: u64,
    /// Its own id (`f_fsid` of `statfs`); 0 where it has none.
    pub filesystem: u64,
}

impl Mount {
    /// Whether this is the same file system in the same folder.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |mount: &Self| (mount.device, mount.filesystem);
        self.folder == other.folder && same_filesystem(place(self), place(other))
    }

    /// Whether a file lies on it, or on another one that is mounted below.
    pub fn holds(&self, file: &RelPath) -> bool {
        file.folders().any(|folder| folder == self.folder)
    }
}
