//! What the page says, in words for those who do not write programs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::agent::history::RunEntry;
use crate::agent::status::{AlertStatus, JobState, JobStatus, Readiness, Status};
use crate::domain::{FailureClass, JobName, Timestamp, Zone};
use crate::observe::{AlertKind, count};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Someone has to act.
    Bad,
    /// Not well, but it goes on by itself.
    Passing,
    /// At work.
    Busy,
    /// It is to run, but may not yet.
    Held,
    /// It has not run yet.
    Fresh,
    /// Nothing is to be said.
    Well,
}

impl Mood {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Passing => "passing",
            Self::Busy => "busy",
            Self::Held | Self::Fresh => "quiet",
            Self::Well => "well",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Bad => "needs attention",
            Self::Passing => "tries again",
            Self::Busy => "running",
            Self::Held => "waits for its hours",
            Self::Fresh => "not run yet",
            Self::Well => "well",
        }
    }
}

/// How a job is: its last run counts until the next one has ended.
pub(super) fn mood(job: &JobStatus) -> Mood {
    let running = matches!(job.state, JobState::Running(_));
    match &job.last {
        Some(last) if !last.is_well() => match class_of(job) {
            Some(class) if goes_on_by_itself(class) && last.counts.presumed == 0 => Mood::Passing,
            None if last.ended.is_none() => Mood::Passing,
            _ => Mood::Bad,
        },
        _ if running => Mood::Busy,
        _ if job.state == JobState::Held => Mood::Held,
        None => Mood::Fresh,
        Some(_) => Mood::Well,
    }
}

/// How all is, in one line.
pub(super) fn verdict(status: &Status) -> (Mood, String) {
    let number = |wanted: Mood| status.jobs.iter().filter(|job| mood(job) == wanted).count();
    let (bad, passing, busy) = (number(Mood::Bad), number(Mood::Passing), number(Mood::Busy));
    let jobs = |number: usize| count(u64::try_from(number).unwrap_or(u64::MAX), "job");
    match status.readiness {
        Readiness::CannotRecord => return (Mood::Bad, "No run can begin".to_owned()),
        Readiness::Stopping => return (Mood::Passing, "The agent is stopping".to_owned()),
        Readiness::NoAgent => return (Mood::Bad, "No agent runs".to_owned()),
        Readiness::Ready => {}
    }
    let late: BTreeSet<_> = beside_runs(status)
        .filter_map(|alert| alert.job.as_ref())
        .filter(|name| status.jobs.iter().all(|job| job.job != **name || mood(job) != Mood::Bad))
        .collect();
    let bad = bad + late.len();
    let verb = |number| if number == 1 { "needs" } else { "need" };
    match (bad, passing, busy) {
        (1.., _, _) => (Mood::Bad, format!("{} {} attention", jobs(bad), verb(bad))),
        _ if status.refused_configuration.is_some() => {
            (Mood::Bad, "The new configuration was refused".to_owned())
        }
        (0, 1.., _) => (Mood::Passing, format!("{} will be tried again", jobs(passing))),
        (0, 0, 1..) => (Mood::Busy, format!("{} running, all is well", jobs(busy))),
        (0, 0, 0) if status.jobs.iter().all(|job| job.last.is_none()) => {
            (Mood::Fresh, "No job has run yet".to_owned())
        }
        (0, 0, 0) => (Mood::Well, "All is well".to_owned()),
    }
}

/// The gravest trouble of a job's last run.
fn class_of(job: &JobStatus) -> Option<FailureClass> {
    let last = job.last.as_ref()?;
    if let Some(stopped) = &last.stopped {
        return Some(stopped.class);
    }
    let classes = job.failing.iter().map(|file| file.failure.class);
    classes
        .reduce(|worst, class| if worst.exit().worst(class.exit()) == worst.exit() { worst } else { class })
}

const fn goes_on_by_itself(class: FailureClass) -> bool {
    match class {
        FailureClass::Temporary | FailureClass::Deadline | FailureClass::Interrupted => true,
        FailureClass::File
        | FailureClass::Source
        | FailureClass::Verification
        | FailureClass::Refused
        | FailureClass::Trust
        | FailureClass::Other => false,
    }
}

/// What is wrong, but for what the last run of its job tells by itself.
pub(super) fn beside_runs(status: &Status) -> impl Iterator<Item = &AlertStatus> {
    let last = |name: &Option<JobName>| {
        let job = status.jobs.iter().find(|job| Some(&job.job) == name.as_ref());
        job.and_then(|job| job.last.as_ref())
    };
    status.alerts.iter().filter(move |alert| !alert.is_told_by(last(&alert.job)))
}

/// A word for what is wrong with a job, and what a person should do.
pub(super) fn alert(kind: AlertKind, job: &JobName) -> (&'static str, String) {
    match kind {
        AlertKind::Run => (
            "not well",
            format!(
                "a look at changed folders went well since, which shows nothing of the others. The next whole run \
                 that ends well ends this: `nightferry sync {job}`"
            ),
        ),
        AlertKind::Verify => (
            "differs",
            "ask whoever runs the server why. What still stands in the source folder is sent again by itself, and \
             this goes then."
                .to_owned(),
        ),
        AlertKind::NotVerified => (
            "not verified",
            format!(
                "see why. Its tries are among the runs of `nightferry history {job}`, and `nightferry history show \
                 RUN` tells why one did not come to its end."
            ),
        ),
        AlertKind::TooFew
        | AlertKind::TooOld
        | AlertKind::Waiting
        | AlertKind::Unusual
        | AlertKind::Certificate
        | AlertKind::ClientCertificate
        | AlertKind::Test => (
            "late",
            "see whether what makes these files did its work, and whether they stand in the source folder. Once they \
             are delivered, this goes by itself."
                .to_owned(),
        ),
    }
}

/// What a person should do about a job that did not end well.
pub(super) fn todo(job: &JobStatus) -> String {
    let (name, server) = (&job.job, &job.server);
    let presumed = job.last.as_ref().map_or(0, |last| last.counts.presumed);
    let Some(class) = class_of(job) else {
        if presumed > 0 {
            return format!(
                "ask the receiver whether {} arrived, then record the answer with: `nightferry settle {name}`",
                count(presumed, "file")
            );
        }
        return "nothing yet: the next run goes on where this one ended.".to_owned();
    };
    match class {
        FailureClass::File => {
            "look at the files named here: they cannot be read, keep changing, have a name that the server \
             does not take, or something else stands in their place. All others were sent; these go with the \
             next run once the cause is mended."
                .to_owned()
        }
        FailureClass::Source => {
            "see that the source folder is there, complete, and its disk mounted. If deletions were stopped \
             and are meant, approve them as said above."
                .to_owned()
        }
        FailureClass::Temporary => {
            format!(
                "nothing yet. If it goes on for hours, this finds the cause: `nightferry doctor {server}`"
            )
        }
        FailureClass::Verification => format!(
            "tell whoever runs {server} that it keeps other bytes than were sent. Count these files as not \
             delivered. A closer look: `nightferry doctor {server}`"
        ),
        FailureClass::Refused if job.last.as_ref().is_some_and(RunEntry::is_parked) => format!(
            "ask whoever runs {server} for more room (quota, disk, largest size of a file), or have something deleted \
             there. Nothing is to be done here: what waits is tried again by itself."
        ),
        FailureClass::Refused => format!(
            "ask whoever runs {server} about login, quota and permissions. What is refused: \
             `nightferry doctor {server}`"
        ),
        FailureClass::Trust => format!(
            "do not work round it. Ask whoever runs {server} whether its certificate changed, and compare: \
             `nightferry trust {server}`"
        ),
        FailureClass::Deadline => {
            "nothing yet: the rest goes with the next run. If it is never enough, give the job more time \
             (deadline, window)."
                .to_owned()
        }
        FailureClass::Interrupted => "nothing: the next run goes on where it was stopped.".to_owned(),
        FailureClass::Other => {
            "look at this machine: is its disk full or failing? The agent's log says more.".to_owned()
        }
    }
}

/// What came of a run, in a few words.
pub(super) fn result(last: &RunEntry) -> String {
    let counts = &last.counts;
    let mut parts = Vec::new();
    if last.ended.is_none() {
        parts.push("cut off before its end".to_owned());
    } else if last.stopped.is_some() {
        parts.push("stopped before its end".to_owned());
    }
    if counts.delivered > 0 || (parts.is_empty() && counts.left_to_do() == 0) {
        parts.push(match counts.delivered {
            0 => "nothing new".to_owned(),
            sent => format!("{} sent", count(sent, "file")),
        });
    }
    for (number, what) in [
        (counts.failed, "failed"),
        (counts.presumed, "presumed delivered"),
        (counts.retained, "not taken out of the source"),
        (counts.not_removed, "not deleted on the server"),
        (counts.not_reached, "not reached"),
        (counts.waiting, "not ready yet"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.join(", ")
}

/// How far away a time is: `3 h ago`, `in 2 d`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("in {}", span(at.since(now)));
    }
    match now.since(at) {
        gone if gone.as_secs() < 5 => "just now".to_owned(),
        gone => format!("{} ago", span(gone)),
    }
}

/// A length of time, in its largest unit.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Day and time to the minute, with the zone.
pub(super) fn minute(at: Timestamp, zone: Zone) -> String {
    let nanos = at.unix_nanos();
    zone.shown(Timestamp::from_unix_nanos(nanos - nanos.rem_euclid(60 * 1_000_000_000)))
}
