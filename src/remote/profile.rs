//! What has been learned of a server, kept in a file that can be rebuilt.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use crate::domain::{Server, Timestamp};

/// What has been learned of a server. Everything here saves a detour and nothing else: without
/// it, it is learned again. What another version of the program wrote is read as far as it is
/// understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Where its TLS sessions last.
    pub lasting_sessions: LastingSessions,
    /// Which command names passive ports.
    pub passive: PassiveCommand,
    /// Whether uploads can be resumed (`REST` and `STOR`).
    pub resume: Ability,
    /// Whether a rename replaces a file.
    pub rename_over: Ability,
    /// Whether it tells names apart that differ only in case.
    pub case: Ability,
    /// Whether it tells names apart that differ only in how Unicode composes them.
    pub composition: Ability,
    /// Whether it keeps names as they are sent.
    pub names: Ability,
    /// Whether it takes commands that are sent before the last one was answered.
    pub pipelining: Ability,
    /// Whether it bears that a transfer is begun before it has told the end of the last one.
    pub overlap: Ability,
    /// Whether it serves several sessions in active mode at once
    /// ([`Uncalled::Ended`](crate::ftps::Uncalled::Ended)).
    pub crowds: Ability,
    /// Most sessions that it allowed at once, where it refused one more
    /// ([`super::Remote::share`]).
    pub connections: Option<u16>,
    /// When that was seen last, in seconds since 1970-01-01 00:00:00 UTC; what `doctor` learned counts
    /// from the first job after it.
    pub connections_seen: Option<i64>,
    /// After how many seconds of silence it ended a session.
    pub idle_seconds: Option<u32>,
    /// Until when the certificate that it showed last is good, in seconds since 1970-01-01 00:00:00
    /// UTC.
    pub certificate_expires: Option<i64>,
}

impl Profile {
    /// Until when the certificate is good that a server showed last. `None` where none was seen yet, or its
    /// dates do not matter because its key alone is trusted.
    pub fn certificate_good_until(&self, server: &Server) -> Option<Timestamp> {
        let by_key_alone = !server.trust.pins.is_empty() && server.trust.ca_file.is_none();
        let expires = self.certificate_expires.filter(|_| !by_key_alone);
        expires.map(|seconds| Timestamp::from_unix(seconds, 0))
    }
}

/// Whether a server can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// It has not been seen yet.
    #[default]
    Unknown,
    /// It has been seen to work.
    Yes,
    /// It has been seen not to work.
    No,
}

/// Which command names passive ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassiveCommand {
    /// `EPSV` (RFC 2428).
    #[default]
    Epsv,
    /// `PASV` (RFC 959): it knows no `EPSV`.
    Pasv,
}

/// In which TLS version a server's sessions can be resumed by any number of data connections.
/// ProFTPD 1.3.8 gives two TLS 1.3 tickets a control connection, each for one use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastingSessions {
    /// In whichever is spoken, as far as is known.
    #[default]
    Anywhere,
    /// In TLS 1.2, but not in TLS 1.3.
    Tls12,
    /// In none that the server speaks: control connections are renewed as tickets run out.
    Nowhere,
}

/// The profiles of all servers, by host and port.
#[derive(Debug)]
pub struct Profiles {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// `None`: nothing is kept beyond this process.
    file: Option<PathBuf>,
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The name of its file in the state folder.
    pub const FILE: &str = "profiles.json";

    /// Profiles that are forgotten with the process.
    pub fn in_memory() -> Self {
        Self { known: Mutex::default() }
    }

    /// Profiles kept in a JSON file. One that is missing or cannot be read is taken as empty.
    /// Blocks.
    pub fn open(file: &Path) -> Self {
        Self { known: Mutex::new(Known { file: Some(file.to_owned()), profiles: read(file) }) }
    }

    fn key(server: &Server) -> String {
        format!("{}:{}", server.host.to_ascii_lowercase(), server.port)
    }

    /// What is known of a server.
    pub fn of(&self, server: &Server) -> Profile {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.profiles.get(&Self::key(server)).copied().unwrap_or_default()
    }

    /// Forgets what was learned of a server. Returns whether there was something. Blocks.
    pub fn forget(&self, server: &Server) -> bool {
        self.learn(server, |profile| *profile = Profile::default())
    }

    /// Changes what is known of a server, and keeps it. Returns whether it is news. Blocks for
    /// as long as writing a small file takes.
    pub fn learn(&self, server: &Server, change: impl FnOnce(&mut Profile)) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // `doctor` may have learned something while a job runs, and the other way round.
        if let Some(file) = &known.file {
            known.profiles = read(file);
        }
        let profile = known.profiles.entry(Self::key(server)).or_default();
        let before = *profile;
        change(profile);
        if *profile == before {
            return false;
        }
        if let Some(file) = &known.file
            && let Err(error) = write(file, &known.profiles)
        {
            warn!(file = %file.display(), %error, "What was learned of a server cannot be kept; it will be learned again.");
            known.file = None;
        }
        true
    }
}

/// The profiles in a file: none where there is no file, or one that holds something else.
fn read(file: &Path) -> BTreeMap<String, Profile> {
    let Ok(bytes) = std::fs::read(file) else { return BTreeMap::new() };
    let servers = serde_json::from_slice::<BTreeMap<String, Value>>(&bytes).unwrap_or_else(|error| {
        warn!(file = %file.display(), %error, "What was learned of the servers cannot be read; it will be learned again.");
        BTreeMap::new()
    });
    servers.into_iter().map(|(server, known)| (server, understood(known))).collect()
}

/// What is understood of a profile; the rest is learned again.
fn understood(known: Value) -> Profile {
    let Value::Object(fields) = known else { return Profile::default() };
    let mut kept = serde_json::Map::new();
    for (name, value) in fields {
        let alone = serde_json::Map::from_iter([(name.clone(), value.clone())]);
        if serde_json::from_value::<Profile>(Value::Object(alone)).is_ok() {
            kept.insert(name, value);
        }
    }
    serde_json::from_value(Value::Object(kept)).unwrap_or_default()
}

/// Writes beside the file and renames, so that a crash leaves the old one or the new one.
fn write(file: &Path, known: &BTreeMap<String, Profile>) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut out = std::fs::File::create(&beside)?;
    out.write_all(&serde_json::to_vec_pretty(known)?)?;
    out.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Bandwidth, Charset, Network, SecretRef, TlsMode, TlsPolicy, TlsVersions, Trust};

    fn server(host: &str) -> Server {
        Server {
            name: "s".parse().unwrap(),
            host: host.into(),
            port: 21,
            tls: TlsMode::Explicit,
            tls_versions: TlsVersions::default(),
            tls_policy: TlsPolicy::default(),
            username: "u".into(),
            password: SecretRef::Env("P".into()),
            trust: Trust::default(),
            client_certificate: None,
            connections: 1.try_into().unwrap(),
            network: Network::default(),
            charset: Charset::default(),
            bandwidth: Bandwidth::default(),
        }
    }

    #[test]
    fn what_was_learned_outlives_the_process_and_damage_does_not_hurt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let lasting = |profile: &mut Profile| profile.lasting_sessions = LastingSessions::Tls12;
        let profiles = Profiles::open(&file);
        assert!(profiles.learn(&server("Host"), lasting));
        assert!(!profiles.learn(&server("host"), lasting), "no news the second time");
        let again = Profiles::open(&file);
        assert_eq!(again.of(&server("HOST")).lasting_sessions, LastingSessions::Tls12);
        assert_eq!(again.of(&server("other")), Profile::default());
        assert!(again.forget(&server("host")) && !again.forget(&server("host")));
        assert_eq!(Profiles::open(&file).of(&server("host")), Profile::default());
        std::fs::write(&file, "{ not json").unwrap();
        assert_eq!(Profiles::open(&file).of(&server("host")), Profile::default());
    }

    #[test]
    fn a_profile_of_another_version_is_read_as_far_as_it_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let text = r#"{
            "old:21": {"lasting_sessions": "tls12"},
            "new:21": {"lasting_sessions": "tls14", "resume": "yes", "names": {"since": 3},
                       "connections": 70000, "idle_seconds": 5, "weather": "fine"},
            "odd:21": 7
        }"#;
        std::fs::write(&file, text).unwrap();
        let profiles = Profiles::open(&file);
        let old = Profile { lasting_sessions: LastingSessions::Tls12, ..Profile::default() };
        assert_eq!(profiles.of(&server("old")), old);
        let new = Profile { resume: Ability::Yes, idle_seconds: Some(5), ..Profile::default() };
        assert_eq!(profiles.of(&server("new")), new);
        assert_eq!(profiles.of(&server("odd")), Profile::default());
    }

    #[test]
    fn what_another_process_learned_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let (doctor, job) = (Profiles::open(&file), Profiles::open(&file));
        assert!(doctor.learn(&server("host"), |profile| profile.connections = Some(2)));
        assert!(job.learn(&server("host"), |profile| profile.rename_over = Ability::No));
        let both = Profiles::open(&file).of(&server("host"));
        assert_eq!((both.connections, both.rename_over), (Some(2), Ability::No));
    }
}
