//! The office that takes files away as they arrive, and writes down what it got.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use super::journal::{Journal, Version};

/// How eagerly the office takes files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is not there.
    Away,
    /// Everything, the moment it is seen.
    Eager,
    /// One file at a time, with breaks.
    Slow,
}

/// How long a slow office rests, and how often an eager one looks.
const BREAK: Duration = Duration::from_millis(15);
const LOOK: Duration = Duration::from_micros(500);

/// What the office took: how often each version, and what was no whole file.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) whole: BTreeMap<(String, Version), u32>,
    pub(super) torn: Vec<String>,
}

/// A thread that takes files until dropped.
#[derive(Debug)]
pub(super) struct Office {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    arrivals: PathBuf,
    /// Where it puts what it takes.
    cellar: PathBuf,
    journal: Journal,
    strangers: Vec<String>,
    pace: AtomicU8,
    closed: AtomicBool,
    taken: Mutex<Taken>,
}

impl Office {
    /// Takes what appears in `arrivals`, but for what belongs to others.
    pub(super) fn open(arrivals: &Path, cellar: PathBuf, journal: Journal, strangers: Vec<String>) -> Self {
        fs::create_dir(&cellar).unwrap();
        let shared = Arc::new(Shared {
            arrivals: arrivals.to_owned(),
            cellar,
            journal,
            strangers,
            pace: AtomicU8::new(0),
            closed: AtomicBool::new(false),
            taken: Mutex::default(),
        });
        let working = Arc::clone(&shared);
        Self { shared, thread: Some(thread::spawn(move || working.work())) }
    }

    pub(super) fn set_pace(&self, pace: Pace) {
        let number = match pace {
            Pace::Away => 0,
            Pace::Eager => 1,
            Pace::Slow => 2,
        };
        self.shared.pace.store(number, Ordering::SeqCst);
    }

    /// Waits until an eager office has taken everything.
    pub(super) fn empty(&self, limit: Duration) {
        let begun = Instant::now();
        self.set_pace(Pace::Eager);
        while !self.shared.waiting().is_empty() {
            assert!(begun.elapsed() < limit, "the office does not come after: {:?}", self.shared.waiting());
            thread::sleep(LOOK);
        }
    }

    /// What was taken; the office takes nothing while this is held.
    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.shared.taken.lock().unwrap()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(fs::remove_dir_all(&self.shared.cellar));
    }
}

impl Shared {
    fn work(&self) {
        while !self.closed.load(Ordering::SeqCst) {
            match self.pace.load(Ordering::SeqCst) {
                0 => thread::sleep(BREAK),
                1 => {
                    self.waiting().iter().for_each(|path| self.take(path));
                    thread::sleep(LOOK);
                }
                _ => {
                    self.waiting().iter().take(1).for_each(|path| self.take(path));
                    thread::sleep(BREAK);
                }
            }
        }
    }

    /// What stands under final names: hidden files are not for the office.
    fn waiting(&self) -> Vec<String> {
        let files = WalkDir::new(&self.arrivals).into_iter().filter_entry(|entry| {
            entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
        });
        // What is renamed while one looks is seen the next time.
        let files = files.filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
        let names = files
            .map(|entry| entry.path().strip_prefix(&self.arrivals).unwrap().to_str().unwrap().to_owned());
        names.filter(|name| !self.strangers.contains(name)).collect()
    }

    fn take(&self, path: &str) {
        let mut taken = self.taken.lock().unwrap();
        let mine = self.cellar.join("taken");
        if fs::rename(self.arrivals.join(path), &mine).is_err() {
            return;
        }
        let content = fs::read(&mine).unwrap();
        match self.journal.version(path, &content) {
            Some(version) => *taken.whole.entry((path.to_owned(), version)).or_default() += 1,
            None => taken.torn.push(format!("{path}, {} bytes, as the office took it", content.len())),
        }
    }
}
