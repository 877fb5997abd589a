//! The layer of data connections: the first one, and how long TLS sessions last on them.

use std::net::{IpAddr, Ipv4Addr};

use super::doctor::{Doctor, Halt, Tally};
use super::finding::Check;
use super::remedy::is_about_data;
use super::work::FIRST;
use crate::domain::{DataMode, PasvAddress, RemotePath, TlsVersion};
use crate::ftps::{DataFacts, FtpsError, TlsError};
use crate::remote::{LastingSessions, PassiveCommand};

/// Data connections on one control connection before session reuse counts as lasting: servers
/// whose TLS 1.3 tickets run out do so at the third.
const CONNECTIONS: u32 = 6;

impl Doctor<'_> {
    /// Which address the server would have data connections go to. Nobody has to believe it, but
    /// one that is wrong tells of NAT, and breaks other programs.
    pub(super) async fn pasv_address(&mut self) -> Result<(), Halt> {
        let check = Check::PasvAddress;
        let address = match &self.server().network.data {
            DataMode::Passive { address } => *address,
            DataMode::Active(_) => {
                self.fine(check, "not asked: data connections are active");
                return Ok(());
            }
        };
        let (peer, named) = match self.connection() {
            Ok(connection) => {
                let peer = connection.facts().peer.ip().to_canonical();
                if peer.is_ipv6() {
                    self.fine(check, "not asked: there is none in IPv6");
                    return Ok(());
                }
                (peer, connection.named_address().await)
            }
            Err(error) => return Err(self.fail(check, &error)),
        };
        match named {
            Ok(Some(named)) if peer == named => self.fine(check, format!("{named}, the server's own")),
            Ok(Some(named)) => {
                let text = format!("{named}, but the server is reached at {peer}: {}", likely(named));
                self.lacking(check, text, Some(address_help(address, peer)));
            }
            Ok(None) => self.lacking(check, "PASV names none", None),
            Err(error) => return self.went_wrong(check, &error).await,
        }
        Ok(())
    }

    /// A listing opens the first data connection; where none is allowed, the upload does.
    pub(super) async fn data_and_upload(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let mut listed = self.list().await;
        if let Err(FtpsError::DataConnect { verb, address, .. }) = &listed {
            let unreached = format!("port {} that {verb} named could not be reached", address.port());
            // Jobs ask by the other command then.
            if self.reopen(self.max).await.is_ok() {
                listed = self.list().await;
                self.detour = Some(unreached);
            }
        }
        match listed {
            Ok(()) => {
                self.count();
                self.data_works();
            }
            Err(error @ FtpsError::Refused { .. }) if !is_about_data(&error) => {}
            // A listing that is longer than we take came over a data connection that works.
            Err(FtpsError::TooLong { .. }) => {
                self.data_works();
                let renewed = self.reopen(self.max).await;
                renewed.map_err(|error| self.fail(Check::Upload, &error))?;
            }
            Err(error) => return Err(self.fail(Check::Data, &error)),
        }
        // Listings that were refused may have used up the session's tickets.
        let stored = match self.ready().await {
            Ok(()) => self.store(path, FIRST).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            let data = is_about_data(&error) && !self.is_told(Check::Data);
            return Err(self.fail(if data { Check::Data } else { Check::Upload }, &error));
        }
        if !self.is_told(Check::Data) {
            self.data_works();
        }
        self.fine(Check::Upload, format!("{} bytes under {}", FIRST.len(), path.name()));
        Ok(())
    }

    /// Lists the folder; only that it worked matters.
    async fn list(&mut self) -> Result<(), FtpsError> {
        let folder = self.folder.clone();
        self.connection()?.names(&folder).await.map(|_| ())
    }

    fn data_works(&mut self) {
        let facts = self.connection.as_ref().and_then(crate::remote::Connection::last_data);
        let passive = match facts.map(|facts| facts.verb) {
            Some("EPSV") => Some(PassiveCommand::Epsv),
            Some("PASV") => Some(PassiveCommand::Pasv),
            Some(_) | None => None,
        };
        if let Some(passive) = passive {
            self.remote.learn(|profile| profile.passive = passive);
        }
        let text = facts.map_or_else(|| "opened".to_owned(), |facts| data_text(&facts));
        match self.detour.take() {
            None => self.fine(Check::Data, text),
            Some(unreached) => {
                let help = "jobs ask by the command that works, and remember it; to mend the other, open the \
                            server's passive ports in every firewall between, for both address families";
                self.lacking(Check::Data, format!("{unreached}; {text}"), Some(help.to_owned()));
            }
        }
    }

    /// Stores again and again, until there were enough data connections or no more can be had. A server
    /// that stores over no file (ProFTPD, unless `AllowOverwrite` is on) gets fresh names.
    async fn fill(&mut self, path: &RemotePath) -> Result<Tally, FtpsError> {
        let (mut name, mut keeps) = (path.clone(), false);
        while self.tally.opened < CONNECTIONS && self.connection()?.has_tls_session() {
            if keeps {
                name = self.another_name(path);
            }
            match self.store(&name, FIRST).await {
                Ok(()) => {}
                Err(error @ FtpsError::Refused { .. }) if keeps || is_about_data(&error) => {
                    return Err(error);
                }
                Err(FtpsError::Refused { .. }) => keeps = true,
                Err(error) => return Err(error),
            }
        }
        Ok(self.tally)
    }

    pub(super) async fn reuse(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let told = match self.fill(path).await {
            Ok(tally) if tally.opened >= CONNECTIONS => {
                // What was learned of TLS 1.3 stays true where only TLS 1.2 may be spoken.
                if self.max > TlsVersion::V1_2 {
                    self.learn_lasting(LastingSessions::Anywhere);
                }
                Ok(self.lasting(tally))
            }
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

    fn learn_lasting(&self, lasting: LastingSessions) {
        self.remote.learn(|profile| profile.lasting_sessions = lasting);
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
        let ran_out = format!("TLS 1.3 ran out of sessions after {}", data_connections(used.opened));
        let renewed = format!("{ran_out}, so that jobs open new control connections as they go");
        let versions = self.server().tls_versions;
        if versions.min > TlsVersion::V1_2 {
            self.learn_lasting(LastingSessions::Nowhere);
            self.reopen(versions.max).await?;
            return Ok(format!("{renewed}; `tls_version: {{min: 1.2}}` may be faster"));
        }
        match self.reopen(TlsVersion::V1_2).await {
            Ok(()) => {}
            Err(FtpsError::Tls(TlsError::NothingInCommon { .. })) => {
                self.learn_lasting(LastingSessions::Nowhere);
                self.reopen(versions.max).await?;
                return Ok(format!("{renewed}; the server does not speak TLS 1.2"));
            }
            Err(error) => return Err(error),
        }
        let tally = self.fill(path).await?;
        self.max = TlsVersion::V1_2;
        self.learn_lasting(LastingSessions::Tls12);
        Ok(format!("{ran_out}; {}, which jobs speak with this server", self.lasting(tally)))
    }
}

fn data_connections(count: u32) -> String {
    if count == 1 { "1 data connection".to_owned() } else { format!("{count} data connections") }
}

/// What a wrong address most likely is.
fn likely(named: Ipv4Addr) -> &'static str {
    if named.is_private() || named.is_loopback() || named.is_link_local() {
        "an address inside its own network, behind NAT"
    } else if named.is_unspecified() {
        "no address at all"
    } else {
        "another machine, or an old address"
    }
}

fn address_help(address: PasvAddress, peer: IpAddr) -> String {
    let remedy = "vsftpd: pasv_address; ProFTPD: MasqueradeAddress; Pure-FTPd: -P; pyftpdlib: masquerade_address; \
        IIS: FTP Firewall Support; FileZilla Server: Passive mode, public IP";
    match address {
        PasvAddress::Ignore => format!(
            "nothing to do for jobs, whose data connections go to {peer} all the same; programs that believe the \
             server fail. To mend it there, name its outer address ({remedy})"
        ),
        PasvAddress::Trust => format!(
            "jobs go there, as `pasv_address: trust` wants: does another machine take the data? If not, take that \
             line out, or name the outer address on the server ({remedy})"
        ),
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
