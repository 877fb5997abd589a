//! How far a run has come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::domain::{Event, FileProgress, RelPath};

/// How far back the rate looks: long enough to be steady between files, short enough to follow
/// the line.
const WINDOW: Duration = Duration::from_secs(10);

/// Shortest time between two samples of the window, which so holds at most 41.
const SAMPLE: Duration = Duration::from_millis(250);

/// How far a run has come. Runs that follow each other add up.
///
/// Memory is bounded by the files that are under way at once. Times are those since any fixed
/// moment and never go back.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    files_done: u64,
    files_failed: u64,
    bytes_delivered: u64,
    /// Planned files that no attempt was made for.
    waiting_files: u64,
    waiting_bytes: u64,
    under_way: BTreeMap<RelPath, UnderWay>,
    plan: Plan,
    /// All that was handed to the network, with what was in vain.
    bytes_transferred: u64,
    /// When how much had been transferred, from the oldest.
    samples: VecDeque<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    size: u64,
    transferred: u64,
    attempt: u32,
}

/// Whether all files are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Plan {
    #[default]
    Growing,
    Complete,
}

/// How far a run has come at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Files with an outcome, good or bad.
    pub files_done: u64,
    /// Files that are to be sent or read, as far as they are known.
    pub files_total: u64,
    /// Files that failed.
    pub files_failed: u64,
    /// Files of which an attempt failed and that are tried again.
    pub files_retrying: u64,
    /// Bytes that went out, without those of attempts that failed.
    pub bytes_done: u64,
    /// Bytes that are to go out, as far as they are known; at least `bytes_done`.
    pub bytes_total: u64,
    /// Bytes a second over the last seconds; `None` before anything can be said.
    pub rate: Option<u64>,
    /// The time left; `None` while files are still being counted or nothing moves.
    pub left: Option<Duration>,
}

impl Progress {
    /// Takes one event that happened at `now`.
    pub fn apply(&mut self, event: &Event, now: Duration) {
        match event {
            Event::RunStarted { .. } | Event::AuditStarted { .. } => {
                self.forget_unfinished();
                self.plan = Plan::Growing;
            }
            Event::PlanComplete { .. } => self.plan = Plan::Complete,
            Event::RunFinished { .. } | Event::AuditFinished { .. } => {
                self.forget_unfinished();
                self.plan = Plan::Complete;
            }
            Event::Planned { bytes } => {
                self.waiting_files += 1;
                self.waiting_bytes = self.waiting_bytes.saturating_add(*bytes);
            }
            Event::File { path, progress } => self.apply_file(path, progress, now),
            Event::Refused { .. } => self.files_failed += 1,
            Event::TargetChanged { .. }
            | Event::SessionOpened { .. }
            | Event::Notice { .. }
            | Event::GuardTripped { .. }
            | Event::Skipped { .. } => {}
        }
    }

    fn apply_file(&mut self, path: &RelPath, progress: &FileProgress, now: Duration) {
        match progress {
            FileProgress::Started { size } => self.start(path, *size),
            FileProgress::Resumed { at } => {
                if let Some(file) = self.under_way.get_mut(path) {
                    // They did not go out now: the rate does not know of them.
                    file.transferred = *at;
                }
            }
            FileProgress::Bytes { count } => {
                if let Some(file) = self.under_way.get_mut(path) {
                    file.transferred = file.transferred.saturating_add(*count);
                }
                self.sample(now);
                self.bytes_transferred = self.bytes_transferred.saturating_add(*count);
            }
            FileProgress::Retrying { attempt, .. } => {
                if let Some(file) = self.under_way.get_mut(path) {
                    file.transferred = 0;
                    file.attempt = *attempt;
                }
            }
            FileProgress::Delivered { size, .. } | FileProgress::Proved { size, .. } => {
                self.finish(path);
                self.bytes_delivered = self.bytes_delivered.saturating_add(*size);
            }
            FileProgress::Settled
            | FileProgress::Confirmed
            | FileProgress::Presumed
            | FileProgress::Attested
            | FileProgress::Kept
            | FileProgress::Taken => self.finish(path),
            // It was never planned.
            FileProgress::Waiting { .. }
            | FileProgress::Retired { .. }
            | FileProgress::Retained { .. }
            | FileProgress::Removed { .. }
            | FileProgress::NotRemoved { .. } => {}
            FileProgress::Failed { .. } | FileProgress::Differs { .. } => {
                self.finish(path);
                self.files_failed += 1;
            }
        }
    }

    fn start(&mut self, path: &RelPath, size: u64) {
        let attempt = if let Some(file) = self.under_way.get(path) {
            file.attempt
        } else {
            self.waiting_files = self.waiting_files.saturating_sub(1);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(size);
            1
        };
        self.under_way.insert(path.clone(), UnderWay { size, transferred: 0, attempt });
    }

    fn finish(&mut self, path: &RelPath) {
        self.files_done += 1;
        if self.under_way.remove(path).is_none() {
            // Which of the planned bytes were this file's is not known: take an even share, so
            // that nothing is left when no file is.
            let share = self.waiting_bytes.checked_div(self.waiting_files).unwrap_or(0);
            self.waiting_bytes -= share;
            self.waiting_files = self.waiting_files.saturating_sub(1);
        }
    }

    /// A run that was stopped leaves files without an outcome.
    fn forget_unfinished(&mut self) {
        self.under_way.clear();
        (self.waiting_files, self.waiting_bytes) = (0, 0);
    }

    fn sample(&mut self, now: Duration) {
        if self.samples.back().is_none_or(|(last, _)| now.saturating_sub(*last) >= SAMPLE) {
            self.samples.push_back((now, self.bytes_transferred));
        }
        // The sample at the edge of the window stays: the rate is counted from it.
        while self.samples.get(1).is_some_and(|(second, _)| now.saturating_sub(*second) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    fn rate(&self, now: Duration) -> Option<u64> {
        let beyond = |sample: &&(Duration, u64)| now.saturating_sub(sample.0) >= WINDOW;
        // From the last sample outside the window; while nothing moves, that one is the newest.
        let (since, before) = self.samples.iter().rev().find(beyond).or_else(|| self.samples.front())?;
        let elapsed = now.saturating_sub(*since);
        if elapsed < SAMPLE {
            return None;
        }
        let per_second =
            u128::from(self.bytes_transferred.saturating_sub(*before)) * 1000 / elapsed.as_millis().max(1);
        u64::try_from(per_second).ok()
    }

    /// How far the run has come at `now`.
    pub fn at(&self, now: Duration) -> Snapshot {
        let under_way = u64::try_from(self.under_way.len()).unwrap_or(u64::MAX);
        let waiting_bytes = if self.waiting_files == 0 { 0 } else { self.waiting_bytes };
        let sum = |of: fn(&UnderWay) -> u64| self.under_way.values().map(of).fold(0, u64::saturating_add);
        let bytes_done = self.bytes_delivered.saturating_add(sum(|file| file.transferred.min(file.size)));
        let bytes_total =
            self.bytes_delivered.saturating_add(sum(|file| file.size)).saturating_add(waiting_bytes);
        let rate = self.rate(now);
        let left = match (self.plan, rate) {
            (Plan::Complete, Some(rate)) if rate > 0 => {
                Some(Duration::from_secs((bytes_total - bytes_done).div_ceil(rate)))
            }
            _ => None,
        };
        Snapshot {
            files_done: self.files_done,
            files_total: self.files_done + under_way + self.waiting_files,
            files_failed: self.files_failed,
            files_retrying: self.under_way.values().map(|file| u64::from(file.attempt > 1)).sum(),
            bytes_done,
            bytes_total,
            rate,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Failure, FailureClass, ProofMethod, PublishWay};

    fn file(path: &str, progress: FileProgress) -> Event {
        Event::File { path: RelPath::new(path).unwrap(), progress }
    }

    fn started(path: &str, size: u64) -> Event {
        file(path, FileProgress::Started { size })
    }

    fn sent(path: &str, count: u64) -> Event {
        file(path, FileProgress::Bytes { count })
    }

    fn retrying(path: &str) -> Event {
        let failure = Failure::new(FailureClass::Temporary, "reset");
        file(path, FileProgress::Retrying { failure, attempt: 2 })
    }

    fn delivered(path: &str, size: u64) -> Event {
        file(
            path,
            FileProgress::Delivered { size, method: ProofMethod::ReadBack, publish: PublishWay::Rename },
        )
    }

    fn failed(path: &str) -> Event {
        file(path, FileProgress::Failed { failure: Failure::new(FailureClass::File, "no") })
    }

    fn after(events: &[Event]) -> Progress {
        let mut progress = Progress::default();
        for event in events {
            progress.apply(event, Duration::ZERO);
        }
        progress
    }

    fn check(events: &[Event], files: (u64, u64), bytes: (u64, u64)) {
        let now = after(events).at(Duration::ZERO);
        assert_eq!(((now.files_done, now.files_total), (now.bytes_done, now.bytes_total)), (files, bytes));
    }

    #[test]
    fn bytes_of_a_failed_attempt_do_not_count() {
        let planned = Event::Planned { bytes: 100 };
        check(&[planned.clone(), started("a", 100), sent("a", 60)], (0, 1), (60, 100));
        let retry = [planned, started("a", 100), sent("a", 60), retrying("a")];
        check(&retry, (0, 1), (0, 100));
        assert_eq!(after(&retry).at(Duration::ZERO).files_retrying, 1);
        let again = [retry.as_slice(), &[started("a", 100), sent("a", 30)]].concat();
        check(&again, (0, 1), (30, 100));
        assert_eq!(after(&again).at(Duration::ZERO).files_retrying, 1);
        check(&[again.as_slice(), &[delivered("a", 100)]].concat(), (1, 1), (100, 100));
    }

    #[test]
    fn bytes_that_stand_there_already_are_done_but_were_not_sent_now() {
        let resumed = file("a", FileProgress::Resumed { at: 60 });
        let events = [Event::Planned { bytes: 100 }, started("a", 100), resumed];
        check(&events, (0, 1), (60, 100));
        let mut progress = after(&events);
        progress.apply(&sent("a", 10), Duration::from_secs(1));
        progress.apply(&sent("a", 10), Duration::from_secs(2));
        let now = progress.at(Duration::from_secs(3));
        assert_eq!((now.bytes_done, now.rate), (80, Some(10)));
    }

    #[test]
    fn files_that_need_not_be_sent_leave_no_bytes_behind() {
        let planned = [Event::Planned { bytes: 90 }, Event::Planned { bytes: 10 }];
        let confirmed = [file("a", FileProgress::Confirmed), file("b", FileProgress::Confirmed)];
        check(&[&planned[..], &confirmed[..1]].concat(), (1, 2), (0, 50));
        check(&[&planned[..], &confirmed[..]].concat(), (2, 2), (0, 0));
        check(&[&planned[..], &[started("a", 90), failed("a")]].concat(), (1, 2), (0, 10));
    }

    #[test]
    fn the_time_left_is_told_when_all_files_are_known() {
        let second = Duration::from_secs;
        let mut progress = after(&[Event::Planned { bytes: 1000 }, started("a", 1000)]);
        progress.apply(&sent("a", 100), second(1));
        progress.apply(&sent("a", 100), second(2));
        assert_eq!(progress.at(second(3)).rate, Some(100));
        assert_eq!(progress.at(second(3)).left, None);
        progress.apply(&Event::PlanComplete { unchanged: 0 }, second(3));
        assert_eq!(progress.at(second(3)).left, Some(second(8)));
        assert_eq!(progress.at(second(60)).rate, Some(1), "what no longer moves slows down");
    }

    #[test]
    fn the_rate_follows_the_line() {
        let mut progress = after(&[Event::Planned { bytes: 100_000 }, started("a", 100_000)]);
        for tick in 0..400_u64 {
            let count = if tick < 200 { 100 } else { 10 };
            progress.apply(&sent("a", count), Duration::from_millis(tick * 100));
        }
        let rate = progress.at(Duration::from_secs(40)).rate.unwrap();
        assert!((95..=105).contains(&rate), "{rate}");
        assert!(progress.samples.len() <= 42, "{}", progress.samples.len());
    }

    proptest! {
        #[test]
        fn never_more_than_all_is_done(steps in proptest::collection::vec((0..7, 0..3_u64, 0..200_u64), 0..60)) {
            let mut progress = Progress::default();
            for (at, (kind, path, size)) in (0..).zip(steps) {
                let path = path.to_string();
                let event = match kind {
                    0 => Event::Planned { bytes: size },
                    1 => started(&path, size),
                    2 => sent(&path, size),
                    3 => retrying(&path),
                    4 => delivered(&path, size),
                    5 => failed(&path),
                    _ => file(&path, FileProgress::Confirmed),
                };
                progress.apply(&event, Duration::from_millis(at * 100));
                let now = progress.at(Duration::from_millis(at * 100));
                prop_assert!(now.bytes_done <= now.bytes_total && now.files_done <= now.files_total);
            }
        }
    }
}
