//! A line of `LIST` as `ls -l` writes it. RFC 959 leaves it to the server, so that this is what real
//! ones do.

use super::{EntryKind, Line, Modified, entry, word};

/// Words in front of the size at least: rights, and links or owner.
const WORDS_BEFORE_SIZE: usize = 2;

/// Most words in front of the size: rights, links, and names of owner and group that hold spaces.
const MAX_WORDS_BEFORE_SIZE: usize = 16;

/// The months as servers write them, in the C locale.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads a line; `None` where it is of another kind.
///
/// The columns between rights and size differ (no group, names with spaces, numbers), so the size
/// is found by the date that follows it. One space stands between the date and the name, and all
/// that follows is name.
pub(super) fn read(line: &str) -> Option<Line> {
    if let Some(sum) = line.strip_prefix("total ") {
        return sum.trim().bytes().all(|byte| byte.is_ascii_digit()).then_some(Line::About);
    }
    let (rights, mut rest) = word(line).filter(|_| !line.starts_with(' '))?;
    let kind = kind_of(rights)?;
    for words in 1..=MAX_WORDS_BEFORE_SIZE {
        let (text, behind) = word(rest)?;
        if words >= WORDS_BEFORE_SIZE
            && let Ok(size) = text.parse::<u64>()
            && let Some((modified, name)) = date(behind)
        {
            return Some(finish(kind, size, modified, name));
        }
        rest = behind;
    }
    None
}

fn finish(kind: EntryKind, size: u64, modified: String, name: &str) -> Line {
    let name = match kind {
        EntryKind::Link => name.split_once(" -> ").map_or(name, |(name, _)| name),
        EntryKind::File | EntryKind::Folder | EntryKind::Other | EntryKind::Unknown => name,
    };
    let size = (kind == EntryKind::File).then_some(size);
    entry(name, kind, size, Some(Modified::Shown(modified)))
}

/// `drwxr-sr-t`, with a sign for access lists (`+`), labels (`.`) or extended attributes (`@`) behind
/// it.
fn kind_of(rights: &str) -> Option<EntryKind> {
    let (kind, bits) = rights.split_at_checked(1)?;
    let bits = bits.strip_suffix(['+', '.', '@']).unwrap_or(bits);
    let fine = bits.len() == 9 && bits.bytes().all(|bit| b"rwxsStTlL-".contains(&bit));
    if !fine {
        return None;
    }
    match kind {
        "-" => Some(EntryKind::File),
        "d" => Some(EntryKind::Folder),
        "l" => Some(EntryKind::Link),
        "b" | "c" | "p" | "s" | "D" => Some(EntryKind::Other),
        _ => None,
    }
}

/// A date at the front, and the name behind it: `Nov 22 17:05`, `Nov 22  2026`, `22 Nov 17:05`,
/// `2026-11-22 17:05`.
fn date(text: &str) -> Option<(String, &str)> {
    let (first, rest) = word(text)?;
    let (second, rest) = word(rest)?;
    if is_iso(first) && is_clock(second) {
        return rest.strip_prefix(' ').map(|name| (format!("{first} {second}"), name));
    }
    let (third, rest) = word(rest)?;
    let day_and_month = (is_month(first) && is_day(second)) || (is_day(first) && is_month(second));
    let fine = day_and_month && (is_clock(third) || is_year(third));
    let name = rest.strip_prefix(' ').filter(|_| fine)?;
    Some((format!("{first} {second} {third}"), name))
}

fn is_month(text: &str) -> bool {
    MONTHS.iter().any(|month| text.eq_ignore_ascii_case(month))
}

fn is_day(text: &str) -> bool {
    text.len() <= 2 && text.parse().is_ok_and(|day: u8| (1..=31).contains(&day))
}

fn is_year(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `17:05`, or with seconds.
fn is_clock(text: &str) -> bool {
    let fields = text.split(':');
    let digits =
        |field: &str| matches!(field.len(), 1 | 2) && field.bytes().all(|byte| byte.is_ascii_digit());
    (2..=3).contains(&fields.clone().count()) && fields.clone().all(digits)
}

/// `2026-11-22`.
fn is_iso(text: &str) -> bool {
    let mut fields = text.split('-');
    let (year, month, day) = (fields.next(), fields.next(), fields.next());
    fields.next().is_none()
        && year.is_some_and(is_year)
        && month.is_some_and(is_day)
        && day.is_some_and(is_day)
}
