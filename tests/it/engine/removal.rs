//! Deleting remote files whose source is gone, and all that must keep them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::domain::{AfterDelivery, Deletes, Exit, Mode, Record, RelPath, RemoteDelete, RunReport};
use nightferry::state::read_ledger;

use super::bench::{Ahead, Bench, cause};

const FILES: usize = 20;

async fn delivered(remote: RemoteDelete, faults: Vec<Fault>) -> Bench {
    let mut bench = Bench::new(Dialect::full(), faults);
    for n in 0..FILES {
        bench.write(&format!("sub/{n:02}.csv"), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, 20);
    bench.job.deletes = Deletes { remote, ..Deletes::default() };
    bench
}

fn remove(bench: &Bench, files: std::ops::Range<usize>) {
    for n in files {
        fs::remove_file(bench.job.source.join(format!("sub/{n:02}.csv"))).unwrap();
    }
}

/// The files on the server but for those in the trash.
fn standing(bench: &Bench) -> usize {
    bench.all_stored().keys().filter(|path| !path.contains("trash")).count()
}

fn trash(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    bench.all_stored().into_iter().filter(|(path, _)| path.contains("/.nightferry-trash/")).collect()
}

#[track_caller]
fn assert_nothing_deleted(bench: &Bench, report: &RunReport, sign: &str) {
    assert!(cause(report).contains(sign), "{sign}: {report:#?}");
    assert_eq!((report.exit(), report.counts.removed), (Exit::Source, 0));
    assert_eq!(standing(bench), FILES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_the_source_leaves_the_server() {
    let bench = delivered(RemoteDelete::Delete, vec![]).await;
    remove(&bench, 3..5);
    let report = bench.run().await;
    assert_eq!((report.counts.removed, report.exit()), (2, Exit::Done), "{report:#?}");
    assert_eq!((standing(&bench), trash(&bench).len()), (FILES - 2, 0));
    bench.expect_no_connection(18).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_keeps_paths_and_bytes_and_is_emptied_in_time() {
    let mut bench = delivered(RemoteDelete::Trash, vec![]).await;
    remove(&bench, 3..4);
    assert_eq!(bench.run().await.counts.removed, 1);
    let kept = trash(&bench);
    let [(path, bytes)] = kept.as_slice() else { panic!("{kept:?}") };
    assert!(path.ends_with("/sub/03.csv") && path.starts_with("/in/.nightferry-trash/20"), "{path}");
    assert_eq!((bytes.as_slice(), standing(&bench)), (&b"3"[..], FILES - 1));
    bench.expect_no_connection(19).await;
    // Its time is over at once.
    bench.job.deletes.trash_days = 0;
    bench.run().await;
    assert_eq!((trash(&bench).len(), standing(&bench)), (0, FILES - 1));
    bench.expect_no_connection(19).await;
}

/// A clock that leaps ahead does not empty the trash; days that runs account for do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leap_of_the_clock_does_not_empty_the_trash() {
    let mut bench = delivered(RemoteDelete::Trash, vec![]).await;
    remove(&bench, 3..4);
    bench.run().await;
    for _ in 0..3 {
        bench.clock = Arc::new(Ahead(365));
        let (report, events) = bench.run_quietly().await;
        assert_eq!((report.exit(), trash(&bench).len()), (Exit::Done, 1));
        assert!(format!("{events:?}").contains("days further than the runs"), "{events:#?}");
    }
    for (week, left) in [(1, 1), (2, 0)] {
        bench.clock = Arc::new(Ahead(365 + week * 7));
        bench.run().await;
        assert_eq!(trash(&bench).len(), left, "week {week}");
    }
}

/// After a loss of state runs are counted anew: what is in the trash is not replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_of_a_lost_state_is_not_written_over() {
    let bench = delivered(RemoteDelete::Trash, vec![]).await;
    // So that both removals are of runs of the same number.
    bench.run().await;
    for round in 1..=2 {
        remove(&bench, 3..4);
        assert_eq!(bench.run().await.counts.removed, 1);
        assert_eq!(trash(&bench).len(), round);
        fs::remove_dir_all(bench.state_folder()).unwrap();
        bench.write("sub/03.csv", "again");
        bench.adopt().await;
        bench.run().await;
    }
}

/// 550 to DELE means as well that it is not allowed: what stands is swept when it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_file_that_may_not_be_deleted_is_not_forgotten() {
    let stored = Fault::on("STOR", Action::ReplyAfter("451 Local error".into())).nth(1);
    let kept = Fault::on("DELE", Action::Reply("550 Permission denied".into())).from(1);
    let bench = Bench::new(Dialect::full(), [stored, kept]);
    bench.write("a.csv", "a");
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.litter().len(), 1);
    bench.server.clear_faults();
    bench.run().await;
    assert_eq!(bench.litter(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_nothing_is_deleted() {
    let bench = delivered(RemoteDelete::Keep, vec![]).await;
    remove(&bench, 0..FILES);
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(standing(&bench), FILES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_source_deletes_nothing() {
    let mut bench = delivered(RemoteDelete::Delete, vec![]).await;
    bench.job.deletes.max_percent = 100;
    remove(&bench, 0..FILES);
    for _ in 0..2 {
        assert_nothing_deleted(&bench, &bench.run().await, "the source is empty");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_source_deletes_nothing() {
    let bench = delivered(RemoteDelete::Delete, vec![]).await;
    fs::rename(&bench.job.source, bench.job.source.with_file_name("elsewhere")).unwrap();
    assert_nothing_deleted(&bench, &bench.run().await, "does not exist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limits_a_person_decides_about_these_very_files() {
    let mut bench = delivered(RemoteDelete::Delete, vec![]).await;
    remove(&bench, 0..3);
    let report = bench.run().await;
    assert_nothing_deleted(&bench, &report, "`delete.max_percent: 10`");
    let told = format!("sync --approve-deletes {}", report.run);
    assert!(cause(&report).contains(&told), "{}", cause(&report));
    // Meanwhile another one is gone: the approval was not for it.
    bench.approved = Some(report.run);
    remove(&bench, 3..4);
    let report = bench.run().await;
    assert_nothing_deleted(&bench, &report, "4 of 20");
    // An approval of a run that is not the last that was stopped is worth nothing, also for what the
    // limits would allow.
    bench.job.deletes.max_percent = 100;
    assert_nothing_deleted(&bench, &bench.run().await, "is not the last one");
    bench.job.deletes.max_percent = Deletes::DEFAULT_PERCENT;
    assert_nothing_deleted(&bench, &bench.run().await, "4 of 20");
    let last = bench.run().await;
    bench.approved = Some(last.run);
    assert_eq!(bench.run().await.counts.removed, 4);
    assert_eq!(standing(&bench), FILES - 4);
    // It was for those files and for once.
    bench.job.deletes.max_percent = 100;
    remove(&bench, 4..6);
    let report = bench.run().await;
    assert!(cause(&report).contains("the approval does not fit: it is for 4 files"), "{report:#?}");
    bench.approved = None;
    bench.job.deletes.max_files = 1;
    let report = bench.run().await;
    assert!(cause(&report).contains("`delete.max_files: 1`"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_marker_deletes_nothing_whoever_approves() {
    let mut bench = delivered(RemoteDelete::Delete, vec![]).await;
    bench.job.deletes.marker = Some(RelPath::new(".mounted").unwrap());
    remove(&bench, 0..1);
    let report = bench.run().await;
    assert_nothing_deleted(&bench, &report, "marker");
    bench.approved = Some(report.run);
    assert_nothing_deleted(&bench, &bench.run().await, "marker");
    bench.write(".mounted", "");
    bench.approved = None;
    assert_eq!(bench.run().await.counts.removed, 1);
}

/// What somebody else put there is never deleted, whatever its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_any_more_stays() {
    for remote in [RemoteDelete::Delete, RemoteDelete::Trash] {
        let bench = delivered(remote, vec![]).await;
        bench.put("in/sub/00.csv", "x");
        fs::remove_file(bench.server.root().join("in/sub/01.csv")).unwrap();
        remove(&bench, 0..2);
        let report = bench.run().await;
        assert_eq!((report.counts.removed, report.counts.not_removed), (0, 1), "{report:#?}");
        assert_eq!(report.exit(), Exit::FilesFailed);
        assert!(cause(&report).contains("not what was delivered"), "{report:#?}");
        assert_eq!(bench.stored("in/sub/00.csv").unwrap(), b"x");
        bench.expect_no_connection(18).await;
    }
}

/// Another file of the same size: known by its time, or by its hash, and where the server tells neither,
/// nothing is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_of_the_same_size_stays() {
    let blind = || Dialect::vsftpd().forbid("MDTM", "500 Unknown command.");
    for (what, dialect, removal) in [
        ("time", Dialect::vsftpd(), RemoteDelete::Trash),
        ("hash", Dialect::full(), RemoteDelete::Trash),
        ("hash", Dialect::full(), RemoteDelete::Delete),
        ("nothing", blind(), RemoteDelete::Delete),
    ] {
        let mut bench = Bench::new(dialect, []);
        for name in ["theirs now", "ours", "stays"] {
            bench.write(name, "12345");
        }
        assert_eq!(bench.run().await.counts.delivered, 3, "{what}");
        bench.job.deletes = Deletes { remote: removal, max_percent: 100, ..Deletes::default() };
        let there = bench.server.root().join("in/theirs now");
        let time = fs::metadata(&there).unwrap().modified().unwrap();
        fs::write(&there, "67890").unwrap();
        let time = if what == "hash" { time } else { UNIX_EPOCH };
        fs::File::options().write(true).open(&there).unwrap().set_modified(time).unwrap();
        for name in ["theirs now", "ours"] {
            fs::remove_file(bench.job.source.join(name)).unwrap();
        }
        let report = bench.run().await;
        assert_eq!(bench.stored("in/theirs now").unwrap(), b"67890", "{what}: {report:#?}");
        if what == "nothing" {
            assert_eq!((report.counts.removed, report.counts.not_removed), (0, 2), "{report:#?}");
            assert!(cause(&report).contains("neither the time of files"), "{report:#?}");
        } else {
            assert_eq!((report.counts.removed, report.counts.not_removed), (1, 1), "{what}: {report:#?}");
            assert!(cause(&report).contains("not what was delivered"), "{what}: {report:#?}");
        }
    }
}

/// A reply that never came, a refusal: the next run goes on, and nothing else goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_deletions_are_ended_by_the_next_run() {
    for remote in [RemoteDelete::Delete, RemoteDelete::Trash] {
        let verb = if remote == RemoteDelete::Delete { "DELE" } else { "RNTO" };
        // All renames of the first delivery come before.
        let nth = if remote == RemoteDelete::Delete { 1 } else { FILES + 1 };
        for moment in [Moment::Before, Moment::Unanswered] {
            let fault = Fault::on(verb, Action::DropControl(moment)).nth(nth.try_into().unwrap());
            let bench = delivered(remote, vec![fault]).await;
            remove(&bench, 3..5);
            let report = bench.run().await;
            let (removed, left) = (report.counts.removed, report.counts.not_removed);
            assert_eq!(removed + left, 2, "{verb} {moment:?}: each file has one outcome: {report:#?}");
            assert!(left > 0 && report.exit() == Exit::Temporary, "{verb} {moment:?}: {report:#?}");
            bench.run().await;
            assert_eq!(standing(&bench), FILES - 2);
            assert_eq!(trash(&bench).len(), if remote == RemoteDelete::Trash { 2 } else { 0 });
            bench.expect_no_connection(18).await;
        }
    }
}

/// A folder of the trash whose `MKD` was lost with its session is asked for again: without it the rename would be
/// refused, and a person be called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_the_trash_that_was_lost_is_asked_for_again() {
    for moment in [Moment::Before, Moment::Unanswered] {
        for times in [1, 2] {
            let bench = delivered(RemoteDelete::Trash, vec![]).await;
            for nth in 1..=times {
                bench.server.arm(Fault::on("MKD", Action::DropControl(moment)).nth(nth));
            }
            remove(&bench, 3..4);
            let report = bench.run().await;
            assert_eq!((report.counts.removed, report.exit()), (1, Exit::Done), "{moment:?}: {report:#?}");
            assert_eq!((standing(&bench), trash(&bench).len()), (FILES - 1, 1));
        }
    }
}

/// A server that loses every session there costs a run a few of them, and nothing is called refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trash_whose_folders_are_lost_again_and_again_is_left_to_the_next_run() {
    let bench = delivered(RemoteDelete::Trash, vec![]).await;
    bench.server.arm(Fault::on("MKD", Action::DropControl(Moment::Before)).from(1));
    remove(&bench, 3..5);
    let before = bench.server.counters().logins;
    let report = bench.run().await;
    assert_eq!((report.counts.removed, report.exit()), (0, Exit::Temporary), "{report:#?}");
    assert!(bench.server.counters().logins - before <= 6, "{report:#?}");
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.removed, 2);
    assert_eq!((standing(&bench), trash(&bench).len()), (FILES - 2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_deletion_is_told() {
    let fault = Fault::on("DELE", Action::Reply("550 Permission denied".into())).from(1);
    let bench = delivered(RemoteDelete::Delete, vec![fault]).await;
    remove(&bench, 3..4);
    let report = bench.run().await;
    assert_eq!((report.counts.removed, report.counts.not_removed), (0, 1), "{report:#?}");
    assert_eq!(report.exit(), Exit::Refused);
    assert!(cause(&report).contains("Permission denied"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanishes_after_the_scan_is_not_deleted() {
    let place: Arc<OnceLock<PathBuf>> = Arc::default();
    let seen = Arc::clone(&place);
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
        if let Event::Stored { bytes: 7, .. } = event
            && let Some(source) = seen.get()
        {
            for n in 1..FILES {
                let _gone = fs::remove_file(source.join(format!("sub/{n:02}.csv")));
            }
        }
    });
    for n in 0..FILES {
        bench.write(&format!("sub/{n:02}.csv"), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, 20);
    bench.job.deletes = Deletes { remote: RemoteDelete::Delete, max_files: 1, ..Deletes::default() };
    remove(&bench, 0..1);
    bench.write("zz.csv", "7 bytes");
    place.set(bench.job.source.clone()).unwrap();
    let report = bench.run().await;
    assert_eq!(report.counts.removed, 0, "what the guard saw is not what is gone");
    // The next run asks anew, and the guard has its say.
    assert_eq!(bench.run().await.exit(), Exit::Source);
}

/// While files are being deleted, another one vanishes that nobody allowed to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanishes_while_others_are_deleted_stays() {
    // More than are looked at ahead, so that the last one is not looked for yet.
    const MANY: usize = 40;
    let place: Arc<OnceLock<PathBuf>> = Arc::default();
    let seen = Arc::clone(&place);
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
        if let (Event::Asked { verb }, Some(last)) = (event, seen.get())
            && verb == "SIZE"
        {
            let _gone = fs::remove_file(last);
        }
    });
    for n in 0..=MANY {
        bench.write(&format!("sub/{n:02}.csv"), format!("{n}"));
    }
    bench.write("anchor", "stays");
    assert_eq!(bench.run().await.counts.delivered, MANY as u64 + 2);
    bench.job.deletes =
        Deletes { remote: RemoteDelete::Delete, max_percent: 100, max_files: u64::MAX, ..Deletes::default() };
    remove(&bench, 0..MANY);
    place.set(bench.job.source.join(format!("sub/{MANY}.csv"))).unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.removed, standing(&bench)), (MANY as u64, 2), "{report:#?}");
    assert!(bench.stored(&format!("in/sub/{MANY}.csv")).is_some(), "nobody allowed it to go");
    assert_eq!(bench.run().await.counts.removed, 1, "the next run asks for it");
}

/// What was taken out of the source after its delivery is not gone from it, nor is what was presumed, also
/// where the job is a mirror by now. What the patterns leave out by now is not the job's concern.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_setting_took_out_of_the_source_stays() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.mode = Mode::Drop;
    bench.job.after_delivery = AfterDelivery::Delete;
    for n in 0..3 {
        bench.write(&format!("sub/{n:02}.csv"), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.retired, 3);
    bench.write("presumed", "taken");
    bench.server.arm(Fault::on("RNTO", Action::Vanish).once());
    bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).once());
    assert_eq!(bench.run().await.counts.presumed, 1);
    bench.server.clear_faults();
    fs::remove_file(bench.job.source.join("presumed")).unwrap();
    bench.put("in/presumed", "taken");
    bench.job.mode = Mode::Mirror;
    bench.job.after_delivery = AfterDelivery::Keep;
    bench.job.deletes =
        Deletes { remote: RemoteDelete::Delete, max_percent: 100, max_files: u64::MAX, ..Deletes::default() };
    for name in ["goes", "stays", "left out"] {
        bench.write(name, name);
    }
    assert_eq!(bench.run().await.counts.delivered, 3);
    bench.job.exclude = vec!["left out".parse().unwrap()];
    for name in ["goes", "left out"] {
        fs::remove_file(bench.job.source.join(name)).unwrap();
    }
    let report = bench.run().await;
    assert_eq!((report.counts.removed, standing(&bench)), (1, 6), "{report:#?}");
    assert_eq!(bench.stored("in/goes"), None);
}

/// An empty folder is not remembered as what the source is, also where nothing is to be deleted: it may
/// be what lies beneath a disk that is not mounted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_source_is_not_remembered() {
    let bench = delivered(RemoteDelete::Keep, vec![]).await;
    let remembered = || {
        let mut last = None;
        read_ledger(&bench.state_folder(), &mut |line| {
            if let Record::RunFinished(finished) = line.record {
                last = Some(finished.source);
            }
        })
        .unwrap();
        last.unwrap()
    };
    assert_eq!(remembered().map(|seen| seen.files), Some(FILES as u64));
    fs::remove_dir_all(bench.job.source.join("sub")).unwrap();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(remembered(), None);
}

/// Where the guard says stop, the trash is not emptied either: the clock may be as wrong as the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_stays_where_the_guard_stops_the_run() {
    let mut bench = delivered(RemoteDelete::Trash, vec![]).await;
    remove(&bench, 3..4);
    assert_eq!(bench.run().await.counts.removed, 1);
    bench.job.deletes.trash_days = 0;
    remove(&bench, 4..FILES);
    assert_eq!(bench.run().await.exit(), Exit::Source);
    assert_eq!((trash(&bench).len(), standing(&bench)), (1, FILES - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_tell_of_is_not_forgotten() {
    let fault = Fault::on("SIZE", Action::Reply("550 Could not get file size.".into())).from(81);
    let bench = delivered(RemoteDelete::Trash, vec![fault]).await;
    remove(&bench, 3..4);
    for _ in 0..2 {
        let report = bench.run().await;
        assert_eq!((standing(&bench), report.counts.not_removed), (FILES, 1), "it stands, and that is said");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_is_refused_is_tried_again() {
    let fault = Fault::on("DELE", Action::Reply("550 Delete operation failed.".into())).nth(1);
    let bench = Bench::new(Dialect::full(), [fault]);
    bench.write("a.csv", "a");
    let stor = bench.run_until(|event| format!("{event:?}").contains("Bytes")).await;
    assert!(stor.is_none());
    let _swept = bench.run().await;
    let after = bench.litter();
    let _swept = bench.run().await;
    assert_eq!(bench.litter(), Vec::<String>::new(), "still there, first {after:?}");
}

/// A file that became a link or a folder is not gone, and does not stand in the way of those that are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_another_kind_now_stays_and_the_rest_goes() {
    let bench = delivered(RemoteDelete::Delete, vec![]).await;
    remove(&bench, 0..2);
    std::os::unix::fs::symlink("elsewhere", bench.job.source.join("sub/00.csv")).unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.removed, report.exit()), (1, Exit::Done), "{report:#?}");
    assert_eq!(bench.stored("in/sub/00.csv").unwrap(), b"0");
    assert_eq!(standing(&bench), FILES - 1);
}
