//! The character encoding of the control connection and of listings.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::{Encoding, UTF_8};

/// A character encoding that writes ASCII as ASCII, so that no name becomes a control character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// UTF-8 (RFC 2640).
    pub const UTF_8: Self = Self(UTF_8);

    /// An encoding; UTF-8 in place of one that does not write ASCII as ASCII.
    pub fn new(encoding: &'static Encoding) -> Self {
        if encoding.is_ascii_compatible() { Self(encoding) } else { Self::UTF_8 }
    }

    /// Its name in the Encoding Standard.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// A text in this encoding. `None` where it holds a character that has no place in it.
    pub fn encode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        let (bytes, _, replaced) = self.0.encode(text);
        // What does not come back the same would be another name.
        let same = !replaced && self.decode(&bytes).as_deref() == Some(text);
        same.then_some(bytes)
    }

    /// Bytes of this encoding as text; `None` where they are not.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        self.0.decode_without_bom_handling_and_without_replacement(bytes)
    }

    /// Bytes as text for people; what cannot be read is replaced by U+FFFD.
    pub fn decode_lossy(self, bytes: &[u8]) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use encoding_rs::{GBK, SHIFT_JIS, UTF_16LE, WINDOWS_1252};

    use super::*;

    #[test]
    fn names_go_there_and_back_or_not_at_all() {
        let western = Charset::new(WINDOWS_1252);
        assert_eq!(western.encode("Bücher").as_deref(), Some(&b"B\xfccher"[..]));
        assert_eq!(western.decode(b"B\xfccher").as_deref(), Some("Bücher"));
        assert_eq!(western.encode("日本"), None);
        // Decomposed: the accent has no place of its own.
        assert_eq!(western.encode("u\u{308}"), None);
        let chinese = Charset::new(GBK);
        let report = chinese.encode("报告.pdf").unwrap().into_owned();
        assert_eq!(chinese.decode(&report).as_deref(), Some("报告.pdf"));
        assert_eq!(Charset::UTF_8.encode("a日").as_deref(), Some("a日".as_bytes()));
        // The yen sign would come back as a backslash.
        assert_eq!(Charset::new(SHIFT_JIS).encode("¥"), None);
    }

    #[test]
    fn bytes_of_another_encoding_are_no_name() {
        assert_eq!(Charset::UTF_8.decode(b"B\xfccher"), None);
        assert_eq!(Charset::UTF_8.decode_lossy(b"B\xfccher"), "B\u{fffd}cher");
        assert_eq!(Charset::new(UTF_16LE), Charset::UTF_8);
    }
}
