//! Who is told of what: the fold over what is wrong, kept in a file, before the queues that tell it.
//!
//! The file holds what is open and what did not get out yet. After a start nothing is told twice, and
//! what is well again meanwhile is still told. It can be lost: then an open trouble is told once more.
//! The agent uses this, and `sync` where no agent runs; whoever holds the state folder has the file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::clock::Clock;
use crate::config::{Config, secret};
use crate::domain::{AuditReport, Job, JobName, Notify, RunReport, Scope, Server, Timestamp, Zone};
use crate::observe::{Alert, AlertKey, AlertKind, Alerts, Expected, Lost, News, Turn};
use crate::outbound::{Context, Outbound};
use crate::plain::chain;

/// Its file in the state folder.
const FILE: &str = "alerts.json";
/// Largest file that is read: more alerts than a thousand jobs can have.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// How long the end of the agent waits for messages under way. What is left is told after the next
/// start.
pub(super) const AGENT_GRACE: Duration = Duration::from_secs(5);
/// The same for a command, which nobody starts anew for its messages' sake.
pub const COMMAND_GRACE: Duration = Duration::from_secs(30);

/// Tells people what is wrong, and that it is over.
#[derive(Debug)]
pub struct Telling {
    book: Arc<Book>,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
}

/// How messages are sent from this machine, where nothing is kept of what was told.
pub fn context(clock: &Arc<dyn Clock>) -> Context {
    Context {
        host: host(),
        clock: Arc::clone(clock),
        secrets: Arc::new(|reference| secret::resolve(reference).map_err(|error| chain(&error))),
        done_with: Arc::new(|_| {}),
    }
}

/// What is wrong, as it stands in the file.
#[derive(Debug)]
struct Book {
    file: PathBuf,
    alerts: Mutex<Alerts>,
}

impl Telling {
    /// Takes up what stands in the state folder. A file that cannot be read is taken as empty. Blocks.
    pub fn open(state_dir: &Path, clock: &Arc<dyn Clock>) -> Self {
        let book = Arc::new(Book::open(&state_dir.join(FILE)));
        let done_with = Arc::clone(&book);
        let done_with = move |id: &str| {
            done_with.change(|alerts| alerts.told(id));
        };
        let context = Context { done_with: Arc::new(done_with), ..context(clock) };
        Self { book, outbound: Outbound::new(context), clock: Arc::clone(clock) }
    }

    /// Tells what did not get out before, and forgets jobs and servers that are no more. Needs a tokio
    /// runtime, as all that tells.
    pub fn take_up(&mut self, config: &Config) {
        let untold = self.book.change(|alerts| {
            alerts.retain(|key| match key {
                AlertKey::Job(job, kind) => config.jobs.get(job).is_some_and(|job| is_expected(job, *kind)),
                AlertKey::Certificate(server) => config.servers.contains_key(server),
                AlertKey::ClientCertificate(server) => {
                    config.servers.get(server).is_some_and(|server| server.client_certificate.is_some())
                }
            });
            alerts.untold()
        });
        self.tell(config, untold);
    }

    /// What is wrong now.
    pub fn open_alerts(&self) -> Vec<Alert> {
        self.book.lock().open().cloned().collect()
    }

    /// A run begins.
    pub fn began(&mut self, config: &Config, job: &JobName) {
        let news = News::of_run(Turn::Began, job.clone(), self.clock.now());
        self.tell(config, [news]);
    }

    /// A run ended.
    pub fn ended(&mut self, config: &Config, report: &RunReport, scope: &Scope) {
        let now = self.clock.now();
        let news = self.book.change(|alerts| alerts.ended(report, scope, now));
        self.tell(config, news);
    }

    /// A run could not even be recorded.
    pub fn lost(&mut self, config: &Config, job: &JobName, cause: &str) {
        let now = self.clock.now();
        let news = self.book.change(|alerts| alerts.lost(Lost { job, cause }, now));
        self.tell(config, news);
    }

    /// How a job stands with something that is expected of it.
    pub fn expected(&mut self, config: &Config, job: &JobName, expected: &Expected) {
        let now = self.clock.now();
        let zone = zone_of(config, Some(job));
        let news = self.book.change(|alerts| alerts.expected(job, expected, zone, now));
        self.tell(config, news);
    }

    /// What a round came to.
    pub fn verified(&mut self, config: &Config, report: &AuditReport) {
        let now = self.clock.now();
        let news = self.book.change(|alerts| alerts.verified(report, now));
        self.tell(config, news);
    }

    /// All that was found missing or changed was delivered since.
    pub fn repaired(&mut self, config: &Config, job: &JobName) {
        let now = self.clock.now();
        let news = self.book.change(|alerts| alerts.repaired(job, now));
        self.tell(config, news);
    }

    /// Whether something of this kind is wrong with a job, as far as is known.
    pub fn is_open(&self, job: &JobName, kind: AlertKind) -> bool {
        let key = AlertKey::Job(job.clone(), kind);
        self.book.lock().open().any(|alert| alert.key == key)
    }

    /// Until when a server's certificate is good, as far as it was seen and where its dates matter (a pinned
    /// key without `ca_file` is trusted by itself), and that which it is shown, where it is shown one.
    pub fn look_at_certificates(
        &mut self,
        config: &Config,
        server: &Server,
        theirs: Option<Timestamp>,
        ours: Option<Timestamp>,
    ) {
        let theirs = theirs.map(|until| (AlertKey::Certificate(server.name.clone()), until));
        let ours = ours.map(|until| (AlertKey::ClientCertificate(server.name.clone()), until));
        for (key, until) in theirs.into_iter().chain(ours) {
            let now = self.clock.now();
            let news = self.book.change(|alerts| alerts.certificate(&key, until, now));
            self.tell(config, news);
        }
    }

    /// Lets messages get out, for as long as `grace`. The number of those that did not comes back.
    pub async fn close(self, grace: Duration) -> usize {
        self.outbound.close(grace).await
    }

    fn tell(&mut self, config: &Config, news: impl IntoIterator<Item = News>) {
        for news in news {
            let news = News { zone: zone_of(config, news.job.as_ref()), ..news };
            self.outbound.tell(news.clone(), receivers(config, &news));
        }
    }
}

/// By whose clock people are told of a job: its own, where it has one, else that of the agent.
fn zone_of(config: &Config, job: Option<&JobName>) -> Zone {
    let job = job.and_then(|job| config.jobs.get(job));
    job.and_then(|job| job.timing.zone).unwrap_or(config.agent.zone)
}

/// Whether a job can still be found wrong in this way.
const fn is_expected(job: &Job, kind: AlertKind) -> bool {
    let expectation = &job.timing.expectation;
    match kind {
        AlertKind::Run | AlertKind::Certificate | AlertKind::ClientCertificate | AlertKind::Test => true,
        AlertKind::TooFew => expectation.daily.is_some(),
        AlertKind::TooOld => expectation.max_age.is_some(),
        AlertKind::Waiting => expectation.max_wait.is_some(),
        AlertKind::Unusual => expectation.unusual.is_some(),
        AlertKind::Verify | AlertKind::NotVerified => job.timing.verify_every.is_some(),
    }
}

/// Those who may want to hear of it: those who are told of all, and those of the job, or of the jobs
/// that use the server.
fn receivers<'c>(config: &'c Config, news: &News) -> Vec<&'c Notify> {
    let concerns =
        |job: &&Job| news.job.as_ref() == Some(&job.name) || news.server.as_ref() == Some(&job.server);
    let of_jobs = config.jobs.values().filter(concerns).flat_map(|job| &job.notify);
    config.agent.notify.iter().chain(of_jobs).collect()
}

/// All who are told of anything, each once.
pub fn all_receivers(config: &Config) -> Vec<&Notify> {
    let mut all: Vec<&Notify> = Vec::new();
    for notify in config.agent.notify.iter().chain(config.jobs.values().flat_map(|job| &job.notify)) {
        if !all.iter().any(|known| known.way == notify.way) {
            all.push(notify);
        }
    }
    all
}

/// This machine's name as it may stand anywhere: letters, digits, `-` and `.`.
fn host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = name.chars().filter(|c| fine(*c)).take(253).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// What a state folder says to be wrong. Blocks.
pub fn alerts_in(state_dir: &Path) -> Vec<Alert> {
    Book::open(&state_dir.join(FILE)).lock().open().cloned().collect()
}

impl Book {
    fn open(file: &Path) -> Self {
        let alerts = read(file).unwrap_or_else(|error| {
            let shown = file.display();
            warn!(file = %shown, error = %chain(&error), "What was told before cannot be read; what is wrong is told once more.");
            Alerts::default()
        });
        Self { file: file.to_owned(), alerts: Mutex::new(alerts) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and writes it down where it is another then. Blocks for as long as
    /// writing a small file takes.
    fn change<T>(&self, change: impl FnOnce(&mut Alerts) -> T) -> T {
        let mut alerts = self.lock();
        let before = alerts.clone();
        let told = change(&mut alerts);
        if *alerts != before
            && let Err(error) = write(&self.file, &alerts)
        {
            let file = self.file.display();
            warn!(%file, error = %chain(&error), "What was told cannot be written down; after a restart it is told once more.");
        }
        told
    }
}

fn read(file: &Path) -> std::io::Result<Alerts> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    match std::fs::File::open(file) {
        Ok(open) => open.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Alerts::default()),
        Err(error) => return Err(error),
    };
    Ok(Alerts::of(serde_json::from_slice::<Vec<Alert>>(&bytes)?))
}

/// Writes beside the file and renames, so that a crash leaves the old one or the new one.
fn write(file: &Path, alerts: &Alerts) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut out = std::fs::File::create(&beside)?;
    out.write_all(&serde_json::to_vec_pretty(&alerts.all().collect::<Vec<_>>())?)?;
    out.sync_all()?;
    std::fs::rename(&beside, file)
}
