//! The configuration file: YAML to the values of [`domain`](crate::domain), and secrets by
//! reference.
//!
//! One pass of a YAML event parser (`saphyr-parser`) makes a tree in which every node knows its
//! line and column, and refuses what is dangerous or ambiguous. Typed accessors walk it and
//! collect every problem with its place and remedy. `serde_yaml` says which type a value has and
//! reads it. Deserialising the whole file into structs would end at the first problem, would lose
//! the positions, and would take the last of two jobs with one name.
//!
//! Only this module names the two YAML crates. It does not know the network or the state.

mod agent;
mod bandwidth;
mod error;
mod file;
mod job;
mod ledger;
mod nearest;
mod network;
mod notify;
mod problem;
mod schema;
pub mod secret;
mod section;
mod server;
mod status;
mod tree;
mod triggers;
mod watching;
mod zone;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::problem::Collector;
use self::section::{Keys, Later, Section, Value};
use crate::domain::{Job, JobName, Notify, Server, ServerName, Zone};

pub use self::error::ConfigError;
pub use self::nearest::nearest;
pub use self::problem::{Position, Problem, Problems};
pub use self::schema::SCHEMA;

/// What a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file, absolute.
    pub path: PathBuf,
    /// What concerns the agent itself.
    pub agent: AgentConfig,
    /// How the ledger is kept.
    pub ledger: LedgerConfig,
    /// The servers by name.
    pub servers: BTreeMap<ServerName, Server>,
    /// The jobs by name; at least one. Each one's server is in `servers`.
    pub jobs: BTreeMap<JobName, Job>,
}

/// What concerns the agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The folder of ledger and manifest, absolute. Need not exist yet.
    pub state_dir: PathBuf,
    /// In which times are shown that are no job's: the one that the file names for jobs that name none, else the
    /// system's; UTC where that has no name.
    pub zone: Zone,
    /// What the agent that runs as a service logs.
    pub log: LogConfig,
    /// The page on which it tells how it is; none where it is `None`.
    pub status: Option<StatusPage>,
    /// Where metrics are written for `node_exporter`, absolute.
    pub metrics_file: Option<PathBuf>,
    /// Who is told of all jobs, and of the servers.
    pub notify: Vec<Notify>,
}

/// The page on which the agent tells how it is, over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Where it listens.
    pub address: SocketAddr,
    /// The names by which it may be asked for, besides `localhost` and addresses; in small letters.
    pub hosts: Vec<String>,
    /// Whether names of files stand on it.
    pub file_names: FileNames,
}

/// Whether names of files, and causes in which they may stand, are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNames {
    /// They are.
    Shown,
    /// They are counted alone.
    Hidden,
}

/// What the agent that runs as a service logs, to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines are written.
    pub format: LogFormat,
    /// The least that matters.
    pub level: LogLevel,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Sentences with fields behind them.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// The unexpected too.
    Warn,
    /// Starts and ends of runs too.
    #[default]
    Info,
    /// Each file, and what happens on the wire, too.
    Debug,
}

/// How the ledger is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// How long records are kept at least.
    pub retain: Duration,
}

/// Reads a configuration file and checks all that can be known from the file alone.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let bytes = file::read(path)?;
    let default_state_dir = agent::default_state_dir(|name| std::env::var_os(name));
    let config = parse(&bytes, &real(&absolute).map_err(unreadable)?, default_state_dir)
        .map_err(|problems| ConfigError::Invalid(Problems::new(path.to_owned(), problems)))?;
    Ok(Config { path: absolute, ..config })
}

/// The same for one file however its folder is named: by its source, which may begin there, a job's deliveries are
/// known again. The file itself may be a link, as orchestrators make them.
fn real(file: &Path) -> io::Result<PathBuf> {
    Ok(match (file.parent(), file.file_name()) {
        (Some(folder), Some(name)) => folder.canonicalize()?.join(name),
        _ => file.to_owned(),
    })
}

/// Versions of the file's format that this build reads.
const VERSION: u16 = 1;

const KEYS: Keys = Keys {
    known: &["version", "agent", "ledger", "servers", "jobs"],
    later: &[
        Later { key: "notify", instead: "it stands below `agent`, or below a job" },
        Later { key: "defaults", instead: "take it out, and write its keys into each job" },
    ],
};

const VERSION_REMEDY: &str = "begin the file with `version: 1`";

fn parse(bytes: &[u8], path: &Path, default_state_dir: Option<PathBuf>) -> Result<Config, Vec<Problem>> {
    let problems = Collector::default();
    let config = file::text(bytes, &problems)
        .and_then(|text| tree::parse(text, &problems))
        .and_then(|root| config(&root, path, default_state_dir, &problems));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems.into_problems()),
    }
}

fn config(
    root: &tree::Node,
    path: &Path,
    default_state_dir: Option<PathBuf>,
    problems: &Collector,
) -> Option<Config> {
    let root = Value::root(root, problems);
    let folder = path.parent().unwrap_or(path);
    let root = Section::new(&root, &KEYS)?;
    version(&root)?;
    let zone = agent::zone(&root);
    let agent = agent::read(&root, folder, default_state_dir, zone.flatten());
    let ledger = ledger::read(&root);
    // One that is wrong was told: with another in its place, the rest is looked at as well.
    let zone = zone.unwrap_or(Some(Zone::UTC));
    let servers = server::read_all(&root, folder, zone);
    let jobs = job::read_all(&root, Surroundings { folder, servers: &servers, zone });
    Some(Config { path: path.to_owned(), agent: agent?, ledger: ledger?, servers: servers.read, jobs })
}

/// What a job is read in.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    /// The folder of the file.
    folder: &'a Path,
    servers: &'a server::Servers,
    /// The zone of jobs that name none, where the file names it.
    zone: Option<Zone>,
}

/// Files of another version are not looked into: their keys mean other things. A value that is no version tells of
/// none: such a file is read on, so that its other mistakes are told as well.
fn version(root: &Section<'_>) -> Option<()> {
    let Some(version) = root.required("version", VERSION_REMEDY) else { return Some(()) };
    let Some(number) = version.number(1..=u16::MAX) else { return Some(()) };
    if number != VERSION {
        let reason = format!("version {number} is not known; this build reads version {VERSION}");
        version.place.refuse(reason, "install a newer Nightferry, or write the file for version 1");
        return None;
    }
    Some(())
}

/// A path in the file, made absolute: relative ones begin at the file's folder.
fn path_below(folder: &Path, value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    let reason = match text.chars().next() {
        None => "expected a path, found an empty text",
        Some('~') => "`~` is not replaced by a home folder",
        Some(_) if text.contains(char::is_control) => "a path with control characters is not taken",
        // Collecting the parts takes off doubled and trailing slashes.
        Some(_) => return Some(folder.join(text).components().collect()),
    };
    value.place.refuse(reason, "write the full path, or one that begins at the folder of this file");
    None
}

#[cfg(test)]
mod tests;
