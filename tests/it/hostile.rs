//! Servers that attack: whatever they send, the binary ends in time, in little memory, and says what
//! happened.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ftps_server::{Action, Blow, Builder, Dialect, Event, Fault, Pki, Server};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

/// What the process may take at most, in KiB: a small machine runs it beside its own work.
const MAX_RESIDENT_KIB: u64 = 64 * 1024;

/// The limit of each wait in the configuration.
const LIMIT: &str = "700ms";

/// At most 12 sessions with 3 waits each, the pauses between attempts, and a busy machine.
const MAX_TIME: Duration = Duration::from_secs(90);

const CONTENT: &[u8] = b"what is to arrive\n";

/// What the process left behind.
struct Ended {
    code: i32,
    said: String,
    resident_kib: u64,
    arrived: Option<Vec<u8>>,
}

/// Runs a verb against a server, watching its memory.
fn nightferry(verb: &str, server: &Server) -> Ended {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::create_dir(path("source")).unwrap();
    fs::write(path("source/a.txt"), CONTENT).unwrap();
    let limits =
        ["connect", "greeting", "handshake", "reply", "data_connect", "stall", "final_reply", "drain"]
            .map(|key| format!("{key}: {LIMIT}"));
    let yaml = format!(
        "version: 1\nagent: {{state_dir: state}}\nservers:\n  there:\n    host: localhost\n    port: {}\n    \
         username: user\n    password: {{env: HOSTILE_PASSWORD}}\n    trust: {{ca_file: {}}}\n    \
         connections: 2\n    timeouts: {{{}}}\njobs:\n  out: {{source: source, server: there, destination: /in}}\n",
        server.port(),
        server.ca_file().display(),
        limits.join(", "),
    );
    fs::write(path("jobs.yaml"), yaml).unwrap();
    let output = fs::File::create(path("output")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nightferry"))
        .current_dir(home.path())
        .args(["--config", "jobs.yaml"])
        .args(verb.split(' '))
        .env("HOSTILE_PASSWORD", "password")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let (begun, mut resident_kib) = (Instant::now(), 0);
    let status = loop {
        resident_kib = resident_kib.max(peak_resident_kib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > MAX_TIME {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("no end after {MAX_TIME:?}\n{}", server.transcript());
        }
        // How often the memory is looked at; its peak is kept by the kernel.
        thread::sleep(Duration::from_millis(5));
    };
    Ended {
        code: status.code().unwrap_or_else(|| panic!("ended with {status}")),
        said: fs::read_to_string(path("output")).unwrap(),
        resident_kib,
        arrived: fs::read(server.root().join("in/a.txt")).ok(),
    }
}

/// The most memory that a process ever had resident; 0 once it has ended.
fn peak_resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or(0, |text| text.trim().trim_end_matches(" kB").parse().unwrap())
}

/// A server, the exit code that it deserves, and what must be said of it.
type Row = (&'static str, Builder, i32, &'static str);

fn check(verb: &str, rows: Vec<Row>) {
    thread::scope(|scope| {
        for (name, server, code, words) in rows {
            scope.spawn(move || check_one(verb, name, &server.start().unwrap(), code, words));
        }
    });
}

fn check_one(verb: &str, name: &str, server: &Server, code: i32, words: &str) {
    let Ended { code: ended, said, resident_kib, arrived } = nightferry(verb, server);
    let all = format!("{name}: exit code {ended}, {resident_kib} KiB\n{said}\n{}", server.transcript());
    println!("{name}: exit code {ended}, {resident_kib} KiB");
    assert_eq!(ended, code, "{all}");
    assert!(said.contains(words), "{words:?} is not said: {all}");
    assert!((1_000..=MAX_RESIDENT_KIB).contains(&resident_kib), "{all}");
    assert!(arrived.as_deref().is_none_or(|bytes| bytes == CONTENT), "{all}");
    assert_eq!(arrived.is_some(), code == 0 && verb == "sync", "{all}");
}

fn with(fault: Fault) -> Builder {
    Server::builder().fault(fault)
}

fn reply(text: &str) -> Action {
    Action::Reply(text.to_owned())
}

/// A18, A19, A22, A23.
#[test]
fn replies_without_end() {
    let feat = format!("211-Features:\r\n{}211 End", " X\r\n".repeat(5_000));
    let preliminary = format!("{}213 no digest", "150 Soon\r\n".repeat(9));
    check(
        "sync",
        vec![
            (
                "greeting line",
                with(Fault::on_greeting(Action::EndlessLine)),
                5,
                "a reply line of more than 16384 bytes",
            ),
            (
                "greeting lines",
                with(Fault::on_greeting(Action::EndlessReply)),
                5,
                "a reply of more than 1000 lines",
            ),
            (
                "greeting 120s",
                with(Fault::on_greeting(Action::Endless(b"120 Soon\r\n".to_vec()))),
                5,
                "nobody asked for",
            ),
            (
                "EPSV lines",
                with(Fault::on("EPSV", Action::EndlessReply)),
                5,
                "a reply of more than 1000 lines",
            ),
            (
                "HASH 150s",
                with(Fault::on("HASH", Action::Endless(b"150 Soon\r\n".to_vec()))),
                5,
                "nobody asked for",
            ),
            (
                "nine 150s",
                with(Fault::on("HASH", Action::ReplyAfter(preliminary))),
                5,
                "makes no sense: 150 Soon",
            ),
            (
                "flood",
                with(Fault::on("OPTS", Action::Inject(b"226 Done\r\n".repeat(100_000))).naming("HASH")),
                5,
                "nobody asked for",
            ),
            ("FEAT", with(Fault::on("FEAT", Action::ReplyAfter(feat))), 5, "a reply of more than 1000 lines"),
        ],
    );
}

/// A21 and A24.
#[test]
fn slow_and_unasked_bytes() {
    let second = Duration::from_secs(1);
    let drip = Duration::from_millis(100);
    check(
        "sync",
        vec![
            (
                "slow greeting",
                with(Fault::on_greeting(Action::Drip(second))),
                5,
                "waiting for the server's greeting took longer",
            ),
            (
                "slow reply",
                with(Fault::on("EPSV", Action::Drip(drip))),
                5,
                "waiting for the reply to EPSV took longer",
            ),
            (
                "slow handshake",
                with(Fault::on_handshake(Action::Drip(drip))),
                5,
                "the TLS handshake took longer",
            ),
            (
                "slow data",
                with(Fault::on("STOR", Action::DataAtOnce(Blow::Drip(drip)))),
                5,
                "TLS handshake failed",
            ),
            (
                "unasked",
                with(Fault::on("EPSV", Action::Inject(b"226 Transfer complete\r\n".to_vec()))),
                5,
                "makes no sense",
            ),
            ("twice", with(Fault::on("PASS", Action::Twice)), 5, "makes no sense"),
            (
                "injected",
                with(Fault::on("AUTH", Action::Inject(b"331 x\r\n230 x\r\n".to_vec()))),
                8,
                "someone may be tampering",
            ),
        ],
    );
}

/// A20, and what is read back.
#[test]
fn data_without_end() {
    let endless = |verb, piece: &[u8]| Fault::on(verb, Action::EndlessData(piece.to_vec()));
    let read_back = Server::builder().dialect(Dialect::pure_ftpd()).fault(endless("RETR", b"x"));
    check("sync", vec![("download", read_back, 6, "the server stored something else")]);
    check(
        "doctor there",
        vec![("listing", with(endless("MLSD", b"type=file; x\r\n")), 5, "holds more than 1000000 entries")],
    );
}

/// A12: an address in a reply is not followed, and no port of a service.
#[test]
fn passive_replies_that_lead_elsewhere() {
    let plain = || Server::builder().dialect(Dialect::no_epsv());
    let elsewhere = Action::AdvertiseAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let mut rows = vec![("other host", plain().fault(Fault::on("PASV", elsewhere)), 0, "")];
    for text in [
        "227 (127,0,0,1,0,22)",
        "227 (127,0,0,1,0,0)",
        "227 (127,0,0,1,256,1)",
        "227 (127,0,0,256,82,108)",
        "227 (127,0,0,1,-1,22)",
        "227 (127,0,0,1,82)",
        "227 (127,0,0,1,82,108,1)",
        "227 (::1,82,108)",
        "227 nowhere",
    ] {
        rows.push((
            text,
            plain().fault(Fault::on("PASV", reply(text))),
            5,
            "the reply to PASV makes no sense",
        ));
    }
    for text in ["229 (|||22|)", "229 (|||65536|)", "229 (|1|192.0.2.1|2000|)", "229 nowhere"] {
        rows.push((text, with(Fault::on("EPSV", reply(text))), 5, "the reply to EPSV makes no sense"));
    }
    check("sync", rows);
}

/// A certificate message of megabytes is not taken in.
#[test]
fn a_certificate_chain_of_megabytes() {
    let pki = Arc::new(Pki::new());
    let identity = pki.server().followed_by((0..4).map(|_| vec![0x30; 1 << 20]));
    let server = Server::builder().pki(pki).identity(identity);
    check("sync", vec![("chain", server, 8, "TLS")]);
}

/// A13: somebody else is first at every passive port, and uploads a file of his own.
#[test]
fn a_thief_of_passive_ports() {
    let pki = Arc::new(Pki::new());
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca_der()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let steal = move |event: &Event| {
        if let Event::Listening { port } = event {
            let (tcp, config) = (TcpStream::connect(("127.0.0.1", *port)).unwrap(), Arc::clone(&config));
            thread::spawn(move || {
                let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
                let mut stream = StreamOwned::new(tls, tcp);
                // The server may turn him away.
                drop(stream.write_all(b"the thief's"));
                stream.conn.send_close_notify();
                drop(stream.flush());
            });
        }
    };
    // vsftpd turns the thief away, and tells us so.
    for (dialect, code) in [(Dialect::full(), 5), (Dialect::vsftpd(), 7)] {
        let server = Server::builder().pki(Arc::clone(&pki)).dialect(dialect).on_event(steal.clone());
        let server = server.start().unwrap();
        check_one("sync", "thief", &server, code, "a.txt: ");
        assert!(!server.root().join("in/a.txt").exists());
    }
}
