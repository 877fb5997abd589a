//! The ledger: segments of JSON lines, one record each, chained by their hashes.
//!
//! Knows nothing of the manifest. Segments are named `000001.jsonl` and on. A segment appears
//! under its name with its head whole and durable, so that one without a whole head is damage.
//! When the next one has begun, it is sealed, and is compressed to `000001.jsonl.gz`. What is
//! older than the ledger is kept goes in whole segments, the oldest first, after a record that
//! says so.

mod line;
mod read;
mod segments;
mod write;

pub(super) use self::line::Head;
pub use self::line::LedgerId;
pub use self::read::{LedgerSummary, TornTail};
pub(super) use self::read::{Reader, Start, Walk, Walked};
pub(super) use self::segments::{Form, Sink, compress, digest_of, list, number_of, remove_up_to};
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
