//! Keys and values of the manifest.
//!
//! A path's key is [`RelPath::to_key`], which never begins with 0x00; keys that do are reserved.
//! Every value is a version byte, the content, and the CRC-32 of key, version and content.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::{RelPath, RemotePath};
use crate::state::error::ManifestFault;

/// Up to where the ledger has been applied.
pub(super) const POSITION: &[u8] = b"\0position";
/// The first key of a path.
pub(super) const FIRST_PATH: &[u8] = &[1];
/// What intents begin with; the path's key follows.
pub(super) const INTENTS: &[u8] = b"\0intent\0";
/// What begun uploads to final names begin with; the path's key follows.
pub(super) const STORINGS: &[u8] = b"\0storing\0";
/// What owed sidecars begin with; the path's key of their file follows.
pub(super) const OWED: &[u8] = b"\0owed\0";
/// What sidecars that stand begin with; the path's key of their file follows.
pub(super) const BESIDE: &[u8] = b"\0beside\0";
/// The kinds of sidecars that were ever owed to a file of the target.
pub(super) const SIDECARS: &[u8] = b"\0sidecars";
/// What open stagings begin with; the folder follows.
pub(super) const STAGINGS: &[u8] = b"\0staging\0";
/// What begun retirements of source files begin with; the path's key follows.
pub(super) const RETIRINGS: &[u8] = b"\0retiring\0";
/// What files in the server's trash begin with; their remote path follows.
pub(super) const TRASH: &[u8] = b"\0trash\0";
/// What the last complete scan saw of the source.
pub(super) const SOURCE: &[u8] = b"\0source";
/// The file systems that are mounted below the source.
pub(super) const MOUNTS: &[u8] = b"\0mounts";
/// The last deletion that was stopped.
pub(super) const STOPPED_DELETES: &[u8] = b"\0guard";
/// What presumed files begin with; the path's key follows.
pub(super) const PRESUMED: &[u8] = b"\0presumed\0";
/// What the clock showed in the last run, and what counts of it.
pub(super) const PACE: &[u8] = b"\0pace";
/// What large files under temporary names begin with; the path's key follows.
pub(super) const PARTIALS: &[u8] = b"\0partial\0";
/// What a job's target begins with, in the tree of general facts; the job's name follows.
pub(super) const JOBS: &[u8] = b"job/";
/// What a target begins with, in the tree of general facts; its digest follows.
pub(super) const TARGETS: &[u8] = b"target/";
/// What the mark of a job's schedule begins with, in the tree of general facts; the job's name follows.
pub(super) const SCHEDULES: &[u8] = b"schedule/";
/// The last run's number, in the tree of general facts.
pub(super) const LAST_RUN: &[u8] = b"last-run";

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// How a value's content is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// postcard, for what never leaves out a field.
    Compact,
    /// JSON, for records, which leave out fields that are not set.
    Json,
}

pub(super) fn intent_key(path: &RelPath) -> Vec<u8> {
    [INTENTS, &path.to_key()].concat()
}

pub(super) fn storing_key(path: &RelPath) -> Vec<u8> {
    [STORINGS, &path.to_key()].concat()
}

pub(super) fn owed_key(path: &RelPath) -> Vec<u8> {
    [OWED, &path.to_key()].concat()
}

pub(super) fn beside_key(path: &RelPath) -> Vec<u8> {
    [BESIDE, &path.to_key()].concat()
}

pub(super) fn retiring_key(path: &RelPath) -> Vec<u8> {
    [RETIRINGS, &path.to_key()].concat()
}

pub(super) fn trash_key(path: &RemotePath) -> Vec<u8> {
    [TRASH, path.as_str().as_bytes()].concat()
}

pub(super) fn partial_key(path: &RelPath) -> Vec<u8> {
    [PARTIALS, &path.to_key()].concat()
}

pub(super) fn presumed_key(path: &RelPath) -> Vec<u8> {
    [PRESUMED, &path.to_key()].concat()
}

pub(super) fn staging_key(folder: &RemotePath) -> Vec<u8> {
    [STAGINGS, folder.as_str().as_bytes()].concat()
}

/// Writes a value.
pub(super) fn encode<T: Serialize>(
    key: &[u8],
    value: &T,
    content: Content,
) -> Result<Vec<u8>, ManifestFault> {
    let body = match content {
        Content::Compact => postcard::to_stdvec(value).map_err(|_| damaged(key))?,
        Content::Json => serde_json::to_vec(value).map_err(|_| damaged(key))?,
    };
    let mut bytes = Vec::with_capacity(1 + body.len() + CRC_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&checksum(key, &bytes).to_le_bytes());
    Ok(bytes)
}

/// Reads a value.
pub(super) fn decode<T: DeserializeOwned>(
    key: &[u8],
    bytes: &[u8],
    content: Content,
) -> Result<T, ManifestFault> {
    let read = || {
        let (checked, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        let (version, body) = checked.split_first()?;
        if *version != VERSION || checksum(key, checked) != u32::from_le_bytes(*crc) {
            return None;
        }
        match content {
            Content::Compact => postcard::from_bytes(body).ok(),
            Content::Json => serde_json::from_slice(body).ok(),
        }
    };
    read().ok_or_else(|| damaged(key))
}

/// Checks that a value is what was written, without reading it.
pub(super) fn check(key: &[u8], bytes: &[u8]) -> Result<(), ManifestFault> {
    let whole = bytes.split_last_chunk::<CRC_BYTES>();
    let whole = whole.is_some_and(|(checked, crc)| checksum(key, checked) == u32::from_le_bytes(*crc));
    if whole { Ok(()) } else { Err(damaged(key)) }
}

pub(super) fn damaged(key: &[u8]) -> ManifestFault {
    ManifestFault::Value { key: key.escape_ascii().to_string() }
}

fn checksum(key: &[u8], checked: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(checked);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_refused_when_a_bit_of_it_or_its_key_changes() {
        let bytes = encode(b"key", &(7_u64, "text".to_owned()), Content::Compact).unwrap();
        let read = |key: &[u8], bytes: &[u8]| decode::<(u64, String)>(key, bytes, Content::Compact);
        assert_eq!(read(b"key", &bytes).unwrap(), (7, "text".to_owned()));
        assert!(read(b"kez", &bytes).is_err());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(read(b"key", &bad).is_err(), "byte {at}");
            assert!(read(b"key", &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
