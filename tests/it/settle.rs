//! Presumed files, from the kill that leaves them in doubt to a person's decision, through the
//! binary and against a server whose consumer takes files away.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use ftps_server::{Dialect, Event, Server};
use nightferry::domain::{Decision, Person};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A drop whose consumer takes each file as soon as it has its final name; while armed, the agent is
/// killed at that moment, before it hears of it.
struct Clinic {
    home: TempDir,
    taken: Arc<Mutex<Vec<String>>>,
    /// The process to be killed at the next rename; 0: none.
    victim: Arc<AtomicU32>,
    server: Server,
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Clinic {
    fn new(more: &str) -> Self {
        let (taken, victim) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicU32::new(0)));
        let (log, target) = (Arc::clone(&taken), Arc::clone(&victim));
        let server = Server::builder().dialect(Dialect::full()).on_event(move |event| {
            let Event::Renamed { from, to, local } = event else { return };
            if from == to {
                return;
            }
            fs::remove_file(local).unwrap();
            log.lock().unwrap().push(to.clone());
            // The process number comes just after the start.
            while target.load(Ordering::SeqCst) == AWAITED {
                std::thread::yield_now();
            }
            if let Some(pid) = Pid::from_raw(target.swap(0, Ordering::SeqCst).try_into().unwrap()) {
                kill_process(pid, Signal::KILL).unwrap();
            }
        });
        let server = server.start().unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("reports/sub")).unwrap();
        let yaml = format!(
            "version: 1
agent: {{state_dir: state}}
servers:
  office:
    host: localhost
    port: {}
    username: user
    password: {{command: [echo, password]}}
    trust: {{ca_file: {}}}
    connections: 1
jobs:
  daily: {{source: reports, server: office, destination: /in, mode: drop{more}}}
",
            server.port(),
            server.ca_file().display(),
        );
        fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
        Self { home, taken, victim, server }
    }

    fn report(&self, name: &str) -> PathBuf {
        self.home.path().join("reports").join(name)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
        command.current_dir(self.home.path()).args(["--config", "jobs.yaml"]).args(arguments.split(' '));
        command.env("SUDO_USER", "ann").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// Writes files, and has the agent killed as each gets its final name.
    fn leave_in_doubt(&self, names: &[&str]) {
        for name in names {
            fs::write(self.report(name), format!("content of {name}")).unwrap();
            self.victim.store(AWAITED, Ordering::SeqCst);
            let child = self.command("sync").spawn().unwrap();
            self.victim.store(child.id(), Ordering::SeqCst);
            assert_eq!(ended(child.wait_with_output().unwrap()).code, None, "it was killed");
        }
    }

    fn times_taken(&self, name: &str) -> usize {
        self.taken.lock().unwrap().iter().filter(|taken| **taken == format!("/in/{name}")).count()
    }

    /// The decisions on record.
    fn decisions(&self) -> Vec<Value> {
        let Ended { code, stdout, stderr } = self.run("ledger export --job daily");
        assert_eq!(code, Some(0), "{stderr}");
        let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line.to_string().contains(r#""record":"decided""#)).collect()
    }
}

/// In place of a process number that is not known yet.
const AWAITED: u32 = u32::MAX;

fn ended(Output { status, stdout, stderr }: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

#[track_caller]
fn assert_told(ended: &Ended, code: i32, words: &[&str]) {
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(code), "{told}");
    // Lines may be broken for a terminal.
    let flat = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(flat.contains(word), "{word:?} in {told}");
    }
}

#[test]
fn a_presumed_file_is_seen_in_status_and_told_by_the_jobs_clock() {
    let clinic = Clinic::new(", timezone: Asia/Kolkata");
    clinic.leave_in_doubt(&["a.csv"]);
    assert_told(&clinic.run("sync"), 3, &["1 most likely delivered"]);
    let waits = "1 file most likely delivered and taken away: `nightferry settle daily`";
    assert_told(&clinic.run("status"), 0, &[waits]);
    assert_told(&clinic.run("settle daily"), 0, &[" IST: proved by server hash in run 1"]);
    assert_told(&clinic.run("settle daily --all --delivered"), 0, &["attested a.csv"]);
}

#[test]
fn presumed_files_are_named_everywhere_until_a_person_decides() {
    let clinic = Clinic::new("");
    clinic.leave_in_doubt(&["a.csv", "sub/b.csv"]);
    assert_told(
        &clinic.run("settle daily"),
        0,
        &["1 file in doubt after a cut-off run: the next sync finds out"],
    );
    for _ in 0..2 {
        let named =
            ["2 most likely delivered and taken away", "a.csv", "sub/b.csv", "nightferry settle daily"];
        assert_told(&clinic.run("sync"), 3, &named);
        assert_told(&clinic.run("sync -q"), 3, &named);
    }
    let json = clinic.run("sync --json");
    let report: Value = serde_json::from_str(json.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(report["report"]["presumed"], serde_json::json!(["a.csv", "sub/b.csv"]));
    assert_told(&json, 3, &["the first of them a.csv"]);
    assert_told(
        &clinic.run("plan"),
        0,
        &["presumed a.csv", "nightferry settle daily", "2 presumed, to be decided"],
    );
    let list = clinic.run("settle daily");
    assert_told(
        &list,
        0,
        &[
            "2 files are presumed",
            "presumed by run",
            "proved by server hash in run 1",
            "16 B, SHA-256",
            "RNFR: 550",
        ],
    );
    assert_told(&list, 0, &["source: unchanged", "--delivered PATH", "--send-again PATH"]);
    let listed = clinic.run("settle daily sub --json");
    let file: Value = serde_json::from_str(listed.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&file["file"]["path"], &file["file"]["size"]), (&"sub/b.csv".into(), &20.into()));
    assert!(clinic.decisions().is_empty(), "listing decides nothing");

    assert_told(&clinic.run("settle daily a.csv --delivered"), 0, &["attested a.csv", "1 still presumed"]);
    assert_told(
        &clinic.run("settle daily sub --send-again"),
        0,
        &["send again sub/b.csv", "0 still presumed"],
    );
    let by: Vec<(Decision, Person)> = clinic
        .decisions()
        .into_iter()
        .map(|line| {
            let field = |name: &str| line["event"][name].clone();
            (serde_json::from_value(field("decision")).unwrap(), serde_json::from_value(field("by")).unwrap())
        })
        .collect();
    assert_eq!([by[0].0, by[1].0], [Decision::Attested, Decision::SendAgain]);
    let uid = rustix::process::getuid().as_raw();
    assert_eq!((by[0].1.uid, by[0].1.sudo_user.as_deref()), (uid, Some("ann")));

    let plan = clinic.run("plan");
    assert_told(&plan, 0, &["send sub/b.csv", "1 file to send"]);
    assert!(!plan.stdout.contains("presumed,"), "{}", plan.stdout);
    assert_told(&clinic.run("sync"), 0, &["1 file sent", "1 not proved, but the receiver has them"]);
    assert_eq!((clinic.times_taken("a.csv"), clinic.times_taken("sub/b.csv")), (1, 2));
    assert_told(&clinic.run("settle daily"), 0, &["nothing is presumed"]);
    // Other content under its name is another file.
    fs::write(clinic.report("a.csv"), "something else").unwrap();
    assert_told(&clinic.run("sync"), 0, &["1 file sent"]);
    assert_eq!(clinic.times_taken("a.csv"), 2);
    assert_told(&clinic.run("ledger verify"), 0, &["the ledger is whole"]);
}

/// What a person says is no proof: the source is nobody's to delete. And it outlasts the manifest.
#[test]
fn an_attested_file_stays_in_the_source() {
    let clinic = Clinic::new(", after_delivery: delete");
    clinic.leave_in_doubt(&["a.csv", "b.csv"]);
    assert_told(&clinic.run("sync"), 3, &["2 most likely delivered"]);
    assert_told(&clinic.run("settle daily"), 0, &["its source stays where it is"]);
    let told = ["2 files not sent again, and left in the source", "0 still presumed"];
    assert_told(&clinic.run("settle daily --all --delivered"), 0, &told);
    fs::remove_dir_all(clinic.home.path().join("state/manifest")).unwrap();
    for _ in 0..2 {
        assert_told(&clinic.run("sync"), 0, &["2 not proved, but the receiver has them"]);
        assert!(clinic.report("a.csv").exists() && clinic.report("b.csv").exists());
    }
    // A touch costs no upload, and proves nothing.
    let file = fs::File::options().write(true).open(clinic.report("a.csv")).unwrap();
    file.set_modified(crate::support::time_of(7)).unwrap();
    assert_told(&clinic.run("sync"), 0, &["2 not proved, but the receiver has them"]);
    assert!(clinic.report("a.csv").exists());
    assert_eq!(clinic.times_taken("a.csv"), 1);
    fs::remove_file(clinic.report("a.csv")).unwrap();
    assert_told(&clinic.run("sync"), 0, &["1 not proved, but the receiver has them"]);
}

/// A drop file whose source is gone and that never came: given up, on record, and waited for no more.
#[test]
fn a_lost_file_is_given_up() {
    let clinic = Clinic::new("");
    clinic.leave_in_doubt(&["a.csv", "b.csv"]);
    assert_told(&clinic.run("sync"), 3, &["2 most likely delivered"]);
    fs::remove_file(clinic.report("a.csv")).unwrap();
    assert_told(
        &clinic.run("settle daily"),
        0,
        &["--lost PATH the receiver does not have it, and its source is gone"],
    );
    let told = ["lost a.csv", "1 file lost and given up", "1 still presumed", "b.csv: its source is there"];
    assert_told(&clinic.run("settle daily --all --lost"), 3, &told);
    let decisions = clinic.decisions();
    assert_eq!((decisions.len(), &decisions[0]["event"]["decision"]), (1, &"lost".into()));
    // Also from the ledger alone.
    fs::remove_dir_all(clinic.home.path().join("state/manifest")).unwrap();
    assert_told(&clinic.run("sync"), 3, &["1 most likely delivered"]);
    // What comes under its name later is new.
    fs::write(clinic.report("a.csv"), "content of a.csv").unwrap();
    assert_told(&clinic.run("sync"), 3, &["1 file sent"]);
    assert_eq!(clinic.times_taken("a.csv"), 2);
}

#[test]
fn mistakes_decide_nothing() {
    let clinic = Clinic::new("");
    assert_told(&clinic.run("settle daily"), 0, &["nothing is presumed"]);
    assert!(!clinic.home.path().join("state").exists(), "asking makes no state");
    clinic.leave_in_doubt(&["a-report.csv", "b.csv"]);
    assert_told(&clinic.run("sync"), 3, &[]);
    fs::remove_file(clinic.report("b.csv")).unwrap();
    for (arguments, code, words) in [
        ("settle nope", 2, "there is no job `nope`"),
        ("settle daily --delivered", 2, "required"),
        ("settle daily --all", 0, "2 files are presumed"),
        ("settle daily --all b.csv --delivered", 2, "cannot be used with"),
        ("settle daily --all --delivered --send-again", 2, "cannot be used with"),
        ("settle daily a-repotr.csv --delivered", 2, "did you mean `a-report.csv`?"),
        ("settle daily b.csv no --delivered", 2, "nothing is presumed under `no`; nothing was decided"),
        ("settle daily ../b.csv --delivered", 2, "no path below the job's source"),
        ("settle daily b.csv --send-again", 3, "its source is gone"),
        ("settle daily a-report.csv --lost", 3, "its source is there, so that it is not lost"),
        ("settle daily --all --lost --delivered", 2, "cannot be used with"),
        ("settle daily --all --lost --send-again", 2, "cannot be used with"),
        ("settle daily --lost", 2, "required"),
    ] {
        assert_told(&clinic.run(arguments), code, &[words]);
    }
    assert!(clinic.decisions().is_empty());
    assert_told(&clinic.run("sync"), 3, &["2 most likely delivered"]);
    // One that can be sent is decided beside one that cannot.
    let told = ["send again a-report.csv", "1 still presumed", "b.csv: its source is gone"];
    assert_told(&clinic.run("settle daily --all --send-again"), 3, &told);
    assert_eq!(clinic.decisions().len(), 1);
    assert_told(&clinic.run("ledger export --job dialy"), 2, &["no job `dialy`", "did you mean `daily`?"]);
    assert_told(
        &clinic.run("sync --approve-deletes 1"),
        2,
        &["no deletions of run 1 to approve", "nothing was done"],
    );
    drop(clinic.server);
}
