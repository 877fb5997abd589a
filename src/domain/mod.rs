//! Values and pure rules: what a path, a digest, a job, a proof and a record are.
//!
//! This module does not know tokio, files, sled or YAML. Everything above it speaks in its
//! types; illegal values cannot be made (they are parsed once, at the edge).

mod audit;
mod charset;
mod digest;
mod entry;
mod event;
mod evidence;
mod exit;
mod ids;
mod job;
mod network;
mod path;
mod record;
mod report;
mod retry;
mod server;
mod stat;
mod target;
mod time;

pub use self::audit::{
    AuditCounts, AuditKind, AuditReport, Difference, DifferenceKind, MAX_DIFFERENCES_NAMED,
};
pub use self::charset::Charset;
pub use self::digest::{Digest, Hasher, ParseDigestError};
pub use self::entry::{Entry, EntryStatus, Found};
pub use self::event::{Event, EventSink, FileProgress};
pub use self::evidence::{Evidence, Mismatch, ProofMethod, Sent, Verified, VerifyPolicy, compare};
pub use self::exit::Exit;
pub use self::ids::{AgentId, JobName, ParseNameError, RunId, ServerName};
pub use self::job::{Job, Mode, Overwrite};
pub use self::network::{ActivePorts, AddressFamily, DataMode, Network, PasvAddress, Timeouts};
pub use self::path::{MAX_PATH_BYTES, PathError, RelPath, RemotePath};
pub use self::record::{
    Audited, Confirmed, Delivered, Failed, FoundDiffering, Leftovers, Presumed, Publishing, Record,
    RunFinished, RunStarted, SessionFacts, Staging, Standing, Withdrawn,
};
pub use self::report::{Counts, FailedFile, Failure, FailureClass, MAX_FAILED_FILES_NAMED, RunReport};
pub use self::retry::Backoff;
pub use self::server::{
    ClientCertificate, SecretRef, Server, SpkiPin, TlsMode, TlsPolicy, TlsVersion, TlsVersions, Trust,
};
pub use self::stat::FileStat;
pub use self::target::{Target, TargetId};
pub use self::time::Timestamp;
