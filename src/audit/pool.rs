//! Workers that look at files, each on a session of its own, under the server's limit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Receiver;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Audit;
use super::book::Outcome;
use super::failure::{AuditError, Then};
use crate::domain::{Event, FileProgress, RelPath};
use crate::remote::{AtOnce, Connection, FtpsError, Haste, Share, Trouble, Unopened};

/// Most attempts at one file in one run.
const MAX_ATTEMPTS: u32 = 3;

/// Most attempts at one file that do not count: each takes a new session, so that a server
/// which never lets one be used cannot keep a run busy for ever.
const MAX_UNCOUNTED_ATTEMPTS: u32 = 6;

/// Most attempts in a row to open a session, of one worker; and of all together, until one has a
/// session.
const MAX_CONNECT_ATTEMPTS: u32 = 4;

/// What is done with the files of a run.
pub(super) trait Examine: Send + Sync + 'static {
    /// A file to be looked at.
    type Item: Clone + Send + Sync + 'static;

    /// Most files that are looked at together.
    const BATCH_FILES: usize;

    /// Its path.
    fn path(item: &Self::Item) -> &RelPath;

    /// Looks at some files, and tells what came of each. An error concerns all of them; they are
    /// looked at again one by one. Dropped midway when the run stops.
    fn examine(
        &self,
        connection: &mut Connection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Outcome>, AuditError>> + Send;
}

/// What the workers of a run share.
pub(super) struct Pool<E: Examine> {
    audit: Audit,
    examine: E,
    stop: CancellationToken,
    /// The run's share in the server's sessions.
    share: Share,
    notes: Mutex<Notes<E::Item>>,
    /// One permit until a session was opened, then enough for all: a wrong password is tried
    /// once, and not once a worker, which locks accounts.
    door: Semaphore,
}

struct Notes<T> {
    /// Workers that have not left.
    workers: usize,
    /// Failures to open a session before one was opened, of all workers.
    turned_away: u32,
    /// Whether a session was opened.
    let_in: bool,
    /// Files that leaving workers gave back.
    returned: Vec<Vec<T>>,
}

impl<E: Examine> Pool<E> {
    pub(super) fn new(audit: Audit, examine: E, stop: CancellationToken) -> Self {
        let share = audit.remote.share();
        let workers = usize::from(audit.remote.sessions());
        let notes = Notes { workers, turned_away: 0, let_in: false, returned: Vec::new() };
        Self { audit, examine, stop, share, notes: Mutex::new(notes), door: Semaphore::new(1) }
    }

    /// How many workers there are to be: one for each session that the server is known to take.
    pub(super) fn workers(&self) -> usize {
        self.notes().workers
    }

    fn notes(&self) -> MutexGuard<'_, Notes<E::Item>> {
        // Each change is one call, so a panic elsewhere leaves them whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many files were given back and taken by nobody.
    pub(super) fn returned(&self) -> u64 {
        let files = self.notes().returned.iter().map(Vec::len).sum::<usize>();
        u64::try_from(files).unwrap_or(u64::MAX)
    }

    fn open_door(&self) {
        self.notes().let_in = true;
        self.door.add_permits(usize::from(self.audit.remote.server().connections.get()));
    }

    /// No session could be opened. Whether that has happened too often while nobody had one.
    fn is_shut(&self) -> bool {
        let mut notes = self.notes();
        if !notes.let_in {
            notes.turned_away += 1;
        }
        notes.turned_away >= MAX_CONNECT_ATTEMPTS
    }

    /// A worker wants to leave and give its files back. The last one must go on.
    fn leave(&self, items: Vec<E::Item>) -> Option<Vec<E::Item>> {
        let mut notes = self.notes();
        if notes.workers <= 1 {
            return Some(items);
        }
        notes.workers -= 1;
        notes.returned.push(items);
        None
    }

    /// Files that were given back, or leave to go: checked together, so that none is forgotten.
    fn returned_or_leave(&self) -> Option<Vec<E::Item>> {
        let mut notes = self.notes();
        let items = notes.returned.pop();
        if items.is_none() {
            notes.workers = notes.workers.saturating_sub(1);
        }
        items
    }
}

/// A worker's hold on its session.
pub(super) struct Worker<E: Examine> {
    pool: Arc<Pool<E>>,
    queue: Receiver<Vec<E::Item>>,
    outcomes: mpsc::Sender<Outcome>,
    connection: Option<Connection>,
    /// Failures to open a session, in a row.
    connect_failures: u32,
}

/// Why files have no outcome yet.
enum Unseen {
    /// The run stops.
    Stopped,
    /// Another worker can do it.
    Leave,
    /// It failed too often, or for good.
    GaveUp(AuditError),
}

/// Why there is no session.
enum NoSession {
    Stopped,
    /// The server takes no more than those of ours that are open.
    Full,
    Failed(FtpsError),
}

impl<E: Examine> Worker<E> {
    pub(super) fn new(
        pool: Arc<Pool<E>>,
        queue: Receiver<Vec<E::Item>>,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Self {
        Self { pool, queue, outcomes, connection: None, connect_failures: 0 }
    }

    /// Works until the queue has ended or the run stops.
    pub(super) async fn work(mut self) {
        while let Some(items) = self.next().await {
            if self.handle(items).await.is_break() {
                break;
            }
        }
        if let Some(connection) = self.connection.filter(|_| !self.pool.stop.is_cancelled()) {
            connection.quit().await;
        }
    }

    /// The next batch; `None` at the end of the queue or when the run stops. A session that another job
    /// waits for is given up first.
    async fn next(&mut self) -> Option<Vec<E::Item>> {
        loop {
            if let Some(connection) = self.connection.take_if(|open| open.permit().is_wanted_elsewhere()) {
                connection.quit().await;
            }
            let returned = self.pool.notes().returned.pop();
            if returned.is_some() {
                return returned;
            }
            let wanted_elsewhere = async {
                match &self.connection {
                    Some(connection) => connection.permit().wanted_elsewhere().await,
                    None => std::future::pending().await,
                }
            };
            let items = tokio::select! {
                biased;
                () = self.pool.stop.cancelled() => return None,
                items = self.queue.recv() => items.ok(),
                () = wanted_elsewhere => continue,
            };
            return items.or_else(|| self.pool.returned_or_leave());
        }
    }

    /// Sees a batch through: together, and what fails so, one by one. Breaks off where the worker
    /// is to leave.
    async fn handle(&mut self, items: Vec<E::Item>) -> std::ops::ControlFlow<()> {
        let mut waiting = VecDeque::from([items]);
        while let Some(mut items) = waiting.pop_front() {
            match self.see_through(&items).await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        self.tell(outcome).await;
                    }
                }
                Err(Unseen::GaveUp(_)) if items.len() > 1 => {
                    waiting.extend(items.into_iter().map(|item| vec![item]));
                }
                Err(Unseen::GaveUp(error)) => {
                    if error.then() == Then::Stop {
                        self.stop_run(&error).await;
                    }
                    for item in items {
                        let (path, failure) = (E::path(&item).clone(), error.failure());
                        self.tell(Outcome::Failed { path, failure }).await;
                    }
                }
                Err(unseen) => {
                    items.extend(waiting.drain(..).flatten());
                    if matches!(unseen, Unseen::Leave) {
                        match self.pool.leave(items) {
                            None => return std::ops::ControlFlow::Break(()),
                            Some(still_mine) => waiting.push_back(still_mine),
                        }
                    } else {
                        let files = u64::try_from(items.len()).unwrap_or(u64::MAX);
                        self.tell(Outcome::NotReached { files }).await;
                    }
                }
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Looks at some files, again where that may help.
    async fn see_through(&mut self, items: &[E::Item]) -> Result<Vec<Outcome>, Unseen> {
        let (mut attempt, mut uncounted) = (1, 0);
        loop {
            let pool = Arc::clone(&self.pool);
            let connection = match self.connection().await {
                Ok(connection) => connection,
                Err(NoSession::Stopped) => return Err(Unseen::Stopped),
                // The last worker waits until one of those has ended.
                Err(NoSession::Full) => return Err(Unseen::Leave),
                Err(NoSession::Failed(error)) => {
                    self.wait_at_the_door(error).await?;
                    continue;
                }
            };
            let examined = tokio::select! {
                biased;
                () = pool.stop.cancelled() => return Err(Unseen::Stopped),
                examined = pool.examine.examine(connection, items) => examined,
            };
            let error = match examined {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => error,
            };
            self.replace_session(&error);
            let again = match error.then() {
                Then::GiveUp | Then::Stop => false,
                Then::AgainUncounted => {
                    uncounted += 1;
                    items.len() == 1 && uncounted <= MAX_UNCOUNTED_ATTEMPTS
                }
                Then::Again | Then::AgainWithFewer => {
                    attempt += 1;
                    items.len() == 1 && attempt <= MAX_ATTEMPTS
                }
            };
            if !again {
                return Err(Unseen::GaveUp(error));
            }
            for item in items {
                let (path, failure) = (E::path(item).clone(), error.failure());
                let progress = FileProgress::Retrying { failure, attempt };
                self.pool.audit.sink.emit(Event::File { path, progress });
            }
            self.pause(attempt).await?;
        }
    }

    /// Lets a session go that cannot be used any more, and learns from it.
    fn replace_session(&mut self, error: &AuditError) {
        let usable = self.connection.as_ref().is_some_and(Connection::is_usable);
        if let AuditError::Server(FtpsError::SessionsUsedUp { renewal }) = error {
            if let Some(text) = self.pool.audit.remote.sessions_used_up(*renewal) {
                self.pool.audit.sink.emit(Event::Notice { text });
            }
            self.connection = None;
        } else if !usable || matches!(error.then(), Then::Again | Then::AgainWithFewer) {
            self.connection = None;
        }
    }

    /// The session, opened if there is none.
    async fn connection(&mut self) -> Result<&mut Connection, NoSession> {
        // Taken out, so that a failure leaves none behind.
        let connection = match self.connection.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn open(&mut self) -> Result<Connection, NoSession> {
        let pool = Arc::clone(&self.pool);
        let opened = async {
            // The semaphore is never closed; were it, there would be nothing to wait for.
            let leave = pool.door.acquire().await.map_err(|_| NoSession::Stopped)?;
            if pool.stop.is_cancelled() {
                return Err(NoSession::Stopped);
            }
            let permit = pool.share.permit(Haste::Waiting).await;
            let opened = pool.audit.remote.connect_with(permit, &AtOnce).await;
            match &opened {
                Ok(_) => pool.open_door(),
                // Before the next one is let in.
                Err(Unopened::Failed(error)) if stops(error) => pool.stop.cancel(),
                Err(Unopened::Full(_) | Unopened::Failed(_)) => {}
            }
            drop(leave);
            opened.map_err(|unopened| match unopened {
                Unopened::Full(_) => NoSession::Full,
                Unopened::Failed(error) => NoSession::Failed(error),
            })
        };
        let connection = tokio::select! {
            biased;
            opened = opened => opened?,
            () = pool.stop.cancelled() => return Err(NoSession::Stopped),
        };
        self.connect_failures = 0;
        let (server, facts) = (pool.audit.job.server.clone(), connection.facts().clone());
        pool.audit.sink.emit(Event::SessionOpened { server, facts });
        Ok(connection)
    }

    /// Decides what follows a session that could not be opened, and waits where that helps.
    async fn wait_at_the_door(&mut self, error: FtpsError) -> Result<(), Unseen> {
        self.connect_failures += 1;
        let shut = self.pool.is_shut();
        let error = AuditError::Server(error);
        let alone = self.pool.notes().workers <= 1;
        let enough = self.connect_failures >= MAX_CONNECT_ATTEMPTS;
        let stops = match error.then() {
            Then::Stop | Then::GiveUp => true,
            // A full server may have room for the last one.
            Then::AgainWithFewer if self.connect_failures == 1 && !alone => return Err(Unseen::Leave),
            Then::Again | Then::AgainUncounted | Then::AgainWithFewer if enough && !alone && !shut => {
                return Err(Unseen::Leave);
            }
            Then::Again | Then::AgainUncounted | Then::AgainWithFewer => shut || enough,
        };
        if stops {
            self.stop_run(&error).await;
            return Err(Unseen::Stopped);
        }
        self.pause(self.connect_failures + 1).await
    }

    /// Waits before another attempt.
    async fn pause(&self, attempt: u32) -> Result<(), Unseen> {
        let audit = &self.pool.audit;
        let delay = audit.backoff.delay(attempt, audit.clock.random());
        tokio::select! {
            () = self.pool.stop.cancelled() => Err(Unseen::Stopped),
            () = sleep(delay) => Ok(()),
        }
    }

    /// No more files are begun, because of this.
    async fn stop_run(&self, error: &AuditError) {
        self.pool.stop.cancel();
        self.tell(Outcome::Stop { failure: error.failure() }).await;
    }

    async fn tell(&self, outcome: Outcome) {
        // The books are kept until the last worker is done.
        let _run_ended = self.outcomes.send(outcome).await.is_err();
    }
}

/// Whether no other worker would fare better with it.
fn stops(error: &FtpsError) -> bool {
    matches!(error.trouble(), Trouble::Barred | Trouble::Trust)
}
