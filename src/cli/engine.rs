//! What the verbs have done: state, servers and runs, put together from a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use crate::agent::{COMMAND_GRACE, Meter, Telling};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, secret};
use crate::delivery::{self, Delivery, waits_for};
use crate::domain::{
    EntryStatus, Event, EventSink, FileStat, HeldToWindows, Job, JobName, RelPath, RemoteDelete, RunId,
    RunReport, Scope, Server, ServerName, Target, Trigger, Triggers, Twins,
};
use crate::observe::{Planned, PlannedAction, count, presumed_reason};
use crate::plain::{chain, plain};
use crate::plan::{self, Action, Reason};
use crate::remote::{Deadlines, Profiles, Remote, check_path, own_certificate_good_until};
use crate::source::{Filter, SourceRoot};
use crate::state::{LedgerLine, LedgerSummary, Opened, State, StateError, read_ledger, verify_ledger};

/// Runs jobs one after another; `sink` takes their events, and each run's report comes back.
/// Before the first run begins all passwords, keys and certificates are at hand, so that a bad
/// one is told while nothing has happened.
pub(super) fn sync(
    config: &Config,
    jobs: &[&Job],
    approved: Option<RunId>,
    sink: &Arc<dyn EventSink>,
    notice: &dyn Fn(&str),
) -> Result<Synced, CliError> {
    let profiles = Arc::new(Profiles::open(&config.agent.state_dir.join(Profiles::FILE)));
    let mut remotes: BTreeMap<&ServerName, Arc<Remote>> = BTreeMap::new();
    for job in jobs {
        let _usable = Filter::of(job)?;
        if !remotes.contains_key(&job.server) {
            remotes.insert(&job.server, Arc::new(remote(config, &job.server, &profiles)?));
        }
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    // From here on there is something to close: a signal may not just end it.
    let mut signals = runtime.block_on(async { StopSignals::new() })?;
    let opened = State::open_keeping(&config.agent.state_dir, Arc::clone(&clock), config.ledger.retain)?;
    opened.notices.iter().for_each(|text| notice(text));
    let approved = match approved {
        Some(run) => Some((run, approvable(config, jobs, &opened.state, run)?)),
        None => None,
    };
    let meter = config.agent.metrics_file.as_ref().map(|_| Meter::new(config, Arc::clone(&clock)));
    let deliveries = jobs.iter().filter_map(|job| {
        let remote = Arc::clone(remotes.get(&job.server)?);
        Some(Delivery {
            target: Target::of(job, remote.server()),
            job: (*job).clone(),
            remote,
            state: opened.state.clone(),
            clock: Arc::clone(&clock),
            sink: metered(meter.as_ref(), &job.name, sink),
            triggers: Triggers::of(Trigger::Manual),
            scope: Scope::All,
            limit: job.timing.limit(clock.now(), HeldToWindows::No),
            approved: approved.as_ref().filter(|(_, of)| *of == job.name).map(|(run, _)| *run),
            backoff: Delivery::BACKOFF,
            resume_from: Delivery::RESUME_FROM,
        })
    });
    let telling = Told {
        telling: Telling::open(&config.agent.state_dir, &clock),
        config: config.clone(),
        profiles: Arc::clone(&profiles),
    };
    let mut synced = runtime.block_on(run_all(deliveries.collect(), telling, &mut signals));
    if synced.untold > 0 {
        notice(&format!(
            "{} could not be sent (`nightferry check --notify` says why); what is wrong is told again by the next run",
            count(u64::try_from(synced.untold).unwrap_or(u64::MAX), "message")
        ));
    }
    profiles.finish_writing();
    if let Some((meter, file)) = meter.zip(config.agent.metrics_file.as_ref())
        && let Err(error) = meter.write(file, config, &profiles)
    {
        notice(&format!("the metrics cannot be written to {}: {}", file.display(), plain(&error)));
    }
    match close(runtime, opened.state, signals) {
        Ok(notices) => notices.iter().for_each(|text| notice(text)),
        Err(error) => drop(synced.error.get_or_insert(error.into())),
    }
    Ok(synced)
}

/// Counts what goes by on its way to `sink`, where somebody wants to know.
fn metered(meter: Option<&Meter>, job: &JobName, sink: &Arc<dyn EventSink>) -> Arc<dyn EventSink> {
    let Some(meter) = meter.cloned() else { return Arc::clone(sink) };
    let (job, sink) = (job.clone(), Arc::clone(sink));
    Arc::new(move |event: Event| {
        meter.apply(&job, &event);
        sink.emit(event);
    })
}

/// The job whose deletions were stopped in a run, so that a person can approve them: one of those
/// to be run.
fn approvable(config: &Config, jobs: &[&Job], state: &State, run: RunId) -> Result<JobName, CliError> {
    let mut stops = Vec::new();
    for job in config.jobs.values() {
        let target = Target::of(job, server(config, &job.server)?);
        if let Some(stopped) = state.manifest(target.id())?.stopped_deletes()? {
            stops.push((&job.name, stopped.run));
        }
    }
    let is_run = |name: &JobName| jobs.iter().any(|job| job.name == *name);
    let remedy = match stops.iter().find(|(_, stopped)| *stopped == run) {
        Some((name, _)) if is_run(name) => return Ok((*name).clone()),
        Some((name, _)) => format!("that was job `{name}`: `nightferry sync {name} --approve-deletes {run}`"),
        None => match stops.iter().find(|(name, _)| is_run(name)) {
            Some((name, last)) => {
                format!(
                    "the last run of job `{name}` whose deletions were stopped is {last}; look at it first"
                )
            }
            None => {
                "no deletions of these jobs were stopped: `nightferry sync` without it runs them".to_owned()
            }
        },
    };
    Err(CliError::NothingToApprove { run, remedy })
}

/// What came of the runs of several jobs.
#[derive(Debug, Default)]
pub(super) struct Synced {
    /// One for each run that was begun and came to its end.
    pub(super) reports: Vec<RunReport>,
    /// Why others were not begun, or did not come to their end.
    pub(super) error: Option<CliError>,
    /// How many messages did not get out.
    pub(super) untold: usize,
}

/// Who is told of the runs.
struct Told {
    telling: Telling,
    config: Config,
    profiles: Arc<Profiles>,
}

impl Told {
    fn ended(&mut self, job: &JobName, ended: &Result<RunReport, StateError>) {
        match ended {
            Ok(report) => self.telling.ended(&self.config, report, &Scope::All),
            Err(error) => {
                self.telling.lost(
                    &self.config,
                    job,
                    &format!("its run cannot be recorded: {}", chain(error)),
                );
            }
        }
        let server = self.config.jobs.get(job).and_then(|job| self.config.servers.get(&job.server));
        if let Some(server) = server {
            let theirs = self.profiles.of(server).certificate_good_until(server);
            let ours = own_certificate_good_until(server);
            self.telling.look_at_certificates(&self.config, server, theirs, ours);
        }
    }
}

/// Runs one after another, until a signal asks to stop. A second signal does not wait for files
/// under way. The runs have a task of their own, so that signals are heard whatever they do.
async fn run_all(deliveries: Vec<Delivery>, mut told_of: Told, signals: &mut StopSignals) -> Synced {
    let stop = CancellationToken::new();
    let (ended, mut told) = mpsc::channel(deliveries.len().max(1));
    let mut runs = JoinSet::new();
    told_of.telling.take_up(&told_of.config);
    runs.spawn(run_each(deliveries, stop.clone(), ended, told_of));
    let (mut error, told_of) = match until_stopped(runs.join_next(), signals, &stop).await {
        Ok(Some(Err(_))) => (Some(CliError::Died), None),
        Ok(Some(Ok(told_of))) => (None, Some(told_of)),
        Ok(None) => (None, None),
        Err(error) => (Some(error), None),
    };
    let mut untold = 0;
    if let Some(Told { telling, .. }) = told_of {
        match until_stopped(telling.close(COMMAND_GRACE), signals, &stop).await {
            Ok(left) => untold = left,
            Err(interrupted) => drop(error.get_or_insert(interrupted)),
        }
    }
    let mut synced = Synced { reports: Vec::new(), error, untold };
    while let Ok(run) = told.try_recv() {
        match run {
            Ok(report) => synced.reports.push(report),
            Err(error) => {
                synced.error.get_or_insert(error.into());
            }
        }
    }
    synced
}

/// The signals that ask to stop, heard from when this is made: one that comes before anybody waits for it
/// is not lost.
#[derive(Debug)]
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Needs the context of a tokio runtime.
    pub(super) fn new() -> Result<Self, CliError> {
        let of = |kind| signal(kind).map_err(CliError::Runtime);
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Does something to its end. A first signal cancels `stop`, a second one does not wait for what
/// is under way.
pub(super) async fn until_stopped<T>(
    work: impl Future<Output = T>,
    signals: &mut StopSignals,
    stop: &CancellationToken,
) -> Result<T, CliError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = signals.next() => {}
        }
        if stop.is_cancelled() {
            return Err(CliError::Interrupted);
        }
        stop.cancel();
    }
}

/// Closes the state. A signal ends the wait for what can be done when it is next opened.
pub(super) fn close(
    runtime: Runtime,
    state: State,
    mut signals: StopSignals,
) -> Result<Vec<String>, StateError> {
    let haste = state.haste();
    let closed = runtime.block_on(async {
        let mut closing = spawn_blocking(move || state.close_telling());
        loop {
            tokio::select! {
                biased;
                closed = &mut closing => break closed,
                () = signals.next() => haste.make(),
            }
        }
    });
    // A file that is still being read belongs to a run that was cut off: it need not be waited for.
    runtime.shutdown_background();
    closed.unwrap_or(Err(StateError::Stopped))
}

/// Tells of each run as it ends; one that could not be recorded is the last.
async fn run_each(
    deliveries: Vec<Delivery>,
    stop: CancellationToken,
    ended: mpsc::Sender<Result<RunReport, StateError>>,
    mut told_of: Told,
) -> Told {
    for delivery in deliveries {
        if stop.is_cancelled() {
            break;
        }
        let job = delivery.job.name.clone();
        told_of.telling.began(&told_of.config, &job);
        let run = Box::pin(delivery::run(delivery, stop.child_token())).await;
        told_of.ended(&job, &run);
        let failed = run.is_err();
        if ended.send(run).await.is_err() || failed {
            break;
        }
    }
    told_of
}

/// What was learned of servers. Where there is no state yet, what is learned now is not kept: a
/// state folder belongs to whoever runs the jobs, and that may be somebody else.
pub(super) fn profiles(config: &Config) -> Profiles {
    let folder = &config.agent.state_dir;
    if folder.is_dir() { Profiles::open(&folder.join(Profiles::FILE)) } else { Profiles::in_memory() }
}

/// A server, ready for sessions.
pub(super) fn remote(
    config: &Config,
    name: &ServerName,
    profiles: &Arc<Profiles>,
) -> Result<Remote, CliError> {
    let server = server(config, name)?;
    let password = secret::resolve(&server.password)
        .map_err(|source| CliError::Secret { server: name.clone(), source })?;
    Ok(Remote::new(server.clone(), password, Deadlines::default(), Arc::clone(profiles))?)
}

pub(super) fn server<'c>(config: &'c Config, name: &ServerName) -> Result<&'c Server, CliError> {
    config.servers.get(name).ok_or_else(|| CliError::UnknownServer { name: name.clone() })
}

/// Finds out what a run of a job would do, without a connection and without a trace; `take`
/// takes it file by file.
pub(super) fn plan(
    config: &Config,
    job: &Job,
    take: &mut dyn FnMut(Planned) -> Result<(), CliError>,
    notice: &dyn Fn(&str),
) -> Result<(), CliError> {
    let server = server(config, &job.server)?;
    let target = Target::of(job, server);
    let clock = SystemClock;
    let root = SourceRoot::of(job)?;
    let filter = carrying(Filter::of(job)?, job, server);
    let scan = root.scan(&filter, || clock.now());
    // Nothing was ever delivered where there is no state; planning does not make any.
    let begun = State::is_begun(&config.agent.state_dir);
    let state = begun.then(|| open(config)).transpose()?;
    let mut planned = |action: Action| shown(action, job, server, &root).map_or(Ok(()), &mut *take);
    let Some(opened) = state else {
        let nothing = std::iter::empty::<Result<_, StateError>>();
        for action in plan::plan(scan, nothing, |path| filter.admits(path)) {
            planned(action?)?;
        }
        return Ok(());
    };
    opened.notices.iter().for_each(|text| notice(text));
    let manifest = opened.state.manifest(target.id())?;
    for action in plan::plan(scan, manifest.entries(), |path| filter.admits(path)) {
        planned(action?)?;
    }
    drop(manifest);
    Ok(opened.state.close()?)
}

/// The filter, for what this server can be told.
pub(super) fn carrying(filter: Filter, job: &Job, server: &Server) -> Filter {
    let (server, destination) = (server.clone(), job.destination.clone());
    filter.carrying(move |path| check_path(&server, &destination.join(path)).is_ok())
}

pub(super) fn open(config: &Config) -> Result<Opened, StateError> {
    State::open_keeping(&config.agent.state_dir, Arc::new(SystemClock), config.ledger.retain)
}

/// Hands over the ledger's records, oldest first, also while somebody writes to it.
pub(super) fn records(config: &Config, visit: &mut dyn FnMut(LedgerLine<'_>)) -> Result<(), CliError> {
    Ok(read_ledger(&config.agent.state_dir, visit)?)
}

/// Checks the whole ledger, also while somebody writes to it.
pub(super) fn ledger(config: &Config) -> Result<LedgerSummary, CliError> {
    Ok(verify_ledger(&config.agent.state_dir)?)
}

/// Whether a file of this path can be sent, and its sidecars; the error says why not.
pub(super) fn check_sendable(job: &Job, server: &Server, path: &RelPath) -> Result<(), String> {
    check_path(server, &job.destination.join(path)).map_err(|error| error.to_string())?;
    job.sidecars.check_name(path).map_err(|error| error.to_string())
}

/// An action in the words of `nightferry plan`. `None` where there is nothing to say of a file.
fn shown(action: Action, job: &Job, server: &Server, root: &SourceRoot) -> Option<Planned> {
    let planned = |action, name: String, size, reason: String| Some(Planned { action, name, size, reason });
    let file = |action, path: RelPath, stat: FileStat, reason: Reason, twins: &Twins| {
        if let Err(reason) = check_sendable(job, server, &path) {
            return planned(PlannedAction::Fail, path.to_string(), Some(stat.size), reason);
        }
        let mut reason = reason.to_string();
        for twin in twins.iter() {
            reason = format!("{reason}; {twin}: refused if the server does not tell the two apart");
        }
        planned(action, path.to_string(), Some(stat.size), reason)
    };
    if let Action::Send { path, stat, observed_at, .. } | Action::Hash { path, stat, observed_at, .. } =
        &action
        && let Some(cause) = waits_for(job, root, path, stat, *observed_at)
    {
        return planned(PlannedAction::Wait, path.to_string(), Some(stat.size), format!("not yet: {cause}"));
    }
    match action {
        Action::Send { path, stat, reason, twins, .. } => {
            file(PlannedAction::Send, path, stat, reason, &twins)
        }
        // Its bytes are read as well; the same ones stay presumed.
        Action::Hash { path, known, .. } if known.status == EntryStatus::Presumed => {
            planned(PlannedAction::Presumed, path.to_string(), None, presumed_reason(&job.name))
        }
        Action::Hash { path, stat, reason, twins, .. } => {
            file(PlannedAction::Read, path, stat, reason, &twins)
        }
        Action::Unchanged { path } => {
            planned(PlannedAction::Unchanged, path.to_string(), None, "as it was delivered".to_owned())
        }
        Action::Presumed { path } => {
            planned(PlannedAction::Presumed, path.to_string(), None, presumed_reason(&job.name))
        }
        Action::Attested { path } => {
            let reason = "presumed before; the receiver has it, as a person said".to_owned();
            planned(PlannedAction::Attested, path.to_string(), None, reason)
        }
        Action::Skip { name, reason } => planned(PlannedAction::Skip, name, None, reason),
        Action::Refuse { name, reason } | Action::Unreadable { name, reason } => {
            planned(PlannedAction::Fail, name, None, reason)
        }
        Action::Missing { path, .. } => {
            let reason = match job.deletes.remote {
                RemoteDelete::Keep => return None,
                RemoteDelete::Trash => "gone from the source: it goes to the trash on the server",
                RemoteDelete::Delete => "gone from the source: it is deleted on the server",
            };
            planned(PlannedAction::Remove, path.to_string(), None, reason.to_owned())
        }
        Action::End(_) => None,
    }
}
