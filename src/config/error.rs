//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

use super::Problems;
use super::file::MAX_FILE_BYTES;

/// Why a configuration cannot be used. All of these are for a person to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a folder.
    #[error("{path} is a folder, not a configuration file", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Anybody could change it or put another in its place, and with it what is sent where.
    #[error("{path} can be changed by every user of this machine", path = path.display())]
    Exposed {
        /// The file or its folder.
        path: PathBuf,
    },
    /// More than [`MAX_FILE_BYTES`].
    #[error("{path} is larger than {} KiB", MAX_FILE_BYTES / 1024, path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

impl ConfigError {
    /// What to do about it, where the text does not say so itself.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name the file with `--config FILE`".to_owned())
            }
            Self::Folder { .. } => Some("name the file in it with `--config FILE`".to_owned()),
            Self::Exposed { path } => Some(format!("chmod o-w {}", path.display())),
            Self::TooLarge { .. } => Some("is it the right file?".to_owned()),
            Self::Unreadable { .. } | Self::Invalid(_) => None,
        }
    }
}
