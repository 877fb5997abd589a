//! What jobs do with files, tried with small ones of our own.

use super::doctor::{Doctor, Halt, Tally};
use super::finding::Check;
use super::remedy::{is_about_data, refusal_help};
use crate::domain::{
    AgentId, Digest, Evidence, Exit, ProofMethod, RemotePath, Sent, TlsVersion, VerifyPolicy, compare,
};
use crate::ftps::{DataFacts, DataHandshake, FtpsError, HashSupport, TlsError};
use crate::remote::{Answer, Refusal, Request};

/// Data connections on one control connection before session reuse counts as lasting: servers
/// whose TLS 1.3 tickets run out do so at the third.
const CONNECTIONS: u32 = 6;

/// What is stored first, and what replaces it: of different sizes, so that they can be told apart.
const FIRST: &[u8] = &[b'n'; 1_000];
const SECOND: &[u8] = &[b'f'; 1_500];

/// A time that no file gets by itself: 2001-02-03 04:05:06 UTC.
const TIME: &str = "20010203040506";

impl Doctor<'_> {
    /// Everything from the login to the listing.
    pub(super) async fn work(&mut self) -> Result<(), Halt> {
        self.features()?;
        self.find_folder().await?;
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
        self.listing(renamed.as_ref().unwrap_or(&first)).await
    }

    fn features(&mut self) -> Result<(), Halt> {
        let features = match self.connection() {
            Ok(connection) => connection.features().clone(),
            Err(error) => return Err(self.fail(Check::Features, &error)),
        };
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
    async fn ask(&mut self, check: Check, request: Request) -> Result<Answer, Halt> {
        let answers = match self.connection() {
            Ok(connection) => connection.perform(&[request], 0).await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => answers.into_iter().next().ok_or(Halt),
            Err(error) => Err(self.fail(check, &error)),
        }
    }

    fn refused(&mut self, check: Check, refusal: &Refusal) {
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
    fn fresh_name(&mut self) -> Result<RemotePath, Halt> {
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

    /// Notes how the data connection was opened.
    fn count(&mut self) {
        let facts = self.connection.as_ref().and_then(crate::remote::Connection::last_data);
        self.tally.opened += 1;
        if facts.is_some_and(|facts| facts.handshake == DataHandshake::Resumed) {
            self.tally.resumed += 1;
        }
    }

    /// A session whose next data connection has what the server may want of it.
    async fn ready(&mut self) -> Result<(), FtpsError> {
        if self.connection()?.has_tls_session() {
            return Ok(());
        }
        self.reopen(self.server().tls_versions.max).await
    }

    async fn store(&mut self, path: &RemotePath, bytes: &[u8]) -> Result<(), FtpsError> {
        if !self.litter.contains(path) {
            self.litter.push(path.clone());
        }
        let mut upload = self.connection()?.upload(path).await?;
        upload.write(bytes).await?;
        upload.finish().await?;
        self.count();
        Ok(())
    }

    /// A listing opens the first data connection; where none is allowed, the upload does.
    async fn data_and_upload(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let folder = self.folder.clone();
        let listed = match self.connection() {
            Ok(connection) => connection.names(&folder).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(_) => {
                self.count();
                self.data_works();
            }
            Err(error @ FtpsError::Refused { .. }) if !is_about_data(&error) => {}
            // A listing that is longer than we take came over a data connection that works.
            Err(FtpsError::TooLong { .. }) => {
                self.data_works();
                let renewed = self.reopen(self.server().tls_versions.max).await;
                renewed.map_err(|error| self.fail(Check::Upload, &error))?;
            }
            Err(error) => return Err(self.fail(Check::Data, &error)),
        }
        if let Err(error) = self.store(path, FIRST).await {
            let data = is_about_data(&error) && !self.is_told(Check::Data);
            return Err(self.fail(if data { Check::Data } else { Check::Upload }, &error));
        }
        if !self.is_told(Check::Data) {
            self.data_works();
        }
        self.fine(Check::Upload, format!("{} bytes under {}", FIRST.len(), path.name()));
        Ok(())
    }

    fn data_works(&mut self) {
        let facts = self.connection.as_ref().and_then(crate::remote::Connection::last_data);
        self.fine(Check::Data, facts.map_or_else(|| "opened".to_owned(), |facts| data_text(&facts)));
    }

    /// Stores again and again, until there were enough data connections or no more can be had.
    async fn fill(&mut self, path: &RemotePath) -> Result<Tally, FtpsError> {
        while self.tally.opened < CONNECTIONS && self.connection()?.has_tls_session() {
            self.store(path, FIRST).await?;
        }
        Ok(self.tally)
    }

    async fn reuse(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let told = match self.fill(path).await {
            Ok(tally) if tally.opened >= CONNECTIONS => Ok(self.lasting(tally)),
            Ok(tally) => self.reuse_in_tls12(path, tally).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(text) => {
                self.fine(Check::Reuse, text);
                Ok(())
            }
            Err(error) => Err(self.fail(Check::Reuse, &error)),
        }
    }

    fn lasting(&self, Tally { opened, resumed }: Tally) -> String {
        let version = self.connection.as_ref().map_or(TlsVersion::V1_2, |connection| connection.facts().tls);
        if resumed == 0 {
            return format!(
                "none of {opened} data connections resumed a session in {version}, and the server does not \
                 insist; each showed the control connection's certificate"
            );
        }
        format!("{resumed} of {opened} data connections resumed the session, in {version}")
    }

    /// TLS 1.3 ran out of tickets: does TLS 1.2 last?
    async fn reuse_in_tls12(&mut self, path: &RemotePath, used: Tally) -> Result<String, FtpsError> {
        let ran_out = format!("TLS 1.3 ran out of sessions after {} data connections", used.opened);
        let renewed = format!("{ran_out}, so that jobs open new control connections as they go");
        let versions = self.server().tls_versions;
        if versions.min > TlsVersion::V1_2 {
            self.reopen(versions.max).await?;
            return Ok(format!("{renewed}; `tls_version: {{min: 1.2}}` may be faster"));
        }
        match self.reopen(TlsVersion::V1_2).await {
            Ok(()) => {}
            Err(FtpsError::Tls(TlsError::NothingInCommon { .. })) => {
                self.reopen(versions.max).await?;
                return Ok(format!("{renewed}; the server does not speak TLS 1.2"));
            }
            Err(error) => return Err(error),
        }
        let tally = self.fill(path).await?;
        Ok(format!("{ran_out}; {}, which jobs speak with this server", self.lasting(tally)))
    }

    /// Whether the job needs this proof, as far as is known.
    fn needs(&self, method: ProofMethod) -> bool {
        let policy = self.place.verify;
        policy.admits(method) && !(policy == VerifyPolicy::Auto && self.hash_proved)
    }

    /// Holds evidence against what was sent. Any method will do here.
    fn prove(&mut self, check: Check, evidence: &Evidence) {
        let sent = Sent { size: FIRST.len() as u64, digest: Digest::of(FIRST) };
        let policy = match evidence.method() {
            ProofMethod::ServerHash => VerifyPolicy::Hash,
            ProofMethod::ReadBack => VerifyPolicy::ReadBack,
            ProofMethod::Size => VerifyPolicy::Size,
        };
        match compare(&sent, evidence, policy) {
            Ok(verified) => {
                self.hash_proved |= verified.method() == ProofMethod::ServerHash;
                self.fine(check, "what was stored is what was sent");
            }
            Err(mismatch) => {
                let help = "the server alters or loses what it stores: look for a full disk, a virus scanner, \
                            or text conversion (TYPE A) there";
                self.failed(check, Exit::Verification, mismatch.to_string(), Some(help.to_owned()));
            }
        }
    }

    /// A proof that the server does not give.
    fn no_proof(&mut self, check: Check, method: ProofMethod, refusal: Option<&Refusal>, instead: &str) {
        let text = refusal.map_or_else(|| "not offered".to_owned(), |refusal| format!("refused ({refusal})"));
        let wanted = match method {
            ProofMethod::ServerHash => self.place.verify == VerifyPolicy::Hash,
            ProofMethod::ReadBack | ProofMethod::Size => self.needs(method),
        };
        if wanted {
            self.failed(check, Exit::Refused, text, refusal_help(Check::ReadBack, self.server()));
        } else {
            self.lacking(check, format!("{text}{instead}"), None);
        }
    }

    async fn server_hash(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let check = Check::ServerHash;
        let answer = self.ask(check, Request::Hash(path.clone())).await?;
        let instead = "; files are read back, which doubles the traffic";
        match answer {
            Answer::Digest(digest) => self.prove(check, &Evidence::ServerHash { digest }),
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.no_proof(check, ProofMethod::ServerHash, Some(&refusal), instead);
            }
            Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Unsupported => {
                self.no_proof(check, ProofMethod::ServerHash, None, instead);
            }
        }
        Ok(())
    }

    async fn read_back(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let check = Check::ReadBack;
        let incoming = match self.ready().await.and_then(|()| self.connection()) {
            Ok(connection) => connection.read_back(path, FIRST.len() as u64).await,
            Err(error) => Err(error),
        };
        match incoming {
            Ok(incoming) => {
                let (size, digest) = (incoming.size, incoming.digest);
                self.prove(check, &Evidence::ReadBack { size, digest });
                Ok(())
            }
            Err(FtpsError::Refused { verb, reply }) => {
                let refusal = Refusal { verb, code: reply.code(), reply: reply.to_string() };
                self.no_proof(check, ProofMethod::ReadBack, Some(&refusal), "; the job does not need it");
                Ok(())
            }
            Err(error) => Err(self.fail(check, &error)),
        }
    }

    async fn size(&mut self, path: &RemotePath) -> Result<(), Halt> {
        match self.ask(Check::Size, Request::Size(path.clone())).await? {
            Answer::Size(size) => self.prove(Check::Size, &Evidence::Size { size }),
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.no_proof(Check::Size, ProofMethod::Size, Some(&refusal), "; the job does not need it");
            }
            Answer::Done | Answer::Modified(_) | Answer::Digest(_) | Answer::Unsupported => {
                self.no_proof(Check::Size, ProofMethod::Size, None, "; the job does not need it");
            }
        }
        Ok(())
    }

    async fn time(&mut self, path: &RemotePath) -> Result<(), Halt> {
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
    async fn rename(&mut self, from: &RemotePath) -> Result<Option<RemotePath>, Halt> {
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

    async fn rename_over(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), Halt> {
        let check = Check::RenameOver;
        let stored = match self.ready().await {
            Ok(()) => self.store(from, SECOND).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            return Err(self.fail(check, &error));
        }
        if !self.rename_to(check, from, to).await? {
            return Ok(());
        }
        match self.ask(check, Request::Size(to.clone())).await? {
            Answer::Size(size) if size != SECOND.len() as u64 => {
                let text = "the server said that it replaced the file, and the old one stands there";
                self.failed(check, Exit::Verification, text.to_owned(), None);
            }
            _ => self.fine(check, "the new file took the old one's place"),
        }
        Ok(())
    }

    async fn listing(&mut self, path: &RemotePath) -> Result<(), Halt> {
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

    /// Deletes what was stored, over a new session if need be, and looks whether it is gone.
    pub(super) async fn clean(&mut self) {
        let litter = std::mem::take(&mut self.litter);
        if litter.is_empty() {
            return;
        }
        let deleted = self.delete(&litter).await;
        let left = |names: &[RemotePath]| {
            let names: Vec<_> = names.iter().map(RemotePath::to_string).collect();
            format!("may be left on the server: {}", names.join(", "))
        };
        match deleted {
            Ok(stands) if stands.is_empty() => {
                self.fine(Check::Delete, "nothing is left behind");
            }
            Ok(stands) => {
                let help = refusal_help(Check::Delete, self.server());
                self.failed(Check::Delete, Exit::Refused, format!("refused; {}", left(&stands)), help);
            }
            Err(error) => {
                let text = format!("{error}; {}", left(&litter));
                self.failed(
                    Check::Delete,
                    super::exit_of(&error),
                    text,
                    Some("delete it by hand".to_owned()),
                );
            }
        }
    }

    /// Deletes, and gives what stands all the same.
    async fn delete(&mut self, litter: &[RemotePath]) -> Result<Vec<RemotePath>, FtpsError> {
        if self.connection().is_err() {
            self.reopen(self.server().tls_versions.max).await?;
        }
        let mut stands = Vec::new();
        for path in litter {
            let requests = [Request::Delete(path.clone()), Request::Stands(path.clone())];
            let answers = self.connection()?.perform(&requests, 0).await?;
            if matches!(answers.as_slice(), [_, Answer::Done]) {
                stands.push(path.clone());
            }
        }
        Ok(stands)
    }
}

/// How a data connection came about, for people.
fn data_text(facts: &DataFacts) -> String {
    let (verb, port) = (facts.verb, facts.address.port());
    match facts.ignored {
        _ if matches!(verb, "EPRT" | "PORT") => format!("{verb}: the server connected to our port {port}"),
        None => format!("{verb} named port {port}, which takes connections"),
        Some(address) => format!(
            "{verb} named port {port}, which takes connections, and {address}, which was ignored: a NAT \
             address, most likely"
        ),
    }
}
