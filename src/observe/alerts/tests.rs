use super::*;
use crate::domain::{
    CatchUp, DailyExpectation, Deliveries, Expectation, Failure, Folders, RunId, RunSuccess, Schedule,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn job() -> JobName {
    "reports".parse().unwrap()
}

fn report(stopped: Option<FailureClass>) -> RunReport {
    let mut report = RunReport::new(RunId(7), job());
    report.stopped = stopped.map(|class| Failure::new(class, "why"));
    report
}

/// What is told, but for the word of every run.
fn told(news: Vec<News>) -> Vec<(Turn, Occasion)> {
    let is_alert = |news: &News| matches!(news.turn, Turn::Broke | Turn::WellAgain);
    news.into_iter().filter(is_alert).map(|news| (news.turn, news.occasion)).collect()
}

const NOON: &str = "2026-11-20T12:00:00Z";
const BROKE: (Turn, Occasion) = (Turn::Broke, Occasion::Failure);
const WELL: (Turn, Occasion) = (Turn::WellAgain, Occasion::Recovery);

#[test]
fn repeats_are_folded_and_the_end_is_told() {
    let mut alerts = Alerts::default();
    let mut ended = |class, scope: &Scope| told(alerts.ended(&report(class), scope, at(NOON)));
    let part = Scope::Folders(Folders::default());
    let passing = Some(FailureClass::Temporary);
    assert_eq!(ended(None, &Scope::All), []);
    assert_eq!(ended(passing, &Scope::All), [BROKE]);
    assert_eq!(ended(passing, &Scope::All), []);
    assert_eq!(ended(Some(FailureClass::Refused), &Scope::All), [BROKE], "another kind of trouble");
    assert_eq!(ended(passing, &Scope::All), [], "both are told");
    assert_eq!(ended(Some(FailureClass::Source), &Scope::All), [(Turn::Broke, Occasion::Guard)]);
    assert_eq!(ended(Some(FailureClass::Interrupted), &Scope::All), []);
    assert_eq!(ended(None, &part), [], "a part of the source shows nothing of the rest");
    assert_eq!(ended(None, &Scope::All), [WELL]);
    assert_eq!(ended(None, &Scope::All), []);
    assert_eq!(ended(passing, &part), [BROKE]);
}

#[test]
fn every_run_has_its_word_but_one_that_was_interrupted() {
    let mut alerts = Alerts::default();
    let mut turns = |class| {
        let news = alerts.ended(&report(class), &Scope::All, at(NOON));
        news.into_iter().map(|news| news.turn).collect::<Vec<_>>()
    };
    assert_eq!(turns(None), [Turn::EndedWell]);
    assert_eq!(turns(Some(FailureClass::Trust)), [Turn::EndedBadly, Turn::Broke]);
    assert_eq!(turns(Some(FailureClass::Trust)), [Turn::EndedBadly]);
    assert_eq!(turns(Some(FailureClass::Interrupted)), []);
    assert_eq!(turns(None), [Turn::EndedWell, Turn::WellAgain]);
}

#[test]
fn what_is_open_survives_a_restart_and_what_did_not_get_out_is_told_again() {
    let restarted = |alerts: &Alerts| {
        let text = serde_json::to_string(&alerts.all().collect::<Vec<_>>()).unwrap();
        Alerts::of(serde_json::from_str::<Vec<Alert>>(&text).unwrap())
    };
    let mut alerts = Alerts::default();
    let broke = alerts.ended(&report(Some(FailureClass::Trust)), &Scope::All, at(NOON)).remove(1);
    let mut alerts = restarted(&alerts);
    let again = alerts.untold();
    assert_eq!(again, [News { report: None, ..broke.clone() }]);
    assert!(alerts.told(&broke.id) && !alerts.told(&broke.id));
    let mut alerts = restarted(&alerts);
    assert_eq!(alerts.untold(), []);
    assert_eq!(told(alerts.ended(&report(Some(FailureClass::Trust)), &Scope::All, at(NOON))), []);
    let well = alerts.ended(&report(None), &Scope::All, at("2026-11-21T12:00:00Z")).remove(1);
    assert_eq!((well.since, well.turn), (Some(at(NOON)), Turn::WellAgain));
    assert_eq!(alerts.open().count(), 0);
    let mut alerts = restarted(&alerts);
    assert_eq!(alerts.untold().len(), 1);
    assert!(!alerts.told(&broke.id), "that news is long over");
    assert!(alerts.told(&well.id));
    assert_eq!(alerts, Alerts::default());
}

#[test]
fn what_breaks_again_before_its_end_was_told_is_told_as_new() {
    let mut alerts = Alerts::default();
    let bad = report(Some(FailureClass::Trust));
    let first = alerts.ended(&bad, &Scope::All, at(NOON)).remove(1);
    let well = alerts.ended(&report(None), &Scope::All, at(NOON)).remove(1);
    let again = alerts.ended(&bad, &Scope::All, at("2026-11-20T13:00:00Z")).remove(1);
    assert_eq!((again.turn, again.since), (Turn::Broke, Some(at("2026-11-20T13:00:00Z"))));
    let ids = BTreeSet::from([&first.id, &well.id, &again.id]);
    assert_eq!(ids.len(), 3);
    assert!(!alerts.told(&well.id) && alerts.open().count() == 1);
}

#[test]
fn a_certificate_is_told_of_at_thirty_fourteen_and_seven_days_and_at_its_end() {
    let mut alerts = Alerts::default();
    let (server, until) = (AlertKey::Certificate("office".parse().unwrap()), at("2026-12-31T00:00:00Z"));
    let day = Duration::from_hours(24);
    let mut heard = Vec::new();
    // Every six hours for 40 days, and some days beyond.
    for hours in (0..=42 * 24).step_by(6) {
        let now = until.minus(day * 40).plus(Duration::from_hours(hours));
        heard.extend(alerts.certificate(&server, until, now).map(|news| (hours / 24, news)));
    }
    let days: Vec<_> = heard.iter().map(|(days, _)| 40 - days).collect();
    assert_eq!(days, [30, 14, 7, 0]);
    let text = |at: usize| heard[at].1.cause.as_ref().unwrap().told.clone();
    assert_eq!(text(0), "the certificate of server office runs out on 2026-12-31, in 30 days");
    assert_eq!(text(3), "the certificate of server office has run out on 2026-12-31");
    let renewed = alerts.certificate(&server, until.plus(day * 90), until).unwrap();
    assert_eq!(
        (renewed.turn, renewed.headline()),
        (Turn::WellAgain, "server office has a new certificate".into())
    );
    // An agent that was off for weeks tells once, of what is so now.
    let mut alerts = Alerts::default();
    assert!(alerts.certificate(&server, until, until.minus(day * 3)).is_some());
    assert!(alerts.certificate(&server, until, until.minus(day * 2)).is_none());
}

#[test]
fn our_own_certificate_is_told_of_beside_the_servers() {
    let mut alerts = Alerts::default();
    let (theirs, ours) = (
        AlertKey::Certificate("office".parse().unwrap()),
        AlertKey::ClientCertificate("office".parse().unwrap()),
    );
    let (now, until) = (at(NOON), at("2026-11-30T00:00:00Z"));
    assert!(alerts.certificate(&theirs, until, now).is_some());
    let news = alerts.certificate(&ours, until, now).unwrap();
    assert_eq!((news.kind, news.occasion), (AlertKind::ClientCertificate, Occasion::Late));
    assert_eq!(news.headline(), "server office needs a new certificate of ours");
    assert_eq!(
        news.cause.unwrap().told,
        "our own certificate for server office (`client_certificate`) runs out on 2026-11-30, in 9 days"
    );
    assert_eq!(alerts.open().count(), 2);
    let renewed = alerts.certificate(&ours, at("2027-11-30T00:00:00Z"), now).unwrap();
    assert_eq!(renewed.headline(), "server office is shown a new certificate of ours");
    assert_eq!(alerts.open().count(), 1);
}

/// Thirty days by the minute. Reports are due each working day by 17:30 in New York; on some days
/// nothing comes, and once the agent is off for two days.
#[test]
fn thirty_days_of_expectations_are_told_once_each() {
    let zone: Zone = "America/New_York".parse().unwrap();
    let schedule = Schedule {
        expression: "0 17 * * Mon-Fri".parse().unwrap(),
        zone,
        jitter: Duration::ZERO,
        catch_up: CatchUp::Always,
    };
    let daily = DailyExpectation { by: "17:30".parse().unwrap(), zone, days: None, at_least: 1 };
    let expectation =
        Expectation { daily: Some(daily), max_age: Some(Duration::from_hours(80)), ..Expectation::default() };
    // The clocks go back in it, on the first of November.
    let begin = at("2026-10-20T04:00:00Z");
    let mut deliveries = Deliveries::from(begin);
    let (mut alerts, mut heard) = (Alerts::default(), Vec::new());
    for minute in 0..30 * 24 * 60 {
        let now = begin.plus(Duration::from_mins(minute));
        let local = zone.local(now).format("%m-%d %H:%M").to_string();
        let (day, time) = local.split_once(' ').unwrap();
        let is_workday = !matches!(zone.local(now).format("%a").to_string().as_str(), "Sat" | "Sun");
        // A Friday without files, which come on the Monday after; and two days at the end of which they come.
        let files_missing = matches!(day, "10-23" | "11-10" | "11-11");
        if time == "17:00" && is_workday && !files_missing {
            deliveries.add(now, 3, RunSuccess::Whole);
        }
        if matches!(day, "11-04" | "11-05") {
            continue;
        }
        for (kind, punctuality) in [
            (AlertKind::TooFew, expectation.daily(now, Some(&schedule), &deliveries)),
            (AlertKind::TooOld, expectation.age(now, &deliveries)),
        ] {
            let news =
                alerts.expected(&job(), &Expected { kind, punctuality, failure: None }, Zone::UTC, now);
            heard.extend(news.map(|news| format!("{local} {} {:?}", kind.name(), news.turn)));
        }
    }
    assert_eq!(
        heard,
        [
            "10-23 17:30 too-few Broke",
            "10-26 01:01 too-old Broke",
            "10-26 17:00 too-old WellAgain",
            "10-26 17:30 too-few WellAgain",
            "11-10 17:30 too-few Broke",
            "11-12 17:00 too-few WellAgain",
        ]
    );
}

/// Nobody can do anything about "not verified" who does not hear why.
#[test]
fn what_was_not_verified_is_told_with_why_the_last_try_came_to_nothing() {
    let mut alerts = Alerts::default();
    let failure = Failure::new(FailureClass::Refused, "PASS: 530 Login incorrect for smith\u{7}");
    let punctuality = Punctuality::Late(Late::NotVerified { last: None });
    let expected = Expected { kind: AlertKind::NotVerified, punctuality, failure: Some(failure) };
    let news = alerts.expected(&job(), &expected, Zone::UTC, at("2026-10-20T04:00:00Z")).unwrap();
    let cause = news.cause.unwrap();
    assert!(cause.told.ends_with("the last try: PASS: 530 Login incorrect for smith\\u{7}"), "{cause:?}");
    assert!(cause.withheld.contains("(PASS: 530)") && !cause.withheld.contains("smith"), "{cause:?}");
}
