//! Files made as fast as possible in new folders, some of them slowly, while the agent watches: each arrives once,
//! and whole when its name is first seen.

mod sight;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use self::sight::Sight;
use crate::lab;
use crate::support::{Agent, assert_same_tree, bytes};

/// How long a file must have been left alone.
const SETTLE: Duration = Duration::from_secs(4);
/// How often a slow file gets its next piece: late enough that an agent that waits for less is caught, and so much
/// sooner than it may that no load of the machine makes a file look at rest.
const BEAT: Duration = Duration::from_secs(1);
/// Pieces of a slow file: it takes longer than [`SETTLE`] to be written.
const PIECES: usize = 6;
/// Every such file of a folder is a slow one.
const SLOW: usize = 10;
/// Slow files that stay open between their pieces; the others are opened for each.
const KEPT_OPEN: usize = 400;
const WRITERS: usize = 4;
/// Without a file for so long, none comes any more.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at what arrived.
const LOOK: Duration = Duration::from_millis(2);

/// How large a storm is.
#[derive(Clone, Copy, Debug)]
struct Form {
    folders: usize,
    files: usize,
}

impl Form {
    /// `NIGHTFERRY_STORM=1000x100`: folders, and files in each.
    fn of_environment() -> Self {
        let form = std::env::var("NIGHTFERRY_STORM").unwrap_or_else(|_| "40x50".to_owned());
        let (folders, files) = form.split_once('x').unwrap();
        Self { folders: folders.parse().unwrap(), files: files.parse().unwrap() }
    }

    fn total(self) -> usize {
        self.folders * self.files
    }
}

/// The path of a file below the source.
fn name_of(folder: usize, file: usize) -> String {
    format!("{}/{folder}/{file}.csv", folder % 10)
}

/// What belongs into the file of this path; nothing for a path that no file has.
fn content_of(path: &str) -> Option<Vec<u8>> {
    let mut parts = path.strip_suffix(".csv")?.split('/').skip(1);
    let (folder, file): (usize, usize) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(bytes((folder * 1_000_003 + file) as u64, 64 + (folder * 31 + file * 613) % 5_000))
}

/// A file of which a beginning is written.
struct Slow {
    path: PathBuf,
    open: Option<File>,
    content: Vec<u8>,
    pieces: usize,
    touched: Instant,
}

impl Slow {
    fn begin(path: PathBuf, content: Vec<u8>) -> Self {
        let mut slow = Self { path, open: None, content, pieces: 0, touched: Instant::now() };
        slow.write_piece(true);
        slow
    }

    fn write_piece(&mut self, close: bool) {
        let end = |pieces: usize| self.content.len() * pieces / PIECES;
        let piece = end(self.pieces)..end(self.pieces + 1);
        let mut file = self
            .open
            .take()
            .unwrap_or_else(|| OpenOptions::new().create(true).append(true).open(&self.path).unwrap());
        file.write_all(&self.content[piece]).unwrap();
        self.pieces += 1;
        let rested = self.touched.elapsed();
        assert!(rested < SETTLE, "the machine stood still for {rested:?}: this tells nothing");
        self.touched = Instant::now();
        self.open = (!close).then_some(file);
    }
}

/// Writes files as fast as the disk takes them, and hands on the slow ones once they are begun.
fn write_fast(source: &Path, writer: usize, form: Form, slow: &Sender<Slow>) {
    for folder in (writer..form.folders).step_by(WRITERS) {
        fs::create_dir_all(source.join(format!("{}/{folder}", folder % 10))).unwrap();
        for file in 0..form.files {
            let name = name_of(folder, file);
            let (path, content) = (source.join(&name), content_of(&name).unwrap());
            if file % SLOW == SLOW - 1 {
                slow.send(Slow::begin(path, content)).unwrap();
            } else {
                fs::write(path, content).unwrap();
            }
        }
    }
}

/// Goes on with the slow files, a piece at a time, until all are written.
fn write_slowly(begun: &Receiver<Slow>) {
    let mut files: Vec<Slow> = Vec::new();
    let mut is_open = true;
    while is_open || !files.is_empty() {
        let beat = Instant::now();
        while let Some(left) = BEAT.checked_sub(beat.elapsed()) {
            match begun.recv_timeout(left) {
                Ok(slow) => files.push(slow),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_open = false;
                    thread::sleep(left);
                }
            }
        }
        for (nth, slow) in files.iter_mut().enumerate() {
            slow.write_piece(nth >= KEPT_OPEN);
        }
        files.retain(|slow| slow.pieces < PIECES);
    }
}

/// The agent as a process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(agent: &Agent) -> Self {
        let mut child = agent.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let process = Self(child);
        assert!(log.any(|line| line.contains("The agent is ready.")), "the agent did not start");
        // A log that nobody reads would hold the agent up.
        thread::spawn(move || log.filter(|line| !line.contains("INFO")).for_each(|line| println!("{line}")));
        process
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }

    /// The most memory so far, in KiB, and the descriptors that are open now.
    fn takes(&self) -> (u64, usize) {
        let of = |name: &str| format!("/proc/{}/{name}", self.0.id());
        let status = fs::read_to_string(of("status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        (peak.trim().trim_end_matches(" kB").parse().unwrap(), fs::read_dir(of("fd")).unwrap().count())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// Each file arrives once and whole, and nothing is left to be done afterwards.
fn a_storm_crosses(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let form = Form::of_environment();
    let agent = Agent::new(&server, "storm");
    agent.configure_job(&format!("watch: {{settle: {}s}}", SETTLE.as_secs()));
    let owner = fs::metadata(&server.root).unwrap();
    fs::create_dir(&agent.arrivals).unwrap();
    chown(&agent.arrivals, Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut sight = Sight::of(&agent.arrivals);
    let process = Process::start(&agent);

    let began = Instant::now();
    let (sender, slow) = channel();
    let source = agent.source();
    let mut most_open = 0;
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (sender, source) = (sender.clone(), &source);
            scope.spawn(move || write_fast(source, writer, form, &sender));
        }
        drop(sender);
        scope.spawn(move || {
            write_slowly(&slow);
            println!("all were written after {:?}", began.elapsed());
        });
        let mut last = (0, Instant::now());
        while sight.seen() < form.total() {
            sight.look(content_of);
            if sight.seen() > last.0 {
                last = (sight.seen(), Instant::now());
            }
            most_open = most_open.max(process.takes().1);
            let waits = last.1.elapsed();
            assert!(waits < PATIENCE, "{} of {} have come; {:?}", last.0, form.total(), sight.faults);
            thread::sleep(LOOK);
        }
    });
    println!("all had arrived after {:?}", began.elapsed());
    // The agent does this one, after all that it has begun.
    let counts = agent.sync().done().counts;
    assert_eq!((counts.delivered, counts.waiting), (0, 0), "{counts:?}");
    sight.look(content_of);
    let (peak, open) = process.takes();
    println!("{peak} KiB at most; descriptors: {most_open} at most, {open} at last");
    process.end();
    assert!(sight.faults.is_empty(), "{} faults: {:?}", sight.faults.len(), sight.faults.first());
    assert_eq!(sight.seen(), form.total());
    assert_same_tree(&agent.source(), &agent.arrivals);
}

#[test]
fn a_storm_of_files_in_new_folders_crosses_to_pure_ftpd() {
    a_storm_crosses("pureftpd");
}

#[test]
fn a_storm_of_files_in_new_folders_crosses_to_vsftpd() {
    a_storm_crosses("vsftpd");
}
