//! The private parsers of what servers say, for those who feed them with anything: fuzz targets and
//! the test that runs their corpora.
//!
//! A hidden module, and no cargo feature: it is a few thin functions over what is there anyway, and
//! so what is fuzzed and tested is what is shipped, in one build. Nobody else calls it.

use super::charset::Charset;
use super::command::Argument;
use super::error::FtpsError;
use super::listing::{Entry, Form, Listed, ListingReader};
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
    super::passive::pasv_address(reply).map(|address| address.port())
}

/// The folder in a reply to `PWD`.
pub fn home(reply: &Reply) -> Option<Argument> {
    super::login::home_of(reply, Charset::UTF_8)
}

/// How a listing is written.
#[derive(Clone, Copy, Debug)]
pub enum Listing {
    /// `MLSD`.
    Facts,
    /// `LIST`, of Unix or of DOS.
    Long,
    /// `NLST` of the folder `in`.
    Names,
}

/// The entries of a listing that comes in these pieces, in an encoding by its name.
pub fn listing<'p>(
    listing: Listing,
    charset: &str,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Result<(Vec<Entry>, Listed), FtpsError> {
    let form = match listing {
        Listing::Facts => Form::Facts,
        Listing::Long => Form::Long,
        Listing::Names => Form::Names { folder: "in".to_owned() },
    };
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes());
    let mut reader = ListingReader::new(form, encoding.map_or(Charset::UTF_8, Charset::new));
    let mut entries = Vec::new();
    for piece in pieces {
        reader.feed(piece, &mut |entry| entries.push(entry))?;
    }
    let listed = reader.finish(&mut |entry| entries.push(entry))?;
    Ok((entries, listed))
}
