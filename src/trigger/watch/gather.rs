//! What events have named since it was last told. The side that the system calls never waits for
//! anything but this short lock, and does no input or output.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::status::Degraded;
use crate::domain::{Added, Depth, Folders, RelPath};

/// Something that the system tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign<'a> {
    /// A file with this path appeared or changed.
    Touched(&'a Path),
    /// Something with this path appeared that is a folder, or may be one: its content has no events
    /// of its own.
    Appeared(&'a Path),
    /// Events were lost.
    Lost,
    /// The source folder itself was moved or removed.
    Root,
    /// Not all folders can be watched any more.
    Failed(Degraded),
}

/// The meeting point of the system, which puts signs in, and a watch, which takes them out.
#[derive(Debug)]
pub struct Signs {
    source: Arc<Path>,
    gathered: Mutex<Gathered>,
    came: Notify,
}

/// What came since it was last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// The folders that events named.
    pub(super) folders: Folders,
    /// Those of them that are new.
    pub(super) fresh: Folders,
    /// Events were lost, or there was no room for a folder.
    pub(super) lost: bool,
    /// Not all folders can be watched any more.
    pub(super) failed: Option<Degraded>,
    /// The source folder itself is to be looked at.
    pub(super) root: bool,
    /// When the first and the last came.
    pub(super) span: Option<(Instant, Instant)>,
}

impl Signs {
    pub(super) fn new(source: Arc<Path>) -> Arc<Self> {
        Arc::new(Self { source, gathered: Mutex::default(), came: Notify::new() })
    }

    /// Takes in a sign. Paths begin with the source's, in which no links are left.
    pub fn put(&self, sign: Sign<'_>) {
        let now = Instant::now();
        let mut gathered = self.lock();
        match sign {
            Sign::Touched(path) => {
                gathered.add(self.below(path.parent().unwrap_or(path)), Depth::Itself);
            }
            Sign::Appeared(path) => {
                gathered.add(self.below(path.parent().unwrap_or(path)), Depth::Itself);
                let (folder, depth) = self.below(path);
                gathered.add((folder.clone(), depth), Depth::Tree);
                if gathered.fresh.add(folder, Depth::Tree) == Added::Full {
                    gathered.lost = true;
                }
            }
            Sign::Lost => gathered.lost = true,
            Sign::Root => gathered.root = true,
            Sign::Failed(cause) => gathered.failed = Some(cause),
        }
        let first = gathered.span.map_or(now, |(first, _)| first);
        gathered.span = Some((first, now));
        drop(gathered);
        self.came.notify_one();
    }

    /// The nearest folder whose path can be sent: what cannot be sent is told of by those who scan it.
    fn below(&self, folder: &Path) -> (Option<RelPath>, Named) {
        let Ok(relative) = folder.strip_prefix(&self.source) else { return (None, Named::Above) };
        let mut named = Named::Exactly;
        for folder in relative.ancestors() {
            if folder.as_os_str().is_empty() {
                break;
            }
            if let Some(path) = folder.to_str().and_then(|folder| RelPath::new(folder).ok()) {
                return (Some(path), named);
            }
            named = Named::Above;
        }
        (None, named)
    }

    /// Waits for the next sign. Cancel safe.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }

    /// When the first and the last sign came that were not taken.
    pub(super) fn span(&self) -> Option<(Instant, Instant)> {
        self.lock().span
    }

    /// Whether the source folder itself, or the way it is watched, has to be looked at now.
    pub(super) fn is_urgent(&self) -> bool {
        let gathered = self.lock();
        gathered.root || gathered.failed.is_some()
    }

    /// Forgets the folders that are told with all of the source, but for new ones.
    pub(super) fn forget_folders(&self) {
        let mut gathered = self.lock();
        gathered.folders = gathered.fresh.clone();
        if gathered.folders.is_empty() && !gathered.lost {
            gathered.span = None;
        }
    }

    pub(super) fn take(&self) -> Gathered {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Each change leaves it whole.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a folder could be named, or only one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Exactly,
    Above,
}

impl Gathered {
    fn add(&mut self, (folder, named): (Option<RelPath>, Named), depth: Depth) {
        let depth = match named {
            Named::Exactly => depth,
            Named::Above => Depth::Itself,
        };
        if self.folders.add(folder, depth) == Added::Full {
            self.lost = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Reach, Scope};

    fn gathered(signs: &[Sign<'_>]) -> Gathered {
        let all = Signs::new(Path::new("/s").into());
        for sign in signs {
            all.put(sign.clone());
        }
        all.take()
    }

    #[test]
    fn a_file_marks_its_folder_and_a_folder_all_that_is_in_it() {
        let path = |path: &str| RelPath::new(path).unwrap();
        let signs = [Sign::Touched(Path::new("/s/a/x")), Sign::Appeared(Path::new("/s/b/c"))];
        let Gathered { folders, fresh, lost, .. } = gathered(&signs);
        let scope = Scope::Folders(folders);
        let reach = |folder: &str| scope.reach(Some(&path(folder)));
        assert_eq!([reach("a"), reach("b"), reach("b/c")], [Reach::Files, Reach::Files, Reach::Tree]);
        assert_eq!((scope.reach(None), lost), (Reach::Way, false));
        assert_eq!(fresh.iter().collect::<Vec<_>>(), [(Some(&path("b/c")), Depth::Tree)]);
    }

    #[test]
    fn what_cannot_be_named_marks_what_holds_it() {
        let scope = |sign| Scope::Folders(gathered(&[sign]).folders);
        assert_eq!(scope(Sign::Appeared(Path::new("/s/a\nb"))).reach(None), Reach::Files);
        assert_eq!(scope(Sign::Touched(Path::new("/s/a\nb/c/x"))).reach(None), Reach::Files);
        assert_eq!(scope(Sign::Touched(Path::new("/s/x"))).reach(None), Reach::Files);
    }

    #[test]
    fn more_than_there_is_room_for_is_all() {
        let signs = Signs::new(Path::new("/s").into());
        for number in 0..=Folders::MOST {
            signs.put(Sign::Touched(Path::new(&format!("/s/{number}/x"))));
        }
        assert!(signs.take().lost && !signs.take().lost);
        assert!(gathered(&[Sign::Lost]).lost);
    }
}
