//! What is read, and what never is.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::super::{Change, SourceError, hash_file, hash_with_beginnings};
use super::{CANARY, Lookup, Tree, all, now, open, read_all, rel, set_old};
use crate::domain::{Digest, FailureClass, Found};

#[test]
fn a_file_is_read_and_hashed() {
    let tree = Tree::new();
    let big = vec![7; 3 * 64 * 1024 + 1];
    for (path, bytes) in [("a", &b"abc"[..]), ("x/y/z", b"deep"), ("empty", b""), ("big", &big)] {
        tree.write(path, bytes);
        for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
            assert!(read_all(&tree.root(), path, lookup).unwrap() == bytes, "{path} {lookup:?}");
        }
        let (sent, stat) = hash_file(&tree.root(), &rel(path)).unwrap();
        assert_eq!((sent.size, sent.digest), (bytes.len() as u64, Digest::of(bytes)));
        assert_eq!(stat.size, sent.size);
        assert_eq!(stat, tree.root().open_file(&rel(path)).unwrap().stat());
    }
    for path in ["none", "x/none", "none/x"] {
        for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
            let error = open(&tree.root(), path, lookup).unwrap_err();
            assert!(matches!(error, SourceError::Gone { .. }), "{path} {lookup:?}: {error:?}");
        }
    }
}

#[test]
fn the_beginnings_of_a_file_are_shorter_than_it_and_close_to_each_other() {
    let tree = Tree::new();
    for (size, count) in [(0, 0), (1024, 0), (1025, 1), (4096, 3), (5000, 4), (1_000_000, 28)] {
        let bytes: Vec<u8> = (0..size).map(|n: usize| n.to_le_bytes()[n % 2]).collect();
        tree.write("a", &bytes);
        let (sent, stat, beginnings) = hash_with_beginnings(&tree.root(), &rel("a")).unwrap();
        assert_eq!((sent, stat), hash_file(&tree.root(), &rel("a")).unwrap());
        assert_eq!(beginnings.len(), count, "{size}: {beginnings:?}");
        let mut before = 0;
        for beginning in beginnings {
            let length = usize::try_from(beginning.size).unwrap();
            assert_eq!(beginning.digest, Digest::of(&bytes[..length]), "{length} of {size}");
            assert!(length - before <= 1024.max(length / 5 + 1), "{before} to {length}");
            before = length;
        }
        assert!(size - before <= 1024.max(size / 5), "{before} of {size}");
    }
}

#[test]
fn reading_must_reach_the_end() {
    let tree = Tree::new();
    tree.write_old("a", b"0123456789");
    let mut file = tree.root().open_file(&rel("a")).unwrap();
    assert_eq!(file.read(&mut [0; 4]).unwrap(), 4);
    let error = file.finish().unwrap_err();
    assert!(matches!(error, SourceError::Unfinished { read: 4, size: 10, .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Other);
}

/// Waits until the file system's clock has ticked, so that a change of the inode shows.
fn tick(tree: &Tree) {
    let probe = tree.outside("probe");
    let ctime = || {
        fs::write(&probe, b"").unwrap();
        let meta = fs::metadata(&probe).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let first = ctime();
    while ctime() == first {
        thread::yield_now();
    }
}

/// What becomes of an old file of ten bytes that is half read when `meddle` comes.
fn changed(meddle: impl FnOnce(&Tree, &Path)) -> Option<Change> {
    let tree = Tree::new();
    let path = tree.write_old("a", b"0123456789");
    tick(&tree);
    let mut file = tree.root().open_file(&rel("a")).unwrap();
    let mut buf = [0; 5];
    assert_eq!(file.read(&mut buf).unwrap(), 5);
    meddle(&tree, &path);
    let rest = loop {
        match file.read(&mut buf) {
            Ok(0) => break file.finish().map(drop),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    match rest {
        Ok(()) => None,
        Err(SourceError::Changed { what, .. }) => Some(what),
        Err(error) => panic!("{error:?}"),
    }
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_worth_nothing() {
    assert_eq!(changed(|_, _| ()), None);
    assert_eq!(changed(|_, path| append(path, b"x")), Some(Change::Grew { from: 10 }));
    let truncate =
        |path: &Path, size| OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
    assert_eq!(changed(|_, path| truncate(path, 7)), Some(Change::Size { from: 10, to: 7 }));
    let rewritten = changed(|_, path| {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(b"9876543210").unwrap();
    });
    assert!(matches!(rewritten, Some(Change::Content { .. })), "{rewritten:?}");
    let emptied_and_rewritten = changed(|_, path| fs::write(path, b"9876543210").unwrap());
    assert!(matches!(emptied_and_rewritten, Some(Change::Content { .. })), "{emptied_and_rewritten:?}");
    let disguised = changed(|_, path| {
        fs::write(path, b"9876543210").unwrap();
        set_old(path);
    });
    assert!(matches!(disguised, Some(Change::Inode { .. })), "{disguised:?}");
}

#[test]
fn a_file_that_is_replaced_renamed_or_deleted_while_it_is_read_is_worth_nothing() {
    let replaced = changed(|tree, path| {
        let new = tree.write_old("new", b"9876543210");
        fs::rename(new, path).unwrap();
    });
    assert!(matches!(replaced, Some(Change::Inode { .. })), "{replaced:?}");
    let renamed = changed(|tree, path| fs::rename(path, tree.at("b")).unwrap());
    assert!(matches!(renamed, Some(Change::Inode { .. })), "{renamed:?}");
    let deleted = changed(|_, path| fs::remove_file(path).unwrap());
    assert!(matches!(deleted, Some(Change::Inode { .. })), "{deleted:?}");
}

#[test]
fn a_file_that_changes_after_its_last_byte_is_worth_nothing() {
    let tree = Tree::new();
    let path = tree.write_old("a", b"0123456789");
    for (bytes, name) in [(&b"x"[..], "grown"), (b"", "unchanged")] {
        let mut file = tree.root().open_file(&rel("a")).unwrap();
        while file.read(&mut [0; 64]).unwrap() > 0 {}
        append(&path, bytes);
        assert_eq!(file.finish().is_err(), !bytes.is_empty(), "{name}");
    }
}

#[test]
fn a_file_that_never_stops_growing_is_not_read_for_ever() {
    let tree = Tree::new();
    let path = tree.write_old("log", b"0123456789");
    let mut file = tree.root().open_file(&rel("log")).unwrap();
    let mut read = 0;
    let error = loop {
        append(&path, b"0123456789");
        assert!(read <= 10, "{read}");
        match file.read(&mut [0; 4]) {
            Ok(count) => read += count,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::Changed { what: Change::Grew { from: 10 }, .. }), "{error:?}");
}

#[test]
fn a_pipe_without_a_writer_holds_nobody_up() {
    let tree = Tree::new();
    mknodat(CWD, tree.at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let root = tree.root();
    for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| send.send(open(&root, "pipe", lookup).map(drop)));
            let answer = receive.recv_timeout(Duration::from_secs(10));
            // Frees the other thread, should it wait.
            let writer = OpenOptions::new().read(true).write(true).open(tree.at("pipe")).unwrap();
            assert!(matches!(answer, Ok(Err(SourceError::NotAFile { .. }))), "{lookup:?}: {answer:?}");
            drop(writer);
        });
    }
}

/// Swaps two names until `swaps` times are over.
fn race(a: &Path, b: &Path, swaps: u32, over: &AtomicBool) {
    for _ in 0..swaps {
        renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
    }
    over.store(true, Ordering::Release);
}

const SWAPS: u32 = 20_000;

/// Reads and walks while `name` in the source and `other` beside it are swapped. The canary,
/// which `path` names half of the time, must never be read.
fn canary_survives(tree: &Tree, name: &str, other: &str, path: &str, lookup: Lookup) {
    let over = AtomicBool::new(false);
    let root = tree.root();
    let canary = fs::metadata(tree.outside("canary")).unwrap().ino();
    let (mut read, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| race(&tree.at(name), &tree.outside(other), SWAPS, &over));
        while !over.load(Ordering::Acquire) {
            match read_all(&root, path, lookup) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"harmless");
                    read += 1;
                }
                Err(SourceError::NotAFile { .. } | SourceError::Changed { .. }) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            for found in root.scan(&all(), now) {
                if let Found::File { stat, .. } = found {
                    assert_ne!(stat.inode, canary);
                }
            }
        }
    });
    println!("{name} {lookup:?}: read {read} times, refused {refused} times");
}

#[test]
fn a_file_swapped_for_a_link_is_never_followed() {
    for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
        let tree = Tree::new();
        tree.write("f", b"harmless");
        symlink(tree.outside("canary"), tree.outside("link")).unwrap();
        canary_survives(&tree, "f", "link", "f", lookup);
    }
}

#[test]
fn a_folder_swapped_for_a_link_is_never_followed() {
    for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
        let tree = Tree::new();
        tree.write("d/canary", b"harmless");
        symlink(tree.outside.path(), tree.outside("link")).unwrap();
        canary_survives(&tree, "d", "link", "d/canary", lookup);
    }
}

#[test]
fn the_canary_can_be_read_by_those_who_follow_links() {
    let tree = Tree::new();
    symlink(tree.outside("canary"), tree.at("f")).unwrap();
    let mut bytes = Vec::new();
    File::open(tree.at("f")).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, CANARY);
}
