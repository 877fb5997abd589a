//! `verify`, `adopt` and `restore` as a person or a script meets them, without a server.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nightferry::clock::{Clock, SystemClock};
use nightferry::domain::{Record, RelPath, Target, Timestamp, Withdrawn};
use nightferry::state::State;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A mirror and a drop to a server on this port, with one file.
fn folder(port: u16) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("files")).unwrap();
    fs::write(folder.path().join("files/a.csv"), "1").unwrap();
    let yaml = format!(
        "version: 1
agent: {{state_dir: state}}
servers:
  office: {{host: 127.0.0.1, port: {port}, username: u, password: {{command: [echo, hunter2]}}}}
jobs:
  backup: {{source: files, server: office, destination: /in}}
  reports: {{source: files, server: office, destination: /out, mode: drop}}
"
    );
    fs::write(folder.path().join("jobs.yaml"), yaml).unwrap();
    folder
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
    command.current_dir(folder).args(["--config", "jobs.yaml"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Exit code, standard output and standard error.
fn ended(child: Child) -> (i32, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// What is asked for in a way that makes no sense is refused, and nobody is called.
#[test]
fn mistakes_are_told_before_anything_happens() {
    // Nobody listens there.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let folder = folder(port);
    fs::write(folder.path().join("file"), "").unwrap();
    for (arguments, code, words) in [
        (&["adopt", "reports"][..], 2, "is a drop"),
        (&["adopt"], 2, "JOB"),
        (&["adopt", "nothing"], 2, "there is no job `nothing`"),
        (&["restore", "backup"], 2, "--to"),
        (&["restore", "backup", "../x", "--to", "back"], 2, "no path below the job's source"),
        (&["restore", "backup", "--to", "no/such/folder"], 2, "cannot restore to no/such/folder"),
        (&["restore", "backup", "--to", "file"], 2, "cannot restore to file"),
        (&["restore", "backup", "--to", "back"], 3, "nothing is known of what was delivered"),
        (&["verify"], 0, "reports: a drop, where absence is success: left out"),
        (&["verify", "reports"], 0, "only what is there is compared"),
        (&["adopt", "backup"], 5, "stopped before the end"),
    ] {
        let (found, stdout, stderr) = ended(start(folder.path(), arguments));
        let told = format!("{stdout}{stderr}");
        assert_eq!(found, code, "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn another_process_that_holds_the_state_is_named() {
    let folder = folder(1);
    let opened = State::open(&folder.path().join("state"), Arc::new(SystemClock)).unwrap();
    let holder = format!("process {}", std::process::id());
    for arguments in [
        &["verify"][..],
        &["adopt", "backup"],
        &["restore", "backup", "--to", "back"],
        &["sync", "backup"],
        &["run"],
    ] {
        let (code, _, stderr) = ended(start(folder.path(), arguments));
        assert_eq!(code, 11, "{arguments:?}: {stderr}");
        assert!(stderr.contains("is in use by another nightferry"), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&holder), "{arguments:?}: {stderr}");
    }
    opened.state.close().unwrap();
    assert!(!folder.path().join("back").exists());
}

/// A server that takes the connection and says nothing does not hold up the end.
#[test]
fn a_signal_ends_it_in_order() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let folder = folder(silent.local_addr().unwrap().port());
    let child = start(folder.path(), &["adopt", "backup"]);
    let _called = silent.accept().unwrap();
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    let (code, stdout, stderr) = ended(child);
    assert_eq!(code, 130, "{stdout}{stderr}");
    assert!(stdout.contains("1 not reached before the run ended"), "{stdout}{stderr}");
    let verified = ended(start(folder.path(), &["ledger", "verify"]));
    assert_eq!(verified.0, 0, "{verified:?}");
}

/// The clock of a machine on which years go by.
#[derive(Debug)]
struct Calendar(AtomicI64);

impl Clock for Calendar {
    fn now(&self) -> Timestamp {
        const SECONDS_A_YEAR: i64 = 31_557_600;
        Timestamp::from_unix((self.0.load(Ordering::Relaxed) - 1970) * SECONDS_A_YEAR, 0)
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

/// Writes two full segments of a ledger in 2010 and begins a third one in 2020.
fn old_ledger(folder: &Path) {
    const LINES_A_SEGMENT: u32 = 16;
    let clock = Arc::new(Calendar(AtomicI64::new(2010)));
    let for_ever = Duration::from_hours(100 * 366 * 24);
    let state = State::open_keeping(&folder.join("state"), clock.clone(), for_ever).unwrap().state;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [source, host, user, destination] = ["/s", "h", "u", "/in"].map(str::to_owned);
    let target = Target { source, host, port: 21, user, destination };
    let run = runtime.block_on(state.start_run(&"others".parse().unwrap(), &target)).unwrap().run;
    for number in 0..=2 * LINES_A_SEGMENT {
        let path = RelPath::new("a.csv").unwrap();
        let record = Record::Withdrawn(Withdrawn { run, path, cause: "x".repeat(1 << 20) });
        if number == 2 * LINES_A_SEGMENT {
            clock.0.store(2020, Ordering::Relaxed);
        }
        runtime.block_on(state.commit(target.id(), vec![record])).unwrap();
    }
    state.close().unwrap();
}

/// The ledger is kept for as long as `ledger.retain` says, whichever verb opens the state.
#[test]
fn records_are_kept_for_as_long_as_the_configuration_says() {
    let folder = folder(1);
    old_ledger(folder.path());
    let oldest = folder.path().join("state/ledger/000001.jsonl.gz");
    assert!(oldest.exists());
    let yaml = fs::read_to_string(folder.path().join("jobs.yaml")).unwrap();
    for (retain, is_kept) in [("90y", true), ("6y", false)] {
        fs::write(folder.path().join("jobs.yaml"), format!("{yaml}ledger: {{retain: {retain}}}\n")).unwrap();
        let (code, stdout, stderr) = ended(start(folder.path(), &["verify", "backup"]));
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert_eq!(oldest.exists(), is_kept, "{retain}");
    }
}
