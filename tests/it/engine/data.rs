//! Data connections: who opens them, where they lead, and what is never sent on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::{Duration, Instant};

use ftps_server::{Action, Builder, Dialect, Fault, Feature, Mode as ServerMode, Server, TlsVersions};
use nightferry::domain::{ActivePorts, AddressFamily, DataMode, Exit, PasvAddress, RunReport};

use super::bench::{Bench, cause};

const FILES: u64 = 5;
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A job of some files over one session.
fn bench(server: Builder, data: DataMode) -> Bench {
    let mut bench = Bench::with(server).impatient();
    bench.definition.connections = 1.try_into().unwrap();
    bench.definition.network.data = data;
    for n in 0..FILES {
        bench.write(&format!("{n}.txt"), vec![7; 10_000]);
    }
    bench
}

fn active() -> DataMode {
    DataMode::Active(ActivePorts::default())
}

fn faulty(dialect: Dialect, fault: Fault) -> Builder {
    Server::builder().dialect(dialect).fault(fault)
}

async fn delivers(bench: &Bench) -> RunReport {
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (FILES, Exit::Done), "{}", cause(&report));
    report
}

/// Nothing is delivered, no byte of a file is sent, and the cause says this.
async fn fails(bench: &Bench, exit: Exit, words: &[&str]) {
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, exit), "{}", cause(&report));
    for words in words {
        assert!(cause(&report).contains(words), "{words:?} in {}", cause(&report));
    }
    assert_eq!(bench.server.counters().bytes_received, 0, "file bytes were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_mode_delivers_over_both_families_in_both_tls_versions() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        for versions in [TlsVersions::Only12, TlsVersions::Only13] {
            for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                let server = Server::builder().dialect(dialect.clone()).tls_versions(versions);
                let mut bench = bench(server.listen(address, 0), active());
                bench.definition.host = address.to_string();
                delivers(&bench).await;
                let transcript = bench.server.transcript();
                assert!(transcript.count("EPRT ") >= 5, "{transcript}");
                let others = ["EPSV", "PASV", "PORT"].map(|verb| transcript.count(verb));
                assert_eq!(others, [0; 3], "{transcript}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_is_the_way_where_eprt_is_not_known_and_the_error_names_the_other_mode() {
    let none = Dialect::full().without(Feature::Eprt);
    let bench = bench(Server::builder().dialect(none.clone()), active());
    delivers(&bench).await;
    let transcript = bench.server.transcript();
    assert_eq!(transcript.count("EPRT"), 1, "it is asked once a session: {transcript}");
    assert!(transcript.count("PORT") >= 5, "{transcript}");

    let refuses = Fault::on("PORT", Action::Reply("500 Illegal PORT command".into()));
    let bench = self::bench(faulty(none, refuses), active());
    fails(
        &bench,
        Exit::Refused,
        &["PORT 127.0.0.1:", "Illegal PORT command", "`announce`", "`mode: passive`"],
    )
    .await;
    assert_eq!(bench.server.transcript().count("PORT"), 1, "no hammering");
    assert_eq!(bench.server.transcript().count("STOR"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_the_server_does_not_see_is_refused_by_it() {
    let ports = ActivePorts { announce: Some([203, 0, 113, 7].into()), ..ActivePorts::default() };
    let bench = bench(Server::builder(), DataMode::Active(ports));
    fails(&bench, Exit::Refused, &["PORT 203.0.113.7:", "the address that the server sees"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_server_may_call() {
    let thief = Fault::on("STOR", Action::StrangerFirst(ELSEWHERE));
    delivers(&bench(faulty(Dialect::full(), thief), active())).await;
    let late = Fault::on("STOR", Action::CallLate(Duration::from_millis(100)));
    delivers(&bench(faulty(Dialect::full(), late), active())).await;

    let thief = Fault::on("STOR", Action::CallFrom(ELSEWHERE));
    let bench = bench(faulty(Dialect::full(), thief), active());
    fails(&bench, Exit::Temporary, &["the server did not open", "127.0.0.2 did instead"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_call_is_told_with_the_port_by_the_deadline() {
    let silent = Fault::on("STOR", Action::NeverCall);
    let bench = bench(faulty(Dialect::full(), silent), active());
    let began = Instant::now();
    fails(&bench, Exit::Temporary, &["127.0.0.1:", "within 0.7 s", "firewall", "`announce`", "`ports`"])
        .await;
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());

    // It says so itself: the session goes on.
    let unreachable = Fault::on("STOR", Action::CallFrom([192, 0, 2, 1].into()));
    let bench = self::bench(faulty(Dialect::full(), unreachable), active());
    fails(&bench, Exit::Temporary, &["127.0.0.1:", "it says 425", "firewall"]).await;
    assert_eq!(bench.server.counters().logins, 1);
    bench.server.clear_faults();
    delivers(&bench).await;
}

/// Whoever opens it: no byte goes to somebody else, and none in clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_end_proves_itself_whoever_opens_the_connection() {
    for data in [active(), DataMode::default()] {
        let other = Fault::on("STOR", Action::OtherCertificate);
        fails(
            &bench(faulty(Dialect::full(), other), data.clone()),
            Exit::Trust,
            &["not lead to the same server"],
        )
        .await;
        let plain = Fault::on("STOR", Action::PlainData);
        fails(&bench(faulty(Dialect::full(), plain), data), Exit::Temporary, &["not speak TLS", "proxy"])
            .await;
    }
}

/// The first of some free ports that stand in a row, and what holds them.
fn free_ports(count: u16) -> (u16, Vec<TcpListener>) {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let Some(end) = first.checked_add(count) else { continue };
        let held: Vec<_> =
            (first..end).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return (first, held);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_ports_come_from_the_range_and_when_they_run_out_it_is_said() {
    let (first, held) = free_ports(3);
    let range = ActivePorts { ports: Some(first..=first + 2), ..ActivePorts::default() };
    let bench = bench(Server::builder(), DataMode::Active(range));
    let words = format!("`ports` from {first} to {}", first + 2);
    fails(&bench, Exit::Temporary, &[&words, "in use", "lower `connections`"]).await;
    assert_eq!(bench.server.transcript().count("EPRT"), 0);
    drop(held);
    delivers(&bench).await;
    let transcript = bench.server.transcript();
    let told = transcript.commands().into_iter().filter_map(|line| line.strip_prefix("EPRT |1|127.0.0.1|"));
    let mut told: Vec<u16> = told.map(|rest| rest.trim_end_matches('|').parse().unwrap()).collect();
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "each in its turn: {told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, [first, first + 1, first + 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_byte_goes_before_the_server_says_that_the_transfer_begins() {
    for data in [active(), DataMode::default()] {
        for versions in [TlsVersions::Only12, TlsVersions::Only13] {
            let late = Fault::on("STOR", Action::LateStart(Duration::from_millis(60)));
            let bench = bench(Server::builder().fault(late).tls_versions(versions), data.clone());
            delivers(&bench).await;
            assert_eq!(bench.server.counters().early_bytes, 0, "{data:?} {versions:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pasv_is_remembered_where_epsv_is_refused_and_forgotten_where_pasv_is() {
    let bench = bench(
        faulty(Dialect::full(), Fault::on("EPSV", Action::Reply("502 no".into()))),
        DataMode::default(),
    );
    delivers(&bench).await;
    assert_eq!(bench.server.transcript().count("EPSV"), 1);
    bench.write("0.txt", "changed");
    assert_eq!(bench.run().await.counts.delivered, 1);
    assert_eq!(bench.server.transcript().count("EPSV"), 1, "asked again in the second run");

    bench.server.clear_faults();
    bench.server.arm(Fault::on("PASV", Action::Reply("502 no".into())));
    for (content, refused) in [("changed again", 1), ("and again", 1)] {
        bench.write("0.txt", content);
        assert_eq!(bench.run().await.counts.delivered, 1);
        let transcript = bench.server.transcript();
        let no = transcript.replies().into_iter().filter(|reply| *reply == "502 no").count();
        assert_eq!(no, 1 + refused, "{transcript}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passing_refusal_of_a_passive_port_is_asked_again() {
    let busy = "425 Unable to identify the local data socket: Address already in use";
    let fault = Fault::on("EPSV", Action::Reply(busy.into())).first(4);
    let bench = bench(faulty(Dialect::full(), fault), DataMode::default());
    delivers(&bench).await;
    assert_eq!((bench.server.counters().logins, bench.server.transcript().count("PASV")), (1, 0));
}

/// What a reply to PASV names is followed only where the job trusts it, and then to no port or
/// address that cannot be a server's, and to no other server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_in_a_reply_to_pasv_is_followed_only_on_trust() {
    let trust = || DataMode::Passive { address: PasvAddress::Trust };
    let at = |action| faulty(Dialect::no_epsv(), Fault::on("PASV", action));
    delivers(&bench(at(Action::OpenAt(ELSEWHERE)), trust())).await;
    fails(&bench(at(Action::OpenAt(ELSEWHERE)), DataMode::default()), Exit::Temporary, &["127.0.0.1:"]).await;
    for ip in [[192, 0, 2, 1], [10, 0, 0, 1]] {
        delivers(&bench(at(Action::AdvertiseAddress(ip.into())), DataMode::default())).await;
    }
    for ip in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
        delivers(&bench(at(Action::AdvertiseAddress(ip.into())), trust())).await;
    }
    for data in [trust(), DataMode::default()] {
        fails(&bench(at(Action::AdvertisePort(990)), data), Exit::Temporary, &["PASV makes no sense"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_address_that_leads_to_another_server_gets_nothing() {
    let mut bench = bench(Server::builder().dialect(Dialect::no_epsv()), DataMode::default());
    // A certificate of the same authority for the same names.
    let thief = Server::builder().mode(ServerMode::Implicit).pki(bench.server.pki()).listen(ELSEWHERE, 0);
    let thief = thief.start().unwrap();
    bench.server.arm(Fault::on("PASV", Action::AdvertiseAddress(ELSEWHERE)));
    bench.server.arm(Fault::on("PASV", Action::AdvertisePort(thief.port())));
    bench.definition.network.data = DataMode::Passive { address: PasvAddress::Trust };
    fails(&bench, Exit::Trust, &["not lead to the same server"]).await;
    assert_eq!(thief.counters().control_connections, 1);
    assert_eq!(thief.transcript().commands(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passive_port_that_takes_nobody_is_named() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let faults = ["EPSV", "PASV"].map(|verb| Fault::on(verb, Action::AdvertisePort(closed)));
    let bench = bench(Server::builder().faults(faults), DataMode::default());
    fails(&bench, Exit::Temporary, &[&format!("127.0.0.1:{closed}"), "passive ports", "firewall"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_addresses_of_the_configured_family_are_used() {
    let mut bench = bench(Server::builder(), DataMode::default());
    bench.definition.host = "127.0.0.1".into();
    bench.definition.network.family = AddressFamily::V6;
    fails(&bench, Exit::Temporary, &["127.0.0.1 has no IPv6 address", "`address_family`"]).await;
    assert_eq!(bench.server.counters().control_connections, 0);
    bench.definition.network.family = AddressFamily::V4;
    delivers(&bench).await;
}
