//! The counters of all runs, what they say of an agent, and the file for `node_exporter`.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::status::{JobState, Readiness, ServerStatus, Status};
use super::supervisor::Asked;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{Event, JobName, Timestamp};
use crate::observe::{Metric, Metrics};
use crate::plain::plain;
use crate::remote::{Profiles, own_certificate_good_until};

/// How often the file is written while nothing happens, so that ages in it go on. Monitoring reads it
/// as often as that.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// Least time between two writes, however many runs end.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// How long the loop may take to say how it is.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Most bytes of a file of metrics that are read: a thousand jobs have less.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The counters of all runs of a process. Copies count together.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Shared {
    metrics: Mutex<Metrics>,
    /// A run ended.
    changed: Notify,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    /// Counts for the jobs of a configuration, from where its file of metrics ends, if there is one.
    /// Blocks for as long as reading a small file takes.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let mut metrics = Metrics::new();
        if let Some(file) = &config.agent.metrics_file {
            // What cannot be read is counted anew, as after every loss of a file of metrics.
            metrics.take_over(&read(file).unwrap_or_default());
            metrics.keep(|job| config.jobs.keys().any(|name| name.as_str() == job));
            metrics.clear(Metric::JobRunning);
            metrics.clear(Metric::NextRun);
        }
        config.jobs.keys().for_each(|job| metrics.begin(job));
        Self { shared: Arc::new(Shared { metrics: Mutex::new(metrics), changed: Notify::new() }), clock }
    }

    /// Takes in an event of a run of this job.
    pub fn apply(&self, job: &JobName, event: &Event) {
        let mut metrics = self.lock();
        metrics.apply(job, event);
        if let Event::RunFinished { report } = event {
            metrics.ended(report, self.clock.now());
            drop(metrics);
            self.shared.changed.notify_one();
        }
    }

    /// Writes the file of metrics of a process that ran jobs and ends. Blocks.
    pub fn write(&self, file: &Path, config: &Config, profiles: &Profiles) -> io::Result<()> {
        let mut metrics = self.lock().clone();
        let servers = config.jobs.values().filter_map(|job| config.servers.get(&job.server));
        set_certificates(
            &mut metrics,
            servers.map(|server| {
                ServerStatus::of(server, profiles.of(server), own_certificate_good_until(server))
            }),
        );
        write(file, &metrics.text())
    }

    pub(super) fn begin(&self, job: &JobName) {
        self.lock().begin(job);
    }

    pub(super) fn keep(&self, stays: impl Fn(&str) -> bool) {
        self.lock().keep(stays);
    }

    pub(super) fn overflowed(&self, job: &JobName) {
        self.lock().add(Metric::WatchOverflows, &[job.as_str()], 1);
    }

    pub(super) fn missed(&self, job: &JobName, times: u64) {
        self.lock().add(Metric::MissedRuns, &[job.as_str()], times);
    }

    /// The metrics, with what the agent says of itself and its jobs.
    pub(super) fn text(&self, status: &Status, now: Timestamp) -> String {
        let mut metrics = self.lock().clone();
        if let Some(since) = status.since {
            metrics.set_time(Metric::AgentStart, &[], since);
        }
        metrics.set(Metric::AgentReady, &[], u64::from(status.readiness == Readiness::Ready));
        let refused = u64::from(status.refused_configuration.is_some());
        metrics.set(Metric::ConfigurationRefused, &[], refused);
        metrics.clear(Metric::NextRun);
        for job in &status.jobs {
            let name = job.job.as_str();
            metrics.set(Metric::JobRunning, &[name], u64::from(matches!(job.state, JobState::Running(_))));
            if let Some(next) = job.next_run {
                metrics.set_time(Metric::NextRun, &[name], next);
            }
            if let Some(well) = job.last_well {
                metrics.set_time(Metric::LastSuccess, &[name], well);
            }
            if let Some(verified) = job.last_verified {
                metrics.set_time(Metric::LastVerify, &[name], verified);
            }
            let age = job.oldest_waiting.as_ref().map_or(0, |oldest| now.since(oldest.since).as_secs());
            metrics.set(Metric::OldestWaiting, &[name], age);
        }
        set_certificates(&mut metrics, status.servers.iter().cloned());
        metrics.text()
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        self.shared.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_certificates(metrics: &mut Metrics, servers: impl Iterator<Item = ServerStatus>) {
    for server in servers {
        if let Some(expires) = server.certificate_expires {
            metrics.set_time(Metric::CertificateExpiry, &[server.server.as_str()], expires);
        }
        if let Some(expires) = server.client_certificate_expires {
            metrics.set_time(Metric::ClientCertificateExpiry, &[server.server.as_str()], expires);
        }
    }
}

/// How the agent is, if its loop still turns. Cancel safe.
pub(super) async fn ask(requests: &mpsc::Sender<Asked>) -> Option<Box<Status>> {
    let asked = async {
        let (to, told) = oneshot::channel();
        requests.send(Asked::Status(to)).await.ok()?;
        told.await.ok()
    };
    timeout(ANSWER_TIME, asked).await.ok().flatten()
}

/// Keeps the file of metrics up to date until it is dropped.
pub(super) async fn keep_file(
    file: PathBuf,
    requests: mpsc::Sender<Asked>,
    meter: Meter,
    clock: Arc<dyn Clock>,
) {
    let mut failing = false;
    loop {
        if let Some(status) = ask(&requests).await {
            let (text, path) = (meter.text(&status, clock.now()), file.clone());
            let written = spawn_blocking(move || write(&path, &text)).await;
            match written {
                Ok(Err(error)) if !failing => {
                    warn!(file = %file.display(), error = %plain(&error), "The metrics cannot be written; it is tried again.");
                    failing = true;
                }
                Ok(Ok(())) if failing => {
                    info!(file = %file.display(), "The metrics are written again.");
                    failing = false;
                }
                _ => {}
            }
        }
        sleep(WRITE_PAUSE).await;
        // Ends early when a run does; the time alone is a reason as well.
        let _either = timeout(WRITE_EVERY, meter.shared.changed.notified()).await;
    }
}

/// Writes beside the file and renames: whoever reads it sees the old text or the new one. Everybody may
/// read it, since whoever collects metrics is somebody else; no file's name stands in it.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    // Not `.prom` at the end: `node_exporter` would read it half written.
    let beside = file.with_extension("new");
    let mut out = File::create(&beside)?;
    out.set_permissions(Permissions::from_mode(0o644))?;
    out.write_all(text.as_bytes())?;
    drop(out);
    fs::rename(&beside, file)
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
