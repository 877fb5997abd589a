//! Storing a file under its final name at once (`publish: direct`), for servers that cannot rename.
//!
//! A pure state machine like [`publish`](super::publish): look, durable intent, `STOR`, proof, durable
//! delivery. A reader may see half a file meanwhile. After a crash or a lost connection what stands
//! there is compared with what was about to be sent: equal means delivered; a beginning of it is ours
//! and is stored once more, and so is one that the record knows where the source is another one by now; anything else is a stranger's and is left alone. In a drop, what the server
//! took whole and a consumer took before it was proved is presumed, and not sent again.

mod prove;
mod send;
#[cfg(test)]
mod tests;

pub(super) use self::send::{Ended, deliver, take_up};

use super::failure::DeliveryError;
use super::publish::{Input, OLDEST_TIME, PASSING_TIME, Proof, ServerHash, Step, is_ours};
use super::settle::same_file;
use crate::domain::{
    Basis, Beginning, Delivered, Digest, Entry, Evidence, FileStat, Mode, Overwrite, Presumed, PublishWay,
    Record, RelPath, RemotePath, RunId, Sent, SessionFacts, Sidecars, Standing, Storing, StoringStep,
    Timestamp, Verified, VerifyPolicy, Withdrawn, compare,
};
use crate::remote::{Answer, Incoming, Refusal, Request};

/// What is to be stored.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) run: RunId,
    pub(super) path: RelPath,
    pub(super) destination: RemotePath,
    pub(super) stat: FileStat,
    pub(super) observed_at: Timestamp,
    pub(super) session: SessionFacts,
    /// What the source file holds: it was read once before.
    pub(super) sent: Sent,
    /// By which a part of it will be known.
    pub(super) beginnings: Vec<Beginning>,
    pub(super) proof: Proof,
    pub(super) policy: VerifyPolicy,
    pub(super) overwrite: Overwrite,
    pub(super) mode: Mode,
    /// What the delivery will owe.
    pub(super) sidecars: Sidecars,
    /// What was delivered there before.
    pub(super) known: Option<Entry>,
    /// An earlier upload whose end is not known.
    pub(super) open: Option<Storing>,
    /// Whether the server says that it tells sizes: only then its 550 to `SIZE` means that nothing
    /// is there.
    pub(super) sizes: Sizes,
    pub(super) hash: ServerHash,
}

/// Whether a server offers `SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    Offered,
    Missing,
}

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirectStep {
    /// As in publishing.
    Do(Step),
    /// Send the file to its final name, and say what came of it.
    Store,
    /// Read so many bytes of the source file from its beginning, and hand in their SHA-256.
    Beginning(u64),
    /// Read what stands under the final name, and hand in its size and the SHA-256 of so many of its
    /// first bytes.
    ReadPart(u64),
    /// The server took the file whole, and it was gone before it was proved: recorded as presumed.
    Presumed,
}

/// What came of sending a file, on a session that can be used further.
#[derive(Debug)]
pub(super) enum Upload {
    /// The server took what was sent.
    Whole(Sent),
    /// The server refused before anything was sent.
    Refused(DeliveryError),
    /// It broke off; something may stand there.
    Broken(DeliveryError),
}

/// What was read of what stands under the final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: its size, and the SHA-256 of the first bytes that were asked for.
    Read { size: u64, beginning: Digest },
    /// The server refused.
    Unreadable,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Direct {
    spec: Spec,
    phase: Phase,
    /// What is said to stand under the final name if the upload is cut off: what stood there before,
    /// or what an upload that failed made of it.
    standing: Standing,
}

#[derive(Debug)]
enum Phase {
    Looking,
    /// What stands there is held against what an earlier upload was about to send.
    Comparing {
        open: Storing,
        size: u64,
    },
    /// What stands there is shorter, and has this digest; that of our own first bytes is awaited.
    Beginning {
        size: u64,
        theirs: Digest,
    },
    /// What stands there is shorter than what an earlier upload was about to send of a source that is
    /// gone; whether it has this beginning is awaited.
    Recalling {
        size: u64,
        ours: Beginning,
    },
    Intending,
    Storing,
    /// It becomes durable that the server took the file whole.
    Acknowledging,
    /// The file is stored; the proof is awaited.
    Proving,
    ReadingBack(Found),
    /// It seems to be gone, or else there is no proof because of this; asked once more.
    Vanishing {
        sent: Vanished,
        otherwise: DeliveryError,
    },
    /// The upload failed; what it made of the file is asked.
    Noting(DeliveryError),
    /// What it made becomes durable, or that nothing was begun does.
    Failing(DeliveryError),
    Presuming,
    Recording(Verified),
    Ended,
}

/// What was stored whole and may be gone.
#[derive(Clone, Copy, Debug)]
struct Vanished {
    run: RunId,
    stat: FileStat,
    observed_at: Timestamp,
    sent: Sent,
}

/// What the server tells of the stored file.
#[derive(Debug)]
struct Found {
    modified: Option<String>,
}

impl Direct {
    pub(super) fn new(spec: Spec) -> Self {
        Self { spec, phase: Phase::Looking, standing: Standing::Unknown }
    }

    /// Most bytes to be read back.
    pub(super) fn size(&self) -> u64 {
        let open = self.spec.open.as_ref().map_or(0, |open| open.size);
        match &self.phase {
            Phase::Comparing { .. } | Phase::Recalling { .. } => open,
            _ => self.spec.sent.size,
        }
    }

    /// Starts: a look at what stands under the final name.
    pub(super) fn start(&self) -> DirectStep {
        ask(self.look())
    }

    fn look(&self) -> Vec<Request> {
        let destination = self.spec.destination.clone();
        vec![Request::Size(destination.clone()), Request::Modified(destination)]
    }

    /// Takes in what came of sending the file.
    pub(super) fn stored(&mut self, upload: Upload) -> DirectStep {
        match (std::mem::replace(&mut self.phase, Phase::Ended), upload) {
            (Phase::Storing, Upload::Whole(sent)) if sent == self.spec.sent => match self.spec.mode {
                Mode::Drop => {
                    self.phase = Phase::Acknowledging;
                    commit(Record::Storing(self.intent(StoringStep::Stored)))
                }
                Mode::Mirror => self.prove(),
            },
            (Phase::Storing, Upload::Whole(_)) => self.note(DeliveryError::ChangedBetween),
            (Phase::Storing, Upload::Broken(error)) => self.note(error),
            (Phase::Storing, Upload::Refused(error)) if self.spec.open.is_none() => {
                let (run, path, cause) = (self.spec.run, self.spec.path.clone(), error.to_string());
                self.phase = Phase::Failing(error);
                commit(Record::Withdrawn(Withdrawn { run, path, cause }))
            }
            // A part of an earlier one may still stand there.
            (Phase::Storing, Upload::Refused(error)) => fail(error),
            _ => out_of_order(),
        }
    }

    /// Takes in the digest of the first bytes of the source.
    pub(super) fn beginning(&mut self, ours: Digest) -> DirectStep {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Beginning { theirs, .. } if theirs == ours => self.intend(),
            Phase::Beginning { size, .. } => self.strange(size),
            _ => out_of_order(),
        }
    }

    /// Takes in what was read of the part.
    pub(super) fn part(&mut self, part: Part) -> DirectStep {
        match (std::mem::replace(&mut self.phase, Phase::Ended), part) {
            (Phase::Recalling { size, ours }, Part::Read { size: read, beginning })
                if (read, beginning) == (size, ours.digest) =>
            {
                self.intend()
            }
            (Phase::Recalling { size, .. }, Part::Read { .. } | Part::Unreadable) => self.strange(size),
            _ => out_of_order(),
        }
    }

    /// Takes in what came of the last step.
    pub(super) fn next(&mut self, input: Input) -> DirectStep {
        match (std::mem::replace(&mut self.phase, Phase::Ended), input) {
            (Phase::Looking, Input::Answers(answers)) => self.looked(&answers),
            (Phase::Comparing { open, size }, Input::Answers(answers)) => match answers.first() {
                Some(Answer::Digest(digest)) => self.compared(&open, size, *digest),
                _ => self.read_open(open, size),
            },
            (Phase::Comparing { open, .. }, Input::Incoming(Incoming { size, digest })) => {
                self.compared(&open, size, digest)
            }
            (Phase::Comparing { open, .. }, Input::Unreadable(_)) if self.may_go(&open) => self.intend(),
            (Phase::Comparing { size, .. }, Input::Unreadable(_)) => self.strange(size),
            (Phase::Intending, Input::Committed) => {
                self.phase = Phase::Storing;
                DirectStep::Store
            }
            (Phase::Acknowledging, Input::Committed) => self.prove(),
            (Phase::Proving, Input::Answers(answers)) => self.asked(answers),
            (Phase::ReadingBack(found), Input::Incoming(Incoming { size, digest })) => {
                self.proved(found, &Evidence::ReadBack { size, digest })
            }
            (Phase::ReadingBack(_), Input::Unreadable(refusal)) => self.unproved(Some(refusal)),
            (Phase::Vanishing { sent, otherwise }, Input::Answers(answers)) => {
                self.vanished(sent, otherwise, &answers)
            }
            (Phase::Noting(error), Input::Answers(answers)) => {
                match self.standing_in(&answers) {
                    Standing::Unknown => {}
                    standing => self.standing = standing,
                }
                self.phase = Phase::Failing(error);
                commit(Record::Storing(self.intent(StoringStep::Begun)))
            }
            (Phase::Failing(error), Input::Committed) => fail(error),
            (Phase::Presuming, Input::Committed) => DirectStep::Presumed,
            (Phase::Recording(verified), Input::Committed) => DirectStep::Do(Step::Done(verified)),
            (_, _) => out_of_order(),
        }
    }

    fn standing_in(&self, answers: &[Answer]) -> Standing {
        match answers {
            [Answer::Size(size), modified] => {
                let modified = if let Answer::Modified(time) = modified { Some(time.clone()) } else { None };
                Standing::File { size: *size, modified }
            }
            [Answer::Absent(_), modified]
                if self.spec.sizes == Sizes::Offered && !matches!(modified, Answer::Modified(_)) =>
            {
                Standing::Absent
            }
            _ => Standing::Unknown,
        }
    }

    fn looked(&mut self, answers: &[Answer]) -> DirectStep {
        if let [Answer::Refused(refusal), ..] = answers
            && refusal.is_passing()
        {
            return fail(DeliveryError::NotNow { refusal: refusal.clone() });
        }
        self.standing = self.standing_in(answers);
        let Some(open) = self.spec.open.clone() else { return self.send_over() };
        match (&self.standing, self.spec.mode, open.step) {
            (Standing::Absent, Mode::Drop, StoringStep::Stored) => {
                let Storing { run, stat, observed_at, size, digest, .. } = open;
                let sent = Sent { size, digest };
                let vanished = Vanished { run, stat, observed_at, sent };
                self.vanish(vanished, DeliveryError::CannotLook)
            }
            (Standing::File { size, .. }, ..) if *size == open.size => {
                let size = *size;
                self.compare(open, size)
            }
            (Standing::File { size, .. }, ..) if *size > 0 && *size < open.size && !self.may_go(&open) => {
                let size = *size;
                if self.is_same_source(&open) { self.compare(open, size) } else { self.recall(&open, size) }
            }
            // Nothing is lost of an empty file.
            (Standing::File { size: 0, .. }, ..) => self.intend(),
            (Standing::Absent | Standing::File { .. } | Standing::Unknown, ..) if self.may_go(&open) => {
                self.intend()
            }
            (Standing::Absent | Standing::File { .. } | Standing::Unknown, ..) => self.send_over(),
        }
    }

    /// Whether what stands there may be replaced without being read.
    fn may_go(&self, open: &Storing) -> bool {
        self.spec.overwrite == Overwrite::Replace
            || same_file(&self.standing, &open.standing)
            || is_ours(&self.standing, self.spec.known.as_ref())
    }

    /// Has what stands there read or hashed: whole, or a part.
    fn compare(&mut self, open: Storing, size: u64) -> DirectStep {
        match self.spec.hash {
            ServerHash::Offered => {
                self.phase = Phase::Comparing { open, size };
                ask(vec![Request::Hash(self.spec.destination.clone())])
            }
            ServerHash::Missing => self.read_open(open, size),
        }
    }

    fn read_open(&mut self, open: Storing, size: u64) -> DirectStep {
        self.phase = Phase::Comparing { open, size };
        DirectStep::Do(Step::ReadBack(self.spec.destination.clone()))
    }

    /// What stands there was read.
    fn compared(&mut self, open: &Storing, size: u64, digest: Digest) -> DirectStep {
        let whole = (size, digest) == (open.size, open.digest);
        match (whole, self.is_same_source(open)) {
            // It was stored to its end; its time may not be set yet.
            (true, true) => self.prove(),
            (true, false) => self.intend(),
            (false, _) if self.may_go(open) => self.intend(),
            (false, true) if size < open.size => {
                self.phase = Phase::Beginning { size, theirs: digest };
                DirectStep::Beginning(size)
            }
            (false, _) => self.strange(size),
        }
    }

    fn is_same_source(&self, open: &Storing) -> bool {
        (open.size, open.digest) == (self.spec.sent.size, self.spec.sent.digest)
    }

    /// The source is another one by now: what stands there is ours if it has a beginning that is recorded.
    fn recall(&mut self, open: &Storing, size: u64) -> DirectStep {
        let Some(ours) = open.beginning_within(size) else { return self.strange(size) };
        self.phase = Phase::Recalling { size, ours };
        DirectStep::ReadPart(ours.size)
    }

    /// What stands there is not known to be a part of ours.
    fn strange(&self, size: u64) -> DirectStep {
        fail(DeliveryError::StrangePart { path: self.spec.destination.to_string(), size })
    }

    /// Intends to store the file, unless what stands there is not to be replaced.
    fn send_over(&mut self) -> DirectStep {
        let Spec { overwrite, known, .. } = &self.spec;
        match (&self.standing, overwrite) {
            (Standing::Absent, _) | (_, Overwrite::Replace) => self.intend(),
            (Standing::File { .. }, Overwrite::Refuse) if is_ours(&self.standing, known.as_ref()) => {
                self.intend()
            }
            (Standing::File { size, .. }, Overwrite::Refuse) => {
                fail(DeliveryError::Occupied { size: *size, known: known.is_some() })
            }
            (Standing::Unknown, Overwrite::Refuse) => fail(DeliveryError::CannotLook),
        }
    }

    fn intend(&mut self) -> DirectStep {
        self.phase = Phase::Intending;
        commit(Record::Storing(self.intent(StoringStep::Begun)))
    }

    fn intent(&self, step: StoringStep) -> Storing {
        let Spec { run, path, stat, observed_at, session, sent, beginnings, .. } = &self.spec;
        Storing {
            run: *run,
            path: path.clone(),
            stat: *stat,
            observed_at: *observed_at,
            size: sent.size,
            digest: sent.digest,
            standing: self.standing.clone(),
            step,
            beginnings: beginnings.clone(),
            session: session.clone(),
        }
    }

    /// What an upload that failed left there is ours: it is kept in mind, so that it can be replaced.
    fn note(&mut self, error: DeliveryError) -> DirectStep {
        self.phase = Phase::Noting(error);
        ask(self.look())
    }
}

const fn ask(requests: Vec<Request>) -> DirectStep {
    DirectStep::Do(Step::Perform(requests))
}

fn commit(record: Record) -> DirectStep {
    DirectStep::Do(Step::Commit(Box::new(record)))
}

const fn fail(error: DeliveryError) -> DirectStep {
    DirectStep::Do(Step::Failed(error))
}

const fn out_of_order() -> DirectStep {
    fail(DeliveryError::Internal("the steps of a delivery are out of order"))
}
