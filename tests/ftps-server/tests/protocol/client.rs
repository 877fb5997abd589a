//! A client that sends exactly what a test tells it, and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ftps_server::Server;
use rustls::client::ClientConnection;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, StreamOwned};

/// No answer may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A data connection.
pub(crate) type Data = StreamOwned<ClientConnection, TcpStream>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<Data>),
    Lost,
}

/// A control connection, with the sessions that its data connections may resume.
pub(crate) struct Client {
    stream: Stream,
    config: Arc<ClientConfig>,
    address: SocketAddr,
    input: Vec<u8>,
}

impl Client {
    /// Connects and reads nothing.
    pub(crate) fn connect(server: &Server) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(server.pki().ca_der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Stream::Plain(stream),
            config: Arc::new(config),
            address: server.addr(),
            input: Vec::new(),
        }
    }

    /// Connects and goes as far as `PROT P` and `TYPE I`.
    pub(crate) fn login(server: &Server) -> Self {
        let mut client = Self::connect(server);
        assert!(client.reply().starts_with("220"));
        client.auth();
        client.enter();
        client
    }

    /// `AUTH TLS` and the handshake.
    pub(crate) fn auth(&mut self) {
        assert!(self.command("AUTH TLS").starts_with("234"));
        self.encrypt();
    }

    /// From `USER` to `TYPE I`.
    pub(crate) fn enter(&mut self) {
        let dialogue = [
            ("USER user", "331"),
            ("PASS password", "230"),
            ("PBSZ 0", "200"),
            ("PROT P", "200"),
            ("TYPE I", "200"),
        ];
        for (command, code) in dialogue {
            let reply = self.command(command);
            assert!(reply.starts_with(code), "{command}: {reply}");
        }
    }

    /// The TLS handshake.
    pub(crate) fn encrypt(&mut self) {
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Lost) else { panic!() };
        self.stream = Stream::Tls(Box::new(self.handshake(plain).unwrap()));
    }

    /// Takes the sessions of another control connection for the data connections to come.
    pub(crate) fn steal_sessions(&mut self, other: &Self) {
        self.config = Arc::clone(&other.config);
    }

    fn handshake(&self, mut stream: TcpStream) -> io::Result<Data> {
        let name = "localhost".try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).unwrap(),
            Stream::Tls(stream) => {
                stream.write_all(bytes).unwrap();
                stream.flush().unwrap();
            }
            Stream::Lost => panic!("no connection"),
        }
    }

    /// Sends a line and reads the reply to it.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// The next reply, all its lines, or what was left when the connection ended.
    pub(crate) fn reply(&mut self) -> String {
        let mut text = String::new();
        while let Ok(line) = self.line() {
            text.push_str(&line);
            let is_last = line.get(3..4) == Some(" ") && line.get(..3) == text.get(..3);
            if is_last {
                break;
            }
        }
        text.trim_end().to_owned()
    }

    /// The next line, with its end.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line = self.input.drain(..=end).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            let received = self.receive()?;
            if received.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.input.extend(received);
        }
    }

    /// What has come, without any regard to lines.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; 4096];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut chunk)?,
            Stream::Tls(stream) => stream.read(&mut chunk)?,
            Stream::Lost => 0,
        };
        chunk.truncate(read);
        Ok(chunk)
    }

    /// What came after the last line, before anything else is read.
    pub(crate) fn left_over(&self) -> &[u8] {
        &self.input
    }

    /// Waits less long for replies from now on.
    pub(crate) fn patience(&mut self, time: Duration) {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Lost => panic!("no connection"),
        };
        stream.set_read_timeout(Some(time)).unwrap();
    }

    /// The certificate of the control connection.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        match &self.stream {
            Stream::Tls(stream) => certificate(stream),
            Stream::Plain(_) | Stream::Lost => panic!("not encrypted"),
        }
    }

    /// `EPSV`, and the port in its reply.
    pub(crate) fn epsv(&mut self) -> u16 {
        let reply = self.command("EPSV");
        assert!(reply.starts_with("229"), "{reply}");
        reply.split('|').nth(3).unwrap().parse().unwrap()
    }

    /// `EPSV`, a transfer command, its 150, and the data connection's handshake.
    pub(crate) fn open(&mut self, command: &str) -> io::Result<Data> {
        let port = self.epsv();
        self.send(format!("{command}\r\n").as_bytes());
        let stream = TcpStream::connect((self.address.ip(), port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let reply = self.reply();
        assert!(reply.starts_with("150"), "{reply}");
        self.handshake(stream)
    }

    /// Uploads, and returns the final reply; the data connection may fail on the way.
    pub(crate) fn store(&mut self, path: &str, bytes: &[u8]) -> String {
        if let Ok(mut data) = self.open(&format!("STOR {path}")) {
            let sent = data.write_all(bytes).and_then(|()| data.flush());
            if sent.is_ok() {
                let _ = end(&mut data);
            }
        }
        self.reply()
    }

    /// Downloads, and returns what came, how it ended, and the final reply.
    pub(crate) fn retrieve(&mut self, path: &str) -> (Vec<u8>, io::Result<()>, String) {
        let mut data = self.open(&format!("RETR {path}")).unwrap();
        let mut bytes = Vec::new();
        let ended = data.read_to_end(&mut bytes).map(drop);
        (bytes, ended, self.reply())
    }
}

/// Ends an upload: `close_notify`, FIN, and whatever the server still sends.
pub(crate) fn end(data: &mut Data) -> io::Result<()> {
    data.conn.send_close_notify();
    data.flush()?;
    data.sock.shutdown(Shutdown::Write)?;
    data.read_to_end(&mut Vec::new()).map(drop)
}

/// The certificate that a connection was shown.
pub(crate) fn certificate(data: &Data) -> CertificateDer<'static> {
    data.conn.peer_certificates().unwrap().first().unwrap().clone().into_owned()
}
