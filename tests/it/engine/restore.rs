//! What was delivered is brought back, whole, proved, and nowhere but where it should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ftps_server::{Action, Cut, Dialect, Event, Fault, Moment, Server};
use nightferry::audit::Depth;
use nightferry::clock::SystemClock;
use nightferry::domain::{DifferenceKind, Exit, Mode, VerifyPolicy};
use nightferry::source::{PlacePolicy, RestoreFolder};
use nightferry::state::State;
use walkdir::WalkDir;

use super::bench::Bench;

const KEEP: PlacePolicy = PlacePolicy::KeepOther;

/// A time with a fraction, which servers do not keep and the manifest does.
fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)
}

/// Ten files that were delivered and whose source is gone; and what it held.
async fn lost(dialect: Dialect) -> (Bench, BTreeMap<String, Vec<u8>>) {
    let bench = Bench::new(dialect, []);
    for n in 0..10_u8 {
        let path = format!("sub {}/deeper/{n}.txt", n % 3);
        bench.write(&path, vec![n; usize::from(n) * 40_000]);
        let file = File::options().write(true).open(bench.job.source.join(&path)).unwrap();
        file.set_modified(long_ago()).unwrap();
    }
    assert_eq!(bench.run().await.counts.delivered, 10);
    let held = tree(&bench.job.source);
    std::fs::remove_dir_all(&bench.job.source).unwrap();
    (bench, held)
}

/// All files of a folder, hidden ones too, with their content.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| !entry.file_type().is_dir());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

/// A place that does not exist yet, in a folder of its own.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("back");
    (folder, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_tree_comes_back_with_its_times() {
    for dialect in [Dialect::full(), Dialect::proftpd(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        let (bench, held) = lost(dialect).await;
        let (_folder, to) = place();
        let report = bench.restore(&[], &to, KEEP).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
        assert_eq!(tree(&to), held);
        let facts = std::fs::metadata(to.join("sub 0/deeper/3.txt")).unwrap();
        assert_eq!(facts.modified().unwrap(), long_ago());
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(to.join("sub 0/deeper")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(std::fs::read_dir(&to).unwrap().count() == 3, "the hidden folder was left");
        // The second time all is there, and nothing is fetched.
        let fetched = bench.server.transcript().count("RETR");
        let report = bench.restore(&[], &to, KEEP).await;
        assert_eq!((report.counts.proved, report.counts.kept, report.exit()), (0, 10, Exit::Done));
        assert_eq!(bench.server.transcript().count("RETR"), fetched);
        assert_eq!(tree(&to), held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_files_and_folders_are_brought_back_by_name() {
    let (bench, held) = lost(Dialect::full()).await;
    let (_folder, to) = place();
    let report = bench.restore(&["sub 1", "sub 0/deeper/3.txt", "sub"], &to, KEEP).await;
    assert_eq!(report.counts.proved, 4, "{report:#?}");
    // A name that nobody delivered is a mistake that somebody must see.
    assert_eq!((report.counts.failed, report.exit()), (1, Exit::FilesFailed));
    let wanted = |name: &String| name.starts_with("sub 1/") || name == "sub 0/deeper/3.txt";
    let wanted: BTreeMap<_, _> = held.into_iter().filter(|(name, _)| wanted(name)).collect();
    assert_eq!(tree(&to), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proved_is_not_placed() {
    for dialect in [Dialect::full(), Dialect::vsftpd()] {
        let (bench, _) = lost(dialect).await;
        std::fs::remove_file(bench.server.root().join("in/sub 1/deeper/1.txt")).unwrap();
        bench.put("in/sub 2/deeper/2.txt", vec![9; 80_000]);
        bench.put("in/sub 0/deeper/3.txt", "short");
        bench.put("in/sub 1/deeper/4.txt", vec![4; 5_000_000]);
        let (_folder, to) = place();
        let report = bench.restore(&[], &to, KEEP).await;
        assert_eq!((report.counts.proved, report.exit()), (6, Exit::Verification), "{report:#?}");
        assert_eq!((report.counts.missing, report.counts.changed, report.counts.failed), (1, 3, 0));
        assert_eq!(tree(&to).len(), 6);
        let missing = report.differences.iter().find(|found| found.kind == DifferenceKind::Missing).unwrap();
        assert_eq!(missing.name, "sub 1/deeper/1.txt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_stand_there_are_left_alone_unless_told() {
    let (bench, held) = lost(Dialect::full()).await;
    let (_folder, to) = place();
    std::fs::create_dir_all(to.join("sub 0/deeper")).unwrap();
    std::fs::write(to.join("sub 0/deeper/0.txt"), &held["sub 0/deeper/0.txt"]).unwrap();
    std::fs::write(to.join("sub 0/deeper/3.txt"), "mine").unwrap();
    std::fs::write(to.join("sub 0/deeper/6.txt"), vec![0; 240_000]).unwrap();
    std::fs::write(to.join("mine.txt"), "mine").unwrap();
    let report = bench.restore(&[], &to, KEEP).await;
    assert_eq!((report.counts.proved, report.counts.kept, report.counts.failed), (7, 1, 2), "{report:#?}");
    assert_eq!(report.exit(), Exit::FilesFailed);
    assert!(report.failed[0].failure.cause.contains("--overwrite"));
    assert_eq!(std::fs::read(to.join("sub 0/deeper/3.txt")).unwrap(), b"mine");
    let report = bench.restore(&[], &to, PlacePolicy::ReplaceOther).await;
    assert_eq!((report.counts.proved, report.counts.kept, report.exit()), (2, 8, Exit::Done));
    std::fs::remove_file(to.join("mine.txt")).unwrap();
    assert_eq!(tree(&to), held);
}

/// Links in the folder lead nowhere, whatever they point to, even with `--overwrite`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_never_followed_out_of_the_folder() {
    let (bench, _) = lost(Dialect::full()).await;
    let (folder, to) = place();
    let outside = folder.path().join("outside");
    std::fs::create_dir_all(outside.join("deeper")).unwrap();
    std::fs::write(outside.join("precious.txt"), "precious").unwrap();
    std::fs::create_dir_all(to.join("sub 1/deeper")).unwrap();
    symlink(&outside, to.join("sub 0")).unwrap();
    symlink(outside.join("precious.txt"), to.join("sub 1/deeper/1.txt")).unwrap();
    symlink(outside.join("new.txt"), to.join("sub 1/deeper/4.txt")).unwrap();
    std::fs::create_dir_all(to.join("sub 1/deeper/7.txt")).unwrap();
    for policy in [KEEP, PlacePolicy::ReplaceOther] {
        let report = bench.restore(&[], &to, policy).await;
        assert_eq!((report.counts.failed, report.exit()), (7, Exit::FilesFailed), "{report:#?}");
        assert_eq!(report.counts.proved + report.counts.kept, 3);
        let precious = BTreeMap::from([("precious.txt".to_owned(), b"precious".to_vec())]);
        assert_eq!(tree(&outside), precious, "{policy:?}");
        assert!(std::fs::symlink_metadata(to.join("sub 1/deeper/1.txt")).unwrap().is_symlink());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_costs_an_attempt_only() {
    let before = Action::DropControl(Moment::Before);
    for fault in [
        Fault::on("RETR", before.clone()).nth(3),
        Fault::on("EPSV", before).nth(2),
        Fault::on("RETR", Action::DropData { after: 100_000, cut: Cut::Reset }).nth(5),
        Fault::on("RETR", Action::DropData { after: 100_000, cut: Cut::Fin }).nth(5),
        Fault::on("RETR", Action::Stall).nth(2),
    ] {
        let (bench, held) = lost(Dialect::full()).await;
        let bench = bench.impatient();
        let (_folder, to) = place();
        bench.server.arm(fault.clone());
        let report = bench.restore(&[], &to, KEEP).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{fault:?}: {report:#?}");
        assert_eq!(tree(&to), held, "{fault:?}");
    }
}

/// What a killed restore left aside is gone after the next one, and strangers' files are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_restore_left_is_swept() {
    let (bench, held) = lost(Dialect::full()).await;
    let (_folder, to) = place();
    let agent = {
        let opened = State::open(&bench.state_folder(), std::sync::Arc::new(SystemClock)).unwrap();
        let agent = opened.state.agent();
        opened.state.close().unwrap();
        agent
    };
    let left = RestoreFolder::open(&to, agent).unwrap();
    let mut half = left.begin(7).unwrap();
    half.write(b"half").unwrap();
    // As a kill leaves it.
    std::mem::forget(half);
    std::fs::write(to.join("mine.txt"), "mine").unwrap();
    assert_eq!(tree(&to).len(), 2);
    drop(left);
    let report = bench.restore(&[], &to, KEEP).await;
    assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done));
    assert_eq!(std::fs::read(to.join("mine.txt")).unwrap(), b"mine");
    std::fs::remove_file(to.join("mine.txt")).unwrap();
    assert_eq!(tree(&to), held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_run_and_leaves_nothing_behind() {
    let (bench, held) = lost(Dialect::full()).await;
    let folder = tempfile::tempdir().unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=400k", "none"];
    let mounted = Command::new("mount").args(mount).arg(folder.path()).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        println!("left out: nothing can be mounted here");
        return;
    }
    let mounted = Unmount(folder.path().to_owned());
    let report = bench.restore(&[], folder.path(), KEEP).await;
    assert_eq!(report.exit(), Exit::Other, "{report:#?}");
    assert!(report.stopped.is_some());
    for (name, content) in tree(folder.path()) {
        assert_eq!(content, held[&name], "a part of a file was placed");
    }
    drop(mounted);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_known_of_a_target_without_a_run() {
    let bench = Bench::new(Dialect::full(), []);
    let (_folder, to) = place();
    let report = bench.restore(&[], &to, KEEP).await;
    assert_eq!((report.counts.proved, report.exit()), (0, Exit::FilesFailed));
    assert!(report.stopped.unwrap().cause.contains("adopt"));
    assert_eq!(bench.server.counters().control_connections, 0);
}

/// No server was asked for the file that comes when a session can open no more data connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_run_out_cost_no_file() {
    let (mut bench, held) = lost(Dialect::full().control_tickets(2).data_tickets(0)).await;
    bench.job.verify = VerifyPolicy::ReadBack;
    bench.forget_server();
    let (_folder, to) = place();
    let report = bench.restore(&[], &to, KEEP).await;
    assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
    assert_eq!(tree(&to), held);
    bench.forget_server();
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
}

/// In a drop what the consumer took cannot be brought back, and that is no damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_took_is_no_damage() {
    let mut taken = 0;
    let hook = move |event: &Event| {
        if let Event::Renamed { from, to, local } = event
            && from != to
            && taken < 2
        {
            taken += 1;
            std::fs::remove_file(local).unwrap();
        }
    };
    let mut bench = Bench::watched(Server::builder(), hook);
    bench.job.mode = Mode::Drop;
    for n in 0..5 {
        bench.write(&format!("{n}.csv"), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, 5);
    let (_folder, to) = place();
    let report = bench.restore(&[], &to, KEEP).await;
    assert_eq!((report.counts.proved, report.counts.taken, report.exit()), (3, 2, Exit::Done), "{report:#?}");
}
