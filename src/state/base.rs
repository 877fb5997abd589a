//! From where a manifest is completed: from what it knows, or, where it lacks too much, from a
//! checkpoint.

use std::collections::HashMap;
use std::path::Path;

use super::checkpoint::{self, Soundness};
use super::error::StateError;
use super::ledger::{LedgerId, Position, Reader, Start, Walk, Walked};
use super::manifest::{Known, Store};
use super::storage::Storage;
use crate::domain::{Checkpoint, Record};

/// A manifest that lacks no more records than this is completed, even where a checkpoint would
/// rebuild it: some ten segments are read in less time than a million files are put in.
const MAX_REPLAYED_RECORDS: u64 = 200_000;

/// The folders, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folders<'a> {
    pub(super) ledger: &'a Path,
    pub(super) manifest: &'a Path,
}

/// What a manifest is completed from.
#[derive(Debug)]
pub(super) struct Base {
    /// The end of the ledger.
    pub(super) walk: Walk,
    /// What the manifest knows now.
    pub(super) known: Known,
    /// The last checkpoint that is recorded in what was read, which ends with the last segment.
    pub(super) checkpoint: Option<Checkpoint>,
    /// What a person should know.
    pub(super) notice: Option<String>,
}

/// What was met while a manifest was compared with its ledger.
struct Checked {
    walk: Walk,
    checkpoints: Vec<Checkpoint>,
}

/// Checks the manifest against the ledger; where a checkpoint should take its place, fills it
/// from that.
pub(super) fn find(
    reader: &Reader<'_>,
    storage: &dyn Storage,
    folders: Folders<'_>,
    known: Known,
    store: &mut Store,
) -> Result<Base, StateError> {
    let mut notice = None;
    let checkpoints = checkpoint::list(storage).map_err(StateError::io(folders.ledger))?;
    for segment in checkpoints.into_iter().rev() {
        if !is_of_use(reader, &known, segment)? {
            continue;
        }
        let checked = check(reader, &known, Start::Segment(segment), folders.manifest)?;
        let Some(recorded) = checked.checkpoints.iter().rfind(|made| made.segment == segment) else {
            // Of another ledger, or put there by hand.
            continue;
        };
        let soundness = checkpoint::look_at(storage, recorded).map_err(StateError::io(folders.ledger))?;
        match soundness {
            Soundness::Whole => {}
            Soundness::Missing => continue,
            Soundness::Damaged => {
                let file = folders.ledger.join(checkpoint::name(segment));
                notice = Some(format!(
                    "The checkpoint {} is damaged. The manifest was rebuilt without it; take the file away.",
                    file.display()
                ));
                continue;
            }
        }
        if notice.is_none() && known.general.is_some() {
            notice = Some("The manifest was much older than the ledger. It was rebuilt.".to_owned());
        }
        store.empty()?;
        checkpoint::take_up(storage, folders.ledger, recorded, store)?;
        let Checked { walk, checkpoints } = checked;
        let checkpoint = checkpoints.into_iter().next_back();
        return Ok(Base { walk, known: store.known()?, checkpoint, notice });
    }
    let Checked { walk, checkpoints } =
        check(reader, &known, Start::Record(known.replay_from()), folders.manifest)?;
    Ok(Base { walk, known, checkpoint: checkpoints.into_iter().next_back(), notice })
}

/// Whether a manifest should be rebuilt from the checkpoint of a segment: there is none, or it
/// lacks records that are not there any more, or many.
fn is_of_use(reader: &Reader<'_>, known: &Known, segment: u32) -> Result<bool, StateError> {
    let Some(head) = reader.head_of(segment)? else { return Ok(false) };
    let has = known.replay_from();
    let lacking = head.first.saturating_sub(1).saturating_sub(has);
    Ok(known.general.is_none()
        || lacking > MAX_REPLAYED_RECORDS
        || (lacking > 0 && reader.oldest_head()?.first.saturating_sub(1) > has))
}

/// Checks the ledger from a start on, and that the manifest's positions from there on are places
/// in it. Changes nothing.
fn check(reader: &Reader<'_>, known: &Known, start: Start, manifest: &Path) -> Result<Checked, StateError> {
    let ahead = |reason| Err(StateError::ManifestAhead { manifest: manifest.to_owned(), reason });
    let mut expected: HashMap<u64, Vec<Position>> = HashMap::new();
    for position in known.positions() {
        if LedgerId(position.ledger) != reader.ledger() {
            return ahead(format!("it was made from ledger {}", LedgerId(position.ledger)));
        }
        expected.entry(position.seq).or_default().push(position);
    }
    let mut checkpoints = Vec::new();
    let mut begun = None;
    let walk = reader.walk(start, &mut |walked: Walked<'_>| {
        begun.get_or_insert(walked.at.seq);
        if let Some(positions) = expected.get_mut(&walked.at.seq) {
            positions.retain(|position| position.hash != walked.at.hash);
        }
        if let Some(Record::Checkpoint(made)) = walked.line.map(|line| &line.event) {
            checkpoints.push(made.clone());
        }
        Ok(())
    })?;
    // What lies before is replaced, not built on. The seam itself has two hashes: of the line
    // before it, which was not read, and of the head.
    let read =
        expected.into_values().flatten().filter(|position| begun.is_some_and(|seq| position.seq > seq));
    match read.max_by_key(|position| position.seq) {
        None => Ok(Checked { walk, checkpoints }),
        Some(Position { seq, .. }) if seq > walk.end.seq => {
            ahead(format!("it has record {seq}, but the ledger ends with {}", walk.end.seq))
        }
        Some(Position { seq, .. }) => ahead(format!("it has another record {seq}")),
    }
}
