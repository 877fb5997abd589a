//! `publish: direct`: files are stored under their final names at once, for servers that cannot rename.

use ftps_server::{Action, Cut, Dialect, Event as ServerEvent, Fault, Moment, Server};
use nightferry::domain::{
    AfterDelivery, Event, Exit, FileProgress, Mode, Overwrite, PublishWay, RemoteDelete, VerifyPolicy,
};

use super::bench::{Bench, cause};

/// A gateway to an object store: it knows no rename.
fn gateway() -> Dialect {
    let unknown = "502 Command not implemented.";
    Dialect::pure_ftpd().forbid("RNFR", unknown).forbid("RNTO", unknown)
}

fn direct(faults: impl IntoIterator<Item = Fault>) -> Bench {
    let mut bench = Bench::new(gateway(), faults);
    bench.job.publish = PublishWay::Direct;
    bench
}

fn ledger(bench: &Bench) -> String {
    let folder = walkdir::WalkDir::new(bench.state_folder()).into_iter().map(Result::unwrap);
    let lines = folder.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jsonl"));
    lines.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_rename_is_told_by_the_setting_that_mends_it() {
    for reply in ["502 Command not implemented.", "500 Unknown command.", "550 Not allowed."] {
        let bench = Bench::new(Dialect::pure_ftpd().forbid("RNFR", reply).forbid("RNTO", reply), []);
        bench.write("a.txt", "a");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{reply}");
        assert!(cause(&report).contains("`publish: direct`"), "{reply}: {}", cause(&report));
        assert_eq!(bench.stored("in/a.txt"), None);
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_their_new_versions_arrive_proved_and_labelled() {
    for verify in [VerifyPolicy::Auto, VerifyPolicy::Size] {
        let mut bench = direct([]);
        bench.job.verify = verify;
        bench.write("a.txt", "a");
        bench.write("reports/2026/b.csv", "1;2;3");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{}", cause(&report));
        assert_eq!(report.publish, PublishWay::Direct);
        assert_eq!(bench.stored("in/reports/2026/b.csv").as_deref(), Some(&b"1;2;3"[..]));
        bench.expect_no_connection(2).await;
        bench.write("a.txt", "another one");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"another one"[..]));
        let ledger = ledger(&bench);
        assert_eq!(ledger.matches(r#""record":"storing""#).count(), 3);
        assert_eq!(ledger.matches(r#""publish":"direct""#).count(), 3);
        assert_eq!(bench.server.transcript().count("RNFR"), 0);
        bench.expect_no_connection(2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_stored_is_left_alone() {
    let mut bench = direct([]);
    bench.put("in/a.txt", "theirs");
    bench.write("a.txt", "ours");
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::FilesFailed));
    assert!(cause(&report).contains("did not deliver already stands"), "{}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"theirs"[..]));
    bench.job.overwrite = Overwrite::Replace;
    assert_eq!(bench.deliver().await.counts.delivered, 1);
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"ours"[..]));
}

/// What was cut off is known as ours, and stored once more in the same run; nothing counts as
/// delivered before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_file_is_stored_once_more() {
    let half = || Fault::on("STOR", Action::DropData { after: 20_000, cut: Cut::Reset }).once();
    let lost = || Fault::on("STOR", Action::DropControl(Moment::Unanswered)).once();
    for fault in [half(), lost(), Fault::on("STOR", Action::StoreHalf).once()] {
        for mode in [Mode::Mirror, Mode::Drop] {
            let mut bench = direct([fault.clone()]);
            bench.job.mode = mode;
            let content = vec![b'x'; 100_000];
            bench.write("a.bin", &content);
            let report = bench.run().await;
            assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
            assert_eq!(bench.stored("in/a.bin"), Some(content));
            bench.expect_no_connection(1).await;
        }
    }
}

fn bytes_crossed(event: &Event) -> bool {
    matches!(event, Event::File { progress: FileProgress::Bytes { .. }, .. })
}

/// A bench whose process died while a large file was on its way.
async fn died(mode: Mode) -> Bench {
    let mut bench = direct([]);
    bench.job.mode = mode;
    bench.write("a.bin", vec![b'n'; 900_000]);
    assert!(bench.run_until(bytes_crossed).await.is_none());
    bench
}

/// The process dies once bytes have crossed: the next run finds half a file, knows it as its own, and
/// stores it once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_died_is_taken_up() {
    for mode in [Mode::Mirror, Mode::Drop] {
        let bench = died(mode).await;
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.bin"), Some(vec![b'n'; 900_000]));
        bench.expect_no_connection(1).await;
    }
}

/// The same where the job goes another way by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_straight_is_ended_so() {
    let mut bench = died(Mode::Mirror).await;
    bench.job.publish = PublishWay::Rename;
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(ledger(&bench).matches(r#""publish":"direct""#).count(), 1);
    assert_eq!(bench.stored("in/a.bin"), Some(vec![b'n'; 900_000]));
}

/// Only what is a beginning of our own bytes is taken for a part of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_a_strangers_is_not_taken_for_our_part() {
    for source_changes in [None, Some(vec![b'o'; 300_000])] {
        let mut bench = died(Mode::Mirror).await;
        // The session that died may still be writing to the file that it opened.
        std::fs::remove_file(bench.server.root().join("in/a.bin")).unwrap();
        let standing = match &source_changes {
            None => {
                bench.put("in/a.bin", "a stranger's");
                Some(b"a stranger's".to_vec())
            }
            Some(other) => {
                bench.write("a.bin", other);
                bench.put("in/a.bin", vec![b'n'; 1000]);
                Some(vec![b'n'; 1000])
            }
        };
        let report = bench.deliver().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::FilesFailed));
        assert!(cause(&report).contains("not known to be a part"), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.bin"), standing);
        bench.job.overwrite = Overwrite::Replace;
        assert_eq!(bench.deliver().await.counts.delivered, 1);
        assert_eq!(bench.stored("in/a.bin"), std::fs::read(bench.job.source.join("a.bin")).ok());
    }
}

/// The process died, and the source changed before the next run: a part of what was being sent is known
/// from the record, and the new content takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_source_that_has_changed_since_is_replaced() {
    for part in [1024, 5000, 899_999] {
        let bench = died(Mode::Mirror).await;
        // The session that died may still be writing to the file that it opened.
        std::fs::remove_file(bench.server.root().join("in/a.bin")).unwrap();
        bench.put("in/a.bin", vec![b'n'; part]);
        bench.write("a.bin", vec![b'o'; 300_000]);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.bin"), Some(vec![b'o'; 300_000]));
        bench.expect_no_connection(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_otherwise_than_the_record_says_is_left_alone() {
    for (size, strange) in [(1024, 1000), (5000, 4095), (800_000, 600_000)] {
        let bench = died(Mode::Mirror).await;
        std::fs::remove_file(bench.server.root().join("in/a.bin")).unwrap();
        let mut theirs = vec![b'n'; size];
        theirs[strange] = b'!';
        bench.put("in/a.bin", &theirs);
        bench.write("a.bin", vec![b'o'; 300_000]);
        let report = bench.deliver().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::FilesFailed));
        assert!(cause(&report).contains("not known to be a part"), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.bin"), Some(theirs));
    }
}

/// A server that sends and sends in place of the part: as much is read as was being stored, and the file is
/// no part of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_does_not_end_is_not_read_for_ever() {
    let bench = died(Mode::Mirror).await;
    std::fs::remove_file(bench.server.root().join("in/a.bin")).unwrap();
    bench.put("in/a.bin", vec![b'n'; 5000]);
    bench.write("a.bin", vec![b'o'; 300_000]);
    bench.server.arm(Fault::on("RETR", Action::EndlessData(vec![b'n'; 1000])));
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::FilesFailed), "{}", cause(&report));
    assert!(cause(&report).contains("not known to be a part"), "{}", cause(&report));
    bench.server.clear_faults();
    assert_eq!(bench.deliver().await.counts.delivered, 1, "it is a part of ours after all");
}

/// A refused upload has not begun: what stands there afterwards is nobody's part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upload_leaves_no_intent() {
    let bench = direct([Fault::on("STOR", Action::Reply("553 Not here.".into())).once()]);
    bench.write("a.txt", "a");
    assert_eq!(bench.run().await.counts.delivered, 0);
    assert_eq!(ledger(&bench).matches(r#""record":"withdrawn""#).count(), 1);
    bench.put("in/a.txt", "");
    let report = bench.deliver().await;
    assert!(cause(&report).contains("did not deliver already stands"), "{}", cause(&report));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_delivery_follows_a_direct_one() {
    let mut bench = direct([]);
    bench.job.deletes.remote = RemoteDelete::Delete;
    bench.write("a.txt", "a");
    bench.write("b.txt", "b");
    assert_eq!(bench.run().await.counts.delivered, 2);
    std::fs::remove_file(bench.job.source.join("a.txt")).unwrap();
    bench.job.deletes.max_percent = 100;
    let report = bench.run().await;
    assert_eq!((report.exit(), bench.stored("in/a.txt")), (Exit::Done, None), "{}", cause(&report));
    bench.job.deletes.remote = RemoteDelete::Keep;
    bench.job.after_delivery = AfterDelivery::Delete;
    bench.write("c.txt", "c");
    assert_eq!(bench.deliver().await.exit(), Exit::Done);
    assert!(std::fs::read_dir(&bench.job.source).unwrap().next().is_none());
    assert_eq!(bench.stored("in/c.txt").as_deref(), Some(&b"c"[..]));
}

/// Nothing is sent twice that stands there whole: it is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_file_whose_end_was_not_recorded_is_not_sent_again() {
    let bench = direct([Fault::on("RETR", Action::DropControl(Moment::Before)).once()]);
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.server.transcript().count("STOR"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_upload_whose_source_is_gone_is_told_once() {
    let bench = died(Mode::Mirror).await;
    std::fs::remove_file(bench.job.source.join("a.bin")).unwrap();
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::FilesFailed);
    assert!(cause(&report).contains("half a file may stand there"), "{}", cause(&report));
    assert_eq!(bench.run().await.exit(), Exit::Done);
}

/// A consumer that is quicker than the proof: in a drop the file is presumed, without proof, and not
/// sent again; in a mirror it is lost. Never is it delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_before_its_proof_is_not_delivered() {
    for mode in [Mode::Drop, Mode::Mirror] {
        let mut bench = Bench::watched(Server::builder().dialect(gateway()), |event| {
            if let ServerEvent::Stored { local, .. } = event {
                std::fs::remove_file(local).unwrap();
            }
        });
        bench.job.publish = PublishWay::Direct;
        bench.job.mode = mode;
        bench.write("a.txt", "a");
        let report = bench.run().await;
        assert_eq!(report.counts.delivered, 0);
        match mode {
            Mode::Mirror => {
                assert_eq!(report.exit(), Exit::Verification);
                assert!(cause(&report).contains("mode: drop"), "{}", cause(&report));
            }
            Mode::Drop => {
                assert_eq!((report.counts.presumed, report.exit()), (1, Exit::FilesFailed));
                for _ in 0..2 {
                    assert_eq!(bench.run().await.counts.presumed, 1);
                }
                assert_eq!(bench.server.transcript().count("STOR"), 1);
                let ledger = ledger(&bench);
                let presumed = ledger.lines().find(|line| line.contains(r#""record":"presumed""#)).unwrap();
                assert!(presumed.contains(r#""sent":{"size":1"#), "{presumed}");
                assert!(presumed.contains(r#""publish":"direct""#), "{presumed}");
                assert!(!presumed.contains("verified"), "{presumed}");
            }
        }
    }
}
