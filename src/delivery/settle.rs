//! What became of an intent whose end nobody recorded: a crash, a lost reply or a lost
//! connection came between the durable intent and the durable delivery.
//!
//! A pure state machine like [`publish`](super::publish). Absence is proved by `RNFR` in a
//! folder that is there, never by a listing or `SIZE`.

use super::failure::DeliveryError;
use super::publish::{Input, Proof, Step, back};
use crate::domain::{
    Basis, Delivered, Displaced, Displacing, Evidence, Mode, Overwrite, Presumed, PublishWay, Publishing,
    Record, RemotePath, RunId, Sent, SessionFacts, Standing, Verified, VerifyPolicy, Withdrawn, compare,
};
use crate::remote::{Answer, Incoming, Request};

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The temporary file still stands: prove it afresh and publish it.
    Stands,
    /// It was published; the delivery is recorded.
    Delivered(Verified),
    /// It was not published, or what was published is gone and must be sent again.
    Withdrawn,
    /// Most likely published and taken; recorded as such.
    Presumed,
}

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SettleStep {
    /// As in publishing.
    Do(Step),
    /// It is known what became of the intent.
    Known(Settled),
    /// It cannot be known, or not now.
    Unknown(DeliveryError),
}

/// What is to be settled, and under which rules.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The run that settles it.
    pub(super) run: RunId,
    pub(super) intent: Publishing,
    pub(super) destination: RemotePath,
    pub(super) mode: Mode,
    pub(super) overwrite: Overwrite,
    pub(super) policy: VerifyPolicy,
    pub(super) proof: Proof,
    /// The session in which it is settled.
    pub(super) session: SessionFacts,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Settle {
    case: Case,
    phase: Phase,
    /// How the server said that nothing stands under the final name.
    absence: String,
}

#[derive(Debug)]
enum Phase {
    /// Of an old version that may have left its name.
    LookingForDisplaced,
    /// The old version gets its name back; whether the temporary file stands is known.
    PuttingBack(Temporary),
    /// The old version goes: another file stands in its place, which is to be replaced as well.
    Clearing,
    Looking,
    /// Nothing seems to stand under the final name; whether that is so is being asked.
    Missing,
    /// What stands under the final name is being compared.
    Proving(Standing),
    Recording(Settled),
    Ended,
}

/// What became of the temporary name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temporary {
    Stands,
    Gone,
}

impl Settle {
    pub(super) fn new(case: Case) -> Self {
        Self { case, phase: Phase::Looking, absence: String::new() }
    }

    /// Starts, or starts again on a new session.
    pub(super) fn start(&mut self) -> SettleStep {
        let Some(Displaced { to, .. }) = self.case.intent.displaced.clone() else { return self.look() };
        self.phase = Phase::LookingForDisplaced;
        SettleStep::Do(Step::Perform(vec![
            Request::Enter(self.folder()),
            Request::Stands(self.case.intent.temporary.clone()),
            Request::Size(self.case.intent.temporary.clone()),
            Request::Stands(to),
            Request::Stands(self.case.destination.clone()),
        ]))
    }

    fn folder(&self) -> RemotePath {
        self.case.intent.temporary.folder().unwrap_or_else(|| self.case.intent.temporary.clone())
    }

    /// An old version that left its name gets it back, unless the new one has it, or may have had
    /// it before a consumer came.
    fn found_displaced(&mut self, answers: &[Answer]) -> SettleStep {
        use {Answer as A, Temporary as T};
        let Some(Displaced { to, step }) = self.case.intent.displaced.clone() else { return self.look() };
        let (temporary, displaced, there) = match answers {
            [A::Done, temporary, size, displaced, there] => {
                let stands = matches!((temporary, size), (A::Done, _) | (_, A::Size(_)));
                (if stands { T::Stands } else { T::Gone }, displaced, there)
            }
            [A::Absent(refusal) | A::Refused(refusal), ..] => {
                return SettleStep::Unknown(DeliveryError::Unsettled { refusal: refusal.clone() });
            }
            _ => return SettleStep::Unknown(DeliveryError::NoRename),
        };
        if let A::Refused(refusal) = displaced {
            return SettleStep::Unknown(DeliveryError::Unsettled { refusal: refusal.clone() });
        }
        match (displaced, there, temporary, self.case.mode, step) {
            // Published and taken, for all that can be known: the old version must not come after it.
            (A::Done, A::Absent(_), T::Gone, Mode::Drop, Displacing::Done) => self.look(),
            (A::Done, A::Absent(_), ..) => {
                self.phase = Phase::PuttingBack(temporary);
                SettleStep::Do(Step::Perform(back(&to, &self.case.destination)))
            }
            (A::Done, A::Done, T::Stands, ..) => match self.case.overwrite {
                Overwrite::Replace => {
                    self.phase = Phase::Clearing;
                    SettleStep::Do(Step::Perform(vec![Request::Delete(to)]))
                }
                Overwrite::Refuse => SettleStep::Unknown(DeliveryError::Stranded {
                    path: self.case.destination.to_string(),
                    kept: to.to_string(),
                }),
            },
            (A::Done, A::Refused(refusal), T::Stands, ..) => {
                SettleStep::Unknown(DeliveryError::Unsettled { refusal: refusal.clone() })
            }
            _ => self.look(),
        }
    }

    fn put_back(&mut self, temporary: Temporary, answers: &[Answer]) -> SettleStep {
        match (answers, temporary) {
            ([Answer::Done, Answer::Done, Answer::Absent(_)], Temporary::Stands) => self.look(),
            ([Answer::Done, Answer::Done, Answer::Absent(_)], Temporary::Gone) => {
                self.withdraw("the temporary file is gone, and the old version has its name again")
            }
            (
                [Answer::Absent(refusal) | Answer::Refused(refusal), ..]
                | [_, Answer::Absent(refusal) | Answer::Refused(refusal), ..],
                _,
            ) => SettleStep::Unknown(DeliveryError::Unsettled { refusal: refusal.clone() }),
            (_, _) => SettleStep::Unknown(DeliveryError::InDoubt),
        }
    }

    fn look(&mut self) -> SettleStep {
        self.phase = Phase::Looking;
        SettleStep::Do(Step::Perform(vec![
            Request::Enter(self.folder()),
            Request::Stands(self.case.intent.temporary.clone()),
            // Where a rename is not allowed, 550 to RNFR does not mean that the file is gone.
            Request::Size(self.case.intent.temporary.clone()),
            Request::Size(self.case.destination.clone()),
            Request::Modified(self.case.destination.clone()),
        ]))
    }

    /// Takes in what came of the last step.
    pub(super) fn next(&mut self, input: Input) -> SettleStep {
        match (std::mem::replace(&mut self.phase, Phase::Ended), input) {
            (Phase::LookingForDisplaced, Input::Answers(answers)) => self.found_displaced(&answers),
            (Phase::PuttingBack(temporary), Input::Answers(answers)) => self.put_back(temporary, &answers),
            (Phase::Clearing, Input::Answers(_)) => self.look(),
            (Phase::Looking, Input::Answers(answers)) => self.looked(answers),
            (Phase::Missing, Input::Answers(answers)) => self.missing(answers),
            (Phase::Proving(_), Input::Unreadable(refusal)) => {
                SettleStep::Unknown(DeliveryError::Unsettled { refusal })
            }
            (Phase::Proving(now), Input::Answers(answers)) => {
                let evidence = answers.into_iter().next().and_then(|answer| match answer {
                    Answer::Digest(digest) => Some(Evidence::ServerHash { digest }),
                    Answer::Size(size) => Some(Evidence::Size { size }),
                    _ => None,
                });
                self.proved(&now, evidence)
            }
            (Phase::Proving(now), Input::Incoming(Incoming { size, digest })) => {
                self.proved(&now, Some(Evidence::ReadBack { size, digest }))
            }
            (Phase::Recording(settled), Input::Committed) => SettleStep::Known(settled),
            (_, _) => {
                SettleStep::Unknown(DeliveryError::Internal("the steps of a delivery are out of order"))
            }
        }
    }

    fn looked(&mut self, answers: Vec<Answer>) -> SettleStep {
        let mut answers = answers.into_iter();
        let mut answer = || answers.next().unwrap_or(Answer::Unsupported);
        let (folder, temporary, left, size, modified) = (answer(), answer(), answer(), answer(), answer());
        match (folder, temporary) {
            (_, _) if matches!(left, Answer::Size(_)) => return SettleStep::Known(Settled::Stands),
            (_, Answer::Done) => return SettleStep::Known(Settled::Stands),
            (Answer::Done, Answer::Absent(_)) => {}
            // The folder may only be out of reach: nothing can be said.
            (Answer::Absent(refusal) | Answer::Refused(refusal), _) | (_, Answer::Refused(refusal)) => {
                return SettleStep::Unknown(DeliveryError::Unsettled { refusal });
            }
            (_, _) => return SettleStep::Unknown(DeliveryError::NoRename),
        }
        let modified = if let Answer::Modified(time) = modified { Some(time) } else { None };
        let standing = match size {
            Answer::Size(size) => Standing::File { size, modified },
            Answer::Absent(_) => Standing::Absent,
            _ => return SettleStep::Unknown(DeliveryError::CannotLook),
        };
        match standing {
            Standing::File { size, .. } if size == self.case.intent.verified.size() => self.prove(standing),
            Standing::Absent => {
                self.phase = Phase::Missing;
                SettleStep::Do(Step::Perform(vec![Request::Stands(self.case.destination.clone())]))
            }
            standing => self.not_there(&standing),
        }
    }

    /// Compares what stands under the final name.
    fn prove(&mut self, standing: Standing) -> SettleStep {
        self.phase = Phase::Proving(standing);
        SettleStep::Do(match self.case.proof {
            Proof::Hash => Step::Perform(vec![Request::Hash(self.case.destination.clone())]),
            Proof::ReadBack => Step::ReadBack(self.case.destination.clone()),
            Proof::Size => Step::Perform(vec![Request::Size(self.case.destination.clone())]),
        })
    }

    /// `SIZE` of the final name says 550, which servers say for other reasons as well.
    fn missing(&mut self, answers: Vec<Answer>) -> SettleStep {
        match answers.into_iter().next() {
            Some(Answer::Absent(refusal)) => {
                self.absence = refusal.to_string();
                self.not_there(&Standing::Absent)
            }
            Some(Answer::Done) => self.prove(Standing::Unknown),
            Some(Answer::Refused(refusal)) => SettleStep::Unknown(DeliveryError::Unsettled { refusal }),
            _ => SettleStep::Unknown(DeliveryError::CannotLook),
        }
    }

    fn proved(&mut self, now: &Standing, evidence: Option<Evidence>) -> SettleStep {
        let verified = self.case.intent.verified;
        let sent = Sent { size: verified.size(), digest: verified.digest() };
        match evidence.map(|evidence| compare(&sent, &evidence, self.case.policy)) {
            // The size alone does not tell our file from what stood there before.
            Some(Ok(_)) if self.case.proof == Proof::Size && !self.looks_like_ours(now) => {
                self.not_there(now)
            }
            Some(Ok(verified)) => {
                let session = self.case.session.clone();
                let delivered = Delivered { verified, session, ..Delivered::from(self.case.intent.clone()) };
                self.record(Settled::Delivered(verified), Record::Delivered(delivered))
            }
            Some(Err(_)) => self.not_there(now),
            None if self.case.proof == Proof::Hash && self.case.policy == VerifyPolicy::Auto => {
                self.case.proof = Proof::ReadBack;
                self.phase = Phase::Proving(now.clone());
                SettleStep::Do(Step::ReadBack(self.case.destination.clone()))
            }
            None => SettleStep::Unknown(DeliveryError::NoProof { refusal: None }),
        }
    }

    /// Whether a file of the right size may be the one that was renamed, by its time.
    fn looks_like_ours(&self, now: &Standing) -> bool {
        let Publishing { verified, modified, standing, .. } = &self.case.intent;
        let ours = Standing::File { size: verified.size(), modified: modified.clone() };
        same_file(now, &ours) && !same_file(now, standing)
    }

    /// The temporary file is gone, and the final name does not hold its bytes.
    fn not_there(&mut self, now: &Standing) -> SettleStep {
        let as_before = same_file(now, &self.case.intent.standing);
        let never_renamed =
            self.case.intent.displaced.as_ref().is_some_and(|displaced| displaced.step == Displacing::Begun);
        match (now, self.case.mode) {
            (Standing::Absent, _) if never_renamed => {
                self.withdraw("the temporary file is gone, and so is what stood under the final name")
            }
            (Standing::Absent, Mode::Drop) => {
                let Publishing { run, path, temporary, stat, observed_at, verified, .. } =
                    self.case.intent.clone();
                let found = format!(
                    "proved by {} in run {run}, then its temporary name {temporary} was gone, and nothing stood \
                     under {} ({})",
                    verified.method(),
                    self.case.destination,
                    self.absence
                );
                let run = self.case.run;
                let (basis, publish) = (Basis::Verified(verified), PublishWay::Rename);
                let presumed = Presumed { run, path, stat, observed_at, basis, publish, found };
                self.record(Settled::Presumed, Record::Presumed(presumed))
            }
            (Standing::Absent, Mode::Mirror) => self.withdraw("nothing stands under either name"),
            (Standing::File { .. }, Mode::Mirror) if as_before => {
                self.withdraw("the temporary file is gone, and the final name holds what stood there before")
            }
            (Standing::File { .. } | Standing::Unknown, Mode::Mirror | Mode::Drop) => self.conflict(),
        }
    }

    fn conflict(&self) -> SettleStep {
        SettleStep::Unknown(DeliveryError::Conflict { path: self.case.destination.to_string() })
    }

    fn withdraw(&mut self, cause: &str) -> SettleStep {
        let withdrawn =
            Withdrawn { run: self.case.run, path: self.case.intent.path.clone(), cause: cause.to_owned() };
        self.record(Settled::Withdrawn, Record::Withdrawn(withdrawn))
    }

    fn record(&mut self, settled: Settled, record: Record) -> SettleStep {
        self.phase = Phase::Recording(settled);
        SettleStep::Do(Step::Commit(Box::new(record)))
    }
}

/// Whether what stands there is what stood there before, by size and time as far as they are known.
pub(super) fn same_file(now: &Standing, before: &Standing) -> bool {
    match (now, before) {
        (Standing::Absent, Standing::Absent) => true,
        (
            Standing::File { size, modified },
            Standing::File { size: size_before, modified: modified_before },
        ) => {
            let times = modified.as_ref().zip(modified_before.as_ref());
            size == size_before && times.is_none_or(|(now, before)| now == before)
        }
        (Standing::Absent | Standing::File { .. } | Standing::Unknown, _) => false,
    }
}
