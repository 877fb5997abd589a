//! Up to where the schedule of each job is dealt with.

use super::fold::Changes;
use super::value::{Content, SCHEDULES};
use crate::domain::{JobName, Record, ScheduleMark};
use crate::state::error::ManifestFault;

/// Adds what a record says of a schedule.
pub(super) fn add(changes: &mut Changes<'_>, record: &Record) -> Result<(), ManifestFault> {
    let (job, mark) = match record {
        Record::Scheduled(scheduled) => (&scheduled.job, ScheduleMark::begun(scheduled)),
        Record::RunsMissed(missed) => {
            let before = mark(changes, &missed.job)?;
            (&missed.job, ScheduleMark::advanced(before, missed.missed.last))
        }
        Record::RunStarted(started) => {
            let Some(due) = started.triggers.last_due() else { return Ok(()) };
            (&started.job, ScheduleMark::advanced(mark(changes, &started.job)?, due))
        }
        _ => return Ok(()),
    };
    changes.put(key(job), &mark, Content::Json)
}

/// The mark of a job's schedule.
pub(super) fn mark(changes: &Changes<'_>, job: &JobName) -> Result<Option<ScheduleMark>, ManifestFault> {
    changes.get(&key(job), Content::Json)
}

fn key(job: &JobName) -> Vec<u8> {
    [SCHEDULES, job.as_str().as_bytes()].concat()
}
