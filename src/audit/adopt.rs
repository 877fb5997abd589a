//! What stands on a server already becomes known, without being sent again.

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Audit;
use super::book::Outcome;
use super::failure::AuditError;
use super::feed::{FILES_IN_A_WRITE, Feed};
use super::look::{Facts, Size, Unproved, expected, facts, found, prove};
use super::pool::Examine;
use super::run::run;
use super::verify::{in_doubt_failure, paths_in_doubt};
use crate::domain::{
    AuditKind, AuditReport, Delivered, DifferenceKind, Evidence, Failure, FailureClass, FileStat, Mode,
    Record, RelPath, RemotePath, RunId, Sent, SessionFacts, Sidecars, Timestamp, Verified, VerifyPolicy,
    compare,
};
use crate::plain::chain;
use crate::plan::{Action, plan};
use crate::remote::Connection;
use crate::source::{Filter, SourceRoot, hash_file};
use crate::state::StateError;

/// Why nothing is adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// A drop: what a consumer took away would seem never to have been sent.
    #[error(
        "job `{job}` is a drop: on its server, what was taken away looks like what was never sent, so that \
         nothing can be told from what stands there"
    )]
    Drop {
        /// The job.
        job: String,
    },
    /// The run could not be recorded.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Holds each file of a job's source of which nothing is known against what stands under its
/// final name, and records what is equal ([`Record::Adopted`]), proved as the job's `verify` says.
///
/// What is known already is left alone. What is missing or differs stays unknown: the next
/// delivery sends the one, and treats the other as the job's `overwrite` says. A file that changes
/// while it is read is not adopted. It can be broken off and repeated at any time.
pub async fn adopt(audit: Audit, stop: CancellationToken) -> Result<AuditReport, AdoptError> {
    match audit.job.mode {
        Mode::Drop => return Err(AdoptError::Drop { job: audit.job.name.to_string() }),
        Mode::Mirror => {}
    }
    let root = {
        let job = audit.job.clone();
        spawn_blocking(move || SourceRoot::of(&job)).await
    };
    let root = match root {
        Ok(Ok(root)) => Ok(root),
        Ok(Err(error)) => Err(Failure::new(error.class(), chain(&error))),
        Err(_) => Err(Failure::new(FailureClass::Other, "the source folder could not be opened")),
    };
    let finder = (audit.clone(), root.as_ref().ok().cloned());
    let feed = move |feed: &mut Feed<Candidate>| match (finder, root.as_ref().err()) {
        ((audit, Some(root)), None) => find(&audit, &root, feed),
        (_, failure) => Err(failure
            .cloned()
            .unwrap_or_else(|| Failure::new(FailureClass::Other, "the source folder could not be opened"))),
    };
    Ok(run(&audit, AuditKind::Adopt, stop, |run| Adopt { audit: audit.clone(), run }, feed).await?)
}

/// Walks the source and holds it against the manifest. Blocks.
fn find(audit: &Audit, root: &SourceRoot, feed: &mut Feed<Candidate>) -> Result<(), Failure> {
    let fault = |error: StateError| Failure::new(error.class(), chain(&error));
    let job = &audit.job;
    let filter = Filter::of(job).map_err(|error| Failure::new(FailureClass::Other, chain(&error)))?;
    let manifest = audit.state.manifest(audit.target.id()).map_err(fault)?;
    let in_doubt = paths_in_doubt(&manifest).map_err(fault)?;
    let scan = root.scan(&filter, || audit.clock.now());
    for action in plan(scan, manifest.entries(), |path| filter.admits(path)) {
        if feed.is_closed() {
            break;
        }
        match action.map_err(|error| Failure::new(FailureClass::Other, chain(&error)))? {
            Action::Send { path, .. } if in_doubt.contains(&path) => {
                feed.tell(Outcome::Failed { path, failure: in_doubt_failure() });
            }
            Action::Send { path, stat, known: None, .. } => {
                feed.put(Candidate { root: root.clone(), path, stat }, stat.size);
            }
            Action::Send { known: Some(_), .. }
            | Action::Hash { .. }
            | Action::Unchanged { .. }
            | Action::Presumed { .. }
            | Action::Attested { .. } => feed.tell(Outcome::Known),
            Action::Skip { name, reason } => feed.tell(Outcome::Skipped { name, reason }),
            Action::Refuse { name, reason } => {
                feed.tell(Outcome::Refused { name, failure: Failure::new(FailureClass::File, reason) });
            }
            Action::Unreadable { name, reason } => {
                feed.tell(Outcome::Refused { name, failure: Failure::new(FailureClass::Source, reason) });
            }
            Action::Missing { .. } | Action::End(_) => {}
        }
    }
    Ok(())
}

/// A file of the source of which nothing is known.
#[derive(Clone, Debug)]
struct Candidate {
    root: SourceRoot,
    path: RelPath,
    stat: FileStat,
}

/// A candidate that was read, and may stand on the server.
struct Read<'i> {
    item: &'i Candidate,
    remote: RemotePath,
    facts: Facts,
    sent: Sent,
    stat: FileStat,
    observed_at: Timestamp,
}

struct Adopt {
    audit: Audit,
    run: RunId,
}

impl Examine for Adopt {
    type Item = Candidate;

    const BATCH_FILES: usize = FILES_IN_A_WRITE;

    fn path(item: &Candidate) -> &RelPath {
        &item.path
    }

    async fn examine(
        &self,
        connection: &mut Connection,
        items: &[Candidate],
    ) -> Result<Vec<Outcome>, AuditError> {
        let paths: Vec<_> = items.iter().map(|item| self.audit.destination(&item.path)).collect();
        let looked = facts(connection, &paths).await?;
        let (mut outcomes, mut read) = (Vec::with_capacity(items.len()), Vec::new());
        for ((item, path), facts) in items.iter().zip(paths).zip(looked) {
            match self.judge(item, path, facts).await {
                Ok(worth_proving) => read.push(worth_proving),
                Err(outcome) => outcomes.push(*outcome),
            }
        }
        let wanted: Vec<_> = read.iter().map(|read| (read.remote.clone(), read.sent)).collect();
        let proofs = match self.audit.job.verify {
            VerifyPolicy::Size => read.iter().map(by_size).collect(),
            policy @ (VerifyPolicy::Auto | VerifyPolicy::Hash | VerifyPolicy::ReadBack) => {
                prove(connection, policy, &wanted).await?
            }
        };
        let concluded = read.into_iter().zip(proofs);
        outcomes.extend(concluded.map(|(read, proof)| self.conclude(read, proof, connection.facts())));
        Ok(outcomes)
    }
}

impl Adopt {
    /// Reads a file if what stands on the server may be it; else tells what it is.
    async fn judge<'i>(
        &self,
        item: &'i Candidate,
        remote: RemotePath,
        facts: Facts,
    ) -> Result<Read<'i>, Box<Outcome>> {
        let failed = |failure| Box::new(Outcome::Failed { path: item.path.clone(), failure });
        match &facts.size {
            Size::Absent(refusal) => return Err(Box::new(missing(item, &refusal.to_string()))),
            Size::NotNow(refusal) => return Err(failed(Failure::new(FailureClass::Temporary, refusal))),
            Size::Bytes(size) if *size != item.stat.size => {
                let expected = format!("{} bytes", item.stat.size);
                return Err(Box::new(changed(item, expected, format!("{size} bytes"))));
            }
            Size::Bytes(_) | Size::Untold => {}
        }
        // The time comes first, so that a later change never seems older than the look.
        let observed_at = self.audit.clock.now();
        let (root, path) = (item.root.clone(), item.path.clone());
        match spawn_blocking(move || hash_file(&root, &path)).await {
            Ok(Ok((sent, stat))) => Ok(Read { item, remote, facts, sent, stat, observed_at }),
            Ok(Err(error)) => Err(failed(AuditError::Source(error).failure())),
            Err(_) => Err(failed(AuditError::Internal("the reader of a source file died").failure())),
        }
    }

    fn conclude(&self, read: Read<'_>, proof: Result<Verified, Unproved>, session: &SessionFacts) -> Outcome {
        let Read { item, facts, sent, stat, observed_at, .. } = read;
        let path = item.path.clone();
        let verified = match proof {
            Ok(verified) => verified,
            Err(Unproved::Other(mismatch)) => return changed(item, expected(&sent), found(&mismatch)),
            Err(Unproved::NotThere(failure)) if facts.size == Size::Untold => {
                return missing(item, &failure.cause);
            }
            Err(Unproved::NotThere(failure) | Unproved::Unread(failure)) => {
                return Outcome::Failed { path, failure };
            }
        };
        let record = Record::Adopted(Delivered {
            run: self.run,
            path: path.clone(),
            stat,
            observed_at,
            verified,
            modified: facts.modified,
            publish: self.audit.job.publish,
            sidecars: Sidecars::NONE,
            session: session.clone(),
        });
        let (size, method) = (verified.size(), verified.method());
        Outcome::Proved { path, size, method, record: Some(Box::new(record)) }
    }
}

/// For jobs that are content with the size.
fn by_size(read: &Read<'_>) -> Result<Verified, Unproved> {
    match &read.facts.size {
        Size::Bytes(size) => {
            compare(&read.sent, &Evidence::Size { size: *size }, VerifyPolicy::Size).map_err(Unproved::Other)
        }
        Size::Absent(_) | Size::NotNow(_) | Size::Untold => Err(Unproved::Unread(Failure::new(
            FailureClass::Refused,
            "the server does not tell its size (SIZE), which `verify: size` asks for",
        ))),
    }
}

fn missing(item: &Candidate, said: &str) -> Outcome {
    let expected = format!("{} bytes", item.stat.size);
    differs(item, DifferenceKind::Missing, expected, format!("nothing ({said})"))
}

fn changed(item: &Candidate, expected: String, found: String) -> Outcome {
    differs(item, DifferenceKind::Changed, expected, found)
}

fn differs(item: &Candidate, kind: DifferenceKind, expected: String, found: String) -> Outcome {
    let found = Failure::new(FailureClass::Verification, found).cause;
    Outcome::Differs { path: item.path.clone(), kind, expected, found, record: None }
}
