//! What has been learned of a server, kept in a file that can be rebuilt.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

use crate::domain::{Server, Timestamp};
use crate::plain::plain;

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

/// The profiles of all servers, by host and port. What is learned is known at once, and written to the file
/// by a thread of its own: nobody waits for a disk. Dropping them waits for it.
///
/// Several processes (the agent, `doctor`) may keep theirs in one file: only what was learned is put
/// into it, under a lock, so that none takes back what another one learned.
#[derive(Debug)]
pub struct Profiles {
    known: Arc<Mutex<Known>>,
}

/// By host and port, the fields that changed. Bounded by the servers of the configuration.
type Learned = BTreeMap<String, Map<String, Value>>;

#[derive(Debug, Default)]
struct Known {
    /// `None`: nothing is kept beyond this process.
    file: Option<PathBuf>,
    profiles: BTreeMap<String, Profile>,
    /// Not in the file yet.
    pending: Learned,
    /// What is just being written.
    under_way: Learned,
    /// Who writes it, or wrote last.
    writer: Option<JoinHandle<()>>,
    writing: Writing,
}

/// Whether a thread takes what is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    No,
    Yes,
}

/// How often the lock of the file is tried, and how long is waited in between: five seconds, in which a
/// small file gets written on a slow disk. After that it is learned again.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl Profiles {
    /// The name of its file in the state folder.
    pub const FILE: &str = "profiles.json";

    /// Profiles that are forgotten with the process.
    pub fn in_memory() -> Self {
        Self { known: Arc::default() }
    }

    /// Profiles kept in a JSON file. One that is missing or cannot be read is taken as empty.
    /// Blocks.
    pub fn open(file: &Path) -> Self {
        let known = Known { file: Some(file.to_owned()), profiles: read(file), ..Known::default() };
        Self { known: Arc::new(Mutex::new(known)) }
    }

    fn key(server: &Server) -> String {
        format!("{}:{}", server.host.to_ascii_lowercase(), server.port)
    }

    /// What is known of a server.
    pub fn of(&self, server: &Server) -> Profile {
        lock(&self.known).profiles.get(&Self::key(server)).copied().unwrap_or_default()
    }

    /// Forgets what was learned of a server. Returns whether there was something.
    pub fn forget(&self, server: &Server) -> bool {
        self.learn(server, |profile| *profile = Profile::default())
    }

    /// Changes what is known of a server, and has it kept. Returns whether it is news. Waits for no
    /// disk; [`finish_writing`](Self::finish_writing) does.
    pub fn learn(&self, server: &Server, change: impl FnOnce(&mut Profile)) -> bool {
        let mut known = lock(&self.known);
        // `doctor` may have learned something while a job runs, and the other way round.
        if let Some(file) = &known.file {
            let mut profiles = read(file);
            add(&mut profiles, &known.under_way);
            add(&mut profiles, &known.pending);
            known.profiles = profiles;
        }
        let key = Self::key(server);
        let profile = known.profiles.entry(key.clone()).or_default();
        let before = *profile;
        change(profile);
        let after = *profile;
        if after == before {
            return false;
        }
        if known.file.is_some() {
            known.pending.entry(key).or_default().extend(changed(&before, &after));
            self.write_soon(&mut known);
        }
        true
    }

    /// Waits until what was learned is in the file, as far as it can be kept. Blocks.
    pub fn finish_writing(&self) {
        let writer = lock(&self.known).writer.take();
        // A writer that panicked wrote nothing, and what it had is learned again.
        let _ended = writer.map(JoinHandle::join);
    }

    fn write_soon(&self, known: &mut Known) {
        if known.writing == Writing::Yes {
            return;
        }
        let shared = Arc::clone(&self.known);
        match thread::Builder::new().name("profiles".to_owned()).spawn(move || keep(&shared)) {
            Ok(writer) => (known.writer, known.writing) = (Some(writer), Writing::Yes),
            Err(error) => not_kept(known, &error),
        }
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        self.finish_writing();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes until nothing is pending.
fn keep(shared: &Mutex<Known>) {
    loop {
        let (file, learned) = {
            let mut known = lock(shared);
            let Some(file) = known.file.clone().filter(|_| !known.pending.is_empty()) else {
                known.writing = Writing::No;
                return;
            };
            known.under_way = std::mem::take(&mut known.pending);
            (file, known.under_way.clone())
        };
        let written = write(&file, &learned);
        let mut known = lock(shared);
        known.under_way.clear();
        if let Err(error) = written {
            not_kept(&mut known, &error);
        }
    }
}

fn not_kept(known: &mut Known, error: &io::Error) {
    if let Some(file) = known.file.take() {
        warn!(file = %file.display(), error = %plain(error), "What was learned of a server cannot be kept; it will be learned again.");
    }
    known.pending.clear();
}

/// The fields in which two profiles differ, as they are in the second.
fn changed(before: &Profile, after: &Profile) -> Map<String, Value> {
    let before = fields(before);
    fields(after).into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect()
}

fn fields(profile: &Profile) -> Map<String, Value> {
    match serde_json::to_value(profile) {
        Ok(Value::Object(fields)) => fields,
        // A struct of plain values is an object.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Puts what was learned into profiles, field by field.
fn add(profiles: &mut BTreeMap<String, Profile>, learned: &Learned) {
    for (server, changes) in learned {
        let profile = profiles.entry(server.clone()).or_default();
        let mut all = fields(profile);
        all.extend(changes.clone());
        *profile = understood(Value::Object(all));
    }
}

/// The profiles in a file: none where there is no file, or one that holds something else.
fn read(file: &Path) -> BTreeMap<String, Profile> {
    let Ok(bytes) = std::fs::read(file) else { return BTreeMap::new() };
    let servers = serde_json::from_slice::<BTreeMap<String, Value>>(&bytes).unwrap_or_else(|error| {
        warn!(file = %file.display(), error = %plain(&error), "What was learned of the servers cannot be read; it will be learned again.");
        BTreeMap::new()
    });
    servers.into_iter().map(|(server, known)| (server, understood(known))).collect()
}

/// What is understood of a profile; the rest is learned again.
fn understood(known: Value) -> Profile {
    let Value::Object(fields) = known else { return Profile::default() };
    let mut kept = Map::new();
    for (name, value) in fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if serde_json::from_value::<Profile>(Value::Object(alone)).is_ok() {
            kept.insert(name, value);
        }
    }
    serde_json::from_value(Value::Object(kept)).unwrap_or_default()
}

/// Puts what was learned into the file, under the lock of a file beside it (its own is replaced). Writes
/// beside it and renames, so that a crash leaves the old one or the new one. Blocks.
fn write(file: &Path, learned: &Learned) -> io::Result<()> {
    let held = File::options().create(true).truncate(false).write(true).open(file.with_extension("lock"))?;
    take(&held, LOCK_TRIES)?;
    let mut profiles = read(file);
    add(&mut profiles, learned);
    let beside = file.with_extension("new");
    let mut out = File::create(&beside)?;
    out.write_all(&serde_json::to_vec_pretty(&profiles)?)?;
    out.sync_all()?;
    std::fs::rename(&beside, file)?;
    // By itself: a child process that is just being started may still have the file open.
    held.unlock()
}

/// Locks a file, trying so often at most. Blocks.
fn take(file: &File, tries: u32) -> io::Result<()> {
    let mut more = 1..tries;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if more.next().is_some() => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
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
        profiles.finish_writing();
        let again = Profiles::open(&file);
        assert_eq!(again.of(&server("HOST")).lasting_sessions, LastingSessions::Tls12);
        assert_eq!(again.of(&server("other")), Profile::default());
        assert!(again.forget(&server("host")) && !again.forget(&server("host")));
        again.finish_writing();
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
        drop((doctor, job));
        let both = Profiles::open(&file).of(&server("host"));
        assert_eq!((both.connections, both.rename_over), (Some(2), Ability::No));
    }

    /// Whoever learns something knows what others have learned by then, and takes nothing of it back.
    #[test]
    fn what_another_process_learned_later_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let (doctor, job) = (Profiles::open(&file), Profiles::open(&file));
        for (profiles, connections) in [(&job, 2), (&doctor, 3)] {
            assert!(profiles.learn(&server("host"), |profile| profile.connections = Some(connections)));
            profiles.finish_writing();
        }
        assert!(job.learn(&server("host"), |profile| profile.resume = Ability::No));
        let known = job.of(&server("host"));
        assert_eq!((known.connections, known.resume), (Some(3), Ability::No));
        job.finish_writing();
        assert_eq!(Profiles::open(&file).of(&server("host")), known);
    }

    /// What is being written is known, too, while more is learned.
    #[test]
    fn what_waits_for_the_lock_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let another = File::create(file.with_extension("lock")).unwrap();
        another.lock().unwrap();
        let profiles = Profiles::open(&file);
        assert!(profiles.learn(&server("host"), |profile| profile.connections = Some(2)));
        while !lock(&profiles.known).pending.is_empty() {
            thread::yield_now();
        }
        assert!(profiles.learn(&server("other"), |profile| profile.connections = Some(4)));
        assert_eq!(profiles.of(&server("host")).connections, Some(2));
        another.unlock().unwrap();
    }

    #[test]
    fn a_lock_that_another_holds_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("profiles.lock")).unwrap();
        let (one, other) = (open(), open());
        take(&one, 1).unwrap();
        assert_eq!(take(&other, 2).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        one.unlock().unwrap();
        take(&other, 1).unwrap();
    }

    /// Two that learn of one server at the same time, again and again.
    #[test]
    fn what_two_learn_at_once_is_kept_whole() {
        const ROUNDS: u16 = 40;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let learner = |who: &'static str| {
            let profiles = Profiles::open(&file);
            move || {
                for n in 1..=ROUNDS {
                    let host = format!("{who}-{n}");
                    assert!(profiles.learn(&server(&host), |profile| profile.connections = Some(n)));
                    profiles.finish_writing();
                }
            }
        };
        thread::scope(|scope| {
            for who in ["doctor", "job"] {
                scope.spawn(learner(who));
            }
        });
        let kept = Profiles::open(&file);
        for who in ["doctor", "job"] {
            let lost = |n: &u16| kept.of(&server(&format!("{who}-{n}"))).connections != Some(*n);
            assert_eq!((1..=ROUNDS).filter(lost).collect::<Vec<_>>(), Vec::<u16>::new(), "{who}");
        }
    }

    /// Whoever learns does not wait for a file that another process holds, and knows what was learned.
    #[test]
    fn learning_waits_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.json");
        let another = File::create(file.with_extension("lock")).unwrap();
        another.lock().unwrap();
        let profiles = Profiles::open(&file);
        assert!(profiles.learn(&server("host"), |profile| profile.connections = Some(2)));
        assert!(profiles.learn(&server("host"), |profile| profile.resume = Ability::No));
        let known = profiles.of(&server("host"));
        assert_eq!((known.connections, known.resume), (Some(2), Ability::No));
        assert!(!file.exists(), "the lock is held");
        another.unlock().unwrap();
        profiles.finish_writing();
        assert_eq!(Profiles::open(&file).of(&server("host")), known);
    }
}
