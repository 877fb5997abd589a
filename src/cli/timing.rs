//! When a job runs, in words.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::domain::{CatchUp, Timestamp, Timing, Watching, length_in_words};

/// How many of the next runs are shown.
const RUNS_SHOWN: usize = 3;

/// What `check` says of a job's times: lines that follow others, each with its line end before it.
pub(super) fn in_words(timing: &Timing, watch: Option<&Watching>, now: Timestamp) -> String {
    let mut words = String::new();
    let mut line = |label: &str, text: &str| {
        // Writing to a string never fails.
        let _written = write!(words, "\n  {label:<8}  {text}").is_ok();
    };
    let appear = "as files appear in its source, once they are left alone for";
    match (watch, &timing.schedule) {
        (None, None) => line("runs", "by hand: it has no schedule"),
        (None, Some(_)) => {}
        (Some(watch), _) => line("runs", &format!("{appear} {}", length_in_words(watch.rest.0))),
    }
    match &timing.schedule {
        None => {}
        Some(schedule) => {
            line("runs", &format!("{} in {}; next:", schedule.expression, schedule.zone));
            for start in timing.next_runs(now).take(RUNS_SHOWN) {
                line("", &schedule.zone.shown(start));
            }
            if !schedule.jitter.is_zero() {
                let jitter = length_in_words(schedule.jitter);
                line("", &format!("up to {jitter} later, the same for each time"));
            }
            match schedule.catch_up {
                CatchUp::Always => {}
                CatchUp::Never => line("", "what is missed is not made up for"),
                CatchUp::Within(limit) => {
                    let limit = length_in_words(limit);
                    line("", &format!("what is missed is made up for within {limit}"));
                }
            }
        }
    }
    for (number, window) in timing.windows.iter().enumerate() {
        line(if number == 0 { "within" } else { "" }, &window.to_string());
    }
    if let Some(deadline) = timing.deadline {
        line("ends", &format!("after {} at the latest", length_in_words(deadline)));
    }
    if let Some(daily) = &timing.expectation.daily {
        let days = daily.days.map_or_else(String::new, |days| format!(" on {days}"));
        line("due", &format!("files by {}{days}, at least {}", daily.by, daily.at_least));
    }
    if let Some(max_age) = timing.expectation.max_age {
        line("due", &format!("a run that ends well every {}", length_in_words(max_age)));
    }
    if let Some(every) = timing.verify_every {
        let every = length_in_words(every);
        line("verifies", &format!("at least every {every} what stands on the server"));
    }
    words
}

/// The same for programs: the schedule, or nothing, and the next runs.
pub(super) fn described(timing: &Timing, now: Timestamp) -> Value {
    let Some(schedule) = &timing.schedule else { return Value::Null };
    let next: Vec<_> =
        timing.next_runs(now).take(RUNS_SHOWN).map(|start| schedule.zone.rfc3339(start)).collect();
    json!({
        "expression": schedule.expression.as_str(),
        "timezone": schedule.zone.name(),
        "next_runs": next,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{DailyExpectation, Expectation, Schedule, Windows, Zone};

    #[test]
    fn the_next_runs_are_shown_in_local_time() {
        let zone: Zone = "America/New_York".parse().unwrap();
        let schedule = Schedule {
            expression: "0 17 * * Mon-Fri".parse().unwrap(),
            zone,
            jitter: Duration::from_mins(5),
            catch_up: CatchUp::Within(Duration::from_hours(6)),
        };
        let daily = DailyExpectation { by: "17:30".parse().unwrap(), zone, days: None, at_least: 1 };
        let timing = Timing {
            zone: Some(zone),
            schedule: Some(schedule),
            windows: Windows::new(
                vec!["16:00-20:00".parse().unwrap(), "Sat 00:00-24:00".parse().unwrap()],
                zone,
            ),
            deadline: Some(Duration::from_hours(2)),
            expectation: Expectation {
                daily: Some(daily),
                max_age: Some(Duration::from_hours(26)),
                ..Expectation::default()
            },
            verify_every: Some(Duration::from_hours(7 * 24)),
        };
        let now = "2026-10-30T12:00:00Z".parse().unwrap();
        let words = in_words(&timing, None, now);
        assert!(words.lines().all(|line| line.chars().count() <= 80), "{words}");
        insta::assert_snapshot!(words);
        assert_eq!(
            described(&timing, now)["next_runs"],
            json!(["2026-10-30T17:00:00-04:00", "2026-11-02T17:00:00-05:00", "2026-11-03T17:00:00-05:00"])
        );
        assert_eq!(in_words(&Timing::default(), None, now), "\n  runs      by hand: it has no schedule");
        let watched = in_words(&Timing::default(), Some(&Watching::default()), now);
        assert!(watched.starts_with("\n  runs      as files appear in its source"), "{watched}");
        assert_eq!(described(&Timing::default(), now), Value::Null);
    }

    #[test]
    fn runs_wait_for_their_window() {
        let zone = Zone::UTC;
        let schedule = Schedule {
            expression: "0 17,20 * * *".parse().unwrap(),
            zone,
            jitter: Duration::ZERO,
            catch_up: CatchUp::Always,
        };
        let windows = Windows::new(vec!["22:00-06:00".parse().unwrap()], zone);
        let timing = Timing { schedule: Some(schedule), windows, ..Timing::default() };
        let next = described(&timing, "2026-11-22T12:00:00Z".parse().unwrap())["next_runs"].clone();
        assert_eq!(
            next,
            json!(["2026-11-22T22:00:00+00:00", "2026-11-23T22:00:00+00:00", "2026-11-24T22:00:00+00:00"])
        );
    }
}
