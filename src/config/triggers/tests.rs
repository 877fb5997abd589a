use std::path::Path;

use super::super::{Problems, parse};
use super::*;

fn timing(keys: &str) -> Result<Timing, String> {
    let text = format!(
        "version: 1\nagent: {{state_dir: /state, timezone: America/New_York}}\nservers: {{s: {{host: h, username: u, \
         password: {{env: P}}}}}}\njobs:\n  j:\n    source: /s\n    server: s\n    destination: /d\n{keys}"
    );
    parse(text.as_bytes(), Path::new("/etc/jobs.yaml"), None)
        .map(|config| config.jobs.into_values().next().unwrap().timing)
        .map_err(|problems| Problems::new("jobs.yaml".into(), problems).to_string())
}

#[test]
fn all_keys_are_read() {
    let timing = timing(
        "    schedule: 0 17 * * Mon-Fri\n    timezone: Europe/Berlin\n    jitter: 5m\n    catch_up: 6h\n    \
         window: [\"16:00-20:00\", Sat 00:00-24:00]\n    deadline: 2h\n    expect: {by: 17:30, at_least: 3}\n    \
         max_age: 26h\n",
    )
    .unwrap();
    let schedule = timing.schedule.unwrap();
    assert_eq!((schedule.expression.as_str(), schedule.zone.name()), ("0 17 * * Mon-Fri", "Europe/Berlin"));
    assert_eq!(schedule.jitter, Duration::from_mins(5));
    assert_eq!(schedule.catch_up, CatchUp::Within(Duration::from_hours(6)));
    assert_eq!(timing.windows.iter().count(), 2);
    assert_eq!(timing.deadline, Some(Duration::from_hours(2)));
    let daily = timing.expectation.daily.unwrap();
    assert_eq!((daily.by.to_string().as_str(), daily.at_least, daily.days), ("17:30", 3, None));
    assert_eq!(timing.expectation.max_age, Some(Duration::from_hours(26)));
}

#[test]
fn the_agent_names_the_zone_of_all_jobs() {
    let schedule = timing("    schedule: \"@daily\"\n    catch_up: false\n").unwrap().schedule.unwrap();
    assert_eq!((schedule.zone.name(), schedule.catch_up), ("America/New_York", CatchUp::Never));
    let every_week = Some(Duration::from_hours(7 * 24));
    let zone = "America/New_York".parse().ok();
    assert_eq!(timing("").unwrap(), Timing { zone, verify_every: every_week, ..Timing::default() });
    // What is expected of the morning after a night's run comes after it.
    assert!(timing("    schedule: 0 23 * * *\n    expect: {by: \"02:00\"}\n").is_ok());
    assert!(timing("    schedule: 30 2 * * *\n    expect: {by: \"17:30\"}\n").is_ok());
}

#[test]
fn mirrors_are_verified_every_week_unless_they_say_otherwise() {
    let every = |keys: &str| timing(keys).unwrap().verify_every;
    let days = |days: u64| Some(Duration::from_hours(days * 24));
    assert_eq!(every(""), days(7));
    assert_eq!(every("    mode: mirror\n    verify_every: 30d\n"), days(30));
    assert_eq!(every("    verify_every: off\n"), None);
    assert_eq!(every("    mode: drop\n"), None);
    assert_eq!(every("    mode: drop\n    verify_every: off\n"), None);
}

#[test]
fn mistakes_are_told_with_their_place_and_remedy() {
    let told: Vec<String> = [
        "    schedule: 0 17 * *\n    timezone: New York\n    jitter: soon\n    catch_up: yes\n    window: 22-6\n    \
         deadline: 2\n    expect: {at_least: 0}\n    max_age: 90d\n",
        "    schedule: [0, 17]\n    window: [\"25:00-26:00\", 22:00-22:00]\n    expect: {by: noon, day: Mon}\n",
        "    schedule: 0 17 * * *\n    window: [\"22:00-06:00\"]\n    expect: {by: \"16:30\"}\n",
        "    schedule: \"*/5 * * * *\"\n    jitter: 5m\n",
        "    jitter: 5m\n    catch_up: true\n",
        "    schedule: \"@reboot\"\n",
        "    verify_every: 10m\n",
        "    verify_every: weekly\n",
        "    mode: drop\n    verify_every: 7d\n",
    ]
    .into_iter()
    .map(|keys| format!("{keys}--\n{}\n", timing(keys).unwrap_err()))
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}
