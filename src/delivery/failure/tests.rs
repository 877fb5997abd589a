//! What each situation means, row by row, with the reason.

use super::*;
use crate::domain::{Digest, RelPath, Sidecar, TwinKind};
use FailureClass as Class;

/// What every session brings forth goes on with it.
const ON: (ForSession, ForRun) = (ForSession::Keep, ForRun::GoOn);
const ENDS_RUN: (ForSession, ForRun) = (ForSession::Keep, ForRun::Stop);
const NEW_SESSION: (ForSession, ForRun) = (ForSession::Replace, ForRun::GoOn);

type Row = (DeliveryError, ForFile, (ForSession, ForRun), Class, &'static str);

fn refusal(code: u16) -> Refusal {
    Refusal { verb: "RNTO", code, reply: format!("{code} no") }
}

fn server(error: FtpsError) -> DeliveryError {
    DeliveryError::from(error)
}

fn path() -> RelPath {
    RelPath::new("a").unwrap()
}

/// The rows about the network and the server, of which [`Trouble`] tells.
fn of_the_server() -> Vec<Row> {
    use ForFile::{Again, GiveUp};
    let closed = FtpsError::TooLong { what: "reply", limit: 1 };
    let not_stored = DeliveryError::NotStored {
        source: Box::new(FtpsError::Abandoned),
        folder: RemotePath::new("/in").unwrap(),
        reply: "550 no".into(),
    };
    vec![
        (server(FtpsError::Abandoned), Again, NEW_SESSION, Class::Temporary, "a lost line may be back"),
        (server(closed), Again, NEW_SESSION, Class::Temporary, "replies and commands may be out of step"),
        (not_stored, Again, NEW_SESSION, Class::Temporary, "as the error beneath it"),
        (
            DeliveryError::NotStaged { source: Box::new(server(FtpsError::Abandoned)) },
            Again,
            NEW_SESSION,
            Class::Temporary,
            "as the error beneath it",
        ),
        (
            server(FtpsError::OtherPeer),
            GiveUp,
            (ForSession::Replace, ForRun::Stop),
            Class::Trust,
            "nobody else may get it",
        ),
        (server(FtpsError::Injected), GiveUp, (ForSession::Replace, ForRun::Stop), Class::Trust, "an attack"),
        (DeliveryError::NotNow { refusal: refusal(450) }, Again, ON, Class::Temporary, "4xx is for now"),
    ]
}

/// The rows about proof and names.
fn of_the_file() -> Vec<Row> {
    use DeliveryError as E;
    use ForFile::{Again, AgainUncounted, GiveUp};
    let mismatch = || Mismatch::Digest { sent: Digest::of(b"a"), stored: Digest::of(b"b") };
    vec![
        (E::Source(SourceError::Gone { path: path() }), GiveUp, ON, Class::File, "there is nothing to send"),
        (
            E::Retire(RetireError::NotWanted { path: path() }),
            GiveUp,
            ON,
            Class::File,
            "it stays in the source",
        ),
        (E::NotResumed { why: "" }, AgainUncounted, ON, Class::Temporary, "nothing was wrong with the file"),
        (
            E::ResumeRefused { refusal: refusal(501) },
            AgainUncounted,
            NEW_SESSION,
            Class::Temporary,
            "the offset may be in force",
        ),
        (
            E::ResumedWrong(Box::new(E::InDoubt)),
            AgainUncounted,
            ON,
            Class::Verification,
            "another's beginning",
        ),
        (E::Mismatch(mismatch()), Again, ON, Class::Verification, "a second upload may come out right"),
        (E::StoredWrong(mismatch()), Again, ON, Class::Verification, "and must not stay like that"),
        (E::NoServerHash, GiveUp, ENDS_RUN, Class::Refused, "no file fares better"),
        (E::WriteOnly { refusal: refusal(550) }, GiveUp, ENDS_RUN, Class::Refused, "no file fares better"),
        (E::Unprovable { refusal: None }, GiveUp, ENDS_RUN, Class::Refused, "no file fares better"),
        (E::NoProof { refusal: None }, GiveUp, ON, Class::Verification, "sent again it may be taken again"),
        (E::Lost, GiveUp, ON, Class::Verification, "sent again it may be taken again"),
        (
            E::Occupied { size: 1, known: false },
            GiveUp,
            ON,
            Class::File,
            "a person's, until a person moves it",
        ),
        (E::CannotLook, GiveUp, ON, Class::File, "it may be a person's"),
    ]
}

/// The rows about the final name and what stands under it.
fn of_the_final_name() -> Vec<Row> {
    use DeliveryError as E;
    use ForFile::{Again, GiveUp};
    let twin = || Twin { other: "A".into(), difference: TwinKind::Case };
    let text = String::new;
    vec![
        (
            E::RenameRefused { refusal: refusal(450), target: RenameTarget::Free },
            Again,
            ON,
            Class::Temporary,
            "for now",
        ),
        (
            E::RenameRefused { refusal: refusal(553), target: RenameTarget::Taken },
            GiveUp,
            ON,
            Class::Refused,
            "for good",
        ),
        (E::NotRenamed, Again, ON, Class::Verification, "the server lied, nothing was published"),
        (E::NoTemporaryName, GiveUp, ON, Class::File, "the path is too long"),
        (E::Twin { twin: twin() }, GiveUp, ON, Class::File, "one would be stored over the other"),
        (E::TwinUnknown { twin: twin() }, GiveUp, ON, Class::File, "one might be"),
        (
            E::NameAltered { sent: text(), came_back: text() },
            GiveUp,
            ON,
            Class::File,
            "it would stand under another name",
        ),
        (E::InDoubt, Again, ON, Class::Verification, "its intent is settled first"),
        (E::NoRename, GiveUp, ON, Class::Refused, "`publish: direct` is a person's choice"),
        (E::StrangePart { path: text(), size: 1 }, GiveUp, ON, Class::File, "it may be a person's"),
        (E::ChangedBetween, Again, ON, Class::File, "it may keep still"),
        (E::CutOff { path: text() }, GiveUp, ON, Class::File, "there is nothing to send"),
        (E::Vanished { refusal: refusal(550) }, Again, ON, Class::Verification, "nothing was published"),
        (E::Conflict { path: text() }, GiveUp, ON, Class::File, "a person's file may stand there"),
        (E::Stranded { path: text(), kept: text() }, GiveUp, ON, Class::File, "a person's file stands there"),
        (E::Unsettled { refusal: refusal(450) }, Again, ON, Class::Temporary, "for now"),
        (E::Unsettled { refusal: refusal(550) }, GiveUp, ON, Class::Refused, "for good"),
        (E::Internal("x"), GiveUp, NEW_SESSION, Class::Other, "its session may be in any state"),
    ]
}

fn of_sidecars() -> Vec<Row> {
    use DeliveryError as E;
    use ForFile::{Again, GiveUp};
    let of = |source: E| E::Sidecar { name: "a.done".into(), source: Box::new(source) };
    let stays = |code| E::SidecarStays { path: "a.done".into(), refusal: refusal(code) };
    let name = SidecarNameError::NoRoom { sidecar: Sidecar::Done };
    vec![
        (E::SidecarTaken { path: "a.done".into(), size: None }, GiveUp, ON, Class::File, "a person's"),
        (stays(450), Again, ON, Class::Temporary, "for now"),
        (stays(550), GiveUp, ON, Class::Refused, "for good"),
        (of(E::NotNow { refusal: refusal(450) }), Again, ON, Class::Temporary, "as its cause"),
        (of(server(FtpsError::Abandoned)), Again, NEW_SESSION, Class::Temporary, "as its cause"),
        (E::SidecarName(name), GiveUp, ON, Class::File, "its name must change"),
    ]
}

/// Whether a situation is in the table. A new one does not compile until it is named here; each one named
/// must have a row, but for those of the state, which its own tests make.
fn situation(error: &DeliveryError) -> u32 {
    use DeliveryError as E;
    match error {
        E::Source(_) => 0,
        E::Server(_) => 1,
        E::NotStored { .. } => 2,
        E::Retire(_) => 3,
        E::NotResumed { .. } => 4,
        E::ResumeRefused { .. } => 5,
        E::ResumedWrong(_) => 6,
        E::Mismatch(_) => 7,
        E::NoServerHash => 8,
        E::NoProof { .. } => 9,
        E::WriteOnly { .. } => 10,
        E::Unprovable { .. } => 11,
        E::Occupied { .. } => 12,
        E::CannotLook => 13,
        E::RenameRefused { .. } => 14,
        E::NotRenamed => 15,
        E::NoTemporaryName => 16,
        E::Twin { .. } => 17,
        E::TwinUnknown { .. } => 18,
        E::NameAltered { .. } => 19,
        E::InDoubt => 20,
        E::Lost => 21,
        E::NoRename => 22,
        E::StoredWrong(_) => 23,
        E::StrangePart { .. } => 24,
        E::ChangedBetween => 25,
        E::CutOff { .. } => 26,
        E::Vanished { .. } => 27,
        E::Conflict { .. } => 28,
        E::Stranded { .. } => 29,
        E::SidecarTaken { .. } => 30,
        E::SidecarStays { .. } => 31,
        E::Sidecar { .. } => 32,
        E::SidecarName(_) => 33,
        E::NotNow { .. } => 34,
        E::Unsettled { .. } => 35,
        E::Internal(_) => 36,
        E::State(_) => 37,
        E::NotStaged { .. } => 38,
    }
}

const SITUATIONS: u32 = 39;

#[test]
fn each_situation_means_what_its_row_says() {
    let mut seen = std::collections::BTreeSet::from([situation(&DeliveryError::State(StateError::Stopped))]);
    for (error, file, (session, run), class, reason) in
        of_the_server().into_iter().chain(of_the_file()).chain(of_the_final_name()).chain(of_sidecars())
    {
        seen.insert(situation(&error));
        let expected = Disposition { file, session, run, class };
        assert_eq!(error.disposition(), expected, "{error}: {reason}");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..SITUATIONS).collect::<Vec<_>>(), "a row is missing");
    let state = DeliveryError::State(StateError::Stopped).disposition();
    assert_eq!((state.file, state.run), (ForFile::GiveUp, ForRun::Stop), "nothing can be recorded any more");
}
