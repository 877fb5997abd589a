//! A socket whose bytes come one by one.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A socket in front of `outer`, to which what is written comes byte by byte, with such a pause
/// before each; what is read from it comes as it is. TLS above it knows nothing of this.
pub(crate) async fn dripping(outer: TcpStream, pause: Duration) -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (inner, accepted) =
        tokio::try_join!(TcpStream::connect(listener.local_addr()?), async { listener.accept().await })?;
    let (mut from_server, mut to_server) = accepted.0.into_split();
    let (mut from_client, mut to_client) = outer.into_split();
    inner.set_nodelay(true)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ended = copy(&mut from_client, &mut to_server).await;
        to_server.shutdown().await
    });
    tasks.spawn(async move {
        let mut byte = [0];
        while from_server.read(&mut byte).await? > 0 {
            sleep(pause).await;
            to_client.write_all(&byte).await?;
        }
        to_client.shutdown().await
    });
    // They end with their sockets, at the latest with the server's runtime.
    tasks.detach_all();
    Ok(inner)
}
