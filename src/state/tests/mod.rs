//! The state as a whole: what is acknowledged is kept, and what is damaged is noticed.

mod beside;
mod crash;
mod damage;
mod formats;
mod growth;
mod harm;
mod model;
mod power;
mod sidecars;
pub(crate) mod sim;
pub(crate) mod simulated;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use self::sim::SimDisk;
use super::*;
use crate::domain::{
    AuditCounts, AuditKind, Audited, Confirmed, Counts, Delivered, Depth, Digest, Entry, EntryStatus,
    Evidence, Failed, Failure, FailureClass, FileStat, Folders, FoundDiffering, Leftovers, Presumed,
    Publishing, RelPath, RemotePath, RunFinished, RunId, Scope, Sent, SessionFacts, Sidecars, SkippedFile,
    StagedFile, Staging, Standing, Timestamp, TlsVersion, VerifyPolicy, Withdrawn, compare,
};

/// A clock that moves a second a look, and numbers that count up.
#[derive(Debug, Default)]
struct Ticks {
    seconds: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + self.seconds.fetch_add(1, Ordering::Relaxed), 5)
    }

    fn random(&self) -> u64 {
        0x1000_0000_0000_0001 + self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(Ticks::default())
}

/// Segments so small that a few records fill one.
const SMALL_SEGMENT: u64 = 4_000;

/// Longer than any test: what is done beside the writer comes at the same step each time.
const PATIENCE: Duration = Duration::from_hours(1);

fn small(segment_bytes: u64) -> Keeping {
    Keeping { segment_bytes, patience: PATIENCE, ..Keeping::default() }
}

/// A state whose ledger has a new segment every few records.
pub(crate) fn open_in_small_segments(folder: &Path, clock: Arc<dyn Clock>) -> State {
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
    State::open_on(folder, clock, &disk, small(SMALL_SEGMENT)).unwrap().state
}

fn open_sim(folder: &Path, disk: &SimDisk) -> Result<Opened, StateError> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    State::open_on(folder, clock(), &storage, small(SMALL_SEGMENT))
}

fn open_at(folder: &Path) -> Opened {
    State::open(folder, clock()).unwrap()
}

/// Opens a folder and expects that nothing is to be told.
fn reopen(folder: &Path) -> State {
    let opened = open_at(folder);
    assert!(opened.notices.is_empty(), "{:?}", opened.notices);
    opened.state
}

fn refused(folder: &Path) -> StateError {
    State::open(folder, clock()).unwrap_err()
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn target(name: &str) -> Target {
    Target {
        source: format!("/srv/{name}"),
        host: "h".into(),
        port: 21,
        user: "u".into(),
        destination: "/in".into(),
    }
}

fn job() -> JobName {
    "reports".parse().unwrap()
}

fn start(state: &State, target: &Target) -> RunId {
    block_on(state.start_run(&job(), target)).unwrap().run
}

fn commit(state: &State, target: &Target, records: Vec<Record>) {
    block_on(state.commit(target.id(), records)).unwrap();
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn remote(path: &str) -> RemotePath {
    RemotePath::new(path).unwrap()
}

fn stat(version: u64) -> FileStat {
    let at = Timestamp::from_unix(1_700_000_000, i64::try_from(version).unwrap());
    FileStat { size: version, mtime: at, ctime: at, inode: version + 1 }
}

fn observed(version: u64) -> Timestamp {
    Timestamp::from_unix(1_750_000_000, i64::try_from(version).unwrap())
}

fn verified(version: u64) -> crate::domain::Verified {
    let digest = Digest::of(&version.to_be_bytes());
    let sent = Sent { size: version, digest };
    compare(&sent, &Evidence::ServerHash { digest }, VerifyPolicy::Auto).unwrap()
}

fn session() -> SessionFacts {
    SessionFacts {
        peer: "192.0.2.7:21".parse().unwrap(),
        tls: TlsVersion::V1_3,
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        certificate: Digest::of(b"certificate"),
    }
}

fn publishing(run: RunId, path: &str, version: u64) -> Publishing {
    Publishing {
        run,
        path: rel(path),
        temporary: remote("/in/.nf-1"),
        stat: stat(version),
        observed_at: observed(version),
        verified: verified(version),
        modified: version.is_multiple_of(2).then(|| "20260101000000".to_owned()),
        standing: if version.is_multiple_of(3) {
            Standing::Absent
        } else {
            Standing::File { size: version, modified: None }
        },
        displaced: None,
        sidecars: Sidecars::NONE,
        session: session(),
    }
}

fn delivered(run: RunId, path: &str, version: u64) -> Record {
    Record::Delivered(Delivered::from(publishing(run, path, version)))
}

fn presumed(run: RunId, path: &str, version: u64) -> Record {
    Record::Presumed(Presumed {
        run,
        path: rel(path),
        stat: stat(version),
        observed_at: observed(version),
        basis: crate::domain::Basis::Verified(verified(version)),
        publish: crate::domain::PublishWay::Rename,
        found: String::new(),
    })
}

fn confirmed(run: RunId, path: &str, version: u64) -> Record {
    Record::Confirmed(Confirmed { run, path: rel(path), stat: stat(version), observed_at: observed(version) })
}

fn withdrawn(run: RunId, path: &str) -> Record {
    Record::Withdrawn(Withdrawn { run, path: rel(path), cause: "the name is gone".into() })
}

fn staging(run: RunId, folder: &str) -> Record {
    Record::Staging(Staging { run, folder: remote(folder), file: None })
}

fn staged_file(folder: &str, path: &str, version: u64) -> StagedFile {
    let temporary = remote(folder).child(&format!(".nf-{version}")).unwrap();
    StagedFile { path: rel(path), temporary, stat: stat(version) }
}

fn staging_of(run: RunId, folder: &str, path: &str, version: u64) -> Record {
    let file = Some(staged_file(folder, path, version));
    Record::Staging(Staging { run, folder: remote(folder), file })
}

fn finished(run: RunId, leftovers: &[&str]) -> Record {
    Record::RunFinished(RunFinished {
        run,
        counts: Counts::default(),
        stopped: None,
        leftovers: Leftovers::of(leftovers.iter().map(|folder| remote(folder)).collect()),
        source: None,
        mounts: None,
        skipped: vec![SkippedFile { name: "ü \"l\"".into(), reason: "named pipe".into() }],
    })
}

fn failed(run: RunId) -> Record {
    let failure = Failure::new(FailureClass::File, "550 \"no\"\\ \n");
    Record::Failed(Failed { run, name: "ü \"x\"".into(), failure })
}

/// All that a manifest shows.
type Shown = (Vec<(RelPath, Entry)>, Vec<Publishing>, Vec<RemotePath>, Vec<StagedFile>);

fn show(state: &State, target: &Target) -> Result<Shown, StateError> {
    let manifest = state.manifest(target.id())?;
    let entries = manifest.entries().collect::<Result<_, _>>()?;
    Ok((entries, manifest.intents()?, manifest.staged_folders()?, manifest.partials()?))
}

/// What is found differing keeps all that is known of it, until it is found in place again; what
/// nobody delivered is not taken in by being missing.
#[test]
fn what_is_found_on_the_server_changes_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("found");
    let state = reopen(folder.path());
    let run = block_on(state.start_audit(&job(), &target, AuditKind::Verify)).unwrap().run;
    commit(&state, &target, vec![delivered(run, "a", 4), delivered(run, "b", 4)]);
    let found = |path: &str| FoundDiffering {
        run,
        path: RelPath::new(path).unwrap(),
        size: 4,
        digest: Digest::of(b"a"),
        found: "nothing".into(),
    };
    let missing = ["a", "never"].map(|path| Record::FoundMissing(found(path)));
    commit(&state, &target, missing.into());
    commit(&state, &target, vec![Record::FoundChanged(found("b"))]);
    let statuses = |state: &State| {
        let (entries, ..) = show(state, &target).unwrap();
        entries
            .into_iter()
            .map(|(path, entry)| (path.to_string(), entry.status, entry.size))
            .collect::<Vec<_>>()
    };
    let marked =
        [("a".to_owned(), EntryStatus::FoundMissing, 4), ("b".to_owned(), EntryStatus::FoundChanged, 4)];
    assert_eq!(statuses(&state), marked);
    state.close().unwrap();
    // The ledger alone gives the same.
    std::fs::remove_dir_all(folder.path().join("manifest")).unwrap();
    let state = open_at(folder.path()).state;
    assert_eq!(statuses(&state), marked);
    let Record::Delivered(there) = delivered(run, "a", 4) else { panic!() };
    let run = block_on(state.start_audit(&job(), &target, AuditKind::Verify)).unwrap().run;
    commit(&state, &target, vec![Record::Adopted(Delivered { run, ..there })]);
    assert_eq!(statuses(&state)[0].1, EntryStatus::Delivered);
    let (counts, proofs) = (AuditCounts::default(), std::collections::BTreeMap::new());
    let ended = Audited { run, audit: AuditKind::Verify, counts, proofs };
    commit(&state, &target, vec![Record::Audited(ended)]);
    state.close().unwrap();
}

/// A part of the manifest is what lies in it of the whole, in the same order.
#[test]
fn a_part_of_the_manifest_is_what_a_scope_covers() {
    let folder = tempfile::tempdir().unwrap();
    let (target, state) = (target("parts"), reopen(folder.path()));
    let run = start(&state, &target);
    let paths = ["!", "a/1", "a/b/c/2", "a/b/3", "a/b-c/4", "a-b/5", "a0/6", "z", "a/\u{10ffff}/7", "b/8"];
    commit(&state, &target, paths.iter().map(|path| delivered(run, path, 4)).collect());
    let manifest = state.manifest(target.id()).unwrap();
    let all: Vec<_> = manifest.entries().map(|entry| entry.unwrap().0).collect();
    assert_eq!(all.len(), paths.len());
    let folders =
        [None, Some("a"), Some("a/b"), Some("a/b/c"), Some("b"), Some("none"), Some("a/\u{10ffff}")];
    for one in folders {
        for other in folders {
            for depths in
                [(Depth::Itself, Depth::Itself), (Depth::Tree, Depth::Itself), (Depth::Tree, Depth::Tree)]
            {
                let mut folders = Folders::default();
                folders.add(one.map(rel), depths.0);
                folders.add(other.map(rel), depths.1);
                let scope = Scope::Folders(folders);
                let found: Vec<_> = manifest.entries_within(&scope).map(|entry| entry.unwrap().0).collect();
                let expected: Vec<_> = all.iter().filter(|path| scope.covers(path)).cloned().collect();
                assert_eq!(found, expected, "{scope:?}");
            }
        }
    }
    assert_eq!(manifest.entries_within(&Scope::All).count(), paths.len());
    state.close().unwrap();
}

/// A run with every kind of record.
fn fill(state: &State, target: &Target) -> RunId {
    let run = start(state, target);
    commit(state, target, vec![staging(run, "/in"), staging(run, "/in/a")]);
    for path in ["a", "a/b", "a-b", "gone", "presumed"] {
        commit(state, target, vec![Record::Publishing(publishing(run, path, 4))]);
    }
    commit(state, target, vec![delivered(run, "a/b", 4), delivered(run, "a-b", 4), delivered(run, "a", 4)]);
    commit(state, target, vec![confirmed(run, "a", 7), confirmed(run, "never", 7), failed(run)]);
    commit(state, target, vec![withdrawn(run, "gone"), presumed(run, "presumed", 4)]);
    commit(state, target, vec![Record::Publishing(publishing(run, "doubt", 5))]);
    run
}

fn check_filled(state: &State, target: &Target) {
    let (entries, intents, staged, partials) = show(state, target).unwrap();
    let paths: Vec<_> = entries.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["a", "a/b", "a-b", "presumed"], "in the order of a sorted walk");
    assert_eq!((entries[0].1.stat, entries[0].1.observed_at, entries[0].1.size), (stat(7), observed(7), 4));
    assert_eq!(entries[1].1.stat, stat(4));
    assert_eq!(entries[1].1.modified.as_deref(), Some("20260101000000"));
    let statuses: Vec<_> = entries.iter().map(|(_, entry)| entry.status).collect();
    assert_eq!(statuses[2..], [EntryStatus::Delivered, EntryStatus::Presumed]);
    assert_eq!(intents, [publishing(RunId(1), "doubt", 5)]);
    assert_eq!(staged, [remote("/in"), remote("/in/a")]);
    assert_eq!(partials, []);
    let manifest = state.manifest(target.id()).unwrap();
    assert_eq!(manifest.get(&rel("a/b")).unwrap().as_ref(), Some(&entries[1].1));
    assert_eq!(manifest.get(&rel("never")).unwrap(), None);
}

#[test]
fn every_record_comes_to_the_manifest_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("a");
    let state = reopen(folder.path());
    let agent = state.agent();
    let run = fill(&state, &target);
    check_filled(&state, &target);
    state.close().unwrap();

    let state = reopen(folder.path());
    assert_eq!(state.agent(), agent);
    check_filled(&state, &target);
    commit(&state, &target, vec![finished(run, &["/in/a", "/in/z"])]);
    let staged = state.manifest(target.id()).unwrap().staged_folders().unwrap();
    assert_eq!(staged, [remote("/in/a"), remote("/in/z")]);
    // Too many to name: whatever was staged stays on the list.
    let many: Vec<_> = (0..1_001).map(|n| format!("/in/{n}")).collect();
    let many = finished(run, &many.iter().map(String::as_str).collect::<Vec<_>>());
    commit(&state, &target, vec![staging(run, "/in/m"), many]);
    let staged = state.manifest(target.id()).unwrap().staged_folders().unwrap();
    assert_eq!(staged, ["/in/a", "/in/m", "/in/z"].map(remote));
    state.close().unwrap();
    let summary = verify_ledger(folder.path()).unwrap();
    assert_eq!((summary.records, summary.segments, summary.torn_tail), (20, 1, None));
    assert_eq!(summary.agent, agent);
    assert!(summary.first_at.is_some() && summary.last_at.is_some());
}

#[test]
fn a_part_of_a_large_file_is_known_until_it_is_delivered_given_up_or_swept() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("a");
    let state = reopen(folder.path());
    let run = start(&state, &target);
    let begin = |path| staging_of(run, "/in", path, 3);
    let partials = |state: &State| state.manifest(target.id()).unwrap().partials().unwrap();
    for end in [
        Record::Publishing(publishing(run, "a", 3)),
        delivered(run, "a", 3),
        presumed(run, "a", 3),
        confirmed(run, "a", 3),
        withdrawn(run, "a"),
        finished(run, &["/in/a"]),
    ] {
        commit(&state, &target, vec![begin("a")]);
        assert_eq!(partials(&state), [staged_file("/in", "a", 3)], "before {end:?}");
        commit(&state, &target, vec![end.clone()]);
        assert_eq!(partials(&state), [], "after {end:?}");
    }
    // A second begin takes the first one's place; a folder that is not clean keeps its parts.
    commit(&state, &target, vec![begin("a"), staging_of(run, "/in", "a", 4), begin("b")]);
    commit(&state, &target, vec![failed(run), finished(run, &["/in"])]);
    let kept = [staged_file("/in", "a", 4), staged_file("/in", "b", 3)];
    assert_eq!(partials(&state), kept);
    state.close().unwrap();
    assert_eq!(partials(&reopen(folder.path())), kept);
}

#[test]
fn runs_are_numbered_through_and_tell_a_changed_target() {
    let folder = tempfile::tempdir().unwrap();
    let state = reopen(folder.path());
    let begin = |state: &State, target: &Target| {
        let started = block_on(state.start_run(&job(), target)).unwrap();
        (started.run.0, started.previous_target)
    };
    assert_eq!(begin(&state, &target("a")), (1, None));
    assert_eq!(begin(&state, &target("a")), (2, None));
    drop(state);
    let state = reopen(folder.path());
    assert_eq!(begin(&state, &target("b")), (3, Some(target("a"))));
    assert_eq!(begin(&state, &target("b")), (4, None));
}

#[test]
fn records_of_another_run_or_target_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = reopen(folder.path());
    let run = start(&state, &target("a"));
    let check = |target: &Target, record| {
        let error = block_on(state.commit(target.id(), vec![record])).unwrap_err();
        assert!(matches!(error, StateError::ForeignRun { .. }), "{error}");
    };
    check(&target("b"), failed(run));
    check(&target("a"), failed(RunId(run.0 + 1)));
    let again = crate::domain::RunStarted {
        run,
        job: job(),
        target: target("a"),
        audit: None,
        triggers: Triggers::default(),
    };
    check(&target("a"), Record::RunStarted(again));
    let cause = "x".repeat(9 << 20);
    let large = Record::Withdrawn(Withdrawn { run, path: rel("a"), cause });
    let error = block_on(state.commit(target("a").id(), vec![large])).unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    commit(&state, &target("a"), vec![]);
    commit(&state, &target("a"), vec![finished(run, &[])]);
    // Settling what a finished run left in doubt.
    commit(&state, &target("a"), vec![delivered(run, "late", 1)]);
    state.close().unwrap();
    assert_eq!(verify_ledger(folder.path()).unwrap().records, 3);
}

#[test]
fn a_second_opener_is_told_who_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = reopen(folder.path());
    let error = refused(folder.path());
    let StateError::Locked { holder, .. } = &error else { panic!("{error}") };
    let holder = holder.unwrap();
    assert_eq!(holder.pid, std::process::id());
    assert!(error.to_string().contains(", since 2027-01-15 "), "{error}");
    assert_eq!(error.exit(), crate::domain::Exit::Locked);
    state.close().unwrap();
    reopen(folder.path()).close().unwrap();
}

#[test]
fn what_is_closed_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let state = reopen(folder.path());
    let other = state.clone();
    let run = start(&state, &target("a"));
    state.close().unwrap();
    let error = block_on(other.commit(target("a").id(), vec![failed(run)])).unwrap_err();
    assert!(matches!(error, StateError::Closed), "{error}");
    assert!(matches!(other.manifest(target("a").id()), Err(StateError::Closed)));
    drop(other);
    assert_eq!(verify_ledger(folder.path()).unwrap().records, 1);
}

#[test]
fn the_state_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("deep/state");
    reopen(&folder).close().unwrap();
    for made in [folder.clone(), folder.join("ledger")] {
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700, "{made:?}");
    }
    let segment = std::fs::metadata(folder.join("ledger/000001.jsonl")).unwrap();
    assert_eq!(segment.permissions().mode() & 0o777, 0o600);
}

#[test]
fn up_to_where_a_schedule_is_dealt_with_survives_a_lost_manifest() {
    use crate::domain::{Missed, RunsMissed, ScheduleMark, Scheduled, Trigger};
    let folder = tempfile::tempdir().unwrap();
    let at = |seconds| Timestamp::from_unix(seconds, 0);
    let state = open_at(folder.path()).state;
    assert_eq!(state.schedule_mark(&job()).unwrap(), None);
    let begun = Scheduled { job: job(), schedule: "0 17 * * * UTC".into(), from: at(100) };
    block_on(state.commit_general(vec![Record::Scheduled(begun)])).unwrap();
    let triggers = Triggers::of(Trigger::Schedule { due: at(200) });
    block_on(state.start_run_for(&job(), &target("a"), triggers)).unwrap();
    let mark = |due| Some(ScheduleMark { schedule: Some("0 17 * * * UTC".into()), dealt_with: at(due) });
    assert_eq!(state.schedule_mark(&job()).unwrap(), mark(200));
    // By hand, and earlier times: nothing changes.
    block_on(state.start_run(&job(), &target("a"))).unwrap();
    let missed = |due| {
        Record::RunsMissed(RunsMissed { job: job(), missed: Missed::one(at(due)), cause: "off".into() })
    };
    block_on(state.commit_general(vec![missed(150)])).unwrap();
    assert_eq!(state.schedule_mark(&job()).unwrap(), mark(200));
    block_on(state.commit_general(vec![missed(300)])).unwrap();
    state.close().unwrap();
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(folder.path().join("manifest")).unwrap();
        }
        let state = open_at(folder.path()).state;
        assert_eq!(state.schedule_mark(&job()).unwrap(), mark(300), "lost: {lost}");
        state.close().unwrap();
    }
}
