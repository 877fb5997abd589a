//! Presumed files, for the person who decides about them.

use super::text::escaped;
use crate::domain::{JobName, Presumed};

/// The reason that a plan gives for a presumed file.
pub fn presumed_reason(job: &JobName) -> String {
    format!("most likely delivered and taken, which cannot be known; {}", super::summary::advice(job))
}

/// How a file came to be presumed, in a sentence without an end.
pub fn presumed_how(presumed: &Presumed) -> String {
    if presumed.found.is_empty() {
        "its temporary name was gone, and nothing stood under its final name".to_owned()
    } else {
        escaped(&presumed.found).into_owned()
    }
}
