//! One writer for a state folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::error::{Holder, StateError};
use crate::domain::Timestamp;

/// The file that is locked. It stays when nobody holds the lock.
const LOCK_FILE: &str = "lock";
/// Most bytes of the file that are read: a process number has at most 10 digits, a time 30.
const MAX_HOLDER_BYTES: u64 = 64;

/// The lock of a state folder. The system's, so that a dead process leaves none.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, and writes this process's number and the time into the file, one a line,
    /// for others to show.
    pub(super) fn take(folder: &Path, now: Timestamp) -> Result<Self, StateError> {
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StateError::folder(folder))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked { folder: folder.to_owned(), holder: holder(&file) });
            }
            Err(TryLockError::Error(error)) => return Err(StateError::folder(folder)(error)),
        }
        let holder = format!("{}\n{now}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(holder.as_bytes()))
            .map_err(StateError::io(path))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Lets go by itself: a child process that is just being started may still have the file
    /// open, and closing ours would then leave the lock with it.
    fn drop(&mut self) {
        drop(self.file.unlock());
    }
}

fn holder(file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.take(MAX_HOLDER_BYTES).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.parse().ok()?;
    Some(Holder { pid, since: lines.next().and_then(|since| since.parse().ok()) })
}
