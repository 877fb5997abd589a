//! What a manifest is about.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Digest, Job, Server};

/// Where files come from and where they go: two jobs, or two versions of one job, with the same
/// target share what is known of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The source folder, absolute.
    pub source: String,
    /// The server's host name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The login name.
    pub user: String,
    /// The folder on the server.
    pub destination: String,
}

impl Target {
    /// The target of a job on its server.
    pub fn of(job: &Job, server: &Server) -> Self {
        Self {
            source: job.source.to_string_lossy().into_owned(),
            host: server.host.to_ascii_lowercase(),
            port: server.port,
            user: server.username.clone(),
            destination: job.destination.to_string(),
        }
    }

    /// The digest by which it is named in state.
    pub fn id(&self) -> TargetId {
        let mut text = String::new();
        for part in [&self.source, &self.host, &self.port.to_string(), &self.user, &self.destination] {
            // The length in front keeps two lists of parts from making the same text.
            text.extend([&part.len().to_string(), ":", part, "\n"]);
        }
        let mut id = [0; 16];
        id.iter_mut().zip(Digest::of(text.as_bytes()).as_bytes()).for_each(|(to, from)| *to = *from);
        TargetId(id)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, host, port, user, destination } = self;
        write!(f, "{source} to {user}@{host}:{port} {destination}")
    }
}

/// A target's name in state: the first 16 bytes of the SHA-256 of its parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId([u8; 16]);

impl TargetId {
    /// Its first 8 digits: enough to tell the targets of one agent apart in temporary names.
    pub fn short(&self) -> String {
        format!("{:.8}", self.to_string())
    }
}

impl Serialize for TargetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetId {
    /// Reads the 32 lower-case hexadecimal digits that [`Display`](fmt::Display) writes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fine = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = if fine { u128::from_str_radix(&text, 16).ok() } else { None };
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| serde::de::Error::custom("not a target: expected 32 hexadecimal digits"))
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_tells_and_parts_do_not_run_together() {
        let base = Target {
            source: "/srv/a".into(),
            host: "h".into(),
            port: 21,
            user: "u".into(),
            destination: "/in".into(),
        };
        let others = [
            Target { source: "/srv/b".into(), ..base.clone() },
            Target { host: "g".into(), ..base.clone() },
            Target { port: 990, ..base.clone() },
            Target { user: "v".into(), ..base.clone() },
            Target { destination: "/out".into(), ..base.clone() },
            Target { source: "/srv/a\n1:h".into(), host: String::new(), ..base.clone() },
        ];
        for other in &others {
            assert_ne!(other.id(), base.id(), "{other:?}");
        }
        assert_eq!(base.clone().id(), base.id());
        assert_eq!(base.id().to_string().len(), 32);
        assert_eq!(base.id().short().len(), 8);
        assert!(base.id().to_string().starts_with(&base.id().short()));
        let written = serde_json::to_string(&base.id()).unwrap();
        assert_eq!(serde_json::from_str::<TargetId>(&written).unwrap(), base.id());
        for bad in ["\"\"", "\"+0000000000000000000000000000000\"", "7"] {
            assert!(serde_json::from_str::<TargetId>(bad).is_err(), "{bad}");
        }
    }
}
