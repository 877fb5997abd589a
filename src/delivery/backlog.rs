//! The files that wait for a worker, within a bounded look ahead.
//!
//! Large files go first, largest first, so that the run does not end with one of them on a single
//! session; small ones follow in the order of the plan, folder by folder, and get their turn between
//! large ones. A worker takes a file to be sent only once it has a session, so that no file waits
//! behind a login, and opens one only where that saves time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::shared::{Work, WorkKind};

/// Files that wait for a worker: enough that large ones are found early, and with paths of 200 bytes
/// less than 2 MiB.
const FILES_WAITING: usize = 4_096;

/// From how many bytes on a file is large: it takes a line of 10 Mbit/s longer than the round trips
/// of several small ones.
const LARGE_BYTES: u64 = 1024 * 1024;

/// So many small files go between two large ones, where few sessions would else be busy with large
/// ones alone.
const SMALL_BETWEEN_LARGE: u32 = 16;

/// A login takes five round trips and two handshakes; so many small files are sent meanwhile.
const FILES_A_LOGIN: u64 = 2;

/// So many bytes take as long as a small file: the 200 ms of four round trips, at 10 Mbit/s.
const BYTES_A_FILE: u64 = 256 * 1024;

/// What a worker is to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Read a file, which takes no session.
    Read(Work),
    /// Deliver a file.
    Deliver(Work),
    /// Open a session: more files wait than those that are open see to soon. It counts as open.
    Open,
    /// Nothing, ever.
    End,
}

/// Whether a worker has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Session,
    NoSession,
}

/// What a worker has in hand, as the backlog counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    Reading,
    Small,
    Large,
}

impl Hand {
    pub(super) fn of(work: &Work) -> Self {
        match work.kind {
            WorkKind::HashFirst => Self::Reading,
            WorkKind::Send | WorkKind::Settle(_) if is_large(work) => Self::Large,
            WorkKind::Send | WorkKind::Settle(_) | WorkKind::Sidecars => Self::Small,
        }
    }
}

/// Nobody takes files any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate;

/// Whether more files are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflow {
    Open,
    Complete,
    Closed,
}

/// The files that wait.
#[derive(Debug)]
pub(super) struct Backlog {
    lanes: Mutex<Lanes>,
    /// For workers.
    changed: Notify,
    /// For the planner.
    room: Condvar,
}

#[derive(Debug)]
struct Lanes {
    inflow: Inflow,
    /// To be read before it is known whether they are sent.
    to_read: VecDeque<Work>,
    small: VecDeque<Work>,
    /// By size, and those of the same size by when they came, the first one last.
    large: BTreeMap<(u64, u64), Work>,
    /// What `small` and `large` take, in small files.
    weight: u64,
    /// Counts down.
    number: u64,
    /// Files in the hands of workers.
    in_hand: u64,
    /// Of those, files that are only read.
    reading: u64,
    /// Of those, large ones that are delivered.
    large_in_hand: u64,
    small_since_large: u32,
    /// Sessions that are open, or being opened.
    sessions: u64,
}

fn weight(work: &Work) -> u64 {
    1 + work.size / BYTES_A_FILE
}

fn is_large(work: &Work) -> bool {
    work.size >= LARGE_BYTES
}

impl Backlog {
    pub(super) fn new() -> Self {
        let lanes = Lanes {
            inflow: Inflow::Open,
            to_read: VecDeque::new(),
            small: VecDeque::new(),
            large: BTreeMap::new(),
            weight: 0,
            number: u64::MAX,
            in_hand: 0,
            reading: 0,
            large_in_hand: 0,
            small_since_large: SMALL_BETWEEN_LARGE,
            sessions: 0,
        };
        Self { lanes: Mutex::new(lanes), changed: Notify::new(), room: Condvar::new() }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Each change leaves them whole, so a panic elsewhere does not matter.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Lanes) -> T) -> T {
        let changed = change(&mut self.lanes());
        self.changed.notify_waiters();
        changed
    }

    /// Adds a file, as soon as there is room. Blocks.
    pub(super) fn offer(&self, work: Work) -> Result<(), TooLate> {
        let mut lanes = self.lanes();
        while lanes.inflow != Inflow::Closed && lanes.waiting() >= FILES_WAITING {
            lanes = self.room.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
        if lanes.inflow == Inflow::Closed {
            return Err(TooLate);
        }
        lanes.add(work);
        drop(lanes);
        self.changed.notify_waiters();
        Ok(())
    }

    /// No more files are to come.
    pub(super) fn complete(&self) {
        self.change(|lanes| {
            if lanes.inflow == Inflow::Open {
                lanes.inflow = Inflow::Complete;
            }
        });
    }

    /// Takes no more files, and gives up those that wait: so many.
    pub(super) fn close(&self) -> u64 {
        let given_up = self.change(|lanes| {
            lanes.inflow = Inflow::Closed;
            let waiting = lanes.waiting();
            lanes.to_read.clear();
            lanes.small.clear();
            lanes.large.clear();
            lanes.weight = 0;
            u64::try_from(waiting).unwrap_or(u64::MAX)
        });
        self.room.notify_all();
        given_up
    }

    /// What to do next; a file is in the worker's hand from then on. Cancel safe.
    pub(super) async fn next(&self, readiness: Readiness) -> Next {
        loop {
            let changed = self.changed.notified();
            let next = self.lanes().next(readiness);
            if let Some(next) = next {
                self.room.notify_one();
                return next;
            }
            changed.await;
        }
    }

    /// The next file for a worker that is not through with its last one; it is in its hand from then on.
    /// None where another session is free for it, or about to be, or where a large one is next.
    pub(super) fn take_ahead(&self) -> Option<Work> {
        let work = self.lanes().take_ahead()?;
        self.room.notify_one();
        Some(work)
    }

    /// Returns once no file waits to be delivered. Cancel safe.
    pub(super) async fn none_to_deliver(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lanes().weight == 0 {
                return;
            }
            changed.await;
        }
    }

    /// What became of a file in a worker's hand is told, or will not be.
    pub(super) fn out_of_hand(&self, hand: Hand) {
        self.change(|lanes| lanes.out_of_hand(hand));
    }

    /// Puts a file back from a worker's hand, to be delivered: by this worker or another one. Where
    /// nobody takes files any more, it stays in hand.
    pub(super) fn put_back(&self, hand: Hand, work: Work) {
        self.change(|lanes| {
            if lanes.inflow != Inflow::Closed {
                lanes.out_of_hand(hand);
                match hand {
                    Hand::Reading => lanes.add(work),
                    Hand::Small | Hand::Large => lanes.add_again(work),
                }
            }
        });
    }

    /// A session that was open, or being opened, is no more.
    pub(super) fn session_ended(&self) {
        self.change(|lanes| lanes.sessions = lanes.sessions.saturating_sub(1));
    }

    /// Files in the hands of workers; of workers that were cut off, those that have no outcome.
    pub(super) fn in_hand(&self) -> u64 {
        self.lanes().in_hand
    }
}

impl Lanes {
    fn waiting(&self) -> usize {
        self.to_read.len() + self.small.len() + self.large.len()
    }

    fn add(&mut self, work: Work) {
        if matches!(work.kind, WorkKind::HashFirst) {
            return self.to_read.push_back(work);
        }
        self.weight += weight(&work);
        if is_large(&work) {
            self.number -= 1;
            self.large.insert((work.size, self.number), work);
        } else {
            self.small.push_back(work);
        }
    }

    /// Takes a file back that was next: a small one is next again.
    fn add_again(&mut self, work: Work) {
        let small = self.small.len();
        self.add(work);
        if self.small.len() > small {
            self.small.rotate_right(1);
        }
    }

    fn next(&mut self, readiness: Readiness) -> Option<Next> {
        let next = match readiness {
            Readiness::Session => match self.deliver() {
                Some(work) => Some(Next::Deliver(work)),
                None => self.read(),
            },
            Readiness::NoSession => match self.read() {
                None if self.pays() => {
                    self.sessions += 1;
                    Some(Next::Open)
                }
                read => read,
            },
        };
        // What is read may have to be delivered.
        let ended = self.inflow != Inflow::Open && self.waiting() == 0 && self.reading == 0;
        next.or_else(|| ended.then_some(Next::End))
    }

    fn read(&mut self) -> Option<Next> {
        let work = self.to_read.pop_front()?;
        self.in_hand += 1;
        self.reading += 1;
        Some(Next::Read(work))
    }

    /// Whether a large file comes before a small one: half of the sessions are for large files; where
    /// that is none, they take turns.
    fn is_turn_of_large(&self) -> bool {
        self.large_in_hand < self.sessions / 2 || self.small_since_large >= SMALL_BETWEEN_LARGE
    }

    fn take_ahead(&mut self) -> Option<Work> {
        let large = !self.large.is_empty() && self.is_turn_of_large();
        let waiting = u64::try_from(self.small.len()).unwrap_or(u64::MAX);
        let to_send = self.small.front().is_some_and(|work| matches!(work.kind, WorkKind::Send));
        if large || !to_send || waiting <= self.without_a_file() {
            return None;
        }
        self.deliver()
    }

    /// Sessions each of which takes one file as soon as it can.
    fn without_a_file(&self) -> u64 {
        self.sessions.saturating_sub(self.in_hand.saturating_sub(self.reading))
    }

    fn deliver(&mut self) -> Option<Work> {
        let work =
            if self.small.is_empty() || self.is_turn_of_large() { self.large.pop_last() } else { None };
        let work = if let Some((_, work)) = work {
            self.large_in_hand += 1;
            self.small_since_large = 0;
            work
        } else {
            let work = self.small.pop_front()?;
            self.small_since_large = self.small_since_large.saturating_add(1);
            work
        };
        self.weight = self.weight.saturating_sub(weight(&work));
        self.in_hand += 1;
        Some(work)
    }

    fn out_of_hand(&mut self, hand: Hand) {
        self.in_hand = self.in_hand.saturating_sub(1);
        match hand {
            Hand::Reading => self.reading = self.reading.saturating_sub(1),
            Hand::Large => self.large_in_hand = self.large_in_hand.saturating_sub(1),
            Hand::Small => {}
        }
    }

    /// Whether one session more saves time.
    fn pays(&self) -> bool {
        let without_a_file = self.without_a_file();
        let files = u64::try_from(self.small.len() + self.large.len()).unwrap_or(u64::MAX);
        let soon = self.sessions.saturating_mul(FILES_A_LOGIN).saturating_add(without_a_file);
        files > without_a_file && self.weight > soon
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::domain::{RelPath, Twins};

    const SMALL: u64 = 1;

    fn file(name: &str, size: u64) -> Work {
        let path = RelPath::new(name).unwrap();
        Work { path, size, known: None, twins: Twins::NONE, kind: WorkKind::Send }
    }

    fn backlog(files: &[(&str, u64)]) -> Backlog {
        let backlog = Backlog::new();
        for (name, size) in files {
            backlog.offer(file(name, *size)).unwrap();
        }
        backlog
    }

    fn next(backlog: &Backlog, readiness: Readiness) -> Option<Next> {
        match pin!(backlog.next(readiness)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    fn opens(backlog: &Backlog) -> bool {
        matches!(next(backlog, Readiness::NoSession), Some(Next::Open))
    }

    fn delivers(backlog: &Backlog) -> Option<Work> {
        match next(backlog, Readiness::Session)? {
            Next::Deliver(work) => Some(work),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sessions_are_opened_for_what_they_save() {
        let few = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL)]);
        assert!(opens(&few) && !opens(&few), "one session finishes these");
        few.offer(file("d", SMALL)).unwrap();
        assert!(opens(&few) && !opens(&few), "two share these");
        let large = backlog(&[("a", 64 << 20), ("b", 64 << 20)]);
        assert!(opens(&large) && opens(&large) && !opens(&large), "each has its own");
        let taken = backlog(&[("a", 64 << 20)]);
        assert!(opens(&taken));
        let _under_way = delivers(&taken).unwrap();
        assert!(!opens(&taken), "nothing waits");
        assert!(!opens(&backlog(&[])));
    }

    #[test]
    fn large_files_go_first_and_small_ones_are_not_kept_waiting() {
        let sizes =
            [("a", SMALL), ("b", LARGE_BYTES), ("c", SMALL), ("d", 9 * LARGE_BYTES), ("e", LARGE_BYTES)];
        let backlog = backlog(&sizes);
        for _ in 0..4 {
            assert!(opens(&backlog));
        }
        let order: Vec<_> = (0..5).map(|_| delivers(&backlog).unwrap().path.to_string()).collect();
        assert_eq!(order, ["d", "b", "a", "c", "e"]);
    }

    #[test]
    fn on_one_session_large_and_small_files_take_turns() {
        let backlog = Backlog::new();
        for n in 0..3 * SMALL_BETWEEN_LARGE {
            backlog.offer(file(&format!("small{n}"), SMALL)).unwrap();
            backlog.offer(file(&format!("large{n}"), LARGE_BYTES)).unwrap();
        }
        assert!(opens(&backlog));
        let mut order = String::new();
        while let Some(work) = delivers(&backlog) {
            order.push(if is_large(&work) { 'L' } else { 's' });
            backlog.out_of_hand(Hand::of(&work));
        }
        let turns = format!("L{}", "s".repeat(16)).repeat(3);
        assert_eq!(order, format!("{turns}{}", "L".repeat(45)));
    }

    #[test]
    fn a_file_is_taken_ahead_only_where_no_other_session_is_free_for_it() {
        let backlog = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL), ("d", SMALL), ("e", LARGE_BYTES)]);
        assert!(opens(&backlog) && opens(&backlog));
        let [large, _small] = [delivers(&backlog).unwrap(), delivers(&backlog).unwrap()];
        assert!(is_large(&large));
        assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "b");
        backlog.offer(file("f", LARGE_BYTES)).unwrap();
        backlog.out_of_hand(Hand::of(&large));
        assert!(backlog.take_ahead().is_none(), "a large one is next");
        assert!(is_large(&delivers(&backlog).unwrap()));
        assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "c");
        for _ in 0..3 {
            backlog.out_of_hand(Hand::Small);
        }
        assert!(backlog.take_ahead().is_none(), "the other session is free for the last one");
        assert_eq!(delivers(&backlog).unwrap().path.as_str(), "d");
        assert!(backlog.take_ahead().is_none());
    }

    /// What is settled, or published beside a file, has no upload that could be begun.
    #[test]
    fn only_what_is_sent_is_taken_ahead() {
        let backlog = backlog(&[("a", SMALL)]);
        backlog.offer(Work { kind: WorkKind::Sidecars, ..file("b", SMALL) }).unwrap();
        backlog.offer(file("c", SMALL)).unwrap();
        assert!(opens(&backlog));
        assert_eq!(delivers(&backlog).unwrap().path.as_str(), "a");
        assert!(backlog.take_ahead().is_none());
        assert_eq!(delivers(&backlog).unwrap().path.as_str(), "b");
        assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "c");
    }

    #[test]
    fn a_file_that_is_put_back_too_late_stays_in_hand() {
        let backlog = backlog(&[("a", SMALL), ("b", SMALL)]);
        assert!(opens(&backlog));
        let _under_way = delivers(&backlog).unwrap();
        let ahead = backlog.take_ahead().unwrap();
        assert_eq!((backlog.close(), backlog.in_hand()), (0, 2));
        backlog.put_back(Hand::of(&ahead), ahead);
        assert_eq!(backlog.in_hand(), 2, "it has no outcome");
        assert!(matches!(next(&backlog, Readiness::Session), Some(Next::End)));
    }

    #[test]
    fn nobody_ends_before_the_last_file_is_read() {
        let backlog = Backlog::new();
        backlog.offer(Work { kind: WorkKind::HashFirst, ..file("a", SMALL) }).unwrap();
        backlog.complete();
        let Some(Next::Read(work)) = next(&backlog, Readiness::NoSession) else { panic!() };
        assert!(next(&backlog, Readiness::Session).is_none(), "it may have to be delivered");
        backlog.put_back(Hand::of(&work), file("a", SMALL));
        let work = delivers(&backlog).unwrap();
        assert!(matches!(next(&backlog, Readiness::NoSession), Some(Next::End)));
        assert_eq!(backlog.in_hand(), 1);
        backlog.out_of_hand(Hand::of(&work));
        assert_eq!(backlog.in_hand(), 0);
    }

    /// Else files that are taken ahead and put back, one after the other, would come last.
    #[test]
    fn a_file_that_is_put_back_from_ahead_is_next_again() {
        let backlog = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL)]);
        assert!(opens(&backlog));
        let ahead = delivers(&backlog).unwrap();
        backlog.put_back(Hand::of(&ahead), ahead);
        let order: Vec<_> = (0..3).map(|_| delivers(&backlog).unwrap().path.to_string()).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[test]
    fn a_full_backlog_lets_the_planner_wait_until_it_is_taken_from_or_closed() {
        let backlog = Backlog::new();
        for n in 0..FILES_WAITING {
            backlog.offer(file(&format!("{n}"), SMALL)).unwrap();
        }
        std::thread::scope(|scope| {
            let planner = scope.spawn(|| backlog.offer(file("one more", SMALL)));
            delivers(&backlog).unwrap();
            assert_eq!(planner.join().unwrap(), Ok(()));
            let planner = scope.spawn(|| backlog.offer(file("too many", SMALL)));
            let given_up = backlog.close();
            assert!(planner.join().unwrap().is_err());
            assert_eq!(usize::try_from(given_up).unwrap(), FILES_WAITING);
        });
        assert!(matches!(next(&backlog, Readiness::Session), Some(Next::End)));
    }
}
