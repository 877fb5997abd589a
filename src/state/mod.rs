//! The durable state: the ledger, which is the truth, and the manifest, which is its index.
//!
//! One thread writes. Tasks hand it records; it takes all that wait, writes them to the ledger
//! as one group, has them synced, applies them to the manifest, and only then tells the tasks.
//! So what is acknowledged outlasts a crash and a power cut (sled's own `flush` does not promise
//! that), and what the manifest knows is always in the ledger.
//!
//! Opening takes the folder's lock, checks the end of the ledger, cuts off what a crash left of
//! a write, and applies to the manifest what it lacks. A damaged manifest is rebuilt; a damaged
//! ledger is refused. Only the segments from which something may have to be replayed, and the
//! last one, are read then; [`verify_ledger`] reads everything.
//!
//! This module knows no network, no configuration and no plan. Only its `manifest` names sled.

mod error;
mod ledger;
mod lock;
mod manifest;
mod open;
mod queue;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub use self::error::{ManifestFault, StateError};
use self::ledger::{Draft, SEGMENT_BYTES};
pub use self::ledger::{LedgerId, LedgerSummary, TornTail};
pub use self::manifest::Manifest;
use self::manifest::StoreHandle;
pub use self::open::verify_ledger;
use self::open::{Parts, ledger_folder, open};
use self::queue::{Closing, Queue};
use self::storage::{Disk, Storage};
pub use self::writer::StartedRun;
use self::writer::{Request, Writer};
use crate::clock::Clock;
use crate::domain::{AgentId, AuditKind, JobName, Record, Target, TargetId};

/// The open state of an agent. Cheap to clone: all clones speak to the one writer.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

/// A state that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The state.
    pub state: State,
    /// What a person should know, in whole sentences.
    pub notices: Vec<String>,
}

struct Inner {
    agent: AgentId,
    queue: Arc<Queue<Request>>,
    running: Mutex<Option<Running>>,
}

/// What ends with the state.
struct Running {
    store: StoreHandle,
    writer: JoinHandle<Result<(), StateError>>,
    lock: lock::Lock,
}

impl State {
    /// Opens the state in a folder, which is made if it is missing. Blocks: after a crash up to
    /// a segment of the ledger is replayed, after the loss of the manifest all of it.
    ///
    /// Fails with [`StateError::Locked`] where another process has it open.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Opened, StateError> {
        let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
        Self::open_on(folder, clock, &disk, SEGMENT_BYTES)
    }

    /// Whether there is a ledger in a folder, or there may be one that cannot be seen.
    pub fn is_begun(folder: &Path) -> bool {
        ledger_folder(folder).try_exists().unwrap_or(true)
    }

    fn open_on(
        folder: &Path,
        clock: Arc<dyn Clock>,
        storage: &Arc<dyn Storage>,
        segment_bytes: u64,
    ) -> Result<Opened, StateError> {
        let Parts { lock, agent, ledger, store, notices } = open(folder, &*clock, storage, segment_bytes)?;
        let queue = Arc::new(Queue::new());
        let handle = store.handle();
        let writer = Writer { queue: queue.clone(), clock, ledger, store, runs: HashMap::new() };
        let writer = thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(StateError::folder(folder))?;
        let running = Mutex::new(Some(Running { store: handle, writer, lock }));
        Ok(Opened { state: Self { inner: Arc::new(Inner { agent, queue, running }) }, notices })
    }

    /// Who writes this ledger.
    pub fn agent(&self) -> AgentId {
        self.inner.agent
    }

    /// Begins a run of a job: draws its number and commits [`Record::RunStarted`].
    ///
    /// Cancel safety: a run that was begun stays begun when the future is dropped.
    pub async fn start_run(&self, job: &JobName, target: &Target) -> Result<StartedRun, StateError> {
        self.start(job, target, None).await
    }

    /// Begins a run that delivers nothing, as [`start_run`](Self::start_run) begins one that does.
    pub async fn start_audit(
        &self,
        job: &JobName,
        target: &Target,
        audit: AuditKind,
    ) -> Result<StartedRun, StateError> {
        self.start(job, target, Some(audit)).await
    }

    async fn start(
        &self,
        job: &JobName,
        target: &Target,
        audit: Option<AuditKind>,
    ) -> Result<StartedRun, StateError> {
        let (done, told) = oneshot::channel();
        let (job, target) = (job.clone(), target.clone());
        self.inner.queue.push(Request::Start { job, target, audit, done }).await?;
        told.await.unwrap_or(Err(StateError::Stopped))
    }

    /// Commits records of one target in their order. When it returns they are durable and the
    /// manifest has them. Many tasks may call it at once: what waits is committed together. A
    /// crash meanwhile may keep the first few of the records.
    ///
    /// After [`StateError::Io`] or [`StateError::Manifest`] nothing more is recorded until the
    /// state is opened anew; with [`StateError::Manifest`] the records are in the ledger.
    ///
    /// Cancel safety: dropping the future does not undo the records; they may come to be kept.
    pub async fn commit(&self, target: TargetId, records: Vec<Record>) -> Result<(), StateError> {
        let drafts = Draft::all(target, records)?;
        if drafts.is_empty() {
            return Ok(());
        }
        let (done, told) = oneshot::channel();
        self.inner.queue.push(Request::Commit { drafts, done }).await?;
        told.await.unwrap_or(Err(StateError::Stopped))
    }

    /// What is known of a target's files; of a target that never had a run, nothing. Blocks.
    pub fn manifest(&self, target: TargetId) -> Result<Manifest, StateError> {
        let store = self.inner.running().as_ref().map(|running| running.store.clone());
        store.ok_or(StateError::Closed)?.manifest(target)
    }

    /// Commits what waits, brings the manifest to the end of the ledger and lets go of the
    /// folder. Blocks. Other clones get [`StateError::Closed`] from then on. The last clone that
    /// is dropped does the same, without telling how it went.
    pub fn close(self) -> Result<(), StateError> {
        self.inner.close()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("agent", &self.inner.agent).finish_non_exhaustive()
    }
}

impl Inner {
    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> Result<(), StateError> {
        let Some(Running { store, writer, lock }) = self.running().take() else { return Ok(()) };
        self.queue.close(Closing::Asked);
        drop(store);
        let ended = writer.join().unwrap_or(Err(StateError::Stopped));
        drop(lock);
        ended
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.close());
    }
}
