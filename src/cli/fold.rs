//! Text broken at the terminal's width, between words.

/// Fewest columns that text is broken into: on a narrower terminal it may as well break by itself.
const MIN_ROOM: usize = 15;

/// Text broken between words into lines of at most `width` columns, of which the first begins at
/// column `indent` and the others are moved there. Not broken where there is no width.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    broken(text, indent, indent, width)
}

/// The same for a line that begins at column `first`.
pub(super) fn broken(text: &str, first: usize, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let width = width.max(indent + MIN_ROOM);
    let (mut out, mut column, mut line) = (String::with_capacity(text.len()), first, Line::Fresh);
    for word in text.split(' ') {
        let length = word.chars().count();
        match line {
            Line::Words if column + 1 + length > width && !word.is_empty() => {
                out.truncate(out.trim_end_matches(' ').len());
                out.extend(["\n", &" ".repeat(indent)]);
                column = indent;
            }
            Line::Fresh => {}
            Line::Spaces | Line::Words => {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += length;
        line = match line {
            Line::Fresh | Line::Spaces if word.is_empty() => Line::Spaces,
            _ => Line::Words,
        };
    }
    out
}

/// What a line holds so far, at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Fresh,
    Spaces,
    Words,
}

/// Lines of which each that is too long goes on below, `hang` columns to the right of where it
/// begins; a remedy goes on below its own words.
pub(super) fn folded(text: &str, hang: usize, width: Option<usize>) -> String {
    if width.is_none() {
        return text.to_owned();
    }
    let fold = |line: &str| {
        let begins = line.chars().take_while(|c| *c == ' ').count();
        let label = if line.trim_start().starts_with(HELP) { HELP.len() } else { hang };
        broken(line, 0, begins + label, width)
    };
    text.split('\n').map(fold).collect::<Vec<_>>().join("\n")
}

/// What stands before a remedy.
pub(super) const HELP: &str = "help: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_never_within() {
        let text = "one two three four five six seven eight nine";
        assert_eq!(wrapped(text, 4, None), text);
        assert_eq!(wrapped(text, 4, Some(34)), "one two three four five six\n    seven eight nine");
        let long = "x".repeat(50);
        assert_eq!(wrapped(&format!("a {long} b"), 2, Some(10)), format!("a\n  {long}\n  b"));
    }

    #[test]
    fn lines_go_on_to_the_right_of_where_they_begin() {
        let text = "head\n  sends     all files below /srv\n  to\n    help: ask whoever runs it, please";
        assert_eq!(folded(text, 10, None), text);
        assert_eq!(
            folded(text, 10, Some(27)),
            "head\n  sends     all files below\n            /srv\n  to\n    help: ask whoever runs\n          it, please"
        );
        // Wide spaces stay, but not at the end of a line or at the beginning of the next.
        assert_eq!(broken("ab  cd  ef", 0, 2, Some(17)), "ab  cd  ef");
        assert_eq!(broken("aaaaaaaaaa  bbbbbbbbbb  c", 0, 2, Some(17)), "aaaaaaaaaa\n  bbbbbbbbbb  c");
    }

    #[test]
    fn a_line_that_does_not_begin_at_its_first_column_has_less_room() {
        assert_eq!(broken("one two three", 12, 4, Some(24)), "one two\n    three");
    }
}
