//! Checkpoints: what all records up to one come to, in a file beside the segments.
//!
//! A lost manifest is rebuilt from the newest one and the records after it, instead of from years
//! of records; and it stands for the segments that were taken away. `checkpoint-000007.gz` was
//! made in segment 7. It is compressed with gzip: a line of JSON that says which place of which
//! ledger it is about, then, for each tree of the manifest, its name and its keys and values as
//! they are, so that whatever the manifest knows is in it. The file is durable, under a name for
//! unfinished ones, before a record with its SHA-256 is, and gets its own name after that: so each
//! file under such a name was recorded. Where a crash comes between, opening names it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::halt::Halt;
use super::ledger::{LedgerId, Position, Sink, digest_of, number_of};
use super::manifest::{Pair, Part, Snapshot, Store};
use super::storage::Storage;
use crate::domain::{AgentId, Checkpoint, Digest, Timestamp};

/// The version of the format that this version writes.
const FORMAT_VERSION: u32 = 1;
/// What a checkpoint is called until it is durable.
const UNFINISHED: &str = "checkpoint.new";
/// How many are kept: the one before, in case that the newest is damaged.
const KEPT: usize = 2;
/// Longest first line, key, value or name, in bytes: a value is a part of a line of the ledger.
const MAX_PIECE_BYTES: u32 = 8 << 20;
/// How many pairs go into the manifest at once: larger batches are no faster, but take memory.
const BATCH: usize = 512;

/// What begins the name of a tree.
const TREE: u8 = 1;
/// What begins a key and its value.
const PAIR: u8 = 2;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    nightferry_checkpoint: u32,
    ledger: LedgerId,
    agent: AgentId,
    segment: u32,
    seq: u64,
    line: Digest,
    at: Timestamp,
}

/// Where a checkpoint is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The last record that it holds.
    pub(super) end: Position,
    /// The segment in which that stands.
    pub(super) segment: u32,
    /// Who makes it.
    pub(super) agent: AgentId,
    /// When.
    pub(super) at: Timestamp,
}

/// The file of the checkpoint that was made in a segment.
pub(super) fn name(segment: u32) -> String {
    format!("checkpoint-{segment:06}.gz")
}

/// The segments in which the checkpoints that are there were made, in order.
pub(super) fn list(storage: &dyn Storage) -> io::Result<Vec<u32>> {
    let names = storage.names()?;
    let number = |name: &String| number_of(name.strip_prefix("checkpoint-")?.strip_suffix(".gz")?);
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes what the manifest held at a place, to the last record. It is durable when this returns,
/// and counts once the record that comes back is, and it has been [named](publish).
pub(super) fn write(
    storage: &dyn Storage,
    folder: &Path,
    place: Place,
    mut snapshot: Snapshot,
    halt: &Halt,
) -> Result<Checkpoint, StateError> {
    let io = || StateError::io(folder.join(UNFINISHED));
    let Place { end, segment, agent, at } = place;
    let head = Head {
        nightferry_checkpoint: FORMAT_VERSION,
        ledger: LedgerId(end.ledger),
        agent,
        segment,
        seq: end.seq,
        line: end.hash,
        at,
    };
    let sink = Sink::create(storage, UNFINISHED).map_err(io())?;
    let mut output = GzEncoder::new(sink, Compression::fast());
    let head = serde_json::to_string(&head).map_err(|error| io()(error.into()))?;
    writeln!(output, "{head}").map_err(io())?;
    while let Some(part) = snapshot.next()? {
        halt.check().and_then(|()| write_part(&mut output, part)).map_err(io())?;
    }
    let sealed = || -> io::Result<(u64, Digest)> {
        let sealed = output.finish()?.finish()?;
        storage.sync_names()?;
        Ok(sealed)
    };
    let (bytes, digest) = sealed().map_err(io())?;
    Ok(Checkpoint { segment, seq: end.seq, line: end.hash, bytes, digest })
}

/// Gives a checkpoint its name, once its record is durable. The name need not be synced: until the
/// next segment begins, which syncs it, [`take_in`] meets the record.
pub(super) fn publish(storage: &dyn Storage, segment: u32) -> io::Result<()> {
    storage.rename(UNFINISHED, &name(segment))
}

/// Deals with a checkpoint that a crash kept from getting its name: if it is the one that was
/// recorded last, which must be durable, it gets it; else it is taken away.
pub(super) fn take_in(storage: &dyn Storage, recorded: Option<&Checkpoint>) -> io::Result<()> {
    if !storage.names()?.iter().any(|name| name == UNFINISHED) {
        return Ok(());
    }
    let bytes = storage.size(UNFINISHED)?;
    match recorded.filter(|recorded| recorded.bytes == bytes) {
        Some(recorded) if digest_of(&mut storage.read(UNFINISHED)?)? == recorded.digest => {
            publish(storage, recorded.segment)
        }
        _ => storage.remove(UNFINISHED),
    }
}

fn write_part(output: &mut dyn Write, part: Part) -> io::Result<()> {
    match part {
        Part::Tree(name) => {
            output.write_all(&[TREE])?;
            piece(output, &name)
        }
        Part::Pairs(pairs) => pairs.iter().try_for_each(|(key, value)| {
            output.write_all(&[PAIR])?;
            piece(output, key)?;
            piece(output, value)
        }),
    }
}

fn piece(output: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_PIECE_BYTES);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a value is too long"))?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(bytes)
}

/// Takes away all but the newest ones.
pub(super) fn prune(storage: &dyn Storage) -> io::Result<()> {
    let all = list(storage)?;
    let old = all.len().saturating_sub(KEPT);
    all.iter().take(old).try_for_each(|segment| storage.remove(&name(*segment)))
}

/// What became of the file of a checkpoint that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Soundness {
    /// It is what was recorded.
    Whole,
    /// It is something else.
    Damaged,
    /// It is not there: a newer one took its place.
    Missing,
}

/// Compares the file of a checkpoint with what was recorded.
pub(super) fn look_at(storage: &dyn Storage, recorded: &Checkpoint) -> io::Result<Soundness> {
    match storage.read(&name(recorded.segment)) {
        Ok(mut input) => {
            let is_same = digest_of(&mut input)? == recorded.digest;
            Ok(if is_same { Soundness::Whole } else { Soundness::Damaged })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Soundness::Missing),
        Err(error) => Err(error),
    }
}

/// Fills an empty manifest from a checkpoint that is whole.
pub(super) fn take_up(
    storage: &dyn Storage,
    folder: &Path,
    recorded: &Checkpoint,
    store: &mut Store,
) -> Result<(), StateError> {
    let file = folder.join(name(recorded.segment));
    let io = || StateError::io(&file);
    let strange = |reason: String| StateError::Newer { file: file.clone(), line: 1, reason };
    let input = storage.read(&name(recorded.segment)).map_err(io())?;
    let mut input = BufReader::new(GzDecoder::new(input));
    let mut line = Vec::new();
    input.by_ref().take(MAX_PIECE_BYTES.into()).read_until(b'\n', &mut line).map_err(io())?;
    let head: Head = serde_json::from_slice(&line).map_err(|error| strange(error.to_string()))?;
    if head.nightferry_checkpoint != FORMAT_VERSION {
        return Err(strange(format!("format version {}", head.nightferry_checkpoint)));
    }
    let mut tree = String::new();
    let mut batch: Vec<Pair> = Vec::new();
    while let Some(mark) = mark(&mut input).map_err(io())? {
        if mark == TREE || batch.len() >= BATCH {
            store.fill(&tree, std::mem::take(&mut batch))?;
        }
        match mark {
            TREE => {
                let name = read_piece(&mut input).map_err(io())?;
                tree = String::from_utf8(name).map_err(|error| strange(error.to_string()))?;
            }
            PAIR => {
                batch.push((read_piece(&mut input).map_err(io())?, read_piece(&mut input).map_err(io())?));
            }
            other => return Err(strange(format!("a part of kind {other}"))),
        }
    }
    store.fill(&tree, batch)?;
    store.filled(Position { ledger: head.ledger.0, seq: recorded.seq, hash: recorded.line })
}

/// What comes next; none at the end.
fn mark(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    let mark = input.fill_buf()?.first().copied();
    input.consume(usize::from(mark.is_some()));
    Ok(mark)
}

fn read_piece(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_PIECE_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, "a part is too long"));
    }
    let mut bytes = Vec::new();
    input.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
