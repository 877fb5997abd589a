//! Listings.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::files::written;
use super::{Command, Outcome};
use crate::dialect::{Feature, Manner};
use crate::faults::Action;
use crate::reply::Reply;
use crate::session::Session;

/// From this age on, `ls` shows the year in place of the hour.
const HALF_A_YEAR: Duration = Duration::from_hours(24 * 182);
/// The facts on offer.
const FACTS: [&str; 4] = ["modify", "perm", "size", "type"];

/// The facts that `MLSD` and `MLST` give.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    chosen: Vec<&'static str>,
}

/// Where an endless listing ends after all.
const ENDLESS: usize = 1 << 30;

/// Bytes without end; none where there are none.
struct Cycle {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Cycle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        Ok(read)
    }
}

/// Which names a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DotFiles {
    Shown,
    Hidden,
}

impl Default for Facts {
    fn default() -> Self {
        Self { chosen: FACTS.to_vec() }
    }
}

impl Facts {
    pub(super) fn none() -> Self {
        Self { chosen: Vec::new() }
    }

    /// Those of a list with semicolons that are on offer.
    pub(super) fn chosen(list: &str) -> Self {
        let wanted: Vec<&str> = list.split(';').collect();
        let is_wanted = |fact: &&str| wanted.iter().any(|name| name.eq_ignore_ascii_case(fact));
        Self { chosen: FACTS.into_iter().filter(is_wanted).collect() }
    }

    /// The chosen ones, each with a semicolon.
    pub(super) fn list(&self) -> String {
        self.chosen.iter().flat_map(|fact| [fact, ";"]).collect()
    }

    /// All of them, with a star after the chosen ones (RFC 3659, section 7.8).
    pub(super) fn offer(&self) -> String {
        let star = |fact| if self.chosen.contains(fact) { "*;" } else { ";" };
        FACTS.iter().flat_map(|fact| [fact, star(fact)]).collect()
    }

    /// The facts of a file and its name.
    fn line(&self, metadata: &Metadata, kind: &str, name: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        for fact in &self.chosen {
            let value = match *fact {
                "modify" => written(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
                "perm" if metadata.is_dir() => "cdeflmp".to_owned(),
                "perm" => "adfrw".to_owned(),
                "size" if metadata.is_dir() => continue,
                "size" => metadata.len().to_string(),
                _ => kind.to_owned(),
            };
            line.extend(format!("{fact}={value};").into_bytes());
        }
        line.push(b' ');
        line.extend(name);
        line
    }
}

impl Session {
    pub(super) fn mlst(&mut self, argument: &[u8]) -> Outcome {
        match self.local(argument).and_then(fs::metadata) {
            Ok(metadata) => {
                let kind = if metadata.is_dir() { "dir" } else { "file" };
                let line = self.facts.line(&metadata, kind, &self.folder.join(argument).bytes());
                Outcome::Reply(Reply::lines(250, "Start of list", &[line], "End of list"))
            }
            Err(error) => self.failed("MLST", argument, &error),
        }
    }

    pub(super) async fn mlsd(&mut self, argument: &[u8]) -> io::Result<Outcome> {
        let listing = self.local(argument).and_then(|folder| {
            let own = fs::metadata(&folder)?;
            let mut lines = vec![self.facts.line(&own, "cdir", b".")];
            for (name, metadata) in entries(&folder, DotFiles::Shown)? {
                let kind = if metadata.is_dir() { "dir" } else { "file" };
                lines.push(self.facts.line(&metadata, kind, &self.shared.tree.shown(&name)));
            }
            Ok(lines)
        });
        match listing {
            Ok(lines) => self.send_listing("MLSD", &lines).await,
            Err(error) => Ok(self.failed("MLSD", argument, &error)),
        }
    }

    /// `LIST` and `NLST`, of a folder or of one file, with `-a` for the dot files.
    pub(super) async fn list(&mut self, command: &Command) -> io::Result<Outcome> {
        let iis = self.shared.dialect.has(Feature::DosList);
        let whole = (b"".as_slice(), command.argument.as_slice());
        let (options, path) = if iis { whole } else { options_and_path(&command.argument) };
        let dots = if self.shared.dialect.has(Feature::ListsDotFiles) || options.contains(&b'a') {
            DotFiles::Shown
        } else {
            DotFiles::Hidden
        };
        match self.listing(&command.verb, path, dots) {
            Ok(lines) => self.send_listing(&command.verb, &lines).await,
            Err(_) if self.shared.dialect.manner == Manner::Vsftpd => {
                self.send_listing(&command.verb, &[]).await
            }
            Err(error) => Ok(self.failed(&command.verb, path, &error)),
        }
    }

    fn listing(&self, verb: &str, path: &[u8], dots: DotFiles) -> io::Result<Vec<Vec<u8>>> {
        let local = self.local(path)?;
        let metadata = fs::metadata(&local)?;
        let dialect = &self.shared.dialect;
        let windows = dialect.manner == Manner::Iis || dialect.has(Feature::DosList);
        if !metadata.is_dir() {
            return Ok(vec![match verb {
                "NLST" => path.to_vec(),
                _ if windows => dos_line(&metadata, path),
                _ => long_line(&metadata, path),
            }]);
        }
        let prefix = match path {
            b"" => Vec::new(),
            path => [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat(),
        };
        let lines = entries(&local, dots)?.into_iter().map(|(name, metadata)| {
            let name = self.shared.tree.shown(&name);
            match verb {
                "NLST" => [prefix.as_slice(), &name].concat(),
                _ if windows => dos_line(&metadata, &name),
                _ => long_line(&metadata, &name),
            }
        });
        Ok(lines.collect())
    }

    async fn send_listing(&mut self, verb: &str, lines: &[Vec<u8>]) -> io::Result<Outcome> {
        let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\r\n"].concat()).collect();
        let agreed = match self.take_agreed() {
            Ok(agreed) => agreed,
            Err(refusal) => return Ok(refusal),
        };
        let start = b"Opening data connection for file list";
        let data = match self.open_data(agreed, verb, b"", start).await? {
            Ok(data) => data,
            Err(refusal) => return Ok(refusal),
        };
        let other = self.actions.iter().find_map(|action| match action {
            Action::Listing(bytes) => Some((bytes.clone(), bytes.len())),
            Action::EndlessListing(bytes) => Some((bytes.clone(), ENDLESS)),
            _ => None,
        });
        let all = text.len();
        let (bytes, length) = other.unwrap_or((text, all));
        self.send_bytes(data, Cycle { bytes, at: 0 }.take(length as u64)).await
    }
}

/// The entries of a folder in the order of their names; links show what they lead to.
fn entries(folder: &std::path::Path, dots: DotFiles) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if dots == DotFiles::Hidden && name.as_bytes().starts_with(b".") {
            continue;
        }
        // A file may go, and a link may lead nowhere, while the folder is read.
        if let Ok(metadata) = fs::metadata(folder.join(&name)) {
            entries.push((name.into_vec(), metadata));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

fn options_and_path(argument: &[u8]) -> (&[u8], &[u8]) {
    if !argument.starts_with(b"-") {
        return (b"", argument);
    }
    let end = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
    let (options, path) = argument.split_at_checked(end).unwrap_or_default();
    (options, path.strip_prefix(b" ").unwrap_or(path))
}

/// A line as `ls -l` has it.
fn long_line(metadata: &Metadata, name: &[u8]) -> Vec<u8> {
    let kind = if metadata.is_dir() { 'd' } else { '-' };
    let mode = metadata.permissions().mode();
    let rights: String =
        (0..9).map(|bit| if mode & (0o400 >> bit) == 0 { '-' } else { letter(bit) }).collect();
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let recent = modified.elapsed().is_ok_and(|age| age < HALF_A_YEAR);
    let format = if recent { "%b %d %H:%M" } else { "%b %d  %Y" };
    let time = DateTime::<Utc>::from(modified).format(format);
    let (links, size) = (metadata.nlink(), metadata.len());
    let mut line = format!("{kind}{rights} {links:3} 1000     1000     {size:8} {time} ").into_bytes();
    line.extend(name);
    line
}

/// A line as IIS has it.
fn dos_line(metadata: &Metadata, name: &[u8]) -> Vec<u8> {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let time = DateTime::<Utc>::from(modified).format("%m-%d-%y  %I:%M%p");
    let what = if metadata.is_dir() {
        "      <DIR>          ".to_owned()
    } else {
        format!("{:>20} ", metadata.len())
    };
    let mut line = format!("{time} {what}").into_bytes();
    line.extend(name);
    line
}

fn letter(bit: u32) -> char {
    match bit % 3 {
        0 => 'r',
        1 => 'w',
        _ => 'x',
    }
}
