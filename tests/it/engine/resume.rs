//! Uploads that are interrupted: they go on where they stopped, in the same run or in a later one,
//! or start again, and are proved whole either way.

use std::fs;
use std::path::PathBuf;

use ftps_server::{Action, Cut, Dialect, Fault, Feature, Moment, Server};
use nightferry::domain::{Event, Exit, FileProgress, Overwrite, VerifyPolicy};
use nightferry::remote::Ability;

use super::bench::{Bench, cause};

pub(super) const SIZE: usize = 3_000_000;

/// Bytes of which no two blocks are alike, so that one in the wrong place is seen.
pub(super) fn content(seed: u32) -> Vec<u8> {
    (0..u32::try_from(SIZE).unwrap() / 4).flat_map(|at| (at ^ (seed << 24)).to_be_bytes()).collect()
}

/// A job with one file that is large enough, over one connection.
pub(super) fn bench(dialect: &Dialect) -> Bench {
    prepared(Bench::new(dialect.clone(), []))
}

fn prepared(bench: Bench) -> Bench {
    let mut bench = bench.impatient();
    bench.resume_from = 1_000_000;
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("dump.tar", content(1));
    bench
}

pub(super) fn cut_at(after: u64, cut: Cut) -> Fault {
    Fault::on("STOR", Action::DropData { after, cut })
}

/// The dialects that take the rest of an upload.
pub(super) fn willing() -> [Dialect; 4] {
    let restart = Dialect::proftpd().with(Feature::RestartStore);
    [Dialect::full(), restart, Dialect::vsftpd(), Dialect::pure_ftpd()]
}

/// What is there of a cut upload: Pure-FTPd keeps whole blocks.
fn kept(dialect: &Dialect, after: u64) -> u64 {
    let blocks = format!("{dialect:?}").contains("PureFtpd");
    if blocks { after - after % (16 * 1024) } else { after }
}

impl Bench {
    /// Runs once, with an upload that breaks off at byte `after` and no second session. Whatever
    /// came stands under a temporary name.
    pub(super) async fn interrupt(&self, after: u64) -> String {
        self.server.arm(cut_at(after, Cut::Reset).once());
        self.server.arm(Fault::on("STOR", Action::ReplyAfter("421 Going down".into())).once());
        self.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
        let report = self.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Temporary), "{}", cause(&report));
        self.server.clear_faults();
        let [temporary] = self.litter().try_into().unwrap();
        temporary
    }

    /// Runs once more and expects the file to arrive, whole and once, with nothing left behind.
    pub(super) async fn arrives(&self, expected: &[u8]) {
        let report = self.run().await;
        self.has_arrived(expected, report.exit(), &cause(&report));
    }

    pub(super) fn has_arrived(&self, expected: &[u8], exit: Exit, cause: &str) {
        assert_eq!(exit, Exit::Done, "{cause}");
        assert!(self.stored("in/dump.tar").as_deref() == Some(expected), "other bytes");
        assert_eq!((self.renames(), self.litter()), (1, vec![]));
    }

    pub(super) fn on_disk(&self, path: &str) -> PathBuf {
        self.server.root().join(path.trim_start_matches('/'))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_upload_goes_on_in_the_same_run() {
    for dialect in willing() {
        for (cut, after) in [
            (Cut::Reset, 1),
            (Cut::Reset, 70_000),
            (Cut::Fin, 2_000_000),
            (Cut::Silence, 2_000_000),
            (Cut::Reset, SIZE as u64 - 1),
        ] {
            let row = format!("{cut:?} at {after}: {dialect:?}");
            let bench = bench(&dialect);
            bench.server.arm(cut_at(after, cut).once());
            let report = bench.run().await;
            bench.has_arrived(&content(1), report.exit(), &cause(&report));
            let kept = kept(&dialect, after);
            // With nothing to go on with it starts again.
            let expected = if kept == 0 { vec![] } else { vec![kept] };
            assert_eq!(bench.resumed_at(), expected, "{row}");
            let received = bench.server.counters().bytes_received;
            assert_eq!(received, SIZE as u64 + after - kept, "{row}");
            let learned = if kept > 0 { Ability::Yes } else { Ability::Unknown };
            assert_eq!(bench.profile().resume, learned, "{row}");
            bench.expect_no_connection(1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_upload_goes_on_in_a_later_run() {
    for dialect in willing() {
        let bench = bench(&dialect);
        let temporary = bench.interrupt(1_234_567).await;
        let kept = kept(&dialect, 1_234_567);
        assert_eq!(fs::metadata(bench.on_disk(&temporary)).unwrap().len(), kept);
        let before = bench.server.counters().bytes_received;
        bench.arrives(&content(1)).await;
        assert_eq!(bench.server.counters().bytes_received - before, SIZE as u64 - kept, "{dialect:?}");
        assert_eq!((bench.started(), bench.resumed_at()), (vec![SIZE as u64], vec![kept]));
        assert!(bench.server.transcript().commands().contains(&format!("RNFR {temporary}").as_str()));
        bench.expect_no_connection(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_is_followed_by_one_that_goes_on() {
    for dialect in willing() {
        let bench = bench(&dialect);
        let far = |event: &Event| matches!(event, Event::File { progress: FileProgress::Bytes { .. }, .. });
        assert!(bench.run_until(far).await.is_none(), "it did not die");
        // The server may still be writing what has come.
        bench.arrives(&content(1)).await;
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done);
        bench.expect_no_connection(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_again_goes_on_again() {
    for dialect in willing() {
        let bench = bench(&dialect);
        bench.server.arm(cut_at(1_048_576, Cut::Reset).once());
        bench.server.arm(cut_at(524_288, Cut::Fin).nth(2));
        let report = bench.run().await;
        // A server that takes FIN for the end says 226 to what it cut: the proof finds it short.
        bench.has_arrived(&content(1), report.exit(), &cause(&report));
        assert_eq!(bench.resumed_at()[..1], [1_048_576], "{dialect:?}");
        bench.expect_no_connection(1).await;
    }
}

/// All of it stands there and only the proof was interrupted: nothing is sent a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_proof_costs_no_upload() {
    for (dialect, verb) in [(Dialect::full(), "HASH"), (Dialect::vsftpd(), "RETR")] {
        let bench = bench(&dialect);
        bench.server.arm(Fault::on(verb, Action::DropControl(Moment::Before)).once());
        let report = bench.run().await;
        bench.has_arrived(&content(1), report.exit(), &cause(&report));
        assert_eq!(bench.server.counters().bytes_received, SIZE as u64, "{verb}");
        assert_eq!(bench.resumed_at(), [SIZE as u64]);
        assert_eq!(bench.profile().resume, Ability::Unknown, "nothing was learned of REST");
    }
}

/// ProFTPD as it comes refuses REST and STOR: the file is sent again, and the server is not asked
/// a second time, nor is anything left there for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forbids_it_is_remembered() {
    for (dialect, verb, refusal) in [
        (Dialect::proftpd(), "NOOP", "200 fine"),
        (Dialect::full(), "REST", "502 not here"),
        (Dialect::full(), "REST", "550 not here"),
    ] {
        let bench = bench(&dialect);
        bench.server.arm(Fault::on(verb, Action::Reply(refusal.into())));
        bench.server.arm(cut_at(1_000_000, Cut::Reset).once());
        let report = bench.run().await;
        bench.has_arrived(&content(1), report.exit(), &cause(&report));
        assert_eq!(bench.resumed_at(), Vec::<u64>::new());
        assert_eq!(bench.server.counters().bytes_received, SIZE as u64 + 1_000_000);
        assert_eq!(bench.profile().resume, Ability::No);
        let retried = bench.retried();
        assert!(retried[1].contains("does not take the rest"), "{retried:?}");
        let asked = bench.server.transcript().count("REST");
        assert_eq!(asked, 1);
        bench.write("dump.tar", content(2));
        bench.server.arm(cut_at(1_000_000, Cut::Reset).once());
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done, "{}", cause(&report));
        assert_eq!((bench.server.transcript().count("REST"), bench.litter()), (asked, vec![]));
        assert_eq!(bench.retried().len(), 1, "it was tried to go on: {:?}", bench.retried());
    }
}

/// Without sizes nobody knows from where on: that is found out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_tells_no_sizes_starts_again_and_is_remembered() {
    let mut bench = bench(&Dialect::full());
    bench.job.overwrite = Overwrite::Replace;
    bench.server.arm(Fault::on("SIZE", Action::Reply("502 not here".into())));
    bench.server.arm(cut_at(1_000_000, Cut::Reset).once());
    let report = bench.run().await;
    bench.has_arrived(&content(1), report.exit(), &cause(&report));
    assert_eq!((bench.server.transcript().count("REST"), bench.profile().resume), (0, Ability::No));
}

/// What is refused for the network's or the disk's sake says nothing of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passing_refusal_of_the_rest_is_tried_again() {
    let bench = bench(&Dialect::full());
    bench.server.arm(cut_at(1_000_000, Cut::Reset).once());
    bench.server.arm(Fault::on("STOR", Action::Reply("425 no port".into())).nth(2));
    let report = bench.run().await;
    bench.has_arrived(&content(1), report.exit(), &cause(&report));
    assert_eq!(bench.resumed_at(), [1_000_000]);
    assert_eq!(bench.server.counters().bytes_received, SIZE as u64);
}

/// A server may keep the offset of an upload that it refused: no other file may meet it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_whose_upload_was_refused_is_for_no_other_file() {
    for refusal in ["450 busy", "425 no port", "426 cut"] {
        let bench = bench(&Dialect::full());
        bench.write("z.txt", vec![7; 5_000]);
        bench.server.arm(cut_at(1_000_000, Cut::Reset).once());
        for nth in [2, 3] {
            bench.server.arm(Fault::on("STOR", Action::Reply(refusal.into())).nth(nth));
        }
        let report = bench.run().await;
        assert_eq!(
            (report.counts.delivered, report.exit()),
            (1, Exit::Temporary),
            "{refusal}: {}",
            cause(&report)
        );
        assert_eq!(bench.stored("in/z.txt"), Some(vec![7; 5_000]));
        let retried = bench.retried();
        assert_eq!(retried.len(), 2, "the second file was stored at an offset: {retried:?}");
        assert_eq!(bench.server.counters().logins, 3, "{refusal}: a session was used again");
        assert_eq!(bench.server.transcript().count("REST"), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_is_sent_from_its_beginning() {
    let bench = bench(&Dialect::full());
    let temporary = bench.interrupt(2_000_000).await;
    bench.write("dump.tar", content(2));
    bench.arrives(&content(2)).await;
    assert_eq!((bench.resumed_at(), bench.server.transcript().count("REST")), (vec![], 0));
    assert_eq!(bench.retried(), Vec::<String>::new(), "what stands there was not even looked at");
    assert!(bench.server.transcript().commands().contains(&format!("DELE {temporary}").as_str()));
    bench.expect_no_connection(1).await;
}

/// The size alone would take the beginning of one version with the rest of another for a delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changes_before_the_rest_is_sent_starts_again() {
    let mut bench = bench(&Dialect::full());
    bench.job.verify = VerifyPolicy::Size;
    bench.server.arm(cut_at(2_000_000, Cut::Reset).once());
    let source = bench.job.source.join("dump.tar");
    let report = bench
        .run_until(move |event| {
            if matches!(event, Event::File { progress: FileProgress::Retrying { .. }, .. }) {
                fs::write(&source, content(2)).unwrap();
            }
            false
        })
        .await
        .unwrap();
    bench.has_arrived(&content(2), report.exit(), &cause(&report));
    assert_eq!((bench.resumed_at(), bench.server.transcript().count("REST")), (vec![], 0));
}

/// Two beginnings stand there, and the first shows that the server takes no rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forbids_it_is_asked_for_one_file_only() {
    let bench = bench(&Dialect::full());
    bench.write("other.tar", content(3));
    bench.server.arm(cut_at(100_000, Cut::Reset));
    assert_eq!(bench.run().await.counts.delivered, 0);
    assert_eq!(bench.litter().len(), 2);
    bench.server.clear_faults();
    let before = bench.server.transcript().count("REST");
    bench.server.arm(Fault::on("REST", Action::Reply("502 not here".into())));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.server.transcript().count("REST") - before, 1);
    assert!(bench.stored("in/other.tar") == Some(content(3)), "other bytes");
    assert_eq!(bench.litter(), Vec::<String>::new());
}

/// Sources that are gone, are not wanted any more, or are not large enough any more leave nothing
/// behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_will_not_be_gone_on_with_is_swept() {
    type Change = fn(&mut Bench);
    let changes: [Change; 3] = [
        |bench| fs::remove_file(bench.job.source.join("dump.tar")).unwrap(),
        |bench| bench.job.exclude = vec!["*.tar".parse().unwrap()],
        |bench| bench.resume_from = u64::MAX,
    ];
    for change in changes {
        let mut bench = bench(&Dialect::full());
        bench.interrupt(2_000_000).await;
        change(&mut bench);
        assert_eq!(bench.run().await.exit(), Exit::Done);
        assert_eq!((bench.litter(), bench.server.transcript().count("REST")), (vec![], 0));
        let logins = bench.server.counters().logins;
        bench.run().await;
        assert_eq!(bench.server.counters().logins, logins, "something was still on the list");
    }
}

/// Nothing was stored under the recorded name, or it was lost since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_temporary_file_costs_the_whole_way_only() {
    let bench = bench(&Dialect::full());
    let temporary = bench.interrupt(2_000_000).await;
    fs::remove_file(bench.on_disk(&temporary)).unwrap();
    bench.arrives(&content(1)).await;
    assert_eq!((bench.resumed_at(), bench.profile().resume), (vec![], Ability::Unknown));

    let bench = prepared(Bench::new(Dialect::full(), []));
    bench.server.arm(Fault::on("STOR", Action::DropControl(Moment::Before)));
    bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    assert_eq!(bench.litter(), Vec::<String>::new());
    bench.server.clear_faults();
    bench.arrives(&content(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_file_that_is_too_long_is_not_gone_on_with() {
    for dialect in willing() {
        let bench = bench(&dialect);
        let temporary = bench.interrupt(2_000_000).await;
        let file = fs::File::options().write(true).open(bench.on_disk(&temporary)).unwrap();
        file.set_len(SIZE as u64 + 1).unwrap();
        bench.arrives(&content(1)).await;
        assert_eq!(bench.resumed_at(), Vec::<u64>::new());
    }
}

/// The beginning is no more trusted than the rest: the whole is proved, and sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_that_was_altered_is_found() {
    for dialect in willing() {
        let bench = bench(&dialect);
        let temporary = bench.on_disk(&bench.interrupt(2_000_000).await);
        let mut bytes = fs::read(&temporary).unwrap();
        bytes[1_000] ^= 1;
        fs::write(&temporary, bytes).unwrap();
        bench.arrives(&content(1)).await;
        assert_eq!(bench.resumed_at().len(), 1, "{dialect:?}");
        let retried = bench.retried();
        assert!(retried.len() == 1 && retried[0].contains("came out wrong"), "{retried:?}");
        bench.expect_no_connection(1).await;
    }
}

/// A server that takes the rest for the whole is found out by the proof, and not asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_the_offset_is_found_out() {
    let bench = bench(&Dialect::full());
    bench.server.arm(cut_at(2_000_000, Cut::Reset).once());
    bench.server.arm(Fault::on("REST", Action::Reply("350 whatever".into())));
    let report = bench.run().await;
    bench.has_arrived(&content(1), report.exit(), &cause(&report));
    assert_eq!(bench.profile().resume, Ability::No);
    bench.expect_no_connection(1).await;
}

/// The names of other agents and jobs are left alone, also where they look like ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_others_are_left_alone() {
    let bench = bench(&Dialect::full());
    let temporary = bench.interrupt(2_000_000).await;
    let mut parts = temporary.splitn(4, '-').skip(1);
    let (agent, target, number) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let theirs = [format!("in/.nf-{agent}-00000000-{number}"), format!("in/.nf-00000000-{target}-{number}")];
    for name in &theirs {
        bench.put(name, "theirs");
    }
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Done, "{}", cause(&report));
    assert_eq!(bench.resumed_at(), [2_000_000]);
    for name in &theirs {
        assert_eq!(bench.stored(name).as_deref(), Some(b"theirs".as_slice()), "{name}");
    }
}

/// Below the limit a file is sent again, and nothing is kept of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_sent_again() {
    let mut bench = bench(&Dialect::full());
    bench.resume_from = SIZE as u64 + 1;
    bench.server.arm(cut_at(2_000_000, Cut::Reset).once());
    let report = bench.run().await;
    bench.has_arrived(&content(1), report.exit(), &cause(&report));
    assert_eq!((bench.resumed_at(), bench.server.transcript().count("REST")), (vec![], 0));
}

/// A session whose server process still writes: its file grows between two looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_still_grows_is_waited_for() {
    let bench = prepared(Bench::with(Server::builder()));
    let temporary = bench.on_disk(&bench.interrupt(1_000_000).await);
    fs::write(&temporary, &content(1)[..1_500_000]).unwrap();
    // The first look comes too early.
    bench.server.arm(Fault::on("SIZE", Action::Size(1_000_000)).naming(".nf-").once());
    bench.arrives(&content(1)).await;
    assert_eq!(bench.resumed_at(), [1_500_000]);
}
