//! What keeps sled's failures from becoming ours: panics are caught, a damaged file is told from
//! a system that refuses, and a manifest under suspicion is marked for the next opening.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::plain::without_numbers;
use crate::state::error::{ManifestFault, StateError};

/// A file beside the manifest that says: rebuild it.
const SUSPECT: &str = "manifest.suspect";

/// What sled's error means. Errors that sled makes itself are about what it found in its files;
/// those of the system have other kinds. (sled's copies of an error keep only the kind.)
pub(super) fn store_fault(error: &sled::Error) -> ManifestFault {
    let text = without_numbers(&error.to_string());
    match error {
        sled::Error::Io(io) if !is_about_content(io) => ManifestFault::System { text },
        sled::Error::Io(_)
        | sled::Error::Corruption { .. }
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::CollectionNotFound(_) => ManifestFault::Store { text },
    }
}

fn is_about_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_none()
        && matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

/// Marks a manifest that failed in use, so that the next opening rebuilds it.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    mark: Arc<Path>,
}

impl Guard {
    pub(super) fn new(folder: &Path) -> Self {
        Self { mark: folder.join(SUSPECT).into() }
    }

    /// Does something with sled.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> Result<T, ManifestFault>) -> Result<T, StateError> {
        caught(work).map_err(|fault| self.report(fault))
    }

    /// Turns a fault into an error, and remembers that a rebuild is called for.
    pub(super) fn report(&self, fault: ManifestFault) -> StateError {
        if fault.calls_for_rebuild() {
            // Where even this cannot be written, the fault will be met again.
            drop(fs::write(
                &self.mark,
                b"the manifest failed and is rebuilt when the state is next opened\n",
            ));
        }
        StateError::Manifest(fault)
    }

    /// Whether the manifest failed when it was last in use.
    pub(super) fn is_suspect(&self) -> bool {
        self.mark.exists()
    }

    /// Forgets the suspicion, after a rebuild.
    pub(super) fn clear(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::io(PathBuf::from(&*self.mark))(error))
            }
            _ => Ok(()),
        }
    }
}

/// Turns a panic into a fault.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, ManifestFault>) -> Result<T, ManifestFault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(ManifestFault::Panicked { text: words(&*panic) }))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
