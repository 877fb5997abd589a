//! A worker: takes files off the queue and delivers them, one session at a time.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::attempt::{Broken, Left, deliver, settle};
use super::failure::{DeliveryError, ForFile, ForRun, ForSession, describe};
use super::names::check_name;
use super::settle::Settled;
use super::shared::{Outcome, Shared, Work, WorkKind};
use crate::domain::{
    Confirmed, EntryStatus, Event, Failure, FileProgress, Publishing, Record, RelPath, RemotePath,
};
use crate::remote::{Answer, Connection, FtpsError, Request, Trouble};
use crate::source::{SourceError, hash_file};

/// Most attempts at one file in one run; what fails then is for the next run.
const MAX_ATTEMPTS: u32 = 3;

/// Most attempts at one file that do not count: each takes a new session, so that a server
/// which never lets one be used cannot keep a run busy for ever.
const MAX_UNCOUNTED_ATTEMPTS: u32 = 6;

/// Most attempts in a row to open a session, over all files of a worker; and of all workers
/// together, until one has a session.
const MAX_CONNECT_ATTEMPTS: u32 = 4;

/// A worker's hold on its session.
pub(super) struct Worker {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// Failures to open a session, in a row.
    connect_failures: u32,
    /// Temporary files that could not be deleted yet.
    litter: Vec<RemotePath>,
    /// Where delivered files go whose source may be deleted or moved.
    retirements: Option<async_channel::Sender<RelPath>>,
}

/// What a worker does after a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Leave,
}

/// Why a file is not done.
enum Setback {
    /// The run stopped before a session could be opened.
    Stopped,
    /// No session could be opened.
    Connect { error: DeliveryError, intent: Option<Box<Publishing>> },
    /// An attempt failed.
    Attempt(Broken),
}

/// How often a file was tried.
#[derive(Debug)]
struct Tries {
    attempt: u32,
    uncounted: u32,
}

/// What follows a setback.
enum Verdict {
    Again {
        intent: Option<Box<Publishing>>,
    },
    GiveUp {
        error: DeliveryError,
    },
    /// The others can do it. The last one has to go on.
    HandBack,
    /// The others can do it. The last one has to stop the run.
    HandBackOrStop {
        error: DeliveryError,
    },
    NotReached,
}

/// Why there is no session.
pub(super) enum NoSession {
    Stopped,
    Failed(FtpsError),
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connection: None, connect_failures: 0, litter: Vec::new(), retirements: None }
    }

    /// The same, handing on files whose delivery is durable.
    pub(super) fn retiring(self, retirements: async_channel::Sender<RelPath>) -> Self {
        Self { retirements: Some(retirements), ..self }
    }

    /// Tells what became of a file, and hands it on if its delivery is durable.
    async fn done(&self, outcome: Outcome) {
        let delivered = match &outcome {
            Outcome::Delivered { path, .. } | Outcome::Confirmed { path } => Some(path.clone()),
            _ => None,
        };
        self.shared.tell(outcome).await;
        if let (Some(path), Some(retirements)) = (delivered, &self.retirements) {
            // It ends with the run: the next one goes on.
            let _run_ended = retirements.send(path).await.is_err();
        }
    }

    /// What it shares with the others.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until the queue has ended or the run stops.
    pub(super) async fn work(mut self, queue: async_channel::Receiver<Work>) {
        loop {
            let mut work = self.shared.returned();
            if work.is_none() {
                work = tokio::select! {
                    biased;
                    () = self.shared.stop.cancelled() => None,
                    work = queue.recv() => work.ok(),
                };
            }
            let Some(work) = work.or_else(|| self.shared.returned_or_leave()) else { break };
            self.shared.take_in_hand();
            let next = if self.shared.stop.is_cancelled() {
                self.shared.tell(Outcome::NotReached { files: 1 }).await;
                Next::GoOn
            } else {
                self.handle(work).await
            };
            self.shared.out_of_hand();
            if next == Next::Leave {
                break;
            }
        }
        self.end().await;
    }

    /// Closes the session, after a last try to clean up.
    pub(super) async fn end(mut self) {
        if let Some(connection) = &mut self.connection {
            delete_all(connection, &mut self.litter).await;
        }
        for temporary in self.litter {
            if let Some(folder) = temporary.folder() {
                self.shared.left_over(folder);
            }
        }
        if let Some(connection) = self.connection {
            connection.quit().await;
        }
    }

    async fn handle(&mut self, work: Work) -> Next {
        if matches!(work.kind, WorkKind::HashFirst) {
            match self.confirm(&work).await {
                Ok(Some(outcome)) => {
                    let partial = self.shared.forget_partial(&work.path);
                    self.litter.extend(partial.map(|partial| partial.temporary));
                    self.done(outcome).await;
                    return Next::GoOn;
                }
                Ok(None) => {}
                Err(error) => {
                    self.give_up(&work.path, error).await;
                    return Next::GoOn;
                }
            }
        }
        if let Err(error) = self.shared.delivery.remote.check_path(&self.shared.destination(&work.path)) {
            self.give_up(&work.path, error.into()).await;
            return Next::GoOn;
        }
        self.see_through(work).await
    }

    /// Reads a file, and records its new facts if it holds what was delivered.
    async fn confirm(&self, work: &Work) -> Result<Option<Outcome>, DeliveryError> {
        let Some(known) = &work.known else { return Ok(None) };
        let observed_at = self.shared.delivery.clock.now();
        let (root, path) = (self.shared.root.clone(), work.path.clone());
        let (sent, stat) = match spawn_blocking(move || hash_file(&root, &path)).await {
            Ok(Ok(read)) => read,
            // Sending it takes a second look.
            Ok(Err(SourceError::Changed { .. })) => return Ok(None),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(DeliveryError::Internal("the reader of a source file died")),
        };
        if (sent.size, sent.digest) != (known.size, known.digest) {
            return Ok(None);
        }
        match known.status {
            // A touch makes it no surer.
            EntryStatus::Presumed => return Ok(Some(Outcome::Presumed { path: work.path.clone() })),
            EntryStatus::Delivered
            | EntryStatus::Retired
            | EntryStatus::FoundMissing
            | EntryStatus::FoundChanged => {}
        }
        let confirmed = Confirmed { run: self.shared.run, path: work.path.clone(), stat, observed_at };
        self.shared.commit(Record::Confirmed(confirmed)).await?;
        Ok(Some(Outcome::Confirmed { path: work.path.clone() }))
    }

    /// Brings a file to an outcome, trying again where that may help.
    pub(super) async fn see_through(&mut self, work: Work) -> Next {
        let mut tries = Tries { attempt: 1, uncounted: 0 };
        let mut intent = match &work.kind {
            WorkKind::Settle(intent) => Some(intent.clone()),
            WorkKind::Send | WorkKind::HashFirst => None,
        };
        let mut work = work;
        loop {
            let setback = match self.try_once(&work, intent.take()).await {
                Ok(outcome) => {
                    self.done(outcome).await;
                    return Next::GoOn;
                }
                Err(setback) => setback,
            };
            match self.judge(&work.path, setback, &mut tries).await {
                Verdict::Again { intent: unsettled } => intent = unsettled,
                Verdict::GiveUp { error } => {
                    self.give_up(&work.path, error).await;
                    return Next::GoOn;
                }
                Verdict::HandBack => match self.shared.leave(work) {
                    None => return Next::Leave,
                    Some(still_mine) => work = still_mine,
                },
                Verdict::HandBackOrStop { error } => match self.shared.leave(work) {
                    None => return Next::Leave,
                    Some(still_mine) => {
                        self.stop_run(&error).await;
                        self.give_up(&still_mine.path, error).await;
                        return Next::GoOn;
                    }
                },
                Verdict::NotReached => {
                    self.shared.tell(Outcome::NotReached { files: 1 }).await;
                    return Next::GoOn;
                }
            }
        }
    }

    async fn try_once(&mut self, work: &Work, intent: Option<Box<Publishing>>) -> Result<Outcome, Setback> {
        let shared = Arc::clone(&self.shared);
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(NoSession::Stopped) => return Err(Setback::Stopped),
            Err(NoSession::Failed(error)) => {
                return Err(Setback::Connect { error: error.into(), intent });
            }
        };
        let path = work.path.clone();
        if let Some(intent) = intent {
            let settled = settle(&shared, connection, *intent, work.known.clone()).await;
            match (settled.map_err(Setback::Attempt)?, &work.kind) {
                (Settled::Delivered(_), WorkKind::Settle(_)) => {
                    shared.settled(path.clone());
                    return Ok(Outcome::Settled { path });
                }
                (Settled::Delivered(verified), WorkKind::Send | WorkKind::HashFirst) => {
                    return Ok(Outcome::Delivered { path, size: verified.size(), method: verified.method() });
                }
                // The plan tells of what is presumed, and decides about what came to nothing.
                (Settled::Presumed | Settled::Withdrawn | Settled::Stands, WorkKind::Settle(_)) => {
                    return Ok(Outcome::Withdrawn);
                }
                (Settled::Presumed, WorkKind::Send | WorkKind::HashFirst) => {
                    return Ok(Outcome::Presumed { path });
                }
                (Settled::Withdrawn | Settled::Stands, WorkKind::Send | WorkKind::HashFirst) => {}
            }
        }
        check_name(&shared, connection, work).await.map_err(Setback::Attempt)?;
        let verified = deliver(&shared, connection, work).await.map_err(Setback::Attempt)?;
        Ok(Outcome::Delivered { path, size: verified.size(), method: verified.method() })
    }

    /// The session, opened if there is none; what could not be deleted earlier is tried again.
    pub(super) async fn connection(&mut self) -> Result<&mut Connection, NoSession> {
        // Taken out, so that a failure leaves none behind.
        let connection = match self.connection.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn open(&mut self) -> Result<Connection, NoSession> {
        let shared = self.shared();
        let _leave = shared.at_the_door().await.ok_or(NoSession::Stopped)?;
        match shared.delivery.remote.connect().await {
            Ok(mut connection) => {
                shared.open_door();
                self.connect_failures = 0;
                let server = shared.delivery.job.server.clone();
                let facts = connection.facts().clone();
                shared.delivery.sink.emit(Event::SessionOpened { server, facts });
                delete_all(&mut connection, &mut self.litter).await;
                Ok(connection)
            }
            Err(error) => {
                self.connect_failures += 1;
                if matches!(error.trouble(), Trouble::Barred | Trouble::Trust) {
                    // Before the next one is let in.
                    shared.stop.cancel();
                }
                Err(NoSession::Failed(error))
            }
        }
    }

    /// No more files are begun, because of this.
    async fn stop_run(&self, error: &DeliveryError) {
        let failure = Failure::new(error.disposition().class, describe(error));
        self.shared.stop.cancel();
        self.shared.tell(Outcome::Stop { failure }).await;
    }

    /// Decides what follows a setback, and waits where that helps.
    async fn judge(&mut self, path: &RelPath, setback: Setback, tries: &mut Tries) -> Verdict {
        let (error, intent, connecting) = match setback {
            Setback::Stopped => return Verdict::NotReached,
            Setback::Connect { error, intent } => (error, intent, true),
            Setback::Attempt(Broken { error, left }) => (error, self.keep(left), false),
        };
        let disposition = error.disposition();
        if disposition.session == ForSession::Replace {
            self.connection = None;
        }
        if let DeliveryError::Server(server) = &error
            && let FtpsError::SessionsUsedUp { renewal } = server.as_ref()
            && let Some(text) = self.shared.delivery.remote.sessions_used_up(*renewal)
        {
            self.shared.delivery.sink.emit(Event::Notice { text });
        }
        self.clean_up().await;
        // A server that is full may have room for the last one.
        let turned_away = match (connecting, disposition.run) {
            (true, ForRun::GoOn) => self.shared.turned_away(),
            (_, _) => 0,
        };
        let again = match (connecting, disposition.run, disposition.file) {
            (_, ForRun::Stop, _) => {
                self.stop_run(&error).await;
                false
            }
            (true, ForRun::Shrink, _) if self.connect_failures == 1 && intent.is_none() => {
                return Verdict::HandBack;
            }
            (true, ..) if turned_away >= MAX_CONNECT_ATTEMPTS => {
                self.stop_run(&error).await;
                false
            }
            (true, ..) if self.connect_failures >= MAX_CONNECT_ATTEMPTS => {
                if intent.is_none() {
                    return Verdict::HandBackOrStop { error };
                }
                self.stop_run(&error).await;
                false
            }
            (true, ..) => self.pause(self.connect_failures + 1).await,
            (false, _, ForFile::GiveUp) => false,
            (false, _, ForFile::AgainUncounted) => {
                tries.uncounted += 1;
                let again = tries.uncounted <= MAX_UNCOUNTED_ATTEMPTS;
                if again && error.gives_a_part_up() {
                    self.tell_of_retry(path, &error, tries);
                }
                again
            }
            (false, _, ForFile::Again) => {
                tries.attempt += 1;
                let again = tries.attempt <= MAX_ATTEMPTS && !self.shared.stop.is_cancelled();
                if again {
                    self.tell_of_retry(path, &error, tries);
                }
                again && self.pause(tries.attempt).await
            }
        };
        if again {
            return Verdict::Again { intent };
        }
        if let Some(folder) = intent.and_then(|intent| intent.temporary.folder()) {
            self.shared.left_over(folder);
        }
        Verdict::GiveUp { error }
    }

    /// Tells those who watch that another attempt follows.
    fn tell_of_retry(&self, path: &RelPath, error: &DeliveryError, tries: &Tries) {
        let failure = Failure::new(error.disposition().class, describe(error));
        let attempt = tries.attempt.saturating_add(tries.uncounted);
        self.shared.emit(path, FileProgress::Retrying { failure, attempt });
    }

    /// Keeps in mind what an attempt left on the server.
    fn keep(&mut self, left: Left) -> Option<Box<Publishing>> {
        match left {
            Left::Nothing | Left::Partial => None,
            Left::Temporary(temporary) => {
                self.litter.push(temporary);
                None
            }
            Left::Intent(intent) => Some(intent),
        }
    }

    async fn clean_up(&mut self) {
        if let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_usable()) {
            delete_all(connection, &mut self.litter).await;
        }
    }

    /// Waits before another attempt; the answer is whether there shall be one.
    async fn pause(&self, attempt: u32) -> bool {
        let delay = self.shared.delivery.backoff.delay(attempt, self.shared.delivery.clock.random());
        tokio::select! {
            () = self.shared.stop.cancelled() => false,
            () = sleep(delay) => true,
        }
    }

    async fn give_up(&self, path: &RelPath, error: DeliveryError) {
        let outcome = match &error {
            DeliveryError::Source(SourceError::Gone { .. }) => {
                Outcome::Skipped { name: path.to_string(), reason: "gone before it could be read".to_owned() }
            }
            _ => Outcome::Failed {
                path: path.clone(),
                failure: Failure::new(error.disposition().class, describe(&error)),
            },
        };
        self.shared.tell(outcome).await;
    }
}

/// Deletes temporary files; those whose end is not known stay in the list.
async fn delete_all(connection: &mut Connection, litter: &mut Vec<RemotePath>) {
    while let Some(temporary) = litter.last() {
        let answer = connection.perform(&[Request::Delete(temporary.clone())], 0).await;
        match answer.as_deref() {
            Ok([Answer::Done | Answer::Absent(_)]) => {
                litter.pop();
            }
            Ok(_) | Err(_) => return,
        }
    }
}
