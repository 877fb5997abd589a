//! The manifest as a whole, for checkpoints: all trees with their keys and values as they are,
//! but for the positions, which each manifest has for itself.

use super::guard::store_fault;
use super::store::{GENERAL, Store, load, targets_of, tree_name};
use crate::state::error::StateError;
use crate::state::ledger::Position;

/// A key and its value.
pub(in crate::state) type Pair = (Vec<u8>, Vec<u8>);

impl Store {
    /// The names of all trees.
    pub(super) fn trees(&self) -> Vec<String> {
        let targets = targets_of(self.db()).into_iter().map(tree_name);
        targets.chain([GENERAL.to_owned()]).collect()
    }

    /// Takes out everything: whatever happens on the way, the manifest counts as missing.
    pub(in crate::state) fn empty(&mut self) -> Result<(), StateError> {
        self.forget_trees();
        let db = self.db().clone();
        self.guard().clone().run(|| {
            let clear = |tree: sled::Tree| tree.clear();
            db.open_tree(GENERAL).and_then(clear).map_err(|error| store_fault(&error))?;
            for target in targets_of(&db) {
                db.drop_tree(tree_name(target)).map_err(|error| store_fault(&error))?;
            }
            Ok(())
        })
    }

    /// Puts pairs into a tree.
    pub(in crate::state) fn fill(&mut self, tree: &str, pairs: Vec<Pair>) -> Result<(), StateError> {
        // A tree without pairs is a tree all the same: its place in the ledger is to be kept.
        if tree.is_empty() {
            return Ok(());
        }
        let db = self.db().clone();
        self.guard().clone().run(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in pairs {
                batch.insert(key, value);
            }
            let applied = db.open_tree(tree).and_then(|tree| tree.apply_batch(batch));
            applied.map_err(|error| store_fault(&error))
        })
    }

    /// Says that all was put in that the ledger holds up to a place.
    pub(in crate::state) fn filled(&mut self, at: Position) -> Result<(), StateError> {
        let db = self.db().clone();
        let loaded = self.guard().clone().run(|| load(&db))?;
        self.reload(loaded);
        self.settle(at)
    }
}
