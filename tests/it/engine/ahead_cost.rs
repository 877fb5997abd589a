//! What goes wrong between two files costs what it must and no more: so many sessions, so many uploads,
//! and nothing that stays on the server until another run sweeps.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ftps_server::{Action, Builder, Cut, Dialect, Event, Fault, Moment, Overheard, Server};
use nightferry::domain::{Exit, Overwrite, VerifyPolicy};
use nightferry::remote::Ability;
use tokio_util::sync::CancellationToken;

use super::ahead::{FILES, all_arrived, alone, content, name, watched};
use super::bench::{Bench, cause};

fn reply(verb: &str, text: &str) -> Fault {
    Fault::on(verb, Action::Reply(text.into()))
}

fn claimed(verb: &str, text: &str) -> Fault {
    Fault::on(verb, Action::ReplyAfter(text.into()))
}

/// What a run of all files took.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    logins: u64,
    uploads: usize,
    retries: usize,
    failed: Vec<String>,
}

/// So much later a reply comes that is late: longer than a busy machine takes to send the next commands, and far
/// shorter than what is waited for.
const LATE: Duration = Duration::from_millis(150);

/// Nothing goes wrong.
const SMOOTH: Cost = Cost { logins: 1, uploads: FILES, retries: 0, failed: Vec::new() };

/// An attempt is lost, and the session goes on.
const AN_ATTEMPT: Cost = Cost { logins: 1, uploads: FILES + 1, retries: 1, failed: Vec::new() };

/// Runs the job once, and says what that took: each file has its outcome, what was delivered was renamed
/// once and stands there whole, and nothing else does.
async fn cost(bench: &Bench, row: &str) -> Cost {
    let report = bench.run().await;
    let failed: Vec<String> = report.failed.iter().map(|file| file.name.clone()).collect();
    let delivered = usize::try_from(report.counts.delivered).unwrap();
    assert_eq!(delivered + failed.len(), FILES, "{row}: {}", cause(&report));
    assert_eq!(bench.renames(), FILES - failed.len(), "{row}");
    assert_eq!(bench.litter(), Vec::<String>::new(), "left until another run: {row}");
    for n in 0..FILES {
        let expected = (!failed.contains(&name(n))).then(|| content(n));
        assert_eq!(bench.stored(&format!("in/{}", name(n))), expected, "{n} after {row}");
    }
    let uploads = bench.server.transcript().count("STOR ");
    Cost { logins: bench.server.counters().logins, uploads, retries: bench.retried().len(), failed }
}

fn bench(verify: VerifyPolicy, server: Builder, faults: &[Fault]) -> Bench {
    let mut bench = alone(server.faults(faults.to_vec()));
    bench.job.verify = verify;
    bench
}

/// Its other answers are taken, what was begun meanwhile is seen through, and nobody logs in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_between_two_files_costs_no_session() {
    for verify in [VerifyPolicy::Hash, VerifyPolicy::ReadBack] {
        for (fault, expected) in [
            // The next file, while the rename of the present one is out.
            (reply("STOR", "450 busy").nth(2), AN_ATTEMPT),
            (reply("STOR", "553 not this one").nth(2), Cost { failed: vec![name(1)], ..SMOOTH }),
            // The next file at its end, which comes with the answers to its proof.
            (claimed("STOR", "451 Failure writing to local file.").nth(2), AN_ATTEMPT),
            // The next file on its way: the server says why, and takes the next one.
            (Fault::on("STOR", Action::DropData { after: 3, cut: Cut::Reset }).nth(2), AN_ATTEMPT),
            // The present one, while the next one is begun.
            (reply("RNFR", "450 busy").once(), AN_ATTEMPT),
            (reply("RNTO", "450 busy").once(), AN_ATTEMPT),
            (reply("RNTO", "250 of course").once(), AN_ATTEMPT),
            (reply("MFMT", "550 no").nth(2), SMOOTH),
            // The port, without which nothing can be begun.
            (reply("EPSV", "425 Address already in use").nth(2), SMOOTH),
        ] {
            let row = format!("{verify:?} {fault:?}");
            let bench = bench(verify, Server::builder(), &[fault]);
            assert_eq!(cost(&bench, &row).await, expected, "{row}");
        }
    }
}

/// The end of an upload that was not waited for comes once the next commands are out: their answers are taken
/// as well, and only what cannot be told apart ends the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_comes_late_is_told_from_the_answers_behind_it() {
    let late = Fault::on("STOR", Action::Delay(LATE)).nth(2);
    let lost = Cost { logins: 2, ..AN_ATTEMPT };
    for (text, expected) in [
        ("226 Transfer complete.", SMOOTH),
        ("250 Requested file action okay, completed.", SMOOTH),
        ("451 Failure writing to local file.", AN_ATTEMPT),
        ("553 Not this one.", Cost { failed: vec![name(1)], ..SMOOTH }),
        // The answer to something else.
        ("213 20261101000000", lost),
    ] {
        for verify in [VerifyPolicy::Hash, VerifyPolicy::Size] {
            let row = format!("{verify:?} {text}");
            let bench = bench(verify, Server::builder(), &[late.clone(), claimed("STOR", text).nth(2)]);
            assert_eq!(cost(&bench, &row).await, expected, "{row}");
        }
    }
}

/// However many answers are outstanding: what may stand there under a temporary name is deleted by the
/// next session of the same run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_lost_between_two_files_leaves_nothing() {
    for verify in [VerifyPolicy::Hash, VerifyPolicy::ReadBack] {
        for (verb, nth) in [("STOR", 2), ("RNFR", 1), ("RNTO", 1), ("MFMT", 4), ("SIZE", 4), ("EPSV", 3)] {
            for moment in [Moment::Before, Moment::Unanswered, Moment::Answered] {
                let fault = Fault::on(verb, Action::DropControl(moment)).nth(nth);
                let row = format!("{verify:?} {fault:?}");
                let bench = bench(verify, Server::builder(), &[fault]);
                let Cost { logins, uploads, failed, .. } = cost(&bench, &row).await;
                assert_eq!((logins, failed), (2, vec![]), "{row}");
                // Of the present file and of the next one, where that was begun.
                assert!((FILES..=FILES + 2).contains(&uploads), "{row}: {uploads}");
                all_arrived(&bench, &row).await;
            }
        }
    }
}

/// The server says goodbye in the middle of what was asked in one write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_between_two_files_costs_a_session() {
    let goodbye = "421 Service not available, closing control connection.";
    for fault in [
        reply("RNFR", goodbye).once(),
        reply("RNTO", goodbye).once(),
        claimed("RNTO", goodbye).once(),
        reply("STOR", goodbye).nth(2),
        claimed("STOR", goodbye).nth(2),
        reply("EPSV", goodbye).nth(2),
        reply("SIZE", goodbye).nth(3),
    ] {
        let row = format!("{fault:?}");
        let bench = bench(VerifyPolicy::Hash, Server::builder(), &[fault]);
        let Cost { logins, failed, .. } = cost(&bench, &row).await;
        assert_eq!((logins, failed), (2, vec![]), "{row}");
        all_arrived(&bench, &row).await;
    }
}

/// What was answered before it is true all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_behind_the_last_answer_takes_nothing_back() {
    // The last question about the last file.
    let last = 4 * FILES as u64;
    let goodbye = Action::Inject(b"421 Timeout (no new commands)\r\n".to_vec());
    let bench = bench(VerifyPolicy::Hash, Server::builder(), &[Fault::on("SIZE", goodbye).nth(last)]);
    assert_eq!(cost(&bench, "421").await, SMOOTH);
}

/// From then on nobody knows which answer belongs to what: nothing is published by such answers, and the
/// session is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_many_or_too_few_ends_the_session() {
    for (verb, nth) in
        [("MFMT", 3), ("HASH", 2), ("MDTM", 2), ("SIZE", 5), ("EPSV", 3), ("RNFR", 2), ("RNTO", 2)]
    {
        for action in [Action::Twice, Action::Silent] {
            let row = format!("{verb} {action:?}");
            let bench =
                bench(VerifyPolicy::Hash, Server::builder(), &[Fault::on(verb, action.clone()).nth(nth)]);
            let Cost { logins, failed, .. } = cost(&bench, &row).await;
            assert_eq!(logins, 2, "{row}");
            // One too many may come too late for its own exchange, so that a stranger's file seems to stand under
            // the final name: that is left alone, and sent by the next run.
            assert!(
                failed.is_empty() || (action == Action::Twice && failed == [name(1)]),
                "{row}: {failed:?}"
            );
            assert_eq!(bench.run().await.exit(), Exit::Done, "{row}");
            all_arrived(&bench, &row).await;
        }
    }
    // One that comes behind the last answer, where nothing is out of step yet.
    let more = Action::Inject(b"200 and another thing\r\n".to_vec());
    let bench = bench(VerifyPolicy::Hash, Server::builder(), &[Fault::on("EPSV", more).nth(3)]);
    let Cost { logins, failed, .. } = cost(&bench, "inject").await;
    assert_eq!((logins, failed), (2, vec![]));
    assert_eq!(bench.profile().overlap, Ability::No, "mixed up, and not noted");
}

/// So does one that says that all is well and is no answer to what was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_the_port_that_was_asked_for_ends_the_session() {
    let bench = bench(VerifyPolicy::Hash, Server::builder(), &[reply("EPSV", "200 of course").nth(2)]);
    assert_eq!(cost(&bench, "200").await, Cost { logins: 2, ..AN_ATTEMPT });
}

/// Where sizes are not told, the temporary name is asked after once more: behind the next file, which was begun
/// with the rename.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_to_be_asked_once_more_waits_for_the_file_that_was_begun() {
    for text in ["500 what?", "550 I do not tell"] {
        let mut bench = bench(VerifyPolicy::Hash, Server::builder(), &[reply("SIZE", text)]);
        // Without sizes nothing is known of what stands there.
        bench.job.overwrite = Overwrite::Replace;
        assert_eq!(cost(&bench, text).await, SMOOTH, "{text}");
    }
}

/// More has to be asked about the present file while the next one is begun: that one is stored first, and
/// what is refused at its end is its own failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_at_its_end_is_told_of_the_file_that_it_was() {
    for (text, failed) in [("553 Not this one.", vec![name(1)]), ("451 Not now.", vec![])] {
        let late = Fault::on("STOR", Action::Delay(LATE)).nth(2);
        let faults = [reply("RNTO", "250 of course").once(), claimed("STOR", text).nth(2), late];
        let bench = bench(VerifyPolicy::Hash, Server::builder(), &faults);
        let retries = 2 - failed.len();
        let expected = Cost { logins: 1, uploads: FILES + retries, retries, failed };
        assert_eq!(cost(&bench, text).await, expected, "{text}");
    }
}

/// Where the old version has to make room, it goes once the next file, begun with the rename, is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_goes_in_the_same_session() {
    let bench = bench(VerifyPolicy::Auto, Server::builder().dialect(Dialect::iis()), &[]);
    assert_eq!(cost(&bench, "first").await, SMOOTH);
    for version in ["a new version", "and another one"] {
        let before = (bench.server.counters().logins, bench.server.transcript().count("STOR "));
        for n in 0..FILES {
            bench.write(&name(n), version);
        }
        let report = bench.run().await;
        assert_eq!(
            (report.counts.delivered, report.exit()),
            (FILES as u64, Exit::Done),
            "{}",
            cause(&report)
        );
        assert_eq!(bench.litter(), Vec::<String>::new(), "{version}");
        let after = (bench.server.counters().logins, bench.server.transcript().count("STOR "));
        assert_eq!(after, (before.0 + 1, before.1 + FILES), "{version}");
    }
}

/// The folder of the next file is asked for with the proof of the present one. Refused for now, it is
/// asked for once more in the file's own turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_refused_ahead_is_asked_for_again() {
    // Refused there as well, it costs the file an attempt.
    for (text, refused, times) in [("450 busy", 1_u8, 2), ("450 busy", 2, 3), ("550 File exists", 1, 1)] {
        let fault = reply("MKD", text).naming("/in/b").first(refused.into());
        let mut bench = Bench::with(Server::builder().fault(fault)).impatient();
        bench.definition.connections = 1.try_into().unwrap();
        bench.write("a/1.txt", "first");
        bench.write("b/2.txt", "second");
        if text.starts_with("550") {
            std::fs::create_dir_all(bench.server.root().join("in/b")).unwrap();
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{text}: {}", cause(&report));
        assert_eq!(bench.stored("in/b/2.txt").unwrap(), b"second");
        let transcript = bench.server.transcript();
        let counted = (transcript.count("MKD /in/b"), transcript.count("STOR "), bench.retried().len());
        assert_eq!(
            (counted, bench.server.counters().logins),
            ((times, 2, usize::from(refused - 1)), 1),
            "{text}: {transcript}"
        );
    }
}

/// Where no port could be had ahead, the next file is not begun: a run that stops then leaves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_a_port_is_not_begun() {
    let token = Arc::new(OnceLock::<CancellationToken>::new());
    let hook = Arc::clone(&token);
    let server = Server::builder().fault(reply("EPSV", "425 Address already in use").from(2));
    let bench = watched(server, move |event| {
        if matches!(event, Event::Renamed { .. }) {
            hook.get().unwrap().cancel();
        }
    });
    token.set(bench.stop.clone()).unwrap();
    let report = bench.run().await;
    let counts = (report.counts.delivered, report.counts.not_reached, report.counts.failed);
    assert_eq!(counts, (1, FILES as u64 - 1, 0), "{report:#?}");
    assert_eq!((bench.server.transcript().count("STOR "), bench.litter()), (1, Vec::<String>::new()));
}

/// Nobody listens at the port that was asked for ahead: the data connection is refused while the answers to
/// the rename are outstanding. They are taken all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_refuses_while_answers_are_outstanding_costs_the_next_file_alone() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for action in [Action::ClosePort, Action::AdvertisePort(closed)] {
        let row = format!("{action:?}");
        let bench = bench(VerifyPolicy::Hash, Server::builder(), &[Fault::on("EPSV", action).nth(2)]);
        let Cost { logins, uploads, retries, failed } = cost(&bench, &row).await;
        assert_eq!((uploads, retries, failed), (FILES + 1, 1, vec![]), "{row}");
        // One of the two waits for a connection, which ends the session.
        assert!(logins <= 2, "{row}: {logins}");
        all_arrived(&bench, &row).await;
    }
}

/// What runs of eight files over a network that cuts sessions took: uploads that rode with a rename, and others.
async fn rides(faults: &[Fault]) -> (Bench, [usize; 2]) {
    const MORE: usize = 8;
    let bench = bench(VerifyPolicy::Hash, Server::builder(), faults);
    for n in FILES..MORE {
        bench.write(&name(n), content(n));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (MORE as u64, Exit::Done), "{}", cause(&report));
    assert_eq!((bench.profile().overlap, bench.server.counters().logins), (Ability::Yes, 3));
    let counted = uploads(&bench);
    (bench, counted)
}

fn uploads(bench: &Bench) -> [usize; 2] {
    let writes = bench.server.transcript().writes();
    let rode = writes.iter().filter(|write| write.contains(" STOR")).count();
    [rode, writes.iter().filter(|write| *write == "STOR").count()]
}

/// Where sessions are cut again and again while a transfer overlaps, the run goes on step by step; of a
/// server that has borne it before nothing is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_cuts_sessions_is_served_step_by_step_for_a_while() {
    let lost = Action::DropControl(Moment::Before);
    let upload = |nth| Fault::on("STOR", lost.clone()).nth(nth);
    let rename = |n| Fault::on("RNTO", lost.clone()).naming(&format!("/in/{}", name(n))).once();
    // The third upload rides with a rename, the fourth is of the same file by itself, the fifth rides again.
    for (faults, counted) in [
        ([upload(3), upload(5)], [3, 7]),
        // Cut before that, while the rename is answered: the upload is never seen.
        ([rename(1), rename(2)], [1, 7]),
        // What went well in between counts for the server.
        ([upload(3), upload(7)], [7, 3]),
    ] {
        let row = format!("{faults:?}");
        let (bench, seen) = rides(&faults).await;
        assert_eq!(seen, counted, "{row}");
        // Another process has seen nothing of it.
        for n in 0..FILES {
            bench.write(&name(n), "other bytes");
        }
        assert_eq!(bench.run().await.counts.delivered, FILES as u64, "{row}");
        assert_eq!(uploads(&bench), [counted[0] + FILES - 1, counted[1] + 1], "{row}");
    }
}

/// The same where the end of an upload was not waited for: a server that minds is found out with a single file as
/// well, and one that has borne it is not taken for such a one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_not_waited_for_is_found_out_alone_and_not_laid_to_a_server_that_bears_it() {
    let minds = Fault::on("STOR", Action::Overhears(String::new(), Overheard::HangUp));
    let alone = Bench::new(Dialect::full(), [minds]).impatient();
    alone.write("a.txt", "a");
    let report = alone.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(alone.profile().overlap, Ability::No);

    // Two of each file: the third file is cut, and once more when it is sent again.
    let cut = |nth| Fault::on("MFMT", Action::DropControl(Moment::Before)).nth(nth);
    let late = Fault::on("STOR", Action::Delay(LATE));
    let bench = bench(VerifyPolicy::Hash, Server::builder(), &[late, cut(5), cut(6)]);
    let Cost { logins, failed, .. } = cost(&bench, "cut").await;
    assert_eq!((logins, failed), (3, vec![]));
    assert_eq!(bench.profile().overlap, Ability::Yes);
}

/// A file is handed over in pieces, however it was read: those of many sessions stand in memory at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_held_in_memory_whole() {
    const PIECE: u64 = 256 * 1024;
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 1.try_into().unwrap();
    // Those of the small lane are read ahead, the last one is not.
    for (n, size) in [0, 1, PIECE, PIECE + 1, 3 * PIECE, 17 * PIECE + 5].into_iter().enumerate() {
        bench.write(&name(n), vec![b'x'; usize::try_from(size).unwrap()]);
    }
    assert_eq!(bench.run().await.counts.delivered, 6);
    let pieces = bench.pieces();
    assert!(pieces.iter().all(|bytes| *bytes <= PIECE), "{pieces:?}");
    assert_eq!(pieces.iter().sum::<u64>(), 1 + PIECE + PIECE + 1 + 3 * PIECE + 17 * PIECE + 5);
}
