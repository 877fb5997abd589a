//! What the clinic wrote into the source folder: the truth against which everything is held.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::{bytes, time_of};

/// A version of a file, by its place in the list of all versions of its path.
pub(super) type Version = usize;

/// The contents of the versions of each path.
type Versions = BTreeMap<String, Vec<Arc<Vec<u8>>>>;

/// All versions of all files, by path below the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Arc<Mutex<Versions>>);

impl Journal {
    /// Writes down a new version of a file, before it stands anywhere. Two versions of a path
    /// differ in their bytes.
    pub(super) fn add(&self, path: &str, seed: u64, size: usize) -> Arc<Vec<u8>> {
        let mut journal = self.0.lock().unwrap();
        let versions = journal.entry(path.to_owned()).or_default();
        let mut content = bytes(seed, size);
        while versions.iter().any(|version| **version == content) {
            content.push(b'+');
        }
        let content = Arc::new(content);
        versions.push(Arc::clone(&content));
        content
    }

    /// Which version of a file this is; none where it is not a whole one.
    pub(super) fn version(&self, path: &str, content: &[u8]) -> Option<Version> {
        self.0.lock().unwrap().get(path)?.iter().position(|version| **version == content)
    }

    /// The content of a version.
    pub(super) fn content(&self, path: &str, version: Version) -> Arc<Vec<u8>> {
        Arc::clone(&self.0.lock().unwrap()[path][version])
    }

    /// Every version of every file.
    pub(super) fn all(&self) -> Vec<(String, Version)> {
        let journal = self.0.lock().unwrap();
        let each = journal.iter().flat_map(|(path, all)| (0..all.len()).map(move |at| (path.clone(), at)));
        each.collect()
    }
}

/// The folder whose files are sent, and how files get into it: whole, by a rename.
#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    journal: Journal,
    /// Where files are written first.
    desk: PathBuf,
    /// What stands in the source, if nobody took it: the latest version of each path.
    placed: BTreeMap<String, Version>,
    written: u64,
}

impl Source {
    pub(super) fn new(folder: PathBuf, desk: PathBuf, journal: Journal) -> Self {
        fs::create_dir(&desk).unwrap();
        Self { folder, journal, desk, placed: BTreeMap::new(), written: 0 }
    }

    /// A new file, or another version of one.
    pub(super) fn write(&mut self, path: &str, seed: u64, size: usize) {
        let content = self.journal.add(path, seed, size);
        let draft = self.desk.join("draft");
        fs::write(&draft, &*content).unwrap();
        self.written += 1;
        fs::File::open(&draft).unwrap().set_modified(time_of(seed % 10_000)).unwrap();
        let place = self.folder.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(draft, place).unwrap();
        self.placed.insert(path.to_owned(), self.journal.version(path, &content).unwrap());
    }

    /// Gives a file another time, if it is still there.
    pub(super) fn touch(&self, path: &str, seed: u64) {
        if let Ok(file) = fs::File::open(self.folder.join(path)) {
            file.set_modified(time_of(seed % 10_000)).unwrap();
        }
    }

    /// Takes a file out, as its owner does.
    pub(super) fn remove(&mut self, path: &str) {
        fs::remove_file(self.folder.join(path)).unwrap();
        self.placed.remove(path);
    }

    /// Whether a file stands under its own name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }

    /// The paths that were placed and not removed by their owner.
    pub(super) fn placed(&self) -> &BTreeMap<String, Version> {
        &self.placed
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many files were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}
