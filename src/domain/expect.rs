//! What should have been delivered by when: what is late though nothing failed.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Days, Factor, Schedule, TimeOfDay, Timestamp, Zone};

/// What should have been delivered by when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// A number of files every day.
    pub daily: Option<DailyExpectation>,
    /// How old the last run that ended well may become.
    pub max_age: Option<Duration>,
    /// How long a file may wait to be ready.
    pub max_wait: Option<Duration>,
    /// How many times more, or fewer, files than usual are unusual.
    pub unusual: Option<Factor>,
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
    /// A file waits to be ready, and has for too long.
    Waiting {
        /// When it last changed.
        since: Timestamp,
    },
    /// A run delivered far more files, or far fewer, than runs like it do.
    Unusual {
        /// How many it delivered.
        files: u64,
        /// How many they do.
        usual: u64,
    },
    /// For too long nothing showed that what was delivered still stands on the server.
    NotVerified {
        /// When something last did.
        last: Option<Timestamp>,
    },
}

/// How a job stands with something that is expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Punctuality {
    /// It is as expected.
    Met,
    /// Nothing is expected now, or too little is known to tell: what was late stays so.
    Open,
    /// It is not.
    Late(Late),
}

impl Late {
    /// The same for people, with times of this zone.
    pub fn in_words(&self, zone: Zone) -> String {
        match self {
            Self::TooFew { by, expected, delivered } => {
                format!("{delivered} of {expected} expected files were delivered by {}", zone.shown(*by))
            }
            Self::TooOld { last: Some(last), .. } => {
                format!("no run has ended well since {}", zone.shown(*last))
            }
            Self::TooOld { last: None, .. } => "no run has ended well yet".to_owned(),
            Self::Waiting { since } => {
                format!("a file has waited to be ready since {}", zone.shown(*since))
            }
            Self::Unusual { files, usual } => {
                format!("{files} files were delivered where {usual} are usual")
            }
            Self::NotVerified { last: Some(last) } => format!(
                "since {} nothing has shown that the files still stand on the server: verifying did not come to \
                 its end",
                zone.shown(*last)
            ),
            Self::NotVerified { last: None } => {
                "nothing has shown yet that the files still stand on the server: verifying did not come to its end"
                    .to_owned()
            }
        }
    }
}

impl Expectation {
    /// How the job stands now with what is expected by a time of day. What was to be there stays late
    /// until it is delivered, and is no more asked for when the next such time has come. Nothing is
    /// said of times before `deliveries` begin.
    pub fn daily(&self, now: Timestamp, schedule: Option<&Schedule>, deliveries: &Deliveries) -> Punctuality {
        self.daily
            .as_ref()
            .and_then(|daily| daily.check(now, schedule, deliveries))
            .unwrap_or(Punctuality::Open)
    }

    /// How the job stands now with the age of its last good run.
    pub fn age(&self, now: Timestamp, deliveries: &Deliveries) -> Punctuality {
        let Some(max_age) = self.max_age else { return Punctuality::Open };
        let last = deliveries.last_success;
        if now.since(last.unwrap_or(deliveries.since)) > max_age {
            Punctuality::Late(Late::TooOld { last, max_age })
        } else {
            Punctuality::Met
        }
    }

    /// How the job stands now with files that are not ready, the oldest of which changed at `oldest`.
    pub fn wait(&self, now: Timestamp, oldest: Option<Timestamp>) -> Punctuality {
        match (self.max_wait, oldest) {
            (None, _) => Punctuality::Open,
            (Some(most), Some(since)) if now.since(since) > most => {
                Punctuality::Late(Late::Waiting { since })
            }
            (Some(_), _) => Punctuality::Met,
        }
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
    fn check(
        &self,
        now: Timestamp,
        schedule: Option<&Schedule>,
        deliveries: &Deliveries,
    ) -> Option<Punctuality> {
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
        Some(if delivered < self.at_least { Punctuality::Late(late) } else { Punctuality::Met })
    }

    /// The next time of day by which files are expected, on whatever day.
    pub fn next_by(&self, now: Timestamp) -> Option<Timestamp> {
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
    pub const KEPT: Duration = Duration::from_hours(49);
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

    /// Nothing is known of the time before this.
    pub const fn since(&self) -> Timestamp {
        self.since
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
        Expectation { daily: Some(daily), ..Expectation::default() }
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
            |now: &str, deliveries: &Deliveries| expectation.daily(at(now), Some(&weekdays()), deliveries);
        assert_eq!(late("2026-11-20T22:29:59Z", &deliveries), Punctuality::Met, "Thursday's");
        let by = at("2026-11-20T22:30:00Z");
        let too_few = Punctuality::Late(Late::TooFew { by, expected: 2, delivered: 1 });
        assert_eq!(late("2026-11-20T22:30:00Z", &deliveries), too_few);
        assert_eq!(late("2026-11-21T22:00:00Z", &deliveries), too_few);
        assert_eq!(
            late("2026-11-21T22:30:00Z", &deliveries),
            Punctuality::Open,
            "nothing is due on a Saturday"
        );
        deliveries.add(at("2026-11-20T23:00:00Z"), 1, RunSuccess::Partial);
        assert_eq!(late("2026-11-20T23:00:00Z", &deliveries), Punctuality::Met);
        // Nothing is known of the time before.
        let fresh = Deliveries::from(at("2026-11-20T12:00:00Z"));
        assert_eq!(late("2026-11-20T22:30:00Z", &fresh), Punctuality::Open);
    }

    /// The day is that of the zone, wherever the sun stands over Greenwich, and as long as its clock makes it.
    #[test]
    fn the_day_is_the_zones_own() {
        let by = |by: &str, zone: &str| {
            let (by, zone) = (by.parse().unwrap(), zone.parse().unwrap());
            let daily = DailyExpectation { by, zone, days: None, at_least: 2 };
            Expectation { daily: Some(daily), ..Expectation::default() }
        };
        let next =
            |expectation: &Expectation, now: &str| expectation.daily.as_ref().unwrap().next_by(at(now));
        // Eight in the morning of Saturday there is Friday's evening in Greenwich.
        let auckland = by("08:00", "Pacific/Auckland");
        let mut deliveries = Deliveries::from(at("2026-11-01T00:00:00Z"));
        deliveries.add(at("2026-11-20T05:00:00Z"), 1, RunSuccess::Whole);
        let late = Late::TooFew { by: at("2026-11-20T19:00:00Z"), expected: 2, delivered: 1 };
        let standing = auckland.daily(at("2026-11-20T19:30:00Z"), None, &deliveries);
        assert_eq!(standing, Punctuality::Late(late));
        assert_eq!(next(&auckland, "2026-11-20T18:30:00Z"), Some(at("2026-11-20T19:00:00Z")));
        let los_angeles = by("17:30", "America/Los_Angeles");
        assert_eq!(next(&los_angeles, "2026-11-21T01:00:00Z"), Some(at("2026-11-21T01:30:00Z")));
        // A Sunday of 25 hours: what came in the hour after Saturday's time is the Sunday's.
        let mut deliveries = Deliveries::from(at("2026-10-01T00:00:00Z"));
        deliveries.add(at("2026-10-31T22:00:00Z"), 2, RunSuccess::Whole);
        let sunday = by_half_past_five(None).daily(at("2026-11-01T22:30:00Z"), None, &deliveries);
        assert_eq!(sunday, Punctuality::Met);
    }

    #[test]
    fn days_may_be_named() {
        let none = Deliveries::from(at("2026-11-01T00:00:00Z"));
        let saturday = at("2026-11-21T23:00:00Z");
        let weekdays = weekdays();
        let daily = |days, schedule| by_half_past_five(days).daily(saturday, schedule, &none);
        assert!(matches!(daily(Some("Sat"), Some(&weekdays)), Punctuality::Late(_)));
        assert_eq!(daily(Some("Mon-Fri"), None), Punctuality::Open);
        assert!(matches!(daily(None, None), Punctuality::Late(_)));
    }

    #[test]
    fn a_job_without_a_good_run_is_late() {
        let max_age = Duration::from_hours(26);
        let expectation = Expectation { max_age: Some(max_age), ..Expectation::default() };
        let mut deliveries = Deliveries::from(at("2026-11-20T00:00:00Z"));
        let check = |now: &str, deliveries: &Deliveries| expectation.age(at(now), deliveries);
        assert_eq!(check("2026-11-21T02:00:00Z", &deliveries), Punctuality::Met);
        let late = Punctuality::Late(Late::TooOld { last: None, max_age });
        assert_eq!(check("2026-11-21T02:00:01Z", &deliveries), late);
        deliveries.add(at("2026-11-21T03:00:00Z"), 0, RunSuccess::Whole);
        deliveries.add(at("2026-11-22T03:00:00Z"), 5, RunSuccess::Partial);
        let last = Some(at("2026-11-21T03:00:00Z"));
        assert_eq!(check("2026-11-22T05:00:00Z", &deliveries), Punctuality::Met);
        let look = expectation.next_look(at("2026-11-22T05:00:00Z"), &deliveries).unwrap();
        assert_eq!(expectation.age(look, &deliveries), Punctuality::Late(Late::TooOld { last, max_age }));
    }

    #[test]
    fn a_file_may_wait_for_so_long() {
        let most = Duration::from_hours(2);
        let expectation = Expectation { max_wait: Some(most), ..Expectation::default() };
        let (since, now) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T12:00:00Z"));
        assert_eq!(expectation.wait(now, Some(since)), Punctuality::Met);
        let later = now.plus(Duration::from_secs(1));
        assert_eq!(expectation.wait(later, Some(since)), Punctuality::Late(Late::Waiting { since }));
        assert_eq!(expectation.wait(later, None), Punctuality::Met);
        assert_eq!(Expectation::default().wait(later, Some(since)), Punctuality::Open);
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
