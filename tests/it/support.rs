//! What the tests of the binary share: source folders, configurations, runs, and a look at what
//! arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nightferry::domain::{AuditReport, RunReport};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::lab::Server;

/// The environment variable in which the configurations of tests expect the password.
const PASSWORD: &str = "NIGHTFERRY_TEST_PASSWORD";

/// A configuration with one server and one job of its own, its state, its source folder, and the
/// folder on the server's disk where its files arrive, which is removed in the end.
#[derive(Debug)]
pub(crate) struct Agent {
    home: TempDir,
    /// The password that the agent is given.
    pub(crate) password: String,
    /// Where the files arrive on this machine's disk.
    pub(crate) arrivals: PathBuf,
}

impl Agent {
    /// An agent that sends to a folder `destination` of this server, which must be the test's own.
    pub(crate) fn new(server: &Server, destination: &str) -> Self {
        Self::through(server.port, server, destination)
    }

    /// The same, but with another port in front of the server's.
    pub(crate) fn through(port: u16, server: &Server, destination: &str) -> Self {
        let home = TempDir::new().unwrap();
        let yaml = format!(
            "version: 1\n\
             agent: {{state_dir: {home}/state}}\n\
             servers:\n  \
               there:\n    \
                 host: \"{host}\"\n    port: {port}\n    tls: {tls}\n    username: {user}\n    password: {{env: {PASSWORD}}}\n    \
                 trust: {{ca_file: {ca}}}\n    connections: 4\n\
             jobs:\n  \
               out:\n    \
                 source: {home}/source\n    server: there\n    destination: /{destination}\n    verify: auto\n",
            home = home.path().display(),
            host = server.host,
            tls = server.tls,
            user = server.user,
            ca = server.ca_file().display(),
        );
        fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
        fs::create_dir(home.path().join("source")).unwrap();
        Self { home, password: server.password.clone(), arrivals: server.root.join(destination) }
    }

    /// Adds a line to what the configuration says of the server.
    pub(crate) fn configure_server(&self, line: &str) {
        let path = self.home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        let before = "    connections: 4\n";
        assert!(yaml.contains(before), "{yaml}");
        fs::write(path, yaml.replace(before, &format!("{before}    {line}\n"))).unwrap();
    }

    /// Has one connection opened to the server at a time.
    pub(crate) fn one_connection(&self) {
        let path = self.home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        fs::write(path, yaml.replace("    connections: 4\n", "    connections: 1\n")).unwrap();
    }

    /// Puts another line in the place of what the configuration says of trust.
    pub(crate) fn trust_instead(&self, line: &str) {
        let path = self.home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        let changed = yaml.lines().map(|old| {
            if old.trim_start().starts_with("trust:") { format!("    {line}\n") } else { format!("{old}\n") }
        });
        fs::write(path, changed.collect::<String>()).unwrap();
    }

    /// Takes this in place of what the configuration says of `verify`.
    pub(crate) fn verify_instead(&self, line: &str) {
        let path = self.home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        let old = yaml.lines().find(|line| line.trim_start().starts_with("verify:")).unwrap();
        fs::write(path, yaml.replace(old, &format!("    {line}"))).unwrap();
    }

    /// Adds a line to what the configuration says of the job.
    pub(crate) fn configure_job(&self, line: &str) {
        let path = self.home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{yaml}    {line}\n")).unwrap();
    }

    /// Loses all that is known of what was delivered.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(self.home.path().join("state")).unwrap();
    }

    /// A folder of the agent's own that does not exist yet.
    pub(crate) fn other_folder(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The folder whose files are sent.
    pub(crate) fn source(&self) -> PathBuf {
        self.home.path().join("source")
    }

    /// What was learned of the server.
    pub(crate) fn profiles(&self) -> Value {
        let file = self.home.path().join("state/profiles.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// Runs `nightferry sync --json` to its end.
    pub(crate) fn sync(&self) -> Run {
        self.start().finish()
    }

    /// Starts `nightferry sync --json`.
    pub(crate) fn start(&self) -> Running {
        self.start_verb(&["sync"])
    }

    /// Runs another verb with `--json` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.start_verb(arguments).finish()
    }

    /// The binary with `--json`, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
        command
            .arg("--config")
            .arg(self.home.path().join("jobs.yaml"))
            .args(arguments)
            .arg("--json")
            .env(PASSWORD, &self.password)
            .stdin(Stdio::null());
        command
    }

    fn start_verb(&self, arguments: &[&str]) -> Running {
        let errors = self.home.path().join("stderr");
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, events: Vec::new(), errors }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Some servers are never reached, and nothing stands there then.
        fs::remove_dir_all(&self.arrivals).or_else(missing_is_fine).unwrap();
    }
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A run that has not ended. Killed when dropped, so that a failing test leaves none behind.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: io::Lines<BufReader<std::process::ChildStdout>>,
    events: Vec<Value>,
    errors: PathBuf,
}

impl Running {
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next event; none when the output has ended.
    fn next_event(&mut self) -> Option<&Value> {
        let line = self.lines.next()?.unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["event"].is_string(), "no event: {line}");
        self.events.push(event);
        self.events.last()
    }

    /// Reads on until so many files were delivered, then kills the process as a power cut would.
    pub(crate) fn kill_after_deliveries(mut self, wanted: usize) {
        let mut seen = 0;
        while seen < wanted {
            let Some(event) = self.next_event() else {
                panic!("the run ended after {seen} deliveries of {wanted}:\n{}", self.stderr());
            };
            assert_ne!(event["event"], "run-finished", "the run was over before it could be killed");
            seen += usize::from(event["event"] == "file-delivered");
        }
        self.kill();
    }

    /// Kills the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Reads all events and waits for the end.
    pub(crate) fn finish(mut self) -> Run {
        while self.next_event().is_some() {}
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| panic!("ended with {status}:\n{}", self.stderr()));
        Run { code, stderr: self.stderr(), events: std::mem::take(&mut self.events) }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.errors).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code.
    pub(crate) code: i32,
    /// What it said to people.
    pub(crate) stderr: String,
    events: Vec<Value>,
}

impl Run {
    /// The report of a run that went well.
    pub(crate) fn done(&self) -> RunReport {
        let report = self.report();
        assert_eq!(self.code, 0, "{report:#?}\n{}", self.stderr);
        report
    }

    /// The TLS versions of the sessions that were opened.
    pub(crate) fn tls_versions(&self) -> BTreeSet<String> {
        let opened = self.events.iter().filter(|event| event["event"] == "session-opened");
        opened.map(|event| event["session"]["tls"].as_str().unwrap().to_owned()).collect()
    }

    /// Why files failed or the run stopped.
    pub(crate) fn causes(&self) -> String {
        let report = self.report();
        let failed = report.failed.iter().map(|file| file.failure.to_string());
        failed.chain(report.stopped.as_ref().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
    }

    /// The events of this name.
    pub(crate) fn events<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Value> {
        self.events.iter().filter(move |event| event["event"] == name)
    }

    /// The report of a run of verify, adopt or restore that ended with this code.
    pub(crate) fn audited(&self, code: i32) -> AuditReport {
        let report = self.last("audit-finished");
        assert_eq!(self.code, code, "{report:#?}\n{}", self.stderr);
        report
    }

    /// The report of a run of sync.
    pub(crate) fn report(&self) -> RunReport {
        self.last("run-finished")
    }

    fn last<T: DeserializeOwned>(&self, name: &str) -> T {
        let last = self
            .events
            .last()
            .unwrap_or_else(|| panic!("no event; exit code {}\n{}", self.code, self.stderr));
        assert_eq!(last["event"], name, "{last}\n{}", self.stderr);
        serde_json::from_value(last["report"].clone()).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}

/// Passes connections on to a server, and counts them.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// The port on 127.0.0.1 that stands for the server's.
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Forwarder {
    /// Listens on a free port until the test ends.
    pub(crate) fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let target = (server.host.clone(), server.port);
        thread::spawn(move || {
            for client in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let client = client.unwrap();
                let upstream = TcpStream::connect(&target).unwrap();
                pass(client.try_clone().unwrap(), upstream.try_clone().unwrap());
                pass(upstream, client);
            }
        });
        Self { port, accepted }
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Passes on one direction of a connection until it ends, its end included.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).unwrap();
    thread::spawn(move || {
        // A connection that breaks ends both ways, as it does without a forwarder.
        let how = if io::copy(&mut from, &mut to).is_ok() { Shutdown::Write } else { Shutdown::Both };
        drop(to.shutdown(how));
    });
}

/// Writes the bytes that stand for this seed, the same each time, and gives the file a time of
/// its own, long ago.
pub(crate) fn write_file(path: &Path, seed: u64, size: usize) {
    let mut file = File::create(path).unwrap();
    file.write_all(&bytes(seed, size)).unwrap();
    file.set_modified(time_of(seed)).unwrap();
}

/// Writes a big file without a hole, block by block.
pub(crate) fn write_big_file(path: &Path, size: usize) {
    let mut block = bytes(size as u64, BLOCK);
    let mut file = File::create(path).unwrap();
    for at in (0..size).step_by(BLOCK) {
        block[..8].copy_from_slice(&at.to_le_bytes());
        file.write_all(&block[..BLOCK.min(size - at)]).unwrap();
    }
    file.set_modified(time_of(size as u64)).unwrap();
}

const BLOCK: usize = 1 << 20;

/// Bytes that look random and follow from the seed (Vigna's splitmix64); fewer of them are a
/// beginning of more of them.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_F491_4F6C_DD1D);
    let mut bytes = vec![0; size];
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// A time between 2020 and 2025, with a fraction of a second.
pub(crate) fn time_of(seed: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(1_577_836_800 + (seed * 7_919) % 157_000_000, 123_456_789)
}

/// Names that a careless client or server stumbles over. All four servers store them as given:
/// Pure-FTPd refuses a backslash and alters control characters and a trailing space.
fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "plain.txt",
        "with space.csv",
        " leading space",
        "two  spaces",
        "double\"quote",
        "it's",
        "-rf",
        "--",
        "-",
        "[brackets]",
        "{braces}",
        "(parens)",
        "*star?",
        "~tilde",
        "~",
        "semi;colon & more | less",
        "$HOME `x`",
        "100%41",
        "#hash",
        "!bang",
        "comma,equals=plus+@",
        ".hidden",
        "..two dots",
        "...",
        "dots.in..the...middle",
        "ends with dot.",
        "Ärger über Straße",
        "decomposed e\u{301}",
        "日本語のファイル",
        "смета.xls",
        "emoji 🚢",
        "STOR x",
    ]
    .map(String::from)
    .into();
    names.push("n".repeat(200));
    names.push("é".repeat(100));
    names
}

/// Makes 2,000 files in 40 nested folders, some of them empty.
pub(crate) fn make_tree(root: &Path) {
    let names = awkward_names();
    // ProFTPD makes no folder with a star in its name.
    let folder_names: Vec<_> = names.iter().filter(|name| !name.contains('*')).collect();
    let folders: Vec<PathBuf> = (0..FOLDERS)
        .map(|at| {
            let chain = at / DEPTH;
            let levels =
                (0..=at % DEPTH).map(|level| folder_names[(chain * DEPTH + level) % folder_names.len()]);
            levels.fold(root.join(format!("chain {chain}")), |path, name| path.join(format!("{name}.d")))
        })
        .collect();
    for (at, folder) in folders.iter().enumerate() {
        fs::create_dir_all(folder).unwrap();
        for nth in 0..FILES / FOLDERS {
            let seed = (at * FILES + nth) as u64;
            let name = match names.get(nth) {
                Some(name) => name.clone(),
                None => format!("report {nth:04}.pdf"),
            };
            let size = if nth % 10 == 9 { 0 } else { (at * 7_919 + nth * 613) % 20_000 };
            write_file(&folder.join(name), seed, size);
        }
    }
}

/// How many files [`make_tree`] makes.
pub(crate) const FILES: usize = 2_000;
const FOLDERS: usize = 40;
const DEPTH: usize = 5;

/// Panics unless both folders hold the same files with the same bytes and, to the second, the
/// same times, and nothing else.
pub(crate) fn assert_same_tree(source: &Path, arrivals: &Path) {
    let (sent, stored) = (files_below(source), files_below(arrivals));
    let strangers = stored.keys().filter(|name| !sent.contains_key(*name));
    let mut differences: Vec<_> =
        strangers.map(|name| format!("not in the source: {}", name.display())).collect();
    for (name, mtime) in &sent {
        let difference = match stored.get(name) {
            None => "missing".to_owned(),
            Some(_) if !same_bytes(&source.join(name), &arrivals.join(name)) => "other bytes".to_owned(),
            Some(stored) if stored != mtime => format!("time {stored} in place of {mtime}"),
            Some(_) => continue,
        };
        differences.push(format!("{difference}: {}", name.display()));
    }
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences, the first of them:\n{shown}", differences.len());
}

/// The files of a folder by their path in it, with the second in which each was last changed.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<PathBuf, i64> {
    WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            (entry.path().strip_prefix(folder).unwrap().to_owned(), entry.metadata().unwrap().mtime())
        })
        .collect()
}

fn same_bytes(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    if one.metadata().unwrap().len() != other.metadata().unwrap().len() {
        return false;
    }
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let size = one.read(&mut left).unwrap();
        if size == 0 {
            return true;
        }
        if other.read_exact(&mut right[..size]).is_err() || left[..size] != right[..size] {
            return false;
        }
    }
}
