//! How many sessions runs open, what they learn of a server's limit, and how jobs share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ftps_server::{Action, Dialect, Fault, Moment, Server};
use nightferry::clock::{Clock, SystemClock};
use nightferry::delivery::{Delivery, run};
use nightferry::domain::{
    Backoff, Event, Exit, FileProgress, RemotePath, RunReport, Scope, Target, Timestamp, Trigger, Triggers,
};
use nightferry::remote::{Ability, Haste, Remote};
use nightferry::state::State;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, cause};

fn fill(bench: &Bench, prefix: &str, files: u32) {
    for n in 0..files {
        bench.write(&format!("{prefix}{n}.txt"), format!("{n}"));
    }
}

/// A run finds the limit, and the next one heeds it.
async fn check_learned(mut bench: Bench, limit: u16) {
    bench.definition.connections = 4.try_into().unwrap();
    fill(&bench, "first", 40);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (40, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.profile().connections, Some(limit));
    // Now it takes more again, which the next run does not ask for.
    bench.server.clear_faults();
    let connections = bench.server.counters().control_connections;
    fill(&bench, "second", 40);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (40, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.server.counters().control_connections - connections, u64::from(limit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_learns_how_many_sessions_the_server_takes() {
    check_learned(Bench::with(Server::builder().most_sessions(2)), 2).await;
    check_learned(Bench::with(Server::builder().most_sessions(1)), 1).await;
    let proftpd = "530 Sorry, the maximum number of clients (1) from your host are already connected.";
    // With the same password another session is open: it is not the password.
    for reply in [proftpd, "530 Login incorrect."] {
        let refused = Fault::on("PASS", Action::Reply(reply.into())).from(2);
        check_learned(Bench::new(Dialect::full(), [refused]), 1).await;
    }
}

#[derive(Debug)]
struct Later(Duration);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        let later = i64::try_from(self.0.as_nanos()).unwrap();
        Timestamp::from_unix_nanos(SystemClock.now().unix_nanos() + later)
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_later_one_more_is_tried() {
    let mut bench = Bench::with(Server::builder().most_sessions(1));
    bench.definition.connections = 4.try_into().unwrap();
    fill(&bench, "", 40);
    bench.run().await;
    assert_eq!(bench.profile().connections, Some(1));
    let after = |hours: u64| {
        let remote = bench.remote().with_clock(Arc::new(Later(Duration::from_hours(hours))));
        let _share = remote.share();
        remote.sessions()
    };
    assert_eq!((after(0), after(23), after(25)), (1, 1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_opened_for_a_backlog_that_is_worth_them() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 4.try_into().unwrap();
    fill(&bench, "few", 3);
    assert_eq!(bench.run().await.counts.delivered, 3);
    assert_eq!(bench.server.counters().logins, 1);
    fill(&bench, "many", 100);
    assert_eq!(bench.run().await.counts.delivered, 100);
    assert_eq!(bench.server.counters().logins, 1 + 4);
    bench.expect_no_connection(103).await;
}

/// What meets every file is the run's failure, and none of the files'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_session_was_there_for_were_not_reached() {
    for (fault, exit) in [
        (Fault::on("PASS", Action::Reply("530 Login incorrect.".into())), Exit::Refused),
        (Fault::on("PROT", Action::Reply("534 no".into())), Exit::Trust),
        (Fault::on_greeting(Action::Reply("421 Too many".into())), Exit::Temporary),
        (Fault::on_greeting(Action::DropControl(Moment::Unanswered)), Exit::Temporary),
    ] {
        let mut bench = Bench::new(Dialect::full(), [fault.clone()]);
        bench.definition.connections = 4.try_into().unwrap();
        fill(&bench, "", 10);
        let report = bench.run().await;
        assert_eq!(report.exit(), exit, "{fault:?}");
        assert_eq!((report.counts.failed, report.counts.not_reached), (0, 10), "{fault:?}");
        assert!(report.failed.is_empty() && report.stopped.is_some(), "{fault:?}");
        bench.server.clear_faults();
        assert_eq!(bench.run().await.counts.delivered, 10, "{fault:?}");
    }
}

/// The server goes away for good in the middle: what was under way was not reached either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_in_the_middle_ends_the_run() {
    let mut bench = Bench::new(Dialect::full(), []).impatient();
    bench.definition.connections = 1.try_into().unwrap();
    fill(&bench, "", 10);
    bench.server.arm(Fault::on("STOR", Action::DropControl(Moment::Before)).from(4));
    bench.server.arm(Fault::on_greeting(Action::DropControl(Moment::Unanswered)).from(2));
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (3, Exit::Temporary), "{}", cause(&report));
    assert_eq!((report.counts.failed, report.counts.not_reached), (0, 7));
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.delivered, 7);
}

/// A worker loses its session and gets no other one; whoever has one has nothing left to do by the time
/// that it gives up, and must be there all the same to take its file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_handed_back_last_is_delivered() {
    let late = Fault::on("STOR", Action::Delay(Duration::from_millis(400))).once();
    let lost = Fault::on("STOR", Action::DropControl(Moment::Before)).nth(2);
    let mut bench = Bench::new(Dialect::full(), [late, lost]).impatient();
    bench.definition.connections = 2.try_into().unwrap();
    for n in 3..6 {
        bench.server.arm(Fault::on_greeting(Action::DropControl(Moment::Unanswered)).nth(n));
    }
    // The last try outlasts the other worker's file.
    bench.server.arm(Fault::on_greeting(Action::Stall).nth(6));
    for name in ["a", "b"] {
        bench.write(name, vec![1; 1 << 20]);
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{}", cause(&report));
    assert_eq!((report.counts.not_reached, bench.renames()), (0, 2));
    // It sweeps what the lost session left.
    assert_eq!(bench.run().await.exit(), Exit::Done);
    bench.expect_no_connection(2).await;
}

/// A job of its own among others, on a server that they share.
struct Running {
    delivered: Arc<AtomicU64>,
    some: Arc<Notify>,
    stop: CancellationToken,
}

impl Running {
    fn start(
        bench: &Bench,
        (name, files): (&str, u32),
        (remote, state): (&Arc<Remote>, &State),
        runs: &mut JoinSet<RunReport>,
    ) -> Self {
        let source = bench.folders.path().join(name);
        std::fs::create_dir(&source).unwrap();
        for n in 0..files {
            std::fs::write(source.join(format!("{n}.txt")), format!("{n}")).unwrap();
        }
        let mut job = bench.job.clone();
        job.name = name.parse().unwrap();
        job.source = source;
        job.destination = RemotePath::new(&format!("/{name}")).unwrap();
        let (delivered, some) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let (counter, told) = (Arc::clone(&delivered), Arc::clone(&some));
        let delivery = Delivery {
            triggers: Triggers::of(Trigger::Manual),
            scope: Scope::All,
            limit: None,
            target: Target::of(&job, &bench.definition),
            job,
            remote: Arc::clone(remote),
            state: state.clone(),
            clock: Arc::new(SystemClock),
            sink: Arc::new(move |event: Event| {
                if matches!(event, Event::File { progress: FileProgress::Delivered { .. }, .. }) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    told.notify_one();
                }
            }),
            resume_from: Delivery::RESUME_FROM,
            approved: None,
            backoff: Backoff { base: Duration::from_millis(1), limit: Duration::from_millis(5) },
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        runs.spawn(async move { Box::pin(run(delivery, token)).await.unwrap() });
        Self { delivered, some, stop }
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    async fn until(&self, files: u64) {
        while self.delivered() < files {
            self.some.notified().await;
        }
    }
}

/// A job with thousands of files leaves room to one that comes later, whatever the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_server_do_not_starve_each_other() {
    const MANY: u32 = 4_000;
    for permits in [2, 1] {
        let mut bench = Bench::new(Dialect::full(), []);
        bench.definition.connections = permits.try_into().unwrap();
        let remote = Arc::new(bench.remote());
        let opened = State::open(&bench.state_folder(), Arc::new(SystemClock)).unwrap();
        let shared = (&remote, &opened.state);
        let mut runs = JoinSet::new();
        let large = Running::start(&bench, ("large", MANY), shared, &mut runs);
        large.until(20).await;
        let small = Running::start(&bench, ("small", 40), shared, &mut runs);
        small.until(40).await;
        let meanwhile = large.delivered();
        assert!(meanwhile < u64::from(MANY), "the small job came last");
        large.until(meanwhile + 20).await;
        large.stop.cancel();
        let mut counts = Vec::new();
        while let Some(report) = runs.join_next().await {
            counts.push(report.unwrap().counts);
        }
        counts.sort_by_key(|counts| counts.delivered);
        assert_eq!((counts[0].delivered, counts[0].failed), (40, 0));
        assert_eq!(counts[1].delivered + counts[1].not_reached, u64::from(MANY), "{counts:?}");
        opened.state.close().unwrap();
    }
}

/// An intent whose file was damaged on the server comes to nothing; what is sent then is the plan's
/// business, which knows of twins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_sends_no_twin() {
    let mut bench = Bench::new(Dialect::full().with(ftps_server::Feature::WindowsNames), []).impatient();
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.txt", "mine");
    bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Before)));
    bench.server.arm(Fault::on_greeting(Action::DropControl(Moment::Unanswered)).from(2));
    assert_eq!(bench.deliver().await.exit(), Exit::Temporary);
    bench.server.clear_faults();
    let temporary = bench.litter();
    assert_eq!(temporary.len(), 1, "{temporary:?}");
    std::fs::write(bench.server.root().join(temporary[0].trim_start_matches('/')), "ruin").unwrap();
    bench.write("A.txt", "theirs");
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.counts.failed), (0, 2), "{report:#?}");
    assert_eq!(bench.profile().case, Ability::No);
    assert_eq!(bench.all_stored().into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

/// A job that gives its only session away between two files has begun the next one by then, or taken
/// it: that one is seen through, or goes back, and no byte is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_another_job_waits_for_is_given_up_behind_what_was_begun() {
    const FILES: u32 = 300;
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.connections = 1.try_into().unwrap();
    let remote = Arc::new(bench.remote());
    let opened = State::open(&bench.state_folder(), Arc::new(SystemClock)).unwrap();
    let other = remote.share();
    let mut runs = JoinSet::new();
    let _running = Running::start(&bench, ("many", FILES), (&remote, &opened.state), &mut runs);
    let mut turns = 0;
    let report = loop {
        tokio::select! {
            biased;
            report = runs.join_next() => break report.unwrap().unwrap(),
            permit = other.permit(Haste::Waiting) => {
                turns += 1;
                drop(permit);
                // In line again before the run has its session back.
                tokio::task::yield_now().await;
            }
        }
    };
    opened.state.close().unwrap();
    println!("{turns} turns");
    let counters = bench.server.counters();
    assert_eq!(
        (report.counts.delivered, report.exit()),
        (u64::from(FILES), Exit::Done),
        "{}",
        cause(&report)
    );
    assert!(counters.logins > 1, "it never gave its session away");
    assert_eq!(counters.stores, u64::from(FILES), "a file was sent twice");
    assert_eq!(bench.litter(), Vec::<String>::new());
}
