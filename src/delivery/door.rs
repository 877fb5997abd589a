//! The way to a session, for the workers of a run.
//!
//! While none of them is inside, they log in one by one: a wrong password is tried once and not once a
//! worker, which locks accounts, and a server that lets nobody in costs a run the same time however
//! many workers it has. Once the first one has found that the server is there and greets, the others
//! go as far as the login beside it, each making sure of the server for itself, and wait with their names.
//! Where the server was met before, they do not wait for that, until somebody has come in vain.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::remote::{BeforeLogin, Connection, Extras, Leave};

/// How long a connection waits for leave to log in: servers hang up some time after their greeting
/// (vsftpd 3.0.3 after a minute), and each that waits is one that another job might have.
const DOORSTEP_LASTS: Duration = Duration::from_secs(10);

/// What the workers of a run know of the way in.
#[derive(Debug)]
pub(super) struct Door {
    /// Whether the server is likely to be there.
    was_met: bool,
    notes: Mutex<Notes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    /// Sessions that are open.
    inside: u32,
    /// Failures in a row while nobody was inside.
    failures: u32,
    turn: Held,
}

/// Whose turn it is while nobody is inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nobodys,
    /// Somebody's, who does not know yet whether the server is there.
    Somebodys,
    /// Somebody's, who does, or may expect it.
    Shown,
}

impl Notes {
    fn way(&self, beside: Beside) -> Option<Passable> {
        match (self.inside, self.turn, beside) {
            (1.., _, _) => Some(Passable::Open),
            (0, Held::Nobodys, _) => Some(Passable::First),
            (0, Held::Shown, Beside::AsFarAsTheLogin) => Some(Passable::Beside),
            (0, Held::Shown | Held::Somebodys, _) => None,
        }
    }
}

/// What way there is.
#[derive(Clone, Copy, Debug)]
enum Passable {
    Open,
    First,
    Beside,
}

/// How a worker may go on its way in.
#[derive(Debug)]
pub(super) enum Way<'d> {
    /// Somebody is inside, who has shown it.
    Open,
    /// It is this worker's turn.
    First(Turn<'d>),
    /// As far as the login, and no further yet.
    Beside,
}

/// How far a worker goes beside the one whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    AsFarAsTheLogin,
    /// It has tried, in vain.
    NotAtAll,
}

/// A worker's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'d>(&'d Door);

impl Turn<'_> {
    /// Its worker has been greeted.
    fn show(&self) {
        self.0.notes().turn = Held::Shown;
        self.0.changed.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.notes().turn = Held::Nobodys;
        self.0.changed.notify_waiters();
    }
}

/// What the login of a session asks for beside another one, of the machine at this address.
pub(super) type ExtrasOf<'d> = &'d (dyn Fn(SocketAddr) -> Extras + Sync);

/// What a worker does before it logs in.
pub(super) struct Doorstep<'d> {
    door: &'d Door,
    stop: &'d CancellationToken,
    extras: ExtrasOf<'d>,
    way: Mutex<Way<'d>>,
    waited: AtomicBool,
}

impl<'d> Doorstep<'d> {
    pub(super) fn new(
        door: &'d Door,
        stop: &'d CancellationToken,
        extras: ExtrasOf<'d>,
        way: Way<'d>,
    ) -> Self {
        Self { door, stop, extras, way: Mutex::new(way), waited: AtomicBool::new(false) }
    }

    /// How it came to go on.
    pub(super) fn way(self) -> Way<'d> {
        self.way.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the login asks for. What is wrong with it is found by the one whose turn it is, which asks for no more than
    /// every session does.
    fn extras(&self, way: &Way<'_>, peer: SocketAddr) -> Extras {
        match way {
            Way::Open => (self.extras)(peer),
            Way::First(_) | Way::Beside => Extras::default(),
        }
    }

    fn current(&self) -> MutexGuard<'_, Way<'d>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BeforeLogin for Doorstep<'_> {
    fn greeted(&self) {
        if let Way::First(turn) = &*self.current() {
            turn.show();
        }
    }

    fn leave(&self, peer: SocketAddr) -> Pin<Box<dyn Future<Output = Leave> + Send + '_>> {
        Box::pin(async move {
            match &*self.current() {
                way @ (Way::Open | Way::First(_)) => return Leave::Given(self.extras(way, peer)),
                Way::Beside => {}
            }
            self.waited.store(true, Ordering::Relaxed);
            let Ok(way) = timeout(DOORSTEP_LASTS, self.door.way(Beside::NotAtAll)).await else {
                return Leave::No;
            };
            // A refused password stops the run before it is the next one's turn.
            if self.stop.is_cancelled() {
                return Leave::No;
            }
            let extras = self.extras(&way, peer);
            *self.current() = way;
            Leave::Given(extras)
        })
    }

    fn has_waited(&self) -> bool {
        self.waited.load(Ordering::Relaxed)
    }
}

impl Door {
    pub(super) fn new(was_met: bool) -> Self {
        Self { was_met, notes: Mutex::default(), changed: Notify::new() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each change is one field, so a panic elsewhere leaves them whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a way for a worker, which another one may take first. Cancel safe.
    pub(super) async fn some_way(&self, beside: Beside) {
        self.until(|| self.notes().way(beside)).await;
    }

    /// Waits until this worker may go on, and tells how. Cancel safe.
    async fn way(&self, beside: Beside) -> Way<'_> {
        self.until(|| self.way_now(beside)).await
    }

    async fn until<T>(&self, found: impl Fn() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = found() {
                return found;
            }
            changed.await;
        }
    }

    /// How this worker may go on right now.
    pub(super) fn way_now(&self, beside: Beside) -> Option<Way<'_>> {
        let mut notes = self.notes();
        match notes.way(beside)? {
            Passable::Open => Some(Way::Open),
            Passable::Beside => Some(Way::Beside),
            Passable::First => {
                let expected = self.was_met && notes.failures == 0;
                notes.turn = if expected { Held::Shown } else { Held::Somebodys };
                drop(notes);
                Some(Way::First(Turn(self)))
            }
        }
    }

    /// A worker is inside.
    fn came_in(&self) {
        let mut notes = self.notes();
        notes.inside += 1;
        notes.failures = 0;
        drop(notes);
        self.changed.notify_waiters();
    }

    /// It is not any more. Nobody waits for that: while it was inside, each had a way.
    fn went_out(&self) {
        let mut notes = self.notes();
        notes.inside = notes.inside.saturating_sub(1);
    }

    /// The worker whose turn it is was not let in. How often that happened in a row.
    pub(super) fn turned_away(&self) -> u32 {
        let mut notes = self.notes();
        notes.failures += 1;
        notes.failures
    }
}

/// A session of a run.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) connection: Connection,
    _stay: Stay,
}

impl Inside {
    pub(super) fn new(connection: Connection, shared: &Arc<Shared>) -> Self {
        shared.door.came_in();
        Self { connection, _stay: Stay(Arc::clone(shared)) }
    }

    /// Ends it in good order.
    pub(super) async fn quit(self) {
        self.connection.quit().await;
    }
}

struct Stay(Arc<Shared>);

impl std::fmt::Debug for Stay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stay")
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.door.went_out();
    }
}

/// A session that is open or being opened, as the backlog counts it.
pub(super) struct Place(Arc<Shared>);

impl Place {
    /// Of a session that the backlog has asked for.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.backlog.session_ended();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use tokio::time::Instant;

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 21);

    fn turn(door: &Door) -> Turn<'_> {
        match door.way_now(Beside::AsFarAsTheLogin) {
            Some(Way::First(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }

    fn is_there(way: Pin<&mut (impl Future + ?Sized)>) -> bool {
        way.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Whoever waits for a way hears of each thing that makes one.
    #[test]
    fn those_that_wait_are_told() {
        let door = Door::new(false);
        let first = turn(&door);
        let (mut beside, mut alone) =
            (pin!(door.some_way(Beside::AsFarAsTheLogin)), pin!(door.some_way(Beside::NotAtAll)));
        assert!(!is_there(beside.as_mut()) && !is_there(alone.as_mut()));
        first.show();
        assert!(is_there(beside.as_mut()) && !is_there(alone.as_mut()));
        drop(first);
        assert!(is_there(alone.as_mut()), "the turn is anybody's");
    }

    /// It came by a way that was open before.
    #[test]
    fn those_that_wait_are_told_of_one_that_came_in_beside_a_turn() {
        let door = Door::new(false);
        let _first = turn(&door);
        let mut alone = pin!(door.some_way(Beside::NotAtAll));
        assert!(!is_there(alone.as_mut()));
        door.came_in();
        assert!(is_there(alone.as_mut()));
        door.went_out();
        assert!(door.way_now(Beside::NotAtAll).is_none(), "it is the first one's turn again");
    }

    #[test]
    fn a_server_that_was_met_is_expected_until_somebody_came_in_vain() {
        let beside = |door: &Door| matches!(door.way_now(Beside::AsFarAsTheLogin), Some(Way::Beside));
        let strange = Door::new(false);
        let first = turn(&strange);
        assert!(!beside(&strange));
        drop(first);
        let door = Door::new(true);
        let first = turn(&door);
        assert!(beside(&door));
        assert_eq!((door.turned_away(), door.turned_away()), (1, 2));
        drop(first);
        let again = turn(&door);
        assert!(!beside(&door));
        drop(again);
        door.came_in();
        door.went_out();
        let _first = turn(&door);
        assert!(beside(&door), "it was there since");
        assert_eq!(door.turned_away(), 1);
    }

    /// A connection that waits is one that another job might have, and the server hangs up some time.
    #[tokio::test(start_paused = true)]
    async fn leave_to_log_in_is_waited_for_ten_seconds() {
        let (door, stop) = (Door::new(false), CancellationToken::new());
        let first = turn(&door);
        let doorstep = Doorstep::new(&door, &stop, &|_| Extras::default(), Way::Beside);
        assert!(!doorstep.has_waited());
        let began = Instant::now();
        let patience = timeout(Duration::from_mins(5), doorstep.leave(PEER));
        assert!(matches!(patience.await, Ok(Leave::No)));
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(doorstep.has_waited());
        drop(first);
        assert!(matches!(doorstep.way(), Way::Beside), "it was no turn of its own");
    }

    #[tokio::test]
    async fn leave_comes_with_the_next_turn_unless_the_run_stops() {
        for stops in [false, true] {
            let (door, stop) = (Door::new(true), CancellationToken::new());
            let first = turn(&door);
            let doorstep = Doorstep::new(&door, &stop, &|_| Extras::default(), Way::Beside);
            let mut leave = doorstep.leave(PEER);
            assert!(!is_there(leave.as_mut()));
            if stops {
                stop.cancel();
            }
            drop(first);
            assert_eq!(matches!(leave.await, Leave::No), stops);
            assert_eq!(matches!(doorstep.way(), Way::First(_)), !stops);
            assert!(matches!(door.way_now(Beside::NotAtAll), Some(Way::First(_))), "nobody has the turn");
        }
    }
}
