//! Replies of the control connection (RFC 959, section 4.2), parsed from bytes as they come.

use std::collections::VecDeque;
use std::fmt;

use super::charset::Charset;
use super::limits::{MAX_LINE_BYTES, MAX_REPLIES_WAITING, MAX_REPLY_BYTES, MAX_REPLY_LINES, MAX_REPLY_SHOWN};

/// A whole reply: its code and the text of its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// What the first digit of a reply's code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// `1xx`: another reply follows.
    Preliminary,
    /// `2xx`: done.
    Done,
    /// `3xx`: go on with the next command of the sequence.
    Continue,
    /// `4xx`: not now.
    Transient,
    /// `5xx`: not ever, or not like this.
    Permanent,
}

impl Reply {
    /// The code, from 100 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the first digit of the code says.
    pub fn kind(&self) -> ReplyKind {
        match self.code {
            ..200 => ReplyKind::Preliminary,
            200..300 => ReplyKind::Done,
            300..400 => ReplyKind::Continue,
            400..500 => ReplyKind::Transient,
            500.. => ReplyKind::Permanent,
        }
    }

    /// The text of its lines, without code and line end. Bytes that are not of the session's
    /// encoding were replaced.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The text of the last line.
    pub fn last_line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Reply {
    /// Code and text as they may stand in a log: one line, no control characters, not too long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        let texts = self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
        let text = texts.collect::<Vec<_>>().join(" / ");
        let mut shown = text.chars().flat_map(|c| {
            let escaped = steers(c).then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        });
        if !text.is_empty() {
            f.write_str(" ")?;
        }
        shown.by_ref().take(MAX_REPLY_SHOWN).try_for_each(|c| fmt::Write::write_char(f, c))?;
        if shown.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// Whether a terminal takes a character for something else than text: control characters, and those
/// that turn the direction of what follows (Unicode Standard Annex 9).
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// Why bytes are no replies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not begin with a code and a space or hyphen.
    #[error("the server's line `{shown}` is no FTP reply")]
    NotAReply {
        /// The line, made safe to show.
        shown: String,
    },
    /// A line without end.
    #[error("the server sent a reply line of more than {MAX_LINE_BYTES} bytes")]
    LongLine,
    /// A reply without end.
    #[error("the server sent a reply of more than {MAX_REPLY_LINES} lines or {MAX_REPLY_BYTES} bytes")]
    LongReply,
    /// Replies that nobody asked for.
    #[error("the server sent more than {MAX_REPLIES_WAITING} replies that nobody asked for")]
    Flood,
}

/// Turns the bytes of a control connection into replies. Holds at most one unfinished reply
/// and [`MAX_REPLIES_WAITING`] whole ones.
#[derive(Debug, Default)]
pub(super) struct ReplyParser {
    charset: Charset,
    line: Vec<u8>,
    unfinished: Option<Unfinished>,
    waiting: VecDeque<Reply>,
}

#[derive(Debug)]
struct Unfinished {
    code: u16,
    lines: Vec<String>,
    bytes: usize,
}

impl ReplyParser {
    /// Reads texts in an encoding from here on; UTF-8 before.
    pub(super) fn set_charset(&mut self, charset: Charset) {
        self.charset = charset;
    }

    /// Takes the next bytes. After an error the connection cannot be used any more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), ReplyError> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece.get(..MAX_LINE_BYTES + 2).unwrap_or(piece));
            if self.line.len() > MAX_LINE_BYTES {
                return Err(ReplyError::LongLine);
            }
            if piece.ends_with(b"\n") {
                let mut line = std::mem::take(&mut self.line);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                self.take_line(&line)?;
            }
        }
        Ok(())
    }

    /// The oldest whole reply, if there is one.
    pub(super) fn next_reply(&mut self) -> Option<Reply> {
        self.waiting.pop_front()
    }

    /// Whether every byte that came belongs to a reply that was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.unfinished.is_none() && self.waiting.is_empty()
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), ReplyError> {
        let head = code_and_separator(line);
        let text = |from: usize| self.charset.decode_lossy(line.get(from..).unwrap_or_default()).into_owned();
        let Some(mut reply) = self.unfinished.take() else {
            return match head {
                Some((code, b'-')) => {
                    self.unfinished = Some(Unfinished { code, lines: vec![text(4)], bytes: line.len() });
                    Ok(())
                }
                Some((code, _)) => self.complete(Reply { code, lines: vec![text(4)] }),
                None => Err(ReplyError::NotAReply { shown: shown(line) }),
            };
        };
        reply.bytes += line.len();
        if reply.bytes > MAX_REPLY_BYTES || reply.lines.len() >= MAX_REPLY_LINES {
            return Err(ReplyError::LongReply);
        }
        match head {
            Some((code, b' ')) if code == reply.code => {
                reply.lines.push(text(4));
                self.complete(Reply { code, lines: reply.lines })
            }
            // Pure-FTPd and others repeat the code with a hyphen on the lines in between.
            Some((code, b'-')) if code == reply.code => {
                reply.lines.push(text(4));
                self.unfinished = Some(reply);
                Ok(())
            }
            _ => {
                reply.lines.push(text(0));
                self.unfinished = Some(reply);
                Ok(())
            }
        }
    }

    fn complete(&mut self, reply: Reply) -> Result<(), ReplyError> {
        if self.waiting.len() >= MAX_REPLIES_WAITING {
            return Err(ReplyError::Flood);
        }
        self.waiting.push_back(reply);
        Ok(())
    }
}

/// The code of a line that begins with one, and the byte behind it (a space where the line
/// ends there, as some servers leave it out).
fn code_and_separator(line: &[u8]) -> Option<(u16, u8)> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let code = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let code = code.parse().ok().filter(|code| (100..600).contains(code))?;
    match rest.first() {
        None => Some((code, b' ')),
        Some(&separator @ (b' ' | b'-')) => Some((code, separator)),
        Some(_) => None,
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Vec<(u16, Vec<String>)>, ReplyError> {
        let mut parser = ReplyParser::default();
        parser.feed(bytes)?;
        Ok(std::iter::from_fn(|| parser.next_reply()).map(|r| (r.code, r.lines)).collect())
    }

    fn check(bytes: &str, expected: &[(u16, &[&str])]) {
        let expected: Vec<_> =
            expected.iter().map(|(c, l)| (*c, l.iter().map(ToString::to_string).collect())).collect();
        assert_eq!(parse(bytes.as_bytes()).as_ref(), Ok(&expected), "{bytes:?}");
    }

    #[test]
    fn single_lines_with_either_line_end() {
        check("220 hello\r\n", &[(220, &["hello"])]);
        check("220 hello\n230\r\n", &[(220, &["hello"]), (230, &[""])]);
        check("220 hel", &[]);
    }

    #[test]
    fn multi_line_replies_end_with_their_own_code() {
        check("220-a\r\n b\r\n220-c\r\n230 d\r\n220 e\r\n", &[(220, &["a", " b", "c", "230 d", "e"])]);
        // ProFTPD's XSHA256 and Pure-FTPd's end of an upload.
        check("250-Computing\r\n250 9C52\r\n", &[(250, &["Computing", "9C52"])]);
        check(
            "226-File successfully transferred\r\n226 0.000 seconds\r\n",
            &[(226, &["File successfully transferred", "0.000 seconds"])],
        );
    }

    #[test]
    fn lines_that_are_no_replies_are_refused() {
        for bad in
            ["SSH-2.0-OpenSSH\r\n", "22 x\r\n", "099 x\r\n", "600 x\r\n", "2200 x\r\n", "\r\n", "+1 x\r\n"]
        {
            assert!(matches!(parse(bad.as_bytes()), Err(ReplyError::NotAReply { .. })), "{bad:?}");
        }
    }

    #[test]
    fn every_size_has_a_limit() {
        assert_eq!(parse(&vec![b'2'; MAX_LINE_BYTES + 1]), Err(ReplyError::LongLine));
        let endless = "220-a\r\n".repeat(MAX_REPLY_LINES + 1);
        assert_eq!(parse(endless.as_bytes()), Err(ReplyError::LongReply));
        let wide = format!("220-a\r\n{}", format!("{}\r\n", "x".repeat(16_000)).repeat(5));
        assert_eq!(parse(wide.as_bytes()), Err(ReplyError::LongReply));
        let flood = "200 ok\r\n".repeat(MAX_REPLIES_WAITING + 1);
        assert_eq!(parse(flood.as_bytes()), Err(ReplyError::Flood));
    }

    #[test]
    fn shown_replies_are_one_safe_line() {
        let mut parser = ReplyParser::default();
        parser.feed(b"550-no\x1b[2J\r\n550  really\r\n").unwrap();
        assert_eq!(parser.next_reply().unwrap().to_string(), r"550 no\u{1b}[2J / really");
        parser.feed(format!("550 {}\r\n", "é".repeat(600)).as_bytes()).unwrap();
        let shown = parser.next_reply().unwrap().to_string();
        assert_eq!(shown.chars().count(), 4 + MAX_REPLY_SHOWN + 1);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_panics(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b"220-x\r\n".to_vec()), Just(b"220 y\r\n".to_vec()), Just(b"\r".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..6),
            ], 0..12),
            cut in 0usize..60,
        ) {
            let bytes = bytes.concat();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut parser = ReplyParser::default();
            let pieces = parser.feed(first).and_then(|()| parser.feed(second));
            let pieces = pieces.map(|()| {
                std::iter::from_fn(|| parser.next_reply()).map(|r| (r.code, r.lines)).collect::<Vec<_>>()
            });
            prop_assert_eq!(pieces, parse(&bytes));
        }
    }
}
