//! A second opinion: croner, over ten years and a dozen zones.
//!
//! croner counts as fixed what has one value each for hour and minute, we what has no `*` in them.
//! Near changes of the clock only those are compared that both call the same; all others are
//! compared where no change lies between.

use chrono::Utc;
use chrono_tz::Tz;
use croner::Cron;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 12] = [
    "UTC",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Lisbon",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Australia/Sydney",
    "Pacific/Chatham",
];

/// The first of 2025, and ten years.
const START: i64 = 1_735_689_600;
const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// How many expressions are tried; `NIGHTFERRY_SCHEDULES` asks for more.
fn cases() -> u32 {
    std::env::var("NIGHTFERRY_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

fn list(least: u8, most: u8) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        (least..=most).prop_map(|value| value.to_string()),
        (least..most, 0..20_u8, 1..5_u8).prop_map(move |(from, more, step)| {
            let to = (from + more).min(most);
            if step == 1 { format!("{from}-{to}") } else { format!("{from}-{to}/{step}") }
        }),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(","))
}

fn star(most: u8) -> impl Strategy<Value = String> {
    prop_oneof![Just("*".to_owned()), (2..most).prop_map(|step| format!("*/{step}"))]
}

fn days() -> impl Strategy<Value = String> {
    let any = || Just("*".to_owned());
    let months = prop_oneof![4 => any(), 1 => list(1, 12)];
    (prop_oneof![2 => any(), 1 => list(1, 28)], months, prop_oneof![2 => any(), 1 => list(0, 6)])
        .prop_map(|(day, month, week)| format!("{day} {month} {week}"))
}

/// Minute and hour that both call fixed, or both do not.
fn alike() -> impl Strategy<Value = String> {
    let minute = || prop_oneof![star(30), list(0, 59)];
    prop_oneof![
        (0..60_u8, 0..4_u8).prop_map(|(minute, hour)| format!("{minute} {hour}")),
        (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| format!("{minute} {hour}")),
        (minute(), star(12)).prop_map(|(minute, hour)| format!("{minute} {hour}")),
    ]
}

fn croners(expression: &str, zone: Tz, after: i64) -> Option<i64> {
    let cron: Cron = expression.parse().unwrap();
    let after = DateTime::<Utc>::from_timestamp(after, 0).unwrap().with_timezone(&zone);
    cron.find_next_occurrence(&after, false).ok().map(|time| time.timestamp())
}

fn ours(expression: &str, zone: Zone, after: i64) -> Option<i64> {
    let expression: CronExpression = expression.parse().unwrap();
    let next = expression.next_after(zone, Timestamp::from_unix(after, 0))?;
    Some(next.unix_nanos() / 1_000_000_000)
}

/// A moment within some hours of a change of the clock, where the zone has any.
fn near_a_change(zone: Zone, from: i64, away: i64) -> i64 {
    zone.change_within(zone.offset(from), from, from + 400 * 86_400).unwrap_or(from) + away
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn near_changes_of_the_clock(
        clock in alike(),
        days in days(),
        zone in prop::sample::select(ZONES.to_vec()),
        from in START..START + TEN_YEARS,
        away in -30 * 3600_i64..4 * 3600,
    ) {
        let expression = format!("{clock} {days}");
        let mut after = near_a_change(zone.parse().unwrap(), from, away);
        for _ in 0..4 {
            let theirs = croners(&expression, zone.parse().unwrap(), after);
            prop_assert_eq!(ours(&expression, zone.parse().unwrap(), after), theirs, "{} in {} after {}", expression, zone, after);
            let Some(next) = theirs else { break };
            after = next;
        }
    }

    #[test]
    fn anywhere_else(
        minute in prop_oneof![star(30), list(0, 59)],
        hour in prop_oneof![star(12), list(0, 23)],
        days in days(),
        zone in prop::sample::select(ZONES.to_vec()),
        from in START..START + TEN_YEARS,
    ) {
        let (expression, zone) = (format!("{minute} {hour} {days}"), zone.parse::<Zone>().unwrap());
        let mut after = from;
        for _ in 0..3 {
            let Some(next) = ours(&expression, zone, after) else { break };
            if zone.change_within(zone.offset(after), after, next + 86_400).is_some() {
                break;
            }
            let theirs = croners(&expression, zone.name().parse().unwrap(), after);
            prop_assert_eq!(Some(next), theirs, "{} in {} after {}", expression, zone, after);
            after = next;
        }
    }
}

/// Where the two differ, and why ours is meant.
#[test]
fn known_differences() {
    let second = |text: &str| at(text).unix_nanos() / 1_000_000_000;
    let check = |expression: &str, zone: &str, after: &str, our: &str, their: &str| {
        let (our, their, after) = (second(our), second(their), second(after));
        let what = format!("{expression} in {zone}");
        assert_eq!(ours(expression, zone.parse().unwrap(), after), Some(our), "{what}");
        assert_eq!(croners(expression, zone.parse().unwrap(), after), Some(their), "{what}, theirs");
    };
    // A list is no interval: it runs once where the clock is put back, and is not lost where it is
    // put forward.
    check(
        "0,30 1 * * *",
        "America/New_York",
        "2026-11-01T05:30:00Z",
        "2026-11-02T06:00:00Z",
        "2026-11-01T06:00:00Z",
    );
    check(
        "0,30 2 * * *",
        "America/New_York",
        "2026-03-08T00:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-03-09T06:00:00Z",
    );
    // No day is lost because its hour was skipped.
    check(
        "*/30 2 * * *",
        "America/New_York",
        "2026-03-08T00:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-03-09T06:00:00Z",
    );
}

/// The zones in which the clock is put forward at midnight, and by half an hour.
#[test]
fn odd_changes_of_the_clock() {
    let zones = ["Africa/Cairo", "Australia/Lord_Howe"];
    for zone in zones {
        let zone: Zone = zone.parse().unwrap();
        let mut from = START;
        while let Some(change) = zone.change_within(zone.offset(from), from, from + 300 * 86_400) {
            for (hour, minute) in (0..4).flat_map(|hour| [(hour, 0), (hour, 15), (hour, 45)]) {
                let expression = format!("{minute} {hour} * * *");
                let mut dues = Vec::new();
                let mut after = change - 43_200;
                while let Some(due) = ours(&expression, zone, after).filter(|due| *due < change + 3 * 86_400)
                {
                    dues.push(zone.local(Timestamp::from_unix(due, 0)).date());
                    after = due;
                }
                // One run a day, and a day is none too many.
                let mut days = dues.clone();
                days.dedup();
                assert_eq!(days, dues, "{expression} in {zone} at {change}");
                for pair in days.windows(2) {
                    assert_eq!((pair[1] - pair[0]).num_days(), 1, "{expression} in {zone} at {change}");
                }
            }
            from = change;
            if from > START + TEN_YEARS {
                break;
            }
        }
    }
}
