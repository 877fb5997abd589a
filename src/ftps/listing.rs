//! Names in listings: `MLSD` (RFC 3659, section 7) and `NLST`. A server's names are data from
//! outside; only single path components come through.

/// The names in a listing by `MLSD`, without the folder itself and its parent.
pub fn mlsd_names(listing: &[u8]) -> impl Iterator<Item = &str> {
    lines(listing).filter_map(|line| {
        // Facts hold no space; the name begins behind the first and may hold anything.
        let (facts, name) = line.split_once(' ')?;
        let folder = facts.split(';').any(|fact| {
            let kind = fact.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case("type"));
            kind.is_some_and(|(_, value)| !value.eq_ignore_ascii_case("file"))
        });
        (!folder).then_some(name).and_then(component)
    })
}

/// The names in a listing by `NLST`, which some servers give with the folder in front.
pub fn nlst_names(listing: &[u8]) -> impl Iterator<Item = &str> {
    lines(listing).filter_map(|line| line.rsplit('/').next()).filter_map(component)
}

fn lines(listing: &[u8]) -> impl Iterator<Item = &str> {
    let lines = listing.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.map(|line| line.strip_suffix('\r').unwrap_or(line))
}

fn component(name: &str) -> Option<&str> {
    let unsafe_name = matches!(name, "" | "." | "..")
        || name.contains(['/', '\\'])
        || name.contains(|c: char| c.is_ascii_control());
    (!unsafe_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_mlsd() {
        let listing = b"modify=1;type=cdir; /in\r\ntype=pdir; ..\r\nType=file;size=3; a b.csv\r\ntype=dir; sub\r\ntype=file; .nf-1\r\n";
        assert_eq!(mlsd_names(listing).collect::<Vec<_>>(), ["a b.csv", ".nf-1"]);
    }

    #[test]
    fn names_of_nlst_with_and_without_the_folder() {
        let listing = b"in/a\r\nin/.\r\nin/..\r\nb\n";
        assert_eq!(nlst_names(listing).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_dropped() {
        let listing = b"type=file; ../../etc/passwd\r\ntype=file; /etc/passwd\r\ntype=file; a\\b\r\ntype=file; \x1b[2J\r\ntype=file; ok\r\nno-facts\r\n";
        assert_eq!(mlsd_names(listing).collect::<Vec<_>>(), ["ok"]);
    }
}
