//! Active mode: the port at which we wait for the server's data connection (RFC 959, RFC 2428).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::error::{FtpsError, Uncalled};
use super::way::ActiveWay;

/// Most connections that others than the server may make to one port before it is given up: each
/// is closed at once, and a scanner that finds the port makes a few.
const MAX_STRANGERS: u32 = 32;

/// Connections that may wait to be accepted: the server's, behind some strangers'.
const BACKLOG: u32 = 16;

/// Where the search for a free port of a range begins, for all sessions: servers that call from port
/// 20 (Pure-FTPd 1.0.50) or 1 below their own (ProFTPD) cannot call the same port again for a minute,
/// while the last connection's end is remembered (`TIME_WAIT`, RFC 9293).
static TURN: AtomicU16 = AtomicU16::new(0);

/// A port that waits for one connection from one address.
#[derive(Debug)]
pub(super) struct Listener {
    tcp: TcpListener,
    announced: SocketAddr,
    peer: IpAddr,
    stranger: Arc<OnceLock<IpAddr>>,
}

impl Listener {
    /// Listens at the address of `way`, or `local`, the control connection's own; at the next free
    /// port of the range of `way`, or any free one.
    pub(super) fn open(way: &ActiveWay, local: IpAddr, peer: IpAddr) -> Result<Self, FtpsError> {
        Self::open_in_turn(way, local, peer, TURN.fetch_add(1, Ordering::Relaxed))
    }

    fn open_in_turn(way: &ActiveWay, local: IpAddr, peer: IpAddr, turn: u16) -> Result<Self, FtpsError> {
        let (local, peer) = (local.to_canonical(), peer.to_canonical());
        for (key, address) in [("listen", way.listen), ("announce", way.announce)] {
            if let Some(address) = address
                && address.is_ipv4() != peer.is_ipv4()
            {
                return Err(FtpsError::OtherFamily { key, address, peer });
            }
        }
        let address = way.listen.unwrap_or(local);
        let tcp = match &way.ports {
            None => listen((address, 0).into()).map_err(|source| FtpsError::Listen { address, source })?,
            Some(ports) => {
                let count = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
                let mut in_turn = (0..count).filter_map(|step| {
                    let port = u32::from(*ports.start()) + (u32::from(turn) + step) % count;
                    match listen((address, u16::try_from(port).ok()?).into()) {
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                        other => Some(other),
                    }
                });
                let in_use = || FtpsError::PortsInUse { address, ports: ports.clone() };
                in_turn.next().ok_or_else(in_use)?.map_err(|source| FtpsError::Listen { address, source })?
            }
        };
        let port = tcp.local_addr().map_err(|source| FtpsError::Listen { address, source })?.port();
        let own = if address.is_unspecified() { local } else { address };
        let announced = SocketAddr::new(way.announce.unwrap_or(own), port);
        Ok(Self { tcp, announced, peer, stranger: Arc::default() })
    }

    /// Where the server is told to connect to.
    pub(super) fn announced(&self) -> SocketAddr {
        self.announced
    }

    /// Who called though the port is not for them: the first of them, once there is one.
    pub(super) fn stranger(&self) -> Arc<OnceLock<IpAddr>> {
        Arc::clone(&self.stranger)
    }

    /// The first connection from the control connection's peer. The port is closed when this ends.
    pub(super) async fn accept(self, limit: Duration) -> Result<TcpStream, FtpsError> {
        let Self { tcp, announced, peer, stranger } = self;
        let accept = async {
            for _ in 0..=MAX_STRANGERS {
                // An error is a connection that was gone before it was accepted.
                let Ok((stream, from)) = tcp.accept().await else { continue };
                if from.ip().to_canonical() == peer {
                    return Some(stream);
                }
                stranger.get_or_init(|| from.ip().to_canonical());
            }
            None
        };
        let accepted = timeout(limit, accept).await.unwrap_or_default();
        accepted.ok_or_else(|| {
            let silence = Uncalled::Silence { limit };
            let why = stranger.get().map_or(silence, |&who| Uncalled::Stranger { who });
            FtpsError::NotCalled { announced, why }
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Else a port would stay in use for a minute after each connection.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn open(way: &ActiveWay) -> Result<Listener, FtpsError> {
        Listener::open(way, ip("127.0.0.1"), ip("127.0.0.1"))
    }

    async fn call(to: SocketAddr, from: &str) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((ip(from), 0).into())?;
        socket.connect(to).await
    }

    #[tokio::test]
    async fn one_connection_is_taken_and_the_port_is_closed() {
        let listener = open(&ActiveWay::default()).unwrap();
        let port = listener.announced();
        let (accepted, caller) = tokio::join!(listener.accept(LIMIT), call(port, "127.0.0.1"));
        assert_eq!(accepted.unwrap().peer_addr().unwrap(), caller.unwrap().local_addr().unwrap());
        assert_eq!(call(port, "127.0.0.1").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn strangers_are_turned_away_and_do_not_last() {
        let listener = open(&ActiveWay::default()).unwrap();
        let port = listener.announced();
        let callers = async {
            let stranger = call(port, "127.0.0.2").await.unwrap();
            let server = call(port, "127.0.0.1").await.unwrap();
            (stranger, server)
        };
        let (accepted, (stranger, server)) = tokio::join!(listener.accept(LIMIT), callers);
        assert_eq!(accepted.unwrap().peer_addr().unwrap(), server.local_addr().unwrap());
        stranger.readable().await.unwrap();
        assert!(matches!(stranger.try_read(&mut [0]), Ok(0) | Err(_)), "the stranger is hung up on");

        let listener = open(&ActiveWay::default()).unwrap();
        let port = listener.announced();
        let flood = async { while call(port, "127.0.0.2").await.is_ok() {} };
        let (accepted, ()) = tokio::join!(listener.accept(LIMIT), flood);
        let error = accepted.unwrap_err().to_string();
        assert!(error.contains("127.0.0.2 did"), "{error}");
    }

    #[tokio::test]
    async fn silence_ends_by_the_limit_and_names_the_port() {
        let listener = open(&ActiveWay::default()).unwrap();
        let port = listener.announced();
        let error = listener.accept(Duration::from_millis(20)).await.unwrap_err().to_string();
        for word in [port.to_string().as_str(), "0.02 s", "firewall", "`announce`", "`ports`"] {
            assert!(error.contains(word), "{word} in {error}");
        }
    }

    #[tokio::test]
    async fn ports_come_from_the_range_in_turn_and_run_out() {
        // A range of three around a free port, so that others do not take it meanwhile.
        let (first, ports) = loop {
            let port = open(&ActiveWay::default()).unwrap().announced().port();
            let Some(last) = port.checked_add(2) else { continue };
            let all: Vec<_> =
                (port..=last).map_while(|port| listen((ip("127.0.0.1"), port).into()).ok()).collect();
            if all.len() == 3 {
                break (port, port..=last);
            }
        };
        let way = ActiveWay { ports: Some(ports), ..ActiveWay::default() };
        let turn = |turn| Listener::open_in_turn(&way, ip("127.0.0.1"), ip("127.0.0.1"), turn);
        let last = turn(2).unwrap();
        assert_eq!(last.announced().port(), first + 2);
        let (one, two) = (turn(2).unwrap(), turn(2).unwrap());
        assert_eq!((one.announced().port(), two.announced().port()), (first, first + 1));
        let error = turn(7).unwrap_err().to_string();
        assert!(error.contains(&format!("from {first} to {} are in use", first + 2)), "{error}");
        drop(one);
        assert_eq!(turn(7).unwrap().announced().port(), first);
    }

    #[tokio::test]
    async fn what_is_announced_and_what_cannot_be() {
        let nat = ActiveWay { listen: Some(ip("0.0.0.0")), announce: Some(ip("203.0.113.7")), ports: None };
        assert_eq!(open(&nat).unwrap().announced().ip(), ip("203.0.113.7"));
        let any = ActiveWay { listen: Some(ip("0.0.0.0")), ..ActiveWay::default() };
        assert_eq!(open(&any).unwrap().announced().ip(), ip("127.0.0.1"));
        let away = ActiveWay { listen: Some(ip("192.0.2.1")), ..ActiveWay::default() };
        let error = open(&away).unwrap_err().to_string();
        assert!(error.contains("`listen` must be an address of this machine"), "{error}");
        for way in [
            ActiveWay { listen: Some(ip("::1")), ..ActiveWay::default() },
            ActiveWay { announce: Some(ip("2001:db8::7")), ..ActiveWay::default() },
        ] {
            let error = open(&way).unwrap_err().to_string();
            assert!(error.contains("reached over IPv4"), "{error}");
        }
    }
}
