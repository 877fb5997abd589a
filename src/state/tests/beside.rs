//! What is done beside the writer: a checkpoint of one moment while more is recorded, and the end
//! of what cannot be done.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex};

use super::super::checkpoint;
use super::super::ledger::{Position, Written};
use super::super::manifest::{MAX_KEPT_BYTES, Opening, Part, Snapshot, Store};
use super::super::storage::Append;
use super::super::verify::verify_on;
use super::sim::Trouble;
use super::*;
use crate::domain::{Removal, Removed};

fn store(folder: &Path) -> Store {
    let Opening { store, .. } = Store::open(folder, Timestamp::from_unix(0, 0)).unwrap();
    store
}

/// Applies a delivery, as the writer does with a group.
fn apply(store: &mut Store, seq: u64, target: &Target, path: &str, version: u64) {
    let record = delivered(RunId(1), path, version);
    apply_record(store, seq, target, record);
}

fn apply_record(store: &mut Store, seq: u64, target: &Target, record: Record) {
    let at = Timestamp::from_unix(1_800_000_000, 0);
    let end = Position { ledger: 1, seq, hash: Digest::of(&seq.to_be_bytes()) };
    store.apply(&[Written { seq, at, target: Some(target.id()), record }], end).unwrap();
}

fn removed(path: &str) -> Record {
    Record::Removed(Removed { run: RunId(1), path: rel(path), removal: Removal::Deleted })
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads on to the end, and does something between any two parts.
fn read(mut snapshot: Snapshot, mut between: impl FnMut(usize)) -> Result<Vec<(Vec<u8>, Pairs)>, StateError> {
    let (mut trees, mut step) = (Vec::<(Vec<u8>, Pairs)>::new(), 0);
    while let Some(part) = snapshot.next()? {
        match part {
            Part::Tree(name) => trees.push((name, Vec::new())),
            Part::Pairs(pairs) => trees.last_mut().unwrap().1.extend(pairs),
        }
        between(step);
        step += 1;
    }
    Ok(trees)
}

#[test]
fn a_snapshot_is_of_one_moment_whatever_is_recorded_while_it_is_read() {
    const FILES: u64 = 600;
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    let (a, b) = (target("a"), target("b"));
    for file in 0..FILES {
        apply(&mut store, file + 1, &a, &format!("f{file:04}"), file);
        apply(&mut store, file + 1, &b, &format!("f{file:04}"), file);
    }
    let moment = read(store.snapshot(MAX_KEPT_BYTES).unwrap(), |_| {}).unwrap();
    assert_eq!(moment.iter().map(|(_, pairs)| pairs.len() as u64).sum::<u64>(), 2 * FILES);
    let snapshot = store.snapshot(MAX_KEPT_BYTES).unwrap();
    let mut seq = FILES;
    let meanwhile = read(snapshot, |step| {
        for target in [&a, &b] {
            for at in 0..40 {
                seq += 1;
                // Before and behind what was read: changed, new, and gone.
                let file = (at * 17 + step as u64 * 29) % FILES;
                apply(&mut store, seq, target, &format!("f{file:04}"), 5_000 + seq);
                seq += 1;
                apply(&mut store, seq, target, &format!("f{file:04}-new"), seq);
                seq += 1;
                let gone = removed(&format!("f{:04}", (file + 3) % FILES));
                apply_record(&mut store, seq, target, gone);
            }
        }
        // One that is not in the moment at all.
        seq += 1;
        apply(&mut store, seq, &target("c"), "late", 1);
    })
    .unwrap();
    assert!(moment == meanwhile, "what was recorded later is in it, or what was there is not");
    assert!(read(store.snapshot(MAX_KEPT_BYTES).unwrap(), |_| {}).unwrap() != moment, "nothing was changed");
}

#[test]
fn a_snapshot_is_given_up_where_too_much_changes_and_the_next_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    let target = target("a");
    for file in 0..300 {
        apply(&mut store, file + 1, &target, &format!("f{file:04}"), file);
    }
    let snapshot = store.snapshot(2_000).unwrap();
    let error = read(snapshot, |step| {
        for file in 0..30 {
            let seq = 1_000 + step as u64 * 100 + file;
            apply(&mut store, seq, &target, &format!("f{:04}", 299 - file), seq);
        }
    })
    .unwrap_err();
    assert!(matches!(error, StateError::Outrun { limit: 2_000 }), "{error}");
    let whole = read(store.snapshot(2_000).unwrap(), |_| {}).unwrap();
    assert_eq!(whole[0].1.len(), 300);
}

#[test]
fn commits_go_on_beside_compression_and_checkpoints_and_all_is_rebuilt_from_them() {
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (disk, target) = (SimDisk::default(), target("a"));
    let open = |folder: &Path| {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let keeping = Keeping { patience: Duration::ZERO, ..small(SMALL_SEGMENT) };
        State::open_on(folder, clock(), &storage, keeping).unwrap().state
    };
    let state = open(folder.path());
    let run = start(&state, &target);
    for number in 0..400 {
        commit(&state, &target, vec![delivered(run, &format!("f{}", number % 90), number)]);
    }
    let shown = show(&state, &target).unwrap();
    assert_eq!(state.close_telling().unwrap(), Vec::<String>::new());
    let names = disk.names().unwrap();
    assert_eq!(
        names.iter().filter(|name| name.strip_suffix(".jsonl").is_some()).count(),
        1,
        "sealed, not compressed: {names:?}"
    );
    assert!(!checkpoint::list(&disk).unwrap().is_empty(), "{names:?}");
    verify_on(&disk, Path::new("ledger")).unwrap();
    let rebuilt = open(fresh.path());
    assert_eq!(show(&rebuilt, &target).unwrap(), shown);
    rebuilt.close().unwrap();
}

#[test]
fn a_checkpoint_that_was_recorded_but_not_named_is_named_and_another_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, target) = (SimDisk::default(), target("a"));
    let state = open_sim(folder.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    let mut number = 0;
    while checkpoint::list(&disk).unwrap().is_empty() {
        commit(&state, &target, vec![delivered(run, &format!("f{number}"), number)]);
        number += 1;
    }
    state.close().unwrap();
    let name = checkpoint::name(checkpoint::list(&disk).unwrap()[0]);
    disk.rename(&name, "checkpoint.new").unwrap();
    open_sim(folder.path(), &disk).unwrap().state.close().unwrap();
    let names = disk.names().unwrap();
    assert!(names.contains(&name) && !names.contains(&"checkpoint.new".to_owned()), "{names:?}");

    disk.create("checkpoint.new").unwrap().append(b"half").unwrap();
    open_sim(folder.path(), &disk).unwrap().state.close().unwrap();
    assert!(!disk.names().unwrap().contains(&"checkpoint.new".to_owned()));
    verify_on(&disk, Path::new("ledger")).unwrap();
}

#[test]
fn what_fails_beside_the_writer_fails_no_commit_and_is_told_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, target) = (SimDisk::default(), target("a"));
    let state = open_sim(folder.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    disk.trouble(Trouble::SyncFailsAt("compressed.new".to_owned()));
    for number in 0..30 {
        commit(&state, &target, vec![delivered(run, &format!("f{number}"), number)]);
    }
    let notices = state.close_telling().unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("could not be put in order"), "{notices:?}");
    disk.trouble(Trouble::None);
    let opened = open_sim(folder.path(), &disk).unwrap();
    assert_eq!(show(&opened.state, &target).unwrap().0.len(), 30);
    assert_eq!(opened.state.close_telling().unwrap(), Vec::<String>::new());
    assert!(!checkpoint::list(&disk).unwrap().is_empty());
}

/// A disk on which nobody begins to write one of its files before that is allowed.
#[derive(Clone, Debug)]
struct Held {
    at: &'static str,
    disk: SimDisk,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    #[default]
    Closed,
    SomebodyWaits,
    Open,
}

impl Held {
    fn at(at: &'static str) -> Self {
        Self { at, disk: SimDisk::default(), gate: Arc::default() }
    }

    fn set(&self, gate: Gate) {
        *self.gate.0.lock().unwrap() = gate;
        self.gate.1.notify_all();
    }

    fn until(&self, wanted: Gate) {
        drop(self.gate.1.wait_while(self.gate.0.lock().unwrap(), |gate| *gate < wanted).unwrap());
    }
}

impl Storage for Held {
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        if name == self.at && *self.gate.0.lock().unwrap() == Gate::Closed {
            self.set(Gate::SomebodyWaits);
            self.until(Gate::Open);
        }
        self.disk.create(name)
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.disk.read(name)
    }
    fn append(&self, name: &str) -> io::Result<Box<dyn Append>> {
        self.disk.append(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn size(&self, name: &str) -> io::Result<u64> {
        self.disk.size(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
    fn sync_home(&self) -> io::Result<()> {
        self.disk.sync_home()
    }
}

/// Commits until what is held has come, and the manifest lacks some of it. Returns how many files.
fn fall_behind(state: &State, held: &Held, target: &Target, run: RunId) -> u64 {
    let mut number = 0;
    let mut one_more = || {
        commit(state, target, vec![delivered(run, &format!("f{number:03}"), number)]);
        number += 1;
    };
    while *held.gate.0.lock().unwrap() == Gate::Closed {
        one_more();
    }
    one_more();
    // A segment that is sealed just then takes all in.
    while state.inner.lag().unwrap().records() == 0 {
        one_more();
    }
    number
}

/// A folder in which each compression is held up until it may go on, and no close waits for it.
struct Slow {
    folder: tempfile::TempDir,
    held: Held,
    storage: Arc<dyn Storage>,
}

impl Slow {
    fn new() -> Self {
        let held = Held::at("compressed.new");
        let storage = Arc::new(held.clone());
        Self { folder: tempfile::tempdir().unwrap(), held, storage }
    }

    fn open(&self) -> Result<Opened, StateError> {
        let keeping = Keeping { patience: Duration::ZERO, ..small(SMALL_SEGMENT) };
        State::open_on(self.folder.path(), clock(), &self.storage, keeping)
    }
}

/// Whoever closes the state lets go of the folder when nothing works on it any more.
#[test]
fn nobody_else_gets_the_folder_before_the_last_work_on_it_has_ended() {
    const TRIES: usize = 200;
    let (slow, target) = (Slow::new(), target("a"));
    let state = slow.open().unwrap().state;
    let run = start(&state, &target);
    fall_behind(&state, &slow.held, &target, run);
    let other = state.clone();
    let closing = thread::spawn(move || state.close());
    while !other.is_stopped() {
        thread::yield_now();
    }
    for _ in 0..TRIES {
        let error = slow.open().map(drop).unwrap_err();
        assert!(matches!(error, StateError::Locked { .. }), "{error}");
    }
    slow.held.set(Gate::Open);
    closing.join().unwrap().unwrap();
    slow.open().unwrap().state.close().unwrap();
}

/// Who asks a second time for the end does not wait for what can be done at the next start.
#[test]
fn a_close_that_is_hurried_does_not_wait_for_a_compression() {
    let (slow, target) = (Slow::new(), target("a"));
    let state = slow.open().unwrap().state;
    let run = start(&state, &target);
    let files = fall_behind(&state, &slow.held, &target, run);
    let (other, haste) = (state.clone(), state.haste());
    let closing = thread::spawn(move || state.close_telling());
    while !other.is_stopped() {
        thread::yield_now();
    }
    haste.make();
    slow.held.set(Gate::Open);
    // Otherwise it would have come to its end.
    let told = closing.join().unwrap().unwrap();
    assert!(matches!(&told[..], [one] if one.contains("Nothing is lost")), "{told:?}");
    let state = slow.open().unwrap().state;
    assert_eq!(state.manifest(target.id()).unwrap().entries().count() as u64, files);
    state.close().unwrap();
}

/// A checkpoint stands for all records before it, also for those that the manifest lacked just before.
#[test]
fn a_checkpoint_has_what_was_committed_while_a_segment_was_compressed() {
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (held, target) = (Held::at("compressed.new"), target("a"));
    let open = |folder: &Path| {
        let storage: Arc<dyn Storage> = Arc::new(held.clone());
        let keeping = Keeping { patience: Duration::ZERO, ..small(SMALL_SEGMENT) };
        State::open_on(folder, clock(), &storage, keeping).unwrap().state
    };
    let state = open(folder.path());
    let run = start(&state, &target);
    let number = fall_behind(&state, &held, &target, run);
    held.set(Gate::Open);
    // Waits for what is done beside it.
    assert_eq!(state.close_telling().unwrap(), Vec::<String>::new());
    assert!(!checkpoint::list(&held.disk).unwrap().is_empty());
    let rebuilt = open(fresh.path());
    let known: Vec<_> = show(&rebuilt, &target).unwrap().0.into_iter().map(|(path, _)| path).collect();
    let mut all: Vec<_> = (0..number).map(|number| rel(&format!("f{number:03}"))).collect();
    all.sort();
    assert_eq!(known, all);
    rebuilt.close().unwrap();
}

/// What the manifest lacks is kept in memory, and replayed after a crash.
#[test]
fn the_manifest_is_never_far_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (state, target) = (reopen(folder.path()), target("a"));
    let lag = || state.inner.lag().unwrap().records();
    let run = start(&state, &target);
    let mut most = 0;
    for number in 0..700 {
        commit(&state, &target, vec![delivered(run, &format!("f{}", number % 9), number)]);
        most = most.max(lag());
    }
    assert!((100..512).contains(&most), "{most}");
    assert_eq!(show(&state, &target).unwrap().0.len(), 9);
    assert_eq!(lag(), 0, "it was read");
    commit(&state, &target, vec![delivered(run, "last", 1)]);
    assert_eq!(lag(), 1);
    commit(&state, &target, vec![finished(run, &[])]);
    assert_eq!(lag(), 0, "a run has ended");
    state.close().unwrap();
}

/// The writer ends over a record of its own, which nobody waits for: what was acknowledged can be read all
/// the same, and it goes on when the disk is well.
#[test]
fn a_checkpoint_that_cannot_be_recorded_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (held, target) = (Held::at("checkpoint.new"), target("a"));
    let storage: Arc<dyn Storage> = Arc::new(held.clone());
    let keeping = Keeping { patience: Duration::ZERO, ..small(SMALL_SEGMENT) };
    let state = State::open_on(folder.path(), clock(), &storage, keeping).unwrap().state;
    let run = start(&state, &target);
    let number = fall_behind(&state, &held, &target, run);
    held.disk.trouble(Trouble::SyncFailsAt("#.jsonl".to_owned()));
    held.set(Gate::Open);
    while !state.inner.running().as_ref().unwrap().writer.is_finished() {
        thread::yield_now();
    }
    let known = || {
        let entries = show(&state, &target).unwrap().0;
        entries.into_iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..number).map(|number| format!("f{number:03}")).collect();
    assert_eq!(known(), all);
    held.disk.trouble(Trouble::None);
    state.reopen().unwrap();
    assert_eq!(known(), all);
    commit(&state, &target, vec![delivered(run, "more", 1)]);
    state.close().unwrap();
    verify_on(&held.disk, Path::new("ledger")).unwrap();
}

/// Where the ledger can be written no more, what was acknowledged can still be read.
#[test]
fn a_failed_ledger_leaves_the_manifest_with_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, target) = (SimDisk::default(), target("a"));
    let state = open_sim(folder.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    commit(&state, &target, vec![delivered(run, "acknowledged", 1)]);
    assert!(state.inner.lag().unwrap().records() > 0);
    disk.trouble(Trouble::SyncFails);
    block_on(state.commit(target.id(), vec![delivered(run, "lost", 1)])).unwrap_err();
    let known: Vec<_> = show(&state, &target).unwrap().0.into_iter().map(|(path, _)| path).collect();
    assert_eq!(known, [rel("acknowledged")]);
}
