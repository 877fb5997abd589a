//! Sees each final name appear on the server's disk, in folders that appear as well. It asks neither the agent nor
//! the server.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::real_servers::disk::{happened, is_pure_ftpds_own};

/// Under a final name only renames to it may be seen.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);

/// How a final name was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// It stood in its folder, as this inode, when the folder was first looked into: its rename may be told still.
    Standing(u64),
    Renamed,
}

#[derive(Debug)]
pub(super) struct Sight {
    inotify: OwnedFd,
    root: PathBuf,
    folders: HashMap<i32, PathBuf>,
    first: HashMap<PathBuf, First>,
    /// What must not be.
    pub(super) faults: Vec<String>,
}

impl Sight {
    pub(super) fn of(root: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let (folders, first) = (HashMap::new(), HashMap::new());
        let mut sight = Self { inotify, root: root.to_owned(), folders, first, faults: Vec::new() };
        sight.enter(root, |_| None);
        sight
    }

    /// How many final names have been seen.
    pub(super) fn seen(&self) -> usize {
        self.first.len()
    }

    /// Takes in what happened since the last look. `content` is what belongs into a file.
    pub(super) fn look(&mut self, content: fn(&str) -> Option<Vec<u8>>) {
        for (folder, what, name) in happened(&self.inotify) {
            assert!(!what.contains(ReadFlags::QUEUE_OVERFLOW), "the watch did not keep up");
            let Some(folder) = self.folders.get(&folder) else { continue };
            let path = folder.join(&name);
            if what.contains(ReadFlags::ISDIR) {
                self.enter(&path, content);
            } else if !is_temporary(&name) {
                self.judge(&path, what, content);
            }
        }
    }

    fn judge(&mut self, path: &Path, what: ReadFlags, content: fn(&str) -> Option<Vec<u8>>) {
        if !what.contains(ReadFlags::MOVED_TO) {
            self.faults.push(format!("{} under its final name: {what:?}", path.display()));
            return;
        }
        match self.first.insert(path.to_owned(), First::Renamed) {
            None => self.read(path, content),
            Some(First::Standing(inode)) if fs::metadata(path).unwrap().ino() == inode => {}
            Some(_) => self.faults.push(format!("{} arrived twice", path.display())),
        }
    }

    /// Watches a folder that is new, and what was in it before.
    fn enter(&mut self, folder: &Path, content: fn(&str) -> Option<Vec<u8>>) {
        let watch = inotify::add_watch(&self.inotify, folder, EVENTS).unwrap();
        self.folders.insert(watch, folder.to_owned());
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                self.enter(&path, content);
            } else if !is_temporary(entry.file_name().to_str().unwrap()) && !self.first.contains_key(&path) {
                self.first.insert(path.clone(), First::Standing(entry.metadata().unwrap().ino()));
                self.read(&path, content);
            }
        }
    }

    /// Whoever opens a final name must get a whole file.
    fn read(&mut self, path: &Path, content: fn(&str) -> Option<Vec<u8>>) {
        let found = fs::read(path).unwrap();
        let name = path.strip_prefix(&self.root).unwrap().to_str().unwrap();
        match content(name) {
            Some(whole) if whole == found => {}
            Some(whole) => {
                self.faults.push(format!("{name} was seen with {} of {} bytes", found.len(), whole.len()));
            }
            None => self.faults.push(format!("{name} is no file of the source")),
        }
    }
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".nf-") || is_pure_ftpds_own(name)
}
