//! One job from its first file to its last, struck again and again on the way.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::dice::Dice;
use super::journal::{Journal, Source};
use super::line::Line;
use super::office::{Office, Pace};
use super::plot::{Blow, Moment, Tally, draw};
use super::verdict;
use super::watch::{Step, Watch};
use crate::lab::Server;
use crate::support::Agent;

/// What the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    DropKeep,
    DropDelete,
    DropMove,
    MirrorKeep,
    MirrorTrash,
    MirrorDelete,
    /// A mirror of a file that is large enough for its upload to be gone on with.
    Large,
}

impl Kind {
    /// In the order in which campaigns have their turn.
    pub(super) const ALL: [Self; 6] = [
        Self::DropDelete,
        Self::MirrorTrash,
        Self::DropKeep,
        Self::MirrorDelete,
        Self::DropMove,
        Self::MirrorKeep,
    ];

    pub(super) fn has_sidecars(self) -> bool {
        matches!(self, Self::MirrorKeep | Self::MirrorTrash)
    }

    fn is_drop(self) -> bool {
        matches!(self, Self::DropKeep | Self::DropDelete | Self::DropMove)
    }

    fn can_come(self, step: Step) -> bool {
        match step {
            Step::Retiring | Step::Retired => matches!(self, Self::DropDelete | Self::DropMove),
            Step::Trashing => self == Self::MirrorTrash,
            Step::Removed | Step::FinalVanishes => matches!(self, Self::MirrorTrash | Self::MirrorDelete),
            Step::Presumed => self.is_drop(),
            Step::SidecarChanges | Step::SidecarAppears => self.has_sidecars(),
            Step::TemporaryGrows => self == Self::Large,
            Step::Confirmed => !matches!(self, Self::DropDelete | Self::DropMove),
            _ => true,
        }
    }
}

/// Files of others in the destination: a report, and what looks like another agent's and another
/// job's temporary file.
pub(super) const STRANGERS: [(&str, &str); 3] = [
    ("theirs.csv", "not ours"),
    (".nf-00000001-00000002-0123456789abcdef", "another agent's"),
    ("a/.nf-notes.txt", "a person's"),
];

/// Folders of the source; the last one is not on the server at first.
const FOLDERS: [&str; 4] = ["", "a/", "a/deep/", "late/"];
/// What some jobs have besides.
const SIDECARS: &str = "sidecars: [sha256, done]";
const WATCHED: [&str; 3] = ["", "a", "a/deep"];

/// No run of a handful of files takes longer, on whatever machine.
const RUN_LIMIT: Duration = Duration::from_mins(2);
/// How soon the office takes what stands there.
const OFFICE_LIMIT: Duration = Duration::from_secs(30);
/// Runs that nothing disturbs until the job must be done.
const LAST_RUNS: u32 = 8;
/// Between two looks at what happens.
const LOOK: Duration = Duration::from_micros(400);
/// From this size on an interrupted upload is gone on with.
const LARGE: usize = 65 << 20;

/// A campaign.
pub(super) struct Campaign {
    kind: Kind,
    dice: Dice,
    server: Server,
    agent: Agent,
    journal: Journal,
    source: Source,
    moved: PathBuf,
    office: Office,
    watch: Watch,
    line: Line,
    tally: Tally,
    /// What happened, for people.
    story: Vec<String>,
    faults: Vec<String>,
}

/// How a run came to its end.
enum Ended {
    Struck,
    ByItself(ExitStatus),
}

impl Campaign {
    pub(super) fn new(kind: Kind, server: &Server, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let line = Line::to(server);
        let destination = format!("kill-{seed:016x}");
        let agent = Agent::through(line.port, server, &destination);
        if dice.one_in(3) {
            agent.one_connection();
        }
        let moved = agent.other_folder("moved");
        let deletes =
            |remote: &str| format!("delete: {{remote: {remote}, max_percent: 100, max_files: 60000}}");
        let lines = match kind {
            Kind::DropKeep => vec!["mode: drop".to_owned()],
            Kind::DropDelete => vec!["mode: drop".to_owned(), "after_delivery: delete".to_owned()],
            Kind::DropMove => {
                vec!["mode: drop".to_owned(), format!("after_delivery: {{move_to: {}}}", moved.display())]
            }
            Kind::Large => vec![],
            Kind::MirrorKeep => vec![SIDECARS.to_owned()],
            Kind::MirrorTrash => vec![SIDECARS.to_owned(), deletes("trash")],
            Kind::MirrorDelete => vec![deletes("delete")],
        };
        for line in &lines {
            agent.configure_job(line);
        }
        let cellar = server.root.join(format!("{destination}-taken"));
        // A test that was stopped leaves them, and the seed that is repeated finds them.
        for folder in [&agent.arrivals, &cellar] {
            assert!(!folder.exists() || fs::remove_dir_all(folder).is_ok(), "{}", folder.display());
        }
        let owner = fs::metadata(&server.root).unwrap();
        let folders: Vec<PathBuf> = WATCHED.iter().map(|folder| agent.arrivals.join(folder)).collect();
        for folder in &folders {
            fs::create_dir(folder).unwrap();
            chown(folder, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        for (name, content) in STRANGERS {
            fs::write(agent.arrivals.join(name), content).unwrap();
        }
        let journal = Journal::default();
        let strangers = STRANGERS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let office = Office::open(&agent.arrivals, cellar, journal.clone(), strangers);
        let ledger = agent.other_folder("state").join("ledger/000001.jsonl");
        let watch = Watch::begin(&agent.arrivals, &folders, ledger, journal.clone());
        let source = Source::new(agent.source(), agent.other_folder("desk"), journal.clone());
        let (tally, story, faults) = (Tally::default(), Vec::new(), Vec::new());
        let server = server.clone();
        Self { kind, dice, server, agent, journal, source, moved, office, watch, line, tally, story, faults }
    }

    /// Strikes so many times with SIGKILL, lets the job come to its end, and holds everything
    /// against the journal. The error tells what was wrong, and the story of it.
    pub(super) fn fight(mut self, kills: u64) -> Result<Tally, String> {
        self.source.write("anchor.pdf", 1, 3_000);
        // A run that ends before its blow is none: some moments do not come.
        let most_runs = kills * 4;
        while self.tally.kills < kills && self.tally.runs < most_runs && self.faults.is_empty() {
            self.strike();
        }
        if self.faults.is_empty() {
            self.end();
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.append(&mut self.watch.faults);
        if faults.is_empty() {
            self.tally.files = self.source.written();
            self.tally.presumed = self.watch.claims.iter().filter(|claim| claim.presumed).count() as u64;
            return Ok(self.tally);
        }
        let faults = faults.join("\n");
        let records = self.watch.history.iter().filter(|(path, _)| faults.contains(path.as_str()));
        let records: Vec<_> = records.map(|(_, record)| record.as_str()).collect();
        Err(format!("{faults}\n\n{}\n\n{}", self.story.join("\n"), records.join("\n")))
    }

    /// One run, and what befalls it.
    fn strike(&mut self) {
        self.change_source();
        if self.kind.is_drop() {
            let pace = self.dice.pick(&[Pace::Eager, Pace::Eager, Pace::Slow, Pace::Away]);
            self.office.set_pace(pace);
        }
        let latency = self.dice.pick(&[0, 0, 1, 3]);
        self.line.set_latency(Duration::from_millis(latency));
        let kind = self.kind;
        let (moment, blow) = draw(&mut self.dice, |step| kind.can_come(step));
        let mut child = self.start();
        let ended = self.follow(&mut child, moment);
        self.tally.runs += 1;
        let Ended::Struck = ended else {
            let Ended::ByItself(status) = ended else { return };
            self.story.push(format!("run {}: {moment:?} did not come; {status}", self.tally.runs));
            self.check_code(status);
            return;
        };
        self.tally.count(moment, blow);
        let process = Pid::from_child(&child);
        match blow {
            Blow::Kill => child.kill().unwrap(),
            Blow::Terminate => kill_process(process, Signal::TERM).unwrap(),
            Blow::Interrupt => kill_process(process, Signal::INT).unwrap(),
            Blow::Cut => self.line.cut(),
            Blow::Restart => self.server.restart(),
        }
        let status = if blow == Blow::Kill { child.wait().unwrap() } else { self.wait(&mut child) };
        self.story.push(format!("run {}: {blow:?} at {moment:?}, {latency} ms: {status}", self.tally.runs));
        if blow != Blow::Kill {
            self.check_code(status);
        }
        if self.kind.is_drop() {
            let taken = self.office.taken();
            let arrivals = &self.agent.arrivals;
            let gone = verdict::nothing_gone_undelivered(&self.source, &taken, arrivals, &self.journal);
            self.faults.extend(gone);
        }
    }

    /// Undisturbed runs until all is done, one more that has nothing to do, and the verdict.
    fn end(&mut self) {
        self.line.set_latency(Duration::ZERO);
        let mut done = false;
        for _ in 0..LAST_RUNS {
            if self.kind.is_drop() {
                self.office.empty(OFFICE_LIMIT);
            }
            if self.run_is_clean() {
                done = true;
                break;
            }
        }
        if !done {
            self.faults.push(format!("not done after {LAST_RUNS} undisturbed runs:\n{}", self.said()));
            return;
        }
        self.watch.look();
        let clean = self.run_is_clean();
        let idle = !self.watch.look().iter().any(|step| {
            matches!(step, Step::TemporaryAppears | Step::FinalAppears | Step::Delivered | Step::Presumed)
        });
        if !clean || !idle {
            self.faults.push("a run that has nothing to do did something".to_owned());
        }
        if self.kind.is_drop() {
            self.office.empty(OFFICE_LIMIT);
        }
        self.judge();
    }

    fn judge(&mut self) {
        let Self { kind, agent, journal, source, moved, office, watch, .. } = self;
        let (arrivals, mut faults) = (&agent.arrivals, Vec::new());
        if kind.is_drop() {
            let taken = office.taken();
            faults.extend(verdict::nothing_gone_undelivered(source, &taken, arrivals, journal));
            faults.extend(verdict::each_taken_once(journal, &taken));
            faults.extend(verdict::each_claimed_once(journal, &watch.claims));
        } else {
            faults.extend(verdict::mirror_is_true(*kind, journal, source, arrivals));
        }
        faults.extend(verdict::source_is_tidy(*kind, source, moved, &watch.claims));
        faults.extend(verdict::others_are_untouched(arrivals));
        faults.extend(verdict::chain_is_whole(&watch.ledger));
        // It must come to the same.
        let verified = agent.command(&["ledger", "verify"]).output().unwrap();
        if !verified.status.success() {
            faults.push(format!("the ledger is not whole: {}", String::from_utf8_lossy(&verified.stderr)));
        }
        self.faults.append(&mut faults);
    }

    /// New files and, where the job bears it, new versions, removals and touches.
    fn change_source(&mut self) {
        if self.kind == Kind::Large {
            if self.tally.runs.is_multiple_of(8) {
                let seed = self.dice.next();
                self.source.write("dump.tar", seed, LARGE);
            }
            return;
        }
        for _ in 0..=self.dice.below(4) {
            self.write_new();
        }
        let paths: Vec<String> =
            self.source.placed().keys().filter(|path| *path != "anchor.pdf").cloned().collect();
        for _ in 0..=self.dice.below(3) {
            let Some(path) = paths.get(self.dice.below(paths.len().max(1))) else { return };
            let (seed, size) = (self.dice.next(), self.size().max(1));
            match (self.kind, self.dice.below(3)) {
                (Kind::DropKeep, _) | (_, 0) => self.source.touch(path, seed),
                // A name is free again once its file was deleted or moved.
                (Kind::DropDelete | Kind::DropMove, _) => {
                    if !self.source.has(path) {
                        self.source.write(path, seed, size);
                    }
                }
                (_, 1) => self.source.write(path, seed, size),
                (_, _) if self.source.has(path) => self.source.remove(path),
                (_, _) => {}
            }
        }
    }

    fn write_new(&mut self) {
        let (folder, seed, size) = (self.dice.pick(&FOLDERS), self.dice.next(), self.size());
        let path = format!("{folder}report {:04}.csv", self.source.written());
        self.source.write(&path, seed, size);
    }

    /// Empty to some MiB, mostly small.
    fn size(&mut self) -> usize {
        match self.dice.below(12) {
            0 => 0,
            1..=7 => self.dice.below(5_000),
            8..=10 => self.dice.below(200_000),
            _ => self.dice.below(2 << 20),
        }
    }

    fn start(&self) -> Child {
        let output = |name| File::create(self.agent.other_folder(name)).unwrap();
        let mut command = self.agent.command(&["sync"]);
        command.stdout(output("stdout")).stderr(output("stderr")).spawn().unwrap()
    }

    /// Follows a run until the moment has come or it has ended.
    fn follow(&mut self, child: &mut Child, moment: Moment) -> Ended {
        let begun = Instant::now();
        let mut seen = 0;
        loop {
            let steps = self.watch.look();
            let come = match moment {
                Moment::At(wanted, nth) => {
                    seen += steps.iter().filter(|step| **step == wanted).count();
                    seen >= usize::try_from(nth).unwrap()
                }
                Moment::After(delay) => begun.elapsed() >= delay,
            };
            match child.try_wait().unwrap() {
                Some(status) => return Ended::ByItself(status),
                None if come => return Ended::Struck,
                None => {}
            }
            self.check_time(begun, child);
            thread::sleep(LOOK);
        }
    }

    fn wait(&mut self, child: &mut Child) -> ExitStatus {
        let begun = Instant::now();
        loop {
            self.watch.look();
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            self.check_time(begun, child);
            thread::sleep(LOOK);
        }
    }

    fn check_time(&mut self, begun: Instant, child: &mut Child) {
        if begun.elapsed() > RUN_LIMIT && child.try_wait().unwrap().is_none() {
            self.faults.push(format!("a run did not end within {RUN_LIMIT:?}:\n{}", self.said()));
            child.kill().unwrap();
        }
    }

    /// Done, files left for the next run, interrupted, or nothing worse than a lost connection. A
    /// signal that comes before anything has begun ends the process at once.
    fn check_code(&mut self, status: ExitStatus) {
        let signals = [Signal::INT, Signal::TERM].map(Signal::as_raw);
        let ended_early = status.signal().is_some_and(|signal| signals.contains(&signal));
        if !ended_early && !matches!(status.code(), Some(0 | 3 | 5 | 130)) {
            self.faults.push(format!("a run ended with {status}:\n{}", self.said()));
        }
    }

    /// Whether a run has nothing more to do; presumed files are for people to settle.
    fn run_is_clean(&mut self) -> bool {
        let mut child = self.start();
        let status = self.wait(&mut child);
        self.story.push(format!("undisturbed: {status}"));
        let counts = self.counts();
        let count = |name: &str| counts[name].as_u64().unwrap_or(u64::MAX);
        match status.code() {
            Some(0) => true,
            Some(3) => {
                self.kind.is_drop() && count("presumed") > 0 && count("failed") + count("not_reached") == 0
            }
            _ => false,
        }
    }

    /// What the last run counted; nothing where it did not come to its end.
    fn counts(&self) -> Value {
        let output = fs::read_to_string(self.agent.other_folder("stdout")).unwrap();
        let last = output.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        last.map(|line| line["report"]["counts"].clone()).unwrap_or_default()
    }

    /// What the last run said.
    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.agent.other_folder(name)).unwrap_or_default();
        let output = read("stdout");
        let lines: Vec<_> = output.lines().rev().take(12).collect();
        format!("{}\n{}", read("stderr"), lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}
