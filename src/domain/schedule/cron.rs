//! The cron crate, which matches fields on the time of day and knows nothing of zones here.
//!
//! It gets lists of plain values only. By itself cron 0.17 takes six fields and not five, counts
//! Sunday as 1 (so that `1-5` would be Sunday to Thursday), wants both days of month and of week to
//! match, skips days on which the clock is put forward and runs out of order when it is put back.

use std::str::FromStr as _;

use chrono::{NaiveDateTime, TimeZone as _, Utc};

use super::field::{Field, Star, Unit};

/// The fields of an expression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) second: Field,
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day_of_month: Field,
    pub(super) month: Field,
    pub(super) day_of_week: Field,
}

/// What matches one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    /// Two where both the days of month and of week are restricted: either is enough.
    schedules: Vec<cron::Schedule>,
}

impl Matcher {
    /// What matches the fields. `None` where the crate does not take them, which it always does.
    pub(super) fn new(fields: Fields) -> Option<Self> {
        let Fields { day_of_month, day_of_week, .. } = fields;
        let any = Field::all;
        let texts = match (day_of_month.star, day_of_week.star) {
            (Star::Restricted, Star::Restricted) => vec![
                written(Fields { day_of_week: any(Unit::DayOfWeek), ..fields }),
                written(Fields { day_of_month: any(Unit::DayOfMonth), ..fields }),
            ],
            (Star::Star, _) | (_, Star::Star) => vec![written(fields)],
        };
        let schedules = texts.iter().map(|text| cron::Schedule::from_str(text));
        Some(Self { schedules: schedules.collect::<Result<_, _>>().ok()? })
    }

    /// The first match after a time of day. The crate knows the years up to 2100.
    pub(super) fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let after = Utc.from_utc_datetime(&after);
        let each = self.schedules.iter().filter_map(|schedule| schedule.after(&after).next());
        each.min().map(|next| next.naive_utc())
    }
}

fn written(fields: Fields) -> String {
    let Fields { second, minute, hour, day_of_month, month, day_of_week } = fields;
    let of = |unit: Unit, field: Field| {
        if field.is_all(unit) {
            return "*".to_owned();
        }
        let value = |value: u8| match (unit, unit.words().get(usize::from(value))) {
            (Unit::DayOfWeek, Some(word)) => (*word).to_owned(),
            (_, _) => value.to_string(),
        };
        field.values().map(value).collect::<Vec<_>>().join(",")
    };
    [
        of(Unit::Second, second),
        of(Unit::Minute, minute),
        of(Unit::Hour, hour),
        of(Unit::DayOfMonth, day_of_month),
        of(Unit::Month, month),
        of(Unit::DayOfWeek, day_of_week),
    ]
    .join(" ")
}
