//! Opening the state: the lock, the ledger, the manifest, and bringing the two together.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StateError;
use super::ledger::{Ledger, LedgerId, LedgerSummary, Position, Reader, TornTail, Walk, Walked, Written};
use super::lock::Lock;
use super::manifest::{self, Known, Opening, Store};
use super::storage::{Disk, Storage, sync_folder};
use crate::clock::Clock;
use crate::domain::AgentId;

/// The ledger's folder in the state folder.
const LEDGER_FOLDER: &str = "ledger";
/// How many records are applied to the manifest at once while it is replayed: larger batches
/// are no faster, but take memory.
const REPLAY_BATCH: usize = 512;

/// What was opened.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) lock: Lock,
    pub(super) agent: AgentId,
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) notices: Vec<String>,
}

/// Where the ledger of a state folder lies.
pub(super) fn ledger_folder(folder: &Path) -> PathBuf {
    folder.join(LEDGER_FOLDER)
}

/// Opens a state folder whose ledger lies in `storage`.
pub(super) fn open(
    folder: &Path,
    clock: &dyn Clock,
    storage: &Arc<dyn Storage>,
    segment_bytes: u64,
) -> Result<Parts, StateError> {
    make_folder(folder)?;
    let lock = Lock::take(folder)?;
    let ledger_folder = ledger_folder(folder);
    make_folder(&ledger_folder)?;
    let reader = match Reader::open(&**storage, &ledger_folder)? {
        Some(reader) => reader,
        None => begin(folder, &ledger_folder, clock, storage)?,
    };
    let Opening { mut store, known, notice } = Store::open(folder, clock.now())?;
    let mut notices = Vec::from_iter(notice);
    let manifest = manifest::path(folder);
    let walk = check(&reader, &known, &manifest)?;
    let (ledger, kept) = Ledger::resume(storage.clone(), &ledger_folder, &walk, segment_bytes)?;
    if let (Some(torn), Some(kept)) = (&walk.torn, kept) {
        notices.push(torn_notice(torn, &kept));
    }
    if known.general.is_none() && walk.end.seq > 0 && notices.is_empty() {
        notices.push("The manifest was missing. It was rebuilt from the ledger.".to_owned());
    }
    replay(&reader, &known, &mut store, walk.end)?;
    store.trust()?;
    Ok(Parts { lock, agent: walk.agent, ledger, store, notices })
}

/// Reads a ledger from its first line to its last without changing anything or taking the lock.
///
/// A process that writes to it meanwhile can make it look as if it had a torn tail.
pub fn verify_ledger(folder: &Path) -> Result<LedgerSummary, StateError> {
    let folder = ledger_folder(folder);
    let disk = Disk::new(&folder);
    let reader = Reader::open(&disk, &folder)?;
    let reader = reader.ok_or(StateError::LedgerMissing { folder: folder.clone() })?;
    reader.walk(0, &mut |_| Ok(())).map(Walk::summary)
}

fn begin<'a>(
    folder: &Path,
    ledger_folder: &'a Path,
    clock: &dyn Clock,
    storage: &'a Arc<dyn Storage>,
) -> Result<Reader<'a>, StateError> {
    if manifest::exists(folder) {
        return Err(StateError::LedgerMissing { folder: ledger_folder.to_owned() });
    }
    let id = LedgerId(u128::from(clock.random()) << 64 | u128::from(clock.random()));
    let [a, b, c, d, ..] = clock.random().to_le_bytes();
    let agent = AgentId(u32::from_le_bytes([a, b, c, d]));
    Ledger::begin(&**storage, ledger_folder, id, agent, clock.now())?;
    sync_folder(folder).map_err(StateError::folder(folder))?;
    for above in folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        // One that may not be read was not made here just now.
        drop(sync_folder(above));
    }
    let reader = Reader::open(&**storage, ledger_folder)?;
    reader.ok_or(StateError::LedgerMissing { folder: ledger_folder.to_owned() })
}

/// Checks the ledger from where the manifest has it, and that the manifest's positions are
/// places in it. Changes nothing.
fn check(reader: &Reader<'_>, known: &Known, manifest: &Path) -> Result<Walk, StateError> {
    let ahead = |reason| Err(StateError::ManifestAhead { manifest: manifest.to_owned(), reason });
    let mut expected: HashMap<u64, Vec<Position>> = HashMap::new();
    for position in known.positions() {
        if Some(LedgerId(position.ledger)) != reader.ledger() {
            return ahead(format!("it was made from ledger {}", LedgerId(position.ledger)));
        }
        expected.entry(position.seq).or_default().push(position);
    }
    let walk = reader.walk(known.replay_from(), &mut |walked: Walked<'_>| {
        if let Some(positions) = expected.get_mut(&walked.at.seq) {
            positions.retain(|position| position.hash != walked.at.hash);
        }
        Ok(())
    })?;
    let missing = expected.into_values().flatten().max_by_key(|position| position.seq);
    match missing {
        None => Ok(walk),
        Some(Position { seq, .. }) if seq > walk.end.seq => {
            ahead(format!("it has record {seq}, but the ledger ends with {}", walk.end.seq))
        }
        Some(Position { seq, .. }) => ahead(format!("it has another record {seq}")),
    }
}

/// Applies to the manifest what it does not have yet.
fn replay(reader: &Reader<'_>, known: &Known, store: &mut Store, end: Position) -> Result<(), StateError> {
    if known.is_at(end) {
        return Ok(());
    }
    let mut batch = Vec::new();
    reader.walk(known.replay_from(), &mut |walked| {
        if let Some(line) = walked.line {
            let (at, target) = (line.at, line.target);
            batch.push(Written { seq: line.seq, at, target, record: line.event.clone() });
        }
        if batch.len() >= REPLAY_BATCH {
            store.apply(&batch, walked.at)?;
            batch.clear();
        }
        Ok(())
    })?;
    store.apply(&batch, end)?;
    store.settle(end)
}

fn make_folder(folder: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(StateError::folder(folder))
}

fn torn_notice(torn: &TornTail, kept: &Path) -> String {
    format!(
        "The ledger ended in the middle of a write: {} bytes from line {} of {} on were cut off and kept \
         in {}. Nothing in them had been acknowledged.",
        torn.bytes,
        torn.line,
        torn.file.display(),
        kept.display()
    )
}
