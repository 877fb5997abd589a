//! The formats as they were once written, kept as bytes in `tests/formats`: whatever comes later
//! must read them. And what comes from later is refused.
//!
//! `NIGHTFERRY_WRITE_FORMAT=FOLDER cargo test --lib a_state_to_keep_is_written` writes such a
//! state, once for each version of the formats. A kept one is never written anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::*;

const WRITE: &str = "NIGHTFERRY_WRITE_FORMAT";
/// Files delivered to the second target, beside the first one's records of every kind.
const MORE_FILES: u64 = 30;

fn open_small(folder: &Path) -> Opened {
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
    State::open_on(folder, clock(), &disk, small(SMALL_SEGMENT)).unwrap()
}

fn kept(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{version}"))
}

/// Every file below a folder but for the lock, by its path there.
pub(super) fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock");
    files
        .map(|entry| (entry.path().strip_prefix(folder).unwrap().to_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

pub(super) fn put_down(files: &BTreeMap<PathBuf, Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Not a test by itself: writes a state of this version where it is told to.
#[test]
fn a_state_to_keep_is_written() {
    let Some(folder) = std::env::var_os(WRITE).map(PathBuf::from) else { return };
    let state = open_small(&folder).state;
    fill(&state, &target("a"));
    let run = start(&state, &target("b"));
    for number in 0..MORE_FILES {
        commit(&state, &target("b"), vec![delivered(run, &format!("more/{number:02}"), number)]);
    }
    commit(&state, &target("b"), vec![finished(run, &["/in/more"])]);
    state.close().unwrap();
    fs::remove_file(folder.join("lock")).unwrap();
    // Mostly zeros.
    let database = fs::read(folder.join("manifest/db")).unwrap();
    let mut packed =
        GzEncoder::new(File::create(folder.join("manifest/db.gz")).unwrap(), Compression::best());
    packed.write_all(&database).unwrap();
    packed.finish().unwrap();
    fs::remove_file(folder.join("manifest/db")).unwrap();
}

/// What is kept, as it stood in the state folder.
fn unpacked(version: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = bytes_of(&kept(version));
    let packed = files.remove(Path::new("manifest/db.gz")).unwrap();
    let mut database = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut database).unwrap();
    files.insert("manifest/db".into(), database);
    files
}

fn check_kept(state: &State) {
    check_filled(state, &target("a"));
    let (entries, intents, staged, partials) = show(state, &target("b")).unwrap();
    assert_eq!(entries.len() as u64, MORE_FILES);
    for (number, (path, entry)) in (0..).zip(&entries) {
        assert_eq!(path.as_str(), format!("more/{number:02}"));
        assert_eq!((entry.status, entry.stat, entry.size), (EntryStatus::Delivered, stat(number), number));
        assert_eq!(entry.digest, verified(number).digest());
    }
    assert_eq!((intents.len(), staged, partials.len()), (0, vec![remote("/in/more")], 0));
}

#[test]
fn the_first_version_of_the_formats_is_read() {
    let files = unpacked(1);
    let names: Vec<_> = files.keys().map(|path| path.to_str().unwrap()).collect();
    for kind in [".jsonl.gz", ".jsonl", "checkpoint-", "manifest/db"] {
        assert!(names.iter().any(|name| name.contains(kind)), "{kind}: {names:?}");
    }
    let folder = put_down(&files);
    let summary = verify_ledger(folder.path()).unwrap();
    assert!(summary.segments > 3 && summary.checkpoints > 0, "{summary:?}");
    let opened = open_small(folder.path());
    assert_eq!(opened.notices, Vec::<String>::new());
    check_kept(&opened.state);
    // It is written on.
    let run = start(&opened.state, &target("c"));
    commit(&opened.state, &target("c"), vec![delivered(run, "new", 1)]);
    opened.state.close().unwrap();
    assert_eq!(verify_ledger(folder.path()).unwrap().records, summary.records + 2);
}

/// From the checkpoint and what comes after it, and from the records alone.
#[test]
fn the_first_version_of_the_ledger_gives_the_manifest_back() {
    let mut files = unpacked(1);
    files.retain(|path, _| path.starts_with("ledger"));
    for without_checkpoints in [0, 1] {
        if without_checkpoints == 1 {
            files.retain(|path, _| !path.to_str().unwrap().contains("checkpoint"));
        }
        let folder = put_down(&files);
        let opened = open_small(folder.path());
        assert_eq!(opened.notices, ["The manifest was missing. It was rebuilt from the ledger."]);
        check_kept(&opened.state);
        opened.state.close().unwrap();
    }
}

/// Skipped files came to the record of a run's end later.
#[test]
fn what_came_to_a_record_later_is_left_out_where_there_is_none_and_unknown_keys_are_no_mistake() {
    let before = r#"{"record":"run-finished","run":1,"counts":{"delivered":0,"settled":0,"unchanged":0,"confirmed":0,"skipped":2,"presumed":0,"attested":0,"failed":0,"not_reached":0,"waiting":0,"bytes_delivered":0,"retired":0,"retained":0,"removed":0,"not_removed":0}}"#;
    let record: Record = serde_json::from_str(before).unwrap();
    let Record::RunFinished(finished) = &record else { panic!("{record:?}") };
    assert_eq!((finished.counts.skipped, finished.skipped.len()), (2, 0));
    assert_eq!(serde_json::to_string(&record).unwrap(), before);
    let file = SkippedFile { name: "l".into(), reason: "symbolic link, not followed".into() };
    let now = Record::RunFinished(RunFinished { skipped: vec![file], ..finished.clone() });
    let text = serde_json::to_string(&now).unwrap();
    assert!(text.contains(r#","skipped":[{"name":"l","reason":"symbolic link, not followed"}]"#), "{text}");
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), now);
    // So an earlier build meets what it does not know.
    let unknown = text.replace("\"skipped\":[", "\"unknown\":[");
    assert_eq!(serde_json::from_str::<Record>(&unknown).unwrap(), record);
}

#[test]
fn a_later_version_of_the_ledger_is_refused_and_left_alone() {
    let mut files = unpacked(1);
    let open = files.keys().rfind(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap().clone();
    let text = String::from_utf8(files[&open].clone()).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let head = head.replace("\"nightferry_ledger\":1", "\"nightferry_ledger\":2");
    let body = head.rsplit_once(",\"crc\"").unwrap().0;
    let head = format!("{body},\"crc\":\"{:08x}\"}}", crc32fast::hash(body.as_bytes()));
    files.insert(open, format!("{head}\n{rest}").into_bytes());
    let folder = put_down(&files);
    let error = refused(folder.path());
    assert!(matches!(error, StateError::Newer { line: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version of nightferry"), "{error}");
    assert_eq!(bytes_of(folder.path()), files);
}
