//! Whom to tell of what: receivers of messages, as the configuration names them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SecretRef;

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// How.
    pub way: Way,
    /// Of what.
    pub on: BTreeSet<Occasion>,
    /// Whether names of files may go out.
    pub names: FileNames,
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A run began.
    Start,
    /// A run ended well.
    Success,
    /// Runs do not end well any more, or for another reason than before.
    Failure,
    /// What was told of before is well again.
    Recovery,
    /// The source is missing, or a guard stopped a run.
    Guard,
    /// Something expected has not come.
    Late,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Success, Self::Failure, Self::Recovery, Self::Guard, Self::Late];

    /// Its name in the configuration and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Guard => "guard",
            Self::Late => "late",
        }
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether names of files may stand in messages. They can be those of patients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileNames {
    /// Counts and causes only.
    #[default]
    Withheld,
    /// The first failed files are named.
    Told,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A POST with JSON.
    Webhook(Webhook),
    /// A mail in plain words.
    Email(Email),
    /// A program and its arguments; the message is its standard input. No shell is involved.
    Command(Vec<String>),
    /// A service that waits for a sign of life from each run, such as healthchecks.io.
    Ping(Ping),
}

impl Way {
    /// What is told where `on` does not say so. A service that waits for signs of life wants all.
    pub fn default_occasions(&self) -> BTreeSet<Occasion> {
        let least = [Occasion::Failure, Occasion::Recovery, Occasion::Guard, Occasion::Late];
        match self {
            Self::Webhook(_) | Self::Email(_) | Self::Command(_) => least.into(),
            Self::Ping(_) => Occasion::ALL.into(),
        }
    }
}

/// For logs and `check`: shows no secret, and of an address only where it leads.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(webhook) => write!(f, "webhook {}", webhook.url),
            Self::Ping(ping) => write!(f, "ping {}", ping.url),
            Self::Command(words) => {
                write!(f, "command {}", words.first().map_or("", String::as_str).escape_debug())
            }
            Self::Email(email) => {
                let to: Vec<_> = email.to.iter().map(MailAddress::as_str).collect();
                write!(f, "mail to {}", to.join(", "))
            }
        }
    }
}

/// Where JSON is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address.
    pub url: HookUrl,
    /// The key with which messages are signed; unsigned where there is none.
    pub secret: Option<SecretRef>,
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
}

/// Where signs of life are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The address for success.
    pub url: HookUrl,
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
}

/// To whom mail goes, and by which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The receivers, one at least.
    pub to: Vec<MailAddress>,
    /// The sender.
    pub from: MailAddress,
    /// The server that takes the mail.
    pub smtp: Smtp,
}

/// A server that takes mail, always over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address; its certificate must carry it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub tls: SmtpTls,
    /// The login name and where the password is kept; none where the server asks for no login.
    pub login: Option<(String, SecretRef)>,
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
}

/// When TLS begins on a connection for mail. There is no way without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the first byte (RFC 8314, section 3.3).
    #[default]
    Implicit,
    /// After `STARTTLS`, which must succeed before anything else is said (RFC 3207).
    Starttls,
}

impl SmtpTls {
    /// The port where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
        }
    }
}

/// An address to which messages are posted: `https`, or `http` on this machine. What stands behind
/// the host is often a secret, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    text: Box<str>,
    /// Where the host and its port end.
    path_at: usize,
}

/// A text that is no [`HookUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    /// Another scheme, or none.
    #[error("not an address that begins with `https://`")]
    Scheme,
    /// In clear to another machine.
    #[error("`http://` would send it in clear: it is for this machine only (localhost, 127.0.0.1, [::1])")]
    InClear,
    /// There is no host, or it is none.
    #[error("names no host")]
    Host,
    /// A login in it.
    #[error("holds a login (`@`), which would stand in this file in clear")]
    Login,
    /// Blanks, control characters, others than ASCII, or a `#`.
    #[error("holds a character that cannot stand in an address: percent-encode it")]
    Character,
    /// Too long.
    #[error("longer than {MAX_URL_BYTES} bytes")]
    Length,
}

/// Longest address: what common servers take.
const MAX_URL_BYTES: usize = 2_000;

impl HookUrl {
    /// The whole address, for the request.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The address with more behind its path, before any query.
    pub fn with(&self, suffix: &str) -> String {
        match self.text.split_once('?') {
            Some((path, query)) => format!("{}{suffix}?{query}", path.trim_end_matches('/')),
            None => format!("{}{suffix}", self.text.trim_end_matches('/')),
        }
    }
}

impl FromStr for HookUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_URL_BYTES {
            return Err(ParseUrlError::Length);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ParseUrlError::Scheme)?;
        if !matches!(scheme, "http" | "https") {
            return Err(ParseUrlError::Scheme);
        }
        let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\' | '^' | '`');
        if !text.chars().all(fine) {
            return Err(ParseUrlError::Character);
        }
        let authority = rest.find(['/', '?']).map_or(rest, |at| rest.get(..at).unwrap_or(rest));
        if authority.contains('@') {
            return Err(ParseUrlError::Login);
        }
        let is_local = is_local(authority)?;
        if scheme == "http" && !is_local {
            return Err(ParseUrlError::InClear);
        }
        Ok(Self { text: text.into(), path_at: text.len() - rest.len() + authority.len() })
    }
}

/// Whether the host is this machine. Fails where it is no host.
fn is_local(authority: &str) -> Result<bool, ParseUrlError> {
    let number = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(ParseUrlError::Host)?;
        let address: Ipv6Addr = host.parse().map_err(|_| ParseUrlError::Host)?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(number);
        return if port_is_fine { Ok(address.is_loopback()) } else { Err(ParseUrlError::Host) };
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || !host.chars().all(fine) || port.is_some_and(|port| !number(port)) {
        return Err(ParseUrlError::Host);
    }
    let address = host.parse::<std::net::Ipv4Addr>();
    Ok(host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()))
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.text.get(..self.path_at).unwrap_or("***");
        if self.text.len() > self.path_at { write!(f, "{shown}/***") } else { f.write_str(shown) }
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self})")
    }
}

/// An address for mail: `local@domain` in ASCII, without quotes, comments or a name before it, so
/// that it can stand in a header and in a command as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(Box<str>);

/// A text that is no [`MailAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mail address, as in `backup@clinic.example`")]
pub struct ParseMailAddressError;

impl MailAddress {
    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MailAddress {
    type Err = ParseMailAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (local, domain) = text.rsplit_once('@').ok_or(ParseMailAddressError)?;
        // RFC 5322, section 3.2.3: a dot-atom.
        let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        let dotted = |text: &str, fine: &dyn Fn(char) -> bool| {
            text.split('.').all(|part| !part.is_empty() && part.chars().all(fine))
        };
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // RFC 5321, section 4.5.3.1.
        let fits = local.len() <= 64 && text.len() <= 254;
        if fits && dotted(local, &atom) && dotted(domain, &label) {
            Ok(Self(text.into()))
        } else {
            Err(ParseMailAddressError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_over_tls_or_stays_on_this_machine() {
        let parse = |text: &str| text.parse::<HookUrl>().map(|url| url.to_string());
        for (text, shown) in [
            ("https://hc-ping.com/5f1-secret", "https://hc-ping.com/***"),
            ("https://hc-ping.com", "https://hc-ping.com"),
            ("https://a.example:8443?key=secret", "https://a.example:8443/***"),
            ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000/***"),
            ("http://[::1]:9000/x", "http://[::1]:9000/***"),
            ("http://localhost/x", "http://localhost/***"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown));
            assert!(!format!("{:?}", text.parse::<HookUrl>()).contains("secret"));
        }
        for (text, error) in [
            ("ftp://a.example/", ParseUrlError::Scheme),
            ("hc-ping.com/x", ParseUrlError::Scheme),
            ("http://a.example/x", ParseUrlError::InClear),
            ("http://localhost.evil.example/x", ParseUrlError::InClear),
            ("http://127.0.0.1.evil.example/", ParseUrlError::InClear),
            ("http://[2001:db8::1]/", ParseUrlError::InClear),
            ("http://localhost@evil.example/", ParseUrlError::Login),
            ("https://u:p@a.example/", ParseUrlError::Login),
            ("https:///x", ParseUrlError::Host),
            ("https://a.example:0/", ParseUrlError::Host),
            ("https://a.example:99999/", ParseUrlError::Host),
            ("https://a.example/x\r\nHost: b", ParseUrlError::Character),
            ("https://a.example/ü", ParseUrlError::Character),
            ("https://a.example/x y", ParseUrlError::Character),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(parse(&format!("https://a.example/{}", "x".repeat(2_000))), Err(ParseUrlError::Length));
    }

    #[test]
    fn a_path_is_added_before_a_query() {
        let with = |text: &str| text.parse::<HookUrl>().unwrap().with("/fail");
        assert_eq!(with("https://hc-ping.com/5f1/"), "https://hc-ping.com/5f1/fail");
        assert_eq!(with("https://hc-ping.com/key/job?create=1"), "https://hc-ping.com/key/job/fail?create=1");
    }

    #[test]
    fn a_mail_address_cannot_become_a_header_or_a_command() {
        for fine in ["backup@clinic.example", "a.b+c@localhost", "o'neil@x-y.example"] {
            assert!(fine.parse::<MailAddress>().is_ok(), "{fine}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "<a@b>",
            "A <a@b>",
            "a@b,c@d",
            "a..b@c",
            "\"a\"@b",
            "ü@b",
            "a@[127.0.0.1]",
            "a@b>",
            "a@b.",
            "a@b@c d",
        ] {
            assert!(bad.parse::<MailAddress>().is_err(), "{bad:?}");
        }
    }
}
