//! The other end of the control socket, for commands.

use std::io::{self, BufRead as _, BufReader, Read as _, Take, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{MAX_ANSWER_BYTES, Question, Request, SOCKET, Told, VERSION};

/// How long the agent may take to answer a question that it answers at once.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke.
    #[error("the agent cannot be asked")]
    Io(#[source] io::Error),
    /// What came is no answer.
    #[error("the agent's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// A connection to the agent of a state folder. Blocks.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    answers: BufReader<Take<UnixStream>>,
}

impl Client {
    /// Connects. `None` where no agent listens.
    pub fn connect(state_dir: &Path) -> Result<Option<Self>, ClientError> {
        let stream = match UnixStream::connect(state_dir.join(SOCKET)) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(ClientError::Io(error)),
        };
        stream.set_write_timeout(Some(ANSWER_TIME)).map_err(ClientError::Io)?;
        let answers = stream.try_clone().map_err(ClientError::Io)?;
        Ok(Some(Self { stream, answers: BufReader::new(answers.take(MAX_ANSWER_BYTES)) }))
    }

    /// Asks; the answers are to be taken by [`answer`](Self::answer).
    pub fn ask(&mut self, request: Request) -> Result<(), ClientError> {
        let waits = match request {
            Request::Status => Some(ANSWER_TIME),
            // Runs may take hours.
            Request::Sync { .. } => None,
        };
        self.stream.set_read_timeout(waits).map_err(ClientError::Io)?;
        let mut line =
            serde_json::to_vec(&Question { version: VERSION, request }).map_err(ClientError::Answer)?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(ClientError::Io)
    }

    /// The next answer; none when all is said.
    pub fn answer(&mut self) -> Result<Option<Told>, ClientError> {
        self.answers.get_mut().set_limit(MAX_ANSWER_BYTES);
        let mut line = Vec::new();
        let read = self.answers.read_until(b'\n', &mut line).map_err(ClientError::Io)?;
        if read == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&line).map(Some).map_err(ClientError::Answer)
    }
}
