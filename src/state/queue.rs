//! What the tasks hand to the writer: a bounded queue that can be closed from either side
//! without anybody waiting for ever.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::error::StateError;

/// Most requests that wait; more callers wait outside. Some times the number of sessions.
const QUEUE_LIMIT: usize = 1_024;

/// A queue from many tasks to one thread.
#[derive(Debug)]
pub(super) struct Queue<T> {
    room: Semaphore,
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    entrance: Entrance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    Open,
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let waiting = Mutex::new(Waiting { items: VecDeque::new(), entrance: Entrance::Open });
        Self { room: Semaphore::new(QUEUE_LIMIT), waiting, arrived: Condvar::new() }
    }

    /// Adds an item when there is room. Cancel safe: dropped before it returns, nothing is added.
    pub(super) async fn push(&self, item: T) -> Result<(), StateError> {
        let permit = self.room.acquire().await.map_err(|_| StateError::Closed)?;
        let mut waiting = self.lock();
        if waiting.entrance == Entrance::Closed {
            return Err(StateError::Closed);
        }
        permit.forget();
        waiting.items.push_back(item);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for an item; `None` when the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.items.pop_front() {
                self.room.add_permits(1);
                return Some(item);
            }
            if waiting.entrance == Entrance::Closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item, if one waits.
    pub(super) fn next(&self) -> Option<T> {
        let item = self.lock().items.pop_front()?;
        self.room.add_permits(1);
        Some(item)
    }

    /// Lets nothing more in. What waits can still be taken.
    pub(super) fn close(&self) {
        self.lock().entrance = Entrance::Closed;
        self.room.close();
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
