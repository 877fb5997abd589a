//! The second half of the machine: from a stored file to its proof, or to what there is instead.

use super::{
    Answer, Basis, Delivered, DeliveryError, Direct, DirectStep, Evidence, Found, Mode, OLDEST_TIME,
    PASSING_TIME, Phase, Presumed, Proof, PublishWay, Record, Refusal, Request, Sizes, Spec, Step, Vanished,
    Verified, VerifyPolicy, ask, commit, compare, fail,
};

impl Direct {
    pub(super) fn prove(&mut self) -> DirectStep {
        self.phase = Phase::Proving;
        ask(self.proof_batch())
    }

    /// The proof or the first half of it, and the time, as in publishing.
    pub(super) fn proof_batch(&self) -> Vec<Request> {
        let Spec { destination, stat, proof, .. } = &self.spec;
        let set_time = |time: &str| Request::SetTime(destination.clone(), time.to_owned());
        let time = stat.mtime.to_ftp();
        let mut batch = Vec::with_capacity(5);
        let hashed = *proof == Proof::Hash;
        if hashed {
            batch.push(set_time(PASSING_TIME));
            batch.push(Request::Hash(destination.clone()));
        }
        batch.extend(time.as_deref().or(hashed.then_some(OLDEST_TIME)).map(set_time));
        batch.push(Request::Modified(destination.clone()));
        batch.push(Request::Size(destination.clone()));
        batch
    }

    pub(super) fn asked(&mut self, answers: Vec<Answer>) -> DirectStep {
        let (mut modified, mut evidence, mut refusal) = (None, None, None);
        for (request, answer) in self.proof_batch().into_iter().zip(answers) {
            match (request, answer) {
                (Request::Hash(_), Answer::Digest(digest)) => {
                    evidence = Some(Evidence::ServerHash { digest });
                }
                (Request::Size(_), Answer::Size(size)) if self.spec.proof == Proof::Size => {
                    evidence = Some(Evidence::Size { size });
                }
                (Request::Hash(_) | Request::Size(_), Answer::Refused(said) | Answer::Absent(said)) => {
                    refusal = Some(said);
                }
                (Request::Modified(_), Answer::Modified(time)) => modified = Some(time),
                _ => {}
            }
        }
        let found = Found { modified };
        match (evidence, self.spec.proof, self.spec.policy) {
            (Some(evidence), ..) => self.proved(found, &evidence),
            (None, Proof::ReadBack, _) | (None, Proof::Hash, VerifyPolicy::Auto) => {
                self.phase = Phase::ReadingBack(found);
                DirectStep::Do(Step::ReadBack(self.spec.destination.clone()))
            }
            (None, Proof::Hash | Proof::Size, _) => self.unproved(refusal),
        }
    }

    pub(super) fn proved(&mut self, found: Found, evidence: &Evidence) -> DirectStep {
        match compare(&self.spec.sent, evidence, self.spec.policy) {
            Ok(verified) => self.record(verified, found.modified),
            Err(mismatch) => self.note(DeliveryError::StoredWrong(mismatch)),
        }
    }

    /// There is no proof; a file that is gone gives none.
    pub(super) fn unproved(&mut self, refusal: Option<Refusal>) -> DirectStep {
        let absent = refusal.as_ref().is_some_and(Refusal::is_absence);
        let error = match (refusal, self.spec.proof) {
            (Some(refusal), _) if refusal.is_passing() => DeliveryError::NotNow { refusal },
            (Some(refusal), Proof::ReadBack) => DeliveryError::WriteOnly { refusal },
            (refusal, Proof::ReadBack | Proof::Hash | Proof::Size) => DeliveryError::NoProof { refusal },
        };
        if !absent {
            return fail(error);
        }
        let Spec { run, stat, observed_at, sent, .. } = self.spec;
        self.vanish(Vanished { run, stat, observed_at, sent }, error)
    }

    /// Asks whether a file that was stored whole is gone, in a folder that can be entered; these
    /// servers know no `RNFR`.
    pub(super) fn vanish(&mut self, sent: Vanished, otherwise: DeliveryError) -> DirectStep {
        let mut batch: Vec<_> = self.spec.destination.folder().map(Request::Enter).into_iter().collect();
        batch.extend(self.look());
        self.phase = Phase::Vanishing { sent, otherwise };
        ask(batch)
    }

    pub(super) fn vanished(
        &mut self,
        vanished: Vanished,
        otherwise: DeliveryError,
        answers: &[Answer],
    ) -> DirectStep {
        let look = match answers {
            [Answer::Done, look @ ..] if look.len() == 2 => look,
            look if self.spec.destination.folder().is_none() => look,
            _ => return fail(otherwise),
        };
        let absence = match look {
            [Answer::Absent(absence), Answer::Absent(_) | Answer::Unsupported]
                if self.spec.sizes == Sizes::Offered =>
            {
                absence
            }
            _ => return fail(otherwise),
        };
        match self.spec.mode {
            Mode::Mirror => fail(DeliveryError::Lost),
            Mode::Drop => {
                let Vanished { run, stat, observed_at, sent } = vanished;
                let found = format!(
                    "stored straight under {} in run {run} (`publish: direct`), and gone before it was proved \
                     ({absence})",
                    self.spec.destination
                );
                let (run, path) = (self.spec.run, self.spec.path.clone());
                let (basis, publish) = (Basis::Sent(sent), PublishWay::Direct);
                self.phase = Phase::Presuming;
                commit(Record::Presumed(Presumed { run, path, stat, observed_at, basis, publish, found }))
            }
        }
    }

    pub(super) fn record(&mut self, verified: Verified, modified: Option<String>) -> DirectStep {
        let Spec { run, path, stat, observed_at, sidecars, session, .. } = self.spec.clone();
        let publish = PublishWay::Direct;
        let delivered =
            Delivered { run, path, stat, observed_at, verified, modified, publish, sidecars, session };
        self.phase = Phase::Recording(verified);
        commit(Record::Delivered(delivered))
    }
}
