//! The engine against a naive model: random steps in the source, on the server and to the runs;
//! whatever happens, nothing is lost, nobody else's file is touched, nothing is half there, and in
//! a drop nothing is delivered twice.
//!
//! A case that fails shrinks to few steps, is printed with the transcript, and its seed is kept in
//! `proptest-regressions`, to be tried first the next time. `PROPTEST_CASES` sets how many there are.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::steps::{Policy, Step, drops, mirrors, steps};
use super::world::World;

/// Cases of each mode where nothing else is said: they take some ten seconds.
const CASES: u32 = 128;

fn config() -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    let cases = if given { default.cases } else { CASES };
    ProptestConfig { cases, max_shrink_iters: 400, ..default }
}

fn play(policy: &Policy, steps: &[Step]) -> TestCaseResult {
    World::new(policy).play(steps).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_mirror_comes_to_equal_its_source(policy in mirrors(), steps in steps()) {
        play(&policy, &steps)?;
    }

    #[test]
    fn a_drop_delivers_everything_once(policy in drops(), steps in steps()) {
        play(&policy, &steps)?;
    }
}
