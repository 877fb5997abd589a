//! Opening the state: the lock, the ledger, the manifest, and bringing the two together.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::{self, Base, Folders};
use super::checkpoint;
use super::error::StateError;
use super::keeper::{Keeper, Keeping};
use super::ledger::{Ledger, LedgerId, Position, Reader, Start, TornTail, Written};
use super::lock::Lock;
use super::manifest::{self, Known, Opening, Store};
use super::storage::Storage;
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
    pub(super) keeper: Keeper,
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
    keeping: Keeping,
) -> Result<Parts, StateError> {
    make_folder(folder)?;
    let lock = Lock::take(folder, clock.now())?;
    let ledger_folder = ledger_folder(folder);
    make_folder(&ledger_folder)?;
    let reader = match Reader::open(&**storage, &ledger_folder)? {
        Some(reader) => reader,
        None => begin(folder, &ledger_folder, clock, storage)?,
    };
    let Opening { mut store, known, notice } = Store::open(folder, clock.now())?;
    let mut notices = Vec::from_iter(notice);
    let was_missing = known.general.is_none();
    let folders = Folders { ledger: &ledger_folder, manifest: &manifest::path(folder) };
    let Base { walk, known, checkpoint, notice } =
        base::find(&reader, &**storage, folders, known, &mut store)?;
    let (ledger, kept) = Ledger::resume(storage.clone(), &ledger_folder, &walk, keeping.segment_bytes)?;
    let taken_in = checkpoint::take_in(&**storage, checkpoint.as_ref());
    taken_in.map_err(StateError::io(&ledger_folder))?;
    notices.extend(notice);
    if let (Some(torn), Some(kept)) = (&walk.torn, kept) {
        notices.push(torn_notice(torn, &kept));
    }
    if was_missing && walk.end.seq > 0 && notices.is_empty() {
        notices.push("The manifest was missing. It was rebuilt from the ledger.".to_owned());
    }
    replay(&reader, &known, &mut store, walk.end)?;
    store.trust()?;
    let keeper = Keeper::new(storage.clone(), &ledger_folder, keeping);
    Ok(Parts { lock, agent: walk.agent, ledger, store, keeper, notices })
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
    storage.sync_home().map_err(StateError::folder(folder))?;
    let reader = Reader::open(&**storage, ledger_folder)?;
    reader.ok_or(StateError::LedgerMissing { folder: ledger_folder.to_owned() })
}

/// Applies to the manifest what it does not have yet.
fn replay(reader: &Reader<'_>, known: &Known, store: &mut Store, end: Position) -> Result<(), StateError> {
    if known.is_at(end) {
        return Ok(());
    }
    let mut batch = Vec::new();
    reader.walk(Start::Record(known.replay_from()), &mut |walked| {
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
