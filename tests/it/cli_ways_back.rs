//! `verify`, `adopt` and `restore` as a person or a script meets them, without a server.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use nightferry::clock::SystemClock;
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
    for arguments in [&["verify"][..], &["adopt", "backup"], &["restore", "backup", "--to", "back"]] {
        let (code, _, stderr) = ended(start(folder.path(), arguments));
        assert_eq!(code, 11, "{stderr}");
        assert!(stderr.contains("is in use by another nightferry"), "{stderr}");
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
