//! How many bytes a second may go to and from a server, and at which hours.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::{Timestamp, Windows};

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(NonZeroU64);

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRateError {
    /// Not a number and a unit.
    #[error("expected a number and a unit, as in `2 MB/s`, `500 kB/s` or `10 Mbit/s`")]
    Form,
    /// `Mb`, `mbps` and their like: some mean bits by them, some bytes.
    #[error("does not say whether bits or bytes are meant; write `MB/s` or `Mbit/s`")]
    BitsOrBytes,
    /// So slow that deadlines would end every transfer.
    #[error("less than {}", Rate::LEAST)]
    TooSlow,
    /// More than any line takes.
    #[error("more than {}", Rate::MOST)]
    TooFast,
}

impl Rate {
    /// Slower than this, a single piece would not cross within the deadlines that guard transfers.
    pub const LEAST: Self = Self::of(8_000);
    /// A thousand gigabytes: a mistake of the unit, not a line.
    pub const MOST: Self = Self::of(1_000_000_000_000);

    /// Panics at compile time only: it is for constants.
    const fn of(bytes: u64) -> Self {
        match NonZeroU64::new(bytes) {
            Some(bytes) => Self(bytes),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Bytes a second.
    pub const fn bytes(self) -> u64 {
        self.0.get()
    }
}

/// Units and the bytes of one; the first that divides a rate, in the order of the first six, is how it
/// is written.
const UNITS: [(&str, u64); 10] = [
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("Gbit", 125_000_000),
    ("Mbit", 125_000),
    ("kbit", 125),
];

/// Digits behind the point that count; more would not fit the smallest unit.
const MAX_DECIMALS: usize = 6;

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at_checked(digits).ok_or(ParseRateError::Form)?;
        let unit = unit.trim_start();
        let per_second = unit.strip_suffix("/s");
        let known = per_second.and_then(|unit| {
            UNITS.iter().find(|(known, _)| *known == unit || (*known == "kB" && unit == "KB"))
        });
        let Some((_, bytes)) = known else {
            let lower = unit.to_ascii_lowercase();
            let bare = lower.trim_end_matches("/s").trim_end_matches("ps").trim_end_matches("it");
            let unclear = matches!(bare, "k" | "m" | "g" | "kb" | "mb" | "gb");
            return Err(if unclear { ParseRateError::BitsOrBytes } else { ParseRateError::Form });
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.len() > MAX_DECIMALS {
            return Err(ParseRateError::Form);
        }
        let whole: u64 = whole.parse().map_err(|_| ParseRateError::Form)?;
        let scale = 10_u128.pow(u32::try_from(decimals.len()).unwrap_or(0));
        let decimals: u64 = decimals.parse().map_err(|_| ParseRateError::Form)?;
        let bytes = u128::from(*bytes);
        let total = u128::from(whole) * bytes + u128::from(decimals) * bytes / scale;
        let total = u64::try_from(total).ok().filter(|total| *total <= Self::MOST.bytes());
        let rate = NonZeroU64::new(total.ok_or(ParseRateError::TooFast)?).map(Self);
        rate.filter(|rate| *rate >= Self::LEAST).ok_or(ParseRateError::TooSlow)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, bytes)| self.bytes().is_multiple_of(*bytes));
        let (unit, bytes) = exact.unwrap_or(&("B", 1));
        write!(f, "{} {unit}/s", self.bytes() / bytes)
    }
}

/// How fast files may cross to and from a server, each way by itself, over all jobs and sessions.
/// Bytes of files count; what TLS and commands add is some hundredths of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// At hours that the timetable does not name; `None`: as fast as the line is.
    pub limit: Option<Rate>,
    /// At other hours; the first entry that is open counts.
    pub timetable: Vec<BandwidthHours>,
}

/// Some hours, and how fast files may cross then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthHours {
    /// When.
    pub hours: Windows,
    /// How fast; `None`: as fast as the line is.
    pub limit: Option<Rate>,
}

impl Bandwidth {
    /// How fast files may cross at a point in time; `None`: as fast as the line is.
    pub fn at(&self, time: Timestamp) -> Option<Rate> {
        let entry = self.timetable.iter().find(|entry| entry.hours.is_open(time));
        entry.map_or(self.limit, |entry| entry.limit)
    }

    /// Whether files may cross as fast as the line is at all hours.
    pub fn is_unlimited(&self) -> bool {
        self.limit.is_none() && self.timetable.iter().all(|entry| entry.limit.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Zone;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, bytes, shown) in [
            ("2 MB/s", 2_000_000, "2 MB/s"),
            ("2MB/s", 2_000_000, "2 MB/s"),
            ("1.5 MB/s", 1_500_000, "1500 kB/s"),
            ("500 kB/s", 500_000, "500 kB/s"),
            ("500 KB/s", 500_000, "500 kB/s"),
            ("10 Mbit/s", 1_250_000, "1250 kB/s"),
            ("100 kbit/s", 12_500, "12500 B/s"),
            ("1 GiB/s", 1 << 30, "1 GiB/s"),
            ("64 KiB/s", 64 << 10, "64 KiB/s"),
            (" 8000 B/s ", 8_000, "8 kB/s"),
            ("0.5 GB/s", 500_000_000, "500 MB/s"),
        ] {
            assert_eq!((rate(text).bytes(), rate(text).to_string()), (bytes, shown.to_owned()), "{text}");
            assert_eq!(rate(shown), rate(text));
        }
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for (text, error) in [
            ("", ParseRateError::Form),
            ("fast", ParseRateError::Form),
            ("2", ParseRateError::Form),
            ("MB/s", ParseRateError::Form),
            (".5 MB/s", ParseRateError::Form),
            ("5. MB/s", ParseRateError::Form),
            ("1.2.3 MB/s", ParseRateError::Form),
            ("-1 MB/s", ParseRateError::Form),
            ("2 MB/h", ParseRateError::Form),
            ("1.0000001 MB/s", ParseRateError::Form),
            ("99999999999999999999 B/s", ParseRateError::Form),
            ("2 MB", ParseRateError::BitsOrBytes),
            ("2 Mb/s", ParseRateError::BitsOrBytes),
            ("2 Mbps", ParseRateError::BitsOrBytes),
            ("2 Mbit", ParseRateError::BitsOrBytes),
            ("2M", ParseRateError::BitsOrBytes),
            ("0 MB/s", ParseRateError::TooSlow),
            ("7.9 kB/s", ParseRateError::TooSlow),
            ("1001 GB/s", ParseRateError::TooFast),
            ("18446744073709551615 GiB/s", ParseRateError::TooFast),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
        assert_eq!(ParseRateError::TooSlow.to_string(), "less than 8 kB/s");
    }

    #[test]
    fn the_first_hours_that_are_open_count() {
        let hours = |text: &str| Windows::new(vec![text.parse().unwrap()], Zone::UTC);
        let bandwidth = Bandwidth {
            limit: Some(rate("2 MB/s")),
            timetable: vec![
                BandwidthHours { hours: hours("12:00-13:00"), limit: Some(rate("1 MB/s")) },
                BandwidthHours { hours: hours("Mon-Fri 08:00-18:00"), limit: Some(rate("500 kB/s")) },
                BandwidthHours { hours: hours("22:00-06:00"), limit: None },
            ],
        };
        // 2026-11-23 is a Monday.
        for (time, limit) in [
            ("2026-11-23T07:59:59Z", Some("2 MB/s")),
            ("2026-11-23T08:00:00Z", Some("500 kB/s")),
            ("2026-11-23T12:30:00Z", Some("1 MB/s")),
            ("2026-11-23T18:00:00Z", Some("2 MB/s")),
            ("2026-11-23T23:00:00Z", None),
            ("2026-11-24T05:59:00Z", None),
            ("2026-11-22T09:00:00Z", Some("2 MB/s")),
        ] {
            assert_eq!(bandwidth.at(time.parse().unwrap()), limit.map(rate), "{time}");
        }
        assert!(!bandwidth.is_unlimited());
        assert!(Bandwidth::default().is_unlimited());
    }
}
