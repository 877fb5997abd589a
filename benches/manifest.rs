//! The manifest: read in order, as each plan does, and file by file.

#![allow(clippy::unwrap_used, reason = "what a benchmark cannot set up ends it")]

mod common;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nightferry::state::{Manifest, State};
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// A manifest of 10,000 delivered files, with what it stands on.
fn filled() -> (Manifest, State, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = common::state(folder.path());
    common::deliver_all(&common::runtime(), &state);
    (state.manifest(common::target().id()).unwrap(), state, folder)
}

/// All 10,000 entries, in the order of their paths.
#[divan::bench]
fn all_of_10_000_entries_read(bencher: Bencher<'_, '_>) {
    let (manifest, _state, _folder) = filled();
    bencher.counter(ItemsCount::new(common::FILES)).bench(|| {
        let bytes: u64 = manifest.entries().map(|entry| entry.unwrap().1.size).sum();
        assert!(bytes > 0);
        bytes
    });
}

/// A hundred of 10,000 entries, each by its path.
#[divan::bench]
fn hundred_of_10_000_entries_got(bencher: Bencher<'_, '_>) {
    let (manifest, _state, _folder) = filled();
    let paths: Vec<_> = (0..common::FILES).step_by(100).map(common::path).collect();
    bencher.counter(ItemsCount::new(paths.len())).bench(|| {
        let got = paths.iter().filter(|path| manifest.get(black_box(path)).unwrap().is_some()).count();
        assert_eq!(got, paths.len());
        got
    });
}

/// A state that was closed in good order, opened: its ledger's end is read, its manifest is not.
#[divan::bench(sample_count = 10)]
fn state_of_10_000_files_opened(bencher: Bencher<'_, '_>) {
    let (manifest, state, folder) = filled();
    drop(manifest);
    state.close().unwrap();
    bencher.bench_local(|| {
        let state = common::state(folder.path());
        let known = state.manifest(common::target().id()).unwrap().get(&common::path(0)).unwrap();
        assert!(known.is_some());
        state.close().unwrap();
    });
}
