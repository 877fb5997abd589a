//! Damage of every kind: noticed, and repaired where that is right.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// A closed state folder with every kind of record, and the bytes of its one segment.
struct Sample {
    base: tempfile::TempDir,
    segment: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let state = reopen(base.path());
        fill(&state, &target("a"));
        state.close().unwrap();
        let segment = fs::read(base.path().join("ledger/000001.jsonl")).unwrap();
        Self { base, segment }
    }

    /// Where the last line begins.
    fn last_line(&self) -> usize {
        let body = &self.segment[..self.segment.len() - 1];
        body.iter().rposition(|byte| *byte == b'\n').unwrap() + 1
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }
}

/// A folder with this one segment and nothing else.
fn with_segment(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("ledger")).unwrap();
    fs::write(folder.path().join("ledger/000001.jsonl"), bytes).unwrap();
    folder
}

/// A line with the checksum that its content calls for, and its line feed.
fn sealed(line: &str) -> String {
    let open = line.rsplit_once(",\"crc\"").unwrap().0;
    format!("{open},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(open.as_bytes()))
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_kept() {
    let sample = Sample::new();
    let last = sample.last_line();
    let total = verify_ledger(sample.base.path()).unwrap().records;
    let folder = with_segment(&sample.segment);
    let segment = folder.path().join("ledger/000001.jsonl");
    for cut in last..sample.segment.len() {
        fs::write(&segment, &sample.segment[..cut]).unwrap();
        let summary = verify_ledger(folder.path()).unwrap();
        assert_eq!(summary.records, total - 1, "cut at {cut}");
        assert_eq!(summary.torn_tail.is_some(), cut > last, "cut at {cut}");
    }
    for cut in [last + 1, last + 100, sample.segment.len() - 1] {
        let folder = with_segment(&sample.segment[..cut]);
        let opened = open_at(folder.path());
        assert!(opened.notices[0].contains("in the middle of a write"), "{:?}", opened.notices);
        let run = start(&opened.state, &target("a"));
        assert_eq!(run, RunId(2));
        assert!(show(&opened.state, &target("a")).unwrap().1.is_empty(), "the intent was in the torn line");
        opened.state.close().unwrap();
        let kept = fs::read(folder.path().join(format!("ledger/000001.jsonl.torn-{total}"))).unwrap();
        assert_eq!(kept, &sample.segment[last..cut]);
        reopen(folder.path()).close().unwrap();
        assert_eq!(verify_ledger(folder.path()).unwrap().records, total);
    }
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let sample = Sample::new();
    let last = sample.last_line();
    let folder = with_segment(&sample.segment);
    let segment = folder.path().join("ledger/000001.jsonl");
    let file = fs::File::options().write(true).open(segment).unwrap();
    let put = |at: usize, byte: u8| file.write_all_at(&[byte], at as u64).unwrap();
    for (at, byte) in sample.segment.iter().enumerate() {
        put(at, byte ^ 1 << (at % 8));
        match verify_ledger(folder.path()) {
            Ok(summary) => assert!(at >= last && summary.torn_tail.is_some(), "byte {at}"),
            Err(StateError::Damaged { line, .. }) => {
                let expected = sample.segment[..at].split(|byte| *byte == b'\n').count();
                assert_eq!(line, expected as u64, "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
        put(at, *byte);
    }
}

#[test]
fn lines_taken_out_or_doubled_are_damage() {
    let sample = Sample::new();
    let lines: Vec<&[u8]> = sample.segment.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 1 {
        let mut without = lines.clone();
        without.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        for bad in [without.concat(), doubled.concat()] {
            let folder = with_segment(&bad);
            let error = verify_ledger(folder.path()).unwrap_err();
            assert!(!error.to_string().is_empty());
            assert!(State::open(folder.path(), clock()).is_err(), "line {at}");
            let left = fs::read(folder.path().join("ledger/000001.jsonl")).unwrap();
            assert_eq!(left, bad, "a refused ledger is left alone");
        }
    }
}

#[test]
fn a_line_rewritten_with_a_right_checksum_breaks_the_chain() {
    let sample = Sample::new();
    let text = String::from_utf8(sample.segment.clone()).unwrap();
    let lines: Vec<String> = text.lines().map(sealed).collect();
    for at in 0..lines.len() {
        let mut forged = lines.clone();
        forged[at] = sealed(&lines[at].replace("\"at\":\"20", "\"at\":\"19"));
        assert_ne!(forged[at], lines[at]);
        let folder = with_segment(forged.concat().as_bytes());
        let found = verify_ledger(folder.path());
        if at + 1 < lines.len() {
            let expected = at as u64 + 2;
            assert!(matches!(found, Err(StateError::Damaged { line, .. }) if line == expected), "line {at}");
        } else {
            // Only who knows its hash can tell: the manifest does.
            assert!(found.is_ok());
            fs::write(sample.path("ledger/000001.jsonl"), forged.concat()).unwrap();
            let error = refused(sample.base.path());
            assert!(error.to_string().contains("it has another record 17"), "{error}");
        }
    }
}

#[test]
fn a_lost_or_older_ledger_is_an_alarm() {
    let sample = Sample::new();
    let segment = sample.path("ledger/000001.jsonl");
    fs::write(&segment, &sample.segment[..sample.last_line()]).unwrap();
    let error = refused(sample.base.path());
    assert!(matches!(error, StateError::ManifestAhead { .. }), "{error}");
    assert!(error.to_string().contains("ends with"), "{error}");

    // Rot in the last line, which the manifest proves to have been whole.
    let mut rotten = sample.segment.clone();
    let at = rotten.len() - 40;
    rotten[at] ^= 1;
    fs::write(&segment, &rotten).unwrap();
    assert!(matches!(refused(sample.base.path()), StateError::ManifestAhead { .. }));
    assert_eq!(fs::read(&segment).unwrap(), rotten, "left as it was");

    fs::remove_file(&segment).unwrap();
    assert!(matches!(refused(sample.base.path()), StateError::LedgerMissing { .. }));

    let other = tempfile::tempdir().unwrap();
    let state = State::open(other.path(), Arc::new(crate::clock::SystemClock)).unwrap().state;
    fill(&state, &target("a"));
    state.close().unwrap();
    fs::copy(other.path().join("ledger/000001.jsonl"), &segment).unwrap();
    let error = refused(sample.base.path());
    assert!(error.to_string().contains("made from ledger"), "{error}");

    fs::write(&segment, &sample.segment).unwrap();
    check_filled(&reopen(sample.base.path()), &target("a"));
}

#[test]
fn what_a_newer_version_wrote_is_named() {
    let sample = Sample::new();
    let text = String::from_utf8(sample.segment.clone()).unwrap();
    let mut lines: Vec<String> = text.lines().map(sealed).collect();
    assert_eq!(lines.concat(), text);
    let last = lines.pop().unwrap();
    let check = |line: String, lines: &[String]| {
        let folder = with_segment([lines.concat(), line].concat().as_bytes());
        State::open(folder.path(), clock())
    };
    let unknown = sealed(&last.replace("\"publishing\"", "\"checkpoint\""));
    let error = check(unknown, &lines).unwrap_err();
    assert!(matches!(error, StateError::Newer { line: 18, .. }), "{error}");
    let further = sealed(&last.replace("\"event\":{", "\"mood\":1,\"event\":{\"colour\":\"red\","));
    check_filled(&check(further, &lines).unwrap().state, &target("a"));
    let version = sealed(&lines[0].replace("\"nightferry_ledger\":1", "\"nightferry_ledger\":2"));
    let error = check(version, &[]).unwrap_err();
    assert!(matches!(error, StateError::Newer { line: 1, .. }), "{error}");
}

#[test]
fn a_damaged_manifest_is_rebuilt_from_the_ledger() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("folder deleted", |manifest| fs::remove_dir_all(manifest).unwrap()),
        ("empty database", |manifest| fs::write(manifest.join("db"), b"").unwrap()),
        ("zeros", |manifest| {
            let length = fs::read(manifest.join("db")).unwrap().len();
            fs::write(manifest.join("db"), vec![0; length]).unwrap();
        }),
        ("configuration", |manifest| {
            let mut bytes = fs::read(manifest.join("conf")).unwrap();
            bytes[0] ^= 1;
            fs::write(manifest.join("conf"), bytes).unwrap();
        }),
        ("suspected", |manifest| fs::write(manifest.with_extension("suspect"), b"").unwrap()),
    ];
    for (name, damage) in damages {
        let sample = Sample::new();
        damage(&sample.path("manifest"));
        let opened = open_at(sample.base.path());
        assert_eq!(opened.notices.len(), 1, "{name}");
        assert!(opened.notices[0].contains("rebuilt from the ledger"), "{name}: {:?}", opened.notices);
        check_filled(&opened.state, &target("a"));
        opened.state.close().unwrap();
        check_filled(&reopen(sample.base.path()), &target("a"));
    }
}

/// The first opening repairs it, or the reading fails, and then the second one repairs it.
#[test]
fn a_cut_or_flipped_manifest_never_shows_a_wrong_entry() {
    const PLACES: usize = 40;
    let sample = Sample::new();
    let state = reopen(sample.base.path());
    let right = show(&state, &target("a")).unwrap();
    state.close().unwrap();
    let database = fs::read(sample.path("manifest/db")).unwrap();
    let used = database.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let places = (0..used).step_by((used / PLACES).max(1));
    let flipped = places.clone().map(|at| {
        let mut bytes = database.clone();
        bytes[at] ^= 0x40;
        bytes
    });
    let cut = places.map(|at| database[..at].to_vec());
    for (case, bytes) in flipped.chain(cut).enumerate() {
        fs::write(sample.path("manifest/db"), &bytes).unwrap();
        let state = open_at(sample.base.path()).state;
        if let Ok(shown) = show(&state, &target("a")) {
            assert_eq!(shown, right, "case {case}");
        } else {
            drop(state);
            let state = open_at(sample.base.path()).state;
            assert_eq!(show(&state, &target("a")).unwrap(), right, "case {case}");
        }
    }
}
