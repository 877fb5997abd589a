//! Trying again what failed for a passing reason, without waiting for the next event or schedule.

use std::time::Duration;

use crate::domain::{Counts, Failure, FailureClass, RunReport, Scope, Timestamp, Trigger};

/// Why a job is tried again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// What went wrong may have passed.
    Passing,
    /// The server has no room.
    NoRoom,
    /// A guard stopped the run.
    Guarded,
}

impl Again {
    /// Of a run that ended so, and which of its `files` failed so; `None` where another run would fare no better by
    /// itself. Of guards it knows nothing.
    pub fn of(
        stopped: Option<&Failure>,
        files: impl IntoIterator<Item = FailureClass>,
        counts: &Counts,
    ) -> Option<Self> {
        let may_pass = match stopped {
            Some(failure) => passes(failure.class),
            // Where there is no room, what was not reached waits for that.
            None => files.into_iter().any(passes) || (counts.not_reached > 0 && counts.no_room == 0),
        };
        if may_pass { Some(Self::Passing) } else { counts.is_parked(stopped).then_some(Self::NoRoom) }
    }
}

/// When a job is tried again after a run that failed for a passing reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryTrigger {
    /// Runs in a row that failed so.
    failures: u32,
    due: Option<Timestamp>,
}

impl RetryTrigger {
    /// The first wait: a run has tried for about a minute already.
    pub const FIRST: Duration = Duration::from_mins(1);
    /// The longest wait: a server that was down overnight is found again within half an hour.
    pub const LONGEST: Duration = Duration::from_mins(30);

    /// The wait of a job for which the server has no room. Somebody has to make some, and each try costs the server
    /// a file's bytes.
    pub const NO_ROOM: Duration = Duration::from_hours(1);

    /// Takes in what came of a run over `scope` that ended `now`; `random` is any number.
    ///
    /// The wait doubles with each failure in a row, from [`FIRST`](Self::FIRST) to
    /// [`LONGEST`](Self::LONGEST), and lies at random in the upper half of that, so that agents
    /// which failed together do not come back together. Where the server has no room it is
    /// [`NO_ROOM`](Self::NO_ROOM), in the same manner. A run over a part of the source says nothing of what is to be
    /// tried again elsewhere.
    pub fn ended(&mut self, report: &RunReport, scope: &Scope, now: Timestamp, random: u64) {
        match Again::of(report.stopped.as_ref(), report.classes.iter().copied(), &report.counts) {
            Some(again) => self.again(again, now, random),
            None if *scope == Scope::All || report.stopped.is_some() => *self = Self::default(),
            None => {}
        }
    }

    /// Takes in that a guard stopped a run that ended `now`. A person has to look, and nothing is gained
    /// by asking again soon; but a disk that was late is found by itself, after the longest wait.
    pub fn guarded(&mut self, now: Timestamp, random: u64) {
        self.again(Again::Guarded, now, random);
    }

    /// What is due after a start of the agent, which knows from the ledger that the last run ended `ended`, as try number
    /// `attempt` in a row: what would have been due without it, but not within the first half minute, and each job at
    /// its own time after that, so that all jobs do not come together.
    pub fn recalled(again: Again, attempt: u32, ended: Timestamp, now: Timestamp, random: u64) -> Self {
        let mut retry = Self { failures: attempt.saturating_sub(1), due: None };
        // Where it lies ahead, the clock was wrong then.
        retry.again(again, ended.min(now), random);
        let soonest = within(Self::FIRST, now, random);
        retry.due = retry.due.map(|due| due.max(soonest));
        retry
    }

    fn again(&mut self, again: Again, now: Timestamp, random: u64) {
        match again {
            Again::Passing => self.failed(now, random),
            Again::Guarded => {
                self.failures = self.failures.max(FAILURES_TO_LONGEST);
                self.failed(now, random);
            }
            Again::NoRoom => {
                self.failures = self.failures.saturating_add(1);
                let due = within(Self::NO_ROOM, now, random);
                // Files that come meanwhile do not put it off.
                self.due = Some(self.due.map_or(due, |known| known.min(due)));
            }
        }
    }

    fn failed(&mut self, now: Timestamp, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = Self::FIRST.saturating_mul(1 << doublings).min(Self::LONGEST);
        self.due = Some(within(longest, now, random));
    }

    /// When to try again; `None` where there is no need.
    pub const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// The trigger, once its time has come. A clock that was put back does not hold it up for
    /// longer than [`NO_ROOM`](Self::NO_ROOM).
    pub fn poll(&mut self, now: Timestamp) -> Option<Trigger> {
        let due = self.due?;
        if now < due && due.since(now) <= Self::NO_ROOM {
            return None;
        }
        self.due = None;
        Some(Trigger::Retry { attempt: self.failures.saturating_add(1) })
    }

    /// A run over all of the source starts for another reason: it does what the retry would have done.
    pub fn overtaken(&mut self) {
        self.due = None;
    }
}

/// A time at random in the upper half of a wait.
fn within(longest: Duration, now: Timestamp, random: u64) -> Timestamp {
    let half = longest / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    now.plus(half).plus(Duration::from_nanos(random % nanos))
}

/// After so many failures the wait is [`RetryTrigger::LONGEST`].
const FAILURES_TO_LONGEST: u32 = 5;

/// Whether another run may fare better by itself where something failed so.
const fn passes(class: FailureClass) -> bool {
    match class {
        // A mount that is late, a proof that a bad line spoiled.
        FailureClass::Temporary | FailureClass::Source | FailureClass::Verification => true,
        // A person has to act, or has acted; or the time for it is over.
        FailureClass::File
        | FailureClass::Refused
        | FailureClass::Trust
        | FailureClass::Deadline
        | FailureClass::Interrupted
        | FailureClass::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailedFile, Folders, MAX_FAILED_FILES_NAMED, RunId};

    fn report(class: Option<FailureClass>) -> RunReport {
        let mut report = RunReport::new(RunId(1), "j".parse().unwrap());
        report.stopped = class.map(|class| Failure::new(class, "why"));
        report
    }

    #[test]
    fn waits_grow_and_stay_in_their_range() {
        let mut retry = RetryTrigger::default();
        let now = Timestamp::from_unix(1_000, 0);
        for (failure, minutes) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (40, 30)] {
            retry.failures = failure - 1;
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let mut retry = retry.clone();
                retry.ended(&report(Some(FailureClass::Temporary)), &Scope::All, now, random);
                let wait = retry.due().unwrap().since(now);
                let longest = Duration::from_mins(minutes);
                assert!(wait >= longest / 2 && wait < longest, "{failure}: {wait:?}");
            }
        }
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let now = Timestamp::from_unix(1_000, 0);
        let mut retry = RetryTrigger::default();
        retry.ended(&report(Some(FailureClass::Temporary)), &Scope::All, now, 0);
        assert_eq!(retry.poll(now), None);
        assert_eq!(retry.poll(now.plus(RetryTrigger::FIRST)), Some(Trigger::Retry { attempt: 2 }));
        assert_eq!(retry.poll(now.plus(RetryTrigger::LONGEST)), None, "once");
        retry.ended(&report(Some(FailureClass::Temporary)), &Scope::All, now, 0);
        assert_eq!(retry.failures, 2);
        retry.overtaken();
        assert_eq!(retry.due(), None);
        for class in [None, Some(FailureClass::Trust), Some(FailureClass::Interrupted)] {
            retry.ended(&report(Some(FailureClass::Temporary)), &Scope::All, now, 0);
            retry.ended(&report(class), &Scope::All, now, 0);
            assert_eq!(retry, RetryTrigger::default(), "{class:?}");
        }
        let mut some = report(None);
        for class in [FailureClass::File, FailureClass::Temporary] {
            some.add_failed(FailedFile { name: "f".into(), failure: Failure::new(class, "why") });
        }
        retry.ended(&some, &Scope::All, now, 0);
        assert!(retry.due().is_some());
    }

    /// Of very many files that failed the last one alone may fare better.
    #[test]
    fn files_that_are_not_named_count_as_well() {
        let mut many = report(None);
        let classes = std::iter::repeat_n(FailureClass::File, MAX_FAILED_FILES_NAMED);
        for class in classes.chain([FailureClass::Temporary]) {
            many.add_failed(FailedFile { name: "f".into(), failure: Failure::new(class, "why") });
        }
        let mut retry = RetryTrigger::default();
        retry.ended(&many, &Scope::All, Timestamp::from_unix(1_000, 0), 0);
        assert!(retry.due().is_some());
    }

    #[test]
    fn files_that_a_run_did_not_reach_are_tried_again() {
        let not_reached = |no_room| Counts { not_reached: 1, no_room, ..Counts::default() };
        assert_eq!(Again::of(None, [], &not_reached(0)), Some(Again::Passing));
        assert_eq!(Again::of(None, [], &not_reached(1)), Some(Again::NoRoom));
        let by_hand = Failure::new(FailureClass::Interrupted, "a signal");
        assert_eq!(Again::of(Some(&by_hand), [], &not_reached(0)), None);
    }

    #[test]
    fn a_guard_is_not_asked_again_soon() {
        let now = Timestamp::from_unix(1_000, 0);
        for random in [0, u64::MAX / 3, u64::MAX] {
            let mut retry = RetryTrigger::default();
            retry.guarded(now, random);
            let wait = retry.due().unwrap().since(now);
            assert!(wait >= RetryTrigger::LONGEST / 2 && wait < RetryTrigger::LONGEST, "{wait:?}");
            retry.ended(&report(None), &Scope::All, now, random);
            assert_eq!(retry, RetryTrigger::default());
        }
    }

    #[test]
    fn a_server_without_room_is_asked_again_within_an_hour_whatever_comes_meanwhile() {
        let now = Timestamp::from_unix(1_000_000, 0);
        let (all, part) = (Scope::All, Scope::Folders(Folders::default()));
        let mut full = report(None);
        full.counts.no_room = 1;
        full.add_failed(FailedFile { name: "f".into(), failure: Failure::new(FailureClass::Refused, "552") });
        for stopped in [None, Some(Failure::new(FailureClass::Refused, "552"))] {
            full.stopped = stopped;
            let mut retry = RetryTrigger::default();
            retry.ended(&full, &all, now, u64::MAX / 3);
            let due = retry.due().unwrap();
            let wait = due.since(now);
            assert!(wait >= RetryTrigger::NO_ROOM / 2 && wait < RetryTrigger::NO_ROOM, "{wait:?}");
            // Watched files that come meanwhile: one that fits, one that does not.
            let later = now.plus(Duration::from_mins(5));
            assert_eq!(retry.poll(later), None);
            retry.ended(&report(None), &part, later, 0);
            retry.ended(&full, &part, later, u64::MAX / 3);
            assert_eq!(retry.due(), Some(due));
            assert!(matches!(retry.poll(due), Some(Trigger::Retry { .. })));
            retry.ended(&report(None), &all, due, 0);
            assert_eq!(retry, RetryTrigger::default());
        }
        // What a person has to look at is not tried again by itself.
        full.stopped = Some(Failure::new(FailureClass::Trust, "expired"));
        let mut retry = RetryTrigger::default();
        retry.ended(&full, &all, now, 0);
        assert_eq!(retry.due(), None);
    }

    #[test]
    fn after_a_start_it_is_due_when_it_would_have_been_but_not_at_once() {
        let now = Timestamp::from_unix(1_000_000, 0);
        let minutes = |minutes| Duration::from_mins(minutes);
        // Why, which try it was, how long ago; after how long it is tried again.
        for (again, attempt, ago, waits) in [
            (Again::Passing, 1, minutes(0), 30..=60),
            (Again::Passing, 1, minutes(600), 30..=60),
            (Again::Passing, 6, minutes(10), 300..=1_200),
            (Again::Guarded, 1, minutes(1), 840..=1_740),
            (Again::NoRoom, 1, minutes(10), 1_200..=3_000),
            (Again::NoRoom, 9, minutes(90), 30..=60),
        ] {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let mut retry = RetryTrigger::recalled(again, attempt, now.minus(ago), now, random);
                let wait = retry.due().unwrap().since(now).as_secs();
                assert!(waits.contains(&wait), "{again:?} {attempt} {ago:?}: {wait} s");
                let due = retry.poll(retry.due().unwrap());
                let tried = if again == Again::Guarded { FAILURES_TO_LONGEST + 2 } else { attempt + 1 };
                assert_eq!(due, Some(Trigger::Retry { attempt: tried }));
            }
        }
        // The clock was wrong when it was recorded.
        let retry = RetryTrigger::recalled(Again::Passing, 1, now.plus(minutes(60 * 24 * 365)), now, 7);
        assert!(retry.due().unwrap().since(now) <= RetryTrigger::FIRST);
        let due =
            |random| RetryTrigger::recalled(Again::Passing, 1, now.minus(minutes(600)), now, random).due();
        assert_ne!(due(1_000_000_000), due(9_000_000_000), "jobs come one after another");
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_hold_it_up() {
        let mut retry = RetryTrigger::default();
        let now = Timestamp::from_unix(1_000_000, 0);
        retry.ended(&report(Some(FailureClass::Temporary)), &Scope::All, now, 0);
        assert!(retry.poll(Timestamp::from_unix(500_000, 0)).is_some());
    }
}
