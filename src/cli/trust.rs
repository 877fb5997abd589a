//! `nightferry trust`.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::error::CliError;
use super::fold::wrapped;
use super::output::{Format, Output};
use super::select;
use crate::config::Config;
use crate::diagnose::{CertificateFacts, Seen, SignedBy, look};
use crate::domain::{Digest, Exit, Server, Timestamp};
use crate::observe::escaped;
use crate::remote::Deadlines;

/// What must happen before the lines are used.
const WARNING: &str = "This certificate was not checked: whoever is on the way could have shown it. Compare the \
    SHA-256 with whoever runs the server, over another channel than this one (a telephone call to a number \
    that you know), and only then use these lines. Nothing was written, and no user name was sent.";

/// How a change of keys goes unnoticed.
const NEXT: &str = "When the server is to change its key, put the next one beside this one, in the same list: either \
    is then taken.";

/// Columns in front of a fact.
const INDENT: usize = 14;

/// Shows a server's certificate and the lines that would trust it. Trusts and writes nothing.
pub(super) fn run(config: &Config, name: &str, output: &Output) -> Result<Exit, CliError> {
    let names = [name.to_owned()];
    for server in select::servers(config, &names)? {
        let runtime = Runtime::new().map_err(CliError::Runtime)?;
        let seen = runtime.block_on(Box::pin(look(server, Deadlines::default())));
        let seen = seen.map_err(|source| CliError::Look { server: server.name.clone(), source })?;
        match output.format {
            Format::Text => output.data(shown(server, &seen, output))?,
            Format::Json => output.json(&json!({
                "server": server.name,
                "address": seen.peer,
                "certificate": as_json(&seen.certificate),
                "trust": {"pins": [seen.certificate.pin()]},
                "warning": WARNING,
            }))?,
        }
    }
    Ok(Exit::Done)
}

fn shown(server: &Server, seen: &Seen, output: &Output) -> String {
    let facts = &seen.certificate;
    let width = output.data_width;
    let mut text = format!("server {} ({}) shows this certificate:\n\n", server.name, seen.peer);
    let names = if facts.names.is_empty() { "none".to_owned() } else { facts.names.join(", ") };
    let issuer = match facts.signed_by {
        SignedBy::Itself => format!("{} (self-signed)", facts.issuer),
        SignedBy::Another => facts.issuer.clone(),
    };
    let rows = [
        ("subject", facts.subject.clone()),
        ("names", names),
        ("issuer", issuer),
        ("serial", facts.serial.clone()),
        ("not before", time(facts.not_before)),
        ("not after", time(facts.not_after)),
        ("SHA-256", Digest::from_bytes(facts.fingerprint).to_string()),
    ];
    for (title, value) in rows {
        let value = wrapped(&escaped(&value), INDENT, width);
        text.extend([&format!("  {title:<12}"), value.as_str(), "\n"]);
    }
    let beside = match &server.trust.ca_file {
        Some(_) => " (with `ca_file` beside it, the chain must be good as well)",
        None => "",
    };
    let lines = format!("The lines that trust this key, in the section of server {}{beside}:", server.name);
    text.extend([
        "\n",
        &wrapped(&lines, 0, width),
        "\n\n    trust: {pins: [\"",
        &facts.pin(),
        "\"]}\n\n",
        &wrapped(NEXT, 0, width),
        "\n\n",
        &wrapped(WARNING, 0, width),
    ]);
    text
}

/// A certificate for programs.
pub(super) fn as_json(facts: &CertificateFacts) -> Value {
    json!({
        "subject": facts.subject,
        "names": facts.names,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "self_signed": facts.signed_by == SignedBy::Itself,
        "not_before": time(facts.not_before),
        "not_after": time(facts.not_after),
        "sha256": Digest::from_bytes(facts.fingerprint),
        "pin": facts.pin(),
    })
}

fn time(seconds: i64) -> String {
    Timestamp::from_unix(seconds, 0).to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
