//! Sidecars on real servers: what `sha256sum -c` says of them, in each version of their files.

use std::fs;
use std::process::Command;

use crate::lab;
use crate::support::{Agent, files_below, write_file};

const FILES: usize = 12;

/// Each file has a true checksum and a marker beside it, when it is new, changed and restored from a
/// lost state; they leave with their file.
fn sidecars_tell_the_truth(name: &str, publish: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, &format!("sidecars-{publish}"));
    agent.configure_job("sidecars: [sha256, done]");
    agent.configure_job(&format!("publish: {publish}"));
    agent.configure_job("delete: {remote: delete, max_percent: 100}");
    fs::create_dir(agent.source().join("sub")).unwrap();
    let names: Vec<_> =
        (0..FILES - 1).map(|n| format!("sub/{n} é.csv")).chain(["back\\slash".into()]).collect();
    // Pure-FTPd takes no backslash.
    let names: Vec<_> =
        names.into_iter().filter(|name| !server.name.starts_with("pure") || !name.contains('\\')).collect();
    for round in 0..3_u64 {
        for (seed, name) in (0..).zip(&names) {
            write_file(&agent.source().join(name), seed + 100 * round, 3_000);
        }
        assert_eq!(agent.sync().done().counts.delivered, names.len() as u64, "round {round}");
        check(&agent, &names);
        assert_eq!(agent.sync().done().counts.bytes_delivered, 0);
        harm_and_mend(&agent, &names);
        if round == 1 {
            agent.forget();
            agent.run(&["adopt", "out"]).audited(0);
        }
    }
    fs::remove_file(agent.source().join(&names[3])).unwrap();
    assert_eq!(agent.sync().done().counts.removed, 1);
    let left: Vec<_> = names.iter().filter(|name| **name != names[3]).cloned().collect();
    check(&agent, &left);
}

/// One marker goes, one checksum is cut short and one decays under its size and time: all three are found
/// and come back without their files.
fn harm_and_mend(agent: &Agent, names: &[String]) {
    let stored = |name: &str, suffix| agent.arrivals.join(format!("{name}{suffix}"));
    let (cut, rotten) = (stored(&names[1], ".sha256"), stored(&names[2], ".sha256"));
    fs::remove_file(stored(&names[0], ".done")).unwrap();
    fs::write(&cut, "").unwrap();
    let (mut sum, time) = (fs::read(&rotten).unwrap(), fs::metadata(&rotten).unwrap().modified().unwrap());
    sum[9] ^= 1;
    fs::write(&rotten, sum).unwrap();
    fs::File::options().write(true).open(&rotten).unwrap().set_modified(time).unwrap();
    let counted = |arguments: &[&str]| {
        let counts = agent.run(arguments).audited(6).counts;
        (counts.proved, counts.missing, counts.changed, counts.failed)
    };
    let files = names.len() as u64;
    assert_eq!(counted(&["verify", "out"]), (files, 1, 1, 0));
    assert_eq!(counted(&["verify", "out", "--read"]), (files, 1, 2, 0));
    fs::remove_file(&cut).unwrap();
    let report = agent.sync().done();
    assert_eq!((report.counts.delivered, report.counts.bytes_delivered), (0, 0));
    check(agent, names);
    agent.run(&["verify", "out", "--read"]).audited(0);
}

fn check(agent: &Agent, names: &[String]) {
    assert_eq!(files_below(&agent.arrivals).len(), names.len() * 3);
    for name in names {
        let file = agent.arrivals.join(name);
        let sums = format!("{}.sha256", file.file_name().unwrap().to_str().unwrap());
        let checked = Command::new("sha256sum")
            .args(["-c", "--strict", "--", &sums])
            .current_dir(file.parent().unwrap())
            .output();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{checked:?}");
        assert_eq!(fs::read(agent.arrivals.join(format!("{name}.done"))).unwrap(), b"");
    }
}

#[test]
fn sidecars_tell_the_truth_on_vsftpd() {
    sidecars_tell_the_truth("vsftpd-tls13", "rename");
}

#[test]
fn sidecars_tell_the_truth_on_proftpd() {
    sidecars_tell_the_truth("proftpd-tls12", "rename");
}

#[test]
fn sidecars_tell_the_truth_on_pure_ftpd() {
    sidecars_tell_the_truth("pureftpd-tls13", "rename");
}

#[test]
fn sidecars_tell_the_truth_on_pyftpdlib() {
    sidecars_tell_the_truth("pyftpd-tls13", "rename");
}

#[test]
fn sidecars_tell_the_truth_on_proftpd_without_a_rename() {
    sidecars_tell_the_truth("proftpd-tls12", "direct");
}
