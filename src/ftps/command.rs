//! Commands of the control connection, and the only place that puts them into bytes.

use std::borrow::Cow;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::charset::Charset;

/// Longest argument of a command, in bytes: Linux knows no longer paths.
pub const MAX_ARGUMENT_BYTES: usize = 4096;

/// Telnet's "interpret as command" (RFC 854), which a control connection may obey (RFC 959,
/// section 4.1.3): `ProFTPD` 1.3.8 takes two of them for one, others store each.
const TELNET_IAC: u8 = 0xFF;

/// A text that can stand in a command, with the bytes that are sent for it: not empty, at most
/// [`MAX_ARGUMENT_BYTES`], no control characters (of four servers, two take a line feed for the
/// end of the command and one replaces a tab), no byte 0xFF, so that it can never become a second
/// command or another name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Argument {
    text: Box<str>,
    /// `None` where they are the text's own.
    bytes: Option<Box<[u8]>>,
}

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
    /// A character has no place in the server's encoding.
    #[error(
        "it cannot be written in {charset}, the server's `charset`; rename it, or give the charset that the \
         server uses"
    )]
    Charset {
        /// The encoding's name.
        charset: &'static str,
    },
    /// The byte 0xFF, which servers alter.
    #[error(
        "in {charset}, the server's `charset`, it holds the byte 0xFF, a sign of its own on FTP connections, \
         which servers do not store alike; rename it"
    )]
    Telnet {
        /// The encoding's name.
        charset: &'static str,
    },
}

impl Argument {
    /// Checks a text, which is sent in UTF-8.
    pub fn new(text: &str) -> Result<Self, ArgumentError> {
        Self::encoded(text, Charset::UTF_8)
    }

    /// Checks a text, which is sent in an encoding.
    pub fn encoded(text: &str, charset: Charset) -> Result<Self, ArgumentError> {
        let bytes = check(text, charset)?;
        let bytes = (bytes != text.as_bytes()).then(|| bytes.into());
        Ok(Self { text: text.into(), bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is sent for it.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// The bytes of a text, if it can stand in a command.
fn check(text: &str, charset: Charset) -> Result<Cow<'_, [u8]>, ArgumentError> {
    if text.is_empty() {
        return Err(ArgumentError::Empty);
    }
    if let Some(byte) = text.bytes().find(u8::is_ascii_control) {
        return Err(ArgumentError::Control(byte));
    }
    let name = charset.name();
    let bytes = charset.encode(text).ok_or(ArgumentError::Charset { charset: name })?;
    if bytes.len() > MAX_ARGUMENT_BYTES {
        return Err(ArgumentError::TooLong);
    }
    // What is sent is what counts, whatever the text was.
    match bytes.iter().find(|&&byte| byte == TELNET_IAC || byte.is_ascii_control()) {
        None => Ok(bytes),
        Some(&TELNET_IAC) => Err(ArgumentError::Telnet { charset: name }),
        Some(&byte) => Err(ArgumentError::Control(byte)),
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A password that can stand in a command.
#[derive(Clone, Debug)]
pub struct Password(SecretSlice<u8>);

impl Password {
    /// Checks a password, which is sent in UTF-8; the error does not show it.
    pub fn new(password: SecretString) -> Result<Self, ArgumentError> {
        Self::encoded(password, Charset::UTF_8)
    }

    /// Checks a password, which is sent in an encoding; the error does not show it.
    pub fn encoded(password: SecretString, charset: Charset) -> Result<Self, ArgumentError> {
        let bytes = check(password.expose_secret(), charset)?.into_owned();
        // What was handed over is wiped.
        drop(password);
        Ok(Self(bytes.into()))
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
    /// Lines for people, of a folder or of the one that was entered.
    List(Option<Argument>),
    /// `LIST -a`: with hidden names, which vsftpd and ProFTPD leave out otherwise.
    ListAll(Option<Argument>),
    /// Names alone.
    Nlst(Option<Argument>),
    /// `NLST -a`: with hidden names.
    NlstAll(Option<Argument>),
    Noop,
    Quit,
}

impl Command {
    /// The verb of [`Command::User`].
    pub(super) const USER: &str = "USER";

    /// The verb of [`Command::Pass`].
    pub(super) const PASS: &str = "PASS";

    /// The verb, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::AuthTls => "AUTH TLS",
            Self::User(_) => Self::USER,
            Self::Pass(_) => Self::PASS,
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
            Self::List(_) => "LIST",
            Self::ListAll(_) => "LIST -a",
            Self::Nlst(_) => "NLST",
            Self::NlstAll(_) => "NLST -a",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
        }
    }

    /// What stands behind the verb.
    fn arguments(&self) -> Vec<&Argument> {
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
            | Self::Mlsd(text) => vec![text],
            Self::List(text) | Self::ListAll(text) | Self::Nlst(text) | Self::NlstAll(text) => {
                text.iter().collect()
            }
            Self::SetTime(_, time, path) => vec![time, path],
            // Its password is no argument, so that nobody shows it by mistake.
            Self::Pass(_)
            | Self::Eprt(_)
            | Self::Port(_)
            | Self::Rest(_)
            | Self::AuthTls
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
            | Self::Quit => vec![],
        }
    }

    /// The address or number behind the verb.
    fn figures(&self) -> Option<String> {
        match self {
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
            _ => None,
        }
    }

    /// Adds the command's line to `out`: exactly one line, whatever the arguments are.
    pub fn encode(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.extend_from_slice(self.verb().as_bytes());
        if let Self::Pass(password) = self {
            out.push(b' ');
            out.extend_from_slice(password.0.expose_secret());
        }
        if let Some(figures) = self.figures() {
            out.push(b' ');
            out.extend_from_slice(figures.as_bytes());
        }
        for argument in self.arguments() {
            out.push(b' ');
            out.extend_from_slice(argument.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Display for Command {
    /// The command as it may stand in a log: the password shows as stars.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        if let Self::Pass(_) = self {
            f.write_str(" ****")?;
        }
        if let Some(figures) = self.figures() {
            write!(f, " {figures}")?;
        }
        self.arguments().into_iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{Encoding, WINDOWS_1251, WINDOWS_1252};
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
    fn names_go_in_the_servers_charset_or_not_at_all() {
        let western = Charset::new(WINDOWS_1252);
        let mut out = Zeroizing::new(Vec::new());
        Command::Stor(Argument::encoded("Bücher", western).unwrap()).encode(&mut out);
        assert_eq!(out.as_slice(), b"STOR B\xfccher\r\n");
        let check = |text, charset, why: &str| {
            assert!(Argument::encoded(text, charset).unwrap_err().to_string().contains(why), "{text}");
        };
        check("日本", western, "cannot be written in windows-1252");
        check("ÿ", western, "0xFF");
        check("я", Charset::new(WINDOWS_1251), "0xFF");
        let mut out = Zeroizing::new(Vec::new());
        Command::Pass(Password::encoded("ü".into(), western).unwrap()).encode(&mut out);
        assert_eq!(out.as_slice(), b"PASS \xfc\r\n");
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
        fn whatever_the_argument_and_the_charset_it_is_one_line(
            text in any::<String>(),
            label in prop::sample::select(vec!["utf-8", "windows-1252", "windows-1251", "gb18030", "shift_jis", "big5", "euc-kr"]),
        ) {
            let charset = Charset::new(Encoding::for_label(label.as_bytes()).unwrap());
            if let Ok(text) = Argument::encoded(&text, charset) {
                let mut line = Zeroizing::new(Vec::new());
                Command::Rnto(text.clone()).encode(&mut line);
                prop_assert_eq!(line.iter().filter(|b| matches!(b, b'\n' | b'\r' | 0 | 0xFF)).count(), 2);
                prop_assert!(line.ends_with(b"\r\n"));
                let back = charset.decode(text.as_bytes());
                prop_assert_eq!(back.as_deref(), Some(text.as_str()));
            }
        }
    }
}
