//! A session: a control connection under TLS, logged in, with its data connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::command::{Argument, Command};
use super::control::TlsControl;
use super::data::{DataConnection, Identity};
use super::error::{FtpsError, Renewal, Step};
use super::features::Features;
use super::limits::{Deadlines, MAX_LISTING_BYTES, MAX_PASSIVE_ATTEMPTS, PASSIVE_RETRY_DELAY};
use super::passive::{epsv_port, pasv_port};
use super::reply::{Reply, ReplyKind};
use super::tls::{CertificateFacts, SessionJar, Stock, TlsError, Version};

/// Bytes of the buffer for what is fetched: what the stall deadline is for.
const FETCH_BUFFER_BYTES: usize = 256 * 1024;

/// What is known of an open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The server's address.
    pub peer: SocketAddr,
    /// The control connection's TLS version.
    pub version: Version,
    /// Its cipher suite, by its IANA name.
    pub cipher: String,
    /// The SHA-256 of the server's certificate (DER).
    pub certificate: [u8; 32],
    /// The certificate itself.
    pub certificate_der: CertificateDer<'static>,
}

impl SessionInfo {
    /// What stands in the server's certificate. `None` where it cannot be read, which a trusted
    /// one always can.
    pub fn certificate_facts(&self) -> Option<CertificateFacts> {
        CertificateFacts::read(&self.certificate_der)
    }
}

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
enum Passive {
    Extended,
    /// The server knows no EPSV.
    Plain,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Any exchange.
    Ready,
    /// Nothing: an exchange is under way, or was given up midway.
    Busy,
}

/// What comes first behind a command that transfers.
enum First {
    Reply(Reply),
    Data(Box<Result<DataConnection, FtpsError>>),
}

/// A session with a server. Every public future that is dropped before its end leaves the
/// session [abandoned](FtpsError::Abandoned): what the server says next could not be told
/// apart from the answer to something else.
#[derive(Debug)]
pub struct Session {
    control: TlsControl,
    identity: Identity,
    jar: Arc<SessionJar>,
    info: SessionInfo,
    features: Features,
    home: Option<Argument>,
    deadlines: Deadlines,
    passive: Passive,
    last_data: Option<DataFacts>,
    state: State,
    /// TLS tickets that had come in when the login was done; more come with data connections.
    tickets_at_login: u64,
}

impl Session {
    pub(super) fn new(
        control: TlsControl,
        identity: Identity,
        jar: Arc<SessionJar>,
        info: SessionInfo,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            control,
            identity,
            jar,
            info,
            features: Features::default(),
            home: None,
            deadlines,
            passive: Passive::Extended,
            last_data: None,
            state: State::Ready,
            tickets_at_login: 0,
        }
    }

    /// What is known of it.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// What the server says it can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The folder in which relative paths begin, where the server told it.
    pub fn home(&self) -> Option<&Argument> {
        self.home.as_ref()
    }

    /// What is known of the data connection that was asked for last.
    pub fn last_data(&self) -> Option<DataFacts> {
        self.last_data
    }

    /// Whether the next data connection has what the server may want of it. When TLS 1.3 tickets
    /// are used up, only a new session helps.
    pub fn has_tls_session(&self) -> bool {
        self.check_stock().is_ok()
    }

    /// How long things may take.
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    pub(super) fn set_up(&mut self, features: Features, home: Option<Argument>) {
        self.features = features;
        self.home = home;
        self.tickets_at_login = self.jar.tickets_seen();
    }

    /// Whether another exchange is possible.
    pub fn is_usable(&self) -> bool {
        self.state == State::Ready
    }

    /// Sends commands in one write, and takes their replies in order. A refusal is a reply like
    /// any other; an error means that the session is lost.
    pub async fn exchange(&mut self, commands: &[Command]) -> Result<Vec<Reply>, FtpsError> {
        self.exchange_within(commands, self.deadlines.reply).await
    }

    /// The same with a limit of its own for each reply.
    pub async fn exchange_within(
        &mut self,
        commands: &[Command],
        limit: Duration,
    ) -> Result<Vec<Reply>, FtpsError> {
        self.begin()?;
        self.control.send(commands, self.deadlines.reply).await?;
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            replies.push(self.control.final_reply(Step::Command(command.verb()), limit).await?);
        }
        match self.control.unasked() {
            None => self.state = State::Ready,
            // The answers hold; only the session has ended.
            Some(FtpsError::Closing { .. }) => {}
            // One reply too many: which of them belong to which command is not known.
            Some(error) => return Err(error),
        }
        Ok(replies)
    }

    /// Sends one command; a refusal is a reply like any other.
    pub async fn ask(&mut self, command: Command) -> Result<Reply, FtpsError> {
        let verb = command.verb();
        let replies = self.exchange(&[command]).await?;
        replies.into_iter().next().ok_or(FtpsError::Closed { step: Step::Command(verb) })
    }

    /// Sends one command that must be answered by `2xx`.
    pub async fn ask_done(&mut self, command: Command) -> Result<Reply, FtpsError> {
        let verb = command.verb();
        let reply = self.ask(command).await?;
        if reply.kind() == ReplyKind::Done { Ok(reply) } else { Err(FtpsError::Refused { verb, reply }) }
    }

    /// Gives the session up: what the server says cannot be told apart any more.
    pub fn abandon(&mut self) {
        self.state = State::Busy;
    }

    fn begin(&mut self) -> Result<(), FtpsError> {
        match std::mem::replace(&mut self.state, State::Busy) {
            State::Ready => Ok(()),
            State::Busy => Err(FtpsError::Abandoned),
        }
    }

    /// Begins to store a file under `path`. The caller writes its bytes and then calls
    /// [`Upload::finish`].
    pub async fn upload(&mut self, path: Argument) -> Result<Upload<'_>, FtpsError> {
        let data = self.open_data(Command::Stor(path)).await?;
        Ok(Upload { session: self, data })
    }

    /// Fetches a file of at most `limit` bytes and hands its bytes to `sink`, piece by piece.
    /// Returns their number. More than `limit` means that the file is longer: the rest is not
    /// fetched, and the session is abandoned.
    pub async fn download(
        &mut self,
        path: Argument,
        limit: u64,
        sink: impl FnMut(&[u8]),
    ) -> Result<u64, FtpsError> {
        self.fetch(Command::Retr(path), limit, sink).await
    }

    /// Begins to fetch a file. The caller reads its bytes to the end and then calls
    /// [`Download::finish`].
    pub async fn begin_download(&mut self, path: Argument) -> Result<Download<'_>, FtpsError> {
        let data = self.open_data(Command::Retr(path)).await?;
        Ok(Download { session: self, data })
    }

    /// A listing of a folder's names with hidden ones, by `MLSD` where the server has it.
    /// Returns its bytes: [`MAX_LISTING_BYTES`] at most.
    pub async fn list(&mut self, folder: Argument) -> Result<Listing, FtpsError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_LISTING_BYTES).unwrap_or(u64::MAX);
        let with_facts = self.features.has("MLST") || self.features.has("MLSD");
        let command = if with_facts { Command::Mlsd(folder) } else { Command::NlstAll(folder) };
        if self.fetch(command, limit, |piece| bytes.extend_from_slice(piece)).await? > limit {
            return Err(FtpsError::TooLong { limit: MAX_LISTING_BYTES });
        }
        Ok(if with_facts { Listing::Mlsd(bytes) } else { Listing::Nlst(bytes) })
    }

    async fn fetch(
        &mut self,
        command: Command,
        limit: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<u64, FtpsError> {
        let verb = command.verb();
        let mut data = self.open_data(command).await?;
        let mut buffer = vec![0; FETCH_BUFFER_BYTES];
        let mut total = 0_u64;
        loop {
            let count = data.fill(&mut buffer, self.deadlines.stall).await?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            total += piece.len() as u64;
            if total > limit {
                // There may be no end to it: the session stays in the middle of the exchange.
                return Ok(total);
            }
            sink(piece);
        }
        self.close_data(data, verb).await?;
        Ok(total)
    }

    /// Ends a data connection in order, and takes the reply that follows.
    async fn close_data(&mut self, mut data: DataConnection, verb: &'static str) -> Result<Reply, FtpsError> {
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

    /// Opens a data connection for a command: the passive port, the command, then its reply and
    /// the handshake side by side. File bytes may go once both are there.
    async fn open_data(&mut self, command: Command) -> Result<DataConnection, FtpsError> {
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
    async fn explain<T>(&mut self, error: FtpsError, verb: &'static str) -> Result<T, FtpsError> {
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
    fn check_stock(&self) -> Result<(), FtpsError> {
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

    /// Says goodbye and closes the connection. What the server answers does not matter.
    pub async fn quit(mut self) {
        if self.begin().is_ok() {
            let goodbye = async {
                self.control.send(&[Command::Quit], self.deadlines.drain).await?;
                self.control.reply(Step::Command("QUIT"), self.deadlines.drain).await
            };
            let _unanswered = goodbye.await.is_err();
        }
    }
}

/// A listing's bytes, in one of two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// RFC 3659, section 7.
    Mlsd(Vec<u8>),
    /// Names only.
    Nlst(Vec<u8>),
}

/// A file on its way to the server. Dropping it before [`finish`](Self::finish) abandons the
/// session, and leaves what came so far under the name.
#[derive(Debug)]
pub struct Upload<'a> {
    session: &'a mut Session,
    data: DataConnection,
}

impl Upload<'_> {
    /// Whether the data connection resumed a session of the control connection.
    pub fn is_resumed(&self) -> bool {
        self.data.is_resumed()
    }

    /// Sends bytes, at most 256 KiB at once: the stall deadline is for each call. After an
    /// error the upload has ended; where the server said why, the session can be used again.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FtpsError> {
        match self.data.write(bytes, self.session.deadlines.stall).await {
            Ok(()) => Ok(()),
            Err(timeout @ FtpsError::Timeout { .. }) => Err(timeout),
            Err(error) => self.session.explain(error, "STOR").await,
        }
    }

    /// Ends the upload: `close_notify`, FIN, drain, and the server's reply. A `2xx` means only
    /// that the server is content: it is no proof of what it stored.
    pub async fn finish(self) -> Result<Reply, FtpsError> {
        self.session.close_data(self.data, "STOR").await
    }
}

/// A file on its way from the server. Dropping it before [`finish`](Self::finish) abandons the
/// session.
#[derive(Debug)]
pub struct Download<'a> {
    session: &'a mut Session,
    data: DataConnection,
}

impl Download<'_> {
    /// Fills a buffer, of at most 256 KiB, as far as bytes come before the end; 0 at the end. The
    /// stall deadline is for each call.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FtpsError> {
        self.data.fill(buffer, self.session.deadlines.stall).await
    }

    /// Ends the download once all was read: the server says whether that was all.
    pub async fn finish(self) -> Result<Reply, FtpsError> {
        self.session.close_data(self.data, "RETR").await
    }
}

/// The SHA-256 of a certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}
