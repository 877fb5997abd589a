//! Files that are gone, and others under names that a server may take for theirs.
//!
//! Where `A` became `a`, a server that does not tell the two apart has one file under both names, and
//! deleting the old one there would delete the new one.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::failure::DeliveryError;
use super::removal::is_gone;
use super::shared::Shared;
use crate::domain::RelPath;
use crate::remote::Ability;
use crate::source::{Filter, kin};

/// What some paths have in common with all that some servers take for them: 8 bytes each. Two kins
/// may look like one, which costs no more than a deletion.
#[derive(Debug, Default)]
pub(super) struct Kins(BTreeSet<u64>);

impl Kins {
    /// Adds that of a path.
    pub(super) fn add(&mut self, path: &RelPath) {
        self.0.insert(of(path));
    }

    /// Whether a path is of one of them.
    pub(super) fn have(&self, path: &RelPath) -> bool {
        self.0.contains(&of(path))
    }

    /// Those of them to which delivered files belong that are not gone. None where the server is
    /// known to tell all names apart. Blocks.
    pub(super) fn standing(self, shared: &Shared, filter: &Filter) -> Result<Self, DeliveryError> {
        let profile = shared.delivery.remote.profile();
        let mut standing = Self::default();
        if self.0.is_empty() || (profile.case, profile.composition) == (Ability::Yes, Ability::Yes) {
            return Ok(standing);
        }
        let manifest = shared.delivery.state.manifest(shared.target)?;
        for entry in manifest.entries() {
            let (path, entry) = entry?;
            if self.have(&path) && !is_gone(shared, filter, &path, &entry) {
                standing.add(&path);
            }
        }
        Ok(standing)
    }
}

fn of(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    kin(path.as_str()).hash(&mut hasher);
    hasher.finish()
}
