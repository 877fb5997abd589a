//! The section `servers`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::section::{Keys, Later, Section, Value};
use super::{bandwidth, network, path_below};
use crate::domain::{
    Charset, ClientCertificate, Digest, SecretRef, Server, ServerName, SpkiPin, TlsMode, TlsPolicy,
    TlsVersion, TlsVersions, Trust, Zone,
};

pub(super) const KEYS: Keys = Keys {
    known: &[
        "host",
        "port",
        "tls",
        "tls_version",
        "tls_policy",
        "username",
        "password",
        "trust",
        "client_certificate",
        "connections",
        "address_family",
        "data",
        "timeouts",
        "charset",
        "bandwidth",
    ],
    later: &[Later { key: "hooks", instead: "take it out, and run commands after `nightferry sync`" }],
};

/// The servers of a file.
pub(super) struct Servers {
    /// Those without a problem.
    pub(super) read: BTreeMap<ServerName, Server>,
    /// The names of all, so that a job of a server with a problem is not blamed.
    pub(super) named: BTreeSet<String>,
}

/// Reads the section; `zone` is that of the hours in it, if the file names one.
pub(super) fn read_all(root: &Section<'_>, folder: &Path, zone: Option<Zone>) -> Servers {
    let remedy = "add `servers:` with a name for each server, and below it `host`, `username` and `password`";
    let entries = root.required("servers", remedy).and_then(|servers| servers.entries()).unwrap_or_default();
    let named = entries.keys().map(|name| (*name).to_owned()).collect();
    let read = entries
        .iter()
        .filter_map(|(name, value)| server(name, value, folder, zone))
        .map(|server| (server.name.clone(), server))
        .collect();
    Servers { read, named }
}

fn server(name: &str, value: &Value<'_>, folder: &Path, zone: Option<Zone>) -> Option<Server> {
    let name = name.parse().map_err(|error: crate::domain::ParseNameError| {
        value.place.refuse(error.to_string(), "");
    });
    let section = Section::new(value, &KEYS)?;
    let host = section.required("host", "add the server's name, as in `host: ftps.example.com`");
    let username = section.required("username", "add the login name");
    let password = section.required("password", PASSWORD_REMEDY);
    let tls = section.optional_or("tls", TlsMode::Explicit, |tls| {
        tls.choice(&[("explicit", TlsMode::Explicit), ("implicit", TlsMode::Implicit)])
    });
    let port = section.optional_or("port", tls.unwrap_or(TlsMode::Explicit).default_port(), |port| {
        port.number(1..=u16::MAX)
    });
    let host = host.and_then(|value| self::host(&value));
    let username = username.and_then(|value| self::username(&value));
    let password = password.and_then(|value| self::password(value, folder));
    let tls_versions = section.optional_or("tls_version", TlsVersions::default(), tls_versions);
    let trust = section.optional_or("trust", Trust::default(), |value| trust(value, folder));
    let client_certificate =
        section.optional_or("client_certificate", None, |value| client_certificate(value, folder).map(Some));
    let connections = section.optional_or("connections", Server::DEFAULT_CONNECTIONS, |value| {
        value.number(1..=Server::MAX_CONNECTIONS)
    });
    let tls_policy = section.optional_or("tls_policy", TlsPolicy::default(), |value| {
        value.choice(&[("standard", TlsPolicy::Standard), ("nist-800-52r2", TlsPolicy::Nist80052r2)])
    });
    let network = network::read(&section);
    let charset = section.optional_or("charset", Charset::default(), charset);
    let bandwidth = bandwidth::read(&section, zone);
    Some(Server {
        name: name.ok()?,
        host: host?,
        port: port?,
        tls: tls?,
        tls_versions: tls_versions?,
        tls_policy: tls_policy?,
        username: username?,
        password: password?,
        trust: trust?,
        client_certificate: client_certificate?,
        connections: NonZeroU16::new(connections?)?,
        network: network?,
        charset: charset?,
        bandwidth: bandwidth?,
    })
}

/// A DNS name or an address. The text is not shown where it is neither: people paste addresses
/// with passwords in them.
pub(super) fn host(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    if rustls_pki_types::ServerName::try_from(bare).is_ok() {
        return Some(bare.to_owned());
    }
    let remedy = if text.contains("://") {
        "leave out what stands before and with `://`, and all behind the name"
    } else if text.contains(':') {
        "give the port under `port`"
    } else {
        "as in `ftps.example.com` or `192.0.2.7`"
    };
    value.place.refuse("not a host name or IP address", remedy);
    None
}

pub(super) fn username(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() || text.contains(char::is_control) {
        value.place.refuse("a login name cannot be empty or hold control characters", "");
        return None;
    }
    Some(text)
}

fn charset(value: &Value<'_>) -> Option<Charset> {
    let label = value.text()?;
    let remedy = "by a name of the Encoding Standard, as in `utf-8`, `latin1` (which is `windows-1252`), `iso-8859-15`, \
        `ibm866`, `gbk`, `big5`, `euc-kr` or `shift_jis`";
    Charset::named(&label).or_else(|| value.expected("a character encoding for file names", remedy))
}

const PASSWORD_REMEDY: &str = "say where it is kept: `password: {env: NAME}`, `{file: path}`, \
    `{credential: name}` (systemd) or `{command: [program, argument]}`";
const PASSWORD_KEYS: Keys = Keys { known: &["env", "file", "credential", "command"], later: &[] };

/// Where the password is kept. No value of this section is ever shown.
pub(super) fn password(value: Value<'_>, folder: &Path) -> Option<SecretRef> {
    let value = value.secret();
    if value.is_single() {
        value.place.refuse("a password does not stand in this file", PASSWORD_REMEDY);
        return None;
    }
    let section = Section::new(&value, &PASSWORD_KEYS)?;
    let given: Vec<_> = PASSWORD_KEYS
        .known
        .iter()
        .filter_map(|key| section.optional(key).map(|value| (*key, value)))
        .collect();
    let [(key, value)] = given.as_slice() else {
        let reason = if given.is_empty() { "names no place" } else { "names more than one place" };
        section.place.refuse(reason, PASSWORD_REMEDY);
        return None;
    };
    match *key {
        "file" => path_below(folder, value).map(SecretRef::File),
        "command" => command(value),
        "env" => {
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = value.text()?;
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fine) {
                let reason = "not the name of an environment variable";
                value
                    .place
                    .refuse(reason, "give the variable's name, not the password; as in `env: FTPS_PASSWORD`");
                return None;
            }
            Some(SecretRef::Env(name))
        }
        _ => {
            let name = value.text()?;
            if name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") {
                let remedy = "give the name that stands in `LoadCredential=` of the systemd unit";
                value.place.refuse("not the name of a credential", remedy);
                return None;
            }
            Some(SecretRef::Credential(name))
        }
    }
}

pub(super) fn command(value: &Value<'_>) -> Option<SecretRef> {
    if value.is_single() {
        return value.expected(
            "a list",
            "no shell is involved: write program and arguments as in `[pass, show, ftps]`",
        );
    }
    let words = value.list(Value::text)?;
    if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
        value.place.refuse("names no program", "write program and arguments as in `[pass, show, ftps]`");
        return None;
    }
    Some(SecretRef::Command(words))
}

const TLS_VERSION_KEYS: Keys = Keys { known: &["min", "max"], later: &[] };

fn tls_versions(value: &Value<'_>) -> Option<TlsVersions> {
    let read = |value: &Value<'_>| value.choice(&[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)]);
    let section = Section::new(value, &TLS_VERSION_KEYS)?;
    let TlsVersions { min, max } = TlsVersions::default();
    let (min, max) = (section.optional_or("min", min, read), section.optional_or("max", max, read));
    let versions = TlsVersions { min: min?, max: max? };
    if versions.min > versions.max {
        section.place.refuse("`min` is newer than `max`", "");
        return None;
    }
    Some(versions)
}

const TRUST_KEYS: Keys = Keys { known: &["ca_file", "pins", "crl_files"], later: &[] };

fn trust(value: &Value<'_>, folder: &Path) -> Option<Trust> {
    let section = Section::new(value, &TRUST_KEYS)?;
    let path = |value: &Value<'_>| path_below(folder, value);
    let ca_file = section.optional_or("ca_file", None, |value| path(value).map(Some));
    let pins = section.optional_or("pins", Vec::new(), |value| value.list(pin));
    let crl_files = section.optional_or("crl_files", Vec::new(), |value| value.list(path));
    let trust = Trust { ca_file: ca_file?, pins: pins?, crl_files: crl_files? };
    if trust.ca_file.is_none() && !trust.pins.is_empty() && !trust.crl_files.is_empty() {
        let reason =
            "`pins` without `ca_file` trust a key by itself, so that `crl_files` would not be looked at";
        section.place.refuse(reason, "add `ca_file`, or take `crl_files` out");
        return None;
    }
    Some(trust)
}

fn pin(value: &Value<'_>) -> Option<SpkiPin> {
    let text = value.text()?;
    let digest = text.strip_prefix("sha256:").and_then(|base64| BASE64.decode(base64).ok());
    match digest.and_then(|digest| <[u8; 32]>::try_from(digest).ok()) {
        Some(digest) => Some(SpkiPin(Digest::from_bytes(digest))),
        None => value.expected(
            "a pin",
            "write `sha256:` and the base64 of the SHA-256 of the server's public key, which \
             `openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64` \
             prints of its certificate",
        ),
    }
}

const CLIENT_CERTIFICATE_KEYS: Keys = Keys { known: &["cert_file", "key_file"], later: &[] };

fn client_certificate(value: &Value<'_>, folder: &Path) -> Option<ClientCertificate> {
    let section = Section::new(value, &CLIENT_CERTIFICATE_KEYS)?;
    let cert_file = section.required("cert_file", "name the PEM file of the certificate");
    let key_file = section.required("key_file", "name the PEM file of its private key");
    let cert_file = cert_file.and_then(|value| path_below(folder, &value));
    let key_file = key_file.and_then(|value| path_below(folder, &value));
    Some(ClientCertificate { cert_file: cert_file?, key_file: key_file? })
}
