//! A state of a thousand records with harm done to any one of its files, at any place: it is
//! refused with a remedy, or all that was acknowledged is there, or it is said what is not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::formats::{bytes_of, put_down};
use super::*;

const RECORDS: u64 = 1_000;
/// So that there are some sealed segments and checkpoints.
const SEGMENT: u64 = 100_000;
/// Harms where nothing else is said: they take some seconds.
const CASES: u32 = 48;

fn open_harmed(folder: &Path) -> Result<Opened, StateError> {
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
    State::open_on(folder, clock(), &disk, small(SEGMENT))
}

/// The state's files, what its manifest shows, and the lines of its ledger.
struct Sound {
    files: BTreeMap<PathBuf, Vec<u8>>,
    shown: Shown,
    lines: Vec<String>,
}

fn lines_of(folder: &Path) -> Result<Vec<String>, StateError> {
    let mut lines = Vec::new();
    read_ledger(folder, &mut |line| lines.push(line.text.to_owned())).map(|()| lines)
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let state = open_harmed(folder.path()).unwrap().state;
        let run = start(&state, &target("a"));
        for number in 0..RECORDS {
            commit(&state, &target("a"), vec![delivered(run, &format!("f{:03}", number % 400), number)]);
        }
        let shown = show(&state, &target("a")).unwrap();
        state.close().unwrap();
        let lines = lines_of(folder.path()).unwrap();
        Sound { files: bytes_of(folder.path()), shown, lines }
    })
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index, u8),
    Cut(Index),
    Gone,
}

impl Harm {
    fn apply(&self, files: &mut BTreeMap<PathBuf, Vec<u8>>, path: &PathBuf) {
        let bytes = files.get_mut(path).unwrap();
        // sled's file is mostly zeros at its end.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        match self {
            Self::Flip(at, bit) if used > 0 => bytes[at.index(used)] ^= 1 << bit,
            Self::Flip(..) => {}
            Self::Cut(at) => bytes.truncate(at.index(used.max(1))),
            Self::Gone => drop(files.remove(path)),
        }
    }
}

/// What else is so.
#[derive(Clone, Copy, Debug)]
enum Besides {
    Nothing,
    NoManifest,
}

fn harms() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        3 => any::<Index>().prop_map(Harm::Cut),
        1 => Just(Harm::Gone),
    ]
}

fn play(which: Index, harm: &Harm, besides: Besides) -> Result<(), TestCaseError> {
    let Sound { files, shown, lines } = sound();
    let mut files = files.clone();
    let path = which.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
    harm.apply(&mut files, &path);
    if let Besides::NoManifest = besides {
        files.retain(|path, _| path.starts_with("ledger"));
    }
    let folder = put_down(&files);
    let about = format!("{} {harm:?} {besides:?}", path.display());

    // Whoever reads the ledger reads what was written, up to a place that is named.
    let torn = match verify_ledger(folder.path()) {
        Ok(_) => {
            let read = lines_of(folder.path()).unwrap();
            prop_assert!(lines.starts_with(&read), "{}: other lines", about);
            // Cut between two lines, the ledger alone does not tell; its manifest does.
            read.len() < lines.len()
        }
        Err(_) => false,
    };
    match open_harmed(folder.path()) {
        Err(error) => {
            let words = error.to_string();
            prop_assert!(words.contains("backup") || words.contains("move"), "{}: {}", about, words);
            let left = bytes_of(folder.path());
            let ledger = |files: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<_, _> {
                files.clone().into_iter().filter(|(path, _)| path.starts_with("ledger")).collect()
            };
            prop_assert_eq!(ledger(&left), ledger(&files), "{}: a refused ledger was changed", about);
        }
        Ok(opened) => {
            let mut state = opened.state;
            let first = show(&state, &target("a"));
            if first.is_err() {
                // The first to read finds it, and the next opening mends it.
                drop(state);
                state = open_harmed(folder.path()).unwrap().state;
            }
            let now = first.or_else(|_| show(&state, &target("a"))).unwrap();
            let said = torn && matches!(besides, Besides::NoManifest);
            prop_assert!(now == *shown || said, "{}: wrong rows, {:?}", about, opened.notices);
        }
    }
    Ok(())
}

fn config() -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if given { default.cases } else { CASES }, max_shrink_iters: 60, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn harm_at_any_place_loses_nothing_in_silence(
        which in any::<Index>(),
        harm in harms(),
        besides in prop_oneof![Just(Besides::Nothing), Just(Besides::NoManifest)],
    ) {
        play(which, &harm, besides)?;
    }
}
