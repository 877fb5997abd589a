//! Links below a source folder, under each policy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::super::{Filter, SourceError};
use super::{CANARY, Lookup, Tree, all, file_paths, now, others, read_all, rel};
use crate::domain::{Found, Symlinks};

impl Tree {
    fn scan_by(&self, links: Symlinks, filter: &Filter) -> Vec<Found> {
        self.root().with(links).scan(filter, now).collect()
    }
}

/// Links of every kind.
fn linked() -> Tree {
    let tree = Tree::new();
    tree.write("real/file", b"one");
    tree.write("real/sub/deep", b"two");
    fs::create_dir(tree.outside("elsewhere")).unwrap();
    fs::write(tree.outside("elsewhere/secret"), CANARY).unwrap();
    mknodat(CWD, tree.at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let link = |to: &Path, name: &str| symlink(to, tree.at(name)).unwrap();
    link(Path::new("real/file"), "to-file");
    link(Path::new("to-file"), "to-link");
    link(Path::new("real"), "to-folder");
    link(Path::new("../file"), "real/sub/up");
    link(Path::new(".."), "real/sub/loop");
    link(Path::new("."), "self");
    link(Path::new("circle"), "circle");
    link(Path::new("nowhere"), "dangling");
    link(Path::new("pipe"), "to-pipe");
    link(Path::new("../canary"), "out-file");
    link(Path::new("../elsewhere"), "out-folder");
    link(&tree.at("real/file"), "absolute");
    link(Path::new("../src/real/file"), "out-and-in");
    link(Path::new("/proc/self/root/etc/passwd"), "magic");
    tree
}

const OUTSIDE: &str = "a symbolic link that leads out of the source folder";

#[test]
fn links_that_stay_inside_are_followed_and_no_others() {
    let tree = linked();
    let found = tree.scan_by(Symlinks::Follow, &all());
    let files = [
        "real/file",
        "real/sub/deep",
        "real/sub/up",
        "to-file",
        "to-folder/file",
        "to-folder/sub/deep",
        "to-folder/sub/up",
        "to-link",
    ];
    assert_eq!(file_paths(&found), files);
    let root = tree.root().with(Symlinks::Follow);
    for path in files {
        let bytes: &[u8] = if path.ends_with("deep") { b"two" } else { b"one" };
        assert_eq!(read_all(&root, path, Lookup::AtOnce).unwrap(), bytes, "{path}");
    }
    let others: BTreeSet<_> = others(&found)
        .into_iter()
        .map(|(kind, name, reason)| (kind, name, reason.get(..OUTSIDE.len()).unwrap_or(reason)))
        .collect();
    let expected = [
        ("refused", "absolute", OUTSIDE),
        ("refused", "magic", OUTSIDE),
        ("refused", "out-and-in", OUTSIDE),
        ("refused", "out-file", OUTSIDE),
        ("refused", "out-folder", OUTSIDE),
        ("skipped", "circle", "symbolic link that leads round in a circle"),
        ("skipped", "dangling", "symbolic link that leads nowhere"),
        ("skipped", "pipe", "named pipe"),
        ("skipped", "real/sub/loop", "symbolic link to a folder that it lies in"),
        ("skipped", "self", "symbolic link to a folder that it lies in"),
        ("skipped", "to-folder/sub/loop", "symbolic link to a folder that it lies in"),
        ("skipped", "to-pipe", "symbolic link to something else than a file: named pipe"),
    ];
    let shortened =
        expected.map(|(kind, name, reason)| (kind, name, reason.get(..OUTSIDE.len()).unwrap_or(reason)));
    assert_eq!(others, BTreeSet::from(shortened));
    for path in ["absolute", "magic", "out-and-in", "out-file", "out-folder/secret", "to-pipe", "circle"] {
        for lookup in [Lookup::AtOnce, Lookup::StepByStep] {
            let error = read_all(&root, path, lookup).unwrap_err();
            assert!(matches!(error, SourceError::NotAFile { .. }), "{path} {lookup:?}: {error:?}");
        }
    }
}

#[test]
fn where_links_fail_each_is_a_failed_file() {
    let tree = linked();
    let found = tree.scan_by(Symlinks::Fail, &all());
    assert_eq!(file_paths(&found), ["real/file", "real/sub/deep"]);
    let told = others(&found);
    let refused: Vec<_> = told.iter().filter(|(kind, ..)| *kind == "refused").collect();
    let reasons: BTreeSet<_> = refused.iter().map(|(.., reason)| *reason).collect();
    assert_eq!(reasons, BTreeSet::from(["a symbolic link, and the job says `symlinks: fail`"]));
    assert_eq!(refused.len(), 14);
    let root = tree.root().with(Symlinks::Fail);
    assert!(matches!(read_all(&root, "to-file", Lookup::AtOnce), Err(SourceError::NotAFile { .. })));
}

#[test]
fn the_filter_decides_which_links_matter() {
    let tree = linked();
    let filter = |include: &[&str], exclude: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    };
    let found = tree.scan_by(Symlinks::Follow, &filter(&["to-folder", "to-file"], &["sub/"]));
    assert_eq!(file_paths(&found), ["to-file", "to-folder/file"]);
    // Whether an excluded link leads out of the source does not matter; whether there is a file
    // for the job behind another one, nobody knows.
    let found = tree.scan_by(Symlinks::Follow, &filter(&["*.csv"], &["out-*", "absolute", "magic"]));
    assert_eq!(others(&found).len(), 0, "{found:?}");
    let found = tree.scan_by(Symlinks::Follow, &filter(&["*.csv"], &[]));
    assert!(others(&found).iter().all(|(kind, ..)| *kind == "skipped"), "{found:?}");
}

/// Two links in each folder, both to the next one: as many paths as there are numbers.
#[test]
fn links_that_multiply_are_followed_to_a_limit() {
    let tree = Tree::new();
    for depth in 0..40 {
        let folder = tree.at(format!("d{depth}"));
        fs::create_dir(&folder).unwrap();
        for name in ["a", "b"] {
            symlink(format!("../d{}", depth + 1), folder.join(name)).unwrap();
        }
    }
    tree.write("d40/f", b"x");
    let found = tree.scan_by(Symlinks::Follow, &Filter::new(&[], &[]).unwrap());
    let told = others(&found);
    assert!(told.iter().any(|(kind, _, reason)| *kind == "unreadable" && reason.starts_with("more than")));
    assert!(found.len() < 20_000, "{}", found.len());
}

#[test]
fn absence_behind_a_link_is_believed_only_where_the_link_leads_somewhere() {
    let tree = linked();
    let (follow, skip) = (tree.root().with(Symlinks::Follow), tree.root());
    let lacks = |path: &str| (follow.lacks(&rel(path)), skip.lacks(&rel(path)));
    assert_eq!(lacks("to-folder/file"), (false, false));
    assert_eq!(lacks("to-folder/none"), (true, false));
    assert_eq!(lacks("dangling/none"), (false, false));
    assert_eq!(lacks("dangling"), (false, false));
    assert_eq!(lacks("out-folder/none"), (false, false));
    assert_eq!(lacks("none/none"), (true, true));
}

#[test]
fn twins_may_be_links() {
    let tree = linked();
    symlink("real/file", tree.at("TO-FILE")).unwrap();
    let twins = |links| {
        let found = tree.scan_by(links, &all());
        let has = |found: &Found| matches!(found, Found::File { twins, .. } if !twins.is_empty());
        found.iter().filter(|found| has(found)).count()
    };
    assert_eq!((twins(Symlinks::Follow), twins(Symlinks::Skip)), (2, 0));
}

const SWAPS: u32 = 5_000;

/// What a link leads to is swapped for something outside all the time, and the folder on the way
/// to it as well: the canary is never read.
#[test]
fn no_swap_leads_out_of_the_source_where_links_are_followed() {
    for (name, path) in [("link", "link"), ("d", "d/canary"), ("real", "by/canary")] {
        let tree = Tree::new();
        tree.write("harmless", b"harmless");
        tree.write("d/canary", b"harmless");
        tree.write("real/canary", b"harmless");
        symlink("harmless", tree.at("link")).unwrap();
        symlink("real", tree.at("by")).unwrap();
        let outside = if name == "link" { "../canary" } else { ".." };
        symlink(outside, tree.outside("other")).unwrap();
        let (over, root) = (AtomicBool::new(false), tree.root().with(Symlinks::Follow));
        let (mut read, mut refused) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..SWAPS {
                    let (a, b) = (tree.at(name), tree.outside("other"));
                    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                match read_all(&root, path, Lookup::AtOnce) {
                    Ok(bytes) => {
                        assert_eq!(bytes, b"harmless", "{name}");
                        read += 1;
                    }
                    Err(SourceError::NotAFile { .. } | SourceError::Changed { .. }) => refused += 1,
                    Err(error) => panic!("{error:?}"),
                }
                let size = CANARY.len() as u64;
                for found in root.scan(&all(), now) {
                    assert!(!matches!(&found, Found::File { stat, .. } if stat.size == size), "{found:?}");
                }
            }
        });
        println!("{name}: read {read} times, refused {refused} times");
    }
}
