//! Firewalls, NAT and listeners between the binary and a server: two network namespaces joined by a
//! cable, with rules of nftables or a capture in one of them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftps_server::{Action, Builder, Dialect, Fault, Mode, Pki, Server, TlsVersions};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::lab;

/// Where the client and the server are (RFC 2544's addresses for benchmarks).
const CLIENT: &str = "198.18.0.1";
const SERVER: &str = "198.18.0.2";

/// The server's own address where NAT stands before it.
const PRIVATE: &str = "10.99.0.2";

/// The control connection's port.
const PORT: u16 = 2121;

/// Tells the networks of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Two namespaces and the cable between them, gone when dropped.
#[derive(Debug)]
struct Network {
    client: String,
    server: String,
}

/// Runs a command to its good end.
fn sh(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Network {
    /// None where `tests/run` does not run, which installs what this takes and runs as root.
    fn new() -> Option<Self> {
        lab::folder("network namespaces and nftables")?;
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let network = Self { client: format!("nf-client-{id}"), server: format!("nf-server-{id}") };
        let (client, server) = (&network.client, &network.server);
        for namespace in [client, server] {
            sh(&format!("ip netns add {namespace}"));
            sh(&format!("ip -n {namespace} link set lo up"));
        }
        sh(&format!("ip -n {client} link add cable type veth peer name cable netns {server}"));
        for (namespace, address) in [(client, CLIENT), (server, SERVER)] {
            sh(&format!("ip -n {namespace} address add {address}/24 dev cable"));
            sh(&format!("ip -n {namespace} link set cable up"));
        }
        Some(network)
    }

    /// Adds nftables' rules to a namespace.
    fn rules(namespace: &str, rules: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{rules}\n")).unwrap();
        sh(&format!("ip netns exec {namespace} nft -f {}", file.path().display()));
    }

    /// Drops each new connection to this namespace but to some ports.
    fn firewall(namespace: &str, open: &str) {
        let rules = format!(
            "table inet firewall {{ chain input {{ type filter hook input priority 0; \
             iifname \"cable\" tcp flags & (syn | ack) == syn tcp dport != {open} drop; }}\n}}"
        );
        Self::rules(namespace, &rules);
    }

    /// Starts the test server in its namespace.
    fn serve(&self, address: &str, server: Builder) -> Server {
        let pki = std::sync::Arc::new(Pki::new());
        let server = server.identity(pki.server_for(&[SERVER])).pki(pki);
        let address: std::net::IpAddr = address.parse().unwrap();
        within(&self.server, || server.listen(address, PORT).start().unwrap())
    }

    /// Sends a file to the server, and returns the exit code and all that was said.
    fn sync(&self, server: &Server, line: &str) -> Sent {
        let home = tempfile::tempdir().unwrap();
        let yaml = format!(
            "version: 1\nagent: {{state_dir: state}}\nservers:\n  office:\n    host: {SERVER}\n    port: {PORT}\n    \
             username: user\n    password: {{command: [echo, password]}}\n    trust: {{ca_file: {}}}\n    \
             timeouts: {{data_connect: 400ms}}\n    {line}\njobs:\n  reports: {{source: src, server: office, \
             destination: /in}}\n",
            server.ca_file().display()
        );
        fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
        fs::create_dir(home.path().join("src")).unwrap();
        fs::write(home.path().join("src/report.csv"), "report").unwrap();
        let began = Instant::now();
        let (code, text) = within(&self.client, || run(&home, "sync --json"));
        let took = began.elapsed();
        println!("{text}\n{}", server.transcript());
        let delivered = fs::read(server.root().join("in/report.csv")).is_ok_and(|file| file == b"report");
        Sent { code, text, delivered, took, home }
    }
}

/// All that crosses the cable, until it is ended.
struct Capture {
    tcpdump: Child,
    file: tempfile::NamedTempFile,
}

impl Capture {
    /// Begins once this returns.
    fn of(network: &Network) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &network.client,
            "tcpdump",
            "-Z",
            "root",
            "-U",
            "-i",
            "cable",
            "-s",
            "0",
        ]);
        let mut tcpdump = command.arg("-w").arg(file.path()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(tcpdump.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<_> = said.take_while(|line| !line.contains("listening on")).collect();
        assert!(tcpdump.try_wait().unwrap().is_none(), "{said:?}");
        Self { tcpdump, file }
    }

    /// Ends once a last word that crosses the cable has been seen, so that nothing before it is missing.
    fn end(mut self, network: &Network) -> Vec<u8> {
        let last_word = b"this is the end of the capture";
        within(&network.client, || {
            let socket = UdpSocket::bind((CLIENT, 0)).unwrap();
            socket.send_to(last_word, (SERVER, 9)).unwrap();
        });
        let began = Instant::now();
        let seen = loop {
            let seen = fs::read(self.file.path()).unwrap();
            if seen.windows(last_word.len()).any(|bytes| bytes == last_word) {
                break seen;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{} bytes", seen.len());
            thread::sleep(Duration::from_millis(1));
        };
        kill_process(Pid::from_child(&self.tcpdump), Signal::INT).unwrap();
        assert!(self.tcpdump.wait().unwrap().success());
        seen
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with them.
        for namespace in [&self.client, &self.server] {
            drop(Command::new("ip").args(["netns", "delete", namespace]).status());
        }
    }
}

/// Does something in a namespace; threads and processes that it starts stay there.
fn within<T: Send>(namespace: &str, action: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(PathBuf::from("/run/netns").join(namespace)).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}

fn run(home: &TempDir, arguments: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
    let command = command.current_dir(home.path()).args(["--config", "jobs.yaml"]);
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// What came of a run.
struct Sent {
    code: i32,
    text: String,
    delivered: bool,
    took: Duration,
    home: TempDir,
}

impl Sent {
    fn arrived(&self) {
        assert_eq!((self.code, self.delivered), (0, true), "{}", self.text);
    }

    /// Ended in time, for now only, with all these words.
    fn failed(&self, words: &[&str]) {
        assert_eq!((self.code, self.delivered), (5, false), "{}", self.text);
        for words in words {
            assert!(self.text.contains(words), "{words:?} in {}", self.text);
        }
        // Four attempts, each with its deadline and what is waited for after it.
        assert!(self.took < Duration::from_secs(20), "{:?}", self.took);
    }
}

#[test]
fn a_firewall_that_drops_the_passive_ports_is_named_with_the_port_by_the_deadline() {
    let Some(network) = Network::new() else { return };
    let server = network.serve(SERVER, Server::builder());
    network.sync(&server, "connections: 1").arrived();
    Network::firewall(&network.server, &PORT.to_string());
    fs::remove_file(server.root().join("in/report.csv")).unwrap();
    let sent = network.sync(&server, "connections: 1");
    sent.failed(&["data connection to 198.18.0.2:", "no answer within 0.4 s", "passive ports", "firewall"]);
    let (code, text) = within(&network.client, || run(&sent.home, "doctor"));
    assert_eq!(code, 5, "{text}");
    // Doctor tries both commands, as jobs do.
    assert!(text.contains("PASV named 198.18.0.2 port") && text.contains("open its range"), "{text}");
}

#[test]
fn a_private_address_that_pasv_names_is_ignored_and_told_by_doctor() {
    let Some(network) = Network::new() else { return };
    let fault = Fault::on("PASV", Action::AdvertiseAddress([10, 0, 0, 5].into()));
    let server = network.serve(SERVER, Server::builder().dialect(Dialect::no_epsv()).fault(fault));
    let sent = network.sync(&server, "connections: 1");
    sent.arrived();
    let (code, text) = within(&network.client, || run(&sent.home, "doctor"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("10.0.0.5, which was ignored: a NAT address"), "{text}");
    fs::remove_file(server.root().join("in/report.csv")).unwrap();
    network.sync(&server, "data: {pasv_address: trust}").failed(&["10.0.0.5:"]);
}

#[test]
fn a_server_behind_nat_that_knows_its_private_address_only_is_reached() {
    let Some(network) = Network::new() else { return };
    sh(&format!("ip -n {} address add {PRIVATE}/32 dev lo", network.server));
    let nat = format!(
        "table ip nat {{ chain prerouting {{ type nat hook prerouting priority dstnat; \
         ip daddr {SERVER} dnat to {PRIVATE}; }}\n}}"
    );
    Network::rules(&network.server, &nat);
    for dialect in [Dialect::full(), Dialect::no_epsv()] {
        let server = network.serve(PRIVATE, Server::builder().dialect(dialect));
        network.sync(&server, "connections: 1").arrived();
    }
}

#[test]
fn in_active_mode_our_own_firewall_is_named_and_the_ports_that_it_lets_in_are_used() {
    let Some(network) = Network::new() else { return };
    let server = network.serve(SERVER, Server::builder());
    Network::firewall(&network.client, "50000-50003");
    let sent = network.sync(&server, "data: {mode: active, ports: 50010-50010}");
    sent.failed(&["198.18.0.1:50010", "this machine's firewall", "`announce`"]);
    network.sync(&server, "data: {mode: active, ports: 50000-50003}").arrived();
    assert_eq!(server.transcript().count("EPSV"), 0);
}

/// Whoever listens learns that somebody asked for TLS, and nothing more.
#[test]
fn a_capture_holds_no_name_no_password_and_no_file() {
    let Some(network) = Network::new() else { return };
    let explicit = || Server::builder();
    for (server, line, versions) in [
        (explicit(), "data: {mode: passive}", TlsVersions::Both),
        (explicit().dialect(Dialect::vsftpd()), "connections: 2", TlsVersions::Only12),
        (explicit().dialect(Dialect::no_epsv()), "data: {mode: active}", TlsVersions::Both),
        (explicit().mode(Mode::Implicit), "tls: implicit", TlsVersions::Only13),
    ] {
        let server = network.serve(SERVER, server.tls_versions(versions));
        let capture = Capture::of(&network);
        network.sync(&server, line).arrived();
        let seen = capture.end(&network);
        let holds = |word: &str| seen.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(seen.len() > 5_000, "{line}: {} bytes", seen.len());
        assert_eq!(holds("AUTH TLS"), line != "tls: implicit", "{line}");
        for word in ["USER ", "PASS ", "password", "report", "STOR ", "/.nf-", "227 Ent", "229 Ent"] {
            assert!(!holds(word), "{line}: {word} crossed in clear");
        }
    }
}
