//! File systems below a source folder that go away: real ones, in a mount namespace, through the binary.

use std::fs;
use std::process::{Command, Output};

use ftps_server::{Dialect, Server};
use tempfile::TempDir;

/// A source with a tmpfs mounted on `disk2`, and what the server got of it.
struct Backup {
    home: TempDir,
    server: Server,
}

impl Backup {
    fn new() -> Self {
        let server = Server::builder().dialect(Dialect::full()).start().unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("source/disk2")).unwrap();
        for n in 0..20 {
            fs::write(home.path().join(format!("source/{n}.csv")), "a").unwrap();
        }
        let yaml = format!(
            "version: 1
agent: {{state_dir: state}}
servers:
  vault: {{host: localhost, port: {}, username: user, password: {{command: [echo, password]}},
    trust: {{ca_file: {}}}}}
jobs:
  backup: {{source: source, server: vault, destination: /in, delete: {{remote: delete, max_percent: 90}}}}
",
            server.port(),
            server.ca_file().display(),
        );
        fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
        Self { home, server }
    }

    /// Runs a script in a mount namespace of its own, with `nf` for the binary.
    fn script(&self, lines: &str) -> Output {
        let binary = env!("CARGO_BIN_EXE_nightferry");
        let head = format!("set -e; nf() {{ {binary} --config jobs.yaml \"$@\"; }}\n");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &(head + lines)]);
        let output = unshare.current_dir(self.home.path()).output().unwrap();
        println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        output
    }

    fn stored(&self) -> usize {
        walkdir::WalkDir::new(self.server.root())
            .into_iter()
            .filter(|entry| entry.as_ref().unwrap().file_type().is_file())
            .count()
    }
}

/// Whether this process may make mounts; a message where not, unless `tests/run` runs, as root.
pub(crate) fn can_mount() -> bool {
    let made = Command::new("unshare").args(["--mount", "true"]).status();
    let can = made.is_ok_and(|status| status.success());
    assert!(
        can || std::env::var_os("NIGHTFERRY_REQUIRE_SERVERS").is_none(),
        "no mount namespace can be made"
    );
    can
}

const MOUNTED: &str =
    "mount -t tmpfs none source/disk2; for n in 1 2 3; do echo $n > source/disk2/$n.csv; done\n";

#[test]
fn what_lies_on_a_disk_that_went_away_is_not_deleted() {
    if !can_mount() {
        return;
    }
    let backup = Backup::new();
    // Another run in between does not make it forgotten, nor does one over a part.
    let output =
        backup.script(&format!("{MOUNTED} nf sync; umount source/disk2; nf sync || test $? = 4; nf sync"));
    assert_eq!(output.status.code(), Some(4));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("what was mounted on `disk2` in the source is not there any more"), "{told}");
    assert_eq!(backup.stored(), 23);
    // A person says that it is meant.
    let run = told
        .rsplit("--approve-deletes ")
        .next()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap();
    let output = backup.script(&format!("nf sync --approve-deletes {run}; nf sync"));
    assert_eq!((output.status.code(), backup.stored()), (Some(0), 20));
}

#[test]
fn another_disk_in_the_same_folder_deletes_nothing() {
    if !can_mount() {
        return;
    }
    let backup = Backup::new();
    let output = backup.script(&format!(
        "{MOUNTED} nf sync; umount source/disk2; mount -t tmpfs none source/disk2; echo 4 > source/disk2/4.csv; nf sync"
    ));
    assert_eq!((output.status.code(), backup.stored()), (Some(4), 24));
}

/// One that comes back is the one that was there; and a file that is deleted on it goes.
#[test]
fn a_disk_that_comes_back_is_as_before() {
    if !can_mount() {
        return;
    }
    let backup = Backup::new();
    let output = backup.script(&format!(
        "{MOUNTED} nf sync; mkdir away; mount --move source/disk2 away; nf sync || test $? = 4; \
         mount --move away source/disk2; rm source/disk2/3.csv; nf sync"
    ));
    assert_eq!((output.status.code(), backup.stored()), (Some(0), 22));
}

/// A disk whose files were all deleted, or sent nowhere, may go.
#[test]
fn a_disk_without_delivered_files_may_go() {
    if !can_mount() {
        return;
    }
    let backup = Backup::new();
    let output = backup
        .script("mount -t tmpfs none source/disk2; nf sync; umount source/disk2; rm source/3.csv; nf sync");
    assert_eq!((output.status.code(), backup.stored()), (Some(0), 19));
}
