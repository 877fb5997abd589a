//! What a record does to the manifest of its target.

use std::collections::BTreeMap;

use super::guard::store_fault;
use super::value::{
    Content, MOUNTS, PACE, PARTIALS, SIDECARS, SOURCE, STAGINGS, STOPPED_DELETES, beside_key, decode, encode,
    intent_key, owed_key, partial_key, presumed_key, retiring_key, staging_key, storing_key, trash_key,
};
use crate::domain::{
    Basis, Beside, Decided, Decision, Delivered, Entry, EntryStatus, FileStat, Leftovers, Owed, Pace,
    Presumed, ProofMethod, Record, RelPath, Remembered, RemotePath, SidecarChange, SidecarStep, Sidecars,
    StagedFile, Timestamp, Verified,
};
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
            Record::RunStarted(_)
            | Record::Scheduled(_)
            | Record::RunsMissed(_)
            | Record::Failed(_)
            | Record::Audited(_)
            | Record::Checkpoint(_)
            | Record::Expired(_) => {}
            Record::Staging(staging) => {
                self.put(staging_key(&staging.folder), &(), Content::Compact)?;
                if let Some(file) = &staging.file {
                    self.put(partial_key(&file.path), file, Content::Json)?;
                }
            }
            Record::Publishing(intent) => {
                self.put(intent_key(&intent.path), intent, Content::Json)?;
                self.remove(partial_key(&intent.path));
            }
            Record::Storing(storing) => {
                self.put(storing_key(&storing.path), storing, Content::Json)?;
                // For what is about to be lost no sidecar may stand any more.
                self.forget_sidecars(&storing.path);
                // What was delivered there is about to be lost.
                self.doubt(&storing.path, EntryStatus::FoundChanged)?;
            }
            Record::Delivered(delivered) | Record::Adopted(delivered) => {
                self.deliver(record, delivered, at)?;
            }
            Record::Presumed(presumed) => self.presume(presumed, at)?,
            Record::Decided(decided) => self.decide(decided)?,
            Record::Confirmed(confirmed) => {
                let key = confirmed.path.to_key();
                self.remove(partial_key(&confirmed.path));
                if let Some(mut entry) = self.get::<Entry>(&key, Content::Compact)? {
                    entry.stat = confirmed.stat;
                    entry.observed_at = confirmed.observed_at;
                    self.put(key, &entry, Content::Compact)?;
                }
            }
            Record::Sidecar(change) => self.change_sidecars(change)?,
            Record::FoundMissing(found) => self.doubt(&found.path, EntryStatus::FoundMissing)?,
            Record::FoundChanged(found) => self.doubt(&found.path, EntryStatus::FoundChanged)?,
            Record::Withdrawn(withdrawn) => self.close(&withdrawn.path),
            Record::Retiring(retiring) => {
                self.put(retiring_key(&retiring.path), retiring, Content::Json)?;
            }
            Record::Retained(retained) => self.remove(retiring_key(&retained.path)),
            Record::Retired(retired) => self.retire(&retired.path, retired.remembered)?,
            Record::Trashing(trashing) => self.put(trash_key(&trashing.to), &at, Content::Compact)?,
            Record::Removed(removed) => {
                self.forget_sidecars(&removed.path);
                self.remove(removed.path.to_key());
            }
            Record::TrashEmptied(emptied) => self.remove(trash_key(&emptied.from)),
            Record::GuardTripped(tripped) => {
                self.put(STOPPED_DELETES.to_vec(), tripped, Content::Json)?;
            }
            Record::RunFinished(finished) => {
                if let Some(source) = &finished.source {
                    self.put(SOURCE.to_vec(), source, Content::Compact)?;
                }
                if let Some(mounts) = &finished.mounts {
                    self.put(MOUNTS.to_vec(), mounts, Content::Json)?;
                }
                self.leave(&finished.leftovers)?;
                self.keep_pace(at)?;
            }
        }
        Ok(())
    }

    /// A source file was deleted or moved.
    fn retire(&mut self, path: &RelPath, remembered: Remembered) -> Result<(), ManifestFault> {
        self.remove(retiring_key(path));
        self.remove(owed_key(path));
        let key = path.to_key();
        match (remembered, self.get::<Entry>(&key, Content::Compact)?) {
            (Remembered::AsOurs, Some(mut entry)) => {
                entry.status = EntryStatus::Retired;
                self.put(key, &entry, Content::Compact)?;
            }
            (Remembered::AsOurs, None) | (Remembered::Nothing, _) => {
                self.remove(beside_key(path));
                self.remove(key);
            }
        }
        Ok(())
    }

    /// A file that nobody can know the end of.
    fn presume(&mut self, presumed: &Presumed, at: Timestamp) -> Result<(), ManifestFault> {
        let mut entry = match &presumed.basis {
            Basis::Verified(verified) => entry(verified, presumed.stat, presumed.observed_at, at),
            Basis::Sent(sent) => Entry {
                status: EntryStatus::Presumed,
                stat: presumed.stat,
                observed_at: presumed.observed_at,
                size: sent.size,
                digest: sent.digest,
                // Such an entry claims no proof; the weakest stands for none.
                method: ProofMethod::Size,
                modified: None,
                delivered_at: at,
            },
        };
        entry.status = EntryStatus::Presumed;
        self.put(presumed.path.to_key(), &entry, Content::Compact)?;
        self.close(&presumed.path);
        // What was taken waits for none.
        self.forget_sidecars(&presumed.path);
        self.put(presumed_key(&presumed.path), presumed, Content::Json)
    }

    /// A run ended at this time of the clock.
    fn keep_pace(&mut self, at: Timestamp) -> Result<(), ManifestFault> {
        let before = self.get::<Pace>(PACE, Content::Compact)?;
        let pace = before.map_or(Pace::begin(at), |before| before.at(at));
        self.put(PACE.to_vec(), &pace, Content::Compact)
    }

    /// Takes in where temporary files may be left after a run.
    fn leave(&mut self, leftovers: &Leftovers) -> Result<(), ManifestFault> {
        match leftovers {
            Leftovers::AllStaged => Ok(()),
            Leftovers::Folders(folders) => self.keep_staged(folders),
        }
    }

    /// A file stands on the server, delivered or found there.
    fn deliver(
        &mut self,
        record: &Record,
        delivered: &Delivered,
        at: Timestamp,
    ) -> Result<(), ManifestFault> {
        let key = delivered.path.to_key();
        let mut entry = entry(&delivered.verified, delivered.stat, delivered.observed_at, at);
        entry.modified.clone_from(&delivered.modified);
        if let Record::Delivered(_) = record {
            self.owe(delivered)?;
        }
        if let Record::Adopted(_) = record {
            let known = self.get::<Entry>(&key, Content::Compact)?;
            // Found sound; that its source is gone on purpose stays true.
            if known.is_some_and(|known| known.status == EntryStatus::Retired) {
                entry.status = EntryStatus::Retired;
            }
        }
        self.put(key, &entry, Content::Compact)?;
        self.close(&delivered.path);
        self.remove(presumed_key(&delivered.path));
        Ok(())
    }

    /// A delivery owes its sidecars, and those of an earlier one are not wanted any more.
    fn owe(&mut self, delivered: &Delivered) -> Result<(), ManifestFault> {
        let sidecars = delivered.sidecars.clone();
        self.forget_sidecars(&delivered.path);
        if sidecars.is_empty() {
            return Ok(());
        }
        let ever = self.get::<Sidecars>(SIDECARS, Content::Json)?.unwrap_or_default();
        let now = ever.with(&sidecars);
        if now != ever {
            self.put(SIDECARS.to_vec(), &now, Content::Json)?;
        }
        let owed = Owed { digest: delivered.verified.digest(), sidecars, intent: None };
        self.put(owed_key(&delivered.path), &owed, Content::Json)
    }

    /// Something happened to the sidecars of a file.
    fn change_sidecars(&mut self, change: &SidecarChange) -> Result<(), ManifestFault> {
        let key = owed_key(&change.path);
        let before = self.get::<Owed>(&key, Content::Json)?;
        self.keep_beside(change, before.as_ref())?;
        let after = match (&change.step, before) {
            (SidecarStep::TakingDown { sidecars, digest }, before) => {
                let owed = before.map_or(Sidecars::NONE, |before| before.sidecars);
                Some(Owed { digest: *digest, sidecars: owed.with(sidecars), intent: None })
            }
            (SidecarStep::Differs { sidecar, digest, .. }, before) => {
                let Owed { sidecars, intent, .. } = before
                    .filter(|before| before.digest == *digest)
                    .unwrap_or(Owed { digest: *digest, sidecars: Sidecars::NONE, intent: None });
                let sidecars = sidecars.with(&[*sidecar].into_iter().collect());
                Some(Owed { digest: *digest, sidecars, intent })
            }
            (SidecarStep::Waived { .. }, _) | (_, None) => None,
            (SidecarStep::Publishing { sidecar, intent }, Some(before)) => {
                Some(Owed { intent: Some((*sidecar, intent.clone())), ..before })
            }
            (SidecarStep::Withdrawn { .. }, Some(before)) => Some(Owed { intent: None, ..before }),
            (SidecarStep::Stands { sidecar, .. } | SidecarStep::Taken { sidecar }, Some(mut before)) => {
                before.sidecars.remove(*sidecar);
                Some(Owed { intent: None, ..before })
            }
        };
        if let Some(owed) = after.filter(|owed| !owed.sidecars.is_empty()) {
            return self.put(key, &owed, Content::Json);
        }
        self.remove(key);
        Ok(())
    }

    /// Keeps which sidecars stand beside a file after a change; `owed` is what was owed before it.
    fn keep_beside(&mut self, change: &SidecarChange, owed: Option<&Owed>) -> Result<(), ManifestFault> {
        let key = beside_key(&change.path);
        let before = self.get::<Beside>(&key, Content::Json)?;
        let gone = match (&change.step, owed) {
            (SidecarStep::Stands { sidecar, modified, .. }, Some(Owed { digest, .. })) => {
                let known = before.filter(|before| before.digest == *digest);
                let mut after = known.unwrap_or(Beside { digest: *digest, sidecars: BTreeMap::new() });
                after.sidecars.insert(*sidecar, modified.clone());
                return self.put(key, &after, Content::Json);
            }
            (SidecarStep::Stands { sidecar, modified, .. }, None) => {
                let Some(mut known) = before else { return Ok(()) };
                known.sidecars.insert(*sidecar, modified.clone());
                return self.put(key, &known, Content::Json);
            }
            (SidecarStep::TakingDown { sidecars, .. }, _) => sidecars.clone(),
            (SidecarStep::Waived { .. }, Some(owed)) => owed.sidecars.clone(),
            (SidecarStep::Taken { sidecar }, _) => [*sidecar].into_iter().collect(),
            // Of one that differs it stays known how it stood, by which it is told from a stranger's.
            (
                SidecarStep::Publishing { .. }
                | SidecarStep::Withdrawn { .. }
                | SidecarStep::Differs { .. }
                | SidecarStep::Waived { .. },
                _,
            ) => return Ok(()),
        };
        let Some(mut after) = before else { return Ok(()) };
        after.sidecars.retain(|sidecar, _| !gone.has(*sidecar));
        if after.sidecars.is_empty() {
            self.remove(key);
            return Ok(());
        }
        self.put(key, &after, Content::Json)
    }

    /// A path has no sidecars any more, and none are owed.
    fn forget_sidecars(&mut self, path: &RelPath) {
        self.remove(owed_key(path));
        self.remove(beside_key(path));
    }

    /// A person decided about a file, if it is still presumed and what was decided about.
    fn decide(&mut self, decided: &Decided) -> Result<(), ManifestFault> {
        let key = decided.path.to_key();
        let entry = self.get::<Entry>(&key, Content::Compact)?.filter(|entry| {
            entry.status == EntryStatus::Presumed
                && (entry.size, entry.digest) == (decided.size, decided.digest)
        });
        let Some(entry) = entry else { return Ok(()) };
        self.remove(presumed_key(&decided.path));
        match decided.decision {
            Decision::Attested => {
                self.put(key, &Entry { status: EntryStatus::Attested, ..entry }, Content::Compact)?;
            }
            Decision::SendAgain | Decision::Lost => self.remove(key),
        }
        Ok(())
    }

    /// A path has neither an intent nor a part of it on the server any more.
    fn close(&mut self, path: &RelPath) {
        self.remove(storing_key(path));
        self.remove(intent_key(path));
        self.remove(partial_key(path));
    }

    /// Only these folders are staged from here on: what was said of others is forgotten.
    fn keep_staged(&mut self, folders: &[RemotePath]) -> Result<(), ManifestFault> {
        for key in self.keys(STAGINGS)? {
            self.remove(key);
        }
        for folder in folders {
            self.put(staging_key(folder), &(), Content::Compact)?;
        }
        for key in self.keys(PARTIALS)? {
            let partial = self.get::<StagedFile>(&key, Content::Json)?;
            let folder = partial.and_then(|partial| partial.temporary.folder());
            if folder.is_none_or(|folder| !folders.contains(&folder)) {
                self.remove(key);
            }
        }
        Ok(())
    }

    /// What was delivered is not there as it was delivered. All else that is known of it stays,
    /// so that sending it again can tell our own file from a stranger's.
    fn doubt(&mut self, path: &RelPath, status: EntryStatus) -> Result<(), ManifestFault> {
        let key = path.to_key();
        let entry = self.get::<Entry>(&key, Content::Compact)?;
        // One whose source was taken away on purpose cannot be sent again, and is never called missing.
        if let Some(entry) = entry.filter(|entry| entry.status != EntryStatus::Retired) {
            self.put(key, &Entry { status, ..entry }, Content::Compact)?;
        }
        Ok(())
    }

    /// The keys under which something changes.
    pub(super) fn keys_changed(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.changed.keys()
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

    pub(super) fn get<T: serde::de::DeserializeOwned>(
        &self,
        key: &[u8],
        content: Content,
    ) -> Result<Option<T>, ManifestFault> {
        match self.changed.get(key) {
            Some(Some(value)) => decode(key, value, content).map(Some),
            Some(None) => Ok(None),
            None => match self.tree.get(key).map_err(|error| store_fault(&error))? {
                Some(value) => decode(key, &value, content).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The keys with a prefix that were there before, or were changed since.
    fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, ManifestFault> {
        let known = self.tree.scan_prefix(prefix).keys().map(|key| key.map(|key| key.to_vec()));
        let mut keys: Vec<Vec<u8>> = known.collect::<Result<_, _>>().map_err(|error| store_fault(&error))?;
        let changed = self.changed.range(prefix.to_vec()..);
        keys.extend(changed.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)));
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
