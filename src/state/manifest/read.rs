//! The reading side of the manifest.

use super::guard::{Guard, caught, store_fault};
use super::value::{
    Content, FIRST_PATH, INTENTS, MOUNTS, OWED, PACE, PARTIALS, PRESUMED, RETIRINGS, SIDECARS, SOURCE,
    STAGINGS, STOPPED_DELETES, STORINGS, TRASH, beside_key, damaged, decode, owed_key,
};
use crate::domain::{
    Beside, Entry, GuardTripped, Mount, Owed, Pace, Presumed, Publishing, Reach, RelPath, RemotePath,
    Retiring, Scope, Sidecars, SourceSeen, StagedFile, Storing, Timestamp,
};
use crate::state::error::{ManifestFault, StateError};

/// What is known of the files of one target.
///
/// Cheap to clone. Its calls read from the disk and block. What is committed meanwhile may show
/// or not. The manifest's files stay open for as long as a `Manifest`, or an iterator of one, is
/// kept: the state can be opened anew only when they are gone.
#[derive(Clone, Debug)]
pub struct Manifest {
    tree: sled::Tree,
    guard: Guard,
}

impl Manifest {
    pub(super) const fn new(tree: sled::Tree, guard: Guard) -> Self {
        Self { tree, guard }
    }

    /// What is known of a path; `None` means that it was never delivered, or that this is not
    /// known any more: never that it is absent on the server.
    pub fn get(&self, path: &RelPath) -> Result<Option<Entry>, StateError> {
        let key = path.to_key();
        self.guard.run(|| match self.tree.get(&key).map_err(|error| store_fault(&error))? {
            Some(value) => decode(&key, &value, Content::Compact).map(Some),
            None => Ok(None),
        })
    }

    /// All paths, in the order of [`RelPath`]s, read as they are asked for. Ends after an error.
    pub fn entries(&self) -> impl Iterator<Item = Result<(RelPath, Entry), StateError>> + Send + 'static {
        Entries { pairs: Some(self.tree.range(FIRST_PATH..)), guard: self.guard.clone() }
    }

    /// The paths in a part of the source, in the same order. Of what lies outside, the files in folders
    /// on the way there are read over.
    pub fn entries_within(
        &self,
        scope: &Scope,
    ) -> impl Iterator<Item = Result<(RelPath, Entry), StateError>> + Send + 'static {
        let pairs = Some(self.tree.range(FIRST_PATH..));
        let all = Entries { pairs, guard: self.guard.clone() };
        EntriesWithin { all, tree: self.tree.clone(), scope: scope.clone() }
    }

    /// The intents that are not settled: files that may or may not stand under their final
    /// names, ordered by path.
    pub fn intents(&self) -> Result<Vec<Publishing>, StateError> {
        self.reserved(INTENTS, |key, value| decode(key, value, Content::Json))
    }

    /// The files that are presumed to be delivered, with how that came about, ordered by path.
    pub fn presumed(&self) -> Result<Vec<Presumed>, StateError> {
        self.reserved(PRESUMED, |key, value| decode(key, value, Content::Json))
    }

    /// What the clock showed at the end of the last run, and the time that counts.
    pub fn pace(&self) -> Result<Option<Pace>, StateError> {
        self.single(PACE, Content::Compact)
    }

    /// The sidecars that are owed to a file.
    pub fn owed(&self, path: &RelPath) -> Result<Option<Owed>, StateError> {
        self.single(&owed_key(path), Content::Json)
    }

    /// The sidecars that stand beside a file, as far as is known. `None` also for those that were published
    /// before this was kept.
    pub fn beside(&self, path: &RelPath) -> Result<Option<Beside>, StateError> {
        self.single(&beside_key(path), Content::Json)
    }

    /// The files to which sidecars are owed, ordered by path: those that a run was at when it was cut
    /// off, and those whose sidecars failed.
    pub fn all_owed(&self) -> Result<Vec<(RelPath, Owed)>, StateError> {
        self.reserved(OWED, |key, value| {
            let path = key.strip_prefix(OWED).and_then(|path| RelPath::from_key(path).ok());
            Ok((path.ok_or_else(|| damaged(key))?, decode(key, value, Content::Json)?))
        })
    }

    /// The kinds of sidecars that were ever owed to files of this target, and may stand on the server.
    pub fn sidecars(&self) -> Result<Sidecars, StateError> {
        Ok(self.single(SIDECARS, Content::Json)?.unwrap_or_default())
    }

    /// The source files whose deleting or moving was begun and not ended, ordered by path.
    pub fn retirings(&self) -> Result<Vec<Retiring>, StateError> {
        self.reserved(RETIRINGS, |key, value| decode(key, value, Content::Json))
    }

    /// Files that went to the server's trash before a point in time, ordered by path, and `most`
    /// of them at most.
    pub fn trash_before(&self, then: Timestamp, most: usize) -> Result<Vec<RemotePath>, StateError> {
        self.guard.run(|| {
            let mut old = Vec::new();
            for pair in self.tree.scan_prefix(TRASH) {
                let (key, value) = pair.map_err(|error| store_fault(&error))?;
                if decode::<Timestamp>(&key, &value, Content::Compact)? < then {
                    let name = key.strip_prefix(TRASH).and_then(|name| std::str::from_utf8(name).ok());
                    old.push(name.and_then(|name| RemotePath::new(name).ok()).ok_or_else(|| damaged(&key))?);
                }
                if old.len() == most {
                    break;
                }
            }
            Ok(old)
        })
    }

    /// What the last complete scan saw of the source.
    pub fn source_seen(&self) -> Result<Option<SourceSeen>, StateError> {
        self.single(SOURCE, Content::Compact)
    }

    /// The file systems that were mounted below the source when its files were delivered.
    pub fn mounts(&self) -> Result<Vec<Mount>, StateError> {
        Ok(self.single(MOUNTS, Content::Json)?.unwrap_or_default())
    }

    /// The last deletion that was stopped.
    pub fn stopped_deletes(&self) -> Result<Option<GuardTripped>, StateError> {
        self.single(STOPPED_DELETES, Content::Json)
    }

    fn single<T: serde::de::DeserializeOwned>(
        &self,
        key: &[u8],
        content: Content,
    ) -> Result<Option<T>, StateError> {
        self.guard.run(|| match self.tree.get(key).map_err(|error| store_fault(&error))? {
            Some(value) => decode(key, &value, content).map(Some),
            None => Ok(None),
        })
    }

    /// The folders in which temporary files may stand, ordered by name.
    pub fn staged_folders(&self) -> Result<Vec<RemotePath>, StateError> {
        self.reserved(STAGINGS, |key, value| {
            decode::<()>(key, value, Content::Compact)?;
            let name = key.strip_prefix(STAGINGS).and_then(|name| std::str::from_utf8(name).ok());
            name.and_then(|name| RemotePath::new(name).ok()).ok_or_else(|| damaged(key))
        })
    }

    /// The uploads to final names whose end is not known, ordered by path.
    pub fn storings(&self) -> Result<Vec<Storing>, StateError> {
        self.reserved(STORINGS, |key, value| decode(key, value, Content::Json))
    }

    /// The large files of which a part may stand under a temporary name, ordered by path. Their
    /// folders are among [`staged_folders`](Self::staged_folders).
    pub fn partials(&self) -> Result<Vec<StagedFile>, StateError> {
        self.reserved(PARTIALS, |key, value| decode(key, value, Content::Json))
    }

    fn reserved<T>(
        &self,
        prefix: &[u8],
        read: impl Fn(&[u8], &[u8]) -> Result<T, ManifestFault>,
    ) -> Result<Vec<T>, StateError> {
        self.guard.run(|| {
            let pairs = self.tree.scan_prefix(prefix);
            pairs
                .map(|pair| {
                    let (key, value) = pair.map_err(|error| store_fault(&error))?;
                    read(&key, &value)
                })
                .collect()
        })
    }
}

/// The paths of a manifest.
struct Entries {
    /// `None` after an error.
    pairs: Option<sled::Iter>,
    guard: Guard,
}

impl Iterator for Entries {
    type Item = Result<(RelPath, Entry), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pairs = self.pairs.as_mut()?;
        let next = caught(|| {
            let Some(pair) = pairs.next() else { return Ok(None) };
            let (key, value) = pair.map_err(|error| store_fault(&error))?;
            let path = RelPath::from_key(&key).map_err(|_| damaged(&key))?;
            Ok(Some((path, decode(&key, &value, Content::Compact)?)))
        });
        match next {
            Ok(entry) => entry.map(Ok),
            Err(fault) => {
                self.pairs = None;
                Some(Err(self.guard.report(fault)))
            }
        }
    }
}

/// The paths of a manifest in a part of the source.
struct EntriesWithin {
    all: Entries,
    tree: sled::Tree,
    scope: Scope,
}

impl EntriesWithin {
    /// The outermost folder of a path of which nothing is meant.
    fn foreign(&self, path: &RelPath) -> Option<RelPath> {
        path.folders().find(|folder| self.scope.reach(Some(folder)) == Reach::Nothing)
    }
}

impl Iterator for EntriesWithin {
    type Item = Result<(RelPath, Entry), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.all.next()?;
            let path = match &next {
                Ok((path, _)) if !self.scope.covers(path) => path,
                Ok(_) | Err(_) => return Some(next),
            };
            if let Some(folder) = self.foreign(path) {
                // Behind all keys of what is in it, since these go on with 0x00.
                let behind = [folder.to_key(), vec![1]].concat();
                self.all.pairs = Some(self.tree.range(behind..));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reads = fn(&Manifest) -> bool;

    #[test]
    fn a_damaged_value_is_an_error_and_calls_for_a_rebuild() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let path = RelPath::new("a/b").unwrap();
        let bad: [(Vec<u8>, Reads); 4] = [
            (path.to_key(), |manifest| manifest.entries().all(|entry| entry.is_ok())),
            ([INTENTS, b"a"].concat(), |manifest| manifest.intents().is_ok()),
            ([PARTIALS, b"a"].concat(), |manifest| manifest.partials().is_ok()),
            ([STAGINGS, b"/in"].concat(), |manifest| manifest.staged_folders().is_ok()),
        ];
        for (key, reads) in bad {
            let tree = db.open_tree(&key).unwrap();
            tree.insert(&key, b"\x01rubbish").unwrap();
            let guard = Guard::new(folder.path());
            guard.clear().unwrap();
            assert!(!guard.is_suspect());
            assert!(!reads(&Manifest::new(tree, guard.clone())), "{key:?}");
            assert!(guard.is_suspect(), "{key:?}");
        }
        let tree = db.open_tree(path.to_key()).unwrap();
        let error = Manifest::new(tree, Guard::new(folder.path())).get(&path).unwrap_err();
        assert!(matches!(error, StateError::Manifest(ManifestFault::Value { .. })), "{error}");
    }
}
