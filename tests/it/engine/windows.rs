//! Servers for Windows, as far as they are publicly known: IIS and FileZilla Server 1.x.

use ftps_server::Dialect;
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

/// What it does with a new version belongs to the job; that it does not replace is known then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iis_takes_files_and_is_known_not_to_replace_them() {
    let bench = delivered_once(Dialect::iis()).await;
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused));
    let cause = cause(&report);
    let words = "550 Cannot create a file when that file already exists.; the server may not rename over";
    assert!(cause.contains(words), "{cause}");
    assert_eq!(bench.stored("in/a.txt").as_deref(), Some(&b"a"[..]), "the old version stands");
    assert_eq!(bench.litter(), Vec::<String>::new());
    assert_eq!(bench.remote().profile().rename_over, Ability::No);
    let walk = walk(&bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![(Check::RenameOver, Exit::Refused)], Exit::Refused));
    let help = walk.of(Check::RenameOver).help.clone().unwrap();
    assert!(help.contains("IIS never does it"), "{help}");
    assert_eq!(walk.of(Check::Time).outcome, Outcome::Lacking);
    assert_eq!((walk.profile.case, walk.profile.names), (Ability::No, Ability::Yes));
}
