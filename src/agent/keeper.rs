//! What the agent knows of one job: when it runs, what waits, what runs, what came of it.

use std::sync::Arc;

use super::history::{LookBack, RunEntry};
use super::past::Past;
use super::protocol::Told;
use super::status::{JobState, JobStatus, RunStatus, Waiting};
use super::watched::{Follower, Watched};
use super::watches::{self, Poll, Watcher};
use crate::domain::{
    AgentId, AuditKind, Exit, Job, LimitCause, RunId, Scope, Target, Timestamp, Trigger, Triggers,
};
use crate::observe::{AlertKind, Expected};
use crate::remote::Remote;
use crate::trigger::{Asked, Due, DueSince, Pending, Planner, RetryTrigger};

/// What the agent knows of one job.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) job: Job,
    pub(super) remote: Arc<Remote>,
    /// Whose rounds these are, so that those of others come at other times.
    agent: AgentId,
    pub(super) planner: Option<Planner>,
    pub(super) retry: RetryTrigger,
    pub(super) pending: Pending,
    /// A run that is to start, but not now: these are not the job's hours, or nothing can be recorded.
    pub(super) held: Option<Triggers>,
    pub(super) running: Option<Running>,
    /// Those who follow the next run, and the deletions that a person approved for it.
    pub(super) followers: Vec<Follower>,
    pub(super) approved: Option<RunId>,
    pub(super) last: Option<RunEntry>,
    pub(super) last_well: Option<Timestamp>,
    pub(super) oldest_waiting: Option<Waiting>,
    /// What of its past is known; `None` as long as the ledger was never read.
    pub(super) past: Option<Past>,
    /// How far back the ledger is being read for it: what is known may be too little until then.
    pub(super) reading: Option<LookBack>,
    /// Since when a round is seen to be due.
    round_due_since: DueSince,
    pub(super) stay: Stay,
    /// The watch over its source.
    pub(super) watcher: Option<Watcher>,
    /// What of its source is due.
    pub(super) source: watches::Due,
}

/// Whether a job stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Kept,
    /// It does not any more; its run may end.
    Leaving,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) watched: Arc<Watched>,
    /// What it was begun for, where that is not delivery.
    pub(super) audit: Option<AuditKind>,
    pub(super) since: Timestamp,
    pub(super) triggers: Triggers,
    /// What of the source it looks at.
    pub(super) scope: Scope,
    /// What would end it.
    pub(super) limit: Option<LimitCause>,
    pub(super) followers: Vec<Follower>,
}

impl Keeper {
    pub(super) fn new(job: Job, remote: Arc<Remote>, agent: AgentId) -> Self {
        Self {
            job,
            remote,
            agent,
            planner: None,
            retry: RetryTrigger::default(),
            pending: Pending::default(),
            held: None,
            running: None,
            followers: Vec::new(),
            approved: None,
            last: None,
            last_well: None,
            oldest_waiting: None,
            past: None,
            reading: None,
            round_due_since: DueSince::default(),
            stay: Stay::Kept,
            watcher: None,
            source: watches::Due::default(),
        }
    }

    pub(super) fn target(&self) -> Target {
        Target::of(&self.job, self.remote.server())
    }

    /// Takes in a trigger. What a run is to start for comes back, where one is.
    pub(super) fn ask(&mut self, trigger: Trigger) -> Option<Triggers> {
        if let Some(mut held) = self.held.take() {
            held.add(trigger);
            return Some(held);
        }
        match self.pending.ask(trigger) {
            Asked::Start(triggers) => Some(triggers),
            Asked::Remembered => None,
        }
    }

    /// What its schedule and its failures ask for.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Due> {
        if self.stay == Stay::Leaving {
            return Vec::new();
        }
        let mut due: Vec<Due> =
            self.planner.as_mut().and_then(|planner| planner.poll(now)).into_iter().collect();
        if self.source.poll(now) == Poll::Due {
            due.push(Due::Run(Trigger::Watch));
        }
        if self.job.timing.windows.is_open(now) {
            due.extend(self.retry.poll(now).map(Due::Run));
        }
        due
    }

    /// Whether a run for these may start now, as far as the job's hours go.
    pub(super) fn may_start(&self, triggers: &Triggers, now: Timestamp) -> bool {
        is_by_hand(triggers) || self.job.timing.windows.is_open(now)
    }

    /// When there is something to look at.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        if self.stay == Stay::Leaving {
            return None;
        }
        let windows = &self.job.timing.windows;
        let planned = self.planner.as_ref().and_then(|planner| planner.next_look(now));
        let again = self.retry.due().and_then(|due| windows.opens(due.max(now)));
        let held = self.held.as_ref().and_then(|_| windows.opens(now)).filter(|opens| *opens > now);
        // What is due and may not begin yet is begun when something ends or a minute is over.
        let round = self.next_round(now).and_then(|at| windows.opens(at.max(now))).filter(|at| *at > now);
        planned.into_iter().chain(again).chain(held).chain(round).chain(self.source.next_look()).min()
    }

    /// What is expected of it is held against this; `None` as long as the ledger is read.
    fn whole_past(&self) -> Option<&Past> {
        self.past.as_ref().filter(|_| self.reading.is_none())
    }

    /// When its next round is due; `None` where none is wanted, or its past is not known yet.
    pub(super) fn next_round(&self, now: Timestamp) -> Option<Timestamp> {
        let (every, past) = (self.job.timing.verify_every?, self.whole_past()?);
        Some(past.rounds.next(every, self.agent, &self.job.name, now))
    }

    /// Whether a round is due and nothing else is to be done.
    pub(super) fn is_ready_for_a_round(&self, now: Timestamp) -> bool {
        let is_idle = self.running.is_none() && self.held.is_none() && self.retry.due().is_none();
        self.stay == Stay::Kept
            && is_idle
            && self.job.timing.windows.is_open(now)
            && self.next_round(now).is_some_and(|due| due <= now)
    }

    /// How it stands with all that is expected of it; nothing where its past is not known yet.
    pub(super) fn standings(&mut self, now: Timestamp) -> impl Iterator<Item = Expected> {
        let due_since = self.round_due_since.look(self.next_round(now), now);
        let timing = &self.job.timing;
        let waiting = self.oldest_waiting.as_ref().map(|oldest| oldest.since);
        let judge = |past: &Past| {
            let rounds = timing.verify_every.map(|every| Expected {
                kind: AlertKind::NotVerified,
                punctuality: past.rounds.punctuality(every, due_since, now),
                failure: past.unverified.clone(),
            });
            let schedule = timing.schedule.as_ref();
            past.standings(&timing.expectation, schedule, waiting, now).into_iter().chain(rounds)
        };
        self.whole_past().map(judge).into_iter().flatten()
    }

    pub(super) fn status(&self, now: Timestamp) -> JobStatus {
        let state = match (&self.running, &self.held) {
            (Some(running), _) => {
                let (run, progress) = running.watched.now();
                let (since, triggers) = (running.since, running.triggers.clone());
                JobState::Running(RunStatus { run, audit: running.audit, since, triggers, progress })
            }
            (None, Some(_)) => JobState::Held,
            (None, None) => JobState::Idle,
        };
        JobStatus {
            job: self.job.name.clone(),
            server: self.job.server.clone(),
            state,
            zone: self.job.timing.zone.map(|zone| zone.name().to_owned()),
            next_run: self.planner.as_ref().and_then(|planner| planner.next_look(now)),
            next_try: self.retry.due(),
            is_watched: self.job.watch.is_some(),
            watch: self.watcher.as_ref().and_then(|watcher| watcher.status.clone()),
            remembered: self.pending.remembered().clone(),
            last: self.last.clone(),
            last_well: self.last_well,
            last_verified: self.past.as_ref().and_then(|past| past.rounds.seen()),
            next_verify: self.next_round(now),
            expected_by: self.job.timing.expectation.daily.as_ref().and_then(|daily| daily.next_by(now)),
            failing: self.last.iter().flat_map(|last| last.failed.clone()).collect(),
            oldest_waiting: self.oldest_waiting.clone(),
        }
    }

    /// Tells those who follow the next run that there is none.
    pub(super) fn disappoint(&mut self, cause: &str, exit: Exit) {
        lost(&self.job, std::mem::take(&mut self.followers), cause, exit);
    }
}

impl Running {
    /// Tells all who follow what came of it.
    pub(super) fn end(self, told: &Told) {
        for follower in self.followers {
            drop(follower.last.send(told.clone()));
        }
    }
}

pub(super) fn lost(job: &Job, followers: Vec<Follower>, cause: &str, exit: Exit) {
    let told = Told::Lost { job: job.name.clone(), cause: cause.to_owned(), code: exit.code() };
    for follower in followers {
        drop(follower.last.send(told.clone()));
    }
}

/// Whether nothing but changes in the source is a reason: a run over these is enough.
pub(super) fn is_by_watch(triggers: &Triggers) -> bool {
    !triggers.is_empty() && triggers.iter().all(|trigger| *trigger == Trigger::Watch)
}

/// Whether a person wanted it, who knows what time it is.
pub(super) fn is_by_hand(triggers: &Triggers) -> bool {
    triggers.iter().any(|trigger| *trigger == Trigger::Manual)
}
