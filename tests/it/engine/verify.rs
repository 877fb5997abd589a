//! The server held against what was delivered, after somebody was there.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use ftps_server::{Action, Cut, Dialect, Fault, Moment};
use nightferry::audit::{Depth, verify};
use nightferry::domain::{AuditReport, Exit, Mode, Overwrite, ProofMethod, VerifyPolicy};
use nightferry::remote::Haste;

use super::bench::{Bench, cause};

/// Long ago, so that times tell.
fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

/// A mirror with ten files, delivered.
async fn delivered(dialect: Dialect) -> Bench {
    let bench = Bench::new(dialect, []);
    for n in 0..10 {
        bench.write(&format!("sub {}/{n}.txt", n % 3), format!("content {n}"));
        let source = bench.job.source.join(format!("sub {}/{n}.txt", n % 3));
        File::options().write(true).open(source).unwrap().set_modified(long_ago()).unwrap();
    }
    assert_eq!(bench.run().await.counts.delivered, 10);
    bench
}

/// Changes a file on the server's disk and keeps its time, as decay does.
fn rot(bench: &Bench, path: &str, content: &str) {
    let local = bench.server.root().join(path);
    let time = std::fs::metadata(&local).unwrap().modified().unwrap();
    std::fs::write(&local, content).unwrap();
    File::options().write(true).open(local).unwrap().set_modified(time).unwrap();
}

fn differing(report: &AuditReport) -> BTreeSet<String> {
    report.differences.iter().map(|difference| format!("{} {}", difference.kind, difference.name)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn dialects() -> [Dialect; 4] {
    [Dialect::full(), Dialect::proftpd(), Dialect::vsftpd(), Dialect::pure_ftpd()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_touched_is_sound() {
    for dialect in dialects() {
        let bench = delivered(dialect).await;
        let stores = bench.server.counters().stores;
        let report = bench.verify(Depth::Facts).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
        assert_eq!(report.proofs.get(&ProofMethod::Size), Some(&10));
        let report = bench.verify(Depth::Content).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
        assert_eq!(report.proofs.get(&ProofMethod::Size), None);
        assert_eq!(bench.server.counters().stores, stores);
        bench.expect_no_connection(10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_changed_is_found_and_sent_again() {
    for dialect in dialects() {
        let mut bench = delivered(dialect).await;
        let root = bench.server.root().to_owned();
        std::fs::remove_file(root.join("in/sub 0/0.txt")).unwrap();
        rot(&bench, "in/sub 1/1.txt", "cont");
        std::fs::rename(root.join("in/sub 2/2.txt"), root.join("in/sub 2/theirs")).unwrap();
        bench.put("in/sub 0/3.txt", "CONTENT 3");
        rot(&bench, "in/sub 1/4.txt", "c0ntent 4");
        let loud =
            ["missing sub 0/0.txt", "changed sub 1/1.txt", "missing sub 2/2.txt", "changed sub 0/3.txt"];
        let report = bench.verify(Depth::Facts).await;
        assert_eq!(report.exit(), Exit::Verification);
        assert_eq!(differing(&report), set(&loud), "{report:#?}");
        assert_eq!((report.counts.proved, report.counts.failed), (6, 0));
        let report = bench.verify(Depth::Content).await;
        let all = [&loud[..], &["changed sub 1/4.txt"]].concat();
        assert_eq!(differing(&report), set(&all), "{report:#?}");
        assert!(
            report.differences.iter().all(|difference| difference.expected.contains("9 bytes, SHA-256 "))
        );

        // What is ours is repaired, what somebody else wrote is left alone.
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.failed), (3, 2), "{report:#?}");
        assert!(cause(&report).contains("overwrite: replace"), "{}", cause(&report));
        assert_eq!(bench.stored("in/sub 1/4.txt").unwrap(), b"content 4");
        assert_eq!(bench.stored("in/sub 0/3.txt").unwrap(), b"CONTENT 3");
        let report = bench.verify(Depth::Content).await;
        assert_eq!(differing(&report), set(&["changed sub 1/1.txt", "changed sub 0/3.txt"]));
        bench.job.overwrite = Overwrite::Replace;
        assert_eq!(bench.run().await.counts.delivered, 2);
        let report = bench.verify(Depth::Content).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done));
        bench.expect_no_connection(10).await;
    }
}

/// Another time and the same content: sound, and our next version still replaces it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touched_file_is_read_and_its_new_time_becomes_known() {
    let bench = delivered(Dialect::full()).await;
    let local = bench.server.root().join("in/sub 0/0.txt");
    File::options().write(true).open(local).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let report = bench.verify(Depth::Facts).await;
    assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done));
    assert_eq!(report.proofs.get(&ProofMethod::ServerHash), Some(&1));
    let report = bench.verify(Depth::Facts).await;
    assert_eq!(report.proofs.get(&ProofMethod::Size), Some(&10), "its new time was not recorded");
    bench.write("sub 0/0.txt", "a new version");
    assert_eq!(bench.run().await.counts.delivered, 1);
}

/// What comes back by itself needs no sending, but only its content proves that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_back_in_place_is_not_sent_again() {
    let bench = delivered(Dialect::vsftpd()).await;
    let (there, away) = (bench.server.root().join("in/sub 0"), bench.server.root().join("theirs"));
    std::fs::rename(&there, &away).unwrap();
    assert_eq!(bench.verify(Depth::Facts).await.counts.missing, 4);
    std::fs::rename(&away, &there).unwrap();
    let report = bench.verify(Depth::Facts).await;
    assert_eq!((report.counts.proved, report.proofs.get(&ProofMethod::ReadBack)), (10, Some(&4)));
    bench.expect_no_connection(10).await;
}

/// A server without `SIZE`, or one that refuses it: the content tells all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_tells_no_size_is_read() {
    for reply in ["500 Unknown command", "550 SIZE not allowed in ASCII mode", "501 no"] {
        let bench = delivered(Dialect::vsftpd()).await;
        bench.server.arm(Fault::on("SIZE", Action::Reply(reply.into())));
        let report = bench.verify(Depth::Facts).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{reply}");
        std::fs::remove_file(bench.server.root().join("in/sub 0/0.txt")).unwrap();
        let report = bench.verify(Depth::Facts).await;
        assert_eq!(differing(&report), set(&["missing sub 0/0.txt"]), "{reply}: {report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_that_is_listed_and_not_given_is_replaced_by_reading() {
    let mut bench = delivered(Dialect::full()).await;
    bench.server.arm(Fault::on("HASH", Action::Reply("504 not for this one".into())));
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.proved, report.proofs.get(&ProofMethod::ReadBack)), (10, Some(&10)));
    bench.job.verify = VerifyPolicy::Hash;
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.failed, report.exit()), (10, Exit::Refused));
    assert_eq!(report.counts.changed + report.counts.missing, 0, "what cannot be told is not damage");
}

/// Cut at any moment, all files get their outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_costs_an_attempt_only() {
    let before = Action::DropControl(Moment::Before);
    for fault in [
        Fault::on("SIZE", before.clone()).nth(4),
        Fault::on("USER", before.clone()).once(),
        Fault::on("RETR", before.clone()).nth(3),
        Fault::on("RETR", Action::DropData { after: 3, cut: Cut::Reset }).nth(3),
        Fault::on("RETR", Action::DropData { after: 3, cut: Cut::Fin }).nth(3),
        Fault::on("MDTM", Action::Stall).nth(2),
        Fault::on("SIZE", Action::Reply("421 Timeout".into())).nth(2),
    ] {
        let bench = delivered(Dialect::pure_ftpd()).await.impatient();
        bench.server.arm(fault.clone());
        std::fs::remove_file(bench.server.root().join("in/sub 0/9.txt")).unwrap();
        let report = bench.verify(Depth::Content).await;
        assert_eq!((report.counts.proved, report.counts.missing), (9, 1), "{fault:?}: {report:#?}");
        assert_eq!((report.counts.failed, report.counts.not_reached), (0, 0), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_broken_ends_the_run_and_nothing_counts_as_damage() {
    for (fault, exit) in [
        (Fault::on_greeting(Action::DropControl(Moment::Unanswered)), Exit::Temporary),
        (Fault::on("SIZE", Action::DropControl(Moment::Before)), Exit::Temporary),
        (Fault::on("SIZE", Action::Reply("450 try later".into())), Exit::Temporary),
        (Fault::on("PASS", Action::Reply("530 Login incorrect".into())), Exit::Refused),
    ] {
        let bench = delivered(Dialect::full()).await.impatient();
        let logins = bench.server.transcript().count("PASS");
        bench.server.arm(fault.clone());
        let report = bench.verify(Depth::Facts).await;
        assert_eq!(report.exit(), exit, "{fault:?}: {report:#?}");
        assert_eq!(report.counts.missing + report.counts.changed, 0, "{fault:?}");
        assert_eq!(
            report.counts.failed + report.counts.not_reached,
            10,
            "each file has one outcome: {fault:?}"
        );
        if exit == Exit::Refused {
            assert_eq!(bench.server.transcript().count("PASS"), logins + 1, "one try, not one a worker");
        }
        bench.server.clear_faults();
        bench.expect_no_connection(10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_for_one_connection_is_verified_over_the_others() {
    let mut bench = delivered(Dialect::full()).await;
    bench.definition.connections = 4.try_into().unwrap();
    for (at, refusal) in [(1, "421 too many users"), (2, "421 too many users")] {
        bench.server.arm(Fault::on_greeting(Action::Reply(refusal.into())).nth(at));
        let report = bench.verify(Depth::Content).await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{at}: {report:#?}");
        bench.server.clear_faults();
    }
}

/// A mirror of small files, delivered over one session.
async fn many(dialect: Dialect, files: u32) -> Bench {
    let mut bench = Bench::new(dialect, []);
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..files {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, u64::from(files));
    bench
}

/// What a refusal says of how many sessions the server takes is learned, as by a run that delivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_one_session_more_is_no_wrong_password_and_is_remembered() {
    const FILES: u32 = 200;
    let mut bench = many(Dialect::full(), FILES).await;
    bench.definition.connections = 4.try_into().unwrap();
    // With the same password another session is open: it is not the password.
    bench.server.arm(Fault::on("PASS", Action::Reply("530 Login incorrect.".into())).from(2));
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.proved, report.exit()), (u64::from(FILES), Exit::Done), "{report:#?}");
    assert_eq!(bench.profile().connections, Some(1));
    bench.server.clear_faults();
    let connections = bench.server.counters().control_connections;
    assert_eq!(bench.verify(Depth::Content).await.counts.proved, u64::from(FILES));
    assert_eq!(bench.server.counters().control_connections - connections, 1, "it asks for no more");
}

/// However long it takes, a job that waits for the server's only session has its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_a_job_waits_for_is_given_up_between_files() {
    const FILES: u32 = 300;
    let bench = many(Dialect::vsftpd(), FILES).await;
    let logins = bench.server.counters().logins;
    let report = bench.audit(|audit, stop| async move {
        let other = audit.remote.share();
        let verified = verify(audit, Depth::Content, stop);
        tokio::pin!(verified);
        loop {
            tokio::select! {
                biased;
                report = &mut verified => break report.unwrap(),
                permit = other.permit(Haste::Waiting) => {
                    drop(permit);
                    // In line again before the run has its session back.
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let report = report.await;
    assert_eq!((report.counts.proved, report.exit()), (u64::from(FILES), Exit::Done), "{report:#?}");
    assert!(bench.server.counters().logins > logins + 1, "it never gave its session away");
}

/// In a drop absence is success, and nothing is sent again because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_drop_only_what_is_there_is_compared() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.mode = Mode::Drop;
    for name in ["taken.csv", "sound.csv", "rotten.csv"] {
        bench.write(name, "content");
    }
    assert_eq!(bench.run().await.counts.delivered, 3);
    std::fs::remove_file(bench.server.root().join("in/taken.csv")).unwrap();
    rot(&bench, "in/rotten.csv", "CONTENT");
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.taken, report.counts.proved), (1, 1), "{report:#?}");
    assert_eq!(differing(&report), set(&["changed rotten.csv"]));
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.stored("in/taken.csv"), None, "what was taken was sent again");
}

/// A file in doubt is neither sound nor damaged until it is settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_is_left_to_the_next_sync() {
    let mut bench = delivered(Dialect::full()).await;
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("sub 0/0.txt", "a second version");
    bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Unanswered)));
    bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    bench.server.clear_faults();
    let report = bench.verify(Depth::Content).await;
    assert_eq!((report.counts.proved, report.counts.failed), (9, 1), "{report:#?}");
    assert_eq!(report.exit(), Exit::Temporary);
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.verify(Depth::Content).await.counts.proved, 10);
}

/// A signal ends it at once, and nothing is taken for damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_at_once() {
    let bench = delivered(Dialect::full()).await;
    bench.server.arm(Fault::on("SIZE", Action::Stall));
    let stop = bench.stop.clone();
    let (server, begun) = (&bench.server, bench.server.transcript().count("SIZE"));
    let signal = async {
        while server.transcript().count("SIZE") == begun {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (report, ()) = tokio::join!(bench.verify(Depth::Facts), signal);
    assert_eq!((report.counts.not_reached, report.exit()), (10, Exit::Interrupted), "{report:#?}");
}
