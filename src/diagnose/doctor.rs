//! The walk through the layers, up to the login; `work` goes on from there.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::finding::{Check, Finding, Outcome};
use super::known::{HashGiven, Known, known};
use super::limits::Silence;
use super::remedy::{exit_of, help};
use crate::clock::Clock;
use crate::domain::{Exit, JobName, ProofMethod, RemotePath, Server, TlsVersion, Trust, VerifyPolicy};
use crate::ftps::{
    CertificateFacts, Distrust, Features, FtpsError, Milestone, Reply, SessionInfo, TlsError, Trouble,
    Version,
};
use crate::remote::{Connection, Remote};

/// Below this many days a certificate's end is worth a word: time enough to have it renewed.
const FEW_DAYS: i64 = 30;

/// How often a session is opened once more where the server is busy, and how long before: it may
/// not have noticed yet that the last one has ended.
const BUSY_ATTEMPTS: u32 = 20;
const BUSY_DELAY: Duration = Duration::from_millis(100);

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Where on the server files are tried, and what they are tried for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder; where it does not stand yet, the nearest one above it serves.
    pub folder: RemotePath,
    /// The job that it belongs to.
    pub job: Option<JobName>,
    /// Which proof the job wants.
    pub verify: VerifyPolicy,
    /// How long a session is left in silence to see whether the server bears it; not at all where
    /// it is zero.
    pub silence: Duration,
}

impl Place {
    /// How long a session is left in silence where nothing else is asked for: long enough for a
    /// limit that disturbs jobs (5 s were met), and short enough to wait for.
    pub const SILENCE: Duration = Duration::from_secs(10);
}

/// How a look at a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// The gravest class of failure.
    pub exit: Exit,
    /// What is known of the server now, from this look and earlier ones.
    pub known: Vec<Known>,
}

/// Looks at a server, layer by layer, and tells of each as it is known. What was stored is deleted
/// in the end, also after a failure or when `stop` is cancelled, as far as the server lets us; what
/// was learned goes into the server's profile. Not cancel safe: stop it by the token.
pub async fn examine(
    remote: &Remote,
    clock: &dyn Clock,
    place: &Place,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(Finding) + Send),
) -> Examination {
    let mut doctor = Doctor {
        remote,
        clock,
        place,
        tell,
        folder: place.folder.clone(),
        left: Check::in_order(remote.server().tls),
        exit: Exit::Done,
        connection: None,
        litter: Vec::new(),
        tally: Tally::default(),
        detour: None,
        proved: Vec::new(),
        hash_given: HashGiven::NotAsked,
        greeting: None,
        features: None,
        max: remote.server().tls_versions.max,
        second: None,
    };
    let mut silences = JoinSet::new();
    let walked = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Halt),
        walked = Box::pin(doctor.walk(&mut silences)) => walked,
    };
    Box::pin(doctor.clean()).await;
    // Who has something to mend need not wait.
    if walked.is_ok() {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = Box::pin(doctor.idle(&mut silences, place.silence)) => {}
        }
    }
    if stop.is_cancelled() {
        doctor.exit = doctor.exit.worst(Exit::Interrupted);
    }
    Box::pin(doctor.finish()).await
}

/// What goes on after a failure: nothing that depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halt;

/// How many data connections were opened on this control connection, and how many of them resumed
/// its TLS session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) opened: u32,
    pub(super) resumed: u32,
}

/// A walk under way.
pub(super) struct Doctor<'a> {
    pub(super) remote: &'a Remote,
    pub(super) clock: &'a dyn Clock,
    pub(super) place: &'a Place,
    tell: &'a mut (dyn FnMut(Finding) + Send),
    /// The folder in which files are tried.
    pub(super) folder: RemotePath,
    /// The checks of which nothing was told yet, in order.
    left: Vec<Check>,
    exit: Exit,
    pub(super) connection: Option<Connection>,
    /// Names under which something of ours may stand.
    pub(super) litter: Vec<RemotePath>,
    pub(super) tally: Tally,
    /// Which passive port could not be reached, where the other command's can.
    pub(super) detour: Option<String>,
    /// By what the upload was proved.
    pub(super) proved: Vec<ProofMethod>,
    pub(super) hash_given: HashGiven,
    pub(super) greeting: Option<Reply>,
    pub(super) features: Option<Features>,
    /// The newest TLS version whose sessions last, as far as is known.
    pub(super) max: TlsVersion,
    /// Why a second session could not be opened.
    pub(super) second: Option<FtpsError>,
}

impl Doctor<'_> {
    async fn walk(&mut self, silences: &mut JoinSet<Silence>) -> Result<(), Halt> {
        self.open().await?;
        self.leave_silent(silences, self.place.silence).await;
        self.work().await
    }

    pub(super) fn server(&self) -> &Server {
        self.remote.server()
    }

    /// Tells of a check, and before it of those that were left out.
    pub(super) fn tell(&mut self, finding: Finding) {
        if let Some(at) = self.left.iter().position(|check| *check == finding.check) {
            let mut passed: Vec<Check> = self.left.drain(..=at).collect();
            passed.pop();
            for check in passed {
                self.not_tried(check);
            }
        }
        if let Outcome::Failed(exit) = finding.outcome {
            self.exit = self.exit.worst(exit);
        }
        (self.tell)(finding);
    }

    fn not_tried(&mut self, check: Check) {
        (self.tell)(Finding {
            check,
            outcome: Outcome::NotTried,
            text: "not tried".to_owned(),
            help: None,
            certificate: None,
        });
    }

    /// Whether something was told of a check.
    pub(super) fn is_told(&self, check: Check) -> bool {
        !self.left.contains(&check)
    }

    pub(super) fn fine(&mut self, check: Check, text: impl Into<String>) {
        self.tell(Finding {
            check,
            outcome: Outcome::Fine,
            text: text.into(),
            help: None,
            certificate: None,
        });
    }

    pub(super) fn lacking(&mut self, check: Check, text: impl Into<String>, help: Option<String>) {
        let text = text.into();
        self.tell(Finding { check, outcome: Outcome::Lacking, text, help, certificate: None });
    }

    pub(super) fn failed(&mut self, check: Check, exit: Exit, text: String, help: Option<String>) {
        self.tell(Finding { check, outcome: Outcome::Failed(exit), text, help, certificate: None });
    }

    /// Tells of an error.
    pub(super) fn fail(&mut self, check: Check, error: &FtpsError) -> Halt {
        let data = self.connection.as_ref().and_then(Connection::last_data);
        let help = help(check, error, self.server(), data);
        self.failed(check, exit_of(error), error.to_string(), help);
        Halt
    }

    /// The session, if it can be used.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, FtpsError> {
        self.connection.as_mut().filter(|connection| connection.is_usable()).ok_or(FtpsError::Abandoned)
    }

    /// Says goodbye to the session that there is, and opens another in a version up to `max`.
    pub(super) async fn reopen(&mut self, max: TlsVersion) -> Result<(), FtpsError> {
        self.tally = Tally::default();
        if let Some(old) = self.connection.take() {
            old.quit().await;
        }
        let mut attempt = 1;
        loop {
            match self.remote.approach(max, &mut |_| {}).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) if attempt < BUSY_ATTEMPTS && error.trouble() == Trouble::Busy => {
                    attempt += 1;
                    sleep(BUSY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// From nothing to a session.
    async fn open(&mut self) -> Result<(), Halt> {
        let (remote, newest) = (self.remote, self.server().tls_versions.max);
        match remote.approach(newest, &mut |milestone| self.passed(milestone)).await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(FtpsError::Tls(TlsError::Certificate(distrust))) => Err(self.distrusted(*distrust)),
            Err(error) => {
                let next = self.left.first().copied().unwrap_or(Check::Login);
                let unreadable = matches!(error, FtpsError::Tls(TlsError::Unreadable { .. }));
                let check = if next == Check::Certificate && !unreadable { Check::Tls } else { next };
                Err(self.fail(check, &error))
            }
        }
    }

    /// The certificate is refused: what stands in it, what is wrong with it, and the lines that
    /// would change that.
    fn distrusted(&mut self, distrust: Distrust) -> Halt {
        self.tell(Finding {
            check: Check::Certificate,
            outcome: Outcome::Failed(Exit::Trust),
            text: format!(
                "not trusted: {} (the server's is: {})",
                distrust.reason(),
                self.described(&distrust.certificate)
            ),
            help: Some(distrust.remedy()),
            certificate: Some(Box::new(distrust.certificate)),
        });
        Halt
    }

    fn passed(&mut self, milestone: Milestone) {
        match milestone {
            Milestone::Resolved(addresses) => {
                let mut shown: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
                shown.dedup();
                self.fine(Check::Resolution, shown.join(", "));
            }
            Milestone::Connected(peer) => self.fine(Check::Tcp, format!("connected to {peer}")),
            Milestone::Greeted(reply) => {
                self.fine(Check::Greeting, reply.to_string());
                self.greeting = Some(reply);
            }
            Milestone::TlsAgreed(reply) => self.fine(Check::AuthTls, reply.to_string()),
            Milestone::Secured(info) => self.secured(&info),
            Milestone::LoggedIn(reply) => {
                let text = format!("as {}: {reply}", self.server().username);
                self.fine(Check::Login, text);
            }
            Milestone::Protected => self.fine(Check::Protection, "data connections are encrypted"),
        }
    }

    fn secured(&mut self, info: &SessionInfo) {
        let facts = info.certificate_facts();
        let trusted = trusted_by(&self.server().trust);
        let (text, help) = match &facts {
            None => (trusted, None),
            Some(facts) => {
                let days = self.days_left(facts);
                let soon = (days < FEW_DAYS).then(|| {
                    format!("it ends in {days} days: ask whoever runs the server when it will be renewed")
                });
                (format!("{}; {trusted}", self.described(facts)), soon)
            }
        };
        let certificate = facts.map(Box::new);
        self.tell(Finding { check: Check::Certificate, outcome: Outcome::Fine, text, help, certificate });
        let version = match info.version {
            Version::Tls12 => TlsVersion::V1_2,
            Version::Tls13 => TlsVersion::V1_3,
        };
        self.fine(Check::Tls, format!("{version}, {}, {}", info.cipher, info.group));
    }

    fn days_left(&self, facts: &CertificateFacts) -> i64 {
        let now = self.clock.now().to_utc().timestamp();
        facts.not_after.saturating_sub(now).div_euclid(DAY)
    }

    fn described(&self, facts: &CertificateFacts) -> String {
        let now = self.clock.now().to_utc().timestamp();
        // Whole days either way, so that one that has begun is not counted.
        let life = match facts.not_after.saturating_sub(now) {
            seconds @ 0.. => format!("{} days left", seconds / DAY),
            seconds => format!("ended {} days ago", (seconds / DAY).unsigned_abs()),
        };
        format!("{} ({life}); key {}", facts.described(), facts.pin())
    }

    /// Closes what is open, tells what was not tried, and gives the gravest failure.
    async fn finish(mut self) -> Examination {
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
        for check in std::mem::take(&mut self.left) {
            self.not_tried(check);
        }
        let (profile, features) = (self.remote.profile(), self.features.as_ref());
        let known = known(&profile, features, self.hash_given, self.server());
        Examination { exit: self.exit, known }
    }
}

/// By what a certificate was found good.
fn trusted_by(trust: &Trust) -> String {
    let mut by = match (&trust.ca_file, trust.pins.is_empty()) {
        (None, true) => "trusted by the system's authorities".to_owned(),
        (None, false) => "trusted by its pinned key alone".to_owned(),
        (Some(file), true) => format!("trusted by {}", file.display()),
        (Some(file), false) => format!("trusted by {} and its pinned key", file.display()),
    };
    if !trust.crl_files.is_empty() && (trust.ca_file.is_some() || trust.pins.is_empty()) {
        by.push_str(", and not revoked");
    }
    by
}
