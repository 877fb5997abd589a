//! Rounds: what was delivered is held against the server again, though nobody asked.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::Supervisor;
use super::reload::{Loaded, Reading};
use super::runs::Ended;
use crate::agent::keeper::Running;
use crate::agent::watched::Watched;
use crate::audit::{self, Audit, Depth};
use crate::domain::{
    AuditCounts, AuditKind, AuditReport, EntryStatus, EventSink, HeldToWindows, JobName, Scope, TargetId,
    Timestamp, Trigger, Triggers,
};
use crate::plain::chain;
use crate::state::{State, StateError};

/// What is known of all that a job delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It stands on the server.
    Whole,
    /// Something is missing or changed.
    Lacking,
}

impl Supervisor {
    /// Begins a round where one is due: the longest due first, and one at a time, so that the jobs of
    /// an agent that was off for a while do not come together.
    pub(super) fn begin_round(&mut self, now: Timestamp) {
        let mut running = self.keepers.values().filter_map(|keeper| keeper.running.as_ref());
        if self.broken.is_some() || running.any(|running| running.audit.is_some()) {
            return;
        }
        let ready = self.keepers.iter().filter(|(_, keeper)| keeper.is_ready_for_a_round(now));
        let first = ready.min_by_key(|(_, keeper)| keeper.next_round(now)).map(|(name, _)| name.clone());
        let Some((name, keeper)) = first.and_then(|name| Some((name.clone(), self.keepers.get_mut(&name)?)))
        else {
            return;
        };
        keeper.pending.occupy();
        let watched = Arc::new(Watched::new(name.clone(), Vec::new(), self.meter.clone()));
        let limit = keeper.job.timing.limit(now, HeldToWindows::Yes);
        let audit = Audit {
            job: keeper.job.clone(),
            target: keeper.target(),
            remote: Arc::clone(&keeper.remote),
            state: self.state.clone(),
            clock: Arc::clone(&self.clock),
            sink: Arc::clone(&watched) as Arc<dyn EventSink>,
            limit,
            backoff: Audit::BACKOFF,
        };
        keeper.running = Some(Running {
            watched,
            audit: Some(AuditKind::Verify),
            since: now,
            triggers: Triggers::default(),
            scope: Scope::All,
            limit: limit.map(|limit| limit.cause),
            followers: Vec::new(),
        });
        let stop = self.stop.child_token();
        let verify =
            async move { Ended::Round(Box::pin(audit::verify(audit, Depth::default(), stop)).await) };
        let task = self.runs.spawn(verify);
        self.tasks.insert(task.id(), name);
    }

    /// Takes in the end of a round. What differs is asked for again; the run follows at once.
    pub(super) fn round_ended(&mut self, name: &JobName, report: Result<AuditReport, StateError>) {
        let report = match report {
            Ok(report) => report,
            Err(error) => return self.broke(&error),
        };
        let now = self.clock.now();
        let AuditCounts { missing, changed, .. } = report.counts;
        if let Some(keeper) = self.keepers.get_mut(name) {
            if let Some(past) = keeper.past.as_mut() {
                past.verified(now, report.stopped.as_ref(), &report.counts);
            }
            if missing + changed > 0 {
                // It follows the round that just ended.
                let _remembered = keeper.pending.ask(Trigger::Repair);
            }
        }
        self.telling.verified(&self.config, &report);
    }

    /// It is tried again as one that reached nothing: not at once, or it would die all day long.
    pub(super) fn round_died(&mut self, name: &JobName) {
        error!(job = %name, "A part of the program failed while it verified; please report it.");
        let now = self.clock.now();
        if let Some(past) = self.keepers.get_mut(name).and_then(|keeper| keeper.past.as_mut()) {
            past.verified(now, None, &AuditCounts { not_reached: 1, ..AuditCounts::default() });
        }
    }

    /// Looks whether a run brought back all that was found missing or changed; what has no source any
    /// more, or was left alone, is still so.
    pub(super) fn look_for_differences(&mut self, name: &JobName) {
        let Some(keeper) = self.keepers.get(name) else { return };
        let (state, target, name) = (self.state.clone(), keeper.target().id(), name.clone());
        self.read(Reading::Differing(name.clone()), move || {
            Loaded::Differing(name, standing(&state, target))
        });
    }

    pub(super) fn stands(&mut self, name: &JobName, standing: Result<Standing, StateError>) {
        match standing {
            Ok(Standing::Whole) => {
                info!(job = %name, "What was missing or changed stands on the server again.");
                self.telling.repaired(&self.config, name);
            }
            Ok(Standing::Lacking) => {
                warn!(job = %name, "Some of what is missing or changed on the server is not in the source any more.");
            }
            Err(error) => {
                warn!(job = %name, error = %chain(&error), "It cannot be read what still differs on the server.");
            }
        }
    }
}

/// Blocks: it reads all entries, up to the first that differs.
fn standing(state: &State, target: TargetId) -> Result<Standing, StateError> {
    for entry in state.manifest(target)?.entries() {
        let (_, entry) = entry?;
        if matches!(entry.status, EntryStatus::FoundMissing | EntryStatus::FoundChanged) {
            return Ok(Standing::Lacking);
        }
    }
    Ok(Standing::Whole)
}
