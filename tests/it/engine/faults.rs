//! Connections that break, stall or talk nonsense at every step.

use std::net::{IpAddr, Ipv4Addr};

use ftps_server::{Action, Cut, Dialect, Fault, Moment};
use nightferry::domain::{Exit, Record, RetryBudget};
use nightferry::state::read_ledger;

use super::bench::{Bench, cause};

static CONTENT: [u8; 300_000] = [7; 300_000];

/// One fault: the file arrives once, whole, in the same run; the next runs tidy up and rest.
async fn check(dialect: &Dialect, fault: Fault) {
    let mut bench = Bench::new(dialect.clone(), [fault.clone()]).impatient();
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.txt", CONTENT);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{fault:?}: {}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(CONTENT.as_slice()), "{fault:?}");
    assert_eq!(bench.renames(), 1, "delivered more than once: {fault:?}");
    let stores = bench.server.counters().stores;
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Done, "{fault:?}");
    assert_eq!(bench.server.counters().stores, stores, "sent again: {fault:?}");
    bench.expect_no_connection(1).await;
}

async fn check_control(dialect: Dialect, verbs: &[&str]) {
    for verb in verbs {
        for moment in [Moment::Before, Moment::Unanswered, Moment::Answered] {
            check(&dialect, Fault::on(verb, Action::DropControl(moment)).once()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_connection_lost_during_login_costs_an_attempt_only() {
    check_control(Dialect::full(), &["AUTH", "USER", "PASS", "PBSZ", "PROT", "FEAT"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_connection_lost_during_the_transfer_costs_an_attempt_only() {
    check_control(Dialect::full(), &["MKD", "EPSV", "STOR", "MFMT", "HASH", "SIZE"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_connection_lost_during_the_rename_is_settled() {
    check_control(Dialect::full(), &["RNFR", "RNTO", "QUIT"]).await;
    check_control(Dialect::vsftpd(), &["RNFR", "RNTO", "RETR"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_connection_that_is_cut_costs_an_attempt_only() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        for cut in [Cut::Reset, Cut::Fin] {
            for after in [0, 1, 100_000] {
                check(&dialect, Fault::on("STOR", Action::DropData { after, cut }).once()).await;
            }
        }
    }
    for cut in [Cut::Reset, Cut::Fin] {
        check(&Dialect::vsftpd(), Fault::on("RETR", Action::DropData { after: 100_000, cut }).once()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_nonsense_cost_an_attempt_only() {
    for verb in ["USER", "EPSV", "STOR", "HASH", "RNTO"] {
        check(&Dialect::full(), Fault::on(verb, Action::Stall).once()).await;
    }
    for verb in ["EPSV", "HASH", "RNTO"] {
        check(&Dialect::full(), Fault::on(verb, Action::EndlessLine).once()).await;
        check(&Dialect::full(), Fault::on(verb, Action::EndlessReply).once()).await;
    }
    for verb in ["PASS", "EPSV", "STOR", "RNTO", "SIZE"] {
        check(&Dialect::full(), Fault::on(verb, Action::Inject(b"250 more\r\n".into())).once()).await;
    }
    check(&Dialect::full(), Fault::on_greeting(Action::EndlessLine).once()).await;
    check(&Dialect::full(), Fault::on_greeting(Action::Stall).once()).await;
}

/// An address in a PASV reply is not followed (CVE-2020-8284 and its kin).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_connections_go_to_the_control_connections_peer_only() {
    let elsewhere = Action::AdvertiseAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    // EPSV has no room for an address: such a reply is no reply.
    check(&Dialect::full(), Fault::on("EPSV", elsewhere.clone()).once()).await;
    check(&Dialect::no_epsv(), Fault::on("PASV", elsewhere)).await;
    check(&Dialect::full(), Fault::on("EPSV", Action::AdvertisePort(1)).once()).await;
}

/// A reply that stays away every time ends the run in bounded time, and the next one delivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_broken_ends_the_run() {
    for fault in [
        Fault::on("STOR", Action::DropControl(Moment::Before)),
        Fault::on("RNTO", Action::DropControl(Moment::Before)),
        Fault::on("STOR", Action::DropData { after: 1_000, cut: Cut::Reset }),
        Fault::on_greeting(Action::DropControl(Moment::Unanswered)),
    ] {
        let bench = Bench::new(Dialect::full(), [fault.clone()]).impatient();
        bench.write("a.txt", CONTENT);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Temporary), "{fault:?}");
        bench.server.clear_faults();
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done, "{fault:?}");
        assert_eq!((bench.renames(), report.counts.failed), (1, 0), "{fault:?}");
        assert_eq!(bench.stored("in/a.txt").as_deref(), Some(CONTENT.as_slice()), "{fault:?}");
        bench.run().await;
        bench.expect_no_connection(1).await;
    }
}

/// What a file failed of at last is what people read, and what the ledger keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_cause_is_told_and_recorded() {
    let replies = ["450 First", "451 Second", "450 Third"];
    let faults =
        (1..).zip(replies).map(|(nth, reply)| Fault::on("STOR", Action::Reply(reply.into())).nth(nth));
    let bench = Bench::new(Dialect::full(), faults);
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.failed, report.exit()), (1, Exit::Temporary), "{report:#?}");
    assert!(cause(&report).contains("Third"), "{}", cause(&report));
    let mut recorded = Vec::new();
    read_ledger(&bench.state_folder(), &mut |line| {
        if let Record::Failed(failed) = line.record {
            recorded.push((failed.name.clone(), failed.failure.to_string()));
        }
    })
    .unwrap();
    assert_eq!(recorded, [("a.txt".to_owned(), cause(&report))]);
    assert_eq!(bench.run().await.counts.delivered, 1);
}

/// A server that takes no file for now is not asked three times for each of many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_tries_only_so_many_files_again() {
    const FILES: usize = 150;
    let busy = Fault::on("STOR", Action::Reply("450 Busy".into()));
    let mut bench = Bench::new(Dialect::full(), [busy]);
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&format!("{n}"), "a");
    }
    let report = bench.run_quietly().await.0;
    assert_eq!((report.counts.failed, report.exit()), (FILES as u64, Exit::Temporary));
    assert_eq!(bench.server.transcript().count("STOR"), FILES + RetryBudget::MOST as usize);
    bench.server.clear_faults();
    assert_eq!(bench.run_quietly().await.0.counts.delivered, FILES as u64);
}

/// A job whose server has hung up before the proof, and lets nobody in since.
async fn with_a_leftover() -> Bench {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.txt", CONTENT);
    bench.server.arm(Fault::on("HASH", Action::DropControl(Moment::Before)));
    bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    bench
}

/// A folder that stands, but may not be listed: what is left there is not forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_listed_is_swept_when_it_can() {
    let bench = with_a_leftover().await;
    bench.server.clear_faults();
    bench.server.arm(Fault::on("MLSD", Action::Reply("550 Permission denied".into())));
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.litter().len(), 1);
    bench.server.clear_faults();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    bench.expect_no_connection(1).await;
}

/// The session is lost while leftovers are swept, and nobody is let in again: the folders that come after
/// are not forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_behind_a_lost_session_are_not_forgotten() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 1.try_into().unwrap();
    for folder in ["a/", "b/", "c/"] {
        bench.write(&format!("{folder}file"), CONTENT);
        bench.server.arm(Fault::on("HASH", Action::DropControl(Moment::Before)).naming(folder).once());
    }
    bench.server.arm(Fault::on("DELE", Action::Reply("550 Not allowed".into())));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, bench.litter().len()), (3, 3), "{report:#?}");
    bench.server.clear_faults();
    // The first folder is looked at in a session that ends so, and there is none for the second.
    bench.server.arm(Fault::on("MLSD", Action::DropControl(Moment::Before)).once());
    bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
    bench.run().await;
    assert_eq!(bench.litter().len(), 3);
    bench.server.clear_faults();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.litter(), Vec::<String>::new());
    bench.expect_no_connection(3).await;
}

/// A server that lets nobody in when leftovers are to be swept: they are not forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_swept_when_the_server_lets_us_in_again() {
    let bench = with_a_leftover().await;
    assert_eq!(bench.litter().len(), 1);
    // Nobody is let in any more, and the source is gone: the next runs have nothing but the leftovers.
    std::fs::remove_file(bench.job.source.join("a.txt")).unwrap();
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    bench.server.clear_faults();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.litter(), Vec::<String>::new());
}
