//! The server's rules and its faults, line by line, with a client that does only what it is told.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod client;
mod faults;
mod rules;
