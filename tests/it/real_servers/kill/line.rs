//! The line to the server: passes control connections on, slowly if wanted, and can be cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::lab::Server;

/// A port on 127.0.0.1 that stands for the server's. Ends when dropped.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// How long each piece is held, in microseconds.
    latency_micros: AtomicU64,
    /// Whether nobody answers there any more.
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub(super) fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let (serving, target) = (Arc::clone(&shared), (server.host.clone(), server.port));
        thread::spawn(move || {
            for client in listener.incoming() {
                if serving.closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                // Killed clients and a server that is full are part of it.
                drop(TcpStream::connect(&target).and_then(|upstream| serving.join(&client, &upstream)));
            }
        });
        Self { port, shared }
    }

    /// From now on every piece takes so long on its way.
    pub(super) fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap();
        self.shared.latency_micros.store(micros, Ordering::SeqCst);
    }

    /// Resets all connections, as a router that restarts does.
    pub(super) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // With nothing to linger for, the last close sends a reset. It may be gone already.
            drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the one that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: &TcpStream, upstream: &TcpStream) -> io::Result<()> {
        for stream in [client, upstream] {
            stream.set_nodelay(true)?;
            self.open.lock().unwrap().push(stream.try_clone()?);
        }
        self.pass(client.try_clone()?, upstream.try_clone()?);
        self.pass(upstream.try_clone()?, client.try_clone()?);
        Ok(())
    }

    fn pass(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count) = from.read(&mut buffer)
                && count > 0
            {
                let micros = shared.latency_micros.load(Ordering::SeqCst);
                if micros > 0 {
                    thread::sleep(Duration::from_micros(micros));
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            drop(to.shutdown(Shutdown::Write));
        });
    }
}
