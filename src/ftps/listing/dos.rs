//! A line of `LIST` in the manner of DOS, as IIS sends it unless it is told otherwise:
//! `11-22-26  05:00PM       <DIR>          name`.

use super::{EntryKind, Line, Modified, entry, word};

/// Blanks behind `<DIR>`: they bring the name to the column where those of files stand.
const BLANKS_BEHIND_DIR: &str = "          ";

/// Reads a line; `None` where it is of another kind.
pub(super) fn read(line: &str) -> Option<Line> {
    let (date, rest) = word(line).filter(|(date, _)| is_date(date) && !line.starts_with(' '))?;
    let (clock, rest) = word(rest).filter(|(clock, _)| is_clock(clock))?;
    let (what, rest) = word(rest)?;
    let modified = Some(Modified::Shown(format!("{date} {clock}")));
    if let Ok(size) = what.parse() {
        return Some(entry(rest.strip_prefix(' ')?, EntryKind::File, Some(size), modified));
    }
    let kind = match what {
        "<DIR>" => EntryKind::Folder,
        "<JUNCTION>" | "<SYMLINKD>" | "<SYMLINK>" => EntryKind::Link,
        _ => return None,
    };
    let name = match kind {
        EntryKind::Folder => rest.strip_prefix(BLANKS_BEHIND_DIR).unwrap_or(rest.trim_start_matches(' ')),
        _ => rest.trim_start_matches(' ').split(" [").next()?,
    };
    Some(entry(name, kind, None, modified))
}

/// `11-22-26`, `11-22-2026`, also with other signs between the numbers.
fn is_date(text: &str) -> bool {
    let fields: Vec<&str> = text.split(['-', '/', '.']).collect();
    let digits = |field: &&str| field.bytes().all(|byte| byte.is_ascii_digit());
    fields.iter().all(digits)
        && matches!(fields.as_slice(), [a, b, c] if a.len() == 2 && b.len() == 2 && matches!(c.len(), 2 | 4))
}

/// `05:00PM`, or `17:00` of a server that counts to 24.
fn is_clock(text: &str) -> bool {
    let text = text.strip_suffix("AM").or_else(|| text.strip_suffix("PM")).unwrap_or(text);
    let digits = |field: &str| field.len() == 2 && field.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(':').is_some_and(|(hours, minutes)| digits(hours) && digits(minutes))
}
