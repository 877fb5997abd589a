//! What a server can do for Nightferry, found out layer by layer, and what its certificate says.
//!
//! Knows no state and leaves nothing on a server: it works under temporary names of its own, and
//! deletes them. What it learns of a server goes into its profile.
//! The verbs `doctor` and `trust` call it, and nothing else does.

mod clean;
mod data;
mod doctor;
mod exchange;
mod files;
mod finding;
mod known;
mod limits;
mod names;
mod proof;
mod remedy;
mod trust;
mod work;

pub use self::doctor::{Examination, Place, examine};
pub use self::finding::{Check, Finding, Outcome};
pub use self::known::Known;
pub use self::remedy::exit_of;
pub use self::trust::look;
pub use crate::ftps::{CertificateFacts, Seen, SignedBy};
