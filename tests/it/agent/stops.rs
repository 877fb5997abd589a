//! Signals while a file is under way: it may end within the grace, is given up after that, and nothing is
//! waited for once a second signal has come.

use std::sync::mpsc::{Receiver, channel};

use ftps_server::Event;

use super::*;

/// How long files under way may go on.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A server that does this to the first upload, which it tells of as soon as it is asked for it.
pub(super) fn server(action: Action) -> (Server, Receiver<()>) {
    let (tell, told) = channel();
    let hook = move |event: &Event| {
        if matches!(event, Event::Asked { verb } if verb == "STOR") {
            let _test_ended = tell.send(());
        }
    };
    (Server::builder().fault(Fault::on("STOR", action).once()).on_event(hook).start().unwrap(), told)
}

/// A run that has begun to send a file, with which its server does this.
fn sending(action: Action) -> (Server, Home, Child) {
    let (server, told) = server(action);
    let home = Home::new(&[("office", &server)], ONE);
    home.write("one/a.txt", b"a");
    let mut command = home.command(&["sync"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    told.recv().unwrap();
    (server, home, child)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

/// Exit code, and what was said.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The names in the destination.
fn names(server: &Server) -> Vec<String> {
    let names = fs::read_dir(server.root().join("in")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_under_way_may_end_after_a_signal() {
    let (server, _home, child) = sending(Action::Delay(Duration::from_millis(500)));
    signal(&child, Signal::TERM);
    let (code, text) = ended(child);
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(names(&server), ["a.txt"], "{text}");
}

#[test]
fn a_file_that_hangs_is_given_up_after_the_grace_and_swept_by_the_next_run() {
    let (server, home, child) = sending(Action::Stall);
    let begun = Instant::now();
    signal(&child, Signal::INT);
    let (code, text) = ended(child);
    assert_eq!(code, Some(130), "{text}");
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    assert!(text.contains("what was under way was cut off"), "{text}");
    assert_eq!(home.run(&["sync"]).0, 0);
    assert_eq!(names(&server), ["a.txt"]);
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let (server, home, child) = sending(Action::Stall);
    let begun = Instant::now();
    // Two of one kind that come together are one.
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    let (code, text) = ended(child);
    assert_eq!(code, Some(130), "{text}");
    assert!(begun.elapsed() < GRACE, "it waited: {text}");
    assert_eq!(home.run(&["sync"]).0, 0);
    assert_eq!(names(&server), ["a.txt"]);
}
