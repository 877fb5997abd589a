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

/// So many small files go between two large ones on a single session, which would else be busy with
/// large ones alone.
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
    /// Give the session up: no file waits, though one that another worker has in hand may come back.
    Close,
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
        // In a closed one none wait.
        while lanes.waiting() >= FILES_WAITING {
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
            let (next, weight) = {
                let mut lanes = self.lanes();
                (lanes.next(readiness), lanes.weight)
            };
            if let Some(next) = next {
                if matches!(next, Next::Deliver(_)) {
                    self.taken(weight);
                }
                self.room.notify_one();
                return next;
            }
            changed.await;
        }
    }

    /// The next file for a worker that is not through with its last one; it is in its hand from then on.
    /// None where another session is free for it, or about to be, or where a large one is next.
    pub(super) fn take_ahead(&self) -> Option<Work> {
        let (work, weight) = {
            let mut lanes = self.lanes();
            (lanes.take_ahead()?, lanes.weight)
        };
        self.taken(weight);
        self.room.notify_one();
        Some(work)
    }

    /// A file to be delivered was taken, and this is left.
    fn taken(&self, weight: u64) {
        if weight == 0 {
            // No further session is needed.
            self.changed.notify_waiters();
        }
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
            // What only has to be read can take hours, and may have to be delivered or not.
            Readiness::NoSession if self.pays() => {
                self.sessions += 1;
                Some(Next::Open)
            }
            Readiness::NoSession => self.read(),
        };
        next.or_else(|| self.end(readiness))
    }

    /// What follows where nothing waits any more.
    fn end(&self, readiness: Readiness) -> Option<Next> {
        match (self.inflow, readiness) {
            (Inflow::Closed, _) => Some(Next::End),
            (Inflow::Complete, _) if self.waiting() == 0 && self.in_hand == 0 => Some(Next::End),
            // What is read may have to be delivered.
            (Inflow::Complete, Readiness::Session) if self.waiting() == 0 && self.reading == 0 => {
                Some(Next::Close)
            }
            (Inflow::Open | Inflow::Complete, _) => None,
        }
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
        match self.sessions / 2 {
            0 => self.small_since_large >= SMALL_BETWEEN_LARGE,
            half => self.large_in_hand < half,
        }
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
        // What waits is not left to those that have a large file: they take long.
        let quick = self.sessions.saturating_sub(self.large_in_hand);
        let soon = quick.saturating_mul(FILES_A_LOGIN).saturating_add(without_a_file);
        files > without_a_file && self.weight > soon
    }
}

#[cfg(test)]
mod tests;
