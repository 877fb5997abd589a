//! How a server is reached: address family, data connections, limits of time.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a server is reached. The defaults suit a server that is well set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Which of its addresses are used.
    pub family: AddressFamily,
    /// Who opens data connections, and where they go.
    pub data: DataMode,
    /// Limits that are not the usual ones.
    pub timeouts: Timeouts,
}

/// Which of a server's addresses are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// All, in the order in which name resolution gives them.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Who opens data connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataMode {
    /// We do, to a port that the server names (EPSV, PASV).
    Passive {
        /// Whether an address in the reply to PASV is followed.
        address: PasvAddress,
    },
    /// The server does, to a port that we name (EPRT, PORT).
    Active(ActivePorts),
}

impl Default for DataMode {
    fn default() -> Self {
        Self::Passive { address: PasvAddress::default() }
    }
}

/// Whether the address in a server's reply to PASV is followed (RFC 2577: an attacker would name
/// somebody else's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PasvAddress {
    /// It is not: data connections go to the control connection's peer.
    #[default]
    Ignore,
    /// It is: the job trusts the server to name the machine that takes its data connections.
    Trust,
}

/// Where a server connects to in active mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivePorts {
    /// The local address to listen at; the control connection's own where there is none.
    pub listen: Option<IpAddr>,
    /// The address that the server is told, where NAT stands between; else the one that is
    /// listened at.
    pub announce: Option<IpAddr>,
    /// The ports to listen at, all of them 1024 or above; any free one where there are none.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Limits of time that the configuration gives; the usual ones hold for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and TCP connection.
    pub connect: Option<Duration>,
    /// The greeting.
    pub greeting: Option<Duration>,
    /// A TLS handshake.
    pub handshake: Option<Duration>,
    /// The reply to a command.
    pub reply: Option<Duration>,
    /// TCP connection of a data connection, either way.
    pub data_connect: Option<Duration>,
    /// One buffer on a data connection.
    pub stall: Option<Duration>,
    /// The reply after the last byte.
    pub final_reply: Option<Duration>,
    /// How much longer the end of the data connection is waited for.
    pub drain: Option<Duration>,
}
