//! Causes without names of files: names can be those of patients, and messages leave the house.

use std::collections::BTreeMap;

use super::text::count;
use crate::domain::{Failure, FailureClass, RunReport};

/// What in a cause may stand between backticks: keys of the configuration, not names.
const OUR_KEYS: [&str; 18] = [
    "account",
    "address_family",
    "announce",
    "connections",
    "deadline",
    "delete.marker",
    "host",
    "listen",
    "mode: passive",
    "password",
    "port",
    "ports",
    "publish: direct",
    "tls: explicit",
    "tls: implicit",
    "trust",
    "username",
    "window",
];

/// How what else may stand there begins: a key with its value, and commands.
const OUR_BEGINNINGS: [&str; 3] = ["delete.max_files:", "delete.max_percent:", "nightferry "];

/// Whose things our texts speak of: an apostrophe that quotes nothing.
const OURS: [&str; 4] = ["job's", "machine's", "server's", "connection's"];

/// What kind of trouble it is, in a few words.
pub(super) const fn words(class: FailureClass) -> &'static str {
    match class {
        FailureClass::File => "something is the matter with the file itself, or with its name",
        FailureClass::Source => "the source folder is missing, cannot be read, or a guard stopped the run",
        FailureClass::Temporary => "the network or the server does not work for now",
        FailureClass::Verification => "what the server stored is not what was sent",
        FailureClass::Refused => "the server refused: login, quota or permission",
        FailureClass::Trust => "the server's certificate or TLS is not as it should be",
        FailureClass::Deadline => "there was not enough time",
        FailureClass::Interrupted => "it was interrupted",
        FailureClass::Other => "this machine: its disk or the state folder",
    }
}

/// The cause of a run's end in its own words, where no name of a file can stand in them; else what kind
/// of trouble it is. Of a server's reply, which often repeats names, the code is kept.
pub(super) fn nameless(failure: &Failure) -> String {
    let kind = words(failure.class);
    let own = match failure.class {
        // Names of files are not known yet when certificates are looked at.
        FailureClass::Trust => Some(failure.cause.as_str()),
        // Its numbers are counts of files.
        FailureClass::Source => Some(failure.cause.as_str()).filter(|cause| !may_name(cause)),
        _ => Some(up_to_reply(&failure.cause)).filter(|cause| !may_name(cause)),
    };
    own.map_or_else(|| kind.to_owned(), |own| format!("{kind} ({own})"))
}

/// The failed files of a report by what kind of trouble each had.
pub(super) fn failed_by_kind(report: &RunReport) -> Vec<String> {
    let mut classes: BTreeMap<FailureClass, u64> = BTreeMap::new();
    for file in &report.failed {
        *classes.entry(file.failure.class).or_default() += 1;
    }
    classes.into_iter().map(|(class, files)| format!("{}: {}", count(files, "file"), words(class))).collect()
}

/// A text up to and with the code of the first reply of a server in it.
fn up_to_reply(cause: &str) -> &str {
    let begins =
        |at: usize| at == 0 || cause.get(..at).is_some_and(|before| before.ends_with([' ', '(', '`']));
    let code = cause.char_indices().map(|(at, _)| at).find(|at| {
        let digits = cause.get(*at..*at + 3).is_some_and(|code| {
            code.starts_with(['4', '5']) && code.bytes().all(|byte| byte.is_ascii_digit())
        });
        let ends = !cause.get(at + 3..).is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric()));
        digits && ends && begins(*at)
    });
    code.and_then(|at| cause.get(..at + 3)).unwrap_or(cause)
}

/// Whether a path or a quoted name stands in it: our texts quote names, and folders have a slash.
fn may_name(cause: &str) -> bool {
    let quoted = cause.split('`').skip(1).step_by(2);
    let is_ours =
        |text: &str| OUR_KEYS.contains(&text) || OUR_BEGINNINGS.iter().any(|ours| text.starts_with(ours));
    let mut strange = quoted.filter(|text| !is_ours(text));
    let unquoting = OURS.iter().fold(cause.to_owned(), |cause, ours| cause.replace(ours, ""));
    strange.next().is_some() || unquoting.contains(['/', '\\', '"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_file_is_left() {
        for (class, cause, told) in [
            (
                FailureClass::Refused,
                "the server refused the login: 530 Login incorrect.",
                Some("the server refused the login: 530"),
            ),
            (FailureClass::Refused, "STOR: 552 smith.pdf: quota exceeded", Some("STOR: 552")),
            (
                FailureClass::Temporary,
                "cannot connect to ftps.example:990: connection refused",
                Some("cannot connect to ftps.example:990: connection refused"),
            ),
            (FailureClass::Temporary, "connection lost while `smith.pdf` was sent", None),
            (
                FailureClass::Temporary,
                "cannot connect to 127.0.0.1 port 990 (Connection refused); check `host`, `port` and firewalls on \
                 the way",
                Some(
                    "cannot connect to 127.0.0.1 port 990 (Connection refused); check `host`, `port` and firewalls \
                     on the way",
                ),
            ),
            (
                FailureClass::Temporary,
                "waiting for the server's greeting took longer than 30 s; it may want `tls: implicit`, or another \
                 port",
                Some(
                    "waiting for the server's greeting took longer than 30 s; it may want `tls: implicit`, or \
                     another port",
                ),
            ),
            (
                FailureClass::Temporary,
                "cannot open the data connection to 192.0.2.7:4000, which PASV named: Connection refused; are the \
                 server's passive ports open in the firewall?",
                Some(
                    "cannot open the data connection to 192.0.2.7:4000, which PASV named: Connection refused; are \
                     the server's passive ports open in the firewall?",
                ),
            ),
            (FailureClass::Temporary, "connection lost: 'smith.pdf' was sent", None),
            (FailureClass::Temporary, "connection lost while `host smith.pdf` was sent", None),
            (FailureClass::Source, "`delete.smith.pdf` cannot be read", None),
            (FailureClass::Source, "`smith.pdf` cannot be read: permission denied", None),
            (FailureClass::Source, "the source folder /srv/Smith does not exist", None),
            (
                FailureClass::Source,
                "500 of 900 delivered files are gone from the source, more than `delete.max_percent: 5` allows",
                Some(
                    "500 of 900 delivered files are gone from the source, more than `delete.max_percent: 5` allows",
                ),
            ),
        ] {
            let text = nameless(&Failure::new(class, cause));
            let expected =
                told.map_or_else(|| words(class).to_owned(), |told| format!("{} ({told})", words(class)));
            assert_eq!(text, expected);
            assert!(!text.to_lowercase().contains("smith"), "{text}");
        }
    }
}
