//! Uploads of large files that a kill interrupts: the next run sends the rest only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::lab::{self, Server};
use crate::support::{Agent, Running, assert_same_tree, files_below, write_big_file};

/// As much as a nightly dump.
const SIZE: u64 = 300 << 20;
/// When the process is killed: enough that going on pays, and some time before the end.
const KILLED_FROM: u64 = 80 << 20;

/// What the next run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    StartsAgain,
}

fn a_killed_upload(name: &str, then: Then) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "resumed");
    write_big_file(&agent.source().join("dump.tar"), usize::try_from(SIZE).unwrap());
    let run = agent.start();
    let temporary = wait_for_part(&run, &agent.arrivals);
    run.kill();
    let inode = fs::metadata(&temporary).unwrap().ino();

    let run = agent.sync();
    let counts = run.done().counts;
    assert_eq!((counts.delivered, counts.bytes_delivered), (1, SIZE));
    assert_same_tree(&agent.source(), &agent.arrivals);
    assert_eq!(files_below(&agent.arrivals).len(), 1, "a temporary file is left");
    let went_on: Vec<_> = run.events("file-resumed").map(|event| event["at"].as_u64().unwrap()).collect();
    match then {
        Then::GoesOn => {
            let [at] = went_on[..] else { panic!("{went_on:?}") };
            assert!((KILLED_FROM..SIZE).contains(&at), "{at}");
            let arrived = fs::metadata(agent.arrivals.join("dump.tar")).unwrap();
            assert_eq!(arrived.ino(), inode, "the whole file was sent again");
        }
        Then::StartsAgain => assert_eq!(went_on, Vec::<u64>::new()),
    }
    let counts = agent.sync().done().counts;
    assert_eq!((counts.delivered, counts.unchanged + counts.confirmed), (0, 1));
}

/// The data connection is reset in the middle, and once more while the upload goes on: the same run
/// brings it to its end, and no byte is sent that had arrived.
fn a_cut_upload(name: &str, then: Then) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "cut");
    agent.one_connection();
    write_big_file(&agent.source().join("dump.tar"), usize::try_from(SIZE).unwrap());
    let run = agent.start();
    let temporary = wait_for_part(&run, &agent.arrivals);
    reset_data_connections(&run, &server);
    if then == Then::GoesOn {
        let inode = fs::metadata(&temporary).unwrap().ino();
        wait_for_size(&run, &temporary, 2 * KILLED_FROM);
        reset_data_connections(&run, &server);
        let run = run.finish();
        let counts = run.done().counts;
        assert_eq!((counts.delivered, counts.bytes_delivered), (1, SIZE));
        let went_on: Vec<_> = run.events("file-resumed").map(|event| event["at"].as_u64().unwrap()).collect();
        assert!(went_on.len() == 2 && KILLED_FROM <= went_on[0] && went_on[0] < went_on[1], "{went_on:?}");
        assert_eq!(fs::metadata(agent.arrivals.join("dump.tar")).unwrap().ino(), inode, "{went_on:?}");
    } else {
        let run = run.finish();
        assert_eq!(run.done().counts.delivered, 1);
        assert_eq!(run.events("file-resumed").count(), 0);
    }
    assert_same_tree(&agent.source(), &agent.arrivals);
    assert_eq!(files_below(&agent.arrivals).len(), 1, "a temporary file is left");
}

/// Has the kernel reset each connection of a process but the control connection (`ss`, iproute2).
fn reset_data_connections(run: &Running, server: &Server) {
    let listed = Command::new("ss").args(["-Htnp", "state", "established"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let ours = format!("pid={},", run.id());
    let mut reset = 0;
    for line in listed.lines().filter(|line| line.contains(&ours)) {
        let peer = line.split_whitespace().nth(3).unwrap();
        let port = peer.rsplit(':').next().unwrap();
        if port != server.port.to_string() {
            let how = ["-K", "dst", "127.0.0.1", "dport", "=", port];
            assert!(Command::new("ss").args(how).output().unwrap().status.success());
            reset += 1;
        }
    }
    assert_eq!(reset, 1, "{listed}");
}

fn wait_for_size(run: &Running, path: &Path, size: u64) {
    while !fs::metadata(path).is_ok_and(|facts| facts.len() >= size) {
        assert!(Path::new(&format!("/proc/{}", run.id())).exists(), "the run has ended");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_cut_upload_to_vsftpd_goes_on_in_the_same_run() {
    a_cut_upload("vsftpd", Then::GoesOn);
}

#[test]
fn a_cut_upload_to_pure_ftpd_goes_on_in_the_same_run() {
    a_cut_upload("pureftpd", Then::GoesOn);
}

#[test]
fn a_cut_upload_to_pyftpdlib_goes_on_in_the_same_run() {
    a_cut_upload("pyftpd", Then::GoesOn);
}

/// With `AllowStoreRestart on`.
#[test]
fn a_cut_upload_to_proftpd_goes_on_in_the_same_run_where_it_allows_that() {
    a_cut_upload("proftpd-noreuse", Then::GoesOn);
}

#[test]
fn a_cut_upload_to_proftpd_as_it_comes_starts_again_in_the_same_run() {
    a_cut_upload("proftpd", Then::StartsAgain);
}

/// Waits until a good part of the file has arrived.
fn wait_for_part(run: &Running, arrivals: &Path) -> PathBuf {
    loop {
        let entries = fs::read_dir(arrivals).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".nf-"));
            if hidden && fs::metadata(&path).is_ok_and(|facts| facts.len() >= KILLED_FROM) {
                return path;
            }
            assert!(hidden, "the file was there before the process could be killed");
        }
        assert!(Path::new(&format!("/proc/{}", run.id())).exists(), "the run has ended");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_upload_to_vsftpd_goes_on() {
    a_killed_upload("vsftpd", Then::GoesOn);
}

#[test]
fn a_killed_upload_to_pure_ftpd_goes_on() {
    a_killed_upload("pureftpd", Then::GoesOn);
}

#[test]
fn a_killed_upload_to_pyftpdlib_goes_on() {
    a_killed_upload("pyftpd", Then::GoesOn);
}

/// With `AllowStoreRestart on`.
#[test]
fn a_killed_upload_to_proftpd_goes_on_where_it_allows_that() {
    a_killed_upload("proftpd-noreuse", Then::GoesOn);
}

#[test]
fn a_killed_upload_to_proftpd_as_it_comes_starts_again() {
    a_killed_upload("proftpd", Then::StartsAgain);
}
