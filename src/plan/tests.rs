//! Tests of the merge.

use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::domain::{Digest, ProofMethod};

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds, 0)
}

/// Looked at long after its last change.
const STAT: FileStat = FileStat { size: 10, mtime: at(100), ctime: at(200), inode: 1 };
const LATER: Timestamp = at(1_000);

fn entry(status: EntryStatus, stat: FileStat, observed_at: Timestamp) -> Entry {
    Entry {
        status,
        stat,
        observed_at,
        size: stat.size,
        digest: Digest::of(b"x"),
        method: ProofMethod::ServerHash,
        modified: None,
        delivered_at: observed_at,
    }
}

fn file(path: &str, stat: FileStat) -> Found {
    Found::File { path: rel(path), stat, observed_at: LATER, twins: Twins::NONE }
}

fn known(path: &str) -> (RelPath, Entry) {
    (rel(path), entry(EntryStatus::Delivered, STAT, LATER))
}

fn run(scan: Vec<Found>, manifest: Vec<(RelPath, Entry)>) -> Vec<Action> {
    let manifest = manifest.into_iter().map(Ok::<_, Infallible>);
    plan(scan, manifest, |_| true).collect::<Result<_, _>>().unwrap()
}

fn unchanged(path: &str) -> Action {
    Action::Unchanged { path: rel(path) }
}

const COMPLETE: Action = Action::End(ScanEnd::Complete(CompleteScan::new()));
const INCOMPLETE: Action = Action::End(ScanEnd::Incomplete);

/// What one file with `stat` comes to where `known` is known of it.
#[track_caller]
fn check(stat: FileStat, known: &Entry, expected: &Action) {
    let actions = run(vec![file("a", stat)], vec![(rel("a"), known.clone())]);
    assert_eq!(actions, [expected.clone(), COMPLETE], "{stat:?} against {known:?}");
}

#[test]
fn same_facts_need_nothing() {
    check(STAT, &entry(EntryStatus::Delivered, STAT, LATER), &unchanged("a"));
    check(STAT, &entry(EntryStatus::Delivered, STAT, at(202)), &unchanged("a"));
}

#[test]
fn another_size_is_sent() {
    let known = entry(EntryStatus::Delivered, STAT, LATER);
    for size in [0, 9, 11] {
        let stat = FileStat { size, ..STAT };
        let reason = Reason::SizeChanged { was: 10 };
        let known = Some(known.clone());
        let expected =
            Action::Send { path: rel("a"), stat, observed_at: LATER, known, reason, twins: Twins::NONE };
        check(stat, &entry(EntryStatus::Delivered, STAT, LATER), &expected);
    }
}

#[test]
fn any_other_fact_is_a_reason_to_read() {
    let hash = |stat, observed_at, reason| {
        let known = entry(EntryStatus::Delivered, STAT, observed_at);
        let expected = Action::Hash {
            path: rel("a"),
            stat,
            observed_at: LATER,
            known: known.clone(),
            reason,
            twins: Twins::NONE,
        };
        check(stat, &known, &expected);
    };
    hash(FileStat { mtime: at(101), ..STAT }, LATER, Reason::TimeChanged { was: at(100) });
    hash(FileStat { mtime: at(99), ..STAT }, LATER, Reason::TimeChanged { was: at(100) });
    hash(FileStat { inode: 2, ..STAT }, LATER, Reason::InodeChanged);
    hash(FileStat { ctime: at(201), ..STAT }, LATER, Reason::AttributesChanged);
    hash(FileStat { ctime: at(199), ..STAT }, LATER, Reason::AttributesChanged);
    hash(STAT, at(201), Reason::TooCloseToTrust);
    hash(STAT, at(50), Reason::TooCloseToTrust);
}

#[test]
fn the_delivered_size_counts_where_records_disagree() {
    let known = Entry { size: 9, ..entry(EntryStatus::Delivered, STAT, LATER) };
    let reason = Reason::SizeChanged { was: 9 };
    let expected = Action::Send {
        path: rel("a"),
        stat: STAT,
        observed_at: LATER,
        known: Some(known.clone()),
        reason,
        twins: Twins::NONE,
    };
    check(STAT, &known, &expected);
    let stat = FileStat { size: 9, ..STAT };
    let reason = Reason::TooCloseToTrust;
    let expected = Action::Hash {
        path: rel("a"),
        stat,
        observed_at: LATER,
        known: known.clone(),
        reason,
        twins: Twins::NONE,
    };
    check(stat, &known, &expected);
}

#[test]
fn what_was_found_differing_on_the_server_is_sent_again_though_the_source_is_the_same() {
    for (status, reason) in
        [(EntryStatus::FoundMissing, Reason::FoundMissing), (EntryStatus::FoundChanged, Reason::FoundChanged)]
    {
        let known = entry(status, STAT, LATER);
        let sent = Action::Send {
            path: rel("a"),
            stat: STAT,
            observed_at: LATER,
            known: Some(known.clone()),
            reason,
            twins: Twins::NONE,
        };
        check(STAT, &known, &sent);
        let gone = Action::Missing { path: rel("a"), known: known.clone() };
        assert_eq!(run(vec![], vec![(rel("a"), known)]), [gone, COMPLETE]);
    }
}

#[test]
fn presumed_files_are_never_sent_until_their_bytes_change() {
    let presumed = entry(EntryStatus::Presumed, STAT, LATER);
    let left_alone = Action::Presumed { path: rel("a") };
    check(STAT, &presumed, &left_alone);
    check(FileStat { ctime: at(300), inode: 7, ..STAT }, &presumed, &left_alone);
    check(STAT, &entry(EntryStatus::Presumed, STAT, at(0)), &left_alone);
    let (path, observed_at, twins) = (rel("a"), LATER, Twins::NONE);
    let (stat, reason) = (FileStat { size: 11, ..STAT }, Reason::ChangedSincePresumed);
    let known = Some(presumed.clone());
    check(stat, &presumed, &Action::Send { path, stat, observed_at, known, reason, twins });
    let (path, twins) = (rel("a"), Twins::NONE);
    let (stat, reason) = (FileStat { mtime: at(101), ..STAT }, Reason::TimeChanged { was: STAT.mtime });
    let known = presumed.clone();
    check(stat, &presumed, &Action::Hash { path, stat, observed_at, known, reason, twins });
    assert_eq!(run(vec![], vec![(rel("a"), presumed.clone())]), [left_alone.clone(), COMPLETE]);
    let nothing_admitted = plan(vec![], [Ok::<_, Infallible>((rel("a"), presumed))], |_| false);
    assert_eq!(nothing_admitted.map(Result::unwrap).collect::<Vec<_>>(), [left_alone, COMPLETE]);
}

#[test]
fn streams_are_merged_in_the_order_of_paths() {
    let sent = |path| Action::Send {
        path: rel(path),
        stat: STAT,
        observed_at: LATER,
        known: None,
        reason: Reason::New,
        twins: Twins::NONE,
    };
    let missing = |path| Action::Missing { path: rel(path), known: known(path).1 };
    assert_eq!(run(vec![], vec![]), [COMPLETE]);
    assert_eq!(
        run(
            ["a/z", "a!", "c"].map(|path| file(path, STAT)).to_vec(),
            ["a", "a!", "b", "d"].map(known).to_vec()
        ),
        [missing("a"), sent("a/z"), unchanged("a!"), missing("b"), sent("c"), missing("d"), COMPLETE]
    );
}

fn unreadable() -> Found {
    Found::Unreadable { name: "c".into(), reason: "permission denied".into() }
}

#[test]
fn nothing_is_missing_after_something_unreadable() {
    let scan = vec![file("b", STAT), unreadable(), file("e", STAT)];
    let manifest = ["a", "b", "c/x", "e", "f"].map(known).to_vec();
    let actions = run(scan, manifest);
    assert_eq!(
        actions,
        [
            Action::Missing { path: rel("a"), known: known("a").1 },
            unchanged("b"),
            Action::Unreadable { name: "c".into(), reason: "permission denied".into() },
            unchanged("e"),
            INCOMPLETE,
        ]
    );
}

#[test]
fn what_cannot_be_sent_is_passed_on_and_leaves_the_scan_complete() {
    let (name, reason) = (String::from("n"), String::from("r"));
    let scan = vec![
        Found::Skipped { name: name.clone(), reason: reason.clone() },
        Found::Refused { name: name.clone(), reason: reason.clone() },
    ];
    let skip = Action::Skip { name: name.clone(), reason: reason.clone() };
    let expected = [skip, Action::Refuse { name, reason }, COMPLETE];
    assert_eq!(run(scan, vec![]), expected);
}

#[test]
fn what_the_job_no_longer_admits_is_not_missing() {
    let manifest = ["a.csv", "b.tmp"].map(|path| Ok::<_, Infallible>(known(path)));
    let admits = |path: &RelPath| path.name() == "a.csv";
    let actions: Vec<_> = plan(vec![], manifest, admits).map(Result::unwrap).collect();
    assert_eq!(actions, [Action::Missing { path: rel("a.csv"), known: known("a.csv").1 }, COMPLETE]);
}

#[test]
fn a_stream_out_of_order_ends_the_plan() {
    let disorder = |scan: &[&str], manifest: &[&str], stream: Stream| {
        let scan: Vec<_> = scan.iter().map(|path| file(path, STAT)).collect();
        let manifest = manifest.iter().map(|path| Ok::<_, Infallible>(known(path)));
        let mut items: Vec<_> = plan(scan, manifest, |_| true).collect();
        match items.pop() {
            Some(Err(PlanError::OutOfOrder { stream: found, .. })) => assert_eq!(found, stream),
            last => panic!("ended with {last:?}"),
        }
        assert!(items.iter().all(Result::is_ok));
    };
    disorder(&["b", "a"], &[], Stream::Scan);
    disorder(&["a-b", "a/b"], &["a-b"], Stream::Scan);
    disorder(&["a", "a"], &["a"], Stream::Scan);
    disorder(&["a"], &["b", "a"], Stream::Manifest);
    disorder(&[], &["a", "a"], Stream::Manifest);
}

#[test]
fn a_broken_manifest_ends_the_plan() {
    let manifest = [Ok(known("a")), Err("damaged"), Ok(known("b"))];
    let items: Vec<_> = plan(vec![file("a", STAT)], manifest, |_| true).collect();
    assert!(
        matches!(items[..], [Ok(Action::Unchanged { .. }), Err(PlanError::Manifest("damaged"))]),
        "{items:?}"
    );
}

#[test]
fn reasons_are_shown_to_people() {
    for (reason, text) in [
        (Reason::New, "new"),
        (Reason::SizeChanged { was: 7 }, "size changed, was 7 bytes"),
        (Reason::TimeChanged { was: at(0) }, "modified, was of 1970-01-01 00:00:00 UTC"),
    ] {
        assert_eq!(reason.to_string(), text);
    }
}

/// What must become of one path, said without streams or order.
fn model(found: Option<&FileStat>, known: Option<&Entry>) -> &'static str {
    match (found, known) {
        (None, None) => "nothing",
        (Some(_), None) => "send",
        (None, Some(known)) => match known.status {
            EntryStatus::Presumed => "presumed",
            EntryStatus::Retired => "nothing",
            EntryStatus::Delivered | EntryStatus::FoundMissing | EntryStatus::FoundChanged => "missing",
        },
        (Some(stat), Some(known)) => {
            let same_content = (stat.size, stat.mtime) == (known.stat.size, known.stat.mtime);
            let trusted = known.observed_at.nanos_since(stat.ctime.max(stat.mtime)) >= 2_000_000_000;
            match known.status {
                EntryStatus::Presumed if same_content => "presumed",
                EntryStatus::Presumed if stat.size == known.stat.size => "hash",
                EntryStatus::Presumed
                | EntryStatus::Retired
                | EntryStatus::FoundMissing
                | EntryStatus::FoundChanged => "send",
                EntryStatus::Delivered if stat.size != known.size => "send",
                EntryStatus::Delivered if *stat == known.stat && trusted => "unchanged",
                EntryStatus::Delivered => "hash",
            }
        }
    }
}

fn stats() -> impl Strategy<Value = FileStat> {
    (0..2u64, 0..3i64, 0..3i64, 0..2u64).prop_map(|(size, mtime, ctime, inode)| FileStat {
        size,
        mtime: at(mtime),
        ctime: at(ctime),
        inode,
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    let status = prop_oneof![
        Just(EntryStatus::Delivered),
        Just(EntryStatus::Presumed),
        Just(EntryStatus::Retired),
        Just(EntryStatus::FoundMissing),
        Just(EntryStatus::FoundChanged),
    ];
    (status, stats(), 0..6i64).prop_map(|(status, stat, looked)| entry(status, stat, at(looked)))
}

/// Paths in which folders and longer names of the same beginning meet.
const PATHS: &str = "[ab](/[ab!-]|[!-]){0,2}";

proptest! {
    #[test]
    fn the_merge_is_the_model(
        scan in proptest::collection::hash_map(PATHS, stats(), 0..12),
        manifest in proptest::collection::hash_map(PATHS, entries(), 0..12),
    ) {
        let mut found: Vec<_> = scan.iter().map(|(path, stat)| file(path, *stat)).collect();
        found.sort_by_key(|found| match found {
            Found::File { path, .. } => path.to_key(),
            other => panic!("{other:?}"),
        });
        let mut entries: Vec<_> = manifest.iter().map(|(path, entry)| (rel(path), entry.clone())).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));

        let mut outcomes = HashMap::new();
        let mut ends = 0;
        for action in run(found, entries) {
            let (path, outcome) = match action {
                Action::Send { path, .. } => (path, "send"),
                Action::Hash { path, .. } => (path, "hash"),
                Action::Presumed { path } => (path, "presumed"),
                Action::Missing { path, .. } => (path, "missing"),
                Action::Unchanged { path } => (path, "unchanged"),
                Action::End(ScanEnd::Complete(_)) => { ends += 1; continue }
                other => panic!("{other:?}"),
            };
            prop_assert!(outcomes.insert(path.to_string(), outcome).is_none(), "{path} twice");
        }
        let paths: std::collections::HashSet<_> = scan.keys().chain(manifest.keys()).collect();
        let expected: HashMap<_, _> = paths
            .iter()
            .map(|&path| (path.clone(), model(scan.get(path), manifest.get(path))))
            .filter(|(_, outcome)| *outcome != "nothing")
            .collect();
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(ends, 1);
    }
}
