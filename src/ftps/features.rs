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

/// The SHA-256 in the reply to `HASH` or `XSHA256`, if it holds one.
///
/// `HASH` answers `213 SHA-256 0-13 <digest> path` (the draft's order; ProFTPD 1.3.8), where
/// another algorithm's name means that `OPTS HASH` was ignored. `XSHA256` answers `250
/// <digest>`, in capitals on ProFTPD. The path behind the digest is not looked at, since it
/// may hold anything.
pub fn sha256_of(reply: &Reply, asked: HashSupport) -> Option<[u8; 32]> {
    let line = reply.last_line();
    let digest = match (asked, reply.code()) {
        (HashSupport::Hash, 213) => {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|algorithm| algorithm.eq_ignore_ascii_case("SHA-256"))?;
            words.find(|word| word.len() == 64)?
        }
        (HashSupport::Xsha256, 250 | 213) => line.split_ascii_whitespace().find(|word| word.len() == 64)?,
        _ => return None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digest.as_bytes().chunks_exact(2)) {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
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
        let digest = "9C52".repeat(16);
        let bytes = Some([0x9c, 0x52].repeat(16).try_into().unwrap());
        let check =
            |text: String, asked, expected| assert_eq!(sha256_of(&reply(&text), asked), expected, "{text}");
        let hash = HashSupport::Hash;
        check(format!("213-Computing SHA-256 digest\r\n213 SHA-256 0-13 {digest} p/a\r\n"), hash, bytes);
        check(format!("213 SHA-256 0-13 {} a b\r\n", digest.to_lowercase()), hash, bytes);
        check(format!("250-Computing SHA256 digest\r\n250 {digest}\r\n"), HashSupport::Xsha256, bytes);
        // Another algorithm, another length, a refusal, no hexadecimal digits.
        check(format!("213 SHA-1 0-13 {digest} p/a\r\n"), hash, None);
        check("213 SHA-256 0-13 b247 p/a\r\n".into(), hash, None);
        check(format!("550 {digest}\r\n"), hash, None);
        check(format!("250 {}\r\n", "zz".repeat(32)), HashSupport::Xsha256, None);
        check(format!("250 {}\r\n", "+1".repeat(32)), HashSupport::Xsha256, None);
    }
}
