//! Signals that come while the state is still being opened, and a source that goes away under the agent.

use super::*;

/// Runs a verb, and sends it a signal while it reads what was told before: a pipe, which is read for as
/// long as somebody may write.
fn stopped_early(home: &Home, verb: &str, signal: Signal) -> (Option<i32>, String) {
    let told = home.path().join("state/alerts.json");
    drop(fs::remove_file(&told));
    assert!(Command::new("mkfifo").arg(&told).status().unwrap().success());
    let child = home.command(&[verb]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Opens once the other side reads.
    let pipe = File::options().write(true).open(&told).unwrap();
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_signal_before_the_state_is_open_ends_it_as_one_after_that() {
    let server = Server::builder().start().unwrap();
    let home = Home::new(&[("office", &server)], ONE);
    home.write("one/a.txt", b"a");
    assert_eq!(home.run(&["sync"]).0, 0);
    for signal in [Signal::TERM, Signal::INT] {
        let (code, stderr) = stopped_early(&home, "sync", signal);
        assert_eq!(code, Some(130), "{signal:?}: {stderr}");
        let (code, stderr) = stopped_early(&home, "run", signal);
        assert_eq!(code, Some(0), "{signal:?}: {stderr}");
        assert!(stderr.contains("The agent has ended."), "{stderr}");
    }
    drop(fs::remove_file(home.path().join("state/alerts.json")));
    assert_eq!(home.run(&["sync"]).0, 0);
}

/// A mount can only be made by root; a folder that is moved away and comes back empty is the same to the
/// watch, and a harder case for the guard.
#[test]
fn a_source_that_goes_away_under_the_watch_is_told_and_nothing_is_deleted() {
    let server = Server::builder().start().unwrap();
    let job = "  one: {source: one, server: office, destination: /in, delete: {remote: delete}, watch: {settle: \
               100ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    for n in 0..5 {
        home.write(&format!("one/{n}.txt"), b"a");
    }
    let mut agent = home.agent();
    delivered(&mut agent, 5);
    fs::rename(home.path().join("one"), home.path().join("away")).unwrap();
    let gone = agent.until("The source cannot be watched as it should.");
    assert!(gone.contains("job=one"), "{gone}");
    fs::create_dir(home.path().join("one")).unwrap();
    agent.until("nothing was deleted on the server");
    let status = home.status();
    assert_eq!(status["jobs"][0]["last"]["stopped"]["class"], "source", "{status}");
    // Nobody is asked again within the first minute: it needs a person.
    let parse = |text: &Value| text.as_str().unwrap().parse::<nightferry::domain::Timestamp>().unwrap();
    let again = parse(&status["jobs"][0]["next_try"]).since(SystemClock.now());
    assert!(again > Duration::from_mins(14), "{again:?}");
    assert_eq!(fs::read_dir(server.root().join("in")).unwrap().count(), 5);
    agent.end();
}
