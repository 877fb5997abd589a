//! The character encoding of a server's file names.

use std::fmt;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The character encoding of the names on a server. All of them write ASCII as ASCII, so that a
/// name never becomes a control character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// UTF-8 (RFC 2640).
    pub const UTF_8: Self = Self(UTF_8);

    /// An encoding by one of its names, as in `windows-1252` or `gbk` (WHATWG Encoding Standard,
    /// section 4.2), also where hyphens stand elsewhere, as in `latin-1`. As there, `latin1` and
    /// `iso-8859-1` mean windows-1252: the same but for 27 letters and signs in place of control
    /// characters, which no name may hold. `None` where there is none, and for those that do not
    /// write ASCII as ASCII.
    pub fn named(label: &str) -> Option<Self> {
        let by_label = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
        let found = by_label(label).or_else(|| by_label(&label.replace(['-', '_'], "")))?;
        let fine = found.is_ascii_compatible() && ![UTF_16BE, UTF_16LE].contains(&found);
        fine.then_some(Self(found))
    }

    /// Its name in the Encoding Standard.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The encoding itself.
    pub fn encoding(self) -> &'static Encoding {
        self.0
    }
}

impl Default for Charset {
    fn default() -> Self {
        Self::UTF_8
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charset({})", self.name())
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_go_by_many_names() {
        for (label, name) in [
            ("iso-8859-1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("Latin-1", "windows-1252"),
            ("latin-2", "ISO-8859-2"),
            ("cp-1252", "windows-1252"),
            ("UTF_8", "UTF-8"),
            ("UTF8", "UTF-8"),
            ("gbk", "GBK"),
        ] {
            assert_eq!(Charset::named(label).map(Charset::name), Some(name), "{label}");
        }
    }

    #[test]
    fn encodings_that_could_hide_a_control_character_are_no_choice() {
        for label in ["utf-16", "utf-16le", "utf_16", "iso-2022-jp", "iso2022-jp", "replacement", "latin", ""]
        {
            assert_eq!(Charset::named(label), None, "{label}");
        }
    }
}
