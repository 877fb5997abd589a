//! What should have been delivered by when: what is late though nothing failed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Days, Schedule, TimeOfDay, Timestamp, Zone};

/// What should have been delivered by when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// A number of files every day.
    pub daily: Option<DailyExpectation>,
    /// How old the last run that ended well may become.
    pub max_age: Option<Duration>,
}

/// A number of files by a time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyExpectation {
    /// The time of day.
    pub by: TimeOfDay,
    /// By whose clock.
    pub zone: Zone,
    /// On which days; none given: those on which a scheduled time lies in the day before `by`, or
    /// every day where there is no schedule.
    pub days: Option<Days>,
    /// How many files since the day before, at least.
    pub at_least: u64,
}

/// What is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Too few files were delivered.
    TooFew {
        /// Until when they were expected.
        by: Timestamp,
        /// How many.
        expected: u64,
        /// How many came.
        delivered: u64,
    },
    /// No run ended well for too long.
    TooOld {
        /// When the last one did.
        last: Option<Timestamp>,
        /// How long ago that may be.
        max_age: Duration,
    },
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { by, expected, delivered } => {
                write!(f, "{delivered} of {expected} expected files were delivered by {}", by.to_seconds())
            }
            Self::TooOld { last: Some(last), .. } => {
                write!(f, "no run has ended well since {}", last.to_seconds())
            }
            Self::TooOld { last: None, .. } => f.write_str("no run has ended well yet"),
        }
    }
}

impl Expectation {
    /// What is late now: at most one of each kind. What was to be there by a time of day stays late
    /// until it is delivered, or the next such time comes. Nothing is said of times before
    /// `deliveries` begin.
    pub fn check(&self, now: Timestamp, schedule: Option<&Schedule>, deliveries: &Deliveries) -> Vec<Late> {
        let daily = self.daily.as_ref().and_then(|daily| daily.check(now, schedule, deliveries));
        let aged = self.max_age.and_then(|max_age| {
            let last = deliveries.last_success;
            let reference = last.unwrap_or(deliveries.since);
            (now.since(reference) > max_age).then_some(Late::TooOld { last, max_age })
        });
        daily.into_iter().chain(aged).collect()
    }

    /// When it may next become late by the clock alone, to look again then.
    pub fn next_look(&self, now: Timestamp, deliveries: &Deliveries) -> Option<Timestamp> {
        let reference = deliveries.last_success.unwrap_or(deliveries.since);
        // One more nanosecond than it may be old.
        let aged = self.max_age.map(|max_age| reference.plus(max_age).plus(Duration::from_nanos(1)));
        let daily = self.daily.as_ref().and_then(|daily| daily.next_by(now));
        aged.filter(|time| *time > now).into_iter().chain(daily).min()
    }
}

impl DailyExpectation {
    fn check(&self, now: Timestamp, schedule: Option<&Schedule>, deliveries: &Deliveries) -> Option<Late> {
        let today = self.zone.local(now).date();
        // The last time `by` that has come.
        let days = std::iter::successors(Some(today), chrono::NaiveDate::pred_opt);
        let (date, by) = days.take(2).find_map(|date| {
            Some((date, self.zone.first_at(self.by.on(date))?)).filter(|(_, by)| *by <= now)
        })?;
        let before = self.zone.first_at(self.by.on(date.pred_opt()?))?;
        let counts = match (self.days, schedule) {
            (Some(days), _) => days.has(date),
            (None, Some(schedule)) => schedule.next_after(before).is_some_and(|due| due <= by),
            (None, None) => true,
        };
        if !counts || deliveries.since > before {
            return None;
        }
        let delivered = deliveries.files_between(before, now);
        let late = Late::TooFew { by, expected: self.at_least, delivered };
        (delivered < self.at_least).then_some(late)
    }

    fn next_by(&self, now: Timestamp) -> Option<Timestamp> {
        let days = std::iter::successors(Some(self.zone.local(now).date()), chrono::NaiveDate::succ_opt);
        days.take(3).filter_map(|date| self.zone.first_at(self.by.on(date))).find(|by| *by > now)
    }
}

/// What a job has delivered of late: a fold over its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliveries {
    since: Timestamp,
    last_success: Option<Timestamp>,
    /// When files were delivered and how many, oldest first.
    files: VecDeque<(Timestamp, u64)>,
}

impl Deliveries {
    /// What is looked back at: two days, and an hour for a changed clock.
    const KEPT: Duration = Duration::from_hours(49);
    /// Most entries: a run every three minutes. Beyond, the newest are joined.
    const MOST: usize = 1_000;

    /// No deliveries yet. Nothing is known of the time before `since`.
    pub const fn from(since: Timestamp) -> Self {
        Self { since, last_success: None, files: VecDeque::new() }
    }

    /// Takes in a run that ended `at`, with the number of files that it delivered. `success` says
    /// whether all went well.
    pub fn add(&mut self, at: Timestamp, files: u64, success: RunSuccess) {
        if success == RunSuccess::Whole {
            self.last_success = self.last_success.max(Some(at));
        }
        if files > 0 {
            let full = self.files.len() >= Self::MOST;
            match self.files.back_mut() {
                Some((last, count)) if full || *last >= at => *count += files,
                Some(_) | None => self.files.push_back((at, files)),
            }
        }
        while self.files.front().is_some_and(|(time, _)| *time < at.minus(Self::KEPT)) {
            self.files.pop_front();
        }
    }

    /// When a run last ended well.
    pub const fn last_success(&self) -> Option<Timestamp> {
        self.last_success
    }

    /// How many files were delivered after `from` and not after `to`.
    fn files_between(&self, from: Timestamp, to: Timestamp) -> u64 {
        self.files.iter().filter(|(at, _)| *at > from && *at <= to).map(|(_, files)| files).sum()
    }
}

/// Whether a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSuccess {
    /// All that was found was delivered.
    Whole,
    /// Something failed, or it was stopped.
    Partial,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CatchUp;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn by_half_past_five(days: Option<&str>) -> Expectation {
        let (by, zone) = ("17:30".parse().unwrap(), "America/New_York".parse().unwrap());
        let days = days.map(|days| days.parse().unwrap());
        let daily = DailyExpectation { by, zone, days, at_least: 2 };
        Expectation { daily: Some(daily), max_age: None }
    }

    fn weekdays() -> Schedule {
        Schedule {
            expression: "0 17 * * Mon-Fri".parse().unwrap(),
            zone: "America/New_York".parse().unwrap(),
            jitter: Duration::ZERO,
            catch_up: CatchUp::Always,
        }
    }

    #[test]
    fn too_few_files_by_a_time_of_day_are_late_until_they_come() {
        let expectation = by_half_past_five(None);
        let mut deliveries = Deliveries::from(at("2026-11-01T00:00:00Z"));
        // Thursday's files do not count for Friday.
        deliveries.add(at("2026-11-19T22:29:00Z"), 9, RunSuccess::Whole);
        deliveries.add(at("2026-11-20T22:05:00Z"), 1, RunSuccess::Whole);
        let late =
            |now: &str, deliveries: &Deliveries| expectation.check(at(now), Some(&weekdays()), deliveries);
        assert_eq!(late("2026-11-20T22:29:59Z", &deliveries), []);
        let by = at("2026-11-20T22:30:00Z");
        let too_few = [Late::TooFew { by, expected: 2, delivered: 1 }];
        assert_eq!(late("2026-11-20T22:30:00Z", &deliveries), too_few);
        assert_eq!(late("2026-11-21T22:00:00Z", &deliveries), too_few);
        assert_eq!(late("2026-11-21T22:30:00Z", &deliveries), [], "nothing is due on a Saturday");
        deliveries.add(at("2026-11-20T23:00:00Z"), 1, RunSuccess::Partial);
        assert_eq!(late("2026-11-20T23:00:00Z", &deliveries), []);
        // Nothing is known of the time before.
        let fresh = Deliveries::from(at("2026-11-20T12:00:00Z"));
        assert_eq!(late("2026-11-20T22:30:00Z", &fresh), []);
    }

    #[test]
    fn days_may_be_named() {
        let none = Deliveries::from(at("2026-11-01T00:00:00Z"));
        let saturday = at("2026-11-21T23:00:00Z");
        assert_eq!(by_half_past_five(Some("Sat")).check(saturday, Some(&weekdays()), &none).len(), 1);
        assert_eq!(by_half_past_five(Some("Mon-Fri")).check(saturday, None, &none), []);
        assert_eq!(by_half_past_five(None).check(saturday, None, &none).len(), 1);
    }

    #[test]
    fn a_job_without_a_good_run_is_late() {
        let max_age = Duration::from_hours(26);
        let expectation = Expectation { daily: None, max_age: Some(max_age) };
        let mut deliveries = Deliveries::from(at("2026-11-20T00:00:00Z"));
        let check = |now: &str, deliveries: &Deliveries| expectation.check(at(now), None, deliveries);
        assert_eq!(check("2026-11-21T02:00:00Z", &deliveries), []);
        assert_eq!(check("2026-11-21T02:00:01Z", &deliveries), [Late::TooOld { last: None, max_age }]);
        deliveries.add(at("2026-11-21T03:00:00Z"), 0, RunSuccess::Whole);
        deliveries.add(at("2026-11-22T03:00:00Z"), 5, RunSuccess::Partial);
        let last = Some(at("2026-11-21T03:00:00Z"));
        assert_eq!(check("2026-11-22T05:00:00Z", &deliveries), []);
        let look = expectation.next_look(at("2026-11-22T05:00:00Z"), &deliveries).unwrap();
        assert_eq!(expectation.check(look, None, &deliveries), [Late::TooOld { last, max_age }]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut deliveries = Deliveries::from(at("2026-11-01T00:00:00Z"));
        let begin = at("2026-11-20T00:00:00Z");
        for minute in 0..4_000 {
            deliveries.add(begin.plus(Duration::from_mins(minute)), 1, RunSuccess::Whole);
        }
        assert!(deliveries.files.len() <= Deliveries::MOST);
    }
}
