//! Deleting and moving delivered files, and all that may happen to them meanwhile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::domain::{Digest, FileStat, RelPath};
use crate::source::{RetireError, SourceRoot};

const PRIVATE: &str = ".nf-00000000-00000000-0000000000000000";
const STAMP: &str = "20261122T170000Z";

struct Bench {
    folder: tempfile::TempDir,
    root: SourceRoot,
    path: RelPath,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("source/sub")).unwrap();
        let root = SourceRoot::open(&folder.path().join("source")).unwrap();
        let bench = Self { folder, root, path: RelPath::new("sub/a.csv").unwrap() };
        fs::write(bench.file(), "delivered").unwrap();
        bench
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("source/sub/a.csv")
    }

    fn private(&self) -> std::path::PathBuf {
        self.folder.path().join("source/sub").join(PRIVATE)
    }

    fn stat(&self) -> FileStat {
        self.root.open_file(&self.path).unwrap().stat()
    }

    fn sent(&self) -> std::path::PathBuf {
        self.folder.path().join("sent")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn digest() -> Digest {
    Digest::of(b"delivered")
}

#[test]
fn a_delivered_file_is_deleted() {
    let bench = Bench::new();
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    assert!(!bench.file().exists() && bench.private().exists());
    aside.confirm(&digest()).unwrap().delete().unwrap();
    assert!(Bench::names(&bench.folder.path().join("source/sub")).is_empty());
}

#[test]
fn a_moved_file_keeps_its_path_and_never_replaces_another() {
    let bench = Bench::new();
    let expected = ["sub/a.csv", "sub/a.csv.20261122T170000Z", "sub/a.csv.20261122T170000Z-2"];
    for expected in expected {
        fs::write(bench.file(), "delivered").unwrap();
        let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
        assert_eq!(aside.move_to(&bench.sent(), STAMP, &digest()).unwrap(), expected);
        assert_eq!(fs::read(bench.sent().join(expected)).unwrap(), b"delivered");
    }
    assert_eq!(Bench::names(&bench.sent().join("sub")).len(), 3);
}

#[test]
fn another_file_system_gets_a_copy_with_the_same_time() {
    let bench = Bench::new();
    // Memory file systems are on every Linux; where it is none, this is the rename again.
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let time = fs::metadata(bench.file()).unwrap().modified().unwrap();
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    aside.move_to(other.path(), STAMP, &digest()).unwrap();
    let moved = other.path().join("sub/a.csv");
    assert_eq!(fs::read(&moved).unwrap(), b"delivered");
    assert_eq!(fs::metadata(&moved).unwrap().modified().unwrap(), time);
    assert!(Bench::names(&bench.folder.path().join("source/sub")).is_empty());
    // A file that is not what was delivered does not get there.
    fs::write(bench.file(), "DELIVERED").unwrap();
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    aside.move_to(other.path(), STAMP, &digest()).unwrap_err();
    assert_eq!(Bench::names(&other.path().join("sub")), ["a.csv"]);
    assert_eq!(fs::read(bench.file()).unwrap(), b"DELIVERED");
}

#[test]
fn a_file_that_changed_stays() {
    let bench = Bench::new();
    let delivered = bench.stat();
    fs::write(bench.file(), "delivered and more").unwrap();
    let refused = bench.root.set_aside(&bench.path, PRIVATE, &delivered).unwrap_err();
    assert!(matches!(refused, RetireError::Changed { .. }), "{refused}");
    // As large and as old, but with another content.
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    let refused = aside.confirm(&digest()).unwrap_err();
    assert!(matches!(refused, RetireError::Changed { .. }), "{refused}");
    assert_eq!(fs::read(bench.file()).unwrap(), b"delivered and more");
    assert_eq!(Bench::names(&bench.folder.path().join("source/sub")), ["a.csv"]);
}

#[test]
fn a_file_that_is_written_to_while_it_is_aside_gets_its_name_back() {
    let bench = Bench::new();
    for act in ["delete", "move"] {
        let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
        fs::write(bench.private(), format!("written to by one that had it open: {act}")).unwrap();
        let refused = match act {
            "delete" => aside.delete().unwrap_err(),
            _ => aside.move_to(&bench.sent(), STAMP, &digest()).unwrap_err(),
        };
        assert!(matches!(refused, RetireError::Changed { .. }), "{refused}");
        assert!(fs::read_to_string(bench.file()).unwrap().ends_with(act));
    }
    assert!(!bench.sent().join("sub/a.csv").exists());
}

#[test]
fn a_new_file_under_the_old_name_is_never_touched() {
    let bench = Bench::new();
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    fs::write(bench.file(), "new").unwrap();
    aside.delete().unwrap();
    assert_eq!(fs::read(bench.file()).unwrap(), b"new");
    // Both are kept where the first one changed as well.
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    fs::write(bench.private(), "changed").unwrap();
    fs::write(bench.file(), "newer").unwrap();
    let refused = aside.delete().unwrap_err();
    assert!(refused.to_string().contains(PRIVATE), "{refused}");
    assert_eq!(fs::read(bench.file()).unwrap(), b"newer");
    assert_eq!(fs::read(bench.private()).unwrap(), b"changed");
}

#[test]
fn what_a_crash_left_aside_is_found_and_what_is_gone_is_not() {
    let bench = Bench::new();
    let delivered = bench.stat();
    drop(bench.root.set_aside(&bench.path, PRIVATE, &delivered).unwrap().unwrap());
    assert!(bench.root.set_aside(&bench.path, PRIVATE, &delivered).unwrap().is_none());
    bench.root.find_aside(&bench.path, PRIVATE, &delivered).unwrap().unwrap().delete().unwrap();
    assert!(bench.root.find_aside(&bench.path, PRIVATE, &delivered).unwrap().is_none());
    fs::remove_dir(bench.folder.path().join("source/sub")).unwrap();
    assert!(bench.root.find_aside(&bench.path, PRIVATE, &delivered).unwrap().is_none());
}

#[test]
fn no_link_leads_out() {
    let bench = Bench::new();
    let delivered = bench.stat();
    let outside = tempfile::tempdir().unwrap();
    fs::rename(bench.file(), outside.path().join("a.csv")).unwrap();
    fs::remove_dir(bench.folder.path().join("source/sub")).unwrap();
    symlink(outside.path(), bench.folder.path().join("source/sub")).unwrap();
    bench.root.set_aside(&bench.path, PRIVATE, &delivered).unwrap_err();
    assert!(outside.path().join("a.csv").exists());
    // Nor is a file moved through a link in the folder for delivered files.
    let bench = Bench::new();
    fs::create_dir(bench.sent()).unwrap();
    symlink(outside.path(), bench.sent().join("sub")).unwrap();
    let aside = bench.root.set_aside(&bench.path, PRIVATE, &bench.stat()).unwrap().unwrap();
    aside.move_to(&bench.sent(), STAMP, &digest()).unwrap_err();
    assert_eq!(fs::read(bench.file()).unwrap(), b"delivered");
}
