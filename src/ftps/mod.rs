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
//! - Data connections go to the control connection's peer, and resume its TLS session or show
//!   its certificate.
//! - Each exchange has a deadline, each answer a limit ([`Deadlines`], `limits.rs`).
//! - The reply that ends an upload proves nothing about what was stored.

mod command;
mod control;
mod data;
mod error;
mod features;
pub mod limits;
mod listing;
mod login;
mod look;
mod passive;
mod reply;
mod session;
mod tls;

pub use self::command::{Argument, ArgumentError, Command, MAX_ARGUMENT_BYTES, Password, TimeDialect};
pub use self::error::{FtpsError, OtherProtocol, Renewal, Step, Trouble};
pub use self::features::{Features, HashSupport, sha256_of};
pub use self::limits::Deadlines;
pub use self::listing::{mlsd_names, nlst_names};
pub use self::login::{Endpoint, Milestone, Noted, TlsStart};
pub use self::look::{LookAt, Seen, look};
pub use self::reply::{Reply, ReplyError, ReplyKind};
pub use self::session::{DataFacts, DataHandshake, Download, Listing, Session, SessionInfo, Upload};
pub use self::tls::{
    CertificateFacts, SignedBy, TlsError, TlsOptions, TlsSettings, TlsSettingsError, Version,
};
