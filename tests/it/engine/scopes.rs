//! Runs over a part of the source, and files that may still be being written.

use std::fs;
use std::time::Duration;

use ftps_server::Dialect;
use nightferry::domain::{
    Deletes, Depth, Exit, Folders, ReadyMarker, RelPath, RemoteDelete, Rest, Scope, WaitCause, Watching,
};

use super::bench::Bench;

fn scope(folders: &[(&str, Depth)]) -> Scope {
    let mut all = Folders::default();
    for (folder, depth) in folders {
        all.add(Some(RelPath::new(*folder).unwrap()), *depth);
    }
    Scope::Folders(all)
}

fn watching(rest: Duration, marker: Option<&str>) -> Watching {
    let ready_marker: Option<ReadyMarker> = marker.map(|marker| marker.parse().unwrap());
    Watching { rest: Rest(rest), ready_marker, ..Watching::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_changed_folders_are_looked_at_and_nothing_is_deleted() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.deletes = Deletes { remote: RemoteDelete::Delete, max_percent: 100, ..Deletes::default() };
    for path in ["x", "a/1", "a/b/2", "a/b/gone", "c/3"] {
        bench.write(path, path);
    }
    assert_eq!(bench.run().await.counts.delivered, 5);
    for path in ["x", "a/1", "a/b/2", "a/b/new", "c/3", "c/deep/new", "new"] {
        bench.write(path, format!("{path}, the second"));
    }
    fs::remove_file(bench.job.source.join("a/b/gone")).unwrap();
    bench.scope = scope(&[("a/b", Depth::Itself), ("c", Depth::Tree)]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.removed, report.exit()), (4, 0, Exit::Done));
    assert_eq!(bench.stored("in/a/b/2").unwrap(), b"a/b/2, the second");
    assert_eq!(bench.stored("in/a/1").unwrap(), b"a/1");
    assert!(bench.stored("in/a/b/gone").is_some() && bench.stored("in/new").is_none());
    bench.expect_no_connection(4).await;
    bench.scope = Scope::All;
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.removed), (3, 1), "{report:#?}");
    assert_eq!(bench.stored("in/a/b/gone"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_still_be_being_written_waits_and_is_told() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.write("x", "half of it");
    bench.job.watch = Some(watching(Duration::from_hours(1), None));
    let report = bench.run().await;
    assert_eq!((report.counts.waiting, report.counts.delivered, report.exit()), (1, 0, Exit::Done));
    let [file] = &*report.waiting else { panic!("{report:#?}") };
    let WaitCause::NotAtRest { until } = file.cause else { panic!("{file:?}") };
    assert_eq!((file.name.as_str(), report.look_again), ("x", Some(until)));
    assert_eq!(bench.stored("in/x"), None);
    bench.job.watch = Some(watching(Duration::ZERO, None));
    let report = bench.run().await;
    assert_eq!((report.counts.waiting, report.counts.delivered, report.look_again), (0, 1, None));
    bench.job.watch = Some(watching(Duration::from_hours(1), None));
    bench.write("x", "all of it, and more");
    assert_eq!(bench.run().await.counts.waiting, 1, "so does the next version");
    assert_eq!(bench.stored("in/x").unwrap(), b"half of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_when_its_marker_stands_beside_it_and_the_marker_never() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.watch = Some(watching(Duration::ZERO, Some("*.done")));
    bench.write("a/x.csv", "1");
    bench.write("a/y.csv", "1");
    bench.write("a/y.csv.done", "");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.waiting, report.look_again), (1, 1, None));
    let cause = WaitCause::NoMarker { marker: "x.csv.done".into() };
    assert_eq!((report.waiting[0].name.as_str(), &report.waiting[0].cause), ("a/x.csv", &cause));
    bench.write("a/x.csv.done", "");
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.all_stored().into_keys().collect::<Vec<_>>(), ["/in/a/x.csv", "/in/a/y.csv"]);
    // The marker of the version before says nothing of the next one.
    let marker = fs::File::options().write(true).open(bench.job.source.join("a/y.csv.done")).unwrap();
    let made = marker.metadata().unwrap().modified().unwrap();
    bench.write("a/y.csv", "22");
    let next = fs::File::options().write(true).open(bench.job.source.join("a/y.csv")).unwrap();
    while next.metadata().unwrap().modified().unwrap() <= made {
        bench.write("a/y.csv", "22");
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.waiting), (0, 1), "{report:#?}");
    bench.write("a/y.csv.done", "");
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.stored("in/a/y.csv").unwrap(), b"22");
}
