//! What follows a setback.

use tokio::time::sleep;

use super::attempt::{Broken, Left};
use super::failure::{DeliveryError, ForFile, ForRun, ForSession};
use super::room::RoomLeft;
use super::shared::{Work, WorkKind};
use super::worker::{NoSession, Worker};
use crate::domain::{Event, Failure, FileProgress, Publishing, RelPath, Retry};
use crate::plain::chain;
use crate::remote::FtpsError;

/// Most attempts at one file in one run; what fails then is for the next run.
const MAX_ATTEMPTS: u32 = 3;

/// Most attempts at one file that do not count: each takes a new session, so that a server
/// which never lets one be used cannot keep a run busy for ever.
const MAX_UNCOUNTED_ATTEMPTS: u32 = 6;

/// Why a file is not done.
pub(super) enum Setback {
    /// There is no session for it.
    NoSession { why: NoSession, intent: Option<Box<Publishing>> },
    /// An attempt failed.
    Attempt(Broken),
}

/// How often a file was tried.
#[derive(Debug)]
pub(super) struct Tries {
    attempt: u32,
    uncounted: u32,
}

impl Tries {
    pub(super) const FIRST: Self = Self { attempt: 1, uncounted: 0 };
}

/// What follows a setback.
pub(super) enum Verdict {
    Again {
        intent: Option<Box<Publishing>>,
    },
    GiveUp {
        error: DeliveryError,
    },
    /// The others can do it.
    HandBack,
    NotReached,
}

impl Worker {
    /// Decides what follows a setback, and waits where that helps.
    pub(super) async fn judge(&mut self, work: &Work, setback: Setback, tries: &mut Tries) -> Verdict {
        let path = &work.path;
        let (error, intent) = match setback {
            Setback::NoSession { why: NoSession::GaveUp(_), intent: None } => return Verdict::HandBack,
            Setback::NoSession { why: NoSession::GaveUp(error), intent } => {
                self.leave_to_the_next_run(intent);
                return Verdict::GiveUp { error };
            }
            Setback::NoSession { why: NoSession::Stopped | NoSession::NotNeeded, intent } => {
                self.leave_to_the_next_run(intent);
                return Verdict::NotReached;
            }
            Setback::Attempt(Broken { error, left }) => (error, self.keep(left)),
        };
        let disposition = error.disposition();
        if disposition.session == ForSession::Replace {
            self.lose_session();
        }
        if let DeliveryError::Server(server) = &error
            && let FtpsError::SessionsUsedUp { renewal } = server.as_ref()
            && let Some(text) = self.shared().delivery.remote.sessions_used_up(*renewal)
        {
            self.shared().delivery.sink.emit(Event::Notice { text });
        }
        if disposition.run == ForRun::Alone {
            self.shared().delivery.remote.serve_alone();
        }
        self.clean_up().await;
        let again = match (disposition.run, disposition.file) {
            (ForRun::Stop, _) => {
                self.stop_run(&error).await;
                false
            }
            (ForRun::Smaller, _) => {
                let left = match work.kind {
                    WorkKind::Send | WorkKind::HashFirst => self.shared().no_room_for(work.size),
                    // What there is no room for has no size that is known here.
                    WorkKind::Settle(_) | WorkKind::Sidecars => RoomLeft::None,
                };
                if left == RoomLeft::None {
                    self.stop_run(&error).await;
                }
                false
            }
            (ForRun::GoOn | ForRun::Alone, ForFile::GiveUp) => false,
            (ForRun::GoOn | ForRun::Alone, ForFile::AgainUncounted) => {
                tries.uncounted += 1;
                let again = tries.uncounted <= MAX_UNCOUNTED_ATTEMPTS;
                if again && error.gives_a_part_up() {
                    self.tell_of_retry(path, &error, tries);
                }
                again
            }
            (ForRun::GoOn | ForRun::Alone, ForFile::Again) => {
                tries.attempt += 1;
                let again = tries.attempt <= MAX_ATTEMPTS
                    && !self.shared().stop.is_cancelled()
                    && self.shared().may_retry() == Retry::Granted;
                if again {
                    self.tell_of_retry(path, &error, tries);
                }
                again && self.pause(tries.attempt).await
            }
        };
        if again {
            return Verdict::Again { intent };
        }
        self.leave_to_the_next_run(intent);
        Verdict::GiveUp { error }
    }

    fn leave_to_the_next_run(&self, intent: Option<Box<Publishing>>) {
        if let Some(folder) = intent.and_then(|intent| intent.temporary.folder()) {
            self.shared().left_over(folder);
        }
    }

    /// Tells those who watch that another attempt follows.
    fn tell_of_retry(&self, path: &RelPath, error: &DeliveryError, tries: &Tries) {
        let failure = Failure::new(error.disposition().class, chain(error));
        let attempt = tries.attempt.saturating_add(tries.uncounted);
        self.shared().emit(path, FileProgress::Retrying { failure, attempt });
    }

    /// Keeps in mind what an attempt left on the server.
    fn keep(&mut self, left: Left) -> Option<Box<Publishing>> {
        match left {
            Left::Nothing | Left::Partial => None,
            Left::Temporary(temporary) => {
                self.dispose_of(temporary);
                None
            }
            Left::Intent(intent) => Some(intent),
        }
    }

    /// Waits before another attempt; the answer is whether there shall be one.
    pub(super) async fn pause(&self, attempt: u32) -> bool {
        let shared = self.shared();
        let delay = shared.delivery.backoff.delay(attempt, shared.delivery.clock.random());
        tokio::select! {
            () = shared.stop.cancelled() => false,
            () = sleep(delay) => true,
        }
    }
}
