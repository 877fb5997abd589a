//! Which sidecars are known to stand beside a file, after each thing that can happen to them.

use super::*;
use crate::domain::{
    DifferenceKind, ProofMethod, Remembered, Removal, Removed, Retired, Sidecar, SidecarChange, SidecarStep,
};

/// What stands beside `a` and what is owed to it, in words.
fn known(state: &State, target: &Target) -> (String, String) {
    let manifest = state.manifest(target.id()).unwrap();
    let beside = manifest.beside(&rel("a")).unwrap().map(|beside| {
        assert_eq!(beside.digest, verified(4).digest());
        let named = beside.sidecars.iter().map(|(sidecar, time)| match time {
            Some(time) => format!("{sidecar} {time}"),
            None => sidecar.to_string(),
        });
        named.collect::<Vec<_>>().join(", ")
    });
    let owed = manifest.owed(&rel("a")).unwrap().map(|owed| {
        assert_eq!(owed.digest, verified(4).digest());
        owed.sidecars.iter().map(|sidecar| sidecar.to_string()).collect::<Vec<_>>().join(", ")
    });
    (beside.unwrap_or_default(), owed.unwrap_or_default())
}

fn both() -> Sidecars {
    Sidecar::ALL.into_iter().collect()
}

fn step(step: SidecarStep) -> Record {
    Record::Sidecar(SidecarChange { run: RunId(1), path: rel("a"), step })
}

fn stands(sidecar: Sidecar, time: Option<&str>) -> Record {
    let modified = time.map(str::to_owned);
    step(SidecarStep::Stands { sidecar, method: ProofMethod::ReadBack, modified })
}

fn differs(sidecar: Sidecar, kind: DifferenceKind) -> Record {
    let digest = verified(4).digest();
    step(SidecarStep::Differs { sidecar, kind, digest, found: "nothing".to_owned() })
}

fn retired(remembered: Remembered) -> Record {
    Record::Retired(Retired { run: RunId(1), path: rel("a"), moved_to: None, remembered })
}

#[test]
fn what_stands_beside_a_file_is_known_until_it_is_taken_away() {
    use DifferenceKind::{Changed, Missing};
    let folder = tempfile::tempdir().unwrap();
    let target = target("a");
    let state = reopen(folder.path());
    let run = start(&state, &target);
    let mut publishing = publishing(run, "a", 4);
    publishing.sidecars = both();
    let begin = vec![
        Record::Delivered(Delivered::from(publishing)),
        stands(Sidecar::Sha256, Some("20260101000000")),
        stands(Sidecar::Done, None),
    ];
    let digest = verified(4).digest();
    let waived = || step(SidecarStep::Waived { cause: "not wanted".to_owned() });
    let sha256 = || [Sidecar::Sha256].into_iter().collect::<Sidecars>();
    let removed = || Record::Removed(Removed { run, path: rel("a"), removal: Removal::Deleted });
    let all = "sha256 20260101000000, done";
    for (then, beside, owed) in [
        (vec![], all, ""),
        (vec![differs(Sidecar::Done, Missing)], all, "done"),
        (vec![differs(Sidecar::Done, Missing), differs(Sidecar::Sha256, Changed)], all, "sha256, done"),
        (
            vec![differs(Sidecar::Done, Missing), stands(Sidecar::Done, Some("2"))],
            "sha256 20260101000000, done 2",
            "",
        ),
        (vec![differs(Sidecar::Done, Missing), waived()], "sha256 20260101000000", ""),
        // It has another time, and is the same.
        (vec![stands(Sidecar::Sha256, Some("3"))], "sha256 3, done", ""),
        (vec![step(SidecarStep::Taken { sidecar: Sidecar::Done })], "sha256 20260101000000", ""),
        (vec![step(SidecarStep::TakingDown { sidecars: sha256(), digest })], "done", "sha256"),
        (vec![step(SidecarStep::TakingDown { sidecars: both(), digest })], "", "sha256, done"),
        (vec![retired(Remembered::AsOurs)], all, ""),
        (vec![retired(Remembered::Nothing)], "", ""),
        (vec![presumed(run, "a", 4)], "", ""),
        (vec![removed()], "", ""),
        (vec![delivered(run, "a", 4)], "", ""),
    ] {
        commit(&state, &target, begin.clone());
        commit(&state, &target, then.clone());
        assert_eq!(known(&state, &target), (beside.to_owned(), owed.to_owned()), "{then:?}");
    }
    // A sidecar that nothing is known of is none.
    commit(&state, &target, vec![removed(), stands(Sidecar::Done, None)]);
    assert_eq!(known(&state, &target), (String::new(), String::new()));
    // So it is when all is read again.
    commit(&state, &target, begin);
    state.close().unwrap();
    std::fs::remove_dir_all(folder.path().join("manifest")).unwrap();
    let state = reopen_with_notices(folder.path());
    assert_eq!(known(&state, &target), (all.to_owned(), String::new()));
}

fn reopen_with_notices(folder: &Path) -> State {
    State::open(folder, clock()).unwrap().state
}
