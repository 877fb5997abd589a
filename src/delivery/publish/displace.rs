//! A server that renames over no file (IIS; `AllowOverwrite off` in `ProFTPD`): the old version
//! leaves its name, the new one gets it, the old one is deleted.
//!
//! Each step is recorded before it is asked for. Between the two renames a reader may find nothing
//! under the final name, and never half a file. What does not go on is put back, but never over
//! another file.

use super::{Phase, Publish, RenameOver, Step};
use crate::delivery::failure::{DeliveryError, RenameTarget};
use crate::delivery::settle::same_file;
use crate::domain::{Displaced, Displacing, Overwrite, Publishing, RemotePath, Standing};
use crate::remote::{Answer, Refusal, Request};

impl Publish {
    /// Whether a rename was refused most likely because of what stands under the final name.
    pub(super) fn may_displace(&self, intent: &Publishing, refusal: &Refusal) -> bool {
        let over = match intent.standing {
            Standing::File { .. } | Standing::Unknown => true,
            Standing::Absent => false,
        };
        over && intent.displaced.is_none() && self.refused_over.is_none() && !refusal.is_passing()
    }

    /// Intends to displace what stands under the final name.
    pub(super) fn displace(&mut self, intent: Publishing) -> Step {
        let displaced = Displaced { to: self.spec.displace_to.clone(), step: Displacing::Begun };
        self.intend(Publishing { displaced: Some(displaced), ..intent })
    }

    /// The intent is durable: what it names is asked for.
    pub(super) fn intended(&mut self) -> Step {
        match self.intent.as_ref().and_then(|intent| intent.displaced.as_ref()) {
            Some(Displaced { to, step: Displacing::Begun }) => {
                let to = to.clone();
                self.phase = Phase::Displacing;
                Step::Perform(vec![
                    Request::RenameFrom(self.spec.destination.clone()),
                    Request::RenameTo(to.clone()),
                    Request::Stands(to.clone()),
                    Request::Size(to.clone()),
                    Request::Modified(to),
                ])
            }
            Some(Displaced { step: Displacing::Done, .. }) | None => {
                self.phase = Phase::Renaming;
                Step::Perform(self.rename_batch())
            }
        }
    }

    pub(super) fn displaced(&mut self, answers: &[Answer]) -> Step {
        use Answer as A;
        let Some((intent, Displaced { to, .. })) = self.displacing() else { return out_of_order() };
        let done = Displaced { to, step: Displacing::Done };
        match answers {
            [A::Done, A::Done, A::Done, size, modified] => {
                let before = intent.standing.clone();
                let intent = Publishing { displaced: Some(done), ..intent };
                match (told(size, modified), self.spec.overwrite) {
                    // Somebody stored another file there since the look.
                    (Some(Standing::File { size, modified }), Overwrite::Refuse)
                        if !same_file(&Standing::File { size, modified: modified.clone() }, &before) =>
                    {
                        self.intent = Some(intent);
                        self.fail(DeliveryError::Occupied { size, known: self.spec.known.is_some() })
                    }
                    (_, Overwrite::Refuse | Overwrite::Replace) => self.intend(intent),
                }
            }
            // Somebody took it away since the look.
            [A::Absent(refusal), _, A::Absent(_), ..] => {
                self.refused_over.get_or_insert_with(|| refusal.clone());
                self.intend(Publishing { displaced: None, standing: Standing::Absent, ..intent })
            }
            [A::Done, A::Done, A::Absent(_), ..] => self.withdraw(DeliveryError::NotRenamed),
            [A::Done, A::Refused(refusal) | A::Absent(refusal), A::Absent(_), ..]
            | [A::Refused(refusal), _, A::Absent(_), ..] => {
                let refusal = self.refused_over.clone().unwrap_or_else(|| refusal.clone());
                self.withdraw(DeliveryError::RenameRefused { refusal, target: RenameTarget::Taken })
            }
            [A::Unsupported, _, A::Absent(_) | A::Unsupported, ..] => self.withdraw(DeliveryError::NoRename),
            _ => Step::Failed(DeliveryError::InDoubt),
        }
    }

    /// What was displaced goes back where nothing stands in its place.
    pub(super) fn missed(&mut self, error: DeliveryError, answers: &[Answer]) -> Step {
        let Some((_, Displaced { to, .. })) = self.displacing() else { return out_of_order() };
        match answers {
            [Answer::Absent(_)] => {
                self.phase = Phase::PuttingBack(error);
                Step::Perform(back(&to, &self.spec.destination))
            }
            [Answer::Done] => {
                let (path, kept) = (self.spec.destination.to_string(), to.to_string());
                Step::Failed(DeliveryError::Stranded { path, kept })
            }
            _ => Step::Failed(DeliveryError::InDoubt),
        }
    }

    pub(super) fn put_back(&mut self, error: DeliveryError, answers: &[Answer]) -> Step {
        match answers {
            [Answer::Done, Answer::Done, Answer::Absent(_)] => self.withdraw(error),
            _ => Step::Failed(DeliveryError::InDoubt),
        }
    }

    fn displacing(&self) -> Option<(Publishing, Displaced)> {
        let intent = self.intent.clone()?;
        let displaced = intent.displaced.clone()?;
        Some((intent, displaced))
    }

    /// What this delivery showed of the server's renames over files, if it showed anything.
    pub(in crate::delivery) fn renamed_over(&self) -> Option<RenameOver> {
        let intent = self.intent.as_ref()?;
        let over = matches!(intent.standing, Standing::File { .. }) && self.refused_over.is_none();
        match intent.displaced.as_ref().map(|displaced| displaced.step) {
            Some(Displacing::Done) => Some(RenameOver::Refused),
            Some(Displacing::Begun) => None,
            None => over.then_some(RenameOver::Replaces),
        }
    }

    /// The temporary name under which an old version stands once the new one has its name.
    pub(in crate::delivery) fn old_version(&self) -> Option<RemotePath> {
        let intent = self.intent.as_ref()?;
        intent.displaced.as_ref().map(|displaced| displaced.to.clone())
    }
}

/// Gives a displaced file its name back, and looks whether it has left the temporary one.
pub(in crate::delivery) fn back(from: &RemotePath, to: &RemotePath) -> Vec<Request> {
    vec![Request::RenameFrom(from.clone()), Request::RenameTo(to.clone()), Request::Stands(from.clone())]
}

/// What the server tells of a file, where it does.
fn told(size: &Answer, modified: &Answer) -> Option<Standing> {
    let Answer::Size(size) = size else { return None };
    let modified = if let Answer::Modified(time) = modified { Some(time.clone()) } else { None };
    Some(Standing::File { size: *size, modified })
}

const fn out_of_order() -> Step {
    Step::Failed(DeliveryError::Internal("a file was displaced without an intent"))
}
