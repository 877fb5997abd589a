//! How the server misbehaves on request.
//!
//! A [`Fault`] belongs to a command, happens every time or at chosen times, and does one thing.
//! Several faults may meet at one command: `DropData` and `ReplyAfter("226 …")` make a server that
//! loses the connection and claims success.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The pseudo command under which the greeting goes.
const GREETING: &str = "(GREETING)";
/// The pseudo command under which the control connection's TLS handshake goes.
const HANDSHAKE: &str = "(HANDSHAKE)";

/// When a connection is dropped, seen from the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The command is not performed.
    Before,
    /// The command is performed and its reply is lost.
    Unanswered,
    /// The command is performed and its reply is sent.
    Answered,
}

/// How a data connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With RST.
    Reset,
    /// With FIN and no `close_notify` before it.
    Fin,
    /// Not at all: nothing more is read or written, until the client has hung up or is too slow.
    Silence,
}

/// What becomes of a data connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It is cut.
    Cut(Cut),
    /// Nothing is read or written any more, for as long as the client stays.
    Stall,
    /// These bytes cross in place of TLS, then FIN: vsftpd reports its own failures so.
    Plain(Vec<u8>),
    /// What this side sends comes byte by byte, with such a pause before each.
    Drip(Duration),
}

/// What `HASH` and `XSHA256` say about bytes that were changed on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The truth: they hash what is stored.
    Honest,
    /// The hash of what was sent, from a cache filled during the transfer, until `MFMT` changes the
    /// file's time: ProFTPD 1.3.8.
    Cached,
    /// The hash of what was sent, whatever happens.
    Liar,
}

/// What a server makes of a command that has come before the one at hand was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overheard {
    /// It hangs up.
    HangUp,
    /// It forgets all that has come.
    Forget,
    /// It forgets to answer the command at hand.
    Confused,
}

/// One misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Any command: this reply, and the command is not performed. `\r\n` inside makes several lines.
    /// `250 …` for `RNTO` is a rename that was only claimed, `534 …` for `PROT` a refusal.
    Reply(String),
    /// Any command: performed, but this reply takes the place of the final one.
    ReplyAfter(String),
    /// Any command: the control connection is dropped.
    DropControl(Moment),
    /// Any command, the greeting, the handshake: the control connection is cut, without
    /// `close_notify`.
    CutControl(Moment, Cut),
    /// Any command: performed, never answered; later commands are.
    Silent,
    /// Any command: performed; then nothing more is answered on this connection.
    Stall,
    /// Any command: performed; the reply comes this much later.
    Delay(Duration),
    /// Any command: performed; the commands behind it in the same write are forgotten.
    ForgetInput,
    /// Any command: performed; then this happens where a command that begins so has come meanwhile, or
    /// comes within [`crate::PATIENT`].
    Overhears(String, Overheard),
    /// Any command: these bytes follow the reply in the same write. With `AUTH` they cross in plain
    /// text after the 234.
    Inject(Vec<u8>),
    /// Any command: performed; the reply comes byte by byte, each in a TLS record of its own, with
    /// such a pause before each. The handshake: all that this side sends from then on comes so.
    Drip(Duration),
    /// Any command: performed; the reply comes twice.
    Twice,
    /// Any command: performed; the reply has more lines in front.
    MoreLines,
    /// Any command: performed; these bytes cross beneath TLS in place of the reply. The handshake:
    /// in place of TLS. Then the connection ends.
    Plain(Vec<u8>),
    /// Any command: a reply line that does not end, up to 64 MiB.
    EndlessLine,
    /// Any command: a reply of lines that does not end, up to 64 MiB.
    EndlessReply,
    /// Any command: these bytes again and again, up to 64 MiB.
    Endless(Vec<u8>),
    /// Downloads and listings: these bytes again and again in place of the true ones, until the
    /// client has had enough.
    EndlessData(Vec<u8>),
    /// Transfers: this becomes of the data connection before its handshake; then 425.
    DataAtOnce(Blow),
    /// Transfers: this becomes of the data connection once so many bytes have crossed; then 426.
    DataAfter(u64, Blow),
    /// `EPSV`, `PASV`: nobody listens at the port of the reply.
    ClosePort,
    /// Listings: these bytes in place of the true ones.
    Listing(Vec<u8>),
    /// Listings: these bytes again and again, up to 1 GiB.
    EndlessListing(Vec<u8>),
    /// Transfers: the data connection is cut once so many bytes have crossed; then 426. Of an upload
    /// [`Manner::PureFtpd`](crate::Manner::PureFtpd) keeps whole blocks of 16 KiB, as the real one
    /// does, and the others all that came.
    DropData {
        /// File bytes that cross before the cut.
        after: u64,
        /// How it is cut.
        cut: Cut,
    },
    /// Transfers: this side of the data connection ends with FIN and no `close_notify`, though all is
    /// well, as with IIS.
    WithholdCloseNotify,
    /// Transfers: the data connection is opened and its handshake made first, and so much later the
    /// 150 is sent; bytes that come before it are counted (`Counters::early_bytes`).
    LateStart(Duration),
    /// Transfers in active mode: somebody at this address connects first, then the server.
    StrangerFirst(IpAddr),
    /// Transfers in active mode: the server connects from this address and no other.
    CallFrom(IpAddr),
    /// Transfers in active mode: the server connects so much later.
    CallLate(Duration),
    /// Transfers in active mode: the server does not connect, and says so after ten seconds.
    NeverCall,
    /// Transfers: this side of the data connection sends a line in clear in place of a handshake.
    PlainData,
    /// Transfers: the data connection shows another certificate of the same authority, and no session
    /// can be resumed.
    OtherCertificate,
    /// Transfers: these bytes on the data connection in the place of TLS.
    SpeakInstead(Vec<u8>),
    /// `STOR`: 552 for a file of more bytes, once they have come (`ProFTPD`: `MaxStoreFileSize`).
    RefuseAbove(u64),
    /// `STOR`: only the first half of the file is kept; 226.
    StoreHalf,
    /// `STOR`: the middle byte of the file is changed on the disk; 226.
    FlipByte(Witness),
    /// `STOR`, `RNTO`: the file is gone by the time of the reply.
    Vanish,
    /// `SIZE`: this number.
    Size(u64),
    /// `HASH`, `XSHA256`: the digest of something else.
    WrongHash,
    /// `RNTO`, `STOR`: 550 where a file stands under the new name.
    RefuseReplace,
    /// `EPSV`, `PASV`: the port is opened at this address, which a reply to `PASV` then names.
    OpenAt(IpAddr),
    /// `EPSV`, `PASV`: another address in the reply.
    AdvertiseAddress(IpAddr),
    /// `EPSV`, `PASV`: another port in the reply.
    AdvertisePort(u16),
}

/// At which of the matching commands a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Nth(u64),
    First(u64),
    From(u64),
}

/// A misbehaviour, with the command and the times at which it happens.
#[derive(Clone, Debug)]
pub struct Fault {
    verb: Option<String>,
    naming: Option<String>,
    when: When,
    action: Action,
}

impl Fault {
    /// At every command of this name (`STOR`, `RNTO`, …).
    pub fn on(verb: &str, action: Action) -> Self {
        Self { verb: Some(verb.to_ascii_uppercase()), naming: None, when: When::Always, action }
    }

    /// At every command.
    pub fn on_any(action: Action) -> Self {
        Self { verb: None, naming: None, when: When::Always, action }
    }

    /// At the greeting of every connection.
    pub fn on_greeting(action: Action) -> Self {
        Self::on(GREETING, action)
    }

    /// At the TLS handshake of every control connection.
    pub fn on_handshake(action: Action) -> Self {
        Self::on(HANDSHAKE, action)
    }

    /// At the preliminary reply to every command of this name, which transfers. Actions that stand
    /// for a reply take the place of the 150.
    pub fn on_preliminary(verb: &str, action: Action) -> Self {
        Self::on(&preliminary(verb), action)
    }

    /// At the n-th matching command only, counted from 1 over all connections.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// At the first matching command only.
    #[must_use]
    pub fn once(self) -> Self {
        self.nth(1)
    }

    /// At the first n matching commands.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        self.when = When::First(n);
        self
    }

    /// At the n-th matching command and all later ones.
    #[must_use]
    pub fn from(mut self, n: u64) -> Self {
        self.when = When::From(n);
        self
    }

    /// Only at commands whose argument contains this text.
    #[must_use]
    pub fn naming(mut self, fragment: &str) -> Self {
        self.naming = Some(fragment.to_owned());
        self
    }

    fn matches(&self, verb: &str, argument: &str) -> bool {
        let verb_fits = match &self.verb {
            Some(wanted) => wanted == verb,
            None => !verb.contains('('),
        };
        verb_fits && self.naming.as_ref().is_none_or(|fragment| argument.contains(fragment))
    }
}

impl When {
    fn includes(self, occurrence: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(n) => occurrence == n,
            Self::First(n) => occurrence <= n,
            Self::From(n) => occurrence >= n,
        }
    }
}

/// The faults in force, each with how often its command has come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Mutex<Vec<(Fault, u64)>>,
}

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { armed: Mutex::new(faults.into_iter().map(|fault| (fault, 0)).collect()) }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push((fault, 0));
    }

    pub(crate) fn clear(&self) {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts the command and returns what goes wrong with it.
    pub(crate) fn at_command(&self, verb: &str, argument: &[u8]) -> Vec<Action> {
        let argument = String::from_utf8_lossy(argument);
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut actions = Vec::new();
        for (fault, seen) in armed.iter_mut().filter(|(fault, _)| fault.matches(verb, &argument)) {
            *seen += 1;
            if fault.when.includes(*seen) {
                actions.push(fault.action.clone());
            }
        }
        actions
    }

    pub(crate) fn at_greeting(&self) -> Vec<Action> {
        self.at_command(GREETING, b"")
    }

    pub(crate) fn at_handshake(&self) -> Vec<Action> {
        self.at_command(HANDSHAKE, b"")
    }

    pub(crate) fn at_preliminary(&self, verb: &str, argument: &[u8]) -> Vec<Action> {
        self.at_command(&preliminary(verb), argument)
    }
}

/// The pseudo command under which the first of two replies goes.
fn preliminary(verb: &str) -> String {
    format!("{verb} (PRELIMINARY)")
}

#[cfg(test)]
mod tests {
    use super::{Action, Fault, Faults};

    fn fired(fault: Fault, commands: &[(&str, &str)]) -> Vec<usize> {
        let faults = Faults::new(vec![fault]);
        let times =
            commands.iter().map(|(verb, argument)| faults.at_command(verb, argument.as_bytes()).len());
        times.collect()
    }

    #[test]
    fn a_fault_happens_at_its_command_and_its_times() {
        let commands = [("STOR", "a"), ("SIZE", "a"), ("STOR", "b"), ("STOR", "ab")];
        assert_eq!(fired(Fault::on("stor", Action::Silent), &commands), [1, 0, 1, 1]);
        assert_eq!(fired(Fault::on("STOR", Action::Silent).nth(2), &commands), [0, 0, 1, 0]);
        assert_eq!(fired(Fault::on("STOR", Action::Silent).first(2), &commands), [1, 0, 1, 0]);
        assert_eq!(fired(Fault::on("STOR", Action::Silent).from(2), &commands), [0, 0, 1, 1]);
        assert_eq!(fired(Fault::on("STOR", Action::Silent).naming("b").once(), &commands), [0, 0, 1, 0]);
        assert_eq!(fired(Fault::on_any(Action::Silent), &commands), [1, 1, 1, 1]);
        assert_eq!(fired(Fault::on_greeting(Action::Silent), &commands), [0, 0, 0, 0]);
        assert_eq!(Faults::new(vec![Fault::on_greeting(Action::Silent)]).at_greeting(), [Action::Silent]);
        assert_eq!(Faults::new(vec![Fault::on_any(Action::Silent)]).at_greeting(), []);
    }
}
