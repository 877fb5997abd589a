//! Sidecars that go missing or change on the server: `verify` finds them, and the next run mends them.

use std::fs::{self, File};
use std::time::SystemTime;

use ftps_server::{Action, Dialect, Fault, Moment};
use nightferry::audit::Depth;
use nightferry::domain::{AuditReport, Exit, Mode, Overwrite, PublishWay, Record, SidecarStep, Sidecars};
use nightferry::state::{LedgerLine, read_ledger};

use super::bench::{Bench, cause};
use super::sidecars::{both, faults, names, watched};

/// Other bytes under the same size and time, as decay leaves them.
fn rot(bench: &Bench, path: &str) {
    let local = bench.server.root().join(path);
    let time = fs::metadata(&local).unwrap().modified().unwrap();
    let mut content = fs::read(&local).unwrap();
    content[5] ^= 1;
    fs::write(&local, content).unwrap();
    File::options().write(true).open(local).unwrap().set_modified(time).unwrap();
}

/// How often the ledger says of a sidecar that it is not as it should be.
fn recorded_differing(bench: &Bench) -> usize {
    let mut found = 0;
    let count = &mut |line: LedgerLine<'_>| {
        let Record::Sidecar(change) = line.record else { return };
        found += usize::from(matches!(change.step, SidecarStep::Differs { .. }));
    };
    read_ledger(&bench.state_folder(), count).unwrap();
    found
}

fn differing(report: &AuditReport) -> Vec<String> {
    let mut named: Vec<_> = report.differences.iter().map(|at| format!("{} {}", at.kind, at.name)).collect();
    named.sort();
    named
}

/// What is missing or changed is named, and comes again without its file; what somebody else wrote is
/// left alone, unless the job says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_what_happened_to_sidecars_and_the_next_run_mends_it() {
    for (dialect, publish) in [
        (Dialect::full(), PublishWay::Rename),
        (Dialect::full(), PublishWay::Direct),
        (Dialect::vsftpd(), PublishWay::Rename),
        (Dialect::pure_ftpd(), PublishWay::Rename),
        (Dialect::iis(), PublishWay::Rename),
    ] {
        let mut bench = Bench::new(dialect, []);
        (bench.job.sidecars, bench.job.publish) = (both(), publish);
        for name in ["a", "b", "c", "d", "e"] {
            bench.write(&format!("{name}.csv"), name);
        }
        assert_eq!(bench.run().await.counts.delivered, 5);
        let sound = bench.verify(Depth::Content).await;
        assert_eq!((sound.counts.proved, sound.exit()), (5, Exit::Done), "{sound:#?}");
        let whole = bench.all_stored();
        let gone = |name: &str| fs::remove_file(bench.server.root().join(name)).unwrap();
        gone("in/a.csv.done");
        gone("in/d.csv.sha256");
        gone("in/d.csv.done");
        rot(&bench, "in/b.csv.sha256");
        bench.put("in/c.csv.sha256", "theirs\n");
        let loud =
            ["changed c.csv.sha256", "missing a.csv.done", "missing d.csv.done", "missing d.csv.sha256"];
        for _ in 0..2 {
            let report = bench.verify(Depth::Facts).await;
            assert_eq!(differing(&report), loud, "{report:#?}");
            assert_eq!((report.counts.proved, report.exit()), (5, Exit::Verification));
            assert_eq!((report.counts.missing, report.counts.changed, report.counts.failed), (3, 1, 0));
            assert_eq!(recorded_differing(&bench), 4, "each is recorded once");
        }
        let report = bench.verify(Depth::Content).await;
        assert_eq!(differing(&report)[0], "changed b.csv.sha256", "{report:#?}");
        assert_eq!(report.differences.len(), 5);
        let report = bench.deliver().await;
        assert_eq!((report.counts.delivered, report.counts.failed), (0, 1), "{report:#?}");
        assert!(cause(&report).contains("c.csv.sha256"), "{}", cause(&report));
        assert!(cause(&report).contains("overwrite: replace"), "{}", cause(&report));
        assert_eq!(bench.stored("in/c.csv.sha256").unwrap(), b"theirs\n");
        assert_eq!(differing(&bench.verify(Depth::Content).await), ["changed c.csv.sha256"]);
        bench.job.overwrite = Overwrite::Replace;
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Done), "{report:#?}");
        assert_eq!(bench.all_stored(), whole);
        assert_eq!(bench.verify(Depth::Content).await.exit(), Exit::Done);
        bench.expect_no_connection(5).await;
        // The job does not want them any more: nobody looks for them.
        bench.job.sidecars = Sidecars::NONE;
        fs::remove_file(bench.server.root().join("in/a.csv.done")).unwrap();
        assert_eq!(bench.verify(Depth::Content).await.exit(), Exit::Done);
    }
}

/// A touched sidecar is read, and its new time becomes known; one that came back is sound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_with_another_time_is_read() {
    let mut bench = Bench::new(Dialect::vsftpd(), []);
    bench.job.sidecars = both();
    bench.write("a.csv", "a");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    let local = bench.server.root().join("in/a.csv.sha256");
    let reads = || bench.server.transcript().count("RETR");
    let touch = |content: &[u8]| {
        fs::write(&local, content).unwrap();
        File::options().write(true).open(&local).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    let content = fs::read(&local).unwrap();
    touch(&content);
    for read in [1, 0] {
        let before = reads();
        assert_eq!(bench.verify(Depth::Facts).await.exit(), Exit::Done);
        assert_eq!(reads() - before, read, "its time is known by then");
    }
    touch(&content[1..]);
    assert_eq!(differing(&bench.verify(Depth::Facts).await), ["changed a.csv.sha256"]);
    touch(&content);
    assert_eq!(bench.verify(Depth::Facts).await.exit(), Exit::Done, "somebody put it back");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Done), "{report:#?}");
    bench.expect_no_connection(1).await;
}

/// Beside a file that is missing or another one, its sidecars go and come with it. In a drop they may go
/// before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_are_looked_at_beside_sound_files_only() {
    for mode in [Mode::Mirror, Mode::Drop] {
        let mut bench = Bench::new(Dialect::full(), []);
        (bench.job.sidecars, bench.job.mode) = (both(), mode);
        for name in ["a.csv", "b.csv"] {
            bench.write(name, name);
        }
        assert_eq!(bench.run().await.counts.delivered, 2);
        for gone in ["in/a.csv", "in/a.csv.done", "in/b.csv.done"] {
            fs::remove_file(bench.server.root().join(gone)).unwrap();
        }
        let report = bench.verify(Depth::Content).await;
        let expected: &[&str] = match mode {
            Mode::Mirror => &["missing a.csv", "missing b.csv.done"],
            Mode::Drop => &[],
        };
        assert_eq!(differing(&report), expected, "{report:#?}");
        rot(&bench, "in/b.csv.sha256");
        assert!(differing(&bench.verify(Depth::Content).await).contains(&"changed b.csv.sha256".to_owned()));
        let report = bench.run().await;
        assert_eq!(report.exit(), Exit::Done, "{report:#?}");
        assert_eq!(report.counts.delivered, u64::from(mode == Mode::Mirror));
        let mut left = names(&bench);
        left.retain(|name| name.contains("b.csv") || mode == Mode::Mirror);
        assert_eq!(
            faults(bench.server.root(), &["a.csv", "b.csv"]),
            match mode {
                Mode::Mirror => Vec::<String>::new(),
                // The consumer left that one.
                Mode::Drop => vec!["a.csv.sha256 is not that of the file beside it".to_owned()],
            }
        );
        assert_eq!(
            left.len(),
            match mode {
                Mode::Mirror => 6,
                Mode::Drop => 2,
            },
            "{left:?}"
        );
    }
}

/// The line is cut at every other command of a run that mends sidecars.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mending_sidecars_may_be_cut_anywhere() {
    for (publish, first) in [(PublishWay::Rename, 2), (PublishWay::Direct, 1)] {
        for cut in (first..).step_by(2) {
            let (mut bench, wrong, came) = watched(Mode::Mirror, &["a"], |_, _| {});
            bench.job.publish = publish;
            bench.write("a.csv", "a");
            assert_eq!(bench.run().await.exit(), Exit::Done);
            fs::remove_file(bench.server.root().join("in/a.csv.done")).unwrap();
            rot(&bench, "in/a.csv.sha256");
            assert_eq!(bench.verify(Depth::Content).await.counts.changed, 1);
            bench.server.arm(Fault::on_any(Action::DropControl(Moment::Unanswered)).from(cut));
            let commands = bench.server.transcript().commands().len();
            bench.run().await;
            let reached = (bench.server.transcript().commands().len() - commands) as u64 >= cut;
            bench.server.clear_faults();
            let report = bench.run().await;
            assert_eq!(report.exit(), Exit::Done, "{publish:?} {cut}: {report:#?}");
            assert_eq!(bench.verify(Depth::Content).await.exit(), Exit::Done, "{publish:?} {cut}");
            assert_eq!(*wrong.lock().unwrap(), Vec::<String>::new(), "{publish:?} {cut}");
            let came = came.lock().unwrap();
            assert_eq!(
                came.iter().filter(|path| *path == "/in/a.csv").count(),
                1,
                "{publish:?} {cut}: {came:?}"
            );
            assert_eq!(bench.litter(), Vec::<String>::new(), "{publish:?} {cut}");
            if !reached {
                assert!(cut > 10, "{cut}");
                break;
            }
        }
    }
}
