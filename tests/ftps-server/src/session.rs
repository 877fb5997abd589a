//! One control connection: read a line, let the faults speak, perform, reply.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::commands::{Command, Facts, Outcome};
use crate::control::{Channel, Control};
use crate::data::{Agreed, Data};
use crate::dialect::Feature;
use crate::digest::Algorithm;
use crate::event::Event;
use crate::faults::{Action, Moment};
use crate::reply::Reply;
use crate::server::Mode;
use crate::shared::Shared;
use crate::tls::SessionTls;
use crate::transcript::{Direction, add};
use crate::tree::VirtualPath;

/// How far the login has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Nobody,
    Named(Vec<u8>),
    Done,
}

/// What `PROT` has chosen for data connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Clear,
    Private,
}

/// What `TYPE` has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Representation {
    Ascii,
    Image,
}

/// How a client is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    Open,
    /// There are as many clients as there may be.
    Full,
}

/// Whether the session goes on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    End,
}

/// One control connection and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Control,
    pub(crate) tls: SessionTls,
    pub(crate) login: Login,
    pub(crate) protection: Protection,
    pub(crate) representation: Representation,
    pub(crate) folder: VirtualPath,
    pub(crate) agreed: Option<Agreed>,
    pub(crate) rename_from: Option<VirtualPath>,
    pub(crate) restart_at: u64,
    pub(crate) algorithm: Algorithm,
    pub(crate) facts: Facts,
    /// What goes wrong with the command at hand.
    pub(crate) actions: Vec<Action>,
    /// Data connections that this side never ends.
    pub(crate) lingering: Vec<Data>,
    pub(crate) connection: u64,
    welcome: Welcome,
}

impl Session {
    /// Serves one client to its end.
    pub(crate) async fn run(shared: Arc<Shared>, connection: u64, stream: TcpStream, welcome: Welcome) {
        add(&shared.tally.control_connections, 1);
        let recorder = Arc::clone(&shared);
        let note = match Self::new(shared, connection, stream, welcome) {
            Ok(mut session) => match session.serve().await {
                Ok(()) => "ended".to_owned(),
                Err(error) => format!("ended: {error}"),
            },
            Err(error) => format!("never began: {error}"),
        };
        recorder.recorder.record(connection, Direction::Note, 0, note.as_bytes());
    }

    fn new(shared: Arc<Shared>, connection: u64, stream: TcpStream, welcome: Welcome) -> io::Result<Self> {
        let algorithm =
            if shared.dialect.has(Feature::HashAfterOpts) { Algorithm::Sha1 } else { Algorithm::Sha256 };
        Ok(Self {
            tls: shared.tls.for_control_connection(),
            control: Control::new(stream, shared.limits.silence)?,
            shared,
            login: Login::Nobody,
            protection: Protection::Clear,
            representation: Representation::Ascii,
            folder: VirtualPath::default(),
            agreed: None,
            rename_from: None,
            restart_at: 0,
            algorithm,
            facts: Facts::default(),
            actions: Vec::new(),
            lingering: Vec::new(),
            connection,
            welcome,
        })
    }

    async fn serve(&mut self) -> io::Result<()> {
        if self.shared.mode == Mode::Implicit && self.encrypt().await? == Flow::End {
            return Ok(());
        }
        self.actions = self.shared.faults.at_greeting();
        if self.is_cut(Moment::Before).await? {
            return Ok(());
        }
        let greeting = match self.welcome {
            Welcome::Full => Outcome::Close(Reply::new(421, "Too many clients, try again later.")),
            Welcome::Open => {
                Outcome::Reply(self.scripted().unwrap_or_else(|| Reply::greeting(self.shared.dialect.manner)))
            }
        };
        let mut flow = self.conclude(greeting).await?;
        while flow == Flow::Continue {
            let line = match self.control.line().await {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.say(&Reply::new(421, "Timeout: closing control connection.")).await?;
                    break;
                }
                Err(error) => return Err(error),
            };
            let command = Command::parse(&line);
            self.record(Direction::In, &command.for_transcript());
            self.shared.tell(&Event::Asked { verb: command.verb.clone() });
            self.actions = self.shared.faults.at_command(&command.verb, &command.argument);
            flow = self.obey(&command).await?;
        }
        self.control.close().await
    }

    async fn obey(&mut self, command: &Command) -> io::Result<Flow> {
        if self.is_cut(Moment::Before).await? {
            return Ok(Flow::End);
        }
        let outcome = match self.scripted() {
            Some(reply) => {
                // To this client the rename is over, whatever came of it.
                self.rename_from.take_if(|_| command.verb == "RNTO");
                Outcome::Reply(reply)
            }
            None => self.perform(command).await?,
        };
        self.conclude(outcome).await
    }

    /// The reply that a fault puts in the place of the command.
    fn scripted(&self) -> Option<Reply> {
        self.actions.iter().find_map(|action| match action {
            Action::Reply(text) => Some(Reply(text.clone().into_bytes())),
            _ => None,
        })
    }

    pub(crate) fn record(&self, direction: Direction, text: &[u8]) {
        self.shared.recorder.record(self.connection, direction, self.control.writes(), text);
    }

    pub(crate) fn channel(&self) -> Channel {
        self.control.channel()
    }

    /// Whether this goes wrong with the command at hand.
    pub(crate) fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }
}
