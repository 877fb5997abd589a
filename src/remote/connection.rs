//! A session under a server's limit, in Nightferry's terms.

use tokio::sync::OwnedSemaphorePermit;

use super::request::{Answer, Request, answer, argument, commands, is_plausible};
use crate::domain::{Digest, Hasher, RemotePath, SessionFacts};
use crate::ftps::{
    Command, DataFacts, Download, Features, FtpsError, Listing, ReplyKind, Session, Upload, mlsd_names,
    nlst_names,
};

/// A session with a server. It counts against the server's limit for as long as it lives.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    facts: SessionFacts,
    _permit: OwnedSemaphorePermit,
}

/// What came back when a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Bytes.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

impl Connection {
    pub(super) fn new(session: Session, facts: SessionFacts, permit: OwnedSemaphorePermit) -> Self {
        Self { session, facts, _permit: permit }
    }

    /// With whom and how it speaks.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// Whether the server can tell the SHA-256 of a file.
    pub fn has_hash(&self) -> bool {
        self.session.features().hash() != crate::ftps::HashSupport::None
    }

    /// What the server says it can do.
    pub fn features(&self) -> &Features {
        self.session.features()
    }

    /// What is known of the data connection that was asked for last.
    pub fn last_data(&self) -> Option<DataFacts> {
        self.session.last_data()
    }

    /// Whether the next data connection has what the server may want of it.
    pub fn has_tls_session(&self) -> bool {
        self.session.has_tls_session()
    }

    /// Whether another exchange is possible.
    pub fn is_usable(&self) -> bool {
        self.session.is_usable()
    }

    /// Asks several things in one write, and gives the answers in the same order. `size` is the
    /// size of the largest file that the server may have to hash. An error means that the
    /// session is lost. Not cancel safe.
    pub async fn perform(&mut self, requests: &[Request], size: u64) -> Result<Vec<Answer>, FtpsError> {
        let (features, home) = (self.session.features(), self.session.home());
        let hash = features.hash();
        let commands: Vec<Vec<Command>> =
            requests.iter().map(|request| commands(request, features, home)).collect::<Result<_, _>>()?;
        let batch: Vec<Command> = commands.iter().flatten().cloned().collect();
        let limit = self.session.deadlines().for_hashing(size);
        let mut replies = self.session.exchange_within(&batch, limit).await?.into_iter();
        let mut answers = Vec::with_capacity(requests.len());
        for (request, commands) in requests.iter().zip(&commands) {
            let mut asked = commands.iter().map(Command::verb).zip(replies.by_ref());
            let Some((verb, reply)) = asked.next() else {
                answers.push(Answer::Unsupported);
                continue;
            };
            let second = asked.next();
            let lost_home = matches!(request, Request::Enter(_))
                && second.is_some_and(|(_, reply)| reply.kind() != ReplyKind::Done);
            if lost_home || !is_plausible(request, &reply) {
                self.session.abandon();
                return Err(FtpsError::Unexpected { verb, reply });
            }
            answers.push(answer(request, verb, &reply, hash));
        }
        Ok(answers)
    }

    /// Begins to store a file. Not cancel safe.
    pub async fn upload(&mut self, path: &RemotePath) -> Result<Upload<'_>, FtpsError> {
        self.session.upload(argument(path.as_str())?).await
    }

    /// Begins to fetch a file. Not cancel safe.
    pub async fn download(&mut self, path: &RemotePath) -> Result<Download<'_>, FtpsError> {
        self.session.begin_download(argument(path.as_str())?).await
    }

    /// Reads a file back that should have `size` bytes. One that has more is not read to its
    /// end, which there may not be: then the session is lost, and what comes back is more than
    /// `size` and less than the file. Not cancel safe.
    pub async fn read_back(&mut self, path: &RemotePath, size: u64) -> Result<Incoming, FtpsError> {
        let mut hasher = Hasher::default();
        let path = argument(path.as_str())?;
        let size = self.session.download(path, size, |bytes| hasher.update(bytes)).await?;
        Ok(Incoming { size, digest: hasher.finish() })
    }

    /// The names of a folder's files, hidden ones among them. Not cancel safe.
    pub async fn names(&mut self, folder: &RemotePath) -> Result<Vec<String>, FtpsError> {
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        Ok(match self.session.list(argument(folder.as_str())?).await? {
            Listing::Mlsd(bytes) => owned(&mut mlsd_names(&bytes)),
            Listing::Nlst(bytes) => owned(&mut nlst_names(&bytes)),
        })
    }

    /// Says goodbye.
    pub async fn quit(self) {
        self.session.quit().await;
    }
}
