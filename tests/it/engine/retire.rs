//! Deleting and moving source files after their delivery.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::clock::SystemClock;
use nightferry::domain::{
    AfterDelivery, Exit, Mode, Overwrite, Record, RelPath, Rest, Retiring, Target, Watching,
};
use nightferry::state::{State, read_ledger};

use super::bench::{Ahead, Bench};
use super::motion::obedient;

fn bench(mode: Mode, after: impl FnOnce(&Bench) -> AfterDelivery) -> Bench {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.mode = mode;
    bench.job.after_delivery = after(&bench);
    for n in 0..4 {
        bench.write(&format!("sub/{n}.csv"), format!("{n}"));
    }
    bench
}

fn sent(bench: &Bench) -> PathBuf {
    bench.job.source.with_file_name("sent")
}

/// The names in the source folder, at any depth, hidden ones as well.
fn left(bench: &Bench) -> Vec<String> {
    let files = walkdir::WalkDir::new(&bench.job.source).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_files_are_moved_and_keep_their_paths() {
    let bench = bench(Mode::Drop, |bench| AfterDelivery::MoveTo(sent(bench)));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.retired, report.exit()), (4, 4, Exit::Done));
    assert_eq!(left(&bench), Vec::<String>::new());
    for n in 0..4 {
        assert_eq!(fs::read(sent(&bench).join(format!("sub/{n}.csv"))).unwrap(), format!("{n}").into_bytes());
    }
    bench.expect_no_connection(0).await;
}

/// A job whose files go once a marker stands beside each.
fn with_markers(after: impl FnOnce(&Bench) -> AfterDelivery) -> Bench {
    let mut bench = bench(Mode::Drop, after);
    let (rest, ready_marker) = (Rest(Duration::ZERO), Some("*.ok".parse().unwrap()));
    bench.job.watch = Some(Watching { rest, ready_marker, ..Watching::default() });
    for n in 0..3 {
        bench.write(&format!("sub/{n}.csv.ok"), format!("ready {n}"));
    }
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_goes_the_way_of_its_file() {
    let bench = with_markers(|bench| AfterDelivery::MoveTo(sent(bench)));
    // Whose file is not there says nothing of the others, and is no concern.
    bench.write("sub/none.csv.ok", "ready");
    let report = bench.run().await;
    assert_eq!(
        (report.counts.retired, report.counts.waiting, report.exit()),
        (3, 1, Exit::Done),
        "{report:#?}"
    );
    let mut here = left(&bench);
    here.sort();
    assert_eq!(here, ["3.csv", "none.csv.ok"]);
    for n in 0..3 {
        let marker = fs::read_to_string(sent(&bench).join(format!("sub/{n}.csv.ok"))).unwrap();
        assert_eq!(marker, format!("ready {n}"));
    }
    // A second file of that name, and its marker, take names of their own.
    fs::remove_file(bench.server.root().join("in/sub/1.csv")).unwrap();
    bench.write("sub/1.csv", "of the next day");
    bench.write("sub/1.csv.ok", "ready again");
    assert_eq!(bench.run().await.counts.retired, 1);
    assert_eq!(fs::read_dir(sent(&bench).join("sub")).unwrap().count(), 8);

    let bench = with_markers(|_| AfterDelivery::Delete);
    assert_eq!(bench.run().await.counts.retired, 3);
    assert_eq!(left(&bench), ["3.csv"]);
}

/// On another file system it is copied, under a name that is no marker's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_copied_to_another_file_system() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let bench = with_markers(|_| AfterDelivery::MoveTo(elsewhere.path().to_owned()));
    assert_eq!(bench.run().await.counts.retired, 3);
    assert_eq!(left(&bench), ["3.csv"]);
    assert_eq!(fs::read(elsewhere.path().join("sub/2.csv.ok")).unwrap(), b"ready 2");
    assert_eq!(fs::read_dir(elsewhere.path().join("sub")).unwrap().count(), 6);
}

/// A crash between the file and its marker: the next run takes it along. A new version's marker stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_that_was_left_behind_goes_with_the_next_run_unless_its_file_is_there_again() {
    for (at, again) in [(Died::Aside, false), (Died::Aside, true), (Died::AtTheEnd, false)] {
        let mut bench = with_markers(|_| AfterDelivery::Keep);
        assert_eq!(bench.run().await.counts.delivered, 3);
        bench.job.after_delivery = AfterDelivery::Delete;
        die(&bench, at).await;
        if again {
            fs::remove_file(bench.server.root().join("in/sub/0.csv")).unwrap();
            bench.write("sub/0.csv", "a second one");
            // It is older than the file: what it said was said of the first.
        }
        let report = bench.run().await;
        assert_eq!(report.counts.retired, 3, "{report:#?}");
        assert_eq!(bench.job.source.join("sub/0.csv.ok").exists(), again);
        assert_eq!(bench.job.source.join("sub/0.csv").exists(), again);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_stays() {
    let mut bench = bench(Mode::Mirror, |_| AfterDelivery::Delete);
    bench.job.overwrite = Overwrite::Refuse;
    bench.put("in/sub/theirs-2.csv", "someone else's");
    bench.write("sub/theirs-2.csv", "ours");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.retired, report.counts.failed), (4, 4, 1));
    assert_eq!(left(&bench), ["theirs-2.csv"]);
}

/// In a drop what appears under an old name is new, and waits until the consumer has taken the
/// old one; in a mirror it replaces ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_under_an_old_name() {
    for (mode, delivered) in [(Mode::Drop, 0), (Mode::Mirror, 1)] {
        let bench = bench(mode, |_| AfterDelivery::Delete);
        assert_eq!(bench.run().await.counts.retired, 4);
        bench.write("sub/1.csv", "of the next day");
        let report = bench.run().await;
        assert_eq!(
            (report.counts.delivered, report.counts.failed),
            (delivered, 1 - delivered),
            "{report:#?}"
        );
        if mode == Mode::Drop {
            assert_eq!(bench.stored("in/sub/1.csv").unwrap(), b"1");
            fs::remove_file(bench.server.root().join("in/sub/1.csv")).unwrap();
            assert_eq!(bench.run().await.counts.delivered, 1);
        }
        assert_eq!(bench.stored("in/sub/1.csv").unwrap(), b"of the next day");
        assert_eq!(left(&bench), Vec::<String>::new());
    }
}

/// A reply that never came: what is presumed is never deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_presumed_stays() {
    let taken = |event: &Event| {
        if let Event::Renamed { from, to, local } = event
            && from != to
        {
            fs::remove_file(local).unwrap();
        }
    };
    let fault = Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).nth(1);
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()).fault(fault), taken);
    bench.job.mode = Mode::Drop;
    bench.job.after_delivery = AfterDelivery::Delete;
    bench.write("a.csv", "a");
    for _ in 0..2 {
        let report = bench.run().await;
        assert_eq!((report.counts.presumed, report.counts.retired), (1, 0), "{report:#?}");
        assert_eq!(left(&bench), ["a.csv"]);
    }
}

/// A file that cannot be moved is delivered all the same; the run does not end as if all were
/// well, and the next one tries again without sending it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_moved_is_told_and_tried_again() {
    let bench = bench(Mode::Drop, |bench| AfterDelivery::MoveTo(sent(bench)));
    fs::write(sent(&bench), "a file where the folder should be").unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.retained), (4, 4), "{report:#?}");
    assert_eq!(report.exit(), Exit::FilesFailed);
    assert_eq!(left(&bench).len(), 4);
    fs::remove_file(sent(&bench)).unwrap();
    let before = bench.server.counters();
    let report = bench.run().await;
    assert_eq!(bench.server.counters(), before, "sent again");
    // Those that are too young to be trusted are read first; either way they are not sent.
    assert_eq!(
        (report.counts.unchanged + report.counts.confirmed, report.counts.retired),
        (4, 4),
        "{report:#?}"
    );
    assert_eq!(left(&bench), Vec::<String>::new());
}

/// A job that begins to delete also deletes what it delivered before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_delivered_earlier_are_retired_too() {
    let mut bench = bench(Mode::Drop, |_| AfterDelivery::Keep);
    assert_eq!(bench.run().await.counts.delivered, 4);
    bench.job.after_delivery = AfterDelivery::Delete;
    bench.write("sub/3.csv", "changed");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.retired), (1, 4), "{report:#?}");
    assert_eq!(left(&bench), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_for_delivered_files_inside_the_source_is_refused() {
    let bench = bench(Mode::Drop, |bench| AfterDelivery::MoveTo(sent(bench)));
    fs::create_dir(bench.job.source.join("inside")).unwrap();
    std::os::unix::fs::symlink(bench.job.source.join("inside"), sent(&bench)).unwrap();
    let report = bench.run().await;
    let stopped = report.stopped.clone().unwrap();
    assert!(stopped.cause.contains("inside the source"), "{stopped}");
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Source));
    assert_eq!(left(&bench).len(), 4);
}

/// What a process that died left behind: the record, and the file under its private name or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Died {
    BeforeTheRename,
    Aside,
    AsideAndChanged,
    /// By one that had it open, with the same size and time.
    AsideAndChangedUnseen,
    AtTheEnd,
}

async fn die(bench: &Bench, at: Died) {
    let clock = Arc::new(SystemClock);
    let opened = State::open(&bench.folders.path().join("state"), clock).unwrap();
    let target = Target::of(&bench.job, &bench.definition);
    let started = opened.state.start_run(&bench.job.name, &target).await.unwrap();
    let path = RelPath::new("sub/0.csv").unwrap();
    let entry = opened.state.manifest(target.id()).unwrap().get(&path).unwrap().unwrap();
    let private = ".nf-00000000-00000000-0000000000000000".to_owned();
    let (from, to) = (bench.job.source.join("sub/0.csv"), bench.job.source.join("sub").join(&private));
    let retiring = Retiring { run: started.run, path, private, stat: entry.stat, digest: entry.digest };
    opened.state.commit(target.id(), vec![Record::Retiring(retiring)]).await.unwrap();
    opened.state.close().unwrap();
    match at {
        Died::BeforeTheRename => {}
        Died::Aside => fs::rename(from, to).unwrap(),
        Died::AsideAndChanged => {
            fs::rename(from, &to).unwrap();
            fs::write(to, "changed by one that had it open").unwrap();
        }
        Died::AsideAndChangedUnseen => {
            fs::rename(from, &to).unwrap();
            let time = fs::metadata(&to).unwrap().modified().unwrap();
            fs::write(&to, "x").unwrap();
            fs::File::options().write(true).open(to).unwrap().set_modified(time).unwrap();
        }
        Died::AtTheEnd => fs::remove_file(from).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_half_done_is_ended_by_the_next_run() {
    for (at, stored) in [
        (Died::BeforeTheRename, "0"),
        (Died::Aside, "0"),
        (Died::AsideAndChanged, "changed by one that had it open"),
        (Died::AsideAndChangedUnseen, "x"),
        (Died::AtTheEnd, "0"),
    ] {
        let mut bench = bench(Mode::Mirror, |_| AfterDelivery::Keep);
        assert_eq!(bench.run().await.counts.delivered, 4);
        die(&bench, at).await;
        bench.job.after_delivery = AfterDelivery::Delete;
        let report = bench.run().await;
        let sent_again = u64::from(stored != "0");
        assert_eq!((report.counts.delivered, report.counts.retired), (sent_again, 4), "{report:#?}");
        assert_eq!((report.exit(), left(&bench)), (Exit::Done, Vec::<String>::new()));
        assert_eq!(bench.stored("in/sub/0.csv").unwrap(), stored.as_bytes());
        bench.expect_no_connection(0).await;
    }
}

/// The record comes first: a process that dies right after the rename must not leave a file under a name of which
/// nothing is known. Here the rename is refused, and the record stands.
#[test]
fn a_private_name_is_recorded_before_it_is_given() {
    obedient().block_on(async {
        let mut bench = bench(Mode::Mirror, |_| AfterDelivery::Keep);
        assert_eq!(bench.run().await.counts.delivered, 4);
        bench.job.after_delivery = AfterDelivery::Delete;
        bench.clock = Arc::new(Ahead(1));
        let folder = bench.job.source.join("sub");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
        let report = bench.run().await;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!((report.counts.retired, report.counts.retained), (0, 4), "{report:#?}");
        let mut told = Vec::new();
        read_ledger(&bench.state_folder(), &mut |line| match line.record {
            Record::Retiring(_) => told.push("retiring"),
            Record::Retained(_) => told.push("retained"),
            _ => {}
        })
        .unwrap();
        assert_eq!(told, ["retiring", "retained"].repeat(4));
        assert_eq!(bench.run().await.counts.retired, 4);
    });
}

/// The job does not want it any more: the file gets its name back, and is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_keeps_its_files_undoes_what_was_begun() {
    let bench = bench(Mode::Mirror, |_| AfterDelivery::Keep);
    assert_eq!(bench.run().await.counts.delivered, 4);
    die(&bench, Died::Aside).await;
    bench.expect_no_connection(4).await;
    assert_eq!(left(&bench).len(), 4);
    assert!(bench.job.source.join("sub/0.csv").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_missing_meanwhile_is_not_deleted() {
    for at in [Died::BeforeTheRename, Died::Aside] {
        let mut bench = bench(Mode::Mirror, |_| AfterDelivery::Keep);
        assert_eq!(bench.run().await.counts.delivered, 4);
        bench.job.after_delivery = AfterDelivery::Delete;
        die(&bench, at).await;
        fs::remove_file(bench.server.root().join("in/sub/0.csv")).unwrap();
        let _missing = bench.verify(nightferry::audit::Depth::Facts).await;
        let _sent_again = bench.run().await;
        let here = bench.job.source.join("sub/0.csv").exists();
        assert!(here || bench.stored("in/sub/0.csv").is_some(), "lost on both sides");
    }
}
