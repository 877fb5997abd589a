//! The character encoding of a server's file names.

use std::borrow::Cow;
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
    /// section 4.2). `None` where there is none, and for those that do not write ASCII as ASCII.
    pub fn named(label: &str) -> Option<Self> {
        let found = Encoding::for_label_no_replacement(label.as_bytes())?;
        let fine = found.is_ascii_compatible() && ![UTF_16BE, UTF_16LE].contains(&found);
        fine.then_some(Self(found))
    }

    /// Its name in the Encoding Standard.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// A text in this encoding. `None` where it holds a character that has no place in it.
    pub fn encode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        let (bytes, _, replaced) = self.0.encode(text);
        // What does not come back the same would be another name.
        let same = !replaced && self.decode(&bytes) == text;
        same.then_some(bytes)
    }

    /// Bytes of this encoding as text; what cannot be read is replaced by U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        self.0.decode_without_bom_handling(bytes).0
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
    fn names_go_there_and_back_or_not_at_all() {
        let western = Charset::named("iso-8859-1").unwrap();
        assert_eq!(western.encode("Bücher").as_deref(), Some(&b"B\xfccher"[..]));
        assert_eq!(western.decode(b"B\xfccher"), "Bücher");
        assert_eq!(western.encode("日本"), None);
        let chinese = Charset::named("GBK").unwrap();
        assert_eq!(chinese.decode(&chinese.encode("报告.pdf").unwrap()), "报告.pdf");
        assert_eq!(Charset::UTF_8.encode("a日").as_deref(), Some("a日".as_bytes()));
    }

    #[test]
    fn encodings_that_could_hide_a_control_character_are_no_choice() {
        for label in ["utf-16", "utf-16le", "iso-2022-jp", "replacement", "latin", ""] {
            assert_eq!(Charset::named(label), None, "{label}");
        }
    }
}
