//! Each fault does what it says, and nothing happens without one.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use crate::client::{Client, certificate, end};
use ftps_server::{Action, Cut, Dialect, Event, Fault, Moment, Server, Witness};

/// As sha256sum gives it for `hello nightferry`.
const HELLO: &[u8] = b"hello nightferry";
const HELLO_SHA256: &str = "1424fba3385791dbe08c3dd4f6b2563f01efb3656338252539bf6bf06a4d00a4";

fn with(faults: impl IntoIterator<Item = Fault>) -> Server {
    Server::builder().faults(faults).start().unwrap()
}

fn file(server: &Server, name: &str) -> Option<Vec<u8>> {
    fs::read(server.root().join(name)).ok()
}

#[test]
fn without_faults_all_is_well() {
    let server = with([]);
    let mut client = Client::login(&server);
    assert_eq!(client.store("a", HELLO), "226 Transfer complete");
    assert_eq!(client.command("SIZE a"), "213 16");
    assert_eq!(client.command("HASH a"), format!("213 SHA-256 0-16 {HELLO_SHA256} a"));
    let (bytes, ended, reply) = client.retrieve("a");
    ended.unwrap();
    assert_eq!((bytes.as_slice(), reply.as_str()), (HELLO, "226 Transfer complete"));
    assert_eq!(client.command("QUIT"), "221 Goodbye.");
    assert_eq!(client.receive().unwrap(), b"");
    let counters = server.counters();
    assert_eq!((counters.control_connections, counters.logins), (1, 1));
    assert_eq!((counters.data_connections, counters.resumed_data_handshakes), (2, 2));
    assert_eq!((counters.stores, counters.bytes_received, counters.bytes_sent), (1, 16, 16));
}

#[test]
fn a_scripted_reply_stands_in_for_the_command_or_follows_it() {
    let server = with([
        Fault::on("MKD", Action::Reply("257-no\r\n257 \"/a\" created".to_owned())).once(),
        Fault::on("MKD", Action::ReplyAfter("550 no".to_owned())).nth(2),
        Fault::on("PROT", Action::Reply("534 no".to_owned())).nth(2),
        Fault::on("RNTO", Action::Reply("250 Rename successful".to_owned())),
    ]);
    let mut client = Client::login(&server);
    assert_eq!(client.command("MKD a"), "257-no\r\n257 \"/a\" created");
    assert!(!server.root().join("a").exists());
    assert_eq!(client.command("MKD a"), "550 no");
    assert!(server.root().join("a").is_dir());
    assert_eq!(client.command("PROT P"), "534 no");
    assert!(client.command("RNFR a").starts_with("350"));
    assert_eq!(client.command("RNTO b"), "250 Rename successful");
    assert!(server.root().join("a").is_dir() && !server.root().join("b").exists());
}

#[test]
fn a_control_connection_is_dropped_before_or_after_a_command() {
    for (moment, performed, answered) in
        [(Moment::Before, false, false), (Moment::Unanswered, true, false), (Moment::Answered, true, true)]
    {
        let server = with([Fault::on("MKD", Action::DropControl(moment))]);
        let mut client = Client::login(&server);
        assert_eq!(client.command("MKD a").starts_with("257"), answered, "{moment:?}");
        assert!(client.line().is_err());
        assert_eq!(server.root().join("a").is_dir(), performed, "{moment:?}");
    }
    let server = with([Fault::on("STOR", Action::DropControl(Moment::Unanswered))]);
    assert_eq!(Client::login(&server).store("a", HELLO), "");
    assert_eq!(file(&server, "a").unwrap(), HELLO);
}

#[test]
fn a_greeting_can_be_replaced() {
    let server = with([Fault::on_greeting(Action::Reply("421 too many".to_owned())).once()]);
    assert_eq!(Client::connect(&server).reply(), "421 too many");
    Client::login(&server);
}

#[test]
fn an_upload_is_cut_after_some_bytes() {
    for cut in [Cut::Reset, Cut::Fin] {
        let server = with([
            Fault::on("STOR", Action::DropData { after: 70_000, cut }).first(2),
            Fault::on("STOR", Action::ReplyAfter("226 Transfer complete".to_owned())).nth(2),
        ]);
        let mut client = Client::login(&server);
        let bytes = vec![7; 200_000];
        assert!(client.store("a", &bytes).starts_with("426"), "{cut:?}");
        assert_eq!(file(&server, "a").unwrap().len(), 70_000);
        assert_eq!(client.store("b", &bytes), "226 Transfer complete");
        assert_eq!(file(&server, "b").unwrap().len(), 70_000);
        assert_eq!(server.counters().stores, 0);
        assert_eq!(client.store("c", &bytes), "226 Transfer complete");
        assert_eq!(file(&server, "c").unwrap().len(), 200_000);
    }
}

#[test]
fn a_download_is_cut_after_some_bytes() {
    for (cut, seen) in [(Cut::Reset, ErrorKind::ConnectionReset), (Cut::Fin, ErrorKind::UnexpectedEof)] {
        let server = with([Fault::on("RETR", Action::DropData { after: 100, cut })]);
        fs::write(server.root().join("a"), vec![7; 200_000]).unwrap();
        let mut client = Client::login(&server);
        let (bytes, ended, reply) = client.retrieve("a");
        assert!(bytes.len() <= 100, "{}", bytes.len());
        assert_eq!(ended.unwrap_err().kind(), seen);
        assert!(reply.starts_with("426"), "{reply}");
    }
}

#[test]
fn half_a_file_is_kept_and_called_whole() {
    let server = with([Fault::on("STOR", Action::StoreHalf).naming("a")]);
    let mut client = Client::login(&server);
    assert!(client.store("a", HELLO).starts_with("226"));
    assert_eq!(file(&server, "a").unwrap(), b"hello ni");
    assert_eq!(client.command("SIZE a"), "213 8");
    assert!(client.store("b", HELLO).starts_with("226"));
    assert_eq!(file(&server, "b").unwrap(), HELLO);
}

#[test]
fn a_byte_is_changed_and_the_hash_tells_or_does_not() {
    for (witness, told_at_once, told_after_mfmt) in
        [(Witness::Honest, true, true), (Witness::Cached, false, true), (Witness::Liar, false, false)]
    {
        let server = with([Fault::on("STOR", Action::FlipByte(witness))]);
        let mut client = Client::login(&server);
        assert!(client.store("a", HELLO).starts_with("226"));
        assert!(client.store("empty", b"").starts_with("226"));
        let stored = file(&server, "a").unwrap();
        assert_eq!(stored.iter().zip(HELLO).filter(|(now, then)| now != then).count(), 1);
        client.command("RNFR a");
        assert!(client.command("RNTO b").starts_with("250"));
        let hash_is_right = |client: &mut Client| client.command("HASH b").contains(HELLO_SHA256);
        assert_eq!(hash_is_right(&mut client), !told_at_once, "{witness:?}");
        assert!(client.command("MFMT 20010203040506 b").starts_with("213"));
        assert_eq!(hash_is_right(&mut client), !told_after_mfmt, "{witness:?}");
    }
}

#[test]
fn size_and_digest_are_lied_about() {
    let server = with([
        Fault::on("SIZE", Action::Size(99)).once(),
        Fault::on("HASH", Action::WrongHash).once(),
        Fault::on("XSHA256", Action::WrongHash).once(),
    ]);
    let mut client = Client::login(&server);
    client.store("a", HELLO);
    assert_eq!(client.command("SIZE a"), "213 99");
    assert_eq!(client.command("SIZE a"), "213 16");
    for verb in ["HASH", "XSHA256"] {
        let command = format!("{verb} a");
        assert!(!client.command(&command).to_lowercase().contains(HELLO_SHA256));
        assert!(client.command(&command).to_lowercase().contains(HELLO_SHA256));
    }
}

#[test]
fn a_reply_is_withheld_and_later_ones_are_not() {
    let server = with([Fault::on("STOR", Action::Silent)]);
    let mut client = Client::login(&server);
    let mut data = client.open("STOR a").unwrap();
    end(&mut data).unwrap();
    assert_eq!(client.command("NOOP"), "200 NOOP command successful");
    assert!(file(&server, "a").is_some());
}

#[test]
fn a_stalled_connection_answers_nothing_more() {
    let server = with([Fault::on("MKD", Action::Stall)]);
    let mut client = Client::login(&server);
    client.patience(Duration::from_millis(200));
    assert_eq!(client.command("MKD a"), "");
    assert_eq!(client.command("NOOP"), "");
    assert!(server.root().join("a").is_dir());
    // Others are served meanwhile.
    Client::login(&server);
}

#[test]
fn a_reply_is_delayed() {
    let delay = Duration::from_millis(150);
    let server = with([Fault::on_any(Action::Delay(delay)).from(7)]);
    let mut client = Client::login(&server);
    let start = std::time::Instant::now();
    assert!(client.command("NOOP").starts_with("200"));
    assert!(start.elapsed() >= delay);
}

#[test]
fn close_notify_is_withheld() {
    let server = with([Fault::on_any(Action::WithholdCloseNotify)]);
    let mut client = Client::login(&server);
    let mut data = client.open("STOR a").unwrap();
    assert_eq!(end(&mut data).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(client.reply().starts_with("226"));
    fs::write(server.root().join("b"), HELLO).unwrap();
    let (bytes, ended, reply) = client.retrieve("b");
    assert_eq!((bytes.as_slice(), ended.unwrap_err().kind()), (HELLO, ErrorKind::UnexpectedEof));
    assert!(reply.starts_with("226"));
}

#[test]
fn a_rename_over_a_file_is_refused() {
    let server = with([Fault::on("RNTO", Action::RefuseReplace)]);
    let mut client = Client::login(&server);
    for name in ["a", "b"] {
        client.store(name, name.as_bytes());
    }
    client.command("RNFR a");
    assert_eq!(client.command("RNTO b"), "550 b: File exists");
    assert_eq!(file(&server, "b").unwrap(), b"b");
    client.command("RNFR a");
    assert!(client.command("RNTO c").starts_with("250"));
}

#[test]
fn files_vanish_and_a_consumer_takes_them() {
    let (sender, events) = std::sync::mpsc::channel();
    let server = Server::builder()
        .fault(Fault::on("STOR", Action::Vanish).naming("gone"))
        .on_event(move |event| {
            sender.send(event.clone()).unwrap();
            if let Event::Renamed { local, .. } = event {
                fs::remove_file(local).unwrap();
            }
        })
        .start()
        .unwrap();
    let mut client = Client::login(&server);
    assert!(client.store("gone", HELLO).starts_with("226"));
    assert!(client.store("tmp", HELLO).starts_with("226"));
    client.command("RNFR tmp");
    assert!(client.command("RNTO taken").starts_with("250"));
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 0);
    assert!(client.command("SIZE taken").starts_with("550"));
    let local = |name: &str| server.root().join(name);
    let stored = |name: &str| Event::Stored { path: format!("/{name}"), local: local(name), bytes: 16 };
    let renamed = Event::Renamed { from: "/tmp".into(), to: "/taken".into(), local: local("taken") };
    let events =
        events.try_iter().filter(|event| !matches!(event, Event::Listening { .. } | Event::Asked { .. }));
    assert_eq!(events.collect::<Vec<_>>(), [stored("gone"), stored("tmp"), renamed]);
}

#[test]
fn plain_text_follows_the_234() {
    let server = with([Fault::on("AUTH", Action::Inject(b"230 Come in\r\n".to_vec()))]);
    let mut client = Client::connect(&server);
    client.reply();
    assert!(client.command("AUTH TLS").starts_with("234"));
    assert_eq!(client.left_over(), b"230 Come in\r\n");
    client.encrypt();
}

#[test]
fn lines_and_replies_do_not_end() {
    for (action, ends_lines) in [(Action::EndlessLine, false), (Action::EndlessReply, true)] {
        let server = with([Fault::on("FEAT", action)]);
        let mut client = Client::login(&server);
        client.send(b"FEAT\r\n");
        let mut received = Vec::new();
        while received.len() < 1_000_000 {
            received.extend(client.receive().unwrap());
        }
        assert_eq!(received.contains(&b'\n'), ends_lines);
        assert!(!received.windows(4).any(|window| window.ends_with(b" ")));
    }
}

#[test]
fn passive_replies_name_another_address_or_port() {
    let server = with([
        Fault::on("EPSV", Action::AdvertiseAddress("10.1.2.3".parse().unwrap())).once(),
        Fault::on("PASV", Action::AdvertiseAddress("10.1.2.3".parse().unwrap())).once(),
        Fault::on("EPSV", Action::AdvertisePort(9)).nth(2),
        Fault::on("PASV", Action::AdvertisePort(258)).nth(2),
    ]);
    let mut client = Client::login(&server);
    assert!(client.command("EPSV").contains("(|1|10.1.2.3|"));
    assert!(client.command("EPSV").contains("(|||9|)"));
    assert!(client.command("PASV").contains("(10,1,2,3,"));
    assert!(client.command("PASV").contains("(127,0,0,1,1,2)"));
}

#[test]
fn a_data_connection_shows_another_certificate() {
    let server = with([Fault::on("STOR", Action::OtherCertificate).once()]);
    let mut client = Client::login(&server);
    let mut data = client.open("STOR a").unwrap();
    assert_ne!(certificate(&data), client.certificate());
    end(&mut data).unwrap();
    assert!(client.reply().starts_with("226"));
    let mut data = client.open("STOR a").unwrap();
    assert_eq!(certificate(&data), client.certificate());
    end(&mut data).unwrap();
}

#[test]
fn faults_are_armed_and_cleared_while_it_runs() {
    let server = with([]);
    let mut client = Client::login(&server);
    server.arm(Fault::on("NOOP", Action::Reply("421 no".to_owned())));
    assert_eq!(client.command("NOOP"), "421 no");
    server.clear_faults();
    assert!(client.command("NOOP").starts_with("200"));
}

#[test]
fn a_server_listens_on_ipv6_and_comes_back_as_itself() {
    let here: IpAddr = "::1".parse().unwrap();
    let first = Server::builder().listen(here, 0).dialect(Dialect::proftpd()).start().unwrap();
    let (port, pki, root) = (first.port(), first.pki(), tempfile::tempdir().unwrap());
    let mut client = Client::login(&first);
    assert!(client.store("a", HELLO).starts_with("226"));
    assert!(client.command("PASV").starts_with("425"));
    drop(first);
    assert!(client.line().is_err());
    let second = Server::builder().listen(here, port).pki(pki).root(root.path()).start().unwrap();
    assert!(Client::login(&second).store("a", HELLO).starts_with("226"));
    assert_eq!(fs::read(root.path().join("a")).unwrap(), HELLO);
}
