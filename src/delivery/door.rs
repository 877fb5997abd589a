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

use super::shared::Shared;
use crate::remote::{BeforeLogin, Connection, Extras, Leave, Share};

/// How long a connection waits for leave to log in: servers hang up some time after their greeting
/// (vsftpd 3.0.3 after a minute), and each that waits is one that another job might have.
const DOORSTEP_LASTS: Duration = Duration::from_secs(10);

/// What the workers of a run know of the way in.
#[derive(Debug)]
pub(super) struct Door {
    /// The run's share in the server's sessions.
    pub(super) share: Share,
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

/// What a worker does before it logs in.
pub(super) struct Doorstep<'d> {
    shared: &'d Shared,
    way: Mutex<Way<'d>>,
    waited: AtomicBool,
}

impl<'d> Doorstep<'d> {
    pub(super) fn new(shared: &'d Shared, way: Way<'d>) -> Self {
        Self { shared, way: Mutex::new(way), waited: AtomicBool::new(false) }
    }

    /// How it came to go on.
    pub(super) fn way(self) -> Way<'d> {
        self.way.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the login asks for. What is wrong with it is found by the one whose turn it is, which asks for no more than
    /// every session does.
    fn extras(&self, way: &Way<'_>, peer: SocketAddr) -> Extras {
        match way {
            Way::Open => self.shared.delivery.remote.extras(peer),
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
            let Ok(way) = timeout(DOORSTEP_LASTS, self.shared.door.way(Beside::NotAtAll)).await else {
                return Leave::No;
            };
            // A refused password stops the run before it is the next one's turn.
            if self.shared.stop.is_cancelled() {
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
    pub(super) fn new(share: Share, was_met: bool) -> Self {
        Self { share, was_met, notes: Mutex::default(), changed: Notify::new() }
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
        let mut notes = shared.door.notes();
        notes.inside += 1;
        notes.failures = 0;
        drop(notes);
        shared.door.changed.notify_waiters();
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
        let mut notes = self.0.door.notes();
        notes.inside = notes.inside.saturating_sub(1);
        drop(notes);
        self.0.door.changed.notify_waiters();
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
