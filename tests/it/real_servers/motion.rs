//! A source that does not keep still, and holds more than plain files, on its way to a real server.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::lab;
use crate::support::{Agent, files_below, write_file};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Each file has one outcome and one reason, and what keeps still arrives whole.
fn a_moving_source_crosses(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "motion");
    agent.configure_job("symlinks: follow");
    let source = agent.source();
    let at = |name: &str| source.join(name);
    let long = "n".repeat(255);
    write_file(&at("still"), 1, 300_000);
    write_file(&at(&long), 2, 1_000);
    fs::write(at("empty"), "").unwrap();
    File::create(at("sparse")).unwrap().set_len(8 << 20).unwrap();
    fs::hard_link(at("still"), at("again")).unwrap();
    symlink("still", at("inside")).unwrap();
    symlink("../state", at("outside")).unwrap();
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::write(at("log"), vec![b'x'; 4 << 20]).unwrap();
    let over = AtomicBool::new(false);
    let mut growing = OpenOptions::new().append(true).open(at("log")).unwrap();
    let first = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                growing.write_all(b"one more line\n").unwrap();
                thread::yield_now();
            }
        });
        let first = agent.sync();
        over.store(true, Ordering::Release);
        first.report()
    });
    let reasons: BTreeMap<_, _> =
        first.failed.iter().map(|file| (file.name.as_str(), file.failure.to_string())).collect();
    assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), ["log", "outside"], "{reasons:?}");
    assert!(reasons["log"].contains("changed while it was read"), "{reasons:?}");
    assert!(reasons["outside"].contains("leads out of the source folder"), "{reasons:?}");
    assert_eq!((first.counts.delivered, first.counts.skipped, first.exit().code()), (6, 1, 3));
    let arrived = |name: &str| fs::read(agent.arrivals.join(name)).unwrap() == fs::read(at(name)).unwrap();
    for name in ["still", "again", "inside", "empty", "sparse", &long] {
        assert!(arrived(name), "{name}");
    }
    assert_eq!(files_below(&agent.arrivals).len(), 6, "nothing else, and no temporary file");
    fs::remove_file(at("outside")).unwrap();
    assert_eq!(agent.sync().done().counts.delivered, 1);
    assert!(arrived("log"));
}

#[test]
fn a_moving_source_crosses_to_vsftpd() {
    a_moving_source_crosses("vsftpd-tls13");
}

#[test]
fn a_moving_source_crosses_to_proftpd() {
    a_moving_source_crosses("proftpd-tls12");
}
