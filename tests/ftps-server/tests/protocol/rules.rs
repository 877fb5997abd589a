//! What the server insists on: order, confinement, session reuse, its own peer.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use crate::client::{Client, end};
use ftps_server::{Dialect, Feature, Server, TlsVersions};
use tokio::net::TcpSocket;

#[test]
fn commands_in_one_write_are_answered_in_order() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::login(&server);
    client.send(b"MKD a\r\nCWD a\r\nPWD\r\nFOO\r\nCDUP\r\nRMD a\r\nSYST\r\n");
    let codes: Vec<String> = (0..7).map(|_| client.reply().chars().take(3).collect()).collect();
    assert_eq!(codes, ["257", "250", "257", "500", "250", "250", "215"]);

    let mut data = client.open("STOR b").unwrap();
    client.send(b"MFMT 20010203040506 b\r\nSIZE b\r\nEPSV\r\n");
    data.write_all(b"hello").unwrap();
    end(&mut data).unwrap();
    let codes: Vec<String> = (0..4).map(|_| client.reply().chars().take(3).collect()).collect();
    assert_eq!(codes, ["226", "213", "213", "229"]);
}

#[test]
fn nothing_is_done_in_the_clear_or_before_the_login() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::connect(&server);
    client.reply();
    assert!(client.command("FEAT").starts_with("211"));
    assert!(client.command("USER user").starts_with("550"));
    assert!(client.command("MKD a").starts_with("550"));
    assert!(client.command("AUTH GSSAPI").starts_with("504"));
    // What comes in the clear after AUTH is forgotten.
    client.send(b"AUTH TLS\r\nUSER user\r\n");
    assert!(client.reply().starts_with("234"));
    client.encrypt();
    assert!(client.command("PASS password").starts_with("503"));
    assert!(client.command("MKD a").starts_with("530"));
    client.command("USER user");
    assert!(client.command("PASS wrong").starts_with("530"));
    client.command("USER user");
    assert!(client.command("PASS password").starts_with("230"));
    client.command("EPSV");
    assert!(client.command("STOR a").starts_with("522"));
    assert!(client.command("PROT C").starts_with("534"));
    assert!(client.command("PROT P").starts_with("200"));
    assert!(client.command("RNTO a").starts_with("503"));
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 0);
}

#[test]
fn each_dialect_words_its_refusals() {
    let cases = [
        (Dialect::full(), ["550", "534", "522", "550", "550", "200"]),
        (Dialect::vsftpd(), ["530", "200", "522", "550", "553", "200"]),
        (Dialect::pure_ftpd(), ["421", "200", "521", "451", "553", "504"]),
    ];
    for (dialect, expected) in cases {
        let server = Server::builder().dialect(dialect).start().unwrap();
        let mut client = Client::connect(&server);
        client.reply();
        let in_the_clear = client.command("USER user");
        client.auth();
        client.enter();
        let clear_data = client.command("PROT C");
        client.epsv();
        let unprotected = client.command("STOR a");
        client.command("PROT P");
        client.store("a", b"");
        client.command("RNFR a");
        let rename = client.command("RNTO none/a");
        client.epsv();
        let store = client.command("STOR none/a");
        let utf8 = client.command("OPTS UTF8 ON");
        let replies = [in_the_clear, clear_data, unprotected, rename, store, utf8];
        let codes: Vec<&str> = replies.iter().filter_map(|reply| reply.get(..3)).collect();
        assert_eq!(codes, expected, "{}", server.transcript());
    }
}

#[test]
fn paths_stay_in_the_folder() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::login(&server);
    assert!(client.command("SIZE /../../../../etc/passwd").starts_with("550"));
    assert!(client.command("CWD ../../..").starts_with("250"));
    assert!(client.command("MKD ../a").starts_with("257 \"/a\""));
    assert!(server.root().join("a").is_dir());
    assert!(client.store("../b", b"x").starts_with("226"));
    assert!(server.root().join("b").is_file());
}

#[test]
fn a_line_that_is_too_long_ends_the_connection() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::login(&server);
    client.send(&vec![b'x'; 20_000]);
    assert!(client.line().is_err());
}

#[test]
fn proftpd_takes_only_sessions_of_the_same_control_connection() {
    let server = Server::builder().dialect(Dialect::proftpd()).start().unwrap();
    let mut one = Client::login(&server);
    let mut other = Client::login(&server);
    // This client uses each TLS 1.3 ticket once, and there are two on a control connection.
    assert!(one.store("a", b"1").starts_with("226"));
    assert!(one.store("a", b"2").starts_with("226"));
    assert_eq!(one.store("a", b"3"), "425 Unable to build data connection: Operation not permitted");
    assert_eq!(fs::read(server.root().join("a")).unwrap(), b"");
    assert!(one.command("NOOP").starts_with("200"));

    one.steal_sessions(&other);
    assert!(one.store("a", b"4").starts_with("425"));
    assert!(other.store("a", b"5").starts_with("226"));
}

#[test]
fn tls_1_2_sessions_do_not_run_out() {
    let builder = Server::builder().dialect(Dialect::proftpd()).tls_versions(TlsVersions::Only12);
    let server = builder.start().unwrap();
    let mut client = Client::login(&server);
    for _ in 0..5 {
        assert!(client.store("a", b"1").starts_with("226"));
    }
    assert_eq!(server.counters().resumed_data_handshakes, 5);
}

#[test]
fn vsftpd_closes_a_control_connection_whose_data_connection_does_not_resume() {
    let server = Server::builder().dialect(Dialect::vsftpd().control_tickets(0)).start().unwrap();
    let mut client = Client::login(&server);
    assert_eq!(client.store("a", b"1"), "522 SSL connection failed: session reuse required");
    assert!(client.line().is_err());
}

#[test]
fn vsftpd_wants_close_notify_and_others_do_not() {
    for (dialect, code) in [(Dialect::vsftpd(), "426"), (Dialect::full(), "226")] {
        let server = Server::builder().dialect(dialect).start().unwrap();
        let mut client = Client::login(&server);
        let mut data = client.open("STOR a").unwrap();
        data.write_all(b"hello").unwrap();
        data.sock.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.reply().starts_with(code), "{}", server.transcript());
    }
}

#[test]
fn proftpd_hashes_with_sha_1_until_told_otherwise() {
    let server = Server::builder().dialect(Dialect::proftpd()).start().unwrap();
    let mut client = Client::login(&server);
    client.store("a", b"abc");
    assert!(client.command("FEAT").contains("HASH SHA-1*;SHA-256"));
    // The digests of "abc" in FIPS 180-2.
    assert_eq!(
        client.command("HASH a"),
        "213-Computing SHA-1 digest\r\n213 SHA-1 0-3 a9993e364706816aba3e25717850c26c9cd0d89d a"
    );
    assert_eq!(client.command("OPTS HASH SHA-256"), "200 SHA-256");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = format!("213-Computing SHA-256 digest\r\n213 SHA-256 0-3 {digest} a");
    assert_eq!(client.command("HASH a"), expected);
}

#[test]
fn text_is_changed_unless_the_type_is_image() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::login(&server);
    client.store("image", b"a\r\nb\rc\r\n");
    client.command("TYPE A");
    client.store("ascii", b"a\r\nb\rc\r\n");
    assert!(client.command("SIZE ascii").starts_with("550"));
    assert_eq!(fs::read(server.root().join("image")).unwrap(), b"a\r\nb\rc\r\n");
    assert_eq!(fs::read(server.root().join("ascii")).unwrap(), b"a\nb\rc\n");
}

#[test]
fn an_upload_is_continued_as_each_server_does_it() {
    let restart = Dialect::proftpd().with(Feature::RestartStore);
    for (dialect, offset, expected) in [
        (Dialect::full(), 5, Ok("01234abc89")),
        (Dialect::full(), 10, Ok("0123456789abc")),
        (Dialect::full(), 12, Err("554")),
        (restart.clone(), 5, Ok("01234abc89")),
        (restart, 12, Err("554")),
        (Dialect::proftpd(), 5, Err("451")),
        (Dialect::vsftpd(), 5, Ok("01234abc89")),
        (Dialect::vsftpd(), 12, Ok("0123456789\0\0abc")),
        (Dialect::pure_ftpd(), 5, Ok("01234abc")),
        (Dialect::pure_ftpd(), 12, Ok("0123456789abc")),
    ] {
        let row = format!("{offset}: {dialect:?}");
        let server = Server::builder().dialect(dialect).start().unwrap();
        let mut client = Client::login(&server);
        client.store("a", b"0123456789");
        let stored = || fs::read_to_string(server.root().join("a")).unwrap();
        match expected {
            Ok(content) => {
                assert!(client.command(&format!("REST {offset}")).starts_with("350"));
                assert!(client.store("a", b"abc").contains("226"), "{row}");
                assert_eq!(stored(), content, "{row}");
            }
            Err(code) => {
                client.epsv();
                assert!(client.command(&format!("REST {offset}")).starts_with("350"));
                assert!(client.command("STOR a").starts_with(code), "{row}");
                assert_eq!(stored(), "0123456789", "{row}");
            }
        }
    }
}

/// The server and the client are both in the same async test, which must not block the server.
#[tokio::test]
async fn only_the_control_connections_peer_may_bring_data() {
    let server = Server::builder().start().unwrap();
    let mut client = Client::login(&server);
    let port = client.epsv();
    client.send(b"STOR a\r\n");
    assert!(client.reply().starts_with("150"));
    let stranger = TcpSocket::new_v4().unwrap();
    stranger.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stranger = stranger.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    // The server drops a stranger before it takes the next connection.
    let mut byte = [0];
    let _ = stranger.readable().await;
    assert!(matches!(stranger.try_read(&mut byte), Ok(0) | Err(_)));
    assert_eq!(server.counters().strangers, 1);
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert!(client.reply().starts_with("425"));
    assert_eq!(server.counters().data_connections, 1);
}
