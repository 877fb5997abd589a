//! Who may answer on a port that is not an FTPS server's: each gets an error that says what it
//! is and what to do, and not a word about the user.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nightferry::domain::{
    Bandwidth, Charset, Network, SecretRef, Server, TlsMode, TlsPolicy, TlsVersions, Trust,
};
use nightferry::remote::{Deadlines, FtpsError, Profiles, Remote, Trouble};

/// What a listener says at once, and what it answers to the first bytes that it gets.
#[derive(Clone, Copy)]
struct Door {
    greeting: &'static [u8],
    answer: &'static [u8],
}

/// A listener that takes one connection. Its thread gives back what it was sent.
fn listen(door: Door) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(door.greeting).unwrap();
        let mut first = [0; 4096];
        let count = stream.read(&mut first).unwrap_or(0);
        let mut heard = first[..count].to_vec();
        if count > 0 {
            stream.write_all(door.answer).unwrap();
        }
        // Ends when the client hangs up, in whatever way.
        let _hung_up = stream.read_to_end(&mut heard).is_err();
        heard
    });
    (port, heard)
}

fn definition(host: &str, port: u16, tls: TlsMode) -> Server {
    Server {
        name: "door".parse().unwrap(),
        host: host.into(),
        port,
        tls,
        tls_versions: TlsVersions::default(),
        tls_policy: TlsPolicy::default(),
        username: "canary-user".into(),
        password: SecretRef::Env("unused".into()),
        // Any key: nobody gets as far as showing one.
        trust: Trust {
            pins: vec!["00".repeat(32).parse().map(nightferry::domain::SpkiPin).unwrap()],
            ..Trust::default()
        },
        client_certificate: None,
        connections: 1.try_into().unwrap(),
        network: Network::default(),
        charset: Charset::default(),
        bandwidth: Bandwidth::default(),
    }
}

async fn refused(server: Server) -> FtpsError {
    let limit = Duration::from_millis(400);
    let deadlines = Deadlines { greeting: limit, handshake: limit, reply: limit, ..Deadlines::default() };
    let profiles = Arc::new(Profiles::in_memory());
    let remote = Remote::new(server, "canary-password".into(), deadlines, profiles).unwrap();
    remote.connect().await.unwrap_err()
}

async fn check(tls: TlsMode, greeting: &'static [u8], answer: &'static [u8], trouble: Trouble, text: &str) {
    let (port, heard) = listen(Door { greeting, answer });
    let error = refused(definition("127.0.0.1", port, tls)).await;
    assert_eq!(error.trouble(), trouble, "{error}");
    assert!(error.to_string().contains(text), "{text}: {error}");
    let heard = heard.join().unwrap();
    assert!(!heard.windows(6).any(|bytes| bytes == b"canary"), "{}", heard.escape_ascii());
}

#[tokio::test]
async fn other_protocols_are_told_by_their_names() {
    let explicit = TlsMode::Explicit;
    check(explicit, b"SSH-2.0-OpenSSH_9.2p1\r\n", b"", Trouble::Trust, "SFTP").await;
    check(explicit, b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"", Trouble::Trust, "HTTP").await;
    check(explicit, b"* OK IMAP4rev1 ready\r\n", b"", Trouble::Passing, "no FTP reply").await;
}

#[tokio::test]
async fn a_server_without_tls_gets_neither_name_nor_password() {
    let explicit = TlsMode::Explicit;
    for answer in [
        b"500 no\r\n",
        b"502 no\r\n",
        b"504 no\r\n",
        b"534 no\r\n",
        b"431 no\r\n",
        b"230 ok\r\n",
        b"334 so\r\n",
    ] {
        check(explicit, b"220 ready\r\n", answer, Trouble::Trust, "AUTH TLS").await;
    }
    // One that says that we are logged in already is not spoken to at all (CVE-2021-22946).
    check(explicit, b"230 welcome\r\n", b"", Trouble::Busy, "230 welcome").await;
}

#[tokio::test]
async fn swapped_explicit_and_implicit_tls_are_told() {
    let alert = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];
    check(TlsMode::Explicit, alert, b"", Trouble::Trust, "tls: implicit").await;
    check(TlsMode::Explicit, b"", b"", Trouble::Passing, "tls: implicit").await;
    check(TlsMode::Implicit, b"220 ready\r\n", b"", Trouble::Trust, "tls: explicit").await;
    check(TlsMode::Implicit, b"", b"500 what?\r\n", Trouble::Trust, "tls: explicit").await;
}

/// A `ServerHello` of TLS 1.1 or 1.0 (RFC 4346, section 7.4.1.3), and an alert `protocol_version`.
#[tokio::test]
async fn old_tls_is_refused_with_the_setting_named() {
    let old: [&[u8]; 3] = [
        b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\0\xc0\x13\0",
        b"\x16\x03\x01\0\x2a\x02\0\0\x26\x03\x01rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\0\xc0\x13\0",
        b"\x15\x03\x01\0\x02\x02\x46",
    ];
    for answer in old {
        check(TlsMode::Implicit, b"", answer, Trouble::Trust, "brought up to date").await;
        let (port, heard) = listen(Door { greeting: b"", answer });
        let mut server = definition("127.0.0.1", port, TlsMode::Implicit);
        server.tls_versions.min = nightferry::domain::TlsVersion::V1_3;
        server.tls_policy = TlsPolicy::Nist80052r2;
        let error = refused(server).await.to_string();
        assert!(
            error.contains("`tls_version: {min: 1.2}`") && error.contains("`tls_policy: nist"),
            "{error}"
        );
        assert!(!heard.join().unwrap().windows(6).any(|bytes| bytes == b"canary"));
    }
}

#[tokio::test]
async fn a_server_that_takes_nobody_now_is_told_from_one_that_never_will() {
    let explicit = TlsMode::Explicit;
    check(explicit, b"421 too many users\r\n", b"", Trouble::Busy, "too many users").await;
    check(explicit, b"530 not from your address\r\n", b"", Trouble::Barred, "not from your address").await;
    check(explicit, b"120 in 5 minutes\r\n", b"", Trouble::Passing, "greeting").await;
}

#[tokio::test]
async fn nobody_there_is_told_by_its_layer() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(definition("127.0.0.1", port, TlsMode::Explicit)).await;
    assert_eq!(error.trouble(), Trouble::Passing);
    assert!(error.to_string().contains("cannot connect"), "{error}");
    let error = refused(definition("nobody.invalid", 21, TlsMode::Explicit)).await;
    assert_eq!(error.trouble(), Trouble::Passing);
    assert!(error.to_string().contains("cannot find the address"), "{error}");
}
