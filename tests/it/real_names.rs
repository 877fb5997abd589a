//! Names of many kinds on real FTPS servers, seen by a look at the server's own disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::lab;
use crate::support::{Agent, write_file};

/// Names that are stored as given by all four servers.
const NAMES: [&str; 18] = [
    "inner space",
    " leading space",
    "double\"quote",
    "caf\u{e9}",
    "cafe\u{301}",
    "Case",
    "case",
    "日本語",
    "emoji 🚢",
    "-rf",
    "~x",
    "[x]",
    "*",
    "semi;colon",
    "100%41",
    ".hidden",
    "a -> b",
    "Nov 22 17:05 x",
];

fn names_in(folder: &Path) -> BTreeSet<Vec<u8>> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect()
}

/// Names of every kind arrive as they are, also those that another server would take for one; a
/// second run, which sweeps by a listing, leaves them.
fn every_name_arrives(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "names");
    let mut names: Vec<String> = NAMES.map(String::from).to_vec();
    names.push("é".repeat(127) + "x");
    if !name.starts_with("pureftpd") {
        names.push("back\\slash".to_owned());
    }
    for (seed, name) in (0..).zip(&names) {
        write_file(&agent.source().join(name), seed, 100);
    }
    // In a folder of each name as well; ProFTPD makes none that is named by a star alone.
    let folders: Vec<&str> = NAMES.into_iter().filter(|name| *name != "*").collect();
    for name in &folders {
        fs::create_dir_all(agent.source().join("folders").join(name)).unwrap();
        write_file(&agent.source().join("folders").join(name).join("x"), 1, 10);
    }
    let delivered = agent.sync().done().counts.delivered;
    assert_eq!(delivered, u64::try_from(names.len() + folders.len()).unwrap());
    let mut expected: BTreeSet<_> = names.iter().map(|name| name.clone().into_bytes()).collect();
    expected.insert(b"folders".to_vec());
    assert_eq!(names_in(&agent.arrivals), expected, "{name}");
    let folders = folders.iter().map(|name| name.as_bytes().to_vec()).collect();
    assert_eq!(names_in(&agent.arrivals.join("folders")), folders, "{name}");
    let profiles = agent.profiles();
    let known = profiles.as_object().unwrap().values().next().unwrap();
    for ability in ["case", "composition", "names"] {
        assert_eq!(known[ability], "yes", "{name}: {profiles}");
    }
}

#[test]
fn every_name_arrives_on_vsftpd() {
    every_name_arrives("vsftpd");
}

#[test]
fn every_name_arrives_on_proftpd() {
    every_name_arrives("proftpd");
}

#[test]
fn every_name_arrives_on_pure_ftpd() {
    every_name_arrives("pureftpd");
}

#[test]
fn every_name_arrives_on_pyftpdlib() {
    every_name_arrives("pyftpd");
}

/// vsftpd stores the bytes that it is sent.
#[test]
fn names_go_to_vsftpd_in_the_configured_charset() {
    let Some(server) = lab::server("vsftpd") else { return };
    let agent = Agent::new(&server, "latin");
    agent.configure_server("charset: iso-8859-1");
    for (seed, name) in (0..).zip(["Bücher", "plain", "日本語", "ÿ"]) {
        write_file(&agent.source().join(name), seed, 100);
    }
    let run = agent.sync();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(names_in(&agent.arrivals), [b"B\xfccher".to_vec(), b"plain".to_vec()].into());
}

/// What a crash leaves is found by a listing, in folders of any name, and taken away.
fn leftovers_are_swept(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let agent = Agent::new(&server, "swept");
    let folder = "[a] -b ü";
    for nth in 0..40 {
        fs::create_dir_all(agent.source().join(folder)).unwrap();
        write_file(&agent.source().join(folder).join(format!("{nth}")), nth, 200_000);
    }
    agent.start().kill_after_deliveries(5);
    agent.sync().done();
    let names = names_in(&agent.arrivals.join(folder));
    assert_eq!(names.len(), 40, "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with(b".nf-")), "{names:?}");
}

#[test]
fn leftovers_on_every_server_are_swept() {
    for name in ["vsftpd", "proftpd", "pureftpd", "pyftpd"] {
        leftovers_are_swept(name);
    }
}
