//! What a server can do for Nightferry, found out layer by layer, and what its certificate says.
//!
//! Knows no state and keeps nothing: it works under temporary names of its own, and deletes them.
//! The verbs `doctor` and `trust` call it, and nothing else does.

mod clean;
mod data;
mod doctor;
mod files;
mod finding;
mod proof;
mod remedy;
mod trust;
mod work;

pub use self::doctor::{Place, examine};
pub use self::finding::{Check, Finding, Outcome};
pub use self::remedy::exit_of;
pub use self::trust::look;
pub use crate::ftps::{CertificateFacts, Seen, SignedBy};
