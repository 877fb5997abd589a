//! The file systems that are mounted below a source folder.

use std::fs::read_link;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, fstatvfs};

use super::SourceRoot;
use crate::domain::{Mount, RelPath};

/// Most mounts below one source that are looked at: far more than anybody has, and a bound to what is
/// remembered. Those beyond guard nothing.
const MAX_MOUNTS: usize = 1_000;

impl SourceRoot {
    /// The file systems that are mounted below this folder, bind mounts among them, as the kernel lists
    /// them (`/proc/self/mountinfo`); ordered by folder. Blocks.
    pub fn mounts(&self) -> io::Result<Vec<Mount>> {
        let root = read_link(format!("/proc/self/fd/{}", self.folder().as_raw_fd()))?;
        let table = std::fs::read("/proc/self/mountinfo")?;
        let mut folders = below(&table, &root);
        folders.sort();
        folders.dedup();
        let mounts = folders.into_iter().take(MAX_MOUNTS).filter_map(|folder| {
            let opened = self.open_folder_at(&folder).ok()?;
            let device = fstat(&opened).ok()?.st_dev;
            let filesystem = fstatvfs(&opened).map_or(0, |facts| facts.f_fsid);
            Some(Mount { folder, device, filesystem })
        });
        Ok(mounts.collect())
    }
}

/// The mount points below a folder; those that no file path can name are left out.
fn below(table: &[u8], root: &Path) -> Vec<RelPath> {
    // The fifth field is the mount point (proc_pid_mountinfo(5)).
    let points =
        table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points
        .filter_map(|point| {
            let point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(point)));
            let below = point.strip_prefix(root).ok()?;
            RelPath::new(std::str::from_utf8(below.as_os_str().as_bytes()).ok()?).ok()
        })
        .collect()
}

/// The kernel writes spaces, tabs, line feeds and backslashes as `\\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        let (byte, behind) = octal.zip(behind.get(3..)).unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_below_a_folder_are_found_by_their_names() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:2 / /srv/x/disk2 rw shared:1 - ext4 /dev/sdb1 rw\n\
            31 22 8:3 / /srv/x/with\\040space/d rw - ext4 /dev/sdc1 rw\n\
            32 22 8:4 / /srv/xy rw - ext4 /dev/sdd1 rw\n\
            33 22 8:4 / /srv/x rw - ext4 /dev/sdd1 rw\n";
        let found: Vec<_> = below(table, Path::new("/srv/x")).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["disk2", "with space/d"]);
        assert_eq!(unescaped(b"a\\134b\\1"), b"a\\b\\1");
    }
}
