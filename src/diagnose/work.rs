//! What jobs do with files, tried with small ones of our own: the order, and what all layers use.

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::remedy::refusal_help;
use crate::domain::{AgentId, Exit, RemotePath};
use crate::ftps::{DataHandshake, FtpsError, HashSupport};
use crate::remote::{Answer, Closing, Refusal, Request};

/// What is stored first, and what replaces it: of different sizes, so that they can be told apart.
pub(super) const FIRST: &[u8] = &[b'n'; 1_000];
pub(super) const SECOND: &[u8] = &[b'f'; 1_500];

impl Doctor<'_> {
    /// Everything from the login to the listing.
    pub(super) async fn work(&mut self) -> Result<(), Halt> {
        self.features()?;
        self.find_folder().await?;
        self.pasv_address().await?;
        let first = self.fresh_name()?;
        self.data_and_upload(&first).await?;
        self.reuse(&first).await?;
        self.server_hash(&first).await?;
        self.read_back(&first).await?;
        self.size(&first).await?;
        self.time(&first).await?;
        let renamed = self.rename(&first).await?;
        if let Some(renamed) = &renamed {
            self.rename_over(&first, renamed).await?;
        }
        let stands = renamed.as_ref().unwrap_or(&first);
        self.listing(stands).await?;
        self.names().await?;
        self.resume().await?;
        self.pipelining(stands).await?;
        self.connections().await;
        Ok(())
    }

    fn features(&mut self) -> Result<(), Halt> {
        let features = match self.connection() {
            Ok(connection) => connection.features().clone(),
            Err(error) => return Err(self.fail(Check::Features, &error)),
        };
        self.features = Some(features.clone());
        let hash = match features.hash() {
            HashSupport::Hash => ("HASH SHA-256", true),
            HashSupport::Xsha256 => ("XSHA256", true),
            HashSupport::None => ("HASH SHA-256 or XSHA256", false),
        };
        let listed = |names: &[&str]| names.iter().any(|name| features.has(name));
        let rows = [
            hash,
            ("MFMT", listed(&["MFMT"])),
            ("MDTM", listed(&["MDTM"])),
            ("MLSD", listed(&["MLST", "MLSD"])),
            ("UTF8", listed(&["UTF8"])),
            ("SIZE", listed(&["SIZE"])),
        ];
        let names = |wanted| {
            let names: Vec<_> =
                rows.iter().filter(|(_, there)| *there == wanted).map(|(name, _)| *name).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        self.fine(Check::Features, format!("listed: {}; not listed: {}", names(true), names(false)));
        Ok(())
    }

    /// Asks one thing; an error ends the walk at this check.
    pub(super) async fn ask(&mut self, check: Check, request: Request) -> Result<Answer, Halt> {
        let answers = match self.connection() {
            Ok(connection) => connection.perform(&[request], 0).await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => answers.into_iter().next().ok_or(Halt),
            Err(error) => Err(self.fail(check, &error)),
        }
    }

    pub(super) fn refused(&mut self, check: Check, refusal: &Refusal) {
        let exit = if (400..500).contains(&refusal.code) { Exit::Temporary } else { Exit::Refused };
        let help = refusal_help(check, self.server());
        self.failed(check, exit, format!("the server refused {refusal}"), help);
    }

    /// The folder, or the nearest one above it: a run makes what is missing.
    async fn find_folder(&mut self) -> Result<(), Halt> {
        let wanted = self.place.folder.clone();
        loop {
            let folder = self.folder.clone();
            match self.ask(Check::Folder, Request::Enter(folder.clone())).await? {
                Answer::Absent(refusal) => {
                    let Some(above) = folder.folder() else {
                        self.refused(Check::Folder, &refusal);
                        return Err(Halt);
                    };
                    self.folder = above;
                }
                Answer::Refused(refusal) => {
                    self.refused(Check::Folder, &refusal);
                    return Err(Halt);
                }
                Answer::Done
                | Answer::Unsupported
                | Answer::Size(_)
                | Answer::Modified(_)
                | Answer::Digest(_) => {
                    let text = if folder == wanted {
                        folder.to_string()
                    } else {
                        format!(
                            "{wanted} cannot be entered; most likely it is made by the first run; trying {folder}"
                        )
                    };
                    self.fine(Check::Folder, text);
                    return Ok(());
                }
            }
        }
    }

    /// A temporary name of our own kind, which no agent's files bear.
    pub(super) fn fresh_name(&mut self) -> Result<RemotePath, Halt> {
        let random = self.clock.random();
        // Half of it is as unguessable as all of it.
        let agent = AgentId(u32::try_from(random >> 32).unwrap_or_default());
        let name = format!(".nf-{agent}-{:016x}", self.clock.random());
        let path = self.folder.child(&name);
        path.map_err(|error| {
            self.failed(Check::Upload, Exit::Usage, format!("`{}`: {error}", self.folder), None);
            Halt
        })
    }

    /// Another one beside it; the same where there is none.
    pub(super) fn another_name(&mut self, path: &RemotePath) -> RemotePath {
        let agent = AgentId(u32::try_from(self.clock.random() >> 32).unwrap_or_default());
        let name = format!(".nf-{agent}-{:016x}", self.clock.random());
        self.folder.child(&name).unwrap_or_else(|_| path.clone())
    }

    /// Notes how the data connection was opened.
    pub(super) fn count(&mut self) {
        let facts = self.connection.as_ref().and_then(crate::remote::Connection::last_data);
        self.tally.opened += 1;
        if facts.is_some_and(|facts| facts.handshake == DataHandshake::Resumed) {
            self.tally.resumed += 1;
        }
    }

    /// A session whose next data connection has what the server may want of it.
    pub(super) async fn ready(&mut self) -> Result<(), FtpsError> {
        if self.connection()?.has_tls_session() {
            return Ok(());
        }
        self.reopen(self.max).await
    }

    pub(super) async fn store(&mut self, path: &RemotePath, bytes: &[u8]) -> Result<(), FtpsError> {
        if !self.litter.contains(path) {
            self.litter.push(path.clone());
        }
        let mut upload = self.connection()?.upload(path).await?;
        upload.write(bytes).await?;
        upload.finish(Closing::Awaited).await?;
        self.count();
        Ok(())
    }
}
