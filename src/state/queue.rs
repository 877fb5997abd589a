//! What the tasks hand to the writer: a bounded queue that can be closed from either side
//! without anybody waiting for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// What comes from inside, which is let in always.
    inside: VecDeque<T>,
    entrance: Entrance,
    /// Nobody waits for what comes from inside.
    haste: bool,
}

#[derive(Clone, Copy, Debug)]
enum Entrance {
    Open,
    Closed(Closing),
}

/// Why nothing more is let in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Closing {
    /// The state was closed.
    Asked,
    /// The writer failed.
    Failed,
}

impl Closing {
    const fn error(self) -> StateError {
        match self {
            Self::Asked => StateError::Closed,
            Self::Failed => StateError::Stopped,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let waiting = Mutex::new(Waiting {
            items: VecDeque::new(),
            inside: VecDeque::new(),
            entrance: Entrance::Open,
            haste: false,
        });
        Self { room: Semaphore::new(QUEUE_LIMIT), waiting, arrived: Condvar::new() }
    }

    /// Adds an item when there is room. Cancel safe: dropped before it returns, nothing is added.
    pub(super) async fn push(&self, item: T) -> Result<(), StateError> {
        let permit = self.room.acquire().await;
        let mut waiting = self.lock();
        if let Entrance::Closed(why) = waiting.entrance {
            return Err(why.error());
        }
        permit.map_err(|_| StateError::Closed)?.forget();
        waiting.items.push_back(item);
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds an item from inside, before all others, whether the queue is closed or full: there must
    /// be few of them.
    pub(super) fn push_inside(&self, item: T) {
        self.lock().inside.push_back(item);
        self.arrived.notify_one();
    }

    /// The same, but not once the queue is closed: nobody may be there to take it.
    pub(super) fn push_inside_if_open(&self, item: T) -> Result<(), StateError> {
        let mut waiting = self.lock();
        if let Entrance::Closed(why) = waiting.entrance {
            return Err(why.error());
        }
        waiting.inside.push_back(item);
        self.arrived.notify_one();
        Ok(())
    }

    /// Ends the wait for items from inside, for good.
    pub(super) fn make_haste(&self) {
        self.lock().haste = true;
        self.arrived.notify_all();
    }

    /// Waits for an item from inside, so long at most, and not where haste was asked for.
    pub(super) fn wait_inside(&self, longest: Duration) -> Option<T> {
        let begun = Instant::now();
        let mut waiting = self.lock();
        loop {
            if waiting.haste {
                return None;
            }
            if let Some(item) = waiting.inside.pop_front() {
                return Some(item);
            }
            let left = longest.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
            waiting =
                self.arrived.wait_timeout(waiting, left).map_or_else(|e| e.into_inner().0, |told| told.0);
        }
    }

    /// Waits for an item; `None` when the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.inside.pop_front() {
                return Some(item);
            }
            if let Some(item) = waiting.items.pop_front() {
                self.room.add_permits(1);
                return Some(item);
            }
            if let Entrance::Closed(_) = waiting.entrance {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item, if one waits; none from inside.
    pub(super) fn next(&self) -> Option<T> {
        let item = self.lock().items.pop_front()?;
        self.room.add_permits(1);
        Some(item)
    }

    /// Lets nothing more in. What waits can still be taken.
    pub(super) fn close(&self, why: Closing) {
        let mut waiting = self.lock();
        if let Entrance::Open = waiting.entrance {
            waiting.entrance = Entrance::Closed(why);
        }
        drop(waiting);
        self.room.close();
        self.arrived.notify_all();
    }

    /// Whether nothing more is let in.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.lock().entrance, Entrance::Closed(_))
    }

    /// Closes the queue and drops what waits, when the thread that empties it ends, in whatever
    /// way: nobody must wait for it for ever.
    pub(super) fn close_on_exit(self: Arc<Self>) -> CloseOnExit<T> {
        CloseOnExit { queue: self }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes its queue when it is dropped.
pub(super) struct CloseOnExit<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Drop for CloseOnExit<T> {
    fn drop(&mut self) {
        self.queue.close(Closing::Failed);
        while self.queue.next().is_some() {}
        self.queue.lock().inside.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_is_gone() {
        let queue = Arc::new(Queue::new());
        let (done, told) = tokio::sync::oneshot::channel::<()>();
        queue.push(done).await.unwrap();
        for _ in 1..QUEUE_LIMIT {
            queue.push(tokio::sync::oneshot::channel().0).await.unwrap();
        }
        let late = tokio::sync::oneshot::channel().0;
        let blocked = queue.push(late);
        tokio::pin!(blocked);
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(blocked.as_mut().poll(cx))).await.is_pending()
        );
        drop(queue.clone().close_on_exit());
        assert!(told.await.is_err());
        assert!(matches!(blocked.await, Err(StateError::Stopped)));
        assert!(queue.wait().is_none());
    }
}
