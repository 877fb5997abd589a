//! Why a run starts: the schedule, and what waits while a job is busy or a server is not well.
//!
//! All of this is state and arithmetic on times that are handed in. It cannot transfer, waits for
//! nothing and knows neither ledger nor configuration: the agent asks it what to do and when to ask
//! again, and records what comes of it.

mod pending;
mod retry;
mod schedule;

pub use self::pending::{Asked, Pending};
pub use self::retry::RetryTrigger;
pub use self::schedule::{Due, Planner};
