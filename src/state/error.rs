//! What can go wrong with the state, as situations.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::{Exit, FailureClass, RunId, Timestamp};

/// Why the state could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// The state folder cannot be made or used.
    #[error("cannot use the state folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process works with this state folder.
    #[error(
        "the state folder {} is in use by another nightferry{}",
        folder.display(),
        holder.map_or_else(String::new, |holder| format!(" ({holder})"))
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The other process, where it could be read.
        holder: Option<Holder>,
    },
    /// A file of the ledger cannot be read or written. Records that were to be committed are
    /// not; nothing more is committed until the state is opened anew.
    #[error("cannot read or write {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk of the state folder, or a quota, is full. As [`StateError::Io`].
    #[error(
        "there is no room in {}{}: nothing that was recorded is lost, and nothing else counts as delivered; free \
         {ROOM_WANTED} or more there, and the next run goes on",
        folder.display(),
        shown_room(*.free)
    )]
    NoRoom {
        /// The folder in which a file could not grow.
        folder: PathBuf,
        /// Bytes that are free there, where the system tells.
        free: Option<u64>,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk of the state folder fails, or was made read-only because it did. As
    /// [`StateError::Io`].
    #[error(
        "the disk under {} fails: nothing that was acknowledged was lost by us, and nothing else counts as \
         delivered; look at the system's log (`dmesg`) and that disk, and the next run goes on; if the folder is \
         lost, bring it back from a backup",
        file.display()
    )]
    DiskFails {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The ledger is not what was written. Nothing was changed.
    #[error("the ledger is damaged: {} line {line}: {reason}; {remedy}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
        /// What a person can do.
        remedy: &'static str,
    },
    /// The ledger holds what this version does not know.
    #[error(
        "{} line {line} was written by a newer version of nightferry ({reason}); use that version",
        file.display()
    )]
    Newer {
        /// The segment.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is not known.
        reason: String,
    },
    /// A checkpoint is not what was written. The records themselves are whole.
    #[error(
        "the checkpoint {} is damaged, though the ledger is whole; take it away, or bring it back from a \
         backup: it is needed only where the manifest is lost",
        file.display()
    )]
    BadCheckpoint {
        /// The file.
        file: PathBuf,
    },
    /// The oldest segments were taken away in their time, but what stands for them is missing.
    #[error(
        "no checkpoint stands in {} for the segments that were taken away, though the ledger is whole; \
         bring one back from a backup: without it the manifest cannot be rebuilt",
        folder.display()
    )]
    NoCheckpoint {
        /// The ledger's folder.
        folder: PathBuf,
    },
    /// There is a manifest, but no ledger from which it came.
    #[error(
        "the ledger {} is missing, but there is a manifest; bring the ledger back from a backup, or move \
         the whole state folder away to begin anew",
        folder.display()
    )]
    LedgerMissing {
        /// Where it should be.
        folder: PathBuf,
    },
    /// The manifest knows records which the ledger does not have.
    #[error(
        "the manifest does not belong to the ledger: {reason}; if the ledger was restored from an older \
         copy, bring the newer one back, or move {} away to go on with what the ledger knows (files \
         delivered since then may be sent again)",
        manifest.display()
    )]
    ManifestAhead {
        /// The manifest's folder.
        manifest: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The manifest failed. What was committed is safe in the ledger, from which the manifest is
    /// completed, or rebuilt, when the state is opened anew.
    #[error(
        "the manifest in the state folder failed; what was recorded is safe in the ledger, and the next run goes \
         on from there: check that disk for space and errors"
    )]
    Manifest(#[source] ManifestFault),
    /// Records that are too large to be kept.
    #[error("{bytes} bytes of records are more than the {limit} that can be committed at once")]
    TooLarge {
        /// Their size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A record of a run that was not started here, or of another target than its run: a mistake
    /// in the program. Nothing was written.
    #[error("run {run} was not started for this target")]
    ForeignRun {
        /// The run.
        run: RunId,
    },
    /// A checkpoint was given up, because more was recorded meanwhile than can be kept apart from
    /// it. The next one is tried when a segment is full, or the state is opened.
    #[error(
        "more than {limit} bytes of what was known changed while a checkpoint was made; it is made later"
    )]
    Outrun {
        /// The limit, in bytes.
        limit: usize,
    },
    /// What was done beside the writer had not ended when the state was closed, and was given up.
    #[error(
        "the ledger's folder was not in order within {seconds} seconds of closing; that goes on when it is next opened"
    )]
    Unkept {
        /// How long was waited.
        seconds: u64,
    },
    /// An earlier failure stopped the writer.
    #[error("nothing is recorded since an earlier failure; open the state anew")]
    Stopped,
    /// The state was closed.
    #[error("the state is closed")]
    Closed,
}

/// The process that has a state folder open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        match self.since {
            Some(since) => write!(f, ", since {} UTC", since.to_utc().format("%Y-%m-%d %H:%M:%S")),
            None => Ok(()),
        }
    }
}

/// What happened to the manifest.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManifestFault {
    /// Its store reports an error.
    #[error("{text}")]
    Store {
        /// The store's words.
        text: String,
    },
    /// The system would not let it read or write.
    #[error("the system refused: {text}")]
    System {
        /// The system's words.
        text: String,
    },
    /// Its store panicked.
    #[error("the store gave up: {text}")]
    Panicked {
        /// The panic's words.
        text: String,
    },
    /// It did not open in time.
    #[error("it did not open within {seconds} seconds")]
    Hung {
        /// How long was waited.
        seconds: u64,
    },
    /// A value is not what was written.
    #[error("the value of `{key}` is damaged")]
    Value {
        /// Its key, escaped.
        key: String,
    },
}

impl ManifestFault {
    /// Whether a manifest rebuilt from the ledger would help: its contents are bad, not the
    /// system under it.
    pub(super) const fn calls_for_rebuild(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Panicked { .. } | Self::Hung { .. } | Self::Value { .. } => true,
            Self::System { .. } => false,
        }
    }
}

/// What a person is asked to free: the ledger's segment and a checkpoint grow that far.
const ROOM_WANTED: &str = "100 MiB";

/// What is free for us on the disk of a folder.
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn shown_room(free: Option<u64>) -> String {
    free.map(|free| format!(" ({} KiB are free)", free / 1024)).unwrap_or_default()
}

impl StateError {
    /// What can be done about a damaged ledger.
    pub(super) const REMEDY: &'static str =
        "bring the file back from a backup, or move the whole state folder away to begin anew";

    /// What kind of trouble this is for a run: always our own.
    pub const fn class(&self) -> FailureClass {
        FailureClass::Other
    }

    /// How a command that meets this ends.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Locked { .. } => Exit::Locked,
            _ => self.class().exit(),
        }
    }

    pub(super) fn io(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| match Self::of_disk(&file, source) {
            Ok(known) => known,
            Err(source) => Self::Io { file, source: Arc::new(source) },
        }
    }

    pub(super) fn folder(folder: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let folder = folder.into();
        move |source| match Self::of_disk(&folder, source) {
            Ok(known) => known,
            Err(source) => Self::Folder { folder, source: Arc::new(source) },
        }
    }

    /// What a system error about a file says of the disk under it, if anything.
    fn of_disk(file: &Path, source: io::Error) -> Result<Self, io::Error> {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = if file.is_dir() { file } else { file.parent().unwrap_or(file) };
                let (folder, source) = (folder.to_owned(), Arc::new(source));
                Ok(Self::NoRoom { free: free_bytes(&folder), folder, source })
            }
            io::ErrorKind::ReadOnlyFilesystem => Ok(Self::disk_fails(file, source)),
            _ if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Ok(Self::disk_fails(file, source))
            }
            _ => Err(source),
        }
    }

    fn disk_fails(file: &Path, source: io::Error) -> Self {
        Self::DiskFails { file: file.to_owned(), source: Arc::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::chain;

    #[test]
    fn a_full_or_failing_disk_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = |code| StateError::io(folder.path().join("x.jsonl"))(io::Error::from_raw_os_error(code));
        for full in [28, 122] {
            let text = error(full).to_string();
            let name = folder.path().display().to_string();
            for words in [name.as_str(), "KiB are free", "nothing that was recorded is lost", "free 100 MiB"]
            {
                assert!(text.contains(words), "{words:?} in {text}");
            }
        }
        for failing in [5, 30] {
            let text = error(failing).to_string();
            assert!(text.contains("x.jsonl") && text.contains("dmesg"), "{text}");
        }
        assert!(matches!(error(13), StateError::Io { .. }));
        let text = chain(&error(13));
        assert!(text.ends_with("x.jsonl: Permission denied"), "{text}");
    }
}
