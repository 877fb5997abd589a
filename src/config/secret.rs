//! Fetches secrets from where the configuration says that they are kept.

mod command;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::domain::SecretRef;

/// Largest secret, in bytes; what is longer is the wrong file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Why a secret cannot be had. Never holds the secret or a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment has no such variable.
    #[error("the environment variable `{name}` is not set")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// No credentials were handed over.
    #[error("$CREDENTIALS_DIRECTORY is not set, so there is no credential `{name}`")]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder, pipe or device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others than the owner may read or change it.
    #[error("{} is open to other users (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else, who may read and change it.
    #[error("{} belongs to another user (uid {owner})", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The user who owns it.
        owner: u32,
    },
    /// The program could not be started or watched.
    #[error("cannot run `{program}` for the secret")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The program failed.
    #[error("`{program}` failed ({status}){}", hint(stderr))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The first line of its standard error, escaped; may be empty.
        stderr: String,
    },
    /// The program took too long.
    #[error("`{program}` did not end within {} s", command::DEADLINE.as_secs())]
    TooSlow {
        /// The program.
        program: String,
    },
    /// It is empty.
    #[error("the secret is empty")]
    Empty,
    /// It is larger than any password.
    #[error("the secret is larger than {} KiB", MAX_SECRET_BYTES / 1024)]
    TooLarge,
    /// It holds a line end or another control character, which would end or break the command
    /// that carries it.
    #[error("the secret holds a control character, or more than one line")]
    Control,
    /// It is not UTF-8, which is what servers expect (RFC 2640).
    #[error("the secret is not valid UTF-8")]
    NotUtf8,
}

fn hint(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

impl SecretError {
    /// What to do about it, where the text does not say so itself.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoVariable { name } => Some(format!("set {name} where nightferry is started")),
            Self::NoCredentials { .. } => {
                Some("add `LoadCredential=` to the systemd unit; elsewhere use `file:`".to_owned())
            }
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::ForeignOwner { path, .. } => {
                Some(format!("chown it to the user who runs nightferry: {}", path.display()))
            }
            Self::Control => Some("keep the password alone on the first and only line".to_owned()),
            Self::TooSlow { .. } => Some("run it by hand: does it ask for something?".to_owned()),
            Self::Unreadable { .. }
            | Self::NotAFile { .. }
            | Self::NotRun { .. }
            | Self::Failed { .. }
            | Self::Empty
            | Self::TooLarge
            | Self::NotUtf8 => None,
        }
    }
}

/// Fetches a secret. Blocks, with a command for as long as 30 seconds: not for a thread of an
/// async runtime.
pub fn resolve(secret: &SecretRef) -> Result<SecretString, SecretError> {
    resolve_in(secret, |name| std::env::var_os(name))
}

fn resolve_in(
    secret: &SecretRef,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<SecretString, SecretError> {
    let bytes = match secret {
        SecretRef::Env(name) => {
            let value = variable(name).ok_or_else(|| SecretError::NoVariable { name: name.clone() })?;
            return check(&Zeroizing::new(value.into_encoded_bytes()));
        }
        SecretRef::File(path) => read(path, Guard::Mode)?,
        SecretRef::Credential(name) => {
            let folder = variable("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
            let folder = folder.ok_or_else(|| SecretError::NoCredentials { name: name.clone() })?;
            read(&Path::new(&folder).join(name), Guard::Folder)?
        }
        SecretRef::Command(words) => command::run(words)?,
    };
    check(&without_line_end(bytes))
}

/// What keeps others from reading a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Its own mode and owner.
    Mode,
    /// The folder that systemd made for this service alone. Its files grant access by ACL, so
    /// that their mode bits look open to a group (systemd.exec(5), "Credentials").
    Folder,
}

fn read(path: &Path, guard: Guard) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    // Without O_NONBLOCK, opening a pipe would wait for somebody who writes.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    if guard == Guard::Mode {
        let owner = metadata.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(SecretError::ForeignOwner { path: path.to_owned(), owner });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Takes one line end off, which editors and programs put behind the secret.
fn without_line_end(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

fn check(bytes: &[u8]) -> Result<SecretString, SecretError> {
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotUtf8)?;
    if text.is_empty() {
        return Err(SecretError::Empty);
    }
    if text.contains(char::is_control) {
        return Err(SecretError::Control);
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests;
