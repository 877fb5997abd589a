//! How many sessions with a server jobs may have open at once, and whose the next one is.
//!
//! Jobs share a server's sessions: the next one goes to the job that has the fewest. The limit is
//! what the configuration allows, or what the server was seen to allow. Nobody ever waits for a
//! permit while holding another, so that waiting always ends. No lock is held across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Between the openings of two sessions: servers fork for each, and Pure-FTPd's listen queue holds
/// six. Eight sessions are begun within 35 ms all the same.
const APART: Duration = Duration::from_millis(5);

/// How long fewer sessions are asked for than the server was seen to allow: a session that was
/// lost, or somebody else's, may take up room there until then.
const CROWDED: Duration = Duration::from_secs(30);

/// Where there are more jobs than sessions, one serves so many times as long as it took to open
/// before another job has its turn: logins cost a tenth of the time at most.
const TURN_OPENINGS: u32 = 10;

/// How many sessions with a server may be open, and who has them.
#[derive(Debug)]
pub(super) struct Limit {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug)]
struct Held {
    /// Most at once, as far as is known.
    most: u16,
    /// Most for now, and until when.
    crowded: Option<(u16, Instant)>,
    /// Most that were open at once since there was none.
    peak: u16,
    shares: BTreeMap<u64, Holding>,
    /// The number of the next share and of the next in the queue.
    number: u64,
    /// Before this, no other session is opened.
    next_opening: Instant,
}

/// What one job has.
#[derive(Debug, Default)]
struct Holding {
    /// Sessions that are open, or being opened.
    permits: u16,
    /// Sessions that are open.
    open: u16,
    /// Of those, what is about to be given back.
    promised: u16,
    /// Who waits for one more, by its place in the queue.
    waiting: BTreeSet<(Haste, u64)>,
}

/// How urgently a session is wanted, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// A file is under way and its session was lost.
    UnderWay,
    /// Files wait.
    Waiting,
}

/// What a refused session says of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// None of ours was open: the limit is no matter of ours.
    Alone,
    /// Others of ours are open, and the limit is known now.
    Full,
}

impl Limit {
    pub(super) fn new(most: NonZeroU16) -> Arc<Self> {
        let held = Held {
            most: most.get(),
            crowded: None,
            peak: 0,
            shares: BTreeMap::new(),
            number: 0,
            next_opening: Instant::now(),
        };
        Arc::new(Self { held: Mutex::new(held), changed: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change leaves it whole, so a panic elsewhere does not matter.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most sessions at once, as far as is known.
    pub(super) fn most(&self) -> u16 {
        self.held().most
    }

    /// Takes in how many are allowed.
    pub(super) fn set_most(&self, most: NonZeroU16) {
        self.held().most = most.get();
        self.changed.notify_waiters();
    }

    /// Another job wants sessions.
    pub(super) fn join(self: &Arc<Self>) -> Share {
        let mut held = self.held();
        let id = held.number;
        held.number += 1;
        held.shares.insert(id, Holding::default());
        Share { member: Arc::new(Member { limit: Arc::clone(self), id }) }
    }

    /// How many sessions are open, or being opened.
    pub(super) fn taken(&self) -> u16 {
        self.held().permits()
    }

    /// Waits until another session may be opened after the last one.
    pub(super) async fn pace(&self) {
        let at = {
            let mut held = self.held();
            let at = held.next_opening.max(Instant::now());
            held.next_opening = at + APART;
            at
        };
        sleep_until(at).await;
    }
}

impl Held {
    fn permits(&self) -> u16 {
        self.shares.values().map(|holding| holding.permits).sum()
    }

    fn open(&self) -> u16 {
        self.shares.values().map(|holding| holding.open).sum()
    }

    /// Most sessions right now.
    fn most_now(&mut self) -> u16 {
        match self.crowded {
            Some((most, until)) if Instant::now() < until => most.min(self.most),
            Some(_) | None => {
                self.crowded = None;
                self.most
            }
        }
    }

    /// Whether this place in the queue is the first, and there is room.
    fn may_have(&mut self, share: u64, place: (Haste, u64)) -> bool {
        let first = self
            .shares
            .iter()
            .flat_map(|(id, holding)| holding.waiting.iter().map(|place| (holding.permits, *place, *id)))
            .min();
        let turn = first.is_some_and(|(_, first, id)| (first, id) == (place, share));
        turn && self.permits() < self.most_now()
    }

    /// Whether a job is to give a session back: another one waits that would still have fewer, or that
    /// has none while this one has had its turn.
    fn has_too_many(&self, share: u64, turn: Turn) -> bool {
        let Some(own) = self.shares.get(&share) else { return false };
        let own = own.permits.saturating_sub(own.promised);
        let promised: u16 = self.shares.values().map(|holding| holding.promised).sum();
        let waiting = self.shares.iter().filter(|(id, holding)| **id != share && !holding.waiting.is_empty());
        let wants = waiting.filter(|(_, other)| match turn {
            Turn::Had => other.permits == 0 || other.permits + 1 < own,
            Turn::NotYet => other.permits + 1 < own,
        });
        wants.count() > usize::from(promised)
    }
}

/// Whether a session has served for long enough to be given to a job that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Had,
    NotYet,
}

/// A job among those that have sessions with a server, until its last permit is gone.
#[derive(Debug)]
struct Member {
    limit: Arc<Limit>,
    id: u64,
}

impl Member {
    /// Changes what the job has.
    fn holding<T>(&self, change: impl FnOnce(&mut Holding) -> T) -> Option<T> {
        self.limit.held().shares.get_mut(&self.id).map(change)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It had no permit any more, and nobody waited for one: that is no news to anybody.
        self.limit.held().shares.remove(&self.id);
    }
}

/// A job's share in the sessions with a server.
#[derive(Debug)]
pub struct Share {
    member: Arc<Member>,
}

impl Share {
    /// Leave to have one more session, as soon as there is one for this job. Cancel safe.
    pub async fn permit(&self, haste: Haste) -> Permit {
        let limit = &self.member.limit;
        let waiting = Waiting::new(&self.member, haste);
        loop {
            let changed = limit.changed.notified();
            if let Some(permit) = self.given(waiting.place) {
                return permit;
            }
            let crowded = limit.held().crowded;
            match crowded {
                Some((_, until)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(until) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Leave to have one more session, if there is one right now.
    pub(super) fn permit_now(&self) -> Option<Permit> {
        let waiting = Waiting::new(&self.member, Haste::Waiting);
        self.given(waiting.place)
    }

    fn given(&self, place: (Haste, u64)) -> Option<Permit> {
        let mut held = self.member.limit.held();
        if !held.may_have(self.member.id, place) {
            return None;
        }
        held.shares.get_mut(&self.member.id)?.permits += 1;
        drop(held);
        Some(Permit { member: Arc::clone(&self.member), serving: None, promised: AtomicBool::new(false) })
    }
}

/// A place in the queue, left when it is dropped.
struct Waiting<'m> {
    member: &'m Member,
    place: (Haste, u64),
}

impl<'m> Waiting<'m> {
    fn new(member: &'m Member, haste: Haste) -> Self {
        let place = {
            let mut held = member.limit.held();
            let place = (haste, held.number);
            held.number += 1;
            if let Some(holding) = held.shares.get_mut(&member.id) {
                holding.waiting.insert(place);
            }
            place
        };
        // Whoever has too many hears of it.
        member.limit.changed.notify_waiters();
        Self { member, place }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.member.holding(|holding| holding.waiting.remove(&self.place));
        // The next in the queue may be first now.
        self.member.limit.changed.notify_waiters();
    }
}

/// Leave to have one session.
#[derive(Debug)]
pub struct Permit {
    member: Arc<Member>,
    /// Since when the session is open, and for how long it has a right to be.
    serving: Option<(Instant, Duration)>,
    promised: AtomicBool,
}

impl Permit {
    /// The session is open. Returns how many are.
    pub(super) fn opened(&mut self, took: Duration) -> u16 {
        self.serving = Some((Instant::now(), took.saturating_mul(TURN_OPENINGS)));
        let mut held = self.member.limit.held();
        if held.open() == 0 {
            held.peak = 0;
        }
        if let Some(holding) = held.shares.get_mut(&self.member.id) {
            holding.open += 1;
        }
        held.peak = held.peak.max(held.open());
        held.peak
    }

    /// The server takes no more sessions.
    pub(super) fn refused(self) -> Refused {
        let mut held = self.member.limit.held();
        let others = held.permits().saturating_sub(1);
        let (Some(now), true) = (NonZeroU16::new(others), held.open() > 0) else { return Refused::Alone };
        // Those that are still being opened may be refused as well.
        let seen = now.max(NonZeroU16::new(held.peak).unwrap_or(now));
        held.crowded = Some((now.get(), Instant::now() + CROWDED));
        held.most = held.most.min(seen.get());
        drop(held);
        Refused::Full
    }

    /// Whether the session is to be given back, because another job waits for one: asked between
    /// files. Who is told so once has promised it.
    pub fn is_wanted_elsewhere(&self) -> bool {
        let turn = match self.serving {
            Some((since, right)) if since.elapsed() < right => Turn::NotYet,
            Some(_) | None => Turn::Had,
        };
        self.is_wanted(turn)
    }

    /// Returns once another job waits for the session: for those who have nothing to do with it. Cancel
    /// safe.
    pub async fn wanted_elsewhere(&self) {
        loop {
            let changed = self.member.limit.changed.notified();
            if self.is_wanted(Turn::Had) {
                return;
            }
            changed.await;
        }
    }

    fn is_wanted(&self, turn: Turn) -> bool {
        if self.promised.load(Ordering::Relaxed) {
            return true;
        }
        let mut held = self.member.limit.held();
        let wanted = held.has_too_many(self.member.id, turn);
        if wanted && let Some(holding) = held.shares.get_mut(&self.member.id) {
            holding.promised += 1;
            self.promised.store(true, Ordering::Relaxed);
        }
        wanted
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let promised = self.promised.load(Ordering::Relaxed);
        self.member.holding(|holding| {
            holding.permits = holding.permits.saturating_sub(1);
            holding.open = holding.open.saturating_sub(u16::from(self.serving.is_some()));
            holding.promised = holding.promised.saturating_sub(u16::from(promised));
        });
        self.member.limit.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
