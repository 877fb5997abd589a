//! Hours in which transfers may run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::super::Timestamp;
use super::{Days, ParseDaysError, ParseTimeError, TimeOfDay, Zone};

/// Hours of the days on which they begin. They may go on past midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
}

/// A text that is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseWindowError {
    /// Not two times with a hyphen between.
    #[error("expected hours, as in `22:00-06:00` or `Mon-Fri 22:00-06:00`")]
    Form,
    /// One of the times.
    #[error(transparent)]
    Time(#[from] ParseTimeError),
    /// The days.
    #[error(transparent)]
    Days(#[from] ParseDaysError),
    /// It ends when it begins.
    #[error("it ends when it begins; a whole day is `00:00-24:00`")]
    Empty,
}

impl FromStr for Window {
    type Err = ParseWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (days, hours) = match text.rsplit_once(' ') {
            Some((days, hours)) => (days.parse()?, hours),
            None => (Days::ALL, text),
        };
        let (from, to) = hours.split_once('-').ok_or(ParseWindowError::Form)?;
        let (from, to) = (from.parse()?, to.parse()?);
        if from == to || from == TimeOfDay::MIDNIGHT_AFTER {
            return Err(ParseWindowError::Empty);
        }
        Ok(Self { days, from, to })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != Days::ALL {
            write!(f, "{} ", self.days)?;
        }
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// The hours in which a job's transfers may run, by the wall clock of a zone; all hours where
/// there is no window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    windows: Vec<Window>,
    zone: Option<Zone>,
}

impl Windows {
    /// Looked for minute by minute; a window that does not come within this comes never.
    const HORIZON: Duration = Duration::from_hours(9 * 24);
    const MINUTE: Duration = Duration::from_mins(1);

    /// These windows, by the wall clock of a zone.
    pub const fn new(windows: Vec<Window>, zone: Zone) -> Self {
        Self { windows, zone: Some(zone) }
    }

    /// The windows; none where all hours will do.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter()
    }

    /// Whether transfers may run at a point in time.
    pub fn is_open(&self, time: Timestamp) -> bool {
        let Some(zone) = self.zone.filter(|_| !self.windows.is_empty()) else { return true };
        let clock = zone.local(time);
        let (date, now) = (clock.date(), TimeOfDay::of(clock));
        let yesterday = date.pred_opt().unwrap_or(date);
        self.windows.iter().any(|Window { days, from, to }| {
            if from < to {
                days.has(date) && (*from..*to).contains(&now)
            } else {
                (days.has(date) && now >= *from) || (days.has(yesterday) && now < *to)
            }
        })
    }

    /// The first point in time from `time` on at which transfers may run: `time` itself where they
    /// may then. `None` where none comes within nine days.
    pub fn opens(&self, time: Timestamp) -> Option<Timestamp> {
        self.first(time, |open| open)
    }

    /// The first point in time from `time` on at which transfers may not run. `None` where they
    /// may at all times.
    pub fn closes(&self, time: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return None;
        }
        self.first(time, |open| !open)
    }

    fn first(&self, time: Timestamp, is_it: impl Fn(bool) -> bool) -> Option<Timestamp> {
        if is_it(self.is_open(time)) {
            return Some(time);
        }
        let minute = i64::try_from(Self::MINUTE.as_nanos()).unwrap_or(i64::MAX);
        let begun = time.unix_nanos().rem_euclid(minute);
        let start = Timestamp::from_unix_nanos(time.unix_nanos().saturating_sub(begun));
        let minutes = std::iter::successors(Some(start), |time| Some(time.plus(Self::MINUTE)));
        let end = time.plus(Self::HORIZON);
        minutes.skip(1).take_while(|time| *time < end).find(|time| is_it(self.is_open(*time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(texts: &[&str]) -> Windows {
        let windows = texts.iter().map(|text| text.parse().unwrap()).collect();
        Windows::new(windows, "America/New_York".parse().unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_go_past_midnight() {
        let nights = windows(&["22:00-06:00"]);
        // 21:59, 22:00, 05:59 and 06:00 in New York.
        assert!(!nights.is_open(at("2026-11-23T02:59:59Z")));
        assert!(nights.is_open(at("2026-11-23T03:00:00Z")));
        assert!(nights.is_open(at("2026-11-23T10:59:59Z")));
        assert!(!nights.is_open(at("2026-11-23T11:00:00Z")));
        assert_eq!(nights.opens(at("2026-11-23T11:00:30Z")), Some(at("2026-11-24T03:00:00Z")));
        assert_eq!(nights.closes(at("2026-11-23T03:00:30Z")), Some(at("2026-11-23T11:00:00Z")));
    }

    #[test]
    fn the_night_belongs_to_the_day_on_which_it_begins() {
        let friday = windows(&["Fri 22:00-06:00"]);
        assert!(friday.is_open(at("2026-11-28T05:00:00Z")), "Saturday, 00:00");
        assert!(!friday.is_open(at("2026-11-27T10:00:00Z")), "Friday, 05:00");
        assert_eq!(friday.opens(at("2026-11-28T12:00:00Z")), Some(at("2026-12-05T03:00:00Z")));
    }

    #[test]
    fn no_window_is_always_open() {
        assert!(Windows::default().is_open(at("2026-11-23T03:00:00Z")));
        assert_eq!(Windows::default().closes(at("2026-11-23T03:00:00Z")), None);
        let all = windows(&["00:00-24:00"]);
        assert!(all.is_open(at("2026-11-23T04:59:59Z")));
        assert_eq!(all.closes(at("2026-11-23T03:00:00Z")), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "22:00", "22-06", "22:00-22:00", "24:00-06:00", "Mo 22:00-06:00", "25:00-26:00"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
        assert_eq!("mon-tue  9:00-17:00".parse::<Window>().unwrap().to_string(), "Mon,Tue 09:00-17:00");
    }
}
