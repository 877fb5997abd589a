//! The walk through a server's layers: what fails is named where it fails, with its class and a
//! remedy, what depends on it is not tried, and nothing is left behind.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ftps_server::{Action, Dialect, Fault, Identity, Mode, Pki, Server, TlsVersions};
use nightferry::clock::SystemClock;
use nightferry::diagnose::{Check, Examination, Finding, Known, Outcome, Place, SignedBy, examine, look};
use nightferry::domain::{Digest, Exit, RemotePath, TlsMode, VerifyPolicy};
use nightferry::remote::{Ability, PassiveCommand, Profile};
use tokio_util::sync::CancellationToken;

use super::bench::Bench;

/// What was found, in order, and how it ended.
pub(super) struct Walk {
    findings: Vec<Finding>,
    pub(super) exit: Exit,
    pub(super) known: Vec<Known>,
    pub(super) profile: Profile,
}

impl Walk {
    pub(super) fn of(&self, check: Check) -> &Finding {
        self.findings.iter().find(|finding| finding.check == check).unwrap()
    }

    /// The checks with this mark.
    pub(super) fn failed(&self) -> Vec<(Check, Exit)> {
        let failed = self.findings.iter().filter_map(|finding| match finding.outcome {
            Outcome::Failed(exit) => Some((finding.check, exit)),
            _ => None,
        });
        failed.collect()
    }
}

pub(super) async fn walk_until(
    bench: &Bench,
    silence: Duration,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(&Finding) + Send),
) -> Walk {
    let place = Place {
        folder: RemotePath::new("/in").unwrap(),
        job: Some(bench.job.name.clone()),
        verify: bench.job.verify,
        silence,
    };
    let mut findings = Vec::new();
    let mut take = |finding: Finding| {
        tell(&finding);
        findings.push(finding);
    };
    let remote = bench.remote();
    let Examination { exit, known } = Box::pin(examine(&remote, &SystemClock, &place, stop, &mut take)).await;
    println!("{}\n{findings:#?}", bench.server.transcript());
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, Check::in_order(bench.definition.tls), "each check is told once, in order");
    Walk { findings, exit, known, profile: remote.profile() }
}

pub(super) async fn walk(bench: &Bench) -> Walk {
    let walk = walk_until(bench, Duration::ZERO, &CancellationToken::new(), &mut |_| {}).await;
    assert_eq!(bench.litter(), Vec::<String>::new());
    walk
}

/// One check fails, with this class, these words and a remedy; the login's name is not sent where
/// the server is not trusted.
async fn check_fails(bench: &Bench, check: Check, exit: Exit, words: &str, remedy: &str) -> Walk {
    let walk = walk(bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![(check, exit)], exit));
    let finding = walk.of(check);
    assert!(finding.text.contains(words), "{words:?} in {}", finding.text);
    let help = finding.help.as_deref().unwrap_or_default();
    assert!(help.contains(remedy), "{remedy:?} in {help}");
    // What a server takes for a command when TLS begins too early is no command of ours, and PROT
    // comes after the login.
    if exit == Exit::Trust && !matches!(check, Check::Tls | Check::Protection) {
        let transcript = bench.server.transcript();
        assert!(transcript.commands().iter().all(|line| line.starts_with("AUTH")), "{transcript}");
    }
    walk
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_servers_of_every_kind_are_fine() {
    for dialect in
        [Dialect::full(), Dialect::proftpd(), Dialect::vsftpd(), Dialect::pure_ftpd(), Dialect::no_epsv()]
    {
        let mut bench = Bench::new(dialect.clone(), []);
        // A session that is not closed before the next is opened would wait for ever.
        bench.definition.connections = 1.try_into().unwrap();
        let walk = walk(&bench).await;
        assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done), "{dialect:?}");
        let tried = |finding: &&Finding| finding.outcome != Outcome::NotTried;
        // Silence was not asked for.
        assert_eq!(walk.findings.iter().filter(tried).count(), walk.findings.len() - 1);
        assert_eq!(bench.all_stored().len(), 0, "{dialect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_reuse_is_counted_and_the_version_that_lasts_is_named() {
    for (dialect, versions, words) in [
        (Dialect::full(), TlsVersions::Only12, "6 of 6 data connections resumed the session, in TLS 1.2"),
        (Dialect::vsftpd(), TlsVersions::Both, "6 of 6 data connections resumed the session, in TLS 1.3"),
        (Dialect::pure_ftpd(), TlsVersions::Only13, "none of 6 data connections resumed"),
        (
            Dialect::proftpd(),
            TlsVersions::Both,
            "TLS 1.3 ran out of sessions after 2 data connections; 6 of 6",
        ),
        (Dialect::proftpd(), TlsVersions::Only13, "the server does not speak TLS 1.2"),
    ] {
        let bench = Bench::with(Server::builder().dialect(dialect).tls_versions(versions));
        let walk = walk(&bench).await;
        let reuse = walk.of(Check::Reuse);
        assert!(reuse.text.contains(words), "{words:?} in {}", reuse.text);
        assert_eq!(walk.exit, Exit::Done);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_shown() {
    let pki = Arc::new(Pki::new());
    let rows: [(Identity, &str, &str); 4] = [
        (Pki::named("Somebody").server(), "issued by CN=Somebody, which is not among", "ca_file: FILE.pem"),
        (pki.expired(), "ended on 2001-01-01", "if our clock is right"),
        (pki.wrong_host(), "is for `elsewhere.example`", "host: elsewhere.example"),
        (Pki::self_signed(), "is self-signed", "trust: {pins: [\"sha256:"),
    ];
    for (identity, words, remedy) in rows {
        let bench = Bench::with(Server::builder().pki(Arc::clone(&pki)).identity(identity.clone()));
        let walk = check_fails(&bench, Check::Certificate, Exit::Trust, words, remedy).await;
        let shown = walk.of(Check::Certificate).certificate.as_deref().unwrap();
        assert_eq!(Digest::from_bytes(shown.public_key), super::trust::pin(&identity).0);
        // It was not asked for twice: another one might have come.
        assert_eq!(bench.server.counters().control_connections, 1);
        assert_eq!(walk.of(Check::Login).outcome, Outcome::NotTried);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_lacks_is_no_failure_and_what_it_refuses_is() {
    let bench = Bench::new(Dialect::vsftpd(), []);
    let lacking = walk(&bench).await;
    assert_eq!(lacking.of(Check::ServerHash).outcome, Outcome::Lacking);
    assert_eq!(lacking.of(Check::ReadBack).outcome, Outcome::Fine);

    let bench = Bench::new(Dialect::full(), [Fault::on("RNTO", Action::RefuseReplace)]);
    let keeps = walk(&bench).await;
    assert_eq!(keeps.failed(), vec![]);
    assert_eq!(keeps.of(Check::RenameOver).outcome, Outcome::Lacking);
    assert!(keeps.of(Check::RenameOver).text.contains("550"));
    assert_eq!(bench.profile().rename_over, Ability::No);
    let bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::Reply("553 no".into()))]);
    let walk = check_fails(&bench, Check::Upload, Exit::Refused, "553", "write in this folder").await;
    let help = walk.of(Check::Upload).help.as_deref().unwrap();
    assert!(help.contains("begin with a dot"), "{help}");
    let bench = Bench::new(Dialect::full(), [Fault::on("PROT", Action::Reply("534 no".into()))]);
    check_fails(&bench, Check::Protection, Exit::Trust, "534", "in clear").await;
    let mut bench = Bench::new(Dialect::full(), []);
    bench.password = "another";
    let walk = check_fails(&bench, Check::Login, Exit::Refused, "530", "lock accounts").await;
    assert_eq!(walk.of(Check::Upload).outcome, Outcome::NotTried);
}

/// A drop box of a server whose TLS sessions serve once (vsftpd): each refused listing has used one up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_listings_that_use_up_the_sessions_are_no_fault_of_the_ports() {
    let late = |verb| Fault::on(verb, Action::Delay(Duration::from_millis(100)));
    let unknown = Dialect::full().forbid("MLSD", "500 Unknown command").control_tickets(1);
    for dialect in [Dialect::vsftpd().write_only(), unknown.write_only()] {
        let server = Server::builder().dialect(dialect).tls_versions(TlsVersions::Only13);
        let mut bench = Bench::with(server.faults([late("MLSD"), late("LIST"), late("NLST")]));
        bench.job.verify = VerifyPolicy::Size;
        let walk = walk(&bench).await;
        assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
        assert_eq!(walk.of(Check::Data).outcome, Outcome::Fine);
        let listing = walk.of(Check::Listing);
        assert_eq!(listing.outcome, Outcome::Lacking);
        assert!(listing.text.contains("was refused: 550"), "{}", listing.text);
    }
}

/// The remedy is one that helps on this server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_is_not_given_names_what_the_server_gives() {
    let denied = "550 Permission denied.";
    let full = Dialect::full;
    let blind = || full().write_only().forbid("SIZE", denied);
    let deaf = || full().forbid("HASH", denied).forbid("XSHA256", denied);
    for (dialect, verify, check, remedy) in [
        (full().write_only(), VerifyPolicy::Auto, Check::ReadBack, "`verify: size` is what is left"),
        (full().write_only(), VerifyPolicy::ReadBack, Check::ReadBack, "`verify: size` is what is left"),
        (full().forbid("RETR", denied), VerifyPolicy::ReadBack, Check::ReadBack, "`verify: auto` proves by"),
        (blind(), VerifyPolicy::Auto, Check::ReadBack, "ask whoever runs it to allow this account SIZE"),
        (blind(), VerifyPolicy::Size, Check::Size, "ask whoever runs it to allow this account SIZE"),
        (full().forbid("SIZE", denied), VerifyPolicy::Size, Check::Size, "`verify: auto` proves by"),
        (deaf().forbid("SIZE", denied), VerifyPolicy::Size, Check::Size, "`verify: auto` reads files back"),
        (deaf(), VerifyPolicy::Hash, Check::ServerHash, "`verify: auto` reads files back"),
        (Dialect::vsftpd(), VerifyPolicy::Hash, Check::ServerHash, "`verify: auto` reads files back"),
    ] {
        let mut bench = Bench::new(dialect, []);
        bench.job.verify = verify;
        let walk = walk(&bench).await;
        assert_eq!(walk.failed(), [(check, Exit::Refused)], "{verify:?}");
        let help = walk.of(check).help.as_deref().unwrap();
        assert!(help.contains(remedy), "{remedy:?} in {help}");
        assert!(verify != VerifyPolicy::Size || !help.contains("is what is left"), "{help}");
    }
}

/// `ProFTPD` without `AllowOverwrite on`, which is how it comes: jobs store over nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stores_over_no_file_is_fine() {
    for (dialect, versions) in
        [(Dialect::vsftpd(), TlsVersions::Only13), (Dialect::proftpd(), TlsVersions::Both)]
    {
        let server = Server::builder().dialect(dialect).tls_versions(versions);
        let bench = Bench::with(server.fault(Fault::on("STOR", Action::RefuseReplace)));
        let walk = walk(&bench).await;
        assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
        let reuse = walk.of(Check::Reuse);
        assert!(reuse.text.contains("6 of 6 data connections resumed"), "{}", reuse.text);
    }
}

/// A hash that is listed and then refused is none, for jobs as for people.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_that_is_listed_and_refused_is_not_counted_on() {
    let bench = Bench::new(Dialect::full().forbid("HASH", "552 Not permitted"), []);
    let refused = walk(&bench).await;
    let row = |walk: &Walk| walk.known.iter().find(|row| row.title == "server hash").unwrap().text.clone();
    assert_eq!((refused.exit, row(&refused)), (Exit::Done, "HASH, but refused; jobs read files back".into()));
    let bench = Bench::new(Dialect::full(), []);
    assert_eq!(row(&walk(&bench).await), "HASH; jobs prove files by it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_days_since_a_certificate_ended_are_whole_ones_everywhere() {
    let pki = Arc::new(Pki::new());
    let bench = Bench::with(Server::builder().pki(Arc::clone(&pki)).identity(pki.expired()));
    let walk = walk(&bench).await;
    let text = &walk.of(Check::Certificate).text;
    let days: Vec<&str> = text.split(" days ago").filter_map(|part| part.split(' ').next_back()).collect();
    assert_eq!((days.len(), days[0]), (3, days[1]), "{text}");
}

/// A NAT or a firewall that knows one of the two commands only: jobs get through, and are told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_only_pasv_names_well_are_lacking_but_no_failure() {
    let bench = Bench::new(Dialect::full(), [Fault::on("EPSV", Action::ClosePort).from(1)]).impatient();
    let walk = walk(&bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
    let finding = walk.of(Check::Data);
    assert_eq!(finding.outcome, Outcome::Lacking);
    assert!(finding.text.contains("EPSV named could not be reached; PASV named"), "{}", finding.text);
    assert_eq!(walk.profile.passive, PassiveCommand::Pasv);
    assert_eq!(walk.of(Check::Upload).outcome, Outcome::Fine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lies_is_found_out() {
    for action in [Action::WrongHash, Action::Reply("502 no".into())] {
        let lies = action == Action::WrongHash;
        let bench = Bench::new(Dialect::full(), [Fault::on("HASH", action)]);
        let walk = walk(&bench).await;
        let expected = if lies { vec![(Check::ServerHash, Exit::Verification)] } else { vec![] };
        assert_eq!(walk.failed(), expected);
    }
    let bench = Bench::new(Dialect::vsftpd(), [Fault::on("STOR", Action::StoreHalf)]);
    let walk = walk(&bench).await;
    assert_eq!(walk.exit, Exit::Verification);
    assert!(walk.failed().contains(&(Check::ReadBack, Exit::Verification)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_passive_ports_name_port_and_firewall() {
    // Nobody listens there: it was free a moment ago.
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let blocked = |verb: &str| Fault::on(verb, Action::AdvertisePort(closed));
    let bench = Bench::new(Dialect::full(), [blocked("EPSV"), blocked("PASV").from(2)]).impatient();
    let walk = walk(&bench).await;
    assert_eq!((walk.failed(), walk.exit), (vec![(Check::Data, Exit::Temporary)], Exit::Temporary));
    let help = walk.of(Check::Data).help.clone().unwrap();
    assert!(help.contains(&format!("port {closed}")) && help.contains("PassivePorts"), "{help}");
    assert_eq!(walk.of(Check::Upload).outcome, Outcome::NotTried);
}

/// A port that takes connections and shows another certificate is no firewall's doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_on_the_data_port_is_told_from_a_firewall() {
    let server = Server::builder().other_identity(Pki::self_signed());
    let bench = Bench::with(server.fault(Fault::on("STOR", Action::OtherCertificate)));
    let walk = walk(&bench).await;
    assert_eq!(walk.exit, Exit::Trust);
    let (check, exit) = walk.failed()[0];
    assert_eq!(exit, Exit::Trust);
    let finding = walk.of(check);
    assert!(finding.text.contains("self-signed"), "{}", finding.text);
    let help = finding.help.as_deref().unwrap_or_default();
    assert!(!help.contains("PassivePorts"), "{help}");
    assert_eq!(bench.server.counters().bytes_received, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_the_session_breaks_midway_or_the_walk_is_stopped() {
    for (verb, nth) in [
        ("PASV", 1),
        ("SIZE", 1),
        ("MFMT", 1),
        ("RNTO", 1),
        ("STOR", 8),
        ("STOR", 9),
        ("REST", 1),
        ("STOR", 11),
    ] {
        let fault = Fault::on(verb, Action::DropControl(ftps_server::Moment::Unanswered)).nth(nth);
        let bench = Bench::new(Dialect::full(), [fault]);
        let walk = walk(&bench).await;
        // What jobs can do without is no failure.
        let exit = if matches!(verb, "PASV" | "REST") || nth > 1 { Exit::Done } else { Exit::Temporary };
        assert_eq!(walk.exit, exit, "{verb} {nth}");
        assert_eq!(walk.of(Check::Delete).outcome, Outcome::Fine, "{verb} {nth}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_the_walk_is_stopped_at_any_check() {
    for last in Check::in_order(TlsMode::Explicit) {
        let bench = Bench::new(Dialect::full(), []);
        let stop = CancellationToken::new();
        let walk = walk_until(&bench, Duration::from_millis(50), &stop, &mut |finding| {
            if finding.check == last {
                stop.cancel();
            }
        })
        .await;
        assert_eq!(walk.exit, Exit::Interrupted, "{last:?}");
        if last == Check::Upload {
            assert_eq!(walk.of(Check::Rename).outcome, Outcome::NotTried);
        }
        assert_eq!(bench.all_stored().len(), 0, "{last:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_deleted_is_named() {
    let bench = Bench::new(Dialect::full(), [Fault::on("DELE", Action::Reply("550 no".into()))]);
    let walk = walk_until(&bench, Duration::ZERO, &CancellationToken::new(), &mut |_| {}).await;
    assert_eq!((walk.failed(), walk.exit), (vec![(Check::Delete, Exit::Refused)], Exit::Refused));
    let text = &walk.of(Check::Delete).text;
    let left = bench.litter();
    assert!(!left.is_empty() && left.iter().all(|name| text.contains(name)), "{left:?} in {text}");
}

/// A port on which somebody says `greeting`, to everybody who calls during the test.
fn somebody(greeting: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(greeting.as_bytes()).unwrap();
        let mut heard = Vec::new();
        let _hung_up = stream.read_to_end(&mut heard).is_err();
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_services_and_the_wrong_start_of_tls_are_told() {
    let mut bench = Bench::new(Dialect::full(), []).impatient();
    bench.definition.port = somebody("SSH-2.0-OpenSSH_9.2\r\n");
    let ssh = walk(&bench).await;
    assert_eq!(ssh.failed(), [(Check::Greeting, Exit::Trust)]);
    assert!(ssh.of(Check::Greeting).text.contains("SFTP"));

    bench.definition.port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    check_fails(&bench, Check::Tcp, Exit::Temporary, "cannot connect", "nothing listens").await;
    bench.definition.host = "no-such-host.invalid".into();
    let walk = check_fails(&bench, Check::Resolution, Exit::Temporary, "address", "getent hosts").await;
    assert_eq!(walk.of(Check::Tcp).outcome, Outcome::NotTried);

    let bench = Bench::new(Dialect::full(), [Fault::on("AUTH", Action::Reply("502 no".into()))]);
    check_fails(&bench, Check::AuthTls, Exit::Trust, "502", "tls: implicit").await;
    let mut bench = Bench::new(Dialect::full(), []).impatient();
    bench.definition.tls = TlsMode::Implicit;
    check_fails(&bench, Check::Tls, Exit::Trust, "not TLS", "tls: explicit").await;
    let bench = Bench::with(Server::builder().mode(Mode::Implicit)).impatient();
    check_fails(&bench, Check::Greeting, Exit::Trust, "give `tls: implicit`", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_any_certificate_and_sends_no_name() {
    for mode in [Mode::Explicit, Mode::Implicit] {
        let mut bench = Bench::with(Server::builder().mode(mode).identity(Pki::self_signed()));
        bench.definition.tls = if mode == Mode::Explicit { TlsMode::Explicit } else { TlsMode::Implicit };
        let seen = look(&bench.definition, bench.deadlines).await.unwrap();
        assert_eq!(seen.certificate.signed_by, SignedBy::Itself);
        assert_eq!(seen.certificate.names, ["localhost", "127.0.0.1", "::1"]);
        let transcript = bench.server.transcript();
        assert!(transcript.commands().iter().all(|line| line.starts_with("AUTH")), "{transcript}");
        // The pin that it shows is the one that is trusted.
        let pin = Digest::from_bytes(seen.certificate.public_key);
        bench.definition.trust.ca_file = None;
        bench.definition.trust.pins = vec![nightferry::domain::SpkiPin(pin)];
        assert_eq!(walk(&bench).await.exit, Exit::Done);
    }
}
