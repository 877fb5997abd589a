//! A sign of life, as healthchecks.io and what resembles it take it: `/start`, the address itself for
//! success, `/fail`, and `/log` for what changes nothing.

use super::error::NotTold;
use super::http::post;
use crate::domain::{FileNames, Ping};
use crate::observe::{News, Turn};

pub(super) fn send(ping: &Ping, news: &News, host: &str, names: FileNames) -> Result<(), NotTold> {
    let address = match news.turn {
        Turn::Began => ping.url.with("/start"),
        Turn::EndedWell | Turn::WellAgain => ping.url.expose().to_owned(),
        Turn::EndedBadly | Turn::Broke => ping.url.with("/fail"),
        Turn::Test => ping.url.with("/log"),
    };
    let headers = [("Content-Type", "text/plain; charset=utf-8")];
    post(&ping.url, &address, &headers, &news.text(host, names), ping.ca_file.as_deref())
}
