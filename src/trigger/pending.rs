//! One run of a job at a time, and one more that is remembered.

use crate::domain::{Trigger, Triggers};

/// Whether a job runs, and what it is to run for next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    running: bool,
    next: Triggers,
}

/// What came of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The job was idle: start a run for these, and tell of its end.
    Start(Triggers),
    /// It runs: one more run follows, for all that comes meanwhile.
    Remembered,
}

impl Pending {
    /// Takes in a trigger.
    pub fn ask(&mut self, trigger: Trigger) -> Asked {
        self.next.add(trigger);
        if self.running {
            return Asked::Remembered;
        }
        self.running = true;
        Asked::Start(std::mem::take(&mut self.next))
    }

    /// The job begins with something that no trigger asked for: what is asked for meanwhile waits.
    pub fn occupy(&mut self) {
        self.running = true;
    }

    /// The run ended; another one is to be started at once if triggers come back.
    #[must_use]
    pub fn ended(&mut self) -> Option<Triggers> {
        let next = std::mem::take(&mut self.next);
        self.running = !next.is_empty();
        self.running.then_some(next)
    }

    /// Whether a run was started and has not ended.
    pub const fn is_running(&self) -> bool {
        self.running
    }

    /// What a further run is remembered for.
    pub const fn remembered(&self) -> &Triggers {
        &self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Missed, Timestamp};

    #[test]
    fn one_run_and_one_more() {
        let due = |seconds| Trigger::Schedule { due: Timestamp::from_unix(seconds, 0) };
        let mut pending = Pending::default();
        assert_eq!(pending.ask(due(10)), Asked::Start(Triggers::of(due(10))));
        for trigger in [due(20), Trigger::Watch, Trigger::Watch, due(30)] {
            assert_eq!(pending.ask(trigger), Asked::Remembered);
        }
        let next = pending.ended().unwrap();
        let missed =
            Missed { first: Timestamp::from_unix(20, 0), last: Timestamp::from_unix(30, 0), times: 2 };
        assert_eq!(next.iter().copied().collect::<Vec<_>>(), [Trigger::CatchUp(missed), Trigger::Watch]);
        assert!(pending.is_running());
        assert_eq!(pending.ask(Trigger::Manual), Asked::Remembered);
        assert_eq!(pending.ended(), Some(Triggers::of(Trigger::Manual)));
        assert_eq!(pending.ended(), None);
        assert!(!pending.is_running());
        assert_eq!(pending.ask(Trigger::Watch), Asked::Start(Triggers::of(Trigger::Watch)));
    }

    #[test]
    fn what_is_asked_for_waits_for_what_nobody_asked_for() {
        let mut pending = Pending::default();
        pending.occupy();
        assert_eq!(pending.ask(Trigger::Manual), Asked::Remembered);
        assert_eq!(pending.ended(), Some(Triggers::of(Trigger::Manual)));
        assert_eq!(pending.ended(), None);
        pending.occupy();
        assert_eq!(pending.ended(), None);
        assert!(!pending.is_running());
    }
}
