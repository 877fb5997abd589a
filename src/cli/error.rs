//! Why a command did not do what it was asked for.

use std::io;
use std::path::PathBuf;

use crate::agent::{AgentError, ClientError};
use crate::audit::AdoptError;
use crate::config::ConfigError;
use crate::config::secret::SecretError;
use crate::diagnose::exit_of;
use crate::domain::{Exit, JobName, PathError, RunId, ServerName};
use crate::plan::PlanError;
use crate::remote::{FtpsError, RemoteSettingsError};
use crate::source::{PatternError, PlaceError, SourceError};
use crate::state::StateError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{text}")]
    Refused { text: String, remedy: Option<String>, exit: Exit },
    #[error("the agent said less than it should have")]
    Silent,
    #[error("the ledger tells of no run {run}")]
    NoRun { run: RunId },
    #[error("there is no configuration: neither {} exists", listed(looked_at))]
    NoConfig { looked_at: Vec<PathBuf> },
    #[error("there is no job `{name}`")]
    UnknownJob { name: String, remedy: String },
    #[error("{job}: nothing is presumed under `{path}`; nothing was decided")]
    NotPresumed { job: JobName, path: String, remedy: String },
    #[error("there are no deletions of run {run} to approve for these jobs; nothing was done")]
    NothingToApprove { run: RunId, remedy: String },
    #[error("there is no server `{name}`")]
    NoServer { name: String, remedy: String },
    #[error("server `{server}`")]
    Look { server: ServerName, source: FtpsError },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("there is no verb `{verb}`", verb = .verb.escape_debug())]
    UnknownVerb { verb: String, meant: Option<String> },
    #[error("cannot write {path}", path = .path.display())]
    Pages { path: PathBuf, source: io::Error },
    #[error("server `{name}` is not in the configuration")]
    UnknownServer { name: ServerName },
    #[error("server `{server}`: there is no password")]
    Secret { server: ServerName, source: SecretError },
    #[error(transparent)]
    Settings(#[from] RemoteSettingsError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Adopt(AdoptError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("`{path}` is no path below the job's source: {source}")]
    NoPath { path: String, source: PathError },
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Plan(#[from] PlanError<StateError>),
    #[error("the system does not let the program run")]
    Runtime(#[source] io::Error),
    #[error("a part of the program failed; please report it")]
    Died,
    #[error("interrupted; what was under way is looked after by the next run")]
    Interrupted,
}

impl CliError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_)
            | Self::NoRun { .. }
            | Self::NoConfig { .. }
            | Self::UnknownJob { .. }
            | Self::NoServer { .. }
            | Self::NotPresumed { .. }
            | Self::NothingToApprove { .. }
            | Self::UnknownServer { .. }
            | Self::UnknownVerb { .. }
            | Self::Secret { .. }
            | Self::Settings(_)
            | Self::Place(_)
            | Self::NoPath { .. }
            | Self::Adopt(AdoptError::Drop { .. })
            | Self::Pattern(_) => Exit::Usage,
            Self::Agent(error) => error.exit(),
            Self::Refused { exit, .. } => *exit,
            Self::Look { source, .. } => exit_of(source),
            Self::State(error) | Self::Adopt(AdoptError::State(error)) => error.exit(),
            Self::Source(error) => error.class().exit(),
            Self::Interrupted => Exit::Interrupted,
            Self::Output(_)
            | Self::Pages { .. }
            | Self::Plan(_)
            | Self::Runtime(_)
            | Self::Client(_)
            | Self::Silent
            | Self::Died => Exit::Other,
        }
    }

    /// What to do about it, where the text does not say so itself.
    pub(super) fn remedy(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.remedy(),
            Self::State(StateError::Locked { .. }) | Self::Agent(AgentError::State(StateError::Locked { .. })) => {
                Some("wait until it has ended; if it is the agent, `nightferry status` tells what it does".to_owned())
            }
            Self::Agent(error) => error.remedy(),
            Self::Refused { remedy, .. } => remedy.clone(),
            Self::NoRun { .. } => Some("`nightferry history` lists the runs".to_owned()),
            Self::NoConfig { .. } => Some(
                "write one, starting from jobs.example.yaml, or name yours with `--config FILE`".to_owned(),
            ),
            Self::UnknownJob { remedy, .. }
            | Self::NotPresumed { remedy, .. }
            | Self::NothingToApprove { remedy, .. }
            | Self::NoServer { remedy, .. } => Some(remedy.clone()),
            Self::Secret { source, .. } => source.remedy(),
            Self::Adopt(AdoptError::Drop { .. }) => Some(
                "look on the server which files still wait there; `sync` leaves them alone and reports them, and \
                 sends the others"
                    .to_owned(),
            ),
            Self::UnknownVerb { meant, .. } => meant.as_ref().map(|meant| format!("did you mean `{meant}`?")),
            Self::UnknownServer { .. }
            | Self::Pages { .. }
            | Self::Adopt(AdoptError::State(_))
            | Self::Place(_)
            | Self::NoPath { .. }
            | Self::Look { .. }
            | Self::Settings(_)
            | Self::State(_)
            | Self::Source(_)
            | Self::Pattern(_)
            | Self::Plan(_)
            | Self::Runtime(_)
            | Self::Died
            | Self::Client(_)
            | Self::Silent
            | Self::Interrupted
            | Self::Output(_) => None,
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor ")
}
