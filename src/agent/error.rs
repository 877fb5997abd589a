//! Why the agent cannot run.

use std::io;

use crate::config::ConfigError;
use crate::config::secret::SecretError;
use crate::domain::{Exit, ServerName};
use crate::remote::RemoteSettingsError;
use crate::source::PatternError;
use crate::state::StateError;

/// Why the agent cannot run, or cannot take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A password cannot be had.
    #[error("server `{server}`: there is no password")]
    Secret {
        /// Whose.
        server: ServerName,
        /// Why.
        source: SecretError,
    },
    /// A server's settings cannot be used.
    #[error(transparent)]
    Settings(#[from] RemoteSettingsError),
    /// A pattern of a job cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The state cannot be opened, read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system gives no signals.
    #[error("the system does not let the program run")]
    System(#[source] io::Error),
    /// The status page cannot be had.
    #[error("the status page (`agent.status`) cannot listen")]
    Page(#[source] io::Error),
    /// A part of the program panicked.
    #[error("a part of the program failed; please report it")]
    Died,
}

impl AgentError {
    pub(super) fn died(_: tokio::task::JoinError) -> Self {
        Self::Died
    }

    /// How a command ends for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Secret { .. } | Self::Settings(_) | Self::Pattern(_) => Exit::Usage,
            Self::State(error) => error.exit(),
            Self::Page(_) | Self::System(_) | Self::Died => Exit::Other,
        }
    }

    /// What to do about it, where the text does not say so itself.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.remedy(),
            Self::Secret { source, .. } => source.remedy(),
            Self::Page(_) => Some("is the port free, and the address one of this machine?".to_owned()),
            Self::Settings(_) | Self::Pattern(_) | Self::State(_) | Self::System(_) | Self::Died => None,
        }
    }
}
