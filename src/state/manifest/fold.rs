//! What a record does to the manifest of its target.

use std::collections::BTreeMap;

use super::guard::store_fault;
use super::value::{Content, STAGINGS, decode, encode, intent_key, staging_key};
use crate::domain::{Entry, EntryStatus, FileStat, Leftovers, Record, RelPath, Timestamp, Verified};
use crate::state::error::ManifestFault;

/// The changes that some records make to a tree, not yet applied.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    tree: &'a sled::Tree,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Changes<'a> {
    pub(super) const fn new(tree: &'a sled::Tree) -> Self {
        Self { tree, changed: BTreeMap::new() }
    }

    /// Adds what a record of the line written `at` does.
    pub(super) fn add(&mut self, record: &Record, at: Timestamp) -> Result<(), ManifestFault> {
        match record {
            Record::RunStarted(_) | Record::Failed(_) | Record::Audited(_) => {}
            Record::Staging(staging) => self.put(staging_key(&staging.folder), &(), Content::Compact)?,
            Record::Publishing(intent) => self.put(intent_key(&intent.path), intent, Content::Json)?,
            Record::Delivered(delivered) | Record::Adopted(delivered) => {
                let mut entry = entry(&delivered.verified, delivered.stat, delivered.observed_at, at);
                entry.modified.clone_from(&delivered.modified);
                self.put(delivered.path.to_key(), &entry, Content::Compact)?;
                self.remove(intent_key(&delivered.path));
            }
            Record::Presumed(presumed) => {
                let mut entry = entry(&presumed.verified, presumed.stat, presumed.observed_at, at);
                entry.status = EntryStatus::Presumed;
                self.put(presumed.path.to_key(), &entry, Content::Compact)?;
                self.remove(intent_key(&presumed.path));
            }
            Record::Confirmed(confirmed) => {
                let key = confirmed.path.to_key();
                if let Some(mut entry) = self.get::<Entry>(&key)? {
                    entry.stat = confirmed.stat;
                    entry.observed_at = confirmed.observed_at;
                    self.put(key, &entry, Content::Compact)?;
                }
            }
            Record::FoundMissing(found) => self.doubt(&found.path, EntryStatus::FoundMissing)?,
            Record::FoundChanged(found) => self.doubt(&found.path, EntryStatus::FoundChanged)?,
            Record::Withdrawn(withdrawn) => self.remove(intent_key(&withdrawn.path)),
            Record::RunFinished(finished) => match &finished.leftovers {
                Leftovers::AllStaged => {}
                Leftovers::Folders(folders) => {
                    for key in self.stagings()? {
                        self.remove(key);
                    }
                    for folder in folders {
                        self.put(staging_key(folder), &(), Content::Compact)?;
                    }
                }
            },
        }
        Ok(())
    }

    /// What was delivered is not there as it was delivered. All else that is known of it stays,
    /// so that sending it again can tell our own file from a stranger's.
    fn doubt(&mut self, path: &RelPath, status: EntryStatus) -> Result<(), ManifestFault> {
        let key = path.to_key();
        if let Some(entry) = self.get::<Entry>(&key)? {
            self.put(key, &Entry { status, ..entry }, Content::Compact)?;
        }
        Ok(())
    }

    /// The changes as one batch.
    pub(super) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.changed {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }

    pub(super) fn put<T: serde::Serialize>(
        &mut self,
        key: Vec<u8>,
        value: &T,
        content: Content,
    ) -> Result<(), ManifestFault> {
        let value = encode(&key, value, content)?;
        self.changed.insert(key, Some(value));
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.changed.insert(key, None);
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, ManifestFault> {
        match self.changed.get(key) {
            Some(Some(value)) => decode(key, value, Content::Compact).map(Some),
            Some(None) => Ok(None),
            None => match self.tree.get(key).map_err(|error| store_fault(&error))? {
                Some(value) => decode(key, &value, Content::Compact).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The keys of the stagings that are open with the changes so far.
    fn stagings(&self) -> Result<Vec<Vec<u8>>, ManifestFault> {
        let known = self.tree.scan_prefix(STAGINGS).keys().map(|key| key.map(|key| key.to_vec()));
        let mut keys: Vec<Vec<u8>> = known.collect::<Result<_, _>>().map_err(|error| store_fault(&error))?;
        let changed = self.changed.range(STAGINGS.to_vec()..);
        keys.extend(changed.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(STAGINGS)));
        Ok(keys)
    }
}

fn entry(verified: &Verified, stat: FileStat, observed_at: Timestamp, at: Timestamp) -> Entry {
    Entry {
        status: EntryStatus::Delivered,
        stat,
        observed_at,
        size: verified.size(),
        digest: verified.digest(),
        method: verified.method(),
        modified: None,
        delivered_at: at,
    }
}
