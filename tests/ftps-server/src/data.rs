//! Data connections: with the control connection's peer only, under TLS only.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::commands::Outcome;
use crate::control::PATIENCE;
use crate::dialect::{Manner, Reuse};
use crate::drip::dripping;
use crate::event::Event;
use crate::faults::{Action, Blow, Cut};
use crate::reply::Reply;
use crate::session::Session;
use crate::transcript::add;

/// How long a client may take to connect to the port that it was given.
const CONNECT: Duration = Duration::from_secs(10);

/// A data connection after its handshake.
pub(crate) struct Data {
    stream: TlsStream<TcpStream>,
    goodbye: Goodbye,
}

/// What was agreed with the client about its next data connection.
#[derive(Debug)]
pub(crate) enum Agreed {
    /// It connects to this port.
    Passive(TcpListener),
    /// This side connects to this port of the client's.
    Active(SocketAddr),
}

/// How this side ends a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    CloseNotify,
    FinOnly,
}

/// How the peer's bytes ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    CloseNotify,
    /// FIN without `close_notify`.
    Fin,
    /// RST, silence or nonsense, in the system's words.
    Broken(String),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("goodbye", &self.goodbye).finish_non_exhaustive()
    }
}

impl Session {
    /// `EPSV` (RFC 2428).
    pub(crate) async fn epsv(&mut self, argument: &[u8]) -> io::Result<Outcome> {
        if argument.eq_ignore_ascii_case(b"ALL") {
            return Ok(Outcome::reply(200, "EPSV ALL command successful"));
        }
        let address = match self.open_passive().await {
            Ok(address) => address,
            Err(error) => return Ok(Outcome::reply(425, format!("Unable to open a port: {error}"))),
        };
        let port = self.advertised_port(address);
        let text = match self.advertised_address() {
            Some(IpAddr::V4(other)) => format!("|1|{other}|{port}|"),
            Some(IpAddr::V6(other)) => format!("|2|{other}|{port}|"),
            None => format!("|||{port}|"),
        };
        Ok(Outcome::reply(229, format!("Entering Extended Passive Mode ({text})")))
    }

    /// `PASV` (RFC 959).
    pub(crate) async fn pasv(&mut self) -> io::Result<Outcome> {
        let address = match self.open_passive().await {
            Ok(address) => address,
            Err(error) => return Ok(Outcome::reply(425, format!("Unable to open a port: {error}"))),
        };
        let ip = match self.advertised_address().unwrap_or(address.ip()).to_canonical() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => return Ok(Outcome::reply(425, "PASV knows no IPv6")),
        };
        let [a, b, c, d] = Ipv4Addr::octets(&ip);
        let [high, low] = self.advertised_port(address).to_be_bytes();
        Ok(Outcome::reply(227, format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low}).")))
    }

    async fn open_passive(&mut self) -> io::Result<SocketAddr> {
        let elsewhere = self.actions.iter().find_map(|action| match action {
            Action::OpenAt(address) => Some(*address),
            _ => None,
        });
        let address = elsewhere.unwrap_or(self.control.local().ip());
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        self.shared.tell(&Event::Listening { port: address.port() });
        self.agreed = Some(Agreed::Passive(listener)).filter(|_| !self.has(&Action::ClosePort));
        Ok(address)
    }

    fn advertised_port(&self, real: SocketAddr) -> u16 {
        let port = self.actions.iter().find_map(|action| match action {
            Action::AdvertisePort(port) => Some(*port),
            _ => None,
        });
        port.unwrap_or(real.port())
    }

    fn advertised_address(&self) -> Option<IpAddr> {
        self.actions.iter().find_map(|action| match action {
            Action::AdvertiseAddress(address) => Some(*address),
            _ => None,
        })
    }

    /// Says that a transfer starts, and opens its data connection with its handshake; the other way
    /// round where a fault says so. In place of a connection there may be the refusal to answer with.
    pub(crate) async fn open_data(
        &mut self,
        agreed: Agreed,
        verb: &str,
        argument: &[u8],
        text: &[u8],
    ) -> io::Result<Result<Data, Outcome>> {
        let late = self.actions.iter().find_map(|action| match action {
            Action::LateStart(delay) => Some(*delay),
            _ => None,
        });
        let Some(delay) = late else {
            self.begin_transfer(verb, argument, text).await?;
            return Ok(self.open(agreed).await);
        };
        let mut data = match self.open(agreed).await {
            Ok(data) => data,
            refusal @ Err(_) => return Ok(refusal),
        };
        if let Ok(Ok(early)) = timeout(delay, data.read(&mut [0; 1024])).await {
            add(&self.shared.tally.early_bytes, early as u64);
        }
        self.begin_transfer(verb, argument, text).await?;
        Ok(Ok(data))
    }

    async fn open(&mut self, agreed: Agreed) -> Result<Data, Outcome> {
        let stream = match agreed {
            Agreed::Passive(listener) => match timeout(CONNECT, self.accept_peer(&listener)).await {
                Ok(Ok(stream)) => stream,
                _ => return Err(refusal("Connection timed out")),
            },
            Agreed::Active(client) => match timeout(CONNECT, self.call(client)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(refusal(&error.to_string())),
                Err(_) => return Err(refusal("Connection timed out")),
            },
        };
        self.secure(stream).await
    }

    /// Makes the handshake. In place of a connection there may be the refusal to answer with.
    async fn secure(&mut self, mut stream: TcpStream) -> Result<Data, Outcome> {
        add(&self.shared.tally.data_connections, 1);
        if self.has(&Action::PlainData) {
            // As vsftpd does where it fails: the client does not answer.
            drop(stream.write_all(b"500 OOPS: something went wrong\r\n").await);
            drop(timeout(PATIENCE, stream.read(&mut [0; 1024])).await);
            return Err(refusal("TLS handshake failed"));
        }
        if let Some(bytes) = self.spoken_instead() {
            add(&self.shared.tally.bytes_received, speak(stream, &bytes).await);
            return Err(refusal("no TLS"));
        }
        let blow = self.actions.iter().find_map(|action| match action {
            Action::DataAtOnce(blow) => Some(blow.clone()),
            _ => None,
        });
        let stream = match blow {
            None => stream,
            Some(Blow::Drip(pause)) => {
                dripping(stream, pause).await.map_err(|error| refusal(&error.to_string()))?
            }
            Some(blow) => {
                // The connection is to be lost; how well that goes does not matter.
                drop(self.strike_tcp(stream, &blow).await);
                return Err(refusal("Operation not permitted"));
            }
        };
        let config = if self.has(&Action::OtherCertificate) { &self.tls.other } else { &self.tls.data };
        let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
        let Ok(Ok(mut stream)) = timeout(PATIENCE, accepting).await else {
            return Err(refusal("TLS handshake failed"));
        };
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed {
            add(&self.shared.tally.resumed_data_handshakes, 1);
        }
        match self.shared.dialect.reuse {
            Reuse::Required if !resumed => Err(refusal(match self.shared.dialect.manner {
                Manner::FileZilla => "TLS session of data connection not resumed.",
                Manner::ProFtpd | Manner::Vsftpd | Manner::PureFtpd | Manner::Iis => {
                    "Operation not permitted"
                }
            })),
            Reuse::RequiredOrClose if !resumed => {
                // The client learns the reason from the reply, whether or not it reads this.
                drop(stream.shutdown().await);
                Err(Outcome::Close(Reply::new(522, "SSL connection failed: session reuse required")))
            }
            Reuse::Optional | Reuse::Required | Reuse::RequiredOrClose => {
                let goodbye = if self.has(&Action::WithholdCloseNotify) {
                    Goodbye::FinOnly
                } else {
                    Goodbye::CloseNotify
                };
                Ok(Data { stream, goodbye })
            }
        }
    }

    fn spoken_instead(&self) -> Option<Vec<u8>> {
        self.actions.iter().find_map(|action| match action {
            Action::SpeakInstead(bytes) => Some(bytes.clone()),
            _ => None,
        })
    }

    /// Does to a data connection what a fault says.
    pub(crate) async fn strike(&mut self, mut data: Data, blow: &Blow) -> io::Result<()> {
        timeout(PATIENCE, data.stream.flush()).await??;
        self.strike_tcp(data.stream.into_inner().0, blow).await
    }

    async fn strike_tcp(&mut self, mut stream: TcpStream, blow: &Blow) -> io::Result<()> {
        match blow {
            Blow::Cut(Cut::Reset) => stream.set_zero_linger(),
            Blow::Cut(Cut::Fin) => stream.shutdown().await,
            Blow::Cut(Cut::Silence) => {
                sleep(PATIENCE).await;
                Ok(())
            }
            // As long as the client stays, so does its connection.
            Blow::Stall | Blow::Drip(_) => self.control.ignore().await,
            Blow::Plain(bytes) => {
                stream.write_all(bytes).await?;
                stream.shutdown().await
            }
        }
    }

    async fn accept_peer(&self, listener: &TcpListener) -> io::Result<TcpStream> {
        loop {
            let (stream, peer) = listener.accept().await?;
            if peer.ip() == self.control.peer().ip() {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            add(&self.shared.tally.strangers, 1);
        }
    }
}

impl Data {
    /// Reads some bytes; none means that the peer has ended, in the way told.
    pub(crate) async fn read(&mut self, chunk: &mut [u8]) -> Result<usize, End> {
        match timeout(PATIENCE, self.stream.read(chunk)).await {
            Ok(Ok(0)) => Err(End::CloseNotify),
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Fin),
            Ok(Err(error)) => Err(End::Broken(error.to_string())),
            Err(_) => Err(End::Broken("silence".to_owned())),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Ends this side in the way agreed.
    pub(crate) async fn finish(mut self) -> io::Result<()> {
        timeout(PATIENCE, self.stream.flush()).await??;
        match self.goodbye {
            Goodbye::CloseNotify => timeout(PATIENCE, self.stream.shutdown()).await?,
            Goodbye::FinOnly => self.stream.get_mut().0.shutdown().await,
        }
    }
}

/// Answers the client's first message with this, and tells how many bytes came after it that were
/// no alert of TLS (RFC 8446, section 5.1).
async fn speak(mut stream: TcpStream, bytes: &[u8]) -> u64 {
    const ALERT: u8 = 0x15;
    let mut came = 0;
    let talk = async {
        let mut chunk = [0; 4096];
        if stream.read(&mut chunk).await? == 0 {
            return Ok::<(), io::Error>(());
        }
        stream.write_all(bytes).await?;
        loop {
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                _ if chunk.first() == Some(&ALERT) => {}
                count => came += count as u64,
            }
        }
    };
    // The client may hang up in whatever way, and does not wait for this side to be done.
    drop(timeout(PATIENCE, talk).await);
    came
}

fn refusal(reason: &str) -> Outcome {
    Outcome::reply(425, format!("Unable to build data connection: {reason}"))
}
