use super::*;
use crate::domain::{FailedFile, Failure, FailureClass, RunId, Scope};
use crate::observe::Alerts;

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
