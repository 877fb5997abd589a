//! A session: a control connection under TLS, logged in, with its data connections.

mod ahead;
mod transfer;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

pub use self::ahead::Along;
use self::ahead::{Begun, Reserved};
pub(super) use self::transfer::DataPlan;
pub use self::transfer::{DataFacts, DataHandshake};
use super::charset::Charset;
use super::command::{Argument, Command};
use super::control::TlsControl;
use super::data::{DataConnection, Identity};
use super::error::{FtpsError, Step};
use super::features::{Features, HashSupport};
use super::limits::Deadlines;
use super::list::{Hidden, Lister};
use super::passive::pasv_host;
use super::reply::{Reply, ReplyKind};
use super::tls::{CertificateFacts, SessionJar, Version};

/// Bytes of the buffer for what is fetched: what the stall deadline is for.
const FETCH_BUFFER_BYTES: usize = 256 * 1024;

/// Whether the reply that ends a transfer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is.
    Awaited,
    /// Not where the data connection has ended cleanly: the next exchange takes it, and fails with it
    /// where it is a refusal.
    Owed,
}

/// What is known of an open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The server's address.
    pub peer: SocketAddr,
    /// The control connection's TLS version.
    pub version: Version,
    /// Its cipher suite, by its IANA name.
    pub cipher: String,
    /// The group of its key exchange, by its IANA name.
    pub group: String,
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

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Any exchange.
    Ready,
    /// Only the upload that was begun along with other commands.
    Storing,
    /// Nothing: an exchange is under way, or was given up midway.
    Busy,
}

/// A transfer whose final reply is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// Refused at its end, it has failed.
    Upload,
    /// The same.
    Listing,
    /// What is said of it changes nothing: what came is known.
    Download,
}

/// Whether the server was told by which algorithm `HASH` is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashChoice {
    Due,
    Told,
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
    charset: Charset,
    lister: Option<Lister>,
    deadlines: Deadlines,
    data: DataPlan,
    last_data: Option<DataFacts>,
    state: State,
    /// A port for the next transfer.
    reserved: Option<Reserved>,
    /// The upload that was begun along with other commands.
    begun: Option<Begun>,
    hash: HashChoice,
    /// The transfer whose final reply is still to come.
    owed: Option<Owed>,
    /// TLS tickets that had come in when the login was done; more come with data connections.
    tickets_at_login: u64,
}

impl Session {
    pub(super) fn new(
        control: TlsControl,
        identity: Identity,
        jar: Arc<SessionJar>,
        info: SessionInfo,
        charset: Charset,
        deadlines: Deadlines,
        data: DataPlan,
    ) -> Self {
        Self {
            control,
            identity,
            jar,
            info,
            features: Features::default(),
            home: None,
            charset,
            lister: None,
            deadlines,
            data,
            last_data: None,
            state: State::Ready,
            reserved: None,
            begun: None,
            owed: None,
            hash: HashChoice::Due,
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

    /// The encoding of paths and listings.
    pub fn charset(&self) -> Charset {
        self.charset
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
        match self.state {
            State::Ready | State::Storing => true,
            State::Busy => false,
        }
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
        self.exchange_along(commands, Along::Nothing, limit).await
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

    /// What must be said before the first `HASH`, in the same write: by which algorithm it is to answer.
    /// Refused, it answers by another one, which is no proof and noticed as such.
    pub fn hash_choice(&mut self) -> Option<Command> {
        let due = self.features.hash() == HashSupport::Hash && self.hash == HashChoice::Due;
        self.hash = HashChoice::Told;
        due.then_some(Command::OptsHashSha256)
    }

    /// Gives the session up: what the server says cannot be told apart any more.
    pub fn abandon(&mut self) {
        self.state = State::Busy;
    }

    fn begin(&mut self) -> Result<(), FtpsError> {
        match std::mem::replace(&mut self.state, State::Busy) {
            State::Ready => Ok(()),
            State::Storing | State::Busy => Err(FtpsError::Abandoned),
        }
    }

    /// Begins to store a file under `path`. The caller writes its bytes and then calls
    /// [`Upload::finish`].
    pub async fn upload(&mut self, path: Argument) -> Result<Upload<'_>, FtpsError> {
        if self.state == State::Storing {
            return self.go_on_storing(&path).await.unwrap_or(Err(FtpsError::Abandoned));
        }
        let data = self.open_data(Command::Stor(path)).await?;
        Ok(Upload { session: self, data })
    }

    /// The same for the bytes from `offset` on: `REST` goes right before `STOR`, and where it is
    /// refused nothing is stored. What a server does with an offset that is not the size of what
    /// it has differs from one to the next.
    pub async fn upload_from(&mut self, path: Argument, offset: u64) -> Result<Upload<'_>, FtpsError> {
        let data = self.open_data_from(Command::Stor(path), Some(offset)).await?;
        Ok(Upload { session: self, data })
    }

    /// Begins to fetch a file. The caller reads its bytes to the end and then calls
    /// [`Download::finish`].
    pub async fn begin_download(&mut self, path: Argument) -> Result<Download<'_>, FtpsError> {
        let data = self.open_data(Command::Retr(path)).await?;
        Ok(Download { session: self, data })
    }

    /// How folders are listed: by what the server lists among its features, until it is known
    /// better.
    pub(super) fn lister(&self) -> Lister {
        let with_facts = self.features.has("MLST") || self.features.has("MLSD");
        let first = if with_facts { Lister::Facts } else { Lister::Long(Hidden::Asked) };
        self.lister.unwrap_or(first)
    }

    pub(super) fn set_lister(&mut self, lister: Lister) {
        self.lister = Some(lister);
    }

    /// Fetches what a command brings and hands it to `sink`, piece by piece. Returns the number
    /// of bytes; more than `limit` means that there were more, which were not fetched. Then, and
    /// after an error of `sink`, the session is abandoned.
    pub(super) async fn fetch(
        &mut self,
        command: Command,
        limit: u64,
        closing: Closing,
        mut sink: impl FnMut(&[u8]) -> Result<(), FtpsError>,
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
            sink(piece)?;
        }
        match closing {
            Closing::Awaited => self.close_data(data, verb).await.map(drop)?,
            Closing::Owed => self.close_data_early(data, Owed::Listing).await?,
        }
        Ok(total)
    }

    /// Asks for a passive port by `PASV`, and gives the address that the server names: for people,
    /// since behind NAT it is often wrong. `None` where it refuses, or names none.
    pub async fn named_address(&mut self) -> Result<Option<Ipv4Addr>, FtpsError> {
        Ok(pasv_host(&self.ask(Command::Pasv).await?))
    }

    /// Sends nothing until the server ends the session, and says how it did. `None` where it has
    /// not within `limit`.
    pub async fn keep_silent(&mut self, limit: Duration) -> Option<FtpsError> {
        if let Err(error) = self.begin() {
            return Some(error);
        }
        let step = Step::Command("nothing");
        match self.control.reply(step, limit).await {
            Err(FtpsError::Timeout { .. }) => {
                self.state = State::Ready;
                None
            }
            Err(error) => Some(error),
            Ok(reply) => Some(FtpsError::Unexpected { verb: "nothing", reply }),
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

/// A file on its way to the server. Dropping it before [`finish`](Self::finish) abandons the
/// session, and leaves what came so far under the name.
#[derive(Debug)]
pub struct Upload<'a> {
    session: &'a mut Session,
    data: DataConnection,
}

impl Upload<'_> {
    /// The session that it goes over.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// Whether the data connection resumed a session of the control connection.
    pub fn is_resumed(&self) -> bool {
        self.data.is_resumed()
    }

    /// Sends bytes, at most 256 KiB at once: the stall deadline is for each call. After an
    /// error the upload has ended; where the server said why, the session can be used again.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FtpsError> {
        let written = self.data.write(bytes, self.session.deadlines.stall).await;
        self.judge(written).await
    }

    /// The same of the last bytes: few of them leave with the [end](Self::finish), and what is wrong with
    /// them is found there.
    pub async fn write_last(&mut self, bytes: &[u8]) -> Result<(), FtpsError> {
        let written = self.data.write_last(bytes, self.session.deadlines.stall).await;
        self.judge(written).await
    }

    async fn judge(&mut self, written: Result<(), FtpsError>) -> Result<(), FtpsError> {
        match written {
            Ok(()) => Ok(()),
            Err(timeout @ FtpsError::Timeout { .. }) => Err(timeout),
            Err(error) => self.session.explain(error, "STOR").await,
        }
    }

    /// Ends the upload: `close_notify`, FIN, drain, and the server's reply. A `2xx` means only
    /// that the server is content: it is no proof of what it stored.
    pub async fn finish(self, closing: Closing) -> Result<(), FtpsError> {
        match closing {
            Closing::Awaited => self.session.close_data(self.data, "STOR").await.map(drop),
            Closing::Owed => self.session.close_data_early(self.data, Owed::Upload).await,
        }
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
    /// The session that it goes over.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// Fills a buffer, of at most 256 KiB, as far as bytes come before the end; 0 at the end. The
    /// stall deadline is for each call.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FtpsError> {
        self.data.fill(buffer, self.session.deadlines.stall).await
    }

    /// Ends the download once all was read: the server says whether that was all. With
    /// [`Closing::Owed`] the reply is taken with those to the next commands, and a refusal in it is
    /// passed over: the caller must know by other means what the bytes are worth.
    pub async fn finish(self, closing: Closing) -> Result<(), FtpsError> {
        match closing {
            Closing::Awaited => self.session.close_data(self.data, "RETR").await.map(drop),
            Closing::Owed => self.session.close_data_early(self.data, Owed::Download).await,
        }
    }
}

/// The SHA-256 of a certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}
