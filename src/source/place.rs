//! Files that are brought back: written aside, synced, then put in their place.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, fstat, fsync, futimens, linkat,
    mkdir, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::root::FOLDER;
use super::{SourceError, SourceRoot, hash_file, shown};
use crate::domain::{AgentId, FailureClass, RelPath, Sent, Timestamp};

/// How the folder in which files are written before they get their place is named, in front of
/// the agent's id. A scan passes over folders of such names.
pub(super) const ASIDE_PREFIX: &[u8] = b".nightferry-restore-";

/// Folders and files that are made are their owner's alone, and less where the process's mask
/// says so: who may read what was brought back is for a person to decide.
const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why a file could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder cannot be made, or is none, or cannot be used.
    #[error("cannot restore to {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another file has its place.
    #[error("another file stands in its place, and is left alone; `--overwrite` replaces it")]
    Occupied,
    /// A link, folder, pipe or device has its place, or a folder on the way is none.
    #[error(
        "something that is no regular file stands in its place or on the way to it (links are not followed); \
         move it away"
    )]
    InTheWay,
    /// Its place lies on another file system than the folder.
    #[error("its place lies on another file system than the folder that was named; restore to that one")]
    OtherFileSystem,
    /// The disk is full, or the owner's share of it.
    #[error("there is no space for it")]
    NoSpace(#[source] io::Error),
    /// The system does not let it be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// What stands in its place cannot be read.
    #[error("what stands in its place cannot be read")]
    Read(#[source] io::Error),
}

impl PlaceError {
    fn write(source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(source),
            _ => Self::Write(source),
        }
    }

    fn on_the_way(errno: Errno) -> Self {
        match errno {
            Errno::LOOP | Errno::NOTDIR => Self::InTheWay,
            errno => Self::write(errno),
        }
    }

    /// What kind of trouble it is.
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Folder { .. } | Self::NoSpace(_) => FailureClass::Other,
            Self::Occupied | Self::InTheWay | Self::OtherFileSystem | Self::Write(_) | Self::Read(_) => {
                FailureClass::File
            }
        }
    }

    /// Whether no other file would fare better.
    pub const fn meets_all(&self) -> bool {
        matches!(self, Self::Folder { .. } | Self::NoSpace(_))
    }
}

/// What has the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing.
    Nobody,
    /// A file with the wanted content.
    Same,
    /// Another file.
    Other,
}

/// What to do where another file has the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacePolicy {
    /// It is left alone.
    KeepOther,
    /// It is replaced.
    ReplaceOther,
}

/// A folder into which files are brought back.
///
/// Nothing outside of it is read or written, whatever stands in it: all goes through one
/// descriptor, and no link is followed. A file is written aside, in a hidden folder at its top,
/// with the agent's id in the name; it gets its place by a rename when it is whole and synced. Calls block.
#[derive(Clone)]
pub struct RestoreFolder {
    root: SourceRoot,
    aside: Arc<Aside>,
}

struct Aside {
    folder: OwnedFd,
    name: String,
}

impl RestoreFolder {
    /// Opens the folder, which is made if the folder above it exists, and deletes what an earlier
    /// restore of the same agent left half-written. Links in `path` itself are followed. An agent
    /// must not open the same folder twice at once: it holds its state's lock.
    pub fn open(path: &Path, agent: AgentId) -> Result<Self, PlaceError> {
        let refused = |source| PlaceError::Folder { folder: path.to_owned(), source };
        match mkdir(path, FOLDER_MODE) {
            Ok(()) => sync_folder_above(path).map_err(refused)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
        let root = SourceRoot::open(path).map_err(|error| refused(cause(error)))?;
        let name = format!("{}{agent}", String::from_utf8_lossy(ASIDE_PREFIX));
        let aside = || {
            match mkdirat(root.folder(), &name, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let folder = openat(root.folder(), &name, FOLDER, Mode::empty())?;
            if fstat(&folder)?.st_uid != geteuid().as_raw() {
                // Its owner could put another file under the name of one that was proved.
                return Err(Errno::PERM);
            }
            sweep(&folder)?;
            Ok(folder)
        };
        let folder = aside().map_err(|errno: Errno| refused(errno.into()))?;
        Ok(Self { root, aside: Arc::new(Aside { folder, name }) })
    }

    /// What has the place of a file now.
    pub fn occupant(&self, path: &RelPath, wanted: &Sent) -> Result<Occupant, PlaceError> {
        let read = match self.root.open_file(path) {
            Ok(file) if file.stat().size != wanted.size => return Ok(Occupant::Other),
            Ok(_) => hash_file(&self.root, path),
            Err(error) => Err(error),
        };
        match read {
            Ok((sent, _)) if sent == *wanted => Ok(Occupant::Same),
            // What changes while it is read is somebody's at work.
            Ok(_) | Err(SourceError::Changed { .. }) => Ok(Occupant::Other),
            Err(SourceError::Gone { .. }) => Ok(Occupant::Nobody),
            Err(SourceError::NotAFile { .. }) => Err(PlaceError::InTheWay),
            Err(error) => Err(PlaceError::Read(cause(error))),
        }
    }

    /// Begins to write a file aside; `number` is one that was not drawn before.
    pub fn begin(&self, number: u64) -> Result<Placing, PlaceError> {
        let name = format!("{number:016x}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.aside.folder, &name, flags, FILE_MODE).map_err(PlaceError::write)?;
        Ok(Placing { folder: self.clone(), name, file: File::from(file), end: End::Unplaced })
    }

    /// Takes the hidden folder away. Fails silently where something is left in it, which the next
    /// restore deletes.
    pub fn close(self) {
        let _swept_later = unlinkat(self.root.folder(), &self.aside.name, AtFlags::REMOVEDIR).is_err();
    }

    /// The folder that will hold a file, made if it is missing, with those above it.
    fn parent(&self, path: &RelPath) -> Result<Option<OwnedFd>, PlaceError> {
        let mut folder: Option<OwnedFd> = None;
        let above = path.folder();
        for name in above.iter().flat_map(|above| above.as_str().split('/')) {
            let parent = folder.as_ref().map_or(self.root.folder(), AsFd::as_fd);
            match mkdirat(parent, name, FOLDER_MODE) {
                Ok(()) => fsync(parent).map_err(PlaceError::write)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(PlaceError::on_the_way(errno)),
            }
            folder = Some(openat(parent, name, FOLDER, Mode::empty()).map_err(PlaceError::on_the_way)?);
        }
        Ok(folder)
    }
}

impl fmt::Debug for RestoreFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RestoreFolder").field(&self.root.path()).finish()
    }
}

/// Makes durable that a folder was made.
fn sync_folder_above(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

/// Deletes the files of a folder: nobody but restores puts any there.
fn sweep(folder: &OwnedFd) -> Result<(), Errno> {
    let again = openat(folder, c".", FOLDER, Mode::empty())?;
    for entry in Dir::new(again)? {
        let entry = entry?;
        if entry.file_type() == FileType::RegularFile {
            unlinkat(folder, entry.file_name(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// A file that is being written aside. Dropped before [`place`](Self::place) it is deleted.
pub struct Placing {
    folder: RestoreFolder,
    name: String,
    file: File,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Unplaced,
    Placed,
}

impl Placing {
    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PlaceError> {
        self.file.write_all(bytes).map_err(PlaceError::write)
    }

    /// Gives the file its time, makes it durable, and puts it in its place. Only a regular file
    /// is ever replaced, and only if the policy says so.
    pub fn place(mut self, path: &RelPath, mtime: Timestamp, policy: PlacePolicy) -> Result<(), PlaceError> {
        let time = timespec(mtime);
        futimens(&self.file, &Timestamps { last_access: time, last_modification: time })
            .map_err(PlaceError::write)?;
        self.file.sync_all().map_err(PlaceError::write)?;
        let folder = self.folder.parent(path)?;
        let folder = folder.as_ref().map_or(self.folder.root.folder(), AsFd::as_fd);
        match policy {
            PlacePolicy::KeepOther => self.put(folder, path.name()),
            PlacePolicy::ReplaceOther => self.replace(folder, path.name()),
        }?;
        self.end = End::Placed;
        fsync(folder).map_err(PlaceError::write)
    }

    fn put(&self, folder: BorrowedFd<'_>, name: &str) -> Result<(), PlaceError> {
        let aside = &self.folder.aside.folder;
        let put = match renameat_with(aside, &self.name, folder, name, RenameFlags::NOREPLACE) {
            // Some file systems have no such rename; a link does not replace anything either.
            Err(Errno::INVAL | Errno::NOSYS) => linkat(aside, &self.name, folder, name, AtFlags::empty())
                .and_then(|()| unlinkat(aside, &self.name, AtFlags::empty())),
            put => put,
        };
        put.map_err(|errno| if errno == Errno::EXIST { PlaceError::Occupied } else { refused(errno) })
    }

    fn replace(&self, folder: BorrowedFd<'_>, name: &str) -> Result<(), PlaceError> {
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(PlaceError::InTheWay);
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(PlaceError::Read(errno.into())),
        }
        renameat(&self.folder.aside.folder, &self.name, folder, name).map_err(refused)
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        if self.end == End::Unplaced {
            let aside = &self.folder.aside.folder;
            let _swept_later = unlinkat(aside, &self.name, AtFlags::empty()).is_err();
        }
    }
}

impl fmt::Debug for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placing").field("name", &shown(self.name.as_bytes())).finish_non_exhaustive()
    }
}

fn refused(errno: Errno) -> PlaceError {
    match errno {
        Errno::XDEV => PlaceError::OtherFileSystem,
        Errno::ISDIR | Errno::NOTEMPTY => PlaceError::InTheWay,
        errno => PlaceError::write(errno),
    }
}

fn timespec(time: Timestamp) -> Timespec {
    let nanos = time.unix_nanos();
    Timespec { tv_sec: nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) }
}

/// The system's words beneath an error.
fn cause(error: SourceError) -> io::Error {
    match error {
        SourceError::Unreadable { source, .. } | SourceError::Read { source, .. } => source,
        SourceError::NotAFolder { .. } => io::ErrorKind::NotADirectory.into(),
        error @ (SourceError::Missing { .. }
        | SourceError::Gone { .. }
        | SourceError::NotAFile { .. }
        | SourceError::Changed { .. }
        | SourceError::Unfinished { .. }) => io::Error::other(error),
    }
}
