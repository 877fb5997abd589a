//! Names that some servers take for one.

use std::fmt;

/// Another name in the same source folder that is the same but for case or composition. A server
/// that does not tell the two apart would store one over the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The other file or folder, by its path below the source folder as shown to people.
    pub other: String,
    /// What they differ in.
    pub difference: TwinKind,
}

/// What the names of twins differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TwinKind {
    /// Capital and small letters (Unicode's full case folding).
    Case,
    /// How Unicode composes the same letters: `é` as one character or two (canonical equivalence).
    Composition,
    /// In both ways at once.
    Both,
}

impl fmt::Display for Twin {
    /// Reads after a name: `differs only in case from …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.difference {
            TwinKind::Case => "case",
            TwinKind::Composition => "how Unicode composes its letters",
            TwinKind::Both => "case and how Unicode composes its letters",
        };
        write!(f, "differs only in {what} from `{}`", self.other)
    }
}

/// The twins of a file, one for each [`TwinKind`] that there is: its own, and those of the folders
/// that it lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Twins(Vec<Twin>);

impl Twins {
    /// None of them.
    pub const NONE: Self = Self(Vec::new());

    /// Adds a twin, unless there is one with the same difference.
    pub fn add(&mut self, twin: Twin) {
        if self.0.iter().all(|known| known.difference != twin.difference) {
            self.0.push(twin);
        }
    }

    /// These and those of something inside.
    #[must_use]
    pub fn with(&self, inner: Option<&Self>) -> Self {
        let mut all = self.clone();
        inner.into_iter().flat_map(Self::iter).for_each(|twin| all.add(twin.clone()));
        all
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Twin> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
