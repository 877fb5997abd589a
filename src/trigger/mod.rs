//! Why a run starts: the schedule, changes in a source, and what waits while a job is busy or a server is not well,
//! and when what was delivered is looked at again.
//!
//! It cannot transfer and knows neither ledger nor configuration: the agent asks it what to do and when to ask
//! again, and records what comes of it. Only a [`Watch`] waits for something; all else is state and
//! arithmetic on times that are handed in.

mod pending;
mod retry;
mod rounds;
mod schedule;
mod watch;

pub use self::pending::{Asked, Pending};
pub use self::retry::{Again, RetryTrigger};
pub use self::rounds::{Coverage, DueSince, Rounds};
pub use self::schedule::{Due, Planner};
pub use self::watch::{
    Degraded, Dirty, DirtyReason, Events, Linux, RootId, Seen, Sign, Signs, System, Watch, WatchStatus,
};
