//! What the agent says of itself and its jobs.

use serde::{Deserialize, Serialize};

use super::history::RunEntry;
use crate::domain::{FailedFile, JobName, RunId, ServerName, Timestamp, Triggers};
use crate::observe::{Alert, AlertKey, AlertKind, Snapshot};

/// What the agent says of itself and its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's process. `None` where no agent runs and the ledger alone tells.
    pub process: Option<u32>,
    /// Its version.
    pub version: String,
    /// When it began.
    pub since: Option<Timestamp>,
    /// Why the last configuration that it was to take was refused, where it goes on with an older one.
    pub refused_configuration: Option<String>,
    /// The jobs by name.
    pub jobs: Vec<JobStatus>,
    /// What is wrong now and people are told of.
    #[serde(default)]
    pub alerts: Vec<AlertStatus>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// What it is about.
    pub kind: AlertKind,
    /// The job, if it is about one.
    pub job: Option<JobName>,
    /// The server, if it is about one.
    pub server: Option<ServerName>,
    /// Since when.
    pub since: Timestamp,
    /// What is the matter.
    pub cause: String,
}

impl From<Alert> for AlertStatus {
    fn from(alert: Alert) -> Self {
        let (job, server, kind) = match alert.key {
            AlertKey::Job(job, kind) => (Some(job), None, kind),
            AlertKey::Certificate(server) => (None, Some(server), AlertKind::Certificate),
        };
        Self { kind, job, server, since: alert.since, cause: alert.cause.told }
    }
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name.
    pub job: JobName,
    /// Its server.
    pub server: ServerName,
    /// What it does now.
    pub state: JobState,
    /// The time zone of its schedule.
    pub zone: Option<String>,
    /// When it runs next by itself.
    pub next_run: Option<Timestamp>,
    /// When what failed is tried again.
    pub next_try: Option<Timestamp>,
    /// How its source is watched; `None` where it is not, or has not been looked at yet.
    pub watch: Option<String>,
    /// What one more run is remembered for.
    pub remembered: Triggers,
    /// Its last run, as far as the ledger has been read.
    pub last: Option<RunEntry>,
    /// When a run last ended well.
    pub last_well: Option<Timestamp>,
    /// By when files are expected next.
    #[serde(default)]
    pub expected_by: Option<Timestamp>,
    /// Since when the oldest file that is not ready has not changed, as far as the last runs saw.
    #[serde(default)]
    pub waiting_since: Option<Timestamp>,
    /// Until when its server's certificate is good, as last seen.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
    /// The first of the files that failed in the last run.
    pub failing: Vec<FailedFile>,
}

/// What a job does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for its next trigger.
    Idle,
    /// It is to run, but not in these hours, or not before the state can be written again.
    Held,
    /// It runs.
    Running(RunStatus),
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Its number, once it is recorded.
    pub run: Option<RunId>,
    /// When it began.
    pub since: Timestamp,
    /// Why.
    pub triggers: Triggers,
    /// How far it is.
    pub progress: RunProgress,
}

/// How far a run is, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunProgress {
    /// Files with an outcome.
    pub files_done: u64,
    /// Files to be sent or read, as far as they are known.
    pub files_total: u64,
    /// Files that failed.
    pub files_failed: u64,
    /// Bytes that went out.
    pub bytes_done: u64,
    /// Bytes that are to go out, as far as they are known.
    pub bytes_total: u64,
    /// Bytes a second over the last seconds.
    pub rate: Option<u64>,
}

impl From<Snapshot> for RunProgress {
    fn from(now: Snapshot) -> Self {
        let Snapshot { files_done, files_total, files_failed, bytes_done, bytes_total, rate, .. } = now;
        Self { files_done, files_total, files_failed, bytes_done, bytes_total, rate }
    }
}
