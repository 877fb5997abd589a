//! The ledger: how long a commit takes until it is durable, and how fast the chain is verified. The
//! disk is that of the temporary folder (`TMPDIR`), and its sync is most of a commit.

#![allow(clippy::unwrap_used, reason = "what a benchmark cannot set up ends it")]

mod common;

use divan::Bencher;
use divan::counter::ItemsCount;
use nightferry::state::verify_ledger;

fn main() {
    divan::main();
}

fn commits(bencher: Bencher<'_, '_>, files: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, state) = (common::runtime(), common::state(folder.path()));
    let run = common::begin(&runtime, &state);
    let target = common::target().id();
    // Each commit must be of other files than the last one: one that is delivered has no intent.
    let mut next = 0;
    bencher
        .counter(ItemsCount::new(files * 2))
        .with_inputs(|| {
            next += files;
            common::delivery(run, next - files..next)
        })
        .bench_local_values(|groups| {
            for records in groups {
                runtime.block_on(state.commit(target, records)).unwrap();
            }
        });
    state.close().unwrap();
}

/// The two commits of one file: its intent, and that it is delivered.
#[divan::bench]
fn one_file_committed(bencher: Bencher<'_, '_>) {
    commits(bencher, 1);
}

/// The two commits of 64 files, whose records go in two groups.
#[divan::bench]
fn group_of_64_files_committed(bencher: Bencher<'_, '_>) {
    commits(bencher, common::GROUP);
}

/// A ledger of 20,000 records: the chain of hashes, and what each line says.
#[divan::bench(sample_count = 10)]
fn chain_of_10_000_files_verified(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let state = common::state(folder.path());
    common::deliver_all(&common::runtime(), &state);
    state.close().unwrap();
    bencher.counter(ItemsCount::new(common::FILES * 2)).bench(|| {
        let ledger = verify_ledger(folder.path()).unwrap();
        assert!(ledger.records > common::FILES * 2);
        ledger
    });
}
