//! What a job did of late, as far as something is expected of it: a fold over its runs.

use super::history::RunEntry;
use crate::domain::{
    AuditCounts, Deliveries, Expectation, Failure, FailureClass, Punctuality, RunSuccess, Schedule,
    Timestamp, Trigger, Usual,
};
use crate::observe::{AlertKind, Expected, count};
use crate::trigger::{Coverage, Rounds};

/// What a job did of late.
#[derive(Clone, Debug)]
pub(super) struct Past {
    deliveries: Deliveries,
    usual: Usual,
    /// What its last scheduled run delivered, where that one ended well, and what was usual before it.
    last: Option<(u64, Usual)>,
    /// When what it delivered was looked at.
    pub(super) rounds: Rounds,
    /// Why the last verify did not look at everything, where it did not.
    pub(super) unverified: Option<Failure>,
}

impl Past {
    /// Nothing is known of the time before.
    pub(super) fn from(since: Timestamp) -> Self {
        let (deliveries, usual) = (Deliveries::from(since), Usual::default());
        let rounds = Rounds::from(since);
        Self { deliveries, usual, last: None, rounds, unverified: None }
    }

    /// Since when something is known of it.
    pub(super) const fn since(&self) -> Timestamp {
        self.deliveries.since()
    }

    /// Whether as many runs are known as can be, to tell what is usual.
    pub(super) fn knows_the_usual(&self) -> bool {
        self.usual.is_full()
    }

    /// Takes in a run that came to its end.
    pub(super) fn add(&mut self, entry: &RunEntry) {
        let Some(ended) = entry.ended else { return };
        let files = entry.counts.delivered.saturating_add(entry.counts.settled);
        let success = if entry.is_well() { RunSuccess::Whole } else { RunSuccess::Partial };
        self.deliveries.add(ended, files, success);
        let by_clock = |trigger: &Trigger| matches!(trigger, Trigger::Schedule { .. } | Trigger::CatchUp(_));
        if entry.is_well() && entry.triggers.iter().any(by_clock) {
            self.last = Some((files, self.usual.clone()));
            self.usual.add(files);
        }
    }

    /// Takes in a verify that came to its end. One that a signal cut short counts as not begun.
    pub(super) fn verified(&mut self, ended: Timestamp, stopped: Option<&Failure>, counts: &AuditCounts) {
        let left = counts.left_to_do();
        let coverage = match stopped.map(|failure| failure.class) {
            Some(FailureClass::Interrupted) => return,
            None if left == 0 && counts.looked_at() == 0 => Coverage::Nothing,
            None if left == 0 => Coverage::Whole,
            _ => Coverage::Part,
        };
        self.unverified = (coverage == Coverage::Part).then(|| {
            let some = || format!("{} could not be looked at", count(left, "file"));
            stopped.cloned().unwrap_or_else(|| Failure::new(FailureClass::Temporary, some()))
        });
        self.rounds.ended(ended, coverage);
    }

    /// How the job stands with all that is expected of it; the oldest of its files that wait to be ready
    /// changed at `oldest_waiting`.
    pub(super) fn standings(
        &self,
        expectation: &Expectation,
        schedule: Option<&Schedule>,
        oldest_waiting: Option<Timestamp>,
        now: Timestamp,
    ) -> [Expected; 4] {
        let unusual = match (&self.last, expectation.unusual) {
            (Some((files, before)), Some(factor)) => before.judge(*files, factor),
            (_, _) => Punctuality::Open,
        };
        [
            (AlertKind::TooFew, expectation.daily(now, schedule, &self.deliveries)),
            (AlertKind::TooOld, expectation.age(now, &self.deliveries)),
            (AlertKind::Waiting, expectation.wait(now, oldest_waiting)),
            (AlertKind::Unusual, unusual),
        ]
        .map(|(kind, punctuality)| Expected { kind, punctuality, failure: None })
    }
}
