//! What stands on the server already is taken over, and only what is proved.

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::audit::{AdoptError, adopt};
use nightferry::domain::{AuditReport, DifferenceKind, Exit, Mode, ProofMethod, RunId, VerifyPolicy};

use super::bench::{Bench, cause};

/// Ten files that stand on the server, and a state that knows nothing of them.
async fn forgotten(dialect: Dialect) -> Bench {
    let bench = Bench::new(dialect, []);
    for n in 0..10 {
        bench.write(&format!("sub {}/{n}.txt", n % 3), format!("content {n}"));
    }
    assert_eq!(bench.run().await.counts.delivered, 10);
    forget(&bench);
    bench
}

/// Ledger and manifest are lost.
fn forget(bench: &Bench) {
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_state_was_lost_nothing_is_sent_that_is_there_already() {
    for dialect in [Dialect::full(), Dialect::proftpd(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        let bench = forgotten(dialect).await;
        let stores = bench.server.counters().stores;
        let report = bench.adopt().await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{report:#?}");
        assert_eq!(report.proofs.get(&ProofMethod::Size), None);
        bench.expect_no_connection(10).await;
        assert_eq!(bench.server.counters().stores, stores);
        // The second time everything is known, and nobody is called.
        let counters = bench.server.counters();
        let report = bench.adopt().await;
        assert_eq!((report.counts.proved, report.counts.kept, report.exit()), (0, 10, Exit::Done));
        assert_eq!(bench.server.counters(), counters);
        // What was adopted is replaced by our next version.
        bench.write("sub 0/0.txt", "a new version");
        assert_eq!(bench.run().await.counts.delivered, 1);
    }
}

fn difference(report: &AuditReport, name: &str) -> Option<DifferenceKind> {
    report.differences.iter().find(|difference| difference.name == name).map(|difference| difference.kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_or_is_missing_stays_unknown() {
    for dialect in [Dialect::full(), Dialect::vsftpd()] {
        let bench = forgotten(dialect).await;
        std::fs::remove_file(bench.server.root().join("in/sub 0/0.txt")).unwrap();
        bench.put("in/sub 1/1.txt", "other");
        bench.put("in/sub 2/2.txt", "c0ntent 2");
        let report = bench.adopt().await;
        assert_eq!((report.counts.proved, report.counts.missing, report.counts.changed), (7, 1, 2));
        assert_eq!(report.exit(), Exit::FilesFailed);
        assert_eq!(difference(&report, "sub 0/0.txt"), Some(DifferenceKind::Missing));
        assert_eq!(difference(&report, "sub 1/1.txt"), Some(DifferenceKind::Changed));
        assert_eq!(difference(&report, "sub 2/2.txt"), Some(DifferenceKind::Changed));
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.failed), (1, 2), "{report:#?}");
        assert!(cause(&report).contains("overwrite: replace"), "{}", cause(&report));
        assert_eq!(bench.stored("in/sub 2/2.txt").unwrap(), b"c0ntent 2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proof_is_the_one_that_the_job_asks_for() {
    let mut bench = forgotten(Dialect::vsftpd()).await;
    bench.job.verify = VerifyPolicy::Hash;
    let report = bench.adopt().await;
    assert_eq!((report.counts.proved, report.counts.failed, report.exit()), (0, 10, Exit::Refused));
    bench.job.verify = VerifyPolicy::Size;
    let reads = bench.server.transcript().count("RETR");
    let report = bench.adopt().await;
    assert_eq!(report.proofs.get(&ProofMethod::Size), Some(&10));
    assert_eq!(bench.server.transcript().count("RETR"), reads);
    for (verify, method) in
        [(VerifyPolicy::ReadBack, ProofMethod::ReadBack), (VerifyPolicy::Hash, ProofMethod::ServerHash)]
    {
        let mut bench = forgotten(Dialect::full()).await;
        bench.job.verify = verify;
        assert_eq!(bench.adopt().await.proofs.get(&method), Some(&10), "{verify:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_off_is_taken_up_by_the_next_attempt() {
    let before = Action::DropControl(Moment::Before);
    for fault in [
        Fault::on("SIZE", before.clone()).nth(4),
        Fault::on("RETR", before.clone()).nth(3),
        Fault::on("USER", before.clone()).once(),
    ] {
        let bench = forgotten(Dialect::vsftpd()).await;
        bench.server.arm(fault.clone());
        let report = bench.adopt().await;
        assert_eq!((report.counts.proved, report.exit()), (10, Exit::Done), "{fault:?}: {report:#?}");
    }
    let bench = forgotten(Dialect::vsftpd()).await;
    bench.server.arm(Fault::on("RETR", before).from(4));
    let report = bench.adopt().await;
    assert_eq!(report.exit(), Exit::Temporary);
    assert_eq!(report.counts.proved + report.counts.failed + report.counts.not_reached, 10, "{report:#?}");
    bench.server.clear_faults();
    let again = bench.adopt().await;
    assert_eq!((again.counts.kept, again.counts.kept + again.counts.proved), (report.counts.proved, 10));
    bench.expect_no_connection(10).await;
}

/// The size is the same, and only reading both tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changed_since_it_was_sent_is_not_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.bin");
    std::fs::write(&source, "old").unwrap();
    let mut bench = Bench::new(Dialect::vsftpd(), []);
    bench.job.source = folder.path().to_owned();
    bench.run().await;
    forget(&bench);
    std::fs::write(&source, "new").unwrap();
    let report = bench.adopt().await;
    assert_eq!((report.counts.proved, report.counts.changed), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_refused_and_nobody_is_called() {
    let bench = Bench::with(Server::builder().on_event(|_: &Event| {}));
    let mut bench = bench;
    bench.job.mode = Mode::Drop;
    let report = bench.audit(|audit, stop| async move {
        match adopt(audit, stop).await {
            Err(AdoptError::Drop { job }) => {
                AuditReport::new(RunId(0), job.parse().unwrap(), nightferry::domain::AuditKind::Adopt)
            }
            other => panic!("{other:?}"),
        }
    });
    report.await;
    assert_eq!(bench.server.counters().control_connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_source_is_said() {
    let bench = forgotten(Dialect::full()).await;
    std::fs::remove_dir_all(&bench.job.source).unwrap();
    let report = bench.adopt().await;
    assert_eq!((report.counts.proved, report.exit()), (0, Exit::Source), "{report:#?}");
}
