//! Time zones, by their names in the IANA database.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::super::Timestamp;

/// A text that names no zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{name}`", name = .name.escape_debug())]
pub struct UnknownZone {
    name: String,
}

/// A time zone of the IANA database, as in `America/New_York`. The database is built in: its
/// rules are those of the day on which this build was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// How far apart changes of the clock are looked for: no zone changes twice in half a day.
    const PROBE_SECONDS: i64 = 12 * 3600;

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// The wall clock's time at a point in time.
    pub fn local(self, time: Timestamp) -> NaiveDateTime {
        time.to_utc().with_timezone(&self.0).naive_local()
    }

    /// The first point in time at which the wall clock shows `local`, or, where it is put forward
    /// over it, at which it has been. `None` outside the years that a [`Timestamp`] has.
    pub fn first_at(self, local: NaiveDateTime) -> Option<Timestamp> {
        let time = self.0.from_local_datetime(&local).earliest().map(|time| time.timestamp());
        let time = time.or_else(|| {
            // No offset is larger than a day.
            let (from, to) = (local.and_utc().timestamp() - 86_400, local.and_utc().timestamp() + 86_400);
            self.change_within(self.offset(from), from, to)
        })?;
        DateTime::from_timestamp(time, 0)?.timestamp_nanos_opt().map(Timestamp::from_unix_nanos)
    }

    /// Date, time and abbreviation: `Mon 2026-11-23 17:00 EST`; with seconds where there are any.
    pub fn shown(self, time: Timestamp) -> String {
        let local = time.to_utc().with_timezone(&self.0);
        let form =
            if local.timestamp() % 60 == 0 { "%a %Y-%m-%d %H:%M %Z" } else { "%a %Y-%m-%d %H:%M:%S %Z" };
        local.format(form).to_string()
    }

    /// Date, time to the minute and abbreviation, for columns: `2026-11-23 17:00 EST`.
    pub fn to_minutes(self, time: Timestamp) -> String {
        time.to_utc().with_timezone(&self.0).format("%Y-%m-%d %H:%M %Z").to_string()
    }

    /// RFC 3339 with the zone's offset.
    pub fn rfc3339(self, time: Timestamp) -> String {
        time.to_utc().with_timezone(&self.0).to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
    }

    /// Seconds that the wall clock is ahead of UTC; `time` in seconds since the epoch.
    pub(super) fn offset(self, time: i64) -> i64 {
        let utc = DateTime::from_timestamp(time, 0).unwrap_or_default().naive_utc();
        self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
    }

    /// The first time after `from` and not after `to` at which the offset is not `offset`.
    pub(super) fn change_within(self, offset: i64, from: i64, to: i64) -> Option<i64> {
        let (mut before, mut probe) = (from, from);
        while probe < to {
            probe = to.min(probe + Self::PROBE_SECONDS);
            if self.offset(probe) != offset {
                while probe - before > 1 {
                    let middle = before.midpoint(probe);
                    if self.offset(middle) == offset { before = middle } else { probe = middle }
                }
                return Some(probe);
            }
            before = probe;
        }
        None
    }

    /// Whether the wall clock shows `local` twice, and the second time with this offset.
    pub(super) fn is_second(self, local: NaiveDateTime, offset: i64) -> bool {
        match self.0.offset_from_local_datetime(&local) {
            chrono::MappedLocalTime::Ambiguous(one, other) => {
                let first = one.fix().local_minus_utc().max(other.fix().local_minus_utc());
                offset < i64::from(first)
            }
            chrono::MappedLocalTime::Single(_) | chrono::MappedLocalTime::None => false,
        }
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.parse().map(Self).map_err(|_| UnknownZone { name: name.to_owned() })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn wall_clock_times_stand_for_their_first_moment() {
        let (zone, east, half) = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe");
        for (zone, local, time) in [
            (zone, "2026-07-01T12:00:00", "2026-07-01T16:00:00Z"),
            // Not on any clock: the first moment after it.
            (zone, "2026-03-08T02:30:00", "2026-03-08T07:00:00Z"),
            (east, "2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),
            (half, "2026-10-04T02:15:00", "2026-10-03T15:30:00Z"),
            // On the clock twice.
            (zone, "2026-11-01T01:30:00", "2026-11-01T05:30:00Z"),
            (half, "2026-04-05T01:45:00", "2026-04-04T14:45:00Z"),
        ] {
            let first = zone.parse::<Zone>().unwrap().first_at(local.parse().unwrap());
            assert_eq!(first, Some(at(time)), "{zone} {local}");
        }
        let zone: Zone = zone.parse().unwrap();
        assert_eq!(zone.shown(at("2026-11-23T22:00:00Z")), "Mon 2026-11-23 17:00 EST");
        assert_eq!(zone.shown(at("2026-07-01T16:00:07Z")), "Wed 2026-07-01 12:00:07 EDT");
        assert_eq!(zone.rfc3339(at("2026-11-23T22:00:00Z")), "2026-11-23T17:00:00-05:00");
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "America/New York", "europe/berlin", "Mars/Olympus", "+01:00"] {
            assert!(name.parse::<Zone>().is_err(), "{name}");
        }
    }
}
