//! Tests on real trees.

mod links;
mod place;
mod read;
mod retire;
mod scan;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{Filter, SourceError, SourceFile, SourceRoot};
use crate::domain::{Digest, Found, RelPath, Timestamp};

/// What stands outside the source and must never be read.
const CANARY: &[u8] = b"canary canary canary";

/// A source folder `src` inside a temporary one that also holds what is outside.
struct Tree {
    outside: TempDir,
}

impl Tree {
    fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("src")).unwrap();
        fs::write(outside.path().join("canary"), CANARY).unwrap();
        Self { outside }
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    fn at(&self, path: impl AsRef<OsStr>) -> PathBuf {
        self.outside("src").join(Path::new(path.as_ref()))
    }

    fn write(&self, path: impl AsRef<OsStr>, bytes: &[u8]) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a file whose mtime lies in the past, so that any write shows.
    fn write_old(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.write(path, bytes);
        set_old(&path);
        path
    }

    fn root(&self) -> SourceRoot {
        SourceRoot::open(&self.outside("src")).unwrap()
    }

    fn scan(&self, include: &[&str], exclude: &[&str]) -> Vec<Found> {
        let owned = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(include), &owned(exclude)).unwrap();
        self.root().scan(&filter, now).collect()
    }
}

fn set_old(path: &Path) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    OpenOptions::new().write(true).open(path).unwrap().set_modified(old).unwrap();
}

fn now() -> Timestamp {
    Timestamp::from_unix(7, 0)
}

fn all() -> Filter {
    Filter::new(&[], &[]).unwrap()
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn file_paths(found: &[Found]) -> Vec<String> {
    let path = |found: &Found| match found {
        Found::File { path, .. } => Some(path.to_string()),
        Found::Skipped { .. } | Found::Refused { .. } | Found::Unreadable { .. } => None,
    };
    found.iter().filter_map(path).collect()
}

/// All that is not a file: the kind, the name, the reason.
fn others(found: &[Found]) -> BTreeSet<(&str, &str, &str)> {
    let other = |found| match found {
        &Found::File { .. } => None,
        Found::Skipped { name, reason } => Some(("skipped", name.as_str(), reason.as_str())),
        Found::Refused { name, reason } => Some(("refused", name.as_str(), reason.as_str())),
        Found::Unreadable { name, reason } => Some(("unreadable", name.as_str(), reason.as_str())),
    };
    found.iter().filter_map(other).collect()
}

/// The two ways to open a file.
#[derive(Clone, Copy, Debug)]
enum Lookup {
    AtOnce,
    StepByStep,
}

fn open(root: &SourceRoot, path: &str, lookup: Lookup) -> Result<SourceFile, SourceError> {
    match lookup {
        Lookup::AtOnce => root.open_file(&rel(path)),
        Lookup::StepByStep => root.open_file_step_by_step(&rel(path)),
    }
}

fn read_all(root: &SourceRoot, path: &str, lookup: Lookup) -> Result<Vec<u8>, SourceError> {
    let mut file = open(root, path, lookup)?;
    let (mut bytes, mut buf) = (Vec::new(), [0; 7]);
    loop {
        match file.read(&mut buf)? {
            0 => break,
            count => bytes.extend_from_slice(&buf[..count]),
        }
    }
    let (sent, _) = file.finish()?;
    assert_eq!((sent.size, sent.digest), (bytes.len() as u64, Digest::of(&bytes)));
    Ok(bytes)
}
