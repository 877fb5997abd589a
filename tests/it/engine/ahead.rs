//! Files that are begun before the last one is through: how many writes that takes, what becomes of
//! both when something goes wrong in between, and servers that do not bear it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use ftps_server::{Action, Blow, Cut, Dialect, Event, Fault, Moment, Overheard, Server};
use nightferry::domain::{Exit, VerifyPolicy};
use nightferry::remote::Ability;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, cause};

pub(super) const FILES: usize = 4;

pub(super) fn name(n: usize) -> String {
    format!("{n}.txt")
}

pub(super) fn content(n: usize) -> Vec<u8> {
    format!("the content of {n}").repeat(n + 1).into_bytes()
}

/// A job of some files, over one connection.
pub(super) fn alone(server: ftps_server::Builder) -> Bench {
    watched(server, |_| {})
}

pub(super) fn watched(server: ftps_server::Builder, hook: impl FnMut(&Event) + Send + 'static) -> Bench {
    let mut bench = Bench::watched(server, hook).impatient();
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&name(n), content(n));
    }
    bench
}

/// Every file stands there, whole, and was renamed there once; another run has nothing to do.
pub(super) async fn all_arrived(bench: &Bench, row: &str) {
    for n in 0..FILES {
        assert_eq!(bench.stored(&format!("in/{}", name(n))), Some(content(n)), "{n} after {row}");
    }
    assert_eq!(bench.renames(), FILES, "delivered more than once: {row}");
    let stores = bench.server.counters().stores;
    // It may have something to sweep.
    assert_eq!(bench.run().await.exit(), Exit::Done, "{row}");
    assert_eq!(bench.server.counters().stores, stores, "sent again: {row}");
    bench.expect_no_connection(FILES as u64).await;
}

async fn delivers(fault: Fault) {
    let row = format!("{fault:?}");
    let bench = alone(Server::builder().fault(fault));
    let report = bench.run().await;
    let expected = (FILES as u64, Exit::Done);
    assert_eq!((report.counts.delivered, report.exit()), expected, "{row}: {}", cause(&report));
    all_arrived(&bench, &row).await;
}

/// The writes of a run over one connection, without those of the data connections.
async fn writes(dialect: Dialect, verify: VerifyPolicy) -> Vec<String> {
    let mut bench = alone(Server::builder().dialect(dialect));
    bench.job.verify = verify;
    let report = bench.run().await;
    assert_eq!(report.counts.delivered, FILES as u64, "{}", cause(&report));
    bench.server.transcript().writes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_takes_two_writes_beside_its_data() {
    let login = "USER PASS PBSZ PROT TYPE OPTS PWD FEAT";
    let (proof, rename) = ("MFMT MDTM SIZE SIZE", "RNFR RNTO SIZE SIZE");
    let file = [format!("{proof} EPSV"), format!("{rename} STOR")];
    let mut expected: Vec<String> = ["AUTH", login, "MKD EPSV", "STOR"].map(Into::into).to_vec();
    expected.extend(std::iter::repeat_n(file, FILES - 1).flatten());
    expected.extend([proof, rename, "QUIT"].map(Into::into));
    assert_eq!(writes(Dialect::full(), VerifyPolicy::Size).await, expected);

    // The server's hash takes no more.
    let hashed = writes(Dialect::full(), VerifyPolicy::Hash).await;
    assert_eq!(hashed.len(), expected.len(), "{hashed:#?}");
    // What is read back takes a second data connection.
    let read = writes(Dialect::full(), VerifyPolicy::ReadBack).await;
    let file = [format!("{proof} EPSV"), "RETR".into(), format!("{rename} EPSV"), "STOR".into()];
    assert_eq!(read[4..8], file, "{read:#?}");
}

/// In one write with the rename of a file the next one is begun, so all that was true before a rename
/// must be true then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_is_durable_before_its_rename_and_a_staging_before_its_upload() {
    let ledger = Arc::new(OnceLock::<PathBuf>::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (folder, noted) = (Arc::clone(&ledger), Arc::clone(&seen));
    let bench = watched(Server::builder(), move |event| {
        let records: String = walkdir::WalkDir::new(folder.get().unwrap())
            .into_iter()
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .collect();
        let durable = match event {
            Event::Renamed { from, to, .. } => {
                let temporary = from.rsplit('/').next().unwrap();
                let of_it = |line: &&str| line.contains(temporary) && line.contains("publishing");
                Some((to.clone(), records.lines().filter(of_it).count()))
            }
            Event::Stored { path, .. } => {
                Some((path.clone(), records.lines().filter(|line| line.contains("staging")).count()))
            }
            _ => None,
        };
        noted.lock().unwrap().extend(durable);
    });
    ledger.set(bench.state_folder()).unwrap();
    assert_eq!(bench.run().await.counts.delivered, FILES as u64);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2 * FILES, "{seen:?}");
    assert!(seen.iter().all(|(_, records)| *records == 1), "{seen:?}");
}

/// A crash may leave each of them where no other file of the run was stored before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_staging_of_each_folder_is_durable_before_the_first_upload_into_it() {
    let ledger = Arc::new(OnceLock::<PathBuf>::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (folder, noted) = (Arc::clone(&ledger), Arc::clone(&seen));
    let mut bench = Bench::watched(Server::builder(), move |event| {
        let Event::Stored { path, .. } = event else { return };
        let (within, _) = path.rsplit_once('/').unwrap();
        let is_staging =
            |line: &str| line.contains("staging") && line.contains(&format!("\"folder\":\"{within}\""));
        let durable = walkdir::WalkDir::new(folder.get().unwrap())
            .into_iter()
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .any(|text| text.lines().any(is_staging));
        noted.lock().unwrap().push((path.clone(), durable));
    });
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&format!("{n}/{}", name(n)), content(n));
    }
    ledger.set(bench.state_folder()).unwrap();
    assert_eq!(bench.run().await.counts.delivered, FILES as u64);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), FILES, "{seen:?}");
    assert!(seen.iter().all(|(_, durable)| *durable), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_on_the_way_costs_an_attempt_only() {
    let reply = |verb, text: &str| Fault::on(verb, Action::Reply(text.into()));
    for fault in [
        reply("STOR", "450 busy").nth(2),
        reply("STOR", "425 no connection").nth(2),
        reply("EPSV", "425 Address already in use").nth(2),
        reply("EPSV", "425 Address already in use").from(2).first(3),
        reply("RNFR", "450 busy").once(),
        reply("RNTO", "450 busy").once(),
        // A rename that was only claimed, and one that is not believed.
        reply("RNTO", "250 of course").once(),
        reply("SIZE", "550 I do not tell"),
        reply("SIZE", "500 what?"),
        reply("MFMT", "550 no").nth(2),
        Fault::on("EPSV", Action::ClosePort).nth(2),
    ] {
        let told = matches!(&fault, fault if format!("{fault:?}").contains("SIZE"));
        if told {
            // Without sizes nothing is known of what stands there.
            let row = format!("{fault:?}");
            let mut bench = alone(Server::builder().fault(fault));
            bench.job.overwrite = nightferry::domain::Overwrite::Replace;
            let report = bench.run().await;
            assert_eq!(report.counts.delivered, FILES as u64, "{row}: {}", cause(&report));
            all_arrived(&bench, &row).await;
        } else {
            delivers(fault).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_file_that_is_refused_for_good_harms_nobody() {
    let refused = Fault::on("STOR", Action::Reply("553 Prohibited file name".into())).nth(2);
    let bench = alone(Server::builder().fault(refused));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.failed.len()), (FILES as u64 - 1, 1));
    assert!(cause(&report).contains("553"), "{}", cause(&report));
    assert_eq!(bench.run().await.counts.delivered, 1);
    all_arrived(&bench, "553").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_between_two_files_costs_an_attempt_of_each() {
    for (verb, times) in [("RNFR", 1), ("RNTO", 1), ("STOR", 2), ("EPSV", 2), ("MFMT", 2), ("SIZE", 3)] {
        for moment in [Moment::Before, Moment::Unanswered, Moment::Answered] {
            delivers(Fault::on(verb, Action::DropControl(moment)).nth(times)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_connection_that_is_lost_between_two_files_costs_an_attempt() {
    for cut in [Cut::Reset, Cut::Fin] {
        delivers(Fault::on("STOR", Action::DropData { after: 3, cut }).nth(2)).await;
        delivers(Fault::on("STOR", Action::DataAtOnce(Blow::Cut(cut))).nth(2)).await;
    }
    for spoiled in [Action::StoreHalf, Action::FlipByte(ftps_server::Witness::Honest)] {
        delivers(Fault::on("STOR", spoiled).nth(2)).await;
    }
}

/// The end of an upload that was not waited for is heeded all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_at_its_end_is_not_published() {
    for text in ["451 Failure writing to local file.", "426 Transfer aborted."] {
        delivers(Fault::on("STOR", Action::ReplyAfter(text.into())).nth(2)).await;
    }
    let full = Fault::on("STOR", Action::ReplyAfter("452 No space left on device".into())).nth(2);
    let bench = alone(Server::builder().fault(full));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Refused), "{}", cause(&report));
    assert_eq!(bench.renames(), 1);
    bench.server.clear_faults();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    all_arrived(&bench, "452").await;
}

/// The file may be open, read and asked for by then: it arrives as it was or as it is, or not at all,
/// and the next run sends what it has become.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_file_that_changes_or_goes_is_never_mixed_up() {
    for (at_rename, goes) in [(true, true), (true, false), (false, true), (false, false)] {
        let source = Arc::new(OnceLock::<PathBuf>::new());
        let (path, mut done) = (Arc::clone(&source), false);
        let bench = watched(Server::builder(), move |event| {
            let asked = matches!(event, Event::Asked { .. });
            if !asked && matches!(event, Event::Renamed { .. }) == at_rename && !done {
                done = !matches!(event, Event::Listening { .. });
                let file = path.get().unwrap().join(name(1));
                match (done, goes) {
                    (false, _) => {}
                    (true, true) => std::fs::remove_file(file).unwrap(),
                    (true, false) => std::fs::write(file, "other").unwrap(),
                }
            }
        });
        source.set(bench.job.source.clone()).unwrap();
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done, "{}", cause(&report));
        assert_eq!(bench.run().await.exit(), Exit::Done);
        let stored = bench.stored(&format!("in/{}", name(1)));
        if goes {
            assert!(stored.is_none_or(|stored| stored == content(1)), "after {at_rename}");
        } else {
            assert_eq!(stored.as_deref(), Some(b"other".as_slice()), "after {at_rename}");
        }
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}

/// When the run stops, what the server has begun to store is seen through, and nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_stops_between_two_files_leaves_nothing() {
    for at_rename in [true, false] {
        let token = Arc::new(OnceLock::<CancellationToken>::new());
        let hook = Arc::clone(&token);
        let mut bench = watched(Server::builder(), move |event| {
            let due = match event {
                Event::Renamed { .. } => at_rename,
                Event::Stored { .. } => !at_rename,
                _ => false,
            };
            if due {
                hook.get().unwrap().cancel();
            }
        });
        token.set(bench.stop.clone()).unwrap();
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Interrupted);
        let delivered = report.counts.delivered;
        assert!((1..=2).contains(&delivered), "{delivered}");
        assert_eq!(delivered + report.counts.not_reached, FILES as u64, "{report:#?}");
        assert_eq!(bench.litter(), Vec::<String>::new());
        bench.stop = CancellationToken::new();
        // The hook's token is the old one.
        assert_eq!(bench.run().await.exit(), Exit::Done);
        all_arrived(&bench, "a stop").await;
    }
}

/// A server that does not bear it is found out, and served step by step from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_minds_is_served_step_by_step() {
    for (verb, start) in [("STOR", ""), ("RNTO", "STOR")] {
        for overheard in [Overheard::HangUp, Overheard::Forget, Overheard::Confused] {
            let row = format!("{verb}: {overheard:?}");
            let fault = Fault::on(verb, Action::Overhears(start.into(), overheard));
            let bench = alone(Server::builder().fault(fault));
            let report = bench.run().await;
            let expected = (FILES as u64, Exit::Done);
            assert_eq!((report.counts.delivered, report.exit()), expected, "{row}: {}", cause(&report));
            assert_eq!(bench.profile().overlap, Ability::No, "{row}");
            assert_eq!(bench.profile().pipelining, Ability::Unknown, "{row}");
            all_arrived(&bench, &row).await;
            // The next run knows.
            let (before, writes) = (bench.server.counters(), bench.server.transcript().writes().len());
            for n in 0..FILES {
                bench.write(&format!("more{n}.txt"), content(n));
            }
            let report = bench.run().await;
            assert_eq!(report.counts.delivered, FILES as u64, "{row}: {}", cause(&report));
            assert!(bench.retried().is_empty(), "{row}: {:?}", bench.retried());
            assert_eq!(bench.server.counters().logins, before.logins + 1, "{row}");
            let later = &bench.server.transcript().writes()[writes..];
            assert!(
                later.iter().all(|write| !write.contains(" EPSV") && !write.contains(" STOR")),
                "{later:#?}"
            );
        }
    }
}

/// One lost connection is the network's, once transfers were seen to overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_teaches_nothing() {
    let bench = alone(Server::builder().fault(Fault::on("SIZE", Action::DropControl(Moment::Before)).nth(8)));
    assert_eq!(bench.run().await.counts.delivered, FILES as u64);
    assert_eq!(bench.profile().overlap, Ability::Yes);
}
