//! Which test answers which attack on FTPS clients, and the attacks on those who read what the binary
//! says (A17).
//!
//! The numbers are those of the attack catalogue; in a test's comment they mean the same.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ftps_server::{Action, Dialect, Fault, Server};
use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

/// Each attack with the tests that answer it, by the names of their functions.
const ANSWERS: &[(&str, &str, &[&str])] = &[
    (
        "A1",
        "replies slipped in before TLS",
        &["replies_slipped_in_before_tls_end_the_run", "slow_and_unasked_bytes"],
    ),
    ("A2", "AUTH refused or stripped", &["a_server_without_tls_gets_neither_name_nor_password"]),
    (
        "A3",
        "PROT P refused, or data in clear all the same",
        &[
            "refused_protection_ends_the_run_before_a_file_is_named",
            "a_data_connection_without_proper_tls_gets_no_byte",
            "a_set_up_that_is_refused_is_not_tried_again",
        ],
    ),
    ("A4", "CCC", &["no_command_leaves_tls_again"]),
    (
        "A5",
        "230 before or in place of a login, ACCT",
        &["a_server_without_tls_gets_neither_name_nor_password", "login"],
    ),
    (
        "A6",
        "bad certificates and old TLS",
        &[
            "no_bad_certificate_gets_a_byte_of_ours",
            "old_tls_is_refused_with_the_setting_named",
            "certificates_that_do_not_fit_are_not_trusted",
            "lists_of_revoked_certificates_are_heeded",
        ],
    ),
    ("A7", "another peer on the data connection", &["a_data_connection_to_somebody_else_gets_no_byte"]),
    ("A8", "sessions shared across trust", &["trust_in_one_definition_of_a_server_is_none_in_another"]),
    (
        "A9",
        "truncation",
        &["what_is_fetched_must_end_with_close_notify", "a_listing_that_is_cut_is_an_error"],
    ),
    (
        "A10",
        "another protocol's server (ALPACA)",
        &["the_name_and_the_protocol_are_asked_for_and_another_protocol_is_refused"],
    ),
    ("A11", "commands before TLS", &["a_server_without_tls_gets_neither_name_nor_password"]),
    (
        "A12",
        "PASV to elsewhere",
        &[
            "passive_replies_that_lead_elsewhere",
            "the_address_in_a_reply_to_pasv_is_followed_only_on_trust",
            "a_trusted_address_that_leads_to_another_server_gets_nothing",
        ],
    ),
    ("A13", "a thief of passive ports", &["a_thief_of_passive_ports"]),
    (
        "A14",
        "strangers at active ports",
        &["only_the_server_may_call", "the_other_end_proves_itself_whoever_opens_the_connection"],
    ),
    (
        "A15",
        "names that are commands",
        &["names_with_orders_in_them_stay_at_home", "every_name_arrives_on_vsftpd"],
    ),
    (
        "A16",
        "the server's names lead elsewhere",
        &["a_hostile_listing_leads_nowhere", "what_a_server_says_steers_nothing"],
    ),
    (
        "A17",
        "names and replies that steer a terminal or forge a log",
        &["what_replies_say_neither_steers_nor_forges", "names_with_orders_in_them_stay_at_home"],
    ),
    ("A18", "an endless line", &["replies_without_end"]),
    ("A19", "an endless reply", &["replies_without_end"]),
    ("A20", "an endless listing", &["data_without_end", "an_endless_listing_costs_no_memory_and_ends"]),
    ("A21", "a byte at a time", &["slow_and_unasked_bytes"]),
    ("A22", "1xx without end", &["replies_without_end"]),
    ("A23", "a flood of replies", &["replies_without_end"]),
    (
        "A24",
        "replies too many or too few",
        &[
            "slow_and_unasked_bytes",
            "every_step_and_every_fault_is_in_the_matrix",
            "a_set_up_that_is_lost_or_mixed_up_is_made_step_by_step",
        ],
    ),
    ("A25", "YAML bombs", &["the_billion_laughs_are_refused_at_once"]),
];

/// The table names every attack once, and no test that is not there.
#[test]
fn every_attack_has_its_tests() {
    let numbers: Vec<_> = ANSWERS.iter().map(|(number, ..)| (*number).to_owned()).collect();
    assert_eq!(numbers, (1..=25).map(|number| format!("A{number}")).collect::<Vec<_>>());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        for entry in WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap) {
            if entry.path().extension() == Some(OsStr::new("rs")) {
                let text = fs::read_to_string(entry.path()).unwrap();
                let mut lines = text.lines().map(str::trim);
                while let Some(line) = lines.next() {
                    if line == "#[test]" || line.starts_with("#[tokio::test") {
                        let name = lines.next().unwrap_or_default();
                        let name = name.trim_start_matches("async ").trim_start_matches("fn ");
                        tests.extend(name.split('(').next().map(str::to_owned));
                    }
                }
            }
        }
    }
    let missing: Vec<_> = ANSWERS
        .iter()
        .flat_map(|(number, _, names)| names.iter().map(move |name| (number, *name)))
        .filter(|(_, name)| !tests.contains(*name))
        .collect();
    assert!(missing.is_empty(), "there are no such tests: {missing:?}");
    assert!(ANSWERS.iter().all(|(.., names)| !names.is_empty()));
}

/// A4: no command goes back to clear text, and none but AUTH goes before TLS.
#[test]
fn no_command_leaves_tls_again() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ftps/command.rs");
    let code = fs::read_to_string(source).unwrap();
    assert!(code.contains("\"PROT P\"") || code.contains("PROT"), "the encoder is elsewhere");
    let lines = || code.lines().filter(|line| !line.trim_start().starts_with("//"));
    for verb in ["CCC", "CDC", "PROT C", "REIN", "\"ACCT"] {
        assert!(!lines().any(|line| line.contains(verb)), "{verb} can be sent");
    }
}

/// Terminal orders (clear, title, bell, C1 CSI, direction) and a line of a log that never was.
const ORDERS: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txt {\"event\":\"forged\",\"run\":1}";

/// A binary that was told such things, on a pipe or on a terminal.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

fn home(server: &Server) -> TempDir {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("source")).unwrap();
    let yaml = format!(
        "version: 1\nagent: {{state_dir: state}}\nservers:\n  there:\n    host: localhost\n    port: {}\n    \
         username: user\n    password: {{command: [echo, password]}}\n    trust: {{ca_file: {}}}\n    \
         connections: 1\njobs:\n  out: {{source: source, server: there, destination: /in}}\n",
        server.port(),
        server.ca_file().display(),
    );
    fs::write(home.path().join("jobs.yaml"), yaml).unwrap();
    home
}

fn nightferry(home: &TempDir, verb: &str) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_nightferry"))
        .current_dir(home.path())
        .args(["--config", "jobs.yaml"])
        .args(verb.split(' '))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Said { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Nothing steers, and no line of JSON was made by somebody else.
fn is_tame(what: &str, said: &Said) {
    for text in [&said.stdout, &said.stderr] {
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(steers), "{what}: {text:?}");
        // JSON keeps what is text as it is: it is for programs.
        let turns = |line: &str| !line.starts_with('{') && line.contains('\u{202e}');
        assert!(!text.lines().any(turns), "{what}: {text:?}");
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
            assert_ne!(line["event"], "forged", "{what}");
        }
        let forged = |line: &str| line.trim_start().starts_with("{\"event\":\"forged\"");
        assert!(!text.lines().any(forged), "{what}: {text}");
    }
}

/// A17, from the server's side: each reply that is shown to people, in each form that it is shown in.
#[test]
fn what_replies_say_neither_steers_nor_forges() {
    for (verb, code) in
        [("(GREETING)", "550"), ("AUTH", "534"), ("PASS", "530"), ("STOR", "553"), ("RNTO", "550")]
    {
        let text = format!("{code}-first {ORDERS}\r\n{{\"event\":\"forged\"}}\r\n{code} {ORDERS}");
        let fault = match verb {
            "(GREETING)" => Fault::on_greeting(Action::Reply(text)),
            verb => Fault::on(verb, Action::Reply(text)),
        };
        let server = Server::builder().dialect(Dialect::full()).fault(fault).start().unwrap();
        for command in ["sync", "sync --json -v", "doctor there", "doctor there --json", "trust there"] {
            let home = home(&server);
            fs::write(home.path().join("source/a.txt"), "a").unwrap();
            let said = nightferry(&home, command);
            let what = format!("{verb}: {command}");
            is_tame(&what, &said);
            if command.starts_with("sync") {
                assert_ne!(said.code, 0, "{what}");
                let all = format!("{}{}", said.stdout, said.stderr);
                assert!(all.contains("owned"), "{what}: the reply was not shown: {all}");
            }
        }
    }
}

/// A15 and A17, from the source's side: such names are refused and told, and those that only look
/// odd arrive.
#[test]
fn names_with_orders_in_them_stay_at_home() {
    let server = Server::builder().dialect(Dialect::full()).start().unwrap();
    let home = home(&server);
    let source = home.path().join("source");
    let refused: [&[u8]; 4] =
        [b"a\r\nDELE b", b"\x1b]0;owned\x07.txt", b"a\n{\"event\":\"forged\",\"run\":1}", b"tab\there"];
    for name in refused {
        fs::write(source.join(OsStr::from_bytes(name)), "no").unwrap();
    }
    let odd = "\u{202e}fdp.exe {\"event\":\"forged\"}";
    fs::write(source.join(odd), "odd").unwrap();
    for command in ["plan", "plan --json", "check", "sync --json -v", "sync -v", "plan"] {
        let said = nightferry(&home, command);
        is_tame(command, &said);
        if command.starts_with("sync") {
            assert_eq!(said.code, 3, "{command}: {}", said.stderr);
        }
    }
    assert_eq!(fs::read(server.root().join("in").join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read_dir(server.root().join("in")).unwrap().count(), 1);
    let commands = server.transcript().commands().join("\n");
    assert!(!commands.contains("DELE b") && !commands.contains("tab"), "{commands}");
    let ledger = WalkDir::new(home.path().join("state")).into_iter().map(Result::unwrap);
    for file in ledger.filter(|entry| entry.path().extension() == Some(OsStr::new("jsonl"))) {
        for line in fs::read_to_string(file.path()).unwrap().lines() {
            assert!(!line.starts_with("{\"event\":\"forged\""), "{line}");
        }
    }
}
