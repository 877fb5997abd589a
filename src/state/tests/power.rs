//! Power cuts at every step of committing, sealing, compressing, checkpoints and expiry, on a disk
//! that loses whatever was not synced; and the proof that the test sees each sync that is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::verify::verify_on;
use super::sim::{Survival, Trouble};
use super::*;

/// Every place at which something is synced.
const SITES: [&str; 13] = [
    "#.jsonl",
    "#.jsonl, written over",
    "#.jsonl.torn-#",
    "checkpoint.new",
    "compressed.new",
    "home",
    "names, after making #.jsonl.torn-#",
    "names, after removing #.jsonl",
    "names, after removing #.jsonl.gz",
    "names, after renaming to #.jsonl",
    "names, after renaming to #.jsonl.gz",
    "names, after renaming to checkpoint-#.gz",
    "segment.new",
];

/// A clock that moves a day a look, so that old segments expire.
#[derive(Debug, Default)]
struct Days(Ticks);

impl Clock for Days {
    fn now(&self) -> Timestamp {
        let ticks = self.0.seconds.fetch_add(86_400, Ordering::Relaxed);
        Timestamp::from_unix(1_800_000_000 + ticks, 5)
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

fn open_days(folder: &Path, disk: &SimDisk) -> Result<Opened, StateError> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let retain = Duration::from_hours(24 * 12);
    State::open_on(folder, Arc::new(Days::default()), &storage, Keeping { segment_bytes: 2_000, retain })
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
    check(disk, folder.path(), acknowledged)?;
    match fate {
        Fate::Cut => Ok(()),
        Fate::KilledThenCut => check(&disk.after_power_cut(), folder.path(), acknowledged),
    }
}

/// What goes wrong, if anything does, in every so many of the fates that these steps can have.
fn first_failure(steps: &[(u64, SimDisk)], stride: usize) -> Option<String> {
    let fates = fates(steps);
    println!("{} steps, {} fates", steps.len(), fates.len());
    let met = fates.iter().step_by(stride).map(|(fate, acknowledged, disk)| {
        let met = meet(fate, *acknowledged, disk);
        met.map_err(|error| format!("{fate:?} with {acknowledged} acknowledged: {error}"))
    });
    met.filter_map(Result::err).next()
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged() {
    let (sites, steps) = work(Trouble::None);
    println!("{sites:?}");
    let begun = std::time::Instant::now();
    assert_eq!(first_failure(&steps, 1), None);
    println!("{:?}", begun.elapsed());
}
