//! Putting files in their place, and nowhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::super::{Filter, Occupant, PlaceError, PlacePolicy, RestoreFolder, SourceRoot};
use crate::domain::{AgentId, Digest, Found, RelPath, Sent, Timestamp};

const AGENT: AgentId = AgentId(7);

fn open(folder: &Path) -> RestoreFolder {
    RestoreFolder::open(folder, AGENT).unwrap()
}

fn put(folder: &RestoreFolder, path: &str, content: &str, policy: PlacePolicy) -> Result<(), PlaceError> {
    let mut placing = folder.begin(1).unwrap();
    placing.write(content.as_bytes()).unwrap();
    placing.place(&RelPath::new(path).unwrap(), Timestamp::from_unix(-5, 250), policy)
}

fn sent(content: &str) -> Sent {
    Sent { size: content.len() as u64, digest: Digest::of(content.as_bytes()) }
}

#[test]
fn a_file_gets_its_place_its_time_and_nothing_is_left_aside() {
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join("new");
    let folder = open(&to);
    put(&folder, "a/b/c.txt", "hello", PlacePolicy::KeepOther).unwrap();
    let facts = fs::metadata(to.join("a/b/c.txt")).unwrap();
    assert_eq!((facts.mtime(), facts.mtime_nsec(), facts.mode() & 0o777), (-5, 250, 0o600));
    let path = RelPath::new("a/b/c.txt").unwrap();
    assert_eq!(folder.occupant(&path, &sent("hello")).unwrap(), Occupant::Same);
    assert_eq!(folder.occupant(&path, &sent("hell0")).unwrap(), Occupant::Other);
    assert_eq!(folder.occupant(&RelPath::new("a/d").unwrap(), &sent("")).unwrap(), Occupant::Nobody);
    assert_eq!(folder.occupant(&RelPath::new("x/d").unwrap(), &sent("")).unwrap(), Occupant::Nobody);
    drop(folder.begin(2).unwrap());
    folder.close();
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
}

#[test]
fn nothing_is_replaced_unless_told_and_only_files_are() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path());
    let file = home.path().join("file");
    fs::write(&file, "theirs").unwrap();
    fs::create_dir(home.path().join("folder")).unwrap();
    symlink(&file, home.path().join("link")).unwrap();
    symlink(home.path(), home.path().join("way")).unwrap();
    for path in ["file", "folder", "link"] {
        assert!(
            matches!(put(&folder, path, "ours", PlacePolicy::KeepOther), Err(PlaceError::Occupied)),
            "{path}"
        );
    }
    for path in ["folder", "link", "way/x", "file/x", "link/x"] {
        let refused = put(&folder, path, "ours", PlacePolicy::ReplaceOther);
        assert!(matches!(refused, Err(PlaceError::InTheWay)), "{path}: {refused:?}");
    }
    assert!(matches!(put(&folder, "way/x", "ours", PlacePolicy::KeepOther), Err(PlaceError::InTheWay)));
    assert_eq!(fs::read(&file).unwrap(), b"theirs");
    assert!(!home.path().join("x").exists());
    put(&folder, "file", "ours", PlacePolicy::ReplaceOther).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"ours");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_before_anything_is_done() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    for to in ["no/folder/above", "file"] {
        let refused = RestoreFolder::open(&home.path().join(to), AGENT);
        assert!(matches!(refused, Err(PlaceError::Folder { .. })), "{to}");
    }
    // A link where files would be written aside would lead them out.
    let to = home.path().join("to");
    fs::create_dir(&to).unwrap();
    symlink(home.path(), to.join(format!(".nightferry-restore-{AGENT}"))).unwrap();
    assert!(matches!(RestoreFolder::open(&to, AGENT), Err(PlaceError::Folder { .. })));
    assert!(home.path().join("file").exists(), "a sweep went through the link");
}

/// A restore into the source itself must not be sent half-done.
#[test]
fn a_scan_passes_over_what_is_not_in_its_place_yet() {
    let home = tempfile::tempdir().unwrap();
    let folder = open(home.path());
    let _half = folder.begin(1).unwrap();
    fs::write(home.path().join("a.txt"), "").unwrap();
    let root = SourceRoot::open(home.path()).unwrap();
    let filter = Filter::new(&[], &[]).unwrap();
    let found: Vec<_> = root.scan(&filter, || Timestamp::from_unix(0, 0)).collect();
    assert!(
        matches!(&found[..], [Found::Skipped { .. }, Found::File { path, .. }] if path.as_str() == "a.txt"),
        "{found:?}"
    );
}
