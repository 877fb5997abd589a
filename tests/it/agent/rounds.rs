//! What the agent does about files that go missing on a server after their delivery.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use nightferry::domain::Timestamp;

/// A clock that stands.
#[derive(Debug)]
struct At(Timestamp);

impl nightferry::clock::Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn random(&self) -> u64 {
        SystemClock.random()
    }
}

/// The ledger says that the job is known for so many days; a file was delivered just now, and is gone
/// on the server since.
fn home(server: &Server, keys: &str, days: u64) -> Home {
    let job = format!(
        "  one: {{source: one, server: office, destination: /in, {keys} notify: [{{command: [sh, -c, 'echo \
         $NIGHTFERRY_KIND $NIGHTFERRY_EVENT >> told'], on: [failure, recovery]}}]}}\n"
    );
    let home = Home::new(&[("office", server)], &job);
    home.write("one/a.txt", b"a");
    home.write("one/b.txt", b"b");
    let from = SystemClock.now().minus(Duration::from_hours(days * 24));
    let opened = State::open(&home.path().join("state"), Arc::new(At(from))).unwrap();
    let scheduled = Scheduled { job: "one".parse().unwrap(), schedule: "none".into(), from };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(opened.state.commit_general(vec![Record::Scheduled(scheduled)])).unwrap();
    opened.state.close().unwrap();
    let (code, _, stderr) = home.run(&["sync"]);
    assert_eq!(code, 0, "{stderr}");
    fs::remove_file(server.root().join("in/a.txt")).unwrap();
    home
}

#[test]
fn what_goes_missing_on_the_server_is_found_told_and_sent_again() {
    let server = Server::builder().start().unwrap();
    let home = home(&server, "", 8);
    let mut agent = home.agent();
    let found = agent.until("Files are missing or changed on the server.");
    assert!(found.contains("missing=1 changed=0") && found.contains("a.txt"), "{found}");
    let again = agent.until("The run began.");
    assert!(again.contains("why=repair"), "{again}");
    agent.until("What was missing or changed stands on the server again.");
    assert_eq!(fs::read(server.root().join("in/a.txt")).unwrap(), b"a");
    let status = home.status();
    assert!(status["jobs"][0]["last_verified"].is_string(), "{status}");
    assert_eq!(status["alerts"].as_array().unwrap().len(), 0, "{status}");
    let (_, table, _) = home.run(&["status"]);
    assert!(table.contains("  server verified ") && table.contains("; next "), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    agent.end();
    assert_eq!(fs::read_to_string(home.path().join("told")).unwrap(), "verify failure\nverify recovery\n");

    // The ledger knows of it: nothing is looked at twice.
    let agent = home.agent();
    let at =
        |status: &Value| status["jobs"][0]["last_verified"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(at(&home.status()).since(at(&status)) < Duration::from_mins(1));
    let seen = agent.end();
    assert!(!seen.contains("The run began."), "{seen}");
}

#[test]
fn a_sidecar_that_goes_missing_is_put_back_without_its_file() {
    let server = Server::builder().start().unwrap();
    let home = home(&server, "sidecars: [done],", 8);
    fs::remove_file(server.root().join("in/b.txt.done")).unwrap();
    let before = fs::metadata(server.root().join("in/b.txt")).unwrap();
    let mut agent = home.agent();
    let found = agent.until("Files are missing or changed on the server.");
    assert!(found.contains("missing=2 changed=0"), "{found}");
    agent.until("What was missing or changed stands on the server again.");
    agent.end();
    for name in ["a.txt", "a.txt.done", "b.txt.done"] {
        assert!(server.root().join("in").join(name).exists(), "{name}");
    }
    assert_eq!(
        fs::metadata(server.root().join("in/b.txt")).unwrap().ino(),
        before.ino(),
        "it was sent again"
    );
}

#[test]
fn a_server_that_is_looked_at_is_not_looked_at_before_its_time_nor_where_it_is_off() {
    for (keys, days) in [("", 5), ("verify_every: off,", 300), ("verify_every: 30d,", 20)] {
        let server = Server::builder().start().unwrap();
        let home = home(&server, keys, days);
        let agent = home.agent();
        // A run by hand comes after all that was due before it.
        assert_eq!(home.run(&["sync"]).0, 0);
        let seen = agent.end();
        assert!(!seen.contains("what=verify") && seen.contains("why=by hand"), "{keys} {seen}");
        assert!(!server.root().join("in/a.txt").exists());
    }
}

#[test]
fn what_cannot_be_sent_again_stays_wrong() {
    let server = Server::builder().start().unwrap();
    let home = home(&server, "", 8);
    fs::remove_file(home.path().join("one/a.txt")).unwrap();
    let mut agent = home.agent();
    agent.until("Files are missing or changed on the server.");
    agent.until("is not in the source any more");
    let status = home.status();
    assert_eq!(status["alerts"][0]["kind"], "verify", "{status}");
    let (_, table, _) = home.run(&["status"]);
    assert!(table.contains("on the server: 1 file missing, the first of them a.txt"), "{table}");
    agent.end();
    assert_eq!(fs::read_to_string(home.path().join("told")).unwrap(), "verify failure\n");
}

/// Its password is refused since the files were delivered, so nothing shows what stands there.
#[test]
fn a_mirror_that_is_not_verified_for_too_long_is_told_and_told_again_when_it_is() {
    let server = Server::builder().start().unwrap();
    let home = home(&server, "", 10);
    let yaml = fs::read_to_string(home.path().join("jobs.yaml")).unwrap();
    let late = yaml.replace("on: [failure, recovery]", "on: [late, recovery]");
    fs::write(home.path().join("jobs.yaml"), late.replace("{env: NF_PASSWORD}", "{command: [echo, wrong]}"))
        .unwrap();
    let mut agent = home.agent();
    agent.until("The run did not end well.");
    // It is looked at at once.
    let mut alerts = home.status()["alerts"].clone();
    while alerts.as_array().unwrap().is_empty() {
        alerts = home.status()["alerts"].clone();
    }
    assert_eq!(alerts[0]["kind"], "not-verified", "{alerts}");
    let cause = alerts[0]["cause"].as_str().unwrap();
    assert!(cause.contains("nothing has shown yet") && cause.contains("; the last try: "), "{alerts}");
    assert!(cause.contains("530"), "why: {alerts}");
    agent.end();

    // A person looks why, and mends it.
    let (code, _, stderr) = home.run(&["verify", "one"]);
    assert_eq!(code, 7, "{stderr}");
    fs::write(home.path().join("jobs.yaml"), late).unwrap();
    let (code, _, stderr) = home.run(&["verify", "one"]);
    assert_eq!(code, 6, "a file is missing: {stderr}");
    let agent = home.agent();
    while !home.status()["alerts"].as_array().unwrap().is_empty() {}
    agent.end();
    assert_eq!(
        fs::read_to_string(home.path().join("told")).unwrap(),
        "not-verified late\nnot-verified recovery\n"
    );
}
