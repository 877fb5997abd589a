//! What the ledger keeps: the durable facts of runs and deliveries.
//!
//! Records are written as JSON and read for years: fields may be added, with a default; none is
//! renamed or given another meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    AuditCounts, AuditKind, Basis, Counts, Decided, Digest, Failure, FileStat, JobName, Mount, ProofMethod,
    PublishWay, RelPath, RemotePath, RunId, RunsMissed, Scheduled, SidecarChange, Sidecars, SkippedFile,
    SourceSeen, Storing, Target, Timestamp, TlsVersion, Triggers, Verified,
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
    /// A file is about to be stored under its final name at once.
    Storing(Storing),
    /// A file stands under its final name, proved.
    Delivered(Delivered),
    /// A file most likely was delivered and taken; it cannot be known.
    Presumed(Presumed),
    /// A person decided about such a file.
    Decided(Decided),
    /// A file was read and found to hold what was delivered.
    Confirmed(Confirmed),
    /// Something happened to the sidecars of a file.
    Sidecar(SidecarChange),
    /// What was begun for a file came to nothing; it will be sent again, if it is still there.
    Withdrawn(Withdrawn),
    /// A delivered source file is about to be deleted or moved.
    Retiring(Retiring),
    /// It was.
    Retired(Retired),
    /// It was not, and has its own name again.
    Retained(Retained),
    /// A remote file whose source is gone is about to be moved to the trash.
    Trashing(Trashing),
    /// A remote file whose source is gone is no concern any more.
    Removed(Removed),
    /// A file left the trash.
    TrashEmptied(TrashEmptied),
    /// Too much was gone from the source for anything to be deleted.
    GuardTripped(GuardTripped),
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
    /// A job's schedule counts from here on.
    Scheduled(Scheduled),
    /// Scheduled times passed without a run, and none makes up for them.
    RunsMissed(RunsMissed),
    /// What all records before it come to was written to a file.
    Checkpoint(Checkpoint),
    /// The oldest segments of the ledger are taken away.
    Expired(Expired),
}

impl Record {
    /// The run that it tells of; what is told of schedules and of the ledger itself belongs to none.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::RunStarted(RunStarted { run, .. })
            | Self::Staging(Staging { run, .. })
            | Self::Publishing(Publishing { run, .. })
            | Self::Storing(Storing { run, .. })
            | Self::Delivered(Delivered { run, .. })
            | Self::Presumed(Presumed { run, .. })
            | Self::Decided(Decided { run, .. })
            | Self::Confirmed(Confirmed { run, .. })
            | Self::Sidecar(SidecarChange { run, .. })
            | Self::Withdrawn(Withdrawn { run, .. })
            | Self::Retiring(Retiring { run, .. })
            | Self::Retired(Retired { run, .. })
            | Self::Retained(Retained { run, .. })
            | Self::Trashing(Trashing { run, .. })
            | Self::Removed(Removed { run, .. })
            | Self::TrashEmptied(TrashEmptied { run, .. })
            | Self::GuardTripped(GuardTripped { run, .. })
            | Self::Failed(Failed { run, .. })
            | Self::Adopted(Delivered { run, .. })
            | Self::FoundMissing(FoundDiffering { run, .. })
            | Self::FoundChanged(FoundDiffering { run, .. })
            | Self::Audited(Audited { run, .. })
            | Self::RunFinished(RunFinished { run, .. }) => Some(*run),
            Self::Scheduled(_) | Self::RunsMissed(_) | Self::Checkpoint(_) | Self::Expired(_) => None,
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
    /// Why it began. Empty in records from before this was kept.
    #[serde(default, skip_serializing_if = "Triggers::is_empty")]
    pub triggers: Triggers,
}

/// Temporary names may come to stand in a folder: committed before the first of a run goes
/// there, so that leftovers can be found, and before each large file, so that its upload can be
/// resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// The run.
    pub run: RunId,
    /// The folder on the server.
    pub folder: RemotePath,
    /// The large file that is about to be stored there. Takes the place of what was recorded of
    /// the same path before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<StagedFile>,
}

/// A large file on its way to a temporary name, and what its source was when that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// The file.
    pub path: RelPath,
    /// Where its bytes come to stand.
    pub temporary: RemotePath,
    /// What the source file was: only the very same can be gone on with.
    pub stat: FileStat,
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
    /// Where that goes first, on a server that renames over no file. The intent is then committed
    /// once for each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub displaced: Option<Displaced>,
    /// The sidecars that its delivery will owe.
    #[serde(default, skip_serializing_if = "Sidecars::is_empty")]
    pub sidecars: Sidecars,
    /// The session in which it was proved.
    pub session: SessionFacts,
}

/// Where the old version of a file stands while the new one gets its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Displaced {
    /// A temporary name in the same folder.
    pub to: RemotePath,
    /// How far that is.
    pub step: Displacing,
}

/// How far the displacing of an old version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Displacing {
    /// The old version is about to leave its name; the new one is not renamed yet.
    Begun,
    /// The old version has left its name, and the new one is about to get it.
    Done,
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
    /// How it came under its name: [`PublishWay::Direct`] means at least once, and that readers may
    /// have seen half of it.
    #[serde(default, skip_serializing_if = "PublishWay::is_rename")]
    pub publish: PublishWay,
    /// The sidecars that it owes from now on: they are to be published beside it.
    #[serde(default, skip_serializing_if = "Sidecars::is_empty")]
    pub sidecars: Sidecars,
    /// The session in which it was proved.
    pub session: SessionFacts,
}

impl From<Publishing> for Delivered {
    /// What an intent becomes once the final name is known to hold its bytes.
    fn from(intent: Publishing) -> Self {
        let Publishing { run, path, stat, observed_at, verified, modified, sidecars, session, .. } = intent;
        let publish = PublishWay::Rename;
        Self { run, path, stat, observed_at, verified, modified, publish, sidecars, session }
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

/// A file most likely was delivered and taken by the consumer: its temporary name is gone, if it had
/// one, and nothing stands under the final name. Never treated as delivered.
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
    /// What is known of its bytes.
    #[serde(flatten)]
    pub basis: Basis,
    /// How it was to come under its name.
    #[serde(default, skip_serializing_if = "PublishWay::is_rename")]
    pub publish: PublishWay,
    /// What was found, in words free of control characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
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

/// What was begun for a file came to nothing: its intent was found not to have happened and the
/// final name is as it was before, or the part of it under a temporary name was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The run that found it so.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What was found.
    pub cause: String,
}

/// A delivered source file is about to get a private name in its own folder, and then to be
/// deleted or moved: committed before, so that it is found after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retiring {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Its private name.
    pub private: String,
    /// What it was when it was delivered.
    pub stat: FileStat,
    /// The SHA-256 of what was delivered.
    pub digest: Digest,
}

/// A delivered source file was deleted or moved; what appears under its path from now on is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Where it was moved to; deleted where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// What is still known of what stands on the server.
    pub remembered: Remembered,
}

/// What is still known of a remote file whose source was deleted or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remembered {
    /// Nothing: in a drop a consumer takes it away, and what stands there must not be replaced
    /// before.
    Nothing,
    /// That it is ours: in a mirror a later file of its name replaces it.
    AsOurs,
}

/// A delivered source file was not deleted or moved after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Why.
    pub cause: String,
}

/// A remote file whose source is gone is about to be moved to the trash: committed before, so
/// that it is found there when its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashing {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// Where it goes on the server.
    pub to: RemotePath,
}

/// A remote file whose source is gone is no concern any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The run.
    pub run: RunId,
    /// The file.
    pub path: RelPath,
    /// What became of it.
    pub removal: Removal,
}

/// What became of a remote file whose source is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// It was deleted.
    Deleted,
    /// It was moved to the trash.
    Trashed,
    /// It was not there any more.
    AlreadyGone,
    /// What stands there is not what was delivered: it was left alone.
    NotOurs,
}

/// A file left the trash: it was deleted, or was not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashEmptied {
    /// The run.
    pub run: RunId,
    /// Where it stood on the server.
    pub from: RemotePath,
}

/// Too much was gone from the source: nothing was deleted on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardTripped {
    /// The run, by whose number a person may approve.
    pub run: RunId,
    /// Files that were gone.
    pub missing: u64,
    /// The SHA-256 of their paths, each with a line end, in their order.
    pub paths: Digest,
    /// Why nothing was deleted.
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
    /// What a complete scan saw of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSeen>,
    /// The file systems mounted below the source, as far as that is news: those that were there, and
    /// those that are gone and whose files are still delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// The first of the skipped files, as the run's report names them; `counts` has all. Empty in records from before
    /// this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedFile>,
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

/// What all records up to one come to was written to a file beside the segments, from which a lost
/// manifest is rebuilt without reading all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The segment in which the record `seq` stands; the file carries its number. This record stands
    /// there too, or in one of the next.
    pub segment: u32,
    /// The last record that is in it.
    pub seq: u64,
    /// The SHA-256 of that record's line.
    pub line: Digest,
    /// Bytes of the file.
    pub bytes: u64,
    /// The SHA-256 of the file.
    pub digest: Digest,
}

/// The oldest segments are older than the ledger is kept, and are taken away. Committed before
/// the first of them goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// The last segment that goes.
    pub segment: u32,
    /// The last record in it.
    pub seq: u64,
    /// The SHA-256 of the line at its end, which the next segment's head names.
    pub line: Digest,
    /// All of their records were written before this.
    pub before: Timestamp,
}
