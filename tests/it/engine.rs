//! The engine against the test server: one run of one job, without the command line.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftps_server::{Action, Dialect, Fault, Server as TestServer};
use nightferry::clock::SystemClock;
use nightferry::delivery::{Delivery, run};
use nightferry::domain::{
    Backoff, Event, Job, Mode, Overwrite, ProofMethod, RemotePath, RunReport, SecretRef, Server, Target,
    TlsMode, TlsVersions, Trust, VerifyPolicy,
};
use nightferry::remote::{Deadlines, Profiles, Remote};
use nightferry::state::State;
use tokio_util::sync::CancellationToken;

/// A job from a fresh folder to a test server.
struct Bench {
    server: TestServer,
    folders: tempfile::TempDir,
    job: Job,
    definition: Server,
}

impl Bench {
    fn new(server: TestServer) -> Self {
        let folders = tempfile::tempdir().unwrap();
        let source = folders.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let definition = Server {
            name: "test".parse().unwrap(),
            host: "localhost".into(),
            port: server.port(),
            tls: TlsMode::Explicit,
            tls_versions: TlsVersions::default(),
            username: "user".into(),
            password: SecretRef::Env("unused".into()),
            trust: Trust { ca_file: Some(server.ca_file()), ..Trust::default() },
            client_certificate: None,
            connections: 2.try_into().unwrap(),
        };
        let job = Job {
            name: "job".parse().unwrap(),
            source,
            server: "test".parse().unwrap(),
            destination: RemotePath::new("/in").unwrap(),
            mode: Mode::Mirror,
            include: vec![],
            exclude: vec![],
            verify: VerifyPolicy::Auto,
            overwrite: Overwrite::Refuse,
        };
        Self { server, folders, job, definition }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.job.source.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn run(&self) -> RunReport {
        let clock = Arc::new(SystemClock);
        let opened = State::open(&self.folders.path().join("state"), clock.clone()).unwrap();
        let deadlines = Deadlines::default();
        let profiles = Arc::new(Profiles::in_memory());
        let remote = Remote::new(self.definition.clone(), "password".into(), deadlines, profiles).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let delivery = Delivery {
            job: self.job.clone(),
            target: Target::of(&self.job, &self.definition),
            remote: Arc::new(remote),
            state: opened.state.clone(),
            clock,
            sink: Arc::new(move |event: Event| seen.lock().unwrap().push(event)),
            backoff: Backoff { base: Duration::from_millis(1), limit: Duration::from_millis(5) },
        };
        let report = run(delivery, CancellationToken::new()).await.unwrap();
        opened.state.close().unwrap();
        for event in events.lock().unwrap().iter() {
            eprintln!("{event:?}");
        }
        report
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_arrives_proved_and_the_second_run_opens_no_connection() {
    let bench = Bench::new(TestServer::builder().start().unwrap());
    bench.write("a.txt", "hello");
    bench.write("sub dir/ü/b.txt", vec![7; 700_000]);
    bench.write("empty", "");
    let report = bench.run().await;
    eprintln!("{}", bench.server.transcript());
    assert_eq!(report.counts.delivered, 3, "{report:?}");
    assert_eq!(report.proofs.get(&ProofMethod::ServerHash), Some(&3));
    let at = |path: &str| std::fs::read(bench.server.root().join("in").join(path)).unwrap();
    assert_eq!(at("a.txt"), b"hello");
    assert_eq!(at("sub dir/ü/b.txt"), vec![7; 700_000]);
    assert_eq!(at("empty"), b"");
    let before = bench.server.counters();
    let report = bench.run().await;
    assert_eq!(report.counts.unchanged + report.counts.confirmed, 3, "{report:?}");
    assert_eq!(bench.server.counters(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proftpds_tickets_run_out_and_nothing_is_refused() {
    let server = TestServer::builder().dialect(Dialect::proftpd()).start().unwrap();
    let bench = Bench::new(server);
    for n in 0..20 {
        bench.write(&format!("{n}"), format!("{n}"));
    }
    let report = bench.run().await;
    eprintln!("{}", bench.server.transcript());
    assert_eq!(report.counts.delivered, 20, "{report:?}");
    assert_eq!(bench.server.transcript().count("425"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_file_is_never_published() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        let server = TestServer::builder()
            .dialect(dialect)
            .fault(Fault::on("STOR", Action::StoreHalf))
            .start()
            .unwrap();
        let bench = Bench::new(server);
        bench.write("a.txt", vec![7; 70_000]);
        let report = bench.run().await;
        eprintln!("{}", bench.server.transcript());
        assert_eq!((report.counts.delivered, report.counts.failed), (0, 1), "{report:?}");
        assert_eq!(files(&bench.server.root().join("in")), Vec::<String>::new());
    }
}

fn files(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
