//! Replies, in the words of the server that is played.

use std::io;

use crate::dialect::Manner;

/// A reply of one or more lines, without the last line's end.
#[derive(Clone, Debug)]
pub(crate) struct Reply(pub(crate) Vec<u8>);

impl Reply {
    /// A reply of one line.
    pub(crate) fn new(code: u16, text: impl AsRef<[u8]>) -> Self {
        let mut line = format!("{code} ").into_bytes();
        line.extend(text.as_ref());
        Self(line)
    }

    /// A reply about a path.
    pub(crate) fn about(code: u16, path: &[u8], text: &str) -> Self {
        Self::new(code, [path, b": ", text.as_bytes()].concat())
    }

    /// A reply of several lines: the first with a dash, those in the middle after a blank, the last.
    pub(crate) fn lines<T: AsRef<[u8]>>(code: u16, first: &str, middle: &[T], last: &str) -> Self {
        let mut bytes = format!("{code}-{first}\r\n").into_bytes();
        for line in middle {
            bytes.push(b' ');
            bytes.extend(line.as_ref());
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("{code} {last}").into_bytes());
        Self(bytes)
    }

    /// Greets.
    pub(crate) fn greeting(manner: Manner) -> Self {
        match manner {
            Manner::ProFtpd | Manner::Vsftpd => Self::new(220, "Test server ready."),
            Manner::PureFtpd => {
                let first = "---------- Welcome to the test server ----------";
                Self::lines::<&str>(220, first, &[], "Ready.")
            }
            Manner::Iis => Self::new(220, "Microsoft FTP Service"),
            Manner::FileZilla => {
                let last = "Please visit https://filezilla-project.org/";
                Self::lines::<&str>(220, "FileZilla Server 1.8.1", &[], last)
            }
        }
    }

    /// Agrees to TLS.
    pub(crate) fn auth(manner: Manner) -> Self {
        Self::new(
            234,
            match manner {
                Manner::ProFtpd | Manner::Vsftpd | Manner::PureFtpd => "AUTH TLS successful",
                Manner::Iis => "AUTH command ok. Expecting TLS Negotiation.",
                Manner::FileZilla => "Using authentication type TLS.",
            },
        )
    }

    /// Refuses a command that it does not know.
    pub(crate) fn unknown(manner: Manner, verb: &str) -> Self {
        match manner {
            Manner::ProFtpd | Manner::Vsftpd | Manner::PureFtpd => {
                Self::new(500, format!("{verb} not understood"))
            }
            Manner::Iis => Self::new(500, "Command not understood."),
            Manner::FileZilla => Self::new(500, "Wrong command."),
        }
    }

    /// Refuses a command in plain text.
    pub(crate) fn unencrypted(manner: Manner) -> Self {
        match manner {
            Manner::ProFtpd => Self::new(550, "SSL/TLS required on the control channel"),
            Manner::Vsftpd => Self::new(530, "Non-anonymous sessions must use encryption."),
            Manner::Iis => Self::new(534, "Policy requires SSL."),
            Manner::FileZilla => Self::new(503, "Use AUTH first."),
            Manner::PureFtpd => {
                let first = "Sorry, cleartext sessions and weak ciphers are not accepted on this server.";
                Self::lines::<&str>(421, first, &[], "Please reconnect using TLS security mechanisms.")
            }
        }
    }

    /// Refuses a data connection without `PROT P`.
    pub(crate) fn unprotected(manner: Manner) -> Self {
        match manner {
            Manner::ProFtpd => Self::new(522, "SSL/TLS required on the data channel"),
            Manner::Vsftpd => Self::new(522, "Data connections must be encrypted."),
            Manner::Iis => Self::new(534, "Policy requires SSL."),
            Manner::FileZilla => Self::new(521, "PROT P required"),
            Manner::PureFtpd => Self::new(521, "Data connection cannot be opened with this PROT setting."),
        }
    }

    /// Refuses a command that worked on a path.
    pub(crate) fn failure(manner: Manner, verb: &str, path: &[u8], error: &io::Error) -> Self {
        match (manner, verb) {
            (Manner::Vsftpd, "STOR" | "APPE") => Self::new(553, "Could not create file."),
            (Manner::Vsftpd, "RETR") => Self::new(550, "Failed to open file."),
            (Manner::Vsftpd, "CWD" | "CDUP") => Self::new(550, "Failed to change directory."),
            (Manner::Vsftpd, "MKD") => Self::new(550, "Create directory operation failed."),
            (Manner::Vsftpd, "RMD") => Self::new(550, "Remove directory operation failed."),
            (Manner::Vsftpd, "DELE") => Self::new(550, "Delete operation failed."),
            (Manner::Vsftpd, "SIZE") => Self::new(550, "Could not get file size."),
            (Manner::Vsftpd, "MDTM") => Self::new(550, "Could not get file modification time."),
            (Manner::Vsftpd, "RNTO") => Self::new(550, "Rename failed."),
            (Manner::Vsftpd, verb) => Self::new(550, format!("{verb} command failed.")),
            (Manner::PureFtpd, "STOR" | "APPE") => {
                Self::new(553, format!("Can't open that file: {}", reason(error)))
            }
            (Manner::PureFtpd, "RNTO") => Self::new(451, format!("Rename/move failure: {}", reason(error))),
            (Manner::PureFtpd, "MKD") => Self::new(550, format!("Can't create directory: {}", reason(error))),
            (Manner::Iis, _) => Self::new(550, windows_reason(error)),
            (Manner::FileZilla, verb) => Self::new(550, filezilla_reason(verb, error)),
            (Manner::ProFtpd | Manner::PureFtpd, _) => Self::about(550, path, &reason(error)),
        }
    }
}

/// The reason as servers give it: the system's text, also for errors of our own.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "File exists".to_owned(),
        io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
    }
}

/// The reason in the words of Windows.
fn windows_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "Cannot create a file when that file already exists.",
        io::ErrorKind::NotFound => "The system cannot find the file specified.",
        io::ErrorKind::PermissionDenied => "Access is denied.",
        io::ErrorKind::InvalidInput => "The filename, directory name, or volume label syntax is incorrect.",
        _ => "The parameter is incorrect.",
    }
}

/// The reason in the words of FileZilla Server.
fn filezilla_reason(verb: &str, error: &io::Error) -> &'static str {
    match (error.kind(), verb) {
        (io::ErrorKind::NotFound, "CWD" | "CDUP" | "MLSD" | "RMD") => "Couldn't open the directory",
        (io::ErrorKind::NotFound, _) => "Couldn't open the file",
        (io::ErrorKind::PermissionDenied, _) => "Permission denied",
        (io::ErrorKind::AlreadyExists, _) => "File or directory already exists",
        _ => "Unknown error",
    }
}
