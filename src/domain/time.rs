//! Points in time, as files and records carry them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: nanoseconds since 1970-01-01 00:00:00 UTC, from the year 1677 to 2262.
///
/// Shown, and written to records, as RFC 3339 in UTC with all nine digits of the fraction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A point in time that many nanoseconds after the epoch.
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A point in time from seconds and nanoseconds, as `stat` gives them. Times which do not
    /// fit are drawn to the nearest end of the range.
    pub const fn from_unix(seconds: i64, nanos: i64) -> Self {
        // Wide, so that only the sum saturates: times before 1970 have a fraction that counts up.
        let wide = seconds as i128 * 1_000_000_000 + nanos as i128;
        if wide > i64::MAX as i128 {
            Self(i64::MAX)
        } else if wide < i64::MIN as i128 {
            Self(i64::MIN)
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            Self(wide as i64)
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// The nanoseconds from `earlier` to this point in time; negative if `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same in chrono's terms.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0)
    }

    /// RFC 3339 in UTC without the fraction, for people.
    pub fn to_seconds(self) -> String {
        self.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// This point in time and `duration` more, at most the end of the range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// This point in time and `duration` less, at least the beginning of the range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// How long after `earlier` this is; nothing if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos_since(earlier)).unwrap_or(0))
    }

    /// The `YYYYMMDDHHMMSS` of MDTM and MFMT (RFC 3659, section 2.3), in UTC, without the
    /// fraction, which pyftpdlib refuses. `None` outside the years 1970 to 9999: ProFTPD
    /// answers 501 to earlier ones.
    pub fn to_ftp(self) -> Option<String> {
        (self.0 >= 0).then(|| self.to_utc().format("%Y%m%d%H%M%S").to_string())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Nanos, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text)?;
        Ok(Self::from_unix(time.timestamp(), i64::from(time.timestamp_subsec_nanos())))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_every_nanosecond() {
        for nanos in [0, 1, -1, 1_795_362_407_123_456_789, i64::MAX, i64::MIN + 1] {
            let time = Timestamp::from_unix_nanos(nanos);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        assert_eq!(Timestamp::from_unix_nanos(0).to_string(), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn ftp_form_has_no_fraction_and_no_years_before_1970() {
        assert_eq!(Timestamp::from_unix(981_173_106, 999).to_ftp().as_deref(), Some("20010203040506"));
        assert_eq!(Timestamp::from_unix(-1, 0).to_ftp(), None);
    }

    #[test]
    fn far_times_are_drawn_to_the_end_of_the_range() {
        assert_eq!(Timestamp::from_unix(i64::MAX, 0).unix_nanos(), i64::MAX);
        assert_eq!(Timestamp::from_unix(i64::MIN, 0).unix_nanos(), i64::MIN);
    }
}
