//! Servers that take fewer connections than the job would open, and logins that fail.

use ftps_server::{Action, Dialect, Fault, Moment};
use nightferry::domain::Exit;

use super::bench::{Bench, cause};

/// All but the first connection meet this; the run goes on with the first.
async fn check(fault: Fault) {
    let mut bench = Bench::new(Dialect::full(), [fault.clone().from(2)]);
    bench.definition.connections = 4.try_into().unwrap();
    for n in 0..30 {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (30, Exit::Done), "{fault:?}: {}", cause(&report));
    assert_eq!(bench.server.counters().logins, 1, "{fault:?}");
    bench.expect_no_connection(30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_shrink_the_run() {
    check(Fault::on_greeting(Action::Reply("421 There are too many connected users".into()))).await;
    let proftpd = "530 Sorry, the maximum number of clients (2) from your host are already connected.";
    check(Fault::on("PASS", Action::Reply(proftpd.into()))).await;
    // Without a word, as a firewall does it.
    check(Fault::on_greeting(Action::DropControl(Moment::Unanswered))).await;
}

/// A port that takes connections and says nothing costs each attempt its whole limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_tried_equally_often_whatever_the_number_of_connections() {
    let mut bench = Bench::new(Dialect::full(), [Fault::on_greeting(Action::Stall)]).impatient();
    bench.definition.connections = 8.try_into().unwrap();
    for n in 0..30 {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Temporary));
    // Four tries, and one question whether it wants TLS first.
    assert_eq!(bench.server.counters().control_connections, 5);
    assert_eq!(report.counts.failed + report.counts.not_reached, 30, "each file has one outcome");
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.delivered, 30);
}

/// Each wrong password counts towards locking the account out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once_whatever_the_number_of_connections() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 8.try_into().unwrap();
    bench.password = "wrong";
    for n in 0..30 {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused));
    assert!(report.stopped.unwrap().cause.contains("check `username` and `password`"));
    assert_eq!(bench.server.transcript().count("PASS"), 1);
    assert_eq!(report.counts.failed + report.counts.not_reached, 30, "each file has one outcome");
    bench.password = "password";
    assert_eq!(bench.run().await.counts.delivered, 30);
}

/// Refused by the server for good: said as such, and nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_refused_for_good_stops_the_run() {
    for (verb, reply, exit) in [
        ("AUTH", "502 no", Exit::Trust),
        ("AUTH", "534 no", Exit::Trust),
        ("PBSZ", "503 no", Exit::Trust),
        ("PROT", "534 no", Exit::Trust),
        ("PROT", "536 no", Exit::Trust),
        ("USER", "530 no", Exit::Refused),
        ("PASS", "332 account", Exit::Refused),
    ] {
        let bench = Bench::new(Dialect::full(), [Fault::on(verb, Action::Reply(reply.into()))]);
        bench.write("a.txt", "a");
        bench.write("b.txt", "b");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, exit), "{verb} {reply}");
        let transcript = bench.server.transcript();
        assert_eq!((transcript.count(verb), transcript.count("STOR")), (1, 0), "{verb} {reply}");
        if verb == "AUTH" {
            assert_eq!((transcript.count("USER"), transcript.count("AUTH TLS")), (0, 1));
        }
    }
}

/// One file that is too large for the server keeps the others from nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_no_room_for_does_not_stop_smaller_files() {
    for connections in [1, 4] {
        let fault = Fault::on("STOR", Action::RefuseAbove(1_000));
        let mut bench = Bench::new(Dialect::full(), [fault]);
        bench.definition.connections = connections.try_into().unwrap();
        bench.write("large.bin", vec![1; 5_000]);
        bench.write("larger.bin", vec![1; 9_000]);
        for n in 0..20 {
            bench.write(&format!("{n}.txt"), format!("{n}"));
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (20, Exit::Refused), "{report:#?}");
        assert_eq!(report.counts.failed + report.counts.not_reached, 2, "each file has one outcome");
        assert!(report.stopped.is_none() && report.is_parked(), "{report:#?}");
        assert_eq!(report.counts.no_room, report.counts.failed, "{report:#?}");
        assert!(cause(&report).contains("552"), "{}", cause(&report));
        bench.server.clear_faults();
        assert_eq!(bench.run().await.counts.delivered, 2);
        bench.expect_no_connection(22).await;
    }
}

/// However many are too large: each of the others shows that the server is not full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_taken_show_that_there_is_room() {
    let mut bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::RefuseAbove(1_000))]);
    bench.definition.connections = 1.try_into().unwrap();
    for n in 10..40 {
        // Of the large ones each is smaller than the one before it.
        let size = if n % 2 == 0 { 3_000 - n } else { 10 };
        bench.write(&format!("{n}.txt"), vec![1; size]);
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (15, Exit::Refused), "{report:#?}");
    assert!(report.stopped.is_none() && report.counts.failed == 15, "{report:#?}");
}

/// The disk is full: after a few files no other is tried, however small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_no_room_at_all_is_not_hammered() {
    let full = Action::ReplyAfter("552 Quota exceeded".into());
    let mut bench = Bench::new(Dialect::full(), [Fault::on("STOR", full)]);
    bench.definition.connections = 1.try_into().unwrap();
    // Each smaller than the one before it.
    for n in 1..100 {
        bench.write(&format!("{n:02}.txt"), vec![1; 100 - n]);
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{report:#?}");
    assert_eq!(report.counts.failed + report.counts.not_reached, 99, "each file has one outcome");
    let stores = bench.server.transcript().count("STOR");
    assert_eq!(stores, 8);
    assert!(report.is_parked() && report.counts.no_room == 8, "{report:#?}");
    assert!(report.stopped.is_some_and(|failure| failure.to_string().contains("552")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_stops_the_run() {
    for reply in ["452 No space left on device", "552 Quota exceeded"] {
        let mut bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::ReplyAfter(reply.into()))]);
        bench.definition.connections = 1.try_into().unwrap();
        for n in 0..10 {
            bench.write(&format!("{n}.txt"), format!("{n}"));
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{reply}");
        assert_eq!(report.counts.failed + report.counts.not_reached, 10, "each file has one outcome");
        assert_eq!(bench.server.transcript().count("STOR"), 1, "no hammering");
        bench.server.clear_faults();
        assert_eq!(bench.run().await.counts.delivered, 10);
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}
