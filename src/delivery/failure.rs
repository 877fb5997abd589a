//! Why a file was not delivered, and what that means for the file, the session and the run.

use crate::domain::{FailureClass, Mismatch, RemotePath, SidecarNameError, Twin};
use crate::remote::{FtpsError, Refusal, Trouble};
use crate::source::{RetireError, SourceError};
use crate::state::StateError;

/// Why an attempt to deliver a file failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Server(Box<FtpsError>),
    #[error("{source}; MKD {folder} had been answered: {reply}")]
    NotStored { source: Box<FtpsError>, folder: RemotePath, reply: String },
    #[error(
        "{source}; may this user write in that folder, and names that begin with a dot, as all temporary ones do? \
         `doctor` tells more"
    )]
    NotStaged { source: Box<DeliveryError> },
    #[error(transparent)]
    Retire(#[from] RetireError),
    #[error("state: {0}")]
    State(#[from] StateError),
    #[error("an interrupted upload cannot be gone on with: {why}; it starts again")]
    NotResumed { why: &'static str },
    #[error("the server does not take the rest of an interrupted upload ({refusal}); it starts again")]
    ResumeRefused { refusal: Refusal },
    #[error("the upload that was gone on with came out wrong, and starts again: {0}")]
    ResumedWrong(Box<DeliveryError>),
    #[error("the server stored something else than was sent: {0}; nothing was published")]
    Mismatch(Mismatch),
    #[error(
        "the server has no SHA-256 of files (HASH, XSHA256), which `verify: hash` asks for; use `verify: auto`"
    )]
    NoServerHash,
    #[error("the server gave no proof of what it stored{}; use another `verify`", shown(.refusal.as_ref()))]
    NoProof { refusal: Option<Refusal> },
    #[error(
        "the server stores files but does not let them be read back ({refusal}), so that their bytes cannot be \
         proved; `verify: size` proves by the size alone"
    )]
    WriteOnly { refusal: Refusal },
    #[error(
        "nothing can be proved on this server: of the file that it has just stored it gives no hash, no bytes and \
         no size{}; ask whoever runs it to allow this account SIZE, for `verify: size`, or better RETR or HASH",
        shown(.refusal.as_ref())
    )]
    Unprovable { refusal: Option<Refusal> },
    #[error("{}", occupied(*.size, *.known))]
    Occupied { size: u64, known: bool },
    #[error(
        "the server does not tell what stands under the final name (SIZE), so that a file of someone else \
         might be lost; `overwrite: replace` would go on"
    )]
    CannotLook,
    #[error("{refusal}{}", renames_not(refusal, *.target))]
    RenameRefused { refusal: Refusal, target: RenameTarget },
    #[error("the server said that it renamed the file, but did not; nothing was published")]
    NotRenamed,
    #[error("its path on the server is so long that no temporary name can stand beside it")]
    NoTemporaryName,
    #[error(
        "its path {twin}, and the server does not tell the two apart: one would be stored over the other, so that \
         neither is sent; rename one of them"
    )]
    Twin { twin: Twin },
    #[error(
        "its path {twin}, and it cannot be found out whether the server tells the two apart; rename one of them"
    )]
    TwinUnknown { twin: Twin },
    #[error(
        "the server does not keep names like this one: it shows `{came_back}` for `{sent}`; give the `charset` \
         that the server uses, or rename the file or folder"
    )]
    NameAltered { sent: String, came_back: String },
    #[error("it cannot be told from the server's answers whether it renamed the file")]
    InDoubt,
    #[error(
        "the file was gone as soon as it had its final name; if somebody takes files away from there, the job \
         needs `mode: drop`"
    )]
    Lost,
    #[error(
        "the server cannot rename files, by which they get their final name whole and proved; `publish: direct` \
         stores them under it at once, where a reader may see half a file"
    )]
    NoRename,
    #[error(
        "the server stored something else than was sent: {0}; that stands under the final name (`publish: direct`) \
         until it is stored once more"
    )]
    StoredWrong(Mismatch),
    #[error(
        "an upload straight to {path} was cut off, and what stands there now ({size} bytes) is not known to be a part \
         of it: somebody else may have put it there, or the source has changed since; look at it and delete it, or let \
         it be replaced with `overwrite: replace`"
    )]
    StrangePart { path: String, size: u64 },
    #[error("the file changed between the two times that it is read for `publish: direct`")]
    ChangedBetween,
    #[error(
        "an upload straight to {path} was cut off, and there is nothing any more to send there again: half a file \
         may stand there; look at it on the server"
    )]
    CutOff { path: String },
    #[error("the proved file vanished from the server before it could get its final name: {refusal}")]
    Vanished { refusal: Refusal },
    #[error(
        "it cannot be told whether an earlier attempt was published: its temporary file is gone, and another \
         file stands under the final name; look at {path} on the server, then remove or rename it"
    )]
    Conflict { path: String },
    #[error(
        "another file came to {path} on the server while its old version had made room for the new one; that \
         stands as {kept} beside it: look at both, then remove or rename the one under the final name"
    )]
    Stranded { path: String, kept: String },
    #[error(
        "{path} stands on the server ({}), and is not the sidecar of what was delivered there: it would vouch for the \
         new file, which was not published; move it away, or give `overwrite: replace`", bytes(*.size)
    )]
    SidecarTaken { path: String, size: Option<u64> },
    #[error(
        "the sidecar {path} of the old version cannot be deleted ({refusal}), and would vouch for the new one, which \
         was not published"
    )]
    SidecarStays { path: String, refusal: Refusal },
    #[error("the file is delivered, but not its sidecar {name}: {source}")]
    Sidecar { name: String, source: Box<DeliveryError> },
    #[error(transparent)]
    SidecarName(#[from] SidecarNameError),
    #[error("{refusal}")]
    NotNow { refusal: Refusal },
    #[error("an earlier attempt cannot be settled: {refusal}")]
    Unsettled { refusal: Refusal },
    #[error("a mistake in the program: {0}; please report it")]
    Internal(&'static str),
}

/// What stood under the name that a refused rename was to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RenameTarget {
    /// Nothing, as far as is known.
    Free,
    /// A file that could not make room either.
    Taken,
}

impl From<FtpsError> for DeliveryError {
    fn from(error: FtpsError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl PartialEq for DeliveryError {
    /// By situation and text: errors of the network hold what cannot be compared.
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for DeliveryError {}

fn bytes(size: Option<u64>) -> String {
    size.map_or_else(|| "it does not tell of how many bytes".to_owned(), |size| format!("{size} bytes"))
}

fn shown(refusal: Option<&Refusal>) -> String {
    refusal.map(|refusal| format!(" ({refusal})")).unwrap_or_default()
}

fn renames_not(refusal: &Refusal, target: RenameTarget) -> &'static str {
    match (target, refusal.verb) {
        (RenameTarget::Taken, _) => "; the file that stands there could not make room either",
        (RenameTarget::Free, "RNFR") if !refusal.is_passing() => {
            "; where the server does not allow renames at all, `publish: direct` stores files under their final names \
             at once, where a reader may see half of one"
        }
        (RenameTarget::Free, _) => "",
    }
}

fn occupied(size: u64, known: bool) -> String {
    let what = if known {
        "the file on the server is not the one that was delivered last"
    } else {
        "a file that Nightferry did not deliver already stands under the final name"
    };
    format!("{what} ({size} bytes); it was left alone: move it away, or give `overwrite: replace`")
}

/// What a failed attempt means for the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForFile {
    /// Try it again in this run.
    Again,
    /// The attempt does not count: nothing was wrong with it.
    AgainUncounted,
    /// Leave it to a later run.
    GiveUp,
}

/// What a failed attempt means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForSession {
    Keep,
    Replace,
}

/// What a failed attempt means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForRun {
    GoOn,
    /// One session is all that the server bears.
    Alone,
    /// Only a smaller file may fare better.
    Smaller,
    /// No other file would fare better.
    Stop,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) file: ForFile,
    pub(super) session: ForSession,
    pub(super) run: ForRun,
    pub(super) class: FailureClass,
}

impl Disposition {
    const fn new(file: ForFile, session: ForSession, run: ForRun, class: FailureClass) -> Self {
        Self { file, session, run, class }
    }
}

impl DeliveryError {
    /// Whether an upload starts again though a part of the file had been stored: people want to know.
    pub(super) const fn gives_a_part_up(&self) -> bool {
        matches!(self, Self::NotResumed { .. } | Self::ResumeRefused { .. } | Self::ResumedWrong(_))
    }

    /// Whether what the attempt has stored of a large file can be gone on with: it was only
    /// interrupted. What is refused for good goes, so that it takes nobody's room.
    pub(super) fn leaves_a_beginning(&self) -> bool {
        match self {
            Self::Server(error) | Self::NotStored { source: error, .. } => match error.trouble() {
                Trouble::Passing
                | Trouble::Busy
                | Trouble::Crowded
                | Trouble::NotNow
                | Trouble::Barred
                | Trouble::Trust
                | Trouble::SessionsUsedUp => true,
                Trouble::Refused | Trouble::NoSpace | Trouble::Unsendable => false,
            },
            Self::NotStaged { source } => source.leaves_a_beginning(),
            Self::Unsettled { refusal } => refusal.is_passing(),
            Self::NotNow { .. } | Self::State(_) => true,
            Self::Source(_)
            | Self::Retire(_)
            | Self::Twin { .. }
            | Self::TwinUnknown { .. }
            | Self::NameAltered { .. }
            | Self::NotResumed { .. }
            | Self::ResumeRefused { .. }
            | Self::ResumedWrong(_)
            | Self::Mismatch(_)
            | Self::NoServerHash
            | Self::NoProof { .. }
            | Self::WriteOnly { .. }
            | Self::Unprovable { .. }
            | Self::Occupied { .. }
            | Self::CannotLook
            | Self::RenameRefused { .. }
            | Self::NotRenamed
            | Self::NoTemporaryName
            | Self::InDoubt
            | Self::Lost
            | Self::NoRename
            | Self::Vanished { .. }
            | Self::Conflict { .. }
            | Self::Stranded { .. }
            | Self::StoredWrong(_)
            | Self::ChangedBetween
            | Self::StrangePart { .. }
            | Self::CutOff { .. }
            | Self::SidecarTaken { .. }
            | Self::SidecarStays { .. }
            | Self::Sidecar { .. }
            | Self::SidecarName(_)
            | Self::Internal(_) => false,
        }
    }

    /// What the error means. The only place that decides it.
    pub(super) fn disposition(&self) -> Disposition {
        use {FailureClass as Class, ForFile as File, ForRun as Run, ForSession as Session};
        let new = Disposition::new;
        match self {
            Self::Source(error) => {
                let file = if error.is_passing() { File::Again } else { File::GiveUp };
                new(file, Session::Keep, Run::GoOn, Class::File)
            }
            Self::Server(error) | Self::NotStored { source: error, .. } => match error.trouble() {
                Trouble::Passing | Trouble::Busy => {
                    new(File::Again, Session::Replace, Run::GoOn, Class::Temporary)
                }
                Trouble::Crowded => new(File::Again, Session::Replace, Run::Alone, Class::Temporary),
                Trouble::NotNow => new(File::Again, Session::Keep, Run::GoOn, Class::Temporary),
                Trouble::Refused => new(File::GiveUp, Session::Keep, Run::GoOn, Class::Refused),
                Trouble::NoSpace => new(File::GiveUp, Session::Keep, Run::Smaller, Class::Refused),
                Trouble::Barred => new(File::GiveUp, Session::Replace, Run::Stop, Class::Refused),
                Trouble::Trust => new(File::GiveUp, Session::Replace, Run::Stop, Class::Trust),
                Trouble::SessionsUsedUp => {
                    new(File::AgainUncounted, Session::Replace, Run::GoOn, Class::Temporary)
                }
                Trouble::Unsendable => new(File::GiveUp, Session::Keep, Run::GoOn, Class::File),
            },
            Self::NotNow { .. } => new(File::Again, Session::Keep, Run::GoOn, Class::Temporary),
            Self::State(error) => new(File::GiveUp, Session::Keep, Run::Stop, error.class()),
            Self::ChangedBetween => new(File::Again, Session::Keep, Run::GoOn, Class::File),
            Self::Mismatch(_)
            | Self::StoredWrong(_)
            | Self::NotRenamed
            | Self::InDoubt
            | Self::Vanished { .. } => new(File::Again, Session::Keep, Run::GoOn, Class::Verification),
            // Nothing of it was sent by this attempt, or not all; what comes next starts from nothing.
            Self::NotResumed { .. } => new(File::AgainUncounted, Session::Keep, Run::GoOn, Class::Temporary),
            // The server may still know of the offset.
            Self::ResumeRefused { .. } => {
                new(File::AgainUncounted, Session::Replace, Run::GoOn, Class::Temporary)
            }
            Self::ResumedWrong(_) => new(File::AgainUncounted, Session::Keep, Run::GoOn, Class::Verification),
            // No other file fares better, and where nothing may be looked at, what was stored may not
            // be deleted either.
            Self::NoServerHash | Self::WriteOnly { .. } | Self::Unprovable { .. } => {
                new(File::GiveUp, Session::Keep, Run::Stop, Class::Refused)
            }
            // Sent again at once it might be taken again at once.
            Self::NoProof { .. } | Self::Lost => {
                new(File::GiveUp, Session::Keep, Run::GoOn, Class::Verification)
            }
            Self::Occupied { .. }
            | Self::Retire(_)
            | Self::CannotLook
            | Self::Conflict { .. }
            | Self::Stranded { .. }
            | Self::CutOff { .. }
            | Self::StrangePart { .. }
            | Self::SidecarTaken { .. }
            | Self::SidecarName(_)
            | Self::NoTemporaryName
            | Self::Twin { .. }
            | Self::TwinUnknown { .. }
            | Self::NameAltered { .. } => new(File::GiveUp, Session::Keep, Run::GoOn, Class::File),
            // Of the first the file itself is delivered: only its sidecars are tried again.
            Self::Sidecar { source, .. } | Self::NotStaged { source } => source.disposition(),
            Self::RenameRefused { refusal, .. }
            | Self::Unsettled { refusal }
            | Self::SidecarStays { refusal, .. }
                if refusal.is_passing() =>
            {
                new(File::Again, Session::Keep, Run::GoOn, Class::Temporary)
            }
            Self::RenameRefused { .. }
            | Self::NoRename
            | Self::Unsettled { .. }
            | Self::SidecarStays { .. } => new(File::GiveUp, Session::Keep, Run::GoOn, Class::Refused),
            Self::Internal(_) => new(File::GiveUp, Session::Replace, Run::GoOn, Class::Other),
        }
    }
}

#[cfg(test)]
mod tests;
