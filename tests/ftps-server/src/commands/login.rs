//! Security, login, and what the server says of itself.

use super::{Facts, Outcome};
use crate::control::Channel;
use crate::dialect::{Feature, Manner};
use crate::digest::Algorithm;
use crate::reply::Reply;
use crate::session::{Login, Protection, Representation, Session};
use crate::transcript::add;

/// What IIS lists, in its order.
const IIS_FEATURES: [&str; 10] = [
    "LANG EN*",
    "UTF8",
    "AUTH TLS;TLS-C;SSL;TLS-P;",
    "PBSZ",
    "PROT C;P;",
    "CCC",
    "HOST",
    "SIZE",
    "MDTM",
    "REST STREAM",
];

/// What FileZilla Server lists, in its order; facts go behind `MLST`.
const FILEZILLA_FEATURES: [&str; 14] = [
    "MDTM",
    "REST STREAM",
    "SIZE",
    "MLST",
    "MLSD",
    "AUTH SSL",
    "AUTH TLS",
    "PROT",
    "PBSZ",
    "UTF8",
    "TVFS",
    "EPSV",
    "EPRT",
    "MFMT",
];

impl Session {
    pub(super) fn auth(&mut self, argument: &[u8]) -> Outcome {
        let known = argument.eq_ignore_ascii_case(b"TLS") || argument.eq_ignore_ascii_case(b"SSL");
        match self.channel() {
            Channel::Encrypted => Outcome::reply(503, "TLS is on already"),
            Channel::Plain if known => Outcome::Encrypt(Reply::auth(self.shared.dialect.manner)),
            Channel::Plain => Outcome::reply(504, "Unsupported security mechanism"),
        }
    }

    pub(super) fn user(&mut self, name: &[u8]) -> Outcome {
        self.login = Login::Named(name.to_vec());
        Outcome::reply(331, "Password required")
    }

    pub(super) fn pass(&mut self, password: &[u8]) -> Outcome {
        let Login::Named(name) = &self.login else {
            return Outcome::reply(503, "Login with USER first");
        };
        if name == self.shared.user.as_bytes() && password == self.shared.password.as_bytes() {
            self.login = Login::Done;
            add(&self.shared.tally.logins, 1);
            Outcome::reply(230, "User logged in")
        } else {
            self.login = Login::Nobody;
            Outcome::reply(530, "Login incorrect.")
        }
    }

    pub(super) fn pbsz() -> Outcome {
        Outcome::reply(200, "PBSZ 0 successful")
    }

    pub(super) fn prot(&mut self, argument: &[u8]) -> Outcome {
        if argument.eq_ignore_ascii_case(b"P") {
            self.protection = Protection::Private;
            return Outcome::reply(200, "Protection set to Private");
        }
        self.protection = Protection::Clear;
        match self.shared.dialect.manner {
            Manner::ProFtpd => Outcome::reply(534, "Unwilling to accept security parameters"),
            Manner::FileZilla => Outcome::reply(534, "Protection level C not allowed"),
            Manner::Iis => Outcome::reply(200, "PROT command successful."),
            Manner::Vsftpd | Manner::PureFtpd => Outcome::reply(200, "PROT now Clear."),
        }
    }

    pub(super) fn set_type(&mut self, argument: &[u8]) -> Outcome {
        self.representation = match argument.first().map(u8::to_ascii_uppercase) {
            Some(b'I' | b'L') => Representation::Image,
            Some(b'A') => Representation::Ascii,
            _ => return Outcome::reply(504, "TYPE not implemented"),
        };
        Outcome::reply(200, "Type set")
    }

    pub(super) fn opts(&mut self, argument: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(argument).to_ascii_uppercase();
        let words: Vec<&str> = text.split(' ').collect();
        let has = |feature| self.shared.dialect.has(feature);
        match words.as_slice() {
            ["UTF8", "ON"] if has(Feature::Utf8) => match self.shared.dialect.manner {
                Manner::Iis => Outcome::reply(200, "OPTS UTF8 command successful - UTF8 encoding now ON."),
                Manner::FileZilla => {
                    Outcome::reply(202, "UTF8 mode is always enabled. No need to send this command")
                }
                Manner::ProFtpd | Manner::Vsftpd | Manner::PureFtpd => Outcome::reply(200, "UTF8 set to on"),
            },
            ["HASH", "SHA-256"] if has(Feature::Hash) || has(Feature::HashAfterOpts) => {
                self.algorithm = Algorithm::Sha256;
                Outcome::reply(200, "SHA-256")
            }
            ["HASH", "SHA-1"] if has(Feature::HashAfterOpts) => {
                self.algorithm = Algorithm::Sha1;
                Outcome::reply(200, "SHA-1")
            }
            ["MLST", wanted] if has(Feature::Mlsd) => {
                self.facts = Facts::chosen(wanted);
                Outcome::reply(200, format!("MLST OPTS {}", self.facts.list()))
            }
            ["MLST"] if has(Feature::Mlsd) => {
                self.facts = Facts::none();
                Outcome::reply(200, "MLST OPTS")
            }
            ["UTF8", "ON"] => Outcome::reply(504, "Unknown command"),
            _ => Outcome::reply(501, "OPTS: not understood"),
        }
    }

    pub(super) fn feat(&self) -> Outcome {
        let has = |feature| self.shared.dialect.has(feature);
        match self.shared.dialect.manner {
            Manner::Iis => {
                return Outcome::Reply(Reply::lines(
                    211,
                    "Extended features supported:",
                    &IIS_FEATURES,
                    "END",
                ));
            }
            Manner::FileZilla => {
                let mut lines = FILEZILLA_FEATURES.map(str::to_owned);
                if let Some(line) = lines.iter_mut().find(|line| *line == "MLST") {
                    *line = format!("MLST {}", self.facts.offer());
                }
                return Outcome::Reply(Reply::lines(211, "Features:", &lines, "End"));
            }
            Manner::ProFtpd | Manner::Vsftpd | Manner::PureFtpd => {}
        }
        let mut lines: Vec<String> =
            ["AUTH TLS", "MDTM", "PASV", "PBSZ", "PROT", "REST STREAM", "SIZE", "TVFS"]
                .map(str::to_owned)
                .into();
        let optional = [
            (Feature::Epsv, "EPSV".to_owned()),
            (Feature::Eprt, "EPRT".to_owned()),
            (Feature::Hash, "HASH SHA-256*".to_owned()),
            (Feature::HashAfterOpts, self.hash_feature()),
            (Feature::XSha256, "XSHA256".to_owned()),
            (Feature::Mfmt, "MFMT".to_owned()),
            (Feature::Mlsd, format!("MLST {}", self.facts.offer())),
        ];
        lines.extend(optional.into_iter().filter(|(feature, _)| has(*feature)).map(|(_, line)| line));
        // vsftpd takes OPTS UTF8 ON and does not list it; Pure-FTPd lists it and does not take it.
        let lists_utf8 = match self.shared.dialect.manner {
            Manner::ProFtpd => has(Feature::Utf8),
            Manner::Vsftpd => false,
            Manner::PureFtpd | Manner::Iis | Manner::FileZilla => true,
        };
        lines.extend(lists_utf8.then(|| "UTF8".to_owned()));
        lines.sort();
        Outcome::Reply(Reply::lines(211, "Features:", &lines, "End"))
    }

    fn hash_feature(&self) -> String {
        match self.algorithm {
            Algorithm::Sha1 => "HASH SHA-1*;SHA-256".to_owned(),
            Algorithm::Sha256 => "HASH SHA-1;SHA-256*".to_owned(),
        }
    }
}
