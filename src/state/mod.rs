//! The durable state: the ledger, which is the truth, and the manifest, which is its index.
//!
//! One thread writes. Tasks hand it records; it takes all that wait, writes them to the ledger
//! as one group, has them synced, and only then tells the tasks. So what is acknowledged outlasts a
//! crash and a power cut (sled's own `flush` does not promise that). The manifest gets the records
//! some hundred at a time, and always before it is read: what it knows is in the ledger, and a
//! [`Manifest`] shows all that was acknowledged before it was asked for.
//!
//! Opening takes the folder's lock, checks the end of the ledger, cuts off what a crash left of
//! a write, and applies to the manifest what it lacks. A damaged manifest is rebuilt; a damaged
//! ledger is refused. Only the segments from which something may have to be replayed, and the
//! last one, are read then; [`verify_ledger`] reads everything.
//!
//! # Growth
//!
//! The ledger grows by a segment of 16 MiB at a time. A sealed segment is compressed (gzip, so
//! that `zcat` reads the audit trail without this program). Now and then the manifest's content is
//! written to a checkpoint, whose SHA-256 becomes a record: a lost manifest is rebuilt from the
//! newest one and the segments after it. All of that is done on a thread beside the writer, whose
//! commits do not wait for it: a checkpoint is of one moment, and what is overwritten while it is
//! made is kept for it in bounded memory. Segments older than the ledger is kept are taken away
//! whole, once a checkpoint stands for them, and a record says so. What all this takes is in the
//! README, and measured by `examples/growth.rs`.
//!
//! # When the disk is full or fails
//!
//! Nothing is acknowledged that could not be synced, a failed sync is never tried again as if the
//! data were still there, and nothing more is recorded. [`State::reopen`] closes and opens
//! everything anew, sled included, which stays broken after a full disk; it succeeds when there is
//! room again.
//!
//! This module knows no network, no configuration and no plan. Only its `manifest` names sled.

mod base;
mod checkpoint;
mod error;
mod halt;
mod keeper;
mod ledger;
mod lock;
mod manifest;
mod open;
mod queue;
mod storage;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::error::{Holder, ManifestFault, StateError};
pub use self::keeper::DEFAULT_RETAIN;
use self::keeper::Keeping;
use self::ledger::Draft;
pub use self::ledger::{LedgerId, LedgerSummary, TornTail};
pub use self::manifest::Manifest;
use self::manifest::{Log, StoreHandle};
use self::open::{Parts, ledger_folder, open};
use self::queue::{Closing, Queue};
use self::storage::{Disk, Storage};
pub use self::verify::{
    Backward, Further, LedgerLine, read_ledger, read_ledger_back, read_run, verify_ledger,
};
pub use self::writer::StartedRun;
use self::writer::{Ended, Lag, Request, Sealed, Unapplied, Writer};
use crate::clock::Clock;
use crate::domain::{AgentId, AuditKind, JobName, Record, ScheduleMark, Target, TargetId, Triggers};
use crate::plain::chain;

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
    place: Place,
    running: Mutex<Option<Running>>,
}

/// Where the state is and how it is kept: what opening it anew needs.
struct Place {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage>,
    keeping: Keeping,
}

/// What ends with the state.
struct Running {
    queue: Arc<Queue<Request>>,
    store: StoreHandle,
    lag: Lag,
    writer: JoinHandle<Result<Ended, StateError>>,
    lock: lock::Lock,
}

impl State {
    /// Opens the state in a folder, which is made if it is missing. Blocks: after a crash up to
    /// a segment of the ledger is replayed; after the loss of the manifest, the last checkpoint
    /// and what came after it. The ledger is kept for [`DEFAULT_RETAIN`].
    ///
    /// Fails with [`StateError::Locked`] where another process has it open.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Opened, StateError> {
        Self::open_keeping(folder, clock, DEFAULT_RETAIN)
    }

    /// The same, but the ledger is kept for that long at least: older segments are taken away.
    pub fn open_keeping(
        folder: &Path,
        clock: Arc<dyn Clock>,
        retain: Duration,
    ) -> Result<Opened, StateError> {
        let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
        Self::open_on(folder, clock, &disk, Keeping { retain, ..Keeping::default() })
    }

    /// Whether there is a ledger in a folder, or there may be one that cannot be seen.
    pub fn is_begun(folder: &Path) -> bool {
        ledger_folder(folder).try_exists().unwrap_or(true)
    }

    fn open_on(
        folder: &Path,
        clock: Arc<dyn Clock>,
        storage: &Arc<dyn Storage>,
        keeping: Keeping,
    ) -> Result<Opened, StateError> {
        let place = Place { folder: folder.to_owned(), clock, storage: storage.clone(), keeping };
        let (running, agent, notices) = place.open()?;
        let inner = Inner { agent, place, running: Mutex::new(Some(running)) };
        Ok(Opened { state: Self { inner: Arc::new(inner) }, notices })
    }

    /// Closes the state and opens it anew for all clones, after an error that stopped it: when
    /// there is room on the disk again, it goes on from what was acknowledged. What a person
    /// should know comes back, in whole sentences. Blocks, like [`State::open`]; no
    /// [`Manifest`] may be kept meanwhile.
    ///
    /// Where it fails, the state is closed, and this can be called again.
    pub fn reopen(&self) -> Result<Vec<String>, StateError> {
        let mut running = self.inner.running();
        if let Some(before) = running.take() {
            // How it failed was told to those who committed.
            drop(before.close(&self.inner.place.folder));
        }
        let (opened, _, notices) = self.inner.place.open()?;
        *running = Some(opened);
        Ok(notices)
    }

    /// Whether nothing is recorded until it is opened anew ([`State::reopen`]): a failure stopped it, or it was
    /// closed. Known by the time that anybody is told of the failure.
    pub fn is_stopped(&self) -> bool {
        self.inner.running().as_ref().is_none_or(|running| running.queue.is_closed())
    }

    /// Who writes this ledger.
    pub fn agent(&self) -> AgentId {
        self.inner.agent
    }

    /// Begins a run of a job: draws its number and commits [`Record::RunStarted`].
    ///
    /// Cancel safety: a run that was begun stays begun when the future is dropped.
    pub async fn start_run(&self, job: &JobName, target: &Target) -> Result<StartedRun, StateError> {
        self.start_run_for(job, target, Triggers::default()).await
    }

    /// The same, recording why.
    pub async fn start_run_for(
        &self,
        job: &JobName,
        target: &Target,
        triggers: Triggers,
    ) -> Result<StartedRun, StateError> {
        self.start(job, target, None, triggers).await
    }

    /// Begins a run that delivers nothing, as [`start_run`](Self::start_run) begins one that does.
    pub async fn start_audit(
        &self,
        job: &JobName,
        target: &Target,
        audit: AuditKind,
    ) -> Result<StartedRun, StateError> {
        self.start(job, target, Some(audit), Triggers::default()).await
    }

    async fn start(
        &self,
        job: &JobName,
        target: &Target,
        audit: Option<AuditKind>,
        triggers: Triggers,
    ) -> Result<StartedRun, StateError> {
        let (done, told) = oneshot::channel();
        let (job, target) = (job.clone(), target.clone());
        self.inner.queue()?.push(Request::Start { job, target, audit, triggers, done }).await?;
        told.await.unwrap_or(Err(StateError::Stopped))
    }

    /// Commits records of one target in their order. When it returns they are durable, and a manifest
    /// that is asked for has them. Many tasks may call it at once: what waits is committed together. A
    /// crash meanwhile may keep the first few of the records.
    ///
    /// After [`StateError::Io`] or [`StateError::Manifest`] nothing more is recorded until the
    /// state is opened anew ([`State::reopen`]); with [`StateError::Manifest`] the records are in
    /// the ledger.
    ///
    /// Cancel safety: dropping the future does not undo the records; they may come to be kept.
    pub async fn commit(&self, target: TargetId, records: Vec<Record>) -> Result<(), StateError> {
        self.commit_drafts(Draft::all(target, records)?).await
    }

    /// Commits records that belong to no target, of schedules, as [`commit`](Self::commit) does
    /// those of one.
    pub async fn commit_general(&self, records: Vec<Record>) -> Result<(), StateError> {
        let drafts = records.into_iter().map(|record| Draft::new(None, record));
        self.commit_drafts(drafts.collect::<Result<_, _>>()?).await
    }

    async fn commit_drafts(&self, drafts: Vec<Draft>) -> Result<(), StateError> {
        if drafts.is_empty() {
            return Ok(());
        }
        let (done, told) = oneshot::channel();
        self.inner.queue()?.push(Request::Commit { drafts, done }).await?;
        told.await.unwrap_or(Err(StateError::Stopped))
    }

    /// What is known of a target's files, from all that was acknowledged so far; of a target that never had
    /// a run, nothing. Blocks.
    pub fn manifest(&self, target: TargetId) -> Result<Manifest, StateError> {
        self.inner.made_up()?.manifest(target)
    }

    /// Up to where a job's schedule is dealt with. `None` where it never had one. Blocks.
    pub fn schedule_mark(&self, job: &JobName) -> Result<Option<ScheduleMark>, StateError> {
        self.inner.made_up()?.schedule_mark(job)
    }

    /// By this a close that is under way, or still to come, can be hurried.
    pub fn haste(&self) -> Haste {
        Haste(self.inner.queue().ok())
    }

    /// Commits what waits, brings the manifest to the end of the ledger and lets go of the
    /// folder. Blocks. Other clones get [`StateError::Closed`] from then on. The last clone that
    /// is dropped does the same, without telling how it went.
    ///
    /// Waits for the compression or checkpoint that is under way, a minute at most, or until
    /// [`Haste::make`] is called.
    pub fn close(self) -> Result<(), StateError> {
        self.close_telling().map(drop)
    }

    /// The same, and tells what a person should know, in whole sentences: what could not be done to
    /// keep the ledger's folder in order. Nothing is lost by that.
    pub fn close_telling(self) -> Result<Vec<String>, StateError> {
        let unkept = self.inner.close()?;
        Ok(unkept.map(|error| unkept_notice(&error)).into_iter().collect())
    }
}

/// Hurries the close of a state.
#[derive(Debug)]
pub struct Haste(Option<Arc<Queue<Request>>>);

impl Haste {
    /// The close breaks off the compression or checkpoint that is under way: it is done when the state is
    /// next opened.
    pub fn make(&self) {
        self.0.iter().for_each(|queue| queue.make_haste());
    }
}

fn unkept_notice(error: &StateError) -> String {
    format!(
        "The ledger's folder could not be put in order ({}). Nothing is lost by that, and it is tried \
         again.",
        chain(error)
    )
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("agent", &self.inner.agent).finish_non_exhaustive()
    }
}

impl Place {
    fn open(&self) -> Result<(Running, AgentId, Vec<String>), StateError> {
        let Parts { lock, agent, ledger, store, keeper, notices } =
            open(&self.folder, &*self.clock, &self.storage, self.keeping)?;
        let queue = Arc::new(Queue::new());
        let handle = store.handle();
        let (clock, runs) = (self.clock.clone(), HashMap::new());
        let (sealed, passing, unapplied) = (Sealed::Nothing, None, Unapplied::default());
        let lag = unapplied.lag();
        let queue_of_writer = queue.clone();
        let writer =
            Writer { queue: queue_of_writer, clock, ledger, store, unapplied, keeper, sealed, passing, runs };
        let writer = thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(StateError::folder(&self.folder))?;
        Ok((Running { queue, store: handle, lag, writer, lock }, agent, notices))
    }
}

impl Running {
    /// Waits for the writer, and lets go of the manifest and the folder.
    fn close(self, folder: &Path) -> Result<Option<StateError>, StateError> {
        let Self { queue, store, lag: _, writer, lock } = self;
        queue.close(Closing::Asked);
        drop(store);
        let ended = writer.join().unwrap_or(Err(StateError::Stopped));
        if let Ok(Ended { log: Log::Long, .. }) = &ended {
            manifest::wind_up(folder);
        }
        drop(lock);
        ended.map(|ended| ended.unkept)
    }
}

impl Inner {
    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> Result<Arc<Queue<Request>>, StateError> {
        self.running().as_ref().map(|running| running.queue.clone()).ok_or(StateError::Closed)
    }

    /// The manifest, once it has all that was acknowledged.
    fn made_up(&self) -> Result<StoreHandle, StateError> {
        let (store, lag, queue) = match self.running().as_ref() {
            Some(running) => (running.store.clone(), running.lag.clone(), running.queue.clone()),
            None => return Err(StateError::Closed),
        };
        lag.make_up(&queue)?;
        Ok(store)
    }

    #[cfg(test)]
    fn lag(&self) -> Option<Lag> {
        self.running().as_ref().map(|running| running.lag.clone())
    }

    fn close(&self) -> Result<Option<StateError>, StateError> {
        let running = self.running().take();
        running.map_or(Ok(None), |running| running.close(&self.place.folder))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.close());
    }
}
