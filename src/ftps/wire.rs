//! The private parsers of what servers say, for those who feed them with anything: fuzz targets and
//! the test that runs their corpora.
//!
//! A hidden module, and no cargo feature: it is a few thin functions over what is there anyway, and
//! so what is fuzzed and tested is what is shipped, in one build. Nobody else calls it.

use super::command::Argument;
use super::reply::{Reply, ReplyError, ReplyParser};

/// The whole replies in bytes that come in these pieces.
pub fn replies<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<Reply>, ReplyError> {
    let mut parser = ReplyParser::default();
    for piece in pieces {
        parser.feed(piece)?;
    }
    Ok(std::iter::from_fn(|| parser.next_reply()).collect())
}

/// The port in a reply to `EPSV`.
pub fn epsv_port(reply: &Reply) -> Option<u16> {
    super::passive::epsv_port(reply)
}

/// The port in a reply to `PASV`.
pub fn pasv_port(reply: &Reply) -> Option<u16> {
    super::passive::pasv_port(reply)
}

/// The folder in a reply to `PWD`.
pub fn home(reply: &Reply) -> Option<Argument> {
    super::login::home_of(reply)
}
