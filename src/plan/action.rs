//! One item of a plan.

use std::fmt;

use crate::domain::{Entry, FileStat, RelPath, Timestamp, Twins};

/// What is to be done about one file, or said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it: it is new, or certainly not what was delivered.
    Send {
        /// The file.
        path: RelPath,
        /// Its facts at the scan.
        stat: FileStat,
        /// When they were read.
        observed_at: Timestamp,
        /// What is known of it.
        known: Option<Entry>,
        /// Why.
        reason: Reason,
        /// Names that some servers take for its own.
        twins: Twins,
    },
    /// Read it, and send it only if its digest is not the one that was delivered, or is presumed
    /// to be.
    Hash {
        /// The file.
        path: RelPath,
        /// Its facts at the scan.
        stat: FileStat,
        /// When they were read.
        observed_at: Timestamp,
        /// What was delivered.
        known: Entry,
        /// Why.
        reason: Reason,
        /// Names that some servers take for its own.
        twins: Twins,
    },
    /// Leave it alone: it was delivered, and its facts are the same.
    Unchanged {
        /// The file.
        path: RelPath,
    },
    /// Leave it alone: most likely it was delivered and taken, which a person has to settle.
    /// Given whether or not the source still has the file, until it is settled.
    Presumed {
        /// The file.
        path: RelPath,
    },
    /// Leave it alone: a person said that the receiver has it, and its facts are the same.
    Attested {
        /// The file.
        path: RelPath,
    },
    /// Neither file nor folder, or behind a link.
    Skip {
        /// Its name as shown to people.
        name: String,
        /// Why it is not sent.
        reason: String,
    },
    /// A file or folder with a name that cannot be sent.
    Refuse {
        /// Its name as shown to people.
        name: String,
        /// Why, with the remedy.
        reason: String,
    },
    /// Something that could not be looked at: the scan is not complete.
    Unreadable {
        /// Its name as shown to people.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file that was delivered was not found in the source.
    ///
    /// A suspicion, to be shown: a later item may say that the scan was not complete (from then
    /// on none of these is given), and a file that was renamed during the scan may have escaped
    /// it. Who deletes remote files needs a [`CompleteScan`] and looks for the file once more.
    Missing {
        /// The file.
        path: RelPath,
        /// What was delivered.
        known: Entry,
    },
    /// The last item of a plan that came to its end.
    End(ScanEnd),
}

/// Why a file is sent or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known of it.
    New,
    /// It has another size than what was delivered.
    SizeChanged {
        /// Bytes that were delivered.
        was: u64,
    },
    /// Its content was written since, to the same size.
    TimeChanged {
        /// The mtime of what was delivered.
        was: Timestamp,
    },
    /// Another file with the same size and mtime has its name.
    InodeChanged,
    /// Its ctime alone is another: permissions, owner, links, or a write whose mtime was set
    /// back.
    AttributesChanged,
    /// Its facts are the same, but it was looked at so soon after its last change that a second
    /// change could have left the same times.
    TooCloseToTrust,
    /// It is not the file that was presumed delivered.
    ChangedSincePresumed,
    /// Nothing was found on the server where it was delivered.
    FoundMissing,
    /// Something else was found on the server where it was delivered.
    FoundChanged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::SizeChanged { was } => write!(f, "size changed, was {was} bytes"),
            Self::TimeChanged { was } => {
                write!(f, "modified, was of {}", was.to_utc().format("%Y-%m-%d %H:%M:%S UTC"))
            }
            Self::InodeChanged => f.write_str("another file with the same name, size and time"),
            Self::AttributesChanged => f.write_str("permissions, owner or other attributes changed"),
            Self::TooCloseToTrust => f.write_str("changed too shortly before it was last looked at"),
            Self::FoundMissing => f.write_str("found missing on the server"),
            Self::FoundChanged => f.write_str("found changed on the server"),
            Self::ChangedSincePresumed => f.write_str("changed since it was presumed delivered"),
        }
    }
}

/// Whether all of the source was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All of it.
    Complete(CompleteScan),
    /// Something was [`Action::Unreadable`]: nothing can be said of what was not found.
    Incomplete,
}

/// The proof that a plan came to its end and nothing in the source was unreadable. Only a plan
/// makes one; what deletes remote files because their source is gone asks for it, so that code
/// which forgets the question does not compile.
///
/// It does not say that the source folder is the right one, or that it is not empty by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompleteScan(());

impl CompleteScan {
    pub(super) const fn new() -> Self {
        Self(())
    }
}
