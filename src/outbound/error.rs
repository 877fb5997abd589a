//! Why a message did not get out.

use std::io;
use std::path::PathBuf;

/// Why a message did not get out. Holds no secret, and no more of an address than its host.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// A secret that it needs cannot be had.
    #[error("{0}")]
    Secret(String),
    /// The authorities to trust cannot be read.
    #[error("cannot read the authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is not one authority to trust.
    #[error("there is no authority to trust{}", in_file(path.as_ref()))]
    NoAuthority {
        /// The file that should hold one; the system's where there is none.
        path: Option<PathBuf>,
    },
    /// The request did not get through.
    #[error("{0}")]
    Http(String),
    /// The receiver answered with another status than success.
    #[error("the receiver answered with status {status}")]
    Status {
        /// The status (RFC 9110, section 15).
        status: u16,
    },
    /// The mail cannot be put together.
    #[error("the mail cannot be written: {0}")]
    Message(String),
    /// The receiver's certificate is not trusted.
    #[error("TLS failed: {0}")]
    Distrust(&'static str),
    /// The mail server did not take it.
    #[error("the mail server did not take it: {text}")]
    Mail {
        /// What it said, or what went wrong on the way.
        text: String,
        /// Whether it said so for good.
        refusal: Refusal,
    },
    /// The program cannot be run or fed.
    #[error("the program cannot be run")]
    NotRun(#[source] io::Error),
    /// The program failed.
    #[error("the program ended with {status}{}", said(complaint))]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its standard error, escaped.
        complaint: String,
    },
    /// It took too long.
    #[error("it took longer than {} s", .0.as_secs())]
    TooSlow(std::time::Duration),
    /// A part of the program failed.
    #[error("a part of the program failed; please report it")]
    Died,
}

/// Whether a refusal is for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another try may fare better.
    Passing,
    /// It would take another message, or another configuration.
    Lasting,
}

impl NotTold {
    /// Whether trying again and again is of no use.
    pub const fn refusal(&self) -> Refusal {
        match self {
            // Too many requests, or not in time: RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4.
            Self::Status { status: 408 | 425 | 429 } => Refusal::Passing,
            Self::Status { status: 300..=499 } | Self::Message(_) => Refusal::Lasting,
            Self::Mail { refusal, .. } => *refusal,
            Self::Status { .. }
            | Self::Secret(_)
            | Self::Authorities { .. }
            | Self::NoAuthority { .. }
            | Self::Http(_)
            | Self::Distrust(_)
            | Self::NotRun(_)
            | Self::Failed { .. }
            | Self::TooSlow(_)
            | Self::Died => Refusal::Passing,
        }
    }
}

fn said(complaint: &str) -> String {
    if complaint.is_empty() { String::new() } else { format!(": {complaint}") }
}

fn in_file(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| " on this system".to_owned(), |path| format!(" in {}", path.display()))
}
