//! Leave to go on with work that can be put off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks long work to end early. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Halt {
    asked: Arc<AtomicBool>,
}

impl Halt {
    /// Asks for the end.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Fails once the end was asked for.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.asked.load(Ordering::Relaxed) {
            return Err(io::Error::other("the state was closed before it was done"));
        }
        Ok(())
    }
}
