//! Active mode: `EPRT` and `PORT`, and the call to the client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::commands::Outcome;
use crate::data::Agreed;
use crate::faults::Action;
use crate::session::Session;

impl Session {
    /// `EPRT` (RFC 2428).
    pub(crate) fn eprt(&mut self, argument: &[u8]) -> Outcome {
        let client = std::str::from_utf8(argument).ok().and_then(|text| {
            let mut fields = text.split(text.chars().next()?);
            let (_, family) = (fields.next()?, fields.next()?);
            let address: IpAddr = fields.next()?.parse().ok()?;
            let fits = matches!((family, address), ("1", IpAddr::V4(_)) | ("2", IpAddr::V6(_)));
            Some(SocketAddr::new(address, fields.next()?.parse().ok()?)).filter(|_| fits)
        });
        self.agree(client, "EPRT")
    }

    /// `PORT` (RFC 959).
    pub(crate) fn port(&mut self, argument: &[u8]) -> Outcome {
        let client = std::str::from_utf8(argument).ok().and_then(|text| {
            let numbers: Vec<u8> = text.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            let [a, b, c, d, high, low] = <[u8; 6]>::try_from(numbers).ok()?;
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
        });
        self.agree(client, "PORT")
    }

    /// As real servers, it connects to nobody but the client (RFC 2577).
    fn agree(&mut self, client: Option<SocketAddr>, verb: &str) -> Outcome {
        match client {
            Some(client) if client.ip() == self.control.peer().ip() && client.port() >= 1024 => {
                self.agreed = Some(Agreed::Active(client));
                Outcome::reply(200, format!("{verb} command successful"))
            }
            _ => Outcome::reply(500, format!("Illegal {verb} command")),
        }
    }

    /// Connects to the client, or does what the faults make of it.
    pub(crate) async fn call(&self, client: SocketAddr) -> io::Result<TcpStream> {
        let mut from = self.control.local().ip();
        for action in self.actions.clone() {
            match action {
                Action::StrangerFirst(stranger) => drop(call_from(stranger, client).await?),
                Action::CallFrom(other) => from = other,
                Action::CallLate(delay) => sleep(delay).await,
                Action::NeverCall => std::future::pending().await,
                _ => {}
            }
        }
        let stream = call_from(from, client).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn call_from(from: IpAddr, client: SocketAddr) -> io::Result<TcpStream> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind((from, 0).into())?;
    socket.connect(client).await
}
