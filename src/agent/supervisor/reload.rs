//! The configuration taken in: at the start, and again when a signal asks for it.

use std::sync::Arc;

use tokio::task::{self, JoinError, spawn_blocking};
use tracing::{error, info, warn};

use super::rounds::Standing;
use super::{Supervisor, path_of};
use crate::agent::error::AgentError;
use crate::agent::history::{History, LookBack, RunEntry};
use crate::agent::keeper::{Keeper, Stay};
use crate::agent::past::Past;
use crate::agent::servers::Servers;
use crate::config::{self, AgentConfig, Config, ConfigError};
use crate::domain::{JobName, Record, Schedule, Scheduled, Timestamp};
use crate::plain::chain;
use crate::state::StateError;
use crate::trigger::Planner;

/// What is read beside the loop, for a task that dies.
#[derive(Debug)]
pub(super) enum Reading {
    Config,
    History(Vec<LookBack>),
    Differing(JobName),
}

/// What was read beside the loop.
pub(super) enum Loaded {
    Config(Result<Box<(Config, Servers)>, AgentError>),
    /// What jobs did before, as far back as these say.
    History(Vec<LookBack>, Result<Box<History>, StateError>),
    /// Whether something of what a job delivered is still known to be missing or changed.
    Differing(JobName, Result<Standing, StateError>),
}

/// What was read, with the tasks that did it.
pub(super) type TaskLoaded = Result<(task::Id, Loaded), JoinError>;

impl Supervisor {
    /// Begins to read the configuration again.
    pub(super) fn reload(&mut self) {
        self.service.reloading();
        let (path, profiles, before) =
            (path_of(&self.config), Arc::clone(&self.profiles), self.servers.clone());
        self.read(Reading::Config, move || {
            let read = config::load(&path).map_err(AgentError::from);
            Loaded::Config(read.and_then(|config| {
                let servers = Servers::of(&config, &profiles, &before)?;
                Ok(Box::new((config, servers)))
            }))
        });
    }

    /// Has something read beside the loop, which does not wait for it. `read` blocks.
    pub(super) fn read(&mut self, reading: Reading, read: impl FnOnce() -> Loaded + Send + 'static) {
        let task = self.loading.spawn_blocking(read);
        self.readings.insert(task.id(), reading);
    }

    pub(super) async fn loaded(&mut self, loaded: TaskLoaded) {
        let id = loaded.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let reading = self.readings.remove(&id);
        match loaded.map(|(_, loaded)| loaded) {
            Ok(Loaded::Config(Ok(read))) => {
                let (config, servers) = *read;
                self.take(config, servers).await;
                self.service.ready();
            }
            Ok(Loaded::Config(Err(error))) => {
                self.refuse(&error);
                self.service.ready();
            }
            Ok(Loaded::History(looks, Ok(history))) => self.remember(&looks, Some(&history)),
            Ok(Loaded::History(looks, Err(error))) => {
                warn!(error = %chain(&error), "The ledger cannot be read for what came before.");
                self.remember(&looks, None);
            }
            Ok(Loaded::Differing(name, standing)) => self.stands(&name, standing),
            Err(_) => self.reading_died(reading),
        }
    }

    /// What was known before goes on counting.
    fn reading_died(&mut self, reading: Option<Reading>) {
        match reading {
            Some(Reading::Config) => {
                let cause = "a part of the program failed while it was read; please report it".to_owned();
                error!(%cause, "The configuration is refused; the agent goes on with the one it has.");
                self.refused = Some(cause);
                self.service.ready();
            }
            Some(Reading::History(looks)) => {
                error!(
                    "A part of the program failed while it read the ledger for what came before; please report it."
                );
                self.remember(&looks, None);
            }
            Some(Reading::Differing(name)) => {
                error!(job = %name, "A part of the program failed while it read what still differs on the server; please report it.");
            }
            None => error!("A part of the program failed; please report it."),
        }
    }

    /// The old configuration goes on.
    fn refuse(&mut self, error: &AgentError) {
        if let AgentError::Config(ConfigError::Invalid(problems)) = error {
            let file = self.config.path.display().to_string();
            for problem in problems.iter() {
                let (at, key, remedy) =
                    (problem.at, &problem.key_path, problem.remedy.as_deref().unwrap_or_default());
                let (line, column, reason) = (at.line, at.column, &problem.reason);
                error!(%file, line, column, %key, %reason, %remedy, "The configuration has a mistake.");
            }
        }
        let text = chain(error);
        let first = text.lines().next().unwrap_or_default().to_owned();
        let remedy = error.remedy().unwrap_or_default();
        error!(cause = %first, %remedy, "The configuration is refused; the agent goes on with the one it has.");
        self.refused = Some(first);
    }

    /// Unchanged jobs are not touched; of changed ones the next run is another.
    async fn take(&mut self, config: Config, servers: Servers) {
        let opened = |config: &Config| {
            let AgentConfig { state_dir, status, metrics_file, log, zone: _, notify: _ } =
                config.agent.clone();
            (state_dir, status, metrics_file, log, config.ledger)
        };
        if opened(&config) != opened(&self.config) {
            warn!(
                "Another `state_dir`, `status`, `metrics_file`, `log` or `ledger` counts only once the agent is started anew."
            );
        }
        let (mut new, mut changed, mut gone) = (0_usize, 0_usize, 0_usize);
        let (mut to_plan, mut to_recall, now) = (Vec::new(), Vec::new(), self.clock.now());
        for job in config.jobs.values() {
            let Some(remote) = servers.get(&job.server) else { continue };
            match self.keepers.get_mut(&job.name) {
                None => {
                    new += 1;
                    self.meter.begin(&job.name);
                    let mut keeper = Keeper::new(job.clone(), remote, self.state.agent());
                    keeper.watcher = self.watches.begin(job);
                    self.keepers.insert(job.name.clone(), keeper);
                    to_plan.push(job.name.clone());
                    to_recall.push(job);
                }
                Some(keeper) => {
                    let same = keeper.job == *job && Arc::ptr_eq(&keeper.remote, &remote);
                    changed += usize::from(!same || keeper.stay == Stay::Leaving);
                    if keeper.job.timing != job.timing || keeper.stay == Stay::Leaving {
                        to_plan.push(job.name.clone());
                    }
                    let (look, known) = (LookBack::of(job, now), LookBack::of(&keeper.job, now));
                    if look.reaches_beyond(&known) {
                        to_recall.push(job);
                    }
                    let watched_alike = (&keeper.job.watch, &keeper.job.source, keeper.job.symlinks)
                        == (&job.watch, &job.source, job.symlinks);
                    if !watched_alike || keeper.stay == Stay::Leaving {
                        keeper.watcher = self.watches.begin(job);
                    }
                    (keeper.job, keeper.remote, keeper.stay) = (job.clone(), remote, Stay::Kept);
                }
            }
        }
        // A job that is new to the agent may have a past: it was taken out once, or `sync` ran it. Of one that is
        // not, as much was read as was expected of it before.
        self.read_history(to_recall);
        self.keepers.retain(|name, keeper| {
            if config.jobs.contains_key(name) {
                return true;
            }
            gone += 1;
            (keeper.stay, keeper.planner, keeper.held) = (Stay::Leaving, None, None);
            keeper.watcher = None;
            keeper.running.is_some()
        });
        let AgentConfig { zone, notify, .. } = config.agent.clone();
        // What was opened stays until the end.
        let (agent, ledger) = (AgentConfig { zone, notify, ..self.config.agent.clone() }, self.config.ledger);
        self.config = Config { agent, ledger, ..config };
        self.meter.keep(|job| self.config.jobs.keys().any(|name| name.as_str() == job));
        self.servers = servers;
        self.refused = None;
        for name in to_plan {
            if let Err(error) = self.plan(&name).await {
                error!(job = %name, error = %chain(&error), "The job's schedule cannot be recorded.");
            }
        }
        self.telling.take_up(&self.config);
        self.look_out_soon();
        info!(new, changed, gone, "The configuration was taken in.");
    }

    /// Begins the schedules of all jobs, where the ledger says that they stopped.
    pub(super) async fn plan_all(&mut self) -> Result<(), AgentError> {
        for name in self.keepers.keys().cloned().collect::<Vec<_>>() {
            self.plan(&name).await?;
        }
        Ok(())
    }

    /// Begins a job's schedule. A new or changed one counts from now on.
    async fn plan(&mut self, name: &JobName) -> Result<(), AgentError> {
        let Some(keeper) = self.keepers.get_mut(name) else { return Ok(()) };
        keeper.planner = None;
        let Some(schedule) = keeper.job.timing.schedule.clone() else { return Ok(()) };
        let windows = keeper.job.timing.windows.clone();
        let (state, job) = (self.state.clone(), name.clone());
        let mark = spawn_blocking(move || state.schedule_mark(&job)).await.map_err(AgentError::died)??;
        let (now, written) = (self.clock.now(), written(&schedule));
        let known = mark.filter(|mark| mark.schedule.as_ref() == Some(&written));
        let from = known.as_ref().map_or(now, |mark| mark.dealt_with);
        let mut planner = Planner::new(self.state.agent(), name, schedule, windows, from);
        let misled = planner.is_misled(now);
        if misled {
            warn!(job = %name, until = %from.to_seconds(), "The clock was far ahead before; the schedule begins anew.");
            planner.begin_anew(now);
        }
        if misled || known.is_none() {
            let record = Record::Scheduled(Scheduled { job: name.clone(), schedule: written, from: now });
            self.state.commit_general(vec![record]).await?;
        }
        if let Some(keeper) = self.keepers.get_mut(name) {
            keeper.planner = Some(planner);
        }
        Ok(())
    }

    /// Takes in what was read; nothing where the ledger could not be. A job for which more is being read meanwhile
    /// waits for that.
    fn remember(&mut self, looks: &[LookBack], history: Option<&History>) {
        let now = self.clock.now();
        for look in looks {
            let name = &look.job;
            let awaited = |keeper: &&mut Keeper| keeper.reading.as_ref() == Some(look);
            let Some(keeper) = self.keepers.get_mut(name).filter(awaited) else { continue };
            keeper.reading = None;
            let Some(history) = history else {
                keeper.past.get_or_insert_with(|| Past::from(now));
                continue;
            };
            let known = history.last(name).map(|last| last.run);
            let past = keeper.past.insert(history.past(name).cloned().unwrap_or_else(|| Past::from(now)));
            // It ended after the ledger was read.
            keeper.last.iter().filter(|last| Some(last.run) > known).for_each(|last| past.add(last));
            if keeper.last.is_none() {
                keeper.last = history.last(name).cloned();
                if keeper.running.is_none() {
                    recall(keeper, history.newest(name), now, self.clock.random());
                }
            }
            keeper.last_well = keeper.last_well.max(history.last_well(name));
        }
        self.look_out_soon();
    }
}

/// What was to be tried again before the agent was started is so after it.
fn recall(keeper: &mut Keeper, newest: Option<&RunEntry>, now: Timestamp, random: u64) {
    let recalled = newest.and_then(|newest| newest.recalled(&keeper.job.timing.windows, now, random));
    let Some(retry) = recalled.filter(|_| keeper.retry.due().is_none()) else { return };
    if let Some(due) = retry.due() {
        info!(job = %keeper.job.name, at = %due.to_seconds(), "The job is tried again, as was due before the agent was started.");
    }
    keeper.retry = retry;
}

/// The schedule as the ledger knows it: expression and zone.
fn written(schedule: &Schedule) -> String {
    format!("{} {}", schedule.expression, schedule.zone)
}

#[cfg(test)]
mod tests;
