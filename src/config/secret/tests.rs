use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;

use super::*;

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn exposed(found: Result<SecretString, SecretError>) -> Result<String, String> {
    found.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
}

fn in_file(content: &[u8], mode: u32) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let found = exposed(resolve_in(&SecretRef::File(path.clone()), nothing));
    found.map_err(|error| error.replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn one_line_end_of_a_file_is_no_part_of_the_secret() {
    for (content, secret) in
        [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" ü \n", " ü ")]
    {
        assert_eq!(in_file(content.as_bytes(), 0o600).as_deref(), Ok(secret));
    }
    assert_eq!(in_file(b"hunter2\n", 0o400).as_deref(), Ok("hunter2"));
}

#[test]
fn what_would_break_the_command_is_refused() {
    let control = "the secret holds a control character, or more than one line";
    for content in ["a\n\n", "a\nDELE b", "a\r", "a\tb", "a\0b"] {
        assert_eq!(in_file(content.as_bytes(), 0o600), Err(control.to_owned()), "{content:?}");
    }
    assert_eq!(in_file(b"\n", 0o600), Err("the secret is empty".to_owned()));
    assert_eq!(in_file(b"\xff\n", 0o600), Err("the secret is not valid UTF-8".to_owned()));
    assert_eq!(
        in_file("a".repeat(65_537).as_bytes(), 0o600),
        Err("the secret is larger than 64 KiB".to_owned())
    );
}

#[test]
fn a_file_that_others_can_read_or_change_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
        assert_eq!(in_file(b"hunter2", mode), Err(format!("FILE is open to other users (mode {mode:04o})")),);
    }
}

#[test]
fn pipes_and_folders_are_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [fifo, folder.path().to_owned()] {
        let found = resolve_in(&SecretRef::File(path), nothing);
        assert!(matches!(found, Err(SecretError::NotAFile { .. })), "{found:?}");
    }
}

#[test]
fn variables_are_taken_as_they_are() {
    let variable = |name: &str| match name {
        "SET" => Some(" hunter2".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    };
    let found = |name: &str| exposed(resolve_in(&SecretRef::Env(name.into()), variable));
    assert_eq!(found("SET").as_deref(), Ok(" hunter2"));
    assert_eq!(found("EMPTY"), Err("the secret is empty".to_owned()));
    assert_eq!(found("UNSET"), Err("the environment variable `UNSET` is not set".to_owned()));
}

#[test]
fn credentials_come_from_the_folder_that_systemd_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ftps");
    fs::write(&path, "hunter2\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let secret = SecretRef::Credential("ftps".into());
    let found = resolve_in(&secret, |_| Some(folder.path().into()));
    assert_eq!(exposed(found).as_deref(), Ok("hunter2"));
    assert!(matches!(resolve_in(&secret, nothing), Err(SecretError::NoCredentials { .. })));
}

#[test]
fn a_command_needs_no_shell() {
    let words = ["printf", "%s\\n", "$HOME;hunter2"].map(str::to_owned).to_vec();
    assert_eq!(exposed(resolve(&SecretRef::Command(words))).as_deref(), Ok("$HOME;hunter2"));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let found = resolve_in(&SecretRef::Env("X".into()), |_| Some("hunter2".into()));
    assert!(!format!("{found:?}").contains("hunter2"));
}
