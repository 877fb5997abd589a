//! Paths that can be sent: below a source folder, and on a server.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest path that is sent, in bytes. Linux knows 4096 (`PATH_MAX`); servers cut or refuse
/// longer commands.
pub const MAX_PATH_BYTES: usize = 4096;

/// Why a text is no path that can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is no name at all.
    #[error("the name is empty")]
    Empty,
    /// A relative path begins with a slash, or a folder name is empty (`a//b`).
    #[error("the path holds an empty name (a doubled, leading or trailing slash)")]
    EmptyName,
    /// `.` or `..` as a name.
    #[error("the path holds `.` or `..` as a name")]
    Dots,
    /// A byte that servers take for the end of the command or alter (0x00 to 0x1F, 0x7F).
    #[error(
        "the name holds the control character 0x{byte:02X}, which cannot be sent safely: FTP servers \
         take some of these for the end of a command and replace others; rename the file"
    )]
    Control {
        /// The byte.
        byte: u8,
    },
    /// A name ends in a space, which Pure-FTPd stores as `_`, over another file.
    #[error(
        "a name that ends in a space cannot be sent safely: Pure-FTPd stores it with `_` instead, over \
         another file of that name; rename the file or folder"
    )]
    EndsInSpace,
    /// The bytes are not UTF-8, so that servers would store another name.
    #[error("the name is not valid UTF-8; rename the file")]
    NotUtf8,
    /// More than [`MAX_PATH_BYTES`].
    #[error("the path is {bytes} bytes long; at most {MAX_PATH_BYTES} can be sent")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// The path of a file below a job's source folder, with `/` between the names.
///
/// Holds at least one name; no name is empty, `.` or `..`, or ends in a space; no control characters; valid UTF-8;
/// at most [`MAX_PATH_BYTES`]. Ordered as a sorted walk meets the files: by name, folder by
/// folder, so that everything inside `a/` stands before `a-b`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<str>);

impl RelPath {
    /// Checks a path.
    pub fn new(path: impl Into<Box<str>>) -> Result<Self, PathError> {
        let path = path.into();
        check(&path)?;
        path.split('/').try_for_each(check_name)?;
        if path.split('/').any(|name| name.ends_with(' ')) {
            return Err(PathError::EndsInSpace);
        }
        Ok(Self(path))
    }

    /// Checks a path as the file system gives it.
    pub fn from_bytes(path: &[u8]) -> Result<Self, PathError> {
        Self::new(std::str::from_utf8(path).map_err(|_| PathError::NotUtf8)?)
    }

    /// The path with `/` between its names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the folder that holds the file; `None` for the source folder itself.
    pub fn folder(&self) -> Option<RelPath> {
        self.0.rsplit_once('/').map(|(folder, _)| Self(folder.into()))
    }

    /// The folders from the outermost to the one that holds the file.
    pub fn folders(&self) -> impl Iterator<Item = RelPath> + '_ {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at)).map(|folder| Self(folder.into()))
    }

    /// The bytes by which manifests are ordered: `/` becomes 0x00, which no name holds, so that
    /// comparing keys is comparing paths.
    pub fn to_key(&self) -> Vec<u8> {
        self.0.bytes().map(order).collect()
    }

    /// The path whose [`to_key`](Self::to_key) this is.
    pub fn from_key(key: &[u8]) -> Result<Self, PathError> {
        let bytes: Vec<u8> = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
        Self::from_bytes(&bytes)
    }
}

const fn order(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

fn check(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong { bytes: path.len() });
    }
    match path.bytes().find(u8::is_ascii_control) {
        Some(byte) => Err(PathError::Control { byte }),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" => Err(PathError::EmptyName),
        "." | ".." => Err(PathError::Dots),
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.bytes().map(order).cmp(other.0.bytes().map(order))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Box::<str>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A path on a server: absolute (`/incoming`), or relative to the login folder (`incoming`),
/// which by itself is written `.`.
///
/// No control characters, no `..`, valid UTF-8, at most [`MAX_PATH_BYTES`], no doubled or
/// trailing slash: it can stand in a command as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Box<str>);

impl RemotePath {
    /// Checks a path and takes off doubled and trailing slashes.
    pub fn new(path: &str) -> Result<Self, PathError> {
        check(path)?;
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        names.iter().try_for_each(|name| check_name(name))?;
        let joined = names.join("/");
        let path = match (path.starts_with('/'), joined.is_empty()) {
            (true, _) => format!("/{joined}"),
            (false, true) => ".".to_owned(),
            (false, false) => joined,
        };
        Ok(Self(path.into()))
    }

    /// The path as it stands in commands.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of `below` under this folder.
    #[must_use]
    pub fn join(&self, below: &RelPath) -> Self {
        self.join_name(below.as_str())
    }

    /// The path of one entry of this folder. The caller vouches for the name: it is one that
    /// Nightferry made, or part of a [`RelPath`].
    fn join_name(&self, name: &str) -> Self {
        let joined = match &*self.0 {
            "." => name.to_owned(),
            "/" => format!("/{name}"),
            folder => format!("{folder}/{name}"),
        };
        Self(joined.into())
    }

    /// The path of the entry `name` of this folder; `name` must be a single name.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        check(name)?;
        if name.contains('/') {
            return Err(PathError::EmptyName);
        }
        check_name(name)?;
        let path = self.join_name(name);
        check(&path.0)?;
        Ok(path)
    }

    /// The folder that holds this path; `None` for `/` and `.`.
    pub fn folder(&self) -> Option<Self> {
        if matches!(&*self.0, "/" | ".") {
            return None;
        }
        Some(match self.0.rsplit_once('/') {
            None => Self(".".into()),
            Some(("", _)) => Self("/".into()),
            Some((folder, _)) => Self(folder.into()),
        })
    }

    /// The last name; the whole path for `/` and `.`.
    pub fn name(&self) -> &str {
        match self.0.rsplit_once('/') {
            Some((_, "")) | None => &self.0,
            Some((_, name)) => name,
        }
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for RemotePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rel(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn remote(path: &str) -> RemotePath {
        RemotePath::new(path).unwrap()
    }

    #[test]
    fn names_that_cannot_be_sent_are_refused() {
        let check = |path: &[u8], why| assert_eq!(RelPath::from_bytes(path), Err(why), "{path:?}");
        check(b"", PathError::Empty);
        check(b"/a", PathError::EmptyName);
        check(b"a/", PathError::EmptyName);
        check(b"a//b", PathError::EmptyName);
        check(b"..", PathError::Dots);
        check(b"a/../b", PathError::Dots);
        check(b"a ", PathError::EndsInSpace);
        check(b"a /b", PathError::EndsInSpace);
        check(b"a/./b", PathError::Dots);
        check(b"a\nDELE b", PathError::Control { byte: b'\n' });
        check(b"a\tb", PathError::Control { byte: b'\t' });
        check(b"a\x7f", PathError::Control { byte: 0x7F });
        check(b"a\0b", PathError::Control { byte: 0 });
        check(b"caf\xe9", PathError::NotUtf8);
        check(&[b'a'; 4097], PathError::TooLong { bytes: 4097 });
        for fine in ["a", "-a", " a", "a b", "a\"b", "..a", "a..", "...", "[x]*?", "ü/ñ/😀", "a\\b"] {
            assert!(RelPath::new(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_folder_stands_before_its_longer_named_sibling() {
        let mut paths = ["a-b", "a/z", "a", "a/b/c", "b", "a!"].map(rel);
        paths.sort();
        assert_eq!(paths.map(|path| path.to_string()), ["a", "a/b/c", "a/z", "a!", "a-b", "b"]);
    }

    #[test]
    fn folders_from_the_outermost() {
        let path = rel("a/b/c.txt");
        assert_eq!(path.folders().collect::<Vec<_>>(), [rel("a"), rel("a/b")]);
        assert_eq!((path.folder(), path.name()), (Some(rel("a/b")), "c.txt"));
        assert_eq!(rel("c.txt").folder(), None);
    }

    #[test]
    fn remote_paths_are_absolute_or_below_the_login_folder() {
        for (written, path) in
            [("/", "/"), ("/in/", "/in"), ("//in//x", "/in/x"), ("in", "in"), (".", "."), ("./in", "in")]
        {
            assert_eq!(remote(written).as_str(), path, "{written}");
        }
        assert_eq!(remote("/").join(&rel("a/b")).as_str(), "/a/b");
        assert_eq!(remote("/in").join(&rel("a")).as_str(), "/in/a");
        assert_eq!(remote(".").join(&rel("-a")).as_str(), "-a");
        assert_eq!(RemotePath::new("/in/../etc"), Err(PathError::Dots));
        assert_eq!(remote("/in").child("a/b"), Err(PathError::EmptyName));
        assert_eq!(remote("/in").child(".."), Err(PathError::Dots));
    }

    #[test]
    fn remote_folders_end_at_the_root() {
        assert_eq!(remote("/a/b").folder(), Some(remote("/a")));
        assert_eq!(remote("/a").folder(), Some(remote("/")));
        assert_eq!(remote("a").folder(), Some(remote(".")));
        assert_eq!(remote("/").folder(), None);
        assert_eq!(remote(".").folder(), None);
        assert_eq!((remote("/a/b").name(), remote("/").name()), ("b", "/"));
    }

    proptest! {
        #[test]
        fn keys_order_as_paths_and_come_back(a in "[a-c!/ü-]{1,8}", b in "[a-c!/ü-]{1,8}") {
            if let (Ok(a), Ok(b)) = (RelPath::new(a), RelPath::new(b)) {
                prop_assert_eq!(a.cmp(&b), a.to_key().cmp(&b.to_key()));
                prop_assert_eq!(RelPath::from_key(&a.to_key()), Ok(a));
            }
        }

        #[test]
        fn no_bytes_make_a_path_that_breaks_a_command(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(path) = RelPath::from_bytes(&bytes) {
                prop_assert!(!path.as_str().bytes().any(|byte| byte < 0x20 || byte == 0x7F));
                prop_assert!(path.as_str().split('/').all(|name| !matches!(name, "" | "." | "..")));
            }
        }
    }
}
