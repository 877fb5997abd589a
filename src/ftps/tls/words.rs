//! A certificate's texts and times as people may safely read them.

/// Most characters that are shown of one text of a certificate.
const MAX_SHOWN: usize = 100;

/// Most names of a certificate that are shown: enough to find the right one among a provider's.
const MAX_SHOWN_NAMES: usize = 6;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A pin in the configuration's form.
pub(super) fn pin(digest: &[u8; 32]) -> String {
    use base64::Engine as _;
    format!("sha256:{}", base64::engine::general_purpose::STANDARD.encode(digest))
}

/// A text of the server's: of bounded length, and without what steers terminals or breaks lines.
pub(super) fn shown(text: &str) -> String {
    let safe = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len().min(MAX_SHOWN));
    for (at, c) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            out.push('…');
            break;
        }
        if safe(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    out
}

/// The first few of a certificate's names, in backticks.
pub(super) fn names(names: &[String]) -> String {
    let few: Vec<String> =
        names.iter().take(MAX_SHOWN_NAMES).map(|name| format!("`{}`", shown(name))).collect();
    match names.len().saturating_sub(few.len()) {
        0 => few.join(", "),
        more => format!("{} and {more} more", few.join(", ")),
    }
}

pub(super) fn days_between(from: i64, to: i64) -> String {
    match to.saturating_sub(from).div_euclid(DAY) {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// A day, as `2026-11-22`.
pub(super) fn date(seconds: i64) -> String {
    formatted(seconds, "%Y-%m-%d")
}

pub(super) fn time(seconds: i64) -> String {
    formatted(seconds, "%Y-%m-%d %H:%M:%S UTC")
}

fn formatted(seconds: i64, format: &str) -> String {
    chrono::DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "an unknown day".to_owned(), |time| time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_bounded_and_steers_nothing() {
        assert_eq!(shown("CN=a\u{1b}[2Jb\n\u{202e}c"), "CN=a\\u{1b}[2Jb\\n\\u{202e}c");
        let long = shown(&"x".repeat(100_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_SHOWN + 1, true));
        let many: Vec<String> = (0..40).map(|n| format!("h{n}")).collect();
        assert_eq!(names(&many), "`h0`, `h1`, `h2`, `h3`, `h4`, `h5` and 34 more");
        assert_eq!(names(&[]), "");
    }

    #[test]
    fn days_and_dates() {
        assert_eq!(days_between(0, DAY - 1), "less than a day");
        assert_eq!((days_between(0, DAY), days_between(0, 9 * DAY)), ("1 day".into(), "9 days".into()));
        assert_eq!((date(0), time(1)), ("1970-01-01".into(), "1970-01-01 00:00:01 UTC".into()));
        assert_eq!(date(i64::MAX), "an unknown day");
    }
}
