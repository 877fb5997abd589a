//! What Linux does for a watch: inotify, by notify.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, INotifyWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;

use super::gather::{Sign, Signs};
use super::look::{Events, RootId, System};
use super::status::Degraded;

use crate::plain::without_numbers;

/// File systems of which others change the files, or that forward no events, by the number that
/// `statfs` gives (`linux/magic.h`).
const EVENTLESS: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x786F_4256, "a VirtualBox share"),
];

/// Most folders that are counted, for status only: more than the system gives watches for.
const MOST_COUNTED: u64 = 10_000_000;

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl System for Linux {
    fn identify(&self, source: &Path) -> io::Result<RootId> {
        let facts = fs::metadata(source)?;
        if !facts.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(RootId { device: facts.dev(), inode: facts.ino() })
    }

    fn eventless(&self, source: &Path) -> Option<&'static str> {
        let facts = rustix::fs::statfs(source).ok()?;
        // 32 bits of it count.
        let kind = u64::from_ne_bytes(facts.f_type.to_ne_bytes()) & 0xFFFF_FFFF;
        EVENTLESS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
    }

    fn watch(&self, source: &Path, signs: Arc<Signs>) -> Result<Box<dyn Events>, Degraded> {
        let below = source.to_owned();
        let handler = move |told: notify::Result<Event>| match told {
            Ok(event) => put(&signs, &below, &event),
            // A folder without a watch: what happens in it is not told any more.
            Err(error) => match error.kind {
                ErrorKind::MaxFilesWatch => signs.put(Sign::Failed(too_many(0))),
                ErrorKind::Generic(_)
                | ErrorKind::Io(_)
                | ErrorKind::PathNotFound
                | ErrorKind::WatchNotFound
                | ErrorKind::InvalidConfig(_) => signs.put(Sign::Lost),
            },
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut inotify = INotifyWatcher::new(handler, config).map_err(|error| cause(&error, source))?;
        inotify.watch(source, RecursiveMode::Recursive).map_err(|error| cause(&error, source))?;
        Ok(Box::new(Inotify { folders: folders(source), _watcher: inotify }))
    }
}

struct Inotify {
    folders: u64,
    _watcher: INotifyWatcher,
}

impl Events for Inotify {
    fn folders(&self) -> u64 {
        self.folders
    }
}

/// What an event is a sign of. Reading is none: our own runs read all that they send. That something
/// went away is none either: nothing is sent for it, and what is deleted for it on a server takes a
/// look at all of the source.
fn put(signs: &Signs, source: &Path, event: &Event) {
    if event.need_rescan() {
        return signs.put(Sign::Lost);
    }
    let sign: fn(&Path) -> Sign<'_> = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => |path| Sign::Touched(path),
        // A rename in two halves has come as these already.
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
        // Whether what was moved here is a folder is not told.
        EventKind::Create(CreateKind::Folder) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            |path| Sign::Appeared(path)
        }
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            if event.paths.iter().any(|path| path == source) {
                signs.put(Sign::Root);
            }
            return;
        }
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            |path| Sign::Touched(path)
        }
    };
    event.paths.iter().for_each(|path| signs.put(sign(path)));
}

fn too_many(folders: u64) -> Degraded {
    Degraded::TooManyFolders { folders, limit: limit("max_user_watches") }
}

/// Why a watch could not begin.
fn cause(error: &notify::Error, source: &Path) -> Degraded {
    let code = match &error.kind {
        ErrorKind::MaxFilesWatch => return too_many(folders(source)),
        ErrorKind::Io(error) => error.raw_os_error(),
        ErrorKind::Generic(_)
        | ErrorKind::PathNotFound
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => None,
    };
    // inotify_init1(2): EMFILE for the instances of the user, and for the descriptors of the process.
    if code == Some(Errno::MFILE.raw_os_error()) {
        return Degraded::TooManyWatchers { limit: limit("max_user_instances") };
    }
    if code == Some(Errno::NOSPC.raw_os_error()) {
        return too_many(folders(source));
    }
    Degraded::Other { cause: without_numbers(&error.to_string()) }
}

fn limit(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).ok()?.trim().parse().ok()
}

/// Folders below one, itself included, without those behind links.
fn folders(source: &Path) -> u64 {
    let (mut count, mut left) = (0, vec![source.to_owned()]);
    while let Some(folder) = left.pop() {
        count += 1;
        if count >= MOST_COUNTED {
            break;
        }
        let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        left.extend(entries.filter(is_folder).map(|entry| entry.path()));
    }
    count
}
