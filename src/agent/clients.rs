//! How clients are let in: at most so many at once, each in a task of its own, and never in a loop that spins.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

use crate::plain::plain;

/// After a failed accept (no descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_secs(1);

/// What clients connect to.
pub(super) trait Listener {
    /// A client's connection.
    type Stream;

    /// The next client. Cancel safe.
    async fn next(&self) -> io::Result<Self::Stream>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Lets clients of `what` in until it is dropped, and their tasks with it. One more than `most` sees the end of its
/// connection; the log says so once for each time that it became full.
pub(super) async fn serve<L: Listener, C: Future<Output = ()> + Send + 'static>(
    what: &'static str,
    listener: L,
    most: usize,
    client: impl Fn(L::Stream) -> C,
) {
    let mut clients = JoinSet::new();
    let mut crowd = Crowd::Untold;
    loop {
        tokio::select! {
            accepted = listener.next() => match accepted {
                Ok(stream) if clients.len() < most => {
                    crowd = Crowd::Untold;
                    clients.spawn(client(stream));
                }
                Ok(_) if crowd == Crowd::Told => {}
                Ok(_) => {
                    crowd = Crowd::Told;
                    warn!(%what, most, "Too many clients at once; those beyond are sent away.");
                }
                Err(error) => {
                    warn!(%what, error = %plain(&error), "No client can be let in.");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

/// Whether the log says already that clients are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    Untold,
    Told,
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn one_more_than_there_is_room_for_is_sent_away_and_the_next_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let listener = UnixListener::bind(&path).unwrap();
        let echo = |mut stream: UnixStream| async move {
            let mut byte = [0];
            while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {
                stream.write_all(&byte).await.unwrap();
            }
        };
        let mut door = JoinSet::new();
        door.spawn(serve("a test", listener, 2, echo));
        let enter = async || {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let mut byte = [0];
            // One that is sent away meets the end, at the latest when it writes.
            let heard = match stream.write_all(b"x").await {
                Ok(()) => stream.read(&mut byte).await.unwrap_or(0),
                Err(_) => 0,
            };
            (stream, heard)
        };
        let (one, heard) = enter().await;
        assert_eq!(heard, 1);
        let (_two, heard) = enter().await;
        assert_eq!(heard, 1);
        assert_eq!(enter().await.1, 0);
        drop(one);
        // Its end is seen a moment later.
        while enter().await.1 == 0 {
            tokio::task::yield_now().await;
        }
        door.shutdown().await;
    }
}
