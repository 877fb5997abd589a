//! The server held against the manifest.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::Audit;
use super::book::Outcome;
use super::failure::AuditError;
use super::feed::{FILES_IN_A_WRITE, Feed};
use super::look::{Facts, Size, Unproved, expected, facts, found, prove};
use super::pool::Examine;
use super::run::run;
use super::sidecars::{Stood, look_beside, stood};
use crate::domain::{
    AuditKind, AuditReport, Delivered, DifferenceKind, Entry, EntryStatus, Evidence, Failure, FailureClass,
    FoundDiffering, Mode, Record, RelPath, RunId, Sent, SessionFacts, Sidecars, Verified, VerifyPolicy,
    compare,
};
use crate::plain::chain;
use crate::remote::Connection;
use crate::state::{Manifest, StateError};

/// How thoroughly files are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Size and time. The content only where they leave a doubt.
    #[default]
    Facts,
    /// The content: by the server's hash, or by reading it back, as the job's `verify` says
    /// (where that is `size`, as if it were `auto`).
    Content,
}

/// Holds each delivered file of a job's target against what stands on the server.
///
/// What is missing or changed is recorded ([`Record::FoundMissing`], [`Record::FoundChanged`]):
/// the next delivery sends it again. What somebody else wrote there (another size, or another
/// time) still falls under the job's `overwrite` then; other bytes under our own size and time are
/// damage, and are replaced. A file with another time and the same content is sound, and its new
/// time is recorded. In a drop absence is success, and nothing is recorded of it.
///
/// Beside a file that stands as it was delivered its sidecars are looked at the same way, those that stood
/// there and that the job still wants ([`SidecarStep::Differs`](crate::domain::SidecarStep::Differs)): the
/// next delivery publishes them again, without the file.
///
/// Files whose publishing was cut off are not looked at: the next delivery settles them.
///
/// An error means that the run could not be recorded. Dropped midway, a run stays without an end in
/// the ledger, and no harm is done.
pub async fn verify(audit: Audit, depth: Depth, stop: CancellationToken) -> Result<AuditReport, StateError> {
    let (state, target) = (audit.state.clone(), audit.target.id());
    let sidecars = audit.job.sidecars.clone();
    let feed = move |feed: &mut Feed<Item>| {
        let fault = |error: StateError| Failure::new(error.class(), chain(&error));
        let manifest = state.manifest(target).map_err(fault)?;
        let in_doubt = paths_in_doubt(&manifest).map_err(fault)?;
        for known in manifest.entries() {
            let (path, entry) = known.map_err(fault)?;
            match entry.status {
                // That it cannot be known is what a person has to settle.
                EntryStatus::Presumed | EntryStatus::Attested => feed.tell(Outcome::Known),
                EntryStatus::Delivered
                | EntryStatus::Retired
                | EntryStatus::FoundMissing
                | EntryStatus::FoundChanged
                    if in_doubt.contains(&path) =>
                {
                    feed.tell(Outcome::Failed { path, failure: in_doubt_failure() });
                }
                EntryStatus::Delivered
                | EntryStatus::Retired
                | EntryStatus::FoundMissing
                | EntryStatus::FoundChanged => {
                    let bytes = entry.size;
                    let known = Known { path, entry };
                    let beside = stood(&manifest, &sidecars, &known).map_err(fault)?;
                    feed.put(Item { known, beside }, bytes);
                }
            }
        }
        Ok(())
    };
    let examine = |run| Verify { audit: audit.clone(), run, depth };
    run(&audit, AuditKind::Verify, stop, examine, feed).await
}

/// The files whose publishing was cut off: one for each connection that was open then.
pub(super) fn paths_in_doubt(manifest: &Manifest) -> Result<BTreeSet<RelPath>, StateError> {
    let publishing = manifest.intents()?.into_iter().map(|intent| intent.path);
    let storing = manifest.storings()?.into_iter().map(|storing| storing.path);
    Ok(publishing.chain(storing).collect())
}

pub(super) fn in_doubt_failure() -> Failure {
    let cause = "an earlier run was cut off while it published this file; the next `sync` settles that";
    Failure::new(FailureClass::Temporary, cause)
}

/// A file as the manifest knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) path: RelPath,
    pub(super) entry: Entry,
}

impl Known {
    pub(super) const fn sent(&self) -> Sent {
        Sent { size: self.entry.size, digest: self.entry.digest }
    }
}

/// A file with the sidecars that stood beside it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    known: Known,
    beside: Vec<Stood>,
}

pub(super) struct Verify {
    pub(super) audit: Audit,
    pub(super) run: RunId,
    pub(super) depth: Depth,
}

/// What follows from the facts of a file.
enum Judged {
    Told(Outcome),
    /// Only its content can tell.
    Read,
}

impl Examine for Verify {
    type Item = Item;

    const BATCH_FILES: usize = FILES_IN_A_WRITE;

    fn path(item: &Item) -> &RelPath {
        &item.known.path
    }

    async fn examine(&self, connection: &mut Connection, items: &[Item]) -> Result<Vec<Outcome>, AuditError> {
        let paths: Vec<_> = items.iter().map(|item| self.audit.destination(&item.known.path)).collect();
        let looked = facts(connection, &paths).await?;
        let (mut outcomes, mut to_read) = (Vec::with_capacity(items.len()), Vec::new());
        for ((item, path), facts) in items.iter().zip(paths).zip(looked) {
            match self.judge(&item.known, &facts) {
                Judged::Told(outcome) => outcomes.push(outcome),
                Judged::Read => to_read.push((&item.known, path, facts)),
            }
        }
        let wanted: Vec<_> = to_read.iter().map(|(item, path, _)| (path.clone(), item.sent())).collect();
        let proofs = prove(connection, self.policy(), &wanted).await?;
        for ((item, _, facts), proof) in to_read.into_iter().zip(proofs) {
            outcomes.push(match proof {
                Ok(verified) => self.sound(item, facts, verified, connection.facts()),
                Err(Unproved::Other(mismatch)) => {
                    self.differs(item, DifferenceKind::Changed, found(&mismatch))
                }
                Err(Unproved::NotThere(failure)) if facts.size == Size::Untold => {
                    self.absent(item, &failure.cause)
                }
                Err(Unproved::NotThere(failure) | Unproved::Unread(failure)) => {
                    Outcome::Failed { path: item.path.clone(), failure }
                }
            });
        }
        // Beside a file that is not there, or is another one, nothing is to stand: it is sent again, and
        // its sidecars behind it.
        let proved: BTreeSet<_> = outcomes.iter().filter_map(proved_path).collect();
        let sound = items.iter().filter(|item| proved.contains(&item.known.path));
        let beside: Vec<_> =
            sound.flat_map(|item| item.beside.iter().map(|stood| (&item.known, stood))).collect();
        let told = look_beside(self, connection, &beside).await?;
        outcomes.extend(told);
        Ok(outcomes)
    }
}

fn proved_path(outcome: &Outcome) -> Option<&RelPath> {
    if let Outcome::Proved { path, .. } = outcome { Some(path) } else { None }
}

impl Verify {
    pub(super) const fn policy(&self) -> VerifyPolicy {
        match self.audit.job.verify {
            VerifyPolicy::Size => VerifyPolicy::Auto,
            policy @ (VerifyPolicy::Auto | VerifyPolicy::Hash | VerifyPolicy::ReadBack) => policy,
        }
    }

    fn judge(&self, item: &Known, facts: &Facts) -> Judged {
        let Known { path, entry } = item;
        let size = match &facts.size {
            Size::Bytes(size) => *size,
            Size::Untold => return Judged::Read,
            Size::Absent(refusal) => return Judged::Told(self.absent(item, &refusal.to_string())),
            Size::NotNow(refusal) => {
                let failure = Failure::new(FailureClass::Temporary, refusal);
                return Judged::Told(Outcome::Failed { path: path.clone(), failure });
            }
        };
        match compare(&item.sent(), &Evidence::Size { size }, VerifyPolicy::Size) {
            Err(mismatch) => Judged::Told(self.differs(item, DifferenceKind::Changed, found(&mismatch))),
            Ok(_) if self.depth == Depth::Content || is_doubtful(entry, facts) => Judged::Read,
            Ok(verified) => {
                let (size, method) = (verified.size(), verified.method());
                Judged::Told(Outcome::Proved { path: path.clone(), size, method, record: None })
            }
        }
    }

    /// A file whose content was proved. What was doubtful of it becomes known as it is now.
    fn sound(&self, item: &Known, facts: Facts, verified: Verified, session: &SessionFacts) -> Outcome {
        let Known { path, entry } = item;
        let record = is_doubtful(entry, &facts).then(|| {
            Box::new(Record::Adopted(Delivered {
                run: self.run,
                path: path.clone(),
                stat: entry.stat,
                observed_at: entry.observed_at,
                verified,
                modified: facts.modified,
                publish: self.audit.job.publish,
                sidecars: Sidecars::NONE,
                session: session.clone(),
            }))
        });
        Outcome::Proved { path: path.clone(), size: verified.size(), method: verified.method(), record }
    }

    fn absent(&self, item: &Known, said: &str) -> Outcome {
        match self.audit.job.mode {
            Mode::Mirror => self.differs(item, DifferenceKind::Missing, format!("nothing ({said})")),
            Mode::Drop => Outcome::Taken { path: item.path.clone() },
        }
    }

    /// Recorded once: as long as nobody sends it again, there is no news.
    fn differs(&self, item: &Known, kind: DifferenceKind, found: String) -> Outcome {
        let Known { path, entry } = item;
        let found = Failure::new(FailureClass::Verification, found).cause;
        let differing = || FoundDiffering {
            run: self.run,
            path: path.clone(),
            size: entry.size,
            digest: entry.digest,
            found: found.clone(),
        };
        let record = match (kind, entry.status) {
            (DifferenceKind::Missing, EntryStatus::FoundMissing)
            | (DifferenceKind::Changed, EntryStatus::FoundChanged) => None,
            (DifferenceKind::Missing, _) => Some(Record::FoundMissing(differing())),
            (DifferenceKind::Changed, _) => Some(Record::FoundChanged(differing())),
        };
        let (path, expected) = (path.clone(), expected(&item.sent()));
        Outcome::Differs { path, kind, expected, found, record: record.map(Box::new) }
    }
}

/// Whether size and time do not tell that it is what was delivered: it has another time now, or
/// it was found differing before.
fn is_doubtful(entry: &Entry, facts: &Facts) -> bool {
    let other_time =
        entry.modified.as_ref().zip(facts.modified.as_ref()).is_some_and(|(was, now)| was != now);
    other_time || matches!(entry.status, EntryStatus::FoundMissing | EntryStatus::FoundChanged)
}
