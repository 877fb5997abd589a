//! What `status` and `history` say to people.

use super::*;

/// The result of each run, behind its job.
fn results(history: &str) -> Vec<String> {
    let rows = history.lines().skip(1).map(|row| row.rsplit("  ").next().unwrap().to_owned());
    rows.collect()
}

#[test]
fn every_run_has_a_result() {
    let (server, home) = one_file();
    // Nothing was delivered yet: no server is asked, and nothing is known of it.
    let (code, stdout, _) = home.run(&["verify"]);
    assert!(code == 0 && stdout.starts_with("one: nothing to look at: no file is known"), "{stdout}");
    assert_eq!(home.status()["jobs"][0]["last_verified"], Value::Null);
    let (_, table, _) = home.run(&["status"]);
    assert!(!table.contains("server verified"), "{table}");

    assert_eq!(home.run(&["sync"]).0, 0);
    assert_eq!(home.run(&["adopt", "one"]).0, 0);
    let restored = home.path().join("restored");
    let (code, _, stderr) = home.run(&["restore", "one", "--to", restored.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    fs::remove_file(server.root().join("in/a.txt")).unwrap();
    assert_eq!(home.run(&["verify"]).0, 6);
    let (_, history, _) = home.run(&["history"]);
    assert_eq!(
        results(&history),
        [
            "verify: nothing to look at",
            "1 file sent",
            "adopt: 1 known already",
            "restore: 1 restored",
            "verify: 1 missing"
        ]
    );
    assert!(home.status()["jobs"][0]["last_verified"].is_string());
    let (_, shown, _) = home.run(&["history", "show", "5"]);
    assert!(shown.contains("missing    a.txt") && shown.ends_with("ended      1 missing\n"), "{shown}");
    let (_, shown, _) = home.run(&["history", "show", "1"]);
    assert!(shown.ends_with("ended      nothing to look at\n"), "{shown}");
}

#[test]
fn a_stopped_run_tells_what_it_did_not_reach() {
    let (server, home) = one_file();
    home.write("one/b.txt", b"b");
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    fs::write(&file, yaml.replace(&format!("port: {}", server.port()), &format!("port: {closed}"))).unwrap();
    let (code, stdout, _) = home.run(&["sync"]);
    assert_eq!(code, 5, "{stdout}");
    assert!(stdout.contains(": Connection refused);") && !stdout.contains("os error"), "{stdout}");
    let (_, shown, _) = home.run(&["history", "show", "1"]);
    let ended = shown.lines().last().unwrap();
    assert!(ended.contains("ended      0 sent, 2 not reached; stopped: cannot connect to"), "{shown}");
    let (_, history, _) = home.run(&["history"]);
    assert_eq!(results(&history), ["stopped, 0 sent"]);
}

#[test]
fn the_next_run_is_told_in_words_where_no_clock_says_it() {
    let server = Server::builder().start().unwrap();
    let watched =
        format!("{ONE}  two: {{source: two, server: office, destination: /two, watch: {{settle: 300ms}}}}\n");
    let home = Home::new(&[("office", &server)], &watched);
    home.write("one/a.txt", b"a");
    home.write("two/a.txt", b"a");
    let told = |table: &str| {
        let row = |job: &str| table.lines().find(|row| row.starts_with(job)).unwrap().to_owned();
        assert!(row("one").contains("  when asked "), "{table}");
        assert!(row("two").contains("  as files appear "), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    };
    told(&home.run(&["status"]).1);
    let agent = home.agent();
    told(&home.run(&["status"]).1);
    agent.end();
    told(&home.run(&["status"]).1);
}

/// What the system says is told in its words, without the number that it has there.
#[test]
fn no_text_has_a_number_of_the_system() {
    let server = Server::builder().start().unwrap();
    let job = "  one: {source: none, server: office, destination: /in, watch: {settle: 300ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let agent = "timezone: UTC, metrics_file: none/metrics, notify: [{command: [/no/such/program]}]";
    fs::write(&file, yaml.replace("timezone: UTC", agent)).unwrap();
    let (_, stdout, stderr) = home.run(&["check", "--notify"]);
    let checked = format!("{stdout}{stderr}");
    assert!(checked.contains("the program cannot be run: No such file or directory"), "{checked}");
    let mut agent = home.agent();
    let absent = agent.until("The source cannot be watched as it should.");
    assert!(absent.contains("looked at: No such file or directory"), "{absent}");
    let (_, table, _) = home.run(&["status"]);
    let json = home.status().to_string();
    let (_, synced, complaint) = home.run(&["sync"]);
    let log = agent.end();
    assert!(log.contains("The metrics cannot be written"), "{log}");
    for text in [checked, table, json, synced, complaint, log] {
        assert!(!text.contains("os error"), "{text}");
    }
    // Configurations that cannot be read.
    for arguments in [["--config", "none.yaml", "check"], ["--config", "state", "check"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_nightferry"))
            .current_dir(home.path())
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("os error"), "{stderr}");
    }
}

/// What is told of files, before and while they are sent, is broken at the terminal's width.
#[test]
fn long_lines_about_files_are_broken_on_a_terminal() {
    const COLUMNS: usize = 60;
    let server = Server::builder().fault(Fault::on("STOR", Action::Reply("553 no".into()))).start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    // No word is as long as a line.
    home.write("one/the quarterly report of the northern branch/a name of several words.txt", b"a");
    for arguments in ["plan", "sync -v"] {
        let binary = env!("CARGO_BIN_EXE_nightferry");
        let line = format!("stty cols {COLUMNS}; exec {binary} --config jobs.yaml {arguments}");
        let mut command = Command::new("script");
        command.current_dir(home.path()).args(["-qec", &line, "/dev/null"]).env("NF_PASSWORD", "password");
        let output = command.env("TERM", "dumb").env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // What a bar draws and clears again stands before the last of these in its line.
        let lines: Vec<_> =
            text.lines().map(|line| line.rsplit(['\r', 'K']).next().unwrap_or(line)).collect();
        assert!(lines.iter().any(|line| line.contains("quarterly")), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{arguments}: {lines:#?}");
    }
}
