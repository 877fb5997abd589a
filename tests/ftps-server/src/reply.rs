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

    /// Refuses a command in plain text.
    pub(crate) fn unencrypted(manner: Manner) -> Self {
        match manner {
            Manner::ProFtpd => Self::new(550, "SSL/TLS required on the control channel"),
            Manner::Vsftpd => Self::new(530, "Non-anonymous sessions must use encryption."),
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
