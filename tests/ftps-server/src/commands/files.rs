//! Files as a whole: remove, rename, size, time, digest.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::Outcome;
use crate::dialect::{Feature, Manner};
use crate::digest::{self, Algorithm};
use crate::event::Event;
use crate::faults::Action;
use crate::reply::Reply;
use crate::session::{Representation, Session};
use crate::tree::VirtualPath;

/// How times are written, in UTC (RFC 3659, section 2.3).
const TIME_FORMAT: &str = "%Y%m%d%H%M%S";

/// Writes a time of the disk as clients read it.
pub(super) fn written(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format(TIME_FORMAT).to_string()
}

fn read(text: &str) -> Option<SystemTime> {
    let whole = text.split('.').next()?;
    let time = NaiveDateTime::parse_from_str(whole, TIME_FORMAT).ok()?;
    Some(time.and_utc().into())
}

impl Session {
    pub(super) fn dele(&mut self, argument: &[u8]) -> Outcome {
        match self.local(argument).and_then(fs::remove_file) {
            Ok(()) => Outcome::reply(250, "DELE command successful"),
            Err(error) => self.failed("DELE", argument, &error),
        }
    }

    pub(super) fn rnfr(&mut self, argument: &[u8]) -> Outcome {
        match self.local(argument).and_then(fs::symlink_metadata) {
            Ok(_) => {
                self.rename_from = Some(self.folder.join(argument));
                Outcome::reply(350, "File or directory exists, ready for destination name")
            }
            Err(error) => self.failed("RNFR", argument, &error),
        }
    }

    pub(super) fn rnto(&mut self, from: Option<&VirtualPath>, argument: &[u8]) -> Outcome {
        let Some(from) = from else {
            return Outcome::reply(503, "Bad sequence of commands");
        };
        match self.rename(from, argument) {
            Ok(()) => Outcome::reply(250, "Rename successful"),
            Err(error) => self.failed("RNTO", argument, &error),
        }
    }

    fn rename(&self, from: &VirtualPath, argument: &[u8]) -> io::Result<()> {
        let to = self.folder.join(argument);
        let (old, new) = (self.shared.tree.local(from)?, self.shared.tree.local(&to)?);
        let keeps = self.has(&Action::RefuseReplace) || self.shared.dialect.has(Feature::KeepsOnRename);
        // A file may be given its own name, with another case as well.
        if keeps && new.exists() && new != old {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&old, &new)?;
        self.shared.claims.renamed(&old, &new);
        if self.has(&Action::Vanish) {
            fs::remove_file(&new)?;
        }
        self.shared.tell(&Event::Renamed { from: from.text(), to: to.text(), local: new });
        Ok(())
    }

    pub(super) fn size(&mut self, argument: &[u8]) -> Outcome {
        let lie = self.actions.iter().find_map(|action| match action {
            Action::Size(size) => Some(*size),
            _ => None,
        });
        if let Some(size) = lie {
            return Outcome::reply(213, size.to_string());
        }
        let manner = self.shared.dialect.manner;
        if manner == Manner::ProFtpd && self.representation == Representation::Ascii {
            return Outcome::reply(550, "SIZE not allowed in ASCII mode");
        }
        match self.regular(argument).and_then(fs::metadata) {
            Ok(metadata) => Outcome::reply(213, metadata.len().to_string()),
            Err(error) => self.failed("SIZE", argument, &error),
        }
    }

    /// `MDTM path`, and on some servers `MDTM time path`.
    pub(super) fn mdtm(&mut self, argument: &[u8]) -> Outcome {
        if self.shared.dialect.has(Feature::MdtmSets)
            && let Some((Some(time), path)) = time_and_path(argument)
        {
            return match self.set_time(path, time) {
                Ok(()) => Outcome::reply(213, "File modification time set."),
                Err(error) => self.failed("MDTM", path, &error),
            };
        }
        match self.regular(argument).and_then(fs::metadata).and_then(|metadata| metadata.modified()) {
            Ok(time) => Outcome::reply(213, written(time)),
            Err(error) => self.failed("MDTM", argument, &error),
        }
    }

    /// `MFMT time path` (draft-somers-ftp-mfxx).
    pub(super) fn mfmt(&mut self, argument: &[u8]) -> Outcome {
        let (time, path) = match time_and_path(argument) {
            Some((Some(time), path)) => (time, path),
            Some((None, _)) => return Outcome::reply(501, "Invalid time format"),
            None => return Outcome::reply(501, "Invalid number of parameters"),
        };
        match self.set_time(path, time) {
            Ok(()) if self.shared.dialect.manner == Manner::PureFtpd => Outcome::reply(213, "UTIME OK"),
            Ok(()) => {
                let text = format!("Modify={}; ", written(time)).into_bytes();
                Outcome::reply(213, [&text, path].concat())
            }
            Err(error) => self.failed("MFMT", path, &error),
        }
    }

    fn set_time(&self, path: &[u8], time: SystemTime) -> io::Result<()> {
        let local = self.local(path)?;
        let file = File::open(&local)?;
        if file.metadata()?.modified()? != time {
            self.shared.claims.touched(&local);
        }
        file.set_modified(time)
    }

    /// `HASH path` (draft-bryan-ftpext-hash), in one line or, as ProFTPD has it, in two.
    pub(super) async fn hash(&mut self, argument: &[u8]) -> Outcome {
        let algorithm = self.algorithm;
        match self.digest(algorithm, argument).await {
            Ok((digest, size)) => {
                let name = algorithm.name();
                let mut line = Vec::new();
                if self.shared.dialect.has(Feature::HashAfterOpts) {
                    line.extend(format!("213-Computing {name} digest\r\n").into_bytes());
                }
                line.extend(format!("213 {name} 0-{size} {digest} ").into_bytes());
                line.extend(argument);
                Outcome::Reply(Reply(line))
            }
            Err(error) => self.failed("HASH", argument, &error),
        }
    }

    pub(super) async fn xsha256(&mut self, argument: &[u8]) -> Outcome {
        let path = argument.strip_prefix(b"\"").and_then(|path| path.strip_suffix(b"\"")).unwrap_or(argument);
        match self.digest(Algorithm::Sha256, path).await {
            Ok((digest, _)) => {
                let last = digest.to_ascii_uppercase();
                Outcome::Reply(Reply::lines::<&str>(250, "Computing SHA256 digest", &[], &last))
            }
            Err(error) => self.failed("XSHA256", argument, &error),
        }
    }

    async fn digest(&self, algorithm: Algorithm, path: &[u8]) -> io::Result<(String, u64)> {
        let local = self.regular(path)?;
        let size = fs::metadata(&local)?.len();
        let digest = match self.shared.claims.digest(&local, algorithm) {
            Some(claimed) => claimed,
            None => digest::of_file(algorithm, local).await?,
        };
        let digest = if self.has(&Action::WrongHash) { digest.chars().rev().collect() } else { digest };
        Ok((digest, size))
    }

    /// Where a path lies on the disk.
    pub(super) fn local(&self, argument: &[u8]) -> io::Result<PathBuf> {
        self.shared.tree.local(&self.folder.join(argument))
    }

    /// Where a regular file lies on the disk.
    fn regular(&self, argument: &[u8]) -> io::Result<PathBuf> {
        let local = self.local(argument)?;
        if fs::metadata(&local)?.is_file() { Ok(local) } else { Err(io::Error::other("not a regular file")) }
    }
}

/// Splits `20010203040506 path`; the time is missing where it is no time.
fn time_and_path(argument: &[u8]) -> Option<(Option<SystemTime>, &[u8])> {
    let blank = argument.iter().position(|byte| *byte == b' ')?;
    let (time, path) = argument.split_at_checked(blank)?;
    let time = std::str::from_utf8(time).ok().and_then(read);
    Some((time, path.strip_prefix(b" ")?))
}
