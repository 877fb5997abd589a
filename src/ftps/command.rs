//! Commands of the control connection, and the only place that puts them into bytes.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

/// Longest argument of a command, in bytes: Linux knows no longer paths.
pub const MAX_ARGUMENT_BYTES: usize = 4096;

/// A text that can stand in a command: not empty, at most [`MAX_ARGUMENT_BYTES`], no control
/// characters (of four servers, two take a line feed for the end of the command and one
/// replaces a tab), so that it can never become a second command.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Argument(Box<str>);

/// A text that cannot stand in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_ARGUMENT_BYTES`].
    #[error("it is longer than {MAX_ARGUMENT_BYTES} bytes")]
    TooLong,
    /// A byte from 0x00 to 0x1F, or 0x7F.
    #[error("it holds the control character 0x{0:02X}")]
    Control(u8),
}

impl Argument {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, ArgumentError> {
        check(text).map(|()| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), ArgumentError> {
    if text.is_empty() {
        return Err(ArgumentError::Empty);
    }
    if text.len() > MAX_ARGUMENT_BYTES {
        return Err(ArgumentError::TooLong);
    }
    text.bytes().find(u8::is_ascii_control).map_or(Ok(()), |byte| Err(ArgumentError::Control(byte)))
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password that can stand in a command.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// Checks a password; the error does not show it.
    pub fn new(password: SecretString) -> Result<Self, ArgumentError> {
        check(password.expose_secret()).map(|()| Self(password))
    }
}

/// How a server is told the time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeDialect {
    /// `MFMT time path` (draft-somers-ftp-mfxx).
    Mfmt,
    /// `MDTM time path`, as vsftpd 3.0.3 understands it.
    Mdtm,
}

/// A command of the control connection. There is none that leaves TLS (`CCC`, `PROT C`).
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the verbs of RFC 959, 2228, 2428, 3659 and 4217 speak for themselves")]
pub enum Command {
    AuthTls,
    User(Argument),
    Pass(Password),
    /// `PBSZ 0`, which RFC 4217 wants before `PROT`.
    Pbsz,
    /// `PROT P`: TLS on data connections.
    ProtPrivate,
    /// `TYPE I`: bytes as they are.
    TypeImage,
    OptsUtf8,
    OptsHashSha256,
    Feat,
    Epsv,
    Pasv,
    Eprt(SocketAddr),
    Port(SocketAddrV4),
    /// Where in its file the next transfer begins, in bytes (RFC 3659, section 5).
    Rest(u64),
    Stor(Argument),
    Retr(Argument),
    Mkd(Argument),
    Cwd(Argument),
    Pwd,
    Dele(Argument),
    Size(Argument),
    /// Asks for a file's time.
    Mdtm(Argument),
    /// Sets a file's time, given as `YYYYMMDDHHMMSS` in UTC.
    SetTime(TimeDialect, Argument, Argument),
    /// draft-bryan-ftpext-hash.
    Hash(Argument),
    Xsha256(Argument),
    Rnfr(Argument),
    Rnto(Argument),
    Mlsd(Argument),
    /// `NLST -a`: names with hidden ones, which vsftpd and ProFTPD leave out otherwise.
    NlstAll(Argument),
    Noop,
    Quit,
}

impl Command {
    /// The verb, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::AuthTls => "AUTH TLS",
            Self::User(_) => "USER",
            Self::Pass(_) => "PASS",
            Self::Pbsz => "PBSZ 0",
            Self::ProtPrivate => "PROT P",
            Self::TypeImage => "TYPE I",
            Self::OptsUtf8 => "OPTS UTF8 ON",
            Self::OptsHashSha256 => "OPTS HASH SHA-256",
            Self::Feat => "FEAT",
            Self::Epsv => "EPSV",
            Self::Pasv => "PASV",
            Self::Eprt(_) => "EPRT",
            Self::Port(_) => "PORT",
            Self::Rest(_) => "REST",
            Self::Stor(_) => "STOR",
            Self::Retr(_) => "RETR",
            Self::Mkd(_) => "MKD",
            Self::Cwd(_) => "CWD",
            Self::Pwd => "PWD",
            Self::Dele(_) => "DELE",
            Self::Size(_) => "SIZE",
            Self::Mdtm(_) | Self::SetTime(TimeDialect::Mdtm, ..) => "MDTM",
            Self::SetTime(TimeDialect::Mfmt, ..) => "MFMT",
            Self::Hash(_) => "HASH",
            Self::Xsha256(_) => "XSHA256",
            Self::Rnfr(_) => "RNFR",
            Self::Rnto(_) => "RNTO",
            Self::Mlsd(_) => "MLSD",
            Self::NlstAll(_) => "NLST -a",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
        }
    }

    /// The text behind the verb, if it may be shown.
    fn arguments(&self) -> Option<String> {
        match self {
            Self::User(text)
            | Self::Stor(text)
            | Self::Retr(text)
            | Self::Mkd(text)
            | Self::Cwd(text)
            | Self::Dele(text)
            | Self::Size(text)
            | Self::Mdtm(text)
            | Self::Hash(text)
            | Self::Xsha256(text)
            | Self::Rnfr(text)
            | Self::Rnto(text)
            | Self::Mlsd(text)
            | Self::NlstAll(text) => Some(text.to_string()),
            Self::SetTime(_, time, path) => Some(format!("{time} {path}")),
            // RFC 2428, section 2: 1 is IPv4, 2 is IPv6.
            Self::Eprt(address) => {
                let family = if address.is_ipv4() { 1 } else { 2 };
                Some(format!("|{family}|{}|{}|", address.ip(), address.port()))
            }
            Self::Port(address) => {
                let ([a, b, c, d], [high, low]) = (address.ip().octets(), address.port().to_be_bytes());
                Some(format!("{a},{b},{c},{d},{high},{low}"))
            }
            Self::Rest(offset) => Some(offset.to_string()),
            Self::Pass(_) => Some("****".to_owned()),
            Self::AuthTls
            | Self::Pbsz
            | Self::ProtPrivate
            | Self::TypeImage
            | Self::OptsUtf8
            | Self::OptsHashSha256
            | Self::Pwd
            | Self::Feat
            | Self::Epsv
            | Self::Pasv
            | Self::Noop
            | Self::Quit => None,
        }
    }

    /// Adds the command's line to `out`: exactly one line, whatever the arguments are.
    pub fn encode(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.extend_from_slice(self.verb().as_bytes());
        let secret = match self {
            Self::Pass(password) => Some(password.0.expose_secret()),
            _ => None,
        };
        let arguments = secret.is_none().then(|| self.arguments()).flatten();
        if let Some(text) = secret.or(arguments.as_deref()) {
            out.push(b' ');
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Display for Command {
    /// The command as it may stand in a log: the password shows as stars.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        self.arguments().map_or(Ok(()), |text| write!(f, " {text}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn argument(text: &str) -> Argument {
        Argument::new(text).unwrap()
    }

    fn line(command: &Command) -> String {
        let mut out = Zeroizing::new(Vec::new());
        command.encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lines_as_servers_want_them() {
        assert_eq!(line(&Command::AuthTls), "AUTH TLS\r\n");
        assert_eq!(line(&Command::Stor(argument("-a b\"ü"))), "STOR -a b\"ü\r\n");
        assert_eq!(line(&Command::Eprt("192.0.2.7:50001".parse().unwrap())), "EPRT |1|192.0.2.7|50001|\r\n");
        let long = Command::Eprt("[2001:db8::7%3]:50001".parse().unwrap());
        assert_eq!(line(&long), "EPRT |2|2001:db8::7|50001|\r\n");
        assert_eq!(line(&Command::Port("192.0.2.7:50001".parse().unwrap())), "PORT 192,0,2,7,195,81\r\n");
        assert_eq!(line(&Command::Rest(u64::MAX)), "REST 18446744073709551615\r\n");
        let time = argument("20010203040506");
        assert_eq!(
            line(&Command::SetTime(TimeDialect::Mdtm, time, argument("/x y"))),
            "MDTM 20010203040506 /x y\r\n"
        );
    }

    #[test]
    fn the_password_is_sent_but_never_shown() {
        let pass = Command::Pass(Password::new("s3cr3t".into()).unwrap());
        assert_eq!(line(&pass), "PASS s3cr3t\r\n");
        assert_eq!(pass.to_string(), "PASS ****");
        assert!(!format!("{pass:?}").contains("s3cr3t"));
        assert_eq!(Password::new("a\r\nDELE x".into()).unwrap_err(), ArgumentError::Control(b'\r'));
    }

    proptest! {
        #[test]
        fn whatever_the_argument_it_is_one_line(text in any::<String>()) {
            if let Ok(text) = Argument::new(&text) {
                let line = line(&Command::Rnto(text));
                prop_assert_eq!(line.bytes().filter(|b| matches!(b, b'\n' | b'\r' | 0)).count(), 2);
                prop_assert!(line.ends_with("\r\n"));
            }
        }
    }
}
