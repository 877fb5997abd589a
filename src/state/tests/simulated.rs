//! The state on a simulated disk, for tests of those who build upon it.

use std::path::Path;
use std::sync::Arc;

use super::super::storage::Storage;
use super::super::verify::verify_on;
use super::super::{LedgerSummary, Opened, State, StateError};
use super::sim::SimDisk;
use super::small;
use crate::clock::Clock;

/// Opens the state whose ledger lies on this disk, in segments so small that they are sealed,
/// compressed and checkpointed within a few runs. The manifest stands in `folder`.
pub(crate) fn open_simulated(
    folder: &Path,
    disk: &SimDisk,
    clock: Arc<dyn Clock>,
) -> Result<Opened, StateError> {
    const SEGMENT: u64 = 20_000;
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    State::open_on(folder, clock, &storage, small(SEGMENT))
}

/// Verifies the ledger on this disk.
pub(crate) fn verify_simulated(disk: &SimDisk) -> Result<LedgerSummary, StateError> {
    verify_on(disk, Path::new("ledger"))
}
