//! What becomes of a run that is to be tried again when the machine loses its power before that.

use super::clock::{agent_from, library, patient};
use super::*;

/// An hour takes a minute: what is tried again soon is so in a second.
const SPEED: u32 = 60;

/// When the first agent starts: a new schedule counts from then on, and starting may take it seconds.
const BEFORE: &str = "2026-06-10 16:56:00";

const SCHEDULE: &str = "schedule: \"0 17 * * *\"";
const WATCH: &str = "watch: {settle: 300ms}";

fn home(server: &Server, keys: &str) -> Home {
    let job = format!("  one: {{source: one, server: office, destination: /in, {keys}}}\n");
    let home = Home::new(&[("office", server)], &job);
    patient(&home);
    home.write("one/a.txt", b"a");
    home
}

/// Has the server's port be another one. The one that was there comes back.
fn move_port(home: &Home, from: u16, to: u16) {
    let file = home.path().join("jobs.yaml");
    let yaml = fs::read_to_string(&file).unwrap();
    fs::write(&file, yaml.replace(&format!("port: {from}"), &format!("port: {to}"))).unwrap();
}

/// Whether a second run is due, under way or over.
fn is_tried(job: &Value) -> bool {
    job["next_try"].is_string() || job["state"]["is"] == "running" || job["last"]["run"] == 2
}

/// The job, once the agent knows what came before.
fn known(home: &Home) -> Value {
    let began = Instant::now();
    loop {
        let job = home.status()["jobs"][0].clone();
        if !job["last"].is_null() || !job["next_try"].is_null() || began.elapsed() > Duration::from_secs(20) {
            return job;
        }
    }
}

#[test]
fn what_was_to_be_tried_again_is_so_after_a_power_loss() {
    let Some(library) = library() else { return };
    for (keys, why) in [(SCHEDULE, "why=retry 2"), (WATCH, "why=watch")] {
        let server = Server::builder().start().unwrap();
        let home = home(&server, keys);
        // Nobody listens there.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        move_port(&home, server.port(), closed);
        let mut agent = agent_from(&home, &library, BEFORE, SPEED);
        agent.until("The job is tried again.");
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        move_port(&home, closed, server.port());
        let mut agent = agent_from(&home, &library, "2026-06-10 17:05:00", SPEED);
        if keys == SCHEDULE {
            let job = known(&home);
            assert!(is_tried(&job), "{keys}: {job}");
        }
        let began = agent.until("The run began.");
        assert!(began.contains(why), "{keys}: {began}");
        agent.until("The run ended well.");
        assert_eq!(fs::read(server.root().join("in/a.txt")).unwrap(), b"a");
        // That was all: nothing is left to be tried again.
        agent.child.kill().unwrap();
        agent.child.wait().unwrap();
        if keys == SCHEDULE {
            let agent = agent_from(&home, &library, "2026-06-10 17:20:00", SPEED);
            let job = known(&home);
            assert!(job["next_try"].is_null() && job["last"].is_object(), "{job}");
            agent.end();
        }
    }
}

/// The run itself is cut off: by the power, or by a signal whose grace was too short for it.
#[test]
fn a_run_that_was_cut_off_goes_on_after_the_next_start() {
    let Some(library) = library() else { return };
    for signal in [Signal::KILL, Signal::TERM] {
        let (server, sending) = stops::server(Action::Stall);
        let home = home(&server, SCHEDULE);
        let mut agent = agent_from(&home, &library, BEFORE, SPEED);
        agent.until("The run began.");
        sending.recv().unwrap();
        agent.signal(signal);
        agent.child.wait().unwrap();
        let mut agent = agent_from(&home, &library, "2026-06-10 17:05:00", SPEED);
        let job = known(&home);
        assert!(is_tried(&job), "{signal:?}: {job}");
        let began = agent.until("The run began.");
        assert!(began.contains("why=retry 2"), "{signal:?}: {began}");
        agent.until("The run ended well.");
        assert_eq!(fs::read(server.root().join("in/a.txt")).unwrap(), b"a");
        agent.end();
    }
}

/// No retry mends that.
#[test]
fn what_a_person_has_to_mend_is_not_tried_again_after_a_start() {
    let server = Server::builder().fault(Fault::on("PASS", Action::Reply("530 no".into()))).start().unwrap();
    let home = home(&server, SCHEDULE);
    assert_eq!(home.run(&["sync"]).0, 7);
    let agent = home.agent();
    let job = known(&home);
    assert!(job["next_try"].is_null() && job["last"]["stopped"].is_object(), "{job}");
    agent.end();
}
