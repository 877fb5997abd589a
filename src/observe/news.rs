//! A piece of news for people, and the words for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::summary::{MAX_FILES_NAMED, summary_for};
use super::text::escaped;
use crate::domain::{Exit, FileNames, JobName, Occasion, RunReport, ServerName, Timestamp, Zone};

/// The version of the JSON in messages; keys may be added to it without another one.
const VERSION: u16 = 1;

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Names it, so that a receiver can tell a repetition: letters, digits, `-`, `_`, `.` and `:`.
    pub id: String,
    /// What happened.
    pub turn: Turn,
    /// What it is about.
    pub kind: AlertKind,
    /// Who wants to know.
    pub occasion: Occasion,
    /// The job, if it is about one.
    pub job: Option<JobName>,
    /// The server, if it is about one.
    pub server: Option<ServerName>,
    /// When the trouble began.
    pub since: Option<Timestamp>,
    /// When it happened.
    pub at: Timestamp,
    /// By whose clock people are told when.
    pub zone: Zone,
    /// What is or was the matter.
    pub cause: Option<Cause>,
    /// The run that showed it.
    pub report: Option<Arc<RunReport>>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A run began.
    Began,
    /// A run ended well.
    EndedWell,
    /// A run did not end well. Only those are told who want a word of every run.
    EndedBadly,
    /// Something is wrong since now, or for another reason than before.
    Broke,
    /// What was wrong is over.
    WellAgain,
    /// Somebody tries whether messages arrive.
    Test,
}

/// What news are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// A job's runs.
    Run,
    /// Files that should be there by a time of day (`expect`).
    TooFew,
    /// The age of the last good run (`max_age`).
    TooOld,
    /// Files that are not ready (`max_wait`).
    Waiting,
    /// An unusual number of files (`unusual`).
    Unusual,
    /// Files that are missing or changed on the server (`verify_every`).
    Verify,
    /// That for too long nothing showed whether files still stand on the server (`verify_every`).
    NotVerified,
    /// A server's certificate.
    Certificate,
    /// Our own certificate, which a server is shown.
    ClientCertificate,
    /// Nothing: a test.
    Test,
}

impl AlertKind {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::TooFew => "too-few",
            Self::TooOld => "too-old",
            Self::Waiting => "waiting",
            Self::Unusual => "unusual",
            Self::Verify => "verify",
            Self::NotVerified => "not-verified",
            Self::Certificate => "certificate",
            Self::ClientCertificate => "client-certificate",
            Self::Test => "test",
        }
    }
}

/// What is the matter, with and without names of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// May name a file.
    pub told: String,
    /// Does not.
    pub withheld: String,
}

impl Cause {
    /// A text that names no file.
    pub fn plain(text: &str) -> Self {
        let text = escaped(text).into_owned();
        Self { told: text.clone(), withheld: text }
    }

    /// The text for a receiver.
    pub fn text(&self, names: FileNames) -> &str {
        match names {
            FileNames::Told => &self.told,
            FileNames::Withheld => &self.withheld,
        }
    }
}

impl News {
    /// News of a run as such.
    pub fn of_run(turn: Turn, job: JobName, at: Timestamp) -> Self {
        let occasion = match turn {
            Turn::Began => Occasion::Start,
            Turn::EndedWell | Turn::Test => Occasion::Success,
            Turn::EndedBadly | Turn::Broke => Occasion::Failure,
            Turn::WellAgain => Occasion::Recovery,
        };
        let what = match turn {
            Turn::Began => "began",
            Turn::EndedWell | Turn::EndedBadly => "ended",
            Turn::Broke | Turn::WellAgain | Turn::Test => "run",
        };
        Self {
            id: format!("{what}:{job}:{}", at.unix_nanos()),
            turn,
            kind: AlertKind::Run,
            occasion,
            job: Some(job),
            server: None,
            since: None,
            at,
            zone: Zone::UTC,
            cause: None,
            report: None,
        }
    }

    /// A message that only shows that messages arrive.
    pub fn test(at: Timestamp) -> Self {
        let text = "nothing is wrong: somebody tries whether messages arrive";
        Self {
            id: format!("test:{}", at.unix_nanos()),
            turn: Turn::Test,
            kind: AlertKind::Test,
            occasion: Occasion::Success,
            job: None,
            server: None,
            since: None,
            at,
            zone: Zone::UTC,
            cause: Some(Cause::plain(text)),
            report: None,
        }
    }

    /// What happened, as the rest of a sentence; ASCII, and of bounded length.
    pub fn headline(&self) -> String {
        let about = match (&self.job, &self.server) {
            (Some(job), _) => format!("job {job}"),
            (None, Some(server)) => format!("server {server}"),
            (None, None) => String::new(),
        };
        let what = match (self.turn, self.kind) {
            (Turn::Test, _) | (_, AlertKind::Test) => return "test message".to_owned(),
            (Turn::Began, _) => "began",
            (Turn::EndedWell, _) => "ended well",
            (Turn::EndedBadly, _) => "did not end well",
            (Turn::WellAgain, AlertKind::Run) => "is well again",
            (Turn::WellAgain, AlertKind::TooFew) => "has delivered what was late",
            (Turn::WellAgain, AlertKind::TooOld) => "has ended well again",
            (Turn::WellAgain, AlertKind::Waiting) => "has no file any more that waits for too long",
            (Turn::WellAgain, AlertKind::Unusual) => "delivers the usual number of files again",
            (Turn::WellAgain, AlertKind::Verify) => "has all its files on the server again",
            (Turn::WellAgain, AlertKind::NotVerified) => "has been verified on the server again",
            (Turn::WellAgain, AlertKind::Certificate) => "has a new certificate",
            (Turn::WellAgain, AlertKind::ClientCertificate) => "is shown a new certificate of ours",
            (Turn::Broke, AlertKind::Run) if self.occasion == Occasion::Guard => {
                "was stopped: look at its source folder"
            }
            (Turn::Broke, AlertKind::Run) => "does not end well",
            (Turn::Broke, AlertKind::TooFew) => "is late: too few files",
            (Turn::Broke, AlertKind::TooOld) => "is late: no good run for too long",
            (Turn::Broke, AlertKind::Waiting) => "has a file that waits for too long",
            (Turn::Broke, AlertKind::Unusual) => "delivered an unusual number of files",
            (Turn::Broke, AlertKind::Verify) => "has files that are missing or changed on the server",
            (Turn::Broke, AlertKind::NotVerified) => "is late: not verified on the server for too long",
            (Turn::Broke, AlertKind::Certificate) => "needs a new certificate",
            (Turn::Broke, AlertKind::ClientCertificate) => "needs a new certificate of ours",
        };
        format!("{about} {what}")
    }

    /// The object for programs.
    pub fn json(&self, host: &str, names: FileNames) -> Value {
        let report = self.report.as_deref();
        let stopped = |report: &RunReport| report.stopped.as_ref().map(|failure| failure.class);
        let mut message = json!({
            "version": VERSION,
            "id": self.id,
            "event": if self.turn == Turn::Test { "test" } else { self.occasion.name() },
            "kind": self.kind.name(),
            "summary": self.headline(),
            "host": host,
            "agent": env!("CARGO_PKG_VERSION"),
            "job": self.job,
            "server": self.server,
            "cause": self.cause.as_ref().map(|cause| cause.text(names)),
            "since": self.since.map(Timestamp::to_seconds),
            "at": self.at.to_seconds(),
            "run": report.map(|report| report.run),
            "outcome": report.map(|report| if report.exit() == Exit::Done { "done" } else { "failed" }),
            "trouble": report.and_then(|report| stopped(report).or(report.worst)),
            "exit_code": report.map(|report| report.exit().code()),
            "counts": report.map(|report| report.counts),
            "elapsed_ms": report.map(|report| report.elapsed_ms),
        });
        if let (FileNames::Told, Some(report), Value::Object(fields)) = (names, report, &mut message) {
            let failed = report.failed.iter().take(MAX_FILES_NAMED);
            let failed = failed.map(|file| json!({"name": file.name, "cause": file.failure.cause}));
            fields.insert("failed".to_owned(), failed.collect());
        }
        message
    }

    /// The message in plain words: less than a screen, lines ended by line feeds. Free of control
    /// characters but for these.
    pub fn text(&self, host: &str, names: FileNames) -> String {
        let headline = self.headline();
        let mut text = format!("Nightferry on {host}: {headline}.\n");
        if let Some(cause) = &self.cause {
            let label = if self.turn == Turn::WellAgain { "What it was" } else { "What is the matter" };
            let label = if self.turn == Turn::Test { "What it means" } else { label };
            text.extend([format!("\n{label}: {}.\n", escaped(cause.text(names)))]);
        }
        if let Some(since) = self.since {
            text.extend([format!("Since: {}", self.zone.shown(since))]);
            if self.turn == Turn::WellAgain {
                text.extend([format!("; over: {}", self.zone.shown(self.at))]);
            }
            text.push('\n');
        }
        if let Some(report) = &self.report {
            text.extend([format!("\nRun {}\n{}\n", report.run, summary_for(report, names))]);
        }
        let advice = self.advice();
        if !advice.is_empty() {
            text.push_str("\nWhat to do on that machine:\n");
            for (command, what) in advice {
                text.extend([format!("  {command:<34} {what}\n")]);
            }
        }
        if self.turn == Turn::Broke {
            text.push_str("\nYou hear of this again when it is over, or for another reason.\n");
        }
        text
    }

    fn advice(&self) -> Vec<(String, &'static str)> {
        if self.turn != Turn::Broke && self.turn != Turn::EndedBadly {
            return Vec::new();
        }
        let mut advice = vec![("nightferry status".to_owned(), "what fails now, and when it is tried again")];
        if let Some(report) = &self.report {
            advice.push((format!("nightferry history show {}", report.run), "the run with its files"));
            if report.counts.presumed > 0 {
                advice.push((
                    format!("nightferry settle {}", report.job),
                    "what cannot be known to have arrived",
                ));
            }
        }
        match (self.kind, &self.server) {
            (AlertKind::Certificate, Some(server)) => {
                advice.push((
                    format!("nightferry trust {server}"),
                    "the certificate; ask whoever runs the server",
                ));
            }
            (AlertKind::Run | AlertKind::TooOld | AlertKind::TooFew, _) => {
                advice.push(("nightferry doctor".to_owned(), "the servers, layer by layer"));
            }
            (AlertKind::ClientCertificate, _) => {
                advice.push((
                    "systemctl reload nightferry".to_owned(),
                    "takes in the new files, once they are in place",
                ));
            }
            (AlertKind::Verify | AlertKind::NotVerified, _) => {
                let job = self.job.as_ref().map_or_else(String::new, |job| format!(" {job}"));
                advice
                    .push((format!("nightferry history{job}"), "its runs: `history show` tells of a verify"));
            }
            (AlertKind::Waiting | AlertKind::Unusual | AlertKind::Test | AlertKind::Certificate, _) => {}
        }
        advice
    }
}

#[cfg(test)]
mod tests;
