//! The files of a source folder: walk, filter, open, read and hash them; and those that are
//! brought back, put in their place.
//!
//! This module knows no manifest, no network and no runtime. Its calls block; they belong in a
//! blocking thread. Plans are made from its [`Scan`], deliveries read through its
//! [`SourceFile`], and only a [`RestoreFolder`] writes anything.
//!
//! The tree belongs to others, who change it at any moment, and some of them are hostile. So all
//! goes through one open descriptor of the source folder: no name is looked up from `/` again, no
//! link leads out of it, or is followed at all but where the job wants it, and what is read is the file that was checked, not one that took
//! its name since.

mod error;
mod file;
mod filter;
mod mounts;
mod place;
mod retire;
mod root;
mod scan;
mod twins;

pub use self::error::{Change, SourceError};
pub use self::file::{SourceFile, hash_beginning, hash_file, hash_with_beginnings};
pub use self::filter::{Filter, MAX_PATTERNS, PatternError, PatternList, PatternProblem};
pub use self::place::{Occupant, PlaceError, PlacePolicy, Placing, RestoreFolder};
pub use self::retire::{Aside, RetireError};
pub use self::root::SourceRoot;
pub use self::scan::{MAX_FOLDER_DEPTH, Scan};
pub use self::twins::kin;

use rustix::fs::Stat;

use crate::domain::{FileStat, Timestamp};

/// The facts of a file, from what `stat` gives.
fn file_stat(stat: &Stat) -> FileStat {
    let time = |seconds: i64, nanos: u64| Timestamp::from_unix(seconds, i64::try_from(nanos).unwrap_or(0));
    FileStat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
    }
}

/// A name of any bytes as people can read it and logs can hold it: control characters and bytes
/// that are not UTF-8 are escaped.
fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests;
