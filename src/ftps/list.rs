//! Listing a folder: which command to use is found out once a session.

use tokio::time::timeout;

use super::command::{Argument, Command};
use super::error::{FtpsError, Step};
use super::limits::{MAX_LISTING_BYTES, MAX_LISTING_TIME};
use super::listing::{Entry, Form, Listed, ListingReader};
use super::reply::{Reply, ReplyKind};
use super::session::{Closing, Session};

/// Whoever takes the entries of a listing, one by one.
pub type EntrySink<'s> = &'s mut (dyn FnMut(Entry) + Send);

/// How folders are listed in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lister {
    /// `MLSD`, for servers that list `MLST` among their features.
    Facts,
    /// `LIST -a` or `LIST`.
    Long(Hidden),
    /// `NLST -a` or `NLST`, where lines for people are not understood.
    Names(Hidden),
}

/// Whether hidden names are asked for. vsftpd 3.0.3 and `ProFTPD` 1.3.8 hide dot files unless they
/// are; IIS takes the option for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    Asked,
    NotAsked,
}

/// What came of one command.
enum Attempt {
    Listed(Listed),
    /// Refused for good: another command may do.
    Refused {
        verb: &'static str,
        reply: Reply,
    },
}

impl Lister {
    /// What to use where this was refused for good.
    fn after_refusal(self) -> Option<Self> {
        match self {
            Self::Facts => Some(Self::Long(Hidden::Asked)),
            Self::Long(Hidden::Asked) => Some(Self::Long(Hidden::NotAsked)),
            Self::Long(Hidden::NotAsked) => Some(Self::Names(Hidden::Asked)),
            Self::Names(Hidden::Asked) => Some(Self::Names(Hidden::NotAsked)),
            Self::Names(Hidden::NotAsked) => None,
        }
    }

    /// What to use where not one line was understood.
    fn after_foreign_lines(self) -> Option<Self> {
        match self {
            Self::Long(hidden) => Some(Self::Names(hidden)),
            Self::Facts | Self::Names(_) => None,
        }
    }

    /// The same without hidden names, where they were asked for.
    fn plain(self) -> Option<Self> {
        match self {
            Self::Long(Hidden::Asked) => Some(Self::Long(Hidden::NotAsked)),
            Self::Names(Hidden::Asked) => Some(Self::Names(Hidden::NotAsked)),
            Self::Facts | Self::Long(Hidden::NotAsked) | Self::Names(Hidden::NotAsked) => None,
        }
    }
}

impl Session {
    /// Hands the entries of a folder to `sink` as they come, hidden ones among them where the
    /// server shows any: by `MLSD`, else by `LIST`, else by `NLST`. Nothing but one line is held.
    /// More than [`MAX_LISTING_BYTES`], entries or time, or an end without `close_notify`, is an
    /// error, after which the session is lost and what came must not be taken for the whole. Not
    /// cancel safe.
    pub async fn list(&mut self, folder: &Argument, sink: EntrySink<'_>) -> Result<Listed, FtpsError> {
        let limit = MAX_LISTING_TIME;
        let Ok(listed) = timeout(limit, self.list_within(folder, sink)).await else {
            self.abandon();
            return Err(FtpsError::Timeout { step: Step::Transfer, limit });
        };
        listed
    }

    async fn list_within(&mut self, folder: &Argument, sink: EntrySink<'_>) -> Result<Listed, FtpsError> {
        let mut refused = None;
        if self.lister() == Lister::Facts {
            let command = Command::Mlsd(folder.clone());
            match self.attempt(command, Form::Facts, sink).await? {
                Attempt::Listed(listed) => return Ok(listed),
                // Listed, and yet unknown.
                Attempt::Refused { verb, reply } if matches!(reply.code(), 500 | 502 | 504) => {
                    self.set_lister(Lister::Long(Hidden::Asked));
                    refused = Some(FtpsError::Refused { verb, reply });
                }
                Attempt::Refused { verb, reply } => return Err(FtpsError::Refused { verb, reply }),
            }
        }
        let Some(home) = self.home().cloned() else {
            // There would be no way back.
            return self.list_by_name(Some(named(folder, self.charset())?), refused, sink).await;
        };
        // Options, blanks and patterns in a name are no trouble to CWD, and a folder that is not
        // there is told from an empty one: vsftpd 3.0.3 lists both alike.
        self.ask_done(Command::Cwd(folder.clone())).await?;
        let listed = self.list_by_name(None, refused, sink).await;
        if self.is_usable() {
            let (verb, reply) = ("CWD", self.ask(Command::Cwd(home)).await?);
            if reply.kind() != ReplyKind::Done {
                self.abandon();
                return Err(FtpsError::Unexpected { verb, reply });
            }
        }
        listed
    }

    /// By `LIST` or `NLST`: of `folder`, or of the one that was entered; after what was `refused` already.
    async fn list_by_name(
        &mut self,
        folder: Option<Argument>,
        mut refused: Option<FtpsError>,
        sink: EntrySink<'_>,
    ) -> Result<Listed, FtpsError> {
        loop {
            let lister = self.lister();
            let attempt = match (self.attempt_by(lister, folder.clone(), sink).await, refused.take()) {
                // Refused commands have used up the session's TLS tickets: the last refusal says more.
                (Err(FtpsError::SessionsUsedUp { .. }), Some(refusal)) => return Err(refusal),
                (attempt, _) => attempt?,
            };
            let (verb, reply) = match attempt {
                Attempt::Listed(found) if found.is_foreign() => match lister.after_foreign_lines() {
                    Some(next) => {
                        self.set_lister(next);
                        continue;
                    }
                    None => return Ok(found),
                },
                Attempt::Listed(found) if found.is_empty() => {
                    return self.look_again(lister, folder, sink).await;
                }
                Attempt::Listed(found) => return Ok(found),
                Attempt::Refused { verb, reply } => (verb, reply),
            };
            let refusal = FtpsError::Refused { verb, reply };
            match lister.after_refusal() {
                Some(next) => self.set_lister(next),
                None => return Err(refusal),
            }
            refused = Some(refusal);
        }
    }

    /// Not even the folder itself was shown: it is empty, or the option was taken for a name.
    async fn look_again(
        &mut self,
        lister: Lister,
        folder: Option<Argument>,
        sink: EntrySink<'_>,
    ) -> Result<Listed, FtpsError> {
        let Some(plain) = lister.plain() else { return Ok(Listed::default()) };
        match self.attempt_by(plain, folder, sink).await? {
            Attempt::Listed(found) => {
                if !found.is_empty() {
                    self.set_lister(plain);
                }
                Ok(found)
            }
            Attempt::Refused { .. } => Ok(Listed::default()),
        }
    }

    async fn attempt_by(
        &mut self,
        lister: Lister,
        folder: Option<Argument>,
        sink: EntrySink<'_>,
    ) -> Result<Attempt, FtpsError> {
        let asked = folder.as_ref().map(|folder| folder.as_str().to_owned()).unwrap_or_default();
        let (command, form) = match (lister, folder) {
            (Lister::Facts, Some(folder)) => (Command::Mlsd(folder), Form::Facts),
            (Lister::Long(Hidden::Asked), folder) => (Command::ListAll(folder), Form::Long),
            (Lister::Facts | Lister::Long(Hidden::NotAsked), folder) => (Command::List(folder), Form::Long),
            (Lister::Names(Hidden::Asked), folder) => {
                (Command::NlstAll(folder), Form::Names { folder: asked })
            }
            (Lister::Names(Hidden::NotAsked), folder) => {
                (Command::Nlst(folder), Form::Names { folder: asked })
            }
        };
        self.attempt(command, form, sink).await
    }

    async fn attempt(
        &mut self,
        command: Command,
        form: Form,
        sink: EntrySink<'_>,
    ) -> Result<Attempt, FtpsError> {
        let mut reader = ListingReader::new(form, self.charset());
        match self.fetch(command, MAX_LISTING_BYTES, Closing::Awaited, |piece| reader.feed(piece, sink)).await
        {
            // More than the limit: the session is in the middle of the exchange.
            Ok(bytes) if bytes > MAX_LISTING_BYTES => {
                Err(FtpsError::TooLong { what: "bytes", limit: MAX_LISTING_BYTES })
            }
            Ok(_) => reader.finish(sink).map(Attempt::Listed),
            Err(FtpsError::Refused { verb, reply }) if reply.kind() == ReplyKind::Permanent => {
                Ok(Attempt::Refused { verb, reply })
            }
            Err(error) => Err(error),
        }
    }
}

/// A folder that no server takes for an option.
fn named(folder: &Argument, charset: super::charset::Charset) -> Result<Argument, FtpsError> {
    let text = folder.as_str();
    if !text.starts_with('-') {
        return Ok(folder.clone());
    }
    Argument::encoded(&format!("./{text}"), charset)
        .map_err(|source| FtpsError::Argument { what: "the folder", source })
}
