//! What a walk finds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::thread;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::super::{MAX_FOLDER_DEPTH, SourceError, SourceRoot, shown};
use super::{CANARY, Lookup, Tree, all, file_paths, now, others, read_all, rel};
use crate::domain::{Depth, FailureClass, Folders, Found, Reach, RelPath, Scope, Timestamp};

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
        let Found::File { path, stat, observed_at, .. } = found else { panic!("{found:?}") };
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
    // With a writer, no mistake can make the test wait.
    let _writer = OpenOptions::new().read(true).write(true).open(tree.at("pipe")).unwrap();
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
    for name in [nfc, nfd, &long, " a", "ends in a space ", "a\"b", "a\\b"] {
        tree.write(name, b"x");
    }
    tree.write("a\nDELE b", b"x");
    tree.write("tab\there/one", b"x");
    tree.write("tab\there/two", b"x");
    tree.write(OsStr::from_bytes(b"caf\xe9"), b"x");
    let found = tree.scan(&[], &[]);
    let files: BTreeSet<_> = file_paths(&found).into_iter().collect();
    assert_eq!(files, BTreeSet::from([nfc, nfd, &long, " a", "a\"b", "a\\b"].map(String::from)));
    let others = others(&found);
    let refused: Vec<_> = others.iter().map(|&(kind, name, _)| (kind, name)).collect();
    let expected = [r"a\nDELE b", r"caf\xe9", "ends in a space ", r"tab\there"].map(|name| ("refused", name));
    assert_eq!(refused, expected);
    let reason = |at: usize| others.iter().nth(at).unwrap().2;
    assert!(reason(0).contains("control character 0x0A"), "{}", reason(0));
    assert!(reason(1).contains("not valid UTF-8"), "{}", reason(1));
    assert!(reason(2).contains("Pure-FTPd stores it with `_`"), "{}", reason(2));
    assert!(reason(3).starts_with("nothing in this folder is sent: "), "{}", reason(3));
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
            let denied = "Permission denied";
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

#[test]
fn names_that_servers_take_for_one_are_told_of_each_other() {
    let tree = Tree::new();
    let names = [
        "A",
        "a",
        "b",
        "Sub/x",
        "sub/X",
        "sub/x",
        "caf\u{e9}",
        "cafe\u{301}",
        "C.tmp",
        "c.TMP",
        "link",
        "LINK/y",
    ];
    for name in names {
        tree.write(name, b"");
    }
    fs::remove_file(tree.at("link")).unwrap();
    symlink("a", tree.at("link")).unwrap();
    let found = tree.scan(&[], &["*.tmp"]);
    let twins: Vec<(String, Vec<String>)> = found
        .iter()
        .filter_map(|found| match found {
            Found::File { path, twins, .. } if !twins.is_empty() => {
                let twins = twins.iter().map(|twin| format!("{:?} {}", twin.difference, twin.other));
                Some((path.to_string(), twins.collect()))
            }
            _ => None,
        })
        .collect();
    let said = |path: &str, twin: &str| (path.to_owned(), vec![twin.to_owned()]);
    assert_eq!(
        twins,
        [
            said("A", "Case a"),
            said("Sub/x", "Case sub"),
            said("a", "Case A"),
            said("cafe\u{301}", "Composition caf\u{e9}"),
            said("caf\u{e9}", "Composition cafe\u{301}"),
            // One of a kind is enough.
            said("sub/X", "Case Sub"),
            said("sub/x", "Case Sub"),
        ]
    );
}

#[test]
fn a_part_of_the_source_is_what_a_scope_covers() {
    let tree = Tree::new();
    for path in ["x", "a/1", "a/b/2", "a/b/c/3", "a-b/4", "b/5", "b/c/6"] {
        tree.write(path, b"x");
    }
    fs::create_dir_all(tree.at("b/bad\nname/below")).unwrap();
    fs::create_dir(tree.at("a/empty")).unwrap();
    let whole = file_paths(&tree.scan(&[], &[]));
    let folders = [None, Some("a"), Some("a/b"), Some("b"), Some("none"), Some("a/empty"), Some("x")];
    for one in folders {
        for other in folders {
            for depths in [(Depth::Itself, Depth::Itself), (Depth::Tree, Depth::Itself)] {
                let mut meant = Folders::default();
                meant.add(one.map(rel), depths.0);
                meant.add(other.map(rel), depths.1);
                let scope = Scope::Folders(meant);
                let found: Vec<_> = tree.root().scan_within(&all(), &scope, now).collect();
                let expected: Vec<_> =
                    whole.iter().filter(|path| scope.covers(&rel(path))).cloned().collect();
                assert_eq!(file_paths(&found), expected, "{scope:?}");
                let told = others(&found).len();
                let is_met = matches!(scope.reach(Some(&rel("b"))), Reach::Files | Reach::Tree);
                assert_eq!(told, usize::from(is_met), "{scope:?}: {found:?}");
            }
        }
    }
}
