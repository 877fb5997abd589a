//! The source folder, opened once.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, fstatvfs, open, openat, openat2, statat,
};
use rustix::io::Errno;

use super::{Change, Filter, Scan, SourceError, SourceFile, file_stat};
use crate::domain::{Job, RelPath, Scope, Symlinks, Timestamp};

/// A source folder, held open: what is found and read lies below this very folder, even if
/// another takes its name. Clones share the descriptor.
#[derive(Clone)]
pub struct SourceRoot {
    folder: Arc<OwnedFd>,
    path: Arc<Path>,
    links: Symlinks,
}

impl SourceRoot {
    /// Opens the source folder of a job, below which links are what the job says they are.
    pub fn of(job: &Job) -> Result<Self, SourceError> {
        Ok(Self { links: job.symlinks, ..Self::open(&job.source)? })
    }

    /// Opens a source folder below which links are skipped. Links in `path` itself are followed:
    /// it comes from the configuration.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let folder = open(path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty()).map_err(|errno| {
            let path = path.to_owned();
            match errno {
                Errno::NOENT => SourceError::Missing { path },
                Errno::NOTDIR => SourceError::NotAFolder { path },
                _ => SourceError::Unreadable { path, source: errno.into() },
            }
        })?;
        Ok(Self { folder: Arc::new(folder), path: path.into(), links: Symlinks::Skip })
    }

    /// The path by which it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What becomes of links below it.
    pub(super) const fn links(&self) -> Symlinks {
        self.links
    }

    /// The same folder under another policy.
    #[cfg(test)]
    pub(super) fn with(self, links: Symlinks) -> Self {
        Self { links, ..self }
    }

    /// Finds the files that `filter` admits, in the order of their paths. `now` is asked before
    /// each file is looked at.
    pub fn scan<N: Fn() -> Timestamp>(&self, filter: &Filter, now: N) -> Scan<N> {
        self.scan_within(filter, &Scope::All, now)
    }

    /// The same within a part of the folder. Of folders on the way there, the names are read. Links to
    /// folders are met only where all that is below is meant.
    pub fn scan_within<N: Fn() -> Timestamp>(&self, filter: &Filter, scope: &Scope, now: N) -> Scan<N> {
        Scan::new(self.clone(), filter.clone(), scope.clone(), now)
    }

    /// Opens a file for reading, if all on the way to it are true folders below this one and it
    /// is a regular file itself. Never leaves the source folder, or waits for a pipe's writer, and
    /// follows no link but where the job wants it ([`Symlinks::Follow`]); mount points are crossed.
    ///
    /// A caller that records when it looked takes the time before this call: a change that comes
    /// later then never seems older than the look.
    pub fn open_file(&self, path: &RelPath) -> Result<SourceFile, SourceError> {
        let opened = match self.links {
            Symlinks::Skip | Symlinks::Fail => {
                openat2(&self.folder, path.as_str(), FILE, Mode::empty(), BENEATH)
            }
            Symlinks::Follow => self.resolve(path.as_str().as_bytes(), FILE.difference(OFlags::NOFOLLOW)),
        };
        let opened = match opened {
            // Linux before 5.6 has no such call, and some sandboxes forbid it with EPERM.
            Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(self.folder.as_fd(), path),
            opened => opened,
        };
        checked(path, opened)
    }

    /// Opens what a path leads to, by links as well, if none of them leads out of this folder
    /// (`EXDEV`; absolute ones always do). The kernel holds every step to that
    /// (`openat2`, `RESOLVE_BENEATH`), so that no swap on the way gets past it.
    pub(super) fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..MAX_RESOLVED {
            match openat2(&self.folder, path, flags, Mode::empty(), INSIDE) {
                // Something was renamed while a `..` was looked up.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a file as it is done where Linux lacks `openat2`.
    #[cfg(test)]
    pub(super) fn open_file_step_by_step(&self, path: &RelPath) -> Result<SourceFile, SourceError> {
        checked(path, open_step_by_step(self.folder.as_fd(), path))
    }

    /// Opens the folder that holds a path, as [`open_file`](Self::open_file) opens a file. `None`
    /// where there is none.
    pub(super) fn folder_of(&self, path: &RelPath) -> Result<Option<OwnedFd>, Errno> {
        let opened = match path.folder() {
            None => self.open_again(),
            Some(folder) => self.open_folder_at(&folder),
        };
        match opened {
            Err(Errno::NOENT) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens a folder below this one.
    pub(super) fn open_folder_at(&self, folder: &RelPath) -> Result<OwnedFd, Errno> {
        match openat2(&self.folder, folder.as_str(), FOLDER, Mode::empty(), BENEATH) {
            Err(Errno::NOSYS | Errno::PERM) => folder_step_by_step(self.folder.as_fd(), folder),
            opened => opened,
        }
    }

    /// What tells this folder's place from another one: its device and its file system.
    pub fn place(&self) -> Result<(u64, u64), SourceError> {
        let unreadable =
            |errno: Errno| SourceError::Unreadable { path: self.path.to_path_buf(), source: errno.into() };
        let device = fstat(&self.folder).map_err(unreadable)?.st_dev;
        // File systems in user space have no id of their own.
        let filesystem = fstatvfs(&self.folder).map_or(0, |facts| facts.f_fsid);
        Ok((device, filesystem))
    }

    /// Whether nothing at all stands under a path, not even a link or a folder. What cannot be
    /// looked at is not known to be absent, nor is what lies behind a link that leads nowhere.
    pub fn lacks(&self, path: &RelPath) -> bool {
        let lacking = |folder: &OwnedFd| {
            matches!(statat(folder, path.name(), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
        };
        match (self.folder_of(path), path.folder(), self.links) {
            (Ok(Some(folder)), _, _) => lacking(&folder),
            (Ok(None), _, _) => true,
            (Err(_), Some(folder), Symlinks::Follow) => {
                let followed = FOLDER.difference(OFlags::NOFOLLOW);
                self.resolve(folder.as_str().as_bytes(), followed).is_ok_and(|folder| lacking(&folder))
            }
            (Err(_), _, _) => false,
        }
    }

    /// Its descriptor.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Opens a folder of its own position: the shared descriptor's is left alone.
    pub(super) fn open_again(&self) -> Result<OwnedFd, Errno> {
        open_folder(self.folder.as_fd(), c".")
    }

    /// Fails if the folder was removed, whatever has its name now.
    pub(super) fn still_exists(&self) -> Result<(), Errno> {
        if fstat(&self.folder)?.st_nlink == 0 { Err(Errno::NOENT) } else { Ok(()) }
    }
}

impl fmt::Debug for SourceRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceRoot").field(&self.path).finish()
    }
}

pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How often a path is looked up again where something was renamed meanwhile: more than a tree that
/// is merely busy needs, and an end for one that somebody keeps turning.
const MAX_RESOLVED: u32 = 64;

/// Opens a folder inside another; a link is an error (`ENOTDIR`).
pub(super) fn open_folder(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// What `openat2` does, name by name.
fn open_step_by_step(root: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Errno> {
    let mut folder: Option<OwnedFd> = None;
    let above = path.folder();
    for name in above.iter().flat_map(|above| above.as_str().split('/')) {
        let parent = folder.as_ref().map_or(root, AsFd::as_fd);
        folder = Some(openat(parent, name, FOLDER.union(OFlags::PATH), Mode::empty())?);
    }
    openat(folder.as_ref().map_or(root, AsFd::as_fd), path.name(), FILE, Mode::empty())
}

/// The same for a folder.
fn folder_step_by_step(root: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Errno> {
    let mut folder: Option<OwnedFd> = None;
    for name in path.as_str().split('/') {
        folder = Some(openat(folder.as_ref().map_or(root, AsFd::as_fd), name, FOLDER, Mode::empty())?);
    }
    folder.ok_or(Errno::NOENT)
}

fn checked(path: &RelPath, opened: Result<OwnedFd, Errno>) -> Result<SourceFile, SourceError> {
    let file = opened.map_err(|errno| open_error(path, errno))?;
    let stat = fstat(&file).map_err(|errno| read_error(path, errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(SourceError::NotAFile { path: path.clone() });
    }
    Ok(SourceFile::new(path.clone(), File::from(file), file_stat(&stat)))
}

fn open_error(path: &RelPath, errno: Errno) -> SourceError {
    match errno {
        Errno::NOENT => SourceError::Gone { path: path.clone() },
        Errno::AGAIN => SourceError::Changed { path: path.clone(), what: Change::Way },
        // A link at the end or on the way, a file where a folder should be, and a socket.
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO => {
            SourceError::NotAFile { path: path.clone() }
        }
        _ => read_error(path, errno.into()),
    }
}

fn read_error(path: &RelPath, source: io::Error) -> SourceError {
    SourceError::Read { path: path.clone(), source }
}
