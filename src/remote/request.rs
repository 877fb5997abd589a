//! What is asked of a server and what it answers, free of the protocol's dialects.

use std::fmt;

use crate::domain::{Digest, RemotePath};
use crate::ftps::{
    Argument, Charset, Command, Features, FtpsError, HashSupport, Reply, ReplyKind, TimeDialect, sha256_of,
};

/// Something that is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Set a file's time, given as `YYYYMMDDHHMMSS` in UTC.
    SetTime(RemotePath, String),
    /// The time of a file.
    Modified(RemotePath),
    /// The size of a file.
    Size(RemotePath),
    /// The server's SHA-256 of a file.
    Hash(RemotePath),
    /// Whether something stands there, by `RNFR`: the only question that servers answer alike.
    /// A rename of it onto itself ends what `RNFR` began, since ProFTPD 1.3.8 answers 501 to
    /// everything but `RNTO` from then on.
    Stands(RemotePath),
    /// Whether a folder can be entered.
    Enter(RemotePath),
    /// The first half of a rename.
    RenameFrom(RemotePath),
    /// The second half of a rename.
    RenameTo(RemotePath),
    /// Make a folder.
    MakeFolder(RemotePath),
    /// Delete a file.
    Delete(RemotePath),
}

/// What a server answered to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; for [`Request::Stands`] and [`Request::RenameFrom`]: something stands there.
    Done,
    /// The size of the file in bytes.
    Size(u64),
    /// The time of the file, as the server writes it.
    Modified(String),
    /// The SHA-256 of the file.
    Digest(Digest),
    /// Nothing stands there, or nothing that can be asked about (550).
    Absent(Refusal),
    /// Refused.
    Refused(Refusal),
    /// The server does not know how; it was not even asked where that was known.
    Unsupported,
}

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused, by its verb.
    pub verb: &'static str,
    /// The reply's code.
    pub code: u16,
    /// The reply, safe to show.
    pub reply: String,
}

impl Refusal {
    /// The code by which servers say that nothing stands under a name, or nothing that can be
    /// asked about.
    pub const ABSENT: u16 = 550;

    /// Whether it says that nothing stands there, or nothing that can be asked about.
    pub fn is_absence(&self) -> bool {
        self.code == Self::ABSENT
    }

    /// Whether it is for now only (4xx).
    pub fn is_passing(&self) -> bool {
        (400..500).contains(&self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verb, self.reply)
    }
}

/// The commands for a request, of which the first one's reply is the answer; none where the
/// server is known not to understand any. `home` is the login folder.
pub(super) fn commands(
    request: &Request,
    features: &Features,
    home: Option<&Argument>,
    charset: Charset,
) -> Result<Vec<Command>, FtpsError> {
    let path = |path: &RemotePath| argument(path.as_str(), charset);
    Ok(vec![match request {
        Request::Stands(file) => return Ok(vec![Command::Rnfr(path(file)?), Command::Rnto(path(file)?)]),
        Request::Enter(folder) if folder.as_str().starts_with('/') => Command::Cwd(path(folder)?),
        Request::Enter(folder) => {
            // Relative paths must go on to mean the same.
            let there = path(folder)?;
            return Ok(home.map_or(vec![], |home| vec![Command::Cwd(there), Command::Cwd(home.clone())]));
        }
        Request::SetTime(file, time) => {
            // vsftpd lists MDTM and sets times with it; where MFMT exists, MDTM only asks.
            let dialect = if features.has("MFMT") { TimeDialect::Mfmt } else { TimeDialect::Mdtm };
            Command::SetTime(dialect, argument(time, charset)?, path(file)?)
        }
        Request::Modified(file) => Command::Mdtm(path(file)?),
        Request::Size(file) => Command::Size(path(file)?),
        Request::Hash(file) => match features.hash() {
            HashSupport::None => return Ok(vec![]),
            HashSupport::Hash => Command::Hash(path(file)?),
            HashSupport::Xsha256 => Command::Xsha256(path(file)?),
        },
        Request::RenameFrom(file) => Command::Rnfr(path(file)?),
        Request::RenameTo(file) => Command::Rnto(path(file)?),
        Request::MakeFolder(folder) => Command::Mkd(path(folder)?),
        Request::Delete(file) => Command::Dele(path(file)?),
    }])
}

/// A text as part of a command.
pub(super) fn argument(text: &str, charset: Charset) -> Result<Argument, FtpsError> {
    Argument::encoded(text, charset).map_err(|source| FtpsError::Argument { what: "its path", source })
}

/// Whether a reply can be the answer to a request: one that tells of success has the code that
/// the standard names. Another one shows that replies and commands have got out of step.
pub(super) fn is_plausible(request: &Request, reply: &Reply) -> bool {
    match (request, reply.kind()) {
        (_, ReplyKind::Transient | ReplyKind::Permanent) => true,
        (Request::Size(_) | Request::Modified(_), _) => reply.code() == 213,
        (Request::Stands(_) | Request::RenameFrom(_), _) => reply.code() == 350,
        (_, kind) => kind == ReplyKind::Done,
    }
}

/// What a reply to a request means.
pub(super) fn answer(request: &Request, verb: &'static str, reply: &Reply, hash: HashSupport) -> Answer {
    let refusal = || Refusal { verb, code: reply.code(), reply: reply.to_string() };
    match (reply.code(), reply.kind()) {
        (500 | 502 | 504, _) => return Answer::Unsupported,
        (Refusal::ABSENT, _) => return Answer::Absent(refusal()),
        (_, ReplyKind::Transient | ReplyKind::Permanent) => return Answer::Refused(refusal()),
        (_, ReplyKind::Preliminary | ReplyKind::Done | ReplyKind::Continue) => {}
    }
    let text = reply.last_line().trim();
    let done = |fine| if fine { Answer::Done } else { Answer::Refused(refusal()) };
    match request {
        Request::Size(_) if reply.code() == 213 => text.parse().map_or_else(|_| done(false), Answer::Size),
        Request::Modified(_) if reply.code() == 213 && is_time(text) => Answer::Modified(text.to_owned()),
        Request::Hash(path) => sha256_of(reply, hash, path.as_str())
            .map_or(Answer::Unsupported, |bytes| Answer::Digest(Digest::from_bytes(bytes))),
        Request::Stands(_) | Request::RenameFrom(_) => done(reply.code() == 350),
        Request::Enter(_)
        | Request::SetTime(..)
        | Request::RenameTo(_)
        | Request::MakeFolder(_)
        | Request::Delete(_) => done(reply.kind() == ReplyKind::Done),
        Request::Size(_) | Request::Modified(_) => done(false),
    }
}

/// `YYYYMMDDHHMMSS`, with or without a fraction (RFC 3659, section 2.3).
fn is_time(text: &str) -> bool {
    (14..=24).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
