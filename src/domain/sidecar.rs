//! Sidecars: small files that are published beside a delivered file, to say that it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DifferenceKind, Digest, ProofMethod, Publishing, RelPath, RunId};

/// Longest name on the file systems of servers, in bytes (`NAME_MAX` of Linux and the BSDs).
const MAX_NAME_BYTES: usize = 255;

/// A small file beside a delivered one. In the order in which they are published: a consumer waits
/// for the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sidecar {
    /// `X.sha256`: one line as `sha256sum` of GNU coreutils writes it, so that `sha256sum -c` takes it
    /// in the folder of `X`.
    Sha256,
    /// `X.done`: empty. It stands only while `X` stands whole beside it.
    Done,
}

impl Sidecar {
    /// All, in the order in which they are published.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Done];

    /// What its name has behind that of its file.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Sha256 => ".sha256",
            Self::Done => ".done",
        }
    }

    /// Where it stands for a file. `None` where that name would be longer than file systems take, or
    /// the path longer than can be sent.
    pub fn beside(self, file: &RelPath) -> Option<RelPath> {
        let path = RelPath::new(format!("{file}{}", self.suffix())).ok()?;
        (path.name().len() <= MAX_NAME_BYTES).then_some(path)
    }

    /// What it holds for a file of this path and SHA-256: always the same bytes, by which it is known
    /// again.
    pub fn content(self, file: &RelPath, digest: Digest) -> Vec<u8> {
        match self {
            Self::Done => Vec::new(),
            Self::Sha256 => {
                let name = file.name();
                // As coreutils 8.25 and later write it: a backslash in front of the line tells that those in
                // the name are doubled. Line ends are in no path.
                let (mark, name) = if name.contains('\\') {
                    ("\\", name.replace('\\', "\\\\"))
                } else {
                    ("", name.to_owned())
                };
                format!("{mark}{digest}  {name}\n").into_bytes()
            }
        }
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sha256 => "sha256",
            Self::Done => "done",
        })
    }
}

/// Which sidecars there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sidecars(BTreeSet<Sidecar>);

impl Sidecars {
    /// None.
    pub const NONE: Self = Self(BTreeSet::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they are published.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Sidecar> + '_ {
        self.0.iter().copied()
    }

    /// Those of either.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).copied().collect())
    }

    /// Those of both.
    #[must_use]
    pub fn among(&self, others: &Self) -> Self {
        Self(self.0.intersection(&others.0).copied().collect())
    }

    /// Whether this one is among them.
    pub fn has(&self, sidecar: Sidecar) -> bool {
        self.0.contains(&sidecar)
    }

    /// Takes one out.
    pub fn remove(&mut self, sidecar: Sidecar) {
        self.0.remove(&sidecar);
    }

    /// Checks that a file of the source can have them beside it, and has no such name itself.
    pub fn check_name(&self, file: &RelPath) -> Result<(), SidecarNameError> {
        let name = file.name().to_ascii_lowercase();
        for sidecar in self.iter() {
            if name.ends_with(sidecar.suffix()) {
                return Err(SidecarNameError::LooksLikeOne { sidecar });
            }
            sidecar.beside(file).ok_or(SidecarNameError::NoRoom { sidecar })?;
        }
        Ok(())
    }
}

/// Why a file is not sent by a job that publishes sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidecarNameError {
    /// It has the name of a sidecar, in whatever case: it could not be told from that of another file.
    #[error(
        "its name ends in `{}`, as those of sidecars do, from which nobody could tell it: rename or `exclude` it, or \
         take `{sidecar}` out of `sidecars`",
        .sidecar.suffix()
    )]
    LooksLikeOne {
        /// Which one.
        sidecar: Sidecar,
    },
    /// With the suffix it would be longer than a server takes.
    #[error(
        "its name is too long for its sidecar (`{}`) to stand beside it: give it a shorter one, or take `{sidecar}` out \
         of `sidecars`",
        .sidecar.suffix()
    )]
    NoRoom {
        /// Which one.
        sidecar: Sidecar,
    },
}

impl FromIterator<Sidecar> for Sidecars {
    fn from_iter<T: IntoIterator<Item = Sidecar>>(sidecars: T) -> Self {
        Self(sidecars.into_iter().collect())
    }
}

/// Something happened to the sidecars of a file. A delivery that [wants](super::Delivered::sidecars)
/// sidecars owes them, until these records say that they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarChange {
    /// The run.
    pub run: RunId,
    /// The file to which they belong.
    pub path: RelPath,
    /// What happened.
    pub step: SidecarStep,
}

/// What happened to the sidecars of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SidecarStep {
    /// One is about to get its name: the intent, as of a file.
    Publishing {
        /// Which one.
        sidecar: Sidecar,
        /// The intent, under the sidecar's own path.
        intent: Box<Publishing>,
    },
    /// One stands, proved: it was published, or found there with the bytes that it should have.
    Stands {
        /// Which one.
        sidecar: Sidecar,
        /// How that was proved.
        method: ProofMethod,
        /// Its time as `MDTM` gives it, where the server tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified: Option<String>,
    },
    /// One that stood was not found there as it should be: it is owed again.
    Differs {
        /// Which one.
        sidecar: Sidecar,
        /// In what way.
        kind: DifferenceKind,
        /// The SHA-256 of the file for which it stood.
        digest: Digest,
        /// What was found, in words free of control characters.
        found: String,
    },
    /// The intent of one came to nothing; it is still owed.
    Withdrawn {
        /// Which one.
        sidecar: Sidecar,
        /// What was found.
        cause: String,
    },
    /// One was most likely published and taken by the consumer: it is not published again.
    Taken {
        /// Which one.
        sidecar: Sidecar,
    },
    /// These are about to be deleted, since a new version takes the place of their file, or the file
    /// leaves the server. Until then they are owed again: where nothing comes of it, they are put back.
    TakingDown {
        /// Which ones.
        sidecars: Sidecars,
        /// The SHA-256 of the file for which they stood.
        digest: Digest,
    },
    /// No more are owed.
    Waived {
        /// Why.
        cause: String,
    },
}

/// What is owed to a file that was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The SHA-256 of the file for which they are to stand.
    pub digest: Digest,
    /// Those that may not stand yet.
    pub sidecars: Sidecars,
    /// The one whose publishing was begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<(Sidecar, Box<Publishing>)>,
}

/// The sidecars that stand beside a file that was delivered, as far as is known: they were proved there,
/// and nothing that was done since took them away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The SHA-256 of the file for which they stand.
    pub digest: Digest,
    /// Each with its time as `MDTM` gave it, where the server told.
    pub sidecars: BTreeMap<Sidecar, Option<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_reads_as_that_of_coreutils() {
        let path = |text: &str| RelPath::new(text).unwrap();
        let empty = Digest::of(b"");
        let line = |name: &str| String::from_utf8(Sidecar::Sha256.content(&path(name), empty)).unwrap();
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(line("a/b c.csv"), format!("{hash}  b c.csv\n"));
        // `printf '' > 'a\b'; sha256sum 'a\b'` of coreutils 9.1.
        assert_eq!(line("x/a\\b"), format!("\\{hash}  a\\\\b\n"));
        assert_eq!(Sidecar::Done.content(&path("a"), empty), b"");
    }

    #[test]
    fn names_that_a_sidecar_may_have_are_known_in_any_case() {
        let both: Sidecars = Sidecar::ALL.into_iter().collect();
        let clash = |sidecars: &Sidecars, name: &str| {
            sidecars.check_name(&RelPath::new(name).unwrap()).err().map(|error| match error {
                SidecarNameError::LooksLikeOne { sidecar } => sidecar,
                SidecarNameError::NoRoom { sidecar } => panic!("no room for {sidecar}"),
            })
        };
        assert_eq!(clash(&both, "a/x.csv.done"), Some(Sidecar::Done));
        assert_eq!(clash(&both, "X.SHA256"), Some(Sidecar::Sha256));
        assert_eq!(clash(&both, ".done"), Some(Sidecar::Done));
        assert_eq!(clash(&both, "done"), None);
        assert_eq!(clash(&both, "x.done/y"), None);
        assert_eq!(clash(&Sidecars::NONE, "x.done"), None);
        assert_eq!(both.iter().collect::<Vec<_>>(), [Sidecar::Sha256, Sidecar::Done], "done comes last");
    }

    #[test]
    fn a_name_may_have_no_room_for_its_sidecar() {
        let named = |bytes: usize| RelPath::new(format!("a/{}", "n".repeat(bytes))).unwrap();
        assert!(Sidecar::Done.beside(&named(250)).is_some());
        assert_eq!(Sidecar::Done.beside(&named(251)), None);
        assert_eq!(Sidecar::Sha256.beside(&named(249)), None);
        let both: Sidecars = Sidecar::ALL.into_iter().collect();
        let no_room = SidecarNameError::NoRoom { sidecar: Sidecar::Sha256 };
        assert_eq!((both.check_name(&named(248)), both.check_name(&named(249))), (Ok(()), Err(no_room)));
        let deep = RelPath::new(format!("{}n", "d/".repeat(2_046))).unwrap();
        assert_eq!(Sidecar::Done.beside(&deep), None);
    }
}
