use super::*;
use crate::domain::{FailedFile, Failure, RelPath, RunId, WaitCause, WaitingFile};

fn job() -> JobName {
    "daily-reports".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds, 500_000_000)
}

/// A night's work with all that can happen.
fn busy() -> Metrics {
    let mut metrics = Metrics::new();
    metrics.begin(&job());
    let path = RelPath::new("names/never.csv").unwrap();
    let file = |progress| Event::File { path: path.clone(), progress };
    let failure = |class| Failure::new(class, "550 names/never.csv");
    for event in [
        file(FileProgress::Bytes { count: 100 }),
        file(FileProgress::Retrying { failure: failure(FailureClass::Temporary), attempt: 2 }),
        file(FileProgress::Bytes { count: 300 }),
        file(FileProgress::Failed { failure: failure(FailureClass::Refused) }),
        Event::Refused { name: "never\n".into(), failure: failure(FailureClass::File) },
        Event::GuardTripped { cause: "names/never.csv".into() },
    ] {
        metrics.apply(&job(), &event);
    }
    let mut report = RunReport::new(RunId(1), job());
    report.add_delivered(300, ProofMethod::ReadBack);
    report.add_delivered(0, ProofMethod::ServerHash);
    report.add_failed(FailedFile { name: "never".into(), failure: failure(FailureClass::Refused) });
    for age_ms in [5_000, 90_500, 7_000] {
        let cause = WaitCause::NoMarker { marker: "never.done".into() };
        report.add_waiting(WaitingFile { name: "never".into(), age_ms, cause });
    }
    report.elapsed_ms = 12_545;
    metrics.ended(&report, at(1_700_000_000));
    let mut next = RunReport::new(RunId(2), job());
    next.elapsed_ms = 7;
    next.counts.unchanged = 3;
    metrics.ended(&next, at(1_700_000_600));
    metrics.set(Metric::CertificateExpiry, &["billing-office"], 1_800_000_000);
    metrics
}

#[test]
fn what_happened_is_counted_and_no_name_of_a_file_is_shown() {
    let text = busy().text();
    assert!(!text.contains("never"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_gauge_is_of_the_last_run_and_a_success_stays() {
    let mut metrics = busy();
    assert_eq!(metrics.get(Metric::OldestWaiting, &["daily-reports"]), Some(0));
    let mut report = RunReport::new(RunId(3), job());
    report.stopped = Some(Failure::new(FailureClass::Trust, "expired"));
    metrics.ended(&report, at(1_700_001_200));
    let get = |metric| metrics.get(metric, &["daily-reports"]);
    assert_eq!(get(Metric::LastSuccess), Some(1_700_000_600));
    assert_eq!((get(Metric::LastRun), get(Metric::LastRunExitCode)), (Some(1_700_001_200), Some(8)));
    assert_eq!(metrics.get(Metric::Runs, &["daily-reports", "trust"]), Some(1));
}

#[test]
fn counters_go_on_where_a_file_ended() {
    let text = busy().text();
    let mut next = Metrics::new();
    next.take_over(&text);
    assert_eq!(next.text(), text);
    next.add(Metric::GuardTrips, &["daily-reports"], 1);
    assert_eq!(next.get(Metric::GuardTrips, &["daily-reports"]), Some(2));
    next.keep(|job| job != "daily-reports");
    let left = next.text();
    assert!(!left.contains("daily-reports") && left.contains("nightferry_build_info"), "{left}");
}

#[test]
fn what_is_not_ours_in_a_file_is_left_out() {
    let mut metrics = Metrics::default();
    metrics.take_over(
        "node_load1 3\nnightferry_weather 1\nnightferry_runs_total 4\nnightferry_runs_total{job=\"a\"} 4\n\
         nightferry_runs_total{result=\"done\",job=\"a\"} 4\nnightferry_runs_total{job=\"a\",result=\"b\\\"\"} 4\n\
         nightferry_guard_trips_total{job=\"a\"} -1\nnightferry_guard_trips_total{job=\"a\"} NaN\n\
         nightferry_guard_trips_total{job=\"a\" 3\nnightferry_run_duration_seconds_total{job=\"a\"} 1.5\n\
         nightferry_run_duration_seconds_total{job=\"a\"} 99999999999999999999.000\n\u{fffd}\n",
    );
    assert_eq!(metrics, Metrics::default());
}

/// A reader of the text format that takes nothing else: each line, each family in one piece with its
/// help and type in front, no series twice.
fn check(text: &str) {
    let mut families = std::collections::BTreeSet::new();
    let mut series = std::collections::BTreeSet::new();
    let mut current = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && families.insert(name.to_owned()), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            current = Some(name.to_owned());
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        assert_eq!(current.as_deref(), Some(name), "{line}");
        let (of, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(of.to_owned()), "{line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let labels =
            of.strip_prefix(name).unwrap().strip_prefix('{').map(|rest| rest.strip_suffix('}').unwrap());
        for label in labels.iter().flat_map(|labels| labels.split("\",")) {
            let (name, value) = label.split_once("=\"").unwrap();
            assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{line}");
            assert!(!value.trim_end_matches('"').contains('"'), "{line}");
        }
    }
    assert!(text.ends_with('\n') && !series.is_empty());
}

#[test]
fn a_strict_reader_takes_the_text() {
    check(&busy().text());
    let mut fresh = Metrics::new();
    fresh.begin(&job());
    check(&fresh.text());
}
