//! Sources that move while they are sent, and those that are no plain files: each file has one
//! outcome and one reason, and nothing half or foreign ever arrives.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use ftps_server::{Dialect, Event, Server};
use nightferry::domain::{Exit, RunReport, Symlinks, VerifyPolicy};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::bench::{Bench, cause};

/// More than waits between a source and the network: the reader is in the midst of it when the
/// data connection is made.
const BIG: usize = 3 << 20;

const CANARY: &[u8] = b"canary canary canary";

/// A runtime in whose threads, which read the sources, root may read no more than others.
pub(super) fn obedient() -> tokio::runtime::Runtime {
    let obey = || {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap();
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().on_thread_start(obey).build().unwrap()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn append(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

fn overwrite(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(&vec![2; BIG]).unwrap();
}

fn truncate(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1000).unwrap();
}

fn replace(path: &Path) {
    let new = path.with_file_name(".new");
    fs::write(&new, vec![3; BIG]).unwrap();
    fs::rename(new, path).unwrap();
}

fn rename(path: &Path) {
    // Out of the way of the scan, and of the second attempt.
    let _moved_already = fs::rename(path, path.ancestors().nth(3).unwrap().join("moved"));
}

fn remove(path: &Path) {
    let _removed_already = fs::remove_file(path);
}

fn link_outside(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink(path.ancestors().nth(3).unwrap().join("canary"), path).unwrap();
}

fn link_parent_outside(path: &Path) {
    let folder = path.parent().unwrap();
    let outside = path.ancestors().nth(3).unwrap();
    fs::rename(folder, outside.join("aside")).unwrap();
    fs::write(outside.join("big.bin"), CANARY).unwrap();
    symlink(outside, folder).unwrap();
}

fn pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

fn folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn touch(path: &Path) {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    OpenOptions::new().write(true).open(path).unwrap().set_modified(now).unwrap();
}

fn forbid(path: &Path) {
    chmod(path, 0);
}

/// At which attempts the source is meddled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    First,
    Each,
}

/// What becomes of it: the size that is delivered, or the reason of the failure.
#[derive(Clone, Copy, Debug)]
enum Becomes {
    Delivered(usize),
    Failed(&'static str),
    /// It was opened in time, and is delivered as it was.
    Original,
    /// Nothing: there is nothing to send any more.
    Gone,
}

/// A file that is meddled with while its bytes are on their way.
async fn meddled(name: &str, at: At, meddle: fn(&Path), becomes: Becomes) {
    println!("== {name}, {at:?}");
    let place: Arc<OnceLock<PathBuf>> = Arc::default();
    let (seen, times) = (Arc::clone(&place), Arc::new(AtomicUsize::new(0)));
    let meddled = Arc::clone(&times);
    let server = Server::builder().dialect(Dialect::full());
    let bench = Bench::watched(server, move |event| {
        if let (Event::Listening { .. }, Some(path)) = (event, seen.get())
            && (at == At::Each || meddled.load(Ordering::SeqCst) == 0)
        {
            meddled.fetch_add(1, Ordering::SeqCst);
            meddle(path);
        }
    });
    fs::write(bench.folders.path().join("canary"), CANARY).unwrap();
    bench.write("sub/big.bin", vec![1; BIG]);
    bench.write("other.txt", "still");
    place.set(bench.job.source.join("sub/big.bin")).unwrap();
    // Nothing else opens a data connection while the big file is under way.
    let mut bench = bench;
    bench.definition.connections = 1.try_into().unwrap();
    bench.job.include = vec!["big.bin".to_owned()];
    let report = bench.run().await;
    assert!(times.load(Ordering::SeqCst) > 0, "{name}: it was never meddled with");
    let stored = bench.stored("in/sub/big.bin");
    match becomes {
        Becomes::Delivered(size) => {
            assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{name}: {report:#?}");
            let bytes = stored.unwrap();
            assert_eq!(bytes, fs::read(bench.job.source.join("sub/big.bin")).unwrap(), "{name}");
            assert_eq!(bytes.len(), size, "{name}");
        }
        Becomes::Original => {
            assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{name}: {report:#?}");
            assert!(stored.is_some_and(|bytes| bytes == vec![1; BIG]), "{name}");
        }
        Becomes::Gone => {
            assert_eq!((report.counts.skipped, report.exit()), (1, Exit::Done), "{name}: {report:#?}");
            assert_eq!(stored, None, "{name}");
        }
        Becomes::Failed(reason) => {
            assert_eq!((report.counts.failed, report.counts.delivered), (1, 0), "{name}: {report:#?}");
            assert_eq!(report.exit(), Exit::FilesFailed, "{name}");
            assert!(cause(&report).contains(reason), "{name}: {}", cause(&report));
            assert_eq!(stored, None, "{name}");
        }
    }
    assert_eq!(bench.litter(), Vec::<String>::new(), "{name}");
    assert!(bench.all_stored().values().all(|bytes| !bytes.starts_with(b"canary")), "{name}");
    // The others are not held up.
    bench.job.include = vec!["other.txt".to_owned()];
    assert_eq!(bench.run().await.counts.delivered, 1, "{name}");
}

const CHANGED: &str = "changed while it was read: ";
const OTHER_KIND: &str = "is no regular file, or lies behind a link that is not followed";

type Meddled = (&'static str, At, fn(&Path), Becomes);

/// What is done to a file of 3 MiB while it is sent, and what becomes of it.
const MEDDLED: [Meddled; 17] = [
    ("appended to", At::First, append, Becomes::Delivered(BIG + 4)),
    ("appended to", At::Each, append, Becomes::Failed("it grew beyond its ")),
    ("truncated", At::First, truncate, Becomes::Delivered(BIG - 1000)),
    ("truncated", At::Each, truncate, Becomes::Failed("changed while it was read: its size went from ")),
    ("rewritten", At::First, overwrite, Becomes::Delivered(BIG)),
    ("rewritten", At::Each, overwrite, Becomes::Failed("changed while it was read: it was written to at ")),
    ("replaced", At::First, replace, Becomes::Delivered(BIG)),
    ("replaced", At::Each, replace, Becomes::Failed("it was renamed, replaced or given other permissions")),
    ("touched", At::First, touch, Becomes::Delivered(BIG)),
    ("touched", At::Each, touch, Becomes::Failed(CHANGED)),
    ("renamed", At::First, rename, Becomes::Gone),
    ("removed", At::First, remove, Becomes::Gone),
    ("swapped for a link", At::First, link_outside, Becomes::Failed(OTHER_KIND)),
    ("in a folder swapped for a link", At::First, link_parent_outside, Becomes::Original),
    ("swapped for a pipe", At::First, pipe, Becomes::Failed(OTHER_KIND)),
    ("swapped for a folder", At::First, folder, Becomes::Failed(OTHER_KIND)),
    ("made unreadable", At::First, forbid, Becomes::Failed("cannot be read: Permission denied")),
];

#[test]
fn a_file_that_moves_while_it_is_sent_arrives_whole_or_not_at_all() {
    obedient().block_on(async {
        for (name, at, meddle, becomes) in MEDDLED {
            meddled(name, at, meddle, becomes).await;
        }
    });
}

/// Why each file failed, by its name.
fn reasons(report: &RunReport) -> BTreeMap<&str, String> {
    report.failed.iter().map(|file| (file.name.as_str(), file.failure.to_string())).collect()
}

/// A tree of all that is no plain file, under each policy for links.
async fn oddities(links: Symlinks) -> (Bench, RunReport) {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.symlinks = links;
    bench.definition.connections = 1.try_into().unwrap();
    let at = |name: &str| bench.job.source.join(name);
    bench.write("empty", "");
    bench.write("one", "linked");
    fs::hard_link(at("one"), at("two")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    bench.write(&"n".repeat(255), "a name as long as names are");
    bench.write(&format!("{}f", "deep/".repeat(100)), "deep");
    bench.write("line\nfeed", "");
    bench.write("ends in a space ", "");
    bench.write("closed/x", "");
    bench.write("secret", "");
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Where devices may be made at all.
    let device = mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::RWXU, makedev(1, 3)).is_ok();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("one", at("inside")).unwrap();
    symlink("../state", at("outside")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    bench.write(".nf-0a1b2c3d-00112233-0123456789abcdef", "half of one");
    chmod(&at("closed"), 0);
    chmod(&at("secret"), 0);
    let mut report = bench.run().await;
    chmod(&bench.job.source.join("closed"), 0o700);
    report.counts.skipped += u64::from(!device);
    (bench, report)
}

#[test]
fn each_oddity_has_one_outcome_and_one_reason() {
    let common = [
        ("line\\nfeed", "control character 0x0A"),
        ("ends in a space ", "ends in a space"),
        ("closed", "the folder cannot be read: Permission denied"),
        ("secret", "`secret` cannot be read: Permission denied"),
    ];
    let failing = "a symbolic link, and the job says `symlinks: fail`";
    for (links, delivered, skipped, more) in [
        (Symlinks::Skip, 6, 7, vec![]),
        (Symlinks::Follow, 7, 5, vec![("outside", "leads out of the source folder")]),
        (Symlinks::Fail, 6, 4, vec![("inside", failing), ("outside", failing), ("dangling", failing)]),
    ] {
        let (bench, report) = obedient().block_on(oddities(links));
        assert_eq!((report.counts.delivered, report.counts.skipped), (delivered, skipped), "{links:?}");
        let reasons = reasons(&report);
        let expected: BTreeMap<_, _> = common.into_iter().chain(more).collect();
        assert_eq!(reasons.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{links:?}");
        for (name, sign) in expected {
            assert!(reasons[name].contains(sign), "{name}: {}", reasons[name]);
        }
        assert_eq!(report.counts.failed, reasons.len() as u64);
        // A folder that hides its files is the worst of it.
        assert_eq!(report.exit(), Exit::Source, "{links:?}");
        for path in ["one", "two", "empty", "sparse"] {
            assert_eq!(
                bench.stored(&format!("in/{path}")),
                fs::read(bench.job.source.join(path)).ok(),
                "{path}"
            );
        }
        let followed = (links == Symlinks::Follow).then(|| b"linked".to_vec());
        assert_eq!(bench.stored("in/inside"), followed, "{links:?}");
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}

/// A name that was a file's is a folder's now, and the other way round. The server keeps what it
/// has until a person decides; the rest goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_became_a_folder_and_a_folder_that_became_a_file() {
    let bench = Bench::new(Dialect::full(), []);
    bench.write("a", "was a file");
    bench.write("b/inside", "was in a folder");
    assert_eq!(bench.run().await.counts.delivered, 2);
    fs::remove_file(bench.job.source.join("a")).unwrap();
    fs::remove_dir_all(bench.job.source.join("b")).unwrap();
    bench.write("a/inside", "is in a folder");
    bench.write("b", "is a file");
    bench.write("c", "goes on");
    let before = bench.all_stored();
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.failed), (1, 2), "{report:#?}");
    assert_eq!(report.exit(), Exit::Refused);
    let reasons = reasons(&report);
    assert!(reasons["a/inside"].contains("MKD /in/a had been answered: "), "{reasons:?}");
    assert!(reasons["b"].contains("RNTO"), "{reasons:?}");
    let after = bench.all_stored();
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{after:?}");
    assert_eq!(bench.litter(), Vec::<String>::new());
}

/// At least so many swaps while so many runs go on.
const SWAPS: usize = 10_000;
const RUNS: usize = 12;

/// Somebody swaps a file, or the folder that it is in, for a link to something outside, without a
/// pause, while runs go on: it is never sent, whether links are followed or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_swap_gets_anything_from_outside_sent() {
    for (links, name) in
        [(Symlinks::Skip, "f"), (Symlinks::Skip, "d"), (Symlinks::Follow, "f"), (Symlinks::Follow, "d")]
    {
        let stored: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let seen = Arc::clone(&stored);
        let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
            if let Event::Stored { local, .. } = event {
                seen.lock().unwrap().push(fs::read(local).unwrap());
            }
        });
        bench.job.symlinks = links;
        bench.job.overwrite = nightferry::domain::Overwrite::Replace;
        let outside = bench.folders.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("x"), CANARY).unwrap();
        let target = if name == "f" { outside.join("x") } else { outside };
        let (inside, other) = (bench.job.source.join(name), bench.folders.path().join("other"));
        bench.write(if name == "f" { "f" } else { "d/x" }, "harmless");
        symlink(target, &other).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let racer = thread::spawn(move || {
            let mut swaps = 0;
            // An even number leaves the file where it was.
            while swaps < SWAPS || swaps % 2 == 1 || !ended.load(Ordering::Acquire) {
                swaps += 1;
                renameat_with(CWD, &inside, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                thread::yield_now();
            }
            swaps
        });
        for _ in 0..RUNS {
            fs::remove_dir_all(bench.server.root().join("in")).unwrap_or_default();
            fs::remove_dir_all(bench.state_folder()).unwrap_or_default();
            let (report, _) = bench.run_quietly().await;
            assert_eq!(report.stopped, None);
        }
        over.store(true, Ordering::Release);
        let swaps = racer.join().unwrap();
        // Whether a file kept still for long enough to be sent until now is a matter of luck.
        bench.run_quietly().await;
        let stored = stored.lock().unwrap();
        println!("{links:?} {name}: {swaps} swaps, {} uploads", stored.len());
        assert!(!stored.is_empty(), "{links:?} {name}");
        assert!(stored.iter().all(|bytes| bytes == b"harmless"), "{links:?} {name}");
        assert!(bench.all_stored().values().all(|bytes| bytes == b"harmless"));
    }
}

/// A sparse file, longer than 32 bits tell where `NIGHTFERRY_LARGE` is set (minutes).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_sparse_file_arrives_whole() {
    let large = std::env::var_os("NIGHTFERRY_LARGE").is_some();
    let size = if large { (4 << 30) + 1 } else { (48 << 20) + 1 };
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.verify = VerifyPolicy::Size;
    fs::File::create(bench.job.source.join("image")).unwrap().set_len(size).unwrap();
    let (report, _) = bench.run_quietly().await;
    assert_eq!((report.exit(), report.counts.bytes_delivered), (Exit::Done, size), "{report:#?}");
    assert_eq!(fs::metadata(bench.server.root().join("in/image")).unwrap().len(), size);
    let (report, _) = bench.run_quietly().await;
    assert_eq!(report.counts.unchanged + report.counts.confirmed, 1, "{report:#?}");
}
