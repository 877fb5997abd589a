//! What becomes of symbolic links in a source folder.

/// What becomes of symbolic links in a source folder. None of them ever leads out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Symlinks {
    /// They are not sent, and that is said.
    #[default]
    Skip,
    /// The file, or all that is in the folder, to which a link leads is sent under the link's
    /// name, if it lies in the source folder. A link that leads out of it fails, and so does an
    /// absolute one, wherever it leads.
    Follow,
    /// Each of them is a failed file.
    Fail,
}
