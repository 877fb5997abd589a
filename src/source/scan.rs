//! The walk through a source folder.

mod links;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::vec;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::filter::Below;
use super::place::ASIDE_PREFIX;
use super::root::open_folder;
use super::{Filter, SourceRoot, file_stat, shown, twins};
use crate::domain::{Found, Reach, RelPath, Scope, Symlinks, Timestamp, Twin, Twins, is_temporary_name};
use crate::plain::Plain;

/// Most folders inside each other, the source folder not counted. Each one that is being walked holds a descriptor open, of
/// which a process has 1024 by default.
pub const MAX_FOLDER_DEPTH: usize = 128;

/// The files of a source folder, in the order of [`RelPath`]s, each path once.
///
/// - Links are what the job says ([`Symlinks`]). Folders are opened through the one that holds
///   them, so that no swap of a folder for a link leads out of the source. Mount points are
///   crossed.
/// - So are files with [temporary names](is_temporary_name), ours or another Nightferry's.
/// - What the [`Filter`] does not admit is not mentioned; an excluded folder is not opened.
/// - Something with a name that cannot be sent is [`Found::Refused`], a folder with all that is
///   in it once, and [`Found::Unreadable`] is what could not be looked at, a folder whose names
///   could not all be read with all that is in it.
/// - Files with names that some servers take for one are told of each other ([`Twins`]), and so is
///   all below folders with such names. Names that are not sent do not count.
/// - What vanishes between being listed and being looked at is not there.
/// - The tree may change during the walk: what is renamed from a part not yet walked to one
///   already walked is not met at all. Absence from a scan is a suspicion, not a proof.
///
/// Holds the names of the folders that it is in (about 60 bytes a name) and one descriptor for
/// each. Calls block. It borrows nothing and can be sent to another thread.
pub struct Scan<N> {
    root: SourceRoot,
    filter: Filter,
    scope: Scope,
    now: N,
    state: State,
    folders: Vec<Folder>,
    /// The path of what is being looked at, as the file system gives it.
    path: Vec<u8>,
    /// Links to folders that were followed.
    followed: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    NotBegun,
    Walking,
    Ended,
}

/// A folder that is being walked.
struct Folder {
    /// Its descriptor; all its entries have been read.
    dir: Dir,
    names: vec::IntoIter<Name>,
    /// The length of its path with the slash at the end.
    path_bytes: usize,
    below: Below,
    /// What of it is to be found.
    reach: Reach,
    /// Those of the folder itself, which hold for all that is in it.
    twins: Twins,
    /// Those of names in it.
    names_with_twins: BTreeMap<CString, Twins>,
}

struct Name {
    name: CString,
    kind: FileType,
}

impl<N: Fn() -> Timestamp> Scan<N> {
    pub(super) fn new(root: SourceRoot, filter: Filter, scope: Scope, now: N) -> Self {
        Self {
            root,
            filter,
            scope,
            now,
            state: State::NotBegun,
            folders: Vec::new(),
            path: Vec::new(),
            followed: 0,
        }
    }

    fn begin(&mut self) -> Option<Found> {
        self.state = State::Walking;
        let below = self.filter.root();
        let errno = self.root.open_again().and_then(|folder| self.walk(folder, below, Twins::NONE)).err()?;
        self.state = State::Ended;
        Some(self.root_unreadable(errno))
    }

    /// A folder that was removed looks empty, and so does, to a walk, one that was removed
    /// meanwhile.
    fn end(&mut self) -> Option<Found> {
        if self.state == State::Ended {
            return None;
        }
        self.state = State::Ended;
        self.root.still_exists().err().map(|errno| self.root_unreadable(errno))
    }

    fn root_unreadable(&self, errno: Errno) -> Found {
        let name = shown(self.root.path().as_os_str().as_bytes());
        Found::Unreadable { name, reason: unreadable("the source folder", errno) }
    }

    /// Reads the names of a folder and makes it the one that is walked.
    fn walk(&mut self, folder: OwnedFd, below: Below, twins: Twins) -> Result<(), Errno> {
        let mut dir = Dir::new(folder)?;
        let mut names = Vec::new();
        while let Some(entry) = dir.read() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(Name { kind: entry.file_type(), name: entry.file_name().to_owned() });
            }
        }
        // `/` counts as 0x00 and is below all bytes of names that can be sent, so that ordering
        // each folder by itself orders the whole.
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // A folder that changes while it is read may be said to hold a name twice.
        names.dedup_by(|a, b| a.name == b.name);
        let reach = self.reach(&self.path);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        let names_with_twins = self.twins(&names, below);
        let (names, path_bytes) = (names.into_iter(), self.path.len());
        self.folders.push(Folder { dir, names, path_bytes, below, reach, twins, names_with_twins });
        Ok(())
    }

    /// What of a folder is to be found; its path can be any bytes.
    fn reach(&self, folder: &[u8]) -> Reach {
        if folder.is_empty() {
            return self.scope.reach(None);
        }
        match RelPath::from_bytes(folder) {
            Ok(folder) => self.scope.reach(Some(&folder)),
            // It is refused as a whole where it is met.
            Err(_) => Reach::Nothing,
        }
    }

    /// Whether something in a folder is to be looked at.
    fn is_meant(&self, entry: &Name, folder: Reach) -> bool {
        let is_on_the_way = || match entry.kind {
            FileType::Directory | FileType::Unknown => self.reach(&self.path) != Reach::Nothing,
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => false,
        };
        match folder {
            Reach::Tree => true,
            Reach::Files if entry.kind != FileType::Directory => true,
            // A folder that is refused is told of with the folder that holds it.
            Reach::Files => RelPath::from_bytes(&self.path).is_err() || is_on_the_way(),
            Reach::Way => is_on_the_way(),
            Reach::Nothing => false,
        }
    }

    /// Whether what was found is to be told: something of an unknown kind may have been met on the way.
    fn is_within(&self, found: &Found) -> bool {
        match found {
            Found::File { path, .. } => self.scope.covers(path),
            Found::Skipped { .. } | Found::Refused { .. } | Found::Unreadable { .. } => true,
        }
    }

    /// The names in a folder that some servers take for one, of what is sent.
    fn twins(&self, names: &[Name], below: Below) -> BTreeMap<CString, Twins> {
        let path = |name: &Name| [self.path.as_slice(), name.name.as_bytes()].concat();
        let is_sent = |name: &Name| match name.kind {
            _ if !self.filter.carries(&path(name)) => false,
            FileType::RegularFile => self.filter.admits_file(&path(name), below),
            FileType::Directory => self.filter.enter(&path(name), below).is_some(),
            FileType::Unknown => true,
            FileType::Symlink => self.root.links() == Symlinks::Follow && self.concerns(&path(name), below),
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => false,
        };
        let bytes: Vec<&[u8]> = names.iter().map(|name| name.name.as_bytes()).collect();
        let mut found = BTreeMap::new();
        for (at, others) in twins::twins(&bytes, |at| names.get(at).is_some_and(is_sent)) {
            let Some(name) = names.get(at) else { continue };
            let twins: &mut Twins = found.entry(name.name.clone()).or_default();
            for (other, difference) in others {
                let other = names.get(other).map(|other| shown(&path(other))).unwrap_or_default();
                twins.add(Twin { other, difference });
            }
        }
        found
    }

    /// The twins of a name in the folder that is walked.
    fn twins_of(&self, name: &CString) -> Twins {
        let folder = self.folders.last();
        folder.map(|folder| folder.twins.with(folder.names_with_twins.get(name))).unwrap_or_default()
    }

    /// What is to be said of a folder. Mostly nothing: it is walked next.
    fn enter(&mut self, name: &CString, below: Below) -> Option<Found> {
        self.enter_by(name, below, |scan| open_folder(scan.folder().ok_or(Errno::BADF)?, name))
    }

    /// The same with a way to open it.
    fn enter_by(
        &mut self,
        name: &CString,
        below: Below,
        open: impl FnOnce(&Self) -> Result<OwnedFd, Errno>,
    ) -> Option<Found> {
        if self.folders.len() == 1 && self.path.starts_with(ASIDE_PREFIX) {
            let reason = "files of a restore that is under way or was cut off";
            return Some(Found::Skipped { name: shown(&self.path), reason: reason.to_owned() });
        }
        let below = self.filter.enter(&self.path, below)?;
        if let Err(error) = RelPath::from_bytes(&self.path) {
            return Some(self.refused(&format_args!("nothing in this folder is sent: {error}")));
        }
        if self.folders.len() > MAX_FOLDER_DEPTH {
            let error = format_args!("it lies more than {MAX_FOLDER_DEPTH} folders deep");
            return Some(self.refused(&format_args!("nothing in this folder is sent: {error}")));
        }
        let opened = open(self);
        let twins = self.twins_of(name);
        match opened.and_then(|folder| self.walk(folder, below, twins)) {
            Ok(()) | Err(Errno::NOENT) => None,
            Err(Errno::NOTDIR | Errno::LOOP) => Some(self.swapped()),
            Err(errno) => Some(self.unreadable("the folder", errno)),
        }
    }

    /// What is to be said of something that was listed as a file.
    fn look(&mut self, name: &CString, below: Below) -> Option<Found> {
        if !self.filter.admits_file(&self.path, below) {
            return None;
        }
        let path = match RelPath::from_bytes(&self.path) {
            Ok(path) => path,
            Err(error) => return Some(self.refused(&error)),
        };
        let observed_at = (self.now)();
        match statat(self.folder()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            Err(errno) => Some(self.unreadable("the file", errno)),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let twins = self.twins_of(name);
                    Some(Found::File { path, stat: file_stat(&stat), observed_at, twins })
                }
                FileType::Directory => Some(self.swapped()),
                FileType::Symlink => self.link(name, below),
                kind => self.skipped(what(kind), below),
            },
        }
    }

    /// For file systems that do not tell kinds when they list names.
    fn look_twice(&mut self, name: &CString, below: Below) -> Option<Found> {
        match statat(self.folder()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            Err(errno) => Some(self.unreadable("the file", errno)),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.enter(name, below),
                FileType::RegularFile => self.look(name, below),
                FileType::Symlink => self.link(name, below),
                kind => self.skipped(what(kind), below),
            },
        }
    }

    fn visit(&mut self, entry: &Name, below: Below) -> Option<Found> {
        if is_temporary_name(entry.name.as_bytes()) {
            let reason = "a name that Nightferry gives for a while: half a file, or one set aside";
            return Some(Found::Skipped { name: shown(&self.path), reason: reason.to_owned() });
        }
        match entry.kind {
            FileType::RegularFile => self.look(&entry.name, below),
            FileType::Directory => self.enter(&entry.name, below),
            FileType::Unknown => self.look_twice(&entry.name, below),
            FileType::Symlink => self.link(&entry.name, below),
            kind => self.skipped(what(kind), below),
        }
    }

    fn folder(&self) -> Option<BorrowedFd<'_>> {
        self.folders.last().and_then(|folder| folder.dir.fd().ok())
    }

    fn skipped(&self, reason: &str, below: Below) -> Option<Found> {
        let admitted = self.filter.admits_file(&self.path, below);
        admitted.then(|| Found::Skipped { name: shown(&self.path), reason: reason.to_owned() })
    }

    fn refused(&self, reason: &dyn fmt::Display) -> Found {
        Found::Refused { name: shown(&self.path), reason: reason.to_string() }
    }

    fn unreadable(&self, what: &str, errno: Errno) -> Found {
        Found::Unreadable { name: shown(&self.path), reason: unreadable(what, errno) }
    }

    /// A folder became something else, or something else a folder, since it was listed. What is
    /// there now has not been walked.
    fn swapped(&self) -> Found {
        let reason = "it was replaced by something else at this moment; the next run looks again";
        Found::Unreadable { name: shown(&self.path), reason: reason.to_owned() }
    }
}

/// What people call something that is neither file nor folder.
const fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::RegularFile | FileType::Directory | FileType::Unknown => "of an unknown kind",
    }
}

fn unreadable(what: &str, errno: Errno) -> String {
    format!("{what} cannot be read: {}", Plain(&errno.into()))
}

impl<N: Fn() -> Timestamp> Iterator for Scan<N> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if self.state == State::NotBegun
            && let Some(found) = self.begin()
        {
            return Some(found);
        }
        loop {
            let Some(folder) = self.folders.last_mut() else { return self.end() };
            let Some(entry) = folder.names.next() else {
                self.folders.pop();
                continue;
            };
            let (below, reach) = (folder.below, folder.reach);
            self.path.truncate(folder.path_bytes);
            self.path.extend_from_slice(entry.name.as_bytes());
            if !self.is_meant(&entry, reach) {
                continue;
            }
            if let Some(found) = self.visit(&entry, below).filter(|found| self.is_within(found)) {
                return Some(found);
            }
        }
    }
}

impl<N> fmt::Debug for Scan<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = shown(&self.path);
        f.debug_struct("Scan").field("root", &self.root).field("at", &at).finish_non_exhaustive()
    }
}
