//! What a walk does with symbolic links.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::{Below, Scan, open_folder, what};
use crate::domain::{Found, RelPath, Symlinks, Timestamp};
use crate::source::file_stat;

/// Most links to folders that are followed in one scan. Two links in each of thirty folders, each
/// to the next one, are 2^30 paths; a tree that somebody made by hand has a few hundred.
pub(super) const MAX_FOLLOWED: u32 = 10_000;

const OUTSIDE: &str = "a symbolic link that leads out of the source folder, as every absolute one does, is not \
                       followed: make it relative, or put the file itself there";

impl<N: Fn() -> Timestamp> Scan<N> {
    /// What is to be said of a link.
    pub(super) fn link(&mut self, name: &CString, below: Below) -> Option<Found> {
        match self.root.links() {
            Symlinks::Skip => self.skipped("symbolic link, not followed", below),
            Symlinks::Fail => self.failed("a symbolic link, and the job says `symlinks: fail`", below),
            Symlinks::Follow => self.follow(name, below),
        }
    }

    /// Whether the filter admits a path, be it a file or a folder.
    pub(super) fn concerns(&self, path: &[u8], below: Below) -> bool {
        self.filter.admits_file(path, below) || self.filter.enter(path, below).is_some()
    }

    fn follow(&mut self, name: &CString, below: Below) -> Option<Found> {
        if !self.concerns(&self.path, below) {
            return None;
        }
        let observed_at = (self.now)();
        let target = self.root.resolve(&self.path, OFlags::PATH | OFlags::CLOEXEC);
        let (target, stat) = match target.and_then(|target| fstat(&target).map(|stat| (target, stat))) {
            Ok(found) => found,
            Err(errno) => return self.astray(errno, below),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.linked_file(name, below, &stat, observed_at),
            FileType::Directory => self.linked_folder(name, below, &target, &stat),
            kind => {
                self.skipped(&format!("symbolic link to something else than a file: {}", what(kind)), below)
            }
        }
    }

    fn linked_file(
        &self,
        name: &CString,
        below: Below,
        stat: &Stat,
        observed_at: Timestamp,
    ) -> Option<Found> {
        if !self.filter.admits_file(&self.path, below) {
            return None;
        }
        Some(match RelPath::from_bytes(&self.path) {
            Ok(path) => Found::File { path, stat: file_stat(stat), observed_at, twins: self.twins_of(name) },
            Err(error) => self.refused(&error),
        })
    }

    /// Walks the folder that was looked at, whatever the link leads to by now.
    fn linked_folder(
        &mut self,
        name: &CString,
        below: Below,
        target: &OwnedFd,
        stat: &Stat,
    ) -> Option<Found> {
        self.filter.enter(&self.path, below)?;
        let is_target = |folder: &super::Folder| {
            let facts = folder.dir.stat();
            facts.is_ok_and(|facts| (facts.st_dev, facts.st_ino) == (stat.st_dev, stat.st_ino))
        };
        if self.folders.iter().any(is_target) {
            return self.skipped("symbolic link to a folder that it lies in", below);
        }
        if self.followed >= MAX_FOLLOWED {
            let reason =
                format!("more than {MAX_FOLLOWED} symbolic links lead to folders, and no more are followed");
            return Some(Found::Unreadable { name: super::shown(&self.path), reason });
        }
        self.followed += 1;
        self.enter_by(name, below, |_| open_folder(target.as_fd(), c"."))
    }

    /// What is to be said of a link that leads nowhere to go.
    fn astray(&self, errno: Errno, below: Below) -> Option<Found> {
        match errno {
            Errno::XDEV => self.failed(OUTSIDE, below),
            Errno::NOENT | Errno::NOTDIR => self.skipped("symbolic link that leads nowhere", below),
            Errno::LOOP => self.skipped("symbolic link that leads round in a circle", below),
            Errno::AGAIN => Some(self.swapped()),
            Errno::NOSYS | Errno::PERM => self.failed(
                "a symbolic link, which this system cannot follow safely (openat2, Linux 5.6)",
                below,
            ),
            errno => Some(self.unreadable("what the symbolic link leads to", errno)),
        }
    }

    /// A link that should have been sent and cannot be. Where only something in it might concern the
    /// job, nobody knows whether there is anything.
    fn failed(&self, reason: &str, below: Below) -> Option<Found> {
        if self.filter.admits_file(&self.path, below) {
            return Some(self.refused(&reason));
        }
        let name = super::shown(&self.path);
        self.concerns(&self.path, below).then(|| Found::Skipped { name, reason: reason.to_owned() })
    }
}
