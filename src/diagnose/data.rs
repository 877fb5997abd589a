//! The layer of data connections: the first one, and how long TLS sessions last on them.

use super::doctor::{Doctor, Halt, Tally};
use super::finding::Check;
use super::remedy::is_about_data;
use super::work::FIRST;
use crate::domain::{RemotePath, TlsVersion};
use crate::ftps::{FtpsError, TlsError};

/// Data connections on one control connection before session reuse counts as lasting: servers
/// whose TLS 1.3 tickets run out do so at the third.
const CONNECTIONS: u32 = 6;

impl Doctor<'_> {
    /// A listing opens the first data connection; where none is allowed, the upload does.
    pub(super) async fn data_and_upload(&mut self, path: &RemotePath) -> Result<(), Halt> {
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
        let text = facts.map_or_else(
            || "opened".to_owned(),
            |facts| format!("{} named port {}, which takes connections", facts.verb, facts.address.port()),
        );
        self.fine(Check::Data, text);
    }

    /// Stores again and again, until there were enough data connections or no more can be had.
    async fn fill(&mut self, path: &RemotePath) -> Result<Tally, FtpsError> {
        while self.tally.opened < CONNECTIONS && self.connection()?.has_tls_session() {
            self.store(path, FIRST).await?;
        }
        Ok(self.tally)
    }

    pub(super) async fn reuse(&mut self, path: &RemotePath) -> Result<(), Halt> {
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
}
