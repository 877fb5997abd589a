//! Opening the manifest and applying records to it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::fold::Changes;
use super::guard::{Guard, caught, store_fault};
use super::read::Manifest;
use super::schedules;
use super::snapshot::{Capture, Gate};
use super::value::{Content, JOBS, LAST_RUN, POSITION, TARGETS, decode};
use crate::domain::{JobName, Record, RunId, ScheduleMark, Target, TargetId, Timestamp};
use crate::plain::Plain;
use crate::state::error::{ManifestFault, StateError};
use crate::state::ledger::{Position, Written};

/// The manifest's folder in the state folder.
const FOLDER: &str = "manifest";
/// What sled counts as kept in memory; it takes some times as much. Small, because the whole
/// agent should stay within 40 MiB: replaying 100,000 records takes 26 MiB with this, and 85 with
/// four times as much and larger batches. A walk of 100,000 entries takes 0.2 s instead of 0.1.
const CACHE_BYTES: u64 = 4 << 20;
/// How long opening may take: a million files open in a second, and a slow disk may take tens.
const OPEN_DEADLINE: Duration = Duration::from_mins(5);
/// How long readers of a manifest that was just closed in this process are waited for.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);
const RELEASE_POLL: Duration = Duration::from_millis(5);

/// After how many records the manifest's log is wound up when it is closed. Opening reads the log from
/// where the last opening ended, about 2 KB a record: less than this is read in a tenth of a second.
const WIND_UP_RECORDS: u64 = 20_000;
/// How long that may take: as long as the next opening would.
const WIND_UP_DEADLINE: Duration = Duration::from_mins(1);

/// How many damaged manifests of the same second are kept apart before opening gives up.
const MAX_ASIDE: u32 = 1_000;

pub(super) const GENERAL: &str = "general";
const TREE_PREFIX: &str = "m/";

/// How the manifest was opened.
#[derive(Debug)]
pub(in crate::state) struct Opening {
    pub(in crate::state) store: Store,
    /// What was known in it.
    pub(in crate::state) known: Known,
    /// What a person should know.
    pub(in crate::state) notice: Option<String>,
}

/// What a manifest knew when it was opened.
#[derive(Debug, Default)]
pub(in crate::state) struct Known {
    /// Up to where each target's tree has the ledger.
    pub(in crate::state) targets: HashMap<TargetId, Option<Position>>,
    /// Up to where the general facts have it.
    pub(in crate::state) general: Option<Position>,
}

impl Known {
    /// All positions.
    pub(in crate::state) fn positions(&self) -> impl Iterator<Item = Position> {
        self.targets.values().copied().chain([self.general]).flatten()
    }

    /// From which record on the ledger must be read, so that each tree gets what it lacks. The
    /// first run of a target that is not known at all lies behind the general facts' position.
    pub(in crate::state) fn replay_from(&self) -> u64 {
        let all = self.targets.values().chain([&self.general]);
        all.map(|position| position.map_or(0, |position| position.seq)).min().unwrap_or(0)
    }

    /// Whether nothing is lacking.
    pub(in crate::state) fn is_at(&self, end: Position) -> bool {
        self.replay_from() == end.seq && self.general.is_some()
    }
}

/// The manifest, to be written.
#[derive(Debug)]
pub(in crate::state) struct Store {
    handle: StoreHandle,
    general: sled::Tree,
    trees: HashMap<TargetId, sled::Tree>,
    /// Where whoever reads a snapshot waits for a group, and a group for them.
    gate: Gate,
    /// Up to which record each target's tree has the ledger.
    applied: HashMap<TargetId, u64>,
    /// Up to which record the general facts have it.
    general_applied: u64,
    /// The number of the last run.
    pub(in crate::state) last_run: RunId,
    /// The target that each job had last.
    pub(in crate::state) jobs: BTreeMap<JobName, Target>,
    /// How many records were applied since it was opened.
    applied_records: u64,
}

/// How much the log of a manifest has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Log {
    /// The next opening reads it in no time.
    Short,
    /// It should be [wound up](wind_up).
    Long,
}

/// Has sled note where its log ends, which it does when it is opened and never else: the next opening
/// then begins there. Of a manifest that nobody has open. What fails here costs the next opening time,
/// and meets it again.
pub(in crate::state) fn wind_up(folder: &Path) {
    drop(open_within_deadline(path(folder), WIND_UP_DEADLINE));
}

/// The manifest, to be read.
#[derive(Clone, Debug)]
pub(in crate::state) struct StoreHandle {
    db: sled::Db,
    guard: Guard,
}

impl StoreHandle {
    pub(in crate::state) fn manifest(&self, target: TargetId) -> Result<Manifest, StateError> {
        let tree = self.guard.run(|| open_tree(&self.db, target))?;
        Ok(Manifest::new(tree, self.guard.clone()))
    }

    /// Up to where a job's schedule is dealt with.
    pub(in crate::state) fn schedule_mark(&self, job: &JobName) -> Result<Option<ScheduleMark>, StateError> {
        self.guard.run(|| {
            let general = self.db.open_tree(GENERAL).map_err(|error| store_fault(&error))?;
            schedules::mark(&Changes::new(&general), job)
        })
    }
}

/// Whether there is a manifest in a state folder.
pub(in crate::state) fn exists(folder: &Path) -> bool {
    folder.join(FOLDER).join("db").exists()
}

/// Where the manifest is.
pub(in crate::state) fn path(folder: &Path) -> PathBuf {
    folder.join(FOLDER)
}

impl Store {
    /// Opens the manifest of a state folder. One that is damaged is moved aside, and an empty
    /// one takes its place, to be filled from the ledger.
    pub(in crate::state) fn open(folder: &Path, now: Timestamp) -> Result<Opening, StateError> {
        let guard = Guard::new(folder);
        if guard.is_suspect() {
            return rebuild(folder, &guard, now, "it failed when it was last in use");
        }
        match open_within_deadline(path(folder), OPEN_DEADLINE) {
            Ok((db, loaded)) => Ok(loaded.opening(db, guard, None)),
            Err(fault @ ManifestFault::Hung { .. }) => Err(guard.report(fault)),
            Err(fault) if fault.calls_for_rebuild() => rebuild(folder, &guard, now, &fault.to_string()),
            Err(fault) => Err(StateError::Manifest(fault)),
        }
    }

    pub(in crate::state) fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    /// Applies what the ledger has committed up to `end`, to each tree what it does not have
    /// yet, in one batch together with the position.
    pub(in crate::state) fn apply(&mut self, written: &[Written], end: Position) -> Result<(), StateError> {
        self.applied_records += u64::try_from(written.len()).unwrap_or(u64::MAX);
        let mut by_target: BTreeMap<TargetId, Vec<&Written>> = BTreeMap::new();
        for line in written {
            if let Some(target) = line.target {
                by_target.entry(target).or_default().push(line);
            }
        }
        let (guard, gate) = (self.handle.guard.clone(), self.gate.clone());
        let mut capture = gate.enter();
        guard.run(|| {
            for (target, lines) in by_target {
                let has = self.applied.get(&target).copied().unwrap_or(0);
                let tree = self.tree(target)?;
                let mut changes = Changes::new(&tree);
                let lacking = lines.iter().filter(|line| line.seq > has);
                lacking.into_iter().try_for_each(|line| changes.add(&line.record, line.at))?;
                if end.seq > has {
                    keep(&mut capture, &tree, &changes)?;
                    finish(changes, &tree, end)?;
                    self.applied.insert(target, end.seq);
                }
            }
            self.apply_general(written, end, &mut capture)
        })
    }

    /// Says of all trees that they have the ledger up to `end`, so that none needs a replay.
    pub(in crate::state) fn settle(&mut self, end: Position) -> Result<(), StateError> {
        let guard = self.handle.guard.clone();
        guard.run(|| {
            for target in targets_of(&self.handle.db) {
                let tree = self.tree(target)?;
                finish(Changes::new(&tree), &tree, end)?;
                self.applied.insert(target, end.seq);
            }
            self.general_applied = end.seq;
            finish(Changes::new(&self.general), &self.general, end)
        })
    }

    /// Forgets the suspicion under which the manifest was rebuilt.
    pub(in crate::state) fn trust(&self) -> Result<(), StateError> {
        self.handle.guard.clear()
    }

    /// How much its log has grown since it was opened.
    pub(in crate::state) const fn log(&self) -> Log {
        if self.applied_records < WIND_UP_RECORDS { Log::Short } else { Log::Long }
    }

    /// Writes out what is in memory.
    pub(in crate::state) fn flush(&self) -> Result<(), StateError> {
        let flush = || self.handle.db.flush().map(drop).map_err(|error| store_fault(&error));
        self.handle.guard.run(flush)
    }

    fn apply_general(
        &mut self,
        written: &[Written],
        end: Position,
        capture: &mut Option<Capture>,
    ) -> Result<(), ManifestFault> {
        let has = self.general_applied;
        if end.seq <= has {
            return Ok(());
        }
        let mut changes = Changes::new(&self.general);
        for line in written.iter().filter(|line| line.seq > has) {
            schedules::add(&mut changes, &line.record)?;
            let Record::RunStarted(started) = &line.record else { continue };
            self.last_run = self.last_run.max(started.run);
            self.jobs.insert(started.job.clone(), started.target.clone());
            changes.put(LAST_RUN.to_vec(), &self.last_run, Content::Compact)?;
            let job = [JOBS, started.job.as_str().as_bytes()].concat();
            changes.put(job, &started.target, Content::Compact)?;
            let target = [TARGETS, started.target.id().to_string().as_bytes()].concat();
            changes.put(target, &started.target, Content::Compact)?;
        }
        keep(capture, &self.general, &changes)?;
        finish(changes, &self.general, end)?;
        self.general_applied = end.seq;
        Ok(())
    }

    /// What it knows now.
    pub(in crate::state) fn known(&self) -> Result<Known, StateError> {
        self.handle.guard.run(|| load(&self.handle.db)).map(|loaded| loaded.known)
    }

    pub(super) const fn db(&self) -> &sled::Db {
        &self.handle.db
    }

    pub(super) const fn guard(&self) -> &Guard {
        &self.handle.guard
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Forgets what it knows of its trees, which are about to go.
    pub(super) fn forget_trees(&mut self) {
        self.trees.clear();
        self.applied.clear();
        self.general_applied = 0;
        self.last_run = RunId(0);
        self.jobs.clear();
    }

    /// Takes over what was read from trees that were filled.
    pub(super) fn reload(&mut self, loaded: Loaded) {
        let Loaded { general, last_run, jobs, .. } = loaded;
        self.forget_trees();
        self.general = general;
        self.last_run = last_run;
        self.jobs = jobs;
    }

    fn tree(&mut self, target: TargetId) -> Result<sled::Tree, ManifestFault> {
        if let Some(tree) = self.trees.get(&target) {
            return Ok(tree.clone());
        }
        let tree = open_tree(&self.handle.db, target)?;
        self.trees.insert(target, tree.clone());
        Ok(tree)
    }
}

/// Keeps for the reader of a snapshot what is about to change.
fn keep(
    capture: &mut Option<Capture>,
    tree: &sled::Tree,
    changes: &Changes<'_>,
) -> Result<(), ManifestFault> {
    capture.as_mut().map_or(Ok(()), |capture| capture.keep(tree, changes.keys_changed()))
}

fn finish(mut changes: Changes<'_>, tree: &sled::Tree, end: Position) -> Result<(), ManifestFault> {
    changes.put(POSITION.to_vec(), &end, Content::Compact)?;
    tree.apply_batch(changes.into_batch()).map_err(|error| store_fault(&error))
}

fn open_tree(db: &sled::Db, target: TargetId) -> Result<sled::Tree, ManifestFault> {
    db.open_tree(tree_name(target)).map_err(|error| store_fault(&error))
}

/// The tree of a target.
pub(super) fn tree_name(target: TargetId) -> String {
    format!("{TREE_PREFIX}{target}")
}

pub(super) fn targets_of(db: &sled::Db) -> Vec<TargetId> {
    let names = db.tree_names();
    let names = names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.strip_prefix(TREE_PREFIX));
    names.filter_map(target_named).collect()
}

fn target_named(name: &str) -> Option<TargetId> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// Moves a manifest aside and opens an empty one. The suspicion stays until the ledger has been
/// applied to its end.
fn rebuild(folder: &Path, guard: &Guard, now: Timestamp, why: &str) -> Result<Opening, StateError> {
    let base = format!("{FOLDER}.damaged-{}", now.to_utc().format("%Y%m%dT%H%M%SZ"));
    let names =
        (1..MAX_ASIDE).map(|number| if number == 1 { base.clone() } else { format!("{base}-{number}") });
    let aside = names.map(|name| folder.join(name)).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_else(|| folder.join(&base));
    if path(folder).exists() {
        fs::rename(path(folder), &aside).map_err(StateError::folder(folder))?;
    }
    let (db, loaded) = open_within_deadline(path(folder), OPEN_DEADLINE).map_err(StateError::Manifest)?;
    let notice = format!(
        "The manifest was damaged ({why}). It was moved to {} and rebuilt from the ledger.",
        aside.display()
    );
    Ok(loaded.opening(db, guard.clone(), Some(notice)))
}

/// What was read from a manifest on opening.
#[derive(Debug)]
pub(super) struct Loaded {
    general: sled::Tree,
    known: Known,
    last_run: RunId,
    jobs: BTreeMap<JobName, Target>,
}

impl Loaded {
    fn opening(self, db: sled::Db, guard: Guard, notice: Option<String>) -> Opening {
        let Self { general, known, last_run, jobs } = self;
        let seq = |position: &Option<Position>| position.map_or(0, |position| position.seq);
        let store = Store {
            handle: StoreHandle { db, guard },
            general,
            trees: HashMap::new(),
            gate: Gate::default(),
            applied: known.targets.iter().map(|(target, position)| (*target, seq(position))).collect(),
            general_applied: seq(&known.general),
            last_run,
            jobs,
            applied_records: 0,
        };
        Opening { store, known, notice }
    }
}

/// Opens sled on a thread of its own: it may panic or hang on a damaged file.
fn open_within_deadline(folder: PathBuf, deadline: Duration) -> Result<(sled::Db, Loaded), ManifestFault> {
    let system = |error: std::io::Error| ManifestFault::System { text: Plain(&error).to_string() };
    wait_for_release(&folder.join("db")).map_err(system)?;
    let (tell, told) = mpsc::sync_channel(1);
    let work = move || {
        let opened = caught(|| {
            let config = sled::Config::new().path(&folder).cache_capacity(CACHE_BYTES);
            let db = config.open().map_err(|error| store_fault(&error))?;
            let loaded = load(&db)?;
            Ok((db, loaded))
        });
        // Nobody listens after the deadline.
        drop(tell.send(opened));
    };
    thread::Builder::new().name("manifest-open".to_owned()).spawn(work).map_err(system)?;
    match told.recv_timeout(deadline) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(ManifestFault::Hung { seconds: deadline.as_secs() }),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(ManifestFault::Panicked { text: "the thread that opens it ended".to_owned() })
        }
    }
}

/// sled takes an error for its own lock being held, too. Nobody but an earlier user in this
/// process can hold it, as the state folder has a lock of its own.
fn wait_for_release(db: &Path) -> std::io::Result<()> {
    let file = match File::open(db) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < RELEASE_DEADLINE => {
                thread::sleep(RELEASE_POLL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn load(db: &sled::Db) -> Result<Loaded, ManifestFault> {
    let fault = |error: sled::Error| store_fault(&error);
    let general = db.open_tree(GENERAL).map_err(fault)?;
    let mut known = Known { general: position(&general)?, targets: HashMap::new() };
    for pair in general.scan_prefix(TARGETS).keys() {
        let key = pair.map_err(fault)?;
        let name = key.strip_prefix(TARGETS).and_then(|name| std::str::from_utf8(name).ok());
        known.targets.insert(name.and_then(target_named).ok_or_else(|| super::value::damaged(&key))?, None);
    }
    for target in targets_of(db) {
        let found = position(&open_tree(db, target)?)?;
        if found.is_some() {
            known.targets.insert(target, found);
        }
    }
    let mut jobs = BTreeMap::new();
    for pair in general.scan_prefix(JOBS) {
        let (key, value) = pair.map_err(fault)?;
        let name = key.strip_prefix(JOBS).and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        let name = name.ok_or_else(|| super::value::damaged(&key))?;
        jobs.insert(name, decode(&key, &value, Content::Compact)?);
    }
    let last_run = match general.get(LAST_RUN).map_err(fault)? {
        Some(value) => decode(LAST_RUN, &value, Content::Compact)?,
        None => RunId(0),
    };
    Ok(Loaded { general, known, last_run, jobs })
}

fn position(tree: &sled::Tree) -> Result<Option<Position>, ManifestFault> {
    match tree.get(POSITION).map_err(|error| store_fault(&error))? {
        Some(value) => decode(POSITION, &value, Content::Compact).map(Some),
        None => Ok(None),
    }
}
