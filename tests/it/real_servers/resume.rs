//! Uploads of large files that a kill interrupts: the next run sends the rest only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::lab;
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
