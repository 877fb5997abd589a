//! Drops: a consumer takes each file as soon as it has its final name.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::domain::{Exit, Mode};

use super::bench::Bench;

/// How often each name was taken.
type Taken = Arc<Mutex<BTreeMap<String, u32>>>;

fn drop_with_consumer(faults: impl IntoIterator<Item = Fault>) -> (Bench, Taken) {
    let taken = Taken::default();
    let log = Arc::clone(&taken);
    let hook = move |event: &Event| {
        if let Event::Renamed { from, to, local } = event
            && from != to
        {
            std::fs::remove_file(local).unwrap();
            *log.lock().unwrap().entry(to.clone()).or_default() += 1;
        }
    };
    let server = Server::builder().dialect(Dialect::full()).faults(faults);
    let mut bench = Bench::watched(server, hook);
    bench.job.mode = Mode::Drop;
    for n in 0..6 {
        bench.write(&format!("{n}.csv"), format!("{n}"));
    }
    (bench, taken)
}

fn assert_each_once(taken: &Taken) {
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 6, "{taken:?}");
    assert!(taken.values().all(|&times| times == 1), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_consumer_takes_is_not_sent_again() {
    let (bench, taken) = drop_with_consumer([]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (6, Exit::Done), "{report:#?}");
    for _ in 0..2 {
        bench.expect_no_connection(6).await;
    }
    assert_each_once(&taken);
}

/// The reply is lost and the file is taken: it is presumed, said so each time, and not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_the_rename_doubles_nothing() {
    for moment in [Moment::Unanswered, Moment::Answered] {
        let (bench, taken) = drop_with_consumer([Fault::on("RNTO", Action::DropControl(moment)).nth(3)]);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.presumed), (5, 1), "{report:#?}");
        assert_eq!(report.exit(), Exit::FilesFailed);
        for _ in 0..2 {
            let report = bench.run().await;
            assert_eq!((report.counts.delivered, report.counts.presumed), (0, 1), "{report:#?}");
        }
        assert_each_once(&taken);
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}

/// Only other bytes are a new file; then it is sent, and the touched one was taken once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_of_what_is_presumed_doubles_nothing() {
    let lost = Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).nth(3);
    let (bench, taken) = drop_with_consumer([lost]);
    assert_eq!(bench.run().await.counts.presumed, 1);
    for seconds in [1_000, 2_000] {
        for n in 0..6 {
            let file = File::open(bench.job.source.join(format!("{n}.csv"))).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        let report = bench.run().await;
        let counts = report.counts;
        assert_eq!((counts.delivered, counts.confirmed, counts.presumed), (0, 5, 1), "{report:#?}");
        assert_each_once(&taken);
    }
    for n in 0..6 {
        bench.write(&format!("{n}.csv"), format!("{}", n + 1));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.presumed), (6, 0), "{report:#?}");
    assert!(taken.lock().unwrap().values().all(|&times| times == 2), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_never_came_is_done_once() {
    let (bench, taken) = drop_with_consumer([Fault::on("RNTO", Action::DropControl(Moment::Before)).nth(3)]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (6, Exit::Done), "{report:#?}");
    bench.expect_no_connection(6).await;
    assert_each_once(&taken);
}

/// As after a crash: the run that lost the reply cannot ask any more, and the next one finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_next_run_presumes_is_counted_once() {
    let (mut bench, taken) = drop_with_consumer([
        Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).nth(6),
        Fault::on_greeting(Action::DropControl(Moment::Unanswered)).from(2),
    ]);
    bench.definition.connections = 1.try_into().unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (5, Exit::Temporary), "{report:#?}");
    bench.server.clear_faults();
    for _ in 0..2 {
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.counts.presumed), (0, 1), "{report:#?}");
        assert_eq!(report.counts.failed, 0);
    }
    assert_each_once(&taken);
}

/// What cannot be settled yet is not swept by the same run, which would make it look as if the consumer had
/// taken it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_settled_yet_is_not_swept() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.mode = Mode::Drop;
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.csv", "a");
    bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Before)));
    bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    bench.server.clear_faults();
    for verb in ["SIZE", "MDTM", "HASH", "RETR", "RNFR"] {
        bench.server.arm(Fault::on(verb, Action::Reply("450 Busy".into())).naming(".nf-"));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.presumed, report.counts.failed), (0, 0, 1));
    assert_eq!(bench.litter().len(), 1, "{report:#?}");
    let listed = bench.server.transcript().commands().into_iter().any(|line| line.starts_with("MLSD"));
    assert!(listed, "its folder was not swept at all");
    bench.server.clear_faults();
    let report = bench.run().await;
    let counts = report.counts;
    assert_eq!((counts.delivered + counts.settled, counts.presumed, report.exit()), (1, 0, Exit::Done));
    assert_eq!(bench.stored("in/a.csv").as_deref(), Some(b"a".as_slice()));
    assert_eq!(bench.litter(), Vec::<String>::new());
}

/// Two jobs with one destination: neither sweeps what the other has in doubt, which it would then
/// presume to be taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_does_not_sweep_what_another_job_has_in_doubt() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.mode = Mode::Drop;
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("ours.csv", "ours");
    let (ours, others) = (bench.job.source.clone(), tempfile::tempdir().unwrap());
    std::fs::write(others.path().join("other.csv"), "other").unwrap();
    for (source, verb) in [(others.path(), "STOR"), (&*ours, "RNFR")] {
        bench.job.source = source.to_owned();
        bench.server.arm(Fault::on(verb, Action::DropControl(Moment::Before)));
        bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
        assert_eq!(bench.run().await.exit(), Exit::Temporary, "{verb}");
        bench.server.clear_faults();
    }
    assert_eq!(bench.litter().len(), 1);
    for source in [others.path(), &*ours] {
        bench.job.source = source.to_owned();
        let report = bench.run().await;
        assert_eq!((report.counts.presumed, report.exit()), (0, Exit::Done), "{report:#?}");
    }
    assert_eq!(bench.stored("in/ours.csv").as_deref(), Some(b"ours".as_slice()));
    assert_eq!(bench.litter(), Vec::<String>::new());
}
