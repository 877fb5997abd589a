//! How a source folder is watched, and when a file counts as written to its end.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FileStat, RelPath, Timestamp};

/// How a source folder is watched. When files are ready holds for every run of the job, whatever
/// started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// When a file counts as written to its end.
    pub rest: Rest,
    /// What must stand beside a file before it is sent; nothing where there is none.
    pub ready_marker: Option<ReadyMarker>,
    /// How often a source is walked that the system tells no events of.
    pub poll: Duration,
    /// How often all of the source is looked at, whatever the events say.
    pub reconcile: Duration,
}

impl Watching {
    /// Often enough for people who wait for a file, and a walk through 10,000 files takes 20 ms.
    pub const DEFAULT_POLL: Duration = Duration::from_secs(30);
    /// Events can be lost without a word; this is how late a file can be then.
    pub const DEFAULT_RECONCILE: Duration = Duration::from_hours(1);
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            rest: Rest::default(),
            ready_marker: None,
            poll: Self::DEFAULT_POLL,
            reconcile: Self::DEFAULT_RECONCILE,
        }
    }
}

/// How long a file must have been left alone before it is sent.
///
/// Closing a file shortens nothing: programs that append open and close it for each piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest(pub Duration);

impl Rest {
    /// Programs that write in pieces rarely rest for longer.
    pub const DEFAULT: Duration = Duration::from_secs(5);
    /// Bytes for which a file has to rest one more second: larger ones come over slower lines, and
    /// cost more when they are sent in vain.
    pub const BYTES_A_SECOND: u64 = 100 * 1024 * 1024;
    /// The most that size adds.
    pub const MOST_FOR_SIZE: Duration = Duration::from_mins(1);
    /// How far file times may lie in the future and still be believed: file servers' clocks differ.
    /// Times even later come from a clock that was set back since.
    pub const MOST_AHEAD: Duration = Duration::from_mins(5);

    /// How long a file of that many bytes must rest.
    pub fn of(self, size: u64) -> Duration {
        match self.0 {
            Duration::ZERO => Duration::ZERO,
            least => {
                let more = Duration::from_secs(size / Self::BYTES_A_SECOND).min(Self::MOST_FOR_SIZE);
                least.saturating_add(more)
            }
        }
    }

    /// When a file with these facts, read at `observed_at`, has rested for long enough if nobody
    /// touches it again; `None` where it has.
    ///
    /// Its ctime moves with every change of its bytes, its name and its inode, and nobody can set it
    /// back; so one look is enough. A mtime in the future says nothing.
    pub fn waits(self, stat: &FileStat, observed_at: Timestamp) -> Option<Timestamp> {
        let newest = if stat.mtime > observed_at { stat.ctime } else { stat.ctime.max(stat.mtime) };
        let rested = newest.plus(self.of(stat.size));
        let believed = newest <= observed_at.plus(Self::MOST_AHEAD);
        (self.0 > Duration::ZERO && believed && rested > observed_at).then_some(rested)
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

/// The name of the file whose presence says that another one is ready, with `*` for that one's name:
/// with `*.done`, `x.csv` goes when `x.csv.done` stands beside it. Markers are never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyMarker {
    before: Box<str>,
    after: Box<str>,
}

impl ReadyMarker {
    /// The marker of a file; `None` where its path would be too long to exist.
    pub fn of(&self, file: &RelPath) -> Option<RelPath> {
        let name = format!("{}{}{}", self.before, file.name(), self.after);
        let path = file.folder().map_or(name.clone(), |folder| format!("{}/{name}", folder.as_str()));
        RelPath::new(path).ok()
    }

    /// Whether a name is that of a marker.
    pub fn is_marker(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after));
        rest.is_some_and(|rest| !rest.is_empty())
    }
}

impl fmt::Display for ReadyMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}", self.before, self.after)
    }
}

/// A text that is no [`ReadyMarker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a marker: it has one `*` for the name of the file, something else besides, and no `/`")]
pub struct ParseMarkerError;

impl FromStr for ReadyMarker {
    type Err = ParseMarkerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (before, after) = text.split_once('*').ok_or(ParseMarkerError)?;
        let ends_well = RelPath::new(format!("{before}x{after}")).is_ok();
        if text.len() == 1 || after.contains('*') || text.contains('/') || !ends_well {
            return Err(ParseMarkerError);
        }
        Ok(Self { before: before.into(), after: after.into() })
    }
}

/// Why a file is not sent yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum WaitCause {
    /// It changed so shortly ago that it may still be being written.
    #[serde(rename = "unsettled")]
    NotAtRest {
        /// When it has rested for long enough.
        until: Timestamp,
    },
    /// Its marker does not stand beside it.
    NoMarker {
        /// The marker's name.
        marker: String,
    },
}

impl fmt::Display for WaitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtRest { .. } => f.write_str("it may still be being written"),
            Self::NoMarker { marker } => {
                write!(f, "`{marker}` does not stand beside it, or is older than it")
            }
        }
    }
}

/// A file that is not sent yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingFile {
    /// The file as shown to people.
    pub name: String,
    /// Milliseconds since its last change.
    pub age_ms: u64,
    /// What it waits for.
    pub cause: WaitCause,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0)
    }

    fn stat(size: u64, mtime: i64, ctime: i64) -> FileStat {
        FileStat { size, mtime: at(mtime), ctime: at(ctime), inode: 1 }
    }

    #[test]
    fn a_file_waits_until_it_was_left_alone() {
        let rest = Rest(Duration::from_secs(5));
        let hundred = Rest::BYTES_A_SECOND;
        for (stat, now, waits) in [
            (stat(9, 100, 100), 104, Some(105)),
            (stat(9, 100, 100), 105, None),
            (stat(9, 50, 100), 104, Some(105)),
            (stat(9, 999_999, 100), 104, Some(105)),
            (stat(9, 999_999, 100), 105, None),
            (stat(3 * hundred, 100, 100), 107, Some(108)),
            (stat(u64::MAX, 100, 100), 165, None),
            (stat(9, 120, 120), 104, Some(125)),
            (stat(9, 9_000, 9_000), 104, None),
        ] {
            assert_eq!(rest.waits(&stat, at(now)), waits.map(at), "{stat:?} at {now}");
        }
        assert_eq!(Rest(Duration::ZERO).waits(&stat(hundred, 100, 100), at(100)), None);
    }

    #[test]
    fn a_marker_stands_beside_its_file() {
        let marker: ReadyMarker = "*.done".parse().unwrap();
        let path = |path: &str| RelPath::new(path).unwrap();
        assert_eq!(marker.of(&path("a/x.csv")), Some(path("a/x.csv.done")));
        assert_eq!(marker.of(&path("x.csv")), Some(path("x.csv.done")));
        assert!(marker.is_marker("x.csv.done") && !marker.is_marker("x.csv") && !marker.is_marker(".done"));
        let hidden: ReadyMarker = ".ok-*".parse().unwrap();
        assert_eq!(hidden.of(&path("a/x")), Some(path("a/.ok-x")));
        for bad in ["", "*", "done", "**.done", "a/*.done", "*.done ", "*\n"] {
            assert_eq!(bad.parse::<ReadyMarker>(), Err(ParseMarkerError), "{bad:?}");
        }
    }
}
