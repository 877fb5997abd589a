//! What becomes of files that are begun before the last one is through, where two things go wrong at
//! once: each file has one outcome, and nothing stays on the server.

use std::sync::{Arc, OnceLock};

use ftps_server::{Action, Cut, Dialect, Event, Fault, Moment, Server};
use nightferry::domain::{Exit, Mode, VerifyPolicy};
use tokio_util::sync::CancellationToken;

use super::ahead::{FILES, all_arrived, alone, content, name, watched};
use super::bench::cause;

fn reply(verb: &str, text: &str) -> Fault {
    Fault::on(verb, Action::Reply(text.into()))
}

/// The proof is in the bytes that came back, whatever the server says of their end, and whenever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_behind_a_file_that_was_read_back_takes_no_proof_away() {
    for text in ["451 Something was wrong.", "550 Something was wrong."] {
        for fault in [
            Fault::on("RETR", Action::ReplyAfter(text.into())).nth(2),
            Fault::on("RETR", Action::ReplyAfter(text.into())),
        ] {
            let row = format!("{fault:?}");
            let mut bench = alone(Server::builder().fault(fault));
            bench.job.verify = VerifyPolicy::ReadBack;
            let report = bench.run().await;
            assert_eq!(report.counts.delivered, FILES as u64, "{row}: {}", cause(&report));
            assert_eq!(bench.retried(), Vec::<String>::new(), "{row}");
            all_arrived(&bench, &row).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_costs_an_attempt_whatever_the_proof() {
    for verify in [VerifyPolicy::ReadBack, VerifyPolicy::Size] {
        for mode in [Mode::Mirror, Mode::Drop] {
            for (verb, times) in [("STOR", 2), ("EPSV", 3), ("RNTO", 2), ("RETR", 2), ("MFMT", 2)] {
                for moment in [Moment::Before, Moment::Unanswered] {
                    let fault = Fault::on(verb, Action::DropControl(moment)).nth(times);
                    let row = format!("{verify:?} {mode:?} {fault:?}");
                    let mut bench = alone(Server::builder().fault(fault));
                    (bench.job.verify, bench.job.mode) = (verify, mode);
                    let report = bench.run().await;
                    let expected = (FILES as u64, Exit::Done);
                    assert_eq!(
                        (report.counts.delivered, report.exit()),
                        expected,
                        "{row}: {}",
                        cause(&report)
                    );
                    all_arrived(&bench, &row).await;
                }
            }
        }
    }
}

/// The end of an upload that was not waited for belongs to that upload, whatever the proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_refusal_keeps_its_own_file_from_being_published() {
    for verify in [VerifyPolicy::Hash, VerifyPolicy::ReadBack, VerifyPolicy::Size] {
        for n in 0..FILES {
            for text in ["451 Failure writing to local file.", "553 Not this one."] {
                let fault = Fault::on("STOR", Action::ReplyAfter(text.into())).nth(n as u64 + 1);
                let row = format!("{verify:?} {fault:?}");
                let mut bench = alone(Server::builder().fault(fault));
                bench.job.verify = verify;
                let report = bench.run().await;
                let failed: Vec<_> = report.failed.iter().map(|file| file.name.clone()).collect();
                // What was refused for good is given up, and the name of the file is the right one.
                let expected = if text.starts_with('5') { vec![name(n)] } else { vec![] };
                assert_eq!(failed, expected, "{row}");
                assert_eq!(report.counts.delivered, (FILES - failed.len()) as u64, "{row}");
                assert_eq!(bench.renames(), FILES - failed.len(), "{row}");
                assert_eq!(bench.litter(), Vec::<String>::new(), "{row}");
                assert_eq!(bench.run().await.exit(), Exit::Done, "{row}");
                all_arrived(&bench, &row).await;
            }
        }
    }
}

/// A stop comes while the next file is begun, and that one breaks: each file is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_broken_next_file_leave_each_file_one_outcome() {
    for fault in [
        reply("STOR", "450 busy").nth(2),
        reply("STOR", "553 not this one").nth(2),
        Fault::on("STOR", Action::DropControl(Moment::Before)).nth(2),
        Fault::on("STOR", Action::DropControl(Moment::Unanswered)).nth(2),
        Fault::on("STOR", Action::DropData { after: 3, cut: Cut::Reset }).nth(2),
        Fault::on("STOR", Action::ReplyAfter("451 no".into())).nth(2),
        Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).nth(1),
        Fault::on("RNTO", Action::ReplyAfter("450 busy".into())).nth(1),
    ] {
        let row = format!("{fault:?}");
        let token = Arc::new(OnceLock::<CancellationToken>::new());
        let hook = Arc::clone(&token);
        let mut bench = watched(Server::builder().fault(fault), move |event| {
            if matches!(event, Event::Renamed { .. }) {
                hook.get().unwrap().cancel();
            }
        });
        token.set(bench.stop.clone()).unwrap();
        let counts = bench.run().await.counts;
        let told = counts.delivered + counts.failed + counts.not_reached;
        assert_eq!(told, FILES as u64, "{row}: {counts:?}");
        assert!(counts.delivered <= 2, "{row}: {counts:?}");
        bench.stop = CancellationToken::new();
        assert_eq!(bench.run().await.exit(), Exit::Done, "{row}");
        all_arrived(&bench, &row).await;
    }
}

/// The stock of TLS sessions runs out while a port is reserved, or a file is about to be begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_run_out_on_the_way_cost_no_file() {
    for verify in [VerifyPolicy::Hash, VerifyPolicy::ReadBack] {
        for tickets in 1..=4 {
            let dialect = Dialect::full().control_tickets(tickets).data_tickets(0);
            let mut bench = alone(Server::builder().dialect(dialect));
            bench.job.verify = verify;
            let report = bench.run().await;
            let row = format!("{verify:?} with {tickets}");
            assert_eq!(report.counts.delivered, FILES as u64, "{row}: {}", cause(&report));
            all_arrived(&bench, &row).await;
        }
    }
}

/// Where the old versions have to make room, a next file is begun with the first of several renames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_take_more_than_one_rename_go_on_one_after_the_other() {
    for fault in [
        None,
        Some(Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).nth(FILES as u64 + 3)),
        Some(Fault::on("STOR", Action::DropControl(Moment::Before)).nth(FILES as u64 + 2)),
        Some(reply("STOR", "450 busy").nth(FILES as u64 + 2)),
    ] {
        let row = format!("{fault:?}");
        let bench = alone(Server::builder().dialect(Dialect::iis()).faults(fault));
        assert_eq!(bench.run().await.counts.delivered, FILES as u64, "{row}");
        for n in 0..FILES {
            bench.write(&name(n), "a new version of it");
        }
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done, "{row}: {}", cause(&report));
        assert_eq!(report.counts.delivered + report.counts.settled, FILES as u64, "{row}");
        for n in 0..FILES {
            assert_eq!(bench.stored(&format!("in/{}", name(n))).unwrap(), b"a new version of it", "{row}");
            assert_ne!(content(n), b"a new version of it");
        }
        assert_eq!(bench.run().await.exit(), Exit::Done, "{row}");
        bench.expect_no_connection(FILES as u64).await;
    }
}
