//! Schedules by the clock of the system, which libfaketime makes pass faster: the time of day and all timers
//! of the process alike, so that the agent lives through hours in seconds.

use std::path::PathBuf;

use super::place::Counterpart;
use super::*;

/// So many times faster, an hour takes nine seconds, and the agent may take that long to do what is due.
const SPEED: u32 = 400;

/// Library of the package `faketime`; a message where it is not, unless `tests/run` runs, which installs it.
pub(super) fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|library| library.exists());
    assert!(
        found.is_some() || std::env::var_os("NIGHTFERRY_REQUIRE_SERVERS").is_none(),
        "libfaketimeMT.so.1 is not installed"
    );
    if found.is_none() {
        println!("left out: needs the package faketime");
    }
    found
}

/// An agent whose clock begins at `from`, in UTC.
pub(super) fn agent_from(home: &Home, library: &Path, from: &str, speed: u32) -> Agent {
    let mut command = home.command(&["run", "-v"]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", format!("@{from} x{speed}"))
        .env("TZ", "UTC")
        .env_remove("FAKETIME_DONT_FAKE_MONOTONIC");
    Agent::of(command)
}

/// A server's deadlines pass as fast as its hours.
pub(super) fn patient(home: &Home) {
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    let keys = ["connect", "greeting", "handshake", "reply", "data_connect", "stall", "final_reply"];
    let timeouts: Vec<_> = keys.map(|key| format!("{key}: 1h")).into();
    let yaml = yaml.replace("username: ", &format!("timeouts: {{{}}}, username: ", timeouts.join(", ")));
    fs::write(file, yaml).unwrap();
}

/// The scheduled times for which a job's runs began, as the log says: in time, or made up for a moment later.
fn dues(log: &str, job: &str) -> Vec<String> {
    let began =
        log.lines().filter(|line| line.contains("The run began.") && line.contains(&format!("job={job} ")));
    let due = |line: &str| {
        let why = line.split("why=").nth(1).unwrap();
        why.trim_start_matches("schedule ").trim_start_matches("catch-up of ").trim().to_owned()
    };
    began.map(due).collect()
}

/// A change of clocks, what it does to a job's time, and how a job of every hour goes on over it.
struct Change {
    zone: &'static str,
    /// In UTC, as all that follows: more than half an hour before anything is due.
    from: &'static str,
    fixed: (&'static str, &'static [&'static str]),
    hourly: (&'static str, &'static [&'static str]),
}

/// Forward: a time that does not exist runs at the first moment after the gap. Back: a time that comes twice
/// runs when it first comes. Lord Howe Island changes by half an hour.
const CHANGES: [Change; 6] = [
    Change {
        zone: "Europe/Berlin",
        from: "2026-03-29 00:20:00",
        fixed: ("30 2 * * *", &["2026-03-29T01:00:00Z"]),
        hourly: ("0 * * * *", &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]),
    },
    Change {
        zone: "Europe/Berlin",
        from: "2026-10-24 23:50:00",
        fixed: ("30 2 * * *", &["2026-10-25T00:30:00Z"]),
        hourly: ("45 * * * *", &["2026-10-25T00:45:00Z", "2026-10-25T01:45:00Z"]),
    },
    Change {
        zone: "America/New_York",
        from: "2026-03-08 06:20:00",
        fixed: ("30 2 * * *", &["2026-03-08T07:00:00Z"]),
        hourly: ("0 * * * *", &["2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"]),
    },
    Change {
        zone: "America/New_York",
        from: "2026-11-01 04:50:00",
        fixed: ("30 1 * * *", &["2026-11-01T05:30:00Z"]),
        hourly: ("45 * * * *", &["2026-11-01T05:45:00Z", "2026-11-01T06:45:00Z"]),
    },
    Change {
        zone: "Australia/Lord_Howe",
        from: "2026-10-03 14:50:00",
        fixed: ("15 2 * * *", &["2026-10-03T15:30:00Z"]),
        hourly: ("0 * * * *", &["2026-10-03T16:00:00Z"]),
    },
    Change {
        zone: "Australia/Lord_Howe",
        from: "2026-04-04 14:05:00",
        fixed: ("45 1 * * *", &["2026-04-04T14:45:00Z"]),
        hourly: ("0 * * * *", &["2026-04-04T15:30:00Z"]),
    },
];

#[test]
fn both_changes_of_clocks_in_three_zones_run_each_job_as_documented() {
    let Some(library) = library() else { return };
    let server = Counterpart::of("vsftpd", "agent-clocks");
    let begun: Vec<_> = CHANGES
        .iter()
        .enumerate()
        .map(|(number, change)| {
            let job = |name: &str, schedule: &str| {
                format!(
                    "  {name}: {{source: {name}, server: office, destination: /{number}/{name}, schedule: \
                     \"{schedule}\", timezone: {}}}\n",
                    change.zone
                )
            };
            let jobs = job("fixed", change.fixed.0) + &job("hourly", change.hourly.0);
            let home = Home::new(&[("office", &server)], &jobs);
            patient(&home);
            home.write("fixed/a.txt", b"a");
            home.write("hourly/a.txt", b"a");
            let agent = agent_from(&home, &library, change.from, SPEED);
            (home, agent)
        })
        .collect();
    for (number, ((_home, mut agent), change)) in begun.into_iter().zip(&CHANGES).enumerate() {
        let last = change.hourly.1.last().unwrap();
        while !dues(&agent.seen, "hourly").iter().any(|due| due == last) {
            agent.until("The run began.");
        }
        agent.until("The run ended well. job=hourly");
        let seen = agent.end();
        let from = format!("{} {}\n{seen}", change.zone, change.from);
        assert_eq!(dues(&seen, "fixed"), change.fixed.1, "{from}");
        assert_eq!(dues(&seen, "hourly"), change.hourly.1, "{from}");
        for name in ["fixed", "hourly"] {
            assert_eq!(fs::read(server.root().join(format!("{number}/{name}/a.txt"))).unwrap(), b"a");
        }
    }
}

#[test]
fn an_agent_that_was_down_over_three_times_runs_once_and_records_what_it_skips() {
    let Some(library) = library() else { return };
    let server = Counterpart::of("proftpd", "agent-down");
    let job = |name: &str, more: &str| {
        format!(
            "  {name}: {{source: {name}, server: office, destination: /{name}, schedule: \"0 * * * *\"{more}}}\n"
        )
    };
    let jobs = job("made-up", "") + &job("skipped", ", catch_up: false") + &job("old", ", catch_up: 10m");
    let home = Home::new(&[("office", &server)], &jobs);
    for name in ["made-up", "skipped", "old"] {
        home.write(&format!("{name}/a.txt"), b"a");
    }
    let seen = agent_from(&home, &library, "2026-06-10 10:10:00", 1).end();
    assert!(!seen.contains("The run began."), "{seen}");
    // It comes back half an hour after the third time.
    let mut agent = agent_from(&home, &library, "2026-06-10 13:30:00", 1);
    agent.until("The run ended well. job=made-up");
    let seen = agent.end();
    let three = "3 times from 2026-06-10T11:00:00Z to 2026-06-10T13:00:00Z";
    assert_eq!(dues(&seen, "made-up"), [three], "{seen}");
    assert_eq!(seen.matches("The run began.").count(), 1, "{seen}");
    for name in ["skipped", "old"] {
        assert!(!server.root().join(name).exists(), "{name}");
    }
    let (_, ledger, _) = home.run(&["ledger", "export"]);
    let lines: Vec<Value> = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let missed: Vec<_> = lines.iter().filter(|line| line.to_string().contains("runs-missed")).collect();
    assert_eq!(missed.len(), 2, "{ledger}");
    for line in missed {
        let line = line.to_string();
        assert!(line.contains("2026-06-10T11:00:00") && line.contains(r#""times":3"#), "{line}");
    }
    // All of it is dealt with.
    let seen = agent_from(&home, &library, "2026-06-10 13:50:00", 1).end();
    assert!(!seen.contains("The run began.") && !seen.contains("missed"), "{seen}");
}
