//! A job in a small world: a source folder, a test server, and a state on a simulated disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use ftps_server::{Direction, Event as ServerEvent, Pki, Server as TestServer};
use tokio_util::sync::CancellationToken;

use super::naive::{Files, Held, Naive, Seen, ensure};
use super::steps::{
    Consumer, Crash, Cutting, FOLDER, Fate, PATHS, Policy, RESUME_FROM, SERVER_NOTICES, SIZES, Step, Times,
    When,
};
use crate::clock::SystemClock;
use crate::delivery::{Delivery, run};
use crate::domain::{
    Backoff, Bandwidth, Charset, Event, Exit, Job, Network, PublishWay, RemotePath, RunReport, Scope,
    SecretRef, Server, Sidecars, Symlinks, Target, Timing, TlsMode, TlsPolicy, TlsVersions, Trigger,
    Triggers, Trust, VerifyPolicy,
};
use crate::remote::{Deadlines, Profiles, Remote};
use crate::state::State;
use crate::state::tests::sim::SimDisk;
use crate::state::tests::simulated::{open_simulated, verify_simulated};

/// The folder on the server.
const DESTINATION: &str = "in";
const TRASH: &str = ".nightferry-trash/";
const TEMPORARY: &str = ".nf-";
/// How many runs without faults bring everything to rest: one settles and delivers, one sweeps.
const RUNS_TO_REST: usize = 3;

/// What got final names, in order.
type Log = Vec<(String, Vec<u8>)>;

pub(super) struct World {
    policy: Policy,
    naive: Naive,
    runtime: tokio::runtime::Runtime,
    server: TestServer,
    published: Arc<Mutex<Log>>,
    folders: tempfile::TempDir,
    disk: SimDisk,
    /// How many manifests were lost.
    manifests: u32,
    state: Option<State>,
    job: Job,
    definition: Server,
    profiles: Arc<Profiles>,
    versions: u64,
}

impl World {
    pub(super) fn new(policy: &Policy) -> Self {
        static PKI: OnceLock<Arc<Pki>> = OnceLock::new();
        let published = Arc::new(Mutex::new(Vec::new()));
        let (log, consumer) = (Arc::clone(&published), policy.consumer);
        let hook = move |event: &ServerEvent| {
            let ServerEvent::Renamed { to, local, .. } = event else { return };
            let Some(path) = final_name(to.trim_start_matches('/')) else { return };
            log.lock().unwrap().push((path, fs::read(local).unwrap()));
            if consumer == Consumer::AtOnce {
                fs::remove_file(local).unwrap();
            }
        };
        let pki = Arc::clone(PKI.get_or_init(|| Arc::new(Pki::new())));
        let server = TestServer::builder().pki(pki).dialect(policy.dialect()).on_event(hook).start().unwrap();
        let folders = tempfile::tempdir().unwrap();
        fs::create_dir(folders.path().join("source")).unwrap();
        Self {
            naive: Naive::default(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            published,
            disk: SimDisk::default(),
            manifests: 0,
            state: None,
            job: job(policy, &folders.path().join("source")),
            definition: definition(policy, &server),
            profiles: Arc::new(Profiles::in_memory()),
            versions: 0,
            policy: policy.clone(),
            server,
            folders,
        }
    }

    /// Plays all steps, then runs until everything is at rest.
    pub(super) fn play(mut self, steps: &[Step]) -> Held {
        let played = steps.iter().enumerate().try_for_each(|(at, step)| {
            self.step(step).map_err(|error| format!("step {at}, {step:?}: {error}"))
        });
        let played = played.and_then(|()| self.rest().map_err(|error| format!("at rest: {error}")));
        played.map_err(|error| format!("{error}\n{}", self.server.transcript()))
    }

    fn step(&mut self, step: &Step) -> Held {
        match step {
            Step::Write { path, size } => self.write(PATHS[*path], SIZES[*size]),
            Step::Edit { path, times } => self.edit(PATHS[*path], *times),
            Step::Touch { path } => self.touch(PATHS[*path]),
            Step::Rename { from, to } => self.rename(PATHS[*from], PATHS[*to]),
            Step::Delete { path } => self.delete(PATHS[*path]),
            Step::MakeFolder => drop(fs::create_dir(self.job.source.join("empty"))),
            Step::RemoveFolder => {
                PATHS.iter().filter(|path| path.starts_with(FOLDER)).for_each(|path| self.delete(path));
                drop(fs::remove_dir_all(self.job.source.join(FOLDER)));
            }
            Step::Take => self.take(),
            Step::Stranger { path } => self.stranger(PATHS[*path]),
            Step::Restart => self.stop()?,
            Step::Sync { cut, crash } => return self.sync(*cut, *crash).map(drop),
        }
        Ok(())
    }

    fn source(&self, path: &str) -> PathBuf {
        self.job.source.join(path)
    }

    fn content(&mut self, size: usize) -> Vec<u8> {
        self.versions += 1;
        format!("{:08}", self.versions).into_bytes().into_iter().cycle().take(size).collect()
    }

    fn write(&mut self, path: &str, size: usize) {
        let bytes = self.content(size);
        fs::create_dir_all(self.source(path).parent().unwrap()).unwrap();
        fs::write(self.source(path), &bytes).unwrap();
        self.naive.put(path, bytes);
    }

    fn edit(&mut self, path: &str, times: Times) {
        let Some(old) = self.naive.source.get(path) else { return };
        let bytes = self.content(old.len());
        let modified = fs::metadata(self.source(path)).unwrap().modified().unwrap();
        fs::write(self.source(path), &bytes).unwrap();
        if let Times::Kept = times {
            fs::File::options().write(true).open(self.source(path)).unwrap().set_modified(modified).unwrap();
        }
        self.naive.put(path, bytes);
    }

    fn touch(&mut self, path: &str) {
        if !self.naive.source.contains_key(path) {
            return;
        }
        self.versions += 1;
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.versions);
        fs::File::options().write(true).open(self.source(path)).unwrap().set_modified(time).unwrap();
    }

    fn rename(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        let Some(bytes) = self.naive.source.remove(from) else { return };
        fs::create_dir_all(self.source(to).parent().unwrap()).unwrap();
        fs::rename(self.source(from), self.source(to)).unwrap();
        self.naive.put(to, bytes);
    }

    fn delete(&mut self, path: &str) {
        if self.naive.source.remove(path).is_some() {
            fs::remove_file(self.source(path)).unwrap();
        }
    }

    fn remote(&self, path: &str) -> PathBuf {
        self.server.root().join(DESTINATION).join(path)
    }

    fn take(&self) {
        if self.policy.mode == crate::domain::Mode::Mirror {
            return;
        }
        for path in self.standing().0.keys().filter(|path| !self.naive.is_strangers(path)) {
            fs::remove_file(self.remote(path)).unwrap();
        }
    }

    fn stranger(&mut self, path: &str) {
        self.versions += 1;
        let bytes = format!("theirs-{:06}", self.versions).into_bytes();
        fs::create_dir_all(self.remote(path).parent().unwrap()).unwrap();
        fs::write(self.remote(path), &bytes).unwrap();
        self.naive.stranger(path, bytes);
    }

    /// The files under final names and in the trash, by their paths below the destination.
    fn standing(&self) -> (Files, Files) {
        let root = self.server.root();
        let (mut finals, mut trash) = (Files::new(), Files::new());
        for (path, bytes) in files(root) {
            if let Some(path) = final_name(&path) {
                finals.insert(path, bytes);
            } else if let Some((_, dated)) = path.split_once(TRASH) {
                let (_, path) = dated.split_once('/').unwrap();
                trash.insert(path.to_owned(), bytes);
            }
        }
        (finals, trash)
    }

    fn state(&mut self) -> Result<State, String> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let folder = self.folders.path().join(format!("state-{}", self.manifests));
        let opened = open_simulated(&folder, &self.disk, Arc::new(SystemClock)).map_err(|error| {
            format!("the state cannot be opened: {error}; {:?}", std::error::Error::source(&error))
        })?;
        Ok(self.state.insert(opened.state).clone())
    }

    fn stop(&mut self) -> Held {
        let Some(state) = self.state.take() else { return Ok(()) };
        state.close().map_err(|error| format!("the state cannot be closed: {error}"))
    }

    /// Runs the job, and looks at what must hold. `None` where the process died.
    fn sync(&mut self, cut: Option<Cutting>, crash: Option<Crash>) -> Result<Option<RunReport>, String> {
        let (before, _) = self.standing();
        self.server.clear_faults();
        if let Some(cut) = cut {
            self.server.arm(cut.fault());
        }
        let report = self.run(crash)?;
        self.server.clear_faults();
        let (now, trash) = self.standing();
        let published = self.published.lock().unwrap().clone();
        let seen = Seen { before: &before, now: &now, trash: &trash, published: &published };
        // What was set aside to be deleted when the process died has a private name.
        let left = files(&self.job.source).filter(|(path, _)| !path.contains(TEMPORARY));
        self.naive.retire(&left.collect(), &seen)?;
        self.naive.check(&self.policy, &seen)?;
        if report.as_ref().is_some_and(|report| report.exit() == Exit::Done) {
            self.naive.check_done(&self.policy, &seen)?;
            self.check_nothing_to_do()?;
        }
        verify_simulated(&self.disk).map_err(|error| format!("the ledger: {error}"))?;
        Ok(report)
    }

    /// Two more runs: the first may sweep, and sends nothing; the second calls nobody.
    fn check_nothing_to_do(&mut self) -> Held {
        let sent = |server: &TestServer| (server.counters().stores, server.counters().bytes_received);
        let before = sent(&self.server);
        let report = self.run(None)?;
        let done = report.is_some_and(|report| report.exit() == Exit::Done && report.counts.delivered == 0);
        ensure(done && sent(&self.server) == before, || "an unchanged source was sent again".to_owned())?;
        let before = self.server.counters();
        self.run(None)?;
        ensure(self.server.counters() == before, || "an unchanged source called the server".to_owned())
    }

    fn run(&mut self, crash: Option<Crash>) -> Result<Option<RunReport>, String> {
        let state = self.state()?;
        let dying = CancellationToken::new();
        let (told, last_event) = (
            AtomicU64::new(0),
            match crash {
                Some(Crash { when: When::Event(after), .. }) => after,
                _ => u64::MAX,
            },
        );
        if let Some(Crash { when: When::Change(after), .. }) = crash {
            let dying = dying.clone();
            self.disk.stand_still_after(after, move || dying.cancel());
        }
        let death = dying.clone();
        let delivery = Delivery {
            job: self.job.clone(),
            target: Target::of(&self.job, &self.definition),
            remote: Arc::new(
                Remote::new(
                    self.definition.clone(),
                    "password".into(),
                    Deadlines::default(),
                    Arc::clone(&self.profiles),
                )
                .unwrap(),
            ),
            state,
            clock: Arc::new(SystemClock),
            triggers: Triggers::of(Trigger::Manual),
            scope: Scope::All,
            limit: None,
            sink: Arc::new(move |_: Event| {
                if told.fetch_add(1, Ordering::SeqCst) == last_event {
                    death.cancel();
                }
            }),
            resume_from: RESUME_FROM,
            approved: None,
            backoff: Backoff { base: Duration::from_millis(1), limit: Duration::from_millis(5) },
        };
        let report = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = dying.cancelled() => None,
                report = Box::pin(run(delivery, CancellationToken::new())) => Some(report),
            }
        });
        match (report, crash) {
            (Some(report), _) => {
                self.disk.go_on();
                report.map(Some).map_err(|error| format!("the run was not recorded: {error}"))
            }
            (None, Some(crash)) => self.die(crash.fate).map(|()| None),
            (None, None) => Err("a run died of itself".to_owned()),
        }
    }

    /// The process is no more.
    fn die(&mut self, fate: Fate) -> Held {
        self.server_is_idle()?;
        let left = match fate {
            Fate::Killed => None,
            Fate::PowerCut(survival) => Some(self.disk.survivors(survival)),
        };
        self.disk.die();
        if let Some(state) = self.state.take() {
            // It fails, as its disk does.
            drop(state.close());
        }
        self.manifests += u32::from(left.is_some());
        self.disk = left.unwrap_or_else(|| self.disk.copy());
        Ok(())
    }

    /// Waits until the server has noticed that its clients are gone, and done what they asked.
    fn server_is_idle(&self) -> Held {
        let is_idle = || {
            let transcript = self.server.transcript();
            let notes = transcript.lines().iter().filter(|line| line.direction == Direction::Note);
            let ended = notes.filter(|line| line.text.starts_with("ended") || line.text.starts_with("never"));
            ended.count() as u64 >= self.server.counters().control_connections
        };
        let wait = async {
            while !is_idle() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(SERVER_NOTICES, wait).await });
        waited.map_err(|_| "the server holds on to a session".to_owned())
    }

    /// Runs without faults until nothing is left to do: everything was delivered, and nothing
    /// lies about.
    fn rest(&mut self) -> Held {
        let mut last = None;
        for _ in 0..RUNS_TO_REST {
            // What was retired and not taken stands in the way of the next file of its name.
            self.take();
            last = self.sync(None, None)?;
        }
        let report = last.ok_or("a run died of itself")?;
        // An empty source is suspect, and a file that is not ours stands in the way of ours.
        if self.naive.had_strangers || self.naive.source.is_empty() {
            return self.stop();
        }
        let presumed = report.counts.presumed > 0 && report.counts.failed == 0 && report.stopped.is_none();
        ensure(report.exit() == Exit::Done || presumed, || format!("it does not converge: {report:#?}"))?;
        let litter = files(self.server.root()).chain(files(&self.job.source));
        let litter: Vec<_> = litter.map(|(path, _)| path).filter(|path| path.contains(TEMPORARY)).collect();
        ensure(litter.is_empty(), || format!("left over: {litter:?}"))?;
        let (now, trash) = self.standing();
        let published = self.published.lock().unwrap().clone();
        let seen = Seen { before: &now, now: &now, trash: &trash, published: &published };
        self.naive.check_delivered(&seen)?;
        self.stop()
    }
}

/// The path below the destination, of a file that neither is temporary nor lies in the trash.
fn final_name(path: &str) -> Option<String> {
    let path = path.strip_prefix(DESTINATION)?.strip_prefix('/')?;
    (!path.contains(TEMPORARY) && !path.starts_with(TRASH)).then(|| path.to_owned())
}

/// All files below a folder, by their paths.
fn files(root: &Path) -> impl Iterator<Item = (String, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    entries.filter(|entry| entry.file_type().is_file()).map(move |entry| {
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (path, fs::read(entry.path()).unwrap())
    })
}

fn job(policy: &Policy, source: &Path) -> Job {
    Job {
        name: "job".parse().unwrap(),
        source: source.to_owned(),
        server: "test".parse().unwrap(),
        destination: RemotePath::new(&format!("/{DESTINATION}")).unwrap(),
        mode: policy.mode,
        include: vec![],
        exclude: vec![],
        verify: VerifyPolicy::Auto,
        overwrite: policy.overwrite,
        publish: PublishWay::Rename,
        sidecars: Sidecars::NONE,
        after_delivery: policy.after.clone(),
        deletes: policy.deletes(),
        symlinks: Symlinks::default(),
        timing: Timing::default(),
        watch: None,
        notify: Vec::new(),
    }
}

fn definition(policy: &Policy, server: &TestServer) -> Server {
    Server {
        name: "test".parse().unwrap(),
        host: "localhost".into(),
        port: server.port(),
        tls: TlsMode::Explicit,
        tls_versions: TlsVersions::default(),
        tls_policy: TlsPolicy::default(),
        username: "user".into(),
        password: SecretRef::Env("unused".into()),
        trust: Trust { ca_file: Some(server.ca_file()), ..Trust::default() },
        client_certificate: None,
        connections: policy.sessions.try_into().unwrap(),
        network: Network::default(),
        charset: Charset::default(),
        bandwidth: Bandwidth::default(),
    }
}
