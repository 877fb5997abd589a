//! Replies on their way out, and what faults make of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use crate::commands::Outcome;
use crate::faults::{Action, Moment, Overheard};
use crate::reply::Reply;
use crate::session::{Flow, Session};
use crate::transcript::Direction;

/// How long a server listens for commands that come too early: longer than a client takes that does not
/// wait.
pub const PATIENT: Duration = Duration::from_millis(300);
/// Where an endless reply ends after all.
const ENDLESS: usize = 64 * 1024 * 1024;
/// How much of an endless reply goes into one write.
const ENDLESS_CHUNK: usize = 16 * 1024;

/// How a reply goes into the connection.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Whole,
    ByteByByte(Duration),
}

impl Session {
    /// Sends the reply to a command, or what the faults make of it.
    pub(crate) async fn conclude(&mut self, outcome: Outcome) -> io::Result<Flow> {
        let (reply, flow) = match &outcome {
            Outcome::Reply(reply) | Outcome::Encrypt(reply) => (reply.clone(), Flow::Continue),
            Outcome::Close(reply) => (reply.clone(), Flow::End),
        };
        let encrypts = matches!(outcome, Outcome::Encrypt(_)) && reply.0.starts_with(b"234");
        if self.utter(reply).await? == Flow::End {
            return Ok(Flow::End);
        }
        if encrypts && !self.says_otherwise() {
            return self.encrypt().await;
        }
        Ok(flow)
    }

    /// Sends a reply that nobody asked for.
    pub(crate) async fn say(&mut self, reply: &Reply) -> io::Result<()> {
        self.send_with(reply, b"", Pace::Whole).await
    }

    /// Whether the client was told something else than that TLS begins.
    fn says_otherwise(&self) -> bool {
        self.actions.iter().any(|action| match action {
            Action::ReplyAfter(text) => !text.starts_with("234"),
            Action::Silent => true,
            _ => false,
        })
    }

    /// Sends the first of the two replies to a command that transfers, with the faults that are for
    /// it. An error ends the session.
    pub(crate) async fn begin_transfer(
        &mut self,
        verb: &str,
        argument: &[u8],
        text: &[u8],
    ) -> io::Result<()> {
        let own = self.shared.faults.at_preliminary(verb, argument);
        let for_the_end = std::mem::replace(&mut self.actions, own);
        let flow = if self.is_cut(Moment::Before).await? {
            Flow::End
        } else {
            self.utter(Reply::new(150, text)).await?
        };
        self.actions = for_the_end;
        if flow == Flow::End { Err(io::Error::other("a fault at the preliminary reply")) } else { Ok(()) }
    }

    /// Makes the TLS handshake, unless a fault is in its place.
    pub(crate) async fn encrypt(&mut self) -> io::Result<Flow> {
        for action in self.shared.faults.at_handshake() {
            match action {
                Action::CutControl(_, cut) => {
                    self.control.cut(cut).await?;
                    return Ok(Flow::End);
                }
                Action::Stall => {
                    self.control.ignore().await?;
                    return Ok(Flow::End);
                }
                Action::Plain(bytes) => {
                    self.control.write_plain(&bytes).await?;
                    return Ok(Flow::End);
                }
                Action::Drip(pause) => self.control.drip(pause).await?,
                _ => {}
            }
        }
        self.control.encrypt(Arc::clone(&self.tls.control)).await?;
        let (name, protocol) = self.control.wanted();
        let protocol = protocol.map(String::from_utf8_lossy);
        let note = format!(
            "TLS for {}, {}",
            name.unwrap_or("no name"),
            protocol.as_deref().unwrap_or("no protocol")
        );
        self.record(Direction::Note, note.as_bytes());
        Ok(Flow::Continue)
    }

    /// Whether a fault ends the control connection at this moment, which it then does.
    pub(crate) async fn is_cut(&mut self, now: Moment) -> io::Result<bool> {
        let cut = self.actions.iter().find_map(|action| match action {
            Action::CutControl(moment, cut) if *moment == now => Some(*cut),
            _ => None,
        });
        if let Some(cut) = cut {
            self.control.cut(cut).await?;
        }
        Ok(cut.is_some() || self.has(&Action::DropControl(now)))
    }

    /// Sends a reply, or what the faults at hand make of it.
    async fn utter(&mut self, mut reply: Reply) -> io::Result<Flow> {
        if self.is_cut(Moment::Unanswered).await? {
            return Ok(Flow::End);
        }
        let (mut extra, mut pace) = (Vec::new(), Pace::Whole);
        for action in self.actions.clone() {
            match action {
                Action::Silent => return Ok(Flow::Continue),
                Action::Stall => {
                    self.control.ignore().await?;
                    return Ok(Flow::End);
                }
                Action::ForgetInput => self.control.forget_input(),
                Action::Overhears(start, overheard) if self.control.hears(&start, PATIENT).await? => {
                    match overheard {
                        Overheard::HangUp => return Ok(Flow::End),
                        Overheard::Forget => self.control.forget_input(),
                        Overheard::Confused => return Ok(Flow::Continue),
                    }
                }
                Action::Delay(time) => sleep(time).await,
                Action::EndlessLine => return self.endless(b"220-", &[b'x'; ENDLESS_CHUNK]).await,
                Action::EndlessReply => return self.endless(b"220-", b"220-more\r\n").await,
                Action::Endless(piece) => return self.endless(b"", &piece).await,
                Action::Plain(bytes) => {
                    self.control.write_plain(&bytes).await?;
                    return Ok(Flow::End);
                }
                Action::Reply(text) | Action::ReplyAfter(text) => reply = Reply(text.into_bytes()),
                Action::Inject(bytes) => extra.extend(bytes),
                Action::Twice => extra.extend([&reply.0, b"\r\n".as_slice()].concat()),
                Action::MoreLines => {
                    let code = reply.0.get(..3).unwrap_or_default();
                    let more = [code, b"-There is more to say.\r\n", code, b"-Much more.\r\n 226 no\r\n"];
                    reply = Reply([&more.concat(), reply.0.as_slice()].concat());
                }
                Action::Drip(pause) => pace = Pace::ByteByByte(pause),
                _ => {}
            }
        }
        self.send_with(&reply, &extra, pace).await?;
        if self.is_cut(Moment::Answered).await? { Ok(Flow::End) } else { Ok(Flow::Continue) }
    }

    async fn endless(&mut self, start: &[u8], piece: &[u8]) -> io::Result<Flow> {
        self.record(Direction::Note, b"a reply without end");
        self.control.write(start).await?;
        let chunk = piece.repeat(ENDLESS_CHUNK.div_ceil(piece.len().max(1)));
        for _ in 0..ENDLESS / chunk.len().max(1) {
            self.control.write(&chunk).await?;
        }
        Ok(Flow::End)
    }

    async fn send_with(&mut self, reply: &Reply, extra: &[u8], pace: Pace) -> io::Result<()> {
        for line in reply.0.split(|byte| *byte == b'\n') {
            self.record(Direction::Out, line.strip_suffix(b"\r").unwrap_or(line));
        }
        let bytes = [&reply.0, b"\r\n".as_slice(), extra].concat();
        let Pace::ByteByByte(pause) = pace else { return self.control.write(&bytes).await };
        for byte in bytes {
            if pause.is_zero() {
                yield_now().await;
            } else {
                sleep(pause).await;
            }
            self.control.write(&[byte]).await?;
        }
        Ok(())
    }
}
