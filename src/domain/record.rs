//! What the ledger keeps: the durable facts of runs and deliveries.
//!
//! Records are written as JSON and read for years: fields may be added, with a default; none is
//! renamed or given another meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    AuditCounts, AuditKind, Counts, Digest, Failure, FileStat, JobName, ProofMethod, RelPath, RemotePath,
    RunId, Target, Timestamp, TlsVersion, Verified,
};

/// Something that happened, to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A run began.
    RunStarted(RunStarted),
    /// Temporary names may come to stand in a folder.
    Staging(Staging),
    /// A proved temporary file is about to get its final name.
    Publishing(Publishing),
    /// A file stands under its final name, proved.
    Delivered(Delivered),
    /// A file most likely was delivered and taken; it cannot be known.
    Presumed(Presumed),
    /// A file was read and found to hold what was delivered.
    Confirmed(Confirmed),
    /// An intent was found not to have happened; the file will be sent again.
    Withdrawn(Withdrawn),
    /// A file was not delivered.
    Failed(Failed),
    /// A file was found on the server with the content of the source file, proved, where nothing
    /// was known of it, or where what was known did not hold. It was not sent.
    Adopted(Delivered),
    /// Nothing was found where a file was delivered; it must be sent again.
    FoundMissing(FoundDiffering),
    /// Something else was found where a file was delivered; it must be sent again.
    FoundChanged(FoundDiffering),
    /// What verifying, adopting or restoring came to.
    Audited(Audited),
    /// A run ended.
    RunFinished(RunFinished),
}

impl Record {
    /// The run that it tells of.
    pub const fn run(&self) -> RunId {
        match self {
            Self::RunStarted(RunStarted { run, .. })
            | Self::Staging(Staging { run, .. })
            | Self::Publishing(Publishing { run, .. })
            | Self::Delivered(Delivered { run, .. })
            | Self::Presumed(Presumed { run, .. })
            | Self::Confirmed(Confirmed { run, .. })
            | Self::Withdrawn(Withdrawn { run, .. })
            | Self::Failed(Failed { run, .. })
            | Self::Adopted(Delivered { run, .. })
            | Self::FoundMissing(FoundDiffering { run, .. })
            | Self::FoundChanged(FoundDiffering { run, .. })
            | Self::Audited(Audited { run, .. })
            | Self::RunFinished(RunFinished { run, .. }) => *run,
        }
    }
}

/// A run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Its number.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// What it is about.
    pub target: Target,
    /// What it was begun for, where that is not delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditKind>,
}

/// Temporary names may come to stand in a folder: committed before the first of a run goes
/// there, so that leftovers can be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// The run.
    pub run: RunId,
    /// The folder on the server.
    pub folder: RemotePath,
}

/// A proved temporary file is about to get its final name: committed before `RNFR`. Holds all
/// that settling it after a crash needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishing {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Where its proved bytes stand.
    pub temporary: RemotePath,
    /// What the source file was when it was read.
    pub stat: FileStat,
    /// When the source file was looked at.
    pub observed_at: Timestamp,
    /// The proof.
    pub verified: Verified,
    /// The server's time of the temporary file, which renaming keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// What stood under the final name.
    pub standing: Standing,
    /// The session in which it was proved.
    pub session: SessionFacts,
}

/// What stands under a name on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// Its time as `MDTM` gives it, where that was asked for and answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified: Option<String>,
    },
    /// The server does not tell, and the job goes on all the same.
    Unknown,
}

/// A file stands under its final name, proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What the source file was when it was read.
    pub stat: FileStat,
    /// When the source file was looked at.
    pub observed_at: Timestamp,
    /// The proof.
    pub verified: Verified,
    /// The server's time of the file, as `MDTM` gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// The session in which it was proved.
    pub session: SessionFacts,
}

impl From<Publishing> for Delivered {
    /// What an intent becomes once the final name is known to hold its bytes.
    fn from(intent: Publishing) -> Self {
        let Publishing { run, path, stat, observed_at, verified, modified, session, .. } = intent;
        Self { run, path, stat, observed_at, verified, modified, session }
    }
}

/// With whom and how a file was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The server's address.
    pub peer: SocketAddr,
    /// The TLS version of control and data connections.
    pub tls: TlsVersion,
    /// The control connection's cipher suite, by its IANA name.
    pub cipher: String,
    /// The SHA-256 of the server's certificate (DER).
    pub certificate: Digest,
}

/// A file most likely was delivered and taken by the consumer: its temporary name is gone, and
/// nothing stands under the final name. Never treated as delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presumed {
    /// The run that found it so.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What the source file was when it was read.
    pub stat: FileStat,
    /// When the source file was looked at.
    pub observed_at: Timestamp,
    /// The proof of the temporary file.
    pub verified: Verified,
}

/// A file was read and found to hold what was delivered: only its facts changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Its facts now.
    pub stat: FileStat,
    /// When it was looked at.
    pub observed_at: Timestamp,
}

/// An intent was found not to have happened: the final name is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The run that found it so.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What was found.
    pub cause: String,
}

/// A file was not delivered in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The run.
    pub run: RunId,
    /// The file as shown to people.
    pub name: String,
    /// Why.
    pub failure: Failure,
}

/// A file that was delivered is not on the server as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundDiffering {
    /// The run that found it so.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Bytes that were delivered.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// What was found, in words free of control characters.
    pub found: String,
}

/// What verifying, adopting or restoring came to: committed with the end of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The run.
    pub run: RunId,
    /// Which of the three.
    pub audit: AuditKind,
    /// How many files had which outcome.
    pub counts: AuditCounts,
    /// How many files were proved by which method.
    pub proofs: BTreeMap<ProofMethod, u64>,
}

/// A run ended, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    /// The run.
    pub run: RunId,
    /// How many files had which outcome.
    pub counts: Counts,
    /// Why it ended before its plan was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Failure>,
    /// Where temporary files may be left.
    #[serde(default, skip_serializing_if = "Leftovers::is_none")]
    pub leftovers: Leftovers,
}

/// Where temporary files may be left after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftovers {
    /// In these folders. All others that were staged, by this run and by earlier ones, are known
    /// to be clean.
    Folders(Vec<RemotePath>),
    /// In any folder that was staged and is not known to be clean: there are too many to name.
    AllStaged,
}

impl Leftovers {
    /// Most folders that a record names: with the longest paths they take 4 MiB.
    const MAX_NAMED: usize = 1_000;

    /// Names the folders, unless there are too many.
    pub fn of(folders: Vec<RemotePath>) -> Self {
        if folders.len() > Self::MAX_NAMED { Self::AllStaged } else { Self::Folders(folders) }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Folders(folders) if folders.is_empty())
    }
}

impl Default for Leftovers {
    fn default() -> Self {
        Self::Folders(Vec::new())
    }
}
