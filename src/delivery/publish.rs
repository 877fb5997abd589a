//! From bytes under a temporary name to a proved file under its final name, as a pure state
//! machine: answers and acknowledgements go in, requests and records come out.
//!
//! The order is what matters: proof, then a look at the final name, then the durable intent,
//! then the rename, then the durable delivery. The machine does no input or output, so every
//! refusal and every crash point is a row of a table in its tests.

use super::failure::{DeliveryError, RenameTarget};
use crate::domain::{
    Delivered, Displaced, Displacing, Entry, EntryStatus, Evidence, Mode, Overwrite, Publishing, Record,
    RemotePath, Standing, Verified, VerifyPolicy, Withdrawn, compare,
};
use crate::remote::{Answer, Incoming, Refusal, Request};

mod displace;
mod spec;

pub(super) use self::displace::back;
pub(super) use self::spec::{Draft, Proof, RenameOver, ServerHash, Spec};

/// The time that a file gets for a moment so that ProFTPD's hash is of the disk: 1.3.8 answers
/// from a cache filled during the transfer, until the file's time changes.
pub(super) const PASSING_TIME: &str = "19800102030405";

/// What a file from before 1970 gets in its place: servers refuse its own time.
pub(super) const OLDEST_TIME: &str = "19700101000000";

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask all of this in one write, and hand in the answers.
    Perform(Vec<Request>),
    /// Read a file back, and hand in what came.
    ReadBack(RemotePath),
    /// Make a record durable, and say when it is.
    Commit(Box<Record>),
    /// The file is delivered and recorded.
    Done(Verified),
    /// It is not. Without an [`intent`](Publish::intent) that is left, nothing was published and
    /// the temporary file can be deleted; with one, it must be settled.
    Failed(DeliveryError),
}

/// What came of a [`Step`].
#[derive(Debug)]
pub(super) enum Input {
    Answers(Vec<Answer>),
    Incoming(Incoming),
    /// The file may not be read back.
    Unreadable(Refusal),
    Committed,
}

/// How far a file is, for whoever sends the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is about to be proved, so.
    Proof(Proof),
    /// It is about to get its name.
    Rename,
    /// Neither.
    Between,
}

/// The machine. Drive it with [`start`](Publish::start) and then [`next`](Publish::next) until
/// it is done or has failed.
#[derive(Debug)]
pub(super) struct Publish {
    spec: Spec,
    phase: Phase,
    /// From before the intent is durable until the delivery, or that it is taken back, is: what
    /// breaks off meanwhile must be settled.
    intent: Option<Publishing>,
    origin: Origin,
    sizes: Sizes,
    /// The refusal of a rename over a file, after which that file is displaced.
    refused_over: Option<Refusal>,
}

/// Whether the server tells sizes at all. Where it refuses that of the file that was just stored,
/// its 550 does not mean that nothing stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Told,
    NotTold,
}

/// Since when the temporary file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was stored by this attempt, on this session.
    Fresh,
    /// An earlier attempt asked for its rename and lost the connection. The server may carry that
    /// out at any moment.
    InDoubt,
}

#[derive(Debug)]
enum Phase {
    /// The answers of the first batch are awaited.
    Asking,
    /// The file is being read back; what the first batch found is kept.
    ReadingBack(Found),
    /// There is no proof; whether the file stands there at all, and what the server tells of it,
    /// is being asked.
    Suspecting(Found),
    /// The final name is taken, perhaps by the very file that is in doubt; whether the temporary
    /// file still stands is asked once more.
    Crowded(DeliveryError),
    /// The intent is being made durable.
    Intending,
    /// What stands under the final name is on its way to a temporary one.
    Displacing,
    /// The rename is under way.
    Renaming,
    /// The rename was answered; whether the temporary name is gone is asked once more.
    Doubting(Renamed),
    /// The rename was answered, and the file does not seem to stand under its final name; whether
    /// that is so is asked once more.
    Missing,
    /// Nothing was published, because of this; whether the displaced file can go back is being
    /// asked.
    Missed(DeliveryError),
    /// The displaced file goes back.
    PuttingBack(DeliveryError),
    /// The intent is being taken back, because of this.
    Withdrawing(DeliveryError),
    /// The delivery is being made durable.
    Recording(Verified),
    /// Nothing more comes.
    Ended,
}

/// What was answered to a rename.
#[derive(Debug)]
struct Renamed {
    from: Answer,
    to: Answer,
    /// The size of what stands under the final name; asked in a mirror only.
    there: Option<Answer>,
}

/// What became of the temporary name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temporary {
    Stands,
    Gone,
}

/// What the first batch found.
#[derive(Clone, Debug)]
struct Found {
    modified: Option<String>,
    standing: Option<Standing>,
    evidence: Option<Evidence>,
    refusal: Option<Refusal>,
    /// What was refused for now (4xx).
    passing: Option<Refusal>,
    sizes: Sizes,
}

impl Publish {
    pub(super) fn new(spec: Spec) -> Self {
        let (intent, refused_over) = (None, None);
        let (origin, sizes) = (Origin::Fresh, Sizes::NotTold);
        Self { spec, phase: Phase::Asking, intent, origin, sizes, refused_over }
    }

    /// Goes on with an intent whose temporary file still stands. An old version that had made room has
    /// its name again: settling saw to that, and what stands there now is looked at anew.
    pub(super) fn again(spec: Spec, intent: Publishing) -> Self {
        let intent = Publishing { displaced: None, ..intent };
        Self { intent: Some(intent), origin: Origin::InDoubt, ..Self::new(spec) }
    }

    /// The intent that must be settled if the machine stops here.
    pub(super) fn intent(&self) -> Option<&Publishing> {
        self.intent.as_ref()
    }

    /// Where the bytes stand until they are published.
    pub(super) fn temporary(&self) -> &RemotePath {
        &self.spec.draft.temporary
    }

    /// What was delivered under the final name before.
    pub(super) fn known(&self) -> Option<&Entry> {
        self.spec.known.as_ref()
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.spec.sent.size
    }

    /// How far it is, with the step that was given last.
    pub(super) const fn turn(&self) -> Turn {
        match self.phase {
            Phase::Asking => Turn::Proof(self.spec.proof),
            Phase::Renaming => Turn::Rename,
            _ => Turn::Between,
        }
    }

    /// Starts.
    pub(super) fn start(&self) -> Step {
        Step::Perform(self.first_batch())
    }

    /// The proof or the first half of it, the time, and a look at the final name; the size of the
    /// temporary file shows what the one of the final name is worth. The time of what stands there
    /// matters only where it can be ours, or may be replaced.
    fn first_batch(&self) -> Vec<Request> {
        let Draft { temporary, stat, .. } = &self.spec.draft;
        let time = stat.mtime.to_ftp();
        let set_time = |time: &str| Request::SetTime(temporary.clone(), time.to_owned());
        let mut batch = Vec::with_capacity(7);
        match self.spec.proof {
            Proof::Hash => {
                batch.push(set_time(PASSING_TIME));
                batch.push(Request::Hash(temporary.clone()));
            }
            Proof::ReadBack | Proof::Size => {}
        }
        let passed = (self.spec.proof == Proof::Hash).then_some(OLDEST_TIME);
        batch.extend(time.as_deref().or(passed).map(set_time));
        batch.push(Request::Modified(temporary.clone()));
        batch.push(Request::Size(temporary.clone()));
        batch.push(Request::Size(self.spec.destination.clone()));
        if self.spec.known.is_some() || self.spec.overwrite == Overwrite::Replace {
            batch.push(Request::Modified(self.spec.destination.clone()));
        }
        batch
    }

    /// Takes in what came of the last step.
    pub(super) fn next(&mut self, input: Input) -> Step {
        match (std::mem::replace(&mut self.phase, Phase::Ended), input) {
            (Phase::Asking, Input::Answers(answers)) => {
                let found = self.find(answers);
                self.sizes = found.sizes;
                if self.spec.proof == Proof::ReadBack {
                    self.phase = Phase::ReadingBack(found);
                    return Step::ReadBack(self.spec.draft.temporary.clone());
                }
                self.prove(found)
            }
            (Phase::ReadingBack(mut found), Input::Incoming(incoming)) => {
                let Incoming { size, digest } = incoming;
                found.evidence = Some(Evidence::ReadBack { size, digest });
                self.prove(found)
            }
            (Phase::ReadingBack(mut found), Input::Unreadable(refusal)) => {
                found.refusal = Some(refusal);
                self.suspect(found)
            }
            (Phase::Suspecting(found), Input::Answers(answers)) => self.without_proof(found, &answers),
            (Phase::Crowded(error), Input::Answers(answers)) => match answers.as_slice() {
                [Answer::Size(_), _] | [_, Answer::Done] => self.fail(error),
                _ => Step::Failed(DeliveryError::InDoubt),
            },
            (Phase::Intending, Input::Committed) => self.intended(),
            (Phase::Displacing, Input::Answers(answers)) => self.displaced(&answers),
            (Phase::Missed(error), Input::Answers(answers)) => self.missed(error, &answers),
            (Phase::PuttingBack(error), Input::Answers(answers)) => self.put_back(error, &answers),
            (Phase::Renaming, Input::Answers(answers)) => self.renamed(answers),
            (Phase::Doubting(renamed), Input::Answers(answers)) => match answers.as_slice() {
                [Answer::Done] => self.judge(renamed, Temporary::Stands),
                [Answer::Absent(_)] => self.judge(renamed, Temporary::Gone),
                _ => Step::Failed(DeliveryError::InDoubt),
            },
            (Phase::Missing, Input::Answers(answers)) => match answers.as_slice() {
                [Answer::Absent(_)] => self.fail(DeliveryError::Lost),
                _ => Step::Failed(DeliveryError::InDoubt),
            },
            (Phase::Withdrawing(error), Input::Committed) => {
                self.intent = None;
                Step::Failed(error)
            }
            (Phase::Recording(verified), Input::Committed) => {
                self.intent = None;
                Step::Done(verified)
            }
            (_, _) => Step::Failed(DeliveryError::Internal("the steps of a delivery are out of order")),
        }
    }

    fn find(&self, answers: Vec<Answer>) -> Found {
        let sizes = Sizes::NotTold;
        let mut found =
            Found { modified: None, standing: None, evidence: None, refusal: None, passing: None, sizes };
        let by_size = self.spec.proof == Proof::Size;
        let mut standing_size = None;
        for (request, answer) in self.first_batch().into_iter().zip(answers) {
            let ours = match &request {
                Request::Modified(path) | Request::Size(path) | Request::Hash(path) => {
                    *path == self.spec.draft.temporary
                }
                _ => true,
            };
            if let (Request::Hash(_) | Request::Size(_), Answer::Refused(refusal)) = (&request, &answer)
                && refusal.is_passing()
            {
                found.passing = Some(refusal.clone());
            }
            match (request, answer) {
                (Request::Hash(_), Answer::Digest(digest)) => {
                    found.evidence = Some(Evidence::ServerHash { digest });
                }
                (Request::Size(_), Answer::Size(size)) if ours => {
                    found.sizes = Sizes::Told;
                    found.evidence = found.evidence.or(by_size.then_some(Evidence::Size { size }));
                }
                (Request::Hash(_), Answer::Refused(refusal) | Answer::Absent(refusal)) => {
                    found.refusal = Some(refusal);
                }
                (Request::Size(_), Answer::Refused(refusal) | Answer::Absent(refusal)) if ours => {
                    found.refusal = found.refusal.or(by_size.then_some(refusal));
                }
                (Request::Modified(_), Answer::Modified(time)) if ours => found.modified = Some(time),
                (Request::Size(_), Answer::Size(size)) => standing_size = Some(size),
                (Request::Size(_), Answer::Absent(_)) if found.sizes == Sizes::Told => {
                    found.standing = Some(Standing::Absent);
                }
                (Request::Modified(_), Answer::Modified(time)) => {
                    found.standing =
                        standing_size.take().map(|size| Standing::File { size, modified: Some(time) });
                }
                _ => {}
            }
        }
        if let Some(size) = standing_size {
            found.standing = Some(Standing::File { size, modified: None });
        }
        found
    }

    /// Compares, looks at what stands under the final name, and makes the intent.
    fn prove(&mut self, found: Found) -> Step {
        let Spec { sent, policy, overwrite, known, .. } = &self.spec;
        let Some(evidence) = found.evidence else {
            if let Some(refusal) = found.passing {
                return self.fail(DeliveryError::NotNow { refusal });
            }
            let absent = found.refusal.as_ref().is_some_and(Refusal::is_absence);
            if !absent && self.spec.proof == Proof::Hash && *policy == VerifyPolicy::Auto {
                // It lists a hash that it does not give, or not for such a file.
                self.spec.proof = Proof::ReadBack;
                self.phase = Phase::ReadingBack(found);
                return Step::ReadBack(self.temporary().clone());
            }
            return if absent || self.spec.proof == Proof::Size {
                self.suspect(found)
            } else {
                self.fail(DeliveryError::NoProof { refusal: found.refusal })
            };
        };
        let verified = match compare(sent, &evidence, *policy) {
            Ok(verified) => verified,
            Err(mismatch) => return self.fail(DeliveryError::Mismatch(mismatch)),
        };
        let standing = found.standing.unwrap_or(Standing::Unknown);
        match (&standing, overwrite) {
            (Standing::Absent, _) | (_, Overwrite::Replace) => {}
            (Standing::File { .. }, Overwrite::Refuse) if is_ours(&standing, known.as_ref()) => {}
            (Standing::File { size, .. }, Overwrite::Refuse) => {
                let error = DeliveryError::Occupied { size: *size, known: known.is_some() };
                return self.occupied(error);
            }
            (Standing::Unknown, Overwrite::Refuse) => {
                let not_now = found.passing.map(|refusal| DeliveryError::NotNow { refusal });
                return self.fail(not_now.unwrap_or(DeliveryError::CannotLook));
            }
        }
        let over = !matches!(standing, Standing::Absent);
        let intent = self.spec.draft.clone().intent(verified, found.modified, standing);
        match self.spec.rename_over {
            RenameOver::Refused if over => self.displace(intent),
            RenameOver::Refused | RenameOver::Replaces => self.intend(intent),
        }
    }

    fn intend(&mut self, intent: Publishing) -> Step {
        self.intent = Some(intent.clone());
        self.phase = Phase::Intending;
        Step::Commit(Box::new(Record::Publishing(intent)))
    }

    /// Something else stands under the final name; or an earlier rename came through between the
    /// proof and the look, and it is our own file: then its temporary name is gone.
    fn occupied(&mut self, error: DeliveryError) -> Step {
        match self.origin {
            Origin::Fresh => self.fail(error),
            Origin::InDoubt => {
                self.phase = Phase::Crowded(error);
                let temporary = self.temporary().clone();
                Step::Perform(vec![Request::Size(temporary.clone()), Request::Stands(temporary)])
            }
        }
    }

    /// There is no proof: either the file is gone, or the server does not tell of it.
    fn suspect(&mut self, found: Found) -> Step {
        self.phase = Phase::Suspecting(found);
        let temporary = self.temporary().clone();
        Step::Perform(vec![Request::Size(temporary.clone()), Request::Stands(temporary)])
    }

    /// Tells a file that is gone from one that this account may store and not look at.
    fn without_proof(&mut self, found: Found, answers: &[Answer]) -> Step {
        let Spec { proof, policy, .. } = self.spec;
        let no_proof = |refusal| DeliveryError::NoProof { refusal };
        match (answers, proof, policy, found.refusal.clone()) {
            ([_, Answer::Absent(_)], _, _, refusal) => self.gone(no_proof(refusal)),
            ([_, Answer::Done], Proof::Hash, VerifyPolicy::Auto, _) => {
                self.spec.proof = Proof::ReadBack;
                self.phase = Phase::ReadingBack(found);
                Step::ReadBack(self.temporary().clone())
            }
            ([Answer::Size(_), Answer::Done], Proof::ReadBack, _, Some(refusal)) => {
                self.fail(DeliveryError::WriteOnly { refusal })
            }
            ([_, Answer::Done], Proof::ReadBack | Proof::Size, _, refusal) => {
                self.fail(DeliveryError::Unprovable { refusal })
            }
            (_, _, _, refusal) => self.fail(no_proof(refusal)),
        }
    }

    /// The rename, and whether the temporary name is gone: servers say 250 to renames that did
    /// not happen. In a mirror the file must also be there; in a drop it may be taken already.
    fn rename_batch(&self) -> Vec<Request> {
        let Spec { draft: Draft { temporary, .. }, destination, mode, .. } = &self.spec;
        let mut batch = vec![
            Request::RenameFrom(temporary.clone()),
            Request::RenameTo(destination.clone()),
            Request::Size(temporary.clone()),
        ];
        match mode {
            Mode::Mirror => batch.push(Request::Size(destination.clone())),
            Mode::Drop => {}
        }
        batch
    }

    fn renamed(&mut self, answers: Vec<Answer>) -> Step {
        let mut answers = answers.into_iter();
        let (Some(from), Some(to), Some(left)) = (answers.next(), answers.next(), answers.next()) else {
            return Step::Failed(DeliveryError::InDoubt);
        };
        let there = answers.next().filter(|_| self.sizes == Sizes::Told);
        let renamed = Renamed { from, to, there };
        match left {
            Answer::Size(_) => self.judge(renamed, Temporary::Stands),
            Answer::Absent(_) if self.sizes == Sizes::Told => self.judge(renamed, Temporary::Gone),
            // Not every server tells sizes.
            _ => {
                self.phase = Phase::Doubting(renamed);
                Step::Perform(vec![Request::Stands(self.temporary().clone())])
            }
        }
    }

    fn judge(&mut self, renamed: Renamed, temporary: Temporary) -> Step {
        use {Answer as A, Temporary as T};
        let Some(intent) = self.intent.clone() else {
            return Step::Failed(DeliveryError::Internal("a file was renamed without an intent"));
        };
        match (renamed.from, renamed.to, temporary) {
            (A::Done, A::Done, T::Gone) => match renamed.there {
                Some(A::Size(size)) if size != intent.verified.size() => Step::Failed(DeliveryError::InDoubt),
                // SIZE is refused for other reasons as well, and a reply too many shifts the answers.
                Some(A::Absent(_)) => {
                    self.phase = Phase::Missing;
                    Step::Perform(vec![Request::Stands(self.spec.destination.clone())])
                }
                _ => {
                    self.phase = Phase::Recording(intent.verified);
                    Step::Commit(Box::new(Record::Delivered(Delivered::from(intent))))
                }
            },
            (A::Done, A::Done, T::Stands) => self.fail(DeliveryError::NotRenamed),
            (A::Done, A::Refused(refusal) | A::Absent(refusal), T::Stands)
                if self.may_displace(&intent, &refusal) =>
            {
                self.refused_over = Some(refusal);
                self.displace(intent)
            }
            // Some servers say 550 as well where they do not allow it.
            (A::Done, A::Refused(refusal) | A::Absent(refusal), T::Stands)
            | (A::Absent(refusal) | A::Refused(refusal), A::Refused(_) | A::Absent(_), T::Stands) => {
                self.fail(DeliveryError::RenameRefused { refusal, target: RenameTarget::Free })
            }
            // An earlier rename may have come through just now.
            (A::Refused(refusal), A::Refused(_) | A::Absent(_), T::Gone) => {
                self.gone(DeliveryError::RenameRefused { refusal, target: RenameTarget::Free })
            }
            (A::Absent(refusal), A::Refused(_) | A::Absent(_), T::Gone) => {
                self.gone(DeliveryError::Vanished { refusal })
            }
            (A::Unsupported, A::Unsupported | A::Refused(_), _) | (A::Done, A::Unsupported, T::Stands) => {
                self.fail(DeliveryError::NoRename)
            }
            // Such as a rename that was refused and yet has happened.
            _ => Step::Failed(DeliveryError::InDoubt),
        }
    }

    /// The temporary file is not there. One that this attempt stored was lost; one of an earlier
    /// attempt may have got its final name just now, which must be settled.
    fn gone(&mut self, error: DeliveryError) -> Step {
        match self.origin {
            Origin::Fresh => self.fail(error),
            Origin::InDoubt => Step::Failed(DeliveryError::InDoubt),
        }
    }

    /// Nothing was published. A file that was displaced gets its name back, and an intent that was
    /// made is taken back.
    fn fail(&mut self, error: DeliveryError) -> Step {
        match &self.intent {
            Some(Publishing { displaced: Some(Displaced { step: Displacing::Done, .. }), .. }) => {
                self.phase = Phase::Missed(error);
                Step::Perform(vec![Request::Stands(self.spec.destination.clone())])
            }
            Some(_) | None => self.withdraw(error),
        }
    }

    fn withdraw(&mut self, error: DeliveryError) -> Step {
        let Some(intent) = &self.intent else { return Step::Failed(error) };
        let withdrawn =
            Withdrawn { run: self.spec.draft.run, path: intent.path.clone(), cause: error.to_string() };
        self.phase = Phase::Withdrawing(error);
        Step::Commit(Box::new(Record::Withdrawn(withdrawn)))
    }
}

/// Whether what stands there is what was delivered last: its size, and its time as far as both
/// are known.
pub(super) fn is_ours(standing: &Standing, known: Option<&Entry>) -> bool {
    let (Standing::File { size, modified }, Some(known)) = (standing, known) else { return false };
    let same_time = match (modified, &known.modified) {
        (Some(now), Some(then)) => now == then,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    // Other bytes under our size and time are damage to our own file.
    let ours = match known.status {
        EntryStatus::Delivered
        | EntryStatus::Retired
        | EntryStatus::FoundMissing
        | EntryStatus::FoundChanged => true,
        EntryStatus::Presumed | EntryStatus::Attested => false,
    };
    ours && known.size == *size && same_time
}

#[cfg(test)]
mod tests;
