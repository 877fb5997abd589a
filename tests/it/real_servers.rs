//! The binary against real FTPS servers: everything arrives, is proved, and is never half there.

mod active;
mod ahead;
mod direct;
mod disk;
mod firewalls;
mod kill;
mod motion;
mod proof;
mod resume;
mod sidecars;
mod storm;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nightferry::domain::{ProofMethod, RunReport};

use crate::lab::{self, Server};
use crate::support::{
    Agent, FILES, Forwarder, assert_same_tree, bytes, files_below, make_tree, time_of, write_big_file,
    write_file,
};

/// As much as a nightly dump.
const BIG: usize = 300 << 20;
/// Enough to last longer than a round of control commands.
const MEDIUM: usize = 20 << 20;

/// A tree of 2,000 files and a big one arrive whole, each proved as this server allows, and the
/// second run opens no connection.
fn a_tree_crosses(name: &str, method: ProofMethod, big: usize) {
    let Some(server) = lab::server(name) else { return };
    let door = Forwarder::to(&server);
    let agent = Agent::through(door.port, &server, "tree");
    make_tree(&agent.source());
    write_big_file(&agent.source().join("dump.tar"), big);
    let files = FILES as u64 + 1;

    let first = agent.sync().done();
    assert_same_tree(&agent.source(), &agent.arrivals);
    assert_eq!(first.counts.delivered, files);
    assert_eq!(first.counts.failed, 0);
    assert_eq!(first.proofs, BTreeMap::from([(method, files)]));
    assert!(first.failed.is_empty(), "{:?}", first.failed);
    assert_no_refused_data_connection(&server);

    let connections = door.accepted();
    assert!(connections > 0, "the forwarder was passed by");
    let second = agent.sync().done();
    // Files that were looked at shortly after they were written are read once more.
    assert_eq!((second.counts.unchanged + second.counts.confirmed, second.counts.delivered), (files, 0));
    assert_eq!(second.counts.bytes_delivered, 0);
    assert_eq!(door.accepted(), connections, "an unchanged tree opened a connection");
}

/// Neither 522 (no session resumed) nor 425 (no data connection) was ever said. `ProFTPD` says 425
/// to EPSV now and then, when the port it drew is still in use: that refuses no data connection.
fn assert_no_refused_data_connection(server: &Server) {
    let vsftpd = |line: &str| line.contains(", \"425 ") || line.contains(", \"522 ");
    let proftpd =
        |line: &str| (line.starts_with("425 ") || line.starts_with("522 ")) && !line.contains(" EPSV ");
    let refused: Vec<_> = match server.name.split('-').next() {
        Some("vsftpd") => replies(server).filter(|line| vsftpd(line)).collect(),
        Some("proftpd") => replies(server).filter(|line| proftpd(line)).collect(),
        _ => return,
    };
    assert!(refused.is_empty(), "{} times, first: {:?}", refused.len(), refused.first());
}

/// The server's log of replies, which must show the transfers.
fn replies(server: &Server) -> impl Iterator<Item = String> {
    let log = server.replies();
    assert!(log.matches("226 ").count() > FILES, "the log of {} shows no transfers", server.name);
    log.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[test]
fn a_tree_crosses_to_vsftpd_over_tls_1_2() {
    a_tree_crosses("vsftpd-tls12", ProofMethod::ReadBack, MEDIUM);
}

#[test]
fn a_tree_crosses_to_vsftpd_over_tls_1_3() {
    a_tree_crosses("vsftpd-tls13", ProofMethod::ReadBack, BIG);
}

#[test]
fn a_tree_crosses_to_proftpd_over_tls_1_2() {
    a_tree_crosses("proftpd-tls12", ProofMethod::ServerHash, BIG);
}

#[test]
fn a_tree_crosses_to_proftpd_that_insists_on_tls_1_3() {
    a_tree_crosses("proftpd-tls13", ProofMethod::ServerHash, MEDIUM);
}

#[test]
fn a_tree_crosses_to_pure_ftpd_over_tls_1_2() {
    a_tree_crosses("pureftpd-tls12", ProofMethod::ReadBack, MEDIUM);
}

#[test]
fn a_tree_crosses_to_pure_ftpd_over_tls_1_3() {
    a_tree_crosses("pureftpd-tls13", ProofMethod::ReadBack, BIG);
}

#[test]
fn a_tree_crosses_to_pyftpdlib_over_tls_1_2() {
    a_tree_crosses("pyftpd-tls12", ProofMethod::ReadBack, MEDIUM);
}

#[test]
fn a_tree_crosses_to_pyftpdlib_over_tls_1_3() {
    a_tree_crosses("pyftpd-tls13", ProofMethod::ReadBack, BIG);
}

/// `ProFTPD` gives two TLS 1.3 tickets a control connection and wants one for each file: a server
/// that speaks both versions is taken on in TLS 1.2 from then on, without a refused file.
#[test]
fn a_tree_crosses_to_proftpd_as_debian_sets_it_up() {
    a_tree_crosses("proftpd-logged", ProofMethod::ServerHash, MEDIUM);
}

/// A touched file is read and not sent; a changed one is sent alone.
fn only_changes_are_sent(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "changes");
    let paths: Vec<_> = (0..20_u64).map(|nth| agent.source().join(format!("report {nth}.csv"))).collect();
    for (seed, path) in (0..).zip(&paths) {
        write_file(path, seed, 5_000);
    }
    assert_eq!(agent.sync().done().counts.delivered, 20);

    File::open(&paths[3]).unwrap().set_modified(time_of(999)).unwrap();
    let touched = agent.sync().done().counts;
    assert_eq!((touched.unchanged + touched.confirmed, touched.delivered), (20, 0));
    assert!(touched.confirmed >= 1, "the touched file was not read");

    write_file(&paths[7], 1_007, 5_000);
    let changed = agent.sync().done().counts;
    assert_eq!((changed.delivered, changed.bytes_delivered), (1, 5_000));
    assert_eq!(changed.unchanged + changed.confirmed, 19);
    assert_eq!(fs::read(agent.arrivals.join("report 7.csv")).unwrap(), bytes(1_007, 5_000));
    assert_eq!(files_below(&agent.arrivals).len(), 20);
}

#[test]
fn only_changes_are_sent_to_vsftpd() {
    only_changes_are_sent("vsftpd");
}

#[test]
fn only_changes_are_sent_to_proftpd() {
    only_changes_are_sent("proftpd");
}

#[test]
fn only_changes_are_sent_to_pure_ftpd() {
    only_changes_are_sent("pureftpd");
}

#[test]
fn only_changes_are_sent_to_pyftpdlib() {
    only_changes_are_sent("pyftpd");
}

#[test]
fn only_changes_are_sent_over_implicit_tls() {
    for name in ["vsftpd-implicit", "proftpd-implicit", "pyftpd-implicit"] {
        only_changes_are_sent(name);
    }
}

#[test]
fn the_configured_tls_version_is_spoken() {
    for name in ["vsftpd", "proftpd", "pureftpd", "pyftpd"] {
        let Some(server) = lab::server(name) else { return };
        for version in ["1.2", "1.3"] {
            let agent = Agent::new(&server, &format!("tls-{version}"));
            agent.configure_server(&format!("tls_version: {{min: {version}, max: {version}}}"));
            write_file(&agent.source().join("report.csv"), 1, 1_000);
            let run = agent.sync();
            assert_eq!(run.done().counts.delivered, 1);
            assert_eq!(run.tls_versions(), BTreeSet::from([version.to_owned()]), "{name}");
        }
    }
}

const KILLED_RUN_FILES: u64 = 200;

/// Killed in the middle, for new files and for new versions of old ones: the next run completes,
/// and whoever looked at the final names saw whole files only.
fn a_killed_run_is_completed(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "killed");
    let stop = AtomicBool::new(false);
    let (torn, looks) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_for_torn_files(&agent.arrivals, &stop));
        let stopped = StopOnDrop(&stop);
        for version in 0..2 {
            for nth in 0..KILLED_RUN_FILES {
                write_file(&agent.source().join(name_of(nth)), nth, size_of(version, nth));
            }
            agent.start().kill_after_deliveries(20);
            let counts = agent.sync().done().counts;
            assert!(counts.delivered > 0, "nothing was left to do after the kill");
            let looked_at = counts.unchanged + counts.confirmed;
            assert_eq!(counts.delivered + counts.settled + looked_at, KILLED_RUN_FILES, "{counts:?}");
            assert_same_tree(&agent.source(), &agent.arrivals);
        }
        drop(stopped);
        watcher.join().unwrap()
    });
    assert!(looks >= 2 * KILLED_RUN_FILES, "the watcher missed files: it saw {looks}");
    assert!(torn.is_empty(), "seen under final names: {torn:?}");
}

/// Ends the watcher also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn name_of(nth: u64) -> String {
    format!("invoice {nth:03}.pdf")
}

/// Two versions of a file differ in their size, so one is a beginning of the other.
fn size_of(version: usize, nth: u64) -> usize {
    150_000 + version * 33_333 + usize::try_from(nth).unwrap() * 500
}

/// Looks at all final names again and again until told to stop, and returns what was neither
/// absent nor a whole version, and how often a file had changed.
fn watch_for_torn_files(arrivals: &Path, stop: &AtomicBool) -> (Vec<String>, u64) {
    let whole: Vec<_> = (0..KILLED_RUN_FILES).map(|nth| bytes(nth, size_of(1, nth))).collect();
    let (mut torn, mut known, mut looks) = (Vec::new(), BTreeMap::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        for (nth, whole) in (0..).zip(&whole) {
            let path = arrivals.join(name_of(nth));
            let Ok(facts) = fs::metadata(&path) else { continue };
            let facts = (facts.ino(), facts.len(), facts.ctime(), facts.ctime_nsec());
            if known.insert(nth, facts) == Some(facts) {
                continue;
            }
            let stored = fs::read(&path).unwrap();
            let is_version = (0..2).any(|version| stored.len() == size_of(version, nth));
            if !is_version || !whole.starts_with(&stored) {
                torn.push(format!("{} with {} bytes", name_of(nth), stored.len()));
            }
            looks += 1;
        }
        thread::yield_now();
    }
    (torn, looks)
}

#[test]
fn a_killed_run_to_vsftpd_is_completed() {
    a_killed_run_is_completed("vsftpd");
}

#[test]
fn a_killed_run_to_proftpd_is_completed() {
    a_killed_run_is_completed("proftpd");
}

#[test]
fn a_killed_run_to_pure_ftpd_is_completed() {
    a_killed_run_is_completed("pureftpd");
}

#[test]
fn a_killed_run_to_pyftpdlib_is_completed() {
    a_killed_run_is_completed("pyftpd");
}

/// Memory does not grow with the size of a file. (Of a debug build most of it is the code.)
#[test]
fn a_file_of_2_gib_takes_no_more_memory_than_a_small_one() {
    const SIZE: u64 = 2 << 30;
    const LIMIT_KIB: u64 = 64 << 10;
    // Buffers that are full now, and the noise of the allocator.
    const MORE_KIB: u64 = 16 << 10;
    let Some(server) = lab::server("proftpd") else { return };
    let agent = Agent::new(&server, "huge");
    let delivered = |name: &str, size: u64| {
        File::create(agent.source().join(name)).unwrap().set_len(size).unwrap();
        let (report, peak) = with_peak(agent.start());
        assert_eq!((report.counts.delivered, report.counts.bytes_delivered), (1, size));
        assert_eq!(report.proofs, BTreeMap::from([(ProofMethod::ServerHash, 1)]));
        assert_eq!(fs::metadata(agent.arrivals.join(name)).unwrap().len(), size);
        peak
    };
    let small = delivered("small.raw", 1 << 20);
    let huge = delivered("image.raw", SIZE);
    assert!(
        (1..LIMIT_KIB).contains(&huge) && huge < small + MORE_KIB,
        "{huge} KiB, and {small} KiB at first"
    );
}

/// What came of a run, and the most memory that it took, in KiB.
fn with_peak(run: crate::support::Running) -> (RunReport, u64) {
    let process = run.id();
    let sampler = thread::spawn(move || {
        let mut highest = 0;
        while let Some(kib) = peak_memory_kib(process) {
            highest = kib;
            // The kernel keeps the peak: a look now and then is enough, the last one counts.
            thread::sleep(Duration::from_millis(20));
        }
        highest
    });
    (run.finish().done(), sampler.join().unwrap())
}

/// The most memory that a living process has had resident; none once it has ended.
fn peak_memory_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{process}/status"))).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

/// A run that cannot reach or trust its server says which of the two, by its exit code, and
/// leaves nothing there.
fn a_run_ends_with(code: i32, agent: &Agent) {
    write_file(&agent.source().join("report.csv"), 1, 1_000);
    let run = agent.sync();
    assert_eq!(run.code, code, "{}", run.stderr);
    assert!(!run.stderr.is_empty(), "it ended with {code} and said nothing");
    assert!(!run.stderr.contains(&agent.password), "the password was shown: {}", run.stderr);
    assert!(!agent.arrivals.exists(), "something was made on the server");
}

/// The configuration of this server, but for one line more, does this.
fn a_run_with(line: &str, server: &Server, destination: &str, code: i32, words: &str) {
    let agent = Agent::new(server, destination);
    agent.configure_server(line);
    if code == 0 {
        write_file(&agent.source().join("report.csv"), 1, 1_000);
        assert_eq!(agent.sync().done().counts.delivered, 1, "{line}");
        return;
    }
    write_file(&agent.source().join("report.csv"), 1, 1_000);
    let run = agent.sync();
    assert_eq!(run.code, code, "{} {line}: {}", server.name, run.stderr);
    let said = format!("{}{}", run.stderr, run.causes());
    assert!(said.contains(words), "{} {line}: {words:?} in {said}", server.name);
    assert!(!agent.arrivals.exists(), "something was made on the server");
}

#[test]
fn a_certificate_of_our_own_opens_proftpd_and_none_or_a_strangers_does_not() {
    let Some(server) = lab::server("proftpd-mtls") else { return };
    for version in ["1.2", "1.3"] {
        let line = |name: &str| {
            let (cert, key) = (server.pki(&format!("{name}.pem")), server.pki(&format!("{name}.key")));
            format!(
                "client_certificate: {{cert_file: {}, key_file: {}}}\n    tls_version: {{min: {version}, max: {version}}}",
                cert.display(),
                key.display()
            )
        };
        let folder = format!("own-{version}");
        a_run_with(&line("client"), &server, &folder, 0, "");
        let none = format!("tls_version: {{min: {version}, max: {version}}}");
        a_run_with(&none, &server, &folder, 8, "the server wants a certificate from us");
        a_run_with(&line("otherclient"), &server, &folder, 8, "the server does not take our certificate");
    }
}

#[test]
fn a_version_that_proftpd_does_not_speak_names_the_setting() {
    let (Some(old), Some(new)) = (lab::server("proftpd-tls12"), lab::server("proftpd-tls13")) else { return };
    a_run_with("tls_version: {min: 1.3}", &old, "version", 8, "`tls_version: {min: 1.2}`");
    a_run_with("tls_version: {max: 1.2}", &new, "version", 8, "`tls_version: {max: 1.3}`");
}

#[test]
fn nists_policy_is_spoken_by_all() {
    for name in ["vsftpd", "proftpd", "pureftpd", "pyftpd"] {
        let Some(server) = lab::server(name) else { return };
        for max in ["1.2", "1.3"] {
            let line = format!("tls_policy: nist-800-52r2\n    tls_version: {{min: 1.2, max: {max}}}");
            a_run_with(&line, &server, &format!("nist-{max}"), 0, "");
        }
    }
}

/// The lists that openssl made: one that revokes nobody here, one that revokes the server, one
/// that has ended.
#[test]
fn lists_of_revoked_certificates_are_heeded() {
    let Some(server) = lab::server("vsftpd") else { return };
    let line = |list: &str| {
        let (ca, list) = (server.ca_file(), server.pki(list));
        format!("trust: {{ca_file: {}, crl_files: [{}]}}", ca.display(), list.display())
    };
    for (list, code, words) in [
        ("good.crl", 0, ""),
        ("revoked.crl", 8, "was revoked by CN=FTPS lab ca (serial "),
        ("expired.crl", 8, "the list of revoked certificates of CN=FTPS lab ca ended on 2021-01-01"),
        ("otherca.crl", 8, "no list in `trust.crl_files` comes from CN=FTPS lab ca"),
    ] {
        let agent = Agent::new(&server, "lists");
        agent.trust_instead(&line(list));
        write_file(&agent.source().join("report.csv"), 1, 1_000);
        let run = agent.sync();
        let said = format!("{}{}", run.stderr, run.causes());
        assert_eq!(run.code, code, "{list}: {said}");
        assert!(said.contains(words), "{list}: {words:?} in {said}");
    }
}

fn a_wrong_password_is_refused_for_good(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let mut agent = Agent::new(&server, "login");
    agent.password = "not-the-right-one".into();
    a_run_ends_with(7, &agent);
}

#[test]
fn a_wrong_password_for_vsftpd_is_refused_for_good() {
    a_wrong_password_is_refused_for_good("vsftpd");
}

#[test]
fn a_wrong_password_for_proftpd_is_refused_for_good() {
    a_wrong_password_is_refused_for_good("proftpd");
}

#[test]
fn a_wrong_password_for_pure_ftpd_is_refused_for_good() {
    a_wrong_password_is_refused_for_good("pureftpd");
}

#[test]
fn a_wrong_password_for_pyftpdlib_is_refused_for_good() {
    a_wrong_password_is_refused_for_good("pyftpd");
}

#[test]
fn certificates_that_do_not_fit_are_not_trusted() {
    for (name, words) in [
        ("pyftpd-expired", "ended on 2021-01-01"),
        ("pyftpd-wronghost", "host: ftp.example.net"),
        ("pyftpd-selfsigned", "CA:TRUE"),
        ("pyftpd-nosan", "no subjectAltName"),
    ] {
        let Some(server) = lab::server(name) else { return };
        a_run_ends_with(8, &Agent::new(&server, "trust"));
        a_run_with("", &server, "trust", 8, words);
    }
}

#[test]
fn a_closed_port_is_a_passing_trouble() {
    let Some(server) = lab::server("vsftpd") else { return };
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    a_run_ends_with(5, &Agent::through(closed, &server, "closed"));
}
