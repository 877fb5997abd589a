//! One field of a crontab expression.

use super::expression::ParseCronError;

/// What a field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

impl Unit {
    /// How messages call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    /// The least and the most that may be written.
    pub(super) const fn range(self) -> (u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            // Sunday is 0 and 7.
            Self::DayOfWeek => (0, 7),
        }
    }

    /// Words for its values, from the least on.
    pub(super) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth => &[],
            Self::Month => {
                &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
            }
            Self::DayOfWeek => &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        }
    }

    /// How many values there are; both Sundays are one.
    const fn size(self) -> u8 {
        let (least, most) = self.range();
        match self {
            Self::DayOfWeek => 7,
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth | Self::Month => most - least + 1,
        }
    }
}

/// The values of a field, and whether it begins with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// A bit for each value; Sunday is 0.
    values: u64,
    /// Whether it begins with `*`, also in `*/2`: so crontab(5) tells restricted fields from others.
    pub(super) star: Star,
}

/// Whether a field begins with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Star {
    Star,
    Restricted,
}

impl Field {
    /// All values.
    pub(super) const fn all(unit: Unit) -> Self {
        let (least, _) = unit.range();
        Self { values: ((1_u64 << unit.size()) - 1) << least, star: Star::Star }
    }

    /// A single value.
    pub(super) const fn one(value: u8) -> Self {
        Self { values: 1 << value, star: Star::Restricted }
    }

    /// Its values, from the least on.
    pub(super) fn values(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |value| self.values & (1 << value) != 0)
    }

    /// Whether it has all values.
    pub(super) fn is_all(self, unit: Unit) -> bool {
        self.values == Self::all(unit).values
    }

    /// Reads a list of values, ranges and steps.
    pub(super) fn parse(unit: Unit, text: &str) -> Result<Self, ParseCronError> {
        let star = if text.starts_with('*') { Star::Star } else { Star::Restricted };
        let mut values = 0;
        for part in text.split(',') {
            values |= part_values(unit, part)?;
        }
        if let (Unit::DayOfWeek, true) = (unit, values & (1 << 7) != 0) {
            values = (values & !(1 << 7)) | 1;
        }
        Ok(Self { values, star })
    }
}

fn part_values(unit: Unit, part: &str) -> Result<u64, ParseCronError> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (from, to) = match (range, range.split_once('-')) {
        ("*", _) => {
            let (least, _) = unit.range();
            (least, least + unit.size() - 1)
        }
        (_, Some((from, to))) => ends(unit, part, value(unit, from)?, value(unit, to)?)?,
        (_, None) => {
            let value = value(unit, range)?;
            if let Some(step) = step {
                let (_, most) = unit.range();
                let instead = format!("{value}-{most}/{step}");
                return Err(ParseCronError::StepOfOne { part: part.to_owned(), instead });
            }
            (value, value)
        }
    };
    let step = match step {
        None => 1,
        Some(text) => {
            let step = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
            let most = unit.size();
            step.filter(|step| (1..most).contains(step)).ok_or_else(|| ParseCronError::Step {
                unit: unit.name(),
                part: part.to_owned(),
                most: most - 1,
            })?
        }
    };
    Ok((from..=to).step_by(step.into()).fold(0, |values, value| values | (1 << value)))
}

/// The ends of a range; Sunday ends one as 7.
fn ends(unit: Unit, part: &str, from: u8, to: u8) -> Result<(u8, u8), ParseCronError> {
    let to = if unit == Unit::DayOfWeek && to == 0 && from > 0 { 7 } else { to };
    if from <= to {
        return Ok((from, to));
    }
    let (least, most) = unit.range();
    let most = if unit == Unit::DayOfWeek { 6 } else { most };
    let word = |value: u8| match unit.words().get(usize::from(value - least)) {
        Some(word) => (*word).to_owned(),
        None => value.to_string(),
    };
    let span = |from: u8, to: u8| {
        if from == to { word(from) } else { format!("{}-{}", word(from), word(to)) }
    };
    let instead = format!("{},{}", span(from, most), span(least, to));
    Err(ParseCronError::Backwards { part: part.to_owned(), instead })
}

/// A number or a word.
fn value(unit: Unit, text: &str) -> Result<u8, ParseCronError> {
    let (least, most) = unit.range();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        return number.ok_or_else(|| ParseCronError::OutOfRange {
            unit: unit.name(),
            text: text.to_owned(),
            least,
            most,
        });
    }
    let word = text.to_ascii_lowercase();
    let place = unit.words().iter().zip(least..).find(|(known, _)| **known == word);
    place.map(|(_, value)| value).ok_or_else(|| ParseCronError::Value {
        unit: unit.name(),
        text: text.to_owned(),
        words: unit.words(),
    })
}
