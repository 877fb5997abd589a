//! Why a command did not do what it was asked for.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::domain::Exit;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("there is no configuration: neither {} exists", listed(looked_at))]
    NoConfig { looked_at: Vec<PathBuf> },
    #[error("there is no job `{name}`")]
    UnknownJob { name: String, remedy: String },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("`{verb}` is not in this build")]
    NotInThisBuild { verb: &'static str },
}

impl CliError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoConfig { .. } | Self::UnknownJob { .. } => Exit::Usage,
            Self::Output(_) | Self::NotInThisBuild { .. } => Exit::Other,
        }
    }

    /// What to do about it, where the text does not say so itself.
    pub(super) fn remedy(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.remedy(),
            Self::NoConfig { .. } => Some(
                "write one, starting from jobs.example.yaml, or name yours with `--config FILE`".to_owned(),
            ),
            Self::UnknownJob { remedy, .. } => Some(remedy.clone()),
            Self::Output(_) | Self::NotInThisBuild { .. } => None,
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor ")
}
