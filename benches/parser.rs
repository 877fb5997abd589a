//! What servers say, parsed: replies as a run over a fast line gets them, and the listing of a large
//! folder.

#![allow(clippy::unwrap_used, reason = "what a benchmark cannot set up ends it")]

mod common;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use nightferry::ftps::wire::{Listing, listing, replies};

/// Bytes that are read at once off a control connection.
const REPLY_PIECE: usize = 1024;
/// And off a data connection.
const LISTING_PIECE: usize = 256 * 1024;

fn main() {
    divan::main();
}

/// The replies to what is asked about one file: proof, rename and the look behind it.
fn of_a_file(file: u64) -> String {
    let size = common::stat(file).size;
    format!(
        "213 Modify=20261101000000; {file}\r\n213 20261101000000\r\n213 {size}\r\n550 {file}: No such file\r\n\
         229 Entering Extended Passive Mode (|||{}|)\r\n350 RNFR accepted - file exists, ready for destination\r\n\
         250 File successfully renamed or moved\r\n550 {file}: No such file\r\n213 {size}\r\n\
         150-Accepted data connection\r\n150 The computer is your friend. Trust the computer\r\n\
         226-File successfully transferred\r\n226 0.001 seconds (measured here), 4.00 Mbytes per second\r\n",
        30_000 + file % 10_000
    )
}

/// 110,000 replies in 130,000 lines: those of 10,000 files.
#[divan::bench]
fn replies_of_10_000_files(bencher: Bencher<'_, '_>) {
    let files: Vec<String> = (0..common::FILES).map(of_a_file).collect();
    let bytes: usize = files.iter().map(String::len).sum();
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        // Of each file by itself: no more replies than these wait at once.
        let parsed =
            files.iter().map(|file| replies(black_box(file).as_bytes().chunks(REPLY_PIECE)).unwrap());
        parsed
            .map(|replies| replies.iter().map(|reply| usize::from(reply.code())).sum::<usize>())
            .sum::<usize>()
    });
}

fn listed(bencher: Bencher<'_, '_>, form: Listing, line: impl Fn(u64) -> String) {
    let text: String = (0..common::FILES).map(line).collect();
    bencher.counter(ItemsCount::new(common::FILES)).bench(|| {
        let (entries, _) = listing(form, "utf-8", black_box(&text).as_bytes().chunks(LISTING_PIECE)).unwrap();
        assert_eq!(entries.len() as u64, common::FILES);
        entries
    });
}

/// A folder of 10,000 files, listed by `MLSD`.
#[divan::bench]
fn mlsd_of_10_000_entries(bencher: Bencher<'_, '_>) {
    listed(bencher, Listing::Facts, |file| {
        let size = common::stat(file).size;
        format!(
            "modify=20261101000000;perm=adfrw;size={size};type=file;unique=801U{file:X};UNIX.mode=0644; \
             report-{file:07}.pdf\r\n"
        )
    });
}

/// The same, listed by `LIST` as Unix does it.
#[divan::bench]
fn list_of_10_000_entries(bencher: Bencher<'_, '_>) {
    listed(bencher, Listing::Long, |file| {
        let size = common::stat(file).size;
        format!("-rw-r--r--   1 ftp      ftp      {size:>12} Nov 01 00:00 report-{file:07}.pdf\r\n")
    });
}
