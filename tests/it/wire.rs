//! What must hold of the parsers of servers' words, whatever comes: one function for each fuzz
//! target (`fuzz/`), which calls it with anything, as the test here does with every file of the
//! target's corpus.

use nightferry::domain::Digest;
use nightferry::ftps::limits::{MAX_REPLY_LINES, MAX_REPLY_SHOWN};
use nightferry::ftps::{Features, HashSupport, Reply, sha256_of, wire};

/// A target, by its name below `fuzz/corpus`.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets, each with a binary in `fuzz/Cargo.toml`.
pub(crate) const TARGETS: [Target; 6] = [
    ("replies", replies),
    ("ports", ports),
    ("features", features),
    ("listings", listings),
    ("digests", digests),
    ("home", home),
];

/// Bytes of a control connection; the first tells in pieces of how many bytes the rest comes, which
/// must not matter.
pub(crate) fn replies(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    let whole = wire::replies([bytes]);
    assert_eq!(whole, wire::replies(bytes.chunks(usize::from(size.max(1)))), "pieces matter");
    for reply in whole.unwrap_or_default() {
        assert!((100..600).contains(&reply.code()));
        assert!((1..=MAX_REPLY_LINES).contains(&reply.lines().len()));
        let shown = reply.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.chars().count() <= "000 …".len() + MAX_REPLY_SHOWN);
    }
}

/// The text of replies to `EPSV` and `PASV`.
pub(crate) fn ports(data: &[u8]) {
    for code in ["229", "227", "200"] {
        let Some(reply) = reply(&[code.as_bytes(), b" ", data, b"\r\n"]) else { continue };
        let (epsv, pasv) = (wire::epsv_port(&reply), wire::pasv_port(&reply));
        assert!(epsv.or(pasv).is_none_or(|port| port >= 1024), "{reply:?}");
        assert!((epsv.is_none() || code == "229") && (pasv.is_none() || code == "227"), "{reply:?}");
        assert!(epsv.is_none_or(|port| reply.last_line().contains(&port.to_string())), "{reply:?}");
    }
}

/// The lines between the first and the last one of a reply to `FEAT`.
pub(crate) fn features(data: &[u8]) {
    let Some(reply) = reply(&[b"211-Features:\r\n", data, b"\r\n211 End\r\n"]) else { return };
    let features = Features::parse(&reply);
    match features.hash() {
        HashSupport::None => {}
        HashSupport::Hash => {
            assert!(features.has("HASH"));
            let told = |line: &String| line.to_ascii_uppercase().contains("SHA-256");
            assert!(reply.lines().iter().any(told), "{reply:?}");
        }
        HashSupport::Xsha256 => assert!(features.has("XSHA256")),
    }
}

/// The bytes of a listing by `MLSD`, `LIST` or `NLST`; the first tells in pieces of how many bytes
/// the rest comes, which must not matter.
pub(crate) fn listings(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    for form in [wire::Listing::Facts, wire::Listing::Long, wire::Listing::Names] {
        for charset in ["utf-8", "windows-1252", "gbk"] {
            let whole = wire::listing(form, charset, [bytes]).ok();
            let pieces = wire::listing(form, charset, bytes.chunks(usize::from(size.max(1)))).ok();
            assert_eq!(whole, pieces, "pieces matter");
            let Some((entries, listed)) = whole else { continue };
            assert_eq!(entries.len() as u64, listed.entries);
            for name in entries.iter().map(|entry| entry.name.as_str()) {
                assert!(!matches!(name, "" | "." | ".."), "{name:?}");
                let bad = |c: char| matches!(c, '/' | '\\') || c.is_ascii_control();
                assert!(!name.contains(bad), "{name:?}");
                let made_up = !bytes.windows(name.len()).any(|bytes| bytes == name.as_bytes());
                assert!(charset != "utf-8" || !made_up, "{name:?} was made up");
            }
        }
    }
}

/// The text of replies to `HASH` and `XSHA256`.
pub(crate) fn digests(data: &[u8]) {
    for (code, asked) in
        [("213", HashSupport::Hash), ("250", HashSupport::Xsha256), ("250", HashSupport::Hash)]
    {
        let Some(reply) = reply(&[code.as_bytes(), b" ", data, b"\r\n"]) else { continue };
        let Some(digest) = sha256_of(&reply, asked, "p/a") else { continue };
        let hex = Digest::from_bytes(digest).to_string();
        let line = reply.last_line().to_ascii_lowercase();
        assert!(line.split_ascii_whitespace().any(|word| word == hex), "{hex} in {reply:?}");
        assert!(asked == HashSupport::Xsha256 || line.trim_start().starts_with("sha-256"), "{reply:?}");
        assert_ne!((code, asked), ("250", HashSupport::Hash));
    }
}

/// The text of a reply to `PWD`.
pub(crate) fn home(data: &[u8]) {
    let Some(reply) = reply(&[b"257 ", data, b"\r\n"]) else { return };
    if let Some(folder) = wire::home(&reply) {
        let folder = folder.as_str();
        assert!(!folder.is_empty() && folder.len() <= 4096);
        assert!(!folder.contains(|c: char| c.is_ascii_control()), "{folder:?}");
    }
}

/// The first of the replies in these bytes.
fn reply(parts: &[&[u8]]) -> Option<Reply> {
    wire::replies([parts.concat().as_slice()]).ok()?.into_iter().next()
}

/// Every file of every corpus, and each of them cut short.
#[test]
fn the_fuzz_corpora_hold() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, check) in TARGETS {
        let files = std::fs::read_dir(corpus.join(name)).unwrap();
        let mut count = 0;
        for file in files.map(|file| file.unwrap().path()) {
            println!("{}", file.display());
            let bytes = std::fs::read(&file).unwrap();
            let step = (bytes.len() / 64).max(1);
            (0..bytes.len()).step_by(step).for_each(|end| check(&bytes[..end]));
            check(&bytes);
            count += 1;
        }
        assert!(count >= 5, "the corpus of {name} has {count} files");
    }
}
