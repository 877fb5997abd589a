//! A disk in memory that counts, fails on demand, and forgets at a power cut what was not synced.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::storage::{Append, Storage};

#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    /// What a process sees: names to files.
    names: BTreeMap<String, usize>,
    /// Names that outlast a power cut.
    synced_names: BTreeMap<String, usize>,
    contents: Vec<Content>,
    syncs: u64,
    trouble: Trouble,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    /// Syncing does nothing and says that it did.
    SyncLies,
    /// Syncing fails.
    SyncFails,
    /// Appending writes half and finds the disk full.
    DiskFull,
}

impl SimDisk {
    pub(super) fn trouble(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// What is left after a power cut.
    pub(super) fn after_power_cut(&self) -> Self {
        let files = self.lock();
        let contents = files
            .contents
            .iter()
            .map(|file| Content { now: file.synced.clone(), synced: file.synced.clone() });
        let names = files.synced_names.clone();
        let files = Files {
            names: names.clone(),
            synced_names: names,
            contents: contents.collect(),
            ..Files::default()
        };
        Self { files: Arc::new(Mutex::new(files)) }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.lock().names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Storage for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.file(name)?;
        Ok(Box::new(Cursor::new(self.lock().contents[file].now.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut files = self.lock();
        if files.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = files.contents.len();
        files.contents.push(Content::default());
        files.names.insert(name.to_owned(), file);
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(SimFile { disk: self.clone(), file: self.file(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        let mut files = self.lock();
        files.names.remove(from);
        files.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.lock().names.remove(name);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut files = self.lock();
        if files.trouble != Trouble::SyncLies {
            files.synced_names = files.names.clone();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl Append for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.disk.lock();
        let full = files.trouble == Trouble::DiskFull;
        let fits = if full { &bytes[..bytes.len() / 2] } else { bytes };
        files.contents[self.file].now.extend_from_slice(fits);
        if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.disk.lock().contents[self.file].now[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut files = self.disk.lock();
        files.syncs += 1;
        match files.trouble {
            Trouble::SyncFails => return Err(io::Error::from_raw_os_error(5)),
            Trouble::SyncLies => {}
            Trouble::None | Trouble::DiskFull => {
                let file = &mut files.contents[self.file];
                file.synced = file.now.clone();
            }
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.lock().contents[self.file].now.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}
