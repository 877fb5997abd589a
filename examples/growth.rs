//! How the state grows over years: a million files of which 10,000 change every night.
//!
//!     cargo run --release --example growth                        # six years; takes an hour, 10 GB
//!     cargo run --release --example growth -- FILES CHANGES NIGHTS [FOLDER]
//!
//! It delivers all files, then as many changes a night as are asked for, each with the records of
//! a real delivery; prints what stands on the disk; opens the state, rebuilds a lost manifest, and
//! verifies the whole chain. A folder that is named is kept.

#![expect(clippy::print_stdout, reason = "it is run to be read")]

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nightferry::clock::Clock;
use nightferry::domain::{
    Counts, Delivered, Digest, Evidence, FileStat, Leftovers, Publishing, Record, RelPath, RemotePath,
    RunFinished, RunId, Sent, SessionFacts, Sidecars, Staging, Standing, Target, TargetId, Timestamp,
    TlsVersion, VerifyPolicy, compare,
};
use nightferry::state::{State, verify_ledger};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many files are delivered in one commit, as several sessions would do together.
const GROUP: usize = 64;
/// An odd number without a pattern: the golden ratio in 64 bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// A commit that takes longer holds up the sessions that wait for it.
const LONG_WAIT: Duration = Duration::from_millis(100);
const MIB: f64 = 1_048_576.0;

/// A clock that is moved by hand, so that years pass in minutes.
#[derive(Debug, Default)]
struct Nights {
    night: AtomicU64,
    looks: AtomicU64,
}

impl Clock for Nights {
    fn now(&self) -> Timestamp {
        let seconds = self.night.load(Ordering::Relaxed) * 86_400;
        let nanos = self.looks.fetch_add(1_234_567, Ordering::Relaxed);
        Timestamp::from_unix_nanos(
            (1_800_000_000 + seconds).cast_signed() * 1_000_000_000 + nanos.cast_signed(),
        )
    }

    fn random(&self) -> u64 {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        u64::from_le_bytes(Digest::of(&looks.to_le_bytes()).as_bytes()[..8].try_into().unwrap_or_default())
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (files, changes, nights) = (number(0, 1_000_000)?, number(1, 10_000)?, number(2, 6 * 365)?);
    let temporary = tempfile::tempdir()?;
    let folder = arguments.get(3).map_or(temporary.path(), Path::new);
    println!("{files} files, {changes} changes a night, {nights} nights, in {}", folder.display());

    let clock = Arc::new(Nights::default());
    let state = State::open(folder, clock.clone())?.state;
    let mut writer = Writer { state: &state, target: target(), version: 0, waits: Waits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begun = Instant::now();
    runtime.block_on(writer.night(0..files))?;
    println!("first night: {:.0} s", begun.elapsed().as_secs_f64());
    sizes(folder)?;
    println!("  {}", writer.waits);
    for night in 1..=nights {
        clock.night.store(night, Ordering::Relaxed);
        let first = night * changes;
        // Spread, so that changes do not come in the order of the files.
        let drawn = (first..first + changes).map(|number| (number.wrapping_mul(SPREAD) >> 20) % files);
        runtime.block_on(writer.night(drawn))?;
        if night.is_power_of_two() || night == nights {
            println!("night {night}: {:.0} s so far", begun.elapsed().as_secs_f64());
            sizes(folder)?;
            println!("  {}", writer.waits);
        }
    }
    state.close()?;
    opening(folder, &clock, "opened")?;
    std::fs::remove_dir_all(folder.join("manifest"))?;
    opening(folder, &clock, "opened without its manifest")?;
    let begun = Instant::now();
    let ledger = verify_ledger(folder)?;
    println!(
        "verified in {:.1} s: {} records, {:.0} MiB of lines, {} segments, {} checkpoints",
        begun.elapsed().as_secs_f64(),
        ledger.records,
        as_mib(ledger.bytes),
        ledger.segments,
        ledger.checkpoints
    );
    Ok(())
}

fn opening(folder: &Path, clock: &Arc<Nights>, what: &str) -> Outcome<()> {
    let begun = Instant::now();
    let opened = State::open(folder, clock.clone())?;
    let seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let known = opened.state.manifest(target().id())?.entries().count();
    println!("{what} in {seconds:.2} s; {known} entries read in {:.1} s", begun.elapsed().as_secs_f64());
    opened.state.close()?;
    Ok(())
}

/// Prints what the folder takes, by kind of file.
fn sizes(folder: &Path) -> Outcome<()> {
    let (mut sealed, mut open, mut checkpoints, mut manifest) = (0, 0, 0, 0);
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = if entry.file_type().is_file() { entry.metadata()?.len() } else { 0 };
        match &*name {
            name if name.starts_with("checkpoint") => checkpoints += bytes,
            name if name.ends_with(".jsonl.gz") => sealed += bytes,
            name if name.strip_suffix(".jsonl").is_some() => open += bytes,
            _ => manifest += bytes,
        }
    }
    println!(
        "  sealed segments {:.0} MiB, the open one {:.0}, checkpoints {:.0}, manifest {:.0}",
        as_mib(sealed),
        as_mib(open),
        as_mib(checkpoints),
        as_mib(manifest)
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown without digits after the point")]
fn as_mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

fn target() -> Target {
    Target {
        source: "/srv/clinic/archive".into(),
        host: "vault.example".into(),
        port: 21,
        user: "clinic".into(),
        destination: "/host1".into(),
    }
}

struct Writer<'a> {
    state: &'a State,
    target: Target,
    version: u64,
    waits: Waits,
}

/// How long callers waited for their commits.
#[derive(Debug, Default)]
struct Waits {
    all: Vec<Duration>,
}

impl Waits {
    /// The longest wait of this many percent of the commits.
    fn of(sorted: &[Duration], percent: usize) -> Duration {
        sorted
            .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.all.clone();
        all.sort_unstable();
        let long = all.iter().filter(|wait| **wait > LONG_WAIT).count();
        let (median, most, longest) = (Self::of(&all, 50), Self::of(&all, 99), Self::of(&all, 100));
        write!(
            f,
            "{} commits: median {median:.1?}, 99 % {most:.1?}, {long} longer than {LONG_WAIT:?}, longest {longest:.1?}",
            all.len()
        )
    }
}

impl Writer<'_> {
    /// A run that delivers these files.
    async fn night(&mut self, mut changed: impl Iterator<Item = u64>) -> Outcome<()> {
        let id = self.target.id();
        let run = self.state.start_run(&"archive".parse()?, &self.target).await?.run;
        self.version += 1;
        loop {
            let group = changed.by_ref().take(GROUP).map(|file| self.publishing(run, file));
            let intents: Vec<Publishing> = group.collect::<Result<_, _>>()?;
            if intents.is_empty() {
                break;
            }
            let folder = RemotePath::new("/host1")?;
            let mut records = vec![Record::Staging(Staging { run, folder, file: None })];
            records.extend(intents.iter().cloned().map(Record::Publishing));
            self.commit(id, records).await?;
            let delivered = intents.into_iter().map(|intent| Record::Delivered(Delivered::from(intent)));
            self.commit(id, delivered.collect()).await?;
        }
        let leftovers = Leftovers::of(Vec::new());
        let finished = RunFinished {
            run,
            counts: Counts::default(),
            stopped: None,
            leftovers,
            source: None,
            mounts: None,
            skipped: Vec::new(),
        };
        Ok(self.state.commit(id, vec![Record::RunFinished(finished)]).await?)
    }

    async fn commit(&mut self, target: TargetId, records: Vec<Record>) -> Outcome<()> {
        let begun = Instant::now();
        self.state.commit(target, records).await?;
        self.waits.all.push(begun.elapsed());
        Ok(())
    }

    fn publishing(&self, run: RunId, file: u64) -> Outcome<Publishing> {
        let digest = Digest::of(format!("{file} {}", self.version).as_bytes());
        let drawn = u64::from_le_bytes(digest.as_bytes()[..8].try_into()?);
        let at = Timestamp::from_unix(
            (1_790_000_000 + drawn % 10_000_000).cast_signed(),
            (drawn % 1_000_000_000).cast_signed(),
        );
        let sent = Sent { size: drawn % 10_000_000, digest };
        let name =
            format!("patients/{:03}/{:03}/report-{file:07}-{:04x}.pdf", file % 997, file % 83, file & 0xffff);
        Ok(Publishing {
            run,
            path: RelPath::new(name)?,
            temporary: RemotePath::new(&format!(
                "/host1/patients/{:03}/{:03}/.nf-{drawn:016x}",
                file % 997,
                file % 83
            ))?,
            stat: FileStat { size: sent.size, mtime: at, ctime: at, inode: file + 1_000_000 },
            observed_at: at,
            verified: compare(&sent, &Evidence::ServerHash { digest }, VerifyPolicy::Auto)?,
            modified: at.to_ftp(),
            standing: Standing::File { size: sent.size / 2, modified: at.to_ftp() },
            displaced: None,
            sidecars: Sidecars::NONE,
            session: SessionFacts {
                peer: "192.0.2.7:21".parse()?,
                tls: TlsVersion::V1_3,
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                certificate: Digest::of(b"certificate"),
            },
        })
    }
}
