//! The process dies at every step, and again at every step of the run after that.

use super::*;

/// More steps than any run takes.
const MOST_STEPS: u32 = 100;

/// What happens to the server's files between the crash and the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// Somebody cleans temporary files up.
    TemporaryDeleted,
    /// A failing disk changes bytes of the temporary files.
    TemporaryDamaged,
    /// A stranger's file, of the same size, comes under the final name.
    StrangerComes,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    policy: Policy,
    before: Before,
    consumer: Consumer,
    /// What the server makes of a rename over a file, and what was learned of that.
    rename_over: (RenameOver, RenameOver),
    meanwhile: Meanwhile,
    crash: u32,
    second_crash: Option<u32>,
}

/// Whether the crash was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
}

fn policies() -> Vec<Policy> {
    let mut policies = Vec::new();
    for mode in [Mode::Mirror, Mode::Drop] {
        for proof in [Proof::Hash, Proof::ReadBack, Proof::Size] {
            policies.extend([Overwrite::Refuse, Overwrite::Replace].map(|overwrite| Policy {
                mode,
                proof,
                overwrite,
            }));
        }
    }
    policies
}

/// A server that replaces files, and one that does not, of which that is not known or known.
const RENAMES: [(RenameOver, RenameOver); 3] = [
    (RenameOver::Replaces, RenameOver::Replaces),
    (RenameOver::Refused, RenameOver::Replaces),
    (RenameOver::Refused, RenameOver::Refused),
];

fn cells() -> Vec<Cell> {
    RENAMES.into_iter().flat_map(cells_of).collect()
}

fn cells_of(rename_over: (RenameOver, RenameOver)) -> Vec<Cell> {
    let mut cells = Vec::new();
    for policy in policies() {
        for before in [Before::Nothing, Before::OurOldVersion, Before::Stranger] {
            for consumer in [Consumer::LeavesIt, Consumer::TakesIt] {
                let all = [
                    Meanwhile::Nothing,
                    Meanwhile::TemporaryDeleted,
                    Meanwhile::TemporaryDamaged,
                    Meanwhile::StrangerComes,
                ];
                cells.extend(all.map(|meanwhile| {
                    let (crash, second_crash) = (0, None);
                    Cell { policy, before, consumer, rename_over, meanwhile, crash, second_crash }
                }));
            }
        }
    }
    // A mirror whose files are taken is a mistake that is reported: see the refusals.
    cells.retain(|cell| cell.policy.mode == Mode::Drop || cell.consumer == Consumer::LeavesIt);
    cells
}

/// Lives through one cell and checks the promises.
fn check(cell: Cell) -> Reached {
    let mut world = World::new(cell.policy, cell.before, cell.consumer);
    (world.memory.rename_over, world.learned) = cell.rename_over;
    world.left = Some(cell.crash);
    if world.run().is_ok() {
        return Reached::No;
    }
    old_or_new_stands(cell, &world);
    match cell.meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::TemporaryDeleted => world.memory.files.retain(|path, _| !path.contains("/.nf-")),
        Meanwhile::TemporaryDamaged => {
            let damaged = world
                .memory
                .files
                .iter_mut()
                .filter(|(path, file)| path.contains("/.nf-") && file.bytes == NEW);
            damaged.for_each(|(_, file)| file.bytes.truncate(3));
        }
        Meanwhile::StrangerComes => world.memory.put(&destination(), STRANGE, "20220101000000"),
    }
    if let Some(second) = cell.second_crash {
        world.left = Some(second);
        if world.run().is_ok() {
            return Reached::No;
        }
    }
    old_or_new_stands(cell, &world);
    world.left = None;
    let mut first = world.run().unwrap_or_else(|Crashed| panic!("{cell:?}: the session broke"));
    if matches!(first, End::Failed(DeliveryError::Mismatch(_))) {
        // What is damaged is stored once more.
        assert_eq!(cell.meanwhile, Meanwhile::TemporaryDamaged, "{cell:?}");
        first = world.run().unwrap_or_else(|Crashed| panic!("{cell:?}: the session broke"));
    }
    let last = world.run().unwrap_or_else(|Crashed| panic!("{cell:?}: the session broke"));
    judge(cell, &world, &first, &last);
    Reached::Yes
}

/// Whenever the process dies, the old version or the new one stands under the final name or, for
/// the moment of a displacing, both of them beside it.
fn old_or_new_stands(cell: Cell, world: &World) {
    let taken = cell.consumer == Consumer::TakesIt || cell.meanwhile != Meanwhile::Nothing;
    if cell.before != Before::OurOldVersion || taken {
        return;
    }
    let beside = |bytes: &[u8]| world.memory.files.values().any(|file| file.bytes == bytes);
    let whole = world.standing().is_some_and(|standing| [OLD, NEW].contains(&standing));
    assert!(whole || (world.standing().is_none() && beside(OLD) && beside(NEW)), "{cell:?}\n{world:#?}");
}

fn judge(cell: Cell, world: &World, first: &End, last: &End) {
    let shown = || format!("{cell:?}\nfirst {first:?}\nlast {last:?}\n{world:#?}");
    let standing = world.standing();
    assert!([None, Some(OLD), Some(NEW), Some(STRANGE)].contains(&standing), "{}", shown());
    // What was displaced may come back.
    let back = [OLD, STRANGE].into_iter().filter(|_| cell.rename_over.0 == RenameOver::Refused);
    let fine: Vec<&[u8]> = back.chain([NEW]).collect();
    assert!(world.memory.published.iter().all(|bytes| fine.contains(&bytes.as_slice())), "{}", shown());

    let met_stranger = cell.before == Before::Stranger || cell.meanwhile == Meanwhile::StrangerComes;
    let refuses = cell.policy.overwrite == Overwrite::Refuse;
    if met_stranger && refuses {
        assert_eq!(standing, Some(STRANGE), "a stranger's file was touched: {}", shown());
    }
    // Each end is one that may be, and it lasts.
    let times = world.memory.published.iter().filter(|bytes| *bytes == NEW).count();
    match last {
        End::Unchanged => {
            assert!(world.delivered(), "{}", shown());
            assert_eq!(times, 1, "not delivered once: {}", shown());
        }
        End::Presumed => {
            assert_eq!(cell.policy.mode, Mode::Drop, "{}", shown());
            let deleted = cell.meanwhile == Meanwhile::TemporaryDeleted;
            assert!(times == 1 || deleted, "presumed what never was there: {}", shown());
            assert!(!world.delivered() && times <= 1, "{}", shown());
        }
        End::Failed(DeliveryError::Occupied { .. }) => {
            assert!(met_stranger && refuses && !world.delivered(), "{}", shown());
        }
        End::Failed(DeliveryError::Conflict { .. }) => {
            let lost_in_drop =
                cell.policy.mode == Mode::Drop && cell.meanwhile == Meanwhile::TemporaryDeleted;
            let old_stands = lost_in_drop && cell.before != Before::Nothing;
            assert!(cell.meanwhile == Meanwhile::StrangerComes || old_stands, "{}", shown());
            assert!(!world.delivered() && world.intent().is_some(), "{}", shown());
        }
        End::Failed(DeliveryError::Stranded { .. }) => {
            let came = cell.meanwhile == Meanwhile::StrangerComes && refuses;
            assert!(came && !world.delivered() && world.intent().is_some(), "{}", shown());
            let kept = world.memory.files.values().filter(|file| [OLD, NEW].contains(&file.bytes.as_slice()));
            assert_eq!(kept.count(), 2, "the old or the new version is lost: {}", shown());
            return;
        }
        End::Delivered | End::Failed(_) => panic!("no end that lasts: {}", shown()),
    }
    // Until a conflict is settled, what was displaced is kept.
    let kept = world.intent().and_then(|intent| intent.displaced).is_some();
    assert!(world.temporaries() <= usize::from(kept), "litter: {}", shown());
}

#[test]
fn no_crash_loses_doubles_or_destroys_a_file() {
    let mut checked = 0_u32;
    for cell in cells() {
        for crash in 0..MOST_STEPS {
            if check(Cell { crash, ..cell }) == Reached::No {
                break;
            }
            checked += 1;
        }
    }
    assert!(checked > 2_000, "only {checked} crash points");
}

#[test]
fn no_second_crash_in_the_run_that_settles_does_either() {
    let mut checked = 0_u32;
    // Where nothing is displaced, all servers are alike; how the proof is got, makes no difference there.
    let displaces = |cell: &Cell| cell.before == Before::OurOldVersion && cell.policy.proof == Proof::Hash;
    let telling = |cell: &Cell| cell.rename_over.0 == RenameOver::Replaces || displaces(cell);
    for cell in cells().into_iter().filter(telling) {
        for crash in 0..MOST_STEPS {
            if check(Cell { crash, ..cell }) == Reached::No {
                break;
            }
            for second in 0..MOST_STEPS {
                if check(Cell { crash, second_crash: Some(second), ..cell }) == Reached::No {
                    break;
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 30_000, "only {checked} pairs of crash points");
}
