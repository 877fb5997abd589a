//! A worker: takes files off the backlog and delivers them, one session at a time.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::absence::is_gone;
use super::ahead::{Ahead, HeadStart, NextFile};
use super::attempt::{deliver, settle};
use super::backlog::{Hand, Next, Readiness};
use super::direct;
use super::door::{Beside, Doorstep, Inside, Place, Way};
use super::failure::DeliveryError;
use super::names::check_name;
use super::settle::Settled;
use super::shared::{Outcome, Shared, Work, WorkKind};
use super::sidecars::{Freshness, publish_owed};
use super::verdict::{Setback, Tries, Verdict};
use crate::domain::{
    Confirmed, EntryStatus, Event, Failure, PublishWay, Publishing, Record, RelPath, RemotePath, Verified,
};
use crate::plain::chain;
use crate::remote::{Answer, Connection, Haste, Permit, Request, Trouble, Unopened};
use crate::source::{SourceError, hash_file};

/// Most attempts in a row to open a session, of one worker; and of all together, while none has a
/// session.
const MAX_CONNECT_ATTEMPTS: u32 = 4;

/// A worker's hold on its session.
pub(super) struct Worker {
    shared: Arc<Shared>,
    session: Option<Inside>,
    /// While it has a session, or is about to, for the backlog's sake.
    place: Option<Place>,
    /// Temporary files that could not be deleted yet.
    litter: Vec<RemotePath>,
    /// The file that comes next.
    ahead: Ahead,
    /// Where delivered files go whose source may be deleted or moved.
    retirements: Option<async_channel::Sender<RelPath>>,
}

/// What came of a file in a worker's hand.
pub(super) enum Seen {
    /// It has an outcome.
    Through,
    /// Another worker has to do it: there is no session for this one.
    HandedBack(Work),
}

/// Whether a worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoOn {
    Yes,
    No,
}

/// Why there is no session.
pub(super) enum NoSession {
    /// The run stops.
    Stopped,
    /// No file waits any more.
    NotNeeded,
    /// It failed too often, while other workers have one.
    GaveUp(DeliveryError),
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    /// A file, or something else, in hand.
    InHand,
    /// Files that wait.
    Backlog,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let ahead = Ahead::default();
        Self { shared, session: None, place: None, litter: Vec::new(), ahead, retirements: None }
    }

    /// The same, handing on files whose delivery is durable.
    pub(super) fn retiring(self, retirements: async_channel::Sender<RelPath>) -> Self {
        Self { retirements: Some(retirements), ..self }
    }

    /// Tells what became of a file, and hands it on if its delivery is durable.
    async fn done(&self, outcome: Outcome) {
        if matches!(outcome, Outcome::Delivered { .. }) {
            self.shared.had_room();
        }
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

    /// Works until the backlog has ended or the run stops.
    pub(super) async fn work(mut self) {
        loop {
            if let Some(NextFile { work, start }) = self.taken_ahead() {
                match self.deliver(work, start).await {
                    GoOn::Yes => continue,
                    GoOn::No => break,
                }
            }
            let Some(next) = Box::pin(self.next()).await else { break };
            match next {
                Next::Read(work) => self.read(work).await,
                Next::Deliver(work) => match self.deliver(work, HeadStart::None).await {
                    GoOn::Yes => {}
                    GoOn::No => break,
                },
                Next::Open => {
                    self.place = Some(Place::new(&self.shared));
                    match self.open(Errand::Backlog).await {
                        Ok(session) => self.session = Some(session),
                        Err(NoSession::NotNeeded) => self.place = None,
                        Err(NoSession::Stopped | NoSession::GaveUp(_)) => break,
                    }
                }
                Next::Close => Box::pin(self.close()).await,
                Next::End => break,
            }
        }
        Box::pin(self.end()).await;
    }

    /// Gives its session up, after a last try to clean up.
    async fn close(&mut self) {
        self.clean_up().await;
        self.place = None;
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }

    /// Delivers a file in hand.
    async fn deliver(&mut self, work: Work, start: HeadStart) -> GoOn {
        let hand = Hand::of(&work);
        match self.see_through(work, start).await {
            Seen::Through => {
                self.shared.backlog.out_of_hand(hand);
                GoOn::Yes
            }
            Seen::HandedBack(work) => {
                self.shared.backlog.put_back(hand, work);
                GoOn::No
            }
        }
    }

    /// The file that comes next, if this session can still see to it; what is only open goes back where
    /// the run stops or another job waits for the session.
    fn taken_ahead(&mut self) -> Option<NextFile> {
        let next = self.ahead.take()?;
        let session = self.session.as_ref().filter(|session| session.connection.is_usable());
        let goes_on = session.is_some_and(|session| {
            let stops = || self.shared.stop.is_cancelled();
            next.start.is_begun() || !(stops() || session.connection.permit().is_wanted_elsewhere())
        });
        if goes_on {
            return Some(next);
        }
        self.give_back(next);
        None
    }

    /// Gives a file back that was taken ahead: another worker can have it, or this one again.
    fn give_back(&mut self, next: NextFile) {
        let NextFile { work, start } = next;
        self.litter.extend(start.into_temporary());
        self.shared.backlog.put_back(Hand::of(&work), work);
    }

    /// After a setback the next file may have to wait: it goes back unless the server has it already.
    fn release_ahead(&mut self) {
        let Some(next) = self.ahead.take() else { return };
        let usable = self.session.as_ref().is_some_and(|session| session.connection.is_usable());
        if usable && next.start.is_begun() { self.ahead.keep(next) } else { self.give_back(next) }
    }

    /// What to do next; `None` when the run stops. A session that another job waits for is given up
    /// first.
    async fn next(&mut self) -> Option<Next> {
        let shared = Arc::clone(&self.shared);
        loop {
            let session = self.session.take().filter(|session| session.connection.is_usable());
            let Some(session) = session else {
                self.place = None;
                return tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => None,
                    next = shared.backlog.next(Readiness::NoSession) => Some(next),
                };
            };
            let permit = session.connection.permit();
            if !permit.is_wanted_elsewhere() {
                let next = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => Some(None),
                    next = shared.backlog.next(Readiness::Session) => Some(Some(next)),
                    () = permit.wanted_elsewhere() => None,
                };
                if let Some(next) = next {
                    self.session = Some(session);
                    return next;
                }
            }
            self.place = None;
            session.quit().await;
        }
    }

    /// Closes the session, after a last try to clean up.
    pub(super) async fn end(mut self) {
        if let Some(next) = self.ahead.take() {
            self.give_back(next);
        }
        self.clean_up().await;
        for temporary in self.litter {
            if let Some(folder) = temporary.folder() {
                self.shared.left_over(folder);
            }
        }
        if let Some(session) = self.session {
            session.quit().await;
        }
    }

    /// Reads a file, and puts it back to be delivered if it is not what was delivered.
    async fn read(&mut self, work: Work) {
        let hand = Hand::of(&work);
        match self.confirm(&work).await {
            Ok(Some(outcome)) => {
                let partial = self.shared.forget_partial(&work.path);
                self.litter.extend(partial.map(|partial| partial.temporary));
                self.done(outcome).await;
            }
            Ok(None) => match self.shared.check_path(&work.path) {
                Ok(()) => return self.shared.backlog.put_back(hand, Work { kind: WorkKind::Send, ..work }),
                Err(error) => self.give_up(&work.path, error).await,
            },
            Err(error) => self.give_up(&work.path, error).await,
        }
        self.shared.backlog.out_of_hand(hand);
    }

    /// Reads a file, and records its new facts if it holds what was delivered, or is presumed to be.
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
        let confirmed = Confirmed { run: self.shared.run, path: work.path.clone(), stat, observed_at };
        self.shared.commit(Record::Confirmed(confirmed)).await?;
        let path = work.path.clone();
        Ok(Some(match known.status {
            // The same bytes; what a person said of them is no proof.
            EntryStatus::Attested => Outcome::Attested { path },
            // The same bytes: a person still has to settle what became of them.
            EntryStatus::Presumed => Outcome::Presumed { path },
            EntryStatus::Delivered
            | EntryStatus::Retired
            | EntryStatus::FoundMissing
            | EntryStatus::FoundChanged => Outcome::Confirmed { path },
        }))
    }

    /// Brings a file to an outcome, trying again where that may help.
    pub(super) async fn see_through(&mut self, work: Work, start: HeadStart) -> Seen {
        let mut start = Some(start);
        let mut tries = Tries::FIRST;
        let mut intent = match &work.kind {
            WorkKind::Settle(intent) => Some(intent.clone()),
            WorkKind::Send | WorkKind::HashFirst | WorkKind::Sidecars => None,
        };
        loop {
            if intent.is_none() && matches!(work.kind, WorkKind::Settle(_)) {
                // The intent came to nothing: the plan decides anew, and knows the file's twins.
                self.shared.tell(Outcome::Withdrawn).await;
                return Seen::Through;
            }
            let start = start.take().unwrap_or(HeadStart::None);
            let sends = intent.is_none() && matches!(work.kind, WorkKind::Send | WorkKind::HashFirst);
            if sends && !start.is_begun() && !self.shared.may_have_room_for(work.size) {
                self.litter.extend(start.into_temporary());
                self.shared.tell(Outcome::NotReached { files: 1 }).await;
                return Seen::Through;
            }
            let setback = match Box::pin(self.try_once(&work, intent.take(), start)).await {
                Ok(outcome) => {
                    self.done(outcome).await;
                    return Seen::Through;
                }
                Err(setback) => setback,
            };
            let verdict = self.judge(&work, setback, &mut tries).await;
            self.release_ahead();
            match verdict {
                Verdict::Again { intent: unsettled } => intent = unsettled,
                Verdict::GiveUp { error } => {
                    self.give_up(&work.path, error).await;
                    return Seen::Through;
                }
                Verdict::HandBack => return Seen::HandedBack(work),
                Verdict::NotReached => {
                    self.shared.tell(Outcome::NotReached { files: 1 }).await;
                    return Seen::Through;
                }
            }
        }
    }

    async fn try_once(
        &mut self,
        work: &Work,
        intent: Option<Box<Publishing>>,
        start: HeadStart,
    ) -> Result<Outcome, Setback> {
        let shared = Arc::clone(&self.shared);
        if let Err(why) = self.connection().await {
            self.litter.extend(start.into_temporary());
            return Err(Setback::NoSession { why, intent });
        }
        let Self { session: Some(Inside { connection, .. }), ahead, .. } = self else {
            return Err(Setback::Attempt(DeliveryError::Internal("a session was lost on the way").into()));
        };
        let path = work.path.clone();
        if let Some(intent) = intent {
            let settled = settle(&shared, connection, *intent, work.known.clone()).await;
            match (settled.map_err(Setback::Attempt)?, &work.kind) {
                // What it owes is seen to with that of other files.
                (Settled::Delivered(_), WorkKind::Settle(_) | WorkKind::Sidecars) => {
                    shared.settled(path.clone());
                    return Ok(Outcome::Settled { path });
                }
                (Settled::Delivered(verified), WorkKind::Send | WorkKind::HashFirst) => {
                    let outcome = delivered(path.clone(), verified, PublishWay::Rename);
                    return with_sidecars(&shared, connection, path, outcome).await;
                }
                // The plan tells of what is presumed, and decides about what came to nothing.
                (
                    Settled::Presumed | Settled::Withdrawn | Settled::Stands,
                    WorkKind::Settle(_) | WorkKind::Sidecars,
                ) => return Ok(Outcome::Withdrawn),
                (Settled::Presumed, WorkKind::Send | WorkKind::HashFirst) => {
                    return Ok(Outcome::Presumed { path });
                }
                (Settled::Withdrawn | Settled::Stands, WorkKind::Send | WorkKind::HashFirst) => {}
            }
        }
        if matches!(work.kind, WorkKind::Sidecars) || shared.owes(&path) {
            let published = publish_owed(&shared, connection, &path, Freshness::Earlier).await;
            published.map_err(Setback::Attempt)?;
            return Ok(shared.owes_no_more(&path).unwrap_or(Outcome::Withdrawn));
        }
        if !start.is_begun() {
            check_name(&shared, connection, work).await.map_err(Setback::Attempt)?;
        }
        // What was begun straight is ended so, also where the job says otherwise by now.
        let publish = shared.storing(&path).map_or(shared.delivery.job.publish, |_| PublishWay::Direct);
        let ended = match publish {
            PublishWay::Rename => {
                let delivered = deliver(&shared, connection, work, start, ahead).await;
                delivered.map(direct::Ended::Delivered)
            }
            PublishWay::Direct => direct::deliver(&shared, connection, work).await,
        };
        match ended.map_err(Setback::Attempt)? {
            direct::Ended::Delivered(verified) => {
                let outcome = delivered(path.clone(), verified, publish);
                with_sidecars(&shared, connection, path, outcome).await
            }
            direct::Ended::Presumed => Ok(Outcome::Presumed { path }),
        }
    }

    /// The session, opened if there is none; what could not be deleted earlier is tried again.
    pub(super) async fn connection(&mut self) -> Result<&mut Connection, NoSession> {
        // Taken out, so that a failure leaves none behind.
        let session = match self.session.take().filter(|session| session.connection.is_usable()) {
            Some(session) => session,
            None => self.open(Errand::InHand).await?,
        };
        Ok(&mut self.session.insert(session).connection)
    }

    /// Opens a session as soon as the server's limit and the other jobs allow it, trying again where
    /// that may help. Where no session helps any more, the run is stopped.
    async fn open(&mut self, errand: Errand) -> Result<Inside, NoSession> {
        let shared = self.shared();
        let (mut failures, mut beside) = (0, Beside::AsFarAsTheLogin);
        let extras = |peer| shared.delivery.remote.extras(peer);
        loop {
            let (way, permit) = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return Err(NoSession::Stopped),
                () = shared.backlog.none_to_deliver(), if errand == Errand::Backlog => {
                    return Err(NoSession::NotNeeded);
                }
                leave = leave(&shared, errand, beside) => leave,
            };
            let doorstep = Doorstep::new(&shared.door, &shared.stop, &extras, way);
            let opened = tokio::select! {
                biased;
                opened = shared.delivery.remote.connect_with(permit, &doorstep) => opened,
                () = shared.stop.cancelled() => return Err(NoSession::Stopped),
            };
            let way = doorstep.way();
            let error = match opened {
                Ok(connection) => return Ok(self.enter(connection).await),
                // The next permit comes when another session has ended.
                Err(Unopened::Full(_)) => continue,
                Err(Unopened::Failed(_)) if matches!(way, Way::Beside) => {
                    // It was no turn of ours. What is wrong is found by the one whose turn it is.
                    beside = Beside::NotAtAll;
                    continue;
                }
                Err(Unopened::Failed(error)) => error,
            };
            let first = matches!(way, Way::First(_));
            let barred = matches!(error.trouble(), Trouble::Barred | Trouble::Trust);
            failures += 1;
            let tried = if first { shared.door.turned_away() } else { failures };
            let error = DeliveryError::from(error);
            if barred || (first && tried >= MAX_CONNECT_ATTEMPTS) {
                // Before the next one is let in.
                self.stop_run(&error).await;
                return Err(NoSession::Stopped);
            }
            if tried >= MAX_CONNECT_ATTEMPTS {
                return Err(NoSession::GaveUp(error));
            }
            if !self.pause(tried + 1).await {
                return Err(NoSession::Stopped);
            }
            drop(way);
        }
    }

    async fn enter(&mut self, connection: Connection) -> Inside {
        let (server, facts) = (self.shared.delivery.job.server.clone(), connection.facts().clone());
        let mut session = Inside::new(connection, &self.shared);
        self.shared.delivery.sink.emit(Event::SessionOpened { server, facts });
        delete_all(&mut session.connection, &mut self.litter).await;
        session
    }

    /// Lets the session of a file in hand go without a word: another one will take its place.
    pub(super) fn lose_session(&mut self) {
        self.session = None;
    }

    /// No more files are begun, because of this.
    pub(super) async fn stop_run(&self, error: &DeliveryError) {
        let failure = Failure::new(error.disposition().class, chain(error));
        self.shared.stop.cancel();
        self.shared.tell(Outcome::Stop { failure }).await;
    }

    /// A temporary file is to be deleted.
    pub(super) fn dispose_of(&mut self, temporary: RemotePath) {
        self.litter.push(temporary);
    }

    pub(super) async fn clean_up(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|session| session.connection.is_usable()) {
            delete_all(&mut session.connection, &mut self.litter).await;
        }
    }

    async fn give_up(&self, path: &RelPath, error: DeliveryError) {
        self.shared.give_up(path, &error).await;
    }
}

/// The outcome of a file that was delivered just now, once its sidecars stand.
async fn with_sidecars(
    shared: &Arc<Shared>,
    connection: &mut Connection,
    path: RelPath,
    outcome: Outcome,
) -> Result<Outcome, Setback> {
    if shared.delivery.job.sidecars.is_empty() {
        return Ok(outcome);
    }
    shared.owe(path.clone(), outcome);
    let published = publish_owed(shared, connection, &path, Freshness::JustDelivered).await;
    published.map_err(Setback::Attempt)?;
    shared
        .owes_no_more(&path)
        .ok_or(DeliveryError::Internal("a file has no outcome"))
        .map_err(|error| Setback::Attempt(error.into()))
}

fn delivered(path: RelPath, verified: Verified, publish: PublishWay) -> Outcome {
    Outcome::Delivered { path, size: verified.size(), method: verified.method(), publish }
}

/// Leave to open a session: a permit, and a way in. Nobody waits for a permit whose turn it is, since
/// those who have them may wait for the turn.
async fn leave(shared: &Shared, errand: Errand, beside: Beside) -> (Way<'_>, Permit) {
    let haste = match errand {
        Errand::InHand => Haste::UnderWay,
        Errand::Backlog => Haste::Waiting,
    };
    loop {
        shared.door.some_way(beside).await;
        let permit = shared.share.permit(haste).await;
        if let Some(way) = shared.door.way_now(beside) {
            return (way, permit);
        }
    }
}

/// Deletes temporary files; those whose end is not known stay in the list.
async fn delete_all(connection: &mut Connection, litter: &mut Vec<RemotePath>) {
    let mut stay = Vec::new();
    while let Some(temporary) = litter.pop() {
        let answer = connection.perform(&[Request::Delete(temporary.clone())], 0).await;
        let gone = match answer.as_deref() {
            Ok([Answer::Done]) => true,
            // Servers say 550 as well where deleting is not allowed.
            Ok([Answer::Absent(_)]) => is_gone(connection, &temporary).await,
            Ok(_) | Err(_) => false,
        };
        if !gone {
            stay.push(temporary);
        }
        if !connection.is_usable() {
            break;
        }
    }
    litter.append(&mut stay);
}
