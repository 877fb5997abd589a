//! When a job's schedule wants a run, on a clock that may jump and a machine that may sleep.

use std::time::Duration;

use crate::domain::{AgentId, CatchUp, Digest, JobName, Missed, Schedule, Timestamp, Trigger, Windows};

/// Decides when the schedule of one job wants a run.
///
/// It keeps one point in time: up to there all scheduled times are dealt with. It moves forward
/// only, when [`poll`](Self::poll) answers, and comes from the ledger after a restart. So no time
/// is forgotten or answered twice, however the clock jumps: a clock that was put back brings
/// nothing again, one that was put forward (or a machine that slept) brings one run for all times
/// that it jumped over.
///
/// To be asked at [`next_look`](Self::next_look), and again at least once a minute, because the
/// clock may be changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planner {
    schedule: Schedule,
    windows: Windows,
    seed: u64,
    dealt_with: Timestamp,
}

/// What the schedule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A run.
    Run(Trigger),
    /// To record that these times were missed; no run makes up for them (`catch_up`).
    Skip(Missed),
}

impl Planner {
    /// How late a run may start and still be in time: a restart of the agent or of the machine takes
    /// less. Later is a case for `catch_up`.
    pub const IN_TIME: Duration = Duration::from_mins(5);

    /// How far in the future what is dealt with may lie: further, and the clock was wrong when that
    /// was recorded. Less is a clock that was set back since; the times in between are not repeated.
    pub const FURTHEST_AHEAD: Duration = Duration::from_hours(24);

    /// A job's schedule, of which all times up to `dealt_with` are dealt with.
    pub fn new(
        agent: AgentId,
        job: &JobName,
        schedule: Schedule,
        windows: Windows,
        dealt_with: Timestamp,
    ) -> Self {
        let digest = Digest::of(format!("{agent} {job}").as_bytes());
        Self { schedule, windows, seed: number(digest), dealt_with }
    }

    /// Up to where all scheduled times are dealt with.
    pub const fn dealt_with(&self) -> Timestamp {
        self.dealt_with
    }

    /// Whether what is dealt with lies so far ahead of the clock that it was recorded by a wrong
    /// one. Nothing would be due until then: begin anew from `now`, and record that.
    pub fn is_misled(&self, now: Timestamp) -> bool {
        self.dealt_with.since(now) > Self::FURTHEST_AHEAD
    }

    /// Begins anew: times up to `now` do not count.
    pub fn begin_anew(&mut self, now: Timestamp) {
        self.dealt_with = now;
    }

    /// What the schedule asks for now, if anything. What it answers with is dealt with from then
    /// on: record it before asking again.
    ///
    /// Scheduled times outside the windows wait until these open, and count as in time then.
    pub fn poll(&mut self, now: Timestamp) -> Option<Due> {
        if !self.windows.is_open(now) {
            return None;
        }
        let missed = self.open(now)?;
        self.dealt_with = missed.last;
        let late = now.since(self.start_of(missed.last));
        Some(match self.schedule.catch_up {
            _ if late <= Self::IN_TIME && missed.times == 1 => {
                Due::Run(Trigger::Schedule { due: missed.last })
            }
            _ if late <= Self::IN_TIME => Due::Run(Trigger::CatchUp(missed)),
            CatchUp::Always => Due::Run(Trigger::CatchUp(missed)),
            CatchUp::Within(limit) if now.since(missed.last) <= limit => Due::Run(Trigger::CatchUp(missed)),
            CatchUp::Within(_) | CatchUp::Never => Due::Skip(missed),
        })
    }

    /// When to ask again, by the clock as it is now: never later than a run is due.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.schedule.next_after(self.dealt_with)?;
        self.windows.opens(self.start_of(due).max(now))
    }

    /// The scheduled times whose start has come and that are not dealt with.
    fn open(&self, now: Timestamp) -> Option<Missed> {
        let has_come = |due: &Timestamp| *due <= now && self.start_of(*due) <= now;
        let first = self.schedule.next_after(self.dealt_with).filter(has_come)?;
        let mut missed = Missed::one(first);
        for due in self.schedule.all_after(first).take_while(has_come) {
            missed = missed.and(Missed::one(due));
            if missed.times >= Missed::MOST_COUNTED {
                // The rest is not counted, but dealt with all the same.
                let rest = self.schedule.last_until(due, now.minus(self.schedule.jitter));
                missed.last = rest.unwrap_or(due);
                break;
            }
        }
        Some(missed)
    }

    /// When the run for a scheduled time starts: as much later as jitter and windows say. The same
    /// for the same job and time, so that a restart neither doubles nor loses it.
    fn start_of(&self, due: Timestamp) -> Timestamp {
        // A window that never comes is refused in the configuration.
        let opens = self.windows.opens(due).unwrap_or(due);
        let start = opens.plus(self.jitter(due));
        // Jitter leads out of no window.
        if self.windows.is_open(start) { start } else { opens }
    }

    fn jitter(&self, due: Timestamp) -> Duration {
        let most = u64::try_from(self.schedule.jitter.as_nanos()).unwrap_or(u64::MAX);
        if most == 0 {
            return Duration::ZERO;
        }
        let text = format!("{} {}", self.seed, due.unix_nanos());
        Duration::from_nanos(number(Digest::of(text.as_bytes())) % most)
    }
}

/// The first eight bytes of a digest.
pub(super) fn number(digest: Digest) -> u64 {
    let bytes = digest.as_bytes().iter().take(8);
    bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;
