//! What connections find out about their server while they work, noted in the server's profile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::network::{learned_passive, passive_verb};
use super::opening::may_come_of_haste;
use super::profile::{Ability, Profiles};
use crate::domain::Server;
use crate::ftps::{FtpsError, PassiveVerb, Session, Step, Uncalled};

/// How many connections in a row must be cut while they are set up in one write, each set up step by
/// step then, before that is laid to the server: once is the network.
const LOST_SETUPS: u32 = 2;

/// How many sessions in a row must be cut while a transfer overlaps with other commands before that is
/// laid to the server: once is the network, and a file is tried three times.
const LOST_OVERLAPS: u32 = 2;

/// How long a server at which transfers have overlapped before is then served step by step: a network
/// that fails cuts many sessions at once.
const STEP_BY_STEP: Duration = Duration::from_mins(10);

/// Where a transfer overlaps with other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// Commands are sent before the reply that ends it.
    End,
    /// It is begun in one write with other commands.
    Begin,
}

/// What is known of such overlaps.
#[derive(Clone, Copy, Debug, Default)]
struct Overlaps {
    end: Seen,
    begin: Seen,
    /// Until then, none is tried.
    off_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    works: bool,
    /// Sessions that were cut since it last worked.
    lost: u32,
}

impl Overlaps {
    fn seen(&mut self, overlap: Overlap) -> &mut Seen {
        match overlap {
            Overlap::End => &mut self.end,
            Overlap::Begin => &mut self.begin,
        }
    }
}

/// What the sessions of this process have met, and is not sure enough to be kept.
#[derive(Debug, Default)]
struct Signs {
    /// Whether the server has opened a data connection in active mode.
    called: AtomicBool,
    passive: Mutex<Passive>,
    lost_setups: AtomicU32,
    overlaps: Mutex<Overlaps>,
}

/// What is known of passive ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Passive {
    #[default]
    Untried,
    /// A port could not be reached: one that this names is tried in its place.
    Instead(PassiveVerb),
    /// One was reached, or neither was.
    Known,
}

/// Where the connections to a server note what they learn.
#[derive(Clone, Debug)]
pub(super) struct Lessons {
    server: Arc<Server>,
    profiles: Arc<Profiles>,
    signs: Arc<Signs>,
}

impl Lessons {
    pub(super) fn new(server: Arc<Server>, profiles: Arc<Profiles>) -> Self {
        Self { server, profiles, signs: Arc::default() }
    }

    /// Which command is tried for passive ports, whatever the profile says.
    pub(super) fn passive_instead(&self) -> Option<PassiveVerb> {
        match *self.signs.passive.lock().unwrap_or_else(PoisonError::into_inner) {
            Passive::Instead(verb) => Some(verb),
            Passive::Untried | Passive::Known => None,
        }
    }

    /// Notes what a data connection that has come about shows of the server.
    pub(super) fn note(&self, session: &Session) {
        let Some(facts) = session.last_data() else { return };
        let Some(worked) = passive_verb(facts.verb) else {
            self.signs.called.store(true, Ordering::Relaxed);
            return;
        };
        let before = self.replace_passive(|_| Passive::Known);
        if session.passive_verb().is_some() || before == Passive::Instead(worked) {
            self.profiles.learn(&self.server, |profile| profile.passive = learned_passive(worked));
        }
    }

    /// Notes until when the certificate is good that the server shows, in seconds since 1970.
    pub(super) fn note_certificate(&self, expires: i64) {
        if self.profiles.of(&self.server).certificate_expires != Some(expires) {
            self.profiles.learn(&self.server, |profile| profile.certificate_expires = Some(expires));
        }
    }

    /// Notes what it tells of the server that no data connection has come about.
    pub(super) fn note_failure(&self, error: &FtpsError) {
        match error {
            FtpsError::DataConnect { verb, .. } => {
                let Some(failed) = passive_verb(verb) else { return };
                self.replace_passive(|passive| match (passive, failed) {
                    (Passive::Untried, PassiveVerb::Epsv) => Passive::Instead(PassiveVerb::Pasv),
                    (Passive::Untried, PassiveVerb::Pasv) => Passive::Instead(PassiveVerb::Epsv),
                    (Passive::Instead(verb), failed) if verb != failed => Passive::Instead(verb),
                    (Passive::Instead(_) | Passive::Known, _) => Passive::Known,
                });
            }
            // Where it never called at all, a firewall is as likely.
            FtpsError::NotCalled { why: Uncalled::Ended(_), .. }
                if self.signs.called.load(Ordering::Relaxed) =>
            {
                self.profiles.learn(&self.server, |profile| profile.crowds = Ability::No);
            }
            _ => {}
        }
    }

    /// Notes that a session was set up in one write.
    pub(super) fn note_setup(&self) {
        self.signs.lost_setups.store(0, Ordering::Relaxed);
    }

    /// Notes that a session could be set up step by step after this came of one write.
    pub(super) fn note_lost_setup(&self, error: &FtpsError) {
        let lost = self.signs.lost_setups.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let cut = matches!(error, FtpsError::Closed { .. } | FtpsError::Io { .. });
        if !cut || lost >= LOST_SETUPS {
            self.profiles.learn(&self.server, |profile| profile.pipelining = Ability::No);
        }
    }

    fn overlaps(&self) -> MutexGuard<'_, Overlaps> {
        // Each change leaves them whole, so a panic elsewhere does not matter.
        self.signs.overlaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether transfers may overlap with other commands for now.
    pub(super) fn may_overlap(&self) -> bool {
        self.overlaps().off_until.is_none_or(|until| until <= Instant::now())
    }

    /// Notes that a transfer has overlapped with other commands, and all was answered.
    pub(super) fn note_overlap(&self, overlap: Overlap) {
        let mut overlaps = self.overlaps();
        let seen = overlaps.seen(overlap);
        let news = !seen.works && overlap == Overlap::Begin;
        *seen = Seen { works: true, lost: 0 };
        drop(overlaps);
        if news {
            self.profiles.learn(&self.server, |profile| {
                if profile.overlap == Ability::Unknown {
                    profile.overlap = Ability::Yes;
                }
            });
        }
    }

    /// Notes that a session was lost while a transfer overlapped with other commands, if that may be
    /// the cause.
    pub(super) fn note_lost_overlap(&self, overlap: Overlap, error: &FtpsError) {
        if !may_come_of_haste(error) && !ends_untold(error) {
            return;
        }
        let mixed_up = matches!(error, FtpsError::Unexpected { .. } | FtpsError::BadReply(_));
        let mut overlaps = self.overlaps();
        let seen = overlaps.seen(overlap);
        seen.lost = seen.lost.saturating_add(1);
        let (often, works) = (seen.lost >= LOST_OVERLAPS, seen.works);
        if mixed_up || often {
            overlaps.off_until = Some(Instant::now() + STEP_BY_STEP);
        }
        drop(overlaps);
        if mixed_up || (often && !works) {
            self.profiles.learn(&self.server, |profile| profile.overlap = Ability::No);
        }
    }

    /// Returns what was known before.
    fn replace_passive(&self, change: impl FnOnce(Passive) -> Passive) -> Passive {
        let mut passive = self.signs.passive.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *passive;
        *passive = change(before);
        before
    }
}

/// Whether the end of a transfer was not told, because the session was lost or the server forgot it.
fn ends_untold(error: &FtpsError) -> bool {
    matches!(
        error,
        FtpsError::Timeout { step: Step::FinalReply, .. }
            | FtpsError::Closed { step: Step::FinalReply }
            | FtpsError::Io { step: Step::FinalReply, .. }
    )
}
