use super::*;
use crate::domain::{
    AuditKind, AuditReport, Difference, DifferenceKind, FailedFile, Failure, FailureClass, Late, Punctuality,
    RunId, Scope,
};
use crate::observe::AlertKey;
use crate::observe::{Alerts, Expected};

fn broke() -> News {
    let mut report = RunReport::new(RunId(17), "daily-reports".parse().unwrap());
    for name in ["smith, john.pdf", "doe.pdf"] {
        let failure = Failure::new(FailureClass::Refused, format!("STOR: 550 {name}: no\r\nBcc: x"));
        report.add_failed(FailedFile { name: name.into(), failure });
    }
    report.counts.delivered = 3;
    report.counts.unchanged = 200;
    report.elapsed_ms = 4_000;
    report.stopped = Some(Failure::new(FailureClass::Refused, "STOR: 552 smith, john.pdf: over quota"));
    let at = "2026-11-20T17:00:03Z".parse().unwrap();
    Alerts::default().ended(&report, &Scope::All, at).remove(1)
}

#[test]
fn names_go_out_only_where_they_may() {
    let news = broke();
    for names in [FileNames::Withheld, FileNames::Told] {
        let all =
            format!("{}{}{}", news.headline(), news.text("clinic-1", names), news.json("clinic-1", names));
        assert_eq!(all.contains("smith"), names == FileNames::Told, "{all}");
    }
}

#[test]
fn a_message_says_what_is_the_matter_and_what_to_do() {
    let news = broke();
    insta::assert_snapshot!("withheld", news.text("clinic-1", FileNames::Withheld));
    insta::assert_snapshot!("told", news.text("clinic-1", FileNames::Told));
    let json = serde_json::to_string_pretty(&news.json("clinic-1", FileNames::Withheld)).unwrap();
    insta::assert_snapshot!("json", json);
    let text = news.text("clinic-1", FileNames::Told);
    assert!(text.lines().count() < 24 && !text.contains('\r'), "{text}");
}

#[test]
fn a_test_message_cannot_be_taken_for_another() {
    let news = News::test("2026-11-20T17:00:03Z".parse().unwrap());
    insta::assert_snapshot!("test_message", news.text("clinic-1", FileNames::Withheld));
    assert_eq!(news.json("clinic-1", FileNames::Withheld)["event"], "test");
}

#[test]
fn times_are_those_of_the_jobs_clock() {
    let zone: Zone = "America/New_York".parse().unwrap();
    let text = News { zone, ..broke() }.text("clinic-1", FileNames::Withheld);
    assert!(text.contains("\nSince: Fri 2026-11-20 12:00:03 EST\n"), "{text}");
}

/// What a person reads of everything but runs.
#[test]
fn each_kind_of_trouble_reads_well() {
    let zone: Zone = "America/New_York".parse().unwrap();
    let (at, since) = (at("2026-11-20T17:00:03Z"), at("2026-11-01T02:30:00Z"));
    let job: JobName = "offsite".parse().unwrap();
    let mut alerts = Alerts::default();
    let mut heard = Vec::new();
    let mut report = AuditReport::new(RunId(18), job.clone(), AuditKind::Verify);
    report.add_difference(Difference {
        name: "smith, john.pdf".into(),
        kind: DifferenceKind::Missing,
        expected: "5 bytes".into(),
        found: "nothing".into(),
    });
    heard.extend(alerts.verified(&report, at));
    heard.extend(alerts.repaired(&job, at));
    for (kind, late) in [
        (AlertKind::NotVerified, Late::NotVerified { last: Some(since) }),
        (AlertKind::NotVerified, Late::NotVerified { last: None }),
        (AlertKind::TooFew, Late::TooFew { by: since, expected: 2, delivered: 1 }),
        (AlertKind::TooOld, Late::TooOld { last: Some(since), max_age: std::time::Duration::from_hours(26) }),
        (AlertKind::Waiting, Late::Waiting { since }),
        (AlertKind::Unusual, Late::Unusual { files: 1_000, usual: 20 }),
    ] {
        for punctuality in [Punctuality::Late(late), Punctuality::Met] {
            heard.extend(alerts.expected(&job, &Expected { kind, punctuality, failure: None }, zone, at));
        }
    }
    for key in [AlertKey::Certificate, AlertKey::ClientCertificate] {
        let key = key("vault".parse().unwrap());
        heard.extend(alerts.certificate(&key, at.plus(std::time::Duration::from_hours(200)), at));
        heard.extend(alerts.certificate(&key, at.plus(std::time::Duration::from_hours(24 * 400)), at));
    }
    let texts: Vec<_> = heard.iter().map(|news| news.text("clinic-1", FileNames::Withheld)).collect();
    assert_eq!(texts.len(), 18);
    assert!(texts.iter().all(|text| !text.contains("smith") && text.lines().count() < 24));
    insta::assert_snapshot!(texts.join("==\n"));
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
