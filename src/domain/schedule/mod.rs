//! When a job runs by itself: expressions, zones, hours, and what becomes of missed times.

mod cron;
mod days;
mod expression;
mod field;
mod window;
mod zone;

use std::time::Duration;

pub use self::days::{Days, ParseDaysError, ParseTimeError, TimeOfDay};
pub use self::expression::{CronExpression, ParseCronError};
pub use self::window::{ParseWindowError, Window, Windows};
pub use self::zone::{UnknownZone, Zone};
use super::Timestamp;

/// When a job runs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The times of day and the days.
    pub expression: CronExpression,
    /// Whose time of day.
    pub zone: Zone,
    /// By how much a run may start later than it is due, so that many agents do not meet.
    pub jitter: Duration,
    /// What becomes of times at which nothing could run.
    pub catch_up: CatchUp,
}

impl Schedule {
    /// The first scheduled time after a point in time. `None` where none comes before 2100.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.expression.next_after(self.zone, after)
    }

    /// The scheduled times after a point in time, in their order.
    pub fn all_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |due| self.next_after(*due))
    }

    /// The last scheduled time after `after` that is not later than `until`.
    pub fn last_until(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let within = |time| self.next_after(time).filter(|due| *due <= until);
        let (mut last, mut beyond) = (within(after)?, until);
        // Halves the time between, so that a year by the minute takes as long as a day.
        while let Some(next) = within(last) {
            let middle = Timestamp::from_unix_nanos(last.unix_nanos().midpoint(beyond.unix_nanos()));
            if let Some(found) = within(middle.max(last)) {
                last = found;
            } else {
                last = next;
                beyond = middle;
            }
        }
        Some(last)
    }
}

/// What becomes of scheduled times at which nothing could run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// One run makes up for them as soon as it can.
    #[default]
    Always,
    /// They are recorded as missed, and the next scheduled time counts.
    Never,
    /// One run makes up for them if the last of them is no longer ago than this.
    Within(Duration),
}
