//! What can go wrong with a source folder or one of its files.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::domain::{FailureClass, RelPath, Timestamp};

/// Why a source folder or one of its files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source folder does not exist, or a folder above it.
    #[error("the source folder {} does not exist", path.display())]
    Missing {
        /// The source folder.
        path: PathBuf,
    },
    /// The source is a file.
    #[error("the source {} is not a folder", path.display())]
    NotAFolder {
        /// The source.
        path: PathBuf,
    },
    /// The source folder cannot be opened.
    #[error("the source folder {} cannot be read", path.display())]
    Unreadable {
        /// The source folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file was deleted or renamed since it was found.
    #[error("`{path}` is gone")]
    Gone {
        /// The file.
        path: RelPath,
    },
    /// Under the name stands a link, folder, pipe, socket or device, or a folder on the way to
    /// it is a link, and the link is not followed.
    #[error("`{path}` is no regular file, or lies behind a link that is not followed")]
    NotAFile {
        /// The path.
        path: RelPath,
    },
    /// The file cannot be opened or read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: RelPath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file changed between the first look at it and the last: what was read may be a
    /// mixture, and must not be delivered.
    #[error("`{path}` changed while it was read: {what}")]
    Changed {
        /// The file.
        path: RelPath,
        /// What changed.
        what: Change,
    },
    /// The reader gave up before the end. A mistake of ours.
    #[error("`{path}` was not read to its end: {read} of {size} bytes")]
    Unfinished {
        /// The file.
        path: RelPath,
        /// Bytes that were read.
        read: u64,
        /// Bytes that it has.
        size: u64,
    },
}

impl SourceError {
    /// Whether another look at the same file may fare better.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Changed { .. } => true,
            Self::Missing { .. }
            | Self::NotAFolder { .. }
            | Self::Unreadable { .. }
            | Self::Gone { .. }
            | Self::NotAFile { .. }
            | Self::Read { .. }
            | Self::Unfinished { .. } => false,
        }
    }

    /// What kind of trouble it is for the run.
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Missing { .. } | Self::NotAFolder { .. } | Self::Unreadable { .. } => FailureClass::Source,
            Self::Gone { .. } | Self::NotAFile { .. } | Self::Read { .. } | Self::Changed { .. } => {
                FailureClass::File
            }
            Self::Unfinished { .. } => FailureClass::Other,
        }
    }
}

/// What changed of a file while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There are more bytes than at first.
    Grew {
        /// Bytes at first.
        from: u64,
    },
    /// The size is another, or fewer bytes came than there should be.
    Size {
        /// Bytes at first.
        from: u64,
        /// Bytes at the end.
        to: u64,
    },
    /// The content was written to.
    Content {
        /// When, by the file system's clock.
        at: Timestamp,
    },
    /// The inode was changed: the file was renamed, replaced, deleted, linked, or got other
    /// permissions or times.
    Inode {
        /// When, by the file system's clock.
        at: Timestamp,
    },
    /// The descriptor names another inode. Seen on network file systems only.
    Identity,
    /// Folders were renamed whenever the way to it was looked up.
    Way,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grew { from } => write!(f, "it grew beyond its {from} bytes"),
            Self::Size { from, to } => write!(f, "its size went from {from} to {to} bytes"),
            Self::Content { at } => write!(f, "it was written to at {at}"),
            Self::Inode { at } => {
                write!(f, "it was renamed, replaced or given other permissions or times at {at}")
            }
            Self::Identity => f.write_str("another file took its place"),
            Self::Way => f.write_str("folders are being renamed all the time"),
        }
    }
}
