//! The merge of a scan and a manifest, without a disk beneath either.

#![allow(clippy::unwrap_used, reason = "what a benchmark cannot set up ends it")]

mod common;

use std::convert::Infallible;

use divan::Bencher;
use divan::counter::ItemsCount;
use nightferry::domain::{Digest, Entry, EntryStatus, FileStat, Found, ProofMethod, RelPath, Twins};
use nightferry::plan::{Action, plan};

fn main() {
    divan::main();
}

/// Every how many files one has changed.
#[derive(Clone, Copy)]
enum Changed {
    None,
    EachHundredth,
    All,
}

impl Changed {
    fn has(self, file: u64) -> bool {
        match self {
            Self::None => false,
            Self::EachHundredth => file.is_multiple_of(100),
            Self::All => true,
        }
    }
}

fn scan(changed: Changed) -> Vec<Found> {
    let of = |file| {
        let stat = common::stat(file);
        let stat = if changed.has(file) { FileStat { size: stat.size + 1, ..stat } } else { stat };
        Found::File { path: common::path(file), stat, observed_at: common::scanned_at(), twins: Twins::NONE }
    };
    (0..common::FILES).map(of).collect()
}

fn manifest() -> Vec<Result<(RelPath, Entry), Infallible>> {
    let of = |file: u64| {
        let stat = common::stat(file);
        let entry = Entry {
            status: EntryStatus::Delivered,
            stat,
            observed_at: common::scanned_at(),
            size: stat.size,
            digest: Digest::of(&file.to_le_bytes()),
            method: ProofMethod::ServerHash,
            modified: stat.mtime.to_ftp(),
            delivered_at: common::scanned_at(),
        };
        Ok((common::path(file), entry))
    };
    (0..common::FILES).map(of).collect()
}

fn planned(bencher: Bencher<'_, '_>, changed: Changed) {
    let expected = (0..common::FILES).filter(|file| changed.has(*file)).count();
    bencher.counter(ItemsCount::new(common::FILES)).with_inputs(|| (scan(changed), manifest())).bench_values(
        |(scan, manifest)| {
            let actions = plan(scan, manifest, |_| true).map(Result::unwrap);
            let sent = actions.filter(|action| matches!(action, Action::Send { .. })).count();
            assert_eq!(sent, expected);
            sent
        },
    );
}

/// 10,000 files, none of which has changed.
#[divan::bench]
fn nothing_of_10_000_changed(bencher: Bencher<'_, '_>) {
    planned(bencher, Changed::None);
}

/// 10,000 files, each hundredth of which has.
#[divan::bench]
fn one_percent_of_10_000_changed(bencher: Bencher<'_, '_>) {
    planned(bencher, Changed::EachHundredth);
}

/// 10,000 files, all of which have.
#[divan::bench]
fn all_of_10_000_changed(bencher: Bencher<'_, '_>) {
    planned(bencher, Changed::All);
}
