//! Who is told of what, with the binary as a process and receivers that listen.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use chrono::Datelike as _;
use ftps_server::{ClientCertificates, Identity, Pki, Server};
use nightferry::clock::{Clock, SystemClock};
use nightferry::domain::{Record, Scheduled, Timestamp};
use nightferry::state::State;
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

const SECRET: &str = "canary-8b1f";
/// Whom the server lets in, and whom it does not: that fails at once, and for good.
const USER: &str = "user";
const STRANGER: &str = "stranger";
/// Longest wait for a message: the binary's own grace.
const ARRIVES: Duration = Duration::from_secs(30);

/// What a receiver was sent: the first line, the rest of the head, the body.
#[derive(Debug)]
struct Request {
    line: String,
    head: String,
    body: String,
}

/// Takes requests over HTTP, with TLS where it has a certificate.
fn http(identity: Option<&Identity>) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = identity.map(tls);
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let request = match &tls {
                Some(tls) => {
                    let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                    answered(StreamOwned::new(connection, stream))
                }
                None => answered(stream),
            };
            // Whoever does not trust the certificate sends nothing.
            if let Some(request) = request {
                drop(sender.send(request));
            }
        }
    });
    (port, requests)
}

fn tls(identity: &Identity) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(identity.certificates(), identity.key_der());
    Arc::new(config.unwrap())
}

fn answered(stream: impl std::io::Read + std::io::Write) -> Option<Request> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut head) = (String::new(), String::new());
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).ok()? > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length?];
    stream.read_exact(&mut body).ok()?;
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    Some(Request { line: line.trim_end().to_owned(), head, body: String::from_utf8(body).unwrap() })
}

/// Takes mail as RFC 5321 has it, with TLS from the first byte or after STARTTLS, and tells all that
/// was said to it, `C` for in clear, `T` for over TLS.
fn smtp(identity: &Identity, implicit: bool) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = tls(identity);
    let (sender, mails) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut said = String::new();
            if !implicit && !exchange(&mut stream, 'C', &mut said) {
                drop(sender.send(said));
                continue;
            }
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&tls)).unwrap(), stream);
            exchange_tls(&mut stream, implicit, &mut said);
            drop(sender.send(said));
        }
    });
    (port, mails)
}

/// In clear. True where TLS follows.
fn exchange(stream: &mut TcpStream, mark: char, said: &mut String) -> bool {
    stream.write_all(b"220 mail.test\r\n").unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read > 0) {
        line.push(byte[0]);
        if !line.ends_with(b"\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        said.extend([format!("{mark} {text}")]);
        if text.starts_with("STARTTLS") {
            stream.write_all(b"220 go\r\n").unwrap();
            return true;
        }
        let answer: &[u8] =
            if text.starts_with("EHLO") { b"250-mail.test\r\n250 STARTTLS\r\n" } else { b"502 no\r\n" };
        stream.write_all(answer).unwrap();
    }
    false
}

fn exchange_tls(stream: &mut StreamOwned<ServerConnection, TcpStream>, greets: bool, said: &mut String) {
    if greets && stream.write_all(b"220 mail.test\r\n").is_err() {
        return;
    }
    let mut stream = BufReader::new(stream);
    let (mut line, mut in_mail) = (String::new(), false);
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        said.extend([format!("T {line}")]);
        let word = line.split_whitespace().next().unwrap_or_default().to_owned();
        let answer: &[u8] = match (in_mail, word.as_str()) {
            (true, ".") => {
                in_mail = false;
                b"250 taken\r\n"
            }
            (true, _) => b"",
            (false, "EHLO") => b"250-mail.test\r\n250 AUTH PLAIN\r\n",
            (false, "AUTH") => b"235 welcome\r\n",
            (false, "DATA") => {
                in_mail = true;
                b"354 go\r\n"
            }
            (false, "QUIT") => b"221 bye\r\n",
            (false, _) => b"250 fine\r\n",
        };
        line.clear();
        if stream.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// A folder with a job whose server can be reached, or not.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path().join("source")).unwrap();
        fs::write(home.path().join("source/smith.pdf"), b"a").unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn configure(&self, server: &Server, user: &str, notify: &str) {
        let yaml = format!(
            "version: 1\nagent:\n  state_dir: state\n  timezone: UTC\n  notify:\n{notify}servers:\n  office: {{host: localhost, \
             port: {}, username: {user}, password: {{env: NF_PASSWORD}}, trust: {{ca_file: {}}}}}\njobs:\n  reports: \
             {{source: source, server: office, destination: /in}}\n",
            server.port(),
            server.ca_file().display()
        );
        fs::write(self.path().join("jobs.yaml"), yaml).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_nightferry"))
            .current_dir(self.path())
            .args(["--config", "jobs.yaml"])
            .args(arguments)
            .env_remove("STATE_DIRECTORY")
            .env("NF_PASSWORD", "password")
            .env("NF_HOOK", SECRET)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!text.contains(SECRET), "{text}");
        (output.status.code().unwrap(), text)
    }

    fn sync(&self, code: i32) {
        let (ended, text) = self.run(&["sync"]);
        assert_eq!(ended, code, "{text}");
    }
}

fn events(requests: &Receiver<Request>) -> Vec<(Value, Value)> {
    let json = requests.try_iter().map(|request| serde_json::from_str::<Value>(&request.body).unwrap());
    json.map(|json| (json["event"].clone(), json["kind"].clone())).collect()
}

/// Each `sync` is a process of its own: what is open stands in the state folder.
#[test]
fn runs_by_hand_tell_once_that_it_broke_and_once_that_it_is_well_again() {
    let server = Server::builder().start().unwrap();
    let pki = Pki::new();
    let (port, requests) = http(Some(&pki.server()));
    let home = Home::new();
    fs::write(home.path().join("hooks.pem"), pki.ca_pem()).unwrap();
    let hook = format!(
        "    - webhook: {{url: \"https://localhost:{port}/hook?key={SECRET}\", secret: {{env: NF_HOOK}}, ca_file: hooks.pem}}\n"
    );
    home.configure(&server, STRANGER, &hook);
    home.sync(7);
    let broke = requests.recv_timeout(ARRIVES).unwrap();
    assert_eq!(broke.line, format!("POST /hook?key={SECRET} HTTP/1.1"));
    assert!(broke.head.to_lowercase().contains("nightferry-signature: t="), "{}", broke.head);
    assert!(!broke.body.contains("smith"), "{}", broke.body);
    let json: Value = serde_json::from_str(&broke.body).unwrap();
    assert_eq!((&json["event"], &json["trouble"]), (&"failure".into(), &"refused".into()), "{json}");
    home.sync(7);
    home.sync(7);
    assert_eq!(events(&requests), [], "repeats are folded");
    home.configure(&server, USER, &hook);
    home.sync(0);
    assert_eq!(events(&requests), [("recovery".into(), "run".into())]);
    home.sync(0);
    assert_eq!(events(&requests), []);
    let (_, text) = home.run(&["check"]);
    let tells = format!("webhook https://localhost:{port}/*** (on failure, recovery, guard, late)");
    assert!(text.contains(&tells), "{text}");
    for file in ["alerts.json", "profiles.json"] {
        let kept = fs::read_to_string(home.path().join("state").join(file)).unwrap();
        assert!(!kept.contains(SECRET), "{kept}");
    }
}

/// The receiver's certificate is not trusted: nobody is told, the run is what it is, and what was not
/// told is told by the next process.
#[test]
fn a_receiver_that_is_not_trusted_gets_nothing_and_fails_no_run() {
    let server = Server::builder().start().unwrap();
    let (port, requests) = http(Some(&Pki::new().server()));
    let home = Home::new();
    home.configure(&server, STRANGER, &format!("    - webhook: {{url: \"https://localhost:{port}/\"}}\n"));
    let (_, text) = home.run(&["check", "--notify"]);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("/***: TLS failed: nobody who is trusted vouches for its certificate"), "{text}");
    let (code, text) = home.run(&["sync"]);
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("1 message could not be sent"), "{text}");
    assert!(requests.try_recv().is_err());
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = Home::new();
    other.configure(&server, USER, &format!("    - webhook: {{url: \"http://127.0.0.1:{closed}/\"}}\n"));
    let (_, text) = other.run(&["check", "--notify"]);
    assert!(text.contains("/***: it cannot be reached: Connection refused"), "{text}");
    let (port, requests) = http(None);
    home.configure(&server, USER, &format!("    - webhook: {{url: \"http://127.0.0.1:{port}/\"}}\n"));
    home.sync(0);
    let failure = ("failure".into(), "run".into());
    assert_eq!(events(&requests), [failure, ("recovery".into(), "run".into())]);
}

#[test]
fn mail_goes_over_tls_only_and_says_what_to_do() {
    let server = Server::builder().start().unwrap();
    let pki = Pki::new();
    for (tls, implicit) in [("implicit", true), ("starttls", false)] {
        let (port, mails) = smtp(&pki.server(), implicit);
        let home = Home::new();
        fs::write(home.path().join("mail.pem"), pki.ca_pem()).unwrap();
        let mail = format!(
            "    - email:\n        to: [admin@clinic.example, it@clinic.example]\n        from: nightferry@clinic.example\n        \
             smtp: {{host: localhost, port: {port}, tls: {tls}, username: u, password: {{env: NF_HOOK}}, ca_file: mail.pem}}\n"
        );
        home.configure(&server, STRANGER, &mail);
        let file = home.path().join("jobs.yaml");
        let yaml = fs::read_to_string(&file).unwrap();
        fs::write(&file, yaml.replace("destination: /in", "destination: /in, timezone: Asia/Tokyo")).unwrap();
        home.sync(7);
        let said = mails.recv_timeout(ARRIVES).unwrap();
        let since = said.lines().find(|line| line.contains("Since: ")).unwrap();
        assert!(since.trim_end().ends_with(" JST"), "by the job's clock: {since}");
        let in_clear: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("C ")).collect();
        let in_clear_only =
            in_clear.iter().all(|line| line.starts_with("EHLO") || line.starts_with("STARTTLS"));
        assert!(in_clear_only && in_clear.is_empty() == implicit, "{in_clear:?}");
        for words in [
            "T MAIL FROM:<nightferry@clinic.example>",
            "T RCPT TO:<it@clinic.example>",
            "job reports does not end well",
            "T Auto-Submitted: auto-generated",
            "T   nightferry status",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("smith"), "{said}");
    }
}

/// A mail server that offers no TLS is told nothing, not even a login.
#[test]
fn mail_is_never_sent_in_clear() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            stream.get_mut().write_all(b"220 mail.test\r\n").unwrap();
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                drop(stream.get_mut().write_all(b"250 AUTH PLAIN\r\n"));
            }
            sender.send(line).unwrap();
        }
    });
    let server = Server::builder().start().unwrap();
    let home = Home::new();
    let mail = format!(
        "    - email:\n        to: [a@b.example]\n        from: a@b.example\n        smtp: {{host: localhost, port: {port}, \
         tls: starttls, username: u, password: {{env: NF_HOOK}}}}\n"
    );
    home.configure(&server, USER, &mail);
    let (code, text) = home.run(&["check", "--notify"]);
    assert_eq!(code, 1, "{text}");
    let heard = heard.recv_timeout(ARRIVES).unwrap();
    let spoken: Vec<_> = heard.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(spoken.iter().all(|verb| matches!(*verb, "EHLO" | "QUIT")), "{heard}");
}

#[test]
fn a_program_gets_the_message_and_a_ping_a_sign_of_each_run() {
    let server = Server::builder().start().unwrap();
    let (port, requests) = http(None);
    let home = Home::new();
    let notify = format!(
        "    - command: [sh, -c, 'cat > told.json; env > env.txt']\n      on: [success]\n      names: true\n    \
         - ping: {{url: \"http://127.0.0.1:{port}/p/{SECRET}\"}}\n"
    );
    home.configure(&server, USER, &notify);
    home.sync(0);
    let told: Value = serde_json::from_slice(&fs::read(home.path().join("told.json")).unwrap()).unwrap();
    assert_eq!((&told["event"], &told["counts"]["delivered"]), (&"success".into(), &1.into()), "{told}");
    let env = fs::read_to_string(home.path().join("env.txt")).unwrap();
    assert!(env.contains("NIGHTFERRY_JOB=reports") && env.contains("NIGHTFERRY_EVENT=success"), "{env}");
    assert!(!env.contains(SECRET) && !env.contains("NF_PASSWORD"), "{env}");
    let lines =
        |requests: &Receiver<Request>| requests.try_iter().map(|request| request.line).collect::<Vec<_>>();
    let start = format!("POST /p/{SECRET}/start HTTP/1.1");
    assert_eq!(lines(&requests), [start.clone(), format!("POST /p/{SECRET} HTTP/1.1")]);
    home.configure(&server, STRANGER, &notify);
    fs::write(home.path().join("source/b.pdf"), b"b").unwrap();
    home.sync(7);
    assert_eq!(lines(&requests), [start, format!("POST /p/{SECRET}/fail HTTP/1.1")]);
}

#[test]
fn a_test_message_finds_out_who_would_be_told() {
    let server = Server::builder().start().unwrap();
    let (port, requests) = http(None);
    let home = Home::new();
    let notify = format!(
        "    - webhook: {{url: \"http://127.0.0.1:{port}/\"}}\n    - command: [sh, -c, 'echo no space >&2; exit 3']\n"
    );
    home.configure(&server, USER, &notify);
    let (code, text) = home.run(&["check", "--notify"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("test message sent: webhook http://127.0.0.1:{port}/***")), "{text}");
    assert!(text.contains("notify: command sh: the program ended with exit status: 3: no space"), "{text}");
    assert_eq!(events(&requests), [("test".into(), "test".into())]);
    assert!(!home.path().join("state").exists(), "nothing is kept of it");
}

/// A server shows a certificate that is good for long, and is shown one that is not.
#[test]
fn our_own_certificate_is_told_of_before_it_runs_out() {
    let pki = Pki::new();
    let until = SystemClock.now().plus(Duration::from_hours(10 * 24)).to_utc();
    let (year, month, day) =
        (until.year(), u8::try_from(until.month()).unwrap(), u8::try_from(until.day()).unwrap());
    let own = pki.issue(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = rcgen::date_time_ymd(year, month, day);
    });
    let server =
        Server::builder().client_certificates(ClientCertificates::Required(pki.ca_der())).start().unwrap();
    let home = Home::new();
    fs::write(home.path().join("own.pem"), own.certificate_pem()).unwrap();
    fs::write(home.path().join("own.key"), own.key_pem()).unwrap();
    fs::set_permissions(home.path().join("own.key"), fs::Permissions::from_mode(0o600)).unwrap();
    home.configure(
        &server,
        USER,
        "    - command: [sh, -c, 'echo $NIGHTFERRY_KIND $NIGHTFERRY_EVENT >> told']\n",
    );
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let with = "username: user, client_certificate: {cert_file: own.pem, key_file: own.key}";
    fs::write(&file, yaml.replace("username: user", with)).unwrap();
    let told = || fs::read_to_string(home.path().join("told")).unwrap();
    home.sync(0);
    assert_eq!(told(), "client-certificate late\n");
    home.sync(0);
    assert_eq!(told(), "client-certificate late\n", "once");
    let (_, status) = home.run(&["status"]);
    assert!(status.contains("our certificate for office: expires in 9 days; get a new one"), "{status}");

    // An agent takes in a new one when it reads its configuration again.
    let agent = Agent::start(&home);
    let new = pki.client("clinic");
    fs::write(home.path().join("own.pem"), new.certificate_pem()).unwrap();
    fs::write(home.path().join("own.key"), new.key_pem()).unwrap();
    kill_process(Pid::from_raw(i32::try_from(agent.0.id()).unwrap()).unwrap(), Signal::HUP).unwrap();
    loop {
        let (_, status) = home.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        if status["alerts"] == serde_json::json!([]) {
            break;
        }
    }
    agent.end();
    assert_eq!(told(), "client-certificate late\nclient-certificate recovery\n");
}

/// A clock three hours behind.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now().minus(Duration::from_hours(3))
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

/// The agent's ledger says that it was set up three hours ago, and nothing ran since.
#[test]
fn an_agent_that_was_down_tells_what_is_late_once_also_over_restarts() {
    let server = Server::builder().start().unwrap();
    let (port, requests) = http(None);
    let home = Home::new();
    home.configure(&server, USER, &format!("    - webhook: {{url: \"http://127.0.0.1:{port}/\"}}\n"));
    let yaml = fs::read_to_string(home.path().join("jobs.yaml")).unwrap();
    fs::write(
        home.path().join("jobs.yaml"),
        yaml.replace("destination: /in", "destination: /in, max_age: 2h"),
    )
    .unwrap();
    let opened = State::open(&home.path().join("state"), Arc::new(Behind)).unwrap();
    let scheduled = Scheduled { job: "reports".parse().unwrap(), schedule: "x".into(), from: Behind.now() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(opened.state.commit_general(vec![Record::Scheduled(scheduled)])).unwrap();
    opened.state.close().unwrap();
    let event = |request: Request| {
        let json: Value = serde_json::from_str(&request.body).unwrap();
        (json["event"].as_str().unwrap().to_owned(), json["kind"].as_str().unwrap().to_owned())
    };
    let too_old = |event: &str| (event.to_owned(), "too-old".to_owned());

    let agent = Agent::start(&home);
    assert_eq!(event(requests.recv_timeout(ARRIVES).unwrap()), too_old("late"));
    let (_, status) = home.run(&["status"]);
    assert!(status.contains("wrong since") && status.contains("no run has ended well yet"), "{status}");
    agent.end();
    let (_, status) = home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["alerts"][0]["kind"], "too-old", "from the file: {status}");

    let agent = Agent::start(&home);
    home.sync(0);
    assert_eq!(
        event(requests.recv_timeout(ARRIVES).unwrap()),
        too_old("recovery"),
        "no second alert before it"
    );
    agent.end();
    assert!(requests.try_recv().is_err());
    let (_, status) = home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["alerts"], serde_json::json!([]));
    assert!(status["servers"][0]["certificate_expires"].is_string(), "{status}");
}

/// An agent that runs; killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(home: &Home) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightferry"));
        let child = command
            .current_dir(home.path())
            .args(["--config", "jobs.yaml", "run"])
            .env_remove("STATE_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env("NF_PASSWORD", "password")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut agent = Self(child);
        let mut log = BufReader::new(agent.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("The agent is ready.") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the agent ended");
        }
        // What it says more is of no concern, but it must not wait for a reader.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        agent
    }

    fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}
