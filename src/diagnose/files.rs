//! The layer of files as a whole: their time, their renaming, and how listings show them.

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::remedy::refusal_help;
use super::work::SECOND;
use crate::domain::{Exit, RemotePath};
use crate::ftps::FtpsError;
use crate::remote::{Ability, Answer, Request};

/// A time that no file gets by itself: 2001-02-03 04:05:06 UTC.
const TIME: &str = "20010203040506";

impl Doctor<'_> {
    pub(super) async fn time(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let keeps = "; files carry the time of their upload";
        match self.ask(Check::Time, Request::SetTime(path.clone(), TIME.to_owned())).await? {
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.lacking(Check::Time, format!("refused ({refusal}){keeps}"), None);
                return Ok(());
            }
            Answer::Unsupported => {
                self.lacking(Check::Time, format!("not offered{keeps}"), None);
                return Ok(());
            }
            Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Digest(_) => {}
        }
        match self.ask(Check::Time, Request::Modified(path.clone())).await? {
            Answer::Modified(time) if time.starts_with(TIME) => self.fine(Check::Time, "set and told back"),
            Answer::Modified(time) => {
                let text = format!("{TIME} was set and {time} is told: the server shifts or drops times");
                self.lacking(Check::Time, text, None);
            }
            _ => self.fine(Check::Time, "set; the server does not tell it back"),
        }
        Ok(())
    }

    async fn rename_to(&mut self, check: Check, from: &RemotePath, to: &RemotePath) -> Result<bool, Halt> {
        if !self.litter.contains(to) {
            self.litter.push(to.clone());
        }
        for request in [Request::RenameFrom(from.clone()), Request::RenameTo(to.clone())] {
            match self.ask(check, request).await? {
                Answer::Absent(refusal) | Answer::Refused(refusal) => {
                    self.refused(check, &refusal);
                    return Ok(false);
                }
                Answer::Unsupported => {
                    let help = refusal_help(check, self.server());
                    self.failed(check, Exit::Refused, "the server cannot rename".to_owned(), help);
                    return Ok(false);
                }
                Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Digest(_) => {}
            }
        }
        Ok(true)
    }

    /// Renames the file, and gives its new name.
    pub(super) async fn rename(&mut self, from: &RemotePath) -> Result<Option<RemotePath>, Halt> {
        let to = self.fresh_name()?;
        if !self.rename_to(Check::Rename, from, &to).await? {
            return Ok(None);
        }
        if let Answer::Absent(refusal) = self.ask(Check::Rename, Request::Stands(to.clone())).await? {
            let text = format!("the server said that it renamed, and nothing stands there ({refusal})");
            self.failed(Check::Rename, Exit::Verification, text, None);
            return Ok(None);
        }
        self.fine(Check::Rename, "done");
        Ok(Some(to))
    }

    /// Whether a rename replaces a file. Jobs get by where it does not.
    pub(super) async fn rename_over(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), Halt> {
        let check = Check::RenameOver;
        let stored = match self.ready().await {
            Ok(()) => self.store(from, SECOND).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            return Err(self.fail(check, &error));
        }
        for request in [Request::RenameFrom(from.clone()), Request::RenameTo(to.clone())] {
            match self.ask(check, request).await? {
                Answer::Absent(refusal) | Answer::Refused(refusal) => {
                    self.remote.learn(|profile| profile.rename_over = Ability::No);
                    let text = format!("refused ({refusal}); an old version makes room for the new one");
                    self.lacking(check, text, refusal_help(check, self.server()));
                    return Ok(());
                }
                Answer::Unsupported => {
                    let text = "the server does not know the rename that it did just now".to_owned();
                    self.failed(check, Exit::Refused, text, refusal_help(check, self.server()));
                    return Ok(());
                }
                Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Digest(_) => {}
            }
        }
        match self.ask(check, Request::Size(to.clone())).await? {
            Answer::Size(size) if size != SECOND.len() as u64 => {
                let text = "the server said that it replaced the file, and the old one stands there";
                self.failed(check, Exit::Verification, text.to_owned(), None);
            }
            _ => {
                self.remote.learn(|profile| profile.rename_over = Ability::Yes);
                self.fine(check, "the new file took the old one's place");
            }
        }
        Ok(())
    }

    pub(super) async fn listing(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let (check, folder) = (Check::Listing, self.folder.clone());
        let names = match self.ready().await.and_then(|()| self.connection()) {
            Ok(connection) => connection.names(&folder).await,
            Err(error) => Err(error),
        };
        let help = "leftovers of cut-off uploads cannot be found there: delete `.nf-*` by hand now and then";
        match names {
            Ok(names) if names.iter().any(|name| name == path.name()) => {
                self.fine(check, "shows hidden names");
            }
            Ok(_) => self.lacking(check, "does not show hidden names", Some(help.to_owned())),
            Err(error @ FtpsError::Refused { .. }) => {
                self.lacking(check, error.to_string(), Some(help.to_owned()));
            }
            Err(error) => return Err(self.fail(check, &error)),
        }
        Ok(())
    }
}
