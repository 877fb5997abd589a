//! "Did you mean …?"

/// The candidate that was most likely meant by `written`: the one with the fewest edits, if
/// they are at most a quarter of its letters.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.chars().count() / 4)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Longest word that is compared, in characters: no key or name is longer, and the work grows
/// with the square.
const MAX_WORD_CHARS: usize = 64;

/// Insertions, removals, replacements and swaps of neighbours that make `b` of `a` (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(MAX_WORD_CHARS).collect(), b.chars().take(MAX_WORD_CHARS).collect());
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, a_char) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b_char) in b.iter().enumerate() {
            let mut edits =
                (at(&last, j) + usize::from(a_char != b_char)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(b_char) && b.get(j - 1) == Some(a_char) {
                edits = edits.min(at(&before_last, j - 1) + 1);
            }
            row.push(edits);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["connections", "host", "port", "username", "password", "include", "read-back", "1.2"];
        for (written, meant) in [
            ("conections", Some("connections")),
            ("Host", Some("host")),
            ("hsot", Some("host")),
            ("passwrod", Some("password")),
            ("readback", Some("read-back")),
            ("read_back", Some("read-back")),
            ("user", None),
            ("colour", None),
            ("1.1", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }
}
