//! Data connections of a session: asked for, opened beside a command, and ended in order.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Owed, Session, State};
use crate::ftps::active::Listener;
use crate::ftps::command::Command;
use crate::ftps::connect::no_answer;
use crate::ftps::data::{DataConnection, DataEnd};
use crate::ftps::error::{FtpsError, Renewal, Step, Uncalled};
use crate::ftps::limits::{EXCUSE_PATIENCE, MAX_PASSIVE_ATTEMPTS, PASSIVE_RETRY_DELAY};
use crate::ftps::passive::{epsv_port, pasv_address};
use crate::ftps::reply::{Reply, ReplyKind};
use crate::ftps::tls::{Stock, TlsError};
use crate::ftps::way::{ActiveWay, DataWay, NamedAddress, PassiveVerb, can_be_followed};

/// What is known of the data connection that was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFacts {
    /// Where it leads: to the control connection's peer, or the address that the server named where
    /// that is followed, and the port that the server named. In active mode: what the server was
    /// told to connect to.
    pub address: SocketAddr,
    /// How it was asked for: `EPSV` or `PASV`, or `EPRT` or `PORT` in active mode.
    pub verb: &'static str,
    /// The address in the server's reply to `PASV` where it is not the control connection's peer and
    /// was not followed: NAT stands in between, or something worse.
    pub ignored: Option<IpAddr>,
    /// How its TLS began.
    pub handshake: DataHandshake,
}

/// How the TLS of a data connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataHandshake {
    /// It did not.
    None,
    /// It showed the control connection's certificate.
    Full,
    /// It resumed a session of the control connection.
    Resumed,
}

/// How a session's data connections are asked for, and what has turned out about that.
#[derive(Debug)]
pub(in crate::ftps) struct DataPlan {
    way: DataWay,
    /// Our end of the control connection.
    local: SocketAddr,
    passive: PassiveVerb,
    /// What the server took in place of what it refused for good.
    learned: Option<PassiveVerb>,
    /// What was refused for good when it was asked for in advance.
    refused: Option<PassiveVerb>,
    active: ActiveVerb,
}

/// How a server is told an active port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActiveVerb {
    Eprt,
    /// The server knows no `EPRT`.
    Port,
}

impl DataPlan {
    /// Who opens data connections.
    pub(super) fn way(&self) -> &DataWay {
        &self.way
    }

    /// What asks for passive ports was refused for good, in advance: the other one is tried next, once.
    pub(super) fn passive_refused(&mut self) {
        if self.refused.is_none() {
            self.refused = Some(self.passive);
            self.passive = other(self.passive);
        }
    }

    /// A port was named in answer to what asks for one.
    pub(super) fn passive_worked(&mut self) {
        if self.refused.is_some_and(|refused| refused != self.passive) {
            self.learned = Some(self.passive);
        }
    }

    /// What asks for a passive port.
    pub(in crate::ftps) fn passive_command(&self) -> Command {
        match self.passive {
            PassiveVerb::Epsv => Command::Epsv,
            PassiveVerb::Pasv => Command::Pasv,
        }
    }

    pub(in crate::ftps) fn new(way: DataWay, local: SocketAddr) -> Self {
        let passive = match &way {
            DataWay::Passive(way) => way.first,
            DataWay::Active(_) => PassiveVerb::default(),
        };
        Self { way, local, passive, learned: None, refused: None, active: ActiveVerb::Eprt }
    }
}

/// Where a data connection comes from, as agreed with the server.
pub(super) enum Agreed {
    /// We open it, at a port that the server named in answer to this.
    To(SocketAddr, &'static str),
    /// The server opens it.
    From(Listener),
}

/// Whether the server has said that a transfer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Awaited,
    Said,
}

/// What comes first behind a command that transfers.
enum First {
    Reply(Reply),
    Data(Box<Result<DataConnection, FtpsError>>),
}

impl Session {
    /// What names passive ports here, where the other command was refused for good.
    pub fn passive_verb(&self) -> Option<PassiveVerb> {
        self.data.learned
    }

    /// Opens a data connection for a command: the way, the command, then its reply and the
    /// connection with its handshake side by side. File bytes may go once both are there.
    pub(super) async fn open_data(&mut self, command: Command) -> Result<DataConnection, FtpsError> {
        self.open_data_from(command, None).await
    }

    /// The same for a transfer that begins at a byte. Where it fails once the server has taken the
    /// offset, the session is abandoned.
    pub(super) async fn open_data_from(
        &mut self,
        command: Command,
        offset: Option<u64>,
    ) -> Result<DataConnection, FtpsError> {
        self.check_stock()?;
        let agreed = match (self.take_reserved(), self.data.way.clone()) {
            (Some(agreed), _) => agreed,
            (None, DataWay::Passive(way)) => {
                let address = self.passive_address(way.named).await?;
                Agreed::To(address, self.last_data.map_or("PASV", |facts| facts.verb))
            }
            (None, DataWay::Active(way)) => Agreed::From(self.active_port(&way).await?),
        };
        let Some(offset) = offset else { return self.open_agreed(agreed, command).await };
        self.restart_at(offset).await?;
        let opened = self.open_agreed(agreed, command).await;
        if opened.is_err() {
            // The server may keep the offset, for whatever is stored next (RFC 3659, section 5.3).
            self.abandon();
        }
        opened
    }

    /// Sends the command that transfers, and opens its data connection as agreed.
    async fn open_agreed(&mut self, agreed: Agreed, command: Command) -> Result<DataConnection, FtpsError> {
        self.begin()?;
        let verb = command.verb();
        self.control.send(&[command], self.deadlines.reply).await?;
        let stranger = match &agreed {
            Agreed::From(listener) => Some(listener.stranger()),
            Agreed::To(..) => None,
        };
        let tcp = open_tcp(agreed, self.deadlines.data_connect);
        self.open_reached(tcp, stranger, verb).await
    }

    /// Opens the data connection of a command that was sent, over `tcp`. In active mode `stranger`
    /// knows who else has called.
    pub(super) async fn open_reached(
        &mut self,
        tcp: impl Future<Output = Result<TcpStream, FtpsError>>,
        stranger: Option<Arc<OnceLock<IpAddr>>>,
        verb: &'static str,
    ) -> Result<DataConnection, FtpsError> {
        let (tcp, start) = self.reach(tcp, stranger, verb).await?;
        let data = self.secure(tcp, start, verb).await?;
        let handshake = if data.is_resumed() { DataHandshake::Resumed } else { DataHandshake::Full };
        self.last_data = self.last_data.map(|facts| DataFacts { handshake, ..facts });
        Ok(data)
    }

    /// Says where the next transfer begins: directly before it (RFC 3659, section 5.3).
    async fn restart_at(&mut self, offset: u64) -> Result<(), FtpsError> {
        let command = Command::Rest(offset);
        let verb = command.verb();
        let reply = self.ask(command).await?;
        match (reply.code(), reply.kind()) {
            (350, _) => Ok(()),
            (_, ReplyKind::Transient | ReplyKind::Permanent) => Err(FtpsError::Refused { verb, reply }),
            (_, ReplyKind::Preliminary | ReplyKind::Done | ReplyKind::Continue) => {
                self.abandon();
                Err(FtpsError::Unexpected { verb, reply })
            }
        }
    }

    /// Gets the TCP connection, whoever opens it, and listens to what the server says meanwhile: some
    /// say that a transfer begins only when it is there, some before, and some that it cannot be had.
    async fn reach(
        &mut self,
        tcp: impl Future<Output = Result<TcpStream, FtpsError>>,
        stranger: Option<Arc<OnceLock<IpAddr>>>,
        verb: &'static str,
    ) -> Result<(TcpStream, Start), FtpsError> {
        // The connection ends the wait: it has a limit of its own.
        let patience = self.deadlines.reply.saturating_add(self.deadlines.data_connect);
        tokio::pin!(tcp);
        let mut start = Start::Awaited;
        loop {
            let reply = tokio::select! {
                biased;
                reply = self.control.reply(Step::Command(verb), patience) => reply?,
                tcp = &mut tcp => match tcp {
                    Ok(tcp) => return Ok((tcp, start)),
                    Err(error) => return self.explain(error, verb).await,
                },
            };
            if start == Start::Said && reply.kind() == ReplyKind::Preliminary {
                return Err(FtpsError::Unexpected { verb, reply });
            }
            if let Err(error) = self.check_started(verb, reply) {
                // Where the connection has been made meanwhile, it has another reason than the port.
                let is_made = tokio::select! {
                    biased;
                    tcp = &mut tcp => tcp.is_ok(),
                    () = std::future::ready(()) => false,
                };
                let stranger = stranger.as_ref().and_then(|who| who.get()).copied();
                return Err(if is_made { error } else { self.unreached(error, stranger) });
            }
            start = Start::Said;
        }
    }

    /// Makes the handshake and, where it has not come yet, waits for the word that a transfer begins.
    async fn secure(
        &mut self,
        tcp: TcpStream,
        start: Start,
        verb: &'static str,
    ) -> Result<DataConnection, FtpsError> {
        let limit = self.deadlines.reply;
        let open = DataConnection::over(tcp, self.identity.clone(), self.deadlines.handshake);
        tokio::pin!(open);
        let data = match start {
            Start::Said => open.await,
            Start::Awaited => {
                let first = tokio::select! {
                    biased;
                    reply = self.control.reply(Step::Command(verb), limit) => First::Reply(reply?),
                    data = &mut open => First::Data(Box::new(data)),
                };
                match first {
                    First::Reply(reply) => {
                        self.check_started(verb, reply)?;
                        open.await
                    }
                    First::Data(data) => {
                        if data.is_ok() {
                            let reply = self.control.reply(Step::Command(verb), limit).await?;
                            self.check_started(verb, reply)?;
                        }
                        *data
                    }
                }
            }
        };
        match data {
            Ok(data) => Ok(data),
            Err(error) => self.explain(error, verb).await,
        }
    }

    /// A refusal that came before there was a connection, in terms of that where it is about it: the
    /// port is what a person has to look at.
    fn unreached(&self, error: FtpsError, stranger: Option<IpAddr>) -> FtpsError {
        match (error, self.last_data) {
            (FtpsError::Refused { reply, .. }, Some(facts)) if reply.code() == NO_DATA_CONNECTION => {
                let DataFacts { address, verb, .. } = facts;
                match self.data.way {
                    DataWay::Passive(_) => FtpsError::DataConnect {
                        verb,
                        address,
                        source: io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("the server gave up waiting ({reply})"),
                        ),
                    },
                    DataWay::Active(_) => {
                        let said = Uncalled::Refused(reply);
                        let why = stranger.map_or(said, |who| Uncalled::Stranger { who });
                        FtpsError::NotCalled { announced: address, why }
                    }
                }
            }
            (error, _) => error,
        }
    }

    /// Whether a transfer has started. Where it is refused the session goes on.
    fn check_started(&mut self, verb: &'static str, reply: Reply) -> Result<(), FtpsError> {
        match reply.kind() {
            ReplyKind::Preliminary => Ok(()),
            ReplyKind::Transient | ReplyKind::Permanent => {
                self.state = State::Ready;
                Err(FtpsError::Refused { verb, reply })
            }
            ReplyKind::Done | ReplyKind::Continue => Err(FtpsError::Unexpected { verb, reply }),
        }
    }

    /// A data connection failed: the server may say why. The session stays usable only when it
    /// does.
    pub(super) async fn explain<T>(&mut self, error: FtpsError, verb: &'static str) -> Result<T, FtpsError> {
        // What we have refused, we know better.
        let ours = matches!(
            error,
            FtpsError::OtherPeer
                | FtpsError::DataTls(
                    TlsError::Certificate(_)
                        | TlsError::Unreadable { .. }
                        | TlsError::NothingInCommon { alert: None, .. }
                        | TlsError::NotTls
                        | TlsError::OtherProtocol
                )
        );
        if ours {
            return Err(error);
        }
        let unreached = matches!(error, FtpsError::DataConnect { .. } | FtpsError::NotCalled { .. });
        let whole = self.deadlines.data_connect;
        let patience = if unreached { whole.min(EXCUSE_PATIENCE) } else { whole };
        match self.control.final_reply(Step::FinalReply, patience).await {
            Ok(reply) if matches!(reply.kind(), ReplyKind::Transient | ReplyKind::Permanent) => {
                self.state = State::Ready;
                // It knows no more than we do, and not the port.
                let says_no_more = unreached && reply.code() == NO_DATA_CONNECTION;
                Err(if says_no_more { error } else { FtpsError::Refused { verb, reply } })
            }
            Err(closing @ FtpsError::Closing { .. }) if !unreached => Err(closing),
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// TLS 1.3 tickets serve once. A data connection without one would be refused by a server
    /// that requires resumption, after it has cut the file; so it is not even tried.
    pub(super) fn check_stock(&self) -> Result<(), FtpsError> {
        match self.jar.stock() {
            Stock::Filled | Stock::NeverFilled => Ok(()),
            Stock::UsedUp => {
                let renewed = self.jar.tickets_seen() > self.tickets_at_login;
                Err(FtpsError::SessionsUsedUp {
                    renewal: if renewed { Renewal::Seen } else { Renewal::Never },
                })
            }
        }
    }

    /// Asks for a passive port. The address is the control connection's peer, unless the server's word
    /// for it is to be followed.
    async fn passive_address(&mut self, named: NamedAddress) -> Result<SocketAddr, FtpsError> {
        let first = self.data.passive;
        let mut attempt = 1;
        loop {
            let passive = self.data.passive;
            let command = self.data.passive_command();
            let verb = command.verb();
            let reply = self.ask(command).await?;
            match (self.passive_port(&reply, named), reply.kind()) {
                (Some(facts), _) => {
                    self.last_data = Some(facts);
                    self.data.passive_worked();
                    if passive != first {
                        self.data.learned = Some(passive);
                    }
                    return Ok(facts.address);
                }
                (None, ReplyKind::Transient) if attempt < MAX_PASSIVE_ATTEMPTS => {
                    attempt += 1;
                    sleep(PASSIVE_RETRY_DELAY).await;
                }
                (None, ReplyKind::Permanent) if passive == first => {
                    self.data.passive = other(passive);
                }
                (None, ReplyKind::Transient | ReplyKind::Permanent) => {
                    self.data.passive = first;
                    return Err(FtpsError::Refused { verb, reply });
                }
                (None, _) => return Err(FtpsError::Unexpected { verb, reply }),
            }
        }
    }

    /// The port in the reply to what asks for one.
    pub(super) fn passive_port(&self, reply: &Reply, named: NamedAddress) -> Option<DataFacts> {
        let peer = self.info.peer.ip();
        let verb = self.data.passive_command().verb();
        let (address, ignored) = match self.data.passive {
            PassiveVerb::Epsv => (SocketAddr::new(peer, epsv_port(reply)?), None),
            PassiveVerb::Pasv => to_connect(pasv_address(reply)?, peer, named),
        };
        Some(DataFacts { address, verb, ignored, handshake: DataHandshake::None })
    }

    /// Listens at a port and tells it to the server.
    async fn active_port(&mut self, way: &ActiveWay) -> Result<Listener, FtpsError> {
        let local = self.data.local.ip();
        let listener = Listener::open(way, local, self.info.peer.ip())?;
        let announced = listener.announced();
        loop {
            let command = match (self.data.active, announced) {
                (ActiveVerb::Port, SocketAddr::V4(announced)) => Command::Port(announced),
                (ActiveVerb::Eprt | ActiveVerb::Port, _) => Command::Eprt(announced),
            };
            let verb = command.verb();
            let is_port = matches!(command, Command::Port(_));
            let reply = match self.ask(command).await {
                Err(FtpsError::Closing { reply }) => {
                    return Err(FtpsError::NotCalled { announced, why: Uncalled::Ended(reply) });
                }
                asked => asked?,
            };
            match reply.kind() {
                ReplyKind::Done => {
                    let (address, handshake) = (announced, DataHandshake::None);
                    self.last_data = Some(DataFacts { address, verb, ignored: None, handshake });
                    return Ok(listener);
                }
                ReplyKind::Permanent if !is_port && announced.is_ipv4() => {
                    self.data.active = ActiveVerb::Port;
                }
                ReplyKind::Permanent => return Err(FtpsError::ActiveRefused { verb, announced, reply }),
                // pyftpdlib 2.2.0 connects before it answers.
                ReplyKind::Transient if reply.code() == NO_DATA_CONNECTION => {
                    return Err(FtpsError::NotCalled { announced, why: Uncalled::Refused(reply) });
                }
                ReplyKind::Transient => return Err(FtpsError::Refused { verb, reply }),
                ReplyKind::Preliminary | ReplyKind::Continue => {
                    return Err(FtpsError::Unexpected { verb, reply });
                }
            }
        }
    }

    /// Ends a data connection in order, and takes the reply that follows.
    pub(super) async fn close_data(
        &mut self,
        data: DataConnection,
        verb: &'static str,
    ) -> Result<Reply, FtpsError> {
        match self.end_data(data).await? {
            Ending::Answered(reply) => self.check_ended(verb, reply),
            Ending::Clean => {
                let limit = self.deadlines.final_reply;
                let reply = self.control.final_reply(Step::FinalReply, limit).await?;
                self.check_ended(verb, reply)
            }
        }
    }

    /// The same, but where the data connection has ended cleanly first, the reply is taken with those
    /// to the next commands: vsftpd says it a round trip later.
    pub(super) async fn close_data_early(
        &mut self,
        data: DataConnection,
        owed: Owed,
    ) -> Result<(), FtpsError> {
        match self.end_data(data).await? {
            Ending::Answered(reply) => self.check_ended(owed.verb(), reply).map(drop),
            Ending::Clean => {
                self.owed = Some(owed);
                self.state = State::Ready;
                Ok(())
            }
        }
    }

    fn check_ended(&mut self, verb: &'static str, reply: Reply) -> Result<Reply, FtpsError> {
        self.state = State::Ready;
        match reply.kind() {
            ReplyKind::Done => Ok(reply),
            _ => Err(FtpsError::Refused { verb, reply }),
        }
    }

    /// Ends a data connection in order, until its clean end or the server's reply, whichever comes
    /// first.
    async fn end_data(&mut self, mut data: DataConnection) -> Result<Ending, FtpsError> {
        // A server that hangs up first says why in its reply.
        let _hung_up = data.shutdown(self.deadlines.stall).await.is_err();
        let (limit, drain_limit) = (self.deadlines.final_reply, self.deadlines.drain);
        let reply = self.control.final_reply(Step::FinalReply, limit);
        tokio::pin!(reply);
        let drain = data.drain();
        tokio::pin!(drain);
        tokio::select! {
            biased;
            reply = &mut reply => {
                let _still_open = timeout(drain_limit, drain).await.is_err();
                reply.map(Ending::Answered)
            }
            end = &mut drain => match end {
                DataEnd::Clean => Ok(Ending::Clean),
                DataEnd::Cut => reply.await.map(Ending::Answered),
            },
        }
    }
}

/// How a transfer ended.
enum Ending {
    /// The server has said how.
    Answered(Reply),
    /// Its data connection ended with `close_notify` on both sides, and the server will say how.
    Clean,
}

/// The other command that asks for a passive port.
const fn other(verb: PassiveVerb) -> PassiveVerb {
    match verb {
        PassiveVerb::Epsv => PassiveVerb::Pasv,
        PassiveVerb::Pasv => PassiveVerb::Epsv,
    }
}

/// By this servers say that there is no data connection (RFC 959).
const NO_DATA_CONNECTION: u16 = 425;

/// The TCP connection, by whoever opens it.
pub(super) async fn open_tcp(agreed: Agreed, limit: Duration) -> Result<TcpStream, FtpsError> {
    match agreed {
        Agreed::From(listener) => listener.accept(limit).await,
        Agreed::To(address, verb) => match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => Ok(tcp),
            Ok(Err(source)) => Err(FtpsError::DataConnect { verb, address, source }),
            Err(_) => Err(FtpsError::DataConnect { verb, address, source: no_answer(limit) }),
        },
    }
}

/// Where to connect after a reply to `PASV`, and the address in it that is not followed.
fn to_connect(named: SocketAddrV4, peer: IpAddr, follow: NamedAddress) -> (SocketAddr, Option<IpAddr>) {
    let other = IpAddr::V4(*named.ip());
    let followed = follow == NamedAddress::Followed && can_be_followed(*named.ip(), peer);
    if followed || other == peer.to_canonical() {
        (SocketAddr::V4(named), None)
    } else {
        (SocketAddr::new(peer, named.port()), Some(other))
    }
}
