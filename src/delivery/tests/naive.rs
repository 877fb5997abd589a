//! What should stand where, kept in the plainest way, and what must hold of what does.

use std::collections::{BTreeMap, BTreeSet};

use super::steps::{Consumer, Policy};
use crate::domain::{AfterDelivery, Mode, Overwrite, RemoteDelete};

/// Bytes by the paths of their files.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What was done to source and server, apart from what runs did.
#[derive(Debug, Default)]
pub(super) struct Naive {
    /// The source.
    pub(super) source: Files,
    /// Everything that ever stood in the source under a path.
    history: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// What was written last under a path.
    last: Files,
    /// How often bytes were put under a path anew.
    put: BTreeMap<(String, Vec<u8>), usize>,
    /// What others wrote on the server, and nobody may touch.
    strangers: Files,
    /// Whether others ever wrote there.
    pub(super) had_strangers: bool,
}

/// What was seen on the server.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// Final names before the run.
    pub(super) before: &'a Files,
    /// Final names now.
    pub(super) now: &'a Files,
    /// What lies in the trash.
    pub(super) trash: &'a Files,
    /// What ever got a final name, in order.
    pub(super) published: &'a [(String, Vec<u8>)],
}

/// Why something does not hold.
pub(super) type Held = Result<(), String>;

pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(what()) }
}

fn short(bytes: &[u8]) -> String {
    format!("{} bytes, {}", bytes.len(), bytes[..bytes.len().min(16)].escape_ascii())
}

impl Naive {
    pub(super) fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.history.entry(path.to_owned()).or_default().insert(bytes.clone());
        if self.last.get(path) != Some(&bytes) {
            *self.put.entry((path.to_owned(), bytes.clone())).or_default() += 1;
            self.last.insert(path.to_owned(), bytes.clone());
        }
        self.source.insert(path.to_owned(), bytes);
    }

    pub(super) fn stranger(&mut self, path: &str, bytes: Vec<u8>) {
        self.had_strangers = true;
        self.strangers.insert(path.to_owned(), bytes);
    }

    pub(super) fn is_strangers(&self, path: &str) -> bool {
        self.strangers.contains_key(path)
    }

    fn was_source(&self, path: &str, bytes: &[u8]) -> bool {
        self.history.get(path).is_some_and(|all| all.contains(bytes))
    }

    /// What holds at any time, crash or not. Takes note of what was rightly replaced.
    pub(super) fn check(&mut self, policy: &Policy, seen: &Seen<'_>) -> Held {
        for (path, theirs) in self.strangers.clone() {
            match seen.now.get(&path) {
                Some(there) if *there == theirs => {}
                Some(there) if policy.overwrite == Overwrite::Replace && self.was_source(&path, there) => {
                    self.strangers.remove(&path);
                }
                // Ours took its place, and was taken, or removed as its source is gone.
                None if policy.overwrite == Overwrite::Replace
                    && seen.published.iter().any(|(name, _)| *name == path) =>
                {
                    self.strangers.remove(&path);
                }
                there => {
                    return Err(format!("somebody else's {path} is now {:?}", there.map(|at| short(at))));
                }
            }
        }
        for (path, bytes) in seen.now.iter().chain(seen.published.iter().map(|(path, bytes)| (path, bytes))) {
            let known = self.was_source(path, bytes) || self.strangers.get(path) == Some(bytes);
            ensure(known, || format!("{path} was never like this: {}", short(bytes)))?;
        }
        for (path, bytes) in seen.trash {
            ensure(self.was_source(path, bytes), || {
                format!("{path} in the trash was not ours: {}", short(bytes))
            })?;
        }
        for (path, before) in seen.before {
            let may_go = policy.consumer == Consumer::AtOnce
                || (policy.remote != RemoteDelete::Keep && !self.source.contains_key(path));
            ensure(may_go || seen.now.contains_key(path), || format!("{path} is gone: {}", short(before)))?;
        }
        if policy.mode == Mode::Drop {
            for ((path, bytes), most) in &self.put {
                let times = published(seen, path, bytes);
                ensure(times <= *most, || format!("{path} was delivered {times} times: {}", short(bytes)))?;
            }
        }
        Ok(())
    }

    /// Takes note of what a run took out of the source: only what was delivered.
    pub(super) fn retire(&mut self, left: &Files, seen: &Seen<'_>) -> Held {
        let gone = self.source.keys().filter(|path| !left.contains_key(*path)).cloned();
        for path in gone.collect::<Vec<_>>() {
            let bytes = self.source.remove(&path).unwrap_or_default();
            ensure(published(seen, &path, &bytes) > 0, || {
                format!("{path} was taken out of the source and never delivered: {}", short(&bytes))
            })?;
        }
        ensure(self.source == *left, || "a run changed a source file".to_owned())
    }

    /// Everything in the source was delivered, whatever else happened to it since.
    pub(super) fn check_delivered(&self, seen: &Seen<'_>) -> Held {
        for (path, bytes) in &self.source {
            ensure(self.is_strangers(path) || published(seen, path, bytes) > 0, || {
                format!("{path} was never delivered: {}", short(bytes))
            })?;
        }
        Ok(())
    }

    /// What holds after a run without any trouble.
    pub(super) fn check_done(&self, policy: &Policy, seen: &Seen<'_>) -> Held {
        self.check_delivered(seen)?;
        let kept = policy.after == AfterDelivery::Keep || self.source.is_empty();
        ensure(kept, || format!("left in the source: {:?}", self.source.keys()))?;
        if policy.mode == Mode::Drop {
            return Ok(());
        }
        for (path, bytes) in &self.source {
            ensure(self.is_strangers(path) || seen.now.get(path) == Some(bytes), || {
                format!("{path} is not there as it should be: {}", short(bytes))
            })?;
        }
        let left = seen.now.keys().find(|path| !self.source.contains_key(*path) && !self.is_strangers(path));
        ensure(policy.remote == RemoteDelete::Keep || left.is_none(), || format!("{left:?} was not removed"))
    }
}

fn published(seen: &Seen<'_>, path: &str, bytes: &[u8]) -> usize {
    seen.published.iter().filter(|(name, content)| name == path && content == bytes).count()
}
