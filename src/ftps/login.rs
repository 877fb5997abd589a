//! From nothing to a session: TCP, greeting, TLS, login, protection of data connections.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use rustls::ProtocolVersion;

use super::charset::Charset;
use super::command::{Argument, Command, Password};
use super::connect::connect;
use super::control::{ClearControl, Control, TlsControl};
use super::data::Identity;
use super::error::{FtpsError, Step};
use super::features::Features;
use super::limits::Deadlines;
use super::look::{LookAt, look};
use super::reply::{Reply, ReplyKind};
use super::session::{DataPlan, Session, SessionInfo, fingerprint};
use super::tls::{SessionTls, TlsError, TlsSettings, Version, server_name};
use super::way::{DataWay, Family};

/// When TLS begins (RFC 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsStart {
    /// After `AUTH TLS`.
    Explicit,
    /// With the first byte.
    Implicit,
}

/// How a session is logged in and set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pace {
    /// By one write, in one round trip.
    #[default]
    OneWrite,
    /// Each command once the one before is answered, for servers that lose or mix up the others.
    StepByStep,
}

/// Where a server is, how to trust it, and as whom to log in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A DNS name or IP address.
    pub host: String,
    /// The TCP port of the control connection.
    pub port: u16,
    /// Which of its addresses are used.
    pub family: Family,
    /// Who opens data connections.
    pub data: DataWay,
    /// When TLS begins.
    pub start: TlsStart,
    /// The oldest TLS version to speak.
    pub min_version: Version,
    /// The newest.
    pub max_version: Version,
    /// What is trusted and shown.
    pub tls: TlsSettings,
    /// The encoding of paths, and of all texts of the control connection.
    pub charset: Charset,
    /// How a session is logged in and set up.
    pub pace: Pace,
    /// The login name.
    pub user: Argument,
    /// The password.
    pub password: Password,
    /// How long things may take.
    pub deadlines: Deadlines,
}

/// What has been reached on the way to a session, in this order; with implicit TLS the greeting
/// comes behind the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The host's addresses.
    Resolved(Vec<SocketAddr>),
    /// TCP to this one.
    Connected(SocketAddr),
    /// The greeting.
    Greeted(Reply),
    /// The reply to `AUTH TLS`.
    TlsAgreed(Reply),
    /// TLS, with a certificate that was found good.
    Secured(SessionInfo),
    /// The reply that ended the login.
    LoggedIn(Reply),
    /// Data connections are protected.
    Protected,
}

/// Whoever wants to know of milestones.
pub type Noted<'n> = &'n mut (dyn FnMut(Milestone) + Send);

/// What comes before a server is told who we are.
pub trait BeforeLogin: Sync {
    /// The server has greeted.
    fn greeted(&self) {}

    /// The server, at this address, was found good. Waits until the user name and the password may go; [`Leave::No`]
    /// where they may not any more.
    fn leave(&self, peer: SocketAddr) -> Pin<Box<dyn Future<Output = Leave> + Send + '_>>;

    /// Whether that was waited for: then a session that is lost at its login may be lost because of it.
    fn has_waited(&self) -> bool;
}

/// Whether to log in.
#[derive(Clone, Debug)]
pub enum Leave {
    /// Yes.
    Given(Extras),
    /// No: the connection is given up.
    No,
}

/// What a login asks for more or less than every other one does.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// What the server can do, where it has told another session: it is not asked again.
    pub features: Option<Features>,
    /// When a port for the first transfer is asked for.
    pub port: FirstPort,
}

/// When a session asks for the port of its first transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstPort {
    /// Once there is something to transfer.
    #[default]
    WhenNeeded,
    /// In one write with the login, which saves a round trip: where data connections are opened by us, and not step by
    /// step. Refused, it is asked for again once it is needed.
    WithLogin,
}

/// Nothing comes between.
#[derive(Clone, Copy, Debug)]
pub struct AtOnce;

impl BeforeLogin for AtOnce {
    fn leave(&self, _: SocketAddr) -> Pin<Box<dyn Future<Output = Leave> + Send + '_>> {
        Box::pin(std::future::ready(Leave::Given(Extras::default())))
    }

    fn has_waited(&self) -> bool {
        false
    }
}

impl Session {
    /// Opens a session. Nothing but `AUTH TLS` is sent before the server's certificate was found
    /// good, and no file name before it agreed to protect data connections.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, FtpsError> {
        Self::open_noting(endpoint, &mut |_| {}, &AtOnce).await
    }

    /// The same, telling what is reached on the way, and waiting for leave to log in.
    pub async fn open_noting(
        endpoint: &Endpoint,
        note: Noted<'_>,
        before: &dyn BeforeLogin,
    ) -> Result<Self, FtpsError> {
        let tls = endpoint.tls.for_session(endpoint.min_version, endpoint.max_version);
        let offer = tls.offer.clone();
        Self::open_over(tls, endpoint, note, before).await.map_err(|error| error.knowing(&offer))
    }

    async fn open_over(
        tls: SessionTls,
        endpoint: &Endpoint,
        note: Noted<'_>,
        before: &dyn BeforeLogin,
    ) -> Result<Self, FtpsError> {
        let deadlines = &endpoint.deadlines;
        let name = server_name(&endpoint.host).map_err(FtpsError::Tls)?;
        let SessionTls { config, jar, offer } = tls;
        let (host, port) = (&endpoint.host, endpoint.port);
        let (tcp, peer) = connect(host, port, endpoint.family, deadlines.connect, note).await?;
        let local = tcp.local_addr().map_err(|source| FtpsError::Io { step: Step::Connect, source })?;
        let data = DataPlan::new(endpoint.data.clone(), local);
        let clear = ClearControl::new(tcp, peer);
        let mut control = match endpoint.start {
            TlsStart::Implicit => {
                let mut control = clear.into_tls(config.clone(), name.clone(), deadlines.handshake).await?;
                note(Milestone::Secured(session_info(&control)?));
                note(Milestone::Greeted(greeting(&mut control, deadlines.greeting).await?));
                before.greeted();
                control
            }
            TlsStart::Explicit => {
                let mut clear = clear;
                note(Milestone::Greeted(greeting(&mut clear, deadlines.greeting).await?));
                before.greeted();
                note(Milestone::TlsAgreed(auth_tls(&mut clear, deadlines.reply).await?));
                let control = clear.into_tls(config.clone(), name.clone(), deadlines.handshake).await?;
                note(Milestone::Secured(session_info(&control)?));
                control
            }
        };
        let info = session_info(&control)?;
        control.set_charset(endpoint.charset);
        let Leave::Given(extras) = before.leave(peer).await else { return Err(FtpsError::Abandoned) };
        let first_port = match (extras.port, endpoint.pace, &endpoint.data) {
            (FirstPort::WithLogin, Pace::OneWrite, DataWay::Passive(_)) => Some(data.passive_command()),
            (FirstPort::WithLogin | FirstPort::WhenNeeded, _, _) => None,
        };
        let (setup, port) = login(&mut control, endpoint, (extras.features, first_port), note).await?;
        let identity = Identity { config, name, certificate: info.certificate_der.clone(), offer };
        let mut session = Session::new(control, identity, jar, info, endpoint.charset, *deadlines, data);
        session.set_up(setup.features, setup.home);
        if let Some(reply) = port {
            session.reserve(&reply)?;
        }
        Ok(session)
    }
}

impl Endpoint {
    /// Whether a server that does not greet answers a TLS handshake: one of implicit TLS waits for it
    /// as we wait for its greeting. Nothing is sent but that handshake, and nothing that it shows is
    /// trusted.
    pub async fn waits_for_tls(&self) -> bool {
        let Self { host, port, family, deadlines, .. } = self.clone();
        let seen = look(&LookAt { host, port, family, start: TlsStart::Implicit, deadlines }).await;
        matches!(
            seen,
            Ok(_) | Err(FtpsError::Tls(TlsError::Certificate(_) | TlsError::NothingInCommon { .. }))
        )
    }
}

pub(super) async fn greeting<S>(control: &mut Control<S>, limit: Duration) -> Result<Reply, FtpsError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // 120 (service ready in n minutes) may come first.
    let reply = control.final_reply(Step::Greeting, limit).await?;
    if reply.code() == 220 { Ok(reply) } else { Err(FtpsError::GreetingRefused { reply }) }
}

pub(super) async fn auth_tls(control: &mut ClearControl, limit: Duration) -> Result<Reply, FtpsError> {
    control.send(&[Command::AuthTls], limit).await?;
    let reply = control.reply(Step::Command("AUTH TLS"), limit).await?;
    if reply.code() == 234 { Ok(reply) } else { Err(FtpsError::TlsRefused { reply }) }
}

fn session_info(control: &TlsControl) -> Result<SessionInfo, FtpsError> {
    let (_, tls) = control.stream().get_ref();
    let missing = |what: &str| FtpsError::Tls(TlsError::Other(format!("the handshake gave no {what}")));
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
        Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
        _ => return Err(missing("version")),
    };
    let suite = tls.negotiated_cipher_suite().ok_or_else(|| missing("cipher suite"))?;
    let group = tls.negotiated_key_exchange_group();
    let certificate = tls.peer_certificates().and_then(<[_]>::first).ok_or_else(|| missing("certificate"))?;
    Ok(SessionInfo {
        peer: control.peer(),
        version,
        cipher: suite.suite().as_str().unwrap_or("unknown").to_owned(),
        group: group.and_then(|group| group.name().as_str()).unwrap_or("unknown").to_owned(),
        certificate: fingerprint(certificate),
        certificate_der: certificate.clone().into_owned(),
    })
}

/// What a server says of itself after the login.
#[derive(Default)]
struct Setup {
    features: Features,
    /// The folder in which relative paths begin.
    home: Option<Argument>,
}

/// Logs in and sets the session up: all in one write, and so in one round trip, or step by step. What the server can do
/// is asked unless it is known. Returns the reply to `port` as well, which asks for one.
async fn login(
    control: &mut TlsControl,
    endpoint: &Endpoint,
    (known, port): (Option<Features>, Option<Command>),
    note: Noted<'_>,
) -> Result<(Setup, Option<Reply>), FtpsError> {
    let limit = endpoint.deadlines.reply;
    let commands = setup_commands(endpoint.charset, known.is_none(), port);
    match endpoint.pace {
        Pace::OneWrite => {
            let (user, password) = (endpoint.user.clone(), endpoint.password.clone());
            let mut all = vec![Command::User(user), Command::Pass(password)];
            all.extend(commands.iter().cloned());
            control.send(&all, limit).await?;
            note(Milestone::LoggedIn(log_in_ahead(control, limit).await?));
        }
        Pace::StepByStep => note(Milestone::LoggedIn(log_in(control, endpoint, limit).await?)),
    }
    let mut replies = Vec::with_capacity(commands.len());
    for command in &commands {
        if endpoint.pace == Pace::StepByStep {
            control.send(std::slice::from_ref(command), limit).await?;
        }
        let verb = command.verb();
        let reply = control.final_reply(Step::Command(verb), limit).await?;
        if answers_another(command, &reply) {
            return Err(FtpsError::Unexpected { verb, reply });
        }
        replies.push((command, reply));
    }
    let (mut setup, mut offered) = (Setup { features: known.unwrap_or_default(), home: None }, None);
    for (command, reply) in replies {
        let done = reply.kind() == ReplyKind::Done;
        match command {
            Command::Pbsz | Command::ProtPrivate if !done => {
                return Err(FtpsError::ProtectionRefused { verb: command.verb(), reply });
            }
            Command::TypeImage if !done => {
                return Err(FtpsError::Refused { verb: command.verb(), reply });
            }
            Command::Pwd => setup.home = home_of(&reply, endpoint.charset),
            Command::Feat => setup.features = Features::parse(&reply),
            Command::Epsv | Command::Pasv => offered = Some(reply),
            // Whether UTF-8 was agreed to does not matter: Pure-FTPd says 504 and stores it all the same.
            _ => {}
        }
    }
    note(Milestone::Protected);
    Ok((setup, offered))
}

/// What goes behind a user name and a password.
fn setup_commands(charset: Charset, asks_features: bool, port: Option<Command>) -> Vec<Command> {
    let mut commands = vec![Command::Pbsz, Command::ProtPrivate, Command::TypeImage];
    if charset == Charset::UTF_8 {
        commands.push(Command::OptsUtf8);
    }
    commands.push(Command::Pwd);
    commands.extend(port);
    if asks_features {
        // It comes last: vsftpd 3.0.3 writes its answer in pieces, each of which waits for the one before.
        commands.push(Command::Feat);
    }
    commands
}

/// Logs in, the password once it is asked for. Returns the reply that ended the login.
async fn log_in(control: &mut TlsControl, endpoint: &Endpoint, limit: Duration) -> Result<Reply, FtpsError> {
    let reply = ask(control, Command::User(endpoint.user.clone()), limit).await?;
    let reply = match reply.code() {
        331 => ask(control, Command::Pass(endpoint.password.clone()), limit).await?,
        _ => reply,
    };
    match (reply.code(), reply.kind()) {
        (_, ReplyKind::Done) => Ok(reply),
        (332, _) => Err(FtpsError::AccountWanted { reply }),
        _ => Err(FtpsError::LoginRefused { reply }),
    }
}

/// Takes the replies to a user name and a password that went in one write with what follows them.
/// What cannot be the reply to them is an answer to something else: a wrong password must never be
/// told of a server that only mixes things up.
async fn log_in_ahead(control: &mut TlsControl, limit: Duration) -> Result<Reply, FtpsError> {
    let user = Command::USER;
    let named = control.final_reply(Step::Command(user), limit).await?;
    match (named.code(), named.kind()) {
        (331, _) | (_, ReplyKind::Done) => {}
        (332, _) => return Err(FtpsError::AccountWanted { reply: named }),
        (_, ReplyKind::Transient | ReplyKind::Permanent) => {
            return Err(FtpsError::LoginRefused { reply: named });
        }
        (_, ReplyKind::Preliminary | ReplyKind::Continue) => {
            return Err(FtpsError::Unexpected { verb: user, reply: named });
        }
    }
    let verb = Command::PASS;
    let reply = control.final_reply(Step::Command(verb), limit).await?;
    match (named.code(), reply.code(), reply.kind()) {
        // Logged in already, by a certificate: whatever it says of a password then (230, 202, 503).
        (code, _, _) if code != 331 => Ok(named),
        (_, 202 | 230 | 232, _) => Ok(reply),
        (_, 332, _) => Err(FtpsError::AccountWanted { reply }),
        // It did not see that a user was named before, or reads no password before it has asked for it.
        (_, 500..=504, _) | (_, _, ReplyKind::Preliminary | ReplyKind::Done | ReplyKind::Continue) => {
            Err(FtpsError::Unexpected { verb, reply })
        }
        (_, _, ReplyKind::Transient | ReplyKind::Permanent) => Err(FtpsError::LoginRefused { reply }),
    }
}

/// Whether a reply is none to this command of the set-up: `PWD` alone is answered by 257, `FEAT` alone by 211, and
/// what asks for a port by 227 or 229 (RFC 959, RFC 2389, RFC 2428).
fn answers_another(command: &Command, reply: &Reply) -> bool {
    match reply.code() {
        257 => !matches!(command, Command::Pwd),
        211 => !matches!(command, Command::Feat),
        227 | 229 => !matches!(command, Command::Epsv | Command::Pasv),
        _ => false,
    }
}

async fn ask(control: &mut TlsControl, command: Command, limit: Duration) -> Result<Reply, FtpsError> {
    let step = Step::Command(command.verb());
    control.send(&[command], limit).await?;
    control.final_reply(step, limit).await
}

/// The folder in a reply to `PWD`: `257 "folder" …`, a quote in its name doubled (RFC 959,
/// appendix II), which Pure-FTPd leaves out.
pub(super) fn home_of(reply: &Reply, charset: Charset) -> Option<Argument> {
    let (_, rest) = (reply.code() == 257).then(|| reply.last_line().split_once('"'))??;
    let (folder, _) = rest.rsplit_once('"')?;
    // A folder that could not be read is none that can be named.
    let folder = Some(folder).filter(|folder| !folder.contains(char::REPLACEMENT_CHARACTER))?;
    Argument::encoded(&folder.replace("\"\"", "\""), charset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftps::reply::ReplyParser;

    #[test]
    fn the_login_folder_in_the_words_of_real_servers() {
        let check = |line: &str, home: Option<&str>| {
            let mut parser = ReplyParser::default();
            parser.feed(format!("{line}\r\n").as_bytes()).unwrap();
            let found = parser.next_reply().and_then(|reply| home_of(&reply, Charset::UTF_8));
            assert_eq!(found.as_ref().map(Argument::as_str), home, "{line}");
        };
        check("257 \"/\" is the current directory", Some("/"));
        check("257 \"/p/q\"\"q\"", Some("/p/q\"q"));
        check("257 \"/p/q\"q\" is your current location", Some("/p/q\"q"));
        check("257 /p", None);
        check("257 \"\"", None);
        check("257 \"/\u{fffd}\"", None);
        check("550 \"/p\"", None);
    }
}
