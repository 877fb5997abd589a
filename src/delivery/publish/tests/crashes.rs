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
    /// A stranger's file, of the same size, comes under the final name.
    StrangerComes,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    policy: Policy,
    before: Before,
    consumer: Consumer,
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

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for policy in policies() {
        for before in [Before::Nothing, Before::OurOldVersion, Before::Stranger] {
            for consumer in [Consumer::LeavesIt, Consumer::TakesIt] {
                let all = [Meanwhile::Nothing, Meanwhile::TemporaryDeleted, Meanwhile::StrangerComes];
                cells.extend(all.map(|meanwhile| {
                    let (crash, second_crash) = (0, None);
                    Cell { policy, before, consumer, meanwhile, crash, second_crash }
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
    world.left = Some(cell.crash);
    if world.run().is_ok() {
        return Reached::No;
    }
    match cell.meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::TemporaryDeleted => world.memory.files.retain(|path, _| !path.contains("/.nf-")),
        Meanwhile::StrangerComes => world.memory.put(&destination(), STRANGE, "20220101000000"),
    }
    if let Some(second) = cell.second_crash {
        world.left = Some(second);
        if world.run().is_ok() {
            return Reached::No;
        }
    }
    world.left = None;
    let first = world.run().unwrap_or_else(|Crashed| panic!("{cell:?}: the session broke"));
    let last = world.run().unwrap_or_else(|Crashed| panic!("{cell:?}: the session broke"));
    judge(cell, &world, &first, &last);
    Reached::Yes
}

fn judge(cell: Cell, world: &World, first: &End, last: &End) {
    let shown = || format!("{cell:?}\nfirst {first:?}\nlast {last:?}\n{world:#?}");
    let standing = world.standing();
    assert!([None, Some(OLD), Some(NEW), Some(STRANGE)].contains(&standing), "{}", shown());
    assert!(world.memory.published.iter().all(|bytes| bytes == NEW), "{}", shown());

    let met_stranger = cell.before == Before::Stranger || cell.meanwhile == Meanwhile::StrangerComes;
    let refuses = cell.policy.overwrite == Overwrite::Refuse;
    if met_stranger && refuses {
        assert_eq!(standing, Some(STRANGE), "a stranger's file was touched: {}", shown());
    }
    // Each end is one that may be, and it lasts.
    let times = world.memory.published.len();
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
        End::Delivered | End::Failed(_) => panic!("no end that lasts: {}", shown()),
    }
    assert_eq!(world.temporaries(), 0, "litter: {}", shown());
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
    for cell in cells() {
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
