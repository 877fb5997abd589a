//! The keys `agent.status` and `agent.metrics_file`.

use std::net::SocketAddr;

use super::section::{Keys, Section, Value};
use super::{FileNames, StatusPage};

const KEYS: Keys = Keys { known: &["address", "hosts", "file_names"], later: &[] };

/// Most names by which the page may be asked for.
const MAX_HOSTS: usize = 32;

const ADDRESS_REMEDY: &str = "write an address and a port, as in `127.0.0.1:9750`";

/// An address of this machine alone, or a section.
pub(super) fn read(value: &Value<'_>) -> Option<StatusPage> {
    if value.is_single() {
        let address = address(value)?;
        if !address.ip().is_loopback() {
            value.place.refuse(
                "others could read the status page there, without a password and without TLS",
                format!(
                    "take 127.0.0.1; or, if that is wanted, write `{{address: \"{address}\", hosts: \
                     [names by which it is asked for]}}`"
                ),
            );
            return None;
        }
        return Some(StatusPage { address, hosts: Vec::new(), file_names: FileNames::Shown });
    }
    let section = Section::new(value, &KEYS)?;
    let address = section.required("address", ADDRESS_REMEDY).and_then(|value| address(&value));
    let hosts = section.optional_or("hosts", None, |value| value.list(host).map(Some));
    let usual = match address {
        Some(address) if address.ip().is_loopback() => FileNames::Shown,
        _ => FileNames::Hidden,
    };
    let file_names = section.optional_or("file_names", usual, |value| {
        value.choice(&[("show", FileNames::Shown), ("hide", FileNames::Hidden)])
    });
    let (address, hosts) = (address?, hosts?);
    if hosts.is_none() && !address.ip().is_loopback() {
        let remedy =
            "add `hosts: [names]`, the names by which it is asked for; by an address it always can be";
        section.place.refuse("the status page would be open to the network", remedy);
        return None;
    }
    let hosts = hosts.unwrap_or_default();
    if hosts.len() > MAX_HOSTS {
        section.place.refuse(format!("at most {MAX_HOSTS} names in `hosts`"), "");
        return None;
    }
    Some(StatusPage { address, hosts, file_names: file_names? })
}

fn address(value: &Value<'_>) -> Option<SocketAddr> {
    match value.text()?.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => value.expected("an IP address with a port", ADDRESS_REMEDY),
    }
}

/// A name without a port, in small letters.
fn host(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
        return value.expected("the name of a host", "without a port, as in `backup.clinic.example`");
    }
    Some(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    const REST: &str = "servers: {s: {host: h, username: u, password: {env: P}}}\njobs: {j: {source: /s, server: s, destination: /d}}\n";

    fn page(key: &str) -> Result<StatusPage, String> {
        let text = format!("version: 1\nagent: {{state_dir: /state, status: {key}}}\n{REST}");
        match parse(text.as_bytes(), Path::new("/etc/jobs.yaml"), None) {
            Ok(config) => Ok(config.agent.status.unwrap()),
            Err(problems) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                let problem = &problems[0];
                Err(format!(
                    "{}: {} ({})",
                    problem.key_path,
                    problem.reason,
                    problem.remedy.clone().unwrap_or_default()
                ))
            }
        }
    }

    #[test]
    fn a_loopback_address_is_enough() {
        for text in ["127.0.0.1:9750", "\"[::1]:9750\"", "{address: 127.0.0.1:9750}"] {
            let page = page(text).unwrap();
            assert!(page.address.ip().is_loopback() && page.file_names == FileNames::Shown, "{text}");
        }
        assert_eq!(
            page("{address: 127.0.0.1:9750, file_names: hide}").unwrap().file_names,
            FileNames::Hidden
        );
    }

    #[test]
    fn the_network_sees_it_only_where_that_is_said() {
        let open = page("{address: 0.0.0.0:9750, hosts: [Backup.clinic.example]}").unwrap();
        assert_eq!(
            (open.hosts, open.file_names),
            (vec!["backup.clinic.example".to_owned()], FileNames::Hidden)
        );
        assert_eq!(page("{address: 0.0.0.0:9750, hosts: []}").unwrap().hosts, Vec::<String>::new());
        let shown = page("{address: 0.0.0.0:9750, hosts: [], file_names: show}").unwrap();
        assert_eq!(shown.file_names, FileNames::Shown);
    }

    #[test]
    fn mistakes_are_told_with_their_remedy() {
        let told: Vec<_> = [
            "9750",
            "localhost:9750",
            "0.0.0.0:9750",
            "{address: 0.0.0.0:9750}",
            "{hosts: [a]}",
            "{address: 127.0.0.1:9750, hosts: [\"a:80\"]}",
            "{address: 127.0.0.1:9750, file_name: show}",
            "true",
        ]
        .map(|key| format!("{key}\n  {}", page(key).unwrap_err()))
        .into();
        insta::assert_snapshot!(told.join("\n"));
    }
}
