//! Opening a session at the pace that its server can follow.

use super::lessons::Lessons;
use super::profile::Ability;
use crate::ftps::{
    BeforeLogin, Endpoint, FtpsError, Milestone, Noted, Pace, Session, Step, TlsError, TlsStart,
};

/// Opens a session; where the server loses or mixes up what comes in one write, another one step by
/// step. Returns whether commands may go in one write, as far as is known.
pub(super) async fn open(
    endpoint: &Endpoint,
    lessons: &Lessons,
    note: Noted<'_>,
    before: &dyn BeforeLogin,
) -> Result<(Session, Ability), FtpsError> {
    let (mut is_setting_up, mut is_logged_in) = (false, false);
    let mut told = |milestone| {
        // The last one before the login; with implicit TLS the greeting comes behind the handshake.
        is_setting_up = matches!(
            (&milestone, endpoint.start),
            (Milestone::Secured(_), TlsStart::Explicit)
                | (Milestone::Greeted(_), TlsStart::Implicit)
                | (Milestone::LoggedIn(_), _)
        );
        is_logged_in |= matches!(milestone, Milestone::LoggedIn(_));
        note(milestone);
    };
    let opened = Session::open_noting(endpoint, &mut told, before).await;
    let error = match (opened, endpoint.pace) {
        (Ok(session), Pace::OneWrite) => {
            lessons.note_setup();
            return Ok((session, Ability::Unknown));
        }
        (Ok(session), Pace::StepByStep) => return Ok((session, Ability::No)),
        (Err(error), Pace::OneWrite)
            if is_setting_up && may_come_of_haste(&error) && !before.has_waited() =>
        {
            error
        }
        (Err(error), _) => return Err(error),
    };
    let slow = Endpoint { pace: Pace::StepByStep, ..endpoint.clone() };
    let mut tell_the_rest = |milestone| {
        if milestone == Milestone::Protected || (matches!(milestone, Milestone::LoggedIn(_)) && !is_logged_in)
        {
            note(milestone);
        }
    };
    let session = Session::open_noting(&slow, &mut tell_the_rest, before).await?;
    lessons.note_lost_setup(&error);
    Ok((session, Ability::No))
}

/// Whether an error may come of several commands in one write: replies are missing, too many, or to
/// something else. A refusal is an answer.
pub(super) fn may_come_of_haste(error: &FtpsError) -> bool {
    matches!(
        error,
        FtpsError::Timeout { step: Step::Command(_), .. }
            | FtpsError::Closed { step: Step::Command(_) }
            | FtpsError::Io { step: Step::Command(_), .. }
            | FtpsError::Unexpected { .. }
            | FtpsError::BadReply(_)
            // It hung up, as `Closed`, after it had asked for a certificate.
            | FtpsError::Tls(TlsError::ClientCertificate { alert: None, .. })
    )
}
