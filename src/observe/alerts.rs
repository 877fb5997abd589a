//! What is wrong now and was told of, as a fold over ends of runs and what is expected.
//!
//! Each trouble has a stable key. When it begins there is one piece of [`News`], when it is over there
//! is another; what lies between is folded, but for a failure of a kind that was not told yet and a
//! certificate that comes closer to its end. What is open can be written down and taken up again, so
//! that nothing is told twice by an agent that was started anew, and nothing is forgotten: news that
//! did not get out yet are told again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nameless::{failed_by_kind, nameless, words};
use super::news::{AlertKind, Cause, News, Turn};
use super::summary::{parked, trouble};
use super::text::{count, escaped};
use crate::domain::{
    AuditCounts, AuditReport, Exit, Failure, FailureClass, JobName, Late, Occasion, Punctuality, RunReport,
    Scope, ServerName, Timestamp, Zone,
};

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKey {
    /// Something about a job.
    Job(JobName, AlertKind),
    /// The certificate of a server.
    Certificate(ServerName),
    /// Our own, which a server is shown.
    ClientCertificate(ServerName),
}

impl AlertKey {
    /// What it is about, whoever's it is.
    pub const fn kind(&self) -> AlertKind {
        match self {
            Self::Job(_, kind) => *kind,
            Self::Certificate(_) => AlertKind::Certificate,
            Self::ClientCertificate(_) => AlertKind::ClientCertificate,
        }
    }
}

/// A trouble that is not over, or of whose end nobody was told yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about.
    pub key: AlertKey,
    /// When it began.
    pub since: Timestamp,
    /// What is the matter, in the words of its last news.
    pub cause: Cause,
    /// What those are told of who asked for it.
    pub occasion: Occasion,
    /// When the last news of it was made.
    at: Timestamp,
    /// What kinds of it were told.
    told: BTreeSet<String>,
    /// How many news there were.
    number: u32,
    stage: Stage,
    /// Whether its job is parked: for want of room on the server, as the last run says that did not end well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_parked: bool,
}

/// How far people know of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// The news of it may not have got out yet.
    Breaking,
    /// They know.
    Broken,
    /// It is over, and the news of that may not have got out yet.
    Mending,
}

/// What is wrong now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts(BTreeMap<AlertKey, Alert>);

/// Days that a certificate is good for at which people are told, once each.
const CERTIFICATE_DAYS: [u64; 4] = [30, 14, 7, 0];

/// Why a run could not even be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    /// Of this job.
    pub job: &'a JobName,
    /// Why.
    pub cause: &'a str,
}

/// How a job stands with something that is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is expected.
    pub kind: AlertKind,
    /// Whether it is as expected.
    pub punctuality: Punctuality,
    /// What keeps it from being so, where that is known.
    pub failure: Option<Failure>,
}

impl Alerts {
    /// What was written down.
    pub fn of(alerts: impl IntoIterator<Item = Alert>) -> Self {
        Self(alerts.into_iter().map(|alert| (alert.key.clone(), alert)).collect())
    }

    /// What there is to write down.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    /// What is wrong now.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.0.values().filter(|alert| alert.stage != Stage::Mending)
    }

    /// Takes in a run that ended at `at`. A run over a part of the source cannot show that the job
    /// is well again, and one that was interrupted shows nothing.
    pub fn ended(&mut self, report: &RunReport, scope: &Scope, at: Timestamp) -> Vec<News> {
        let class = report.stopped.as_ref().map(|failure| failure.class).or(report.worst);
        let key = AlertKey::Job(report.job.clone(), AlertKind::Run);
        let exit = report.exit();
        let (turn, news) = match (exit, scope) {
            (Exit::Interrupted, _) => return Vec::new(),
            (Exit::Done, Scope::All) => (Turn::EndedWell, self.well(&key, at)),
            (Exit::Done, Scope::Folders(_)) => (Turn::EndedWell, None),
            (_, _) => {
                let class = class.unwrap_or(FailureClass::File);
                let kind = if report.is_parked() { "parked" } else { words(class) };
                let news = self.wrong(&key, occasion(class), kind, || cause(report), at);
                self.0.entry(key).and_modify(|alert| alert.is_parked = report.is_parked());
                (Turn::EndedBadly, news)
            }
        };
        let report = Arc::new(report.clone());
        let ended = News {
            report: Some(Arc::clone(&report)),
            cause: (turn == Turn::EndedBadly).then(|| cause(&report)),
            ..News::of_run(turn, report.job.clone(), at)
        };
        let news = news.map(|news| News { report: Some(report), ..news });
        std::iter::once(ended).chain(news).collect()
    }

    /// Takes in a run that could not even be recorded.
    pub fn lost(&mut self, lost: Lost<'_>, at: Timestamp) -> Vec<News> {
        let key = AlertKey::Job(lost.job.clone(), AlertKind::Run);
        let class = FailureClass::Other;
        // The texts of the state name its own files only.
        let cause = || Cause::plain(lost.cause);
        let news = self.wrong(&key, occasion(class), words(class), cause, at);
        let ended = News { cause: Some(cause()), ..News::of_run(Turn::EndedBadly, lost.job.clone(), at) };
        std::iter::once(ended).chain(news).collect()
    }

    /// Takes in how a job stands with something that is expected of it; people are told times of this zone.
    pub fn expected(
        &mut self,
        job: &JobName,
        expected: &Expected,
        zone: Zone,
        at: Timestamp,
    ) -> Option<News> {
        let Expected { kind, punctuality, failure } = expected;
        let key = AlertKey::Job(job.clone(), *kind);
        match *punctuality {
            Punctuality::Open => None,
            Punctuality::Met => self.well(&key, at),
            Punctuality::Late(late) => {
                self.wrong(&key, Occasion::Late, "late", || lateness(late, failure.as_ref(), zone), at)
            }
        }
    }

    /// Takes in what verifying came to: what differs is wrong; that all is as it should be counts only
    /// where all was looked at.
    pub fn verified(&mut self, report: &AuditReport, at: Timestamp) -> Option<News> {
        let AuditCounts { missing, changed, failed, not_reached, .. } = report.counts;
        let key = AlertKey::Job(report.job.clone(), AlertKind::Verify);
        if missing + changed > 0 {
            return self.wrong(&key, Occasion::Failure, "differs", || differing(report), at);
        }
        let is_whole = report.stopped.is_none() && failed + not_reached == 0;
        is_whole.then(|| self.well(&key, at)).flatten()
    }

    /// Takes in that all that was found missing or changed was delivered since.
    pub fn repaired(&mut self, job: &JobName, at: Timestamp) -> Option<News> {
        self.well(&AlertKey::Job(job.clone(), AlertKind::Verify), at)
    }

    /// Takes in until when a certificate is good: that of a server, or the one that it is shown.
    pub fn certificate(&mut self, key: &AlertKey, until: Timestamp, at: Timestamp) -> Option<News> {
        const DAY: u64 = 24 * 60 * 60;
        let whose = match key {
            AlertKey::Job(..) => return None,
            AlertKey::Certificate(server) => format!("the certificate of server {server}"),
            AlertKey::ClientCertificate(server) => {
                format!("our own certificate for server {server} (`client_certificate`)")
            }
        };
        let left = until.since(at);
        let passed = |days: &u64| left <= Duration::from_secs(days * DAY);
        let Some(reached) = CERTIFICATE_DAYS.into_iter().rfind(passed) else {
            return self.well(key, at);
        };
        let day = until.to_utc().format("%Y-%m-%d");
        let text = match left.as_secs() / DAY {
            _ if until <= at => format!("{whose} has run out on {day}"),
            days => format!(
                "{whose} runs out on {day}, in {}",
                if days == 0 { "less than a day".to_owned() } else { count(days, "day") }
            ),
        };
        self.wrong(key, Occasion::Late, &reached.to_string(), || Cause::plain(&text), at)
    }

    /// Forgets what is no longer looked after, without a word.
    pub fn retain(&mut self, stays: impl Fn(&AlertKey) -> bool) {
        self.0.retain(|key, _| stays(key));
    }

    /// The news that may not have got out: those to tell after a start.
    pub fn untold(&self) -> Vec<News> {
        self.0.values().filter(|alert| alert.stage != Stage::Broken).map(Alert::news).collect()
    }

    /// The news of this number got out to whom it could. Says whether that changed something.
    pub fn told(&mut self, id: &str) -> bool {
        let Some(alert) = self.0.values_mut().find(|alert| alert.id() == id) else { return false };
        match alert.stage {
            Stage::Breaking => alert.stage = Stage::Broken,
            Stage::Broken => return false,
            Stage::Mending => {
                let key = alert.key.clone();
                self.0.remove(&key);
            }
        }
        true
    }

    fn wrong(
        &mut self,
        key: &AlertKey,
        occasion: Occasion,
        kind: &str,
        cause: impl Fn() -> Cause,
        at: Timestamp,
    ) -> Option<News> {
        let fresh = || Alert {
            key: key.clone(),
            since: at,
            cause: cause(),
            occasion,
            at,
            told: BTreeSet::new(),
            number: 0,
            stage: Stage::Breaking,
            is_parked: false,
        };
        let alert = self.0.entry(key.clone()).or_insert_with(fresh);
        if alert.stage == Stage::Mending {
            *alert = Alert { number: alert.number, ..fresh() };
        }
        if !alert.told.insert(kind.to_owned()) {
            return None;
        }
        (alert.cause, alert.occasion, alert.at, alert.stage) = (cause(), occasion, at, Stage::Breaking);
        alert.number = alert.number.saturating_add(1);
        Some(alert.news())
    }

    fn well(&mut self, key: &AlertKey, at: Timestamp) -> Option<News> {
        let alert = self.0.get_mut(key).filter(|alert| alert.stage != Stage::Mending)?;
        (alert.stage, alert.at) = (Stage::Mending, at);
        alert.number = alert.number.saturating_add(1);
        Some(alert.news())
    }
}

impl Alert {
    /// Names its last news, and no other ones ever.
    fn id(&self) -> String {
        let about = match &self.key {
            AlertKey::Job(job, kind) => format!("{}:{job}", kind.name()),
            AlertKey::Certificate(server) | AlertKey::ClientCertificate(server) => {
                format!("{}:{server}", self.key.kind().name())
            }
        };
        format!("{about}:{}:{}", self.since.to_seconds(), self.number)
    }

    fn news(&self) -> News {
        let (job, server) = match &self.key {
            AlertKey::Job(job, _) => (Some(job.clone()), None),
            AlertKey::Certificate(server) | AlertKey::ClientCertificate(server) => {
                (None, Some(server.clone()))
            }
        };
        let (turn, occasion) = match self.stage {
            Stage::Breaking | Stage::Broken => (Turn::Broke, self.occasion),
            Stage::Mending => (Turn::WellAgain, Occasion::Recovery),
        };
        News {
            id: self.id(),
            turn,
            kind: self.key.kind(),
            occasion,
            job,
            server,
            since: Some(self.since),
            at: self.at,
            zone: Zone::UTC,
            cause: Some(self.cause.clone()),
            report: None,
        }
    }
}

const fn occasion(class: FailureClass) -> Occasion {
    match class {
        FailureClass::Source => Occasion::Guard,
        FailureClass::File
        | FailureClass::Temporary
        | FailureClass::Verification
        | FailureClass::Refused
        | FailureClass::Trust
        | FailureClass::Deadline
        | FailureClass::Interrupted
        | FailureClass::Other => Occasion::Failure,
    }
}

/// What is the matter with what is late.
fn lateness(late: Late, failure: Option<&Failure>, zone: Zone) -> Cause {
    let said = late_in_words(late, zone);
    match failure {
        None => Cause::plain(&said),
        Some(failure) => Cause {
            told: format!("{said}; the last try: {}", escaped(&failure.cause)),
            withheld: format!("{said}; the last try: {}", nameless(failure)),
        },
    }
}

fn late_in_words(late: Late, zone: Zone) -> String {
    let said = late.in_words(zone);
    match late {
        Late::TooFew { .. } | Late::TooOld { .. } | Late::Unusual { .. } | Late::NotVerified { .. } => said,
        Late::Waiting { .. } => format!("{said}: it is still being written, or its ready marker is missing"),
    }
}

/// What is the matter with what stands on a server.
fn differing(report: &AuditReport) -> Cause {
    let AuditCounts { missing, changed, .. } = report.counts;
    let numbers = [(missing, "missing"), (changed, "changed")].into_iter().filter(|(number, _)| *number > 0);
    let numbers: Vec<_> = numbers.map(|(number, what)| format!("{} {what}", count(number, "file"))).collect();
    let withheld = format!("on the server: {}; sent again by itself", numbers.join(", "));
    let first =
        report.differences.first().map(|first| format!(", the first of them {}", escaped(&first.name)));
    let told =
        format!("on the server: {}{}; sent again by itself", numbers.join(", "), first.unwrap_or_default());
    Cause { told, withheld }
}

/// What is the matter with a run that did not end well.
fn cause(report: &RunReport) -> Cause {
    let all = trouble(report);
    let told = all.strip_prefix(&format!("{}: ", report.job)).unwrap_or(&all).to_owned();
    let withheld = match &report.stopped {
        Some(failure) => nameless(failure),
        None if !report.failed.is_empty() => failed_by_kind(report).join("; "),
        None => format!("{} cannot be proved to have arrived", count(report.counts.presumed, "file")),
    };
    let withheld =
        if report.is_parked() { format!("{}: {withheld}", parked(&report.counts)) } else { withheld };
    Cause { told, withheld }
}

#[cfg(test)]
mod tests;
