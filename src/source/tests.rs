//! Tests on real trees.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;

use super::*;
use crate::domain::{Digest, FailureClass, Found, RelPath};

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

#[test]
fn any_name_can_be_shown() {
    for (name, text) in [
        (&b"a b/\xc3\xbc\\"[..], "a b/ü\\"),
        (b"a\nb\x1b[2J\x7f\0", r"a\nb\u{1b}[2J\u{7f}\u{0}"),
        (b"caf\xe9.txt", r"caf\xe9.txt"),
        ("c1\u{85}".as_bytes(), r"c1\u{85}"),
    ] {
        assert_eq!(shown(name), text);
    }
}

#[test]
fn only_a_readable_folder_is_a_source() {
    let tree = Tree::new();
    let open = |name| SourceRoot::open(&tree.outside(name));
    assert!(matches!(open("none"), Err(SourceError::Missing { .. })));
    assert!(matches!(open("canary"), Err(SourceError::NotAFolder { .. })));
    symlink(tree.outside("src"), tree.outside("link")).unwrap();
    assert!(open("link").is_ok(), "the configuration may name a link");
    assert_eq!(open("none").unwrap_err().class(), FailureClass::Source);
}

#[test]
fn files_come_in_the_order_of_paths_with_their_facts() {
    let tree = Tree::new();
    let names = ["a-b", "a/z", "a/b/c", "a!", "-x", "ü", "[x]*", ".hidden", "a/.b", "empty"];
    for name in names {
        tree.write(name, name.as_bytes());
    }
    fs::create_dir(tree.at("a/nothing")).unwrap();
    let found = tree.scan(&[], &[]);
    let mut expected = names.map(rel);
    expected.sort();
    assert_eq!(file_paths(&found), expected.map(|path| path.to_string()));
    for found in &found {
        let Found::File { path, stat, observed_at } = found else { panic!("{found:?}") };
        let meta = fs::metadata(tree.at(path.as_str())).unwrap();
        assert_eq!((stat.size, stat.inode), (meta.len(), meta.ino()));
        assert_eq!(stat.mtime, Timestamp::from_unix(meta.mtime(), meta.mtime_nsec()));
        assert_eq!(stat.ctime, Timestamp::from_unix(meta.ctime(), meta.ctime_nsec()));
        assert_eq!(*observed_at, now());
    }
}

#[test]
fn links_pipes_and_sockets_are_skipped_and_nothing_outside_is_met() {
    let tree = Tree::new();
    tree.write("dir/file", b"x");
    fs::create_dir(tree.outside("elsewhere")).unwrap();
    fs::write(tree.outside("elsewhere/secret"), CANARY).unwrap();
    symlink("dir/file", tree.at("to-file")).unwrap();
    symlink("dir", tree.at("to-folder")).unwrap();
    symlink(tree.outside("elsewhere"), tree.at("to-outside")).unwrap();
    symlink("..", tree.at("dir/loop")).unwrap();
    symlink("nowhere", tree.at("dangling")).unwrap();
    mknodat(CWD, tree.at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(tree.at("socket")).unwrap();

    let found = tree.scan(&[], &[]);
    assert_eq!(file_paths(&found), ["dir/file"]);
    let link = |name| ("skipped", name, "symbolic link, not followed");
    let expected = [
        link("dangling"),
        link("dir/loop"),
        link("to-file"),
        link("to-folder"),
        link("to-outside"),
        ("skipped", "pipe", "named pipe"),
        ("skipped", "socket", "socket"),
    ];
    assert_eq!(others(&found), BTreeSet::from(expected));

    for path in ["to-file", "to-folder/file", "to-outside/secret", "pipe", "socket", "dir", "dir/file/x"] {
        for mode in [Lookup::AtOnce, Lookup::StepByStep] {
            let error = read_all(&tree.root(), path, mode).unwrap_err();
            assert!(matches!(error, SourceError::NotAFile { .. }), "{path} {mode:?}: {error:?}");
        }
    }
}

#[test]
fn names_that_cannot_be_sent_are_refused_with_their_folder() {
    let tree = Tree::new();
    let nfc = "\u{fc}";
    let nfd = "u\u{308}";
    let long = "l".repeat(255);
    for name in [nfc, nfd, &long, " ", "a\"b", "a\\b"] {
        tree.write(name, b"x");
    }
    tree.write("a\nDELE b", b"x");
    tree.write("tab\there/one", b"x");
    tree.write("tab\there/two", b"x");
    tree.write(OsStr::from_bytes(b"caf\xe9"), b"x");
    let found = tree.scan(&[], &[]);
    let files: BTreeSet<_> = file_paths(&found).into_iter().collect();
    assert_eq!(files, BTreeSet::from([nfc, nfd, &long, " ", "a\"b", "a\\b"].map(String::from)));
    let others = others(&found);
    let refused: Vec<_> = others.iter().map(|&(kind, name, _)| (kind, name)).collect();
    let expected = [r"a\nDELE b", r"caf\xe9", r"tab\there"].map(|name| ("refused", name));
    assert_eq!(refused, expected);
    let reason = |at: usize| others.iter().nth(at).unwrap().2;
    assert!(reason(0).contains("control character 0x0A"), "{}", reason(0));
    assert!(reason(1).contains("not valid UTF-8"), "{}", reason(1));
    assert!(reason(2).starts_with("nothing in this folder is sent: "), "{}", reason(2));
}

#[test]
fn the_filter_decides_what_is_mentioned_at_all() {
    let tree = Tree::new();
    for path in ["a.csv", "a.txt", "x/b.csv", "old/c.csv", "old/d\n.csv", "reports/e.txt", "bad\n.txt"] {
        tree.write(path, b"x");
    }
    symlink("a.csv", tree.at("link.txt")).unwrap();
    let found = tree.scan(&["*.csv", "reports/"], &["old/"]);
    assert_eq!(file_paths(&found), ["a.csv", "reports/e.txt", "x/b.csv"]);
    assert_eq!(others(&found), BTreeSet::new());
    assert_eq!(others(&tree.scan(&["*.txt"], &[])).len(), 2);
}

#[test]
fn folders_are_walked_to_a_limit() {
    let tree = Tree::new();
    let deepest = "d/".repeat(MAX_FOLDER_DEPTH);
    tree.write(format!("{deepest}f"), b"x");
    tree.write(format!("{deepest}e/f"), b"x");
    let found = tree.scan(&[], &[]);
    assert_eq!(file_paths(&found), [format!("{deepest}f")]);
    let others = others(&found);
    let (kind, name, _) = others.first().unwrap();
    assert_eq!((others.len(), *kind, *name), (1, "refused", format!("{deepest}e").as_str()));
}

/// Gives up what lets root read everything, for this thread, as the file system sees it.
fn obey_permissions() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn what_cannot_be_read_is_reported_and_the_walk_goes_on() {
    let tree = Tree::new();
    for path in ["a", "closed/x", "listed/y", "z"] {
        tree.write(path, b"x");
    }
    let chmod =
        |path: &str, mode| fs::set_permissions(tree.at(path), fs::Permissions::from_mode(mode)).unwrap();
    chmod("closed", 0o000);
    chmod("listed", 0o400);
    chmod("a", 0o000);
    thread::scope(|scope| {
        let walk = || {
            obey_permissions();
            let found = tree.scan(&[], &[]);
            assert_eq!(file_paths(&found), ["a", "z"]);
            let denied = "Permission denied (os error 13)";
            let folder = format!("the folder cannot be read: {denied}");
            let file = format!("the file cannot be read: {denied}");
            let expected =
                [("unreadable", "closed", folder.as_str()), ("unreadable", "listed/y", file.as_str())];
            assert_eq!(others(&found), BTreeSet::from(expected));
            let error = tree.root().open_file(&rel("a")).unwrap_err();
            assert!(matches!(error, SourceError::Read { .. }), "{error:?}");
            assert_eq!(error.class(), FailureClass::File);
            fs::set_permissions(tree.outside("src"), fs::Permissions::from_mode(0o400)).unwrap();
            let found = tree.scan(&[], &[]);
            assert!(matches!(&found[..], [Found::Unreadable { .. }]), "{found:?}");
            fs::set_permissions(tree.outside("src"), fs::Permissions::from_mode(0o000)).unwrap();
            let error = SourceRoot::open(&tree.outside("src")).unwrap_err();
            assert!(matches!(error, SourceError::Unreadable { .. }), "{error:?}");
        };
        scope.spawn(walk).join().unwrap();
    });
    chmod("", 0o700);
    chmod("closed", 0o700);
    chmod("listed", 0o700);
}

#[test]
fn a_source_that_was_removed_or_replaced_is_noticed() {
    let tree = Tree::new();
    tree.write("a", b"old");
    let root = tree.root();
    fs::rename(tree.outside("src"), tree.outside("moved")).unwrap();
    tree.write("b", b"new");
    let found: Vec<_> = root.scan(&all(), now).collect();
    assert_eq!(file_paths(&found), ["a"], "the folder that was opened, not the one that has its name");
    fs::remove_dir_all(tree.outside("moved")).unwrap();
    let found: Vec<_> = root.scan(&all(), now).collect();
    assert!(matches!(&found[..], [Found::Unreadable { .. }]), "{found:?}");

    let root = tree.root();
    let mut scan = root.scan(&all(), now);
    tree.write("c", b"x");
    assert!(scan.next().is_some());
    fs::remove_dir_all(tree.outside("src")).unwrap();
    let found: Vec<_> = scan.collect();
    assert!(matches!(&found[..], [Found::Unreadable { .. }]), "removed during the walk: {found:?}");
}

#[test]
fn what_vanishes_during_the_walk_is_not_there() {
    let tree = Tree::new();
    for path in ["a", "b", "c/d", "e"] {
        tree.write(path, b"x");
    }
    let mut scan = tree.root().scan(&all(), now);
    assert!(matches!(scan.next(), Some(Found::File { path, .. }) if path == rel("a")));
    fs::remove_file(tree.at("b")).unwrap();
    fs::remove_dir_all(tree.at("c")).unwrap();
    assert_eq!(file_paths(&scan.collect::<Vec<_>>()), ["e"]);
}

#[test]
fn what_is_swapped_during_the_walk_is_not_followed() {
    let tree = Tree::new();
    for path in ["a", "b", "c/d", "e", "f"] {
        tree.write(path, b"x");
    }
    fs::create_dir(tree.outside("elsewhere")).unwrap();
    fs::write(tree.outside("elsewhere/d"), CANARY).unwrap();
    let mut scan = tree.root().scan(&all(), now);
    assert!(matches!(scan.next(), Some(Found::File { path, .. }) if path == rel("a")));
    fs::remove_file(tree.at("b")).unwrap();
    symlink(tree.outside("canary"), tree.at("b")).unwrap();
    fs::remove_dir_all(tree.at("c")).unwrap();
    symlink(tree.outside("elsewhere"), tree.at("c")).unwrap();
    fs::remove_file(tree.at("e")).unwrap();
    fs::create_dir(tree.at("e")).unwrap();
    let found: Vec<_> = scan.collect();
    assert_eq!(file_paths(&found), ["f"]);
    let others: Vec<_> = others(&found).into_iter().map(|(kind, name, _)| (kind, name)).collect();
    assert_eq!(others, [("skipped", "b"), ("unreadable", "c"), ("unreadable", "e")]);
}

#[test]
fn a_scan_can_go_to_another_thread() {
    let tree = Tree::new();
    tree.write("a", b"x");
    let scan = tree.root().scan(&all(), now);
    assert_eq!(thread::spawn(move || scan.count()).join().unwrap(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every tree comes in the order of `RelPath`, which no folder's own order could break.
    #[test]
    fn the_walk_is_sorted(paths in proptest::collection::btree_set("([ab !.ü-]{1,3}/){0,3}[ab !.ü-]{1,2}", 0..20)) {
        let tree = Tree::new();
        let mut written = BTreeSet::new();
        for path in paths.iter().filter_map(|path| RelPath::new(path.as_str()).ok()) {
            let at = tree.at(path.as_str());
            if fs::create_dir_all(at.parent().unwrap()).is_ok() && fs::write(&at, b"x").is_ok() {
                written.insert(path);
            }
        }
        let found: Vec<_> = tree.scan(&[], &[]);
        let expected: Vec<_> = written.iter().map(ToString::to_string).collect();
        prop_assert_eq!(file_paths(&found), expected);
    }
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
        match file.read(&mut [0; 4]) {
            Ok(count) => read += count,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::Changed { what: Change::Grew { from: 10 }, .. }), "{error:?}");
    assert!(read <= 10, "{read}");
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
