//! The manifest: what is known of each path, as the ledger's index. The only module that names
//! sled.
//!
//! One tree a target, named `m/` and its digest, and one of general facts: the last run, the
//! targets, and the target that each job had last. Every batch also sets the position up to
//! which the ledger has been applied to its tree; as nothing else changes a tree, a manifest can
//! lose its last batches in a power cut, and is completed from the ledger. That is why it is
//! never synced by itself.

mod dump;
mod fold;
mod guard;
mod read;
mod schedules;
mod snapshot;
mod store;
mod value;

pub(super) use self::dump::Pair;
pub use self::read::Manifest;
pub(super) use self::snapshot::{MAX_KEPT_BYTES, Part, Snapshot};
pub(super) use self::store::{Known, Log, Opening, Store, StoreHandle, exists, path, wind_up};
