//! The way to a session, for the workers of a run.
//!
//! While none of them is inside, they go one by one: a wrong password is tried once and not once a
//! worker, which locks accounts, and a server that lets nobody in costs a run the same time however
//! many workers it has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::shared::Shared;
use crate::remote::{Connection, Share};

/// What the workers of a run know of the way in.
#[derive(Debug)]
pub(super) struct Door {
    /// The run's share in the server's sessions.
    pub(super) share: Share,
    turn: Semaphore,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Sessions that are open.
    inside: u32,
    /// Failures in a row while nobody was inside.
    failures: u32,
}

impl Door {
    pub(super) fn new(share: Share) -> Self {
        Self { share, turn: Semaphore::new(1), notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each change is one number, so a panic elsewhere leaves them whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of this worker; `None` while somebody is inside, who has shown the way. Cancel
    /// safe.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if self.notes().inside > 0 {
            return None;
        }
        // The semaphore is never closed; were it, there would be nothing to wait for.
        let turn = self.turn.acquire().await.ok()?;
        (self.notes().inside == 0).then_some(turn)
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
