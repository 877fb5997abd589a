//! Digests of files, as `HASH` and `XSHA256` give them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// What `HASH` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
        }
    }
}

/// The lower-case hexadecimal digest of a file's content, computed off the runtime's threads.
pub(crate) async fn of_file(algorithm: Algorithm, path: PathBuf) -> io::Result<String> {
    tokio::task::spawn_blocking(move || digest(algorithm, &path)).await.map_err(io::Error::other)?
}

fn digest(algorithm: Algorithm, path: &Path) -> io::Result<String> {
    let mut context = Context::new(match algorithm {
        Algorithm::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => &SHA256,
    });
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        let Some(filled) = chunk.get(..read).filter(|filled| !filled.is_empty()) else {
            return Ok(hex(context.finish()));
        };
        context.update(filled);
    }
}

fn hex(digest: Digest) -> String {
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
