//! Files on the server that are not ours, and files of the source that change.

use std::time::{Duration, SystemTime};

use ftps_server::{Action, Dialect, Event, Fault, Server};
use nightferry::domain::{Exit, Overwrite, PublishWay};

use super::bench::{Bench, cause};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_file_is_left_alone_unless_the_job_says_otherwise() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        let mut bench = Bench::new(dialect, []);
        bench.write("theirs.txt", "ours");
        bench.write("free.txt", "ours");
        bench.put("in/theirs.txt", "not ours");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.failed), (1, 1));
        assert_eq!(report.exit(), Exit::FilesFailed);
        assert!(cause(&report).contains("overwrite: replace"), "{}", cause(&report));
        assert_eq!(bench.stored("in/theirs.txt").unwrap(), b"not ours");
        bench.job.overwrite = Overwrite::Replace;
        assert_eq!(bench.run().await.counts.delivered, 1);
        assert_eq!(bench.stored("in/theirs.txt").unwrap(), b"ours");
        bench.expect_no_connection(2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_file_that_somebody_changed_is_left_alone() {
    let bench = Bench::new(Dialect::full(), []);
    bench.write("a.txt", "first");
    assert_eq!(bench.run().await.counts.delivered, 1);
    // Ours is replaced by our next version, ...
    bench.write("a.txt", "second");
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.stored("in/a.txt").unwrap(), b"second");
    // ... but what they wrote over it is not, though the size is the same.
    bench.put("in/a.txt", "theirs");
    let file = std::fs::File::options().write(true).open(bench.server.root().join("in/a.txt")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    bench.write("a.txt", "a third version");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.failed), (0, 1));
    assert!(cause(&report).contains("not the one that was delivered last"), "{}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_file_does_not_stop_the_others() {
    let refusal = Action::Reply("550 Permission denied".into());
    for verb in ["STOR", "RNTO"] {
        // The temporary name tells nothing of the file, so one upload of eight is refused.
        let bench = Bench::new(Dialect::full(), [Fault::on(verb, refusal.clone()).nth(3)]);
        for n in 0..8 {
            bench.write(&format!("{n}.txt"), format!("{n}"));
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.failed), (7, 1), "{verb}");
        assert_eq!(report.exit(), Exit::Refused, "{verb}");
        assert!(cause(&report).contains("550"), "{}", cause(&report));
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{verb}");
        bench.expect_no_connection(8).await;
    }
}

/// The source is written anew while the server still has the upload in its hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_while_it_is_sent_is_never_published_as_a_mixture() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.bin");
    let (old, new) = (vec![b'o'; 3_000_000], vec![b'n'; 3_000_000]);
    std::fs::write(&source, &old).unwrap();
    let (written, bytes) = (source.clone(), new.clone());
    let mut stores = 0;
    let hook = move |event: &Event| {
        if let Event::Stored { .. } = event {
            stores += 1;
            if stores == 1 {
                std::fs::write(&written, &bytes).unwrap();
            }
        }
    };
    let mut bench = Bench::watched(Server::builder(), hook);
    bench.job.source = folder.path().to_owned();
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    let arrived = bench.stored("in/a.bin").unwrap();
    assert!(arrived == old || arrived == new, "a mixture was published");
    // Whichever it was, the next runs end with the new one.
    bench.run().await;
    assert_eq!(bench.stored("in/a.bin").unwrap(), new);
    bench.expect_no_connection(1).await;
}

/// vsftpd says nothing but "Could not create file" where the folder is missing.
/// Some servers take no names that begin with a dot, as all temporary ones do, and say it in words of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_temporary_name_is_told_with_what_it_begins() {
    for (refusal, publish, told) in [
        ("553 Prohibited file name", PublishWay::Rename, true),
        ("550 Permission denied.", PublishWay::Rename, true),
        ("550 Permission denied.", PublishWay::Direct, false),
        ("552 Quota exceeded", PublishWay::Rename, false),
    ] {
        let mut bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::Reply(refusal.into()))]);
        bench.job.publish = publish;
        bench.write("a.txt", "a");
        // The second time its folder stands, and is refused when it is asked for.
        for _ in 0..2 {
            let report = bench.run().await;
            assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{refusal}");
            let cause = cause(&report);
            assert!(cause.contains(refusal) && cause.contains("begin with a dot") == told, "{cause}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_could_not_be_made_is_named_with_the_refusal() {
    let refused = Fault::on("MKD", Action::Reply("550 Permission denied".into()));
    let bench = Bench::new(Dialect::vsftpd(), [refused]);
    bench.write("sub/a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.failed, report.exit()), (1, Exit::Refused));
    let cause = cause(&report);
    assert!(cause.contains("MKD /in/sub had been answered: 550 Permission denied"), "{cause}");
}
