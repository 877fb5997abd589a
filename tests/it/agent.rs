//! The agent as a process: its signals, its socket, its schedules and its log.

mod clock;
mod descriptors;
mod early;
mod full;
mod parked;
mod place;
mod real;
mod restarts;
mod root;
mod rounds;
mod status_page;
mod stops;
mod words;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftps_server::{Action, Fault, Server};
use nightferry::clock::{Clock as _, SystemClock};
use nightferry::domain::{Record, Scheduled};
use nightferry::state::State;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use self::place::{Place, section};

/// An agent's folder with a configuration for one server; killed when dropped.
struct Home {
    folder: TempDir,
    servers: String,
    /// The folder on the servers that stands for `/`.
    base: String,
}

/// An agent that runs.
struct Agent {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: String,
}

impl Home {
    fn new(servers: &[(&str, &dyn Place)], jobs: &str) -> Self {
        let (servers, base) = section(servers);
        let home = Self { folder: tempfile::tempdir().unwrap(), servers, base };
        home.configure(jobs);
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn configure(&self, jobs: &str) {
        let jobs = jobs.replace("destination: /", &format!("destination: {}/", self.base));
        let yaml = format!(
            "version: 1\nagent: {{state_dir: state, timezone: UTC}}\nservers:\n{}jobs:\n{jobs}",
            self.servers
        );
        fs::write(self.path().join("jobs.yaml"), yaml).unwrap();
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
        command
            .current_dir(self.path())
            .args(["--config", "jobs.yaml"])
            .args(arguments)
            .env_remove("STATE_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .env("NF_PASSWORD", "password")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn status(&self) -> Value {
        let (code, stdout, stderr) = self.run(&["status", "--json"]);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    fn agent(&self) -> Agent {
        Agent::of(self.command(&["run", "-v"]))
    }
}

impl Agent {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut agent = Self { child, log, seen: String::new() };
        agent.until("The agent is ready.");
        agent
    }

    /// Reads the log up to a line with these words, which comes back.
    fn until(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "no line with {words:?} in\n{}", self.seen);
            self.seen.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(mut self) -> String {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// A second signal does not wait for what hangs.
    fn end_at_once(mut self) {
        self.signal(Signal::TERM);
        self.until("The agent stops");
        let begun = Instant::now();
        self.signal(Signal::TERM);
        self.until("ends at once");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(begun.elapsed() < stops::GRACE, "it waited for what hangs");
    }

    fn ended(&mut self) -> String {
        self.until("The agent has ended.");
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

const ONE: &str = "  one: {source: one, server: office, destination: /in}\n";
/// A server that does as it should, and a home with one job, which has one file to send there.
fn one_file() -> (Server, Home) {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    home.write("one/a.txt", b"a");
    (server, home)
}

const TWO: &str = "  two: {source: two, server: office, destination: /two}\n";

#[test]
fn a_running_agent_does_what_is_asked_and_tells_of_it() {
    let (server, home) = one_file();
    let (_, stdout, _) = home.run(&["status"]);
    assert!(stdout.starts_with("no agent runs"), "{stdout}");
    let agent = home.agent();
    let socket = fs::metadata(home.path().join("state/agent.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    let (code, stdout, stderr) = home.run(&["sync"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("one: 1 file") && stderr.contains("the agent runs this"), "{stdout}{stderr}");
    assert_eq!(fs::read(server.root().join("in/a.txt")).unwrap(), b"a");
    let (_, stdout, _) = home.run(&["sync", "--json"]);
    assert!(stdout.lines().any(|line| line.contains(r#""event":"run-finished""#)), "{stdout}");

    let status = home.status();
    assert_eq!(status["process"], agent.child.id());
    assert_eq!(
        (&status["jobs"][0]["state"]["is"], &status["jobs"][0]["last"]["run"]),
        (&"idle".into(), &2.into())
    );
    let (_, table, _) = home.run(&["status"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let (_, history, _) = home.run(&["history", "one"]);
    assert_eq!(history.lines().count(), 3, "{history}");
    let (_, shown, _) = home.run(&["history", "show", "1"]);
    assert!(shown.contains("delivered  a.txt") && shown.contains("ended      1 sent"), "{shown}");
    assert_eq!(home.run(&["history", "show", "9"]).0, 2);
    assert_eq!(home.run(&["history", "none"]).0, 2);

    for verb in [&["run"][..], &["plan"]] {
        let (code, _, stderr) = home.run(verb);
        assert_eq!(code, 11, "{stderr}");
        assert!(stderr.contains("help: wait until it has ended"), "{stderr}");
        assert!(stderr.contains(&agent.child.id().to_string()), "{stderr}");
    }
    agent.end();
    assert_eq!(home.status()["jobs"][0]["last"]["run"], 2, "from the ledger");
}

#[test]
fn what_is_no_question_is_refused() {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    let agent = home.agent();
    let ask = |question: &[u8]| {
        let mut stream = UnixStream::connect(home.path().join("state/agent.sock")).unwrap();
        stream.write_all(question).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert!(ask(b"hello\n").contains("not a question"));
    assert!(ask(b"{\"version\":2,\"request\":{\"ask\":\"status\"}}\n").contains("version 1"));
    assert!(ask(&vec![b' '; 64 * 1024]).contains("one line of at most"));
    let unknown = b"{\"version\":1,\"request\":{\"ask\":\"sync\",\"jobs\":[\"none\"],\"approved\":null}}\n";
    assert!(ask(unknown).contains("knows no job `none`"));
    assert!(ask(b"{\"version\":1,\"request\":{\"ask\":\"status\"}}\n").contains(r#""tell":"status""#));
    agent.end();
}

#[test]
fn a_bad_configuration_is_refused_and_a_good_one_taken_in() {
    let (_server, home) = one_file();
    home.write("two/b.txt", b"b");
    let mut agent = home.agent();
    home.configure("  one: {source: one, server: offices, destination: /in}\n");
    agent.signal(Signal::HUP);
    let mistake = agent.until("The configuration has a mistake.");
    assert!(mistake.contains("jobs.one.server") && mistake.contains("did you mean"), "{mistake}");
    agent.until("The configuration is refused");
    // The command reads the file as well; the agent goes on with what it has.
    home.configure(&format!("{ONE}{TWO}"));
    let status = home.status();
    assert!(status["refused_configuration"].is_string(), "{status}");
    assert_eq!(status["jobs"].as_array().unwrap().len(), 1);
    agent.signal(Signal::HUP);
    let taken = agent.until("The configuration was taken in.");
    assert!(taken.contains("new=1 changed=0 gone=0"), "{taken}");
    assert!(home.status()["refused_configuration"].is_null());
    let (code, _, stderr) = home.run(&["sync", "two"]);
    assert_eq!(code, 0, "{stderr}");

    home.configure(TWO);
    agent.signal(Signal::HUP);
    agent.until("new=0 changed=0 gone=1");
    assert_eq!(home.status()["jobs"].as_array().unwrap().len(), 1);
    agent.end();
}

/// What was done before for a job that comes into the configuration counts as if it had been there, and so do
/// receivers that are new.
#[test]
fn a_reload_knows_a_new_jobs_past_and_tells_new_receivers() {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], &format!("{ONE}{TWO}"));
    home.write("one/a.txt", b"a");
    home.write("two/b.txt", b"b");
    assert_eq!(home.run(&["sync", "two"]).0, 0);
    home.configure(ONE);
    let mut agent = home.agent();
    let before = home.status()["jobs"].clone();
    assert_eq!(before.as_array().unwrap().len(), 1, "{before}");
    home.configure(&format!("{ONE}{TWO}"));
    let file = home.path().join("jobs.yaml");
    let told = "timezone: UTC, notify: [{command: [sh, -c, 'echo $NIGHTFERRY_JOB >> told'], on: [success]}]";
    let yaml = fs::read_to_string(&file).unwrap().replace("timezone: UTC", told);
    fs::write(&file, yaml).unwrap();
    agent.signal(Signal::HUP);
    agent.until("new=1 changed=0 gone=0");
    // The ledger is read beside the loop.
    let began = Instant::now();
    let mut two = home.status()["jobs"][1].clone();
    while two["last"].is_null() && began.elapsed() < Duration::from_secs(20) {
        two = home.status()["jobs"][1].clone();
    }
    assert_eq!((&two["job"], &two["last"]["run"]), (&"two".into(), &1.into()), "{two}");
    assert_eq!(two["last_well"], two["last"]["ended"], "{two}");
    assert_eq!(home.run(&["sync", "one"]).0, 0);
    agent.end();
    assert_eq!(fs::read_to_string(home.path().join("told")).unwrap_or_default(), "one\n");
}

/// Each file that is not to be sent has a name and a reason in what is told of the run and kept of it.
#[test]
fn skipped_files_are_told_with_their_reason() {
    let (_server, home) = one_file();
    std::os::unix::fs::symlink("a.txt", home.path().join("one/link")).unwrap();
    assert!(Command::new("mkfifo").arg(home.path().join("one/pipe")).status().unwrap().success());
    let (code, stdout, _) = home.run(&["sync"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("2 skipped") && !stdout.contains("named pipe"), "{stdout}");
    let (_, stdout, _) = home.run(&["sync", "-v"]);
    assert!(stdout.contains("    pipe: named pipe"), "{stdout}");
    assert!(stdout.contains("    link: symbolic link, not followed"), "{stdout}");
    let (_, shown, _) = home.run(&["history", "show", "1"]);
    assert!(shown.contains("  skipped    pipe  named pipe"), "{shown}");
    assert!(shown.contains("  skipped    link  symbolic link, not followed"), "{shown}");
    let (_, shown, _) = home.run(&["history", "show", "1", "--json"]);
    assert!(shown.contains(r#"{"name":"pipe","reason":"named pipe"}"#), "{shown}");
    let agent = home.agent();
    let (_, stdout, _) = home.run(&["sync", "--json"]);
    let end = stdout.lines().find(|line| line.contains(r#""event":"run-finished""#)).unwrap();
    let end: Value = serde_json::from_str(end).unwrap();
    let skipped = end["report"]["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 2, "{end}");
    agent.end();
}

/// What was opened at the start stays, and whoever changed it is told so.
#[test]
fn a_reload_says_what_counts_only_after_a_new_start() {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    let mut agent = home.agent();
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let unchanged = yaml.clone();
    let log = yaml.replace("timezone: UTC", "timezone: UTC, log: {format: json}");
    let metrics = yaml.replace("timezone: UTC", "timezone: UTC, metrics_file: metrics");
    for (warnings, yaml) in [(0, unchanged), (1, log), (2, metrics)] {
        fs::write(&file, yaml).unwrap();
        agent.signal(Signal::HUP);
        agent.until("The configuration was taken in.");
        let said = agent.seen.matches("counts only once the agent is started anew").count();
        assert_eq!(said, warnings, "{}", agent.seen);
    }
    agent.end();
}

/// The agent's ledger says that it went down three hours ago.
#[test]
fn three_missed_times_are_made_up_for_by_one_run() {
    let server = Server::builder().start().unwrap();
    let job = "  one: {source: one, server: office, destination: /in, schedule: \"0 * * * *\"}\n";
    let home = Home::new(&[("office", &server)], job);
    home.write("one/a.txt", b"a");
    let from = SystemClock.now().minus(Duration::from_mins(181));
    let opened = State::open(&home.path().join("state"), Arc::new(SystemClock)).unwrap();
    let scheduled = Scheduled { job: "one".parse().unwrap(), schedule: "0 * * * * UTC".into(), from };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(opened.state.commit_general(vec![Record::Scheduled(scheduled)])).unwrap();
    opened.state.close().unwrap();
    let mut agent = home.agent();
    let began = agent.until("The run began.");
    assert!(began.contains("catch-up of 3 times") || began.contains("catch-up of 4 times"), "{began}");
    agent.until("The run ended well.");
    let seen = agent.end();
    assert_eq!(seen.matches("The run began.").count(), 1, "{seen}");
    // Nor are they made up for twice.
    let agent = home.agent();
    assert_eq!(home.status()["jobs"][0]["state"]["is"], "idle");
    let seen = agent.end();
    assert!(!seen.contains("The run began."), "{seen}");
}

#[test]
fn a_server_that_stalls_holds_up_no_other_job() {
    let stalled = Server::builder().fault(Fault::on("STOR", Action::Stall)).start().unwrap();
    let fine = Server::builder().start().unwrap();
    let jobs = "  one: {source: one, server: stalled, destination: /in}\n  \
                two: {source: two, server: fine, destination: /in, schedule: \"* * * * * *\"}\n";
    let home = Home::new(&[("stalled", &stalled), ("fine", &fine)], jobs);
    home.write("one/a.txt", b"a");
    home.write("two/b.txt", b"b");
    let mut agent = home.agent();
    let mut waiting =
        home.command(&["sync", "one"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    agent.until("job=one");
    for _ in 0..3 {
        let ended = agent.until("The run ended well.");
        assert!(ended.contains("job=two"), "{ended}");
    }
    let status = home.status();
    assert_eq!(status["jobs"][0]["state"]["is"], "running", "{status}");
    assert_eq!(fs::read(fine.root().join("in/b.txt")).unwrap(), b"b");
    agent.end_at_once();
    waiting.wait().unwrap();
}

#[test]
fn a_signal_in_mid_transfer_leaves_nothing_half_and_the_next_agent_goes_on() {
    let slow = Fault::on("STOR", Action::Delay(Duration::from_millis(100)));
    let server = Server::builder().fault(slow).start().unwrap();
    let job = "  one: {source: one, server: office, destination: /in, schedule: \"* * * * * *\"}\n";
    let home = Home::new(&[("office", &server)], job);
    for n in 0..60 {
        home.write(&format!("one/{n:02}"), &[b'x'; 5_000]);
    }
    let mut agent = home.agent();
    agent.until("A file was delivered.");
    agent.signal(Signal::TERM);
    let seen = agent.ended();
    assert!(seen.contains("interrupted by a signal"), "{seen}");
    let there = |hidden: bool| {
        let names = fs::read_dir(server.root().join("in")).unwrap().map(|entry| entry.unwrap());
        let names = names.filter(|entry| entry.file_name().to_str().unwrap().starts_with('.') == hidden);
        names.map(|entry| entry.metadata().unwrap().len()).collect::<Vec<_>>()
    };
    let before = there(false);
    assert!(!before.is_empty() && before.len() < 60, "{before:?}");
    assert!(before.iter().all(|size| *size == 5_000), "{before:?}");
    let mut agent = home.agent();
    agent.until("The run ended well.");
    agent.end();
    assert_eq!((there(false).len(), there(true).len()), (60, 0));
}

#[test]
fn systemd_is_told_and_the_journal_gets_its_lines() {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let heard = |wanted: &str| loop {
        let mut buffer = [0; 512];
        let read = manager.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        if text.starts_with(wanted) {
            return text;
        }
    };
    let log = home.path().join("log");
    let stat = rustix::fs::fstat(File::create(&log).unwrap()).unwrap();
    let mut command = home.command(&["run"]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
        .stderr(File::options().append(true).open(&log).unwrap());
    let mut child = command.spawn().unwrap();
    heard("READY=1");
    for _ in 0..5 {
        heard("WATCHDOG=1");
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert!(heard("RELOADING=1").contains("\nMONOTONIC_USEC="));
    heard("READY=1");
    kill_process(pid, Signal::TERM).unwrap();
    heard("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.starts_with("<6>The agent is ready. jobs=1\n"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("<6>")), "{log}");
}

/// Sixty runs (or as many as `NIGHTFERRY_RUNS` says) need no more memory or descriptors than the
/// first third.
#[test]
fn memory_and_descriptors_stay_flat() {
    let runs = std::env::var("NIGHTFERRY_RUNS").map_or(60, |runs| runs.parse().unwrap());
    let warm = runs / 3;
    let (_server, home) = one_file();
    let mut agent = home.agent();
    let process = agent.child.id();
    let of = |name: &str| format!("/proc/{process}/{name}");
    let descriptors = || fs::read_dir(of("fd")).unwrap().count();
    let resident = || {
        let status = fs::read_to_string(of("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut sync = |number: u32| {
        home.write("one/a.txt", number.to_string().as_bytes());
        let mut stream = UnixStream::connect(home.path().join("state/agent.sock")).unwrap();
        let question =
            b"{\"version\":1,\"request\":{\"ask\":\"sync\",\"jobs\":[\"one\"],\"approved\":null}}\n";
        stream.write_all(question).unwrap();
        let lines: Vec<_> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert!(lines.last().unwrap().contains(r#""tell":"report""#), "{lines:?}");
        // A log that nobody reads would hold the agent up.
        agent.until("The run ended well.");
    };
    println!("resident at the start: {} KiB", resident());
    (0..warm).for_each(&mut sync);
    let (memory, open) = (resident(), descriptors());
    (warm..runs).for_each(&mut sync);
    println!("resident after {warm} runs: {memory} KiB, after {runs}: {} KiB", resident());
    assert!(descriptors() <= open + 4, "{open} descriptors before, {} after", descriptors());
    assert!(resident() <= memory + memory / 4, "{memory} KiB before, {} after", resident());
    agent.end();
}

/// With 10,000 watched folders its own memory stays far below that of sled's histograms alone, which took
/// 21 MiB; what is mapped from the binary differs from build to build.
#[test]
fn an_idle_agent_is_small() {
    let server = Server::builder().start().unwrap();
    let job = "  one: {source: one, server: office, destination: /in, watch: {settle: 100ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    for n in 0..10_000 {
        fs::create_dir_all(home.path().join(format!("one/{}/{}", n / 100, n % 100))).unwrap();
    }
    let mut agent = home.agent();
    agent.until("watching 10");
    agent.until("The run ended well.");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let own: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("of its own: {own} KiB");
    assert!(own < 18 * 1_024, "{status}");
    agent.end();
}

/// What the log says of runs: the number of delivered files for each that delivered some.
fn delivered(agent: &mut Agent, files: usize) {
    let mut left = files;
    while left > 0 {
        let line = agent.until("The run ended");
        let count = line.split("delivered=").nth(1).and_then(|rest| rest.split_whitespace().next());
        left -= count.map_or(0, |count| count.parse::<usize>().unwrap());
    }
}

#[test]
fn files_go_as_they_appear_and_a_reload_watches_another_folder() {
    let server = Server::builder().start().unwrap();
    let watched = |source: &str| {
        format!("  one: {{source: {source}, server: office, destination: /in, watch: {{settle: 300ms}}}}\n")
    };
    let home = Home::new(&[("office", &server)], &watched("one"));
    home.write("one/before.txt", b"before");
    let mut agent = home.agent();
    delivered(&mut agent, 1);
    for path in ["a.txt", "new/folder/b.txt", "new/folder/c.txt"] {
        home.write(&format!("one/{path}"), path.as_bytes());
    }
    delivered(&mut agent, 3);
    for path in ["a.txt", "new/folder/b.txt", "new/folder/c.txt"] {
        assert_eq!(fs::read(server.root().join("in").join(path)).unwrap(), path.as_bytes());
    }
    let watch = home.status()["jobs"][0]["watch"].clone();
    assert!(watch.as_str().is_some_and(|watch| watch.starts_with("watching ")), "{watch}");
    let (_, history, _) = home.run(&["history", "one", "--json"]);
    assert!(history.contains("watch"), "{history}");

    fs::create_dir(home.path().join("two")).unwrap();
    home.configure(&watched("two"));
    agent.signal(Signal::HUP);
    agent.until("The configuration was taken in.");
    home.write("one/no-more.txt", b"x");
    home.write("two/d.txt", b"d");
    delivered(&mut agent, 1);
    assert!(server.root().join("in/d.txt").exists() && !server.root().join("in/no-more.txt").exists());
    agent.end();
}
