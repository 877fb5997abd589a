//! The agent: owns time and tasks. One loop decides when which job runs, and answers those who ask.
//!
//! - `supervisor` is the loop: schedules, retries, signals, requests and ends of runs come in, runs
//!   go out as tasks that it tracks. Nothing else starts a run. A job has one run at a time and one
//!   more that is remembered; jobs do not wait for each other.
//! - `keeper` is what it knows of one job, `servers` the servers that jobs share, `watched` the
//!   events of one run for log, status and followers.
//! - `past` is what a job did of late, against which expectations are held, and `telling` who is told of
//!   what: the fold over what is wrong, kept in a file, before the queues of [`outbound`](crate::outbound).
//! - `control` is the Unix socket in the state folder and `protocol` what is said on it; `client` is
//!   the other end, for the command line.
//! - `clients` lets them in; `web` is the status page and what monitoring reads, `meter` the counters of all runs.
//! - `history` tells of runs from the ledger, `service` speaks to systemd.
//!
//! Knows no terminal: the command line shows what comes from here.

mod client;
mod clients;
mod control;
mod error;
mod history;
mod keeper;
mod meter;
mod past;
mod protocol;
mod servers;
mod service;
mod status;
mod supervisor;
mod telling;
mod watched;
mod watches;
mod web;

pub use self::client::{Client, ClientError};
pub use self::error::AgentError;
pub use self::history::{History, LookBack, RunEntry};
pub use self::meter::Meter;
pub use self::protocol::{Request, Told};
pub use self::status::{
    AlertStatus, JobState, JobStatus, Readiness, RunStatus, ServerStatus, Status, Waiting, days_left,
};
pub use self::supervisor::{Start, run};
pub use self::telling::{COMMAND_GRACE, Telling, alerts_in, all_receivers, context};
