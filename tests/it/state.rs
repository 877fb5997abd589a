//! The state on real file systems: full disks, failing syncs, and power cuts on a loop-mounted
//! ext4. All but the export need root, and run only where `tests/run` says so, like those that
//! need real servers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nightferry::clock::SystemClock;
use nightferry::domain::{JobName, Record, RelPath, RunId, Target, Withdrawn};
use nightferry::state::{State, StateError, verify_ledger};
use tempfile::TempDir;

const CHILD_FOLDER: &str = "NIGHTFERRY_TEST_COMMIT_FOLDER";
/// How many cuts are made; a handful where this is not set.
const CUTS: &str = "NIGHTFERRY_POWER_CUTS";
const SOME_CUTS: usize = 5;
/// The child ends by itself, whatever becomes of the test.
const MOST_COMMITS: usize = 20_000;

fn is_left_out() -> bool {
    let left_out = std::env::var_os("NIGHTFERRY_REQUIRE_SERVERS").is_none();
    if left_out {
        println!("left out: mounts file systems, which tests/run does as root");
    }
    left_out
}

fn target() -> Target {
    let [source, host, user, destination] = ["/s", "h", "u", "/in"].map(str::to_owned);
    Target { source, host, port: 21, user, destination }
}

fn job() -> JobName {
    "reports".parse().unwrap()
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn record(run: RunId, number: usize) -> Vec<Record> {
    let path = RelPath::new(format!("files/{number:06}")).unwrap();
    vec![Record::Withdrawn(Withdrawn { run, path, cause: "x".repeat(200) })]
}

/// The numbers of the files of all records.
fn recorded(folder: &Path) -> Vec<usize> {
    let mut numbers = Vec::new();
    nightferry::state::read_ledger(folder, &mut |line| {
        if let Record::Withdrawn(withdrawn) = line.record {
            numbers.push(withdrawn.path.as_str().strip_prefix("files/").unwrap().parse().unwrap());
        }
    })
    .unwrap();
    numbers
}

fn command(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A mounted file system, which is let go of whatever happens.
struct Mounted {
    point: PathBuf,
}

impl Mounted {
    fn new(base: &Path, name: &str, arguments: &[&str]) -> Self {
        let point = base.join(name);
        fs::create_dir(&point).unwrap();
        command("mount", &[arguments, &[point.to_str().unwrap()]].concat());
        Self { point }
    }

    fn state(&self) -> PathBuf {
        self.point.join("state")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.point).status());
        drop(fs::remove_dir(&self.point));
    }
}

/// A process that is killed whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Not a test by itself: the process that commits until it is killed or fails.
#[test]
fn child_that_commits() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let state = State::open(Path::new(&folder), Arc::new(SystemClock)).unwrap().state;
    let run = block_on(state.start_run(&job(), &target())).unwrap().run;
    for number in 0..MOST_COMMITS {
        if let Err(error) = block_on(state.commit(target().id(), record(run, number))) {
            println!("stopped {error}");
            let next = block_on(state.commit(target().id(), record(run, number))).unwrap_err();
            println!("then {next}");
            return;
        }
        println!("kept {number}");
    }
}

fn child(program: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["--exact", "state::child_that_commits", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn kept(line: &str) -> Option<usize> {
    line.strip_prefix("kept ")?.parse().ok()
}

#[test]
fn a_full_disk_acknowledges_nothing_and_the_state_recovers_with_space() {
    if is_left_out() {
        return;
    }
    let base = TempDir::new().unwrap();
    let disk = Mounted::new(base.path(), "disk", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let state = State::open(&disk.state(), Arc::new(SystemClock)).unwrap().state;
    let run = block_on(state.start_run(&job(), &target())).unwrap().run;
    let commit = |number| block_on(state.commit(target().id(), record(run, number)));
    let (mut acknowledged, error) = (0..)
        .map(|number| (number, commit(number)))
        .find_map(|(number, committed)| Some((number, committed.err()?)))
        .unwrap();
    assert!(acknowledged > 100, "{acknowledged}");
    assert!(
        matches!(error, StateError::Io { .. } | StateError::NoRoom { .. } | StateError::Manifest(_)),
        "{error}"
    );
    assert!(matches!(commit(acknowledged), Err(StateError::Stopped)));
    // With the manifest's failure the record itself is safe.
    let in_ledger = recorded(&disk.state()).len();
    assert!((acknowledged..=acknowledged + 1).contains(&in_ledger), "{in_ledger} of {acknowledged}");

    command("mount", &["-o", "remount,size=16m", disk.point.to_str().unwrap()]);
    assert_eq!(state.reopen().unwrap(), Vec::<String>::new());
    assert_eq!(recorded(&disk.state()).len(), in_ledger);
    acknowledged = in_ledger;
    for number in acknowledged..acknowledged + 500 {
        commit(number).unwrap();
    }
    state.clone().close().unwrap();
    assert_eq!(recorded(&disk.state()), (0..acknowledged + 500).collect::<Vec<_>>());
    assert_eq!(verify_ledger(&disk.state()).unwrap().torn_tail, None);
    drop(state);
}

#[test]
fn a_sync_that_fails_is_not_tried_again_as_a_success() {
    if is_left_out() {
        return;
    }
    let base = TempDir::new().unwrap();
    let folder = base.path().join("state");
    let program = std::env::current_exe().unwrap();
    let inject = ["-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20..20"];
    let arguments = [&inject[..], &[program.to_str().unwrap()]].concat();
    let output = child("strace", &arguments, &folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let acknowledged = text.lines().filter_map(kept).count();
    assert!(text.contains("stopped the disk under") && text.contains("fails: nothing"), "{text}");
    assert!(text.contains("then nothing is recorded since an earlier failure"), "{text}");
    let state = State::open(&folder, Arc::new(SystemClock)).unwrap();
    state.state.close().unwrap();
    let left = recorded(&folder);
    assert!(acknowledged > 5 && left.len() >= acknowledged, "{left:?} of {acknowledged}");
}

/// What the simulated disk is asked to sync is synced on a real one: the segment, then its name, then the
/// folders that were made for it.
#[test]
fn the_names_of_files_and_folders_are_synced_too() {
    if is_left_out() {
        return;
    }
    let base = TempDir::new().unwrap();
    let (folder, trace) = (base.path().join("state"), base.path().join("trace"));
    let program = std::env::current_exe().unwrap();
    // The failure only ends it.
    let arguments =
        ["-f", "-y", "-qq", "-o", trace.to_str().unwrap(), "-e", "inject=fdatasync:error=EIO:when=9"]
            .into_iter()
            .chain(["-e", "trace=fsync,fdatasync,rename,renameat,renameat2", program.to_str().unwrap()]);
    child("strace", &arguments.collect::<Vec<_>>(), &folder).output().unwrap();
    let calls = fs::read_to_string(trace).unwrap();
    let written = format!("<{}>", folder.join("ledger/segment.new").display());
    let mut rest = calls.lines().skip_while(|call| !(call.contains("fdatasync") && call.contains(&written)));
    assert!(rest.any(|call| call.contains("rename") && call.contains("000001.jsonl")), "{calls}");
    for synced in [folder.join("ledger"), folder, base.path().to_owned()] {
        let synced = format!("<{}>", synced.display());
        assert!(rest.any(|call| call.contains(" fsync(") && call.contains(&synced)), "{synced}\n{calls}");
    }
}

#[test]
fn a_power_cut_on_ext4_loses_nothing_acknowledged() {
    if is_left_out() {
        return;
    }
    let cuts = std::env::var(CUTS).map_or(SOME_CUTS, |text| text.parse().unwrap());
    let base = TempDir::new().unwrap();
    let image = base.path().join("image");
    fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    command("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let disk = Mounted::new(base.path(), "disk", &["-o", "loop", image.to_str().unwrap()]);
    let program = std::env::current_exe().unwrap();
    let mut lost = 0;
    let mut seen = 0;
    for cut in 0..cuts {
        // A young state every few cuts, as a fresh sled loses the most.
        let fresh = cut % 4 == 0;
        if fresh {
            drop(fs::remove_dir_all(disk.state()));
        }
        let before = if fresh { 0 } else { recorded(&disk.state()).len() };
        let mut writer = Killed(child(program.to_str().unwrap(), &[], &disk.state()).spawn().unwrap());
        let told = Arc::new(Mutex::new(0));
        let lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        let (counted, enough) = (told.clone(), 5 + 37 * (cut % 11));
        let (tell, wait) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            for _ in lines.map_while(Result::ok).filter_map(|line| kept(&line)) {
                let mut counted = counted.lock().unwrap();
                *counted += 1;
                if *counted == enough {
                    let _gone = tell.send(());
                }
            }
        });
        wait.recv().unwrap();
        command("kill", &["-STOP", &writer.0.id().to_string()]);
        let acknowledged = before + *told.lock().unwrap();
        let copy = base.path().join("copy");
        command("cp", &["--sparse=always", image.to_str().unwrap(), copy.to_str().unwrap()]);
        let after = Mounted::new(base.path(), "after", &["-o", "loop", copy.to_str().unwrap()]);
        let opened = State::open(&after.state(), Arc::new(SystemClock)).unwrap();
        opened.state.close().unwrap();
        let left = recorded(&after.state()).len();
        lost += acknowledged.saturating_sub(left);
        seen += acknowledged;
        assert_eq!(verify_ledger(&after.state()).unwrap().torn_tail, None);
        drop(after);
        drop(writer);
        reader.join().unwrap();
        fs::remove_file(copy).unwrap();
    }
    println!("{cuts} power cuts, {seen} acknowledged, {lost} lost");
    assert_eq!(lost, 0);
}

#[test]
fn records_are_exported_as_they_stand_in_the_ledger() {
    let home = TempDir::new().unwrap();
    let yaml = "version: 1\nagent: {state_dir: state}\n\
        servers: {s: {host: h, username: u, password: {env: P}}}\n\
        jobs: {reports: {source: /s, server: s, destination: /d}}\n";
    fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
    let state = State::open(&home.path().join("state"), Arc::new(SystemClock)).unwrap().state;
    for (job, count) in [("reports", 2), ("others", 3)] {
        let run = block_on(state.start_run(&job.parse().unwrap(), &target())).unwrap().run;
        (0..count).for_each(|number| block_on(state.commit(target().id(), record(run, number))).unwrap());
    }
    state.close().unwrap();
    let export = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("nightferry").unwrap();
        let output =
            command.current_dir(home.path()).args(["ledger", "export"]).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, all) = export(&[]);
    assert_eq!(code, 0);
    let segment = fs::read_to_string(home.path().join("state/ledger/000001.jsonl")).unwrap();
    assert_eq!(all, segment.split_once('\n').unwrap().1, "all lines but the head");
    assert_eq!(export(&["--job", "reports"]).1.lines().count(), 3);
    assert_eq!(export(&["--job", "others", "--since", "2026-01-01"]).1.lines().count(), 4);
    assert_eq!(export(&["--since", "2200-01-01T00:00:00+01:00"]), (0, String::new()));
    assert_eq!(export(&["--since", "yesterday"]).0, 2);
}
