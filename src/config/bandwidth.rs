//! How fast files may cross: the key `bandwidth` of a server.

use super::section::{Keys, Section, Value};
use super::triggers::{parsed, system_zone};
use super::zone;
use crate::domain::{Bandwidth, BandwidthHours, Rate, Window, Windows, Zone};

const KEYS: Keys = Keys { known: &["limit", "timetable", "timezone"], later: &[] };
const HOURS_KEYS: Keys = Keys { known: &["hours", "limit"], later: &[] };
/// What stands in place of a rate where there is none.
const UNLIMITED: &str = "unlimited";
const LIMIT_REMEDY: &str = "add how fast, as in `limit: 500 kB/s`, or `limit: unlimited`";

/// How fast; inside nothing where as fast as the line is.
#[derive(Clone, Copy)]
struct Limit(Option<Rate>);

/// Reads the key; `default` is the zone of the hours where it names none, if the file names it.
pub(super) fn read(server: &Section<'_>, default: Option<Zone>) -> Option<Bandwidth> {
    server.optional_or("bandwidth", Bandwidth::default(), |value| bandwidth(value, default))
}

fn bandwidth(value: &Value<'_>, default: Option<Zone>) -> Option<Bandwidth> {
    if value.is_single() {
        let remedy = "write `bandwidth: {limit: 2 MB/s}`";
        return value.expected("a `limit` or a `timetable`", remedy);
    }
    let section = Section::new(value, &KEYS)?;
    let limit = section.optional_or("limit", Limit(None), limit);
    let named = section.optional_or("timezone", None, |value| zone::read(value).map(Some));
    let timetable = section.optional_or("timetable", Vec::new(), |value| value.list(hours));
    if section.optional("limit").is_none() && timetable.as_ref().is_some_and(Vec::is_empty) {
        section.place.refuse("limits nothing", "add `limit: 2 MB/s`, or take `bandwidth` out");
        return None;
    }
    let (limit, named, timetable) = (limit?, named?, timetable?);
    let zone = match named.or(default) {
        Some(zone) => zone,
        None if timetable.is_empty() => Zone::UTC,
        None => system_zone(&section)?,
    };
    let hours = |(window, Limit(limit))| BandwidthHours { hours: Windows::new(vec![window], zone), limit };
    Some(Bandwidth { limit: limit.0, timetable: timetable.into_iter().map(hours).collect() })
}

fn hours(value: &Value<'_>) -> Option<(Window, Limit)> {
    let section = Section::new(value, &HOURS_KEYS)?;
    let hours = section.required("hours", "add when, as in `hours: Mon-Fri 08:00-18:00`");
    let limit = section.required("limit", LIMIT_REMEDY);
    let (hours, limit) =
        (hours.and_then(|value| parsed(&value)), limit.and_then(|value| self::limit(&value)));
    Some((hours?, limit?))
}

/// A rate, or that there is none.
fn limit(value: &Value<'_>) -> Option<Limit> {
    if value.text()? == UNLIMITED { Some(Limit(None)) } else { parsed(value).map(|rate| Limit(Some(rate))) }
}
