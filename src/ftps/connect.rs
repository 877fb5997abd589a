//! TCP to a host by name: several addresses, tried one after the other with a head start each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::{FtpsError, Step};
use super::login::{Milestone, Noted};
use super::way::Family;
use crate::plain::Plain;

/// How long an address is tried before the next one is tried beside it (RFC 8305, section 5): a
/// dead IPv6 route costs this and no more.
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses of a host that are tried: names with more are balancers, all alike.
const MAX_ADDRESSES: usize = 16;

/// Silence after which the control connection is probed: it has nothing to say while a large file
/// is sent, and home routers and firewalls forget silent connections after some minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// How far apart the probes are when none is answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How many unanswered probes end the connection: with the idle time, a peer that vanished is
/// noticed within three minutes, where TCP itself would never notice.
const KEEPALIVE_PROBES: u32 = 6;

/// Why each of a host's addresses took no connection.
#[derive(Debug, Default)]
pub struct Causes(Vec<(SocketAddr, io::Error)>);

impl Causes {
    /// Whether each address refused at once, so that nothing seems to listen there.
    pub fn are_refusals(&self) -> bool {
        self.0.iter().all(|(_, cause)| cause.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// In words: each with its address, but for that of a host which is one by itself.
    pub(super) fn in_words(&self, host: &str) -> String {
        let words = self.0.iter().map(|(address, cause)| match address.ip().to_string() {
            address if address == host => Plain(cause).to_string(),
            address => format!("{address}: {}", Plain(cause)),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Connects to the address of the host that answers first, each having a head start before the
/// next; the others are given up. The limit is for name resolution and again for all addresses
/// together.
pub(super) async fn connect(
    host: &str,
    port: u16,
    family: Family,
    limit: Duration,
    note: Noted<'_>,
) -> Result<(TcpStream, SocketAddr), FtpsError> {
    let addresses = resolve(host, port, family, limit).await?;
    note(Milestone::Resolved(addresses.clone()));
    let connected = race(addresses, limit).await;
    let (tcp, address) =
        connected.map_err(|causes| FtpsError::Connect { host: host.to_owned(), port, causes })?;
    prepare(&tcp).map_err(|source| FtpsError::Io { step: Step::Connect, source })?;
    note(Milestone::Connected(address));
    Ok((tcp, address))
}

async fn resolve(
    host: &str,
    port: u16,
    family: Family,
    limit: Duration,
) -> Result<Vec<SocketAddr>, FtpsError> {
    let resolve_error = |source| FtpsError::Resolve { host: host.to_owned(), source };
    let found = match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(resolve_error(error)),
        Err(_) => return Err(resolve_error(no_answer(limit))),
    };
    let mut others: Option<IpAddr> = None;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !family.takes(address.ip()) {
            others.get_or_insert(address.ip());
        } else if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match (addresses.is_empty(), others) {
        (false, _) => Ok(addresses),
        (true, Some(other)) => Err(FtpsError::NoAddress { host: host.to_owned(), other }),
        (true, None) => {
            Err(resolve_error(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
        }
    }
}

/// The first connection of any of the addresses.
async fn race(addresses: Vec<SocketAddr>, limit: Duration) -> Result<(TcpStream, SocketAddr), Causes> {
    let deadline = Instant::now() + limit;
    // So that a short limit leaves time for the last one as well.
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let head_start = HEAD_START.min(share);
    let mut waiting = addresses.into_iter();
    // Attempts that still run when this ends are given up with the set.
    let mut attempts = JoinSet::new();
    let mut causes = Causes::default();
    loop {
        let is_last = match waiting.next() {
            Some(address) => {
                attempts.spawn(async move {
                    let connected = timeout_at(deadline, TcpStream::connect(address)).await;
                    (address, connected.unwrap_or_else(|_| Err(no_answer(limit))))
                });
                waiting.len() == 0
            }
            None => true,
        };
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok((address, Ok(tcp)))) => return Ok((tcp, address)),
                Some(Ok((address, Err(cause)))) => causes.0.push((address, cause)),
                // Nobody else cancels these, and they do not panic.
                Some(Err(_)) => {}
                None => return Err(causes),
            },
            () = sleep(head_start), if !is_last => {}
        }
    }
}

/// What the system says when nobody answers, before it does so itself.
pub(super) fn no_answer(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32()))
}

/// What a control connection's socket needs: no wait for more bytes to send, and signs of life.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_cause_names_no_address_twice_and_no_number_of_the_system() {
        let refused = |address: &str| {
            let cause = io::Error::from(rustix::io::Errno::CONNREFUSED);
            (SocketAddr::new(address.parse().unwrap(), 21), cause)
        };
        let silent = (SocketAddr::new("192.0.2.8".parse().unwrap(), 21), no_answer(Duration::from_secs(3)));
        let shown = |host: &str, causes| {
            FtpsError::Connect { host: host.to_owned(), port: 21, causes: Causes(causes) }.to_string()
        };
        let alone = shown("127.0.0.1", vec![refused("127.0.0.1")]);
        assert!(alone.starts_with("cannot connect to 127.0.0.1 port 21 (Connection refused); "), "{alone}");
        let alone = shown("::1", vec![refused("::1")]);
        assert!(alone.starts_with("cannot connect to ::1 port 21 (Connection refused); "), "{alone}");
        let named = shown("ftps.example", vec![refused("192.0.2.7"), silent]);
        let wanted = "cannot connect to ftps.example port 21 (192.0.2.7: Connection refused, 192.0.2.8: no answer \
                      within 3 s); ";
        assert!(named.starts_with(wanted), "{named}");
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address that swallows packets: a listener whose queue of one is full.
    async fn hole() -> (std::net::TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener: std::net::TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let mut fill = Vec::new();
        while let Ok(Ok(tcp)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            fill.push(tcp);
        }
        (listener, fill, address)
    }

    async fn closed() -> SocketAddr {
        listener().await.1
    }

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_dead_address_costs_its_head_start_and_not_the_limit() {
        let (_hole, _fill, dead) = hole().await;
        let (_good, good) = listener().await;
        let began = Instant::now();
        let (_tcp, address) = race(vec![dead, good], LIMIT).await.unwrap();
        assert_eq!(address, good);
        assert!((HEAD_START..LIMIT / 4).contains(&began.elapsed()), "{:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(race(vec![closed().await, good], LIMIT).await.unwrap().1, good);
        assert!(began.elapsed() < HEAD_START, "a refusal is no reason to wait: {:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(race(vec![good, dead], LIMIT).await.unwrap().1, good);
        assert!(began.elapsed() < HEAD_START, "the first that answers wins: {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn when_none_answers_each_is_named_by_the_limit() {
        let (_hole, _fill, dead) = hole().await;
        let refused = closed().await;
        let limit = Duration::from_millis(300);
        let began = Instant::now();
        let causes = race(vec![dead, refused, dead], limit).await.unwrap_err();
        assert!(began.elapsed() < limit * 3, "{:?}", began.elapsed());
        let text = causes.in_words("");
        assert_eq!(causes.0.len(), 3, "{text}");
        assert!(
            text.contains("127.0.0.1: Connection refused") && text.contains("no answer within 0.3 s"),
            "{text}"
        );
        assert!(!causes.are_refusals());
        assert!(race(vec![refused], limit).await.unwrap_err().are_refusals());
    }

    #[tokio::test]
    async fn only_addresses_of_the_family_are_used_and_their_lack_is_told() {
        let all = |family| resolve("127.0.0.1", 21, family, LIMIT);
        assert_eq!(all(Family::Any).await.unwrap(), [SocketAddr::from((Ipv4Addr::LOCALHOST, 21))]);
        assert_eq!(all(Family::V4).await.unwrap().len(), 1);
        let error = all(Family::V6).await.unwrap_err().to_string();
        for word in ["no IPv6 address", "127.0.0.1", "`address_family`"] {
            assert!(error.contains(word), "{word} in {error}");
        }
        let error = resolve("::1", 21, Family::V4, LIMIT).await.unwrap_err().to_string();
        assert!(error.contains("no IPv4 address"), "{error}");
    }

    #[tokio::test]
    async fn the_control_connection_gives_signs_of_life() {
        let (_listener, address) = listener().await;
        let tcp = connect("127.0.0.1", address.port(), Family::Any, LIMIT, &mut |_| {}).await.unwrap().0;
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }
}
