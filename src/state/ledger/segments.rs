//! The files of the segments: which there are, plain or compressed, and how they are read,
//! compressed and taken away.
//!
//! A sealed segment is compressed with gzip, so that `zcat` reads it: `000001.jsonl` becomes
//! `000001.jsonl.gz`. The copy is written under another name, synced, read back and compared, and
//! gets its name durably before the plain file goes. Where a crash leaves both, the plain one
//! counts, and is compressed again.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::domain::{Digest, Hasher};
use crate::state::error::StateError;
use crate::state::halt::Halt;
use crate::state::storage::{Append, Storage};

/// What a segment's compressed copy is called until it is known to be whole.
const UNFINISHED: &str = "compressed.new";
/// How hard it is tried: gzip's own default. A record of a delivery takes about 100 bytes then.
const LEVEL: Compression = Compression::new(6);
/// How much is read at once.
const PIECE_BYTES: usize = 1 << 16;

/// A segment on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) struct SegmentFile {
    /// Its number, from 1.
    pub(in crate::state) number: u32,
    /// How it is stored.
    pub(in crate::state) form: Form,
}

/// How a segment is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Form {
    /// As it was written.
    Plain,
    /// Sealed, and compressed.
    Compressed,
}

impl SegmentFile {
    /// Its file's name.
    pub(in crate::state) fn name(self) -> String {
        match self.form {
            Form::Plain => plain_name(self.number),
            Form::Compressed => compressed_name(self.number),
        }
    }

    /// Its lines from the first one on.
    pub(in crate::state) fn open(self, storage: &dyn Storage) -> io::Result<Box<dyn Read + Send>> {
        let plain = || storage.read(&plain_name(self.number));
        let compressed = || -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(GzDecoder::new(storage.read(&compressed_name(self.number))?)))
        };
        match self.form {
            Form::Compressed => compressed(),
            // The writer may have compressed it since the files were listed.
            Form::Plain => plain().or_else(|error| match error.kind() {
                ErrorKind::NotFound => compressed(),
                _ => Err(error),
            }),
        }
    }
}

/// The name of a segment that is written, or not yet compressed.
pub(in crate::state) fn plain_name(number: u32) -> String {
    format!("{number:06}.jsonl")
}

fn compressed_name(number: u32) -> String {
    format!("{number:06}.jsonl.gz")
}

/// The segments, by their numbers.
pub(in crate::state) fn list(storage: &dyn Storage) -> io::Result<Vec<SegmentFile>> {
    let mut forms = BTreeMap::new();
    for name in storage.names()? {
        if let Some(number) = name.strip_suffix(".jsonl").and_then(number_of) {
            forms.insert(number, Form::Plain);
        } else if let Some(number) = name.strip_suffix(".jsonl.gz").and_then(number_of) {
            forms.entry(number).or_insert(Form::Compressed);
        }
    }
    Ok(forms.into_iter().map(|(number, form)| SegmentFile { number, form }).collect())
}

/// A number of at least six digits.
pub(in crate::state) fn number_of(digits: &str) -> Option<u32> {
    let fits = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| fits && *number > 0)
}

/// Replaces a sealed segment by a compressed copy, or ends early.
pub(in crate::state) fn compress(
    storage: &dyn Storage,
    folder: &Path,
    number: u32,
    halt: &Halt,
) -> Result<(), StateError> {
    let (plain, compressed) = (plain_name(number), compressed_name(number));
    let work = || -> io::Result<()> {
        let mut input = storage.read(&plain)?;
        let mut hasher = Hasher::default();
        let mut output = GzEncoder::new(Sink::create(storage, UNFINISHED)?, LEVEL);
        each_piece(&mut input, &mut |piece| {
            halt.check()?;
            hasher.update(piece);
            output.write_all(piece)
        })?;
        output.finish()?.finish()?;
        if digest_of(&mut GzDecoder::new(storage.read(UNFINISHED)?))? != hasher.finish() {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the compressed copy differs from the segment",
            ));
        }
        storage.rename(UNFINISHED, &compressed)?;
        storage.sync_names()?;
        storage.remove(&plain)
    };
    work().map_err(StateError::io(folder.join(plain_name(number))))
}

/// Takes away segments, oldest first and each durably before the next, so that those that are
/// left never have a gap.
pub(in crate::state) fn remove_up_to(
    storage: &dyn Storage,
    folder: &Path,
    last: u32,
) -> Result<(), StateError> {
    let work = |file: &SegmentFile| {
        remove_if_there(storage, &compressed_name(file.number))?;
        remove_if_there(storage, &plain_name(file.number))?;
        storage.sync_names()
    };
    let files = list(storage).map_err(StateError::io(folder))?;
    files
        .iter()
        .filter(|file| file.number <= last)
        .try_for_each(|file| work(file).map_err(StateError::io(folder.join(file.name()))))
}

/// Takes a file away, if there is one.
pub(in crate::state) fn remove_if_there(storage: &dyn Storage, name: &str) -> io::Result<()> {
    match storage.remove(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The SHA-256 of what is left to read.
pub(in crate::state) fn digest_of(input: &mut dyn Read) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    each_piece(input, &mut |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hasher.finish())
}

fn each_piece(input: &mut dyn Read, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => take(piece.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A new file that is written in pieces, and hashed on the way.
#[derive(Debug)]
pub(in crate::state) struct Sink {
    file: Box<dyn Append>,
    waiting: Vec<u8>,
    hasher: Hasher,
    bytes: u64,
}

impl Sink {
    /// Makes the file, in the place of one that was not finished.
    pub(in crate::state) fn create(storage: &dyn Storage, name: &str) -> io::Result<Self> {
        remove_if_there(storage, name)?;
        let file = storage.create(name)?;
        Ok(Self { file, waiting: Vec::new(), hasher: Hasher::default(), bytes: 0 })
    }

    /// Returns the file's length and SHA-256 when its content will outlast a power cut.
    pub(in crate::state) fn finish(mut self) -> io::Result<(u64, Digest)> {
        self.flush()?;
        self.file.sync()?;
        Ok((self.bytes, self.hasher.finish()))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.waiting);
        self.bytes += u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.file.append(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Whether reading failed because of what stands in the file.
pub(in crate::state) fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof)
        && error.raw_os_error().is_none()
}

/// Where a segment is.
pub(in crate::state) fn path(folder: &Path, file: SegmentFile) -> PathBuf {
    folder.join(file.name())
}
