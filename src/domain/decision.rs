//! What a person decides about a file that is only presumed to have been delivered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, RelPath, RunId};

/// A person decided about a presumed file. Holds for the very bytes that were presumed, and for no
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The run that presumed it.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Bytes that were presumed to be delivered.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// What was decided.
    pub decision: Decision,
    /// Who decided it.
    pub by: Person,
}

/// What a person can decide about a presumed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The receiver has it: it is not sent again. A person's word, not a proof: it never counts as
    /// delivered, and its source is not deleted or moved.
    Attested,
    /// The receiver does not have it: the next run sends it as if nothing were known of it.
    SendAgain,
    /// The receiver does not have it, and it cannot be sent again: its source is gone. It is lost, and no
    /// longer waited for; what appears under its name is a new file.
    Lost,
}

/// Who started a command, as the system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The number of the user that the command ran as.
    pub uid: u32,
    /// That user's name, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user who called `sudo`, as `sudo` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user} (uid {})", self.uid)?,
            None => write!(f, "uid {}", self.uid)?,
        }
        self.sudo_user.as_ref().map_or(Ok(()), |user| write!(f, ", by sudo from {user}"))
    }
}
