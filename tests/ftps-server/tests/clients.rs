//! Clients that nobody here wrote, curl and lftp, against the server.
//!
//! Where one of them is not installed, its tests say so and do nothing, unless
//! `NIGHTFERRY_REQUIRE_CLIENTS=1`: then they fail.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use ftps_server::{Builder, ClientCertificates, Dialect, Feature, Mode, Pki, Reuse, Server, TlsVersions};

/// No client may take longer, in seconds.
const LIMIT: &str = "30";

/// Whether a program can be run; fails instead of saying no where programs are required.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var_os("NIGHTFERRY_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
    assert!(!required, "{program} is not installed, and NIGHTFERRY_REQUIRE_CLIENTS=1 asks for it");
    eprintln!("left out: {program} is not installed");
    false
}

fn started(builder: Builder) -> Server {
    builder.user("reports", "s ecret").start().unwrap()
}

/// A server that sends no ticket on data connections. curl 7.88 may close one before it has read its
/// tickets, which makes the kernel send RST and lose the end of the upload.
fn without_data_tickets(dialect: Dialect) -> Builder {
    Server::builder().dialect(dialect.data_tickets(0))
}

/// curl over explicit or implicit TLS, with the server's authority.
fn curl_at(server: &Server, scheme: &str, path: &str, arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--ssl-reqd", "--max-time", LIMIT, "--user", "reports:s ecret"])
        .arg("--cacert")
        .arg(server.ca_file())
        .args(arguments)
        .arg(format!("{scheme}://localhost:{}/{path}", server.port()))
        .output()
        .unwrap()
}

fn curl(server: &Server, path: &str, arguments: &[&str]) -> Output {
    curl_at(server, "ftp", path, arguments)
}

/// lftp with the server's authority; `more` are lines for its own language.
fn lftp(server: &Server, scheme: &str, more: &str) -> Output {
    let mut script = String::new();
    let ca = server.ca_file();
    writeln!(script, "set ssl:ca-file {}", ca.display()).unwrap();
    script.push_str("set ftp:ssl-force yes\nset ftp:ssl-protect-data yes\nset net:max-retries 1\n");
    script.push_str("set net:timeout 10\nset cmd:fail-exit yes\nset xfer:clobber yes\n");
    writeln!(script, "open -u reports,'s ecret' {scheme}://localhost:{}", server.port()).unwrap();
    script.push_str(more);
    Command::new("timeout")
        .args([LIMIT, "lftp", "--norc", "-c", &script])
        .env("HOME", server.root().parent().unwrap())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_success(server: &Server, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}\n{}", output.status, server.transcript());
}

/// Bytes in which every misplaced or repeated block shows.
fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|position| u8::try_from((position * 31 + position / 251) % 256).unwrap()).collect()
}

#[track_caller]
fn uploads_and_downloads(server: &Server, scheme: &str, versions: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("sample");
    let bytes = sample(300_000);
    fs::write(&local, &bytes).unwrap();
    let upload = [versions, &["--ftp-create-dirs", "--upload-file", local.to_str().unwrap()]].concat();
    assert_success(server, &curl_at(server, scheme, "a/b%20c/%C3%BC.bin", &upload));
    assert_eq!(fs::read(server.root().join("a/b c/ü.bin")).unwrap(), bytes);
    let download = curl_at(server, scheme, "a/b%20c/%C3%BC.bin", versions);
    assert_success(server, &download);
    assert_eq!(download.stdout, bytes);
    assert_eq!(server.counters().stores, 1);
    assert_eq!(server.counters().bytes_received, 300_000);
    assert_eq!(server.counters().bytes_sent, 300_000);
}

#[test]
fn curl_uploads_and_downloads_with_tls_1_2_and_1_3() {
    if !installed("curl") {
        return;
    }
    let server = started(Server::builder().tls_versions(TlsVersions::Only12));
    uploads_and_downloads(&server, "ftp", &["--tlsv1.2", "--tls-max", "1.2"]);
    let refused = curl(&server, "", &["--tlsv1.3"]);
    assert!(!refused.status.success());

    let server = started(without_data_tickets(Dialect::full()).tls_versions(TlsVersions::Only13));
    uploads_and_downloads(&server, "ftp", &["--tlsv1.3"]);
    let refused = curl(&server, "", &["--tlsv1.2", "--tls-max", "1.2"]);
    assert!(!refused.status.success());
}

#[test]
fn curl_and_lftp_use_implicit_tls() {
    let server = || started(without_data_tickets(Dialect::full()).mode(Mode::Implicit));
    if installed("curl") {
        uploads_and_downloads(&server(), "ftps", &[]);
    }
    if installed("lftp") {
        let server = server();
        assert_success(&server, &lftp(&server, "ftps", "mkdir -p x/y\nls"));
        assert!(server.root().join("x/y").is_dir());
        assert_eq!(server.transcript().count("AUTH"), 0);
    }
}

#[test]
fn curl_uploads_through_every_dialect() {
    if !installed("curl") {
        return;
    }
    let dialects = [
        ("proftpd", Dialect::proftpd()),
        ("vsftpd", Dialect::vsftpd()),
        ("pure-ftpd", Dialect::pure_ftpd()),
        ("no-epsv", Dialect::no_epsv()),
    ];
    for (name, dialect) in dialects {
        for version in [TlsVersions::Only12, TlsVersions::Only13] {
            let server = started(without_data_tickets(dialect.clone()).tls_versions(version));
            uploads_and_downloads(&server, "ftp", &[]);
            let resumed = server.counters().resumed_data_handshakes;
            let expected = if name == "pure-ftpd" && version == TlsVersions::Only13 { 0 } else { 2 };
            assert_eq!(resumed, expected, "{name} {version:?}\n{}", server.transcript());
            let passive = if name == "no-epsv" { "227 " } else { "229 " };
            assert!(server.transcript().replies().iter().any(|reply| reply.starts_with(passive)));
        }
    }
}

#[test]
fn a_data_connection_without_reuse_is_refused_and_the_file_is_cut() {
    if !installed("curl") {
        return;
    }
    let cases =
        [(Reuse::Required, "425 Unable to build data connection"), (Reuse::RequiredOrClose, "522 SSL")];
    for (reuse, reply) in cases {
        let server = started(Server::builder().dialect(Dialect::full().reuse(reuse)));
        fs::write(server.root().join("report"), "the old version").unwrap();
        let local = server.ca_file();
        let output = curl(&server, "report", &["--no-sessionid", "--upload-file", local.to_str().unwrap()]);
        assert!(!output.status.success());
        let transcript = server.transcript();
        assert!(transcript.replies().iter().any(|line| line.starts_with(reply)), "{transcript}");
        assert_eq!(fs::read(server.root().join("report")).unwrap(), b"");
    }
}

#[test]
fn curl_renames_appends_resumes_and_asks_for_digests() {
    if !installed("curl") {
        return;
    }
    let server = started(without_data_tickets(Dialect::full()));
    let root = server.root();
    fs::write(root.join("a"), "hello nightferry").unwrap();
    let quote = ["-I", "--quote", "RNFR a", "--quote", "RNTO b \"q\""];
    assert_success(&server, &curl(&server, "", &quote));
    assert!(!root.join("a").exists());
    assert_eq!(fs::read(root.join("b \"q\"")).unwrap(), b"hello nightferry");

    let digests = ["-I", "--quote", "HASH b \"q\"", "--quote", "XSHA256 b \"q\""];
    assert_success(&server, &curl(&server, "", &digests));
    // As sha256sum gives it.
    let digest = "1424fba3385791dbe08c3dd4f6b2563f01efb3656338252539bf6bf06a4d00a4";
    let transcript = server.transcript();
    let expected = [format!("213 SHA-256 0-16 {digest} b \"q\""), format!("250 {}", digest.to_uppercase())];
    for reply in expected {
        assert!(transcript.replies().contains(&reply.as_str()), "{reply}\n{transcript}");
    }

    let more = root.parent().unwrap().join("more");
    fs::write(&more, ", hello sea").unwrap();
    let append = ["--append", "--upload-file", more.to_str().unwrap()];
    assert_success(&server, &curl(&server, "b%20%22q%22", &append));
    let resumed = curl(&server, "b%20%22q%22", &["--continue-at", "6"]);
    assert_eq!(resumed.stdout, b"nightferry, hello sea");
}

#[test]
fn curl_sets_and_reads_times_as_each_dialect_has_it() {
    if !installed("curl") {
        return;
    }
    let cases = [(Dialect::full(), "MFMT"), (Dialect::vsftpd(), "MDTM")];
    for (dialect, verb) in cases {
        let server = started(Server::builder().dialect(dialect));
        fs::write(server.root().join("a b"), "hello").unwrap();
        let set = format!("{verb} 20010203040506 a b");
        assert_success(&server, &curl(&server, "", &["-I", "--quote", &set, "--quote", "MDTM a b"]));
        let transcript = server.transcript();
        assert!(transcript.replies().contains(&"213 20010203040506"), "{transcript}");
        let head = curl(&server, "a%20b", &["-I"]);
        let head = String::from_utf8(head.stdout).unwrap();
        assert!(head.contains("Sat, 03 Feb 2001 04:05:06 GMT"), "{head}");
        assert!(head.contains("Content-Length: 5"), "{head}");
    }
    let server = started(Server::builder().dialect(Dialect::vsftpd()));
    for unknown in ["MFMT 20010203040506 a", "MLST", "HASH a", "XSHA256 a", "FOO"] {
        assert!(!curl(&server, "", &["-I", "--quote", unknown]).status.success(), "{unknown}");
    }
}

#[test]
fn plain_text_is_refused_on_both_connections() {
    if installed("curl") {
        let server = started(Server::builder());
        let url = format!("ftp://localhost:{}/", server.port());
        let plain = Command::new("curl").args(["-sS", "-u", "reports:s ecret", &url]).output().unwrap();
        assert!(!plain.status.success());
        let control_only = Command::new("curl")
            .args(["-sS", "--ftp-ssl-control", "-u", "reports:s ecret", &url, "--cacert"])
            .arg(server.ca_file())
            .output()
            .unwrap();
        assert!(!control_only.status.success());
        assert_eq!(server.counters().data_connections, 0);
    }
    if installed("lftp") {
        let server = started(Server::builder());
        let output = lftp(&server, "ftp", "set ftp:ssl-protect-data no\nset ftp:ssl-protect-list no\nls");
        // Refused in the clear, lftp turns to PROT P by itself.
        assert_success(&server, &output);
        let transcript = server.transcript();
        let position = |text| transcript.lines().iter().position(|line| line.text.starts_with(text));
        let refused = position("522 SSL/TLS required on the data channel");
        assert!(refused.is_some() && refused < position("PROT P"), "{transcript}");
        assert_eq!(server.counters().data_connections, 1, "{transcript}");
    }
}

#[test]
fn wrong_passwords_and_wrong_certificates_are_refused() {
    if !installed("curl") {
        return;
    }
    let server = started(Server::builder());
    assert!(!curl(&server, "", &["--user", "reports:wrong"]).status.success());
    assert!(server.transcript().commands().contains(&"PASS ***"));
    assert!(!server.transcript().to_string().contains("wrong"));
    assert!(!server.transcript().to_string().contains("s ecret"));

    let pki = Arc::new(Pki::new());
    let bad = [
        ("expired", pki.expired()),
        ("not yet valid", pki.not_yet_valid()),
        ("wrong host", pki.wrong_host()),
        ("self-signed", Pki::self_signed()),
        ("another authority", Pki::new().server()),
    ];
    for (name, identity) in bad {
        let server = started(Server::builder().pki(Arc::clone(&pki)).identity(identity));
        let output = curl(&server, "", &[]);
        assert_eq!(output.status.code(), Some(60), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.transcript().count("USER"), 0);
    }
}

#[test]
fn a_client_certificate_is_asked_for_where_it_is_required() {
    if !installed("curl") {
        return;
    }
    let clients = Pki::new();
    let server =
        started(Server::builder().client_certificates(ClientCertificates::Required(clients.ca_der())));
    assert!(!curl(&server, "", &[]).status.success());
    let identity = clients.client("reports");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let (cert, key) = (write("cert", identity.certificate_pem()), write("key", &identity.key_pem()));
    assert_success(&server, &curl(&server, "", &["--cert", &cert, "--key", &key]));
}

#[test]
fn lftp_makes_lists_renames_and_removes() {
    if !installed("lftp") {
        return;
    }
    for version in [TlsVersions::Only12, TlsVersions::Only13] {
        let server = started(Server::builder().tls_versions(version));
        let local = server.root().parent().unwrap().join("local file");
        fs::write(&local, sample(70_000)).unwrap();
        let script = format!(
            "mkdir -p one/two/three\ncd one/two\nput '{}' -o 'name with [brackets]'\n\
             mv 'name with [brackets]' three/-dash\ncls -1 three\nls three\nput '{}' -o gone\nrm gone\n\
             mkdir empty\nrmdir empty\nget three/-dash -o '{}'\n",
            local.display(),
            local.display(),
            local.with_file_name("back").display(),
        );
        let output = lftp(&server, "ftp", &script);
        assert_success(&server, &output);
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(listing.contains("-dash"), "{listing}");
        assert_eq!(fs::read(server.root().join("one/two/three/-dash")).unwrap(), sample(70_000));
        assert_eq!(fs::read(local.with_file_name("back")).unwrap(), sample(70_000));
        let left: Vec<_> = fs::read_dir(server.root().join("one/two")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

/// Every file below a folder, with its content and its time in whole seconds.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read(&path).unwrap(), seconds));
        }
    }
    found.sort();
    found
}

#[test]
fn lftp_mirrors_a_tree_to_every_dialect() {
    if !installed("lftp") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    for (position, folder) in ["", "a", "a/b", "ü ö", "c'd"].iter().enumerate() {
        fs::create_dir_all(source.path().join(folder)).unwrap();
        for file in ["empty", "report 1.csv", "-x", "brackets[1]"] {
            let bytes = if file == "empty" { Vec::new() } else { sample(1_000 * (position + 1)) };
            fs::write(source.path().join(folder).join(file), bytes).unwrap();
        }
    }
    let dialects = [
        ("full", Dialect::full()),
        ("proftpd", Dialect::proftpd()),
        ("vsftpd", Dialect::vsftpd().with(Feature::ListsDotFiles)),
        ("pure-ftpd", Dialect::pure_ftpd()),
        ("no-epsv", Dialect::no_epsv()),
    ];
    for (name, dialect) in dialects {
        let server = started(Server::builder().dialect(dialect));
        let script = format!("mirror -R '{}' target\n", source.path().display());
        let output = lftp(&server, "ftp", &script);
        assert_success(&server, &output);
        let (mut stored, mut sent) = (tree(&server.root().join("target")), tree(source.path()));
        if name == "vsftpd" {
            // lftp sets times by MFMT or SITE UTIME only.
            stored.iter_mut().chain(&mut sent).for_each(|(_, _, time)| *time = 0);
        }
        assert!(stored == sent, "{name}: the trees differ\n{}", server.transcript());
        let before = server.counters().stores;
        assert_success(&server, &lftp(&server, "ftp", &script));
        assert_eq!(server.counters().stores, before, "{name}: the second run sends nothing");
    }
}

#[test]
fn dot_files_are_hidden_where_the_dialect_says_so() {
    if !installed("curl") {
        return;
    }
    let list = |dialect: Dialect, arguments: &[&str]| {
        let server = started(Server::builder().dialect(dialect));
        for name in ["seen", ".hidden"] {
            fs::write(server.root().join(name), "").unwrap();
        }
        let output = curl(&server, "", arguments);
        assert_success(&server, &output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(Dialect::full(), &[]).contains(".hidden"));
    assert!(list(Dialect::full(), &["--list-only"]).contains(".hidden"));
    assert!(!list(Dialect::vsftpd(), &[]).contains(".hidden"));
    assert!(!list(Dialect::vsftpd(), &["--list-only"]).contains(".hidden"));
    assert!(list(Dialect::vsftpd(), &["--request", "LIST -a"]).contains(".hidden"));
    let facts = list(Dialect::proftpd(), &["--request", "MLSD"]);
    assert!(facts.contains("size=0;type=file; .hidden"), "{facts}");
}
