//! How a server is reached: the keys `address_family`, `data` and `timeouts` of a server.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Keys, Section, Value};
use crate::domain::{ActivePorts, AddressFamily, DataMode, Network, PasvAddress, Timeouts};

pub(super) fn read(server: &Section<'_>) -> Option<Network> {
    let family = server.optional_or("address_family", AddressFamily::default(), |value| {
        value.choice(&[("any", AddressFamily::Any), ("ipv4", AddressFamily::V4), ("ipv6", AddressFamily::V6)])
    });
    let data = server.optional_or("data", DataMode::default(), data);
    let timeouts = server.optional_or("timeouts", Timeouts::default(), timeouts);
    Some(Network { family: family?, data: data?, timeouts: timeouts? })
}

const DATA_KEYS: Keys = Keys { known: &["mode", "pasv_address", "listen", "announce", "ports"], later: &[] };

/// Who opens data connections, without what is only good for one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    Passive,
    Active,
}

fn data(value: &Value<'_>) -> Option<DataMode> {
    let section = Section::new(value, &DATA_KEYS)?;
    let opener = section.optional_or("mode", Opener::Passive, |value| {
        value.choice(&[("passive", Opener::Passive), ("active", Opener::Active)])
    });
    match opener {
        Some(Opener::Passive) => {
            let foreign = ["listen", "announce", "ports"];
            let fits = refuse(&section, &foreign, "active", "add `mode: active`, or take it out");
            passive(&section).filter(|_| fits)
        }
        Some(Opener::Active) => {
            let remedy = "take it out, or take out `mode: active`";
            let fits = refuse(&section, &["pasv_address"], "passive", remedy);
            active(&section).filter(|_| fits)
        }
        // Which keys belong there is not known, but each must be right by itself.
        None => {
            let _told = (passive(&section), active(&section));
            None
        }
    }
}

/// Refuses the keys that are only good for the other mode; whether there are none.
fn refuse(section: &Section<'_>, foreign: &[&str], wanted: &str, remedy: &str) -> bool {
    let mut fits = true;
    for value in foreign.iter().filter_map(|key| section.optional(key)) {
        value.place.refuse(format!("is for `mode: {wanted}` only"), remedy);
        fits = false;
    }
    fits
}

fn passive(section: &Section<'_>) -> Option<DataMode> {
    let choices = [("ignore", PasvAddress::Ignore), ("trust", PasvAddress::Trust)];
    let address =
        section.optional_or("pasv_address", PasvAddress::default(), |value| value.choice(&choices))?;
    Some(DataMode::Passive { address })
}

fn active(section: &Section<'_>) -> Option<DataMode> {
    let listen = section.optional_or("listen", None, |value| address(value).map(Some));
    let announce = section.optional_or("announce", None, |value| address(value).map(Some));
    let ports = section.optional_or("ports", None, |value| ports(value).map(Some));
    Some(DataMode::Active(ActivePorts { listen: listen?, announce: announce?, ports: ports? }))
}

fn address(value: &Value<'_>) -> Option<IpAddr> {
    let text = value.text()?;
    text.parse().ok().or_else(|| value.expected("an IP address", "as in `192.0.2.7` or `2001:db8::7`"))
}

/// Lowest port that a server may be asked to connect to: below stand the services of this
/// machine, and real servers refuse it (RFC 2577, section 3).
const MIN_PORT: u16 = 1024;

fn ports(value: &Value<'_>) -> Option<RangeInclusive<u16>> {
    let text = value.text()?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if first >= MIN_PORT && first <= last => Some(first..=last),
        _ => value.expected(
            &format!("a range of ports from {MIN_PORT} up"),
            "as in `50000-50100`; open the same ports in the firewall",
        ),
    }
}

const TIMEOUT_KEYS: Keys = Keys {
    known: &["connect", "greeting", "handshake", "reply", "data_connect", "stall", "final_reply", "drain"],
    later: &[],
};

fn timeouts(value: &Value<'_>) -> Option<Timeouts> {
    let section = Section::new(value, &TIMEOUT_KEYS)?;
    let read = |key| section.optional_or(key, None, |value| duration(value).map(Some));
    let (connect, greeting, handshake) = (read("connect"), read("greeting"), read("handshake"));
    let (reply, data_connect, stall) = (read("reply"), read("data_connect"), read("stall"));
    let (final_reply, drain) = (read("final_reply"), read("drain"));
    Some(Timeouts {
        connect: connect?,
        greeting: greeting?,
        handshake: handshake?,
        reply: reply?,
        data_connect: data_connect?,
        stall: stall?,
        final_reply: final_reply?,
        drain: drain?,
    })
}

/// Longest limit of time: nothing is worth a day of waiting for one reply.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

/// A length of time with its unit, from 1 ms up to a day.
pub(super) fn duration(value: &Value<'_>) -> Option<Duration> {
    let text = value.text()?;
    match humantime::parse_duration(&text) {
        Ok(limit) if (Duration::from_millis(1)..=MAX_TIMEOUT).contains(&limit) => Some(limit),
        Ok(_) => value.expected("a time from 1 ms to 24 h", ""),
        Err(_) => value.expected("a time", "write a number and its unit, as in `500ms`, `20s` or `5m`"),
    }
}
