//! While the first session of a run logs in, the others come as far as that and wait.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use ftps_server::{Action, Cut, Dialect, Direction, Fault, Moment};
use nightferry::domain::Exit;
use nightferry::remote::{Ability, BeforeLogin, Extras, FirstPort, Haste, Leave};
use tokio::time::timeout;

use super::bench::Bench;

const CONNECTIONS: u16 = 4;
const FILES: u32 = 40;

/// How long something that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn bench(faults: impl IntoIterator<Item = Fault>) -> Bench {
    let mut bench = Bench::new(Dialect::full(), faults);
    bench.definition.connections = CONNECTIONS.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    bench
}

/// Waits until so many sessions have come to the login.
async fn until_secured(bench: &Bench, sessions: usize) {
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let secured = async {
        // `AUTH TLS` is the last thing that a server hears of a session before its login.
        while bench.server.transcript().count("AUTH TLS") < sessions {
            again.tick().await;
        }
    };
    timeout(SOON, secured).await.expect("nobody came beside the first one");
}

/// Runs until all sessions have come to the login, and stops there.
async fn stop_once_secured(bench: &Bench) {
    let look = async {
        until_secured(bench, CONNECTIONS.into()).await;
        bench.stop.cancel();
    };
    let ((report, _), ()) = tokio::join!(bench.run_quietly(), look);
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Interrupted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_without_a_name_while_nobody_is_logged_in() {
    let bench = bench([Fault::on("PASS", Action::Stall)]);
    stop_once_secured(&bench).await;
    let transcript = bench.server.transcript();
    assert_eq!((transcript.count("USER"), transcript.count("PASS")), (1, 1), "{transcript}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_as_soon_as_it_has_greeted() {
    let bench = bench([Fault::on("AUTH", Action::Stall)]);
    stop_once_secured(&bench).await;
    assert_eq!(bench.server.transcript().count("USER"), 0);
}

/// Whoever was there last night is likely to be there today: nobody waits for its greeting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_at_once_to_a_server_that_was_met_before() {
    let bench = bench([Fault::on_greeting(Action::Stall).from(2)]);
    drop(bench.remote().connect().await.unwrap());
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let all_called = async {
        while bench.server.counters().control_connections < u64::from(CONNECTIONS) + 1 {
            again.tick().await;
        }
        bench.stop.cancel();
    };
    let ((report, _), called) = tokio::join!(bench.run_quietly(), timeout(SOON, all_called));
    called.expect("nobody came beside the first one");
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Interrupted));
}

/// Where nobody is let in, each further try is one connection, and not one a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_not_come_again_where_it_was_in_vain() {
    let bench = bench([Fault::on_greeting(Action::DropControl(Moment::Unanswered)).from(2)]);
    drop(bench.remote().connect().await.unwrap());
    let report = bench.run().await;
    assert_eq!(report.counts.delivered, 0);
    let tried = bench.server.counters().control_connections - 1;
    let (workers, attempts) = (u64::from(CONNECTIONS), 4);
    // Each once, and the rest of the tries by whoever had the turn.
    assert!((attempts..workers + attempts).contains(&tried), "{tried} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_log_in_once_the_first_one_has() {
    let bench = bench([Fault::on("PASS", Action::Delay(Duration::from_millis(300))).once()]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (u64::from(FILES), Exit::Done));
    let transcript = bench.server.transcript();
    let lines = transcript.lines();
    let at = |direction, text: &str| {
        lines.iter().position(|line| line.direction == direction && line.text.starts_with(text))
    };
    let let_in = at(Direction::Out, "230").unwrap();
    let first = lines[let_in].connection;
    let early = lines[..let_in].iter().find(|line| line.connection != first && line.text.starts_with("USER"));
    assert!(early.is_none(), "{transcript}");
}

/// Each of those that wait would try it as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_by_none_of_them() {
    let mut bench = bench([Fault::on("PASS", Action::Delay(Duration::from_millis(300)))]);
    bench.password = "wrong";
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused));
    assert_eq!(bench.server.transcript().count("PASS"), 1);
    assert_eq!(report.counts.failed + report.counts.not_reached, u64::from(FILES));
}

/// Where the first one is not let in, one of them takes its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_them_goes_on_where_the_first_one_fails() {
    let bench = bench([Fault::on("PASS", Action::Reply("421 Not now.".into())).once()]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (u64::from(FILES), Exit::Done));
}

/// Somebody who logs in at once, and says whether it was waited for.
struct Waited(bool);

impl BeforeLogin for Waited {
    fn leave(&self, _: SocketAddr) -> Pin<Box<dyn Future<Output = Leave> + Send + '_>> {
        Box::pin(std::future::ready(Leave::Given(Extras::default())))
    }

    fn has_waited(&self) -> bool {
        self.0
    }
}

/// A server may hang up on those that wait for too long: that says nothing of how it takes commands.
#[tokio::test]
async fn one_that_was_lost_while_it_waited_teaches_nothing() {
    // Otherwise it is asked again step by step, in another session.
    for (waited, connections) in [(true, 1), (false, 2)] {
        let lost = Fault::on("USER", Action::CutControl(Moment::Before, Cut::Fin)).once();
        let bench = bench([lost]);
        let remote = bench.remote();
        let share = remote.share();
        let opened = remote.connect_with(share.permit(Haste::Waiting).await, &Waited(waited)).await;
        assert_eq!(opened.is_err(), waited);
        assert_eq!(bench.server.counters().control_connections, connections);
        assert_eq!(bench.profile().pipelining, Ability::Unknown);
    }
}

/// What the server told the first one, and each needs, is not asked again; what each needs for its first file goes with
/// its login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_ask_for_a_port_with_their_login_and_not_what_the_server_can_do() {
    let bench = bench([Fault::on("MKD", Action::Delay(Duration::from_millis(300))).once()]);
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (u64::from(FILES), Exit::Done));
    let transcript = bench.server.transcript();
    assert_eq!(transcript.count("FEAT"), 1, "{transcript}");
    let said = |connection| {
        let lines = transcript.lines().iter().filter(move |line| line.connection == connection);
        let commands = lines.filter(|line| line.direction == Direction::In);
        commands.map(|line| line.text.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (first, others): (Vec<_>, Vec<_>) = (1..=bench.server.counters().control_connections)
        .map(said)
        .partition(|said| said.contains(&"FEAT".into()));
    assert_eq!((first.len(), others.is_empty()), (1, false), "{transcript}");
    for said in others {
        let at = |verb: &str| said.iter().position(|command| command == verb);
        let count = |verb: &str| said.iter().filter(|command| *command == verb).count();
        assert_eq!(at("EPSV"), at("PWD").map(|pwd| pwd + 1), "{said:?}");
        assert_eq!(count("EPSV"), count("STOR").max(1), "none is asked for in vain: {said:?}");
    }
}

/// A port that is refused with the login is asked for once there is something to store, as anywhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_refused_with_the_login_is_asked_for_again() {
    for refusal in ["425 Try again.", "502 Not here."] {
        let first = Fault::on("MKD", Action::Delay(Duration::from_millis(300))).once();
        let bench = bench([first, Fault::on("EPSV", Action::Reply(refusal.into())).nth(2)]);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (u64::from(FILES), Exit::Done), "{refusal}");
    }
}

/// What one machine can do says nothing of another one of the same name.
#[tokio::test]
async fn what_is_known_of_a_server_is_known_of_the_machine_that_told_it() {
    let bench = bench([]);
    let remote = bench.remote();
    let connection = remote.connect().await.unwrap();
    let peer = connection.facts().peer;
    let extras = remote.extras(peer);
    assert_eq!((extras.features.as_ref(), extras.port), (Some(connection.features()), FirstPort::WithLogin));
    let another = SocketAddr::new(IpAddr::from([127, 0, 0, 9]), peer.port());
    assert_eq!(remote.extras(another).features, None);
    remote.learn(|profile| profile.overlap = Ability::No);
    assert_eq!(remote.extras(peer).port, FirstPort::WhenNeeded);
    remote.learn(|profile| (profile.overlap, profile.pipelining) = (Ability::Unknown, Ability::No));
    assert_eq!(remote.extras(peer).port, FirstPort::WhenNeeded);
}
