//! What can happen to a job: in its source, on its server, and to its runs.

use std::time::Duration;

use ftps_server::{Action, Cut, Dialect, Fault, Moment};
use proptest::prelude::*;

use crate::domain::{AfterDelivery, Deletes, Mode, Overwrite, RemoteDelete};
use crate::state::tests::sim::Survival;

/// Names of files. None of them is a folder of another.
pub(super) const PATHS: [&str; 5] = ["a", "b.csv", "d/a", "d/b", "d/e/c"];
/// The folder that some of them are in.
pub(super) const FOLDER: &str = "d";
/// Sizes of files, in bytes: the last is above [`RESUME_FROM`].
pub(super) const SIZES: [usize; 3] = [8, 40, 90_000];
/// From how many bytes on uploads are resumed.
pub(super) const RESUME_FROM: u64 = 60_000;
/// Most steps of a case.
const MOST_STEPS: usize = 20;

/// How a job is configured.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) mode: Mode,
    pub(super) overwrite: Overwrite,
    pub(super) remote: RemoteDelete,
    pub(super) after: AfterDelivery,
    pub(super) consumer: Consumer,
    pub(super) server: Plays,
    pub(super) sessions: u16,
}

/// Who takes files away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    /// Somebody, when a step says so.
    Now,
    /// Somebody, as soon as a file has its final name.
    AtOnce,
}

/// Whom the server plays.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plays {
    /// One that hashes.
    Full,
    /// One from which files are read back.
    Vsftpd,
}

/// Which times a file has after it was written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    /// The time of day.
    New,
    /// Those that it had before.
    Kept,
}

/// A step of a case; files by their place in [`PATHS`].
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A file is written: new, or in the place of what was there.
    Write { path: usize, size: usize },
    /// A file gets other bytes of the same number.
    Edit { path: usize, times: Times },
    /// A file's time changes, and nothing else.
    Touch { path: usize },
    /// A file gets another name, in the place of what had it.
    Rename { from: usize, to: usize },
    /// A file is deleted.
    Delete { path: usize },
    /// An empty folder is made.
    MakeFolder,
    /// The folder with some files is deleted.
    RemoveFolder,
    /// The consumer takes what is ours.
    Take,
    /// Somebody else writes a file on the server.
    Stranger { path: usize },
    /// The agent is stopped and started.
    Restart,
    /// The job is run.
    Sync { cut: Option<Cutting>, crash: Option<Crash> },
}

/// How connections are cut during a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cutting {
    /// The control connection, at such a command.
    Control { command: u64, moment: Moment },
    /// The control connection, at such a rename.
    Rename { rename: u64, moment: Moment },
    /// The data connection of such an upload, after so many bytes.
    Data { upload: u64, after: u64 },
}

/// How a run ends before its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub(super) when: When,
    pub(super) fate: Fate,
}

/// When a process dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Before it changes something on its disk, after so many changes.
    Change(u64),
    /// When it tells of something, after so many tellings.
    Event(u64),
}

/// What it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// All that it wrote.
    Killed,
    /// What was synced, and some of the rest; no manifest.
    PowerCut(Survival),
}

impl Cutting {
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Control { command, moment } => Fault::on_any(Action::DropControl(moment)).nth(command),
            Self::Rename { rename, moment } => Fault::on("RNTO", Action::DropControl(moment)).nth(rename),
            Self::Data { upload, after } => {
                Fault::on("STOR", Action::DropData { after, cut: Cut::Reset }).nth(upload)
            }
        }
    }
}

impl Policy {
    pub(super) fn dialect(&self) -> Dialect {
        match self.server {
            Plays::Full => Dialect::full(),
            Plays::Vsftpd => Dialect::vsftpd(),
        }
    }

    /// Whatever is missing may go: the limits have tests of their own.
    pub(super) fn deletes(&self) -> Deletes {
        Deletes { remote: self.remote, max_percent: 100, ..Deletes::default() }
    }
}

/// How long a server may take to notice that its client is gone.
pub(super) const SERVER_NOTICES: Duration = Duration::from_secs(10);

pub(super) fn mirrors() -> impl Strategy<Value = Policy> {
    let remote = prop_oneof![Just(RemoteDelete::Keep), Just(RemoteDelete::Trash), Just(RemoteDelete::Delete)];
    (overwrites(), remote, servers(), 1..=2_u16).prop_map(|(overwrite, remote, server, sessions)| Policy {
        mode: Mode::Mirror,
        overwrite,
        remote,
        after: AfterDelivery::Keep,
        consumer: Consumer::Now,
        server,
        sessions,
    })
}

pub(super) fn drops() -> impl Strategy<Value = Policy> {
    let after = prop_oneof![Just(AfterDelivery::Keep), Just(AfterDelivery::Delete)];
    let consumer = prop_oneof![Just(Consumer::Now), Just(Consumer::AtOnce)];
    let parts = (overwrites(), after, consumer, servers(), 1..=2_u16);
    parts.prop_map(|(overwrite, after, consumer, server, sessions)| Policy {
        mode: Mode::Drop,
        overwrite,
        remote: RemoteDelete::Keep,
        after,
        consumer,
        server,
        sessions,
    })
}

fn overwrites() -> impl Strategy<Value = Overwrite> {
    prop_oneof![Just(Overwrite::Refuse), Just(Overwrite::Replace)]
}

fn servers() -> impl Strategy<Value = Plays> {
    prop_oneof![3 => Just(Plays::Full), 1 => Just(Plays::Vsftpd)]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || 0..PATHS.len();
    let times = prop_oneof![Just(Times::New), Just(Times::Kept)];
    let step = prop_oneof![
        5 => (path(), 0..SIZES.len()).prop_map(|(path, size)| Step::Write { path, size }),
        2 => (path(), times).prop_map(|(path, times)| Step::Edit { path, times }),
        1 => path().prop_map(|path| Step::Touch { path }),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => path().prop_map(|path| Step::Delete { path }),
        1 => prop_oneof![Just(Step::MakeFolder), Just(Step::RemoveFolder)],
        2 => Just(Step::Take),
        1 => path().prop_map(|path| Step::Stranger { path }),
        1 => Just(Step::Restart),
        8 => (proptest::option::of(cuts()), proptest::option::of(crashes()))
            .prop_map(|(cut, crash)| Step::Sync { cut, crash }),
    ];
    proptest::collection::vec(step, 1..=MOST_STEPS)
}

fn cuts() -> impl Strategy<Value = Cutting> {
    let moment = || prop_oneof![Just(Moment::Before), Just(Moment::Unanswered), Just(Moment::Answered)];
    let rename = (1..4_u64, moment()).prop_map(|(rename, moment)| Cutting::Rename { rename, moment });
    let control = (1..60_u64, moment()).prop_map(|(command, moment)| Cutting::Control { command, moment });
    let data = (1..4_u64, 0..80_000_u64).prop_map(|(upload, after)| Cutting::Data { upload, after });
    prop_oneof![4 => control, 2 => rename, 1 => data]
}

fn crashes() -> impl Strategy<Value = Crash> {
    let when = prop_oneof![(0..25_u64).prop_map(When::Change), (0..20_u64).prop_map(When::Event)];
    let survival = (0..Survival::ALL.len()).prop_map(|at| Survival::ALL[at]);
    let fate = prop_oneof![Just(Fate::Killed), survival.prop_map(Fate::PowerCut)];
    (when, fate).prop_map(|(when, fate)| Crash { when, fate })
}
