//! Crontab expressions.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime};

use super::super::Timestamp;
use super::Zone;
use super::cron::{Fields, Matcher};
use super::field::{Field, Star, Unit};

/// Longest expression, in bytes: all minutes, written out, take 170.
const MAX_EXPRESSION_BYTES: usize = 1024;

/// Most steps that the search for the next time takes. An expression that names every second of
/// an hour that comes twice takes 3,600 and, in the zones with the longest such times, three times
/// as many; a changed clock takes one.
const MAX_STEPS: usize = 20_000;

/// The times at which a job is due, as in crontab(5): minute, hour, day of month, month and day of
/// week, with seconds in front where there is a sixth field.
///
/// - Sunday is 0 or 7; months and days of week have English names of three letters.
/// - Where both the day of month and the day of week are restricted, either is enough. A field that
///   begins with `*` does not count as restricted, `*/2` neither (as in Vixie cron).
/// - `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`) are known.
///
/// When clocks change:
/// - A time that is skipped as the clock is put forward is due at the first moment after it, once,
///   unless the hour begins with `*`: then the clock's next matching time is soon enough.
/// - A time that comes twice as the clock is put back is due the first time only, unless minute or
///   hour (or second) begins with `*`: then both count, and no hour is without a run.
#[derive(Clone, Debug)]
pub struct CronExpression {
    text: Box<str>,
    matcher: Matcher,
    skipped: Skipped,
    repeated: Repeated,
}

/// What becomes of times over which the clock is put forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    AtTheFirstMoment,
    Dropped,
}

/// What becomes of times that come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeated {
    First,
    Both,
}

impl CronExpression {
    /// The first time after a point in time, in a zone. `None` where none comes before 2100.
    pub(super) fn next_after(&self, zone: Zone, after: Timestamp) -> Option<Timestamp> {
        let mut cursor = after.unix_nanos().div_euclid(1_000_000_000);
        let mut offset = zone.offset(cursor);
        for _ in 0..MAX_STEPS {
            let local = self.matcher.next_after(clock(cursor + offset)?)?;
            let due = local.and_utc().timestamp() - offset;
            match zone.change_within(offset, cursor, due) {
                None if self.repeated == Repeated::First && zone.is_second(local, offset) => cursor = due,
                None => return Some(Timestamp::from_unix(due, 0)),
                Some(change) => {
                    let changed = zone.offset(change);
                    if self.skipped == Skipped::AtTheFirstMoment && due < change + changed - offset {
                        return Some(Timestamp::from_unix(change, 0));
                    }
                    (cursor, offset) = (change - 1, changed);
                }
            }
        }
        None
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn clock(seconds: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp(seconds, 0).map(|time| time.naive_utc())
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpression {}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CronExpression {
    type Err = ParseCronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(ParseCronError::TooLong);
        }
        let fields = match text.strip_prefix('@') {
            Some(word) => named(word)?,
            None => fields(text)?,
        };
        let Fields { second, minute, hour, .. } = fields;
        let is_star = |field: Field| field.star == Star::Star;
        let matcher = Matcher::new(fields).ok_or(ParseCronError::Never)?;
        // Leap days come within eight years.
        if clock(0).and_then(|start| matcher.next_after(start)).is_none() {
            return Err(ParseCronError::Never);
        }
        Ok(Self {
            text: text.into(),
            matcher,
            skipped: if is_star(hour) { Skipped::Dropped } else { Skipped::AtTheFirstMoment },
            repeated: if [second, minute, hour].into_iter().any(is_star) {
                Repeated::Both
            } else {
                Repeated::First
            },
        })
    }
}

const NAMED: [(&str, &str); 7] = [
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("midnight", "0 0 * * *"),
    ("weekly", "0 0 * * 0"),
    ("monthly", "0 0 1 * *"),
    ("yearly", "0 0 1 1 *"),
    ("annually", "0 0 1 1 *"),
];

fn named(word: &str) -> Result<Fields, ParseCronError> {
    let word = word.to_ascii_lowercase();
    match NAMED.iter().find(|(name, _)| *name == word) {
        Some((_, expression)) => fields(expression),
        None if word == "reboot" => Err(ParseCronError::Reboot),
        None => Err(ParseCronError::Name { word }),
    }
}

fn fields(text: &str) -> Result<Fields, ParseCronError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let (second, rest) = match fields.as_slice() {
        rest @ [_, _, _, _, _] => (Field::one(0), rest),
        [second, rest @ ..] if rest.len() == 5 => (Field::parse(Unit::Second, second)?, rest),
        [_, _, _, _, _, _, _] => return Err(ParseCronError::Year),
        _ => return Err(ParseCronError::FieldCount { found: fields.len() }),
    };
    let [minute, hour, day_of_month, month, day_of_week] = rest else {
        return Err(ParseCronError::FieldCount { found: fields.len() });
    };
    Ok(Fields {
        second,
        minute: Field::parse(Unit::Minute, minute)?,
        hour: Field::parse(Unit::Hour, hour)?,
        day_of_month: Field::parse(Unit::DayOfMonth, day_of_month)?,
        month: Field::parse(Unit::Month, month)?,
        day_of_week: Field::parse(Unit::DayOfWeek, day_of_week)?,
    })
}

/// Why a text is no crontab expression. For the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCronError {
    /// More or fewer fields than five or six.
    #[error("expected 5 fields (minute, hour, day of month, month, day of week), found {found}")]
    FieldCount {
        /// How many.
        found: usize,
    },
    /// Seven fields.
    #[error("years cannot be given")]
    Year,
    /// It has no end.
    #[error("longer than {MAX_EXPRESSION_BYTES} bytes")]
    TooLong,
    /// A word behind `@` that is not known.
    #[error("there is no `@{}`", word.escape_debug())]
    Name {
        /// The word, in lower case.
        word: String,
    },
    /// `@reboot`.
    #[error("`@reboot` is no time: what it means is when the machine starts")]
    Reboot,
    /// Neither a number nor a word.
    #[error("`{}` is no {unit}", text.escape_debug())]
    Value {
        /// Of which field.
        unit: &'static str,
        /// What was written.
        text: String,
        /// The words that the field takes.
        words: &'static [&'static str],
    },
    /// A number that the field does not have.
    #[error("there is no {unit} {text}")]
    OutOfRange {
        /// Of which field.
        unit: &'static str,
        /// What was written.
        text: String,
        /// The least that may be written.
        least: u8,
        /// The most that may be written.
        most: u8,
    },
    /// A range that ends before it begins.
    #[error("the range `{}` ends before it begins", part.escape_debug())]
    Backwards {
        /// The range.
        part: String,
        /// What says the same.
        instead: String,
    },
    /// A step behind a single value, of which crons make different things.
    #[error("`{}` has a step and no range", part.escape_debug())]
    StepOfOne {
        /// What was written.
        part: String,
        /// What was most likely meant.
        instead: String,
    },
    /// A step of nothing, or one that leaves the field at once.
    #[error("the step in `{}` does not fit the field ({unit})", part.escape_debug())]
    Step {
        /// Of which field.
        unit: &'static str,
        /// What was written.
        part: String,
        /// The longest step.
        most: u8,
    },
    /// A date that no year has.
    #[error("no year has such a day")]
    Never,
}

impl ParseCronError {
    /// What to write.
    pub fn remedy(&self) -> String {
        match self {
            Self::FieldCount { .. } => "as in \"0 17 * * Mon-Fri\" for 17:00 on weekdays".to_owned(),
            Self::Year => "write five fields, or six with the seconds in front".to_owned(),
            Self::TooLong => "use ranges and steps, as in \"*/5 8-17 * * *\"".to_owned(),
            Self::Name { .. } => {
                "write `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` or five fields".to_owned()
            }
            Self::Reboot => {
                "write a time; what was missed while the machine was off is made up for at its start (`catch_up`)"
                    .to_owned()
            }
            Self::Value { text, .. } if text == "?" => "write `*`".to_owned(),
            Self::Value { words: [], .. } => {
                "write numbers, ranges (`1-5`), steps (`*/5`), lists (`1,15`) or `*`".to_owned()
            }
            Self::Value { words, .. } => {
                let (first, last) = (words.first().unwrap_or(&""), words.last().unwrap_or(&""));
                format!("write numbers or names (`{first}` to `{last}`), ranges, steps, lists or `*`")
            }
            Self::OutOfRange { least, most, .. } => format!("from {least} to {most}"),
            Self::Backwards { instead, .. } | Self::StepOfOne { instead, .. } => format!("write `{instead}`"),
            Self::Step { most, .. } => format!("from 1 to {most}"),
            Self::Never => "name a day that comes".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
