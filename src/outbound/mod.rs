//! Telling people: mail, webhooks, commands and pings, each behind a bounded queue of its own.
//!
//! - `queue` is [`Outbound`]: it takes [`News`](crate::observe::News), and for each receiver one task
//!   sends what that one wants, in order. A receiver that does not work is tried again later and
//!   later, for a bounded time, and holds up nobody: no run, no other receiver, no end of the process
//!   beyond a grace.
//! - `webhook`, `ping` (both by `http`), `mail` and `command` are one attempt each, under a deadline.
//!
//! Knows no agent, no configuration file and no state: who is told comes with each piece of news, and
//! secrets are fetched by what it was handed, anew for each attempt.

mod command;
mod distrust;
mod error;
mod http;
mod mail;
mod ping;
mod queue;
mod webhook;

pub use self::error::NotTold;
pub use self::queue::{Context, FetchSecret, Outbound, described};
pub use self::webhook::{SIGNATURE_HEADER, signature};
