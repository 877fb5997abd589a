//! How the two ends find each other: by which addresses, and who opens data connections.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// Which of a host's addresses are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// All, in the order in which name resolution gives them.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether an address is of this family.
    pub(super) fn takes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Who opens data connections, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataWay {
    /// We do.
    Passive(PassiveWay),
    /// The server does.
    Active(ActiveWay),
}

impl Default for DataWay {
    fn default() -> Self {
        Self::Passive(PassiveWay::default())
    }
}

/// How a server is asked for a port to connect to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassiveWay {
    /// What is asked first; where it is refused for good, the other one is.
    pub first: PassiveVerb,
    /// What becomes of the address in a reply to `PASV`.
    pub named: NamedAddress,
}

/// How a passive port is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PassiveVerb {
    /// `EPSV` (RFC 2428), whose reply has no room for an address.
    #[default]
    Epsv,
    /// `PASV` (RFC 959).
    Pasv,
}

/// What becomes of the address in a reply to `PASV`. Whatever it is, the data connection has to
/// prove that it leads to the control connection's server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedAddress {
    /// It is ignored: data connections go to the control connection's peer (RFC 2577).
    #[default]
    Ignored,
    /// It is followed, where it can be a server's at all.
    Followed,
}

/// Where a server connects to in active mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveWay {
    /// The local address to listen at; the control connection's own where there is none.
    pub listen: Option<IpAddr>,
    /// The address that the server is told; else the one that is listened at.
    pub announce: Option<IpAddr>,
    /// The ports to listen at; any free one where there are none.
    pub ports: Option<RangeInclusive<u16>>,
}

/// The name of an address's family, for messages.
pub(super) fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether an address in a reply to `PASV` can be followed when the control connection leads to
/// `peer`: no network's own address, and this machine's only where the server runs on it.
pub(super) fn can_be_followed(named: Ipv4Addr, peer: IpAddr) -> bool {
    let nowhere = named.octets().first() == Some(&0);
    let many = named.is_multicast() || named.is_broadcast();
    !nowhere && !many && (!named.is_loopback() || peer.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_server_has_are_not_followed() {
        let check = |named: &str, peer: &str, followed| {
            let found = can_be_followed(named.parse().unwrap(), peer.parse().unwrap());
            assert_eq!(found, followed, "{named} from {peer}");
        };
        check("192.0.2.9", "192.0.2.1", true);
        check("10.0.0.9", "2001:db8::1", true);
        check("127.0.0.2", "127.0.0.1", true);
        for bad in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "255.255.255.255", "127.0.0.1"] {
            check(bad, "192.0.2.1", false);
        }
    }
}
