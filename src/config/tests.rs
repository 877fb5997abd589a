use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    AddressFamily, Charset, DataMode, Digest, Mode, Network, SecretRef, SpkiPin, TlsMode, TlsPolicy,
    TlsVersion, VerifyPolicy,
};

const PATH: &str = "/etc/nightferry/jobs.yaml";

fn read(file: impl AsRef<[u8]>) -> Result<Config, String> {
    parse(file.as_ref(), Path::new(PATH), Some(PathBuf::from("/state")))
        .map_err(|problems| Problems::new("jobs.yaml".into(), problems).to_string())
}

/// A good file but for what is put into the server and behind the job.
fn file(server: &str, job: &str) -> String {
    format!(
        "version: 1
servers:
  vault:
    host: v.example
    username: u
{server}jobs:
  reports:
    source: s
    server: vault
    destination: /d
{job}"
    )
}

fn with_server(keys: &str) -> String {
    file(keys, "")
}

fn with_job(keys: &str) -> String {
    file("    password: {env: P}\n", keys)
}

fn with_host(host: &str) -> String {
    with_job("").replace("v.example", host)
}

/// Each file and what a person is told of it.
fn told(files: &[impl AsRef<[u8]>]) -> String {
    let mut told = String::new();
    for file in files {
        let reply = read(file).expect_err(&String::from_utf8_lossy(file.as_ref()));
        let file = String::from_utf8_lossy(file.as_ref()).escape_debug().to_string().replace("\\n", "\n");
        told.extend(["-- ", file.trim_end().replace('\n', "\n   ").as_str(), "\n", &reply, "\n\n"]);
    }
    told
}

#[test]
fn files_that_are_no_configuration() {
    let files: &[&[u8]] = &[
        b"",
        b"# only a comment\n",
        b"hello",
        b"- a\n- b\n",
        b"version: 1\nname: caf\xe9\n",
        b"version: 1\nname: \0\n",
        b"version: 1\n",
        b"version: 2\nservers: 5\n",
        b"version: one\n",
        b"version: one\nservers: 5\njobs: {a: {sorce: /s}}\n",
        b"version:\nservers: 5\n",
        b"verison: 1\nservers: {}\njob: {a: {}}\n",
        b"version: 1\nservers:\njobs:\n",
        b"version: 1\nservers: {}\njobs: {}\n",
        b"\xef\xbb\xbfversion: 1\r\nservers: 5\r\njobs: []\r\n",
    ];
    insta::assert_snapshot!(told(files));
}

#[test]
fn files_that_are_no_plain_yaml() {
    let files = [
        "version: 1\nagent:\n\tstate_dir: x\n",
        "version: 1\nagent: {state_dir: \"x\n",
        "version: [1\n",
        "version: 1\n  servers: x\n",
        "version: 1\njobs:\n  one:\n    source: x\n   server: y\n",
        "version: 1\njobs:\n    one: {}\n  two: {}\n",
        "jobs:\n  one:\n    include:\n    - a\n   - b\n",
        "version: 1\nservers: {a: {port: 1}\n",
        "version: 1\nhost: @x\n",
        "version: 1\n---\nversion: 1\n",
        "version: 1\nservers: &x {}\njobs: *x\n",
        "version: 1\nservers: !env X\njobs: {<<: {}}\n",
        "version: 1\nservers: {{ name }}\njobs: {a: {}, a: {}}\nversion: 2\n",
    ];
    let told = told(&files);
    for line in told.lines().filter(|line| line.contains("not valid YAML")) {
        assert!(told.contains(&format!("{line}\n    help: ")), "no remedy: {line}");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn bandwidths_are_read() {
    let text = "    password: {env: P}
    bandwidth:
      limit: unlimited
      timezone: Europe/Berlin
      timetable:
      - {hours: Mon-Fri 08:00-18:00, limit: 500 kB/s}
      - {hours: 12:00-13:00, limit: 16 Mbit/s}
";
    let config = read(with_server(text)).unwrap();
    let bandwidth = &config.servers.values().next().unwrap().bandwidth;
    let at = |time: &str| bandwidth.at(time.parse().unwrap()).map(|rate| rate.to_string());
    // A Monday and a Sunday; Berlin is an hour ahead.
    assert_eq!(at("2026-11-23T07:00:00Z").as_deref(), Some("500 kB/s"));
    assert_eq!(at("2026-11-23T17:00:00Z"), None);
    assert_eq!(at("2026-11-22T11:30:00Z").as_deref(), Some("2 MB/s"));
    assert!(
        read(with_server("    password: {env: P}\n"))
            .unwrap()
            .servers
            .values()
            .all(|server| server.bandwidth.is_unlimited())
    );
}

#[test]
fn servers_with_problems() {
    let files = [
        with_server(
            "    password: {env: P}
    conections: 4
    port: four
    tls: implcit
    connections: 65
    bandwidth: 5 MB/s
    tls_version: {min: 1.1}
    trust: {pins: [abc], ca_file: ~/ca.pem, crl_files: x}
    client_certificate: {cert_file: a}
    port: 21
",
        ),
        with_server(
            "    password: {env: P}
    tls_version: {min: 1.3, max: 1.2}
    colour: red
    port: \"21\"
    connections: 2.5
    tls: true
",
        ),
        with_server(
            "    password: {env: P}
    bandwidth:
      limit: 5 Mb/s
      timezone: Berlin
      timetable:
      - {hours: 8-18, limit: 1 kB/s}
      - {hours: Mon-Fri 08:00-18:00}
      - {limit: unlimited, ours: 08:00-18:00}
",
        ),
        with_server("    password: {env: P}\n    bandwidth: {timezone: UTC}\n"),
        with_host("ftps://u:p@h"),
        with_host("h:21"),
        with_host("[a, b]"),
        with_host(""),
        with_job("").replace("username: u", "username: \"a\\nb\""),
    ];
    insta::assert_snapshot!(told(&files));
}

#[test]
fn networks_with_problems() {
    let server = |keys: &str| with_server(&format!("    password: {{env: P}}\n{keys}"));
    let files = [
        server(
            "    address_family: v4
    data: {mode: activ, ports: 80-90}
    timeouts: {connect: 20, reply: 0s, stall: soon, drain: 2days, idle: 1s}
    tls_policy: nist
    charset: utf-16
",
        ),
        server("    data: {ports: 50000-50100, listen: 192.0.2.7}\n"),
        server("    data: {mode: active, pasv_address: trust, ports: 80-90, announce: here}\n"),
        server("    data: {mode: active, ports: 50100-50000, listen: 10.0.0.1/8}\n"),
    ];
    insta::assert_snapshot!(told(&files));
}

#[test]
fn jobs_with_problems() {
    let files = [
        with_job(
            "    include: '*.csv'
    exclude: [\"a[\", '', {a: b}]
    verify: readback
    overwrite: yes
    mode: [drop]
",
        ),
        with_job("    delete: {remote: bin, max_percent: 101, marker: /x, trash_days: 0}\n"),
        with_job("    mode: drop\n    delete: {remote: trash}\n"),
        with_job("    after_delivery: delete\n    delete: {remote: delete}\n"),
        with_job("    after_delivery: remove\n"),
        with_job("    symlinks: folow\n"),
        with_job("    symlinks: follow\n    after_delivery: delete\n"),
        with_job("    after_delivery: {move_to: s/sent, keep: 3d}\n"),
        with_job("    schedule: \"0 17 * *\"\n    watch: {settle: 5s}\n    delete: {remote: trash}\n"),
        with_job("  copy: {source: ./s/, server: vault, destination: /d/}\n"),
        with_job("  reports: {}\n"),
        with_job(
            "  bad name: {source: ~/x, server: valut, destination: /a/../b}
  other: {sorce: x}
  third:
  fourth: x
  fifth: {source: x, server: nowhere, destination: \"/a\\nb\"}
",
        ),
    ];
    insta::assert_snapshot!(told(&files));
}

#[test]
fn passwords_in_the_file_are_refused_and_never_shown() {
    let secrets = [
        "hunter2",
        "",
        "{}",
        "{env: hunter2!}",
        "{env: A, file: b}",
        "{comand: [a]}",
        "{hunter2}",
        "{hunter2, hunter2}",
        "{command: echo hunter2}",
        "{command: []}",
        "{file: ~/hunter2}",
        "{credential: ../hunter2}",
        "[hunter2]",
        "!hunter2",
        "*hunter2",
        "[hunter2",
        "{file: [hunter2]}",
    ];
    let told = told(&secrets.map(|secret| with_server(&format!("    password: {secret}\n"))));
    let replies = told.lines().filter(|line| !line.starts_with(['-', ' ']) || line.contains("help:"));
    for reply in replies.clone() {
        assert!(!reply.contains("hunter2"), "{reply}");
    }
    insta::assert_snapshot!(replies.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_example_is_a_good_file_and_shows_every_key() {
    let text = include_str!("../../jobs.example.yaml");
    let config = read(text).unwrap();
    assert_eq!(config.path, Path::new(PATH));
    assert_eq!(config.agent.state_dir, Path::new("/var/lib/nightferry"));
    for keys in [server::KEYS, job::KEYS] {
        for key in keys.known {
            assert!(text.contains(&format!("    {key}:")), "{key}");
        }
    }
    let office = &config.servers[&"billing-office".parse().unwrap()];
    assert_eq!(
        (office.host.as_str(), office.port, office.tls),
        ("ftps.billing.example", 990, TlsMode::Implicit)
    );
    assert_eq!((office.tls_versions.min, office.tls_versions.max), (TlsVersion::V1_2, TlsVersion::V1_3));
    assert_eq!(office.password, SecretRef::Env("BILLING_PASSWORD".into()));
    assert_eq!(office.trust.ca_file.as_deref(), Some(Path::new("/etc/nightferry/billing-ca.pem")));
    assert_eq!(office.trust.pins, [SpkiPin(Digest::of(b""))]);
    let vault = &config.servers[&"vault".parse().unwrap()];
    assert_eq!((vault.port, vault.tls, vault.connections.get()), (21, TlsMode::Explicit, 8));
    assert_eq!((office.tls_policy, vault.tls_policy), (TlsPolicy::Nist80052r2, TlsPolicy::Standard));
    assert_eq!((vault.network.family, vault.charset), (AddressFamily::V4, Charset::UTF_8));
    let DataMode::Active(ports) = &vault.network.data else { panic!("{:?}", vault.network) };
    assert_eq!(ports.ports, Some(50000..=50100));
    assert_eq!(ports.announce, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(vault.network.timeouts.reply, Some(Duration::from_mins(1)));
    assert_eq!(office.network, Network::default());
    let reports = &config.jobs[&"daily-reports".parse().unwrap()];
    assert_eq!(reports.source, Path::new("/srv/clinic/reports"));
    assert_eq!(
        (reports.mode, reports.include.as_slice()),
        (Mode::Drop, ["*.csv", "*.pdf"].map(String::from).as_slice())
    );
    assert_eq!(config.jobs[&"offsite-backup".parse().unwrap()].verify, VerifyPolicy::ReadBack);
}

#[test]
fn texts_stay_as_they_are_written_and_paths_begin_at_the_file() {
    let text =
        with_job("    include: [1.10, 0755, no]\n    exclude:\n").replace("username: u", "username: 0042");
    let config = read(format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    let job = config.jobs.values().next().unwrap();
    assert_eq!(job.include, ["1.10", "0755", "no"]);
    assert_eq!(job.source, Path::new("/etc/nightferry/s"));
    assert_eq!(config.servers.values().next().unwrap().username, "0042");
    assert_eq!(config.agent.state_dir, Path::new("/state"));
}

#[test]
fn addresses_are_hosts() {
    for (written, host) in [
        ("127.0.0.1", "127.0.0.1"),
        ("'::1'", "::1"),
        ("'[2001:db8::1]'", "2001:db8::1"),
        ("a_b.local", "a_b.local"),
    ] {
        assert_eq!(read(with_host(written)).unwrap().servers.values().next().unwrap().host, host);
    }
}

/// The processor's time that this thread has had: other work on the machine does not count.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[test]
fn hostile_files_are_refused_quickly() {
    let layer = |n: usize| {
        "an: &an [*am, *am, *am]\n".replace('m', &(n - 1).to_string()).replace('n', &n.to_string())
    };
    let bomb: String = std::iter::once("a0: &a0 x\n".to_owned()).chain((1..10).map(layer)).collect();
    let keys: String =
        (0..100_000).flat_map(|n| ["k".to_owned(), n.to_string(), ": \n".to_owned()]).collect();
    let flow = "[".repeat(MAX_HOSTILE_BYTES);
    let block = "- ".repeat(MAX_HOSTILE_BYTES / 2);
    let pairs = "{a: ".repeat(MAX_HOSTILE_BYTES / 4);
    for (name, file) in [("bomb", bomb), ("keys", keys), ("flow", flow), ("block", block), ("pairs", pairs)] {
        let begun = worked();
        let problems = read(&file).expect_err(name);
        assert!(problems.lines().count() <= 101, "{name}");
        let taken = worked().saturating_sub(begun);
        assert!(taken < Duration::from_secs(5), "{name} took {taken:?}");
    }
}

/// Nine levels of nine references each: a hundred million words where somebody follows them.
#[test]
fn the_billion_laughs_are_refused_at_once() {
    let laugh = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
    let bomb: String = std::iter::once("a0: &a0 lol\n".to_owned()).chain((1..=9).map(laugh)).collect();
    let begun = worked();
    let problems = read(&bomb).unwrap_err();
    let taken = worked().saturating_sub(begun);
    assert!(taken < Duration::from_millis(100), "{taken:?}");
    assert!(problems.contains("aliases (`*name`) are not read"), "{problems}");
}

const MAX_HOSTILE_BYTES: usize = 1024 * 1024;

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(read(bytes));
    }

    #[test]
    fn no_yaml_makes_it_panic(text in r##"([-:?{}\[\],&*!|>%@'"#~ \n\t]|version|jobs|servers|a|1|é){0,60}"##) {
        drop(read(text));
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(at in 0_usize..4000, cut in 0_usize..6, put in "[-:{}\\[\\]&*!'\"#~ \n\t]{0,3}") {
        let mut text = include_str!("../../jobs.example.yaml").to_owned();
        let at = text.floor_char_boundary(at);
        let end = text.ceil_char_boundary(at + cut);
        text.replace_range(at..end, &put);
        drop(read(text));
    }
}

#[test]
fn receivers_with_problems() {
    let notify = |entry: &str| with_job(&format!("    notify:\n      - {entry}\n"));
    insta::assert_snapshot!(told(&[
        notify("webhook: {url: \"http://example.com/s3cret\"}"),
        notify("webhook: {url: \"https://u:s3cret@example.com/\"}"),
        notify("webhok: {url: \"https://example.com/\"}"),
        notify("webhook: {url: \"https://example.com/\", secret: s3cret}"),
        notify("on: [failure]"),
        notify("{ping: {url: \"https://a.example/\"}, command: [x]}"),
        notify("command: page-me --now"),
        notify("{command: [x], on: [sucess]}"),
        notify("{command: [x], on: []}"),
        notify("{command: [x], names: yes please}"),
        notify("email: {to: [\"a@b\\r\\nBcc: c@d\"], from: a@b.example, smtp: {host: m.example}}"),
        notify("email: {to: [], from: nobody, smtp: {host: m.example, tls: none, username: u}}"),
        with_job("    notify: admin@clinic.example\n"),
        with_job("    unusual: 5\n"),
    ]));
}

#[test]
fn receivers_are_read_with_their_defaults() {
    use crate::domain::{FileNames, Occasion, SmtpTls, Way};
    let yaml = "    notify:\n      - ping: {url: \"https://hc-ping.com/x\"}\n      - email: {to: [a@b.example], from: c@d.example, smtp: {host: m.example}}\n        names: true\n";
    let config = read(with_job(yaml)).unwrap();
    let [ping, mail] = config.jobs.values().next().unwrap().notify.as_slice() else { panic!("{config:?}") };
    assert_eq!((ping.on.len(), ping.names), (Occasion::ALL.len(), FileNames::Withheld));
    let Way::Email(email) = &mail.way else { panic!("{mail:?}") };
    assert_eq!((email.smtp.port, email.smtp.tls, email.smtp.login.as_ref()), (465, SmtpTls::Implicit, None));
    assert_eq!(mail.names, FileNames::Told);
    assert!(!mail.on.contains(&Occasion::Success) && mail.on.contains(&Occasion::Late));
}

/// Where a job goes from is known by the path of its source: the same file named in another way must not make it
/// another job, whose files are all sent again.
#[test]
fn relative_paths_are_the_same_however_the_file_is_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    for folder in ["etc", "other"] {
        std::fs::create_dir(home.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink("etc", home.join("link")).unwrap();
    std::fs::write(home.join("etc/jobs.yaml"), with_job("")).unwrap();
    for name in ["etc/jobs.yaml", "other/../etc/jobs.yaml", "link/jobs.yaml", "etc/./jobs.yaml"] {
        let config = load(&home.join(name)).unwrap();
        let source = &config.jobs.values().next().unwrap().source;
        assert_eq!(source, &home.join("etc/s"), "{name}");
    }
}

/// The places of all mistakes of a file, in its order.
fn mistaken(file: &str) -> Vec<String> {
    let problems = parse(file.as_bytes(), Path::new(PATH), Some(PathBuf::from("/state"))).expect_err(file);
    problems.into_iter().map(|problem| problem.key_path).collect()
}

fn with_agent(keys: &str, file: &str) -> String {
    file.replace("version: 1\n", &format!("version: 1\nagent: {{{keys}}}\n"))
}

/// A job with these keys.
fn job_of(keys: &str) -> String {
    with_job(&format!("    {}\n", keys.replace("; ", "\n    ")))
}

fn server_of(keys: &str) -> String {
    with_server(&format!("    password: {{env: P}}\n    {keys}\n"))
}

/// All mistakes of these files stand at these places.
fn check_places(files: Vec<(String, Vec<&str>)>) {
    let mut hidden = Vec::new();
    for (file, places) in files {
        let (mut found, mut places) =
            (mistaken(&file), places.into_iter().map(String::from).collect::<Vec<_>>());
        found.sort();
        places.sort();
        if found != places {
            hidden.push(format!("{file}{found:?}, not {places:?}"));
        }
    }
    assert!(hidden.is_empty(), "{}", hidden.join("\n"));
}

#[test]
fn no_mistake_of_the_agent_hides_another() {
    // The zone is that of servers and jobs too, and nothing is said of the system's in its place.
    let wrong_job = job_of("mode: mirrored; schedule: \"0 17 * * *\"; window: [\"8-18\"]");
    check_places(vec![
        (
            with_agent("timezone: Berlin", &wrong_job),
            vec!["agent.timezone", "jobs.reports.mode", "jobs.reports.window[0]"],
        ),
        (
            with_agent("timezone: Berlin", &server_of("bandwidth: {limit: 5}")),
            vec!["agent.timezone", "servers.vault.bandwidth.limit"],
        ),
        (
            with_agent("state_dir: ~/s, log: {level: all}, status: x, metrics_file: ~/m", &with_job("")),
            vec!["agent.state_dir", "agent.log.level", "agent.status", "agent.metrics_file"],
        ),
        (
            with_agent("status: {address: \"0.0.0.0:1\", file_names: x}", &with_job("")),
            vec!["agent.status.file_names", "agent.status"],
        ),
    ]);
}

/// What does not go together is told beside what is wrong by itself.
#[test]
fn no_mistake_of_a_job_or_server_hides_another() {
    check_places(vec![
        (
            job_of("timezone: Berlin; jitter: 5m; catch_up: true; unusual: 5"),
            vec![
                "jobs.reports.timezone",
                "jobs.reports.jitter",
                "jobs.reports.catch_up",
                "jobs.reports.unusual",
            ],
        ),
        (
            job_of("schedule: \"* * * * *\"; jitter: 2m; deadline: soon; max_age: 1s"),
            vec!["jobs.reports.deadline", "jobs.reports.max_age", "jobs.reports.jitter"],
        ),
        (
            job_of(
                "schedule: \"0 17 * * *\"; timezone: Berlin; window: [\"08:00-09:00\"]; expect: {by: \"16:00\"}",
            ),
            vec!["jobs.reports.timezone", "jobs.reports.window", "jobs.reports.expect"],
        ),
        (
            job_of("after_delivery: delete; symlinks: follow; delete: {remote: trash}")
                .replace("source: s", "source: ~/s"),
            vec!["jobs.reports.source", "jobs.reports.symlinks", "jobs.reports.delete"],
        ),
        (
            job_of("mode: drop; after_delivery: burn; delete: {remote: trash}"),
            vec!["jobs.reports.after_delivery", "jobs.reports.delete"],
        ),
        (
            job_of("notify: [{on: [sucess], names: perhaps}]"),
            vec!["jobs.reports.notify[0]", "jobs.reports.notify[0].on[0]", "jobs.reports.notify[0].names"],
        ),
        (
            server_of("data: {mode: activ, listen: here, announce: there, ports: 1-2, pasv_address: x}"),
            vec![
                "servers.vault.data.mode",
                "servers.vault.data.listen",
                "servers.vault.data.announce",
                "servers.vault.data.ports",
                "servers.vault.data.pasv_address",
            ],
        ),
        (
            server_of("bandwidth: {timezone: Berlin}"),
            vec!["servers.vault.bandwidth.timezone", "servers.vault.bandwidth"],
        ),
    ]);
}
