//! What is said on the control socket: lines of JSON. One question a connection, then answers until
//! the agent closes it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::{RunProgress, Status};
use crate::domain::{Exit, JobName, RunId, RunReport};

/// The protocol's version; others are refused.
pub(super) const VERSION: u16 = 1;
/// Longest line of a question: the names of a thousand jobs.
pub(super) const MAX_QUESTION_BYTES: u64 = 64 * 1024;
/// Longest line of an answer: a report that names all the files which it may.
pub(super) const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The socket in the state folder.
pub(super) const SOCKET: &str = "agent.sock";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) version: u16,
    pub(super) request: Request,
}

/// What is asked of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status,
    /// To run jobs now, and to tell of these runs.
    Sync {
        /// The jobs.
        jobs: Vec<JobName>,
        /// The run whose stopped deletions a person has approved.
        approved: Option<RunId>,
    },
}

/// What the agent answers, one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tell", content = "with", rename_all = "kebab-case")]
pub enum Told {
    /// How it is.
    Status(Box<Status>),
    /// It does not do what was asked.
    Refused {
        /// Why.
        text: String,
        /// What to do about it.
        remedy: Option<String>,
        /// The exit code of a command that asked.
        code: u8,
    },
    /// A run is under way; what was asked for follows it.
    Waits {
        /// Of this job.
        job: JobName,
    },
    /// Something happened in a run.
    Event {
        /// The object for programs.
        object: Option<Value>,
        /// The line for people.
        line: Option<String>,
        /// Whether it is for those only who ask for more.
        detail: bool,
    },
    /// How far a run is.
    Progress {
        /// Of this job.
        job: JobName,
        /// So far.
        progress: RunProgress,
    },
    /// What came of a run.
    Report(Box<RunReport>),
    /// A run could not be recorded, or was not begun.
    Lost {
        /// Of this job.
        job: JobName,
        /// Why.
        cause: String,
        /// The exit code of a command that asked.
        code: u8,
    },
}

impl Told {
    /// That something is not done.
    pub(super) fn refused(exit: Exit, text: impl Into<String>, remedy: Option<String>) -> Self {
        Self::Refused { text: text.into(), remedy, code: exit.code() }
    }
}
