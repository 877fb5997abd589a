//! A line of `NLST`: a name, on some servers with the folder in front.

use super::{EntryKind, Line, entry};

/// Reads a line. Only `folder`, as it was asked for, may stand in front of the name: a path that
/// leads elsewhere is none of ours.
pub(super) fn read(line: &str, folder: &str) -> Line {
    let inside = line.strip_prefix(folder).filter(|_| !folder.is_empty());
    let inside =
        inside.and_then(|rest| if folder.ends_with('/') { Some(rest) } else { rest.strip_prefix('/') });
    let name = inside.or_else(|| line.strip_prefix("./")).unwrap_or(line);
    entry(name, EntryKind::Unknown, None, None)
}
