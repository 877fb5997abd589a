//! Data connections of a session: asked for, opened beside a command, and ended in order.

use std::net::SocketAddr;

use tokio::time::{sleep, timeout};

use super::{Session, State};
use crate::ftps::command::Command;
use crate::ftps::data::DataConnection;
use crate::ftps::error::{FtpsError, Renewal, Step};
use crate::ftps::limits::{MAX_PASSIVE_ATTEMPTS, PASSIVE_RETRY_DELAY};
use crate::ftps::passive::{epsv_port, pasv_port};
use crate::ftps::reply::{Reply, ReplyKind};
use crate::ftps::tls::{Stock, TlsError};

/// What is known of the data connection that was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFacts {
    /// Where it leads: the control connection's peer, with the port that the server named.
    pub address: SocketAddr,
    /// How the port was asked for: `EPSV` or `PASV`.
    pub verb: &'static str,
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

/// How data connections are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passive {
    Extended,
    /// The server knows no EPSV.
    Plain,
}

/// What comes first behind a command that transfers.
enum First {
    Reply(Reply),
    Data(Box<Result<DataConnection, FtpsError>>),
}

impl Session {
    /// Opens a data connection for a command: the passive port, the command, then its reply and
    /// the handshake side by side. File bytes may go once both are there.
    pub(super) async fn open_data(&mut self, command: Command) -> Result<DataConnection, FtpsError> {
        self.check_stock()?;
        let address = self.passive_address().await?;
        self.begin()?;
        let verb = command.verb();
        self.control.send(&[command], self.deadlines.reply).await?;
        let limit = self.deadlines.reply;
        let open = DataConnection::open(address, self.identity.clone(), self.deadlines);
        tokio::pin!(open);
        let first = tokio::select! {
            biased;
            reply = self.control.reply(Step::Command(verb), limit) => First::Reply(reply?),
            data = &mut open => First::Data(Box::new(data)),
        };
        let data = match first {
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
        };
        match data {
            Ok(data) => {
                let handshake = if data.is_resumed() { DataHandshake::Resumed } else { DataHandshake::Full };
                self.last_data = self.last_data.map(|facts| DataFacts { handshake, ..facts });
                Ok(data)
            }
            Err(error) => self.explain(error, verb).await,
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
        let ours = matches!(
            error,
            FtpsError::OtherPeer | FtpsError::DataTls(TlsError::Certificate { .. } | TlsError::NotTls)
        );
        if ours {
            return Err(error);
        }
        match self.control.final_reply(Step::FinalReply, self.deadlines.data_connect).await {
            Ok(reply) if matches!(reply.kind(), ReplyKind::Transient | ReplyKind::Permanent) => {
                self.state = State::Ready;
                Err(FtpsError::Refused { verb, reply })
            }
            Err(closing @ FtpsError::Closing { .. }) => Err(closing),
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

    /// Asks for a passive port. The address is always the control connection's peer.
    async fn passive_address(&mut self) -> Result<SocketAddr, FtpsError> {
        let mut attempt = 1;
        loop {
            let command = match self.passive {
                Passive::Extended => Command::Epsv,
                Passive::Plain => Command::Pasv,
            };
            let verb = command.verb();
            let reply = self.ask(command).await?;
            let port = match self.passive {
                Passive::Extended => epsv_port(&reply),
                Passive::Plain => pasv_port(&reply),
            };
            match (port, reply.kind()) {
                (Some(port), _) => {
                    let address = SocketAddr::new(self.info.peer.ip(), port);
                    self.last_data = Some(DataFacts { address, verb, handshake: DataHandshake::None });
                    return Ok(address);
                }
                (None, ReplyKind::Transient) if attempt < MAX_PASSIVE_ATTEMPTS => {
                    attempt += 1;
                    sleep(PASSIVE_RETRY_DELAY).await;
                }
                (None, ReplyKind::Permanent) if self.passive == Passive::Extended => {
                    self.passive = Passive::Plain;
                }
                (None, ReplyKind::Transient | ReplyKind::Permanent) => {
                    return Err(FtpsError::Refused { verb, reply });
                }
                (None, _) => return Err(FtpsError::Unexpected { verb, reply }),
            }
        }
    }

    /// Ends a data connection in order, and takes the reply that follows.
    pub(super) async fn close_data(
        &mut self,
        mut data: DataConnection,
        verb: &'static str,
    ) -> Result<Reply, FtpsError> {
        // A server that hangs up first says why in its reply.
        let _hung_up = data.shutdown(self.deadlines.stall).await.is_err();
        let (limit, drain_limit) = (self.deadlines.final_reply, self.deadlines.drain);
        let reply = {
            let reply = self.control.final_reply(Step::FinalReply, limit);
            tokio::pin!(reply);
            let drain = data.drain();
            tokio::pin!(drain);
            tokio::select! {
                biased;
                () = &mut drain => reply.await,
                reply = &mut reply => {
                    let _still_open = timeout(drain_limit, drain).await.is_err();
                    reply
                }
            }
        }?;
        self.state = State::Ready;
        match reply.kind() {
            ReplyKind::Done => Ok(reply),
            _ => Err(FtpsError::Refused { verb, reply }),
        }
    }
}
