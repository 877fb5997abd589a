//! Values and pure rules: what a path, a digest, a job, a proof and a record are.
//!
//! This module does not know tokio, files, sled or YAML. Everything above it speaks in its
//! types; illegal values cannot be made (they are parsed once, at the edge).

mod audit;
mod bandwidth;
mod charset;
mod decision;
mod deletes;
mod digest;
mod entry;
mod event;
mod evidence;
mod exit;
mod expect;
mod ids;
mod job;
mod length;
mod mount;
mod network;
mod notify;
mod pace;
mod path;
mod record;
mod report;
mod retry;
mod schedule;
mod scheduled;
mod scope;
mod server;
mod sidecar;
mod stat;
mod storing;
mod symlinks;
mod target;
mod temporary;
mod time;
mod timing;
mod trigger;
mod twin;
mod usual;
mod watching;

pub use self::audit::{
    AuditCounts, AuditKind, AuditReport, Difference, DifferenceKind, MAX_DIFFERENCES_NAMED,
};
pub use self::bandwidth::{Bandwidth, BandwidthHours, ParseRateError, Rate};
pub use self::charset::Charset;
pub use self::decision::{Decided, Decision, Person};
use self::deletes::same_filesystem;
pub use self::deletes::{Deletes, RemoteDelete, SourceSeen};
pub use self::digest::{Digest, Hasher, ParseDigestError};
pub use self::entry::{Entry, EntryStatus, Found};
pub use self::event::{Event, EventSink, FileProgress};
pub use self::evidence::{Basis, Evidence, Mismatch, ProofMethod, Sent, Verified, VerifyPolicy, compare};
pub use self::exit::Exit;
pub use self::expect::{DailyExpectation, Deliveries, Expectation, Late, Punctuality, RunSuccess};
pub use self::ids::{AgentId, JobName, ParseNameError, RunId, ServerName};
pub use self::job::{AfterDelivery, Job, Mode, Overwrite, PublishWay};
pub use self::length::length_in_words;
pub use self::mount::Mount;
pub use self::network::{ActivePorts, AddressFamily, DataMode, Network, PasvAddress, Timeouts};
pub use self::notify::{
    Email, FileNames, HookUrl, MailAddress, Notify, Occasion, ParseMailAddressError, ParseUrlError, Ping,
    Smtp, SmtpTls, Way, Webhook,
};
pub use self::pace::Pace;
pub use self::path::{MAX_PATH_BYTES, PathError, RelPath, RemotePath};
pub use self::record::{
    Audited, Checkpoint, Confirmed, Delivered, Displaced, Displacing, Expired, Failed, FoundDiffering,
    GuardTripped, Leftovers, Presumed, Publishing, Record, Remembered, Removal, Removed, Retained, Retired,
    Retiring, RunFinished, RunStarted, SessionFacts, StagedFile, Staging, Standing, TrashEmptied, Trashing,
    Withdrawn,
};
pub use self::report::{
    Counts, FailedFile, Failure, FailureClass, MAX_FAILED_FILES_NAMED, MAX_PRESUMED_FILES_NAMED,
    MAX_SKIPPED_FILES_NAMED, MAX_WAITING_FILES_NAMED, RunReport, SkippedFile,
};
pub use self::retry::{Backoff, Retry, RetryBudget};
pub use self::schedule::{
    CatchUp, CronExpression, Days, ParseCronError, ParseDaysError, ParseTimeError, ParseWindowError,
    Schedule, TimeOfDay, UnknownZone, Window, Windows, Zone,
};
pub use self::scheduled::{RunsMissed, ScheduleMark, Scheduled};
pub use self::scope::{Added, Depth, Folders, Reach, Scope};
pub use self::server::{
    ClientCertificate, SecretRef, Server, SpkiPin, TlsMode, TlsPolicy, TlsVersion, TlsVersions, Trust,
};
pub use self::sidecar::{Beside, Owed, Sidecar, SidecarChange, SidecarNameError, SidecarStep, Sidecars};
pub use self::stat::FileStat;
pub use self::storing::{Beginning, Storing, StoringStep};
pub use self::symlinks::Symlinks;
pub use self::target::{Target, TargetId};
pub use self::temporary::is_temporary_name;
pub use self::time::Timestamp;
pub use self::timing::{HeldToWindows, LimitCause, RunLimit, Timing};
pub use self::trigger::{Missed, Trigger, Triggers};
pub use self::twin::{Twin, TwinKind, Twins};
pub use self::usual::{Factor, Usual};
pub use self::watching::{ParseMarkerError, ReadyMarker, Rest, WaitCause, WaitingFile, Watching};
