//! What the agent says of itself and its jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::RunEntry;
use crate::domain::{
    AuditKind, FailedFile, FailureClass, JobName, RelPath, RunId, RunReport, Scope, Server, ServerName,
    Timestamp, Triggers, WaitCause,
};
use crate::observe::{Alert, AlertKey, AlertKind, Snapshot};
use crate::remote::Profile;

/// What the agent says of itself and its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's process. `None` where no agent runs and the ledger alone tells.
    pub process: Option<u32>,
    /// Its version.
    pub version: String,
    /// The time zone of times that are no job's, and of jobs that have none.
    #[serde(default)]
    pub zone: Option<String>,
    /// When it began.
    pub since: Option<Timestamp>,
    /// Why the last configuration that it was to take was refused, where it goes on with an older one.
    pub refused_configuration: Option<String>,
    /// Whether it can begin runs.
    #[serde(default)]
    pub readiness: Readiness,
    /// The jobs by name.
    pub jobs: Vec<JobStatus>,
    /// The servers of these jobs by name.
    #[serde(default)]
    pub servers: Vec<ServerStatus>,
    /// What is wrong now and people are told of.
    #[serde(default)]
    pub alerts: Vec<AlertStatus>,
}

/// Whether runs can begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// They can.
    #[default]
    Ready,
    /// The agent is stopping.
    Stopping,
    /// Nothing can be recorded, until the state can be opened anew.
    CannotRecord,
    /// No agent runs.
    NoAgent,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub server: ServerName,
    /// Until when the certificate is good that it showed last. `None` where none was seen yet, or its
    /// dates do not matter because its key alone is trusted.
    pub certificate_expires: Option<Timestamp>,
    /// Until when our own certificate is good that the server is shown, if it is shown one.
    #[serde(default)]
    pub client_certificate_expires: Option<Timestamp>,
}

impl ServerStatus {
    /// What the profiles know of a server, and until when the certificate is good that it is shown.
    pub fn of(server: &Server, profile: Profile, own: Option<Timestamp>) -> Self {
        Self {
            server: server.name.clone(),
            certificate_expires: profile.certificate_good_until(server),
            client_certificate_expires: own,
        }
    }
}

/// Whole days until something expires; negative once it has.
pub fn days_left(expires: Timestamp, now: Timestamp) -> i64 {
    const NANOS_A_DAY: i64 = 86_400 * 1_000_000_000;
    expires.nanos_since(now).div_euclid(NANOS_A_DAY)
}

/// A file that is not sent yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The file as shown to people.
    pub name: String,
    /// When it changed last.
    pub since: Timestamp,
    /// What it waits for.
    pub cause: WaitCause,
}

impl Waiting {
    /// The oldest file that waits, as far as is known after a run over a part of the source ended now.
    pub(super) fn after(
        before: Option<Self>,
        report: &RunReport,
        scope: &Scope,
        now: Timestamp,
    ) -> Option<Self> {
        let found = report.oldest_waiting.as_ref().map(|file| Self {
            name: file.name.clone(),
            since: now.minus(Duration::from_millis(file.age_ms)),
            cause: file.cause.clone(),
        });
        // A run that did not come to its end has not seen all.
        let looked_at = |name: &str| {
            report.stopped.is_none()
                && RelPath::new(name).map_or(*scope == Scope::All, |path| scope.covers(&path))
        };
        let elsewhere = before.filter(|before| !looked_at(&before.name));
        elsewhere.into_iter().chain(found).min_by_key(|waiting| waiting.since)
    }
}

impl Status {
    /// The same without names of files, and without texts in which they may stand.
    #[must_use]
    pub fn without_file_names(mut self) -> Self {
        self.refused_configuration =
            self.refused_configuration.map(|_| "the agent's log, and `nightferry check`, say why".to_owned());
        for alert in &mut self.alerts {
            alert.cause.clone_from(&alert.nameless);
        }
        for job in &mut self.jobs {
            job.watch = None;
            if let Some(waiting) = &mut job.oldest_waiting {
                NOT_SHOWN.clone_into(&mut waiting.name);
                if let WaitCause::NoMarker { marker } = &mut waiting.cause {
                    NOT_SHOWN.clone_into(marker);
                }
            }
            let in_last = job.last.iter_mut().flat_map(|last| &mut last.failed);
            for file in in_last.chain(&mut job.failing) {
                NOT_SHOWN.clone_into(&mut file.name);
                general(file.failure.class).clone_into(&mut file.failure.cause);
            }
            if let Some(stopped) = job.last.as_mut().and_then(|last| last.stopped.as_mut()) {
                general(stopped.class).clone_into(&mut stopped.cause);
            }
        }
        self
    }
}

/// Stands for the name of a file.
const NOT_SHOWN: &str = "(a file)";

/// What kind of trouble it was, where the cause is not shown.
const fn general(class: FailureClass) -> &'static str {
    match class {
        FailureClass::File => "the file could not be read or was not taken",
        FailureClass::Source => {
            "the source is missing or could not be read to its end, or a guard stopped deletions"
        }
        FailureClass::Temporary => "the network or the server, for now",
        FailureClass::Verification => "what the server stored is not what was sent",
        FailureClass::Refused => "the server refused for good: login, quota or permission",
        FailureClass::Trust => "the server's certificate is not trusted, or TLS failed",
        FailureClass::Deadline => "it took longer than it may",
        FailureClass::Interrupted => "a signal asked to stop",
        FailureClass::Other => "the machine's own disk or system",
    }
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
    /// Whether its job is parked: it waits for room on the server.
    #[serde(default)]
    pub is_parked: bool,
    /// What is the matter.
    pub cause: String,
    /// The same without names of files; known where the alert is.
    #[serde(skip)]
    pub nameless: String,
}

impl AlertStatus {
    /// Whether it is about a run, and the job's last run tells of it by itself. One over changed folders may
    /// have ended well since.
    pub fn is_told_by(&self, last: Option<&RunEntry>) -> bool {
        self.kind == AlertKind::Run && last.is_some_and(|last| !last.is_well())
    }

    /// Whether it is about this job, and is not told by its last run.
    pub fn concerns(&self, job: &JobStatus) -> bool {
        self.job.as_ref() == Some(&job.job) && !self.is_told_by(job.last.as_ref())
    }
}

impl From<Alert> for AlertStatus {
    fn from(alert: Alert) -> Self {
        let kind = alert.key.kind();
        let (job, server) = match alert.key {
            AlertKey::Job(job, _) => (Some(job), None),
            AlertKey::Certificate(server) | AlertKey::ClientCertificate(server) => (None, Some(server)),
        };
        let (cause, nameless) = (alert.cause.told, alert.cause.withheld);
        Self { kind, job, server, since: alert.since, is_parked: alert.is_parked, cause, nameless }
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
    /// The time zone of its times, where one is named or its schedule needs one.
    pub zone: Option<String>,
    /// When it runs next by itself.
    pub next_run: Option<Timestamp>,
    /// When what failed is tried again.
    pub next_try: Option<Timestamp>,
    /// Whether it runs as files appear in its source.
    #[serde(default)]
    pub is_watched: bool,
    /// How its source is watched; `None` where it is not, or has not been looked at yet.
    pub watch: Option<String>,
    /// What one more run is remembered for.
    pub remembered: Triggers,
    /// Its last run, as far as the ledger has been read.
    pub last: Option<RunEntry>,
    /// When a run last ended well.
    pub last_well: Option<Timestamp>,
    /// When all that it delivered was last held against the server, and there was something.
    #[serde(default)]
    pub last_verified: Option<Timestamp>,
    /// When the agent does so next, or did not come to it yet.
    #[serde(default)]
    pub next_verify: Option<Timestamp>,
    /// By when files are expected next.
    #[serde(default)]
    pub expected_by: Option<Timestamp>,
    /// The first of the files that failed in the last run.
    pub failing: Vec<FailedFile>,
    /// The file that has waited longest for being written to its end, or for its marker.
    #[serde(default)]
    pub oldest_waiting: Option<Waiting>,
}

impl JobStatus {
    /// When it runs next where no clock says it.
    pub const fn next_without_clock(&self) -> &'static str {
        if self.is_watched { "as files appear" } else { "when asked" }
    }
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
    /// What it does, where that is not delivery.
    #[serde(default)]
    pub audit: Option<AuditKind>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Depth, Folders, WaitingFile};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0)
    }

    fn report(file: Option<(&str, u64)>) -> RunReport {
        let mut report = RunReport::new(RunId(1), "j".parse().unwrap());
        if let Some((name, age_ms)) = file {
            let cause = WaitCause::NoMarker { marker: "m".into() };
            report.add_waiting(WaitingFile { name: name.into(), age_ms, cause });
        }
        report
    }

    #[test]
    fn the_oldest_waiting_file_stays_until_a_run_has_looked_at_it() {
        let folder = |path: &str| {
            let mut folders = Folders::default();
            folders.add(Some(RelPath::new(path).unwrap()), Depth::Itself);
            Scope::Folders(folders)
        };
        let name = |waiting: &Option<Waiting>| waiting.as_ref().map(|waiting| waiting.name.clone());
        let old = Waiting::after(None, &report(Some(("a/old", 60_000))), &Scope::All, at(100));
        assert_eq!(old.as_ref().map(|old| old.since), Some(at(40)));
        let other = Waiting::after(old.clone(), &report(Some(("b/new", 1_000))), &folder("b"), at(110));
        assert_eq!(name(&other).as_deref(), Some("a/old"));
        let gone = Waiting::after(other, &report(None), &folder("a"), at(120));
        assert_eq!(gone, None);
        let mut cut = report(None);
        cut.stopped = Some(crate::domain::Failure::new(FailureClass::Temporary, "x"));
        assert_eq!(Waiting::after(old.clone(), &cut, &Scope::All, at(130)), old);
        assert_eq!(
            name(&Waiting::after(old, &report(Some(("b", 1))), &Scope::All, at(130))).as_deref(),
            Some("b")
        );
    }

    #[test]
    fn a_certificates_days_are_whole_ones() {
        let now = at(1_000_000);
        for (seconds, days) in
            [(1_000_000 + 86_399, 0), (1_000_000 + 86_400, 1), (999_999, -1), (1_000_000, 0)]
        {
            assert_eq!(days_left(at(seconds), now), days, "{seconds}");
        }
    }
}
