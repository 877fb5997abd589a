//! What the micro-benchmarks are about: ten thousand delivered files in a hundred folders, as a clinic's
//! archive has them.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::path::Path;
use std::sync::Arc;

use nightferry::clock::SystemClock;
use nightferry::domain::{
    Delivered, Digest, Evidence, FileStat, Publishing, Record, RelPath, RemotePath, RunId, Sent,
    SessionFacts, Sidecars, Standing, Target, Timestamp, TlsVersion, VerifyPolicy, compare,
};
use nightferry::state::State;
use tokio::runtime::Runtime;

/// Files of each benchmark.
pub(crate) const FILES: u64 = 10_000;

/// How many files are committed together, as several sessions do.
pub(crate) const GROUP: u64 = 64;

/// What stands for 2026-11-01, in seconds since 1970.
const THEN: i64 = 1_793_491_200;

/// Of which server and folders the state is.
pub(crate) fn target() -> Target {
    Target {
        source: "/srv/clinic/archive".into(),
        host: "vault.example".into(),
        port: 21,
        user: "clinic".into(),
        destination: "/host1".into(),
    }
}

/// The path of a file; they are in the order of their numbers.
pub(crate) fn path(file: u64) -> RelPath {
    RelPath::new(format!("patients/{:03}/report-{file:07}.pdf", file / 100)).unwrap()
}

/// What the scan sees of a file.
pub(crate) fn stat(file: u64) -> FileStat {
    let at = Timestamp::from_unix(THEN + file.cast_signed(), 123_456_789);
    FileStat { size: 40_000 + file, mtime: at, ctime: at, inode: 1_000_000 + file }
}

/// When the scan was.
pub(crate) fn scanned_at() -> Timestamp {
    Timestamp::from_unix(THEN + 86_400, 0)
}

/// The intent to publish a file.
pub(crate) fn publishing(run: RunId, file: u64) -> Publishing {
    let (path, stat) = (path(file), stat(file));
    let digest = Digest::of(&file.to_le_bytes());
    let sent = Sent { size: stat.size, digest };
    let folder = format!("/host1/patients/{:03}", file / 100);
    Publishing {
        run,
        path,
        temporary: RemotePath::new(&format!("{folder}/.nf-0123456789abcdef-01234567-{file:08x}")).unwrap(),
        stat,
        observed_at: scanned_at(),
        verified: compare(&sent, &Evidence::ServerHash { digest }, VerifyPolicy::Auto).unwrap(),
        modified: stat.mtime.to_ftp(),
        standing: Standing::Absent,
        displaced: None,
        sidecars: Sidecars::NONE,
        session: SessionFacts {
            peer: "192.0.2.7:21".parse().unwrap(),
            tls: TlsVersion::V1_3,
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            certificate: Digest::of(b"certificate"),
        },
    }
}

/// The records of the deliveries of these files: the intents first, then that they are delivered.
pub(crate) fn delivery(run: RunId, files: std::ops::Range<u64>) -> [Vec<Record>; 2] {
    let intents: Vec<Publishing> = files.map(|file| publishing(run, file)).collect();
    let delivered =
        intents.iter().cloned().map(|intent| Record::Delivered(Delivered::from(intent))).collect();
    [intents.into_iter().map(Record::Publishing).collect(), delivered]
}

/// What carries commits.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A state in a folder, in which nothing has happened.
pub(crate) fn state(folder: &Path) -> State {
    State::open(folder, Arc::new(SystemClock)).unwrap().state
}

/// Begins a run.
pub(crate) fn begin(runtime: &Runtime, state: &State) -> RunId {
    runtime.block_on(state.start_run(&"archive".parse().unwrap(), &target())).unwrap().run
}

/// Delivers all files, as far as the state is concerned.
pub(crate) fn deliver_all(runtime: &Runtime, state: &State) {
    let run = begin(runtime, state);
    for first in (0..FILES).step_by(usize::try_from(GROUP).unwrap()) {
        for records in delivery(run, first..FILES.min(first + GROUP)) {
            runtime.block_on(state.commit(target().id(), records)).unwrap();
        }
    }
}
