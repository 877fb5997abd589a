//! The binary's ways back against real FTPS servers: after their disks were damaged, and after all
//! that was known is lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nightferry::domain::{AuditReport, ProofMethod};

use crate::lab;
use crate::support::{Agent, Forwarder, assert_same_tree, bytes, files_below, write_file};

const FILES: u64 = 300;

/// Names that servers stumble over stand among the plain ones.
fn name_of(nth: u64) -> String {
    match nth % 50 {
        7 => format!("folder {}/Ärger \"{nth}\" [x]", nth % 7),
        8 => format!("folder {}/-{nth} %41;*", nth % 7),
        _ => format!("folder {}/report {nth:03}.csv", nth % 7),
    }
}

fn make_files(source: &Path) {
    for nth in 0..FILES {
        let path = source.join(name_of(nth));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let size =
            if nth > 100 && nth % 29 == 28 { 0 } else { 1_000 + usize::try_from(nth % 13).unwrap() * 997 };
        write_file(&path, nth, size);
    }
}

/// Changes a file and gives it the time that it had.
fn keeping_time(path: &Path, change: impl FnOnce(&Path)) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    change(path);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn flip(path: &Path) {
    let mut content = fs::read(path).unwrap();
    content[500] ^= 0x04;
    fs::write(path, content).unwrap();
}

fn cut(path: &Path, size: u64) {
    File::options().write(true).open(path).unwrap().set_len(size).unwrap();
}

/// What happened to the server's disk, and who must see it.
#[derive(Debug, Default)]
struct Damage {
    /// Nothing of them is there any more.
    missing: BTreeSet<String>,
    /// They have another size, or another time and other bytes.
    changed: BTreeSet<String>,
    /// They have other bytes under the same size and time.
    rotten: BTreeSet<String>,
}

fn damage(arrivals: &Path) -> Damage {
    let mut damage = Damage::default();
    let mut next = 0;
    let mut victims = |set: &mut BTreeSet<String>, how: &dyn Fn(&Path)| {
        for _ in 0..3 {
            next += 3;
            let name = name_of(next);
            how(&arrivals.join(&name));
            set.insert(name);
        }
    };
    victims(&mut damage.missing, &|path| fs::remove_file(path).unwrap());
    victims(&mut damage.missing, &|path| {
        fs::remove_file(path).unwrap();
        symlink("nowhere", path).unwrap();
    });
    victims(&mut damage.missing, &|path| {
        let away = path.with_file_name(format!("renamed {}", path.file_name().unwrap().to_str().unwrap()));
        fs::rename(path, away).unwrap();
    });
    victims(&mut damage.changed, &|path| cut(path, 0));
    victims(&mut damage.changed, &|path| keeping_time(path, |path| cut(path, 400)));
    victims(&mut damage.changed, &|path| keeping_time(path, |path| cut(path, 70_000)));
    victims(&mut damage.changed, &flip);
    victims(&mut damage.changed, &|path| {
        let size = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
        fs::write(path, bytes(9_999, size)).unwrap();
    });
    victims(&mut damage.rotten, &|path| keeping_time(path, flip));
    victims(&mut damage.rotten, &|path| {
        keeping_time(path, |path| {
            let size = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        });
    });
    // Touched only: no damage.
    let touched = arrivals.join(name_of(200));
    File::options().write(true).open(touched).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    damage
}

fn differing(report: &AuditReport, kind: &str) -> BTreeSet<String> {
    let of_kind = report.differences.iter().filter(|found| found.kind.to_string() == kind);
    of_kind.map(|found| found.name.clone()).collect()
}

/// Damage of ten kinds is found, all of it and nothing else; ours is repaired, strangers' is not
/// touched until the job says so; the tree comes back as it was; and what is forgotten is adopted.
fn the_ways_back(name: &str, method: ProofMethod) {
    let Some(server) = lab::server(name) else { return };
    let door = Forwarder::to(&server);
    let agent = Agent::through(door.port, &server, "ways-back");
    make_files(&agent.source());
    assert_eq!(agent.sync().done().counts.delivered, FILES);
    let sound = agent.run(&["verify", "--read"]).audited(0);
    assert_eq!((sound.counts.proved, sound.proofs.get(&method)), (FILES, Some(&FILES)));

    let Damage { missing, changed, rotten } = damage(&agent.arrivals);
    let report = agent.run(&["verify"]).audited(6);
    assert_eq!(differing(&report, "missing"), missing);
    assert_eq!(differing(&report, "changed"), changed);
    assert_eq!(report.counts.proved, FILES - 24);
    let report = agent.run(&["verify", "--read"]).audited(6);
    assert_eq!(differing(&report, "missing"), missing);
    assert_eq!(differing(&report, "changed"), &changed | &rotten);
    assert_eq!((report.counts.proved, report.counts.failed), (FILES - 30, 0));

    let report = agent.sync().report();
    assert_eq!((report.counts.delivered, report.counts.failed), (15, 15), "{report:#?}");
    agent.configure_job("overwrite: replace");
    assert_eq!(agent.sync().done().counts.delivered, 15);
    for name in files_below(&agent.arrivals).into_keys() {
        if name.file_name().unwrap().to_str().unwrap().starts_with("renamed ") {
            fs::remove_file(agent.arrivals.join(name)).unwrap();
        }
    }
    let touched = File::options().write(true).open(agent.arrivals.join(name_of(200))).unwrap();
    touched
        .set_modified(fs::metadata(agent.source().join(name_of(200))).unwrap().modified().unwrap())
        .unwrap();
    assert_same_tree(&agent.source(), &agent.arrivals);
    agent.run(&["verify", "--read"]).audited(0);

    let back = agent.other_folder("back");
    let report = agent.run(&["restore", "out", "--to", back.to_str().unwrap()]).audited(0);
    assert_eq!(report.counts.proved, FILES);
    assert_same_tree(&agent.source(), &back);
    for name in files_below(&back).into_keys() {
        let [was, is] =
            [agent.source(), back.clone()].map(|folder| fs::metadata(folder.join(&name)).unwrap());
        assert_eq!(is.mtime_nsec(), was.mtime_nsec(), "{}", name.display());
    }

    agent.forget();
    let report = agent.run(&["adopt", "out"]).audited(0);
    assert_eq!((report.counts.proved, report.proofs.get(&method)), (FILES, Some(&FILES)));
    let connections = door.accepted();
    let report = agent.sync().done();
    assert_eq!((report.counts.delivered, report.counts.bytes_delivered), (0, 0));
    assert_eq!(door.accepted(), connections, "what was adopted opened a connection");
}

#[test]
fn the_ways_back_from_vsftpd() {
    the_ways_back("vsftpd", ProofMethod::ReadBack);
}

#[test]
fn the_ways_back_from_proftpd() {
    the_ways_back("proftpd", ProofMethod::ServerHash);
}

#[test]
fn the_ways_back_from_pure_ftpd() {
    the_ways_back("pureftpd", ProofMethod::ReadBack);
}

#[test]
fn the_ways_back_from_pyftpdlib() {
    the_ways_back("pyftpd", ProofMethod::ReadBack);
}
