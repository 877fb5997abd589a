//! An FTPS client for pushing files: RFC 959, 2228, 2389, 2428, 3659 and 4217, as real servers
//! understand them.
//!
//! Knows no job, no state and no policy: it opens sessions, exchanges commands and moves bytes,
//! and says exactly what went wrong. Parsers and commands ([`Reply`], [`Command`], features,
//! passive ports, listings) are pure; control and data connections drive them.
//!
//! What holds for every session:
//! - Nothing but `AUTH TLS` is ever sent in clear; there is no mode without TLS, on either
//!   connection.
//! - Data connections lead to the control connection's peer (unless a server's own word for the
//!   address is to be followed), and resume its TLS session or show its certificate.
//! - Where transfers overlap with other commands (`session::ahead`), each command is still answered in
//!   its place, and nothing is sent between `STOR` and the bytes.
//! - Each exchange has a deadline, each answer a limit ([`Deadlines`], `limits.rs`).
//! - The reply that ends an upload proves nothing about what was stored.

mod active;
mod charset;
mod command;
mod connect;
mod control;
mod data;
mod error;
mod features;
pub mod limits;
mod list;
mod listing;
mod login;
mod look;
mod passive;
mod reply;
mod session;
mod tls;
mod way;
#[doc(hidden)]
pub mod wire;

pub use self::charset::Charset;
pub use self::command::{Argument, ArgumentError, Command, MAX_ARGUMENT_BYTES, Password, TimeDialect};
pub use self::connect::Causes;
pub use self::error::{FtpsError, OtherProtocol, Renewal, Step, Trouble, Uncalled};
pub use self::features::{Features, HashSupport, sha256_of};
pub use self::limits::Deadlines;
pub use self::list::EntrySink;
pub use self::listing::{Entry, EntryKind, Listed, Modified};
pub use self::login::{
    AtOnce, BeforeLogin, Endpoint, Extras, FirstPort, Leave, Milestone, Noted, Pace, TlsStart,
};
pub use self::look::{LookAt, Seen, look};
pub use self::reply::{Reply, ReplyError, ReplyKind};
pub use self::session::{Along, Closing, DataFacts, DataHandshake, Download, Session, SessionInfo, Upload};
pub use self::tls::{
    Authorities, CertificateFacts, Defect, Distrust, Flaw, OwnCertificate, Policy, SignedBy, TlsError,
    TlsOptions, TlsSettings, TlsSettingsError, Version, own_good_until,
};
pub use self::way::{ActiveWay, DataWay, Family, NamedAddress, PassiveVerb, PassiveWay};
