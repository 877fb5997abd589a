//! Which folders changed, found by walking a source that tells no events.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::domain::{Added, Depth, Folders, RelPath, Scope};

/// Most folders whose looks are remembered: about 20 MB. In larger trees all is meant each time.
const MOST_FOLDERS: usize = 100_000;

/// What each folder looked like: a hash of the names, sizes, times and inodes of what is in it.
pub(super) type Prints = BTreeMap<Option<RelPath>, u64>;

/// What a walk found.
pub(super) struct Polled {
    /// What is other than before.
    pub(super) scope: Scope,
    /// What to compare the next walk with; none where there are too many folders, or not all could be
    /// read.
    pub(super) prints: Option<Prints>,
}

/// Walks a source and compares it with what an earlier walk saw. Follows no link. Blocks.
pub(super) fn poll(source: &Path, before: Option<&Prints>) -> Polled {
    let all = Polled { scope: Scope::All, prints: None };
    let (mut prints, mut left) = (Prints::new(), vec![None]);
    while let Some(folder) = left.pop() {
        let path =
            folder.as_ref().map_or_else(|| source.to_owned(), |below: &RelPath| source.join(below.as_str()));
        let Some((look_hash, folders)) = look(&path) else {
            // Gone meanwhile, or not to be read: who scans it tells.
            return all;
        };
        let below = folders.into_iter().filter_map(|name| match &folder {
            Some(folder) => RelPath::new(format!("{}/{name}", folder.as_str())).ok(),
            None => RelPath::new(name).ok(),
        });
        left.extend(below.map(Some));
        prints.insert(folder, look_hash);
        if prints.len() > MOST_FOLDERS {
            return all;
        }
    }
    let Some(before) = before else { return Polled { scope: Scope::All, prints: Some(prints) } };
    let mut changed = Folders::default();
    for (folder, look_hash) in &prints {
        let depth = match before.get(folder) {
            Some(known) if known == look_hash => continue,
            Some(_) => Depth::Itself,
            None => Depth::Tree,
        };
        if changed.add(folder.clone(), depth) == Added::Full {
            return Polled { scope: Scope::All, prints: Some(prints) };
        }
    }
    Polled { scope: Scope::Folders(changed), prints: Some(prints) }
}

/// The look of a folder, and the names of the folders in it that can be sent.
fn look(folder: &Path) -> Option<(u64, Vec<String>)> {
    let mut entries: Vec<_> = fs::read_dir(folder).ok()?.collect::<Result<_, _>>().ok()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    let (mut hasher, mut folders) = (DefaultHasher::new(), Vec::new());
    for entry in entries {
        let name = entry.file_name();
        // What vanished between the two looks is not there.
        let Ok(facts) = entry.metadata() else { continue };
        name.as_bytes().hash(&mut hasher);
        if facts.is_dir() {
            folders.extend(name.into_string().ok());
        } else {
            facts_of(&facts).hash(&mut hasher);
        }
    }
    Some((hasher.finish(), folders))
}

fn facts_of(facts: &Metadata) -> [u64; 6] {
    let bits = |signed: i64| u64::from_ne_bytes(signed.to_ne_bytes());
    let (mtime, ctime) = ((facts.mtime(), facts.mtime_nsec()), (facts.ctime(), facts.ctime_nsec()));
    [facts.len(), facts.ino(), bits(mtime.0), bits(mtime.1), bits(ctime.0), bits(ctime.1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reach;

    #[test]
    fn only_what_changed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path();
        fs::create_dir_all(source.join("a/b")).unwrap();
        fs::create_dir_all(source.join("c")).unwrap();
        fs::write(source.join("a/b/x"), b"1").unwrap();
        let first = poll(source, None);
        assert_eq!(first.scope, Scope::All);
        let second = poll(source, first.prints.as_ref());
        assert!(second.scope.is_empty());
        fs::write(source.join("a/b/x"), b"22").unwrap();
        fs::create_dir_all(source.join("c/new/deep")).unwrap();
        let third = poll(source, second.prints.as_ref());
        let path = |path: &str| RelPath::new(path).unwrap();
        let reach = |folder: &str| third.scope.reach(Some(&path(folder)));
        assert_eq!([reach("a/b"), reach("c"), reach("c/new")], [Reach::Files, Reach::Files, Reach::Tree]);
        assert_eq!((reach("a"), third.scope.reach(None)), (Reach::Way, Reach::Way));
        assert!(poll(source, third.prints.as_ref()).scope.is_empty());
        assert_eq!(poll(&source.join("none"), None).scope, Scope::All);
    }
}
