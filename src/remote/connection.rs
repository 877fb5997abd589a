//! A session under a server's limit, in Nightferry's terms.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::lessons::{Lessons, Overlap};
use super::limit::Permit;
use super::profile::Ability;
use super::request::{Answer, Request, answer, argument, commands, is_plausible};
use super::throttle::Throttle;
use super::transfer::{Download, Upload};
use crate::domain::{Digest, RemotePath, SessionFacts};
use crate::ftps::{
    self, Argument, Closing, Command, DataFacts, EntryKind, EntrySink, Features, FtpsError, Listed,
    ReplyKind, Session,
};

/// Most names that [`Connection::names`] holds: with names of 100 bytes, 12 MiB.
pub const MAX_NAMES: usize = 100_000;

/// What goes along with what is asked, for the sake of the next transfer, where the server was not
/// seen to mind.
#[derive(Clone, Copy, Debug)]
pub enum Along<'p> {
    /// Nothing.
    Nothing,
    /// A port for it is asked for.
    Port,
    /// It is begun: a file is stored under this path, at the port that was asked for before. Where
    /// there is none, one is asked for.
    Store(&'p RemotePath),
}

/// A session with a server. It counts against the server's limit for as long as it lives.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    facts: SessionFacts,
    lessons: Lessons,
    pipelining: Ability,
    overlap: Ability,
    permit: Permit,
    ways: Ways,
}

/// How fast files may cross, in each direction.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    pub(super) up: Arc<Throttle>,
    pub(super) down: Arc<Throttle>,
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
    pub(super) fn new(
        session: Session,
        facts: SessionFacts,
        lessons: Lessons,
        pipelining: Ability,
        overlap: Ability,
        permit: Permit,
        ways: Ways,
    ) -> Self {
        Self { session, facts, lessons, pipelining, overlap, permit, ways }
    }

    /// With whom and how it speaks.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// Whether the server can tell the SHA-256 of a file.
    pub fn has_hash(&self) -> bool {
        self.session.features().hash() != ftps::HashSupport::None
    }

    /// The leave to have it, under its server's limit.
    pub fn permit(&self) -> &Permit {
        &self.permit
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

    /// Asks several things in one write, or one after another where the server was seen not to
    /// take that, and gives the answers in the same order. `size` is the
    /// size of the largest file that the server may have to hash. An error means that the
    /// session is lost, but for a refusal, which is that of an upload whose end was not waited for. Not
    /// cancel safe.
    pub async fn perform(&mut self, requests: &[Request], size: u64) -> Result<Vec<Answer>, FtpsError> {
        self.perform_along(requests, size, Along::Nothing).await
    }

    /// The same, with what helps the next transfer in the same write. Not cancel safe.
    pub async fn perform_along(
        &mut self,
        requests: &[Request],
        size: u64,
        along: Along<'_>,
    ) -> Result<Vec<Answer>, FtpsError> {
        let along = if self.overlaps() { along } else { Along::Nothing };
        let ends = self.session.is_owed();
        let asked = self.ask(requests, size, along).await;
        match (&asked, along) {
            (Err(error), Along::Store(_)) => self.lessons.note_lost_overlap(Overlap::Begin, error),
            (Err(error), Along::Port) => self.lessons.note_lost_overlap(Overlap::End, error),
            (Err(error), Along::Nothing) if ends => self.lessons.note_lost_overlap(Overlap::End, error),
            (Ok(_), _) if ends => self.lessons.note_overlap(Overlap::End),
            _ => {}
        }
        asked
    }

    async fn ask(
        &mut self,
        requests: &[Request],
        size: u64,
        along: Along<'_>,
    ) -> Result<Vec<Answer>, FtpsError> {
        let (features, home) = (self.session.features(), self.session.home());
        let hash = features.hash();
        let charset = self.session.charset();
        let commands: Vec<Vec<Command>> = requests
            .iter()
            .map(|request| commands(request, features, home, charset))
            .collect::<Result<_, _>>()?;
        let choice = if requests.iter().any(|request| matches!(request, Request::Hash(_))) {
            self.session.hash_choice()
        } else {
            None
        };
        let first = usize::from(choice.is_some());
        let batch: Vec<Command> = choice.into_iter().chain(commands.iter().flatten().cloned()).collect();
        let limit = self.session.deadlines().for_hashing(size);
        let mut replies = Vec::with_capacity(batch.len());
        match self.pipelining {
            Ability::Unknown | Ability::Yes => {
                let path = match along {
                    Along::Store(path) => Some(self.argument(path)?),
                    Along::Port | Along::Nothing => None,
                };
                let along = match (along, &path) {
                    (Along::Store(_), Some(path)) => ftps::Along::Store(path),
                    (Along::Port, _) => ftps::Along::Port,
                    (Along::Store(_) | Along::Nothing, _) => ftps::Along::Nothing,
                };
                replies = self.session.exchange_along(&batch, along, limit).await?;
            }
            Ability::No => {
                for command in batch.chunks(1) {
                    replies.extend(self.session.exchange_within(command, limit).await?);
                }
            }
        }
        replies.drain(..first.min(replies.len()));
        let mut replies = replies.into_iter();
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

    /// How long a reply to a command may take.
    pub fn reply_limit(&self) -> Duration {
        self.session.deadlines().reply
    }

    /// Whether the next transfer is begun before the last one is known to be over, as far as the
    /// server was not seen to mind: only where we open data connections.
    pub fn overlaps(&self) -> bool {
        self.pipelining != Ability::No
            && self.overlap != Ability::No
            && self.session.is_passive()
            && self.lessons.may_overlap()
    }

    /// Whether the reply that ends a transfer is waited for, as far as the server was not seen to mind.
    pub fn closing(&self) -> Closing {
        if self.overlaps() { Closing::Owed } else { Closing::Awaited }
    }

    /// Whether the next transfer has a port already.
    pub fn has_port(&self) -> bool {
        self.session.has_port()
    }

    /// Whether an upload was begun along with what was asked last: nothing else can be asked before it
    /// is over.
    pub fn is_storing(&self) -> bool {
        self.session.is_storing()
    }

    /// Asks in one write from now on, whatever was learned: to learn it.
    pub fn pipeline(&mut self) {
        self.pipelining = Ability::Unknown;
    }

    /// Begins to store a file, or goes on with one that was begun. Not cancel safe.
    pub async fn upload(&mut self, path: &RemotePath) -> Result<Upload<'_>, FtpsError> {
        let path = self.argument(path)?;
        let begun = self.session.is_storing();
        let upload = self.session.upload(path).await;
        match &upload {
            Ok(_) if begun => self.lessons.note_overlap(Overlap::Begin),
            Err(error) if begun => self.lessons.note_lost_overlap(Overlap::Begin, error),
            Ok(_) | Err(_) => {}
        }
        let upload = upload.inspect_err(|error| self.lessons.note_failure(error))?;
        self.lessons.note(upload.session());
        Ok(Upload::new(upload, &self.ways.up))
    }

    /// The address that the server names for data connections when it is asked by `PASV`. `None`
    /// where it names none. Not cancel safe.
    pub async fn named_address(&mut self) -> Result<Option<Ipv4Addr>, FtpsError> {
        self.session.named_address().await
    }

    /// Sends nothing until the server ends the session, and says how it did. `None` where it has
    /// not within `limit`.
    pub async fn keep_silent(&mut self, limit: Duration) -> Option<FtpsError> {
        self.session.keep_silent(limit).await
    }

    /// Begins to store the bytes of a file from `offset` on, behind those that stand there. Where
    /// that is refused once the server has taken the offset, the session is lost. Not cancel safe.
    pub async fn upload_from(&mut self, path: &RemotePath, offset: u64) -> Result<Upload<'_>, FtpsError> {
        let path = self.argument(path)?;
        let upload = self.session.upload_from(path, offset).await;
        let upload = upload.inspect_err(|error| self.lessons.note_failure(error))?;
        self.lessons.note(upload.session());
        Ok(Upload::new(upload, &self.ways.up))
    }

    /// Begins to fetch a file. Not cancel safe.
    pub async fn download(&mut self, path: &RemotePath) -> Result<Download<'_>, FtpsError> {
        let path = self.argument(path)?;
        let download = self.session.begin_download(path).await;
        let download = download.inspect_err(|error| self.lessons.note_failure(error))?;
        self.lessons.note(download.session());
        Ok(Download::new(download, &self.ways.down))
    }

    /// Reads a file back that should have `size` bytes. One that has more is not read to its
    /// end, which there may not be: then the session is lost, and what comes back is more than
    /// `size` and less than the file. Not cancel safe.
    pub async fn read_back(
        &mut self,
        path: &RemotePath,
        size: u64,
        closing: Closing,
    ) -> Result<Incoming, FtpsError> {
        let download = self.download(path).await?;
        let read = Box::pin(download.digest(size, closing)).await;
        self.noted(read)
    }

    /// Hands the entries of a folder to `sink` as they come, hidden ones among them where the
    /// server shows any, however many there are. After an error, what came is not the whole. Not
    /// cancel safe.
    pub async fn entries(&mut self, folder: &RemotePath, sink: EntrySink<'_>) -> Result<Listed, FtpsError> {
        let folder = self.argument(folder)?;
        let listed = self.session.list(&folder, sink).await;
        self.noted(listed)
    }

    /// The names of a folder's files, hidden ones among them: [`MAX_NAMES`] at most, where more are
    /// an error. Not cancel safe.
    pub async fn names(&mut self, folder: &RemotePath) -> Result<Vec<String>, FtpsError> {
        let (mut names, mut more) = (Vec::new(), 0_usize);
        self.entries(folder, &mut |entry| match entry.kind {
            EntryKind::File | EntryKind::Unknown if names.len() < MAX_NAMES => names.push(entry.name),
            EntryKind::File | EntryKind::Unknown => more += 1,
            EntryKind::Folder | EntryKind::Link | EntryKind::Other => {}
        })
        .await?;
        let limit = u64::try_from(MAX_NAMES).unwrap_or(u64::MAX);
        if more == 0 { Ok(names) } else { Err(FtpsError::TooLong { what: "files", limit }) }
    }

    /// What came of a data connection, once it is noted.
    fn noted<T>(&self, outcome: Result<T, FtpsError>) -> Result<T, FtpsError> {
        match &outcome {
            Ok(_) => self.lessons.note(&self.session),
            Err(error) => self.lessons.note_failure(error),
        }
        outcome
    }

    /// A path as part of a command, in the server's encoding.
    fn argument(&self, path: &RemotePath) -> Result<Argument, FtpsError> {
        argument(path.as_str(), self.session.charset())
    }

    /// Says goodbye.
    pub async fn quit(self) {
        self.session.quit().await;
    }
}
