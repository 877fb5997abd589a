//! Segments that are sealed, compressed and taken away, and checkpoints.

use std::fs;
use std::process::Command;

use super::super::verify::verify_on;
use super::*;

/// A clock that was set to a day.
#[derive(Debug)]
struct Day(AtomicI64);

impl Day {
    fn set(&self, day: i64) {
        self.0.store(day, Ordering::SeqCst);
    }
}

impl Clock for Day {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + self.0.load(Ordering::SeqCst) * 86_400, 0)
    }

    fn random(&self) -> u64 {
        7
    }
}

fn open_kept(folder: &Path, day: &Arc<Day>, days: u64) -> Opened {
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder)));
    let keeping =
        Keeping { segment_bytes: SMALL_SEGMENT, retain: Duration::from_hours(24 * days), patience: PATIENCE };
    State::open_on(folder, day.clone(), &disk, keeping).unwrap()
}

fn names(folder: &Path, what: &str) -> Vec<String> {
    let found = fs::read_dir(folder.join("ledger")).unwrap();
    let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains(what));
    names.sort();
    names
}

/// Some segments in a folder, over some days.
fn grown(folder: &Path) -> (Arc<Day>, Target, Shown) {
    let (day, target) = (Arc::new(Day(AtomicI64::new(0))), target("a"));
    let state = open_kept(folder, &day, 10_000).state;
    let run = start(&state, &target);
    commit(&state, &target, vec![staging(run, "/in"), Record::Publishing(publishing(run, "doubt", 1))]);
    for number in 0..60 {
        day.set(number);
        let number = u64::try_from(number).unwrap();
        commit(&state, &target, vec![delivered(run, &format!("f{}", number % 20), number)]);
    }
    let shown = show(&state, &target).unwrap();
    state.close().unwrap();
    (day, target, shown)
}

#[test]
fn sealed_segments_are_read_by_zcat_and_hashed_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let _grown = grown(folder.path());
    let sealed = names(folder.path(), ".jsonl.gz");
    assert!(sealed.len() > 5, "{sealed:?}");
    let zcat = Command::new("zcat").args(&sealed).current_dir(folder.path().join("ledger")).output().unwrap();
    assert!(zcat.status.success());
    let text = String::from_utf8(zcat.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let next: serde_json::Value = serde_json::from_str(pair[1]).unwrap();
        assert_eq!(next["prev"], Digest::of(pair[0].as_bytes()).to_string());
    }
    let summary = verify_ledger(folder.path()).unwrap();
    assert_eq!((summary.oldest_segment, summary.segments as usize), (1, sealed.len() + 1));
    assert_eq!(summary.checkpoints as usize, names(folder.path(), "checkpoint").len());
}

#[test]
fn a_lost_manifest_is_rebuilt_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (day, target, shown) = grown(folder.path());
    let checkpoints = names(folder.path(), "checkpoint");
    assert_eq!(checkpoints.len(), 2, "older ones go: {checkpoints:?}");
    let rebuilt = || {
        fs::remove_dir_all(folder.path().join("manifest")).unwrap();
        let opened = open_kept(folder.path(), &day, 10_000);
        assert_eq!(show(&opened.state, &target).unwrap(), shown);
        let run = start(&opened.state, &target);
        opened.state.close().unwrap();
        (run.0, opened.notices)
    };
    let missing = vec!["The manifest was missing. It was rebuilt from the ledger.".to_owned()];
    assert_eq!(rebuilt(), (2, missing.clone()));

    // Without the segments before it, which shows that it is used.
    for old in names(folder.path(), ".jsonl.gz").iter().take(3) {
        fs::remove_file(folder.path().join("ledger").join(old)).unwrap();
    }
    assert_eq!(rebuilt(), (3, missing));
    let error = verify_ledger(folder.path()).unwrap_err();
    assert!(error.to_string().contains("000003.jsonl line 1: the segment is missing"), "{error}");

    // The newest is damaged: said, and the one before takes its place.
    let newest = folder.path().join("ledger").join(&checkpoints[1]);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let (run, notices) = rebuilt();
    assert_eq!(run, 4);
    assert!(notices[0].contains("is damaged. The manifest was rebuilt without it"), "{notices:?}");

    // Both gone: the segments that are left do not hold all of it.
    for name in &checkpoints {
        fs::remove_file(folder.path().join("ledger").join(name)).unwrap();
    }
    fs::remove_dir_all(folder.path().join("manifest")).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_checkpoint_or_segment_is_found_by_verify() {
    let folder = tempfile::tempdir().unwrap();
    let _grown = grown(folder.path());
    let checkpoint = folder.path().join("ledger").join(&names(folder.path(), "checkpoint")[1]);
    let segment = folder.path().join("ledger/000002.jsonl.gz");
    for file in [checkpoint, segment] {
        let whole = fs::read(&file).unwrap();
        for at in (10..whole.len()).step_by(1 + whole.len() / 60) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&file, bytes).unwrap();
            let error = verify_ledger(folder.path()).unwrap_err();
            let found = matches!(error, StateError::Damaged { .. } | StateError::BadCheckpoint { .. });
            assert!(found, "byte {at} of {}: {error}", file.display());
        }
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&file, &whole[..cut]).unwrap();
            assert!(verify_ledger(folder.path()).is_err(), "cut at {cut}");
        }
        fs::write(&file, whole).unwrap();
        verify_ledger(folder.path()).unwrap();
    }
}

#[test]
fn segments_that_are_too_old_go_and_the_rest_still_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let (day, target, shown) = grown(folder.path());
    let before = names(folder.path(), ".jsonl");
    // Kept for thirty days of the sixty.
    let state = open_kept(folder.path(), &day, 30).state;
    assert_eq!(show(&state, &target).unwrap(), shown);
    state.close().unwrap();
    let after = names(folder.path(), ".jsonl");
    let gone = before.len() - after.len();
    assert!(gone > 2 && after.len() > 2 && before.ends_with(&after), "{after:?} of {before:?}");
    let summary = verify_ledger(folder.path()).unwrap();
    assert_eq!(summary.oldest_segment as usize, gone + 1);
    assert!(summary.first_at.unwrap() >= Timestamp::from_unix(1_800_000_000 + 20 * 86_400, 0));
    let mut told = Vec::new();
    read_ledger(folder.path(), &mut |line| {
        if let Record::Expired(expired) = line.record {
            told.push(expired.segment as usize);
        }
    })
    .unwrap();
    assert_eq!(told, [gone]);
    // The manifest comes from the checkpoint alone.
    fs::remove_dir_all(folder.path().join("manifest")).unwrap();
    let state = open_kept(folder.path(), &day, 30).state;
    assert_eq!(show(&state, &target).unwrap(), shown);
    state.close().unwrap();

    // One more taken away by hand is no expiry.
    let oldest = &names(folder.path(), ".jsonl")[0];
    fs::remove_file(folder.path().join("ledger").join(oldest)).unwrap();
    assert!(matches!(verify_ledger(folder.path()), Err(StateError::Damaged { .. })));
}

#[test]
fn a_clock_that_runs_ahead_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let (day, ..) = grown(folder.path());
    let before = names(folder.path(), ".jsonl");
    day.set(20_000);
    open_kept(folder.path(), &day, 100).state.close().unwrap();
    assert_eq!(names(folder.path(), ".jsonl"), before);
}

#[test]
fn a_manifest_far_behind_is_rebuilt_and_one_a_little_behind_completed() {
    let disk = SimDisk::default();
    let (kept, target) = (tempfile::tempdir().unwrap(), target("a"));
    let state = open_sim(kept.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    commit(&state, &target, vec![delivered(run, "early", 1)]);
    state.close().unwrap();
    let early = tempfile::tempdir().unwrap();
    fs::create_dir(early.path().join("manifest")).unwrap();
    for entry in walkdir::WalkDir::new(kept.path().join("manifest")).min_depth(1) {
        let entry = entry.unwrap();
        let to = early.path().join(entry.path().strip_prefix(kept.path()).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    let state = open_sim(kept.path(), &disk).unwrap().state;
    for number in 0..40 {
        commit(&state, &target, vec![delivered(run, &format!("f{number}"), number)]);
    }
    let shown = show(&state, &target).unwrap();
    state.close().unwrap();
    // The manifest alone from yesterday: what it lacks is replayed.
    let opened = open_sim(early.path(), &disk).unwrap();
    assert!(opened.notices.is_empty(), "{:?}", opened.notices);
    assert_eq!(show(&opened.state, &target).unwrap(), shown);
    opened.state.close().unwrap();
    verify_on(&disk, Path::new("ledger")).unwrap();
}

/// The README names what six years take: a million files, and 10,000 that change every night.
/// Here are fewer, and what a record takes is multiplied.
#[test]
fn six_years_stay_within_the_size_that_is_named() {
    const NIGHTS: u64 = 12;
    const CHANGES: u64 = 250;
    const RECORDS_OF_SIX_YEARS: u64 = 2 * (1_000_000 + 6 * 365 * 10_000);
    const NAMED_BYTES: u64 = 12_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let (day, target) = (Arc::new(Day(AtomicI64::new(0))), target("a"));
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&ledger_folder(folder.path())));
    let state = State::open_on(folder.path(), day.clone(), &disk, small(500_000)).unwrap().state;
    for night in 0..NIGHTS {
        day.set(i64::try_from(night).unwrap());
        let run = start(&state, &target);
        for group in 0..CHANGES / 25 {
            let files = || (0..25).map(|at| night * CHANGES + group * 25 + at);
            let path = |file: u64| format!("patients/{:03}/report-{file:07}.pdf", file % 83);
            let intents = files().map(|file| Record::Publishing(publishing(run, &path(file), file)));
            commit(&state, &target, intents.collect());
            commit(&state, &target, files().map(|file| delivered(run, &path(file), file)).collect());
        }
        commit(&state, &target, vec![finished(run, &[])]);
    }
    state.close().unwrap();
    let mut records = 0_u64;
    read_ledger(folder.path(), &mut |_| records += 1).unwrap();
    let size = |name: &String| fs::metadata(folder.path().join("ledger").join(name)).unwrap().len();
    let sealed = names(folder.path(), ".jsonl.gz");
    let open: u64 =
        fs::read_to_string(folder.path().join("ledger").join(&names(folder.path(), ".jsonl")[sealed.len()]))
            .map_or(0, |text| text.lines().count() as u64);
    let each = sealed.iter().map(size).sum::<u64>() / (records - open);
    println!("{each} bytes a sealed record, {records} records in {} segments", sealed.len() + 1);
    assert!(sealed.len() > 5, "{sealed:?}");
    assert!(each * RECORDS_OF_SIX_YEARS < NAMED_BYTES, "{each} bytes a record");
    verify_ledger(folder.path()).unwrap();
}

#[test]
fn a_target_of_which_nothing_is_known_does_not_stand_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (day, a) = (Arc::new(Day(AtomicI64::new(0))), target("a"));
    let state = open_kept(folder.path(), &day, 10_000).state;
    let failed_run = start(&state, &target("b"));
    commit(&state, &target("b"), vec![failed(failed_run), finished(failed_run, &[])]);
    let run = start(&state, &a);
    for number in 0..60 {
        day.set(number);
        let number = u64::try_from(number).unwrap();
        commit(&state, &a, vec![delivered(run, &format!("f{}", number % 20), number)]);
    }
    state.close().unwrap();
    // The ledger is kept for ten days from here on.
    day.set(60);
    open_kept(folder.path(), &day, 10).state.close().unwrap();
    fs::remove_dir_all(folder.path().join("manifest")).unwrap();
    let opened = open_kept(folder.path(), &day, 10);
    opened.state.close().unwrap();
    let opened = open_kept(folder.path(), &day, 10);
    assert_eq!(opened.notices, Vec::<String>::new());
    opened.state.close().unwrap();
}

/// Where the log of a manifest ended when sled last noted it, in bytes.
fn noted_end(folder: &Path) -> u64 {
    let found = fs::read_dir(folder.join("manifest")).unwrap().map(|entry| entry.unwrap().file_name());
    let ends = found.filter_map(|name| u64::from_str_radix(name.to_str()?.strip_prefix("snap.")?, 16).ok());
    ends.max().unwrap_or(0)
}

/// Opening reads the manifest's log from where its end was last noted: after a clean end there is next
/// to nothing, however much was recorded since the state was opened.
#[test]
fn after_a_clean_end_opening_reads_little_of_the_manifests_log() {
    let (folder, target) = (tempfile::tempdir().unwrap(), target("a"));
    let state = reopen(folder.path());
    let run = start(&state, &target);
    for number in 0..6_u64 {
        let names = (0..4_000).map(|file| format!("f{}", file * 6 + number));
        commit(&state, &target, names.map(|name| delivered(run, &name, number)).collect());
    }
    state.close().unwrap();
    let noted = noted_end(folder.path());
    reopen(folder.path()).close().unwrap();
    let read = noted_end(folder.path()) - noted;
    assert!(noted > 1 << 20, "the log is long: {noted}");
    assert!(read < 1 << 20, "{read} bytes of {noted} were read again");
}
