//! The loop: schedules, retries, signals, requests and ends of runs come in, runs go out.

mod expectations;
mod reload;
mod rounds;
mod runs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::reload::{Loaded, Reading};
use self::runs::Ended;
use super::control::Control;
use super::error::AgentError;
use super::history::{History, LookBack};
use super::keeper::{Keeper, Stay};
use super::meter::{self, Meter};
use super::protocol::{SOCKET, Told};
use super::servers::Servers;
use super::service::Service;
use super::status::{AlertStatus, JobState, Readiness, ServerStatus, Status};
use super::telling::{AGENT_GRACE, Telling};
use super::watched::Follower;
use super::watches::{Sight, Watches};
use super::web::Web;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{Exit, Job, JobName, Missed, Record, RunId, RunsMissed, Timestamp, Trigger};
use crate::plain::{Plain, chain};
use crate::remote::Profiles;
use crate::state::{State, StateError};
use crate::trigger::{DirtyReason, Due, Seen, WatchStatus};

/// Longest wait of the loop: the clock may be changed meanwhile, and is looked at again then.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Shortest wait, so that a time that never comes cannot keep a processor busy.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// Requests that wait for the loop: more than there may be clients.
const REQUESTS_WAITING: usize = 32;
/// Least time between two tries to open the state anew: a full disk is not emptied sooner.
const MEND_EVERY: Duration = Duration::from_secs(30);

/// What an agent starts with.
#[derive(Debug)]
pub struct Start {
    /// The configuration; its file is read again when the agent is told to.
    pub config: Config,
    /// The time of day and random numbers.
    pub clock: Arc<dyn Clock>,
}

/// A request to the loop.
#[derive(Debug)]
pub(super) enum Asked {
    Status(oneshot::Sender<Box<Status>>),
    Sync { jobs: Vec<JobName>, approved: Option<RunId>, events: mpsc::Sender<Told> },
}

/// Runs the agent until a signal ends it. Files under way may go on for a short grace then; a second
/// signal ends it at once. SIGHUP has the configuration read again.
///
/// Fails where the state, a secret or a server's settings cannot be had; nothing was started then.
/// Not cancel safe.
pub async fn run(start: Start) -> Result<(), AgentError> {
    let mut signals = Signals::new().map_err(AgentError::System)?;
    let Start { config, clock } = start;
    let service = Service::of(|name| std::env::var_os(name));
    let opening = {
        let clock = Arc::clone(&clock);
        move || open(config, &clock)
    };
    let opened = spawn_blocking(opening).await.map_err(AgentError::died)??;
    let (requests, asked) = mpsc::channel(REQUESTS_WAITING);
    let (watches, sights) = Watches::new();
    let mut agent = Supervisor::new(opened, clock, service, watches);
    let mut control_tasks = JoinSet::new();
    let (meter, metrics_file) = (agent.meter.clone(), agent.config.agent.metrics_file.clone());
    if let Some(page) = agent.config.agent.status.clone() {
        let web = Web::bind(page, requests.clone(), meter.clone(), Arc::clone(&agent.clock)).await;
        control_tasks.spawn(web.map_err(AgentError::Page)?.serve());
    }
    if let Some(file) = metrics_file.clone() {
        let clock = Arc::clone(&agent.clock);
        control_tasks.spawn(meter::keep_file(file, requests.clone(), meter.clone(), clock));
    }
    let control = Control::bind(&agent.config.agent.state_dir.join(SOCKET), requests);
    match control {
        Ok(control) => {
            control_tasks.spawn(control.serve());
        }
        Err(error) => {
            error!(error = %Plain(&error), "The control socket cannot be made; `status` and `sync` do not reach the agent.");
        }
    }
    agent.plan_all().await?;
    agent.watch_all();
    let jobs: Vec<_> = agent.config.jobs.values().cloned().collect();
    agent.read_history(&jobs);
    agent.telling.take_up(&agent.config);
    agent.service.ready();
    info!(jobs = agent.keepers.len(), "The agent is ready.");
    agent.work(&mut signals, asked, sights).await;
    control_tasks.shutdown().await;
    if let Some(file) = metrics_file {
        let text = meter.text(&agent.status(), agent.clock.now());
        drop(spawn_blocking(move || meter::write(&file, &text)).await);
    }
    agent.close(signals).await
}

/// What was opened for an agent.
struct Opened {
    config: Config,
    servers: Servers,
    profiles: Arc<Profiles>,
    state: State,
    telling: Telling,
}

/// Servers first, so that a bad secret is told before anything happens.
fn open(config: Config, clock: &Arc<dyn Clock>) -> Result<Opened, AgentError> {
    let profiles = Arc::new(Profiles::open(&config.agent.state_dir.join(Profiles::FILE)));
    let servers = Servers::of(&config, &profiles, &Servers::default())?;
    let opened = State::open_keeping(&config.agent.state_dir, Arc::clone(clock), config.ledger.retain)?;
    for notice in &opened.notices {
        warn!(%notice, "The state was put right.");
    }
    let telling = Telling::open(&config.agent.state_dir, clock);
    Ok(Opened { config, servers, profiles, state: opened.state, telling })
}

/// Whether more may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    Stopping,
    /// A second signal came: nothing is waited for.
    Ended,
}

struct Supervisor {
    config: Config,
    servers: Servers,
    profiles: Arc<Profiles>,
    state: State,
    clock: Arc<dyn Clock>,
    service: Service,
    watches: Watches,
    meter: Meter,
    telling: Telling,
    /// When it was last looked at what is expected.
    looked_out: Option<Timestamp>,
    keepers: BTreeMap<JobName, Keeper>,
    runs: JoinSet<Ended>,
    /// Which job a task runs, for one that dies.
    tasks: BTreeMap<tokio::task::Id, JobName>,
    /// Configurations that are read, and the ledger that is read for what came before.
    loading: JoinSet<Loaded>,
    /// What a task reads, for one that dies.
    readings: BTreeMap<tokio::task::Id, Reading>,
    stop: CancellationToken,
    phase: Phase,
    since: Timestamp,
    refused: Option<String>,
    /// Nothing can be recorded; when the state is opened anew.
    broken: Option<Timestamp>,
}

impl Supervisor {
    fn new(opened: Opened, clock: Arc<dyn Clock>, service: Service, watches: Watches) -> Self {
        let Opened { config, servers, profiles, state, telling } = opened;
        let keepers = config.jobs.values().filter_map(|job| {
            let remote = servers.get(&job.server)?;
            Some((job.name.clone(), Keeper::new(job.clone(), remote, state.agent())))
        });
        let since = clock.now();
        let meter = Meter::new(&config, Arc::clone(&clock));
        Self {
            keepers: keepers.collect(),
            config,
            servers,
            profiles,
            state,
            clock,
            service,
            watches,
            meter,
            telling,
            looked_out: None,
            runs: JoinSet::new(),
            tasks: BTreeMap::new(),
            loading: JoinSet::new(),
            readings: BTreeMap::new(),
            stop: CancellationToken::new(),
            phase: Phase::Working,
            since,
            refused: None,
            broken: None,
        }
    }

    async fn work(
        &mut self,
        signals: &mut Signals,
        mut asked: mpsc::Receiver<Asked>,
        mut sights: mpsc::Receiver<Sight>,
    ) {
        while self.goes_on() {
            self.service.alive();
            self.look().await;
            self.look_out();
            self.service.status(self.line());
            let wait = self.wait();
            tokio::select! {
                biased;
                told = signals.next() => self.signalled(told),
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                Some(loaded) = self.loading.join_next_with_id() => self.loaded(loaded).await,
                Some(request) = asked.recv() => self.answer(request),
                Some(sight) = sights.recv() => self.saw(sight),
                () = sleep(wait) => {}
            }
        }
    }

    fn goes_on(&self) -> bool {
        match self.phase {
            Phase::Working => true,
            Phase::Stopping => !self.runs.is_empty(),
            Phase::Ended => false,
        }
    }

    fn wait(&self) -> Duration {
        let now = self.clock.now();
        let looks = self.keepers.values().filter_map(|keeper| keeper.next_look(now));
        // It is mended only when nothing runs.
        let looks = looks.chain(self.broken.filter(|_| self.runs.is_empty()));
        let next = looks.min().map_or(LONGEST_WAIT, |next| next.since(now));
        next.clamp(SHORTEST_WAIT, self.service.watchdog().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }

    fn signalled(&mut self, told: Signalled) {
        match (told, self.phase) {
            (Signalled::Reload, Phase::Working) => self.reload(),
            (Signalled::Reload, Phase::Stopping | Phase::Ended) => {}
            (Signalled::Stop, Phase::Working) => {
                info!(running = self.runs.len(), "The agent stops; files under way may end.");
                self.service.stopping();
                self.phase = Phase::Stopping;
                self.stop.cancel();
            }
            (Signalled::Stop, Phase::Stopping | Phase::Ended) => {
                warn!("The agent ends at once; the next run looks after what was under way.");
                self.phase = Phase::Ended;
            }
        }
    }

    /// Starts what is due.
    async fn look(&mut self) {
        if self.phase != Phase::Working {
            return;
        }
        self.mend().await;
        let now = self.clock.now();
        let mut due = Vec::new();
        for (name, keeper) in &mut self.keepers {
            due.extend(keeper.due(now).into_iter().map(|due| (name.clone(), due)));
        }
        for (name, due) in due {
            match due {
                Due::Run(trigger) => self.ask(&name, trigger),
                Due::Skip(missed) => self.missed(&name, missed).await,
            }
        }
        let held: Vec<_> = self
            .keepers
            .iter_mut()
            .filter_map(|(name, keeper)| Some((name.clone(), keeper.held.take()?)))
            .collect();
        for (name, triggers) in held {
            self.start(&name, triggers);
        }
        self.begin_round(now);
    }

    /// Takes in what a watch saw.
    fn saw(&mut self, sight: Sight) {
        let Sight { job: name, watch, seen } = sight;
        let Some(keeper) = self.keepers.get_mut(&name) else { return };
        let Some(watcher) = keeper.watcher.as_mut().filter(|watcher| watcher.number == watch) else { return };
        match seen {
            Seen::Status(status) => {
                let text = status.to_string();
                match status {
                    WatchStatus::Beginning | WatchStatus::Watching { .. } | WatchStatus::Polling { .. } => {
                        info!(job = %name, watch = %text, "The source is looked after.");
                    }
                    WatchStatus::Degraded { .. } | WatchStatus::Absent { .. } => {
                        warn!(job = %name, watch = %text, "The source cannot be watched as it should.");
                    }
                }
                watcher.status = Some(text);
            }
            Seen::Dirty(dirty) => {
                match dirty.reason {
                    DirtyReason::Overflow => self.meter.overflowed(&name),
                    DirtyReason::Replaced => {
                        warn!(job = %name, "The source folder was moved, removed, unmounted or replaced; all of what is there now is looked at.");
                    }
                    DirtyReason::Missed => {
                        warn!(job = %name, "The source folder is still not there; a run tells of it.");
                    }
                    DirtyReason::Began
                    | DirtyReason::Events
                    | DirtyReason::Polled
                    | DirtyReason::Reconcile => {}
                }
                keeper.source.add(dirty.scope);
                if self.phase == Phase::Working {
                    self.ask(&name, Trigger::Watch);
                }
            }
        }
    }

    /// Watches the sources of all jobs that want it.
    fn watch_all(&mut self) {
        for keeper in self.keepers.values_mut() {
            keeper.watcher = self.watches.begin(&keeper.job);
        }
    }

    fn ask(&mut self, name: &JobName, trigger: Trigger) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        if let Some(triggers) = keeper.ask(trigger) {
            self.start(name, triggers);
        } else {
            info!(job = %name, why = %trigger, "The job runs; one more run is remembered.");
        }
    }

    async fn missed(&mut self, name: &JobName, missed: Missed) {
        warn!(job = %name, times = %missed, "Scheduled times were missed, and are too old to be made up for.");
        self.meter.missed(name, missed.times);
        let cause = "nothing ran then, and `catch_up` does not make up for it".to_owned();
        let record = Record::RunsMissed(RunsMissed { job: name.clone(), missed, cause });
        if let Err(error) = self.state.commit_general(vec![record]).await {
            self.broke(&error);
        }
    }

    /// Nothing can be recorded: the disk is full, or fails.
    fn broke(&mut self, error: &StateError) {
        let error = chain(error);
        error!(%error, "Nothing can be recorded; no run is begun until the state can be opened anew.");
        self.broken.get_or_insert(self.clock.now().plus(MEND_EVERY));
    }

    /// Opens the state anew, once its time has come and nothing runs.
    async fn mend(&mut self) {
        let now = self.clock.now();
        // A clock that was put back holds it up no longer than that.
        let is_due = |at: Timestamp| now >= at || at.since(now) > MEND_EVERY;
        if !self.runs.is_empty() || !self.broken.is_some_and(is_due) {
            return;
        }
        let state = self.state.clone();
        match spawn_blocking(move || state.reopen()).await {
            Ok(Ok(notices)) => {
                for notice in notices {
                    warn!(%notice, "The state was put right.");
                }
                info!("The state is open again.");
                self.broken = None;
            }
            Ok(Err(error)) => {
                error!(error = %chain(&error), "The state still cannot be opened.");
                self.broken = Some(now.plus(MEND_EVERY));
            }
            Err(_) => self.broken = Some(now.plus(MEND_EVERY)),
        }
    }

    fn answer(&mut self, request: Asked) {
        match request {
            // Whoever asked may be gone.
            Asked::Status(to) => drop(to.send(Box::new(self.status()))),
            Asked::Sync { jobs, approved, events } => self.sync(&jobs, approved, &events),
        }
    }

    /// Runs jobs by hand; what happens goes to `events`, which closes when all is said.
    fn sync(&mut self, jobs: &[JobName], approved: Option<RunId>, events: &mpsc::Sender<Told>) {
        let say = |told| drop(events.try_send(told));
        if self.phase != Phase::Working {
            return say(Told::refused(Exit::Interrupted, "the agent is stopping", None));
        }
        let unknown =
            |name: &&JobName| !self.keepers.get(*name).is_some_and(|keeper| keeper.stay == Stay::Kept);
        if let Some(name) = jobs.iter().find(unknown) {
            let remedy = "is it new? `systemctl reload nightferry`, or SIGHUP, has the agent read its configuration again";
            let text = format!("the agent that runs knows no job `{name}`");
            return say(Told::refused(Exit::Usage, text, Some(remedy.to_owned())));
        }
        let approved = match approved.map(|run| (run, self.approvable(jobs, run))) {
            None => None,
            Some((run, Some(job))) => Some((run, job)),
            Some((run, None)) => {
                let text = format!(
                    "there are no deletions of run {run} to approve for these jobs; nothing was done"
                );
                return say(Told::refused(Exit::Usage, text, None));
            }
        };
        for name in jobs {
            let Some(keeper) = self.keepers.get_mut(name) else { continue };
            let Ok(last) = events.clone().try_reserve_owned() else { continue };
            keeper.followers.push(Follower { events: events.clone(), last });
            if let Some((run, job)) = &approved
                && job == name
            {
                keeper.approved = Some(*run);
            }
            if keeper.running.is_some() {
                say(Told::Waits { job: name.clone() });
            }
            self.ask(name, Trigger::Manual);
        }
    }

    /// The job of these whose deletions were stopped in a run.
    fn approvable(&self, jobs: &[JobName], run: RunId) -> Option<JobName> {
        let stopped = |name: &&JobName| {
            let target = self.keepers.get(*name).map(|keeper| keeper.target().id());
            let manifest = target.and_then(|target| self.state.manifest(target).ok());
            let stopped = manifest.and_then(|manifest| manifest.stopped_deletes().ok().flatten());
            stopped.is_some_and(|stopped| stopped.run == run)
        };
        jobs.iter().find(stopped).cloned()
    }

    fn status(&self) -> Status {
        let now = self.clock.now();
        Status {
            process: Some(std::process::id()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: Some(self.config.agent.zone.name().to_owned()),
            since: Some(self.since),
            refused_configuration: self.refused.clone(),
            readiness: match (self.phase, self.broken) {
                (Phase::Stopping | Phase::Ended, _) => Readiness::Stopping,
                (Phase::Working, Some(_)) => Readiness::CannotRecord,
                (Phase::Working, None) => Readiness::Ready,
            },
            jobs: self.keepers.values().map(|keeper| keeper.status(now)).collect(),
            servers: self
                .servers
                .iter()
                .map(|remote| {
                    let server = remote.server();
                    ServerStatus::of(server, self.profiles.of(server), remote.own_certificate_good_until())
                })
                .collect(),
            alerts: self.telling.open_alerts().into_iter().map(AlertStatus::from).collect(),
        }
    }

    /// The line for `systemctl status`.
    fn line(&self) -> String {
        let now = self.clock.now();
        let of = |keeper: &Keeper| keeper.status(now);
        let jobs: Vec<_> = self.keepers.values().map(of).collect();
        let running: Vec<_> = jobs
            .iter()
            .filter(|job| matches!(job.state, JobState::Running(_)))
            .map(|job| job.job.to_string())
            .collect();
        let unwell = jobs.iter().filter(|job| job.last.as_ref().is_some_and(|last| !last.is_well())).count();
        let doing =
            if running.is_empty() { "Idle".to_owned() } else { format!("Running {}", running.join(", ")) };
        let next = jobs.iter().filter_map(|job| job.next_run).min();
        let next = next.map_or_else(String::new, |next| format!("; next run {}", next.to_seconds()));
        let unwell = if unwell > 0 {
            format!("; {unwell} of {} jobs did not end well", jobs.len())
        } else {
            String::new()
        };
        format!("{doing}{next}{unwell}")
    }

    /// Has the ledger read for what these jobs did before; the agent does not wait for it.
    fn read_history<'j>(&mut self, jobs: impl IntoIterator<Item = &'j Job>) {
        let (folder, now) = (self.config.agent.state_dir.clone(), self.clock.now());
        let looks: Vec<_> = jobs.into_iter().map(|job| LookBack::of(job, now)).collect();
        for look in &looks {
            if let Some(keeper) = self.keepers.get_mut(&look.job) {
                keeper.reading = Some(look.clone());
            }
        }
        if !looks.is_empty() {
            self.read(Reading::History(looks.clone()), move || {
                let read = History::of_jobs(&folder, looks.clone()).map(Box::new);
                Loaded::History(looks, read)
            });
        }
    }

    async fn close(self, mut signals: Signals) -> Result<(), AgentError> {
        let Self { state, mut runs, phase, telling, .. } = self;
        let grace = if phase == Phase::Ended { Duration::ZERO } else { AGENT_GRACE };
        if phase == Phase::Ended {
            runs.abort_all();
        }
        let left = telling.close(grace).await;
        if left > 0 {
            warn!(
                messages = left,
                "Some messages did not get out; what is wrong is told after the next start."
            );
        }
        let haste = state.haste();
        if phase == Phase::Ended {
            haste.make();
        }
        let mut closing = spawn_blocking(move || state.close());
        let closed = loop {
            tokio::select! {
                biased;
                closed = &mut closing => break closed.map_err(AgentError::died)?,
                told = signals.next() => match told {
                    Signalled::Stop => haste.make(),
                    Signalled::Reload => {}
                },
            }
        };
        info!("The agent has ended.");
        Ok(closed?)
    }
}

/// Ends of runs, with the tasks that had them.
type TaskEnded = Result<(tokio::task::Id, Ended), JoinError>;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signalled {
    Reload,
    Stop,
}

#[derive(Debug)]
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }
}

/// The file from which a configuration is read again.
fn path_of(config: &Config) -> PathBuf {
    config.path.clone()
}
