//! A time of day that a leap of the clock does not carry away.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What the clock showed at the end of the last run, and the time that counts for what is deleted
/// because it is old.
///
/// The time that counts goes on with the clock from run to run, but by [`Pace::LEAP_NANOS`] at most
/// between two of them, however far the clock has leapt. Where it lags behind, because the machine
/// was off for long, it catches up at twice the clock's speed. It is never ahead of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    clock: Timestamp,
    counted: Timestamp,
}

impl Pace {
    /// Longest time between two runs that is believed: 8 days, so that a weekly job is never told
    /// of a leap, and a leap takes no more than that from what is kept for 30 days.
    pub const LEAP_NANOS: i64 = 8 * 86_400 * 1_000_000_000;

    /// Of the first run.
    pub const fn begin(now: Timestamp) -> Self {
        Self { clock: now, counted: now }
    }

    /// The same when the clock shows `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let passed = now.nanos_since(self.clock).max(0);
        let counts = if passed > Self::LEAP_NANOS { Self::LEAP_NANOS } else { passed.saturating_mul(2) };
        let counted = self.counted.unix_nanos().saturating_add(counts);
        Self { clock: now, counted: Timestamp::from_unix_nanos(counted).min(now) }
    }

    /// The time that counts.
    pub const fn counted(self) -> Timestamp {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_unix(days * DAY, 0)
    }

    fn counted(clock: &[i64]) -> i64 {
        let mut days = clock.iter().copied();
        let begin = Pace::begin(day(days.next().unwrap()));
        days.fold(begin, |pace, now| pace.at(day(now))).counted().unix_nanos() / (DAY * 1_000_000_000)
    }

    #[test]
    fn a_leap_counts_for_eight_days_however_far_it_goes() {
        for (clock, expected, what) in [
            (&[100, 101, 102][..], 102, "daily"),
            (&[100, 107, 114], 114, "weekly"),
            (&[100, 465], 108, "a year ahead"),
            (&[100, 465, 465, 465], 108, "and many runs there"),
            (&[100, 465, 466], 110, "twice the speed while it lags"),
            (&[100, 465, 101], 101, "and back: never ahead of the clock"),
            (&[100, 50, 51], 51, "the past"),
            (&[100, 115, 116, 117, 118, 119, 120, 121, 122], 122, "off for two weeks: it catches up"),
            (&[0, 100_000, 0, 100_000], 8, "to and fro"),
        ] {
            assert_eq!(counted(clock), expected, "{what}");
        }
        let far = Pace::begin(Timestamp::from_unix(i64::MIN, 0)).at(Timestamp::from_unix(i64::MAX, 0));
        assert!(far.counted() < Timestamp::from_unix(0, 0));
    }
}
