//! `publish: direct` on servers that could rename as well.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::lab;
use crate::support::{Agent, assert_same_tree, files_below, write_big_file, write_file};

/// Enough that a kill comes before its end.
const BIG: usize = 200 << 20;

/// Files arrive proved without a rename; what a kill cut off is known as ours and ended by the next
/// run; an unchanged tree costs nothing.
fn files_are_stored_straight(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "direct");
    agent.configure_job("publish: direct");
    std::fs::create_dir(agent.source().join("sub")).unwrap();
    for seed in 0..20_u64 {
        write_file(&agent.source().join(format!("sub/{seed}.csv")), seed, 5_000);
    }
    assert_eq!(agent.sync().done().counts.delivered, 20);
    write_file(&agent.source().join("sub/3.csv"), 99, 6_000);
    write_big_file(&agent.source().join("dump.tar"), BIG);
    let run = agent.start();
    let dump = agent.arrivals.join("dump.tar");
    while !std::fs::metadata(&dump).is_ok_and(|facts| facts.len() > 1 << 20) {
        assert!(Path::new(&format!("/proc/{}", run.id())).exists(), "the run has ended");
        thread::sleep(Duration::from_millis(1));
    }
    run.kill();
    let counts = agent.sync().done().counts;
    assert!((1..=2).contains(&counts.delivered), "{counts:?}");
    assert_same_tree(&agent.source(), &agent.arrivals);
    assert_eq!(files_below(&agent.arrivals).len(), 21);
    assert_eq!(agent.sync().done().counts.bytes_delivered, 0);
}

#[test]
fn files_are_stored_straight_on_vsftpd() {
    files_are_stored_straight("vsftpd-tls13");
}

#[test]
fn files_are_stored_straight_on_proftpd() {
    files_are_stored_straight("proftpd-tls12");
}

#[test]
fn files_are_stored_straight_on_pure_ftpd() {
    files_are_stored_straight("pureftpd-tls13");
}

#[test]
fn files_are_stored_straight_on_pyftpdlib() {
    files_are_stored_straight("pyftpd-tls13");
}
