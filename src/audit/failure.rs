//! Why a file could not be looked at, and what that means.

use crate::domain::{Failure, FailureClass};
use crate::plain::chain;
use crate::remote::{FtpsError, Trouble};
use crate::source::{PlaceError, SourceError};

/// Why a file could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    #[error(transparent)]
    Server(#[from] FtpsError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("a mistake in the program: {0}; please report it")]
    Internal(&'static str),
}

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Try the file again, on a new session.
    Again,
    /// The same, and the attempt does not count: nothing was wrong with it.
    AgainUncounted,
    /// The same, with one connection less, as long as another one is left.
    AgainWithFewer,
    /// Leave the file.
    GiveUp,
    /// No other file would fare better.
    Stop,
}

impl AuditError {
    /// What kind of trouble it is. The only place that decides it, with [`then`](Self::then).
    pub(super) fn class(&self) -> FailureClass {
        match self {
            Self::Server(error) => match error.trouble() {
                Trouble::Passing
                | Trouble::Busy
                | Trouble::Crowded
                | Trouble::NotNow
                | Trouble::SessionsUsedUp => FailureClass::Temporary,
                Trouble::Refused | Trouble::NoSpace | Trouble::Barred => FailureClass::Refused,
                Trouble::Trust => FailureClass::Trust,
                Trouble::Unsendable => FailureClass::File,
            },
            Self::Source(error) => error.class(),
            Self::Place(error) => error.class(),
            Self::Internal(_) => FailureClass::Other,
        }
    }

    /// What follows.
    pub(super) fn then(&self) -> Then {
        match self {
            Self::Server(error) => match error.trouble() {
                Trouble::Passing | Trouble::NotNow => Then::Again,
                Trouble::Busy | Trouble::Crowded => Then::AgainWithFewer,
                Trouble::SessionsUsedUp => Then::AgainUncounted,
                // Nothing is stored here: a full disk of theirs meets none but this file.
                Trouble::Refused | Trouble::NoSpace | Trouble::Unsendable => Then::GiveUp,
                Trouble::Barred | Trouble::Trust => Then::Stop,
            },
            Self::Place(error) if error.meets_all() => Then::Stop,
            Self::Source(_) | Self::Place(_) | Self::Internal(_) => Then::GiveUp,
        }
    }

    /// The error as reports and records hold it.
    pub(super) fn failure(&self) -> Failure {
        Failure::new(self.class(), chain(self))
    }
}
