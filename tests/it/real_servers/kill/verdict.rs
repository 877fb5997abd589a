//! The checker: holds the server's disk, what the office took and the source against the
//! journal. It never asks the agent; what the ledger claims is itself held against the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nightferry::domain::{Digest, RelPath, Sidecar};
use serde_json::Value;
use walkdir::WalkDir;

use super::campaign::{Kind, STRANGERS};
use super::journal::{Journal, Source};
use super::office::Taken;
use super::watch::{Claim, digest, sidecar_of};

/// A source file that is gone was taken by the office, or stands whole on the server: true at
/// every moment.
pub(super) fn nothing_gone_undelivered(
    source: &Source,
    taken: &Taken,
    arrivals: &Path,
    journal: &Journal,
) -> Vec<String> {
    let gone = source.placed().iter().filter(|(path, _)| !source.has(path));
    let undelivered = gone.filter(|(path, version)| {
        let took = taken.whole.contains_key(&((*path).clone(), **version));
        let stands = fs::read(arrivals.join(path)).ok();
        !took && stands.and_then(|content| journal.version(path, &content)) != Some(**version)
    });
    undelivered
        .map(|(path, version)| {
            format!("{path}, version {version}: its source is gone, and it was not delivered")
        })
        .collect()
}

/// Every version of every file was taken exactly once.
pub(super) fn each_taken_once(journal: &Journal, taken: &Taken) -> Vec<String> {
    let mut faults = taken.torn.clone();
    for (path, version) in journal.all() {
        match taken.whole.get(&(path.clone(), version)) {
            Some(1) => {}
            None => faults.push(format!("lost: {path}, version {version}")),
            Some(times) => faults.push(format!("taken {times} times: {path}, version {version}")),
        }
    }
    faults
}

/// The ledger of a drop claims every version of every file exactly once.
pub(super) fn each_claimed_once(journal: &Journal, claims: &[Claim]) -> Vec<String> {
    let mut times: BTreeMap<(String, String), u32> = BTreeMap::new();
    for Claim { path, digest, .. } in claims {
        *times.entry((path.clone(), digest.clone())).or_default() += 1;
    }
    let mut faults = Vec::new();
    for (path, version) in journal.all() {
        let digest = digest(&journal.content(&path, version));
        match times.remove(&(path.clone(), digest)) {
            Some(1) => {}
            times => faults.push(format!("claimed {times:?} times: {path}, version {version}")),
        }
    }
    faults.extend(times.keys().map(|(path, digest)| format!("claimed and never written: {path}, {digest}")));
    faults
}

/// What after a delivery stays in the source of a drop, and what was moved where.
pub(super) fn source_is_tidy(kind: Kind, source: &Source, moved: &Path, claims: &[Claim]) -> Vec<String> {
    let presumed: BTreeSet<&str> =
        claims.iter().filter(|claim| claim.presumed).map(|claim| claim.path.as_str()).collect();
    let mut faults = Vec::new();
    for path in files(source.folder()) {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with(".nf-")) {
            faults.push(format!("set aside in the source for ever: {path}"));
        } else if matches!(kind, Kind::DropDelete | Kind::DropMove) && !presumed.contains(path.as_str()) {
            faults.push(format!("still in the source, though delivered: {path}"));
        }
    }
    let gone = source.placed().keys().filter(|path| !source.has(path)).count();
    match kind {
        Kind::DropMove => {
            // Of two files of one path the second gets a name of its own.
            let there = files(moved).len() as u64;
            let expected = source.written() - presumed.len() as u64;
            if there != expected {
                faults.push(format!("{there} files were moved in place of {expected}"));
            }
        }
        Kind::DropDelete => {}
        Kind::DropKeep | Kind::MirrorKeep | Kind::MirrorTrash | Kind::MirrorDelete | Kind::Large => {
            if gone > 0 {
                faults.push(format!("{gone} files are gone from a source that is to be kept"));
            }
        }
    }
    faults
}

/// A mirror holds the last version of each file, and of removed files what the job says.
pub(super) fn mirror_is_true(kind: Kind, journal: &Journal, source: &Source, arrivals: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut there: BTreeSet<String> = files(arrivals).into_iter().collect();
    for (path, version) in source.placed() {
        there.remove(path);
        for sidecar in Sidecar::ALL.into_iter().filter(|_| kind.has_sidecars()) {
            let name = format!("{path}{}", sidecar.suffix());
            let content = sidecar
                .content(&RelPath::new(path.as_str()).unwrap(), Digest::of(&journal.content(path, *version)));
            if fs::read(arrivals.join(&name)).ok() != Some(content) {
                faults.push(format!("{name} does not say what it should"));
            }
            there.remove(&name);
        }
        let stored = fs::read(arrivals.join(path)).unwrap_or_default();
        if !arrivals.join(path).exists() {
            faults.push(format!("lost: {path}, version {version}"));
        } else if stored != *journal.content(path, *version) {
            let is = journal.version(path, &stored);
            faults.push(format!("{path} holds version {is:?} in place of {version}"));
        }
    }
    for path in there {
        let (trashed, name) = trashed(&path);
        let stored = fs::read(arrivals.join(&path)).unwrap();
        let allowed = match kind {
            Kind::MirrorKeep | Kind::Large => !trashed,
            Kind::MirrorTrash => trashed,
            _ => false,
        };
        if STRANGERS.iter().any(|(stranger, _)| *stranger == path) {
            continue;
        }
        // Of a file that stays, they stay.
        if let (Some((sidecar, of)), Kind::MirrorKeep) = (sidecar_of(&path), kind) {
            let content = fs::read(arrivals.join(of)).unwrap_or_default();
            if journal.version(of, &content).is_some()
                && stored == sidecar.content(&RelPath::new(of).unwrap(), Digest::of(&content))
            {
                continue;
            }
        }
        if !allowed || journal.version(name, &stored).is_none() {
            faults.push(format!("on the server, and should not be: {path}, {} bytes", stored.len()));
        }
    }
    faults
}

/// Each line of the ledger is about the next record, and holds the SHA-256 of the line before.
pub(super) fn chain_is_whole(ledger: &Path) -> Vec<String> {
    let text = fs::read_to_string(ledger).unwrap();
    let (mut faults, mut before) = (Vec::new(), None::<(&str, u64)>);
    if !text.ends_with('\n') {
        faults.push("the ledger's last line is not complete".to_owned());
    }
    for (number, line) in (1..).zip(text.lines()) {
        let told: Value = serde_json::from_str(line).unwrap_or_default();
        let Some((last, seq)) = before else {
            before = told["first"].as_u64().map(|first| (line, first - 1));
            if before.is_none() {
                return vec!["the ledger has no head".to_owned()];
            }
            continue;
        };
        if told["prev"] != Digest::of(last.as_bytes()).to_string() || told["seq"] != seq + 1 {
            faults.push(format!("line {number} of the ledger does not follow the one before: {line}"));
        }
        before = Some((line, seq + 1));
    }
    faults
}

/// A path in the trash, without the folder of its day and run.
fn trashed(path: &str) -> (bool, &str) {
    match path.strip_prefix(".nightferry-trash/").and_then(|rest| rest.split_once('/')) {
        Some((_, name)) => (true, name),
        None => (false, path),
    }
}

/// Others' files are as they were, and no temporary file of ours is left.
pub(super) fn others_are_untouched(arrivals: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, content) in STRANGERS {
        if fs::read(arrivals.join(name)).ok().as_deref() != Some(content.as_bytes()) {
            faults.push(format!("a stranger's file was touched: {name}"));
        }
    }
    let left = files(arrivals).into_iter().filter(|path| {
        let ours = path.rsplit('/').next().is_some_and(|name| name.starts_with(".nf-"));
        ours && !STRANGERS.iter().any(|(stranger, _)| stranger == path)
    });
    faults.extend(left.map(|path| format!("left over: {path}")));
    faults
}

/// The files below a folder, by path.
fn files(folder: &Path) -> Vec<String> {
    if !folder.exists() {
        return Vec::new();
    }
    let files =
        WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_line_that_was_changed_or_is_gone_breaks_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("000001.jsonl");
    let head = r#"{"nightferry_ledger":1,"first":1}"#.to_owned();
    let mut lines = vec![head];
    for seq in 1..=3 {
        let prev = Digest::of(lines.last().unwrap().as_bytes());
        lines.push(format!(r#"{{"seq":{seq},"prev":"{prev}","event":{{}}}}"#));
    }
    let check = |lines: &[String]| {
        fs::write(&ledger, lines.join("\n") + "\n").unwrap();
        chain_is_whole(&ledger)
    };
    assert_eq!(check(&lines), Vec::<String>::new());
    for at in 1..3 {
        let (mut changed, mut without) = (lines.clone(), lines.clone());
        changed[at] = lines[at].replace("event", "Event");
        without.remove(at);
        assert!(!check(&changed).is_empty() && !check(&without).is_empty(), "line {at}");
    }
}
