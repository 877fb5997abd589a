//! The lists `notify` of the agent and of jobs: who is told of what.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::path_below;
use super::section::{Keys, Section, Value};
use super::server::{command, host, password};
use crate::domain::{
    Email, FileNames, HookUrl, MailAddress, Notify, Occasion, Ping, SecretRef, Smtp, SmtpTls, Way, Webhook,
};

/// Most entries of one list, and most receivers of one mail: more is a mailing list's work.
const MAX_ENTRIES: usize = 16;

const WAYS: [&str; 4] = ["webhook", "email", "command", "ping"];
const KEYS: Keys = Keys { known: &["webhook", "email", "command", "ping", "on", "names"], later: &[] };
const WAY_REMEDY: &str = "give each entry one of `webhook`, `email`, `command` and `ping`";

/// The entries of a list; none where there is no list.
pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<Vec<Notify>> {
    section.optional_or("notify", Vec::new(), |value| {
        let entries = value.list(|entry| notify(entry, folder))?;
        if entries.len() > MAX_ENTRIES {
            value.place.refuse(format!("more than {MAX_ENTRIES} entries"), "use one mail for several people");
            return None;
        }
        Some(entries)
    })
}

fn notify(value: &Value<'_>, folder: &Path) -> Option<Notify> {
    let section = Section::new(value, &KEYS)?;
    let on = section.optional_or("on", None, |value| occasions(value).map(Some));
    let names = section.optional_or("names", FileNames::default(), |value| {
        value.choice(&[("true", FileNames::Told), ("false", FileNames::Withheld)])
    });
    let given: Vec<_> =
        WAYS.iter().filter_map(|key| section.optional(key).map(|value| (*key, value))).collect();
    let [(key, way)] = given.as_slice() else {
        let reason = if given.is_empty() { "names nobody to tell" } else { "names more than one way" };
        section.place.refuse(reason, WAY_REMEDY);
        return None;
    };
    let way = match *key {
        "webhook" => webhook(way, folder).map(Way::Webhook),
        "email" => email(way, folder).map(Way::Email),
        "command" => command(way).and_then(|program| words(program).map(Way::Command)),
        _ => ping(way, folder).map(Way::Ping),
    };
    let way = way?;
    let on = on?.unwrap_or_else(|| way.default_occasions());
    Some(Notify { way, on, names: names? })
}

fn words(program: SecretRef) -> Option<Vec<String>> {
    match program {
        SecretRef::Command(words) => Some(words),
        SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Credential(_) => None,
    }
}

fn occasions(value: &Value<'_>) -> Option<BTreeSet<Occasion>> {
    let choices = Occasion::ALL.map(|occasion| (occasion.name(), occasion));
    let on: BTreeSet<_> = value.list(|item| item.choice(&choices))?.into_iter().collect();
    if on.is_empty() {
        return value.expected("at least one occasion", "take the entry out if nothing is to be told");
    }
    Some(on)
}

const WEBHOOK_KEYS: Keys = Keys { known: &["url", "secret", "ca_file"], later: &[] };

fn webhook(value: &Value<'_>, folder: &Path) -> Option<Webhook> {
    let section = Section::new(value, &WEBHOOK_KEYS)?;
    let secret = section.optional("secret").map_or(Some(None), |secret| password(secret, folder).map(Some));
    let (url, ca_file) = (url(&section), ca_file(&section, folder));
    Some(Webhook { url: url?, secret: secret?, ca_file: ca_file? })
}

const PING_KEYS: Keys = Keys { known: &["url", "ca_file"], later: &[] };

fn ping(value: &Value<'_>, folder: &Path) -> Option<Ping> {
    let section = Section::new(value, &PING_KEYS)?;
    let (url, ca_file) = (url(&section), ca_file(&section, folder));
    Some(Ping { url: url?, ca_file: ca_file? })
}

/// The address is not shown where it is wrong: what stands behind its host is often a secret.
fn url(section: &Section<'_>) -> Option<HookUrl> {
    let value = section.required("url", "add the address, as in `url: https://example.com/hook`")?;
    parsed(&value.secret(), "as in `https://example.com/hook`")
}

#[expect(clippy::option_option, reason = "the outer one says that it is wrong, as everywhere here")]
fn ca_file(section: &Section<'_>, folder: &Path) -> Option<Option<std::path::PathBuf>> {
    section.optional_or("ca_file", None, |value| path_below(folder, value).map(Some))
}

const EMAIL_KEYS: Keys = Keys { known: &["to", "from", "smtp"], later: &[] };

fn email(value: &Value<'_>, folder: &Path) -> Option<Email> {
    let section = Section::new(value, &EMAIL_KEYS)?;
    let to = section.required("to", "add the receivers, as in `to: [admin@clinic.example]`");
    let from = section.required("from", "add the sender, as in `from: nightferry@clinic.example`");
    let smtp =
        section.required("smtp", "add the server that takes the mail, as in `smtp: {host: mail.example}`");
    let address = |value: &Value<'_>| parsed::<MailAddress>(value, "");
    let to = to.and_then(|value| {
        let to = value.list(address)?;
        if to.is_empty() || to.len() > MAX_ENTRIES {
            return value.expected(&format!("1 to {MAX_ENTRIES} addresses"), "");
        }
        Some(to)
    });
    let from = from.and_then(|value| address(&value));
    let smtp = smtp.and_then(|value| self::smtp(&value, folder));
    Some(Email { to: to?, from: from?, smtp: smtp? })
}

const SMTP_KEYS: Keys =
    Keys { known: &["host", "port", "tls", "username", "password", "ca_file"], later: &[] };

fn smtp(value: &Value<'_>, folder: &Path) -> Option<Smtp> {
    let section = Section::new(value, &SMTP_KEYS)?;
    let host = section.required("host", "add the mail server's name").and_then(|value| host(&value));
    let tls = section.optional_or("tls", SmtpTls::default(), |value| {
        value.choice(&[("implicit", SmtpTls::Implicit), ("starttls", SmtpTls::Starttls)])
    });
    let port = section
        .optional_or("port", tls.unwrap_or_default().default_port(), |value| value.number(1..=u16::MAX));
    let login = match (section.optional("username"), section.optional("password")) {
        (None, None) => Some(None),
        (Some(username), Some(password)) => {
            let username = super::server::username(&username);
            username.zip(self::password(password, folder)).map(Some)
        }
        (Some(_), None) => {
            section.place.refuse("`password` is missing", "add it, or take `username` out");
            None
        }
        (None, Some(_)) => {
            section.place.refuse("`username` is missing", "add it, or take `password` out");
            None
        }
    };
    let ca_file = ca_file(&section, folder);
    Some(Smtp { host: host?, port: port?, tls: tls?, login: login?, ca_file: ca_file? })
}

fn parsed<T: FromStr<Err: Display>>(value: &Value<'_>, remedy: &str) -> Option<T> {
    let text = value.text()?;
    text.parse().map_err(|error: T::Err| value.place.refuse(error.to_string(), remedy)).ok()
}
