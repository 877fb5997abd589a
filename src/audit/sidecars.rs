//! The sidecars of files that stand on the server as they were delivered.

use super::book::Outcome;
use super::failure::AuditError;
use super::feed::FILES_IN_A_WRITE;
use super::look::{Facts, Size, Unproved, expected, facts, found, prove};
use super::verify::{Depth, Known, Verify};
use crate::domain::{
    DifferenceKind, Digest, Evidence, Failure, FailureClass, Mode, ProofMethod, Record, RelPath, RemotePath,
    Sent, Sidecar, SidecarChange, SidecarStep, Sidecars, VerifyPolicy, compare,
};
use crate::remote::Connection;
use crate::state::{Manifest, StateError};

/// A sidecar that stood beside a file.
#[derive(Clone, Debug)]
pub(super) struct Stood {
    sidecar: Sidecar,
    path: RelPath,
    sent: Sent,
    /// Its time as `MDTM` gave it.
    modified: Option<String>,
    since: Since,
}

/// What is known of it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Sound,
    /// It was found missing or changed, and is to be published again.
    Owed,
}

/// The sidecars that stood beside a file, of those that are `wanted`. One whose publishing was cut off is
/// none of them: the next delivery settles it.
pub(super) fn stood(manifest: &Manifest, wanted: &Sidecars, file: &Known) -> Result<Vec<Stood>, StateError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let digest = file.entry.digest;
    let beside = manifest.beside(&file.path)?.filter(|beside| beside.digest == digest);
    let Some(beside) = beside else { return Ok(Vec::new()) };
    let owed = manifest.owed(&file.path)?.filter(|owed| owed.digest == digest);
    let known = beside.sidecars.into_iter().filter(|(sidecar, _)| wanted.has(*sidecar));
    let stood = known.filter_map(|(sidecar, modified)| {
        let since = match &owed {
            Some(owed) if owed.intent.as_ref().is_some_and(|(cut_off, _)| *cut_off == sidecar) => {
                return None;
            }
            Some(owed) if owed.sidecars.has(sidecar) => Since::Owed,
            Some(_) | None => Since::Sound,
        };
        let content = sidecar.content(&file.path, digest);
        let sent = Sent { size: content.len() as u64, digest: Digest::of(&content) };
        Some(Stood { sidecar, path: sidecar.beside(&file.path)?, sent, modified, since })
    });
    Ok(stood.collect())
}

/// Looks at sidecars beside files that were proved just now. Of those that are as they should be nothing
/// is told.
pub(super) async fn look_beside(
    verify: &Verify,
    connection: &mut Connection,
    beside: &[(&Known, &Stood)],
) -> Result<Vec<Outcome>, AuditError> {
    let mut outcomes = Vec::new();
    for batch in beside.chunks(FILES_IN_A_WRITE) {
        let paths: Vec<_> = batch.iter().map(|(_, stood)| verify.audit.destination(&stood.path)).collect();
        let looked = facts(connection, &paths).await?;
        let mut to_read = Vec::new();
        for ((&(file, stood), path), facts) in batch.iter().zip(paths).zip(looked) {
            let look = Look { verify, file, stood };
            match look.judge(&facts) {
                Judged::Sound => {}
                Judged::Told(told) => outcomes.extend(told),
                Judged::Read => to_read.push((look, path, facts)),
            }
        }
        outcomes.extend(read(verify, connection, to_read).await?);
    }
    Ok(outcomes)
}

async fn read(
    verify: &Verify,
    connection: &mut Connection,
    to_read: Vec<(Look<'_>, RemotePath, Facts)>,
) -> Result<Vec<Outcome>, AuditError> {
    let wanted: Vec<_> = to_read.iter().map(|(look, path, _)| (path.clone(), look.stood.sent)).collect();
    let proofs = prove(connection, verify.policy(), &wanted).await?;
    let told = to_read.into_iter().zip(proofs).flat_map(|((look, _, facts), proof)| match proof {
        Ok(verified) => look.sound(facts, verified.method()),
        Err(Unproved::Other(mismatch)) => look.differs(DifferenceKind::Changed, &found(&mismatch)),
        Err(Unproved::NotThere(failure)) if facts.size == Size::Untold => look.absent(&failure.cause),
        Err(Unproved::NotThere(failure) | Unproved::Unread(failure)) => look.failed(failure),
    });
    Ok(told.collect())
}

/// What follows from the facts of a sidecar.
enum Judged {
    Sound,
    Told(Vec<Outcome>),
    /// Only its content can tell.
    Read,
}

/// A look at one sidecar.
struct Look<'a> {
    verify: &'a Verify,
    file: &'a Known,
    stood: &'a Stood,
}

impl Look<'_> {
    fn judge(&self, facts: &Facts) -> Judged {
        let size = match &facts.size {
            Size::Bytes(size) => *size,
            Size::Untold => return Judged::Read,
            Size::Absent(refusal) => return Judged::Told(self.absent(&refusal.to_string())),
            Size::NotNow(refusal) => {
                return Judged::Told(self.failed(Failure::new(FailureClass::Temporary, refusal)));
            }
        };
        if let Err(mismatch) = compare(&self.stood.sent, &Evidence::Size { size }, VerifyPolicy::Size) {
            return Judged::Told(self.differs(DifferenceKind::Changed, &found(&mismatch)));
        }
        // An empty file has no others.
        let looked_at_only = self.verify.depth == Depth::Facts || size == 0;
        match (looked_at_only, self.is_doubtful(facts)) {
            (true, false) => Judged::Sound,
            (true, true) if size == 0 => Judged::Told(self.sound(facts.clone(), ProofMethod::Size)),
            (true, true) | (false, _) => Judged::Read,
        }
    }

    /// It has another time now, or was found differing before.
    fn is_doubtful(&self, facts: &Facts) -> bool {
        let Stood { modified, since, .. } = self.stood;
        *since == Since::Owed
            || modified.as_ref().zip(facts.modified.as_ref()).is_some_and(|(was, now)| was != now)
    }

    /// What was doubtful of it becomes known as it is now.
    fn sound(&self, facts: Facts, method: ProofMethod) -> Vec<Outcome> {
        if !self.is_doubtful(&facts) {
            return Vec::new();
        }
        let step = SidecarStep::Stands { sidecar: self.stood.sidecar, method, modified: facts.modified };
        vec![Outcome::Noted { record: Box::new(self.record(step)) }]
    }

    fn absent(&self, said: &str) -> Vec<Outcome> {
        match self.verify.audit.job.mode {
            Mode::Mirror => self.differs(DifferenceKind::Missing, &format!("nothing ({said})")),
            // The consumer took it before its file.
            Mode::Drop => Vec::new(),
        }
    }

    /// Recorded once, as of files.
    fn differs(&self, kind: DifferenceKind, found: &str) -> Vec<Outcome> {
        let found = Failure::new(FailureClass::Verification, found).cause;
        let Stood { sidecar, path, sent, since, .. } = self.stood;
        let record = match since {
            Since::Owed => None,
            Since::Sound => {
                let digest = self.file.entry.digest;
                let step = SidecarStep::Differs { sidecar: *sidecar, kind, digest, found: found.clone() };
                Some(Box::new(self.record(step)))
            }
        };
        let (path, expected) = (path.clone(), expected(sent));
        vec![Outcome::Planned { bytes: 0 }, Outcome::Differs { path, kind, expected, found, record }]
    }

    fn failed(&self, failure: Failure) -> Vec<Outcome> {
        vec![Outcome::Planned { bytes: 0 }, Outcome::Failed { path: self.stood.path.clone(), failure }]
    }

    fn record(&self, step: SidecarStep) -> Record {
        let (run, path) = (self.verify.run, self.file.path.clone());
        Record::Sidecar(SidecarChange { run, path, step })
    }
}
