//! What can go wrong with a session, as situations.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::command::ArgumentError;
use super::connect::Causes;
use super::reply::{Reply, ReplyError, ReplyKind};
use super::tls::{Offer, OwnCertificate, TlsError};
use super::way::family_name;
use crate::plain::Plain;

/// What was being done when something went wrong, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Resolving the name and opening the TCP connection.
    Connect,
    /// Waiting for the greeting.
    Greeting,
    /// The TLS handshake of the control connection.
    Handshake,
    /// A command, by its verb.
    Command(&'static str),
    /// Opening a data connection.
    DataConnect,
    /// The TLS handshake of a data connection.
    DataHandshake,
    /// Sending or receiving file bytes.
    Transfer,
    /// Waiting for the reply after a transfer.
    FinalReply,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Greeting => "waiting for the server's greeting",
            Self::Handshake => "the TLS handshake",
            Self::Command(verb) => return write!(f, "waiting for the reply to {verb}"),
            Self::DataConnect => "opening the data connection",
            Self::DataHandshake => "the data connection's TLS handshake",
            Self::Transfer => "transferring data",
            Self::FinalReply => "waiting for the reply after the transfer",
        })
    }
}

/// What a server that does not speak FTP seems to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// An SSH banner.
    Ssh,
    /// An HTTP reply.
    Http,
    /// A TLS record where a plain greeting was expected.
    Tls,
}

/// Why something could not be done on a server.
#[derive(Debug, thiserror::Error)]
pub enum FtpsError {
    /// The host name has no address.
    #[error(
        "cannot find the address of {host}: {}; check `host` and this machine's name resolution",
        Plain(source)
    )]
    Resolve {
        /// The configured host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The host name has addresses, but none of the family that the configuration asks for.
    #[error(
        "{host} has no {} address, which `address_family` asks for; it has {other}",
        if other.is_ipv4() { "IPv6" } else { "IPv4" }
    )]
    NoAddress {
        /// The configured host.
        host: String,
        /// An address of the other family.
        other: IpAddr,
    },
    /// No address of the host takes a connection.
    #[error(
        "cannot connect to {host} port {port} ({}); check `host`, `port` and firewalls on the way",
        causes.in_words(host)
    )]
    Connect {
        /// The configured host.
        host: String,
        /// The configured port.
        port: u16,
        /// Why, for each address.
        causes: Causes,
    },
    /// Something took longer than it may.
    #[error("{step} took longer than {} s{}", limit.as_secs_f32(), silence(*step))]
    Timeout {
        /// What.
        step: Step,
        /// The limit.
        limit: Duration,
    },
    /// The server ended the connection.
    #[error("the server closed the connection while {step}")]
    Closed {
        /// What was being done.
        step: Step,
    },
    /// The network failed.
    #[error("the connection failed while {step}: {}", Plain(source))]
    Io {
        /// What was being done.
        step: Step,
        /// Why.
        source: io::Error,
    },
    /// What came on a connection is no valid TLS any more. vsftpd reports internal errors in
    /// plain text in the middle of the stream.
    #[error("the connection was garbled while {step}: {detail}")]
    Garbled {
        /// What was being done.
        step: Step,
        /// What TLS says.
        detail: String,
    },
    /// Another protocol is spoken on the port.
    #[error("{}", other_protocol(*.0))]
    OtherProtocol(OtherProtocol),
    /// What came is no FTP reply.
    #[error("{0}")]
    BadReply(#[from] ReplyError),
    /// The server says that it ends the session, or takes nobody at the moment (421).
    #[error("the server ended the session: {reply}")]
    Closing {
        /// Its reply.
        reply: Reply,
    },
    /// The greeting is a refusal.
    #[error("the server refused the connection: {reply}")]
    GreetingRefused {
        /// Its reply.
        reply: Reply,
    },
    /// The server does not do explicit TLS.
    #[error(
        "the server does not take AUTH TLS, so nothing was sent: {reply}; it may want `tls: implicit` on port 990"
    )]
    TlsRefused {
        /// Its reply.
        reply: Reply,
    },
    /// Bytes in clear came behind the reply to `AUTH TLS`: someone on the way adds replies.
    #[error(
        "plain-text bytes followed the server's answer to AUTH TLS: someone may be tampering with the connection"
    )]
    Injected,
    /// There is no TLS on the control connection.
    #[error("{0}")]
    Tls(#[source] TlsError),
    /// There is no TLS on the data connection.
    #[error("data connection: {}", data_tls(.0))]
    DataTls(TlsError),
    /// The data connection neither resumed the control connection's session nor showed its
    /// certificate.
    #[error(
        "the data connection does not lead to the same server as the control connection; nothing was sent"
    )]
    OtherPeer,
    /// The login was refused.
    #[error("the server refused the login: {reply}; check `username` and `password`")]
    LoginRefused {
        /// Its reply.
        reply: Reply,
    },
    /// The server wants an account (ACCT), which is not supported.
    #[error("the server wants an account besides user and password (ACCT), which is not supported: {reply}")]
    AccountWanted {
        /// Its reply.
        reply: Reply,
    },
    /// The server does not protect data connections.
    #[error("the server refused to protect data connections ({verb}: {reply}), so nothing was sent")]
    ProtectionRefused {
        /// The command that it refused.
        verb: &'static str,
        /// Its reply.
        reply: Reply,
    },
    /// A command was refused; the session goes on.
    #[error("{verb} was refused: {reply}")]
    Refused {
        /// The command.
        verb: &'static str,
        /// The reply.
        reply: Reply,
    },
    /// A reply has another code than the protocol allows here.
    #[error("the reply to {verb} makes no sense: {reply}")]
    Unexpected {
        /// The command.
        verb: &'static str,
        /// The reply.
        reply: Reply,
    },
    /// The passive port cannot be reached.
    #[error(
        "cannot open the data connection to {address}, which {verb} named: {}; are the server's passive ports open \
         in the firewall?",
        Plain(source)
    )]
    DataConnect {
        /// What the port was asked for by.
        verb: &'static str,
        /// The control connection's peer, with the passive port.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Active mode: the server did not connect to the port that it was told.
    #[error(
        "the server did not open the data connection to {announced}: {why}; in active mode it must be able to \
         reach this port: open `ports` in this machine's firewall (a wide range: many servers cannot use a port \
         again for a minute), and give `announce` where NAT stands between, or use `mode: passive`"
    )]
    NotCalled {
        /// What it was told.
        announced: SocketAddr,
        /// What happened instead.
        why: Uncalled,
    },
    /// Active mode: the server does not connect to clients, or not to this address.
    #[error(
        "the server refused active mode ({verb} {announced}: {reply}); `announce` must be the address that the \
         server sees, or use `mode: passive`"
    )]
    ActiveRefused {
        /// The command that it refused last.
        verb: &'static str,
        /// What it was told.
        announced: SocketAddr,
        /// Its reply.
        reply: Reply,
    },
    /// Active mode: no port can be listened at.
    #[error(
        "cannot listen at {address} for data connections: {}; `listen` must be an address of this machine",
        Plain(source)
    )]
    Listen {
        /// The local address.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Active mode: other programs, or other transfers, have all the ports.
    #[error(
        "all `ports` from {} to {} are in use at {address}: widen the range, or lower `connections`",
        ports.start(),
        ports.end()
    )]
    PortsInUse {
        /// The local address.
        address: IpAddr,
        /// The configured ports.
        ports: RangeInclusive<u16>,
    },
    /// Active mode: a configured address is of another family than the control connection.
    #[error(
        "`{key}` is {address}, and the server was reached over {}: give an address of that family, or another \
         `address_family`",
        family_name(*peer)
    )]
    OtherFamily {
        /// `listen` or `announce`.
        key: &'static str,
        /// The configured address.
        address: IpAddr,
        /// The control connection's peer.
        peer: IpAddr,
    },
    /// The TLS 1.3 tickets of this session are used up. Nothing was sent.
    #[error("the server gave no more TLS sessions to resume on data connections")]
    SessionsUsedUp {
        /// Whether it gave any on data connections.
        renewal: Renewal,
    },
    /// A listing is longer than its limit.
    #[error("the server's listing holds more than {limit} {what}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A user name, password or path cannot be sent.
    #[error("{what} cannot be sent: {source}")]
    Argument {
        /// What.
        what: &'static str,
        /// Why.
        source: ArgumentError,
    },
    /// An earlier exchange was given up midway: what comes next cannot be told apart.
    #[error("the session was given up in the middle of an exchange")]
    Abandoned,
}

/// Whether a server's data connections bring fresh TLS 1.3 tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// They do: a fresh control connection will last.
    Seen,
    /// They do not (ProFTPD 1.3.8): TLS 1.2, whose sessions can be resumed any number of times,
    /// is the way.
    Never,
}

/// What happened in place of the server's call in active mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncalled {
    /// The server said that it could not, and the session goes on.
    Refused(Reply),
    /// The server ended the session over it (421), after a while in which it could not, or forgot to.
    ///
    /// pyftpdlib 2.2.0 says so after 30 s, and not only where a firewall swallows its call: it keeps the
    /// number of each active data connection's file descriptor (`ActiveDTP.close`), and takes whatever
    /// has that number when the same client sends its next `EPRT` out of its `epoll` set. With
    /// several sessions that is now and then another session's call, upload or control connection,
    /// which then hears nothing more. (Seen by strace: `connect(9)` for one session, then
    /// `epoll_ctl(DEL, 9)` at another's `EPRT`, and no look at 9 until the 421.) One session at a time does not
    /// meet it.
    Ended(Reply),
    /// Nobody called.
    Silence {
        /// How long it was waited for.
        limit: Duration,
    },
    /// Somebody else than the control connection's peer did, and was turned away: somebody on the
    /// network, or the server itself from another of its addresses.
    Stranger {
        /// The address that it came from.
        who: IpAddr,
    },
}

impl std::fmt::Display for Uncalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reply) => write!(f, "it says {reply}"),
            Self::Ended(reply) => write!(
                f,
                "it ended the session with {reply} (pyftpdlib does so where several sessions are active: then \
                 `connections: 1` is the remedy)"
            ),
            Self::Silence { limit } => write!(f, "nobody did within {} s", limit.as_secs_f32()),
            Self::Stranger { who } => {
                write!(f, "{who} did instead, and only the address that the control connection leads to may")
            }
        }
    }
}

/// On a data connection the configured beginning of TLS is not what is wrong: the control connection has it.
fn data_tls(error: &TlsError) -> String {
    match error {
        TlsError::NotTls => {
            "what answers at its port does not speak TLS; is a proxy or a load balancer in the way?"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// What a silence may mean.
fn silence(step: Step) -> &'static str {
    match step {
        // A server of implicit TLS waits for our handshake as we wait for its greeting.
        Step::Greeting => "; it may want `tls: implicit`, or another port",
        Step::Connect
        | Step::Handshake
        | Step::Command(_)
        | Step::DataConnect
        | Step::DataHandshake
        | Step::Transfer
        | Step::FinalReply => "",
    }
}

fn other_protocol(protocol: OtherProtocol) -> &'static str {
    match protocol {
        OtherProtocol::Ssh => {
            "this port speaks SSH: it is for SFTP, which is another protocol than FTPS; ask for the FTPS port"
        }
        OtherProtocol::Http => "this port speaks HTTP, not FTPS; check `host` and `port`",
        OtherProtocol::Tls => {
            "this port speaks TLS from the first byte; give `tls: implicit` for this server"
        }
    }
}

/// What an error means for the session and for what was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The network or the server, for now; with a new session it may work.
    Passing,
    /// The server takes no more connections at the moment.
    Busy,
    /// The server may not be able to serve several sessions in active mode at once.
    Crowded,
    /// The command was refused for now (4xx); the session goes on.
    NotNow,
    /// The command was refused (5xx); the session goes on.
    Refused,
    /// Disk full or quota (452, 552).
    NoSpace,
    /// Login, protection, account: no session will work.
    Barred,
    /// Certificate, TLS, or a sign of tampering.
    Trust,
    /// The session's TLS tickets are used up; a new session is needed.
    SessionsUsedUp,
    /// What was asked for cannot be sent at all.
    Unsendable,
}

impl FtpsError {
    /// The same, explained by what we offered in the handshake and what the server asked for. In
    /// TLS 1.3 a server judges our certificate after the handshake: one that asked for one, got none and
    /// hangs up before its first reply may have said so, in an alert that got lost. It may as well have been
    /// stopped just then, so this is worth another try.
    pub(super) fn knowing(self, offer: &Offer) -> Self {
        match self {
            Self::Tls(tls) => Self::Tls(tls.knowing(offer)),
            Self::DataTls(tls) => Self::DataTls(tls.knowing(offer)),
            Self::Closed { step: Step::Greeting | Step::Command("USER") }
            | Self::Io { step: Step::Greeting | Step::Command("USER"), .. }
                if offer.was_asked() && offer.own() == OwnCertificate::None =>
            {
                Self::Tls(TlsError::ClientCertificate { alert: None, own: offer.own() })
            }
            other => other,
        }
    }

    /// What the error means.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Resolve { .. }
            | Self::NoAddress { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Io { .. }
            | Self::Garbled { .. }
            | Self::BadReply(_)
            | Self::Unexpected { .. }
            | Self::DataConnect { .. }
            | Self::NotCalled { why: Uncalled::Silence { .. } | Uncalled::Stranger { .. }, .. }
            | Self::TooLong { .. }
            | Self::Abandoned
            // vsftpd says `500 OOPS` in plain text where its data connection fails.
            | Self::DataTls(TlsError::NotTls | TlsError::Other(_)) => Trouble::Passing,
            Self::NotCalled { why: Uncalled::Ended(_), .. } => Trouble::Crowded,
            Self::Closing { .. } => Trouble::Busy,
            Self::GreetingRefused { reply } => match reply.kind() {
                ReplyKind::Permanent => Trouble::Barred,
                _ => Trouble::Busy,
            },
            // ProFTPD's "too many clients" comes as 530 to PASS and looks like a wrong password.
            Self::LoginRefused { reply } => {
                let text = reply.to_string().to_ascii_lowercase();
                let busy = reply.kind() == ReplyKind::Transient
                    || ["too many", "maximum number", "already connected"]
                        .iter()
                        .any(|sign| text.contains(sign));
                if busy { Trouble::Busy } else { Trouble::Barred }
            }
            Self::AccountWanted { .. } | Self::ActiveRefused { .. } | Self::OtherFamily { .. } => Trouble::Barred,
            // Nothing was sent, and other transfers end.
            Self::NotCalled { why: Uncalled::Refused(_), .. }
            | Self::Listen { .. }
            | Self::PortsInUse { .. } => Trouble::NotNow,
            Self::TlsRefused { .. }
            | Self::ProtectionRefused { .. }
            | Self::OtherProtocol(_)
            | Self::Injected
            | Self::OtherPeer => Trouble::Trust,
            Self::Tls(tls) | Self::DataTls(tls) => match tls {
                // That it hung up after it had asked for a certificate may mean anything: vsftpd asks everybody.
                TlsError::Closed(_) | TlsError::ClientCertificate { alert: None, .. } => Trouble::Passing,
                TlsError::HostName { .. }
                | TlsError::Certificate(_)
                | TlsError::Unreadable { .. }
                | TlsError::ClientCertificate { alert: Some(_), .. }
                | TlsError::NothingInCommon { .. }
                | TlsError::OtherProtocol
                | TlsError::NotTls
                | TlsError::Other(_) => Trouble::Trust,
            },
            Self::Refused { reply, .. } => match (reply.code(), reply.kind()) {
                (452 | 552, _) => Trouble::NoSpace,
                (_, ReplyKind::Transient) => Trouble::NotNow,
                _ => Trouble::Refused,
            },
            Self::SessionsUsedUp { .. } => Trouble::SessionsUsedUp,
            Self::Argument { .. } => Trouble::Unsendable,
        }
    }
}
