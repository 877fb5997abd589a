//! The ways back: what stands on a server is held against what is known, becomes known, or is
//! brought back.
//!
//! - [`verify()`] holds the server against the manifest, sidecars too. What is missing or changed there
//!   is recorded, so that the next delivery sends it again.
//! - [`adopt()`] holds the server against the source, and records what is equal, so that it is not
//!   sent again after the state was lost.
//! - [`restore()`] brings back what the manifest knows, and places only what has the SHA-256 that
//!   was delivered.
//!
//! All three change nothing on the server. They share one shape: a blocking thread feeds a bounded
//! queue from the manifest or the source (`feed`), workers with a session each look at what comes
//! off it (`pool`), and one task keeps the run's books (`book`). Knows no schedule, no terminal
//! and no delivery.

mod adopt;
mod book;
mod failure;
mod feed;
mod look;
mod pool;
mod restore;
mod run;
mod sidecars;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::adopt::{AdoptError, adopt};
pub use self::restore::{Restore, restore};
pub use self::verify::{Depth, verify};
use crate::clock::Clock;
use crate::domain::{Backoff, EventSink, Job, RelPath, RemotePath, RunLimit, Target};
use crate::remote::Remote;
use crate::state::State;

/// What a run of verify, adopt or restore needs.
#[derive(Clone)]
pub struct Audit {
    /// The job.
    pub job: Job,
    /// What the run is about.
    pub target: Target,
    /// The job's server.
    pub remote: Arc<Remote>,
    /// Where records go and what is known comes from.
    pub state: State,
    /// The time of day and random numbers.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub sink: Arc<dyn EventSink>,
    /// When it has to end, whether or not all was looked at.
    pub limit: Option<RunLimit>,
    /// The waits between attempts; [`Audit::BACKOFF`] where nothing else is wanted.
    pub backoff: Backoff,
}

impl Audit {
    /// Waits that are long enough, in all, for a server to come back from a restart.
    pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), limit: Duration::from_secs(15) };

    /// Where a file stands on the server.
    fn destination(&self, path: &RelPath) -> RemotePath {
        self.job.destination.join(path)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("job", &self.job).field("target", &self.target).finish_non_exhaustive()
    }
}
