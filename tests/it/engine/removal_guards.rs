//! Guards of deletions that stand behind others, or before them: each by itself.

use std::fs;
use std::sync::Arc;

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::domain::{
    AfterDelivery, Basis, Decided, Decision, Deletes, Digest, EntryStatus, Exit, Person, Presumed,
    PublishWay, Record, RelPath, RemoteDelete, RemotePath, RunId, Sent, Target, Trashing,
};
use nightferry::source::SourceRoot;
use nightferry::state::{LedgerLine, State, read_ledger};
use tokio_util::sync::CancellationToken;

use super::bench::{Ahead, Bench};

/// More than are asked about in one write, several times.
const FILES: usize = 40;

fn path(n: usize) -> RelPath {
    RelPath::new(format!("sub/{n:02}.csv")).unwrap()
}

/// Delivers many files, and one that stays; the limits are as wide as they can be.
async fn deliver(bench: &mut Bench, remote: RemoteDelete) {
    for n in 0..FILES {
        bench.write(path(n).as_str(), format!("{n}"));
    }
    bench.write("anchor", "stays");
    assert_eq!(bench.run().await.counts.delivered, FILES as u64 + 1);
    bench.job.deletes = Deletes { remote, max_percent: 100, max_files: u64::MAX, ..Deletes::default() };
}

fn remove(bench: &Bench, files: std::ops::Range<usize>) {
    for n in files {
        fs::remove_file(bench.job.source.join(path(n).as_str())).unwrap();
    }
}

fn count(bench: &Bench, what: &str) -> usize {
    bench.all_stored().keys().filter(|path| path.starts_with(what)).count()
}

const DELIVERED: &str = "/in/sub/";
const TRASH: &str = "/in/.nightferry-trash/";

/// Commits records as an earlier run would have.
async fn recorded(bench: &Bench, records: Vec<Record>) {
    let opened = State::open(&bench.state_folder(), Arc::clone(&bench.clock)).unwrap();
    let target = Target::of(&bench.job, &bench.definition);
    opened.state.commit(target.id(), records).await.unwrap();
    opened.state.close().unwrap();
}

/// A bench whose stop is called at each event of this kind.
fn stopped_at(is_it: impl Fn(&Event) -> bool + Send + 'static) -> Bench {
    let stop = CancellationToken::new();
    let signal = stop.clone();
    let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
        if is_it(event) {
            signal.cancel();
        }
    });
    bench.stop = stop;
    bench
}

/// A signal ends it with the batch that is under way; the next run does the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_deletions() {
    let mut bench = stopped_at(|event| matches!(event, Event::Asked { verb } if verb == "DELE"));
    deliver(&mut bench, RemoteDelete::Delete).await;
    remove(&bench, 0..FILES);
    assert_eq!(bench.run().await.exit(), Exit::Interrupted);
    assert!((FILES - 8..FILES).contains(&count(&bench, DELIVERED)), "{}", count(&bench, DELIVERED));
    bench.stop = CancellationToken::new();
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(count(&bench, DELIVERED), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_emptying_of_the_trash() {
    let mut bench = stopped_at(|event| matches!(event, Event::Asked { verb } if verb == "DELE"));
    deliver(&mut bench, RemoteDelete::Trash).await;
    remove(&bench, 0..FILES);
    assert_eq!(bench.run().await.counts.removed, FILES as u64);
    bench.job.deletes.trash_days = 0;
    bench.run().await;
    assert!((FILES - 8..FILES).contains(&count(&bench, TRASH)), "{}", count(&bench, TRASH));
    bench.stop = CancellationToken::new();
    let deletes = bench.server.transcript().count("DELE");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(count(&bench, TRASH), 0);
    let again = bench.server.transcript().count("DELE") - deletes;
    assert!(again < FILES, "what went is asked for once: {again}");
}

/// What a run is stopped over is told as it is, not as what it would have deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_stopped_does_not_even_ask_for_deletions() {
    let mut bench =
        stopped_at(|event| matches!(event, Event::Stored { path, .. } if path.starts_with("/in/new/")));
    deliver(&mut bench, RemoteDelete::Delete).await;
    bench.job.deletes.max_percent = 1;
    remove(&bench, 0..FILES);
    bench.write("new/file", "new");
    assert_eq!(bench.run().await.exit(), Exit::Interrupted);
    let tripped = || {
        let mut tripped = 0;
        let count = &mut |line: LedgerLine<'_>| {
            tripped += u64::from(matches!(line.record, Record::GuardTripped(_)));
        };
        read_ledger(&bench.state_folder(), count).unwrap();
        tripped
    };
    assert_eq!(tripped(), 0);
    bench.stop = CancellationToken::new();
    assert_eq!(bench.run().await.exit(), Exit::Source);
    assert_eq!(count(&bench, DELIVERED), FILES);
}

/// A server that ends each session: five are tried, not one for each batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_each_session_is_not_asked_for_ever() {
    let mut bench = Bench::new(Dialect::full(), []);
    deliver(&mut bench, RemoteDelete::Delete).await;
    remove(&bench, 0..FILES);
    for n in FILES..3 * FILES {
        bench.write(path(n).as_str(), "more");
    }
    bench.run().await;
    remove(&bench, FILES..3 * FILES);
    bench.server.arm(Fault::on("SIZE", Action::DropControl(Moment::Before)));
    let logins = bench.server.transcript().count("PASS");
    assert_eq!(bench.run().await.exit(), Exit::Temporary);
    assert_eq!(bench.server.transcript().count("PASS") - logins, 5);
    assert_eq!(count(&bench, DELIVERED), 2 * FILES);
    bench.server.clear_faults();
    assert_eq!(bench.run().await.counts.removed, 2 * FILES as u64);
}

/// What is presumed, and what a person attested, is for people: it is neither deleted nor forgotten, and
/// holds up nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_presumed_or_attested_is_not_deleted() {
    let mut bench = Bench::new(Dialect::full(), []);
    deliver(&mut bench, RemoteDelete::Delete).await;
    let root = SourceRoot::open(&bench.job.source).unwrap();
    let sent = |n: usize| Sent { size: path(n).name().len() as u64, digest: Digest::of(&[7]) };
    let presumed = |n: usize| {
        Record::Presumed(Presumed {
            run: RunId(0),
            path: path(n),
            stat: root.open_file(&path(n)).unwrap().stat(),
            observed_at: bench.clock.now(),
            basis: Basis::Sent(sent(n)),
            publish: PublishWay::Direct,
            found: String::new(),
        })
    };
    let Sent { size, digest } = sent(1);
    let attested = Record::Decided(Decided {
        run: RunId(0),
        path: path(1),
        decision: Decision::Attested,
        size,
        digest,
        by: Person { uid: 0, user: None, sudo_user: None },
    });
    recorded(&bench, vec![presumed(0), presumed(1), attested]).await;
    drop(root);
    remove(&bench, 0..3);
    let report = bench.run().await;
    assert_eq!(report.counts.removed, 1, "{report:#?}");
    assert_eq!(count(&bench, DELIVERED), FILES - 1);
    let opened = State::open(&bench.state_folder(), Arc::clone(&bench.clock)).unwrap();
    let manifest = opened.state.manifest(Target::of(&bench.job, &bench.definition).id()).unwrap();
    let status = |n| manifest.get(&path(n)).unwrap().map(|entry| entry.status);
    assert_eq!((status(0), status(1)), (Some(EntryStatus::Presumed), Some(EntryStatus::Attested)));
}

/// Nothing says that the clock is right where no run has ended yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_earlier_run_the_clock_empties_no_trash() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.deletes = Deletes { remote: RemoteDelete::Trash, ..Deletes::default() };
    bench.write("anchor", "stays");
    let there = "in/.nightferry-trash/2026-01-01-run-1-0000000000000000/theirs";
    bench.put(there, "trashed");
    let to = RemotePath::new(&format!("/{there}")).unwrap();
    recorded(&bench, vec![Record::Trashing(Trashing { run: RunId(0), path: path(0), to })]).await;
    bench.clock = Arc::new(Ahead(365));
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(count(&bench, TRASH), 1);
}

/// 550 to DELE also means that it is not allowed: what stands in the trash is not forgotten, and what
/// somebody took out of it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trash_that_may_not_be_deleted_goes_when_it_may() {
    let mut bench = Bench::new(Dialect::full(), []);
    deliver(&mut bench, RemoteDelete::Trash).await;
    remove(&bench, 0..3);
    assert_eq!(bench.run().await.counts.removed, 3);
    bench.job.deletes.trash_days = 0;
    let taken = bench.all_stored().into_keys().find(|path| path.starts_with(TRASH)).unwrap();
    fs::remove_file(bench.server.root().join(taken.strip_prefix('/').unwrap())).unwrap();
    bench.server.arm(Fault::on("DELE", Action::Reply("550 Not allowed".into())));
    bench.run().await;
    assert_eq!(count(&bench, TRASH), 2);
    bench.server.clear_faults();
    let deletes = bench.server.transcript().count("DELE");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!((count(&bench, TRASH), bench.server.transcript().count("DELE") - deletes), (0, 2));
    bench.expect_no_connection(FILES as u64 - 2).await;
}

/// What was delivered and then taken out of the source on purpose is not gone from it, where the job takes
/// nothing out any more; and it holds up nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mirror_took_out_of_the_source_stays() {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.job.after_delivery = AfterDelivery::Delete;
    (0..4).for_each(|n| bench.write(path(n).as_str(), "retired"));
    assert_eq!(bench.run().await.counts.retired, 4);
    bench.job.after_delivery = AfterDelivery::Keep;
    let deletes = Deletes { remote: RemoteDelete::Delete, max_percent: 100, ..Deletes::default() };
    bench.job.deletes = deletes;
    for name in ["goes", "stays"] {
        bench.write(name, name);
    }
    assert_eq!(bench.run().await.counts.delivered, 2);
    fs::remove_file(bench.job.source.join("goes")).unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.removed, count(&bench, DELIVERED)), (1, 4), "{report:#?}");
    assert_eq!(bench.stored("in/goes"), None);
}
