//! The faults of the matrix.

use std::time::Duration;

use ftps_server::{Action, Blow as DataBlow, Cut, Moment};

use super::cell::{CONTENT_BYTES, LIMIT};
use super::steps::{Place, Reached, Step};

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Always,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    Reset,
    ResetUnanswered,
    Fin,
    FinUnanswered,
    CloseAnswered,
    Stall,
    /// No reply to this command, but to the later ones.
    Mute,
    /// Byte by byte, slower than the limit.
    Drip,
    /// 450, and it is not done.
    NotNow,
    /// 550, and it is not done.
    Refused,
    /// 450, and yet it is done.
    NotNowButDone,
    /// 550, and yet it is done.
    RefusedButDone,
    /// 421, then the end.
    Closing,
    /// 500, and it is not done.
    Unknown,
    Garbage,
    Extra,
    Twice,
    /// 299 in place of its own code; it is done.
    OtherSuccess,
    /// 350 in place of its own code; it is done.
    OtherKind,
    /// Byte by byte, in time.
    Split,
    MoreLines,
    /// Plain text beneath TLS, as from vsftpd.
    Plain,
    EndlessLine,
    EndlessReply,
    /// A TLS alert in clear.
    Alert,
    /// The data connection after so many bytes.
    CutData(Cut, u64),
    StallData(u64),
    PlainData(u64),
    ResetAtOnce,
    FinAtOnce,
    StallAtOnce,
    PlainAtOnce,
    AlertAtOnce,
    DripData,
    /// No data connection at the port of the reply.
    ClosedPort,
    /// Another port in the reply to `EPSV`.
    ForbiddenPort,
}

const OOPS: &[u8] = b"500 OOPS: vsf_sysutil_recv_peek: no data\r\n";
/// `handshake_failure`, fatal (RFC 8446, section 6).
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";

impl Blow {
    const REPLIES: [Self; 24] = [
        Self::Reset,
        Self::ResetUnanswered,
        Self::Fin,
        Self::FinUnanswered,
        Self::CloseAnswered,
        Self::Stall,
        Self::Mute,
        Self::Drip,
        Self::NotNow,
        Self::Refused,
        Self::NotNowButDone,
        Self::RefusedButDone,
        Self::Closing,
        Self::Unknown,
        Self::Garbage,
        Self::Extra,
        Self::Twice,
        Self::OtherSuccess,
        Self::OtherKind,
        Self::Split,
        Self::MoreLines,
        Self::Plain,
        Self::EndlessLine,
        Self::EndlessReply,
    ];
    const HANDSHAKES: [Self; 6] = [Self::Reset, Self::Fin, Self::Stall, Self::Drip, Self::Plain, Self::Alert];
    const TCP: [Self; 6] = [
        Self::ResetAtOnce,
        Self::FinAtOnce,
        Self::StallAtOnce,
        Self::PlainAtOnce,
        Self::AlertAtOnce,
        Self::DripData,
    ];
    const BYTES: [Self; 14] = [
        Self::CutData(Cut::Reset, 0),
        Self::CutData(Cut::Reset, 1),
        Self::CutData(Cut::Reset, CONTENT_BYTES / 2),
        Self::CutData(Cut::Reset, CONTENT_BYTES),
        Self::CutData(Cut::Fin, 0),
        Self::CutData(Cut::Fin, 1),
        Self::CutData(Cut::Fin, CONTENT_BYTES / 2),
        Self::CutData(Cut::Fin, CONTENT_BYTES),
        Self::StallData(0),
        Self::StallData(CONTENT_BYTES / 2),
        Self::StallData(CONTENT_BYTES),
        Self::PlainData(0),
        Self::PlainData(CONTENT_BYTES / 2),
        Self::PlainData(CONTENT_BYTES),
    ];

    /// Whether the server does not do, or says that it does not do, what was asked.
    pub(super) fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::NotNow
                | Self::Refused
                | Self::NotNowButDone
                | Self::RefusedButDone
                | Self::Unknown
                | Self::OtherSuccess
                | Self::OtherKind
        )
    }

    /// Whether there is something in clear where TLS should begin.
    pub(super) fn comes_in_clear(self) -> bool {
        matches!(self, Self::Extra | Self::Twice | Self::Plain | Self::Alert)
    }

    /// The faults that can happen at a step.
    pub(super) fn at(step: Step) -> Vec<Self> {
        match step.place() {
            Place::Greeting | Place::Command(..) => {
                let ports = [Self::ClosedPort, Self::ForbiddenPort];
                let ports = ports.into_iter().filter(|_| matches!(step, Step::Epsv | Step::EpsvBack));
                Self::REPLIES.into_iter().chain(ports).collect()
            }
            // What is refused has no preliminary reply.
            Place::Preliminary(_) => Self::REPLIES
                .into_iter()
                .filter(|blow| !matches!(blow, Self::NotNow | Self::Refused | Self::Unknown))
                .collect(),
            Place::Handshake => Self::HANDSHAKES.into(),
            Place::Data(_, Reached::Tcp) => Self::TCP.into(),
            Place::Data(_, Reached::Bytes) => Self::BYTES.into(),
        }
    }

    /// What the server does.
    pub(super) fn actions(self) -> Vec<Action> {
        let slow = LIMIT / 4;
        let reply = |text: &str| Action::Reply(text.to_owned());
        let instead = |text: &str| Action::ReplyAfter(text.to_owned());
        let action = match self {
            Self::Reset => Action::CutControl(Moment::Before, Cut::Reset),
            Self::ResetUnanswered => Action::CutControl(Moment::Unanswered, Cut::Reset),
            Self::Fin => Action::CutControl(Moment::Before, Cut::Fin),
            Self::FinUnanswered => Action::CutControl(Moment::Unanswered, Cut::Fin),
            Self::CloseAnswered => Action::DropControl(Moment::Answered),
            Self::Stall => Action::Stall,
            Self::Mute => Action::Silent,
            Self::Drip => Action::Drip(slow),
            Self::NotNow => reply("450 Not now"),
            Self::Refused => reply("550 No"),
            Self::NotNowButDone => instead("450 Not now"),
            Self::RefusedButDone => instead("550 No"),
            Self::Closing => {
                return vec![reply("421 Closing"), Action::DropControl(Moment::Answered)];
            }
            Self::Unknown => reply("500 Not understood"),
            Self::Garbage => instead("\u{0}\u{1}\u{fffd}garbage"),
            Self::Extra => Action::Inject(b"200 One more\r\n".to_vec()),
            Self::Twice => Action::Twice,
            Self::OtherSuccess => instead("299 Fine"),
            Self::OtherKind => instead("350 Go on"),
            Self::Split => Action::Drip(Duration::ZERO),
            Self::MoreLines => Action::MoreLines,
            Self::Plain => Action::Plain(OOPS.to_vec()),
            Self::EndlessLine => Action::EndlessLine,
            Self::EndlessReply => Action::EndlessReply,
            Self::Alert => Action::Plain(ALERT.to_vec()),
            Self::CutData(cut, after) => Action::DropData { after, cut },
            Self::StallData(after) => Action::DataAfter(after, DataBlow::Stall),
            Self::PlainData(after) => Action::DataAfter(after, DataBlow::Plain(OOPS.to_vec())),
            Self::ResetAtOnce => Action::DataAtOnce(DataBlow::Cut(Cut::Reset)),
            Self::FinAtOnce => Action::DataAtOnce(DataBlow::Cut(Cut::Fin)),
            Self::StallAtOnce => Action::DataAtOnce(DataBlow::Stall),
            Self::PlainAtOnce => Action::DataAtOnce(DataBlow::Plain(OOPS.to_vec())),
            Self::AlertAtOnce => Action::DataAtOnce(DataBlow::Plain(ALERT.to_vec())),
            Self::DripData => Action::DataAtOnce(DataBlow::Drip(slow)),
            Self::ClosedPort => Action::ClosePort,
            Self::ForbiddenPort => Action::AdvertisePort(22),
        };
        vec![action]
    }
}
