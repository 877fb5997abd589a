//! The lines of the ledger: how they are written, and how they are recognised as whole.
//!
//! ```text
//! {"nightferry_ledger":1,"ledger":"…","agent":"…","segment":2,"first":101,"prev":"…","at":"…","crc":"…"}
//! {"seq":101,"prev":"…","at":"…","durable":100,"target":"…","event":{"record":"staging",…},"crc":"…"}
//! ```
//!
//! A segment begins with a head, and each further line carries one record. `prev` is the SHA-256
//! of the line before, without its line feed: over the seam between two segments the head's
//! `prev` is the last line of the segment before, and zeros in the first. `seq` counts the
//! records of the whole ledger from 1. `durable` stands on the first line of what was written
//! together, and tells up to which `seq` all was known to be safe on the disk by then. `target`
//! is the manifest that the record is about; what the ledger tells of itself has none. `crc`,
//! always last, is the CRC-32 of all bytes before its comma, so that every line can be judged by
//! itself.
//!
//! Readers pass over fields that they do not know. A line that is whole but cannot be understood
//! was written by a newer version, and is refused as such. Sealed segments are compressed as they
//! are: the hashes are of the lines.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::{AgentId, Digest, Record, TargetId, Timestamp};

/// The version of the format that this version writes.
pub(in crate::state) const FORMAT_VERSION: u32 = 1;
/// Longest line, in bytes: what is read into memory at once, and refused before it is written.
/// A record with two paths of 4096 bytes stays under 32 KiB; the leftovers of a run may be many.
pub(in crate::state) const MAX_LINE_BYTES: usize = 8 << 20;
/// What the fields around a record need at most.
pub(in crate::state) const ENVELOPE_BYTES: usize = 512;
/// The `prev` of the first head.
pub(in crate::state) const NOTHING_BEFORE: Digest = Digest::from_bytes([0; 32]);

/// How every line with a record begins.
pub(in crate::state) const LINE_START: &[u8] = b"{\"seq\":";

const CRC_FIELD: &[u8] = b",\"crc\":\"";
const CRC_DIGITS: usize = 8;
const LINE_END: &[u8] = b"\"}";

/// Which ledger: a number drawn at random when it is begun, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerId(pub(in crate::state) u128);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LedgerId({self})")
    }
}

impl Serialize for LedgerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LedgerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The first line of a segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::state) struct Head {
    /// The format's version.
    pub(in crate::state) nightferry_ledger: u32,
    pub(in crate::state) ledger: LedgerId,
    pub(in crate::state) agent: AgentId,
    /// The segment's number, from 1.
    pub(in crate::state) segment: u32,
    /// The `seq` of the record that follows.
    pub(in crate::state) first: u64,
    pub(in crate::state) prev: Digest,
    pub(in crate::state) at: Timestamp,
}

/// A line with a record.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::state) struct Line {
    pub(in crate::state) seq: u64,
    pub(in crate::state) prev: Digest,
    pub(in crate::state) at: Timestamp,
    #[serde(default)]
    pub(in crate::state) durable: Option<u64>,
    #[serde(default)]
    pub(in crate::state) target: Option<TargetId>,
    #[serde(deserialize_with = "event")]
    pub(in crate::state) event: Record,
}

/// Reads a record. Of the kinds that nearly all lines hold the name is looked at first: by way of the enum each is taken
/// apart and put together again, which was most of the time that opening a ledger took.
fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    let is = |name| json.strip_prefix("{\"record\":\"").is_some_and(|rest| rest.starts_with(name));
    let read = if is("delivered\"") {
        serde_json::from_str(json).map(Record::Delivered)
    } else if is("publishing\"") {
        serde_json::from_str(json).map(Record::Publishing)
    } else if is("confirmed\"") {
        serde_json::from_str(json).map(Record::Confirmed)
    } else {
        serde_json::from_str(json)
    };
    read.map_err(serde::de::Error::custom)
}

/// What of a line is needed to tell whether it declares others durable.
#[derive(Debug, Deserialize)]
pub(in crate::state) struct Declaration {
    #[serde(default)]
    pub(in crate::state) durable: Option<u64>,
}

/// The fields around a record that is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct Envelope {
    pub(in crate::state) seq: u64,
    pub(in crate::state) prev: Digest,
    pub(in crate::state) at: Timestamp,
    pub(in crate::state) durable: Option<u64>,
    pub(in crate::state) target: Option<TargetId>,
}

impl Envelope {
    /// Writes a line with the record `event`, which is JSON, and returns the line's hash.
    pub(in crate::state) fn write(&self, event: &str, to: &mut Vec<u8>) -> Digest {
        let Self { seq, prev, at, durable, target } = self;
        let durable = durable.map_or_else(String::new, |durable| format!("\"durable\":{durable},"));
        let target = target.map_or_else(String::new, |target| format!("\"target\":\"{target}\","));
        let open =
            format!("{{\"seq\":{seq},\"prev\":\"{prev}\",\"at\":\"{at}\",{durable}{target}\"event\":{event}");
        finish(&open, to)
    }
}

impl Head {
    /// Writes the head and returns its hash.
    pub(in crate::state) fn write(&self, to: &mut Vec<u8>) -> Result<Digest, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        Ok(finish(text.strip_suffix('}').unwrap_or(&text), to))
    }
}

fn finish(open: &str, to: &mut Vec<u8>) -> Digest {
    let line = format!("{open},\"crc\":\"{:08x}\"}}", crc32fast::hash(open.as_bytes()));
    to.extend_from_slice(line.as_bytes());
    to.push(b'\n');
    Digest::of(line.as_bytes())
}

/// Whether a line, without its line feed, holds the bytes that were written.
pub(in crate::state) fn is_whole(line: &[u8]) -> bool {
    let Some(at) = line.len().checked_sub(CRC_FIELD.len() + CRC_DIGITS + LINE_END.len()) else {
        return false;
    };
    let (body, sealed) = line.split_at(at);
    let expected = format!("{:08x}", crc32fast::hash(body));
    sealed.strip_prefix(CRC_FIELD).and_then(|rest| rest.strip_suffix(LINE_END)) == Some(expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Read as _;
    use std::path::Path;

    use flate2::read::MultiGzDecoder;

    use super::*;

    /// Whichever way it is read: of records as they were once written.
    #[test]
    fn records_are_what_their_kind_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1/ledger");
        let (mut lines, mut kinds) = (0, BTreeSet::new());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let text = match path.extension().and_then(|end| end.to_str()) {
                _ if path.file_name().unwrap().to_string_lossy().starts_with("checkpoint") => continue,
                Some("gz") => {
                    let mut text = String::new();
                    MultiGzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
                    text
                }
                _ => String::from_utf8(bytes).unwrap(),
            };
            for raw in text.lines().skip(1) {
                let value: serde_json::Value = serde_json::from_str(raw).unwrap();
                let line: Line = serde_json::from_str(raw).unwrap();
                assert_eq!(line.event, serde_json::from_value(value["event"].clone()).unwrap(), "{raw}");
                let kind = value["event"]["record"].as_str().unwrap();
                kinds.insert(kind.to_owned());
                let unknown = raw.replacen(&format!("\"{kind}\""), &format!("\"{kind}-too\""), 1);
                assert!(serde_json::from_str::<Line>(&unknown).is_err(), "{unknown}");
                lines += 1;
            }
        }
        assert!(lines > 50 && kinds.len() >= 10, "{lines} lines, {kinds:?}");
        assert!(
            ["delivered", "publishing", "confirmed"].iter().all(|kind| kinds.contains(*kind)),
            "{kinds:?}"
        );
    }

    #[test]
    fn a_record_of_no_known_kind_is_refused() {
        let line = |event| {
            let zeros = "0".repeat(64);
            format!(
                r#"{{"seq":1,"prev":"{zeros}","at":"2026-01-01T00:00:00Z","event":{event},"crc":"00000000"}}"#
            )
        };
        for event in
            [r#"{"record":"other","run":1}"#, r#"{"record":"delivered","run":1}"#, r#"{"run":1}"#, "5"]
        {
            assert!(serde_json::from_str::<Line>(&line(event)).is_err(), "{event}");
        }
        let known = line(r#"{"run":1,"later":[{}],"record":"withdrawn","path":"a","cause":"why"}"#);
        assert!(matches!(serde_json::from_str::<Line>(&known).unwrap().event, Record::Withdrawn(_)));
    }

    #[test]
    fn a_line_is_whole_until_any_byte_changes() {
        let head = Head {
            nightferry_ledger: 1,
            ledger: LedgerId(7),
            agent: AgentId(8),
            segment: 1,
            first: 1,
            prev: NOTHING_BEFORE,
            at: Timestamp::from_unix(0, 0),
        };
        let mut line = Vec::new();
        let hash = head.write(&mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(is_whole(&line));
        assert_eq!(Digest::of(&line), hash);
        assert_eq!(serde_json::from_slice::<Head>(&line).unwrap().ledger, LedgerId(7));
        for at in 0..line.len() {
            for bit in 0..8 {
                line[at] ^= 1 << bit;
                assert!(!is_whole(&line), "bit {bit} of byte {at}");
                line[at] ^= 1 << bit;
            }
            assert!(!is_whole(&line[..at]), "cut at {at}");
        }
    }
}
