//! The section `ledger`.

use std::time::Duration;

use super::LedgerConfig;
use super::section::{Keys, Section, Value};

const KEYS: Keys = Keys { known: &["retain"], later: &[] };

/// Six years, as 45 CFR 164.316(b)(2)(i) asks of documentation; leap days counted in.
const DEFAULT_RETAIN: Duration = Duration::from_hours(6 * 366 * 24);
/// The least: shorter, and what a billing office asks about may be gone.
const LEAST_DAYS: u16 = 30;
/// The most: times are counted in nanoseconds and end in 292 years.
const MOST_YEARS: u16 = 100;

pub(super) fn read(root: &Section<'_>) -> Option<LedgerConfig> {
    let retain = match root.optional("ledger") {
        Some(ledger) => Section::new(&ledger, &KEYS)?.optional_or("retain", DEFAULT_RETAIN, retain)?,
        None => DEFAULT_RETAIN,
    };
    Some(LedgerConfig { retain })
}

/// A number and its unit, in whole days or years: `6y`, `400d`.
fn retain(value: &Value<'_>) -> Option<Duration> {
    let text = value.text()?;
    let days = |days: u64| Duration::from_hours(24 * days);
    let read = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, unit)| {
        let number: u16 = number.parse().ok()?;
        match unit {
            "d" => Some(days(number.into())),
            "y" => Some(days(u64::from(number) * 366)),
            _ => None,
        }
    });
    let Some(retain) = read else { return value.expected("days or years, as in `400d` or `6y`", "") };
    if retain < days(LEAST_DAYS.into()) || retain > days(u64::from(MOST_YEARS) * 366) {
        value.place.refuse(format!("must be from {LEAST_DAYS}d to {MOST_YEARS}y, not {text}"), "");
        return None;
    }
    Some(retain)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const REST: &str = "\nservers: {s: {host: h, username: u, password: {env: P}}}\njobs: {j: {source: /s, server: s, destination: /d}}\n";

    fn retained(section: &str) -> Result<Duration, String> {
        let text = format!("version: 1\nagent: {{state_dir: /state}}\n{section}{REST}");
        let parsed = parse(text.as_bytes(), std::path::Path::new("/etc/jobs.yaml"), None);
        parsed.map(|config| config.ledger.retain).map_err(|problems| problems[0].reason.clone())
    }

    #[test]
    fn the_ledger_is_kept_for_days_or_years() {
        let days = |days: u64| Ok(Duration::from_hours(24 * days));
        assert_eq!(retained(""), days(6 * 366));
        assert_eq!(retained("ledger:"), days(6 * 366));
        assert_eq!(retained("ledger: {retain: 6y}"), days(6 * 366));
        assert_eq!(retained("ledger: {retain: 400d}"), days(400));
    }

    #[test]
    fn other_times_are_refused() {
        for (text, reason) in [
            ("6", "expected days or years, as in `400d` or `6y`, found the number 6"),
            ("6w", "expected days or years, as in `400d` or `6y`, found the text \"6w\""),
            ("1.5y", "expected days or years, as in `400d` or `6y`, found the text \"1.5y\""),
            ("ä", "expected days or years, as in `400d` or `6y`, found the text \"ä\""),
            ("29d", "must be from 30d to 100y, not 29d"),
            ("101y", "must be from 30d to 100y, not 101y"),
        ] {
            assert_eq!(retained(&format!("ledger: {{retain: {text}}}")), Err(reason.to_owned()));
        }
    }
}
