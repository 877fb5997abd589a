//! One JSON object an event, for programs (NDJSON).

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{Event, FileProgress, JobName, PublishWay, RunId};

/// Turns the events of a run, and of runs that follow each other, into JSON.
///
/// Each object has `event`, a word with hyphens, and the `job` and `run` it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Json {
    current: Option<(JobName, RunId)>,
}

impl Json {
    /// The object for an event, on one line without a line end; `None` for those that come with
    /// each file and each piece of it, which say nothing that another does not.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        if let Event::RunStarted { run, job, .. } | Event::AuditStarted { run, job, .. } = event {
            self.current = Some((job.clone(), *run));
        }
        let (name, fields) = described(event)?;
        let (job, run) = self.current.as_ref().map(|(job, run)| (job, run)).unzip();
        serde_json::to_string(&Object { event: name, job, run, fields }).ok()
    }
}

/// What every object has, in front of its own fields.
#[derive(Serialize)]
struct Object<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a JobName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(flatten)]
    fields: Value,
}

fn described(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::RunStarted { triggers, .. } => ("run-started", json!({"triggers": triggers})),
        Event::AuditStarted { audit, .. } => ("audit-started", json!({"audit": audit})),
        Event::TargetChanged { before, now } => ("target-changed", json!({"before": before, "now": now})),
        Event::Planned { .. } => return None,
        Event::PlanComplete { unchanged } => ("plan-complete", json!({"unchanged": unchanged})),
        Event::SessionOpened { server, facts } => {
            ("session-opened", json!({"server": server, "session": facts}))
        }
        Event::GuardTripped { cause } => ("guard-tripped", json!({"cause": cause})),
        Event::Notice { text } => ("notice", json!({"text": text})),
        Event::File { path, progress } => {
            let (name, mut fields) = file(progress)?;
            fields.as_object_mut()?.insert("path".to_owned(), path.as_str().into());
            (name, fields)
        }
        Event::Skipped { name, reason } => ("file-skipped", json!({"name": name, "reason": reason})),
        Event::Refused { name, failure } => ("file-refused", json!({"name": name, "failure": failure})),
        Event::RunFinished { report } => ("run-finished", json!({"report": report})),
        Event::AuditFinished { report } => ("audit-finished", json!({"report": report})),
    })
}

fn file(progress: &FileProgress) -> Option<(&'static str, Value)> {
    Some(match progress {
        FileProgress::Bytes { .. } => return None,
        FileProgress::Started { size } => ("file-started", json!({"size": size})),
        FileProgress::Resumed { at } => ("file-resumed", json!({"at": at})),
        FileProgress::Retrying { failure, attempt } => {
            ("file-retrying", json!({"failure": failure, "attempt": attempt}))
        }
        FileProgress::Delivered { size, method, publish: PublishWay::Rename } => {
            ("file-delivered", json!({"size": size, "proof": method}))
        }
        FileProgress::Delivered { size, method, publish: publish @ PublishWay::Direct } => {
            ("file-delivered", json!({"size": size, "proof": method, "publish": publish}))
        }
        FileProgress::Settled => ("file-settled", json!({})),
        FileProgress::Confirmed => ("file-confirmed", json!({})),
        FileProgress::Presumed => ("file-presumed", json!({})),
        FileProgress::Attested => ("file-attested", json!({})),
        FileProgress::Waiting { age_ms, cause } => {
            ("file-waiting", json!({"age_ms": age_ms, "cause": cause}))
        }
        FileProgress::Retired { moved_to } => ("file-retired", json!({"moved_to": moved_to})),
        FileProgress::Retained { failure } => ("file-retained", json!({"failure": failure})),
        FileProgress::Removed { removal } => ("file-removed", json!({"removal": removal})),
        FileProgress::NotRemoved { failure } => ("file-not-removed", json!({"failure": failure})),
        FileProgress::Proved { size, method } => ("file-proved", json!({"size": size, "proof": method})),
        FileProgress::Differs { difference } => ("file-differs", json!({"difference": difference})),
        FileProgress::Kept => ("file-kept", json!({})),
        FileProgress::Taken => ("file-taken", json!({})),
        FileProgress::Failed { failure } => ("file-failed", json!({"failure": failure})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Failure, FailureClass, ProofMethod, RelPath, RunReport, Trigger, Triggers};

    #[test]
    fn a_run_in_json() {
        let job: JobName = "daily-reports".parse().unwrap();
        let path = RelPath::new("reports/a \"b\".csv").unwrap();
        let file = |progress| Event::File { path: path.clone(), progress };
        let failure = Failure::new(FailureClass::Temporary, "connection reset");
        let events = [
            Event::RunStarted { run: RunId(7), job: job.clone(), triggers: Triggers::of(Trigger::Manual) },
            Event::Planned { bytes: 4 },
            Event::PlanComplete { unchanged: 3 },
            file(FileProgress::Started { size: 4 }),
            file(FileProgress::Resumed { at: 3 }),
            file(FileProgress::Bytes { count: 1 }),
            file(FileProgress::Retrying { failure: failure.clone(), attempt: 2 }),
            file(FileProgress::Delivered {
                size: 4,
                method: ProofMethod::ReadBack,
                publish: PublishWay::Rename,
            }),
            Event::Skipped { name: "a\nb".into(), reason: "a pipe".into() },
            Event::Refused { name: "c".into(), failure },
            Event::RunFinished { report: Box::new(RunReport::new(RunId(7), job)) },
        ];
        let mut json = Json::default();
        let lines: Vec<String> = events.iter().filter_map(|event| json.line(event)).collect();
        for line in &lines {
            let object: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&object["job"], &object["run"]), (&"daily-reports".into(), &7.into()));
            assert!(!line.contains('\n'));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }
}
