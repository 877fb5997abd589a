//! One line an event, for those who watch along.

use super::audited::what_differs;
use super::text::{bytes, count, escaped};
use crate::domain::{DifferenceKind, Event, FileProgress, PublishWay, Removal};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Shown to those who ask for more.
    Detail,
    /// Shown to everybody who does not ask for silence.
    Notice,
}

/// A line without its line end, free of control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub weight: Weight,
    /// The text.
    pub text: String,
}

/// What to tell of an event: for a file what became of it, its name, its size, its proof. Failed
/// files are details, because the [`summary`](super::summary()) names them.
pub fn line(event: &Event) -> Option<Line> {
    let (weight, verb, text) = match event {
        Event::RunStarted { run, job, triggers } => {
            let why = if triggers.is_empty() { String::new() } else { format!("  {triggers}") };
            (Weight::Detail, "job", format!("{job}  run {run}{why}"))
        }
        Event::AuditStarted { run, job, audit } => (Weight::Detail, "job", format!("{job}  {audit} {run}")),
        Event::TargetChanged { before, now } => {
            let (before, now) = (escaped(before), escaped(now));
            let text = format!("the job now goes from {now}; all is sent again (before: {before})");
            (Weight::Notice, "changed", text)
        }
        Event::PlanComplete { unchanged: unchanged @ 1.. } => {
            (Weight::Detail, "unchanged", count(*unchanged, "file"))
        }
        Event::SessionOpened { server, facts } => {
            let cipher = escaped(&facts.cipher);
            (Weight::Detail, "connected", format!("{server}  {}  {}  {cipher}", facts.peer, facts.tls))
        }
        Event::Notice { text } => (Weight::Notice, "note", escaped(text).into_owned()),
        Event::File { path, progress } => {
            let (verb, more) = file(progress)?;
            (Weight::Detail, verb, format!("{}{more}", escaped(path.as_str())))
        }
        Event::Skipped { name, reason } => {
            (Weight::Detail, "skipped", format!("{}  {}", escaped(name), escaped(reason)))
        }
        Event::Refused { name, failure } => {
            (Weight::Detail, "failed", format!("{}  {}", escaped(name), escaped(&failure.cause)))
        }
        // The summary says why the run ended.
        Event::GuardTripped { .. }
        | Event::Planned { .. }
        | Event::PlanComplete { unchanged: 0 }
        | Event::RunFinished { .. }
        | Event::AuditFinished { .. } => return None,
    };
    Some(Line { weight, text: format!("{verb:<9}  {text}") })
}

/// What became of a file, and what to say behind its name.
fn file(progress: &FileProgress) -> Option<(&'static str, String)> {
    Some(match progress {
        FileProgress::Started { .. } | FileProgress::Bytes { .. } => return None,
        FileProgress::Resumed { at } => ("resumed", format!("  goes on at {}", bytes(*at))),
        FileProgress::Retrying { failure, attempt } => {
            ("retrying", format!("  attempt {attempt}, after: {}", escaped(&failure.cause)))
        }
        FileProgress::Delivered { size, method, publish } => {
            let direct = match publish {
                PublishWay::Rename => "",
                PublishWay::Direct => "  direct (at least once)",
            };
            ("delivered", format!("  {}  {method}{direct}", bytes(*size)))
        }
        FileProgress::Settled => ("settled", "  stood there already, from an earlier run".to_owned()),
        FileProgress::Confirmed => ("confirmed", "  same content as before".to_owned()),
        FileProgress::Presumed => ("presumed", "  most likely delivered and taken away".to_owned()),
        FileProgress::Attested => ("attested", "  by a person: the receiver has it; not sent".to_owned()),
        FileProgress::Waiting { cause, .. } => ("waiting", format!("  {}", escaped(&cause.to_string()))),
        FileProgress::Retired { moved_to: Some(to) } => ("moved", format!("  to {}", escaped(to))),
        FileProgress::Retired { moved_to: None } => {
            ("deleted", "  from the source, after its delivery".to_owned())
        }
        FileProgress::Retained { failure } | FileProgress::NotRemoved { failure } => {
            ("stays", format!("  {}", escaped(&failure.cause)))
        }
        FileProgress::Removed { removal } => match removal {
            Removal::Deleted => ("removed", "  from the server: its source is gone".to_owned()),
            Removal::Trashed => ("trashed", "  on the server: its source is gone".to_owned()),
            Removal::AlreadyGone => ("gone", "  from the server as well".to_owned()),
            Removal::NotOurs => {
                ("foreign", "  on the server stands another file; it was left alone".to_owned())
            }
        },
        FileProgress::Proved { size, method } => ("proved", format!("  {}  {method}", bytes(*size))),
        FileProgress::Differs { difference } => {
            let verb = match difference.kind {
                DifferenceKind::Missing => "missing",
                DifferenceKind::Changed => "changed",
            };
            (verb, format!("  {}", what_differs(difference)))
        }
        FileProgress::Kept => ("kept", "  there already, with the same content".to_owned()),
        FileProgress::Taken => ("taken", "  not on the server: taken by its consumer".to_owned()),
        FileProgress::Failed { failure } => ("failed", format!("  {}", escaped(&failure.cause))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Failure, FailureClass, ProofMethod, RelPath};

    #[test]
    fn a_line_names_the_file_and_its_proof() {
        let told = |progress| {
            line(&Event::File { path: RelPath::new("reports/a.csv").unwrap(), progress })
                .map(|line| line.text)
        };
        let delivered = FileProgress::Delivered {
            size: 4096,
            method: ProofMethod::ServerHash,
            publish: PublishWay::Rename,
        };
        assert_eq!(told(delivered).unwrap(), "delivered  reports/a.csv  4.0 KiB  server hash");
        let direct =
            FileProgress::Delivered { size: 4096, method: ProofMethod::Size, publish: PublishWay::Direct };
        assert_eq!(told(direct).unwrap(), "delivered  reports/a.csv  4.0 KiB  size  direct (at least once)");
        let resumed = FileProgress::Resumed { at: 5 << 28 };
        assert_eq!(told(resumed).unwrap(), "resumed    reports/a.csv  goes on at 1.2 GiB");
        let failure = Failure::new(FailureClass::Temporary, "connection reset");
        let retrying = FileProgress::Retrying { failure: failure.clone(), attempt: 2 };
        assert_eq!(told(retrying).unwrap(), "retrying   reports/a.csv  attempt 2, after: connection reset");
        assert_eq!(
            told(FileProgress::Failed { failure }).unwrap(),
            "failed     reports/a.csv  connection reset"
        );
        assert_eq!(told(FileProgress::Bytes { count: 1 }), None);
        let unchanged = |unchanged| line(&Event::PlanComplete { unchanged }).map(|line| line.text);
        assert_eq!(unchanged(0), None);
        assert_eq!(unchanged(1).unwrap(), "unchanged  1 file");
    }

    #[test]
    fn foreign_texts_stay_on_their_line() {
        let skipped = Event::Skipped { name: "a\nb\x1b[0m".into(), reason: "a pipe".into() };
        assert_eq!(line(&skipped).unwrap().text, r"skipped    a\nb\u{1b}[0m  a pipe");
        let note = line(&Event::Notice { text: "x\r\ny".into() }).unwrap();
        assert_eq!((note.weight, note.text.as_str()), (Weight::Notice, r"note       x\r\ny"));
    }
}
