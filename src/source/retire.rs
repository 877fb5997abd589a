//! What becomes of a source file after its delivery: deleted, or moved elsewhere.
//!
//! Only the very bytes that were delivered may go. So a file first gets a private name in its
//! own folder, which nobody else writes to, and is looked at again there: whoever puts a new file
//! under the old name meanwhile keeps it. The content goes to its end only from there. A writer
//! that still holds the file open can write until the last moment; no file system forbids it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, fsync, linkat, mkdirat, open, openat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use tracing::warn;

use super::root::{FILE, FOLDER};
use super::{SourceRoot, file_stat};
use crate::domain::{Digest, FileStat, Hasher, RelPath};
use crate::plain::Plain;

/// Bytes that are copied at a time where a file moves to another file system.
const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// Largest marker that goes with its file: they say that another file is ready, and no more.
const MAX_MARKER_BYTES: u64 = 1024 * 1024;

/// Most names that are tried for a moved file whose own is taken.
const MAX_NAMES_TRIED: u32 = 1_000;

/// Why a delivered file could not be deleted or moved. It is still in the source folder.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// It is not the file any more that was delivered.
    #[error("`{path}` changed after it was delivered: it stays, and the next run sends it")]
    Changed {
        /// The file.
        path: RelPath,
    },
    /// The job does not want it gone any more.
    #[error("`{path}` is kept: the job does not want it gone any more, or its delivery is in doubt")]
    NotWanted {
        /// The file.
        path: RelPath,
    },
    /// The system refuses.
    #[error("`{path}` was delivered, but cannot be {what}")]
    System {
        /// The file.
        path: RelPath,
        /// What was tried, as in "deleted".
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It could not be given its own name back: another file has it.
    #[error(
        "`{path}` changed after it was delivered, and another file took its name: it stands beside it as \
         `{private}`; give it a name of its own"
    )]
    NameTaken {
        /// The file.
        path: RelPath,
        /// Its private name.
        private: String,
    },
    /// A thousand files of its name stand in the folder to move it to.
    #[error("`{path}` was delivered, but {} holds too many files of its name", folder.display())]
    NoName {
        /// The file.
        path: RelPath,
        /// The folder to move it to.
        folder: PathBuf,
    },
}

/// A delivered file under its private name.
#[derive(Debug)]
pub struct Aside {
    path: RelPath,
    private: String,
    /// The folder of both names.
    folder: OwnedFd,
    stat: FileStat,
    /// Its name while it is copied to another file system.
    copied_as: String,
}

impl SourceRoot {
    /// Finds the ready marker of a file that was deleted or moved, to go the same way, with its SHA-256. `None` where
    /// there is none, where it is no small regular file, or where a file stands under the old name again: the
    /// marker may be that one's.
    ///
    /// It keeps its name meanwhile, so that a crash leaves nothing to be put back. One that is made anew at
    /// this very moment, for a file that is not there, goes with the old one.
    pub fn find_marker(
        &self,
        path: &RelPath,
        marker: &RelPath,
        private: &str,
    ) -> Result<Option<(Aside, Digest)>, RetireError> {
        let system = |errno: Errno| system(marker, "taken along", errno);
        let Some(folder) = self.folder_of(marker).map_err(system)? else { return Ok(None) };
        let stat = match statat(&folder, marker.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => return Ok(None),
            Ok(stat) => file_stat(&stat),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(system(errno)),
        };
        // In this order: a marker that was made for a new version comes after it.
        if stat.size > MAX_MARKER_BYTES || !self.lacks(path) {
            return Ok(None);
        }
        let private = (marker.name().to_owned(), private.to_owned());
        let aside = Aside { path: marker.clone(), private: private.0, folder, stat, copied_as: private.1 };
        let mut hasher = Hasher::default();
        match aside.open().and_then(|mut file| copy(&mut file, &mut hasher, None)) {
            Ok(()) => Ok(Some((aside, hasher.finish()))),
            Err(source) => Err(RetireError::System { path: marker.clone(), what: "read", source }),
        }
    }

    /// Gives a file its private name, if it still is the one that `delivered` describes. `None`
    /// where nothing stands under its name: somebody else took it.
    pub fn set_aside(
        &self,
        path: &RelPath,
        private: &str,
        delivered: &FileStat,
    ) -> Result<Option<Aside>, RetireError> {
        let system = |errno: Errno| system(path, "set aside", errno);
        let changed = || RetireError::Changed { path: path.clone() };
        let Some(folder) = self.folder_of(path).map_err(system)? else { return Ok(None) };
        let stat = match statat(&folder, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(changed());
            }
            Ok(stat) => file_stat(&stat),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(system(errno)),
        };
        if stat != *delivered {
            return Err(changed());
        }
        match rename(&folder, path.name(), &folder, private) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(system(errno)),
        }
        let aside = Aside::of(path, private, folder, delivered);
        if aside.is_as_delivered().map_err(system)? {
            return Ok(Some(aside));
        }
        // Another took its name between the look and the rename.
        aside.put_back()?;
        Err(changed())
    }

    /// Finds what an earlier process set aside. `None` where nothing stands under the private
    /// name.
    pub fn find_aside(
        &self,
        path: &RelPath,
        private: &str,
        delivered: &FileStat,
    ) -> Result<Option<Aside>, RetireError> {
        let system = |errno: Errno| system(path, "looked at", errno);
        let Some(folder) = self.folder_of(path).map_err(system)? else { return Ok(None) };
        match statat(&folder, private, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(system)?,
        };
        let aside = Aside::of(path, private, folder, delivered);
        if aside.is_as_delivered().map_err(system)? {
            return Ok(Some(aside));
        }
        aside.put_back()?;
        Err(RetireError::Changed { path: path.clone() })
    }
}

impl Aside {
    fn of(path: &RelPath, private: &str, folder: OwnedFd, delivered: &FileStat) -> Self {
        let (path, copied_as) = (path.clone(), private.to_owned());
        Self { path, private: private.to_owned(), folder, stat: *delivered, copied_as }
    }

    /// Whether the file is still the one that was delivered. A rename changes the ctime.
    fn is_as_delivered(&self) -> Result<bool, Errno> {
        let stat = statat(&self.folder, &self.private, AtFlags::SYMLINK_NOFOLLOW)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let FileStat { size, mtime, inode, .. } = file_stat(&stat);
        Ok(regular && (size, mtime, inode) == (self.stat.size, self.stat.mtime, self.stat.inode))
    }

    /// Reads it once more and holds it against what was delivered, for files whose facts are too
    /// young to be trusted. Puts it back where it is another. Blocks for as long as reading takes.
    pub fn confirm(self, delivered: &Digest) -> Result<Self, RetireError> {
        let mut hasher = Hasher::default();
        let read = self.open().and_then(|mut file| copy(&mut file, &mut hasher, None));
        match read {
            Ok(()) if hasher.finish() == *delivered => Ok(self),
            Ok(()) => {
                let path = self.path.clone();
                self.put_back()?;
                Err(RetireError::Changed { path })
            }
            Err(source) => Err(self.give_up("read again", source)),
        }
    }

    /// Deletes it.
    pub fn delete(self) -> Result<(), RetireError> {
        match self.check_and(|aside| {
            unlinkat(&aside.folder, &aside.private, AtFlags::empty())?;
            sync_names(&aside.folder);
            Ok(())
        }) {
            Ok(()) => Ok(()),
            Err(Refusal::Changed) => Err(self.changed()),
            Err(Refusal::System(source)) => Err(self.give_up("deleted", source)),
        }
    }

    /// Moves it into another folder, under the path that it had below the source. Where its name
    /// is taken there, `stamp` and a number make another one. Gives the path below `folder`. On
    /// another file system it is copied, held against `delivered`, made durable, and deleted.
    pub fn move_to(self, folder: &Path, stamp: &str, delivered: &Digest) -> Result<String, RetireError> {
        let there = match open_folders(folder, &self.path) {
            Ok(there) => there,
            Err(source) => return Err(self.give_up("moved: its folder cannot be opened or made", source)),
        };
        let above = self.path.folder().map(|above| format!("{}/", above.as_str())).unwrap_or_default();
        for number in 0..MAX_NAMES_TRIED {
            let name = match number {
                0 => self.path.name().to_owned(),
                1 => format!("{}.{stamp}", self.path.name()),
                _ => format!("{}.{stamp}-{number}", self.path.name()),
            };
            match self.check_and(|aside| aside.place(&there, &name, delivered)) {
                Ok(()) => return Ok(format!("{above}{name}")),
                Err(Refusal::System(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(Refusal::System(source)) => return Err(self.give_up("moved", source)),
                Err(Refusal::Changed) => return Err(self.changed()),
            }
        }
        let (path, folder) = (self.path.clone(), folder.to_owned());
        self.put_back()?;
        Err(RetireError::NoName { path, folder })
    }

    fn place(&self, there: &OwnedFd, name: &str, delivered: &Digest) -> io::Result<()> {
        match rename(&self.folder, &self.private, there, name) {
            Err(Errno::XDEV) => self.copy_to(there, name, delivered),
            Err(errno) => Err(errno.into()),
            Ok(()) => {
                sync_names(there);
                sync_names(&self.folder);
                Ok(())
            }
        }
    }

    /// Writes beside and renames, so that nobody meets half a file, and deletes at the end.
    fn copy_to(&self, there: &OwnedFd, name: &str, delivered: &Digest) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut target = File::from(openat(there, &self.copied_as, flags, Mode::from_raw_mode(0o600))?);
        let finished = self.copy_into(&mut target, delivered).and_then(|()| {
            rename(there, &self.copied_as, there, name)?;
            fsync(there)?;
            unlinkat(&self.folder, &self.private, AtFlags::empty())?;
            sync_names(&self.folder);
            Ok(())
        });
        if finished.is_err() {
            // The name may have been given already; then nothing of ours stands here.
            let _nothing_there = unlinkat(there, &self.copied_as, AtFlags::empty()).is_err();
        }
        finished
    }

    fn copy_into(&self, target: &mut File, delivered: &Digest) -> io::Result<()> {
        let mut source = self.open()?;
        let mut hasher = Hasher::default();
        copy(&mut source, &mut hasher, Some(target))?;
        if hasher.finish() != *delivered {
            return Err(io::Error::other("its content is not what was delivered"));
        }
        target.set_permissions(source.metadata()?.permissions())?;
        target.set_modified(source.metadata()?.modified()?)?;
        target.sync_all()
    }

    fn open(&self) -> io::Result<File> {
        Ok(File::from(openat(&self.folder, &self.private, FILE, Mode::empty())?))
    }

    /// Acts, if the file is still the one that was delivered.
    fn check_and(&self, act: impl FnOnce(&Self) -> io::Result<()>) -> Result<(), Refusal> {
        match self.is_as_delivered() {
            Ok(true) => act(self).map_err(Refusal::System),
            Ok(false) => Err(Refusal::Changed),
            Err(errno) => Err(Refusal::System(errno.into())),
        }
    }

    /// Gives it its own name back. Fails where another file has it.
    pub fn put_back(self) -> Result<(), RetireError> {
        if self.private == self.path.name() {
            return Ok(());
        }
        match rename(&self.folder, &self.private, &self.folder, self.path.name()) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(RetireError::NameTaken { path: self.path, private: self.private }),
            Err(errno) => Err(system(&self.path, "given its name back", errno)),
        }
    }

    fn changed(self) -> RetireError {
        let path = self.path.clone();
        self.put_back().err().unwrap_or(RetireError::Changed { path })
    }

    fn give_up(self, what: &'static str, source: io::Error) -> RetireError {
        let path = self.path.clone();
        self.put_back().err().unwrap_or(RetireError::System { path, what, source })
    }
}

/// Makes a change of names outlast a power cut. It is done, whatever comes of this: a disk that does
/// not sync has worse in store.
fn sync_names(folder: &OwnedFd) {
    if let Err(errno) = fsync(folder) {
        warn!(error = %Plain(&errno.into()), "A source folder could not be synced to its disk.");
    }
}

enum Refusal {
    Changed,
    System(io::Error),
}

fn system(path: &RelPath, what: &'static str, errno: Errno) -> RetireError {
    RetireError::System { path: path.clone(), what, source: errno.into() }
}

/// Renames without replacing. File systems that cannot do that in one step (NFS) get a second
/// link, and lose the first.
fn rename(from: &OwnedFd, name: &str, to: &OwnedFd, new_name: &str) -> Result<(), Errno> {
    match renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(from, name, to, new_name, AtFlags::empty())?;
            unlinkat(from, name, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Reads to the end through a hasher, and writes where that is wanted.
fn copy(source: &mut File, hasher: &mut Hasher, mut target: Option<&mut File>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        hasher.update(bytes);
        if let Some(target) = &mut target {
            target.write_all(bytes)?;
        }
    }
}

/// Opens the folder that a path has below another one, making what is missing. Links in `root`
/// itself are followed, since it comes from the configuration; none below it is.
fn open_folders(root: &Path, path: &RelPath) -> io::Result<OwnedFd> {
    let root_flags = FOLDER.difference(OFlags::NOFOLLOW);
    let mut folder = match open(root, root_flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            std::fs::create_dir_all(root)?;
            open(root, root_flags, Mode::empty())?
        }
        opened => opened?,
    };
    let above = path.folder();
    for name in above.iter().flat_map(|above| above.as_str().split('/')) {
        match mkdirat(folder.as_fd(), name, Mode::from_raw_mode(0o777)) {
            Ok(()) => fsync(folder.as_fd())?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        folder = openat(folder.as_fd(), name, FOLDER, Mode::empty())?;
    }
    // A folder that was removed after it was opened takes no file.
    if fstat(&folder)?.st_nlink == 0 { Err(Errno::NOENT.into()) } else { Ok(folder) }
}
