//! A server with what is needed to open sessions, and its limit of sessions.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use super::connection::Connection;
use super::lessons::Lessons;
use super::network::{data_way, family, first_passive};
use super::opening;
use super::profile::{Ability, LastingSessions, Profile, Profiles};
use super::request::argument;
use crate::domain::{DataMode, RemotePath, Server, SessionFacts, Timeouts, TlsMode, TlsPolicy, TlsVersion};
use crate::ftps::{
    Argument, ArgumentError, Charset, DataWay, Deadlines, Endpoint, FtpsError, Noted, OtherProtocol, Pace,
    PassiveWay, Password, Policy, Renewal, Session, Step, TlsError, TlsOptions, TlsSettings,
    TlsSettingsError, TlsStart, Version,
};

/// Why no session with a server can even be tried: the configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum RemoteSettingsError {
    /// The files of `trust` or `client_certificate`.
    #[error("server `{server}`")]
    Tls {
        /// The server's name in the configuration.
        server: String,
        /// Why.
        source: TlsSettingsError,
    },
    /// The user name or the password cannot be sent.
    #[error("server `{server}`: the {what} cannot be sent")]
    Login {
        /// The server's name in the configuration.
        server: String,
        /// Which of the two.
        what: &'static str,
        /// Why.
        source: ArgumentError,
    },
}

/// A server, shared by all its jobs.
#[derive(Debug)]
pub struct Remote {
    server: Arc<Server>,
    endpoint: Endpoint,
    lessons: Lessons,
    /// As many as jobs may have open.
    permits: Arc<Semaphore>,
    sessions: NonZeroU16,
    /// As many as the configuration allows.
    all_permits: Arc<Semaphore>,
    profiles: Arc<Profiles>,
    /// Whether the server was asked, for want of a greeting, if it wants TLS first.
    asked_for_tls: AtomicBool,
}

impl Remote {
    /// Makes ready for sessions: reads certificates and keys, but opens no connection. Blocks.
    pub fn new(
        server: Server,
        password: SecretString,
        deadlines: Deadlines,
        profiles: Arc<Profiles>,
    ) -> Result<Self, RemoteSettingsError> {
        let name = server.name.to_string();
        let tls = TlsSettings::new(&tls_options(&server))
            .map_err(|source| RemoteSettingsError::Tls { server: name.clone(), source })?;
        let login = |what| {
            let server = name.clone();
            move |source| RemoteSettingsError::Login { server, what, source }
        };
        let charset = charset(&server);
        let endpoint = Endpoint {
            host: server.host.clone(),
            port: server.port,
            family: family(server.network.family),
            data: data_way(&server.network.data),
            start: match server.tls {
                TlsMode::Explicit => TlsStart::Explicit,
                TlsMode::Implicit => TlsStart::Implicit,
            },
            min_version: version(server.tls_versions.min),
            max_version: version(server.tls_versions.max),
            tls,
            charset,
            pace: Pace::default(),
            // In the encoding of the names, as on servers that know but one.
            user: Argument::encoded(&server.username, charset).map_err(login("username"))?,
            password: Password::encoded(password, charset).map_err(login("password"))?,
            deadlines: overlaid(deadlines, &server.network.timeouts),
        };
        let sessions = most_sessions(&server, profiles.of(&server));
        let permits = Arc::new(Semaphore::new(usize::from(sessions.get())));
        let all_permits = Arc::new(Semaphore::new(usize::from(server.connections.get())));
        let server = Arc::new(server);
        let lessons = Lessons::new(Arc::clone(&server), Arc::clone(&profiles));
        Ok(Self {
            server,
            endpoint,
            lessons,
            permits,
            sessions,
            all_permits,
            profiles,
            asked_for_tls: AtomicBool::new(false),
        })
    }

    /// Most sessions that jobs have open at once: as many as the configuration allows, or fewer
    /// where the server was seen to refuse one more, or to lose active ones beside each other. The
    /// former is learned by `doctor` alone, which tries it on purpose and as often as it is run. A run that is refused a session makes do
    /// without for its own time: whoever else was there may be gone tomorrow.
    pub fn sessions(&self) -> NonZeroU16 {
        self.sessions
    }

    /// What has been learned of the server.
    pub fn profile(&self) -> Profile {
        self.profiles.of(&self.server)
    }

    /// Keeps what was learned of the server. Returns whether it is news. Blocks for as long as
    /// writing a small file takes, if it is.
    pub fn learn(&self, change: impl FnOnce(&mut Profile)) -> bool {
        self.profiles.learn(&self.server, change)
    }

    /// How long things may take.
    pub fn deadlines(&self) -> &Deadlines {
        &self.endpoint.deadlines
    }

    /// The server's definition.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Opens a session, as soon as the server's limit allows one more.
    pub async fn connect(&self) -> Result<Connection, FtpsError> {
        // The semaphore is never closed; were it, there would be no session to give.
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| FtpsError::Abandoned)?;
        match self.open().await {
            Ok(opened) => Ok(self.connection(opened, permit)),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// Where a server does not greet: whether it waits for TLS instead, which one handshake tells. It
    /// is asked once: each question costs a connection, and the server may just be busy.
    async fn explained(&self, error: FtpsError) -> FtpsError {
        let silent = matches!(error, FtpsError::Timeout { step: Step::Greeting, .. });
        if !silent
            || self.endpoint.start == TlsStart::Implicit
            || self.asked_for_tls.swap(true, Ordering::Relaxed)
            || !Box::pin(self.endpoint.waits_for_tls()).await
        {
            return error;
        }
        FtpsError::OtherProtocol(OtherProtocol::Tls)
    }

    /// Opens a session in a TLS version of at most `max`, telling what is reached on the way, as
    /// soon as the server's limit allows one more. What was learned of the server is not heeded.
    pub async fn approach(&self, max: TlsVersion, note: Noted<'_>) -> Result<Connection, FtpsError> {
        let permit = Arc::clone(&self.all_permits).acquire_owned().await.map_err(|_| FtpsError::Abandoned)?;
        self.approach_with(permit, max, note).await
    }

    /// The same, if the configuration allows one more right now; else `None`.
    pub async fn approach_another(&self, max: TlsVersion) -> Option<Result<Connection, FtpsError>> {
        let permit = Arc::clone(&self.all_permits).try_acquire_owned().ok()?;
        Some(self.approach_with(permit, max, &mut |_| {}).await)
    }

    /// How many sessions are open that were opened by [`Self::approach`].
    pub fn approached(&self) -> u16 {
        let free = u16::try_from(self.all_permits.available_permits()).unwrap_or(u16::MAX);
        self.server.connections.get().saturating_sub(free)
    }

    async fn approach_with(
        &self,
        permit: OwnedSemaphorePermit,
        max: TlsVersion,
        note: Noted<'_>,
    ) -> Result<Connection, FtpsError> {
        let max_version = version(max).min(self.endpoint.max_version);
        let endpoint = Endpoint { max_version, ..self.endpoint.clone() };
        match opening::open(&endpoint, &self.lessons, note).await {
            Ok((session, pipelining)) => Ok(self.connection((session, pipelining), permit)),
            Err(error) => Err(self.explained(error).await),
        }
    }

    fn connection(
        &self,
        (session, pipelining): (Session, Ability),
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        let info = session.info();
        let facts = SessionFacts {
            peer: info.peer,
            tls: match info.version {
                Version::Tls12 => TlsVersion::V1_2,
                Version::Tls13 => TlsVersion::V1_3,
            },
            cipher: info.cipher.clone(),
            certificate: crate::domain::Digest::from_bytes(info.certificate),
        };
        info!(server = %self.server.name, peer = %facts.peer, tls = %facts.tls, cipher = facts.cipher, "Session opened.");
        Connection::new(session, facts, self.lessons.clone(), pipelining, permit)
    }

    /// Opens a session in the TLS version whose sessions last, which asks for passive ports by the
    /// command that the server knows, and for other things as fast as it can follow.
    async fn open(&self) -> Result<(Session, Ability), FtpsError> {
        let profile = self.profile();
        let mut endpoint = self.endpoint.clone();
        if let DataWay::Passive(PassiveWay { first, .. }) = &mut endpoint.data {
            *first = self.lessons.passive_instead().unwrap_or(first_passive(profile.passive));
        }
        endpoint.pace = match profile.pipelining {
            Ability::Unknown | Ability::Yes => Pace::OneWrite,
            Ability::No => Pace::StepByStep,
        };
        let open = async |endpoint: &Endpoint| opening::open(endpoint, &self.lessons, &mut |_| {}).await;
        let lasting = profile.lasting_sessions;
        if lasting != LastingSessions::Tls12 || endpoint.min_version > Version::Tls12 {
            return open(&endpoint).await;
        }
        let tls12 = Endpoint { max_version: Version::Tls12, ..endpoint.clone() };
        match open(&tls12).await {
            Err(FtpsError::Tls(TlsError::NothingInCommon { .. })) => {
                self.learn_lasting(LastingSessions::Nowhere);
                open(&endpoint).await
            }
            opened => opened,
        }
    }

    /// Whether it takes the rest of an interrupted upload, as far as is known.
    pub fn resume(&self) -> Ability {
        self.profiles.of(&self.server).resume
    }

    /// Takes in whether an upload could be resumed.
    pub fn learn_resume(&self, resume: Ability) {
        self.profiles.learn(&self.server, |profile| profile.resume = resume);
    }

    /// Whether a path can be sent to the server at all: in its charset, as one line.
    pub fn check_path(&self, path: &RemotePath) -> Result<(), FtpsError> {
        check_path(&self.server, path)
    }

    fn learn_lasting(&self, lasting: LastingSessions) -> bool {
        self.learn(|profile| profile.lasting_sessions = lasting)
    }

    /// Takes in that a session's TLS tickets were used up. Returns a sentence for people when it
    /// leads to something new.
    pub fn sessions_used_up(&self, renewal: Renewal) -> Option<String> {
        let untried = self.profile().lasting_sessions == LastingSessions::Anywhere;
        if renewal == Renewal::Seen || !untried || self.server.tls_versions.min > TlsVersion::V1_2 {
            return None;
        }
        let news = self.learn_lasting(LastingSessions::Tls12);
        news.then(|| {
            format!(
                "Server {} gives no lasting TLS 1.3 sessions for data connections, as it does in TLS 1.2; \
                 it is spoken to in TLS 1.2 from now on, if it allows that.",
                self.server.name
            )
        })
    }
}

/// Most sessions that jobs have open at once.
fn most_sessions(server: &Server, profile: Profile) -> NonZeroU16 {
    if matches!(server.network.data, DataMode::Active(_)) && profile.crowds == Ability::No {
        return NonZeroU16::MIN;
    }
    let learned = profile.connections.and_then(NonZeroU16::new);
    learned.map_or(server.connections, |learned| learned.min(server.connections))
}

/// Reads the certificates, keys and lists that a server's definition names, and throws them away:
/// would a session find them good? Blocks.
pub fn check_tls(server: &Server) -> Result<(), TlsSettingsError> {
    TlsSettings::new(&tls_options(server)).map(|_| ())
}

/// What a server's definition says of TLS, for the protocol client.
fn tls_options(server: &Server) -> TlsOptions {
    let own = server.client_certificate.as_ref();
    TlsOptions {
        ca_file: server.trust.ca_file.clone(),
        pins: server.trust.pins.iter().map(|pin| *pin.0.as_bytes()).collect(),
        crl_files: server.trust.crl_files.clone(),
        client_certificate: own.map(|own| (own.cert_file.clone(), own.key_file.clone())),
        policy: match server.tls_policy {
            TlsPolicy::Standard => Policy::Standard,
            TlsPolicy::Nist80052r2 => Policy::Nist80052r2,
        },
    }
}

/// The usual limits, but for those that the configuration gives.
fn overlaid(usual: Deadlines, given: &Timeouts) -> Deadlines {
    Deadlines {
        connect: given.connect.unwrap_or(usual.connect),
        greeting: given.greeting.unwrap_or(usual.greeting),
        handshake: given.handshake.unwrap_or(usual.handshake),
        reply: given.reply.unwrap_or(usual.reply),
        data_connect: given.data_connect.unwrap_or(usual.data_connect),
        stall: given.stall.unwrap_or(usual.stall),
        final_reply: given.final_reply.unwrap_or(usual.final_reply),
        drain: given.drain.unwrap_or(usual.drain),
    }
}

/// Whether a path can be sent to a server at all: in its charset, as one line.
pub fn check_path(server: &Server, path: &RemotePath) -> Result<(), FtpsError> {
    argument(path.as_str(), charset(server)).map(|_| ())
}

/// The encoding of a server's names and of all that is said on its control connections.
fn charset(server: &Server) -> Charset {
    Charset::new(server.charset.encoding())
}

fn version(version: TlsVersion) -> Version {
    match version {
        TlsVersion::V1_2 => Version::Tls12,
        TlsVersion::V1_3 => Version::Tls13,
    }
}
