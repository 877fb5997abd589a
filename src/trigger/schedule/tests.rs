use proptest::prelude::*;

use super::*;
use crate::domain::Zone;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(expression: &str, zone: &str) -> Schedule {
    Schedule {
        expression: expression.parse().unwrap(),
        zone: zone.parse().unwrap(),
        jitter: Duration::ZERO,
        catch_up: CatchUp::Always,
    }
}

fn planner(schedule: Schedule, windows: &[&str], dealt_with: Timestamp) -> Planner {
    let windows = Windows::new(windows.iter().map(|text| text.parse().unwrap()).collect(), schedule.zone);
    Planner::new(AgentId(7), &"reports".parse().unwrap(), schedule, windows, dealt_with)
}

fn on_time(due: &str) -> Due {
    Due::Run(Trigger::Schedule { due: at(due) })
}

fn three_missed() -> Missed {
    Missed { first: at("2026-11-20T17:00:00Z"), last: at("2026-11-22T17:00:00Z"), times: 3 }
}

#[test]
fn a_time_is_answered_once_and_no_sooner() {
    let mut planner = planner(schedule("0 17 * * *", "UTC"), &[], at("2026-11-22T12:00:00Z"));
    assert_eq!(planner.next_look(at("2026-11-22T12:00:00Z")), Some(at("2026-11-22T17:00:00Z")));
    assert_eq!(planner.poll(at("2026-11-22T16:59:59.999Z")), None);
    assert_eq!(planner.poll(at("2026-11-22T17:00:00Z")), Some(on_time("2026-11-22T17:00:00Z")));
    assert_eq!(planner.poll(at("2026-11-22T17:00:00Z")), None);
    // The clock is put back.
    assert_eq!(planner.poll(at("2026-11-22T16:00:00Z")), None);
    assert_eq!(planner.poll(at("2026-11-22T17:00:00Z")), None);
    assert_eq!(planner.next_look(at("2026-11-22T16:00:00Z")), Some(at("2026-11-23T17:00:00Z")));
}

#[test]
fn one_run_makes_up_for_all_that_was_missed() {
    let down_since = at("2026-11-20T12:00:00Z");
    let now = at("2026-11-23T12:00:00Z");
    let of = |catch_up| {
        let mut planner = planner(Schedule { catch_up, ..schedule("0 17 * * *", "UTC") }, &[], down_since);
        let due = planner.poll(now);
        assert_eq!(planner.poll(now), None, "once");
        assert_eq!(planner.next_look(now), Some(at("2026-11-23T17:00:00Z")));
        due.unwrap()
    };
    assert_eq!(of(CatchUp::Always), Due::Run(Trigger::CatchUp(three_missed())));
    assert_eq!(of(CatchUp::Never), Due::Skip(three_missed()));
    assert_eq!(of(CatchUp::Within(Duration::from_hours(19))), Due::Run(Trigger::CatchUp(three_missed())));
    assert_eq!(of(CatchUp::Within(Duration::from_hours(18))), Due::Skip(three_missed()));
}

#[test]
fn a_little_late_is_in_time() {
    let never = Schedule { catch_up: CatchUp::Never, ..schedule("0 17 * * *", "UTC") };
    let mut one = planner(never.clone(), &[], at("2026-11-22T12:00:00Z"));
    assert_eq!(one.poll(at("2026-11-22T17:05:00Z")), Some(on_time("2026-11-22T17:00:00Z")));
    let mut one = planner(never, &[], at("2026-11-22T12:00:00Z"));
    let missed = Missed::one(at("2026-11-22T17:00:00Z"));
    assert_eq!(one.poll(at("2026-11-22T17:05:01Z")), Some(Due::Skip(missed)));
}

#[test]
fn a_year_by_the_minute_is_answered_at_once() {
    let mut planner = planner(schedule("* * * * *", "Europe/Berlin"), &[], at("2025-11-22T12:00:00Z"));
    let now = at("2026-11-22T12:00:30Z");
    let Some(Due::Run(Trigger::CatchUp(missed))) = planner.poll(now) else { panic!("nothing") };
    assert_eq!((missed.times, missed.last), (Missed::MOST_COUNTED, at("2026-11-22T12:00:00Z")));
    assert_eq!(planner.poll(now), None);
}

#[test]
fn a_clock_that_was_far_ahead_is_noticed() {
    let mut planner = planner(schedule("0 17 * * *", "UTC"), &[], at("2030-01-01T17:00:00Z"));
    let now = at("2026-11-22T12:00:00Z");
    assert!(planner.is_misled(now));
    planner.begin_anew(now);
    assert!(!planner.is_misled(now));
    assert_eq!(planner.poll(at("2026-11-22T17:00:00Z")), Some(on_time("2026-11-22T17:00:00Z")));
    assert!(!planner.is_misled(at("2026-11-21T17:00:00Z")));
}

#[test]
fn what_is_due_outside_the_window_waits_for_it() {
    let start = at("2026-11-22T12:00:00Z");
    let mut planner = planner(schedule("0 17,20 * * *", "UTC"), &["22:00-06:00"], start);
    assert_eq!(planner.next_look(start), Some(at("2026-11-22T22:00:00Z")));
    assert_eq!(planner.poll(at("2026-11-22T21:59:00Z")), None);
    let both = Missed { first: at("2026-11-22T17:00:00Z"), last: at("2026-11-22T20:00:00Z"), times: 2 };
    assert_eq!(planner.poll(at("2026-11-22T22:00:00Z")), Some(Due::Run(Trigger::CatchUp(both))));
    assert_eq!(planner.poll(at("2026-11-23T07:00:00Z")), None);
}

#[test]
fn jitter_is_the_same_after_a_restart_and_leads_out_of_no_window() {
    let start = at("2026-11-22T12:00:00Z");
    let jittered = Schedule { jitter: Duration::from_mins(30), ..schedule("0 17 * * *", "UTC") };
    let look = |windows: &[&str]| planner(jittered.clone(), windows, start).next_look(start).unwrap();
    let first = look(&[]);
    assert_eq!(first, look(&[]));
    let delay = first.since(at("2026-11-22T17:00:00Z"));
    assert!(delay > Duration::ZERO && delay < Duration::from_mins(30), "{delay:?}");
    let long = Schedule { jitter: Duration::from_hours(10), ..jittered.clone() };
    let long = |windows: &[&str]| planner(long.clone(), windows, start).next_look(start).unwrap();
    assert!(long(&[]) > at("2026-11-22T17:01:00Z"));
    assert_eq!(long(&["17:00-17:01"]), at("2026-11-22T17:00:00Z"));
    let mut one = planner(jittered.clone(), &[], start);
    assert_eq!(one.poll(first.minus(Duration::from_nanos(1))), None);
    assert_eq!(one.poll(first), Some(on_time("2026-11-22T17:00:00Z")));
    let other = Planner::new(AgentId(8), &"reports".parse().unwrap(), jittered, Windows::default(), start);
    assert_ne!(other.next_look(start), Some(first), "another agent");
}

/// When a job is due, found out minute by minute: whether a minute of the clock is wanted, whether
/// it comes the second time, and which minutes of the clock were skipped.
fn oracle(zone: Zone, hours: &[u32], minute: u32, from: i64, to: i64) -> Vec<i64> {
    use chrono::Timelike as _;
    let clock = |time: i64| zone.local(Timestamp::from_unix(time, 0));
    let mut seen = std::collections::HashSet::new();
    let mut dues = Vec::new();
    let mut last = clock(from - DAY - MINUTE);
    for time in (from - DAY..to).step_by(60) {
        let now = clock(time);
        let wanted = |clock: chrono::NaiveDateTime| hours.contains(&clock.hour()) && clock.minute() == minute;
        let mut is_due = false;
        // All that the clock shows or skips between the minute before and this one.
        let mut shown = last;
        while shown < now {
            shown += chrono::TimeDelta::minutes(1);
            is_due |= wanted(shown) && seen.insert(shown);
        }
        if now <= last && wanted(now) {
            is_due |= seen.insert(now);
        }
        last = now;
        if is_due && time > from {
            dues.push(time);
        }
    }
    dues
}

/// Something that happens to the agent or its machine, and how long after the event before.
#[derive(Clone, Debug)]
enum Blow {
    /// The clock is put forward or back.
    Jump { seconds: i64 },
    /// The agent is away for so long.
    Down { seconds: i64 },
    /// The machine sleeps: the agent is the same one afterwards.
    Sleep { seconds: i64 },
}

fn blows() -> impl Strategy<Value = Vec<(i64, Blow)>> {
    let blow = prop_oneof![
        (-3 * HOUR..3 * HOUR).prop_map(|seconds| Blow::Jump { seconds }),
        (1..2 * DAY).prop_map(|seconds| Blow::Down { seconds }),
        (1..DAY).prop_map(|seconds| Blow::Sleep { seconds }),
    ];
    prop::collection::vec((MINUTE..2 * DAY, blow), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn thirty_days_miss_and_double_nothing(
        zone in prop::sample::select(vec!["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"]),
        autumn in prop::sample::select(vec!["2026-03-01T00:00:00Z", "2026-10-10T00:00:00Z", "2026-03-25T00:00:00Z"]),
        hours in prop::collection::btree_set(0_u32..24, 1..4),
        minute in 0_u32..60,
        jitter in prop::sample::select(vec![0_u64, 300, 1800]),
        blows in blows(),
    ) {
        let hours: Vec<u32> = hours.into_iter().collect();
        let list: Vec<String> = hours.iter().map(u32::to_string).collect();
        let mut plan = schedule(&format!("{minute} {} * * *", list.join(",")), zone);
        plan.jitter = Duration::from_secs(jitter);
        let start = at(autumn).unix_nanos() / 1_000_000_000;
        let end = start + 30 * DAY;
        let stamp = |time| Timestamp::from_unix(time, 0);
        let mut planner = planner(plan.clone(), &[], stamp(start));
        // The machine's time, which nobody changes, and what its clock is ahead of that.
        let (mut time, mut ahead, mut furthest) = (start, 0, start);
        let mut coming = blows.into_iter();
        let mut next_blow = coming.next().map(|(after, blow)| (start + after, blow));
        let mut answered: Vec<Missed> = Vec::new();
        let mut undisturbed_since = start;
        while time < end {
            let now = stamp(time + ahead);
            furthest = furthest.max(time + ahead);
            while let Some(due) = planner.poll(now) {
                let dues = match due {
                    Due::Run(trigger) => {
                        if let Trigger::Schedule { due } = trigger {
                            let late = now.since(due).as_secs();
                            prop_assert!(late <= jitter + 300, "{late} s late");
                        }
                        trigger.dues().unwrap()
                    }
                    Due::Skip(missed) => missed,
                };
                let due = dues.first.unix_nanos() / 1_000_000_000;
                if due > undisturbed_since + ahead {
                    let late = now.since(dues.first).as_secs();
                    prop_assert!(late <= jitter + 1, "{late} s late with nothing in the way");
                }
                answered.push(dues);
            }
            let look = planner.next_look(now).unwrap().unix_nanos() / 1_000_000_000 + 1 - ahead;
            let wake = look.clamp(time + 1, time + HOUR);
            match &next_blow {
                Some((when, blow)) if *when <= wake => {
                    time = (*when).max(time);
                    match blow {
                        Blow::Jump { seconds } => ahead += seconds,
                        Blow::Down { seconds } => {
                            time += seconds;
                            planner = self::planner(plan.clone(), &[], planner.dealt_with());
                        }
                        Blow::Sleep { seconds } => time += seconds,
                    }
                    undisturbed_since = time;
                    next_blow = coming.next().map(|(after, blow)| (time + after, blow));
                }
                _ => time = wake,
            }
        }
        let dealt_with = planner.dealt_with().unix_nanos() / 1_000_000_000;
        let expected: Vec<i64> = oracle(zone.parse().unwrap(), &hours, minute, start, furthest + MINUTE);
        let expected: Vec<i64> = expected.into_iter().filter(|due| *due <= dealt_with).collect();
        let times: u64 = answered.iter().map(|dues| dues.times).sum();
        prop_assert_eq!(times, expected.len() as u64, "answered {:?}", answered);
        for pair in answered.windows(2) {
            prop_assert!(pair[0].last < pair[1].first, "{pair:?}");
        }
        for dues in &answered {
            for end in [dues.first, dues.last] {
                prop_assert!(expected.contains(&(end.unix_nanos() / 1_000_000_000)), "{end} was not due");
            }
        }
        // Nothing waits any longer that could have run.
        let open = oracle(zone.parse().unwrap(), &hours, minute, start, furthest - i64::try_from(jitter).unwrap() - HOUR);
        prop_assert!(open.iter().all(|due| *due <= dealt_with), "open: {:?}", open.last());
    }
}
