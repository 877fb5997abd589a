//! A job from a fresh folder to a test server, and what must hold of the server whatever happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftps_server::{Builder, Dialect, Direction, Event as ServerEvent, Fault, Server as TestServer};
use nightferry::audit::{Audit, Depth, Restore, adopt, restore, verify};
use nightferry::clock::{Clock, SystemClock};
use nightferry::delivery::{Delivery, run};
use nightferry::domain::{
    AfterDelivery, AuditReport, Backoff, Bandwidth, Charset, Deletes, Event, FileProgress, HeldToWindows,
    Job, Mode, Network, Overwrite, PublishWay, RelPath, RemoteDelete, RemotePath, RunId, RunReport, Scope,
    SecretRef, Server, Sidecar, Sidecars, Symlinks, Target, Timestamp, Timing, TlsMode, TlsPolicy,
    TlsVersions, Trigger, Triggers, Trust, VerifyPolicy,
};
use nightferry::remote::{Ability, Deadlines, Profile, Profiles, Remote};
use nightferry::source::{PlacePolicy, RestoreFolder};
use nightferry::state::State;
use tokio_util::sync::CancellationToken;

/// How our temporary names begin.
pub(super) const TEMPORARY: &str = "/.nf-";

/// A job to a server.
pub(super) struct Bench {
    pub(super) server: TestServer,
    pub(super) folders: tempfile::TempDir,
    pub(super) job: Job,
    pub(super) definition: Server,
    pub(super) deadlines: Deadlines,
    pub(super) password: &'static str,
    pub(super) approved: Option<RunId>,
    /// What the next runs are about.
    pub(super) scope: Scope,
    profiles: Arc<Profiles>,
    /// From how many bytes on uploads are resumed.
    pub(super) resume_from: u64,
    /// How long a run waits before it tries something again, at first.
    pub(super) pause: Duration,
    renames: Arc<AtomicUsize>,
    /// What was told of the last run.
    events: Mutex<Vec<Event>>,
    /// Cancelled when a run or a way back is to stop.
    pub(super) stop: CancellationToken,
    /// The time of day.
    pub(super) clock: Arc<dyn Clock>,
}

impl Bench {
    /// A job to a server that plays `dialect`.
    pub(super) fn new(dialect: Dialect, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::with(TestServer::builder().dialect(dialect).faults(faults))
    }

    /// A job to such a server, whose renames are counted.
    pub(super) fn with(server: Builder) -> Self {
        Self::watched(server, |_| {})
    }

    /// The same with a hook.
    pub(super) fn watched(server: Builder, mut hook: impl FnMut(&ServerEvent) + Send + 'static) -> Self {
        let renames = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&renames);
        let server = server.on_event(move |event| {
            if matches!(event, ServerEvent::Renamed { from, to, .. } if from != to) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            hook(event);
        });
        Self::to(server.start().unwrap(), renames)
    }

    fn to(server: TestServer, renames: Arc<AtomicUsize>) -> Self {
        let folders = tempfile::tempdir().unwrap();
        let source = folders.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let definition = Server {
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
            connections: 2.try_into().unwrap(),
            network: Network::default(),
            charset: Charset::default(),
            bandwidth: Bandwidth::default(),
        };
        let job = Job {
            name: "job".parse().unwrap(),
            source,
            server: "test".parse().unwrap(),
            destination: RemotePath::new("/in").unwrap(),
            mode: Mode::Mirror,
            include: vec![],
            exclude: vec![],
            symlinks: Symlinks::Skip,
            verify: VerifyPolicy::Auto,
            overwrite: Overwrite::Refuse,
            publish: PublishWay::Rename,
            sidecars: Sidecars::NONE,
            after_delivery: AfterDelivery::Keep,
            deletes: Deletes::default(),
            timing: Timing::default(),
            watch: None,
            notify: Vec::new(),
        };
        let (deadlines, profiles) = (Deadlines::default(), Arc::new(Profiles::in_memory()));
        let resume_from = Delivery::RESUME_FROM;
        let password = "password";
        Self {
            server,
            folders,
            job,
            definition,
            deadlines,
            password,
            approved: None,
            scope: Scope::All,
            profiles,
            resume_from,
            pause: Duration::from_millis(1),
            renames,
            events: Mutex::default(),
            stop: CancellationToken::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Limits that a test can wait for.
    pub(super) fn impatient(mut self) -> Self {
        let limit = Duration::from_millis(700);
        self.deadlines = Deadlines {
            greeting: limit,
            handshake: limit,
            reply: limit,
            stall: limit,
            final_reply: limit,
            data_connect: limit,
            ..self.deadlines
        };
        self
    }

    /// Writes a source file.
    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.job.source.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes a file straight into the server's folder.
    pub(super) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.server.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The bytes under a name on the server.
    pub(super) fn stored(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.server.root().join(path)).ok()
    }

    /// Every file on the server, by its path as clients see it.
    pub(super) fn all_stored(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.server.root();
        let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
        files
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
                (format!("/{path}"), std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The temporary files on the server.
    pub(super) fn litter(&self) -> Vec<String> {
        self.all_stored().into_keys().filter(|path| path.contains(TEMPORARY)).collect()
    }

    /// Where the uploads of the last run went on.
    pub(super) fn resumed_at(&self) -> Vec<u64> {
        self.told(|progress| if let FileProgress::Resumed { at } = progress { Some(*at) } else { None })
    }

    /// The sizes of the files that were begun in the last run, as they were told.
    pub(super) fn started(&self) -> Vec<u64> {
        self.told(|progress| if let FileProgress::Started { size } = progress { Some(*size) } else { None })
    }

    /// The bytes that were sent at once in the last run, as they were told.
    pub(super) fn pieces(&self) -> Vec<u64> {
        self.told(|progress| if let FileProgress::Bytes { count } = progress { Some(*count) } else { None })
    }

    /// What was told of files in the last run, as far as it is picked.
    fn told<T>(&self, pick: impl Fn(&FileProgress) -> Option<T>) -> Vec<T> {
        let events = self.events.lock().unwrap();
        let told = events.iter().filter_map(|event| match event {
            Event::File { progress, .. } => pick(progress),
            _ => None,
        });
        told.collect()
    }

    /// Why files were tried again in the last run.
    pub(super) fn retried(&self) -> Vec<String> {
        self.told(|progress| match progress {
            FileProgress::Retrying { failure, .. } => Some(failure.to_string()),
            _ => None,
        })
    }

    /// What has been learned of the server.
    pub(super) fn profile(&self) -> Profile {
        // Until when a test's certificate is good is of no concern.
        Profile { certificate_expires: None, ..self.profiles.of(&self.definition) }
    }

    /// How many renames the server has done.
    pub(super) fn renames(&self) -> usize {
        self.renames.load(Ordering::SeqCst)
    }

    /// The server, ready for sessions.
    pub(super) fn remote(&self) -> Remote {
        let profiles = Arc::clone(&self.profiles);
        Remote::new(self.definition.clone(), self.password.into(), self.deadlines, profiles).unwrap()
    }

    /// Runs the job once, in a process of its own as far as state goes.
    pub(super) async fn run(&self) -> RunReport {
        let report = self.deliver().await;
        self.check_server();
        report
    }

    /// The same on a server on which something else than runs left its traces.
    pub(super) async fn deliver(&self) -> RunReport {
        let (report, events) = self.run_quietly().await;
        println!("{}\n{events:#?}\n{report:#?}", self.server.transcript());
        report
    }

    /// The same without a word and without a look at the server.
    pub(super) async fn run_quietly(&self) -> (RunReport, Vec<Event>) {
        let (report, events) = self.run_unchecked(|_| false).await;
        (report.unwrap(), events)
    }

    /// Runs the job in a process that dies at the first such event; `None` when it has died.
    pub(super) async fn run_until(
        &self,
        fatal: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Option<RunReport> {
        let (report, events) = self.run_unchecked(fatal).await;
        println!("{}\n{events:#?}\n{report:#?}", self.server.transcript());
        self.check_server();
        report
    }

    async fn run_unchecked(
        &self,
        fatal: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> (Option<RunReport>, Vec<Event>) {
        let dying = CancellationToken::new();
        let death = dying.clone();
        let clock = Arc::clone(&self.clock);
        let opened = State::open(&self.state_folder(), clock.clone()).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let delivery = Delivery {
            job: self.job.clone(),
            target: Target::of(&self.job, &self.definition),
            remote: Arc::new(self.remote()),
            state: opened.state.clone(),
            clock,
            sink: Arc::new(move |event: Event| {
                if fatal(&event) {
                    death.cancel();
                }
                seen.lock().unwrap().push(event);
            }),
            triggers: Triggers::of(Trigger::Manual),
            scope: self.scope.clone(),
            limit: self.job.timing.limit(SystemClock.now(), HeldToWindows::No),
            resume_from: self.resume_from,
            approved: self.approved,
            backoff: Backoff { base: self.pause, limit: 5 * self.pause },
        };
        let report = tokio::select! {
            biased;
            () = dying.cancelled() => None,
            report = Box::pin(run(delivery, self.stop.clone())) => Some(report.unwrap()),
        };
        opened.state.close().unwrap();
        let events = std::mem::take(&mut *events.lock().unwrap());
        self.events.lock().unwrap().clone_from(&events);
        (report, events)
    }

    /// Runs one of the ways back, in a process of its own as far as state goes. None of them may
    /// change anything on the server.
    pub(super) async fn audit<F>(&self, work: impl FnOnce(Audit, CancellationToken) -> F) -> AuditReport
    where
        F: Future<Output = AuditReport>,
    {
        let clock = Arc::new(SystemClock);
        let opened = State::open(&self.state_folder(), clock.clone()).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let audit = Audit {
            job: self.job.clone(),
            target: Target::of(&self.job, &self.definition),
            remote: Arc::new(self.remote()),
            state: opened.state.clone(),
            clock,
            sink: Arc::new(move |event: Event| seen.lock().unwrap().push(event)),
            limit: None,
            backoff: Backoff { base: self.pause, limit: 5 * self.pause },
        };
        let (stored, commands) = (self.all_stored(), self.server.transcript().commands().len());
        let report = Box::pin(work(audit, self.stop.clone())).await;
        opened.state.close().unwrap();
        println!("{}\n{:#?}\n{report:#?}", self.server.transcript(), events.lock().unwrap());
        for command in self.server.transcript().commands().into_iter().skip(commands) {
            let verb = command.split(' ').next().unwrap();
            assert!(
                !["STOR", "APPE", "DELE", "MFMT", "RNFR", "RNTO", "MKD", "RMD", "SITE"].contains(&verb),
                "{command}"
            );
        }
        assert_eq!(self.all_stored(), stored, "the server's files were changed");
        report
    }

    /// Verifies the job's target.
    pub(super) async fn verify(&self, depth: Depth) -> AuditReport {
        self.audit(|audit, stop| async move { verify(audit, depth, stop).await.unwrap() }).await
    }

    /// Nothing is known of the server any more.
    pub(super) fn forget_server(&mut self) {
        self.profiles = Arc::new(Profiles::in_memory());
    }

    /// Adopts what is on the server.
    pub(super) async fn adopt(&self) -> AuditReport {
        self.audit(|audit, stop| async move { adopt(audit, stop).await.unwrap() }).await
    }

    /// Restores all, or some, of what was delivered.
    pub(super) async fn restore(&self, paths: &[&str], to: &Path, policy: PlacePolicy) -> AuditReport {
        let paths = paths.iter().map(|path| RelPath::new(*path).unwrap()).collect();
        self.audit(|audit, stop| async move {
            let folder = RestoreFolder::open(to, audit.state.agent()).unwrap();
            restore(audit, Restore { paths, folder, policy }, stop).await.unwrap()
        })
        .await
    }

    /// Where the job's state is.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.folders.path().join("state")
    }

    /// What must hold after every run: only temporary names are stored to and deleted, and what
    /// stands under another name came there by a rename from one, or was there before.
    pub(super) fn check_server(&self) {
        let transcript = self.server.transcript();
        // Where no file is replaced, the old version goes to a temporary name first.
        let displaces = self.profile().rename_over == Ability::No;
        let mut asked = std::collections::BTreeSet::new();
        for command in transcript.commands() {
            // Other sessions may have said something in between.
            asked.extend(command.strip_prefix("RNFR "));
            let onto_itself = command.strip_prefix("RNTO ").is_some_and(|name| asked.contains(name));
            let ours = command.contains(TEMPORARY);
            match command.split(' ').next().unwrap() {
                "DELE" if self.job.deletes.remote != RemoteDelete::Keep => {}
                "DELE" if Sidecar::ALL.iter().any(|sidecar| command.ends_with(sidecar.suffix())) => {}
                "STOR" | "MFMT" if self.job.publish == PublishWay::Direct => {}
                "STOR" | "DELE" | "MFMT" => assert!(ours, "{command}\n{transcript}"),
                // Onto itself: the end of a question.
                "RNTO" => assert!(!ours || onto_itself || displaces, "{command}\n{transcript}"),
                "APPE" | "CCC" | "RMD" | "SITE" => panic!("{command}\n{transcript}"),
                _ => {}
            }
        }
        self.check_restarts();
        let published: Vec<_> =
            transcript.commands().into_iter().filter_map(|line| line.strip_prefix("RNTO ")).collect();
        if self.definition.charset != Charset::UTF_8 || self.job.publish == PublishWay::Direct {
            // The transcript cannot be read as text, or nothing is renamed.
            return;
        }
        for path in self.all_stored().into_keys().filter(|path| !path.contains(TEMPORARY)) {
            let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
            assert!(
                published.contains(&path.as_str()) || name.starts_with("theirs"),
                "{path} was not renamed into place\n{transcript}"
            );
        }
    }

    /// An offset is for the upload that follows it at once, and for no other.
    fn check_restarts(&self) {
        let transcript = self.server.transcript();
        let mut sessions: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for line in transcript.lines().iter().filter(|line| line.direction == Direction::In) {
            sessions.entry(line.connection).or_default().push(&line.text);
        }
        for pair in sessions.values().flat_map(|commands| commands.windows(2)) {
            let upload = pair[1].starts_with("STOR ") && pair[1].contains(TEMPORARY);
            assert!(upload || !pair[0].starts_with("REST"), "{pair:?}\n{transcript}");
        }
    }

    /// Runs once more and expects that everything is delivered and nobody is called.
    pub(super) async fn expect_no_connection(&self, files: u64) {
        let before = self.server.counters();
        let report = self.run().await;
        assert_eq!(report.counts.unchanged + report.counts.confirmed, files, "{report:#?}");
        assert_eq!(self.server.counters(), before, "a run without changes called the server");
        assert_eq!(self.litter(), Vec::<String>::new());
    }
}

/// A clock that is so many days ahead.
#[derive(Debug)]
pub(super) struct Ahead(pub(super) i64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(SystemClock.now().unix_nanos() + self.0 * 86_400_000_000_000)
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

/// The cause of the only failed file, or of the run's end.
pub(super) fn cause(report: &RunReport) -> String {
    let failed = report.failed.first().map(|file| &file.failure);
    failed.or(report.stopped.as_ref()).map(ToString::to_string).unwrap_or_default()
}
