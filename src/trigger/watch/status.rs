//! How a watch works at the moment.

use std::fmt;
use std::time::Duration;

use crate::domain::length_in_words;

/// How a watch works at the moment. Its text is a sentence without the full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchStatus {
    /// It has not looked yet.
    Beginning,
    /// Events tell what changes.
    Watching {
        /// Folders below the source, itself included, when the watch began.
        folders: u64,
    },
    /// The source is walked, as is right where it stands.
    Polling {
        /// The kind of file system, which tells no events of what others do.
        file_system: &'static str,
        /// How often.
        every: Duration,
    },
    /// The source is walked, because it could not be watched.
    Degraded {
        /// Why.
        cause: Degraded,
        /// How often.
        every: Duration,
    },
    /// The source folder cannot be looked at: it is gone, or not mounted.
    Absent {
        /// Why.
        cause: String,
    },
}

/// Why a source cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// All watches that the system gives a user are taken.
    TooManyFolders {
        /// Folders to be watched.
        folders: u64,
        /// `fs.inotify.max_user_watches`, where it can be read.
        limit: Option<u64>,
    },
    /// All watchers that the system gives a user are taken.
    TooManyWatchers {
        /// `fs.inotify.max_user_instances`, where it can be read.
        limit: Option<u64>,
    },
    /// Something else.
    Other {
        /// What the system says.
        cause: String,
    },
}

impl Degraded {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let raise = |key: &str, to: u64| {
            format!(
                "as root: `sysctl fs.inotify.{key}={to}`, and the same line without `sysctl` in \
                 /etc/sysctl.d/nightferry.conf"
            )
        };
        match self {
            Self::TooManyFolders { folders, limit } => {
                let wanted = limit.unwrap_or(0).saturating_add(*folders).saturating_mul(2);
                raise("max_user_watches", wanted.next_power_of_two().max(524_288))
            }
            Self::TooManyWatchers { limit } => {
                let wanted = limit.unwrap_or(0).saturating_mul(2);
                raise("max_user_instances", wanted.next_power_of_two().max(1_024))
            }
            Self::Other { .. } => "see to what it says; it is tried again with every full look".to_owned(),
        }
    }
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |limit: &Option<u64>| limit.map_or(String::new(), |limit| format!(" ({limit})"));
        match self {
            Self::TooManyFolders { folders, limit: most } => {
                write!(f, "no watches are left for its {folders} folders: fs.inotify.max_user_watches")?;
                f.write_str(&limit(most))
            }
            Self::TooManyWatchers { limit: most } => {
                write!(f, "no watchers are left: fs.inotify.max_user_instances{}", limit(most))
            }
            Self::Other { cause } => f.write_str(cause),
        }
    }
}

impl fmt::Display for WatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = length_in_words;
        match self {
            Self::Beginning => f.write_str("not looked at yet"),
            Self::Watching { folders } => {
                write!(f, "watching {folders} folder{}", if *folders == 1 { "" } else { "s" })
            }
            Self::Polling { file_system, every } => {
                write!(f, "walking the source every {}, since {file_system} tells no events", shown(*every))
            }
            Self::Degraded { cause, every } => {
                write!(f, "walking the source every {}, since {cause}; {}", shown(*every), cause.remedy())
            }
            Self::Absent { cause } => write!(f, "the source folder cannot be looked at: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_with_the_line_that_raises_it() {
        let cause = Degraded::TooManyFolders { folders: 1_000_000, limit: Some(8_192) };
        let status = WatchStatus::Degraded { cause, every: Duration::from_secs(30) };
        assert_eq!(
            status.to_string(),
            "walking the source every 30 seconds, since no watches are left for its 1000000 folders: \
             fs.inotify.max_user_watches (8192); as root: `sysctl fs.inotify.max_user_watches=2097152`, and the \
             same line without `sysctl` in /etc/sysctl.d/nightferry.conf"
        );
        let watchers = Degraded::TooManyWatchers { limit: None };
        assert!(watchers.remedy().contains("sysctl fs.inotify.max_user_instances=1024"));
    }
}
