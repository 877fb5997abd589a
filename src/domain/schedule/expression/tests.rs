use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first times after `after` in a zone, in UTC.
fn times(expression: &str, zone: &str, after: &str, number: usize) -> Vec<String> {
    let (expression, zone): (CronExpression, Zone) = (expression.parse().unwrap(), zone.parse().unwrap());
    let first = expression.next_after(zone, at(after));
    let all = std::iter::successors(first, |due| expression.next_after(zone, *due));
    all.take(number).map(Timestamp::to_seconds).collect()
}

/// Compares with the times of a day, which stand for `2026-MM-DDTHH:MM:00Z`.
fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|time| format!("2026-{time}:00Z")).collect();
    assert_eq!(times(expression, zone, after, expected.len()), expected, "{expression} in {zone}");
}

#[test]
fn crontabs_as_everybody_knows_them() {
    let sunday = "2026-11-22T12:00:00Z";
    check("0 17 * * *", "UTC", sunday, &["11-22T17:00", "11-23T17:00"]);
    check("0 17 * * Mon-Fri", "UTC", "2026-11-20T17:00:00Z", &["11-23T17:00", "11-24T17:00"]);
    check("0 17 * * 1-5", "UTC", "2026-11-20T17:00:00Z", &["11-23T17:00", "11-24T17:00"]);
    check("0 17 * * 0", "UTC", sunday, &["11-22T17:00", "11-29T17:00"]);
    check("0 17 * * 7", "UTC", sunday, &["11-22T17:00", "11-29T17:00"]);
    check("0 17 * * sun", "UTC", sunday, &["11-22T17:00", "11-29T17:00"]);
    check("0 17 * * 5-7", "UTC", sunday, &["11-22T17:00", "11-27T17:00", "11-28T17:00"]);
    check("0 17 * * Fri-Sun", "UTC", sunday, &["11-22T17:00", "11-27T17:00", "11-28T17:00"]);
    check("*/20 8-9 * * *", "UTC", sunday, &["11-23T08:00", "11-23T08:20", "11-23T08:40", "11-23T09:00"]);
    check("5-59/20 12 * * *", "UTC", sunday, &["11-22T12:05", "11-22T12:25", "11-22T12:45", "11-23T12:05"]);
    check("0 0 1,15 Dec *", "UTC", sunday, &["12-01T00:00", "12-15T00:00"]);
    check("@daily", "UTC", sunday, &["11-23T00:00"]);
    check("@Weekly", "UTC", sunday, &["11-29T00:00"]);
    check("@hourly", "UTC", sunday, &["11-22T13:00", "11-22T14:00"]);
    check("@monthly", "UTC", sunday, &["12-01T00:00"]);
    assert_eq!(times("@yearly", "UTC", sunday, 1), ["2027-01-01T00:00:00Z"]);
    assert_eq!(times("30 0 17 * * *", "UTC", sunday, 1), ["2026-11-22T17:00:30Z"]);
    assert_eq!(times("0 0 29 2 *", "UTC", sunday, 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    assert_eq!(times("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", 1), Vec::<String>::new());
    assert_eq!(times("* * * * *", "UTC", "2026-11-22T12:00:59.999Z", 1), ["2026-11-22T12:01:00Z"]);
}

#[test]
fn either_day_is_enough_where_both_are_restricted() {
    // The 1st, and Mondays.
    let sunday = "2026-11-22T12:00:00Z";
    check("0 3 1 * Mon", "UTC", sunday, &["11-23T03:00", "11-30T03:00", "12-01T03:00", "12-07T03:00"]);
    // A `*` with a step is not restricted, as in Vixie cron: odd days that are Mondays.
    check("0 3 */2 * Mon", "UTC", sunday, &["11-23T03:00", "12-07T03:00", "12-21T03:00"]);
    check("0 3 1 * */3", "UTC", "2026-07-01T03:00:00Z", &["08-01T03:00", "11-01T03:00"]);
}

#[test]
fn a_time_in_the_gap_runs_at_the_first_moment_after_it() {
    // New York: 02:00 EST is 03:00 EDT on 2026-03-08.
    let zone = "America/New_York";
    let before = "2026-03-07T12:00:00Z";
    check("30 2 * * *", zone, before, &["03-08T07:00", "03-09T06:30"]);
    check("0,30 2 * * *", zone, before, &["03-08T07:00", "03-09T06:00"]);
    check("0 2,3 * * *", zone, before, &["03-08T07:00", "03-09T06:00"]);
    // Not a day is lost where only the minute begins with `*`.
    check("*/30 2 * * *", zone, before, &["03-08T07:00", "03-09T06:00", "03-09T06:30"]);
    // What runs every hour has no need of it.
    check("30 * * * *", zone, "2026-03-08T06:00:00Z", &["03-08T06:30", "03-08T07:30"]);
    check("*/15 * * * *", zone, "2026-03-08T06:45:00Z", &["03-08T07:00", "03-08T07:15"]);
    // Cairo puts its clock forward at midnight.
    check("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", &["04-23T22:00", "04-24T21:00"]);
    check("30 0 * * Fri", "Africa/Cairo", "2026-04-23T12:00:00Z", &["04-23T22:00", "04-30T21:30"]);
    // Lord Howe by half an hour.
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &["10-03T15:30", "10-04T15:15"]);
}

#[test]
fn a_time_that_comes_twice_runs_once() {
    // New York: 02:00 EDT is 01:00 EST on 2026-11-01.
    let zone = "America/New_York";
    let before = "2026-10-31T12:00:00Z";
    check("30 1 * * *", zone, before, &["11-01T05:30", "11-02T06:30"]);
    check("30 1 * * *", zone, "2026-11-01T05:30:00Z", &["11-02T06:30"]);
    check("0,30 1 * * *", zone, before, &["11-01T05:00", "11-01T05:30", "11-02T06:00"]);
    // Asked in the second half of it.
    check("30 1 * * *", zone, "2026-11-01T06:10:00Z", &["11-02T06:30"]);
    // What runs all the time goes on.
    check("*/30 * * * *", zone, "2026-11-01T05:00:00Z", &["11-01T05:30", "11-01T06:00", "11-01T06:30"]);
    check("15 * * * *", zone, "2026-11-01T05:00:00Z", &["11-01T05:15", "11-01T06:15", "11-01T07:15"]);
    check("*/30 1 * * *", zone, "2026-11-01T05:00:00Z", &["11-01T05:30", "11-01T06:00", "11-01T06:30"]);
    check("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &["04-04T14:45", "04-05T15:15"]);
    check("0-59 0-59 1 * * *", zone, "2026-11-01T05:59:59Z", &["11-02T06:00"]);
}

#[test]
fn other_texts_are_refused_with_what_to_write() {
    let told: Vec<String> = [
        "",
        "* * * *",
        "0 0 * * * 1 2026",
        "0 0 * * * * * *",
        "@reboot",
        "@dayly",
        "60 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "a * * * *",
        "0 0 ? * *",
        "0 0 L * *",
        "0 0 * * 5L",
        "0 0 * * Mon#2",
        "0 22-2 * * *",
        "0 0 * * Fri-Mon",
        "0 0 * * 6-1",
        "0 0 28-3 * *",
        "5/20 * * * *",
        "*/90 * * * *",
        "*/0 * * * *",
        "* */24 * * *",
        "*/x * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "-1 * * * *",
        "*5 * * * *",
        "** * * * *",
        "٣ * * * *",
        "0 0 * * M\u{7}n",
    ]
    .into_iter()
    .map(|text| match text.parse::<CronExpression>() {
        Ok(_) => panic!("`{text}` was taken"),
        Err(error) => format!("{text:?}: {error}; {}", error.remedy()),
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!("x".repeat(2000).parse::<CronExpression>().unwrap_err(), ParseCronError::TooLong);
}
mod against_croner;
