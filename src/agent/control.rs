//! The control socket: who may speak, for how long and how much.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::clients;
use super::protocol::{MAX_QUESTION_BYTES, Question, Request, Told, VERSION};
use super::supervisor::Asked;
use crate::domain::Exit;
use crate::plain::plain;

/// Most clients at once: a handful of people and a monitor.
const MAX_CLIENTS: usize = 16;
/// How long a question may take: it is written in one go.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// How long a line of the answer may wait for its reader.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Answers that wait for a reader; what happens in runs is left out beyond that.
const ANSWERS_WAITING: usize = 1_024;

/// The socket, open for clients.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    requests: mpsc::Sender<Asked>,
}

impl Control {
    /// Opens the socket. Whoever calls holds the state's lock: a socket that stands there is left
    /// from a process that is gone.
    pub(super) fn bind(path: &Path, requests: mpsc::Sender<Asked>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        // Whoever came in between is asked who they are, as everybody is.
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, requests })
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self) {
        let Self { listener, requests } = self;
        clients::serve("the control socket", listener, MAX_CLIENTS, |stream| {
            client(stream, requests.clone())
        })
        .await;
    }
}

async fn client(mut stream: UnixStream, requests: mpsc::Sender<Asked>) {
    if let Err(error) = converse(&mut stream, &requests).await {
        debug!(error = %plain(&error), "A client of the control socket went away.");
    }
}

async fn converse(stream: &mut UnixStream, requests: &mpsc::Sender<Asked>) -> io::Result<()> {
    // SO_PEERCRED: the socket's mode alone does not count, since a folder's owner may change it.
    let (peer, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
    if peer != own.as_raw() && peer != 0 {
        warn!(peer, "Another user's request was refused.");
        let text = "the agent answers only to the user as whom it runs, and to root";
        return write(stream, &Told::refused(Exit::Other, text, None)).await;
    }
    let Question { version, request } = match read(stream).await? {
        Ok(question) => question,
        Err(told) => return write(stream, &told).await,
    };
    if version != VERSION {
        let text =
            format!("the agent that runs speaks version {VERSION} on its control socket, not {version}");
        let remedy = Some("restart the agent after an update".to_owned());
        return write(stream, &Told::refused(Exit::Other, text, remedy)).await;
    }
    let stopped = || Told::refused(Exit::Interrupted, "the agent is stopping", None);
    match request {
        Request::Status => {
            let (to, told) = oneshot::channel();
            let asked = requests.send(Asked::Status(to)).await.is_ok();
            let told = if asked { told.await.ok().map(Told::Status) } else { None };
            write(stream, &told.unwrap_or_else(stopped)).await
        }
        Request::Sync { jobs, approved } => {
            let (events, mut told) = mpsc::channel(ANSWERS_WAITING.max(jobs.len().saturating_mul(2)));
            if requests.send(Asked::Sync { jobs, approved, events }).await.is_err() {
                return write(stream, &stopped()).await;
            }
            while let Some(told) = told.recv().await {
                write(stream, &told).await?;
            }
            Ok(())
        }
    }
}

/// A question, or what is wrong with it.
async fn read(stream: &mut UnixStream) -> io::Result<Result<Question, Told>> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream.take(MAX_QUESTION_BYTES));
    timeout(QUESTION_TIME, limited.read_until(b'\n', &mut line)).await??;
    let bad = |text: String| Told::refused(Exit::Usage, text, None);
    if line.last() != Some(&b'\n') {
        return Ok(Err(bad(format!("a question is one line of at most {MAX_QUESTION_BYTES} bytes"))));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| bad(format!("not a question: {error}"))))
}

async fn write(stream: &mut UnixStream, told: &Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    timeout(ANSWER_TIME, stream.write_all(&line)).await?
}
