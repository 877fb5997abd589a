//! Sees what happens from outside: on the server's disk, and in the lines of the ledger.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nightferry::domain::{Digest, RelPath, Sidecar};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use serde_json::Value;

use super::journal::Journal;
use crate::real_servers::disk::{happened, is_pure_ftpds_own};

/// Something that happened on the way of a file. Those of the ledger are durable once seen, or
/// will be if the process is not killed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    RunStarted,
    Staging,
    TemporaryAppears,
    TemporaryGrows,
    TemporaryIsWhole,
    Publishing,
    FinalAppears,
    Delivered,
    /// A record of sidecars.
    SidecarChanges,
    SidecarAppears,
    Confirmed,
    Presumed,
    Withdrawn,
    TemporarySwept,
    Retiring,
    Retired,
    Trashing,
    FinalVanishes,
    Removed,
    RunFinished,
}

impl Step {
    fn of_record(name: &str) -> Option<Self> {
        Some(match name {
            "run-started" => Self::RunStarted,
            "staging" => Self::Staging,
            "publishing" => Self::Publishing,
            "delivered" => Self::Delivered,
            "sidecar" => Self::SidecarChanges,
            "confirmed" => Self::Confirmed,
            "presumed" => Self::Presumed,
            "withdrawn" => Self::Withdrawn,
            "retiring" => Self::Retiring,
            "retired" => Self::Retired,
            "trashing" => Self::Trashing,
            "removed" => Self::Removed,
            "run-finished" => Self::RunFinished,
            _ => return None,
        })
    }
}

/// A delivery that the ledger claims, proved or presumed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) path: String,
    pub(super) digest: String,
    pub(super) presumed: bool,
}

/// The watch over one destination and one ledger.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    /// The folders under watch, in the order of their descriptors, which count from 1.
    folders: Vec<PathBuf>,
    arrivals: PathBuf,
    pub(super) ledger: PathBuf,
    /// Where the first line begins that was not read.
    read_to: u64,
    journal: Journal,
    /// Everything that the ledger claims.
    pub(super) claims: Vec<Claim>,
    /// What the ledger tells of each path, for people.
    pub(super) history: Vec<(String, String)>,
    /// What was seen under a final name and must not be.
    pub(super) faults: Vec<String>,
}

/// All that happens to a temporary file: of a final name only renames may be seen.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);

impl Watch {
    /// Begins to watch these folders, which stand below `arrivals`.
    pub(super) fn begin(arrivals: &Path, folders: &[PathBuf], ledger: PathBuf, journal: Journal) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        for (at, folder) in (1..).zip(folders) {
            let watch = inotify::add_watch(&inotify, folder, EVENTS).unwrap();
            assert_eq!(watch, at, "descriptors count from 1");
        }
        let (claims, history, faults) = (Vec::new(), Vec::new(), Vec::new());
        let (folders, arrivals) = (folders.to_vec(), arrivals.to_owned());
        Self { inotify, folders, arrivals, ledger, read_to: 0, journal, claims, history, faults }
    }

    /// What happened since the last look, on the disk first.
    pub(super) fn look(&mut self) -> Vec<Step> {
        let mut steps = self.on_disk();
        steps.extend(self.in_ledger());
        steps
    }

    fn on_disk(&mut self) -> Vec<Step> {
        let events = happened(&self.inotify);
        events.into_iter().filter_map(|(folder, what, name)| self.judge(folder, what, &name)).collect()
    }

    fn judge(&mut self, folder: i32, what: ReadFlags, name: &str) -> Option<Step> {
        assert!(!what.contains(ReadFlags::QUEUE_OVERFLOW), "the watch did not keep up");
        if what.contains(ReadFlags::ISDIR) {
            return None;
        }
        let path = self.folders[usize::try_from(folder - 1).unwrap()].join(name);
        if name.starts_with(".nf-") {
            let temporary = [
                (ReadFlags::CREATE, Step::TemporaryAppears),
                (ReadFlags::MODIFY, Step::TemporaryGrows),
                (ReadFlags::CLOSE_WRITE, Step::TemporaryIsWhole),
                (ReadFlags::DELETE, Step::TemporarySwept),
            ];
            return temporary.into_iter().find_map(|(flag, step)| what.contains(flag).then_some(step));
        }
        if is_pure_ftpds_own(name) {
            return None;
        }
        let name = path.strip_prefix(&self.arrivals).unwrap().to_str().unwrap().to_owned();
        if let Some((sidecar, of)) = sidecar_of(&name) {
            if what.contains(ReadFlags::MOVED_TO) {
                self.look_at_sidecar(sidecar, of);
                return Some(Step::SidecarAppears);
            }
            if what.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
                return None;
            }
        }
        if what.contains(ReadFlags::MOVED_TO) {
            self.look_at_final(&path);
            return Some(Step::FinalAppears);
        }
        if what.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            return Some(Step::FinalVanishes);
        }
        self.faults.push(format!("{} was written to under its final name: {what:?}", path.display()));
        None
    }

    /// Whoever opens a final name must get a whole file.
    fn look_at_final(&mut self, path: &Path) {
        // The office may have been faster.
        let Ok(content) = fs::read(path) else { return };
        let name = path.strip_prefix(&self.arrivals).unwrap().to_str().unwrap();
        if self.journal.version(name, &content).is_none() {
            self.faults.push(format!("{name} is not whole under its final name: {} bytes", content.len()));
        }
    }

    /// Whoever sees a sidecar must find the file beside it that it speaks of: as long as it stands.
    fn look_at_sidecar(&mut self, sidecar: Sidecar, of: &str) {
        let there = self.arrivals.join(format!("{of}{}", sidecar.suffix()));
        let facts =
            || fs::metadata(&there).map(|facts| (facts.ino(), facts.ctime(), facts.ctime_nsec())).ok();
        let (before, says) = (facts(), fs::read(&there).unwrap_or_default());
        let content = fs::read(self.arrivals.join(of)).unwrap_or_default();
        // It may be gone already, for the next version.
        if before.is_none() || facts() != before {
            return;
        }
        if self.journal.version(of, &content).is_none() {
            self.faults
                .push(format!("{sidecar} of {of} stands beside {} bytes that are not whole", content.len()));
        }
        let path = RelPath::new(of).unwrap();
        if says != sidecar.content(&path, Digest::of(&content)) {
            self.faults.push(format!("{sidecar} of {of} lies: {}", String::from_utf8_lossy(&says)));
        }
    }

    fn in_ledger(&mut self) -> Vec<Step> {
        let length = fs::metadata(&self.ledger).map_or(0, |facts| facts.len());
        assert!(length >= self.read_to, "whole lines were cut from the ledger");
        if length == self.read_to {
            return Vec::new();
        }
        let mut file = fs::File::open(&self.ledger).unwrap();
        file.seek(SeekFrom::Start(self.read_to)).unwrap();
        let mut new = Vec::new();
        file.read_to_end(&mut new).unwrap();
        // A line without its end is being written, or was torn by a kill.
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.read_to += whole as u64;
        new[..whole].split(|byte| *byte == b'\n').filter_map(|line| self.enter(line)).collect()
    }

    fn enter(&mut self, line: &[u8]) -> Option<Step> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let event = &line["event"];
        let step = Step::of_record(event["record"].as_str()?)?;
        if let Some(path) = event["path"].as_str() {
            let [run, stat, cause, digest] = ["run", "stat", "cause", "digest"].map(|name| &event[name]);
            let text = format!("{} run {run}: {step:?} {path} {stat} {digest} {cause}", line["seq"]);
            self.history.push((path.to_owned(), text));
        }
        if matches!(step, Step::Delivered | Step::Presumed) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            self.claims.push(Claim {
                path: text(&event["path"]),
                digest: text(&event["verified"]["digest"]),
                presumed: step == Step::Presumed,
            });
        }
        Some(step)
    }
}

/// Of which file a name is the sidecar.
pub(super) fn sidecar_of(name: &str) -> Option<(Sidecar, &str)> {
    Sidecar::ALL.into_iter().find_map(|sidecar| Some((sidecar, name.strip_suffix(sidecar.suffix())?)))
}

/// A content's SHA-256 as the ledger writes it.
pub(super) fn digest(content: &[u8]) -> String {
    Digest::of(content).to_string()
}
