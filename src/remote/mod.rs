//! Servers as jobs see them: sessions under one limit for all jobs, requests and answers in
//! Nightferry's terms, and what has been learned of each server.
//!
//! Knows no job and no state. Delivery speaks to servers through this module only.

mod connection;
mod lessons;
mod limit;
mod network;
mod opening;
mod profile;
mod request;
mod server;
mod throttle;
mod transfer;

pub use self::connection::{Along, Connection, Incoming, MAX_NAMES};
pub use self::limit::{Haste, Permit, Share};
pub use self::network::family;
pub use self::profile::{Ability, LastingSessions, PassiveCommand, Profile, Profiles};
pub use self::request::{Answer, Refusal, Request};
pub use self::server::{
    Remote, RemoteSettingsError, Unopened, check_path, check_tls, own_certificate_good_until,
};
pub use self::transfer::{Download, Upload};
pub use crate::ftps::{
    ArgumentError, AtOnce, BeforeLogin, Closing, Deadlines, Entry, EntryKind, EntrySink, Extras, FirstPort,
    FtpsError, Leave, Listed, Modified, Renewal, Trouble,
};
