//! What a run would do, without doing it.

use serde::Serialize;

use super::text::{bytes, count, escaped};
use crate::domain::JobName;

/// What would be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedAction {
    /// It is sent.
    Send,
    /// It is read, and sent if its content changed.
    Read,
    /// Nothing: it is as it was when it was delivered.
    Unchanged,
    /// Nothing: it was presumed, and a person said that the receiver has it.
    Attested,
    /// Nothing, until a person decides: most likely it was delivered and taken.
    Presumed,
    /// Nothing yet: it may still be being written.
    Wait,
    /// Nothing: it is neither file nor folder.
    Skip,
    /// It is deleted on the server, or moved to the trash there, if the limits allow it.
    Remove,
    /// It fails, because it cannot be sent or looked at.
    Fail,
}

impl PlannedAction {
    const fn verb(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Unchanged => "unchanged",
            Self::Attested => "attested",
            Self::Presumed => "presumed",
            Self::Wait => "wait",
            Self::Skip => "skip",
            Self::Remove => "remove",
            Self::Fail => "fail",
        }
    }
}

/// What would be done with one file, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// What.
    pub action: PlannedAction,
    /// The file as shown to people.
    pub name: String,
    /// Its bytes, where they are known.
    pub size: Option<u64>,
    /// Why.
    pub reason: String,
}

impl Planned {
    /// One line: what, the name, the size, why.
    pub fn line(&self) -> String {
        let size = self.size.map_or_else(String::new, |size| format!("  {}", bytes(size)));
        format!("{:<9}  {}{size}  {}", self.action.verb(), escaped(&self.name), escaped(&self.reason))
    }
}

/// What would be done with all files of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanTotals {
    /// Files that are sent.
    pub send: u64,
    /// Their bytes.
    pub send_bytes: u64,
    /// Files that are read, and sent if their content changed.
    pub read: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Files as they were when they were delivered.
    pub unchanged: u64,
    /// Files that the receiver has, as a person said.
    pub attested: u64,
    /// Files that are presumed to be delivered.
    pub presumed: u64,
    /// Files that are not sent yet.
    pub wait: u64,
    /// What is neither file nor folder.
    pub skip: u64,
    /// Remote files that are deleted, or moved to the trash.
    pub remove: u64,
    /// Files that fail.
    pub fail: u64,
}

impl PlanTotals {
    /// Counts one file.
    pub fn add(&mut self, planned: &Planned) {
        let size = planned.size.unwrap_or(0);
        match planned.action {
            PlannedAction::Send => {
                self.send += 1;
                self.send_bytes = self.send_bytes.saturating_add(size);
            }
            PlannedAction::Read => {
                self.read += 1;
                self.read_bytes = self.read_bytes.saturating_add(size);
            }
            PlannedAction::Unchanged => self.unchanged += 1,
            PlannedAction::Attested => self.attested += 1,
            PlannedAction::Presumed => self.presumed += 1,
            PlannedAction::Wait => self.wait += 1,
            PlannedAction::Skip => self.skip += 1,
            PlannedAction::Remove => self.remove += 1,
            PlannedAction::Fail => self.fail += 1,
        }
    }

    /// One line about the job.
    pub fn line(&self, job: &JobName) -> String {
        let mut parts = vec![match self.send {
            0 => "nothing to send".to_owned(),
            _ => format!("{} to send, {}", count(self.send, "file"), bytes(self.send_bytes)),
        }];
        if self.read > 0 {
            parts.push(format!("{} to read, {}", self.read, bytes(self.read_bytes)));
        }
        parts.push(format!("{} unchanged", self.unchanged));
        let others = [
            (self.attested, "attested by a person"),
            (self.presumed, "presumed, to be decided"),
            (self.remove, "to delete on the server"),
            (self.wait, "not ready yet"),
            (self.skip, "skipped"),
            (self.fail, "that cannot be sent"),
        ];
        for (number, what) in others {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        format!("{job}: {}", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_and_why() {
        let planned = |action, size, reason: &str| Planned {
            action,
            name: "reports/a\n.csv".into(),
            size,
            reason: reason.into(),
        };
        let all = [
            planned(PlannedAction::Send, Some(4096), "new"),
            planned(PlannedAction::Read, Some(10), "same size, other time"),
            planned(PlannedAction::Fail, None, "a line feed in the name"),
        ];
        let mut totals = PlanTotals { unchanged: 5, ..PlanTotals::default() };
        for planned in &all {
            totals.add(planned);
        }
        assert_eq!(
            all.each_ref().map(Planned::line),
            [
                r"send       reports/a\n.csv  4.0 KiB  new",
                r"read       reports/a\n.csv  10 B  same size, other time",
                r"fail       reports/a\n.csv  a line feed in the name",
            ]
        );
        assert_eq!(
            totals.line(&"j".parse().unwrap()),
            "j: 1 file to send, 4.0 KiB; 1 to read, 10 B; 5 unchanged; 1 that cannot be sent"
        );
        assert_eq!(PlanTotals::default().line(&"j".parse().unwrap()), "j: nothing to send; 0 unchanged");
    }
}
