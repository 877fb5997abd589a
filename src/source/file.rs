//! One source file, read once and hashed on the way.

use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::fstat;

use super::{Change, SourceError, SourceRoot, file_stat};
use crate::domain::{Beginning, Digest, FileStat, Hasher, RelPath, Sent};

/// Bytes that are read at a time where nobody waits for them. Hashing runs equally fast from
/// 8 KiB to 1 MiB (measured).
const HASH_BUFFER_BYTES: usize = 64 * 1024;

/// A file that is read once, from one descriptor, through SHA-256.
///
/// [`finish`](Self::finish) alone tells what was read, and only if the file is the one that was
/// opened: size, times and inode are those of the first look. Whether the path still names it is
/// not asked. Renaming or deleting it, or putting another in its place, changes its ctime on local
/// file systems and so counts as a change; on others the bytes are those of one whole file all the
/// same, and the next scan finds the new one.
///
/// What nobody can see: two writes within one step of the file system's clock (up to 10 ms on
/// Linux), one before the first look and one while the file is read, and writes through memory
/// maps, which Linux dates when it likes. A plan does not trust facts that young
/// ([`FileStat::is_racy`]): the next run reads the file again and sends what it finds.
#[derive(Debug)]
pub struct SourceFile {
    path: RelPath,
    file: File,
    before: FileStat,
    hasher: Hasher,
    read: u64,
}

impl SourceFile {
    pub(super) fn new(path: RelPath, file: File, before: FileStat) -> Self {
        Self { path, file, before, hasher: Hasher::default(), read: 0 }
    }

    /// Its facts when it was opened.
    pub const fn stat(&self) -> FileStat {
        self.before
    }

    /// Reads the next bytes; 0 at the end (or where `buf` is empty). Fails with
    /// [`SourceError::Changed`] as soon as there are more bytes than at first, so that a file
    /// which never stops growing is not read for ever. The bytes in `buf` are then worthless.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, SourceError> {
        let count = loop {
            match self.file.read(buf) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Read { path: self.path.clone(), source }),
            }
        };
        let bytes = buf.get(..count).unwrap_or_default();
        self.hasher.update(bytes);
        self.read = self.read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if self.read > self.before.size {
            return Err(self.changed(Change::Grew { from: self.before.size }));
        }
        Ok(count)
    }

    /// What was read, and the facts of the file, which are those of the first look. Fails with
    /// [`SourceError::Changed`] where they are not, and with [`SourceError::Unfinished`] before
    /// the end.
    pub fn finish(mut self) -> Result<(Sent, FileStat), SourceError> {
        let (read, size) = (self.read, self.before.size);
        let mut probe = [0];
        let at_end = self.read(&mut probe)? == 0;
        let stat = fstat(&self.file)
            .map_err(|errno| SourceError::Read { path: self.path.clone(), source: errno.into() })?;
        if let Some(what) = change(&self.before, &file_stat(&stat)) {
            return Err(self.changed(what));
        }
        if !at_end {
            return Err(SourceError::Unfinished { path: self.path, read, size });
        }
        if read != size {
            return Err(self.changed(Change::Size { from: size, to: read }));
        }
        Ok((Sent { size, digest: self.hasher.finish() }, self.before))
    }

    fn changed(&self, what: Change) -> SourceError {
        SourceError::Changed { path: self.path.clone(), what }
    }
}

/// The first thing that tells a file from what it was.
fn change(before: &FileStat, after: &FileStat) -> Option<Change> {
    let FileStat { size, mtime, ctime, inode } = *before;
    if after.inode != inode {
        Some(Change::Identity)
    } else if after.size != size {
        Some(Change::Size { from: size, to: after.size })
    } else if after.mtime != mtime {
        Some(Change::Content { at: after.mtime })
    } else if after.ctime != ctime {
        Some(Change::Inode { at: after.ctime })
    } else {
        None
    }
}

/// Reads a file for its digest only. What comes back is as good as what
/// [`SourceFile::finish`] gives. Blocks for as long as the file takes (about 1 s a GiB).
pub fn hash_file(root: &SourceRoot, path: &RelPath) -> Result<(Sent, FileStat), SourceError> {
    let mut file = root.open_file(path)?;
    let mut buf = vec![0; HASH_BUFFER_BYTES];
    while file.read(&mut buf)? > 0 {}
    file.finish()
}

/// Reads a file for its digest, and for those of its beginnings by which a part of it is known
/// ([`Beginning::next_size`]); otherwise like [`hash_file`].
pub fn hash_with_beginnings(
    root: &SourceRoot,
    path: &RelPath,
) -> Result<(Sent, FileStat, Vec<Beginning>), SourceError> {
    let mut file = root.open_file(path)?;
    let mut buf = vec![0; HASH_BUFFER_BYTES];
    let (mut beginnings, mut next) = (Vec::new(), Beginning::next_size(0));
    loop {
        let left = usize::try_from(next.saturating_sub(file.read)).unwrap_or(usize::MAX);
        let most = if beginnings.len() < Beginning::MOST { left } else { HASH_BUFFER_BYTES };
        if file.read(buf.get_mut(..most.min(HASH_BUFFER_BYTES)).unwrap_or_default())? == 0 {
            break;
        }
        if file.read == next && beginnings.len() < Beginning::MOST {
            beginnings.push(Beginning { size: next, digest: file.hasher.clone().finish() });
            next = Beginning::next_size(next);
        }
    }
    let (sent, stat) = file.finish()?;
    beginnings.retain(|beginning| beginning.size < sent.size);
    Ok((sent, stat, beginnings))
}

/// Reads so many first bytes of a file for their digest, if it still is the file with these facts;
/// fails with [`SourceError::Changed`] where it is not. Blocks.
pub fn hash_beginning(
    root: &SourceRoot,
    path: &RelPath,
    stat: &FileStat,
    bytes: u64,
) -> Result<Digest, SourceError> {
    let mut file = root.open_file(path)?;
    if let Some(what) = change(stat, &file.before) {
        return Err(file.changed(what));
    }
    let mut buf = vec![0; HASH_BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(HASH_BUFFER_BYTES);
        let read = file.read(buf.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(file.changed(Change::Size { from: stat.size, to: file.read }));
        }
        left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok(file.hasher.finish())
}
