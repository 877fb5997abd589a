//! The keys of a job that say when it may and must run.

use std::fmt::Display;
use std::time::Duration;

use super::section::{Keys, Section, Value};
use super::zone;
use crate::domain::{
    CatchUp, CronExpression, DailyExpectation, Days, Expectation, Factor, Mode, ParseCronError, Schedule,
    TimeOfDay, Timestamp, Timing, Windows, Zone, length_in_words,
};

/// Longest jitter.
const MAX_JITTER: Duration = Duration::from_hours(12);
/// Longest deadline and longest age: a month; later nobody remembers.
const MAX_DAYS: Duration = Duration::from_hours(30 * 24);
/// How often a mirror is held against its server where the job does not say.
const VERIFY_EVERY: Duration = Duration::from_hours(7 * 24);
/// More often, and looking would be all that the server does.
const MIN_VERIFY_EVERY: Duration = Duration::from_hours(1);
/// More seldom, and the source of what decayed is gone when it is found.
const MAX_VERIFY_EVERY: Duration = Duration::from_hours(90 * 24);
/// Scheduled times that the others are compared with: for most schedules more than a month.
const TIMES_COMPARED: usize = 50;
/// From when on they are looked at: any day will do, but the same each time.
const COMPARED_FROM: Timestamp = Timestamp::from_unix(1_767_225_600, 0);
/// How long after a scheduled time files may be expected at the latest: what is expected even later
/// is expected before the next one.
const MAX_EXPECTED_AFTER: Duration = Duration::from_hours(18);

/// Reads the keys; `default` is the zone of jobs that name none, if the file names it.
pub(super) fn read(job: &Section<'_>, default: Option<Zone>, mode: Option<Mode>) -> Option<Timing> {
    let expression = job.optional_or("schedule", None, |value| expression(value).map(Some));
    let named = job.optional_or("timezone", None, |value| zone::read(value).map(Some));
    let jitter = job.optional_or("jitter", Duration::ZERO, |value| up_to(value, Duration::ZERO, MAX_JITTER));
    let catch_up = job.optional_or("catch_up", CatchUp::default(), catch_up);
    let windows = job.optional_or("window", Vec::new(), |value| value.list(|item| parsed(item)));
    let deadline =
        job.optional_or("deadline", None, |value| up_to(value, Duration::from_mins(1), MAX_DAYS).map(Some));
    let daily = job.optional_or("expect", None, |value| expect(value).map(Some));
    let max_age =
        job.optional_or("max_age", None, |value| up_to(value, Duration::from_mins(1), MAX_DAYS).map(Some));
    let unusual =
        job.optional_or("unusual", None, |value| value.number(Factor::LEAST..=Factor::MOST).map(Factor::new));
    let max_wait =
        job.optional_or("max_wait", None, |value| up_to(value, Duration::from_mins(1), MAX_DAYS).map(Some));
    let verify_every = verify_every(job, mode);
    let is_needed = matches!(expression, Some(Some(_)))
        || windows.as_ref().is_some_and(|windows| !windows.is_empty())
        || matches!(daily, Some(Some(_)));
    let shown = match named.map(|named| named.or(default)) {
        Some(None) if is_needed => system_zone(job).map(Some),
        named => named,
    };
    // One that is wrong was told: with another in its place, the rest is looked at as well.
    let zone = shown.flatten().unwrap_or(Zone::UTC);
    let windows = windows
        .map(|windows| if windows.is_empty() { Windows::default() } else { Windows::new(windows, zone) });
    let daily =
        daily.map(|daily| daily.map(|(by, days, at_least)| DailyExpectation { by, zone, days, at_least }));
    if let Some(expression) = &expression {
        let of = |expression| Schedule {
            expression,
            zone,
            jitter: jitter.unwrap_or_default(),
            catch_up: catch_up.unwrap_or_default(),
        };
        match expression.clone().map(of) {
            Some(schedule) => {
                check(&schedule, windows.as_ref(), daily.as_ref().and_then(Option::as_ref), job);
            }
            None => refuse_without_schedule(job),
        }
    }
    let (expression, jitter, catch_up) = (expression?, jitter?, catch_up?);
    let schedule = expression.map(|expression| Schedule { expression, zone, jitter, catch_up });
    let expectation =
        Expectation { daily: daily?, max_age: max_age?, max_wait: max_wait?, unusual: unusual? };
    Some(Timing {
        zone: shown?,
        schedule,
        windows: windows?,
        deadline: deadline?,
        expectation,
        verify_every: verify_every?,
    })
}

fn refuse_without_schedule(job: &Section<'_>) {
    for key in ["jitter", "catch_up"] {
        refuse(job, key, "says nothing without a `schedule`", "take it out, or add a `schedule`");
    }
    let reason = "says nothing without a `schedule`: only scheduled runs are compared";
    refuse(job, "unusual", reason, "take it out, or add a `schedule`");
}

/// The system's zone, for what stands in a section.
pub(super) fn system_zone(section: &Section<'_>) -> Option<Zone> {
    let zone = zone::of_system();
    if zone.is_none() {
        let reason = "the system's time zone has no name that is known";
        section.place.refuse(reason, "add `timezone`, as in `timezone: Europe/Berlin`");
    }
    zone
}

fn expression(value: &Value<'_>) -> Option<CronExpression> {
    value
        .text()?
        .parse()
        .map_err(|error: ParseCronError| value.place.refuse(error.to_string(), error.remedy()))
        .ok()
}

/// A text whose type knows how to read it.
pub(super) fn parsed<T: std::str::FromStr<Err: Display>>(value: &Value<'_>) -> Option<T> {
    value.text()?.parse().map_err(|error: T::Err| value.place.refuse(error.to_string(), "")).ok()
}

/// A length of time in a range.
pub(super) fn up_to(value: &Value<'_>, least: Duration, most: Duration) -> Option<Duration> {
    let text = value.text()?;
    match humantime::parse_duration(&text) {
        Ok(time) if (least..=most).contains(&time) => Some(time),
        Ok(_) => value
            .expected(&format!("a time from {} to {}", length_in_words(least), length_in_words(most)), ""),
        Err(_) => value.expected("a time", "write a number and its unit, as in `30s`, `5m`, `26h` or `2d`"),
    }
}

fn catch_up(value: &Value<'_>) -> Option<CatchUp> {
    match value.text()?.as_str() {
        "true" => Some(CatchUp::Always),
        "false" => Some(CatchUp::Never),
        text => match humantime::parse_duration(text) {
            Ok(_) => up_to(value, Duration::from_mins(1), MAX_DAYS).map(CatchUp::Within),
            Err(_) => value.expected(
                "whether missed times are made up for",
                "write `true`, `false`, or how late that still makes sense, as in `6h`",
            ),
        },
    }
}

/// How often the agent looks whether what was delivered still stands on the server.
#[expect(clippy::option_option, reason = "a mistake, and within what is fine an `off`")]
fn verify_every(job: &Section<'_>, mode: Option<Mode>) -> Option<Option<Duration>> {
    let default = match mode {
        Some(Mode::Mirror) => Some(VERIFY_EVERY),
        Some(Mode::Drop) | None => None,
    };
    let is_off = |value: &Value<'_>| value.is_single() && value.text().is_some_and(|text| text == "off");
    let every = job.optional_or("verify_every", default, |value| {
        if is_off(value) { Some(None) } else { up_to(value, MIN_VERIFY_EVERY, MAX_VERIFY_EVERY).map(Some) }
    });
    if mode == Some(Mode::Drop) && every.is_some_and(|every| every.is_some()) {
        let reason = "goes with `mode: mirror` only: in a drop the consumer takes files away";
        refuse(job, "verify_every", reason, "take it out");
    }
    every
}

const EXPECT_KEYS: Keys = Keys { known: &["by", "at_least", "days"], later: &[] };

fn expect(value: &Value<'_>) -> Option<(TimeOfDay, Option<Days>, u64)> {
    let section = Section::new(value, &EXPECT_KEYS)?;
    let by = section.required("by", "add the time of day, as in `by: \"17:30\"`").and_then(|by| parsed(&by));
    let days = section.optional_or("days", None, |value| parsed(value).map(Some));
    let at_least = section.optional_or("at_least", 1, |value| value.number(1..=u16::MAX));
    Some((by?, days?, at_least?.into()))
}

/// What does not go together; what is wrong by itself is nothing here.
fn check(
    schedule: &Schedule,
    windows: Option<&Windows>,
    daily: Option<&DailyExpectation>,
    job: &Section<'_>,
) {
    let dues: Vec<Timestamp> = schedule.all_after(COMPARED_FROM).take(TIMES_COMPARED).collect();
    let pairs = || dues.iter().zip(dues.iter().skip(1));
    let shortest = pairs().map(|(one, next)| next.since(*one)).min();
    if shortest.is_some_and(|shortest| schedule.jitter >= shortest) {
        let reason = "longer than the time between two runs";
        refuse(job, "jitter", reason, "make it shorter than that, or the schedule less frequent");
    }
    if windows.is_some_and(|windows| !dues.iter().any(|due| windows.is_open(*due))) {
        let (reason, remedy) = ("closed at every time of the `schedule`", "move one of the two");
        refuse(job, "window", reason, remedy);
    }
    let Some(DailyExpectation { by, zone, days: None, .. }) = daily else { return };
    let after = |due: &Timestamp| {
        let date = zone.local(*due).date();
        let days = std::iter::successors(Some(date), chrono::NaiveDate::succ_opt);
        days.take(3)
            .filter_map(|date| zone.first_at(by.on(date)))
            .find(|by| by > due)
            .map(|by| by.since(*due))
    };
    if dues.iter().filter_map(after).min().is_some_and(|shortest| shortest > MAX_EXPECTED_AFTER) {
        let reason = format!("`by: {by}` comes before the `schedule`, not after it");
        refuse(job, "expect", &reason, "name a time at which the run is over");
    }
}

fn refuse(job: &Section<'_>, key: &str, reason: &str, remedy: &str) {
    if let Some(value) = job.optional(key) {
        value.place.refuse(reason, remedy);
    }
}

#[cfg(test)]
mod tests;
