//! The status page, and what monitoring reads.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::mpsc;

use ftps_server::Event as ServerEvent;

use super::*;

/// A home whose configuration has further keys of the agent.
fn home(server: &Server, agent: &str, jobs: &str) -> Home {
    let home = Home::new(&[("office", server)], jobs);
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    fs::write(file, yaml.replace("timezone: UTC", &format!("timezone: UTC, {agent}"))).unwrap();
    home
}

/// Where the page is, as the log says before the agent is ready.
fn address(agent: &Agent) -> String {
    let line = agent.seen.lines().find(|line| line.contains("The status page is open.")).unwrap();
    line.split("address=").nth(1).unwrap().trim().to_owned()
}

fn say(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(address: &str, path: &str) -> (u16, String) {
    let answer = say(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of a series.
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn people_and_monitors_can_look_and_nobody_can_do_anything() {
    let lost = Fault::on("STOR", Action::Reply("451 no".into())).once();
    let server = Server::builder().fault(lost).start().unwrap();
    let home = home(&server, "status: \"127.0.0.1:0\"", ONE);
    home.write("one/a.txt", b"abc");
    let agent = home.agent();
    let at = address(&agent);
    assert_eq!(get(&at, "/readyz"), (200, "ready\n".to_owned()));
    let (_, before) = get(&at, "/metrics");
    assert_eq!(value(&before, "nightferry_files_total{job=\"one\",action=\"delivered\"}"), 0);
    assert_eq!(home.run(&["sync"]).0, 0);

    let (code, metrics) = get(&at, "/metrics");
    assert_eq!(code, 200);
    for (series, expected) in [
        ("nightferry_files_total{job=\"one\",action=\"delivered\"}", 1),
        ("nightferry_bytes_total{job=\"one\",action=\"delivered\"}", 3),
        ("nightferry_runs_total{job=\"one\",result=\"done\"}", 1),
        ("nightferry_retries_total{job=\"one\",class=\"temporary\"}", 1),
        ("nightferry_job_last_run_exit_code{job=\"one\"}", 0),
        ("nightferry_job_running{job=\"one\"}", 0),
        ("nightferry_guard_trips_total{job=\"one\"}", 0),
        ("nightferry_watch_overflows_total{job=\"one\"}", 0),
        ("nightferry_agent_ready", 1),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}\n{metrics}");
    }
    assert!(metrics.contains("nightferry_proofs_total{job=\"one\",method="), "{metrics}");
    let now = u64::try_from(SystemClock.now().unix_nanos() / 1_000_000_000).unwrap();
    assert!(now - value(&metrics, "nightferry_job_last_success_timestamp_seconds{job=\"one\"}") < 60);
    let expiry = value(&metrics, "nightferry_server_certificate_expiry_timestamp_seconds{server=\"office\"}");
    assert!(expiry > now, "{expiry}");
    assert!(!metrics.contains("a.txt"));

    let (code, json) = get(&at, "/status.json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json), (200, &home.status()));
    assert!(json["servers"][0]["certificate_expires"].is_string(), "{json}");
    let (_, table, _) = home.run(&["status"]);
    assert!(table.contains("certificate of office: good for "), "{table}");

    let page = say(&at, &format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    for words in [
        "200 OK",
        "content-security-policy: default-src 'none'; style-src 'self'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "<h1>All is well</h1>",
    ] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    assert_eq!((get(&at, "/style.css").0, get(&at, "/healthz").0, get(&at, "/x").0), (200, 200, 404));
    let head = say(&at, &format!("HEAD / HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    for (request, code) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), 421),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\nHost: {at}\r\n\r\n"), 421),
        (format!("POST /metrics HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\n\r\n"), 405),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\nX: {}\r\n\r\n", "x".repeat(9_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\n{}\r\n", "X: x\r\n".repeat(70)), 431),
        ("\x16\x03\x01 what is this\r\n\r\n".to_owned(), 400),
    ] {
        let answer = say(&at, &request);
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.starts_with("HTTP/1.") && line.contains(&format!(" {code} ")), "{code}: {answer}");
    }
    agent.end();
    assert!(TcpStream::connect(&at).is_err());
}

#[test]
fn one_connection_too_many_is_closed_and_the_others_are_not() {
    let server = Server::builder().start().unwrap();
    let home = home(&server, "status: \"127.0.0.1:0\"", ONE);
    let agent = home.agent();
    let at = address(&agent);
    let mut idle: Vec<_> = (0..32).map(|_| TcpStream::connect(&at).unwrap()).collect();
    let mut more = TcpStream::connect(&at).unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\n\r\n");
    // It may be closed before the request is out.
    let mut answer = Vec::new();
    drop(more.write_all(request.as_bytes()).and_then(|()| more.read_to_end(&mut answer).map(drop)));
    assert_eq!(answer, b"", "closed without a word");
    let mut first = idle.remove(0);
    first.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    agent.end();
}

#[test]
fn an_agent_that_stops_is_not_ready() {
    let slow = Fault::on("STOR", Action::Stall);
    let (told, listening) = mpsc::channel();
    let server = Server::builder().fault(slow).on_event(move |event| {
        if matches!(event, ServerEvent::Listening { .. }) {
            told.send(()).unwrap();
        }
    });
    let server = server.start().unwrap();
    let home = home(&server, "status: \"127.0.0.1:0\"", ONE);
    home.write("one/a.txt", b"abc");
    let mut agent = home.agent();
    let at = address(&agent);
    let mut sync = home.command(&["sync"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    agent.until("The run began.");
    // A file is under way from then on.
    listening.recv().unwrap();
    assert_eq!(get(&at, "/readyz").0, 200);
    let (_, metrics) = get(&at, "/metrics");
    assert_eq!(value(&metrics, "nightferry_job_running{job=\"one\"}"), 1);
    agent.signal(Signal::TERM);
    agent.until("The agent stops");
    assert_eq!(get(&at, "/readyz"), (503, "stopping\n".to_owned()));
    assert_eq!(get(&at, "/healthz").0, 200);
    agent.signal(Signal::TERM);
    agent.until("ends at once");
    agent.child.wait().unwrap();
    sync.wait().unwrap();
}

#[test]
fn names_of_files_can_be_kept_off_the_page() {
    let server = Server::builder().start().unwrap();
    let keys = "status: {address: \"127.0.0.1:0\", file_names: hide}";
    let home = home(&server, keys, ONE);
    home.write("one/jane\ndoe.txt", b"abc");
    let agent = home.agent();
    let at = address(&agent);
    assert_eq!(home.run(&["sync"]).0, 3);
    for path in ["/", "/status.json", "/metrics"] {
        let (code, body) = get(&at, path);
        assert!(code == 200 && !body.contains("jane"), "{body}");
    }
    assert!(home.status().to_string().contains("jane"), "whoever may ask the agent is told");
    agent.end();
}

#[test]
fn a_file_of_metrics_is_kept_with_an_agent_and_without_one() {
    let server = Server::builder().start().unwrap();
    let jobs = "  one: {source: one, server: office, destination: /in, delete: {remote: delete, max_percent: 100, marker: .mounted}}\n  \
                two: {source: two, server: office, destination: /two}\n";
    let home = home(&server, "metrics_file: nightferry.prom", jobs);
    let file = home.path().join("nightferry.prom");
    let read = || fs::read_to_string(&file).unwrap();
    let delivered = "nightferry_files_total{job=\"one\",action=\"delivered\"}";
    home.write("one/.mounted", b"");
    home.write("one/a.txt", b"a");
    home.write("one/b.txt", b"b");
    home.write("two/c.txt", b"c");
    assert_eq!(home.run(&["sync"]).0, 0);
    assert_eq!(value(&read(), delivered), 3);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(
        fs::read_dir(home.path())
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "new")
            })
            .count(),
        0
    );

    fs::remove_file(home.path().join("one/b.txt")).unwrap();
    fs::remove_file(home.path().join("one/.mounted")).unwrap();
    assert_eq!(home.run(&["sync", "one"]).0, 4);
    let text = read();
    assert_eq!(value(&text, "nightferry_guard_trips_total{job=\"one\"}"), 1, "{text}");
    assert_eq!(value(&text, "nightferry_job_last_run_exit_code{job=\"one\"}"), 4);
    assert_eq!(value(&text, "nightferry_files_total{job=\"two\",action=\"delivered\"}"), 1);
    assert!(!text.contains("nightferry_agent"), "{text}");

    home.write("one/.mounted", b"");
    home.write("one/d.txt", b"d");
    let agent = home.agent();
    assert_eq!(home.run(&["sync", "one"]).0, 0);
    agent.end();
    let text = read();
    assert_eq!(value(&text, delivered), 4, "{text}");
    assert!(text.contains("nightferry_agent_ready 0\n"), "{text}");
}

/// Of a job that has no times of its own as well, on the page and in the terminal.
#[test]
fn times_are_shown_in_the_agents_zone() {
    let server = Server::builder().start().unwrap();
    let jobs =
        format!("{ONE}  two: {{source: two, server: office, destination: /two, timezone: Asia/Tokyo}}\n");
    let home = home(&server, "status: \"127.0.0.1:0\"", &jobs);
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap().replace("timezone: UTC", "timezone: Asia/Kolkata");
    fs::write(&file, yaml).unwrap();
    home.write("one/a.txt", b"a");
    home.write("two/a.txt", b"a");
    let agent = home.agent();
    assert_eq!(home.run(&["sync"]).0, 0);
    let status = home.status();
    let shown = |job: usize, zone: &str, format: &str| {
        let began: nightferry::domain::Timestamp =
            status["jobs"][job]["last"]["began"].as_str().unwrap().parse().unwrap();
        zone.parse::<nightferry::domain::Zone>().unwrap().local(began).format(format).to_string()
    };
    let (_, page) = get(&address(&agent), "/");
    let (_, table, _) = home.run(&["status"]);
    let (_, history, _) = home.run(&["history"]);
    let (_, first, _) = home.run(&["history", "show", "1"]);
    let as_of = page.split("class=\"as-of\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(as_of.ends_with(" IST"), "{as_of}");
    for (job, zone) in [(0, "Asia/Kolkata"), (1, "Asia/Tokyo")] {
        let time = shown(job, zone, "%H:%M");
        assert!(page.contains(&format!(" {time} ")), "{zone} {time}\n{page}");
        let date = shown(job, zone, "%a %m-%d %H:%M");
        assert!(table.contains(&date), "{zone} {date}\n{table}");
        let dated = shown(job, zone, "%Y-%m-%d %H:%M ") + if job == 0 { "IST" } else { "JST" };
        assert!(history.contains(&dated), "{zone} {dated}\n{history}");
    }
    assert!(table.contains("\ntimes are those of Asia/Kolkata\n"), "{table}");
    assert_eq!(table.matches("\n  times of this job are those of Asia/Tokyo\n").count(), 1, "{table}");
    assert_eq!(table.matches("times of this job").count(), 1, "{table}");
    assert!(history.lines().all(|line| line.chars().count() <= 80), "{history}");
    let one = if status["jobs"][0]["last"]["run"] == 1 { (0, "Asia/Kolkata") } else { (1, "Asia/Tokyo") };
    assert!(first.starts_with(&shown(one.0, one.1, "%Y-%m-%d %H:%M ")), "{first}");
    agent.end();
    let (_, table, _) = home.run(&["status"]);
    assert!(table.contains(&shown(0, "Asia/Kolkata", "%a %m-%d %H:%M")), "without an agent: {table}");
}
