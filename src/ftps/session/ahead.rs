//! What a session does before its turn: a passive port is asked for together with other commands,
//! an upload is begun together with them, and the reply that ends a transfer is taken with those to
//! the next commands. Each saves a round trip; none changes what is asked or in which order.
//!
//! Seen to work on vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50 and pyftpdlib 2.2.0. What does not:
//! a port that is asked for before the last data connection has ended (ProFTPD and pyftpdlib then
//! answer `SIZE` with 0), and commands between `STOR` and the bytes (pyftpdlib hangs up).

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::transfer::{Agreed, open_tcp};
use super::{DataFacts, Owed, Session, State, Upload};
use crate::ftps::command::{Argument, Command};
use crate::ftps::error::{FtpsError, Step};
use crate::ftps::reply::{Reply, ReplyKind};
use crate::ftps::way::DataWay;

/// How long a port that was asked for in advance is good: servers stop listening some time (pyftpdlib
/// after 30 s), and firewalls forget the reply that they saw it in.
const RESERVATION_LASTS: Duration = Duration::from_secs(10);

/// What goes in one write with commands, for the sake of the next transfer.
#[derive(Clone, Copy, Debug)]
pub enum Along<'p> {
    /// Nothing.
    Nothing,
    /// A passive port is asked for.
    Port,
    /// A file is begun to be stored under this path, at the port that was asked for before.
    Store(&'p Argument),
}

/// A passive port that was asked for in advance.
#[derive(Debug)]
pub(super) struct Reserved {
    facts: DataFacts,
    since: Instant,
}

/// An upload whose `STOR` went along with other commands.
pub(super) struct Begun {
    path: Argument,
    opening: Opening,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A data connection that is being opened while other things are waited for.
struct Opening {
    tcp: Pin<Box<dyn Future<Output = Result<TcpStream, FtpsError>> + Send + Sync>>,
    done: Option<Result<TcpStream, FtpsError>>,
}

impl Opening {
    fn new(agreed: Agreed, limit: Duration) -> Self {
        Self { tcp: Box::pin(open_tcp(agreed, limit)), done: None }
    }

    /// Goes on with it for as long as this is waited for. Cancel safe.
    async fn go_on(&mut self) -> Infallible {
        if self.done.is_none() {
            self.done = Some((&mut self.tcp).await);
        }
        pending().await
    }

    /// What came of it.
    async fn end(self) -> Result<TcpStream, FtpsError> {
        match self.done {
            Some(done) => done,
            None => self.tcp.await,
        }
    }
}

impl Session {
    /// Whether data connections are opened by us.
    pub fn is_passive(&self) -> bool {
        matches!(self.data.way(), DataWay::Passive(_))
    }

    /// Whether the next transfer has its port already.
    pub fn has_port(&self) -> bool {
        self.reserved.as_ref().is_some_and(Reserved::is_good)
    }

    /// Whether an upload was begun along with other commands: it comes before anything else.
    pub fn is_storing(&self) -> bool {
        self.state == State::Storing
    }

    /// Whether the reply that ends the last transfer is still to come.
    pub fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// Sends commands in one write with what the next transfer needs, and takes the replies to the
    /// commands in order. A refusal is a reply like any other, but not that of the transfer before,
    /// whose end was not waited for: then it is the error, and the session goes on. Where nothing can go
    /// along, the commands go alone. Not cancel safe.
    pub async fn exchange_along(
        &mut self,
        commands: &[Command],
        along: Along<'_>,
        limit: Duration,
    ) -> Result<Vec<Reply>, FtpsError> {
        self.begin()?;
        self.take_owed_if_there().await?;
        let (follower, mut opening, path) = self.follower(along);
        let batch: Vec<Command> = commands.iter().cloned().chain(follower.clone()).collect();
        match self.owed {
            None => self.control.send(&batch, self.deadlines.reply).await?,
            Some(_) => self.control.send_behind(&batch, self.deadlines.reply).await?,
        }
        let owed = self.take_owed().await;
        let mut replies = Vec::with_capacity(commands.len());
        if let Some(error) = owed.as_ref().err().filter(|error| !matches!(error, FtpsError::Refused { .. })) {
            // The replies cannot be told apart any more.
            tracing::debug!(%error, "The end of a transfer was not told.");
            return owed.map(|()| replies);
        }
        for command in commands {
            let step = Step::Command(command.verb());
            replies.push(match &mut opening {
                None => self.control.final_reply(step, limit).await?,
                Some(opening) => tokio::select! {
                    biased;
                    reply = self.control.final_reply(step, limit) => reply?,
                    never = opening.go_on() => match never {},
                },
            });
        }
        if let (Some(opening), Some(path)) = (opening, path) {
            self.begun = Some(Begun { path, opening });
            self.state = State::Storing;
            return owed.map(|()| replies);
        }
        if let Some(command) = follower {
            let reply = self.control.final_reply(Step::Command(command.verb()), limit).await?;
            self.reserve(&reply)?;
        }
        match self.control.unasked() {
            None => self.state = State::Ready,
            // The answers hold; only the session has ended.
            Some(FtpsError::Closing { .. }) => {}
            // One reply too many: which of them belong to which command is not known.
            Some(error) => return Err(error),
        }
        owed.map(|()| replies)
    }

    /// What goes along in the end: its command, and the data connection for it.
    fn follower(&mut self, along: Along<'_>) -> (Option<Command>, Option<Opening>, Option<Argument>) {
        let passive = self.is_passive() && self.check_stock().is_ok();
        match along {
            Along::Store(path) if passive && self.owed.is_none() => match self.take_reserved() {
                Some(agreed) => {
                    let opening = Opening::new(agreed, self.deadlines.data_connect);
                    (Some(Command::Stor(path.clone())), Some(opening), Some(path.clone()))
                }
                None => (Some(self.data.passive_command()), None, None),
            },
            Along::Store(_) | Along::Port if passive && !self.has_port() => {
                (Some(self.data.passive_command()), None, None)
            }
            Along::Store(_) | Along::Port | Along::Nothing => (None, None, None),
        }
    }

    /// Keeps the port in a reply. One that is refused is asked for again once it is needed.
    pub(in crate::ftps) fn reserve(&mut self, reply: &Reply) -> Result<(), FtpsError> {
        let DataWay::Passive(way) = self.data.way() else { return Ok(()) };
        let follow = way.named;
        self.reserved =
            self.passive_port(reply, follow).map(|facts| Reserved { facts, since: Instant::now() });
        match (reply.kind(), &self.reserved) {
            (_, Some(_)) => self.data.passive_worked(),
            (ReplyKind::Transient, None) => {}
            (ReplyKind::Permanent, None) => self.data.passive_refused(),
            (ReplyKind::Preliminary | ReplyKind::Done | ReplyKind::Continue, None) => {
                let verb = self.data.passive_command().verb();
                return Err(FtpsError::Unexpected { verb, reply: reply.clone() });
            }
        }
        Ok(())
    }

    /// The port that was asked for in advance, if it is still good.
    pub(super) fn take_reserved(&mut self) -> Option<Agreed> {
        let Reserved { facts, .. } = self.reserved.take().filter(Reserved::is_good)?;
        self.last_data = Some(facts);
        Some(Agreed::To(facts.address, facts.verb))
    }

    /// Goes on with an upload that was begun along with other commands; `None` where none was, or of
    /// another file.
    pub(super) async fn go_on_storing(&mut self, path: &Argument) -> Option<Result<Upload<'_>, FtpsError>> {
        let Begun { opening, .. } = self.begun.take_if(|begun| begun.path == *path)?;
        self.state = State::Busy;
        Some(match self.open_reached(opening.end(), None, "STOR").await {
            Ok(data) => Ok(Upload { session: self, data }),
            Err(error) => Err(error),
        })
    }

    /// Takes the reply that ends the last transfer if it has begun to come: before anything else is
    /// sent, so that it is not taken for one that nobody asked for.
    async fn take_owed_if_there(&mut self) -> Result<(), FtpsError> {
        if self.owed.is_none() || !self.control.begins_to_answer().await? {
            return Ok(());
        }
        let owed = self.take_owed().await;
        if matches!(owed, Err(FtpsError::Refused { .. })) {
            self.state = State::Ready;
        }
        owed
    }

    /// Takes the reply that ends the last transfer, if it is still to come.
    pub(super) async fn take_owed(&mut self) -> Result<(), FtpsError> {
        let Some(owed) = self.owed.take() else { return Ok(()) };
        let reply = self.control.final_reply(Step::FinalReply, self.deadlines.final_reply).await?;
        match (reply.code(), reply.kind(), owed) {
            // The two of RFC 959 alone: another one of success is the answer to something else.
            (226 | 250, _, _) => Ok(()),
            (_, ReplyKind::Transient | ReplyKind::Permanent, Owed::Upload | Owed::Listing) => {
                Err(FtpsError::Refused { verb: owed.verb(), reply })
            }
            (_, ReplyKind::Transient | ReplyKind::Permanent, Owed::Download) => {
                tracing::debug!(%reply, "A transfer that came whole was refused at its end.");
                Ok(())
            }
            (_, ReplyKind::Preliminary | ReplyKind::Done | ReplyKind::Continue, _) => {
                Err(FtpsError::Unexpected { verb: owed.verb(), reply })
            }
        }
    }
}

impl Owed {
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Upload => "STOR",
            Self::Listing => "LIST",
            Self::Download => "RETR",
        }
    }
}

impl Reserved {
    fn is_good(&self) -> bool {
        self.since.elapsed() < RESERVATION_LASTS
    }
}
