//! What the file system says of a source file.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The facts by which a source file is recognised as unchanged without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or inode. Nobody can set it back, unlike `mtime`.
    pub ctime: Timestamp,
    /// The inode number: a file that was replaced by renaming has another.
    pub inode: u64,
}

impl FileStat {
    /// Longest step of a file system's clock: two changes within one step leave the same times
    /// (FAT stores even seconds).
    pub const CLOCK_STEP_NANOS: i64 = 2_000_000_000;

    /// Whether a later change could hide behind the same facts: the file changed so shortly
    /// before it was looked at, or even after, that its clock may not have ticked in between.
    pub fn is_racy(&self, observed_at: Timestamp) -> bool {
        let newest = self.mtime.max(self.ctime);
        observed_at.nanos_since(newest) < Self::CLOCK_STEP_NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_close_to_the_look_is_racy() {
        let at = |seconds| Timestamp::from_unix(seconds, 0);
        let stat = |mtime, ctime| FileStat { size: 0, mtime: at(mtime), ctime: at(ctime), inode: 1 };
        assert!(!stat(10, 10).is_racy(at(12)));
        assert!(stat(10, 10).is_racy(at(11)));
        assert!(stat(5, 11).is_racy(at(12)), "the inode changed");
        assert!(stat(20, 20).is_racy(at(12)), "the clock was set back");
    }
}
