//! The folder that is served, and paths in it as clients name them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

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

/// The folder that is served.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    names: Names,
}

/// Which names are allowed, and which are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Unix,
    /// Case makes no difference, and some characters are not allowed.
    Windows,
}

impl Tree {
    pub(crate) fn new(root: &Path, names: Names) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()?, names })
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
            let found = match self.names {
                Names::Unix => None,
                Names::Windows if name.iter().any(|byte| b"<>:\"|?*".contains(byte)) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                Names::Windows => same_but_for_case(&local, name),
            };
            local.push(found.as_deref().unwrap_or(OsStr::from_bytes(name)));
        }
        let existing = local.ancestors().find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
        match existing.map(Path::canonicalize) {
            Some(Ok(real)) if real.starts_with(&self.root) => Ok(local),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// The entry of a folder whose name differs in case at most.
fn same_but_for_case(folder: &Path, name: &[u8]) -> Option<OsString> {
    let wanted = String::from_utf8_lossy(name).to_lowercase();
    let mut names = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.find(|name| name.to_string_lossy().to_lowercase() == wanted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{Names, Tree, VirtualPath};

    #[test]
    fn paths_never_leave_the_top() {
        let here = VirtualPath::default().join(b"/a/b");
        assert_eq!(here.join(b"c//./d").bytes(), b"/a/b/c/d");
        assert_eq!(here.join(b"../../../../etc/passwd").bytes(), b"/etc/passwd");
        assert_eq!(here.join(b"/x").bytes(), b"/x");
        assert_eq!(here.join(b"/q\"q").quoted(), b"\"/q\"\"q\"");
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        symlink(folder.path(), folder.path().join("root/out")).unwrap();
        symlink(folder.path().join("new"), folder.path().join("root/dangling")).unwrap();
        let tree = Tree::new(&folder.path().join("root"), Names::Unix).unwrap();
        let local = |path: &[u8]| tree.local(&VirtualPath::default().join(path));
        assert!(local(b"/file").is_ok());
        assert!(local(b"/out/file").is_err());
        assert!(local(b"/dangling").is_err());
        assert!(local(b"/nul\0").is_err());
    }
}
