//! A server with what is needed to open sessions, and its limit of sessions.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use tokio::time::Instant;
use tracing::info;

use super::connection::{Connection, Ways};
use super::lessons::Lessons;
use super::limit::{Haste, Limit, Permit, Refused, Share};
use super::network::{data_way, family, first_passive};
use super::opening;
use super::profile::{Ability, LastingSessions, Profile, Profiles};
use super::request::argument;
use super::throttle::{Says, Throttle};
use crate::clock::{Clock, SystemClock};
use crate::domain::{
    DataMode, RemotePath, Server, SessionFacts, Timeouts, Timestamp, TlsMode, TlsPolicy, TlsVersion,
};
use crate::ftps::{
    Argument, ArgumentError, AtOnce, BeforeLogin, Charset, DataWay, Deadlines, Endpoint, Extras, Features,
    FirstPort, FtpsError, Noted, OtherProtocol, Pace, PassiveWay, Password, Policy, Renewal, Session, Step,
    TlsError, TlsOptions, TlsSettings, TlsSettingsError, TlsStart, Trouble, Version, own_good_until,
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

/// For how long a run heeds that the server refused one session more; then one more is tried
/// again. Whoever else was there may be gone tomorrow, and a refusal a day harms nobody.
const LIMIT_REMEMBERED_SECONDS: i64 = 24 * 60 * 60;

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// The server takes no more than the others of ours that are open: one of them has to end first.
    #[error("the server takes no more sessions")]
    Full(#[source] FtpsError),
    /// Anything else.
    #[error(transparent)]
    Failed(FtpsError),
}

impl Unopened {
    /// What the server or the network said.
    pub fn into_error(self) -> FtpsError {
        match self {
            Self::Full(error) | Self::Failed(error) => error,
        }
    }
}

/// A server, shared by all its jobs.
#[derive(Debug)]
pub struct Remote {
    server: Arc<Server>,
    endpoint: Endpoint,
    lessons: Lessons,
    /// Of the sessions that jobs have open.
    limit: Arc<Limit>,
    /// Those of nobody in particular.
    others: Share,
    /// Of the sessions that are opened by [`Self::approach`].
    approached: Arc<Limit>,
    approaching: Share,
    profiles: Arc<Profiles>,
    clock: Arc<dyn Clock>,
    /// Whether the server was asked, for want of a greeting, if it wants TLS first.
    asked_for_tls: AtomicBool,
    /// How fast files may cross.
    ways: Ways,
    /// Until when the certificate is good that it is shown.
    own_certificate_good_until: Option<Timestamp>,
    /// What the server can do, as the machine at this address said last.
    told: Mutex<Option<(SocketAddr, Features)>>,
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
        let (limit, approached) = (Limit::new(server.connections), Limit::new(server.connections));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ways = ways(&server, &clock);
        let own_certificate_good_until = own_certificate_good_until(&server);
        let server = Arc::new(server);
        let lessons = Lessons::new(Arc::clone(&server), Arc::clone(&profiles));
        Ok(Self {
            server,
            endpoint,
            lessons,
            others: limit.join(),
            limit,
            approaching: approached.join(),
            approached,
            profiles,
            clock,
            asked_for_tls: AtomicBool::new(false),
            ways,
            own_certificate_good_until,
            told: Mutex::default(),
        })
    }

    /// Until when our own certificate is good that the server is shown, as it was read when this was made.
    pub const fn own_certificate_good_until(&self) -> Option<Timestamp> {
        self.own_certificate_good_until
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let ways = ways(&self.server, &clock);
        Self { clock, ways, ..self }
    }

    /// A job's share in the sessions: as many in all as the configuration allows, or fewer where the
    /// server was seen to refuse one more, by `doctor` or by a run. A day after that, one more is
    /// tried again.
    pub fn share(&self) -> Share {
        let configured = self.server.connections;
        let (now, profile) = (self.now(), self.profile());
        let most = profile.connections.and_then(NonZeroU16::new).map_or(configured, |learned| {
            match profile.connections_seen {
                None => {
                    self.learn(|profile| profile.connections_seen = Some(now));
                    learned
                }
                // Seen in the future: the clock was set back, and says nothing of how long ago it was.
                Some(seen) if (0..LIMIT_REMEMBERED_SECONDS).contains(&now.saturating_sub(seen)) => learned,
                Some(_) => learned.saturating_add(1),
            }
        });
        let active = matches!(self.server.network.data, DataMode::Active(_));
        let alone = active && profile.crowds == Ability::No;
        self.limit.set_most(if alone { NonZeroU16::MIN } else { most.min(configured) });
        self.limit.join()
    }

    /// Takes in that the server does not bear sessions beside each other: from now on, none is opened
    /// while another one is open.
    pub fn serve_alone(&self) {
        self.limit.set_most(NonZeroU16::MIN);
    }

    /// Most sessions that jobs have open at once, as far as is known by now.
    pub fn sessions(&self) -> u16 {
        self.limit.most()
    }

    fn now(&self) -> i64 {
        self.clock.now().unix_nanos() / 1_000_000_000
    }

    /// Remembers how many sessions the server allows at once, as far as is known by now.
    fn learn_limit(&self) {
        let now = self.now();
        self.learn(|profile| {
            // Read here, so that of two refusals the later one counts.
            let most = self.limit.most();
            (profile.connections, profile.connections_seen) =
                if most < self.server.connections.get() { (Some(most), Some(now)) } else { (None, None) };
        });
    }

    /// Whether a session with the server was open before, by this process or an earlier one.
    pub fn was_met(&self) -> bool {
        self.profile().certificate_expires.is_some()
    }

    /// What has been learned of the server.
    pub fn profile(&self) -> Profile {
        self.profiles.of(&self.server)
    }

    /// Keeps what was learned of the server. Returns whether it is news. Waits for no disk.
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

    /// What the login of a session asks for beside another one, which was open just now: not what the machine at this
    /// address can do, where it has told it; and a port for a file, where it was not seen to mind.
    pub fn extras(&self, peer: SocketAddr) -> Extras {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let features = told.as_ref().filter(|(who, _)| *who == peer).map(|(_, features)| features.clone());
        let profile = self.profile();
        let minds = profile.pipelining == Ability::No || profile.overlap == Ability::No;
        let port =
            if minds || !self.lessons.may_overlap() { FirstPort::WhenNeeded } else { FirstPort::WithLogin };
        Extras { features, port }
    }

    /// Opens a session for nobody in particular, as soon as the server's limit allows one more.
    pub async fn connect(&self) -> Result<Connection, FtpsError> {
        let permit = self.others.permit(Haste::Waiting).await;
        self.connect_with(permit, &AtOnce).await.map_err(Unopened::into_error)
    }

    /// Opens a session, some milliseconds after the last one at least. What a refusal says of how many
    /// sessions the server allows is heeded from then on, and remembered. Once the server was found good,
    /// leave to log in is waited for.
    pub async fn connect_with(
        &self,
        mut permit: Permit,
        before: &dyn BeforeLogin,
    ) -> Result<Connection, Unopened> {
        self.limit.pace().await;
        let began = Instant::now();
        let error = match Box::pin(self.open(before)).await {
            Ok(session) => {
                let open = permit.opened(began.elapsed());
                if self.profile().connections.is_some_and(|learned| open > learned) {
                    self.learn_limit();
                }
                return Ok(self.connection(session, permit));
            }
            Err(error) => self.explained(error).await,
        };
        if !is_of_the_limit(&error) {
            return Err(Unopened::Failed(error));
        }
        match permit.refused() {
            Refused::Alone => Err(Unopened::Failed(error)),
            Refused::Full => {
                self.learn_limit();
                Err(Unopened::Full(error))
            }
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
    /// soon as the server's limit allows one more. What was learned of the server is not heeded, but that
    /// a passive port could not be reached just now: the next one is asked for by the other command.
    pub async fn approach(&self, max: TlsVersion, note: Noted<'_>) -> Result<Connection, FtpsError> {
        let permit = self.approaching.permit(Haste::Waiting).await;
        self.approach_with(permit, max, note).await
    }

    /// The same, if the configuration allows one more right now; else `None`.
    pub async fn approach_another(&self, max: TlsVersion) -> Option<Result<Connection, FtpsError>> {
        let permit = self.approaching.permit_now()?;
        Some(self.approach_with(permit, max, &mut |_| {}).await)
    }

    /// How many sessions are open that were opened by [`Self::approach`].
    pub fn approached(&self) -> u16 {
        self.approached.taken()
    }

    async fn approach_with(
        &self,
        permit: Permit,
        max: TlsVersion,
        note: Noted<'_>,
    ) -> Result<Connection, FtpsError> {
        let max_version = version(max).min(self.endpoint.max_version);
        let mut endpoint = Endpoint { max_version, ..self.endpoint.clone() };
        if let DataWay::Passive(PassiveWay { first, .. }) = &mut endpoint.data
            && let Some(instead) = self.lessons.passive_instead()
        {
            *first = instead;
        }
        match opening::open(&endpoint, &self.lessons, note, &AtOnce).await {
            Ok((session, pipelining)) => Ok(self.connection((session, pipelining), permit)),
            Err(error) => Err(self.explained(error).await),
        }
    }

    fn connection(&self, (session, pipelining): (Session, Ability), permit: Permit) -> Connection {
        let info = session.info();
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((info.peer, session.features().clone()));
        if let Some(shown) = info.certificate_facts() {
            self.lessons.note_certificate(shown.not_after);
        }
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
        let (overlap, ways) = (self.profile().overlap, self.ways.clone());
        Connection::new(session, facts, self.lessons.clone(), pipelining, overlap, permit, ways)
    }

    /// Opens a session in the TLS version whose sessions last, which asks for passive ports by the
    /// command that the server knows, and for other things as fast as it can follow.
    async fn open(&self, before: &dyn BeforeLogin) -> Result<(Session, Ability), FtpsError> {
        let profile = self.profile();
        let mut endpoint = self.endpoint.clone();
        if let DataWay::Passive(PassiveWay { first, .. }) = &mut endpoint.data {
            *first = self.lessons.passive_instead().unwrap_or(first_passive(profile.passive));
        }
        endpoint.pace = match profile.pipelining {
            Ability::Unknown | Ability::Yes => Pace::OneWrite,
            Ability::No => Pace::StepByStep,
        };
        let open =
            async |endpoint: &Endpoint| opening::open(endpoint, &self.lessons, &mut |_| {}, before).await;
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

/// Whether a refusal means that the server takes no more sessions, where others of ours are open: a
/// login with the same password has just been good.
fn is_of_the_limit(error: &FtpsError) -> bool {
    match error.trouble() {
        Trouble::Busy => true,
        Trouble::Barred => matches!(error, FtpsError::LoginRefused { .. }),
        Trouble::Passing
        | Trouble::Crowded
        | Trouble::NotNow
        | Trouble::Refused
        | Trouble::NoSpace
        | Trouble::Trust
        | Trouble::SessionsUsedUp
        | Trouble::Unsendable => false,
    }
}

/// Reads the certificates, keys and lists that a server's definition names, and throws them away:
/// would a session find them good? Blocks.
pub fn check_tls(server: &Server) -> Result<(), TlsSettingsError> {
    TlsSettings::new(&tls_options(server)).map(|_| ())
}

/// Until when our own certificate is good that a server is shown; `None` where it is shown none, or the file cannot
/// be read, which is told where it is used. Blocks.
pub fn own_certificate_good_until(server: &Server) -> Option<Timestamp> {
    let own = server.client_certificate.as_ref()?;
    own_good_until(&own.cert_file).map(|seconds| Timestamp::from_unix(seconds, 0))
}

/// Both ways to a server.
fn ways(server: &Server, clock: &Arc<dyn Clock>) -> Ways {
    let way = |says| {
        Arc::new(Throttle::new(server.name.clone(), server.bandwidth.clone(), Arc::clone(clock), says))
    };
    Ways { up: way(Says::Changes), down: way(Says::Nothing) }
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
