//! One run of one job: settle what earlier runs left, plan, deliver, report.
//!
//! The way of one file is three machines: [`publish`] (proof, look, intent, rename, record) and
//! [`settle`] (what became of an intent) are pure; `attempt` drives them on one session. A
//! `worker` takes files off the `backlog`, owns one session, which it gets at the `door`, and sees
//! each file through to an outcome; one task keeps the run's books. What an error means is decided in one place, `failure`.
//!
//! Knows no schedule and no terminal: it is told to run and tells what happens as
//! [`Event`](crate::domain::Event)s.

mod absence;
mod ahead;
mod attempt;
mod backlog;
mod decide;
mod direct;
mod door;
mod failure;
mod kin;
#[cfg(test)]
mod memory;
mod names;
mod planner;
mod publish;
mod pump;
mod recover;
mod removal;
mod resume;
mod retire;
mod room;
mod run;
mod settle;
mod shared;
mod sidecars;
#[cfg(test)]
mod tests;
mod verdict;
mod waiting;
mod worker;

pub use self::decide::{PresumedFile, SourceNow, Undecided, decide, undecided};
pub use self::run::{Delivery, run};
pub use self::waiting::waits_for;
