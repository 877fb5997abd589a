//! What is read of a ledger that is much longer than what is wanted of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::domain::{
    AuditCounts, Audited, Digest, Expectation, Factor, Failed, FailureClass, GuardTripped, Leftovers, Record,
    RunFinished, Target, Timing, Trigger, Windows,
};
use crate::state::tests::open_in_small_segments;
use crate::state::{Backward as _, LedgerLine, read_run};

/// A clock that was set to a day.
#[derive(Debug)]
struct Day(AtomicI64);

impl Clock for Day {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + self.0.load(Ordering::SeqCst) * 86_400, 0)
    }

    fn random(&self) -> u64 {
        7
    }
}

/// Days between two runs of the one job; the other one runs every twelfth time.
const DAYS: i64 = 5;
const RUNS: i64 = 120;
const RARE: i64 = 12;

fn job(name: &str) -> JobName {
    name.parse().unwrap()
}

/// A ledger of many segments over 600 days, of a job that runs often, of one that runs rarely, and of one
/// that ran well until 50 days ago. Returns the day after it.
pub(in crate::agent) fn long_ago(folder: &Path) -> Timestamp {
    long_ago_because(folder, "no")
}

fn long_ago_because(folder: &Path, cause: &str) -> Timestamp {
    let day = Arc::new(Day(AtomicI64::new(0)));
    let state = open_in_small_segments(folder, day.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 1..=RUNS {
        day.0.store(number * DAYS, Ordering::SeqCst);
        for name in ["often", "rarely", "broken"] {
            if name == "rarely" && number % RARE != 0 {
                continue;
            }
            let target = Target {
                source: format!("/srv/{name}"),
                host: "h".into(),
                port: 21,
                user: "u".into(),
                destination: "/in".into(),
            };
            runtime.block_on(async {
                let triggers = Triggers::of(Trigger::Schedule { due: day.now() });
                let run = state.start_run_for(&job(name), &target, triggers).await.unwrap().run;
                // Every other run of the frequent job fails.
                let fails = match name {
                    "often" => number % 2 == 0,
                    "broken" => number > RUNS - 10,
                    _ => false,
                };
                let failed = if fails { 2 } else { 0 };
                let failure = Failure::new(FailureClass::File, cause);
                let files =
                    (0..failed).map(|n| Failed { run, name: format!("f{n}"), failure: failure.clone() });
                let mut records: Vec<_> = files.map(Record::Failed).collect();
                let counts = Counts { delivered: 3, failed, ..Counts::default() };
                let leftovers = Leftovers::of(Vec::new());
                let finished = RunFinished {
                    run,
                    counts,
                    stopped: None,
                    leftovers,
                    source: None,
                    mounts: None,
                    skipped: Vec::new(),
                };
                records.push(Record::RunFinished(finished));
                state.commit(target.id(), records).await.unwrap();
            });
        }
    }
    state.close().unwrap();
    day.now().plus(Duration::from_hours(24))
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder.join("ledger")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = found.filter(|path| path.to_str().unwrap().contains(".jsonl")).collect();
    segments.sort();
    segments
}

/// Makes the oldest so many percent of the segments such that nobody can read them: whoever tries, fails.
fn spoil(folder: &Path, percent: usize) {
    let segments = segments(folder);
    assert!(segments.len() > 30, "{segments:?}");
    for segment in segments.iter().take(segments.len() * percent / 100) {
        fs::write(segment, "no ledger").unwrap();
    }
}

fn runs(folder: &Path, name: Option<&str>, most: usize) -> Result<Vec<RunEntry>, StateError> {
    History::runs(folder, name.map(job).as_ref(), most).map(History::into_runs)
}

#[test]
fn the_last_runs_are_read_from_the_last_segments() {
    let folder = tempfile::tempdir().unwrap();
    long_ago(folder.path());
    let all = runs(folder.path(), None, MAX_RUNS).unwrap();
    assert_eq!(all.len(), usize::try_from(2 * RUNS + RUNS / RARE).unwrap());
    assert!(all.iter().all(|run| run.ended.is_some()) && all[2].failed.len() == 2, "{all:?}");
    let rare = runs(folder.path(), Some("rarely"), MAX_RUNS).unwrap();
    assert_eq!(rare.len(), usize::try_from(RUNS / RARE).unwrap());
    spoil(folder.path(), 90);
    assert_eq!(runs(folder.path(), None, 10).unwrap(), all[all.len() - 10..]);
    assert_eq!(runs(folder.path(), Some("rarely"), 1).unwrap(), rare[rare.len() - 1..]);
    // What lies further back would be read for more.
    assert!(matches!(runs(folder.path(), None, 100), Err(StateError::Damaged { .. })));
    assert!(matches!(runs(folder.path(), Some("rarely"), 4), Err(StateError::Damaged { .. })));
}

/// What a run's records are, by their words.
fn told(folder: &Path, run: u64) -> Result<Vec<&'static str>, StateError> {
    let mut told = Vec::new();
    let words = |record: &Record| match record {
        Record::RunStarted(_) => "began",
        Record::Failed(_) => "failed",
        Record::RunFinished(_) => "ended",
        _ => "else",
    };
    read_run(folder, RunId(run), &mut |line| told.push(words(line.record))).map(|()| told)
}

#[test]
fn one_run_is_read_from_the_segments_since_it_began() {
    let folder = tempfile::tempdir().unwrap();
    long_ago(folder.path());
    let last = runs(folder.path(), None, 1).unwrap()[0].run.0;
    // Some lie across two segments.
    let is_whole = |run: u64| {
        let told = told(folder.path(), run).unwrap();
        let failed = told.len() - 2;
        assert!(failed == 0 || failed == 2, "{run}: {told:?}");
        assert_eq!((told[0], told[told.len() - 1]), ("began", "ended"), "{run}: {told:?}");
    };
    [1, 2, last / 2].into_iter().for_each(is_whole);
    spoil(folder.path(), 90);
    (last - 15..=last).for_each(is_whole);
    // Of one that never was, the last segment that knows of a run says so.
    assert_eq!(told(folder.path(), last + 1).unwrap(), Vec::<&str>::new());
    assert!(matches!(told(folder.path(), 1), Err(StateError::Damaged { .. })));
}

/// Each segment must end where the next one begins, also when they are read back.
#[test]
fn a_segment_of_another_ledger_is_no_history() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    long_ago_because(folder.path(), "no");
    long_ago_because(other.path(), "on");
    let (ours, theirs) = (segments(folder.path()), segments(other.path()));
    assert_eq!(ours.len(), theirs.len());
    assert!(runs(folder.path(), None, 40).is_ok());
    let second = ours.len() - 2;
    fs::copy(&theirs[second], &ours[second]).unwrap();
    assert!(matches!(runs(folder.path(), None, 40), Err(StateError::Damaged { .. })));
}

#[test]
fn what_jobs_did_of_late_is_read_only_as_far_back_as_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let now = long_ago(folder.path());
    let days = |days: u64| Duration::from_hours(days * 24);
    let look = |name: &str, timing: &Timing| {
        History::of_jobs(folder.path(), vec![LookBack::new(job(name), timing, now)])
    };
    let (plain, often, rarely) = (Timing::default(), job("often"), job("rarely"));
    let all = look("rarely", &Timing { verify_every: Some(days(1_000)), ..plain.clone() }).unwrap();
    assert_eq!(all.past(&rarely).unwrap().since(), runs(folder.path(), Some("rarely"), 99).unwrap()[0].began);

    // A job that is new: nothing is known of it within any time that counts, 400 of 600 days.
    spoil(folder.path(), 25);
    assert!(look("new", &plain).unwrap().past(&job("new")).is_none());
    spoil(folder.path(), 50);
    look("new", &plain).unwrap_err();
    // Twice the time between two verifies, or the age that is allowed: 100 days, and a segment or two.
    let aged = Expectation { max_age: Some(days(100)), ..Expectation::default() };
    for timing in [
        Timing { verify_every: Some(days(50)), ..plain.clone() },
        Timing { expectation: aged, ..plain.clone() },
    ] {
        let known = look("often", &timing).unwrap();
        let since = known.past(&often).unwrap().since();
        assert!(since <= now.minus(days(100)), "{since}");
        spoil(folder.path(), 78);
        look("often", &timing).unwrap();
    }
    // What is usual of a job is told by its last 20 good runs: of one that fails every other time, those of
    // 200 days. Of one that broke 50 days ago the last good run lies before that.
    let unusual = Expectation { unusual: Factor::new(5), ..Expectation::default() };
    look("often", &Timing { expectation: unusual, ..plain.clone() }).unwrap_err();
    let broken = job("broken");
    assert_eq!(look("broken", &plain).unwrap().last_well(&broken), all.last_well(&broken));
    assert!(all.last_well(&broken).is_some_and(|well| well < now.minus(days(50))));
    // Its run before the last one lies 60 days back.
    assert_eq!(look("rarely", &plain).unwrap().last(&rarely), all.last(&rarely));
    spoil(folder.path(), 94);
    look("often", &Timing { verify_every: Some(days(50)), ..plain.clone() }).unwrap_err();
    let known = look("often", &plain).unwrap();
    assert_eq!(known.last(&often), all.last(&often));
    assert_eq!(known.last_well(&often), all.last_well(&often), "the last run failed, the one before did not");
    assert!(known.last_well(&often) < known.last(&often).unwrap().ended);
}

/// Ledgers in which one verify came to this, as the history tells of them.
fn verified(counts: AuditCounts, stopped: Option<Failure>) -> (Option<Timestamp>, RunEntry) {
    let folder = tempfile::tempdir().unwrap();
    let day = Arc::new(Day(AtomicI64::new(1)));
    let state = open_in_small_segments(folder.path(), day.clone());
    let target = Target {
        source: "/srv/offsite".into(),
        host: "h".into(),
        port: 21,
        user: "u".into(),
        destination: "/in".into(),
    };
    let (name, now) = (job("offsite"), day.now());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let run = state.start_audit(&name, &target, AuditKind::Verify).await.unwrap().run;
        let audited = Audited { run, audit: AuditKind::Verify, counts, proofs: BTreeMap::new() };
        let finished = RunFinished {
            run,
            counts: Counts { failed: counts.failed, not_reached: counts.not_reached, ..Counts::default() },
            stopped,
            leftovers: Leftovers::AllStaged,
            source: None,
            mounts: None,
            skipped: Vec::new(),
        };
        let records = vec![Record::Audited(audited), Record::RunFinished(finished)];
        state.commit(target.id(), records).await.unwrap();
    });
    state.close().unwrap();
    let look = LookBack::new(name.clone(), &Timing::default(), now);
    let last = History::of_jobs(folder.path(), vec![look]).unwrap().last_verified(&name);
    (last, runs(folder.path(), None, 1).unwrap().remove(0))
}

/// Where nothing was delivered yet, a verify asks no server.
#[test]
fn a_verify_that_looked_at_nothing_shows_nothing_of_the_server() {
    let none = AuditCounts::default();
    for (counts, shows) in [
        (none, false),
        // For a person to settle: not looked at.
        (AuditCounts { kept: 2, ..none }, false),
        (AuditCounts { proved: 1, ..none }, true),
        (AuditCounts { missing: 1, ..none }, true),
        (AuditCounts { changed: 1, ..none }, true),
        (AuditCounts { taken: 1, ..none }, true),
        (AuditCounts { proved: 1, failed: 1, ..none }, false),
        (AuditCounts { proved: 1, not_reached: 1, ..none }, false),
    ] {
        assert_eq!(verified(counts, None).0.is_some(), shows, "{counts:?}");
    }
}

/// What is recalled of a run which began `WHEN`, for this trigger, and of which this was recorded after that, a
/// second later each.
fn recalled(trigger: Trigger, records: &[Record], windows: &Windows) -> Option<RetryTrigger> {
    const WHEN: i64 = 1_800_000_000;
    let mut gathered = back::Gathered::of(Wanted::Jobs(Vec::new()));
    let target = Target {
        source: "/s".into(),
        host: "h".into(),
        port: 21,
        user: "u".into(),
        destination: "/d".into(),
    };
    let (run, triggers) = (RunId(1), Triggers::of(trigger));
    let started = Record::RunStarted(RunStarted { run, job: job("one"), target, audit: None, triggers });
    for (record, at) in std::iter::once(&started).chain(records).zip(WHEN..) {
        let at = Timestamp::from_unix(at, 0);
        gathered.record(LedgerLine { at, record, text: "" });
    }
    let _all = gathered.segment(Timestamp::from_unix(WHEN, 0));
    let now = Timestamp::from_unix(WHEN + 3, 0);
    gathered.history().newest(&job("one")).unwrap().recalled(windows, now, 7)
}

#[test]
fn only_what_a_retry_mends_is_recalled() {
    use FailureClass::{Deadline, Interrupted, Refused, Temporary, Trust};
    let (run, due) = (RunId(1), Trigger::Schedule { due: Timestamp::from_unix(1_800_000_000, 0) });
    let no_room = |no_room| Counts { no_room, failed: no_room, ..Counts::default() };
    let end = |class: Option<FailureClass>, counts| {
        let stopped = class.map(|class| Failure::new(class, "why"));
        let leftovers = Leftovers::of(Vec::new());
        let (source, mounts, skipped) = (None, None, Vec::new());
        Record::RunFinished(RunFinished { run, counts, stopped, leftovers, source, mounts, skipped })
    };
    let failed = |n: usize, class| {
        Record::Failed(Failed { run, name: format!("f{n}"), failure: Failure::new(class, "why") })
    };
    let counts = Counts::default();
    // Of very many files that failed the last one alone may fare better.
    let mut many: Vec<_> = (0..2 * MAX_FILES_NAMED).map(|n| failed(n, Refused)).collect();
    many.extend([failed(99, Temporary), end(None, counts)]);
    let guard = GuardTripped { run, missing: 9, paths: Digest::of(b""), cause: "gone".into() };
    let guarded = [Record::GuardTripped(guard), end(Some(FailureClass::Source), counts)];
    let [soon, late, parked] = [0..=60, 800..=1_800, 1_700..=3_600];
    let again = Trigger::Retry { attempt: 6 };
    for (trigger, records, expected) in [
        (due, &[][..], Some(&soon)),
        (Trigger::Manual, &[], None),
        (due, &[end(None, counts)], None),
        (due, &[end(Some(Temporary), counts)], Some(&soon)),
        (again, &[end(Some(Temporary), counts)], Some(&late)),
        (Trigger::Manual, &[end(Some(Temporary), counts)], Some(&soon)),
        (due, &[end(Some(Interrupted), counts)], Some(&soon)),
        (Trigger::Manual, &[end(Some(Interrupted), counts)], None),
        (due, &[end(Some(Trust), counts)], None),
        (due, &[end(Some(Deadline), counts)], None),
        (due, &[failed(1, Refused), end(None, counts)], None),
        (due, &[failed(1, Temporary), end(None, counts)], Some(&soon)),
        (due, &many, Some(&soon)),
        (due, &[failed(1, Refused), end(None, no_room(1))], Some(&parked)),
        (due, &guarded, Some(&late)),
    ] {
        let wait = recalled(trigger, records, &Windows::default())
            .map(|retry| retry.due().unwrap().since(Timestamp::from_unix(1_800_000_003, 0)).as_secs());
        let fits = match (wait, expected) {
            (Some(wait), Some(expected)) => expected.contains(&wait),
            (None, None) => true,
            _ => false,
        };
        assert!(fits, "{trigger} {:?}: {wait:?}, not {expected:?}", records.last());
    }
    // 2027-01-15 is a Friday; its hours, from 04:00 to 08:00 UTC, were over when the run ended.
    let windows = Windows::new(vec!["04:00-08:00".parse().unwrap()], "UTC".parse().unwrap());
    assert!(recalled(due, &[end(Some(Deadline), counts)], &windows).is_some());
}
