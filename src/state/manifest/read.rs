//! The reading side of the manifest.

use super::guard::{Guard, caught, store_fault};
use super::value::{Content, FIRST_PATH, INTENTS, STAGINGS, damaged, decode};
use crate::domain::{Entry, Publishing, RelPath, RemotePath};
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

    /// The intents that are not settled: files that may or may not stand under their final
    /// names, ordered by path.
    pub fn intents(&self) -> Result<Vec<Publishing>, StateError> {
        self.reserved(INTENTS, |key, value| decode(key, value, Content::Json))
    }

    /// The folders in which temporary files may stand, ordered by name.
    pub fn staged_folders(&self) -> Result<Vec<RemotePath>, StateError> {
        self.reserved(STAGINGS, |key, value| {
            decode::<()>(key, value, Content::Compact)?;
            let name = key.strip_prefix(STAGINGS).and_then(|name| std::str::from_utf8(name).ok());
            name.and_then(|name| RemotePath::new(name).ok()).ok_or_else(|| damaged(key))
        })
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
