//! Power cuts at every step of committing, sealing, compressing, checkpoints and expiry, on a disk
//! that loses whatever was not synced; and the proof that the test sees each sync that is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::checkpoint::{self, Soundness};
use super::super::ledger::{Reader, Start};
use super::super::verify::verify_on;
use super::sim::{Survival, Trouble};
use super::*;
use crate::domain::Checkpoint;

/// Every place at which something is synced.
const SITES: [&str; 12] = [
    "#.jsonl",
    "#.jsonl, written over",
    "#.jsonl.torn-#",
    "checkpoint.new",
    "compressed.new",
    "home",
    "names, after making #.jsonl.torn-#",
    "names, after making checkpoint.new",
    "names, after removing #.jsonl.gz",
    "names, after renaming to #.jsonl",
    "names, after renaming to #.jsonl.gz",
    "segment.new",
];

/// A clock that moves some hours a look, and once a month, so that old segments expire, one by one and
/// several at once.
#[derive(Debug, Default)]
struct Days(Ticks);

impl Clock for Days {
    fn now(&self) -> Timestamp {
        const HOURS_A_LOOK: i64 = 9;
        const LOOKS_BEFORE_THE_LEAP: i64 = 22;
        let looks = self.0.seconds.fetch_add(1, Ordering::Relaxed);
        let leap = if looks < LOOKS_BEFORE_THE_LEAP { 0 } else { 30 * 24 };
        Timestamp::from_unix(1_800_000_000 + (looks * HOURS_A_LOOK + leap) * 3_600, 5)
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

fn open_days(folder: &Path, disk: &SimDisk) -> Result<Opened, StateError> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let retain = Duration::from_hours(24 * 20);
    let keeping = Keeping { segment_bytes: 2_000, retain, patience: PATIENCE };
    State::open_on(folder, Arc::new(Days::default()), &storage, keeping)
}

/// Commits one file after another on a fresh disk, and keeps what the disk was before each change.
fn work(trouble: Trouble) -> (BTreeSet<String>, Vec<(u64, SimDisk)>) {
    const FILES: u64 = 14;
    let folder = tempfile::tempdir().unwrap();
    let disk = SimDisk::default();
    disk.trouble(trouble);
    let acknowledged = Arc::new(AtomicU64::new(0));
    disk.record(acknowledged.clone());
    let state = open_days(folder.path(), &disk).unwrap().state;
    let target = target("a");
    let run = start(&state, &target);
    for number in 1..=FILES {
        commit(&state, &target, vec![delivered(run, &format!("f{number}"), number)]);
        acknowledged.store(number, Ordering::SeqCst);
    }
    state.close().unwrap();
    (disk.sites(), disk.recorded())
}

/// Looks whether the last checkpoint that the ledger tells of is there, be it not named yet.
fn check_checkpoint(disk: &SimDisk) -> Result<(), String> {
    let Ok(Some(reader)) = Reader::open(disk, Path::new("ledger")) else { return Ok(()) };
    let mut last = None;
    let walked = reader.walk(Start::Oldest, &mut |walked| {
        if let Some(Record::Checkpoint(made)) = walked.line.map(|line| &line.event) {
            last = Some(made.clone());
        }
        Ok(())
    });
    walked.map_err(|error| error.to_string())?;
    let Some(last) = last else { return Ok(()) };
    match checkpoint::look_at(disk, &last).unwrap() {
        Soundness::Whole => Ok(()),
        Soundness::Missing if is_unnamed(disk, &last) => Ok(()),
        other => Err(format!("the last checkpoint is {other:?}")),
    }
}

/// Whether opening will give this checkpoint its name.
fn is_unnamed(disk: &SimDisk, recorded: &Checkpoint) -> bool {
    let disk = disk.copy();
    checkpoint::take_in(&disk, Some(recorded)).unwrap();
    checkpoint::look_at(&disk, recorded).unwrap() == Soundness::Whole
}

/// Opens what is left of a disk, and looks for all that was acknowledged.
fn check(disk: &SimDisk, folder: &Path, acknowledged: u64) -> Result<(), String> {
    let opened = open_days(folder, disk).map_err(|error| error.to_string())?;
    let manifest = opened.state.manifest(target("a").id()).map_err(|error| error.to_string())?;
    for number in 1..=acknowledged {
        let found = manifest.get(&rel(&format!("f{number}"))).map_err(|error| error.to_string())?;
        let entry = found.ok_or_else(|| format!("file {number} of {acknowledged} is lost"))?;
        if entry.size != number {
            return Err(format!("file {number} is another"));
        }
    }
    drop(manifest);
    opened.state.close().map_err(|error| error.to_string())?;
    check_checkpoint(disk)?;
    verify_on(disk, Path::new("ledger")).map(drop).map_err(|error| error.to_string())
}

/// What can become of a disk on which so much was acknowledged.
#[derive(Clone, Debug)]
enum Fate {
    /// The power is cut, and the manifest is lost with it.
    Cut,
    /// The process is killed when the system has given up on what was not synced. The manifest is
    /// filled with what can still be read; then the power is cut.
    KilledThenCut,
}

/// Every different disk that is left after a cut, or a kill, before each of some steps.
fn fates(steps: &[(u64, SimDisk)]) -> Vec<(Fate, u64, SimDisk)> {
    let mut different = BTreeMap::new();
    for (acknowledged, disk) in steps {
        let cut = Survival::ALL.map(|survival| (Fate::Cut, *acknowledged, disk.survivors(survival)));
        let killed = disk.copy();
        killed.give_up_unsynced();
        for fate in cut.into_iter().chain([(Fate::KilledThenCut, *acknowledged, killed)]) {
            // A later one has more that was acknowledged, and takes the place of the one before.
            different.insert((format!("{:?}", fate.0), fate.2.fingerprint()), fate);
        }
    }
    different.into_values().collect()
}

/// Opens what is left; goes on, or is cut again.
fn meet(fate: &Fate, acknowledged: u64, disk: &SimDisk) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    check_checkpoint(disk)?;
    check(disk, folder.path(), acknowledged)?;
    let after = disk.after_power_cut();
    for torn in disk.names().unwrap().iter().filter(|name| name.contains(".torn-")) {
        let read = |disk: &SimDisk| {
            disk.read(torn).and_then(std::io::read_to_string).map_err(|error| error.to_string())
        };
        if read(disk) != read(&after) {
            return Err(format!("{torn} is lost, which was cut off"));
        }
    }
    match fate {
        Fate::Cut => Ok(()),
        Fate::KilledThenCut => check(&after, folder.path(), acknowledged),
    }
}

/// What goes wrong, if anything does, in the fates that these steps can have; and where something
/// was synced meanwhile.
fn first_failure(steps: &[(u64, SimDisk)]) -> (Option<String>, BTreeSet<String>) {
    let mut sites = BTreeSet::new();
    for (fate, acknowledged, disk) in fates(steps) {
        if let Err(error) = meet(&fate, acknowledged, &disk) {
            return (Some(format!("{fate:?} with {acknowledged} acknowledged: {error}")), sites);
        }
        sites.extend(disk.sites());
    }
    (None, sites)
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged() {
    let (sites, steps) = work(Trouble::None);
    let (failure, later) = first_failure(&steps);
    assert_eq!(failure, None);
    // Opening may meet other changes that were under way.
    let unlisted: Vec<_> = sites.iter().filter(|site| !SITES.contains(&site.as_str())).collect();
    assert!(unlisted.is_empty(), "not in the list: {unlisted:?}");
    assert!(SITES.iter().all(|site| sites.contains(*site) || later.contains(*site)), "{sites:?} {later:?}");
}

/// Takes out one sync after another, and expects that something is lost then.
#[test]
fn the_power_cut_test_sees_each_sync_that_is_missing() {
    for site in SITES {
        let (_, steps) = work(Trouble::SyncLiesAt(site.to_owned()));
        let (failure, _) = first_failure(&steps);
        println!("without the sync of {site}: {failure:?}");
        assert!(failure.is_some(), "nothing is lost without the sync of `{site}`");
    }
}
