//! Days of the week and times of day, as people write them.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// Whether a date falls on one of them.
    pub fn has(self, date: NaiveDate) -> bool {
        self.0 & (1 << date.weekday().num_days_from_monday()) != 0
    }
}

/// A text that is no list of days.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no day of the week; as in `Mon-Fri` or `Sat,Sun`", text.escape_debug())]
pub struct ParseDaysError {
    text: String,
}

impl FromStr for Days {
    type Err = ParseDaysError;

    /// Reads days and ranges of days, with commas between: `Mon-Fri`, `Sat,Sun`, `Fri-Mon`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = |name: &str| {
            let place = NAMES.iter().zip(0..7_u8).find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
            place.map(|(_, day)| day).ok_or_else(|| ParseDaysError { text: name.trim().to_owned() })
        };
        let mut days = 0;
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (mut at, to) = (day(from)?, day(to)?);
            days |= 1 << at;
            while at != to {
                at = (at + 1) % 7;
                days |= 1 << at;
            }
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().zip(0..7_u8).filter(|(_, day)| self.0 & (1 << day) != 0);
        f.write_str(&named.map(|(name, _)| *name).collect::<Vec<_>>().join(","))
    }
}

/// A time of day: minutes since midnight, from 00:00 to 24:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The end of a day.
    pub const MIDNIGHT_AFTER: Self = Self(24 * 60);

    /// This time on a date; 24:00 is the start of the next.
    pub fn on(self, date: NaiveDate) -> NaiveDateTime {
        date.and_time(NaiveTime::MIN) + chrono::TimeDelta::minutes(self.0.into())
    }

    /// The time of day that a clock shows, without the seconds.
    pub fn of(clock: NaiveDateTime) -> Self {
        // At most 1439.
        Self(u16::try_from(clock.hour() * 60 + clock.minute()).unwrap_or(0))
    }
}

/// A text that is no time of day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no time of day; as in `17:30`", text.escape_debug())]
pub struct ParseTimeError {
    text: String,
}

impl FromStr for TimeOfDay {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if plain { text.parse::<u16>().ok() } else { None }
        };
        let read = text.trim().split_once(':').and_then(|(hours, minutes)| {
            let minutes = number(minutes).filter(|number| minutes.len() == 2 && *number < 60)?;
            Some(number(hours)? * 60 + minutes)
        });
        match read {
            Some(minutes) if minutes <= 24 * 60 => Ok(Self(minutes)),
            Some(_) | None => Err(ParseTimeError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_every_form() {
        for (text, shown) in [
            ("Mon-Fri", "Mon,Tue,Wed,Thu,Fri"),
            ("sat, SUN", "Sat,Sun"),
            ("Fri-Mon", "Mon,Fri,Sat,Sun"),
            ("Wed", "Wed"),
        ] {
            assert_eq!(text.parse::<Days>().unwrap().to_string(), shown);
        }
        for text in ["", "Monday", "Mon-", "1-5", "Mon;Tue"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
        let sunday = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        assert!("Sun".parse::<Days>().unwrap().has(sunday));
        assert!(!"Mon-Sat".parse::<Days>().unwrap().has(sunday));
    }

    #[test]
    fn times_of_day_are_read_and_others_refused() {
        for (text, shown) in [("17:30", "17:30"), ("6:05", "06:05"), ("00:00", "00:00"), ("24:00", "24:00")] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), shown);
        }
        for text in ["", "17", "17:5", "24:01", "25:00", "12:60", "+1:00", "5 pm", "017:00"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }
}
