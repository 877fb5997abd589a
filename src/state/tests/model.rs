//! The manifest against a model of it, and against the one that the ledger gives back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proptest::prelude::*;

use super::*;

/// Something to do in one of two targets.
#[derive(Clone, Debug)]
enum Step {
    Commit(usize, Vec<Kind>),
    NewRun(usize),
    Reopen,
}

#[derive(Clone, Debug)]
enum Kind {
    Staging(u8),
    Large(u8, u8, u64),
    Publishing(u8, u64),
    Delivered(u8, u64),
    Presumed(u8, u64),
    Confirmed(u8, u64),
    Withdrawn(u8),
    Failed,
    Finished(Vec<u8>),
}

fn path(number: u8) -> String {
    ["a", "a/b", "a/b c", "a-b", "ü"][usize::from(number % 5)].to_owned()
}

fn folder(number: u8) -> &'static str {
    ["/in", "/in/a", "."][usize::from(number % 3)]
}

impl Kind {
    fn record(&self, run: RunId) -> Record {
        match self {
            Self::Staging(at) => staging(run, folder(*at)),
            Self::Large(at, path_at, version) => staging_of(run, folder(*at), &path(*path_at), *version),
            Self::Publishing(at, version) => Record::Publishing(publishing(run, &path(*at), *version)),
            Self::Delivered(at, version) => delivered(run, &path(*at), *version),
            Self::Presumed(at, version) => presumed(run, &path(*at), *version),
            Self::Confirmed(at, version) => confirmed(run, &path(*at), *version),
            Self::Withdrawn(at) => withdrawn(run, &path(*at)),
            Self::Failed => failed(run),
            Self::Finished(left) => finished(run, &left.iter().map(|at| folder(*at)).collect::<Vec<_>>()),
        }
    }
}

/// What a manifest should show, kept in the plainest way; times of delivery are not followed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    entries: BTreeMap<RelPath, (EntryStatus, u64, u64)>,
    intents: BTreeSet<RelPath>,
    staged: BTreeSet<RemotePath>,
    partials: BTreeMap<RelPath, StagedFile>,
}

impl Model {
    fn add(&mut self, kind: &Kind) {
        match kind {
            Kind::Staging(at) => drop(self.staged.insert(remote(folder(*at)))),
            Kind::Large(at, path_at, version) => {
                self.staged.insert(remote(folder(*at)));
                let file = staged_file(folder(*at), &path(*path_at), *version);
                self.partials.insert(file.path.clone(), file);
            }
            Kind::Publishing(at, _) => {
                self.intents.insert(rel(&path(*at)));
                self.partials.remove(&rel(&path(*at)));
            }
            Kind::Delivered(at, version) | Kind::Presumed(at, version) => {
                let presumed = matches!(kind, Kind::Presumed(..));
                let status = if presumed { EntryStatus::Presumed } else { EntryStatus::Delivered };
                self.entries.insert(rel(&path(*at)), (status, *version, *version));
                self.close(*at);
            }
            Kind::Confirmed(at, version) => {
                self.partials.remove(&rel(&path(*at)));
                if let Some(entry) = self.entries.get_mut(&rel(&path(*at))) {
                    entry.2 = *version;
                }
            }
            Kind::Withdrawn(at) => self.close(*at),
            Kind::Failed => {}
            Kind::Finished(left) => {
                self.staged = left.iter().map(|at| remote(folder(*at))).collect();
                self.partials.retain(|_, file| self.staged.contains(&file.temporary.folder().unwrap()));
            }
        }
    }

    fn close(&mut self, at: u8) {
        self.intents.remove(&rel(&path(at)));
        self.partials.remove(&rel(&path(at)));
    }

    fn of((entries, intents, staged, partials): Shown) -> Self {
        let entries = entries.into_iter().map(|(path, e)| (path, (e.status, e.size, e.stat.size)));
        Self {
            entries: entries.collect(),
            intents: intents.into_iter().map(|intent| intent.path).collect(),
            staged: staged.into_iter().collect(),
            partials: partials.into_iter().map(|file| (file.path.clone(), file)).collect(),
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    let at = || 0..5_u8;
    prop_oneof![
        at().prop_map(Kind::Staging),
        (at(), at(), 0..9_u64).prop_map(|(at, path, version)| Kind::Large(at, path, version)),
        (at(), 0..9_u64).prop_map(|(at, version)| Kind::Publishing(at, version)),
        (at(), 0..9_u64).prop_map(|(at, version)| Kind::Delivered(at, version)),
        (at(), 0..9_u64).prop_map(|(at, version)| Kind::Presumed(at, version)),
        (at(), 0..9_u64).prop_map(|(at, version)| Kind::Confirmed(at, version)),
        at().prop_map(Kind::Withdrawn),
        Just(Kind::Failed),
        proptest::collection::vec(at(), 0..3).prop_map(Kind::Finished),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2_usize, proptest::collection::vec(kinds(), 1..6)).prop_map(|(at, kinds)| Step::Commit(at, kinds)),
        1 => (0..2_usize).prop_map(Step::NewRun),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..12)
}

fn play(folder: &Path, steps: &[Step]) -> Result<(), TestCaseError> {
    const SEGMENT: u64 = 3_000;
    let open = || {
        let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
        State::open_on(folder, clock(), &disk, small(SEGMENT)).unwrap()
    };
    let targets = [target("a"), target("b")];
    let mut state = open().state;
    let mut runs = [0, 1].map(|at| start(&state, &targets[at]));
    let mut models = [Model::default(), Model::default()];
    for step in steps {
        match step {
            Step::NewRun(at) => runs[*at] = start(&state, &targets[*at]),
            Step::Reopen => {
                drop(state);
                state = open().state;
            }
            Step::Commit(at, kinds) => {
                for kind in kinds {
                    models[*at].add(kind);
                }
                let records = kinds.iter().map(|kind| kind.record(runs[*at])).collect();
                commit(&state, &targets[*at], records);
            }
        }
    }
    let kept = [0, 1].map(|at| show(&state, &targets[at]).unwrap());
    state.close().unwrap();
    fs::remove_dir_all(folder.join("manifest")).unwrap();
    let opened = open();
    prop_assert_eq!(opened.notices.len(), 1);
    for at in 0..2 {
        prop_assert_eq!(&show(&opened.state, &targets[at]).unwrap(), &kept[at]);
        prop_assert_eq!(&Model::of(kept[at].clone()), &models[at]);
    }
    let next = start(&opened.state, &targets[0]);
    prop_assert_eq!(next.0, runs.iter().map(|run| run.0).max().unwrap() + 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_rebuilt_manifest_equals_the_one_that_was_kept(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        play(folder.path(), &steps)?;
    }
}
