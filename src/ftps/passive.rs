//! Where a data connection goes: the replies to `EPSV` (RFC 2428) and `PASV` (RFC 959).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::reply::Reply;

/// Lowest port that a data connection goes to: servers do not pick from below, and an attacker
/// would point us at a service there (RFC 2577).
const MIN_PORT: u16 = 1024;

/// The port in a reply to `EPSV`: `229 … (|||port|)`, with any delimiter.
pub(super) fn epsv_port(reply: &Reply) -> Option<u16> {
    let (_, rest) = (reply.code() == 229).then(|| reply.last_line().split_once('('))??;
    let (inner, _) = rest.split_once(')')?;
    let delimiter = inner.chars().next().filter(|c| !c.is_ascii_digit())?;
    let fields: Vec<&str> = inner.split(delimiter).collect();
    match fields.as_slice() {
        // The address fields are empty for the control connection's peer, which is all we take.
        ["", "", "", port, ""] => usable(port),
        _ => None,
    }
}

/// The address and port in a reply to `PASV`: six numbers. The address is what the server takes for
/// its own: NAT makes it wrong, and attackers make it theirs.
pub(super) fn pasv_address(reply: &Reply) -> Option<SocketAddrV4> {
    let [a, b, c, d, high, low] = pasv_numbers(reply)?;
    let port = u16::from_be_bytes([high, low]);
    (port >= MIN_PORT).then(|| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// The address in a reply to `PASV`, for people to look at.
pub(super) fn pasv_host(reply: &Reply) -> Option<Ipv4Addr> {
    let [a, b, c, d, _, _] = pasv_numbers(reply)?;
    Some(Ipv4Addr::new(a, b, c, d))
}

fn pasv_numbers(reply: &Reply) -> Option<[u8; 6]> {
    if reply.code() != 227 {
        return None;
    }
    let line = reply.last_line();
    let start = line.find('(').map_or_else(|| line.find(|c: char| c.is_ascii_digit()), |at| Some(at + 1))?;
    let numbers = line.get(start..)?.split(|c: char| !c.is_ascii_digit() && c != ',').next()?;
    let numbers: Vec<u8> = numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

fn usable(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| port.parse().ok()).flatten().filter(|port| *port >= MIN_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftps::reply::ReplyParser;

    fn reply(text: &str) -> Reply {
        let mut parser = ReplyParser::default();
        parser.feed(format!("{text}\r\n").as_bytes()).unwrap();
        parser.next_reply().unwrap()
    }

    #[test]
    fn extended_passive() {
        let check = |text, port| assert_eq!(epsv_port(&reply(text)), port, "{text}");
        check("229 Entering Extended Passive Mode (|||21100|)", Some(21100));
        check("229 Entering (!!!65535!)", Some(65535));
        for bad in [
            "229 (|||65536|)",
            "229 (|||0|)",
            "229 (|||22|)",
            "229 (|||-5|)",
            "229 (|||+2000|)",
            "229 (|1|10.0.0.1|2000|)",
            "229 (|||2000)",
            "229 |||2000|",
            "229 ()",
            "200 (|||2000|)",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn passive() {
        let check = |text, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(pasv_address(&reply(text)), address, "{text}");
        };
        check("227 Entering Passive Mode (127,0,0,1,82,108).", Some("127.0.0.1:21100"));
        check("227 Entering Passive Mode. 10,0,0,9,82,108", Some("10.0.0.9:21100"));
        assert_eq!(pasv_host(&reply("227 Entering (10,0,0,1,82,108)")), Some(Ipv4Addr::new(10, 0, 0, 1)));
        for bad in [
            "227 (127,0,0,1,82)",
            "227 (127,0,0,1,82,108,1)",
            "227 (127,0,0,256,82,108)",
            "227 (127,0,0,1,256,1)",
            "227 (127,0,0,1,0,22)",
            "227 (127,0,0,1,-1,22)",
            "227 (::1,82,108)",
            "227 none",
            "200 (127,0,0,1,82,108)",
        ] {
            check(bad, None);
        }
    }
}
