//! A disk in memory that counts, fails on demand, stands still at any operation, and forgets at a
//! power cut what was not synced: the content of files, and each change of a name by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, ErrorKind, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::super::storage::{Append, Storage};
use crate::domain::Digest;

#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    files: Arc<Mutex<Files>>,
    /// Told when a disk that stands still is dead.
    died: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Files {
    /// What a process sees: names to files.
    names: BTreeMap<String, usize>,
    /// Names that outlast a power cut.
    synced_names: BTreeMap<String, usize>,
    /// What happened to names since they were synced.
    renamed: Vec<NameChange>,
    /// Whether the folder itself outlasts a power cut.
    home: Home,
    contents: Vec<Content>,
    syncs: u64,
    /// Each place from which something was synced.
    sites: BTreeSet<String>,
    trouble: Trouble,
    recorder: Option<Recorder>,
    power: Power,
}

/// Whether anything can still be changed.
#[derive(Default)]
enum Power {
    #[default]
    On,
    /// After so many more changes it stands still, and tells.
    Until(u64, Box<dyn FnMut() + Send>),
    /// Whoever wants to change something waits for its death.
    Still,
    /// Nothing can be changed any more.
    Dead,
}

impl std::fmt::Debug for Power {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::On => "On",
            Self::Until(..) => "Until",
            Self::Still => "Still",
            Self::Dead => "Dead",
        })
    }
}

#[derive(Debug)]
struct Recorder {
    acknowledged: Arc<AtomicU64>,
    kept: Vec<(u64, SimDisk)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Fresh,
    Synced,
}

#[derive(Clone, Debug)]
enum NameChange {
    Appeared(String, usize),
    Renamed(String, String, usize),
    Removed(String),
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// What no sync will write any more.
    given_up: Option<Range<usize>>,
    /// Whether bytes were written over since the last sync.
    rewritten: bool,
}

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    /// Syncing does nothing and says that it did.
    SyncLies,
    /// Syncing at this site does nothing and says that it did.
    SyncLiesAt(String),
    /// Syncing fails.
    SyncFails,
    /// Syncing at this site fails.
    SyncFailsAt(String),
    /// Appending writes half and finds the disk full.
    DiskFull,
}

/// What of the changes that were not synced comes through a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survival {
    /// Nothing.
    Synced,
    /// The names, as they were last, but not what is in the files.
    Names,
    /// The last change of a name, but none before it.
    LastName,
    /// All names but the last change, and half of what was not synced in each file.
    Half,
}

impl Survival {
    pub(crate) const ALL: [Self; 4] = [Self::Synced, Self::Names, Self::LastName, Self::Half];
}

impl SimDisk {
    pub(super) fn trouble(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    pub(super) fn sites(&self) -> BTreeSet<String> {
        self.lock().sites.clone()
    }

    /// The disk as it is, with a life of its own.
    pub(crate) fn copy(&self) -> Self {
        self.lock().copy()
    }

    /// What is left after a power cut; the trouble stays.
    pub(super) fn after_power_cut(&self) -> Self {
        self.survivors(Survival::Synced)
    }

    pub(crate) fn survivors(&self, survival: Survival) -> Self {
        let files = self.lock();
        let mut names = files.synced_names.clone();
        let count = files.renamed.len();
        for (at, change) in files.renamed.iter().enumerate() {
            let kept = match survival {
                Survival::Synced => false,
                Survival::Names => true,
                Survival::LastName => at + 1 == count,
                Survival::Half => at + 1 < count,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        if files.home == Home::Fresh {
            names.clear();
        }
        let left = |file: &Content| {
            let mut left = file.synced.clone();
            if survival == Survival::Half && file.now.starts_with(&file.synced) {
                left.extend_from_slice(&file.now[left.len()..left.len().midpoint(file.now.len())]);
            }
            Content { now: left.clone(), synced: left, ..Content::default() }
        };
        let contents = files.contents.iter().map(left).collect();
        let home = if names.is_empty() { Home::Fresh } else { Home::Synced };
        let trouble = files.trouble.clone();
        let synced_names = names.clone();
        let cut = Files { names, synced_names, home, contents, trouble, ..Files::default() };
        Self { files: Arc::new(Mutex::new(cut)), died: Arc::default() }
    }

    /// Keeps what the disk is before each change from now on, with the number in `acknowledged`.
    pub(super) fn record(&self, acknowledged: Arc<AtomicU64>) {
        self.lock().recorder = Some(Recorder { acknowledged, kept: Vec::new() });
    }

    /// What was kept: how much was acknowledged by then, and the disk.
    pub(super) fn recorded(&self) -> Vec<(u64, Self)> {
        let recorder = self.lock().recorder.take();
        recorder.map_or_else(Vec::new, |recorder| recorder.kept)
    }

    /// The same for two disks that will never be told apart.
    pub(super) fn fingerprint(&self) -> Digest {
        let files = self.lock();
        let content = |(name, file): (&String, &usize)| {
            let Content { now, synced, given_up, .. } = &files.contents[*file];
            (name.clone(), Digest::of(now), Digest::of(synced), given_up.clone())
        };
        let seen: Vec<_> = files.names.iter().map(content).collect();
        let kept: Vec<_> = files.synced_names.iter().map(content).collect();
        Digest::of(format!("{seen:?} {kept:?}").as_bytes())
    }

    /// Says of all that was not synced that the system gave up on it: it can still be read, but no
    /// later sync writes it, as Linux does after a failed sync.
    pub(super) fn give_up_unsynced(&self) {
        for file in &mut self.lock().contents {
            let end = file.now.len();
            file.given_up = Some(file.synced.len().min(end)..end);
        }
    }

    /// Stands still before the change after so many others, and tells; until [`SimDisk::die`].
    pub(crate) fn stand_still_after(&self, changes: u64, tell: impl FnMut() + Send + 'static) {
        self.lock().power = Power::Until(changes, Box::new(tell));
    }

    /// Goes on for ever, unless it stands still.
    pub(crate) fn go_on(&self) {
        let mut files = self.lock();
        if let Power::Until(..) = files.power {
            files.power = Power::On;
        }
    }

    /// Refuses every change from now on, also those that wait.
    pub(crate) fn die(&self) {
        self.lock().power = Power::Dead;
        self.died.notify_all();
    }

    /// Waits where the disk stands still; fails where it is dead.
    fn powered(&self) -> io::Result<()> {
        let mut files = self.lock();
        if let Power::Until(left, tell) = &mut files.power {
            if *left == 0 {
                tell();
                files.power = Power::Still;
            } else {
                *left -= 1;
            }
        }
        while matches!(files.power, Power::Still) {
            files = self.died.wait(files).unwrap();
        }
        if matches!(files.power, Power::Dead) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// Begins an operation that changes something.
    fn change(&self) -> io::Result<MutexGuard<'_, Files>> {
        self.powered()?;
        let mut files = self.lock();
        if let Some(acknowledged) = files.recorder.as_ref().map(|recorder| recorder.acknowledged.clone()) {
            // Read before the copy: what is acknowledged later is on a later disk.
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            let copy = files.copy();
            files.recorder.iter_mut().for_each(|recorder| recorder.kept.push((acknowledged, copy.clone())));
        }
        Ok(files)
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.lock().names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Files {
    fn copy(&self) -> SimDisk {
        let contents = self.contents.clone();
        let (names, synced_names) = (self.names.clone(), self.synced_names.clone());
        let (renamed, home) = (self.renamed.clone(), self.home);
        let trouble = self.trouble.clone();
        let copy = Self { names, synced_names, renamed, home, contents, trouble, ..Self::default() };
        SimDisk { files: Arc::new(Mutex::new(copy)), died: Arc::default() }
    }

    /// Whether a sync at this site does what it says.
    fn syncs_at(&mut self, site: &str) -> io::Result<bool> {
        self.sites.insert(site.to_owned());
        match &self.trouble {
            Trouble::SyncFails => Err(io::Error::from_raw_os_error(5)),
            Trouble::SyncLies => Ok(false),
            Trouble::SyncFailsAt(fails) if fails == site => Err(io::Error::from_raw_os_error(5)),
            Trouble::SyncLiesAt(lies) => Ok(lies != site),
            Trouble::None | Trouble::DiskFull | Trouble::SyncFailsAt(_) => Ok(true),
        }
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.renamed.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Appeared(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Renamed(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Removed(name) => drop(names.remove(name)),
        }
    }

    fn site(&self) -> String {
        match self {
            Self::Appeared(name, _) => format!("names, after making {}", without_numbers(name)),
            Self::Renamed(_, to, _) => format!("names, after renaming to {}", without_numbers(to)),
            Self::Removed(name) => format!("names, after removing {}", without_numbers(name)),
        }
    }
}

fn without_numbers(name: &str) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for letter in name.chars() {
        match (letter.is_ascii_digit(), kinds.last().is_some_and(|last| last == "#")) {
            (true, true) => {}
            (true, false) => kinds.push("#".to_owned()),
            (false, _) => kinds.push(letter.to_string()),
        }
    }
    kinds.concat()
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
        if self.file(name).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let mut files = self.change()?;
        let file = files.contents.len();
        files.contents.push(Content::default());
        files.rename(NameChange::Appeared(name.to_owned(), file));
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(SimFile { disk: self.clone(), file: self.file(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        self.change()?.rename(NameChange::Renamed(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.change()?.rename(NameChange::Removed(name.to_owned()));
        Ok(())
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        let file = self.file(name)?;
        Ok(self.lock().contents[file].now.len() as u64)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut files = self.change()?;
        let Some(site) = files.renamed.last().map(NameChange::site) else { return Ok(()) };
        if files.syncs_at(&site)? {
            files.synced_names = files.names.clone();
            files.renamed.clear();
        }
        Ok(())
    }

    fn sync_home(&self) -> io::Result<()> {
        let mut files = self.change()?;
        if files.syncs_at("home")? {
            files.home = Home::Synced;
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
        let mut files = self.disk.change()?;
        let full = files.trouble == Trouble::DiskFull;
        let fits = if full { &bytes[..bytes.len() / 2] } else { bytes };
        files.contents[self.file].now.extend_from_slice(fits);
        if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let file = &mut self.disk.change()?.contents[self.file];
        file.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        file.rewritten = true;
        // What is written anew is written again.
        let written = offset..offset + bytes.len();
        file.given_up =
            file.given_up.take().filter(|lost| lost.start < written.start || lost.end > written.end);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut files = self.disk.change()?;
        files.syncs += 1;
        let name = files.names.iter().find(|(_, file)| **file == self.file);
        let name = name.map_or_else(|| "a removed file".to_owned(), |(name, _)| without_numbers(name));
        let rewritten = std::mem::take(&mut files.contents[self.file].rewritten);
        let site = if rewritten { format!("{name}, written over") } else { name };
        if files.syncs_at(&site)? {
            let file = &mut files.contents[self.file];
            file.synced = file.now.clone();
            if let Some(lost) = file.given_up.clone() {
                let end = lost.end.min(file.synced.len());
                file.synced[lost.start.min(end)..end].fill(0);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.change()?.contents[self.file].now.truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}
