//! Signals that come while the state is still being opened.

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
    let (_server, home) = one_file();
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
