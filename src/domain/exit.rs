//! How a command ends, for scripts and schedulers.

/// How a command ended. [`Exit::code`] gives the number; where several apply, [`Exit::worst`]
/// picks the one that a person must see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// All done.
    Done,
    /// Something that has no code of its own.
    Other,
    /// Wrong usage or configuration.
    Usage,
    /// Some files failed.
    FilesFailed,
    /// The source is missing, or a guard stopped the run.
    Source,
    /// A passing trouble; a later run may succeed.
    Temporary,
    /// What the server stored is not what was sent.
    Verification,
    /// The server refused for good: login, quota, permission.
    Refused,
    /// The server cannot be trusted: certificate or TLS.
    Trust,
    /// The run took longer than it may.
    Deadline,
    /// Another agent holds the state.
    Locked,
    /// Interrupted by a signal.
    Interrupted,
}

impl Exit {
    /// From the one that must be seen first to the one that may be hidden by all others.
    const PRECEDENCE: [Self; 12] = [
        Self::Usage,
        Self::Locked,
        Self::Trust,
        Self::Refused,
        Self::Source,
        Self::Verification,
        Self::FilesFailed,
        Self::Temporary,
        Self::Deadline,
        Self::Interrupted,
        Self::Other,
        Self::Done,
    ];

    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::FilesFailed => 3,
            Self::Source => 4,
            Self::Temporary => 5,
            Self::Verification => 6,
            Self::Refused => 7,
            Self::Trust => 8,
            Self::Deadline => 10,
            Self::Locked => 11,
            Self::Interrupted => 130,
        }
    }

    /// The one with this code, where there is one.
    pub fn of_code(code: u8) -> Option<Self> {
        Self::PRECEDENCE.into_iter().find(|exit| exit.code() == code)
    }

    /// The one of two that must be seen first.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self::PRECEDENCE.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_success_never_hides_failure() {
        let mut codes: Vec<u8> = Exit::PRECEDENCE.iter().map(|exit| exit.code()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 130]);
        for exit in Exit::PRECEDENCE {
            assert_eq!(exit.worst(Exit::Done), exit);
            assert_eq!(Exit::Done.worst(exit), exit);
            assert_eq!(Exit::of_code(exit.code()), Some(exit));
        }
        assert_eq!(Exit::FilesFailed.worst(Exit::Verification), Exit::Verification);
        assert_eq!(Exit::Trust.worst(Exit::Refused), Exit::Trust);
    }
}
