//! Runs that are stopped at any moment while they settle, sweep, scan or deliver: what they leave is no
//! worse than what they met, and nobody gets a file twice for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ftps_server::{Action, Dialect, Event, Fault, Moment, Server};
use nightferry::domain::{Exit, Mode, Sidecar, Sidecars};
use nightferry::state::verify_ledger;
use tokio_util::sync::CancellationToken;

use super::bench::Bench;

/// What the server does when a client speaks, and what came of it.
#[derive(Default)]
struct Watch {
    /// At which command from now on a signal comes.
    countdown: u64,
    signal: CancellationToken,
    /// How often each name came to stand.
    came: BTreeMap<String, u32>,
}

/// A job whose runs are stopped.
struct Stopping {
    bench: Bench,
    watch: Arc<Mutex<Watch>>,
}

impl Stopping {
    fn new(mode: Mode) -> Self {
        let watch = Arc::new(Mutex::new(Watch::default()));
        let seen = Arc::clone(&watch);
        let mut bench = Bench::watched(Server::builder().dialect(Dialect::full()), move |event| {
            let mut watch = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Asked { .. } => {
                    watch.countdown = watch.countdown.saturating_sub(1);
                    if watch.countdown == 0 {
                        watch.signal.cancel();
                    }
                }
                Event::Renamed { from, to, .. } if from != to => {
                    *watch.came.entry(to.clone()).or_default() += 1;
                }
                _ => {}
            }
        });
        bench.job.mode = mode;
        bench.job.sidecars = Sidecars::from_iter(Sidecar::ALL);
        // One after another, so that a command's number says where a run is.
        bench.definition.connections = 1.try_into().unwrap();
        Self { bench, watch }
    }

    /// A run that is told to stop at its n-th command; before it begins, where that is 0.
    async fn run(&mut self, signal_at: u64) -> Exit {
        self.bench.stop = CancellationToken::new();
        if signal_at == 0 {
            self.bench.stop.cancel();
        }
        {
            let mut watch = self.watch.lock().unwrap();
            (watch.countdown, watch.signal) = (signal_at, self.bench.stop.clone());
        }
        let (report, _) = self.bench.run_quietly().await;
        report.exit()
    }

    /// Whether the signal has come.
    fn was_signalled(&self) -> bool {
        self.bench.stop.is_cancelled()
    }

    /// Leaves all that a run can leave: two renames in doubt, of which one came about; two files that
    /// still owe a sidecar; temporary files, in a folder that could not be swept, too; a new file.
    async fn leave(&mut self) {
        let dead = Fault::on("USER", Action::DropControl(Moment::Before));
        // The line is lost in the middle of a file, and there is none any more.
        self.bench.write("left/over.csv", "left");
        self.bench.server.arm(Fault::on("HASH", Action::DropControl(Moment::Before)));
        self.bench.server.arm(dead.clone().from(2));
        assert_eq!(self.run(NEVER).await, Exit::Temporary);
        assert_eq!(self.bench.litter().len(), 1);
        self.bench.server.clear_faults();
        // The folder cannot be swept from here on.
        self.bench.server.arm(Fault::on("MLSD", Action::Reply("450 Busy".into())));
        self.bench.write("owing.csv", "owing");
        self.bench.server.arm(Fault::on("RNTO", Action::Reply("450 Busy".into())).naming(".done"));
        self.run(NEVER).await;
        // A rename comes about, and its reply is lost.
        self.bench.write("doubt.csv", "doubt");
        let lost = Fault::on("RNTO", Action::DropControl(Moment::Unanswered)).naming("doubt.csv");
        self.bench.server.arm(lost);
        self.bench.server.arm(dead.clone().from(3));
        self.run(NEVER).await;
        // The line is lost before another one; the first one cannot be settled yet.
        let asked = self.bench.server.transcript();
        let doubtful = asked.commands().into_iter().filter_map(|line| line.strip_prefix("RNFR ")).next_back();
        let unsettled = Fault::on("RNFR", Action::Reply("450 Busy".into())).naming(doubtful.unwrap());
        self.bench.server.clear_faults();
        self.bench.server.arm(Fault::on("MLSD", Action::Reply("450 Busy".into())));
        self.bench.server.arm(Fault::on("RNTO", Action::Reply("450 Busy".into())).naming(".done"));
        self.bench.server.arm(unsettled);
        self.bench.write("unclear.csv", "unclear");
        self.bench.server.arm(Fault::on("RNTO", Action::DropControl(Moment::Before)).naming("unclear.csv"));
        self.bench.server.arm(dead.from(3));
        self.run(NEVER).await;
        self.bench.server.clear_faults();
        self.bench.write("new.csv", "new");
    }
}

/// Further than any run comes.
const NEVER: u64 = u64::MAX;

/// With the times of the files, by which we know what is ours.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(target).unwrap().set_modified(modified).unwrap();
        }
    }
}

fn replace(folder: &Path, by: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    copy(by, folder);
}

/// The names that come to stand after [`Stopping::leave`], each once.
const TO_COME: [&str; 10] = [
    "/in/doubt.csv.done",
    "/in/doubt.csv.sha256",
    "/in/left/over.csv.done",
    "/in/new.csv",
    "/in/new.csv.done",
    "/in/new.csv.sha256",
    "/in/owing.csv.done",
    "/in/unclear.csv",
    "/in/unclear.csv.done",
    "/in/unclear.csv.sha256",
];

/// Stopped at each command that a run sends until it is through with what others left and with its own:
/// what comes after it brings each file there once, and then rests.
async fn stopped_everywhere(mode: Mode) {
    let mut stopping = Stopping::new(mode);
    stopping.leave().await;
    let (state, stored) = (stopping.bench.state_folder(), stopping.bench.server.root().to_owned());
    let before = tempfile::tempdir().unwrap();
    copy(&state, &before.path().join("state"));
    copy(&stored, &before.path().join("stored"));
    let mut interrupted = 0;
    for n in 0.. {
        replace(&state, &before.path().join("state"));
        replace(&stored, &before.path().join("stored"));
        stopping.watch.lock().unwrap().came.clear();
        let exit = stopping.run(n).await;
        let was_signalled = stopping.was_signalled();
        // At its last words a run is through.
        assert!(matches!(exit, Exit::Interrupted | Exit::Done), "{mode:?}, signal at {n}: {exit:?}");
        assert!(was_signalled || exit == Exit::Done, "{mode:?}, signal at {n}: {exit:?}");
        interrupted += u64::from(exit == Exit::Interrupted);
        assert_eq!(stopping.run(NEVER).await, Exit::Done, "{mode:?}, signal at {n}");
        let what = format!("{mode:?}, signal at {n}");
        let connections = stopping.bench.server.counters();
        assert_eq!(stopping.run(NEVER).await, Exit::Done, "{what}");
        assert_eq!(stopping.bench.server.counters(), connections, "there was something left to do: {what}");
        let came = stopping.watch.lock().unwrap().came.clone();
        assert!(came.values().all(|times| *times == 1) && came.keys().eq(TO_COME), "{came:?}: {what}");
        assert_eq!(stopping.bench.litter(), Vec::<String>::new(), "{what}");
        assert_eq!(verify_ledger(&state).unwrap().torn_tail, None, "{what}");
        if !was_signalled {
            break;
        }
    }
    stopping.bench.check_server();
    assert!(interrupted > 60, "a run that does all this has more commands than {interrupted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_stopped_at_any_command_brings_each_file_once() {
    Box::pin(stopped_everywhere(Mode::Mirror)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_is_stopped_at_any_command_brings_each_file_once() {
    Box::pin(stopped_everywhere(Mode::Drop)).await;
}
