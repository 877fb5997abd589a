//! `nightferry doctor` and `trust` as a person or a program meets them.

use std::fs;
use std::sync::Arc;

use assert_cmd::Command;
use ftps_server::{Action, ClientCertificates, Dialect, Fault, Pki, Server};
use nightferry::clock::{Clock as _, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab;

/// A configuration with one server and one job; `trust` is its section of that name.
fn home(host: &str, port: u16, login: (&str, &str), trust: &str, folder: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let (user, password) = login;
    let yaml = format!(
        "version: 1\nagent: {{state_dir: state}}\nservers:\n  office:\n    host: {host}\n    port: {port}\n    \
         username: {user}\n    password: {{command: [echo, {password}]}}\n    trust: {{{trust}}}\njobs:\n  \
         reports: {{source: src, server: office, destination: {folder}}}\n",
    );
    fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
    home
}

/// Exit code, standard output and standard error.
fn nightferry(home: &TempDir, arguments: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("nightferry").unwrap();
    let command = command.current_dir(home.path()).args(["--config", "jobs.yaml"]);
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn to(server: &Server) -> TempDir {
    let trust = format!("ca_file: {}", server.ca_file().display());
    home("localhost", server.port(), ("user", "password"), &trust, "/in")
}

/// The same, with lines for the server's section.
fn with(home: TempDir, lines: &str) -> TempDir {
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    fs::write(&file, yaml.replace("\njobs:", &format!("\n    {lines}\njobs:"))).unwrap();
    home
}

/// Limits of time that a test can wait for.
const IMPATIENT: &str = "timeouts: {greeting: 700ms, handshake: 700ms, data_connect: 700ms}";

/// The text without what differs from run to run: ports, days, keys, names, files.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words = line.split(' ').map(|word| {
            let bare = word.trim_matches(|c: char| "(),:;\"[]}".contains(c));
            let port =
                bare.rsplit(':').next().is_some_and(|end| end.len() >= 4 && end.parse::<u16>().is_ok());
            let now = bare.parse::<chrono::NaiveTime>().is_ok()
                || bare == SystemClock.now().to_utc().date_naive().to_string();
            let varies = now
                || bare.starts_with("sha256:")
                || (bare.contains(':')
                    && bare.bytes().all(|b| b == b':' || b.is_ascii_hexdigit())
                    && bare != "::1")
                || bare.starts_with(".nf-")
                || bare.starts_with("/in/.nf-")
                || bare.starts_with("/tmp/")
                || bare.ends_with("/ca.pem")
                || (bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit()))
                || (bare.len() >= 4 && bare.parse::<u64>().is_ok() && !matches!(bare, "1000" | "1500"))
                || port;
            if varies { word.replace(bare, "…") } else { word.to_owned() }
        });
        out.push_str(&words.by_ref().collect::<Vec<_>>().join(" "));
        out.push('\n');
    }
    out
}

#[test]
fn doctor_tells_of_a_good_server() {
    let server = Server::builder().listen(std::net::Ipv4Addr::LOCALHOST, 0).start().unwrap();
    let (code, stdout, stderr) = nightferry(&to(&server), "doctor --idle 0s");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    insta::assert_snapshot!(masked(&stdout));
}

#[test]
fn doctor_tells_of_an_untrusted_server() {
    let server = Server::builder().dialect(Dialect::vsftpd()).identity(Pki::new().expired()).start().unwrap();
    let (code, stdout, stderr) = nightferry(&to(&server), "doctor office");
    assert_eq!((code, stderr.as_str()), (8, ""), "{stdout}");
    insta::assert_snapshot!(masked(&stdout));
}

#[test]
fn doctor_in_json_is_a_line_a_check() {
    let server = Server::builder().start().unwrap();
    let home = to(&server);
    let (code, stdout, _) = nightferry(&home, "doctor --json --idle 0s");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, 29), "{stdout}");
    assert!(lines[..27].iter().all(|line| line["event"] == "check" && line["server"] == "office"));
    let certificate = lines.iter().find(|line| line["check"] == "certificate").unwrap();
    assert_eq!(certificate["certificate"]["names"][0], "localhost");
    assert_eq!(
        (&lines[27]["event"], &lines[27]["profile"]["pipelining"]),
        (&"profile".into(), &"yes".into())
    );
    assert_eq!(lines[28]["ok"], true);
    assert_eq!(lines[27]["kept"], false, "there is no state yet");
    fs::create_dir(home.path().join("state")).unwrap();
    let (_, stdout, _) = nightferry(&home, "doctor --json --idle 0s");
    assert!(stdout.contains(r#""kept":true"#) && !stdout.contains(r#""kept":false"#), "{stdout}");
    let (code, stdout, stderr) = nightferry(&to(&server), "doctor offce");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("there is no server `offce`\n    help: did you mean `office`?"), "{stderr}");
}

#[test]
fn trust_prints_lines_that_work() {
    let server = Server::builder().identity(Pki::self_signed()).start().unwrap();
    let before = to(&server);
    assert_eq!(nightferry(&before, "doctor --idle 0s").0, 8);
    let (code, stdout, stderr) = nightferry(&before, "trust office");
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!(masked(&stdout));
    let commands = server.transcript();
    assert!(commands.commands().iter().all(|line| line.starts_with("AUTH")), "{commands}");
    let lines = stdout.lines().find_map(|line| line.trim().strip_prefix("trust: {")).unwrap();
    let lines = lines.trim_end_matches('}');
    let after = home("localhost", server.port(), ("user", "password"), lines, "/in");
    assert_eq!(nightferry(&after, "doctor --idle 0s").0, 0);
    let (_, stdout, _) = nightferry(&before, "trust office --json");
    let seen: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(seen["certificate"]["self_signed"], true);
    assert!(lines.contains(seen["trust"]["pins"][0].as_str().unwrap()));
}

/// What doctor says of a server, and its exit code.
fn examined(home: &TempDir, arguments: &str) -> (i32, String) {
    let (code, stdout, stderr) = nightferry(home, &format!("doctor {arguments}"));
    assert_eq!(stderr, "", "{stdout}");
    (code, masked(&stdout))
}

/// A port on which somebody says `greeting` to the first who calls.
fn somebody(greeting: &'static str) -> u16 {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(greeting.as_bytes()).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    port
}

#[test]
fn doctor_tells_of_other_services_and_of_tls_that_begins_elsewhere() {
    let other = |greeting| with(home("127.0.0.1", somebody(greeting), ("u", "p"), "", "/in"), IMPATIENT);
    let (code, text) = examined(&other("SSH-2.0-OpenSSH_9.2\r\n"), "");
    assert_eq!(code, 8);
    insta::assert_snapshot!("ssh", text);
    let (code, text) = examined(&other("HTTP/1.1 400 Bad Request\r\n\r\n"), "");
    assert_eq!(code, 8);
    insta::assert_snapshot!("http", text);
    let server = Server::builder().mode(ftps_server::Mode::Implicit).start().unwrap();
    let (code, text) = examined(&with(to(&server), IMPATIENT), "");
    assert_eq!(code, 8);
    insta::assert_snapshot!("explicit_where_implicit_is_spoken", text);
    let server = Server::builder().start().unwrap();
    let (code, text) = examined(&with(to(&server), "tls: implicit"), "");
    assert_eq!(code, 8);
    insta::assert_snapshot!("implicit_where_explicit_is_spoken", text);
}

#[test]
fn doctor_tells_of_wrong_passwords_and_of_networks() {
    let server = Server::builder().listen(std::net::Ipv4Addr::LOCALHOST, 0).start().unwrap();
    let trust = format!("ca_file: {}", server.ca_file().display());
    let wrong = home("localhost", server.port(), ("user", "wrong"), &trust, "/in");
    let (code, text) = examined(&wrong, "");
    assert_eq!(code, 7);
    insta::assert_snapshot!("wrong_password", text);

    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for verb in ["EPSV", "PASV"] {
        server.arm(Fault::on(verb, Action::AdvertisePort(closed)));
    }
    let (code, text) = examined(&with(to(&server), IMPATIENT), "");
    assert_eq!(code, 5);
    insta::assert_snapshot!("passive_port_blocked", text);

    server.clear_faults();
    let inside = std::net::Ipv4Addr::new(192, 168, 1, 20).into();
    server.arm(Fault::on("PASV", Action::AdvertiseAddress(inside)));
    let (code, text) = examined(&to(&server), "--idle 0s");
    assert_eq!(code, 0);
    insta::assert_snapshot!("nat_address", text);
}

#[test]
fn doctor_tells_of_narrow_limits() {
    let server = Server::builder()
        .listen(std::net::Ipv4Addr::LOCALHOST, 0)
        .most_sessions(2)
        .silence(std::time::Duration::from_millis(1_200))
        .start()
        .unwrap();
    let home = to(&server);
    fs::create_dir(home.path().join("state")).unwrap();
    let (code, text) = examined(&home, "--idle 20s");
    assert_eq!(code, 0);
    insta::assert_snapshot!("few_connections_and_little_silence", text);
    let kept = fs::read_to_string(home.path().join("state/profiles.json")).unwrap();
    assert!(kept.contains("\"connections\": 2"), "{kept}");

    let forget = |arguments| nightferry(&home, arguments);
    let said = (0, "office: what was learned is forgotten\n".to_owned(), String::new());
    assert_eq!(forget("doctor --forget"), said);
    let (code, stdout, _) = forget("doctor --forget office --json");
    let line: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &line["event"], &line["known"]), (0, &"profile-forgotten".into(), &false.into()));
    let (code, _, stderr) = forget("doctor --forget nobody");
    assert_eq!(code, 2, "{stderr}");
    let kept = fs::read_to_string(home.path().join("state/profiles.json")).unwrap();
    assert!(!kept.contains("\"connections\": 2"), "{kept}");
    assert_eq!(server.transcript().count("PASS"), 2, "forgetting calls nobody");
}

#[test]
fn doctor_tells_of_servers_for_windows() {
    for (name, dialect) in [("iis", Dialect::iis()), ("filezilla", Dialect::filezilla())] {
        let server =
            Server::builder().listen(std::net::Ipv4Addr::LOCALHOST, 0).dialect(dialect).start().unwrap();
        let (code, text) = examined(&to(&server), "--idle 0s");
        assert_eq!(code, 0, "{text}");
        insta::assert_snapshot!(name, text);
    }
}

/// Without a state folder nothing is kept, and none is made: it would belong to the wrong user.
#[test]
fn doctor_makes_no_state() {
    let server = Server::builder().start().unwrap();
    let home = to(&server);
    assert_eq!(nightferry(&home, "doctor --idle 0s").0, 0);
    assert!(!home.path().join("state").exists());
}

#[test]
fn doctor_cleans_up_when_it_is_interrupted() {
    let (stored, told) = std::sync::mpsc::channel();
    let server = Server::builder()
        .on_event(move |event| {
            if let ftps_server::Event::Stored { .. } = event {
                let _heard = stored.send(()).is_ok();
            }
        })
        .start()
        .unwrap();
    let home = to(&server);
    let program = assert_cmd::cargo::cargo_bin("nightferry");
    let mut command = std::process::Command::new(program);
    let command = command.current_dir(home.path()).args(["--config", "jobs.yaml", "doctor", "--idle", "30s"]);
    let doctor = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    told.recv().unwrap();
    let id = rustix::process::Pid::from_raw(doctor.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let output = doctor.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("nothing is left behind"), "{text}");
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 0);
}

/// The lines work when they are pasted into the server's section, whoever the server wants to see.
#[test]
fn lines_of_trust_can_be_pasted() {
    let pki = Arc::new(Pki::new());
    let own = tempfile::tempdir().unwrap();
    let client = pki.client("me");
    let (cert, key) = (own.path().join("me.pem"), own.path().join("me.key"));
    fs::write(&cert, client.certificate_pem()).unwrap();
    fs::write(&key, client.key_pem()).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let shown = format!("client_certificate: {{cert_file: {}, key_file: {}}}", cert.display(), key.display());
    for (implicit, host, wants) in [
        (false, "localhost", false),
        (true, "127.0.0.1", false),
        (false, "127.0.0.1", true),
        (true, "localhost", true),
    ] {
        let mut server = Server::builder().pki(Arc::clone(&pki)).identity(Pki::self_signed());
        if implicit {
            server = server.mode(ftps_server::Mode::Implicit);
        }
        if host == "localhost" {
            server = server.tls_versions(ftps_server::TlsVersions::Only12);
        }
        if wants {
            server = server.client_certificates(ClientCertificates::Required(pki.ca_der()));
        }
        let server = server.start().unwrap();
        let plain = home(host, server.port(), ("user", "password"), "", "/in");
        let mut home = if implicit { with(plain, "tls: implicit") } else { plain };
        let (code, stdout, stderr) = nightferry(&home, "trust office");
        assert_eq!((code, stderr.as_str()), (0, ""), "{implicit} {host} {wants}");
        let line = stdout.lines().find(|line| line.trim().starts_with("trust: {")).unwrap();
        let file = home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&file).unwrap().replace("    trust: {}", line);
        fs::write(&file, yaml).unwrap();
        if wants {
            home = with(home, &shown);
        }
        let (code, stdout, stderr) = nightferry(&home, "doctor --idle 0s");
        assert_eq!(code, 0, "{implicit} {host} {wants}: {stdout}{stderr}");
    }
}

/// The lines work for each kind of certificate that no authority here makes good.
#[test]
fn the_lines_that_trust_prints_work_for_every_kind_of_certificate() {
    use rcgen::{BasicConstraints, IsCa};
    let pki = Pki::named("An authority that is not at hand");
    for identity in [
        pki.server(),
        pki.intermediate(|_| {}).server(),
        pki.name_in_common_name_only(),
        pki.expired(),
        Pki::self_signed_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ] {
        let server = Server::builder().identity(identity).start().unwrap();
        assert_eq!(nightferry(&to(&server), "doctor").0, 8);
        let (code, stdout, _) = nightferry(&to(&server), "trust office");
        assert_eq!(code, 0);
        let line = stdout.lines().find_map(|line| line.trim().strip_prefix("trust: {")).unwrap();
        let after = home("localhost", server.port(), ("user", "password"), line.trim_end_matches('}'), "/in");
        let (code, stdout, _) = nightferry(&after, "doctor");
        assert_eq!(code, 0, "{stdout}");
        assert!(stdout.contains("trusted by its pinned key alone"), "{stdout}");
    }
}

#[test]
fn trust_of_a_closed_port_is_a_passing_trouble() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let (code, stdout, stderr) = nightferry(&home("127.0.0.1", port, ("u", "p"), "", "/in"), "trust office");
    assert_eq!((code, stdout.as_str()), (5, ""));
    assert!(stderr.contains("cannot connect"), "{stderr}");
    // Where the ports are swapped, the cause is told once.
    let server = Server::builder().start().unwrap();
    let implicit = with(to(&server), "tls: implicit");
    let (code, _, stderr) = nightferry(&implicit, "trust office");
    let (_, said) = stderr.split_once("error: server `office`: ").unwrap_or_else(|| panic!("{stderr}"));
    let first: String = said.chars().take(30).collect();
    assert_eq!((code, said.matches(&first).count()), (8, 1), "{stderr}");
}

/// Everything that jobs need works on the real servers, and nothing is left there.
#[test]
fn doctor_is_content_with_the_real_servers() {
    for name in ["vsftpd", "proftpd", "pureftpd", "pyftpd", "vsftpd-implicit", "proftpd-tls13"] {
        let Some(server) = lab::server(name) else { return };
        // A folder of the test's own: other tests use the server at the same time.
        let folder = server.root.join("doctor");
        drop(fs::remove_dir_all(&folder));
        let root = fs::metadata(&server.root).unwrap();
        fs::create_dir(&folder).unwrap();
        let owner = |id: fn(&fs::Metadata) -> u32| Some(id(&root));
        std::os::unix::fs::chown(
            &folder,
            owner(std::os::unix::fs::MetadataExt::uid),
            owner(std::os::unix::fs::MetadataExt::gid),
        )
        .unwrap();
        let trust = format!("ca_file: {}", server.ca_file().display());
        let login = (server.user.as_str(), server.password.as_str());
        let home = home(&server.host, server.port, login, &trust, "/doctor");
        let home = with(home, &format!("tls: {}", server.tls));
        let (code, stdout, stderr) = nightferry(&home, "doctor --idle 100ms");
        println!("{stdout}{stderr}");
        assert_eq!(code, 0, "{name}: {stdout}");
        assert!(!stdout.contains("!!") && !stdout.contains("not tried"), "{name}: {stdout}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{name}");
        fs::remove_dir(&folder).unwrap();
    }
}

/// What the servers with limits bear: two sessions, and five seconds of silence. `Pure-FTPd` counts
/// in minutes, and says so. No other test uses these servers, so that nobody else takes a session.
#[test]
fn doctor_finds_the_limits_of_the_real_servers() {
    let limits = [
        ("vsftpd-limited", "ended a session after 5 s of silence"),
        ("proftpd-limited", "ended a session after 5 s of silence"),
        ("pyftpd-limited", "ended a session after 5 s of silence"),
        ("pureftpd-limited", "the greeting says 1 minute"),
    ];
    for (name, silence) in limits {
        let Some(server) = lab::server(name) else { return };
        let trust = format!("ca_file: {}", server.ca_file().display());
        let login = (server.user.as_str(), server.password.as_str());
        let home = home(&server.host, server.port, login, &trust, "/");
        let idle = if name.starts_with("pure") { "1s" } else { "9s" };
        let (code, stdout, stderr) = nightferry(&home, &format!("doctor --idle {idle}"));
        assert_eq!(code, 0, "{name}: {stdout}{stderr}");
        assert!(stdout.contains("only 2 of 8 sessions at once"), "{name}: {stdout}");
        assert!(stdout.contains(silence), "{name}: {stdout}");
        assert_eq!(fs::read_dir(&server.root).unwrap().count(), 0, "{name}");
    }
}

/// A server that wants a client certificate says so, shows its own to `trust`, and works with one.
#[test]
fn doctor_and_trust_at_a_real_server_that_wants_a_certificate() {
    let Some(server) = lab::server("proftpd-mtls") else { return };
    let pki = server.ca_file().parent().unwrap().to_owned();
    let trust = format!("ca_file: {}", server.ca_file().display());
    let login = (server.user.as_str(), server.password.as_str());
    let without = home(&server.host, server.port, login, &trust, "/");
    let (code, stdout, stderr) = nightferry(&without, "trust office");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("trust: {pins: [\"sha256:"), "{stdout}");
    let (code, stdout, _) = nightferry(&without, "doctor --idle 0s");
    assert_eq!(code, 8, "{stdout}");
    assert!(stdout.contains("client_certificate"), "{stdout}");
    let own = |name| pki.join(name).display().to_string();
    let line =
        format!("client_certificate: {{cert_file: {}, key_file: {}}}", own("client.pem"), own("client.key"));
    let (code, stdout, stderr) = nightferry(&with(without, &line), "doctor --idle 0s");
    assert_eq!(code, 0, "{stdout}{stderr}");
}
