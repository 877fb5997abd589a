//! What the ledger keeps of schedules.

use serde::{Deserialize, Serialize};

use super::{JobName, Missed, Timestamp};

/// A job's schedule counts from here on: it is new, or it was changed, or the clock was found to
/// have been far ahead. Without this a time that is missed before the first run would leave no
/// trace, and times of a new schedule that lie in the past would be made up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The job.
    pub job: JobName,
    /// Expression and zone, as they are written.
    pub schedule: String,
    /// No earlier time counts.
    pub from: Timestamp,
}

/// Scheduled times passed without a run, and none makes up for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsMissed {
    /// The job.
    pub job: JobName,
    /// Which times.
    pub missed: Missed,
    /// Why there was no run.
    pub cause: String,
}

/// Up to where a job's schedule is dealt with: a fold over [`Scheduled`], [`RunsMissed`] and the
/// triggers of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleMark {
    /// The schedule that counted last, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// No scheduled time up to here is open any more.
    pub dealt_with: Timestamp,
}

impl ScheduleMark {
    /// The mark after a schedule was begun.
    pub fn begun(scheduled: &Scheduled) -> Self {
        Self { schedule: Some(scheduled.schedule.clone()), dealt_with: scheduled.from }
    }

    /// The mark after scheduled times were dealt with, the last of them at `due`.
    #[must_use]
    pub fn advanced(before: Option<Self>, due: Timestamp) -> Self {
        match before {
            Some(Self { schedule, dealt_with }) => Self { schedule, dealt_with: dealt_with.max(due) },
            None => Self { schedule: None, dealt_with: due },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Record, Trigger, Triggers};

    #[test]
    fn runs_from_before_triggers_were_kept_can_be_read() {
        let old = r#"{"record":"run-started","run":1,"job":"reports","target":{"source":"/s","host":"h","port":21,"user":"u","destination":"/d"}}"#;
        let Record::RunStarted(mut started) = serde_json::from_str(old).unwrap() else { panic!() };
        assert!(started.triggers.is_empty());
        assert_eq!(serde_json::to_string(&Record::RunStarted(started.clone())).unwrap(), old);
        let missed =
            Missed { first: Timestamp::from_unix(0, 0), last: Timestamp::from_unix(60, 0), times: 2 };
        started.triggers = Triggers::of(Trigger::CatchUp(missed));
        let record = Record::RunStarted(started);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}
