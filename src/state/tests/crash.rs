//! Power cuts, full disks, failing syncs, killed processes, and many callers at once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::super::ledger::{Form, list};
use super::sim::{SimDisk, Trouble};
use super::*;

/// Commits on a disk with a trouble, cuts the power, and counts what is left.
fn left_after_power_cut(trouble: &Trouble) -> Result<usize, StateError> {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = SimDisk::default();
    let state = open_sim(before.path(), &disk).unwrap().state;
    disk.trouble(trouble.clone());
    let target = target("a");
    let run = start(&state, &target);
    for number in 0..20 {
        commit(&state, &target, vec![delivered(run, &format!("f{number}"), number)]);
    }
    let cut = disk.after_power_cut();
    cut.trouble(Trouble::None);
    drop(state);
    // The manifest is lost in the cut as well.
    let state = open_sim(after.path(), &cut)?.state;
    Ok(show(&state, &target)?.0.len())
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    assert_eq!(left_after_power_cut(&Trouble::None).unwrap(), 20);
}

#[test]
fn the_power_cut_test_sees_a_missing_sync() {
    assert_ne!(left_after_power_cut(&Trouble::SyncLies).ok(), Some(20));
}

#[test]
fn a_failed_write_is_not_acknowledged_and_stops_the_writer() {
    for trouble in [Trouble::DiskFull, Trouble::SyncFails] {
        let folder = tempfile::tempdir().unwrap();
        let (disk, target) = (SimDisk::default(), target("a"));
        let state = open_sim(folder.path(), &disk).unwrap().state;
        let run = start(&state, &target);
        commit(&state, &target, vec![delivered(run, "kept", 1)]);
        disk.trouble(trouble.clone());
        let error = block_on(state.commit(target.id(), vec![delivered(run, "lost", 1)])).unwrap_err();
        assert!(
            matches!(error, StateError::Io { .. } | StateError::NoRoom { .. } | StateError::DiskFails { .. }),
            "{error}"
        );
        disk.trouble(Trouble::None);
        let error = block_on(state.commit(target.id(), vec![failed(run)])).unwrap_err();
        assert!(matches!(error, StateError::Stopped), "{error}");
        assert!(state.close().is_err());

        let opened = open_sim(folder.path(), &disk).unwrap();
        assert!(opened.notices.is_empty(), "{:?}", opened.notices);
        let manifest = opened.state.manifest(target.id()).unwrap();
        assert!(manifest.get(&rel("kept")).unwrap().is_some());
        assert_eq!(manifest.get(&rel("lost")).unwrap(), None, "{trouble:?}");
        commit(&opened.state, &target, vec![delivered(run, "later", 1)]);
    }
}

#[test]
fn segments_are_sealed_and_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, target) = (SimDisk::default(), target("a"));
    let state = open_sim(folder.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    for number in 0..40 {
        commit(&state, &target, vec![delivered(run, &format!("f{number:02}"), number)]);
    }
    let shown = show(&state, &target).unwrap();
    drop(state);
    let segments = list(&disk).unwrap();
    assert!(segments.len() > 5, "{segments:?}");
    let compressed = segments.iter().filter(|file| file.form == Form::Compressed).count();
    assert_eq!(compressed, segments.len() - 1);

    let opened = open_sim(folder.path(), &disk).unwrap();
    assert!(opened.notices.is_empty(), "{:?}", opened.notices);
    drop(opened);
    let fresh = tempfile::tempdir().unwrap();
    let opened = open_sim(fresh.path(), &disk).unwrap();
    assert_eq!(opened.notices, ["The manifest was missing. It was rebuilt from the ledger."]);
    assert_eq!(show(&opened.state, &target).unwrap(), shown);
    drop(opened);

    disk.remove("000003.jsonl.gz").unwrap();
    let error = open_sim(fresh.path(), &disk).unwrap_err();
    let StateError::Damaged { file, .. } = &error else { panic!("{error}") };
    assert!(file.ends_with("000003.jsonl"), "{error}");
}

#[test]
fn many_callers_share_syncs_and_make_one_chain() {
    const TASKS: u64 = 64;
    const EACH: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let (disk, target) = (SimDisk::default(), target("a"));
    let state = open_sim(folder.path(), &disk).unwrap().state;
    let run = start(&state, &target);
    let before = disk.syncs();
    block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (state, id) = (state.clone(), target.id());
            tasks.spawn(async move {
                for number in 0..EACH {
                    let record = delivered(run, &format!("{task}/{number}"), number);
                    state.commit(id, vec![record]).await.unwrap();
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    let syncs = disk.syncs() - before;
    assert!(syncs < TASKS * EACH / 2, "{syncs} syncs");
    let cut = disk.after_power_cut();
    drop(state);
    let fresh = tempfile::tempdir().unwrap();
    let state = open_sim(fresh.path(), &cut).unwrap().state;
    assert_eq!(show(&state, &target).unwrap().0.len(), usize::try_from(TASKS * EACH).unwrap());
}

const CHILD_FOLDER: &str = "NIGHTFERRY_TEST_STATE_FOLDER";

/// Not a test by itself: the process that [`a_killed_process_loses_nothing_acknowledged`] kills.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let state = open_at(Path::new(&folder)).state;
    let target = target("a");
    let run = start(&state, &target);
    for number in 0.. {
        commit(&state, &target, vec![delivered(run, &format!("{run}/{number}"), 1)]);
        println!("kept {run}/{number}");
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let target = target("a");
    let mut kept = Vec::new();
    for round in 1..=4_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::crash::child_that_commits_until_it_is_killed", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.by_ref().filter_map(|line| Some(line.strip_prefix("kept ")?.to_owned()));
        kept.extend(told.take(50 * round));
        child.kill().unwrap();
        // What it said before it died.
        kept.extend(lines.filter_map(|line| Some(line.strip_prefix("kept ")?.to_owned())));
        child.wait().unwrap();

        let summary = verify_ledger(folder.path()).unwrap();
        assert!(usize::try_from(summary.records).unwrap() > kept.len());
        let opened = open_at(folder.path());
        let manifest = opened.state.manifest(target.id()).unwrap();
        for path in &kept {
            assert!(manifest.get(&rel(path)).unwrap().is_some(), "{path} in round {round}");
        }
    }
    assert!(kept.len() >= 500);
    assert!(fs::metadata(folder.path().join("ledger/000001.jsonl")).is_ok());
}
