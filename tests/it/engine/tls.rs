//! TLS as it is agreed upon: certificates of our own, policies, names and protocols, lists of revoked
//! certificates, keys that change.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use ftps_server::{
    Action, ClientCertificates, Cut, Dialect, Fault, Identity, Mode, Moment, Pki, Server, TlsVersions,
};
use nightferry::domain::{ClientCertificate, Digest, Exit, SpkiPin, TlsMode, TlsPolicy};
use nightferry::remote::Ability;
use nightferry::remote::{FtpsError, Profiles, Remote, Trouble};
use rustls::{CipherSuite, NamedGroup};
use tempfile::TempDir;

use super::bench::{Bench, cause};
use super::trust::pin;

/// A certificate of our own, as the configuration names it.
fn own(folder: &TempDir, identity: &Identity) -> ClientCertificate {
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    ClientCertificate {
        cert_file: file("me.pem", identity.certificate_pem()),
        key_file: file("me.key", &identity.key_pem()),
    }
}

/// Nothing but `AUTH TLS` has reached the server, on one connection.
fn assert_nothing_told(bench: &Bench) {
    let (transcript, counters) = (bench.server.transcript(), bench.server.counters());
    let told: Vec<_> = transcript.commands().into_iter().filter(|line| !line.starts_with("AUTH")).collect();
    assert_eq!((told, counters.bytes_received), (vec![], 0), "{transcript}");
    assert_eq!(counters.control_connections, 1, "tried again in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_our_own_is_shown_where_it_is_wanted() {
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        for mode in [Mode::Explicit, Mode::Implicit] {
            let (pki, folder) = (Arc::new(Pki::new()), tempfile::tempdir().unwrap());
            let rows = [
                (Some(pki.client("me")), None),
                (None, Some("the server wants a certificate from us")),
                (Some(Pki::named("Strangers").client("me")), Some("does not take our certificate")),
            ];
            for (identity, refusal) in rows {
                let server = Server::builder().pki(Arc::clone(&pki)).tls_versions(versions).mode(mode);
                let server = server.client_certificates(ClientCertificates::Required(pki.ca_der()));
                let mut bench = Bench::with(server);
                bench.definition.client_certificate = identity.map(|identity| own(&folder, &identity));
                bench.definition.tls =
                    if mode == Mode::Explicit { TlsMode::Explicit } else { TlsMode::Implicit };
                bench.write("a.txt", vec![7; 100_000]);
                let report = bench.run().await;
                let row = format!("{versions:?} {mode:?}: {}", cause(&report));
                println!("{row}");
                let Some(refusal) = refusal else {
                    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{row}");
                    continue;
                };
                assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust), "{row}");
                assert!(row.contains(refusal) && row.contains("client_certificate"), "{row}");
                assert_eq!(bench.server.counters().logins, 0);
                // rustls's server drops what came before it had judged.
                assert_nothing_told(&bench);
            }
        }
    }
}

/// Passes a connection on until the server has said something after the handshake, and then resets
/// it towards the client: the alert is lost.
fn alert_swallower(to: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ended = std::io::copy(&mut from, &mut server).is_err();
                drop(server.shutdown(Shutdown::Write));
            });
            let mut chunk = [0; 16_384];
            // The server's flight of a handshake of TLS 1.3 is one write of rustls's.
            let count = back.read(&mut chunk).unwrap();
            client.write_all(&chunk[..count]).unwrap();
            // What comes next is the alert.
            let _alert = back.read(&mut chunk).is_err();
            drop(client.shutdown(Shutdown::Both));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_a_certificate_and_hangs_up_without_a_word_is_told() {
    let pki = Arc::new(Pki::new());
    let server =
        Server::builder().pki(Arc::clone(&pki)).tls_versions(TlsVersions::Only13).mode(Mode::Implicit);
    let server = server.client_certificates(ClientCertificates::Required(pki.ca_der()));
    let mut bench = Bench::with(server);
    bench.definition.tls = TlsMode::Implicit;
    bench.definition.port = alert_swallower(bench.server.port());
    let error = bench.remote().connect().await.unwrap_err();
    // It may have had another reason.
    assert_eq!(error.trouble(), Trouble::Passing, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("asked for a certificate from us and hung up"), "{text}");
    assert!(text.contains("`client_certificate: {cert_file"), "{text}");
}

/// vsftpd asks everybody for a certificate, and needs none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asked_for_a_certificate_and_is_stopped_at_the_login_is_tried_again() {
    let pki = Arc::new(Pki::new());
    let lost = [
        Fault::on("USER", Action::CutControl(Moment::Before, Cut::Fin)).once(),
        Fault::on("USER", Action::CutControl(Moment::Before, Cut::Reset)).nth(2),
    ];
    let server = Server::builder().pki(Arc::clone(&pki)).faults(lost);
    let bench = Bench::with(server.client_certificates(ClientCertificates::Asked(pki.ca_der())));
    bench.write("a.txt", b"a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
}

fn settings_error(bench: &Bench) -> String {
    let profiles = Arc::new(Profiles::in_memory());
    let error = Remote::new(bench.definition.clone(), "p".into(), bench.deadlines, profiles).unwrap_err();
    std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_told_by_name_before_anything_is_sent() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(Dialect::full(), []);
    let own = own(&folder, &pki.client("me"));
    bench.definition.client_certificate = Some(own.clone());
    fs::set_permissions(&own.key_file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = settings_error(&bench);
    assert!(error.contains("me.key is open to other users (mode 0640): chmod 600"), "{error}");
    fs::set_permissions(&own.key_file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&own.key_file, pki.client("other").key_pem()).unwrap();
    assert!(settings_error(&bench).contains("cannot be used with its key"), "{}", settings_error(&bench));
    fs::write(
        &own.key_file,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(settings_error(&bench).contains("not encrypted"), "{}", settings_error(&bench));
    bench.definition.client_certificate = None;
    for (text, words) in [
        ("", "no list of revoked certificates"),
        ("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "in list.pem cannot be used"),
    ] {
        let file = folder.path().join("list.pem");
        fs::write(&file, text).unwrap();
        bench.definition.trust.crl_files = vec![file];
        let error = settings_error(&bench).replace(&format!("{}/", folder.path().display()), "");
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(bench.server.counters().control_connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_revoked_certificates_let_the_others_pass() {
    let (pki, folder) = (Arc::new(Pki::new()), tempfile::tempdir().unwrap());
    let below = pki.intermediate(|_| {});
    let bench = |lists: &[String]| {
        let file: PathBuf = folder.path().join("lists.pem");
        fs::write(&file, lists.concat()).unwrap();
        let mut bench = Bench::with(Server::builder().pki(Arc::clone(&pki)).identity(below.server()));
        bench.definition.trust.crl_files = vec![file];
        bench.write("a.txt", "a");
        bench
    };
    // One file with the lists of both authorities, each naming somebody else.
    let (root, own) =
        (pki.revocation_list(&[9_999.into()], 2099), below.revocation_list(&[9_998.into()], 2099));
    let good = bench(&[root.clone(), own]);
    assert_eq!(good.run().await.counts.delivered, 1);
    let old = bench(&[root.clone(), below.revocation_list(&[], 2021)]);
    let report = old.run().await;
    assert_eq!(report.exit(), Exit::Trust);
    let text = cause(&report);
    assert!(text.contains("Throw-away intermediate authority ended on 2021-01-01"), "{text}");
    assert_nothing_told(&old);
    let forged = bench(&[root, Pki::new().intermediate(|_| {}).revocation_list(&[], 2099)]);
    let report = forged.run().await;
    assert_eq!(report.exit(), Exit::Trust);
    assert!(cause(&report).contains("list of revoked certificates of"), "{}", cause(&report));
    assert_nothing_told(&forged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nists_policy_is_spoken_and_what_it_excludes_is_refused_by_its_name() {
    let pki = Arc::new(Pki::new());
    let builder = || Server::builder().pki(Arc::clone(&pki));
    let nist = |server| {
        let mut bench = Bench::with(server);
        bench.definition.tls_policy = TlsPolicy::Nist80052r2;
        bench.write("a.txt", vec![7; 100_000]);
        bench
    };
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let bench = nist(builder().tls_versions(versions));
        let report = bench.run().await;
        assert_eq!(report.counts.delivered, 1, "{}", cause(&report));
    }
    let chacha = [
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    for server in [builder().cipher_suites(&chacha), builder().groups(&[NamedGroup::X25519])] {
        let bench = nist(server);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust));
        assert!(cause(&report).contains("`tls_policy: nist-800-52r2`"), "{}", cause(&report));
        assert_nothing_told(&bench);
    }
    // The same servers are good enough where nothing is said.
    for server in [builder().cipher_suites(&chacha), builder().groups(&[NamedGroup::X25519])] {
        let bench = Bench::with(server);
        bench.write("a.txt", "a");
        assert_eq!(bench.run().await.counts.delivered, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_in_common_names_the_setting() {
    use nightferry::domain::TlsVersion::{V1_2, V1_3};
    for (server, ours, words) in [
        (TlsVersions::Only12, V1_3, "`tls_version: {min: 1.2}`"),
        (TlsVersions::Only13, V1_2, "`tls_version: {max: 1.3}`"),
    ] {
        let mut bench = Bench::with(Server::builder().tls_versions(server));
        (bench.definition.tls_versions.min, bench.definition.tls_versions.max) = (ours, ours);
        bench.write("a.txt", "a");
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust));
        assert!(cause(&report).contains(words), "{}", cause(&report));
        assert_nothing_told(&bench);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_and_the_protocol_are_asked_for_and_another_protocol_is_refused() {
    let bench = Bench::new(Dialect::full(), []);
    bench.write("a.txt", "a");
    assert_eq!(bench.run().await.counts.delivered, 1);
    let notes = bench.server.transcript().to_string();
    assert!(notes.contains("* TLS for localhost, ftp"), "{notes}");

    let bench = Bench::with(Server::builder().protocol("http/1.1"));
    bench.write("a.txt", "a");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust));
    assert!(cause(&report).contains("another protocol than FTP"), "{}", cause(&report));
    assert_nothing_told(&bench);
}

/// A key that is about to change: both pins stand in the configuration, and the change goes unnoticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_next_pin_a_key_changes_without_a_failure() {
    let pki = Arc::new(Pki::new());
    let (old, new) = (pki.server(), pki.server());
    let pins = vec![pin(&old), pin(&new)];
    for identity in [old, new] {
        for with_chain in [None, Some(())] {
            let server = Server::builder().pki(Arc::clone(&pki));
            let server = server.identity(identity.clone());
            let mut bench = Bench::with(server);
            bench.definition.trust.pins.clone_from(&pins);
            if with_chain.is_none() {
                bench.definition.trust.ca_file = None;
            }
            bench.write("a.txt", "a");
            let report = bench.run().await;
            assert_eq!(report.counts.delivered, 1, "{}", cause(&report));
        }
    }
}

/// Two servers of the configuration at the same host and port, with other trust: what the one has
/// agreed upon is of no use to the other (CVE-2023-27535 and its kin).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_in_one_definition_of_a_server_is_none_in_another() {
    let bench = Bench::new(Dialect::full(), []);
    let profiles = Arc::new(Profiles::in_memory());
    let remote = |definition| {
        Remote::new(definition, bench.password.into(), bench.deadlines, Arc::clone(&profiles)).unwrap()
    };
    let trusting = remote(bench.definition.clone());
    let first = trusting.connect().await.unwrap();
    let mut definition = bench.definition.clone();
    definition.trust.pins = vec![SpkiPin(Digest::of(b"another key"))];
    let refused = remote(definition).connect().await.unwrap_err();
    assert!(matches!(refused, FtpsError::Tls(_)), "{refused:?}");
    assert_eq!(refused.trouble(), Trouble::Trust);
    first.quit().await;
    assert_eq!(bench.server.counters().logins, 1);
}

/// What the data port says in the place of TLS gets no byte of the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_connection_without_proper_tls_gets_no_byte() {
    let hello = b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\0\xc0\x13\0";
    for (bytes, exit) in [
        (hello.to_vec(), Exit::Trust),
        // Whom the server refuses, it tells why: the reply counts.
        (b"\x15\x03\x01\0\x02\x02\x46".to_vec(), Exit::Temporary),
        // vsftpd says so in clear where its own side fails: the next attempt may work.
        (b"500 OOPS: vsf_sysutil_bind\r\n".to_vec(), Exit::Temporary),
        (b"".to_vec(), Exit::Temporary),
    ] {
        let fault = Fault::on("STOR", Action::SpeakInstead(bytes.clone()));
        let bench = Bench::new(Dialect::full(), [fault]).impatient();
        bench.write("a.txt", vec![7; 300_000]);
        let report = bench.run().await;
        let row = format!("{}: {}", bytes.escape_ascii(), cause(&report));
        println!("{row}");
        assert_eq!((report.counts.delivered, report.exit()), (0, exit), "{row}");
        assert_eq!(bench.server.counters().bytes_received, 0, "{row}");
        assert_eq!(bench.stored("in/a.txt"), None, "{row}");
    }
}

/// A listing that ends without `close_notify` is cut off, and proves no absence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_must_end_with_close_notify() {
    let bench = Bench::new(Dialect::full(), [Fault::on("MLSD", Action::WithholdCloseNotify)]).impatient();
    bench.put("in/theirs.txt", "theirs");
    let mut connection = bench.remote().connect().await.unwrap();
    let folder = nightferry::domain::RemotePath::new("/in").unwrap();
    let error = connection.names(&folder).await.unwrap_err();
    assert_eq!(error.trouble(), Trouble::Passing, "{error}");
    assert!(!connection.is_usable());
    bench.server.clear_faults();
    let mut connection = bench.remote().connect().await.unwrap();
    assert_eq!(connection.names(&folder).await.unwrap().len(), 1);
}

/// Without protection of data connections nothing is stored, whatever the refusal is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_protection_ends_the_run_before_a_file_is_named() {
    for (verb, reply) in [
        ("PROT", "534 no"),
        ("PROT", "536 no"),
        ("PROT", "431 no"),
        ("PROT", "500 what?"),
        ("PBSZ", "503 no"),
        ("USER", "332 account?"),
        ("PASS", "332 account?"),
    ] {
        let bench = Bench::new(Dialect::full(), [Fault::on(verb, Action::Reply(reply.into()))]);
        bench.write("a.txt", "a");
        let report = bench.run().await;
        let wanted = if reply.starts_with("332") { Exit::Refused } else { Exit::Trust };
        assert_eq!(
            (report.counts.delivered, report.exit()),
            (0, wanted),
            "{verb} {reply}: {}",
            cause(&report)
        );
        let transcript = bench.server.transcript();
        for forbidden in ["STOR", "MLSD", "EPSV", "MKD", "CCC", "ACCT"] {
            assert_eq!(transcript.count(forbidden), 0, "{verb} {reply}: {transcript}");
        }
    }
    // Under TLS a server may let a user in without a password (RFC 4217, section 7): it is told none
    // where the answer to the name is waited for.
    let mut bench = Bench::new(Dialect::full(), [Fault::on("USER", Action::Reply("230 come in".into()))]);
    bench.password = "canary";
    bench.remote().learn(|profile| profile.pipelining = Ability::No);
    bench.write("a.txt", "a");
    bench.run().await;
    assert_eq!(bench.server.transcript().count("PASS"), 0);
}
