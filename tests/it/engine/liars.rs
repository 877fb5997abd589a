//! Servers that say that all is well and store something else.

use ftps_server::{Action, Dialect, Event, Fault, Server, Witness};
use nightferry::domain::{Exit, ProofMethod, VerifyPolicy};

use super::bench::{Bench, cause};

/// What must come of a lie.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Nothing is delivered, and the cause says this.
    Caught(&'static str),
    /// The proof that the job asks for cannot see it, or it does no harm.
    Unseen,
}

async fn check(dialect: &Dialect, verify: VerifyPolicy, verb: &str, lie: Action, wanted: Wanted) {
    let mut bench = Bench::new(dialect.clone(), [Fault::on(verb, lie.clone())]);
    bench.job.verify = verify;
    bench.write("a.txt", vec![7; 70_000]);
    let report = bench.run().await;
    let row = format!("{verb} {lie:?} under {verify:?}");
    match wanted {
        Wanted::Caught(text) => {
            assert_eq!((report.counts.delivered, report.counts.failed), (0, 1), "{row}");
            assert_ne!(report.exit(), Exit::Done, "{row}");
            assert!(cause(&report).contains(text), "{row}: {}", cause(&report));
            assert_eq!(bench.stored("in/a.txt"), None, "{row}");
            bench.server.clear_faults();
            let report = bench.run().await;
            assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "after {row}");
            assert_eq!(bench.stored("in/a.txt"), Some(vec![7; 70_000]), "after {row}");
        }
        Wanted::Unseen => assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{row}"),
    }
    assert_eq!(bench.litter(), Vec::<String>::new(), "{row}");
}

/// The lies that every way of proving sees.
async fn check_seen_by_all(dialect: &Dialect, verify: VerifyPolicy) {
    let half = if verify == VerifyPolicy::Size { "the server has" } else { "the server stored" };
    check(dialect, verify, "STOR", Action::StoreHalf, Wanted::Caught(half)).await;
    let gone = if verify == VerifyPolicy::ReadBack { "RETR" } else { "" };
    check(dialect, verify, "STOR", Action::Vanish, Wanted::Caught(gone)).await;
    check(dialect, verify, "SIZE", Action::Size(3), Wanted::Caught("3")).await;
    let claimed = Action::Reply("250 Rename successful".into());
    check(dialect, verify, "RNTO", claimed, Wanted::Caught("said that it renamed the file, but did not"))
        .await;
    check(dialect, verify, "RNTO", Action::Vanish, Wanted::Caught("mode: drop")).await;
    check(dialect, verify, "STOR", Action::WithholdCloseNotify, Wanted::Unseen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_hashes_is_believed_only_what_it_proves() {
    let full = Dialect::full();
    let other = Wanted::Caught("its file has the SHA-256");
    for verify in [VerifyPolicy::Auto, VerifyPolicy::Hash] {
        check_seen_by_all(&full, verify).await;
        check(&full, verify, "STOR", Action::FlipByte(Witness::Honest), other).await;
        check(&full, verify, "STOR", Action::FlipByte(Witness::Cached), other).await;
        check(&full, verify, "HASH", Action::WrongHash, other).await;
    }
    // Who asks for the server's word gets it.
    check(&full, VerifyPolicy::Auto, "STOR", Action::FlipByte(Witness::Liar), Wanted::Unseen).await;
}

/// ProFTPD answers HASH from a cache until the file's time changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proftpds_cached_hash_is_not_taken_for_the_disk() {
    let lie = Action::FlipByte(Witness::Cached);
    let other = Wanted::Caught("its file has the SHA-256");
    check(&Dialect::proftpd(), VerifyPolicy::Auto, "STOR", lie, other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_back_sees_every_byte() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        check_seen_by_all(&dialect, VerifyPolicy::ReadBack).await;
        for witness in [Witness::Honest, Witness::Cached, Witness::Liar] {
            let other = Wanted::Caught("its file has the SHA-256");
            check(&dialect, VerifyPolicy::ReadBack, "STOR", Action::FlipByte(witness), other).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_alone_sees_no_bytes_and_all_else() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        check_seen_by_all(&dialect, VerifyPolicy::Size).await;
        let flip = Action::FlipByte(Witness::Honest);
        check(&dialect, VerifyPolicy::Size, "STOR", flip, Wanted::Unseen).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_hashes_is_refused_where_the_job_wants_one() {
    let mut bench = Bench::new(Dialect::vsftpd(), []);
    bench.job.verify = VerifyPolicy::Hash;
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused));
    assert!(cause(&report).contains("verify: auto"), "{}", cause(&report));
    assert_eq!(bench.server.transcript().count("STOR"), 0);
    bench.job.verify = VerifyPolicy::Auto;
    assert_eq!(bench.run().await.proofs.get(&ProofMethod::ReadBack), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_never_confirmed_is_not_delivered() {
    let bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::Silent)]).impatient();
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.failed, report.exit()), (1, Exit::Temporary));
    assert!(cause(&report).contains("longer than"), "{}", cause(&report));
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.litter(), Vec::<String>::new());
}

/// A file that became very much longer on the server is not fetched to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_back_ends_where_the_file_should() {
    const VERY_LONG: u64 = 1 << 26;
    let hook = |event: &Event| {
        if let Event::Stored { local, .. } = event {
            std::fs::File::options().write(true).open(local).unwrap().set_len(VERY_LONG).unwrap();
        }
    };
    let bench = Bench::watched(Server::builder().dialect(Dialect::pure_ftpd()), hook);
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Verification), "{report:#?}");
    assert!(cause(&report).contains("1 bytes were sent"), "{}", cause(&report));
    assert!(!cause(&report).contains(&VERY_LONG.to_string()), "all of it was fetched: {}", cause(&report));
}
