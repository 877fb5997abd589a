//! The layer of exchanges: several commands in one write, and uploads that go on where they
//! stopped.

use std::time::Duration;

use tokio::time::timeout;

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::work::{FIRST, SECOND};
use crate::domain::{Digest, RemotePath};
use crate::ftps::FtpsError;
use crate::remote::{Ability, Answer, Closing, Request};

/// How long a batch may take. A server that has lost a part of it never answers, and each command
/// of it was answered by itself before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the upload that goes on begins, in bytes.
const OFFSET: usize = 400;

impl Doctor<'_> {
    /// Asks several things, first one by one and then in one write, as jobs do.
    pub(super) async fn pipelining(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let check = Check::Pipelining;
        let folder = self.folder.clone();
        let requests = [
            Request::Size(path.clone()),
            Request::Enter(folder),
            Request::Modified(path.clone()),
            Request::Size(path.clone()),
        ];
        let mut expected = Vec::with_capacity(requests.len());
        for request in &requests {
            expected.push(self.ask(check, request.clone()).await?);
        }
        let batch = match self.connection() {
            Ok(connection) => {
                connection.pipeline();
                let limit = PATIENCE.min(connection.reply_limit());
                match timeout(limit, connection.perform(&requests, 0)).await {
                    Ok(answers) => answers.map_err(|error| error.to_string()),
                    Err(_) => Err("not all were answered".to_owned()),
                }
            }
            Err(error) => return Err(self.fail(check, &error)),
        };
        let wrong = match batch {
            Ok(answers) if answers == expected => None,
            Ok(_) => Some("the answers came in another order".to_owned()),
            Err(error) => Some(error),
        };
        let Some(wrong) = wrong else {
            self.remote.learn(|profile| profile.pipelining = Ability::Yes);
            self.fine(check, "several commands in one write are answered in order");
            return Ok(());
        };
        self.remote.learn(|profile| profile.pipelining = Ability::No);
        let help = "nothing: jobs ask one thing after another, which takes longer on a slow line";
        self.lacking(check, format!("several commands in one write: {wrong}"), Some(help.to_owned()));
        self.reopen(self.max).await.map_err(|error| self.fail(check, &error))
    }

    /// Stores the beginning of a file, and then the rest behind it.
    pub(super) async fn resume(&mut self) -> Result<(), Halt> {
        let check = Check::Resume;
        let again = "; an interrupted upload begins again";
        if !self.connection().is_ok_and(|connection| connection.features().has("REST")) {
            self.remote.learn(|profile| profile.resume = Ability::No);
            self.lacking(check, format!("not offered{again}"), None);
            return Ok(());
        }
        let path = self.fresh_name()?;
        match self.store_in_two(&path).await {
            Ok(()) => {}
            Err(ref error @ FtpsError::Refused { verb, ref reply }) => {
                self.remote.learn(|profile| profile.resume = Ability::No);
                let help = "ProFTPD allows it with AllowStoreRestart on; it matters for large files only";
                let text = format!("refused ({verb}: {reply}){again}");
                self.lacking(check, text, Some(help.to_owned()));
                return self.renew(check, error).await;
            }
            Err(error) => return self.went_wrong(check, &error).await,
        }
        let whole = [first_part(), second_part()].concat();
        let size = whole.len() as u64;
        let same = match self.ready().await.and_then(|()| self.connection()) {
            Ok(connection) => connection.read_back(&path, size, Closing::Awaited).await,
            Err(error) => Err(error),
        };
        let same = match same {
            Ok(incoming) => incoming.size == size && incoming.digest == Digest::of(&whole),
            // It may be a folder in which nothing is read.
            Err(FtpsError::Refused { .. }) => {
                self.ask(check, Request::Size(path)).await? == Answer::Size(size)
            }
            Err(error) => return self.went_wrong(check, &error).await,
        };
        let ability = if same { Ability::Yes } else { Ability::No };
        self.remote.learn(|profile| profile.resume = ability);
        if same {
            self.fine(check, "an upload can go on where it stopped");
        } else {
            let text = format!("taken, but what is stored then is not the file{again}");
            self.lacking(check, text, None);
        }
        Ok(())
    }

    async fn store_in_two(&mut self, path: &RemotePath) -> Result<(), FtpsError> {
        self.ready().await?;
        self.store(path, first_part()).await?;
        self.ready().await?;
        let mut upload = self.connection()?.upload_from(path, OFFSET as u64).await?;
        upload.write(second_part()).await?;
        upload.finish(Closing::Awaited).await?;
        self.count();
        Ok(())
    }

    /// Tells of an error in something that jobs can do without, and goes on with a new session.
    pub(super) async fn went_wrong(&mut self, check: Check, error: &FtpsError) -> Result<(), Halt> {
        self.lacking(check, error.to_string(), None);
        self.renew(check, error).await
    }

    /// A new session, where the old one cannot be used any more.
    pub(super) async fn renew(&mut self, check: Check, error: &FtpsError) -> Result<(), Halt> {
        if self.connection().is_ok() {
            return Ok(());
        }
        match self.reopen(self.max).await {
            Ok(()) => Ok(()),
            Err(_) if self.is_told(check) => Err(Halt),
            Err(_) => Err(self.fail(check, error)),
        }
    }
}

fn first_part() -> &'static [u8] {
    FIRST.get(..OFFSET).unwrap_or(FIRST)
}

fn second_part() -> &'static [u8] {
    SECOND.get(OFFSET..).unwrap_or(SECOND)
}
