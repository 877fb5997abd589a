//! What a server says it can do: the reply to `FEAT` (RFC 2389).

use super::reply::Reply;

/// The features that Nightferry makes use of. What a server does not list may still work, and
/// the other way round; this is a first guess.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    names: Vec<String>,
    hash_sha256: HashSupport,
}

/// Whether the server hashes files by SHA-256, and how it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashSupport {
    /// Not at all.
    #[default]
    None,
    /// `HASH` (draft-bryan-ftpext-hash), after `OPTS HASH SHA-256`.
    Hash,
    /// `XSHA256`.
    Xsha256,
}

impl Features {
    /// Reads the reply to `FEAT`. A refusal means that nothing is known.
    pub fn parse(reply: &Reply) -> Self {
        if reply.code() != 211 {
            return Self::default();
        }
        let mut features = Self::default();
        let mut hash = false;
        for line in reply.lines() {
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let name = name.to_ascii_uppercase();
            if name == "HASH" {
                let offered = words.next().unwrap_or_default();
                let mut algorithms = offered.split(';').map(|a| a.trim_end_matches('*'));
                hash = algorithms.any(|algorithm| algorithm.eq_ignore_ascii_case("SHA-256"));
            }
            features.names.push(name);
        }
        features.hash_sha256 = match (hash, features.has("XSHA256")) {
            (true, _) => HashSupport::Hash,
            (false, true) => HashSupport::Xsha256,
            (false, false) => HashSupport::None,
        };
        features
    }

    /// How the server's SHA-256 of a file is asked for.
    pub fn hash(&self) -> HashSupport {
        self.hash_sha256
    }

    /// Whether a feature is listed, by its name in capitals.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// The SHA-256 in the reply to `HASH` or `XSHA256` of `path`, if it holds one and nothing else
/// can be meant.
///
/// `HASH` answers `213 SHA-256 0-13 <digest> path` (draft-bryan-ftpext-hash, section 3.2; ProFTPD
/// 1.3.8), where another algorithm's name means that `OPTS HASH` was ignored, and another first
/// byte that only a part was hashed. `XSHA256` has no standard: `250 <digest>` (ProFTPD 1.3.8, in
/// capitals), also with 213 or 251, with the algorithm's name, and with the path in front or
/// behind. All stands on the last line, or on one of several.
///
/// A path is whatever somebody named a file, and many name it by its digest. So one that may be
/// meant by a word is never taken for the answer: a path is only left out where it is repeated as
/// it was asked for, or stands in quotes, and no other word may look like a digest then.
pub fn sha256_of(reply: &Reply, asked: HashSupport, path: &str) -> Option<[u8; 32]> {
    let found = match (asked, reply.code()) {
        (HashSupport::Hash, 213) => {
            reply.lines().iter().filter_map(|line| in_hash_line(line, path)).collect()
        }
        (HashSupport::Xsha256, 213 | 250 | 251) => {
            reply.lines().iter().filter_map(|line| in_xsha256_line(line, path)).collect()
        }
        _ => Vec::new(),
    };
    match found[..] {
        [digest] => Some(digest),
        _ => None,
    }
}

/// `SHA-256 0-13 <digest> path`, told by its order.
fn in_hash_line(line: &str, path: &str) -> Option<[u8; 32]> {
    let (algorithm, rest) = line.trim_ascii().split_once(' ')?;
    let (range, rest) = rest.trim_ascii_start().split_once(' ')?;
    let rest = rest.trim_ascii();
    let fits = algorithm.eq_ignore_ascii_case("SHA-256") && is_from_the_beginning(range);
    // Without a digest in front of it, the path is none.
    let is_path = path.contains(rest.trim_matches('"'));
    if fits && !is_path { rest.split_ascii_whitespace().next().and_then(digest_of) } else { None }
}

/// `<digest>`, with the algorithm or a path around it.
fn in_xsha256_line(line: &str, path: &str) -> Option<[u8; 32]> {
    let line = without_path(line, path)?;
    let mut digests = line.split_ascii_whitespace().filter_map(digest_of);
    let digest = digests.next()?;
    let mut others = line.split_ascii_whitespace().filter(|word| digest_of(word).is_none());
    let is_algorithm = |word: &str| {
        ["SHA256", "SHA-256", "XSHA256"]
            .iter()
            .any(|name| word.trim_end_matches(':').eq_ignore_ascii_case(name))
    };
    (digests.next().is_none() && others.all(is_algorithm)).then_some(digest)
}

/// A line without the path at one of its ends: as it was asked for, or anything in quotes. `None`
/// where it cannot be told which of the words is the path.
fn without_path<'l>(line: &'l str, path: &str) -> Option<&'l str> {
    let line = line.trim_ascii();
    let quoted = |text: &'l str| text.strip_prefix('"').and_then(|rest| rest.rsplit_once('"'));
    if let Some((_, rest)) = quoted(line) {
        return rest.starts_with(|c: char| c.is_ascii_whitespace()).then_some(rest);
    }
    if let Some((front, _)) = line.strip_suffix('"').and_then(|rest| rest.split_once('"')) {
        return front.ends_with(|c: char| c.is_ascii_whitespace()).then_some(front);
    }
    let in_front = line.strip_prefix(path).filter(|rest| rest.starts_with(' '));
    let behind = line.strip_suffix(path).filter(|rest| rest.ends_with(' '));
    match (in_front, behind) {
        (Some(rest), None) | (None, Some(rest)) => Some(rest),
        // The path may be what looks like a digest here, or the digest what looks like the path.
        (Some(_), Some(_)) => None,
        (None, None)
            if line
                .split_ascii_whitespace()
                .any(|word| path.split(['/', ' ']).any(|name| name == word && digest_of(name).is_some())) =>
        {
            None
        }
        (None, None) => Some(line),
    }
}

/// `0-13`: a range of bytes that begins with the first.
fn is_from_the_beginning(word: &str) -> bool {
    let (from, to) = word.split_once('-').unwrap_or_default();
    from == "0" && !to.is_empty() && to.bytes().all(|byte| byte.is_ascii_digit())
}

/// The bytes of 64 hexadecimal digits.
fn digest_of(word: &str) -> Option<[u8; 32]> {
    let is_digest = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(is_digest.then_some(word)?.as_bytes().chunks_exact(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftps::reply::ReplyParser;

    fn reply(text: &str) -> Reply {
        let mut parser = ReplyParser::default();
        parser.feed(text.as_bytes()).unwrap();
        parser.next_reply().unwrap()
    }

    #[test]
    fn proftpd_hashes_and_vsftpd_does_not() {
        let proftpd = Features::parse(&reply(
            "211-Features:\r\n AUTH TLS\r\n HASH CRC32;MD5;SHA-1*;SHA-256;SHA-512;\r\n MFMT\r\n XSHA256\r\n MLST a*;b;\r\n211 End\r\n",
        ));
        assert_eq!(proftpd.hash(), HashSupport::Hash);
        assert!(proftpd.has("MFMT") && proftpd.has("MLST"));
        let vsftpd = Features::parse(&reply("211-Features:\r\n EPSV\r\n MDTM\r\n211 End\r\n"));
        assert_eq!((vsftpd.hash(), vsftpd.has("MFMT")), (HashSupport::None, false));
        assert_eq!(Features::parse(&reply("502 no\r\n")), Features::default());
    }

    #[test]
    fn hash_without_sha256_is_no_help_but_xsha256_is() {
        let features = Features::parse(&reply("211-\r\n HASH MD5;SHA-1*\r\n XSHA256\r\n211 End\r\n"));
        assert_eq!(features.hash(), HashSupport::Xsha256);
    }

    #[test]
    fn digests_in_the_dialects_of_real_servers() {
        const PATH: &str = "/in/.nf-1 a";
        let digest = "9C52".repeat(16);
        let bytes = Some([0x9c, 0x52].repeat(16).try_into().unwrap());
        let check = |text: String, asked, expected| {
            assert_eq!(sha256_of(&reply(&format!("{text}\r\n")), asked, PATH), expected, "{text}");
        };
        let lower = digest.to_lowercase();
        let hash = HashSupport::Hash;
        for text in [
            format!("213-Computing SHA-256 digest\r\n213 SHA-256 0-13 {digest} {PATH}"),
            format!("213 SHA-256 0-13 {lower} {PATH}"),
            format!("213 sha-256 0-13 {digest} a b"),
            format!("213 SHA-256 0-13 {digest} \"{PATH}\""),
            format!("213 SHA-256 0-13 {digest}"),
            format!("213-\r\n SHA-256 0-13 {digest} {PATH}\r\n213 End"),
        ] {
            check(text, hash, bytes);
        }
        let xsha256 = HashSupport::Xsha256;
        for text in [
            format!("250-Computing SHA256 digest\r\n250 {digest}"),
            format!("250 {lower}"),
            format!("213 {digest}"),
            format!("250 XSHA256 {digest}"),
            format!("250 SHA-256: {digest}"),
            format!("251 \"{PATH}\" {lower}"),
            format!("250 \"/home/user{PATH}\" {digest}"),
            format!("250 \"q\"\"q\" {digest}"),
            format!("251 {PATH} {digest}"),
            format!("250 {digest} {PATH}"),
            format!("250 {digest} \"{PATH}\""),
            format!("250-{digest}\r\n250 End"),
        ] {
            check(text, xsha256, bytes);
        }
        for text in [
            format!("213 SHA-1 0-13 {digest} p/a"),
            "213 SHA-256 0-13 b247 p/a".into(),
            format!("213 SHA-256 1-13 {digest} p/a"),
            format!("213 SHA-256 0- {digest} p/a"),
            format!("213 {digest}"),
            format!("550 {digest}"),
            format!("213 SHA-256 0-13 b247 {digest}"),
            format!("213-SHA-256 0-13 {digest} a\r\n213 SHA-256 0-13 {} b", "0".repeat(64)),
        ] {
            check(text, hash, None);
        }
        for text in [
            format!("250 {}", "zz".repeat(32)),
            format!("250 {}", "+1".repeat(32)),
            format!("250 {digest}0"),
            format!("250 {digest} {}", "0".repeat(64)),
            format!("250 something else {digest}"),
            format!("250 MD5 {digest}"),
            format!("450 {digest}"),
        ] {
            check(text, xsha256, None);
        }
    }

    /// Files that are named by their own digest: a server that only repeats the name proves nothing.
    #[test]
    fn a_path_that_looks_like_a_digest_is_no_digest() {
        let (name, other) = ("ab".repeat(32), "cd".repeat(32));
        let found = |asked, text: String, path: &str| {
            let found = sha256_of(&reply(&format!("{text}\r\n")), asked, path);
            found.map(|bytes| bytes[0])
        };
        let xsha256 = |text: String, path: &str| found(HashSupport::Xsha256, text, path);
        let hash =
            |text: String, path: &str| found(HashSupport::Hash, format!("213 SHA-256 0-9 {text}"), path);
        for path in [name.clone(), format!("/in/{name}"), format!("/in/x {name}"), format!("{name} x")] {
            for only_the_path in [name.clone(), path.clone(), format!("\"{path}\"")] {
                assert_eq!(xsha256(format!("250 {only_the_path}"), &path), None, "{path}");
                assert_eq!(hash(only_the_path, &path), None, "{path}");
            }
            assert_eq!(xsha256(format!("250 {other} {path}"), &path), Some(0xcd), "{path}");
            assert_eq!(xsha256(format!("251 {path} {other}"), &path), Some(0xcd), "{path}");
            assert_eq!(xsha256(format!("251 \"{path}\" {other}"), &path), Some(0xcd), "{path}");
            assert_eq!(xsha256(format!("250 {other}"), &path), Some(0xcd), "{path}");
            assert_eq!(hash(format!("{other} {path}"), &path), Some(0xcd), "{path}");
            assert_eq!(hash(other.clone(), &path), Some(0xcd), "{path}");
        }
        // The path is told in another form than it was asked for in.
        let path = format!("in/x {name}");
        assert_eq!(xsha256(format!("250 /home/u/in/x {name}"), &path), None);
        assert_eq!(xsha256(format!("250 {other} /home/u/in/x {name}"), &path), None);
        assert_eq!(xsha256(format!("250 {name} {name}"), &name), None);
        assert_eq!(xsha256(format!("250-{name}\r\n250 {other}"), &path), Some(0xcd));
    }
}
