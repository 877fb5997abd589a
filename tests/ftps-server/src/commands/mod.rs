//! What each command does.

mod files;
mod folders;
mod listing;
mod login;
mod transfer;

use std::io;

pub(crate) use listing::Facts;

use crate::control::Channel;
use crate::dialect::{Feature, Manner};
use crate::reply::Reply;
use crate::session::{Login, Session};

/// A command line taken apart.
#[derive(Debug)]
pub(crate) struct Command {
    /// The name, in upper case.
    pub(crate) verb: String,
    /// All after the first blank, as it came.
    pub(crate) argument: Vec<u8>,
}

/// What comes of a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    /// The reply, then the TLS handshake.
    Encrypt(Reply),
    /// The reply, then the end of the control connection.
    Close(Reply),
}

impl Command {
    pub(crate) fn parse(line: &[u8]) -> Self {
        // Telnet's interrupt signals, which some clients send ahead of ABOR (RFC 959, section 4.1.3).
        let start = line.iter().position(|byte| *byte < 0xF0).unwrap_or(line.len());
        let line = line.get(start..).unwrap_or_default();
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let verb = parts.next().unwrap_or_default();
        Self {
            verb: String::from_utf8_lossy(verb).to_ascii_uppercase(),
            argument: parts.next().unwrap_or_default().to_vec(),
        }
    }

    /// The same with slashes in place of backslashes.
    fn slashed(&self) -> Self {
        let argument = self.argument.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte });
        Self { verb: self.verb.clone(), argument: argument.collect() }
    }

    /// The line as it may be written down.
    pub(crate) fn for_transcript(&self) -> Vec<u8> {
        let verb = self.verb.as_bytes();
        match self.verb.as_str() {
            "PASS" => b"PASS ***".to_vec(),
            _ if self.argument.is_empty() => verb.to_vec(),
            _ => [verb, b" ", &self.argument].concat(),
        }
    }
}

impl Outcome {
    pub(crate) fn reply(code: u16, text: impl AsRef<[u8]>) -> Self {
        Self::Reply(Reply::new(code, text))
    }
}

impl Session {
    /// Performs a command, and hands back its final reply.
    pub(crate) async fn perform(&mut self, command: &Command) -> io::Result<Outcome> {
        let argument = command.argument.as_slice();
        match command.verb.as_str() {
            "AUTH" => return Ok(self.auth(argument)),
            "FEAT" => return Ok(self.feat()),
            "NOOP" => return Ok(Outcome::reply(200, "NOOP command successful")),
            "QUIT" => return Ok(Outcome::Close(Reply::new(221, "Goodbye."))),
            _ if self.channel() == Channel::Plain => {
                return Ok(Outcome::Reply(Reply::unencrypted(self.shared.dialect.manner)));
            }
            "USER" => return Ok(self.user(argument)),
            "PASS" => return Ok(self.pass(argument)),
            "PBSZ" => return Ok(Self::pbsz()),
            "PROT" => return Ok(self.prot(argument)),
            _ if self.login != Login::Done => {
                return Ok(Outcome::reply(530, "Please login with USER and PASS"));
            }
            _ => {}
        }
        self.perform_as_user(command).await
    }

    async fn perform_as_user(&mut self, command: &Command) -> io::Result<Outcome> {
        let slashed = self.shared.dialect.has(Feature::WindowsNames).then(|| command.slashed());
        let command = slashed.as_ref().unwrap_or(command);
        let argument = command.argument.as_slice();
        // ProFTPD 1.3.8: once something is named for a rename, nothing but RNTO is understood.
        let idle = matches!(command.verb.as_str(), "RNTO" | "NOOP" | "ABOR");
        if self.rename_from.is_some() && self.shared.dialect.manner == Manner::ProFtpd && !idle {
            return Ok(Outcome::reply(501, "Bad sequence of commands"));
        }
        let renaming = self.rename_from.take();
        let forbidden = self.shared.dialect.forbidden.iter().find(|(verb, _)| *verb == command.verb);
        if let Some((_, reply)) = forbidden {
            return Ok(Outcome::Reply(Reply(reply.as_bytes().to_vec())));
        }
        let has = |feature| self.shared.dialect.has(feature);
        let outcome = match command.verb.as_str() {
            "TYPE" => self.set_type(argument),
            "MODE" => Outcome::reply(200, "Mode set to S"),
            "STRU" => Outcome::reply(200, "Structure set to F"),
            "OPTS" => self.opts(argument),
            "SYST" => Outcome::reply(215, "UNIX Type: L8"),
            "ABOR" => Outcome::reply(226, "Abort successful"),
            "PWD" | "XPWD" => self.pwd(),
            "CWD" => self.cwd(argument),
            "CDUP" => self.cwd(b".."),
            "MKD" => self.mkd(argument),
            "RMD" => self.rmd(argument),
            "DELE" => self.dele(argument),
            "RNFR" => self.rnfr(argument),
            "RNTO" => self.rnto(renaming.as_ref(), argument),
            "SIZE" => self.size(argument),
            "MDTM" => self.mdtm(argument),
            "MFMT" if has(Feature::Mfmt) => self.mfmt(argument),
            "HASH" if has(Feature::Hash) || has(Feature::HashAfterOpts) => self.hash(argument).await,
            "XSHA256" if has(Feature::XSha256) => self.xsha256(argument).await,
            "EPSV" if has(Feature::Epsv) => return self.epsv(argument).await,
            "PASV" => return self.pasv().await,
            "EPRT" if has(Feature::Eprt) => self.eprt(argument),
            "PORT" => self.port(argument),
            "REST" => self.rest(argument),
            "STOR" | "APPE" | "RETR" => return self.transfer(command).await,
            "MLST" if has(Feature::Mlsd) => self.mlst(argument),
            "MLSD" if has(Feature::Mlsd) => return self.mlsd(argument).await,
            "LIST" | "NLST" => return self.list(command).await,
            _ => Outcome::Reply(Reply::unknown(self.shared.dialect.manner, &command.verb)),
        };
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn lines_are_taken_apart_and_passwords_are_starred() {
        let check = |line: &[u8], verb: &str, argument: &[u8], shown: &[u8]| {
            let command = Command::parse(line);
            assert_eq!((command.verb.as_str(), command.argument.as_slice()), (verb, argument));
            assert_eq!(command.for_transcript(), shown);
        };
        check(b"stor  a b ", "STOR", b" a b ", b"STOR  a b ");
        check(b"PASS secret", "PASS", b"secret", b"PASS ***");
        check(b"\xff\xf4\xff\xf2ABOR", "ABOR", b"", b"ABOR");
        check(b"", "", b"", b"");
    }
}
