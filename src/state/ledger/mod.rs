//! The ledger: segments of JSON lines, one record each, chained by their hashes.
//!
//! Knows nothing of the manifest. Segments are named `000001.jsonl` and on. A segment appears
//! under its name with its head whole and durable, so that one without a whole head is damage.

mod line;
mod read;
mod write;

pub use self::line::LedgerId;
pub use self::read::{LedgerSummary, TornTail};
pub(super) use self::read::{Reader, Walk, Walked};
pub(super) use self::write::{Draft, Ledger, SEGMENT_BYTES, Segment, Written};

use crate::domain::Digest;

/// A place in the ledger: the last line up to which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Position {
    /// Of which ledger.
    pub(super) ledger: u128,
    /// The line's sequence; 0 is the head of the first segment.
    pub(super) seq: u64,
    /// The line's hash.
    pub(super) hash: Digest,
}

/// The name of a segment.
fn segment_name(number: u32) -> String {
    format!("{number:06}.jsonl")
}
