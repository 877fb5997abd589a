//! What doctor learns of a server, and what jobs make of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ftps_server::{Action, Dialect, Fault, Server};
use nightferry::diagnose::{Check, Outcome};
use nightferry::domain::Exit;
use nightferry::remote::{Ability, Closing, LastingSessions, PassiveCommand, Profile};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, cause};
use super::doctor::{Walk, walk, walk_until};

/// A check finds something lacking, in these words and with this remedy; no job would fail.
fn lacks(walk: &Walk, check: Check, words: &str, remedy: &str) {
    let finding = walk.of(check);
    assert_eq!(finding.outcome, Outcome::Lacking, "{finding:?}");
    assert!(finding.text.contains(words), "{words:?} in {}", finding.text);
    let help = finding.help.as_deref().unwrap_or_default();
    assert!(help.contains(remedy), "{remedy:?} in {help}");
    assert_eq!((walk.failed(), walk.exit), (vec![], Exit::Done));
}

async fn silent(bench: &Bench, silence: Duration) -> Walk {
    walk_until(bench, silence, &CancellationToken::new(), &mut |_| {}).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_server_is_known_at_the_end() {
    let walk = walk(&Bench::new(Dialect::full(), [])).await;
    let yes = Ability::Yes;
    let expected = Profile {
        lasting_sessions: LastingSessions::Anywhere,
        passive: PassiveCommand::Epsv,
        resume: yes,
        rename_over: yes,
        case: yes,
        composition: yes,
        names: yes,
        pipelining: yes,
        overlap: Ability::Unknown,
        crowds: Ability::Unknown,
        connections: None,
        connections_seen: None,
        idle_seconds: None,
        certificate_expires: walk.profile.certificate_expires,
    };
    assert_eq!(walk.profile, expected);
    assert!(walk.profile.certificate_expires.is_some());
    assert_eq!(walk.of(Check::Connections).text, "2 of 2 sessions at once");
    assert!(walk.known.iter().all(|row| row.title.len() <= 15 && !row.text.is_empty()));
    let proftpd = super::doctor::walk(&Bench::new(Dialect::proftpd(), [])).await;
    assert_eq!(proftpd.profile.lasting_sessions, LastingSessions::Tls12);
    let no_epsv = super::doctor::walk(&Bench::new(Dialect::no_epsv(), [])).await;
    assert_eq!(no_epsv.profile.passive, PassiveCommand::Pasv);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_open_no_more_sessions_than_the_server_allows() {
    let mut bench = Bench::with(Server::builder().most_sessions(2));
    bench.definition.connections = 4.try_into().unwrap();
    // One that is silent beside the others, too.
    let walk = silent(&bench, Duration::from_millis(50)).await;
    lacks(
        &walk,
        Check::Connections,
        "only 2 of 4 sessions at once; one more: 421 Too many",
        "connections: 2",
    );
    assert_eq!(walk.profile.connections, Some(2));
    let before = bench.server.transcript().to_string().matches("< 421 ").count();
    for n in 0..20 {
        bench.write(&format!("{n}.txt"), format!("{n}"));
    }
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (20, Exit::Done), "{}", cause(&report));
    let refused = bench.server.transcript().to_string().matches("< 421 ").count() - before;
    assert_eq!(refused, 0, "a run asked for more");
    // Another look finds out that it takes more now.
    bench.definition.connections = 2.try_into().unwrap();
    assert_eq!(super::doctor::walk(&bench).await.profile.connections, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_one_session_is_looked_at_with_one() {
    let mut bench = Bench::with(Server::builder().most_sessions(1));
    bench.definition.connections = 3.try_into().unwrap();
    let walk = silent(&bench, Duration::from_millis(50)).await;
    lacks(&walk, Check::Connections, "only 1 of 3", "connections: 1");
    assert_eq!(walk.of(Check::Idle).outcome, Outcome::Fine);
    assert_eq!(walk.profile.connections, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_that_the_server_does_not_bear_is_measured() {
    for connections in [1, 2] {
        let mut bench = Bench::with(Server::builder().silence(Duration::from_millis(1_200)));
        bench.definition.connections = connections.try_into().unwrap();
        let walk = silent(&bench, Duration::from_secs(20)).await;
        let words = "ended a session after 1 s of silence, saying 421 Timeout";
        lacks(&walk, Check::Idle, words, "idle_session_timeout");
        assert_eq!(walk.profile.idle_seconds, Some(1));
        assert_eq!(walk.of(Check::Delete).outcome, Outcome::Fine);
        // A shorter silence says nothing against it.
        let shorter = silent(&bench, Duration::from_millis(100)).await;
        assert_eq!(shorter.of(Check::Idle).outcome, Outcome::Fine);
        assert_eq!(shorter.profile.idle_seconds, Some(1));
    }
    let bench = Bench::new(Dialect::full(), []);
    assert_eq!(walk(&bench).await.of(Check::Idle).outcome, Outcome::NotTried, "nothing was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_greeting_says_of_silence_is_told() {
    for (greeting, words, outcome) in [
        ("220 You will be disconnected after 15 minutes of inactivity.", "15 minutes", Outcome::Fine),
        ("220-Hello\r\n220 Disconnected after 20 seconds of inactivity.", "20 s", Outcome::Lacking),
    ] {
        let fault = Fault::on_greeting(Action::Reply(greeting.into()));
        let walk = walk(&Bench::new(Dialect::full(), [fault])).await;
        let finding = walk.of(Check::Idle);
        assert_eq!(finding.outcome, outcome, "{finding:?}");
        assert!(finding.text.ends_with(&format!("the greeting says {words}")), "{finding:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_what_comes_in_one_write_is_served_step_by_step() {
    let bench = Bench::new(Dialect::full(), [Fault::on("SIZE", Action::ForgetInput)]).impatient();
    bench.write("a.txt", "a");
    let walk = walk(&bench).await;
    lacks(&walk, Check::Pipelining, "took longer", "one thing after another");
    assert_eq!(walk.profile.pipelining, Ability::No);
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
}

/// A run without the doctor finds out about it at the login, and the next one knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_that_is_lost_or_mixed_up_is_made_step_by_step() {
    let elsewhere = Action::Reply("257 \"/\" is the current directory".into());
    let closed = Action::DropControl(ftps_server::Moment::Before);
    for (fault, sessions) in [
        (Fault::on("PBSZ", Action::ForgetInput), 2),
        (Fault::on("PROT", Action::Twice).once(), 2),
        (Fault::on("PBSZ", elsewhere).once(), 2),
        (Fault::on("PROT", closed).once(), 2),
    ] {
        let row = format!("{fault:?}");
        let cut = row.contains("DropControl");
        let mut bench = Bench::new(Dialect::full(), [fault]).impatient();
        bench.definition.connections = 1.try_into().unwrap();
        bench.write("a.txt", "a");
        let report = bench.deliver().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{row}: {}", cause(&report));
        assert_eq!(bench.server.counters().logins, sessions, "{row}");
        let expected = if cut { Ability::Unknown } else { Ability::No };
        assert_eq!(bench.profile().pipelining, expected, "{row}");
        bench.write("b.txt", "b");
        let report = bench.deliver().await;
        assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{row}: {}", cause(&report));
        assert_eq!(bench.server.counters().logins, sessions + 1, "{row}: it was not remembered");
    }
}

/// A refusal is an answer: nobody logs in again because of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_that_is_refused_is_not_tried_again() {
    let mut bench = Bench::new(Dialect::full(), [Fault::on("PROT", Action::Reply("534 no".into()))]);
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.txt", "a");
    assert_eq!(bench.deliver().await.exit(), Exit::Trust);
    assert_eq!((bench.server.counters().logins, bench.profile()), (1, Profile::default()));
}

/// pyftpdlib 2.2.0 forgets sessions in active mode over each other: the run goes on with fewer, and
/// the next one opens one at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_active_sessions_is_served_by_one() {
    let lost = Action::Reply("421 Active data channel timed out.".into());
    let mut bench = Bench::new(Dialect::full(), [Fault::on("EPRT", lost.clone()).nth(4)]);
    bench.definition.connections = 3.try_into().unwrap();
    bench.definition.network.data =
        nightferry::domain::DataMode::Active(nightferry::domain::ActivePorts::default());
    for n in 0..9 {
        bench.write(&format!("{n}.txt"), vec![7; 1_000]);
    }
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (9, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.profile().crowds, Ability::No);
    let retried = bench.retried();
    assert!(retried.len() == 1 && retried[0].contains("`connections: 1`"), "{retried:?}");
    let logins = bench.server.counters().logins;
    for n in 0..9 {
        bench.write(&format!("{n}.csv"), vec![8; 1_000]);
    }
    assert_eq!(sessions(&bench), 1);
    assert_eq!(bench.deliver().await.counts.delivered, 9);
    // One of them may have swept before the work began.
    assert!(bench.server.counters().logins <= logins + 2);
    // In passive mode it serves as many as ever.
    bench.definition.network.data = nightferry::domain::DataMode::default();
    assert_eq!(sessions(&bench), 3);
    let walk = walk(&bench).await;
    assert!(walk.known.iter().any(|row| row.title == "active mode" && row.text.contains("one at a time")));

    // One that never called may stand behind a firewall: both are named, and nothing is learned.
    let mut bench = Bench::new(Dialect::full(), [Fault::on("EPRT", lost)]);
    bench.definition.network.data =
        nightferry::domain::DataMode::Active(nightferry::domain::ActivePorts::default());
    bench.write("a.txt", "a");
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Temporary));
    for words in ["421 Active data channel", "firewall", "`connections: 1`"] {
        assert!(cause(&report).contains(words), "{words} in {}", cause(&report));
    }
    assert_eq!(bench.profile(), Profile::default());
}

/// The other command is asked once, and remembered where its ports can be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passive_ports_that_cannot_be_reached_are_asked_for_otherwise() {
    let closed = |verb: &str| Fault::on(verb, Action::ClosePort);
    let mut bench = Bench::new(Dialect::pure_ftpd(), [closed("EPSV")]);
    bench.definition.connections = 1.try_into().unwrap();
    bench.write("a.txt", "a");
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (1, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.profile().passive, PassiveCommand::Pasv);
    let asked = bench.server.transcript().count("EPSV");
    assert_eq!(asked, 1);
    // A file that is read teaches as much as one that is sent.
    bench.server.clear_faults();
    bench.server.arm(closed("PASV"));
    let remote = bench.remote();
    let path = nightferry::domain::RemotePath::new("/in/a.txt").unwrap();
    let mut connection = remote.connect().await.unwrap();
    connection.read_back(&path, 1, Closing::Awaited).await.unwrap_err();
    drop(connection);
    assert_eq!(bench.profile().passive, PassiveCommand::Pasv, "one failure is no lesson");
    let mut connection = remote.connect().await.unwrap();
    assert_eq!(connection.read_back(&path, 1, Closing::Awaited).await.unwrap().size, 1);
    assert_eq!(bench.profile().passive, PassiveCommand::Epsv);
    drop(connection);

    bench.server.arm(closed("EPSV"));
    bench.write("b.txt", "b");
    let report = bench.deliver().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Temporary));
    for words in ["SV named", "passive ports open in the firewall"] {
        assert!(cause(&report).contains(words), "{words} in {}", cause(&report));
    }
    assert_eq!(bench.profile().passive, PassiveCommand::Epsv, "nothing was learned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_cannot_go_on_are_told() {
    let refused = walk(&Bench::new(Dialect::proftpd(), [])).await;
    lacks(&refused, Check::Resume, "refused (STOR: 451", "AllowStoreRestart");
    let lost = Bench::new(Dialect::full(), [Fault::on("REST", Action::Reply("350 of course".into()))]);
    let lost = walk(&lost).await;
    lacks(&lost, Check::Resume, "is not the file", "");
    for walk in [refused, lost] {
        assert_eq!(walk.profile.resume, Ability::No);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_refused_or_the_same_are_told() {
    let umlaut = Fault::on("STOR", Action::Reply("553 Prohibited file name".into())).naming("\u{fc}");
    let refused = walk(&Bench::new(Dialect::full(), [umlaut])).await;
    lacks(&refused, Check::Names, "a name with an umlaut is refused (553", "exclude");
    assert_eq!((refused.profile.names, refused.profile.case), (Ability::No, Ability::Yes));
    assert_eq!(refused.profile.composition, Ability::Unknown);
    let windows = walk(&Bench::new(Dialect::full().with(ftps_server::Feature::WindowsNames), [])).await;
    lacks(&windows, Check::Names, "case is not", "differ in case alone");
    assert_eq!((windows.profile.names, windows.profile.case), (Ability::Yes, Ability::No));
}

/// A server that takes UTF-8 for another encoding: what it made of the name is deleted as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_come_back_otherwise_are_told_and_deleted() {
    let bench = Bench::watched(Server::builder(), |event| {
        if let ftps_server::Event::Stored { local, .. } = event {
            let name = local.to_str().unwrap();
            if name.contains('\u{fc}') {
                std::fs::rename(local, name.replace('\u{fc}', "\u{c3}\u{bc}")).unwrap();
            }
        }
    });
    let walk = walk(&bench).await;
    lacks(&walk, Check::Names, "a name with an umlaut comes back as `.nf-", "charset");
    assert_eq!((walk.profile.names, walk.profile.composition), (Ability::No, Ability::Unknown));
    assert_eq!(bench.all_stored().len(), 0);
}

/// EPSV works, and all that jobs need: the address is told all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_from_behind_nat_is_told() {
    for (named, words) in [
        (Ipv4Addr::new(10, 0, 0, 5), "10.0.0.5, but the server is reached at 127.0.0.1: an address inside"),
        (Ipv4Addr::new(203, 0, 113, 7), "another machine"),
        (Ipv4Addr::UNSPECIFIED, "no address at all"),
    ] {
        let fault = Fault::on("PASV", Action::AdvertiseAddress(IpAddr::V4(named)));
        let mut bench = Bench::with(Server::builder().listen(Ipv4Addr::LOCALHOST, 0).fault(fault));
        let ignored = walk(&bench).await;
        lacks(&ignored, Check::PasvAddress, words, "nothing to do for jobs");
        bench.definition.network.data =
            nightferry::domain::DataMode::Passive { address: nightferry::domain::PasvAddress::Trust };
        let trusted = walk(&bench).await;
        let help = trusted.of(Check::PasvAddress).help.clone().unwrap();
        assert!(help.contains("pasv_address: trust"), "{help}");
    }
}

/// Most sessions that a job may have open.
fn sessions(bench: &Bench) -> u16 {
    let remote = bench.remote();
    drop(remote.share());
    remote.sessions()
}
