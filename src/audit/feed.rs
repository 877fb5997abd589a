//! What is to be looked at, handed over in batches by the blocking thread that finds it.

use async_channel::Sender;
use tokio::sync::mpsc;

use super::book::Outcome;

/// Files that are asked about in one write: two commands each, and a session takes in 32 replies
/// at once.
pub(super) const FILES_IN_A_WRITE: usize = 8;

/// Most bytes of a batch of several files: a server that hashes them all, or a network that
/// carries them all, still answers within the usual limits, and little is done twice when a
/// session is lost.
const MAX_BATCH_BYTES: u64 = 32 << 20;

/// Where the thread that reads manifest or source puts what it finds. Each call may block until
/// there is room.
pub(super) struct Feed<T> {
    queue: Sender<Vec<T>>,
    outcomes: mpsc::Sender<Outcome>,
    batch: Vec<T>,
    bytes: u64,
    not_reached: u64,
    most_files: usize,
}

impl<T> Feed<T> {
    pub(super) fn new(queue: Sender<Vec<T>>, outcomes: mpsc::Sender<Outcome>, most_files: usize) -> Self {
        Self { queue, outcomes, batch: Vec::new(), bytes: 0, not_reached: 0, most_files }
    }

    /// A file to be looked at.
    pub(super) fn put(&mut self, item: T, bytes: u64) {
        self.tell(Outcome::Planned { bytes });
        if self.batch.len() >= self.most_files || self.bytes.saturating_add(bytes) > MAX_BATCH_BYTES {
            self.hand_over();
        }
        self.batch.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Something that need not be looked at on the server.
    pub(super) fn tell(&self, outcome: Outcome) {
        // The books are kept until this thread is done.
        let _run_ended = self.outcomes.blocking_send(outcome).is_err();
    }

    /// Nobody takes files any more.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// All is known.
    pub(super) fn end(mut self) {
        self.hand_over();
        self.tell(Outcome::PlanComplete);
        if self.not_reached > 0 {
            self.tell(Outcome::NotReached { files: self.not_reached });
        }
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return;
        }
        if let Err(refused) = self.queue.send_blocking(batch) {
            self.not_reached += u64::try_from(refused.0.len()).unwrap_or(u64::MAX);
        }
    }
}
