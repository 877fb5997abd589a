//! Files that are begun before the last one is through, where the server refuses one of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::lab;
use crate::support::{Agent, assert_same_tree, files_below, write_file};

/// The upload of the third of six files is refused while the rename of the second is out: the others arrive
/// over the same session, each renamed once, and nothing is left; once it is allowed, it arrives as well.
/// (pyftpdlib runs as root in the lab, who is refused nothing.)
fn a_refused_file_costs_nobody_else(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "ahead");
    agent.one_connection();
    let paths = ["a/0.csv", "a/1.csv", "locked/2.csv", "n/3.csv", "n/4.csv", "n/5.csv"];
    for (seed, path) in (0..).zip(paths) {
        let path = agent.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_file(&path, seed, 5_000);
    }
    let locked = agent.arrivals.join("locked");
    fs::create_dir_all(&locked).unwrap();
    let theirs = fs::metadata(&server.root).unwrap();
    chown(&agent.arrivals, Some(theirs.uid()), Some(theirs.gid())).unwrap();
    // It belongs to root, who is not the server's user.
    fs::set_permissions(&locked, Permissions::from_mode(0o755)).unwrap();

    let first = agent.sync();
    let report = first.report();
    let failed: Vec<_> = report.failed.iter().map(|file| file.name.as_str()).collect();
    assert_eq!((first.code, failed), (7, vec!["locked/2.csv"]), "{}", first.causes());
    assert_eq!(report.counts.delivered, 5);
    assert_eq!(first.events("session-opened").count(), 1, "a refusal cost the session");
    assert_eq!(files_below(&agent.arrivals).len(), 5, "something was left over");

    chown(&locked, Some(theirs.uid()), Some(theirs.gid())).unwrap();
    assert_eq!(agent.sync().done().counts.delivered, 1);
    assert_same_tree(&agent.source(), &agent.arrivals);
    assert_eq!(files_below(&agent.arrivals).len(), 6);
}

#[test]
fn a_refused_file_costs_nobody_else_on_vsftpd() {
    a_refused_file_costs_nobody_else("vsftpd-tls13");
}

#[test]
fn a_refused_file_costs_nobody_else_on_proftpd() {
    a_refused_file_costs_nobody_else("proftpd-tls12");
}

#[test]
fn a_refused_file_costs_nobody_else_on_pure_ftpd() {
    a_refused_file_costs_nobody_else("pureftpd-tls13");
}
