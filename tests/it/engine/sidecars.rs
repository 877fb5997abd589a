//! Sidecars: `X.done` stands only beside a whole `X`, comes last, and comes once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use ftps_server::{Action, Dialect, Event, Fault, Feature, Moment, Server};
use nightferry::audit::Depth;
use nightferry::domain::{
    AfterDelivery, Deletes, Digest, Exit, Mode, Overwrite, PublishWay, RemoteDelete, Sidecar, Sidecars,
};
use nightferry::source::PlacePolicy;

use super::bench::{Ahead, Bench, cause};

pub(super) fn both() -> Sidecars {
    Sidecar::ALL.into_iter().collect()
}

/// What is wrong with the sidecars in the server's folder `in`, where files hold one of these contents.
pub(super) fn faults(root: &Path, contents: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root.join("in")).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(".nf-") {
            continue;
        }
        if let Some(of) = name.strip_suffix(".done") {
            let content = fs::read_to_string(root.join("in").join(of)).unwrap_or_default();
            if !contents.contains(&content.as_str()) {
                faults.push(format!("{name} stands beside {content:?}"));
            }
        } else if let Some(of) = name.strip_suffix(".sha256") {
            let content = fs::read(root.join("in").join(of)).unwrap_or_default();
            let line = format!("{}  {of}\n", Digest::of(&content));
            if fs::read_to_string(entry.path()).unwrap() != line {
                faults.push(format!("{name} is not that of the file beside it"));
            }
        }
    }
    faults
}

pub(super) type Log = Arc<Mutex<Vec<String>>>;

/// A job with both sidecars, whose server looks for what is wrong whenever something gets a name, and keeps
/// the final names in the order in which they came.
pub(super) fn watched(
    mode: Mode,
    contents: &'static [&'static str],
    also: fn(&str, &Path),
) -> (Bench, Log, Log) {
    let (wrong, came) = (Log::default(), Log::default());
    let (wrong_log, came_log) = (Arc::clone(&wrong), Arc::clone(&came));
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
        let (Event::Renamed { to: path, local, .. } | Event::Stored { path, local, .. }) = event else {
            return;
        };
        if path.contains("/.nf-") {
            return;
        }
        let root = local.ancestors().find(|above| above.join("in").is_dir()).unwrap();
        wrong_log.lock().unwrap().extend(faults(root, contents));
        came_log.lock().unwrap().push(path.clone());
        also(path, local);
    });
    bench.job.sidecars = both();
    bench.job.mode = mode;
    // One after another, so that a command's number says where a run is.
    bench.definition.connections = 1.try_into().unwrap();
    (bench, wrong, came)
}

pub(super) fn names(bench: &Bench) -> Vec<String> {
    bench.all_stored().into_keys().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_come_after_their_file_and_done_comes_last() {
    let (bench, wrong, came) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.write("a b.csv", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{report:#?}");
    assert_eq!(*came.lock().unwrap(), ["/in/a b.csv", "/in/a b.csv.sha256", "/in/a b.csv.done"]);
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(bench.stored("in/a b.csv.done").unwrap(), b"");
    let checked = Command::new("sha256sum")
        .args(["-c", "--strict", "a b.csv.sha256"])
        .current_dir(bench.server.root().join("in"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    bench.expect_no_connection(1).await;
}

/// The line is cut, or the server dies, at every single command of a first delivery and of that of a new
/// version: nobody ever sees a sidecar that lies, and each file is sent once.
async fn cut_everywhere(mode: Mode, from_there_on: bool, moment: Moment) {
    let take: fn(&str, &Path) = match mode {
        Mode::Mirror => |_, _| {},
        // The consumer waits for `done`, and takes all three.
        Mode::Drop => |path, local| {
            if path.ends_with(Sidecar::Done.suffix()) {
                let stem = local.with_extension("");
                for taken in [local.to_owned(), stem.with_extension("csv.sha256"), stem] {
                    fs::remove_file(taken).unwrap();
                }
            }
        },
    };
    for n in 1.. {
        let (bench, wrong, came) = watched(mode, &["old", "newer"], take);
        bench.write("a.csv", "old");
        if n % 2 == 0 {
            assert_eq!(bench.run().await.counts.delivered, 1);
            bench.write("a.csv", "newer");
        }
        let before = came.lock().unwrap().len();
        let cut = Fault::on_any(Action::DropControl(moment));
        let nth = n / 2 + 1;
        bench.server.arm(if from_there_on { cut.from(nth) } else { cut.nth(nth) });
        let commands = bench.server.transcript().commands().len();
        bench.run().await;
        let reached = (bench.server.transcript().commands().len() - commands) as u64 >= nth;
        bench.server.clear_faults();
        for _ in 0..2 {
            bench.run().await;
        }
        let (wrong, came) = (wrong.lock().unwrap().clone(), came.lock().unwrap()[before..].to_vec());
        let what = format!(
            "{mode:?}, {moment:?} at command {nth}, {}: {came:?}\n{}",
            n % 2,
            bench.server.transcript()
        );
        assert_eq!(wrong, Vec::<String>::new(), "{what}");
        let times = |name: &str| came.iter().filter(|path| path.as_str() == name).count();
        assert_eq!(bench.litter(), Vec::<String>::new(), "{what}");
        // What is presumed needs no person where only the sidecars were in doubt.
        let presumed = bench.run().await.counts.presumed;
        if presumed == 0 {
            assert_eq!(times("/in/a.csv"), 1, "{what}");
            match mode {
                Mode::Mirror => {
                    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"], "{what}");
                }
                Mode::Drop => {
                    assert_eq!((times("/in/a.csv.done"), names(&bench).len()), (1, 0), "{what}");
                }
            }
        }
        assert_eq!(presumed, 0, "the consumer waits for `done`: {what}");
        if !reached {
            assert!(nth > 30, "a delivery with its sidecars has more commands than {nth}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_true_whenever_a_reply_is_lost() {
    cut_everywhere(Mode::Mirror, false, Moment::Unanswered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_true_whenever_the_server_dies() {
    cut_everywhere(Mode::Mirror, true, Moment::Unanswered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_true_whenever_a_command_is_lost() {
    cut_everywhere(Mode::Mirror, true, Moment::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_gets_each_done_once_whenever_a_reply_is_lost() {
    cut_everywhere(Mode::Drop, false, Moment::Unanswered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_gets_each_done_once_whenever_the_server_dies() {
    cut_everywhere(Mode::Drop, true, Moment::Unanswered).await;
}

/// Only the sidecar is tried again, in the same run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_sidecar_is_mended_by_the_same_run() {
    let (bench, _, came) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.server.arm(Fault::on("STOR", Action::DropControl(Moment::Before)).nth(2));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{report:#?}");
    assert_eq!(*came.lock().unwrap(), ["/in/a.csv", "/in/a.csv.sha256", "/in/a.csv.done"]);
}

/// The old sidecars went for a new version that then was not published, and never will be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_come_back_where_nothing_came_of_the_new_version() {
    let (bench, wrong, _) = watched(Mode::Mirror, &["a", "bb"], |_, _| {});
    bench.write("a.csv", "a");
    bench.run().await;
    bench.write("a.csv", "bb");
    bench.server.arm(Fault::on("RNFR", Action::Reply("553 no".into())));
    assert_eq!(bench.run().await.counts.failed, 1);
    assert_eq!(names(&bench), ["/in/a.csv"]);
    bench.server.clear_faults();
    bench.write("a.csv", "a");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

/// The consumer does not wait: for a file that is gone no sidecar comes any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_taken_gets_no_sidecars_later() {
    let (bench, ..) = watched(Mode::Drop, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.server.arm(Fault::on("STOR", Action::DropControl(Moment::Before)).from(2));
    let report = bench.run().await;
    assert_eq!((report.counts.failed, report.counts.delivered), (1, 0), "{report:#?}");
    assert!(cause(&report).contains("but not its sidecar /in/a.csv.sha256"), "{}", cause(&report));
    bench.server.clear_faults();
    fs::remove_file(bench.server.root().join("in/a.csv")).unwrap();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), Vec::<String>::new());
    bench.expect_no_connection(1).await;
}

/// A sidecar whose rename is in doubt keeps its temporary name, also where that cannot be looked at yet: swept,
/// it would seem to be taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_cannot_be_settled_yet_is_not_swept() {
    let (bench, wrong, _) = watched(Mode::Drop, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Before)).from(2));
    assert!(bench.run_until(|event| format!("{event:?}").contains("Retrying")).await.is_none());
    assert_eq!((names(&bench).len(), bench.litter().len()), (2, 1));
    bench.server.clear_faults();
    for verb in ["SIZE", "MDTM", "HASH", "RETR", "RNFR"] {
        bench.server.arm(Fault::on(verb, Action::Reply("450 Busy".into())).naming(".nf-"));
    }
    let report = bench.run().await;
    assert_eq!(bench.litter().len(), 1, "{report:#?}");
    let listed = bench.server.transcript().commands().into_iter().any(|line| line.starts_with("MLSD"));
    assert!(listed, "its folder was not swept at all");
    bench.server.clear_faults();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

/// What was put there instead of the delivered file is not vouched for: it is sent again, once it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_vouches_for_nothing_but_its_own_file() {
    let (bench, ..) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.server.arm(Fault::on("STOR", Action::Reply("553 no".into())).from(2));
    assert_eq!(bench.run().await.counts.failed, 1);
    bench.server.clear_faults();
    fs::remove_file(bench.server.root().join("in/a.csv")).unwrap();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
    bench.expect_no_connection(1).await;
}

/// A stranger's `done` would vouch for what is published beside it: it must go first, by whoever put it
/// there, or by `overwrite: replace`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_done_keeps_its_file_from_being_published() {
    let (mut bench, wrong, _) = watched(Mode::Mirror, &["a", "bb"], |_, _| {});
    bench.write("a.csv", "a");
    bench.put("in/a.csv.done", "theirs");
    let report = bench.deliver().await;
    assert!(
        cause(&report).contains("/in/a.csv.done stands on the server (6 bytes), and is not the"),
        "{report:#?}"
    );
    assert_eq!(names(&bench), ["/in/a.csv.done"]);
    bench.job.overwrite = Overwrite::Replace;
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.stored("in/a.csv.done").unwrap(), b"");
    // Somebody writes into a sidecar of ours.
    bench.job.overwrite = Overwrite::Refuse;
    bench.put("in/a.csv.sha256", "0".repeat(73));
    bench.write("a.csv", "bb");
    let report = bench.run().await;
    assert!(cause(&report).contains("a.csv.sha256 stands on the server"), "{report:#?}");
    assert_eq!(bench.stored("in/a.csv").unwrap(), b"a", "the old version stays");
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_file_with_the_name_of_a_sidecar_is_refused() {
    let (bench, ..) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.write("a.csv.DONE", "a person's");
    bench.write(&"n".repeat(250), "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.failed), (1, 2), "{report:#?}");
    let reasons: BTreeMap<_, _> =
        report.failed.iter().map(|file| (file.name.clone(), file.failure.to_string())).collect();
    assert!(reasons["a.csv.DONE"].contains("its name ends in `.done`"), "{reasons:#?}");
    assert!(reasons[&"n".repeat(250)].contains("too long for its sidecar (`.sha256`)"), "{reasons:#?}");
    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
}

/// The last to come is the first to go; the trash holds files, not what vouched for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_leave_the_server_before_their_file() {
    for remote in [RemoteDelete::Delete, RemoteDelete::Trash] {
        let (mut bench, wrong, _) = watched(Mode::Mirror, &["a"], |_, _| {});
        bench.job.deletes = Deletes { remote, max_percent: 100, ..Deletes::default() };
        bench.write("a.csv", "a");
        bench.write("b.csv", "a");
        bench.run().await;
        fs::remove_file(bench.job.source.join("a.csv")).unwrap();
        let report = bench.run().await;
        assert_eq!((report.counts.removed, report.exit()), (1, Exit::Done), "{report:#?}");
        let transcript = bench.server.transcript();
        let gone: Vec<_> =
            transcript.commands().into_iter().filter(|line| line.starts_with("DELE /in/a")).collect();
        assert_eq!(gone[..2], ["DELE /in/a.csv.done", "DELE /in/a.csv.sha256"], "{remote:?}");
        let left: Vec<_> = names(&bench).into_iter().filter(|name| !name.contains("/b.csv")).collect();
        match remote {
            RemoteDelete::Trash => assert!(left.len() == 1 && left[0].ends_with("/a.csv"), "{left:?}"),
            _ => assert_eq!(left, Vec::<String>::new()),
        }
        assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
        bench.expect_no_connection(1).await;
    }
}

/// What does not let its sidecars go stays, and so does what is no sidecar of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_done_cannot_go_stays() {
    let (mut bench, ..) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.job.deletes = Deletes { remote: RemoteDelete::Delete, max_percent: 100, ..Deletes::default() };
    for name in ["a.csv", "b.csv", "c.csv"] {
        bench.write(name, "a");
    }
    bench.run().await;
    bench.put("in/b.csv.done", "a consumer's note");
    for name in ["a.csv", "b.csv"] {
        fs::remove_file(bench.job.source.join(name)).unwrap();
    }
    bench.server.arm(Fault::on("DELE", Action::Reply("550 Permission denied".into())).naming("a.csv.done"));
    let report = bench.run().await;
    assert_eq!(report.counts.removed, 1, "{report:#?}");
    assert!(bench.stored("in/a.csv").is_some() && bench.stored("in/b.csv").is_none());
    assert_eq!(bench.stored("in/b.csv.done").unwrap(), b"a consumer's note");
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.removed, 1);
    assert_eq!(bench.stored("in/a.csv.done"), None);
}

/// Whether it is ours that stands there cannot be told: it stays, and what vouches for it stays with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_for_being_unclear_keeps_its_sidecars() {
    let blind = Dialect::vsftpd().forbid("MDTM", "500 Unknown command.");
    let mut bench = Bench::new(blind, []);
    bench.job.sidecars = both();
    bench.job.deletes = Deletes { remote: RemoteDelete::Delete, max_percent: 100, ..Deletes::default() };
    for name in ["a.csv", "b.csv"] {
        bench.write(name, "a");
    }
    assert_eq!(bench.run().await.counts.delivered, 2);
    let before = bench.all_stored();
    fs::remove_file(bench.job.source.join("a.csv")).unwrap();
    for _ in 0..2 {
        let report = bench.run().await;
        assert_eq!((report.counts.removed, report.counts.not_removed), (0, 1), "{report:#?}");
        assert!(cause(&report).contains("neither the time of files"), "{}", cause(&report));
        assert_eq!(bench.all_stored(), before);
    }
}

/// `A.csv` became `a.csv` on a server that does not tell them apart: the `done` under the old name is the
/// new file's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changed_in_case_only_keeps_the_sidecars_of_the_new_one() {
    for removal in [RemoteDelete::Delete, RemoteDelete::Trash] {
        let mut bench = Bench::new(Dialect::dos(), []);
        bench.job.sidecars = both();
        bench.job.overwrite = Overwrite::Replace;
        bench.job.deletes = Deletes { remote: removal, max_percent: 100, ..Deletes::default() };
        for name in ["A.csv", "b.csv"] {
            bench.write(name, "a");
        }
        assert_eq!(bench.run().await.counts.delivered, 2);
        fs::rename(bench.job.source.join("A.csv"), bench.job.source.join("a.csv")).unwrap();
        for _ in 0..3 {
            bench.run().await;
        }
        let names: Vec<_> = names(&bench).into_iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(names[..3], ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"], "{removal:?}");
        assert_eq!(names.len(), 6, "{removal:?}: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_stays_until_its_sidecars_stand() {
    for mode in [Mode::Mirror, Mode::Drop] {
        let (mut bench, ..) = watched(mode, &["a"], |_, _| {});
        bench.job.after_delivery = AfterDelivery::Delete;
        // So that the file is no longer too young to be trusted unread.
        bench.clock = Arc::new(Ahead(1));
        bench.write("a.csv", "a");
        bench.server.arm(Fault::on("STOR", Action::Reply("553 no".into())).from(3));
        for _ in 0..2 {
            let report = bench.run().await;
            assert_eq!((report.counts.retired, report.counts.failed), (0, 1), "{report:#?}");
            assert_eq!(report.counts.unchanged, 0, "one outcome a file: {report:#?}");
        }
        bench.server.clear_faults();
        assert_eq!(bench.run().await.counts.retired, 1);
        assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
        assert!(!bench.job.source.join("a.csv").exists());
    }
}

/// The state is lost, and old sidecars stand: by what they hold they are known to be ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_are_known_again_after_a_loss_of_the_state() {
    let (bench, wrong, _) = watched(Mode::Mirror, &["a", "bb"], |_, _| {});
    bench.write("a.csv", "a");
    bench.run().await;
    fs::remove_dir_all(bench.state_folder()).unwrap();
    assert_eq!(bench.adopt().await.exit(), Exit::Done);
    bench.write("a.csv", "bb");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

/// A job that wants none any more does not leave old ones beside new files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_sidecars_go_also_where_no_new_ones_come() {
    let (mut bench, wrong, _) = watched(Mode::Mirror, &["a", "bb"], |_, _| {});
    bench.write("a.csv", "a");
    bench.run().await;
    bench.job.sidecars = Sidecars::NONE;
    bench.write("a.csv", "bb");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(names(&bench), ["/in/a.csv"]);
    assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new());
}

/// Sidecars are no files of the job: neither verified nor restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ways_back_see_files_and_no_sidecars() {
    let (bench, ..) = watched(Mode::Mirror, &["a"], |_, _| {});
    bench.write("a.csv", "a");
    bench.run().await;
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.exit(), report.counts.proved), (Exit::Done, 1), "{report:#?}");
    let to = tempfile::tempdir().unwrap();
    assert_eq!(bench.restore(&[], to.path(), PlacePolicy::KeepOther).await.exit(), Exit::Done);
    let restored: Vec<_> = fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(restored, ["a.csv"]);
}

/// Without renames they are stored at once, in the same order, and a cut-off one is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_rename_gets_them_in_the_same_order() {
    for cut in 0..40 {
        let (mut bench, wrong, came) = watched(Mode::Mirror, &["old", "newer"], |_, _| {});
        bench.job.publish = PublishWay::Direct;
        bench.write("a.csv", "old");
        bench.run().await;
        bench.write("a.csv", "newer");
        let before = came.lock().unwrap().len();
        bench.server.arm(Fault::on_any(Action::DropControl(Moment::Unanswered)).from(cut + 1));
        bench.run().await;
        bench.server.clear_faults();
        assert_eq!(bench.run().await.exit(), Exit::Done);
        let came = came.lock().unwrap()[before..].to_vec();
        assert_eq!(came.last().map(String::as_str), Some("/in/a.csv.done"), "{cut}: {came:?}");
        assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"], "{cut}");
        assert_eq!(bench.stored("in/a.csv").unwrap(), b"newer");
        // The check at the end of each upload sees no half file: these are small.
        assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new(), "{cut}: {came:?}");
        bench.expect_no_connection(1).await;
    }
}

/// A server that renames over no file, and one that tells no hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_get_them_as_well() {
    for dialect in
        [Dialect::iis(), Dialect::filezilla(), Dialect::vsftpd(), Dialect::full().without(Feature::Hash)]
    {
        let mut bench = Bench::new(dialect, []);
        bench.job.sidecars = both();
        for content in ["old", "newer"] {
            bench.write("a.csv", content);
            assert_eq!(bench.run().await.exit(), Exit::Done);
            assert_eq!(faults(bench.server.root(), &[content]), Vec::<String>::new());
            assert_eq!(names(&bench), ["/in/a.csv", "/in/a.csv.done", "/in/a.csv.sha256"]);
        }
    }
}

/// ProFTPD 1.3.8 tells the hash of what stood there before, where both came within the same second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_whose_hash_is_of_something_else_is_read_back() {
    let stale = Fault::on("HASH", Action::WrongHash).naming(".sha256");
    let mut bench = Bench::new(Dialect::full(), [stale]);
    bench.job.publish = PublishWay::Direct;
    bench.job.sidecars = both();
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    // What really is another sidecar is not taken for one.
    bench.server.arm(Fault::on("STOR", Action::FlipByte(ftps_server::Witness::Honest)).naming(".sha256"));
    bench.write("b.txt", "b");
    assert_eq!(bench.deliver().await.counts.failed, 1);
}
