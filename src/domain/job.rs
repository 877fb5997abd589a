//! A job: a source folder, a server, a destination folder and a policy.

use std::path::PathBuf;

use super::{
    Deletes, JobName, Notify, RemotePath, ServerName, Sidecars, Symlinks, Timing, VerifyPolicy, Watching,
};
use serde::{Deserialize, Serialize};

/// A source folder, a server, a destination folder, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name in the configuration.
    pub name: JobName,
    /// The folder whose files are sent, absolute.
    pub source: PathBuf,
    /// Where they are sent.
    pub server: ServerName,
    /// The folder on the server.
    pub destination: RemotePath,
    /// What absence on the server means.
    pub mode: Mode,
    /// Globs of which a file must match one; all files where there are none.
    pub include: Vec<String>,
    /// Globs of which a file must match none.
    pub exclude: Vec<String>,
    /// What becomes of symbolic links in the source.
    pub symlinks: Symlinks,
    /// Which proof of delivery is wanted.
    pub verify: VerifyPolicy,
    /// What to do where a file stands under the final name that Nightferry did not deliver.
    pub overwrite: Overwrite,
    /// How files come under their final names.
    pub publish: PublishWay,
    /// What is published beside each delivered file.
    pub sidecars: Sidecars,
    /// What becomes of a source file once its delivery is durable.
    pub after_delivery: AfterDelivery,
    /// What becomes of remote files whose source is gone.
    pub deletes: Deletes,
    /// When it may and must run.
    pub timing: Timing,
    /// How its source is watched; `None` where it is not.
    pub watch: Option<Watching>,
    /// Who is told of it, besides those who are told of all jobs.
    pub notify: Vec<Notify>,
}

/// What absence of a delivered file on the server means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The remote folder should look like the source: absence is damage.
    #[default]
    Mirror,
    /// A consumer takes files away: absence is success.
    Drop,
}

/// What to do where a file stands under the final name that Nightferry did not deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overwrite {
    /// The file fails; what stands there is left alone.
    #[default]
    Refuse,
    /// It is replaced.
    Replace,
}

/// How files come under their final names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishWay {
    /// By a rename, once they are proved: nobody sees half a file, and each is delivered once.
    #[default]
    Rename,
    /// They are stored there at once, for servers that cannot rename: a reader may see half a file,
    /// and after a crash one may be delivered twice.
    Direct,
}

impl PublishWay {
    /// Whether it is the usual way, of which records do not tell.
    pub fn is_rename(&self) -> bool {
        matches!(self, Self::Rename)
    }
}

/// What becomes of a source file once its delivery is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AfterDelivery {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// It is moved into this folder, absolute, under the path that it has below the source.
    MoveTo(PathBuf),
}
