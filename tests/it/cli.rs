//! The command as a person or a script meets it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a good configuration, its source and its password.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("reports")).unwrap();
    fs::write(folder.path().join("reports/a.csv"), "1").unwrap();
    fs::write(
        folder.path().join("jobs.yaml"),
        "version: 1
agent: {state_dir: state}
servers:
  office: {host: ftps.example, username: u, password: {command: [echo, hunter2]}}
jobs:
  daily-reports: {source: reports, server: office, destination: /incoming, mode: drop}
",
    )
    .unwrap();
    folder
}

fn change(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("jobs.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Exit code, standard output and standard error.
fn nightferry(folder: &Path, arguments: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("nightferry").unwrap();
    let output = command
        .current_dir(folder)
        .env_remove("STATE_DIRECTORY")
        .args(["--config", "jobs.yaml"])
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_in_words_what_each_job_does() {
    let folder = folder();
    let (code, stdout, stderr) = nightferry(folder.path(), "check");
    assert_eq!((code, stderr.as_str()), (0, ""));
    for words in [
        "1 server, 1 job",
        "job daily-reports",
        "all files below",
        "/incoming on u@ftps.example:21 (explicit TLS 1.2 or 1.3; server office)",
        "all that can be checked from here is fine",
    ] {
        assert!(stdout.contains(words), "{words:?} in {stdout}");
    }
    assert!(!stdout.contains("hunter2"));
    let (code, stdout, _) = nightferry(folder.path(), "check --json");
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &object["ok"], &object["findings"]), (0, &true.into(), &Value::Array(Vec::new())));
    assert_eq!(object["jobs"][0]["name"], "daily-reports");
}

#[test]
fn check_tells_what_a_run_would_stumble_over() {
    let folder = folder();
    change(&folder, "source: reports", "source: report");
    let (code, _, stderr) = nightferry(folder.path(), "check");
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.starts_with("nightferry: error: jobs.daily-reports.source: "), "{stderr}");
    change(&folder, "[echo, hunter2]", "[sh, -c, 'echo hunter2; echo locked >&2; exit 1']");
    let (code, _, stderr) = nightferry(folder.path(), "check");
    assert_eq!(code, 2, "the configuration comes first: {stderr}");
    assert!(stderr.contains("`sh` failed (exit status: 1): locked"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

/// On a terminal the words about the jobs would push it out of sight.
#[test]
fn check_tells_what_is_wrong_at_its_end() {
    let folder = folder();
    change(&folder, "source: reports", "source: report");
    let program = assert_cmd::cargo::cargo_bin("nightferry");
    let script = format!("'{}' --config jobs.yaml check 2>&1", program.display());
    let output =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let (_, end) = told.split_once("\n\nnightferry: error: jobs.daily-reports.source: ").unwrap();
    assert!(end.ends_with("\n    help: is it the right folder, and is its disk mounted?\n"), "{told}");
}

#[test]
fn plan_shows_what_is_not_ready_yet() {
    let folder = folder();
    change(&folder, "mode: drop}", "mode: drop, watch: {settle: 0s, ready_marker: \"*.ok\"}}");
    fs::write(folder.path().join("reports/b.csv"), "2").unwrap();
    fs::write(folder.path().join("reports/b.csv.ok"), "").unwrap();
    let (code, stdout, stderr) = nightferry(folder.path(), "plan");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout.contains("wait       a.csv  1 B  not yet: `a.csv.ok` does not stand beside it"),
        "{stdout}"
    );
    assert!(stdout.contains("send       b.csv"), "{stdout}");
    assert!(stdout.contains("daily-reports: 1 file to send, 1 B; 0 unchanged; 1 not ready yet"), "{stdout}");
    change(&folder, "settle: 0s", "settle: 1h");
    let (_, stdout, _) = nightferry(folder.path(), "plan --json");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["totals"]["wait"], &last["totals"]["send"]), (&2.into(), &0.into()), "{stdout}");
}

/// What depends on the server is said without asking it.
#[test]
fn names_that_servers_may_not_take_are_told_beforehand() {
    let folder = folder();
    for name in ["A.csv", "日本.csv"] {
        fs::write(folder.path().join("reports").join(name), "1").unwrap();
    }
    let (code, stdout, stderr) = nightferry(folder.path(), "plan");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("differs only in case from `a.csv`: refused if the server does not"), "{stdout}");
    assert!(stdout.contains("send       日本.csv"), "{stdout}");
    change(&folder, "username: u", "username: u, charset: iso-8859-1");
    let (_, stdout, _) = nightferry(folder.path(), "plan");
    assert!(
        stdout.contains("fail       日本.csv") && stdout.contains("cannot be written in windows-1252"),
        "{stdout}"
    );
    let (code, _, stderr) = nightferry(folder.path(), "check");
    assert_eq!(code, 0, "{stderr}");
    for words in
        ["2 files with a name that some servers take for another's", "1 file with a name that cannot be sent"]
    {
        assert!(stderr.contains(words), "{stderr}");
    }
    // Names that are not sent do not count.
    change(&folder, "mode: drop", "mode: drop, exclude: ['A.csv', '日本.csv']");
    let (_, stdout, _) = nightferry(folder.path(), "plan");
    assert!(!stdout.contains("differs"), "{stdout}");
}

/// What only the compiler of patterns sees is told before a run begins, too.
#[test]
fn a_pattern_that_cannot_be_used_is_a_mistake_of_the_configuration() {
    let folder = folder();
    change(&folder, "mode: drop", "include: ['*.csv', '!a.csv']");
    for verb in ["check", "plan", "sync"] {
        let (code, _, stderr) = nightferry(folder.path(), verb);
        assert_eq!(code, 2, "{verb}: {stderr}");
        assert!(stderr.contains("`!a.csv`: `!` in front has no meaning here"), "{verb}: {stderr}");
    }
    assert!(!folder.path().join("state").exists(), "something was done");
}

/// A file that is there and holds something else is told by `check`, and not only by a run at night.
#[test]
fn check_reads_what_trust_names() {
    for (trust, words) in [
        ("trust: {ca_file: jobs.yaml}", "jobs.yaml holds no certificate"),
        ("trust: {crl_files: [jobs.yaml]}", "jobs.yaml holds no list of revoked certificates"),
        ("client_certificate: {cert_file: jobs.yaml, key_file: jobs.yaml}", "jobs.yaml holds no certificate"),
    ] {
        let folder = folder();
        change(&folder, "username: u", &format!("username: u, {trust}"));
        let (code, _, stderr) = nightferry(folder.path(), "check");
        assert_eq!(code, 2, "{trust}: {stderr}");
        assert!(stderr.contains(words), "{trust}: {stderr}");
    }
}

/// With `ca_file` a pin is asked for besides; without, it is all that is trusted.
#[test]
fn check_says_whom_a_server_is_trusted_by() {
    const PIN: &str = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for (trust, words) in [
        (format!("{{pins: ['{PIN}']}}"), "trusts    the one pinned key\n"),
        (
            format!("{{ca_file: ca.pem, pins: ['{PIN}'], crl_files: [list.pem]}}"),
            "ca.pem, unless revoked, and the one pinned key only\n",
        ),
    ] {
        let (folder, pki) = (folder(), ftps_server::Pki::new());
        fs::write(folder.path().join("ca.pem"), pki.ca_pem()).unwrap();
        fs::write(folder.path().join("list.pem"), pki.revocation_list(&[], 2099)).unwrap();
        change(&folder, "username: u", &format!("username: u, trust: {trust}"));
        let (code, stdout, stderr) = nightferry(folder.path(), "check");
        assert_eq!((code, stderr.as_str()), (0, ""), "{trust}");
        assert!(stdout.contains(words), "{words:?} in {stdout}");
    }
    let folder = folder();
    change(&folder, "username: u", &format!("username: u, trust: {{pins: ['{PIN}'], crl_files: [a]}}"));
    let (code, _, stderr) = nightferry(folder.path(), "check");
    assert_eq!(code, 2);
    assert!(stderr.contains("servers.office.trust: `pins` without `ca_file`"), "{stderr}");
}

#[test]
fn an_empty_source_is_a_warning() {
    let folder = folder();
    fs::remove_file(folder.path().join("reports/a.csv")).unwrap();
    let (code, _, stderr) = nightferry(folder.path(), "check");
    assert_eq!(code, 0);
    assert!(stderr.contains("warning: jobs.daily-reports.source: "), "{stderr}");
    assert_eq!(nightferry(folder.path(), "-q check").2, "");
}

#[test]
fn a_bad_file_ends_every_verb_with_2_and_every_mistake() {
    let folder = folder();
    change(&folder, "mode: drop", "mode: drp, conections: 4");
    for verb in ["check", "plan", "sync", "ledger verify", "-q sync"] {
        let (code, stdout, stderr) = nightferry(folder.path(), verb);
        assert_eq!((code, stdout.as_str()), (2, ""), "{verb}");
        assert!(stderr.contains("jobs.yaml:6:76: jobs.daily-reports.mode: expected"), "{stderr}");
        assert!(stderr.contains("jobs.yaml:6:87: jobs.daily-reports.conections: unknown key"), "{stderr}");
        assert!(stderr.ends_with("the configuration has mistakes; nothing was done\n"), "{stderr}");
    }
    let (code, stdout, stderr) = nightferry(folder.path(), "check --json");
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stderr.as_str(), &object["ok"]), (2, "", &false.into()));
    assert_eq!((&object["problems"][0]["line"], &object["problems"][0]["column"]), (&6.into(), &76.into()));
}

#[test]
fn a_job_that_is_not_there_is_a_mistake_of_usage() {
    let folder = folder();
    for verb in ["plan", "sync"] {
        let (code, stdout, stderr) = nightferry(folder.path(), &format!("{verb} daily-report"));
        assert_eq!((code, stdout.as_str()), (2, ""));
        let told =
            "nightferry: error: there is no job `daily-report`\n    help: did you mean `daily-reports`?\n";
        assert_eq!(stderr, told);
    }
    assert_eq!(nightferry(folder.path(), "snyc").0, 2);
    assert_eq!(nightferry(folder.path(), "--help").0, 0);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let folder = folder();
    let program = assert_cmd::cargo::cargo_bin("nightferry");
    let script = format!("'{}' --config jobs.yaml check | true; echo ${{PIPESTATUS[0]}}", program.display());
    let output =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"0\n"[..], &b""[..]));
}
