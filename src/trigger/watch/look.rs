//! What a watch asks of the system, and a look at the source folder.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::gather::Signs;
use super::status::Degraded;

use crate::plain::plain;

/// What tells one folder from another that has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootId {
    /// The device, another one on each mount.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

/// What the system does for a watch. Its calls may block.
pub trait System: Debug + Send + Sync {
    /// Tells which folder a path leads to. Fails where it is none.
    fn identify(&self, source: &Path) -> io::Result<RootId>;

    /// The name of the file system, if it tells no events of what other machines or programs do.
    fn eventless(&self, source: &Path) -> Option<&'static str>;

    /// Puts signs of what happens below a folder into `signs` until what it returns is dropped.
    fn watch(&self, source: &Path, signs: Arc<Signs>) -> Result<Box<dyn Events>, Degraded>;
}

/// A watch that goes on until it is dropped.
pub trait Events: Send {
    /// Folders that were watched when it began.
    fn folders(&self) -> u64;
}

/// What a look at the source folder came to.
pub(super) enum Looked {
    /// It is the folder that is watched already.
    Same,
    /// Another folder has its name, another disk is mounted there, or none any more.
    Replaced,
    /// It is there and is watched from now on.
    Watched { root: RootId, events: Box<dyn Events>, signs: Arc<Signs> },
    /// It is there, and has to be walked.
    Eventless { root: RootId, file_system: &'static str },
    /// It is there, should be watched and cannot be.
    Degraded { root: RootId, cause: Degraded },
    /// It is not there.
    Absent { cause: String },
}

/// Looks at the source folder, and watches it if it is not `watched`. Blocks.
pub(super) fn look(system: &dyn System, source: &Path, watched: Option<RootId>) -> Looked {
    let root = match system.identify(source) {
        Ok(root) if watched == Some(root) => return Looked::Same,
        // What watches the other one is dropped first: there may be no watches left for both.
        Ok(_) if watched.is_some() => return Looked::Replaced,
        Ok(root) => root,
        Err(error) => return Looked::Absent { cause: plain(&error) },
    };
    if let Some(file_system) = system.eventless(source) {
        return Looked::Eventless { root, file_system };
    }
    // notify watches nothing below a path that is a link itself (8.2).
    let real: Arc<Path> = match source.canonicalize() {
        Ok(real) => real.into(),
        Err(error) => return Looked::Absent { cause: plain(&error) },
    };
    let signs = Signs::new(Arc::clone(&real));
    match system.watch(&real, Arc::clone(&signs)) {
        Err(cause) => Looked::Degraded { root, cause },
        // Another folder may have taken its name while it was being watched: the next look tells.
        Ok(events) => Looked::Watched { root, events, signs },
    }
}
