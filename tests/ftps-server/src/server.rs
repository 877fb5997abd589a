//! The server as a test sees it: built, running, stopped.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{CipherSuite, NamedGroup};
use tempfile::TempDir;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::control::IDLE;
use crate::dialect::Dialect;
use crate::event::Event;
use crate::faults::{Fault, Faults};
use crate::pki::{Identity, Pki};
use crate::session::{Session, Welcome};
use crate::shared::{Claims, Hook, Limits, Shared};
use crate::tls::{ClientCertificates, Tls, TlsManner, TlsVersions};
use crate::transcript::{Counters, Recorder, Tally, Transcript};
use crate::tree::{NameRules, Tree};

/// The most control connections at a time; one more waits until another ends.
const SESSIONS: usize = 64;
/// How long accepting rests after an error, such as too many open files.
const BREATH: Duration = Duration::from_millis(20);
/// How long sessions in a blocking call may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// After `AUTH TLS`.
    Explicit,
    /// At once.
    Implicit,
}

/// Why a server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A folder, a file or the listening socket could not be had.
    #[error("the test server did not get its folder, a thread or its port")]
    Io(#[from] io::Error),
    /// The certificates and versions do not make a TLS configuration.
    #[error("the test server's TLS configuration is not valid")]
    Tls(#[from] rustls::Error),
}

/// How a server is to be.
pub struct Builder {
    root: Option<PathBuf>,
    address: SocketAddr,
    user: String,
    password: String,
    mode: Mode,
    manner: TlsManner,
    dialect: Dialect,
    faults: Vec<Fault>,
    pki: Arc<Pki>,
    identity: Option<Identity>,
    other: Option<Identity>,
    hook: Option<Hook>,
    limits: Limits,
}

/// A running server, which stops when it is dropped. Fit for async tests and plain threads alike: it
/// runs on a thread and a runtime of its own.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    pki: Arc<Pki>,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server on 127.0.0.1 and a free port, with a folder of its own, explicit TLS 1.2 and 1.3, the
    /// user `user` with the password `password`, the full dialect, and no faults.
    pub fn builder() -> Builder {
        Builder {
            root: None,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            user: "user".to_owned(),
            password: "password".to_owned(),
            mode: Mode::Explicit,
            manner: TlsManner::default(),
            dialect: Dialect::full(),
            faults: Vec::new(),
            pki: Arc::new(Pki::new()),
            identity: None,
            other: None,
            hook: None,
            limits: Limits { sessions: usize::MAX, silence: IDLE },
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The authority that signed its certificate, in PEM.
    pub fn ca_pem(&self) -> String {
        self.pki.ca_pem()
    }

    /// A file with [`Server::ca_pem`], which lives as long as the server.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The authority itself, to sign more, or to hand to the next server.
    pub fn pki(&self) -> Arc<Pki> {
        Arc::clone(&self.pki)
    }

    /// The folder that it serves.
    pub fn root(&self) -> &Path {
        self.shared.tree.root()
    }

    /// Every line that has crossed the control connections.
    pub fn transcript(&self) -> Transcript {
        self.shared.recorder.transcript()
    }

    /// How often things have happened.
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    /// Adds a fault from now on.
    pub fn arm(&self, fault: Fault) {
        self.shared.faults.arm(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed by its own thread, and a second one here would abort.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Builder {
    /// Serves this folder, which must exist.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Listens here; port 0 means any free one.
    #[must_use]
    pub fn listen(mut self, address: impl Into<IpAddr>, port: u16) -> Self {
        self.address = (address.into(), port).into();
        self
    }

    /// The one user who may log in.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        name.clone_into(&mut self.user);
        password.clone_into(&mut self.password);
        self
    }

    /// When TLS begins.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Which versions of TLS it speaks.
    #[must_use]
    pub fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.manner.versions = versions;
        self
    }

    /// Whether clients must show a certificate, on both kinds of connections.
    #[must_use]
    pub fn client_certificates(mut self, clients: ClientCertificates) -> Self {
        self.manner.clients = clients;
        self
    }

    /// Which cipher suites it takes.
    #[must_use]
    pub fn cipher_suites(mut self, suites: &[CipherSuite]) -> Self {
        self.manner.suites = Some(suites.to_vec());
        self
    }

    /// Which groups it takes for the exchange of keys.
    #[must_use]
    pub fn groups(mut self, groups: &[NamedGroup]) -> Self {
        self.manner.groups = Some(groups.to_vec());
        self
    }

    /// Which application protocol its TLS is for (ALPN); `ftp` where nothing is said.
    #[must_use]
    pub fn protocol(mut self, name: &str) -> Self {
        self.manner.protocols = vec![name.as_bytes().to_vec()];
        self
    }

    /// Whom it plays.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds faults.
    #[must_use]
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// Takes an authority that exists already, so that a server can come back as the same.
    #[must_use]
    pub fn pki(mut self, pki: Arc<Pki>) -> Self {
        self.pki = pki;
        self
    }

    /// Shows this certificate instead of a good one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Greets no more clients at a time than this: one more is told 421 and sent away.
    #[must_use]
    pub fn most_sessions(mut self, sessions: usize) -> Self {
        self.limits.sessions = sessions;
        self
    }

    /// Sends clients away with 421 that are silent for so long.
    #[must_use]
    pub fn silence(mut self, limit: Duration) -> Self {
        self.limits.silence = limit;
        self
    }

    /// Shows this certificate where a fault wants another on a data connection.
    #[must_use]
    pub fn other_identity(mut self, identity: Identity) -> Self {
        self.other = Some(identity);
        self
    }

    /// Calls this at each command that comes, and after each completed upload and rename, before the
    /// reply is sent; other sessions wait for it.
    #[must_use]
    pub fn on_event(mut self, hook: impl FnMut(&Event) + Send + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Starts it; it listens when this returns.
    pub fn start(self) -> Result<Server, StartError> {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("ca.pem"), self.pki.ca_pem())?;
        let own_root = folder.path().join("root");
        fs::create_dir(&own_root)?;
        let root = self.root.unwrap_or(own_root);
        let identity = self.identity.unwrap_or_else(|| self.pki.server());
        let other = self.other.unwrap_or_else(|| self.pki.server());
        let tls = Tls::new(&identity, &other, &self.manner, &self.dialect)?;
        let shared = Arc::new(Shared {
            tree: Tree::new(&root, NameRules::of(&self.dialect))?,
            user: self.user,
            password: self.password,
            mode: self.mode,
            dialect: self.dialect,
            tls,
            faults: Faults::new(self.faults),
            recorder: Recorder::new(),
            tally: Tally::default(),
            claims: Claims::default(),
            hook: Mutex::new(self.hook),
            limits: self.limits,
        });
        let listener = std::net::TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = run_on_thread(listener, Arc::clone(&shared), stopped)?;
        Ok(Server { shared, address, pki: self.pki, folder, stop: Some(stop), thread: Some(thread) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

fn run_on_thread(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    std::thread::Builder::new().name("ftps-server".to_owned()).spawn(move || {
        runtime.block_on(async {
            if let Ok(listener) = TcpListener::from_std(listener) {
                tokio::select! {
                    () = accept(&listener, &shared) => {}
                    _ = stopped => {}
                }
            }
        });
        runtime.shutdown_timeout(GRACE);
    })
}

/// Serves connections until it is dropped, and they with it.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let mut connection = 0;
    loop {
        while sessions.len() >= SESSIONS {
            sessions.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            sleep(BREATH).await;
            continue;
        };
        while sessions.try_join_next().is_some() {}
        connection += 1;
        let full = sessions.len() >= shared.limits.sessions;
        let welcome = if full { Welcome::Full } else { Welcome::Open };
        sessions.spawn(Session::run(Arc::clone(shared), connection, stream, welcome));
    }
}
