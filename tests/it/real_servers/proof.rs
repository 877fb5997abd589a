//! What servers prove of what they store, and what they may not be believed.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nightferry::domain::ProofMethod;

use crate::lab;
use crate::support::{Agent, Running, assert_same_tree, files_below, write_big_file, write_file};

/// Accounts that may store and not read: the error names the setting, which then does.
#[test]
fn a_drop_box_of_vsftpd_is_told_by_the_setting() {
    let Some(server) = lab::server("vsftpd-dropbox") else { return };
    let agent = Agent::new(&server, "dropbox");
    write_file(&agent.source().join("report.csv"), 1, 1_000);
    let run = agent.sync();
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("`verify: size`"), "{}", run.stderr);
    assert!(files_below(&agent.arrivals).is_empty());
    agent.verify_instead("verify: size");
    assert_eq!(agent.sync().done().proofs.get(&ProofMethod::Size), Some(&1));
    assert_same_tree(&agent.source(), &agent.arrivals);
}

/// Where sizes are not told either, nothing can be proved.
#[test]
fn a_drop_box_of_proftpd_is_told_what_to_ask_for() {
    let Some(server) = lab::server("proftpd-dropbox") else { return };
    let agent = Agent::new(&server, "dropbox");
    write_file(&agent.source().join("report.csv"), 1, 1_000);
    for verify in ["verify: auto", "verify: size"] {
        agent.verify_instead(verify);
        let run = agent.sync();
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(run.stderr.contains("allow this account SIZE"), "{verify}: {}", run.stderr);
        assert!(files_below(&agent.arrivals).is_empty(), "{verify}");
    }
}

/// `ProFTPD` keeps the hash of what it received. A byte that changes on the disk before it is asked
/// is seen all the same: nothing is delivered but the true bytes.
#[test]
fn a_byte_that_changed_on_proftpds_disk_is_seen() {
    let Some(server) = lab::server("proftpd") else { return };
    let agent = Agent::new(&server, "altered");
    write_big_file(&agent.source().join("dump.tar"), 200 << 20);
    let run = agent.start();
    alter_first_byte(&run, &agent.arrivals);
    let run = run.finish();
    let report = run.done();
    assert_eq!(report.proofs.get(&ProofMethod::ServerHash), Some(&1));
    let retried: Vec<_> = run.events("file-retrying").collect();
    assert_eq!(retried.len(), 1, "the byte was not seen");
    assert!(retried[0]["failure"]["cause"].as_str().unwrap().contains("SHA-256"), "{retried:?}");
    assert_same_tree(&agent.source(), &agent.arrivals);
}

/// Changes the first byte of the first temporary file while the rest is still on its way.
fn alter_first_byte(run: &Running, arrivals: &Path) {
    loop {
        let entries = fs::read_dir(arrivals).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if fs::metadata(&path).is_ok_and(|facts| facts.len() > 1 << 20) {
                let mut file = fs::File::options().write(true).open(&path).unwrap();
                file.seek(SeekFrom::Start(0)).unwrap();
                file.write_all(b"\xee").unwrap();
                return;
            }
        }
        assert!(Path::new(&format!("/proc/{}", run.id())).exists(), "the run has ended");
        thread::sleep(Duration::from_millis(1));
    }
}
