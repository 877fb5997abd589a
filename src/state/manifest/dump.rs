//! The manifest as a whole, for checkpoints: all trees with their keys and values as they are,
//! but for the positions, which each manifest has for itself.

use super::guard::{Guard, caught, store_fault};
use super::store::{GENERAL, Store, load, targets_of, tree_name};
use super::value::{POSITION, check};
use crate::state::error::{ManifestFault, StateError};
use crate::state::ledger::Position;

/// A key and its value.
pub(in crate::state) type Pair = (Vec<u8>, Vec<u8>);

impl Store {
    /// The names of all trees.
    pub(in crate::state) fn trees(&self) -> Vec<String> {
        let targets = targets_of(self.db()).into_iter().map(tree_name);
        targets.chain([GENERAL.to_owned()]).collect()
    }

    /// The pairs of a tree, each checked, in the order of their keys. Ends after an error.
    pub(in crate::state) fn pairs(&self, tree: &str) -> Result<Pairs, StateError> {
        let guard = self.guard().clone();
        let open = || self.db().open_tree(tree).map_err(|error| store_fault(&error));
        let tree = guard.run(open)?;
        Ok(Pairs { pairs: Some(tree.iter()), guard })
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

/// The pairs of a tree.
pub(in crate::state) struct Pairs {
    /// `None` after an error.
    pairs: Option<sled::Iter>,
    guard: Guard,
}

impl Iterator for Pairs {
    type Item = Result<Pair, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let pairs = self.pairs.as_mut()?;
            let next = caught(|| {
                let Some(pair) = pairs.next() else { return Ok(None) };
                let (key, value) = pair.map_err(|error| store_fault(&error))?;
                check(&key, &value)?;
                Ok::<_, ManifestFault>(Some((key.to_vec(), value.to_vec())))
            });
            match next {
                Ok(Some((key, _))) if key == POSITION => {}
                Ok(pair) => return pair.map(Ok),
                Err(fault) => {
                    self.pairs = None;
                    return Some(Err(self.guard.report(fault)));
                }
            }
        }
    }
}
