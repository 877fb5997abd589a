//! All that must never cost a file on the server. Each case ends with every file that stood before
//! still standing, byte for byte, but for those that were meant to go.
//!
//! Here, where nothing but the guard in question stands between the source and the files, the
//! limits being as wide as they can be:
//!
//! 1. the source is not mounted;
//! 2. is not mounted and something lies beneath the mount point;
//! 3. another disk is mounted there, also under the number of the old one;
//! 4. a link to another disk took its place;
//! 5. a link to an empty folder did;
//! 6. a link to another tree did;
//! 7. a file did;
//! 8. a subfolder cannot be read;
//! 9. nor the source;
//! 10. nor half of its folders;
//! 11. everything was renamed;
//! 12. the clock jumps back;
//! 13. or forth;
//! 14. the manifest is lost;
//! 15. so is all state;
//! 16. state is of yesterday;
//! 17. or of another job;
//! 18. the destination changed;
//! 19. the server did;
//! 20. the patterns did;
//! 21. the run is interrupted in the midst of its scan;
//! 22. a folder took the remote file's place;
//! 23. a name changed in nothing but case, on a server that tells no difference;
//! 24. a file became a folder;
//! 25. a folder a file;
//! 26. the trash is a file;
//! 27. two jobs send to one folder;
//! 28. the marker is a link or a folder;
//! 29. a link took a folder's place.
//!
//! In `removal`: the source is empty, is missing, `max_percent`, `max_files`, an approval of
//! another run or of other files, no marker, a remote file that somebody changed or took, lost and
//! refused replies, files that vanish behind the scan. In `plan::guard`: the same rules as tables.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ftps_server::{Dialect, Event, Server};
use nightferry::clock::{Clock, SystemClock};
use nightferry::domain::{Deletes, Exit, Overwrite, RelPath, RemoteDelete, RunReport, Timestamp};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, cause};
use super::motion::obedient;

const FILES: u64 = 20;

/// No limit but the guards.
fn unlimited() -> Deletes {
    Deletes { remote: RemoteDelete::Delete, max_percent: 100, max_files: u64::MAX, ..Deletes::default() }
}

fn name(n: u64) -> String {
    format!("{}/{n:02}.csv", if n.is_multiple_of(2) { "even" } else { "odd" })
}

/// Delivers twenty files, half of them in each of two folders; what is gone from then on is to go
/// from the server.
async fn deliver(bench: &mut Bench) {
    for n in 0..FILES {
        bench.write(&name(n), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, FILES);
    bench.job.deletes = unlimited();
}

async fn delivered() -> Bench {
    let mut bench = Bench::new(Dialect::full(), []);
    deliver(&mut bench).await;
    bench
}

fn at(bench: &Bench, n: u64) -> PathBuf {
    bench.job.source.join(name(n))
}

/// Runs the job, after which all must stand as it did before.
async fn spares_all(bench: &Bench, exit: Exit, sign: &str) -> RunReport {
    let before = bench.all_stored();
    let report = bench.run().await;
    let after = bench.all_stored();
    for (path, bytes) in &before {
        assert_eq!(after.get(path), Some(bytes), "{path}");
    }
    assert_eq!((report.counts.removed, report.exit()), (0, exit), "{report:#?}");
    assert!(cause(&report).contains(sign), "{sign}: {}", cause(&report));
    report
}

/// Puts something else in the place of the source.
fn put_away(bench: &Bench) -> PathBuf {
    let away = bench.folders.path().join("away");
    fs::rename(&bench.job.source, &away).unwrap();
    away
}

/// A file system in memory, for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where nothing may be mounted.
    fn at(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(path).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            println!("left out: nothing may be mounted here");
        }
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} is still mounted", self.0.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_mounted_or_another_one() {
    let mut bench = Bench::new(Dialect::full(), []);
    let Some(disk) = Mounted::at(&bench.job.source) else { return };
    deliver(&mut bench).await;
    drop(disk);
    spares_all(&bench, Exit::Source, "the source is empty").await;
    let Some(other) = Mounted::at(&bench.job.source) else { return };
    bench.write(&name(0), "0");
    spares_all(&bench, Exit::Source, "another file system").await;
    // Nor is it remembered as the one to hold others against.
    spares_all(&bench, Exit::Source, "another file system").await;
    drop(other);
    bench.write(&name(0), "0");
    spares_all(&bench, Exit::Source, "another file system").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_in_the_place_of_the_source() {
    let mut bench = delivered().await;
    let away = put_away(&bench);
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(other.path().join("x"), "x").unwrap();
    symlink(other.path(), &bench.job.source).unwrap();
    spares_all(&bench, Exit::Source, "another file system").await;
    let empty = tempfile::tempdir_in(bench.folders.path()).unwrap();
    let put = |what: &Path| {
        fs::remove_file(&bench.job.source).unwrap();
        symlink(what, &bench.job.source).unwrap();
    };
    put(empty.path());
    spares_all(&bench, Exit::Source, "the source is empty").await;
    fs::write(empty.path().join("y"), "another tree").unwrap();
    bench.job.deletes.max_percent = Deletes::DEFAULT_PERCENT;
    spares_all(&bench, Exit::Source, "delivered files are gone").await;
    bench.job.deletes = unlimited();
    fs::remove_file(&bench.job.source).unwrap();
    fs::write(&bench.job.source, "a file").unwrap();
    spares_all(&bench, Exit::Source, "is not a folder").await;
    fs::remove_file(&bench.job.source).unwrap();
    fs::rename(away, &bench.job.source).unwrap();
    // But for the files of the two other trees, which are gone by now.
    assert_eq!(spares_the_twenty(&bench).await.counts.removed, 2);
}

/// The twenty stand.
async fn spares_the_twenty(bench: &Bench) -> RunReport {
    let report = bench.run().await;
    let stored = bench.all_stored();
    assert!((0..FILES).all(|n| stored.contains_key(&format!("/in/{}", name(n)))), "{stored:?}");
    report
}

#[test]
fn what_cannot_be_read_hides_nothing() {
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    obedient().block_on(async {
        let bench = delivered().await;
        let folder = |name: &str| bench.job.source.join(name);
        // One is gone for good, the others cannot be seen.
        fs::remove_file(at(&bench, 1)).unwrap();
        for closed in [&["even"][..], &["even", "odd"], &[""]] {
            for name in closed {
                chmod(&folder(name), 0);
            }
            spares_all(&bench, Exit::Source, "cannot be read").await;
            for name in closed {
                chmod(&folder(name), 0o700);
            }
        }
        // It may be listed, and nothing in it looked at.
        chmod(&folder("even"), 0o400);
        spares_all(&bench, Exit::Source, "cannot be read").await;
        chmod(&folder("even"), 0o700);
        assert_eq!(bench.run().await.counts.removed, 1, "this one was meant to go");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_renamed() {
    let mut bench = delivered().await;
    bench.job.deletes = Deletes { remote: RemoteDelete::Trash, ..Deletes::default() };
    for n in 0..FILES {
        fs::rename(at(&bench, n), at(&bench, n).with_extension("locked")).unwrap();
    }
    let report = spares_all(&bench, Exit::Source, "20 of 20 delivered files are gone").await;
    assert_eq!(report.counts.delivered, FILES);
}

/// A clock that is wrong by some seconds.
#[derive(Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let seconds = SystemClock.now().to_utc().timestamp();
        Timestamp::from_unix(seconds + self.0, 0)
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_jumps() {
    let mut bench = delivered().await;
    bench.job.deletes.remote = RemoteDelete::Trash;
    fs::remove_file(at(&bench, 0)).unwrap();
    assert_eq!(bench.run().await.counts.removed, 1);
    let years = 10 * 365 * 86_400;
    for wrong in [-years, 0, years, 0, -years] {
        bench.clock = Arc::new(Wrong(wrong));
        if wrong <= 0 {
            spares_all(&bench, Exit::Done, "").await;
            continue;
        }
        // What is in the trash goes when its time is over by this clock; nothing else does.
        assert_eq!(bench.run().await.counts.removed, 0);
        assert_eq!(bench.all_stored().keys().filter(|path| !path.contains("trash")).count(), 19);
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_lost_or_old_or_another_jobs() {
    let bench = delivered().await;
    let (state, yesterday) = (bench.state_folder(), bench.folders.path().join("yesterday"));
    copy(&state, &yesterday);
    // What is known is the same without the manifest.
    let manifest = state.join("manifest");
    assert!(manifest.is_dir());
    fs::remove_dir_all(&manifest).unwrap();
    let away = put_away(&bench);
    fs::create_dir(&bench.job.source).unwrap();
    spares_all(&bench, Exit::Source, "the source is empty").await;
    fs::remove_dir(&bench.job.source).unwrap();
    fs::rename(away, &bench.job.source).unwrap();
    // Delivered anew, then gone, and yesterday's state knows the old one.
    bench.write(&name(0), "another version");
    assert_eq!(bench.run().await.counts.delivered, 1);
    fs::remove_file(at(&bench, 0)).unwrap();
    fs::remove_dir_all(&state).unwrap();
    copy(&yesterday, &state);
    spares_all(&bench, Exit::FilesFailed, "not what was delivered").await;
    // State of a job with another source knows nothing of these.
    fs::remove_dir_all(&state).unwrap();
    let mut other = Bench::new(Dialect::full(), []);
    deliver(&mut other).await;
    copy(&other.state_folder(), &state);
    fs::remove_file(at(&bench, 1)).unwrap();
    spares_all(&bench, Exit::FilesFailed, "already stands under the final name").await;
    fs::remove_dir_all(&state).unwrap();
    spares_all(&bench, Exit::FilesFailed, "already stands under the final name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_destination_server_or_pattern() {
    let mut bench = delivered().await;
    fs::remove_file(at(&bench, 0)).unwrap();
    for (include, exclude) in [(vec![], vec!["*.csv"]), (vec!["*.pdf"], vec![]), (vec![], vec!["even/"])] {
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
        (bench.job.include, bench.job.exclude) = (owned(include), owned(exclude));
        spares_all(&bench, Exit::Done, "").await;
    }
    (bench.job.include, bench.job.exclude) = (vec![], vec![]);
    let before = bench.job.destination.clone();
    bench.job.destination = before.join(&RelPath::new("elsewhere").unwrap());
    assert_eq!(spares_all(&bench, Exit::Done, "").await.counts.delivered, FILES - 1);
    bench.job.destination = before;
    bench.definition.host = "127.0.0.1".to_owned();
    spares_all(&bench, Exit::FilesFailed, "already stands under the final name").await;
    bench.definition.host = "localhost".to_owned();
    assert_eq!(bench.run().await.counts.removed, 1, "this one was meant to go");
}

/// More files than wait for a worker, so that the scan has not ended when the signal comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_interrupted_in_its_scan() {
    let stop = CancellationToken::new();
    let signal = stop.clone();
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
        if matches!(event, Event::Stored { path, .. } if path.starts_with("/in/new/")) {
            signal.cancel();
        }
    });
    deliver(&mut bench).await;
    fs::remove_file(at(&bench, 0)).unwrap();
    for n in 0..1_200 {
        bench.write(&format!("new/{n}"), "");
    }
    bench.stop = stop;
    let report = spares_all(&bench, Exit::Interrupted, "interrupted by a signal").await;
    assert!(report.counts.not_reached > 1_000, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_the_place_of_the_remote_file_and_a_file_in_that_of_the_trash() {
    for remote in [RemoteDelete::Delete, RemoteDelete::Trash] {
        let mut bench = delivered().await;
        bench.job.deletes.remote = remote;
        fs::remove_file(bench.server.root().join("in").join(name(0))).unwrap();
        bench.put(&format!("in/{}/theirs", name(0)), "theirs");
        fs::remove_file(at(&bench, 0)).unwrap();
        spares_all(&bench, Exit::Done, "").await;
    }
    let mut bench = delivered().await;
    bench.job.deletes.remote = RemoteDelete::Trash;
    bench.put("in/.nightferry-trash", "theirs");
    fs::remove_file(at(&bench, 0)).unwrap();
    let before = bench.all_stored();
    let report = bench.deliver().await;
    assert_eq!((report.counts.removed, report.counts.not_removed), (0, 1), "{report:#?}");
    assert_eq!(bench.all_stored(), before);
}

/// The new name is delivered over the old one, and deleting the old one would delete it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changed_in_case_only() {
    for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
        let mut bench = Bench::new(Dialect::dos(), []);
        deliver(&mut bench).await;
        bench.job.overwrite = overwrite;
        fs::rename(at(&bench, 0), at(&bench, 0).with_file_name("00.CSV")).unwrap();
        for _ in 0..3 {
            bench.run().await;
        }
        let stored = bench.all_stored();
        assert_eq!(stored.len() as u64, FILES, "{overwrite:?}: {stored:?}");
        bench.expect_no_connection(FILES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_kind_of_thing_in_the_place_of_a_source_file_or_folder() {
    let mut bench = delivered().await;
    fs::remove_file(at(&bench, 0)).unwrap();
    bench.write(&format!("{}/inside", name(0)), "x");
    spares_all(&bench, Exit::Refused, "MKD").await;
    fs::remove_dir_all(bench.job.source.join("odd")).unwrap();
    fs::write(bench.job.source.join("odd"), "a file").unwrap();
    spares_all(&bench, Exit::Refused, "").await;
    fs::remove_file(bench.job.source.join("odd")).unwrap();
    fs::remove_dir_all(bench.job.source.join("even")).unwrap();
    bench.write("other", "x");
    for target in ["even", "nowhere"] {
        fs::create_dir_all(bench.folders.path().join("outside")).unwrap();
        for name in ["odd", "even"] {
            let _none = fs::remove_file(bench.job.source.join(name));
            symlink(format!("../{target}"), bench.job.source.join(name)).unwrap();
        }
        bench.job.symlinks = nightferry::domain::Symlinks::Skip;
        spares_all(&bench, Exit::Done, "").await;
        bench.job.symlinks = nightferry::domain::Symlinks::Follow;
        spares_all(&bench, Exit::FilesFailed, "").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jobs_with_one_destination() {
    let mut bench = delivered().await;
    let (first, second) = (bench.job.source.clone(), bench.folders.path().join("second"));
    fs::create_dir(&second).unwrap();
    bench.job.source.clone_from(&second);
    bench.job.overwrite = Overwrite::Replace;
    bench.write(&name(0), "the second job's");
    bench.write("second.csv", "as well");
    assert_eq!(spares_but(&bench, 0).await.counts.delivered, 2);
    bench.job.source.clone_from(&first);
    fs::remove_file(at(&bench, 0)).unwrap();
    spares_all(&bench, Exit::FilesFailed, "not what was delivered").await;
    bench.job.source = second;
    spares_all(&bench, Exit::Done, "").await;
}

/// As [`spares_all`], but for one file, which is replaced on purpose.
async fn spares_but(bench: &Bench, n: u64) -> RunReport {
    let before = bench.all_stored();
    let report = bench.run().await;
    let after = bench.all_stored();
    let spared = before.iter().filter(|(path, _)| !path.ends_with(&name(n)));
    assert!(spared.into_iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_that_is_no_file() {
    let mut bench = delivered().await;
    bench.job.deletes.marker = Some(RelPath::new(".mounted").unwrap());
    let marker = bench.job.source.join(".mounted");
    fs::remove_file(at(&bench, 0)).unwrap();
    symlink("even", &marker).unwrap();
    spares_all(&bench, Exit::Source, "marker").await;
    fs::remove_file(&marker).unwrap();
    symlink("odd/01.csv", &marker).unwrap();
    spares_all(&bench, Exit::Source, "marker").await;
    fs::remove_file(&marker).unwrap();
    fs::create_dir(&marker).unwrap();
    spares_all(&bench, Exit::Source, "marker").await;
}
