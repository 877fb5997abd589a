//! The closed list of all that is counted or measured.

/// Something that is counted or measured. Labels never hold paths: the number of time series grows
/// with jobs and servers, not with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// The program, by its version: always 1.
    BuildInfo,
    /// When the agent began.
    AgentStart,
    /// Whether the agent can begin runs.
    AgentReady,
    /// Whether the last configuration was refused, so that an older one goes on.
    ConfigurationRefused,
    /// Whether a run of the job is under way.
    JobRunning,
    /// When the job runs next by itself.
    NextRun,
    /// When a run of the job last ended well.
    LastSuccess,
    /// When a run of the job last ended.
    LastRun,
    /// How long that run took.
    LastRunDuration,
    /// What a command would have ended with for it.
    LastRunExitCode,
    /// How many of its files failed.
    LastRunFailedFiles,
    /// Files that are not sent yet.
    WaitingFiles,
    /// How long ago the last change of the oldest of them is.
    OldestWaiting,
    /// When all that the job delivered was last held against the server.
    LastVerify,
    /// Files that were missing or changed there.
    Differing,
    /// Until when the certificate is good that the server showed last.
    CertificateExpiry,
    /// Until when our own certificate is good that the server is shown.
    ClientCertificateExpiry,
    /// Runs that ended.
    Runs,
    /// How long they took, together.
    RunDuration,
    /// Files, by what became of them.
    Files,
    /// Bytes, of delivered files and all that was sent.
    Bytes,
    /// Proofs.
    Proofs,
    /// Attempts that failed and were followed by another one.
    Retries,
    /// Files that failed in the end.
    FileFailures,
    /// Runs that a guard stopped before they deleted anything on the server.
    GuardTrips,
    /// How often the system lost events of a watched source.
    WatchOverflows,
    /// Scheduled times that were missed and not made up for.
    MissedRuns,
}

/// How a metric is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit at the end and `_total` behind that of counters, as
    /// <https://prometheus.io/docs/practices/naming/> asks.
    pub name: &'static str,
    /// What it says, in one line.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What one is.
    pub scale: Scale,
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins anew where its keeper does.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Kind {
    /// Its word in the text format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// What one of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// One of what the name says.
    One,
    /// A thousandth of it.
    Thousandth,
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 27] = [
        Self::BuildInfo,
        Self::AgentStart,
        Self::AgentReady,
        Self::ConfigurationRefused,
        Self::JobRunning,
        Self::NextRun,
        Self::LastSuccess,
        Self::LastRun,
        Self::LastRunDuration,
        Self::LastRunExitCode,
        Self::LastRunFailedFiles,
        Self::WaitingFiles,
        Self::OldestWaiting,
        Self::LastVerify,
        Self::Differing,
        Self::CertificateExpiry,
        Self::ClientCertificateExpiry,
        Self::Runs,
        Self::RunDuration,
        Self::Files,
        Self::Bytes,
        Self::Proofs,
        Self::Retries,
        Self::FileFailures,
        Self::GuardTrips,
        Self::WatchOverflows,
        Self::MissedRuns,
    ];

    /// Whether the server or job label comes first, so that it goes when the job does.
    pub fn is_of_job(self) -> bool {
        self.family().labels.first() == Some(&"job")
    }

    /// How it is shown.
    pub const fn family(self) -> Family {
        use Kind::{Counter, Gauge};
        use Scale::{One, Thousandth};
        const JOB: &[&str] = &["job"];
        let (name, kind, labels, scale): (_, _, &'static [&'static str], _) = match self {
            Self::BuildInfo => ("build_info", Gauge, &["version"], One),
            Self::AgentStart => ("agent_start_timestamp_seconds", Gauge, &[], One),
            Self::AgentReady => ("agent_ready", Gauge, &[], One),
            Self::ConfigurationRefused => ("configuration_refused", Gauge, &[], One),
            Self::JobRunning => ("job_running", Gauge, JOB, One),
            Self::NextRun => ("job_next_run_timestamp_seconds", Gauge, JOB, One),
            Self::LastSuccess => ("job_last_success_timestamp_seconds", Gauge, JOB, One),
            Self::LastRun => ("job_last_run_timestamp_seconds", Gauge, JOB, One),
            Self::LastRunDuration => ("job_last_run_duration_seconds", Gauge, JOB, Thousandth),
            Self::LastRunExitCode => ("job_last_run_exit_code", Gauge, JOB, One),
            Self::LastRunFailedFiles => ("job_last_run_failed_files", Gauge, JOB, One),
            Self::WaitingFiles => ("waiting_files", Gauge, JOB, One),
            Self::OldestWaiting => ("oldest_waiting_file_age_seconds", Gauge, JOB, One),
            Self::LastVerify => ("job_last_verify_timestamp_seconds", Gauge, JOB, One),
            Self::Differing => ("job_differing_files", Gauge, JOB, One),
            Self::CertificateExpiry => {
                ("server_certificate_expiry_timestamp_seconds", Gauge, &["server"], One)
            }
            Self::ClientCertificateExpiry => {
                ("client_certificate_expiry_timestamp_seconds", Gauge, &["server"], One)
            }
            Self::Runs => ("runs_total", Counter, &["job", "result"], One),
            Self::RunDuration => ("run_duration_seconds_total", Counter, JOB, Thousandth),
            Self::Files => ("files_total", Counter, &["job", "action"], One),
            Self::Bytes => ("bytes_total", Counter, &["job", "action"], One),
            Self::Proofs => ("proofs_total", Counter, &["job", "method"], One),
            Self::Retries => ("retries_total", Counter, &["job", "class"], One),
            Self::FileFailures => ("file_failures_total", Counter, &["job", "class"], One),
            Self::GuardTrips => ("guard_trips_total", Counter, JOB, One),
            Self::WatchOverflows => ("watch_overflows_total", Counter, JOB, One),
            Self::MissedRuns => ("missed_runs_total", Counter, JOB, One),
        };
        Family { name, help: self.help(), kind, labels, scale }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::BuildInfo => "The program, by its version.",
            Self::AgentStart => "When the agent began (Unix time).",
            Self::AgentReady => "1 where the agent can begin runs.",
            Self::ConfigurationRefused => {
                "1 where the last configuration was refused and an older one goes on."
            }
            Self::JobRunning => "1 while a run of the job is under way.",
            Self::NextRun => "When the job runs next by its schedule (Unix time).",
            Self::LastSuccess => "When a run of the job last ended with nothing left to do (Unix time).",
            Self::LastRun => "When a run of the job last ended (Unix time).",
            Self::LastRunDuration => "How long the job's last run took.",
            Self::LastRunExitCode => "The exit code of the job's last run; 0 where all was done.",
            Self::LastRunFailedFiles => "Files that failed in the job's last run.",
            Self::WaitingFiles => {
                "Files that are not sent yet: still being written, or without their marker."
            }
            Self::OldestWaiting => {
                "How long ago the last change of the oldest waiting file is; 0 where none waits."
            }
            Self::LastVerify => {
                "When all that the job delivered was last held against the server (Unix time)."
            }
            Self::Differing => "Files that the job's last verify found missing or changed on the server.",
            Self::CertificateExpiry => {
                "Until when the certificate is good that the server showed last (Unix time)."
            }
            Self::ClientCertificateExpiry => {
                "Until when our own certificate is good that the server is shown (Unix time)."
            }
            Self::Runs => "Runs that ended, by how.",
            Self::RunDuration => "How long runs took, together.",
            Self::Files => "Files of runs, by what became of them.",
            Self::Bytes => "Bytes of delivered files, and all bytes sent, failed attempts included.",
            Self::Proofs => "Deliveries, by how they were proved.",
            Self::Retries => "Attempts at files that failed and were followed by another, by the trouble.",
            Self::FileFailures => "Files that a run gave up, by the trouble.",
            Self::GuardTrips => "Runs that a guard stopped before they deleted anything on the server.",
            Self::WatchOverflows => {
                "How often the system lost events of a watched source; all of it was looked at."
            }
            Self::MissedRuns => "Scheduled times that were missed and not made up for.",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once_and_named_as_prometheus_asks() {
        let listed: BTreeSet<_> = Metric::ALL.into_iter().collect();
        assert_eq!(listed.len(), Metric::ALL.len());
        // The last one of the enum: `ALL` is as long as it.
        assert_eq!(Metric::MissedRuns as usize + 1, Metric::ALL.len());
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.family().name).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for family in Metric::ALL.map(Metric::family) {
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains(['\\', '\n']), "{}", family.name);
            for label in family.labels {
                assert!(["version", "job", "server", "action", "method", "class", "result"].contains(label));
            }
        }
    }
}
