//! Servers for Windows, as far as they are publicly known: IIS and FileZilla Server 1.x.

use ftps_server::{Action, Dialect, Event as ServerEvent, Fault, Moment, Server as TestServer};
use nightferry::diagnose::{Check, Outcome};
use nightferry::domain::Exit;
use nightferry::remote::Ability;

use super::bench::{Bench, cause};
use super::doctor::walk;

async fn delivered_once(dialect: Dialect) -> Bench {
    let bench = Bench::new(dialect, []);
    bench.write("a.txt", "a");
    bench.write("reports/2026/november day.csv", "1;2;3");
    bench.write("empty", "");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (3, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.stored("in/reports/2026/november day.csv").as_deref(), Some(&b"1;2;3"[..]));
    bench.expect_no_connection(3).await;
    bench.write("a.txt", "another one");
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filezilla_server_takes_files_and_their_new_versions() {
    let bench = delivered_once(Dialect::filezilla()).await;
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"another one"[..]));
    assert_eq!(bench.remote().profile().rename_over, Ability::Yes);
    bench.expect_no_connection(3).await;
    let walk = walk(&bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
    assert_eq!(walk.of(Check::Resume).outcome, Outcome::Fine);
    assert_eq!(walk.profile.case, Ability::Yes);
}

/// IIS replaces no file by a rename: the old version makes room. That is learned once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iis_takes_files_and_their_new_versions() {
    let bench = delivered_once(Dialect::iis()).await;
    assert_eq!(bench.profile().rename_over, Ability::Unknown);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"another one"[..]));
    assert_eq!(bench.litter(), Vec::<String>::new());
    assert_eq!(bench.profile().rename_over, Ability::No);
    bench.expect_no_connection(3).await;

    let renames = || bench.server.transcript().count("RNTO");
    let before = renames();
    bench.write("a.txt", "yet another one");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"yet another one"[..]));
    // The old version away, a look, the new one in: what was refused is not tried again.
    assert_eq!((bench.litter(), renames()), (vec![], before + 3));
    bench.expect_no_connection(3).await;

    let walk = walk(&bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
    assert_eq!(walk.of(Check::RenameOver).outcome, Outcome::Lacking);
    let help = walk.of(Check::RenameOver).help.clone().unwrap();
    assert!(help.contains("IIS never does it"), "{help}");
    assert_eq!(walk.of(Check::Time).outcome, Outcome::Lacking);
    assert_eq!((walk.profile.case, walk.profile.names), (Ability::No, Ability::Yes));
}

/// The connection is lost at each step of a displacing, before and after it is carried out: the
/// next attempt, or the next run, brings the new version in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_at_any_step_of_a_displacing_loses_no_version() {
    use Moment::{Before, Unanswered};
    // The first rename publishes the old version.
    let renames =
        [(2, Unanswered), (3, Before), (3, Unanswered), (4, Unanswered), (5, Before), (5, Unanswered)];
    let renames = renames.map(|(nth, moment)| ("RNTO", nth, moment));
    for (verb, nth, moment) in renames.into_iter().chain([("DELE", 1, Unanswered)]) {
        let fault = Fault::on(verb, Action::DropControl(moment)).nth(nth);
        let bench = Bench::new(Dialect::iis(), [fault]);
        bench.write("a.txt", "a");
        assert_eq!(bench.run().await.counts.delivered, 1);
        bench.write("a.txt", "another one");
        let report = bench.run().await;
        assert_eq!(report.counts.failed, 0, "{verb} {nth} {moment:?}: {}", cause(&report));
        assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"another one"[..]), "{verb} {nth} {moment:?}");
        let counts = bench.run().await.counts;
        assert_eq!(counts.unchanged + counts.confirmed, 1, "{verb} {nth} {moment:?}");
        assert_eq!(bench.litter(), Vec::<String>::new(), "{verb} {nth} {moment:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_comes_between_the_two_renames_is_not_replaced() {
    let stranger = std::sync::Arc::new(std::sync::Mutex::new(None::<std::path::PathBuf>));
    let place = std::sync::Arc::clone(&stranger);
    let server = TestServer::builder().dialect(Dialect::iis());
    let bench = Bench::watched(server, move |event| {
        if let ServerEvent::Renamed { from, to, .. } = event
            && from == "/in/a.txt"
            && to != from
            && let Some(place) = place.lock().unwrap().take()
        {
            std::fs::write(place, "theirs").unwrap();
        }
    });
    bench.write("a.txt", "a");
    assert_eq!(bench.run().await.counts.delivered, 1);
    bench.write("a.txt", "another one");
    *stranger.lock().unwrap() = Some(bench.server.root().join("in/a.txt"));
    for _ in 0..2 {
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::FilesFailed), "{}", cause(&report));
        assert!(cause(&report).contains("another file came to /in/a.txt"), "{}", cause(&report));
        assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"theirs"[..]));
        let kept: Vec<_> =
            bench.litter().iter().map(|path| bench.stored(path.trim_start_matches('/')).unwrap()).collect();
        assert!(kept.contains(&b"a".to_vec()), "the old version is kept: {kept:?}");
    }
    std::fs::remove_file(bench.server.root().join("in/a.txt")).unwrap();
    let report = bench.run().await;
    assert_eq!(
        (report.counts.delivered + report.counts.settled, report.exit()),
        (1, Exit::Done),
        "{}",
        cause(&report)
    );
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"another one"[..]));
    assert_eq!(bench.litter(), Vec::<String>::new());
    bench.expect_no_connection(1).await;
}
