//! Runs: how they start, and what follows from their end.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{Phase, Supervisor, TaskEnded};
use crate::agent::history::RunEntry;
use crate::agent::keeper::{Running, Stay, is_by_hand, is_by_watch, lost};
use crate::agent::protocol::Told;
use crate::agent::status::Waiting;
use crate::agent::watched::{Guard, Watched};
use crate::delivery::{self, Delivery};
use crate::domain::{
    AuditReport, EventSink, Exit, FailureClass, HeldToWindows, JobName, LimitCause, RunReport, Scope,
    Trigger, Triggers,
};
use crate::observe::AlertKind;
use crate::plain::chain;
use crate::state::StateError;

/// A run that ended.
#[derive(Debug)]
pub(super) enum Ended {
    Delivery(Result<Box<RunReport>, StateError>),
    Round(Result<AuditReport, StateError>),
}

impl Supervisor {
    /// Starts a run, or holds it until it may start.
    pub(super) fn start(&mut self, name: &JobName, triggers: Triggers) {
        let now = self.clock.now();
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        if self.broken.is_some() || !keeper.may_start(&triggers, now) {
            keeper.held = Some(triggers);
            return;
        }
        let windows = if is_by_hand(&triggers) { HeldToWindows::No } else { HeldToWindows::Yes };
        let limit = keeper.job.timing.limit(now, windows);
        let changed = keeper.source.take().unwrap_or_default();
        let scope = if is_by_watch(&triggers) { changed } else { Scope::All };
        let followers = std::mem::take(&mut keeper.followers);
        let events = followers.iter().map(|follower| follower.events.clone()).collect();
        let watched = Arc::new(Watched::new(name.clone(), events, self.meter.clone()));
        let delivery = Delivery {
            job: keeper.job.clone(),
            target: keeper.target(),
            remote: Arc::clone(&keeper.remote),
            state: self.state.clone(),
            clock: Arc::clone(&self.clock),
            sink: Arc::clone(&watched) as Arc<dyn EventSink>,
            triggers: triggers.clone(),
            limit,
            scope: scope.clone(),
            approved: keeper.approved.take(),
            backoff: Delivery::BACKOFF,
            resume_from: Delivery::RESUME_FROM,
        };
        if scope == Scope::All {
            keeper.retry.overtaken();
        }
        let limit = limit.map(|limit| limit.cause);
        keeper.running =
            Some(Running { watched, audit: None, since: now, triggers, scope, limit, followers });
        self.telling.began(&self.config, name);
        let stop = self.stop.child_token();
        let task = self.runs.spawn(async move {
            Ended::Delivery(Box::pin(delivery::run(delivery, stop)).await.map(Box::new))
        });
        self.tasks.insert(task.id(), name.clone());
    }

    /// Takes in the end of a run, and starts the one that was remembered.
    pub(super) fn ended(&mut self, ended: TaskEnded) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => (error.id(), None),
        };
        let Some(name) = self.tasks.remove(&id) else { return };
        let running = self.keepers.get_mut(&name).and_then(|keeper| keeper.running.take());
        let Some(running) = running else { return };
        match ended {
            Some(Ended::Delivery(Ok(report))) => self.reported(&name, running, *report),
            Some(Ended::Delivery(Err(error))) => self.unrecorded(&name, running, &error),
            Some(Ended::Round(report)) => self.round_ended(&name, report),
            None if running.audit.is_some() => self.round_died(&name),
            None => self.died(&name, running),
        }
        if self.broken.is_none() && self.state.is_stopped() {
            // It began well, and the disk was full in the midst of it.
            self.broke(&StateError::Stopped);
        }
        self.follow_up(&name);
    }

    fn reported(&mut self, name: &JobName, running: Running, report: RunReport) {
        let (now, random) = (self.clock.now(), self.clock.random());
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let entry = RunEntry::of(&report, running.since, now);
        keeper.oldest_waiting = Waiting::after(keeper.oldest_waiting.take(), &report, &running.scope, now);
        if entry.is_well() {
            keeper.last_well = entry.ended;
        }
        if let Some(past) = keeper.past.as_mut() {
            past.add(&entry);
        }
        keeper.last = Some(entry);
        match running.watched.guard() {
            Guard::Quiet => keeper.retry.ended(&report, &running.scope, now, random),
            Guard::Tripped => keeper.retry.guarded(now, random),
        }
        keeper.source.left_waiting(&report, &running.scope);
        let is_over =
            |class| class == FailureClass::Deadline && running.limit == Some(LimitCause::WindowClosed);
        if report.stopped.as_ref().is_some_and(|failure| is_over(failure.class)) {
            // It goes on when its hours come again.
            let _remembered = keeper.pending.ask(Trigger::Retry { attempt: 2 });
        } else if let Some(due) = keeper.retry.due() {
            info!(job = %name, at = %due.to_seconds(), "The job is tried again.");
        }
        let was_unwell = self.telling.is_open(name, AlertKind::Run);
        self.telling.ended(&self.config, &report, &running.scope);
        if was_unwell && !self.telling.is_open(name, AlertKind::Run) {
            info!(job = %name, "The job is well again.");
        }
        if self.state.is_stopped() && report.exit() != Exit::Done {
            self.again(name, &running);
        }
        let is_whole = report.exit() == Exit::Done && running.scope == Scope::All;
        if is_whole && self.telling.is_open(name, AlertKind::Verify) {
            self.look_for_differences(name);
        }
        self.look_out_soon();
        running.end(&Told::Report(Box::new(report)));
    }

    /// The run could not even be recorded: it is begun again once that is possible.
    fn unrecorded(&mut self, name: &JobName, running: Running, error: &StateError) {
        self.broke(error);
        self.telling.lost(&self.config, name, &format!("its run cannot be recorded: {}", chain(error)));
        self.again(name, &running);
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        lost(&keeper.job, running.followers, &chain(error), error.exit());
    }

    /// What could not be recorded is begun again once that is possible.
    fn again(&mut self, name: &JobName, running: &Running) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        running.triggers.iter().for_each(|trigger| drop(keeper.pending.ask(*trigger)));
        keeper.source.add(running.scope.clone());
    }

    fn died(&mut self, name: &JobName, running: Running) {
        error!(job = %name, "A part of the program failed during the run; please report it.");
        self.telling.lost(&self.config, name, "a part of the program failed; please report it");
        if let Some(keeper) = self.keepers.get_mut(name) {
            keeper.source.add(running.scope);
            lost(
                &keeper.job,
                running.followers,
                "a part of the program failed; please report it",
                Exit::Other,
            );
        }
    }

    fn follow_up(&mut self, name: &JobName) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let next = keeper.pending.ended();
        if self.phase != Phase::Working || keeper.stay == Stay::Leaving {
            keeper.disappoint("the agent does not run the job any more", Exit::Interrupted);
            if keeper.stay == Stay::Leaving {
                self.keepers.remove(name);
                warn!(job = %name, "The job's last run has ended; it stands in the configuration no more.");
            }
            return;
        }
        if let Some(triggers) = next {
            self.start(name, triggers);
        }
    }
}
