//! The manifest as it was at one moment, read while its writer goes on.
//!
//! sled has no such thing. So the writer, before it changes what was not read yet, keeps what
//! stood there; the reader takes that instead of what stands there now. Both work under one lock:
//! the writer for a group of records, the reader for a few pairs. A moment lies between two groups.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dump::Pair;
use super::guard::{Guard, store_fault};
use super::store::Store;
use super::value::{POSITION, check};
use crate::state::error::{ManifestFault, StateError};

/// Most that is kept of what was overwritten, in bytes: some ten thousand files that are delivered
/// while a million are read. Where more comes, the snapshot is given up, not the memory.
pub(in crate::state) const MAX_KEPT_BYTES: usize = 16 << 20;
/// What an entry of the map takes beside its key and value, about.
const NODE_BYTES: usize = 96;
/// How many pairs are read at once: the writer waits for no longer than that takes.
const PIECE_PAIRS: usize = 128;

/// Lets either the writer or the reader of a snapshot at the manifest. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    capture: Arc<Mutex<Option<Capture>>>,
}

impl Gate {
    /// Keeps the other side out until what comes back is dropped.
    pub(super) fn enter(&self) -> MutexGuard<'_, Option<Capture>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to read of a moment.
pub(super) struct Capture {
    /// The trees that are left. The first is being read.
    trees: VecDeque<Captured>,
    /// How far the first was read; `None` where not even its name was told.
    reached: Option<Bound<Vec<u8>>>,
    kept_bytes: usize,
    limit_bytes: usize,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("kept_bytes", &self.kept_bytes).finish_non_exhaustive()
    }
}

/// A tree, and what stood at the moment under the keys that were changed since.
struct Captured {
    tree: sled::Tree,
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Capture {
    /// Keeps what stands under keys that are about to be changed, as far as it will be read.
    pub(super) fn keep<'k>(
        &mut self,
        tree: &sled::Tree,
        keys: impl Iterator<Item = &'k Vec<u8>>,
    ) -> Result<(), ManifestFault> {
        if self.is_outrun() {
            return Ok(());
        }
        let Some(at) = self.trees.iter().position(|captured| captured.tree.name() == tree.name()) else {
            return Ok(());
        };
        let reached = self.reached.as_ref().filter(|_| at == 0);
        let Some(captured) = self.trees.get_mut(at) else { return Ok(()) };
        for key in keys.filter(|key| *key != POSITION) {
            let is_read = matches!(reached, Some(Bound::Excluded(reached)) if key <= reached);
            if is_read || captured.before.contains_key(key) {
                continue;
            }
            let value = tree.get(key).map_err(|error| store_fault(&error))?.map(|value| value.to_vec());
            self.kept_bytes += weight(key, value.as_deref());
            captured.before.insert(key.clone(), value);
        }
        if self.is_outrun() {
            // It cannot be read to its end any more: what was kept is of no use.
            self.trees.clear();
        }
        Ok(())
    }

    const fn is_outrun(&self) -> bool {
        self.kept_bytes > self.limit_bytes
    }

    /// Reads on.
    fn next(&mut self) -> Result<Option<Part>, ManifestFault> {
        let Some(captured) = self.trees.front_mut() else { return Ok(None) };
        let Some(from) = self.reached.take() else {
            self.reached = Some(Bound::Unbounded);
            return Ok(Some(Part::Tree(captured.tree.name().to_vec())));
        };
        let mut pairs = BTreeMap::new();
        let mut last = None;
        for pair in captured.tree.range((from, Bound::Unbounded)).take(PIECE_PAIRS) {
            let (key, value) = pair.map_err(|error| store_fault(&error))?;
            last = Some(key.to_vec());
            pairs.insert(key.to_vec(), value.to_vec());
        }
        let reached = last.filter(|_| pairs.len() == PIECE_PAIRS);
        for (key, value) in captured.take_before(reached.as_ref()) {
            self.kept_bytes = self.kept_bytes.saturating_sub(weight(&key, value.as_deref()));
            match value {
                Some(value) => drop(pairs.insert(key, value)),
                None => drop(pairs.remove(&key)),
            }
        }
        self.reached = reached.map(Bound::Excluded);
        if self.reached.is_none() {
            self.trees.pop_front();
        }
        pairs.remove(POSITION);
        pairs.iter().try_for_each(|(key, value)| check(key, value))?;
        Ok(Some(Part::Pairs(pairs.into_iter().collect())))
    }
}

impl Captured {
    /// Takes out what was kept, up to a key or to the end.
    fn take_before(&mut self, last: Option<&Vec<u8>>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let Some(last) = last else { return std::mem::take(&mut self.before) };
        let mut later = self.before.split_off(last);
        let at = later.remove(last);
        let mut taken = std::mem::replace(&mut self.before, later);
        if let Some(value) = at {
            taken.insert(last.clone(), value);
        }
        taken
    }
}

fn weight(key: &[u8], value: Option<&[u8]>) -> usize {
    NODE_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}

/// A part of a snapshot.
#[derive(Debug)]
pub(in crate::state) enum Part {
    /// A tree begins, with this name.
    Tree(Vec<u8>),
    /// Some of its pairs, in the order of their keys.
    Pairs(Vec<Pair>),
}

/// Reads the manifest as it was. The writer keeps what it needs until it is dropped.
#[derive(Debug)]
pub(in crate::state) struct Snapshot {
    gate: Gate,
    guard: Guard,
}

impl Snapshot {
    /// What comes next; `None` at the end. Each value is checked.
    ///
    /// Fails with [`StateError::Outrun`] where more was recorded meanwhile than can be kept apart.
    pub(in crate::state) fn next(&mut self) -> Result<Option<Part>, StateError> {
        let mut entered = self.gate.enter();
        match entered.as_mut() {
            None => Ok(None),
            Some(capture) if capture.is_outrun() => Err(StateError::Outrun { limit: capture.limit_bytes }),
            Some(capture) => self.guard.run(|| capture.next()),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        *self.gate.enter() = None;
    }
}

impl Store {
    /// The manifest as it is now, to be read from another thread, and given up where more than so
    /// many bytes would have to be kept for it. There is one at a time: an earlier one must have
    /// been dropped.
    pub(in crate::state) fn snapshot(&self, limit_bytes: usize) -> Result<Snapshot, StateError> {
        let open = || {
            let opened = self.trees().into_iter().map(|name| self.db().open_tree(name));
            opened.collect::<Result<Vec<_>, _>>().map_err(|error| store_fault(&error))
        };
        let trees = self.guard().run(open)?;
        let trees = trees.into_iter().map(|tree| Captured { tree, before: BTreeMap::new() }).collect();
        *self.gate().enter() = Some(Capture { trees, reached: None, kept_bytes: 0, limit_bytes });
        Ok(Snapshot { gate: self.gate().clone(), guard: self.guard().clone() })
    }
}
