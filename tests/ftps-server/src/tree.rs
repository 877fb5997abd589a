//! The folder that is served, and paths in it as clients name them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use crate::dialect::{Dialect, Feature};

/// An absolute path as a client sees it: names between slashes, without `.` and `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VirtualPath {
    names: Vec<Vec<u8>>,
}

impl VirtualPath {
    /// Follows a path from here, from the top if it starts with a slash; `..` stops at the top.
    pub(crate) fn join(&self, path: &[u8]) -> Self {
        let mut joined = if path.starts_with(b"/") { Self::default() } else { self.clone() };
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    joined.names.pop();
                }
                name => joined.names.push(name.to_vec()),
            }
        }
        joined
    }

    /// The path with a slash in front.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"/".to_vec();
        bytes.extend(self.names.join(&b'/'));
        bytes
    }

    /// The path within double quotes, with those inside doubled (RFC 959, appendix II).
    pub(crate) fn quoted(&self) -> Vec<u8> {
        let mut quoted = b"\"".to_vec();
        for byte in self.bytes() {
            quoted.push(byte);
            if byte == b'"' {
                quoted.push(b'"');
            }
        }
        quoted.push(b'"');
        quoted
    }

    /// The path as text, with what is not UTF-8 replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// What the server makes of names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameRules {
    case: Fold,
    composition: Fold,
    letters: Letters,
    signs: Signs,
}

/// Which signs a name may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Signs {
    #[default]
    All,
    /// None of those that have a meaning to Windows.
    Windows,
}

/// Whether names that differ in something are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fold {
    #[default]
    Apart,
    One,
}

/// How letters beyond ASCII are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Letters {
    #[default]
    AsGiven,
    Mangled,
    FromLatin1,
}

impl NameRules {
    pub(crate) fn of(dialect: &Dialect) -> Self {
        let fold = |feature| if dialect.has(feature) { Fold::One } else { Fold::Apart };
        Self {
            case: if dialect.has(Feature::WindowsNames) { Fold::One } else { fold(Feature::FoldsCase) },
            composition: fold(Feature::FoldsComposition),
            letters: match (dialect.has(Feature::MangledNames), dialect.has(Feature::Latin1)) {
                (true, _) => Letters::Mangled,
                (false, true) => Letters::FromLatin1,
                (false, false) => Letters::AsGiven,
            },
            signs: if dialect.has(Feature::WindowsNames) { Signs::Windows } else { Signs::All },
        }
    }

    /// A name as it is stored.
    fn stored(self, name: &[u8]) -> Vec<u8> {
        match self.letters {
            Letters::AsGiven => name.to_vec(),
            Letters::Mangled => name.iter().map(|&byte| if byte.is_ascii() { byte } else { b'_' }).collect(),
            Letters::FromLatin1 => name.iter().copied().map(char::from).collect::<String>().into_bytes(),
        }
    }

    /// A stored name as clients see it.
    fn shown(self, name: &[u8]) -> Vec<u8> {
        match (self.letters, std::str::from_utf8(name)) {
            (Letters::FromLatin1, Ok(text)) => {
                text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
            }
            _ => name.to_vec(),
        }
    }

    /// What names that are one have in common.
    fn folded(self, name: &[u8]) -> Vec<u8> {
        let Ok(name) = std::str::from_utf8(name) else { return name.to_vec() };
        let name: String = if self.composition == Fold::One { name.nfd().collect() } else { name.to_owned() };
        if self.case == Fold::One { name.to_lowercase().into_bytes() } else { name.into_bytes() }
    }

    fn folds(self) -> bool {
        self.case == Fold::One || self.composition == Fold::One
    }
}

/// The folder that is served.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    rules: NameRules,
}

impl Tree {
    pub(crate) fn new(root: &Path, rules: NameRules) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()?, rules })
    }

    /// A name on the disk as clients see it.
    pub(crate) fn shown(&self, name: &[u8]) -> Vec<u8> {
        self.rules.shown(name)
    }

    /// The name under which something that is meant by `name` stands in a folder; where nothing
    /// does, the one that it will get.
    fn resolve(&self, folder: &Path, name: &[u8]) -> OsString {
        let stored = OsString::from_vec(self.rules.stored(name));
        if !self.rules.folds() || fs::symlink_metadata(folder.join(&stored)).is_ok() {
            return stored;
        }
        let wanted = self.rules.folded(stored.as_bytes());
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.find(|known| self.rules.folded(known.as_bytes()) == wanted).unwrap_or(stored)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path lies on the disk. A symbolic link that leads out of the folder is refused.
    pub(crate) fn local(&self, path: &VirtualPath) -> io::Result<PathBuf> {
        if path.names.iter().any(|name| name.contains(&0)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut local = self.root.clone();
        for name in &path.names {
            if self.rules.signs == Signs::Windows && name.iter().any(|byte| b"<>:\"|?*".contains(byte)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let name = self.resolve(&local, name);
            local.push(name);
        }
        let existing = local.ancestors().find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
        match existing.map(Path::canonicalize) {
            Some(Ok(real)) if real.starts_with(&self.root) => Ok(local),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{Fold, Letters, NameRules, Tree, VirtualPath};

    #[test]
    fn paths_never_leave_the_top() {
        let here = VirtualPath::default().join(b"/a/b");
        assert_eq!(here.join(b"c//./d").bytes(), b"/a/b/c/d");
        assert_eq!(here.join(b"../../../../etc/passwd").bytes(), b"/etc/passwd");
        assert_eq!(here.join(b"/x").bytes(), b"/x");
        assert_eq!(here.join(b"/q\"q").quoted(), b"\"/q\"\"q\"");
    }

    #[test]
    fn names_are_found_as_the_rules_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let check = |rules: NameRules, stored: &str, asked: &[u8], found: bool| {
            let tree = Tree::new(folder.path(), rules).unwrap();
            std::fs::write(folder.path().join(stored), "x").unwrap();
            let local = tree.local(&VirtualPath::default().join(asked)).unwrap();
            assert_eq!(local.exists(), found, "{stored} {asked:?}");
            std::fs::remove_file(folder.path().join(stored)).unwrap();
        };
        let plain = NameRules::default();
        check(plain, "a", b"A", false);
        check(NameRules { case: Fold::One, ..plain }, "Ä", "ä".as_bytes(), true);
        check(NameRules { case: Fold::One, ..plain }, "Ä", "A\u{308}".as_bytes(), false);
        check(NameRules { composition: Fold::One, ..plain }, "Ä", "A\u{308}".as_bytes(), true);
        check(NameRules { letters: Letters::FromLatin1, ..plain }, "Ä", b"\xc4", true);
        check(NameRules { letters: Letters::Mangled, ..plain }, "__", "Ä".as_bytes(), true);
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        symlink(folder.path(), folder.path().join("root/out")).unwrap();
        symlink(folder.path().join("new"), folder.path().join("root/dangling")).unwrap();
        let tree = Tree::new(&folder.path().join("root"), NameRules::default()).unwrap();
        let local = |path: &[u8]| tree.local(&VirtualPath::default().join(path));
        assert!(local(b"/file").is_ok());
        assert!(local(b"/out/file").is_err());
        assert!(local(b"/dangling").is_err());
        assert!(local(b"/nul\0").is_err());
    }
}
