//! `nightferry doctor` and `trust` as a person or a program meets them.

use std::fs;

use assert_cmd::Command;
use ftps_server::{Dialect, Pki, Server};
use nightferry::clock::{Clock as _, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab;

/// A configuration with one server and one job; `trust` is its section of that name.
fn home(host: &str, port: u16, login: (&str, &str), trust: &str, folder: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let (user, password) = login;
    let yaml = format!(
        "version: 1\nagent: {{state_dir: state}}\nservers:\n  office: {{host: {host}, port: {port}, \
         username: {user}, password: {{command: [echo, {password}]}}, trust: {{{trust}}}}}\njobs:\n  \
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

/// The text without what differs from run to run: ports, days, keys, names, files.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words = line.split(' ').map(|word| {
            let bare = word.trim_matches(|c: char| "(),;\"[]}".contains(c));
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
    let (code, stdout, stderr) = nightferry(&to(&server), "doctor");
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
    let (code, stdout, _) = nightferry(&to(&server), "doctor --json");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, 22), "{stdout}");
    assert!(lines[..21].iter().all(|line| line["event"] == "check" && line["server"] == "office"));
    let certificate = lines.iter().find(|line| line["check"] == "certificate").unwrap();
    assert_eq!(certificate["certificate"]["names"][0], "localhost");
    assert_eq!(lines[21]["ok"], true);
    let (code, stdout, stderr) = nightferry(&to(&server), "doctor offce");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("there is no server `offce`\n    help: did you mean `office`?"), "{stderr}");
}

#[test]
fn trust_prints_lines_that_work() {
    let server = Server::builder().identity(Pki::self_signed()).start().unwrap();
    let before = to(&server);
    assert_eq!(nightferry(&before, "doctor").0, 8);
    let (code, stdout, stderr) = nightferry(&before, "trust office");
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!(masked(&stdout));
    let commands = server.transcript();
    assert!(commands.commands().iter().all(|line| line.starts_with("AUTH")), "{commands}");
    let lines = stdout.lines().find_map(|line| line.trim().strip_prefix("trust: {")).unwrap();
    let lines = lines.trim_end_matches('}');
    let after = home("localhost", server.port(), ("user", "password"), lines, "/in");
    assert_eq!(nightferry(&after, "doctor").0, 0);
    let (_, stdout, _) = nightferry(&before, "trust office --json");
    let seen: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(seen["certificate"]["self_signed"], true);
    assert!(lines.contains(seen["trust"]["pins"][0].as_str().unwrap()));
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
}

/// Everything that jobs need works on the real servers, and nothing is left there.
#[test]
fn doctor_is_content_with_the_real_servers() {
    for name in ["vsftpd", "proftpd", "pureftpd", "pyftpd"] {
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
        let (code, stdout, stderr) = nightferry(&home, "doctor");
        println!("{stdout}{stderr}");
        assert_eq!(code, 0, "{name}: {stdout}");
        assert!(!stdout.contains("!!") && !stdout.contains("not tried"), "{name}: {stdout}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{name}");
        fs::remove_dir(&folder).unwrap();
    }
}
