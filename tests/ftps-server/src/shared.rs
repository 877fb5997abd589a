//! What all sessions of a server share.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dialect::Dialect;
use crate::digest::Algorithm;
use crate::event::Event;
use crate::faults::{Faults, Witness};
use crate::server::Mode;
use crate::tls::Tls;
use crate::transcript::{Recorder, Tally};
use crate::tree::Tree;

/// A test's hook.
pub(crate) type Hook = Box<dyn FnMut(&Event) + Send>;

/// What a server bears of its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most clients at a time.
    pub(crate) sessions: usize,
    /// How long each may be silent.
    pub(crate) silence: Duration,
}

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) tree: Tree,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) mode: Mode,
    pub(crate) dialect: Dialect,
    pub(crate) tls: Tls,
    pub(crate) faults: Faults,
    pub(crate) recorder: Recorder,
    pub(crate) tally: Tally,
    pub(crate) claims: Claims,
    pub(crate) hook: Mutex<Option<Hook>>,
    pub(crate) limits: Limits,
}

impl Shared {
    pub(crate) fn tell(&self, event: &Event) {
        if let Some(hook) = self.hook.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            hook(event);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("tree", &self.tree).finish_non_exhaustive()
    }
}

/// What is said of files whose bytes were changed behind the client's back.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: Mutex<HashMap<PathBuf, Claim>>,
}

/// The digests that a file had before it was changed.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) witness: Witness,
    pub(crate) sha1: String,
    pub(crate) sha256: String,
}

impl Claims {
    /// Speaks of a file, or no longer.
    pub(crate) fn set(&self, path: &Path, claim: Option<Claim>) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        match claim {
            Some(claim) => claims.insert(path.to_owned(), claim),
            None => claims.remove(path),
        };
    }

    /// The digest to claim for a file, if there is one.
    pub(crate) fn digest(&self, path: &Path, algorithm: Algorithm) -> Option<String> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = claims.get(path)?;
        Some(match algorithm {
            Algorithm::Sha1 => claim.sha1.clone(),
            Algorithm::Sha256 => claim.sha256.clone(),
        })
    }

    /// A file was renamed.
    pub(crate) fn renamed(&self, from: &Path, to: &Path) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        match claims.remove(from) {
            Some(claim) => claims.insert(to.to_owned(), claim),
            None => claims.remove(to),
        };
    }

    /// A file's time was changed: caches forget it.
    pub(crate) fn touched(&self, path: &Path) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.get(path).is_some_and(|claim| claim.witness == Witness::Cached) {
            claims.remove(path);
        }
    }
}
