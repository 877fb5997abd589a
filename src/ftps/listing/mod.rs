//! Listings as servers send them: `MLSD` (RFC 3659, section 7), `LIST` in the manner of Unix and of
//! DOS, and `NLST`.
//!
//! A server's names are data from outside. Only what is a single name in the session's encoding
//! comes through; the rest is dropped and counted. Lines are taken as they come, so that nothing
//! but one line is ever held.

mod dos;
mod mlsd;
mod nlst;
mod unix;

use super::charset::Charset;
use super::error::FtpsError;
use super::limits::{MAX_LINE_BYTES, MAX_LISTING_BYTES, MAX_LISTING_ENTRIES};

/// Something in a folder on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: one component, without `/`, `\` and control characters; not `.` or `..`, and
    /// nothing that begins with a drive letter.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its bytes, where the listing tells.
    pub size: Option<u64>,
    /// When it was last changed, where the listing tells.
    pub modified: Option<Modified>,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link or a junction, whatever it leads to.
    Link,
    /// A device, a pipe, a socket, or something that only the server knows.
    Other,
    /// The listing does not tell.
    Unknown,
}

/// When an [`Entry`] was last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modified {
    /// `YYYYMMDDHHMMSS` in UTC, with or without a fraction (RFC 3659, section 2.3).
    Utc(String),
    /// As the server shows it to people, in a time zone that it does not tell, often without the
    /// year or the time of day.
    Shown(String),
}

/// What a listing held, besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Entries that were handed out.
    pub entries: u64,
    /// Lines that were dropped: not understood, or no single name.
    pub dropped: u64,
    /// Lines that were dropped because they are not of the session's encoding.
    pub unreadable: u64,
    /// Lines that are no entries: the folder itself, its parent, a sum.
    pub about: u64,
}

impl Listed {
    /// Whether not one line came.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether lines came and not one was understood.
    pub(super) fn is_foreign(&self) -> bool {
        self.dropped > 0 && self.entries + self.unreadable + self.about == 0
    }
}

/// How a listing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Facts and a name.
    Facts,
    /// Lines for people.
    Long,
    /// Names alone, some servers' with this folder in front.
    Names { folder: String },
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Entry(Entry),
    /// Of the folder itself, its parent or a sum.
    About,
    /// Not understood, or no single name.
    Dropped,
}

/// Takes a listing apart as it comes.
#[derive(Debug)]
pub(super) struct ListingReader {
    form: Form,
    charset: Charset,
    /// The line that has begun.
    line: Vec<u8>,
    bytes: u64,
    listed: Listed,
}

impl ListingReader {
    pub(super) fn new(form: Form, charset: Charset) -> Self {
        Self { form, charset, line: Vec::new(), bytes: 0, listed: Listed::default() }
    }

    /// Takes the next bytes, and hands the entries of whole lines to `sink`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut (impl FnMut(Entry) + ?Sized),
    ) -> Result<(), FtpsError> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.bytes > MAX_LISTING_BYTES {
            return Err(FtpsError::TooLong { what: "bytes", limit: MAX_LISTING_BYTES });
        }
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + piece.len() > MAX_LINE_BYTES {
                let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
                return Err(FtpsError::TooLong { what: "bytes in one line", limit });
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line(sink)?;
            }
        }
        Ok(())
    }

    /// Takes the last line, which some servers leave without an end.
    pub(super) fn finish(mut self, sink: &mut (impl FnMut(Entry) + ?Sized)) -> Result<Listed, FtpsError> {
        if !self.line.is_empty() {
            self.end_line(sink)?;
        }
        Ok(self.listed)
    }

    fn end_line(&mut self, sink: &mut (impl FnMut(Entry) + ?Sized)) -> Result<(), FtpsError> {
        let mut line = self.line.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        let listed = &mut self.listed;
        match self.charset.decode(line).map(|text| read(&self.form, &text)) {
            _ if line.is_empty() => {}
            None => listed.unreadable += 1,
            Some(Line::About) => listed.about += 1,
            Some(Line::Dropped) => listed.dropped += 1,
            Some(Line::Entry(entry)) => {
                listed.entries += 1;
                if listed.entries > MAX_LISTING_ENTRIES {
                    return Err(FtpsError::TooLong { what: "entries", limit: MAX_LISTING_ENTRIES });
                }
                sink(entry);
            }
        }
        self.line.clear();
        Ok(())
    }
}

fn read(form: &Form, line: &str) -> Line {
    match form {
        Form::Facts => mlsd::read(line),
        Form::Long => unix::read(line).or_else(|| dos::read(line)).unwrap_or(Line::Dropped),
        Form::Names { folder } => nlst::read(line, folder),
    }
}

/// An entry, if its name is a single component that can lead nowhere else and steer nothing.
fn entry(name: &str, kind: EntryKind, size: Option<u64>, modified: Option<Modified>) -> Line {
    if matches!(name, "." | "..") {
        return Line::About;
    }
    let drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if name.is_empty() || drive || name.contains(['/', '\\']) || name.contains(char::is_control) {
        return Line::Dropped;
    }
    Line::Entry(Entry { name: name.to_owned(), kind, size, modified })
}

/// The next word of a line and what stands behind it, blanks in front left out.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    let end = text.find(' ').unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

#[cfg(test)]
mod tests;
