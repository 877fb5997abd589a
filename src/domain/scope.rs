//! Which part of a source folder a run is about.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::RelPath;

/// Which part of a source folder a run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// Some folders. Their files are sent; nothing is deleted on the server, which takes a run over
    /// the whole source.
    Folders(Folders),
}

impl Scope {
    /// What lies in one of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Folders(mut one), Self::Folders(other)) => {
                let fit = other.iter().all(|(folder, depth)| one.add(folder.cloned(), depth) == Added::Yes);
                if fit { Self::Folders(one) } else { Self::All }
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::Folders(folders) => folders.is_empty(),
        }
    }

    /// Whether a file lies in it.
    pub fn covers(&self, file: &RelPath) -> bool {
        match self.reach(file.folder().as_ref()) {
            Reach::Tree | Reach::Files => true,
            Reach::Way | Reach::Nothing => false,
        }
    }

    /// What of a folder lies in it; `None` is the source folder itself.
    pub fn reach(&self, folder: Option<&RelPath>) -> Reach {
        match self {
            Self::All => Reach::Tree,
            Self::Folders(folders) => folders.reach(folder),
        }
    }
}

/// What of a folder lies in a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that is below it.
    Tree,
    /// The files in it, and perhaps something in folders below it.
    Files,
    /// Only something in folders below it.
    Way,
    /// Nothing.
    Nothing,
}

/// How much of a folder is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The files in it.
    Itself,
    /// All that is below it.
    Tree,
}

/// Whether there was room for a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is among them, by itself or by one above it.
    Yes,
    /// There are too many: all is meant from here on.
    Full,
}

/// Folders of a source, [`Folders::MOST`] at most. Those below one that is meant with all that is in
/// it are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders(BTreeMap<Option<RelPath>, Depth>);

impl Folders {
    /// Most folders: about 2 MB of names, and by then a walk through all is not much dearer.
    pub const MOST: usize = 10_000;

    /// Adds a folder; `None` is the source folder itself.
    pub fn add(&mut self, folder: Option<RelPath>, depth: Depth) -> Added {
        if self.is_below_a_tree(folder.as_ref()) {
            return Added::Yes;
        }
        let tree = (depth == Depth::Tree).then(|| folder.clone());
        let is_full = self.0.len() >= Self::MOST;
        match self.0.entry(folder) {
            Entry::Occupied(mut known) => {
                let deeper = depth.max(*known.get());
                known.insert(deeper);
            }
            Entry::Vacant(_) if is_full => return Added::Full,
            Entry::Vacant(place) => {
                place.insert(depth);
            }
        }
        if let Some(folder) = tree {
            self.drop_below(folder.as_ref());
        }
        Added::Yes
    }

    /// The folders in the order of a walk, the source folder itself (`None`) first.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&RelPath>, Depth)> {
        self.0.iter().map(|(folder, depth)| (folder.as_ref(), *depth))
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_tree(&self, folder: Option<&RelPath>) -> bool {
        self.0.get(&folder.cloned()) == Some(&Depth::Tree)
    }

    /// Whether a folder, or one above it, is meant with all that is in it.
    fn is_below_a_tree(&self, folder: Option<&RelPath>) -> bool {
        self.is_tree(None)
            || folder.is_some_and(|folder| {
                folder.folders().any(|above| self.is_tree(Some(&above))) || self.is_tree(Some(folder))
            })
    }

    fn drop_below(&mut self, folder: Option<&RelPath>) {
        let below: Vec<_> = self.below(folder).cloned().map(Some).collect();
        for folder in below {
            self.0.remove(&folder);
        }
    }

    /// The folders below another one: they follow it at once, since that is how paths are ordered.
    fn below<'a>(&'a self, folder: Option<&'a RelPath>) -> impl Iterator<Item = &'a RelPath> {
        let from = (std::ops::Bound::Excluded(folder.cloned()), std::ops::Bound::Unbounded);
        let is_below = move |path: &RelPath| {
            folder.is_none_or(|folder| {
                let rest = path.as_str().strip_prefix(folder.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            })
        };
        self.0.range(from).map_while(|(path, _)| path.as_ref()).take_while(move |path| is_below(path))
    }

    fn reach(&self, folder: Option<&RelPath>) -> Reach {
        if self.is_below_a_tree(folder) {
            Reach::Tree
        } else if self.0.contains_key(&folder.cloned()) {
            Reach::Files
        } else if self.below(folder).next().is_some() {
            Reach::Way
        } else {
            Reach::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn of(folders: &[(&str, Depth)]) -> Folders {
        let mut all = Folders::default();
        for (folder, depth) in folders {
            let folder = (!folder.is_empty()).then(|| path(folder));
            assert_eq!(all.add(folder, *depth), Added::Yes);
        }
        all
    }

    #[test]
    fn files_of_a_folder_and_of_a_tree() {
        let scope = Scope::Folders(of(&[("a/b", Depth::Itself), ("c", Depth::Tree)]));
        let reach = |folder: &str| scope.reach(Some(&path(folder)));
        assert_eq!(scope.reach(None), Reach::Way);
        assert_eq!([reach("a"), reach("a/b"), reach("a/b/x")], [Reach::Way, Reach::Files, Reach::Nothing]);
        assert_eq!([reach("c"), reach("c/d/e"), reach("c-d")], [Reach::Tree, Reach::Tree, Reach::Nothing]);
        for (file, covered) in [
            ("x", false),
            ("a/x", false),
            ("a/b/x", true),
            ("a/b/c/x", false),
            ("c/d/x", true),
            ("cx", false),
        ] {
            assert_eq!(scope.covers(&path(file)), covered, "{file}");
        }
        let root = Scope::Folders(of(&[("", Depth::Itself)]));
        assert!(root.covers(&path("x")) && !root.covers(&path("a/x")));
        assert!(!Scope::Folders(Folders::default()).covers(&path("x")) && Scope::All.covers(&path("a/x")));
    }

    #[test]
    fn a_tree_takes_in_what_lies_below() {
        let parts =
            [("a", Depth::Itself), ("a/b", Depth::Itself), ("a/b/c", Depth::Itself), ("a-b", Depth::Itself)];
        let mut folders = of(&parts);
        assert_eq!(folders.add(Some(path("a/b")), Depth::Tree), Added::Yes);
        let expected = of(&[("a", Depth::Itself), ("a/b", Depth::Tree), ("a-b", Depth::Itself)]);
        assert_eq!(folders, expected);
        assert_eq!(folders.add(Some(path("a/b/d")), Depth::Itself), Added::Yes);
        assert_eq!(folders, expected);
        assert_eq!(folders.add(None, Depth::Tree), Added::Yes);
        assert_eq!(folders, of(&[("", Depth::Tree)]));
    }

    #[test]
    fn too_many_are_all() {
        let many = |prefix: &str, count: usize| {
            let mut folders = Folders::default();
            let added = (0..count).map(|n| folders.add(Some(path(&format!("{prefix}{n}"))), Depth::Itself));
            let full = added.filter(|added| *added == Added::Full).count();
            (folders, full)
        };
        let (folders, full) = many("a", Folders::MOST + 1);
        assert_eq!((folders.len(), full), (Folders::MOST, 1));
        let one = Scope::Folders(many("b", 1).0);
        assert_eq!(one.clone().and(Scope::Folders(folders)), Scope::All);
        assert_eq!(one.clone().and(Scope::All), Scope::All);
        assert_eq!(one.clone().and(one.clone()), one);
    }
}
