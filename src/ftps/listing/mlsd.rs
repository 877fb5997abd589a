//! A line of `MLSD`: facts, a space, a name that may hold anything.

use super::{EntryKind, Line, Modified, entry};

/// Reads a line. Facts hold no space; the name begins behind the first one. Unknown facts do not
/// matter, nor in which order they come.
pub(super) fn read(line: &str) -> Line {
    let Some((facts, name)) = line.split_once(' ') else { return Line::Dropped };
    let (mut kind, mut size, mut modified) = (EntryKind::Unknown, None, None);
    for fact in facts.split(';').filter(|fact| !fact.is_empty()) {
        let Some((key, value)) = fact.split_once('=') else { return Line::Dropped };
        match key.to_ascii_lowercase().as_str() {
            "type" => match value.to_ascii_lowercase().as_str() {
                "file" => kind = EntryKind::File,
                "dir" => kind = EntryKind::Folder,
                "cdir" | "pdir" => return Line::About,
                value if value.starts_with("os.unix=slink") || value.starts_with("os.unix=symlink") => {
                    kind = EntryKind::Link;
                }
                _ => kind = EntryKind::Other,
            },
            "size" => size = value.parse().ok(),
            "modify" if is_time(value) => modified = Some(Modified::Utc(value.to_owned())),
            _ => {}
        }
    }
    entry(name, kind, size, modified)
}

/// `YYYYMMDDHHMMSS`, with or without a fraction.
fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    whole.len() == 14 && fraction.len() <= 9 && digits(whole) && digits(fraction)
}
