//! When a job may and must run.

use std::time::Duration;

use super::{Expectation, Schedule, Timestamp, Windows, Zone};

/// When a job may and must run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// In which its times are read and shown: that of the job, else that of the agent, else the system's if it
    /// has times to be read. `None` where nothing names one and none is needed.
    pub zone: Option<Zone>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// In which hours its transfers may run, whatever they were started for; a person who starts
    /// one by hand is not held to them.
    pub windows: Windows,
    /// How long a run may take.
    pub deadline: Option<Duration>,
    /// What should have been delivered by when.
    pub expectation: Expectation,
    /// How long it may be until the agent holds what was delivered against the server again; `None`
    /// where it does not by itself.
    pub verify_every: Option<Duration>,
}

impl Timing {
    /// When it runs by itself after `now`, without jitter: each scheduled time, or when the window
    /// opens after it.
    pub fn next_runs(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let start = |due: Timestamp| self.windows.opens(due).unwrap_or(due);
        let mut last = now;
        let dues = self.schedule.iter().flat_map(move |schedule| schedule.all_after(now));
        dues.map(start).filter(move |at| std::mem::replace(&mut last, *at) < *at)
    }

    /// How long a run that starts at `now` may go on, and what ends it then.
    pub fn limit(&self, now: Timestamp, windows: HeldToWindows) -> Option<RunLimit> {
        let closes = match windows {
            HeldToWindows::Yes => self.windows.closes(now),
            HeldToWindows::No => None,
        };
        let closes = closes.map(|at| RunLimit { after: at.since(now), cause: LimitCause::WindowClosed });
        let deadline = self.deadline.map(|after| RunLimit { after, cause: LimitCause::Deadline });
        closes.into_iter().chain(deadline).min_by_key(|limit| limit.after)
    }
}

/// Whether a run keeps to the job's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldToWindows {
    /// It was started by itself.
    Yes,
    /// A person started it, who knows what time it is.
    No,
}

/// When a run has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimit {
    /// How long after its start.
    pub after: Duration,
    /// What ends it then.
    pub cause: LimitCause,
}

/// Why a run has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitCause {
    /// The job's `deadline`.
    Deadline,
    /// The hours in which it may run are over.
    WindowClosed,
}
