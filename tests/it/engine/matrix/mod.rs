//! The fault matrix: every step of a session, every fault, once or always, in TLS 1.2 and 1.3, in a
//! mirror and in a drop.
//!
//! A cell is a job with one file to a server of its own. It ends before its deadline; the file is
//! delivered, or its failure has the class that the fault deserves; nothing is told of as delivered
//! that is not there; and runs without the fault bring the rest, and clean up.

mod blows;
mod cell;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ftps_server::TlsVersions;
use nightferry::domain::Mode;

use self::blows::{Blow, Times};
use self::cell::Cell;
use self::steps::Step;

/// Cells at once. Most of them wait for a limit to run out; more would make each other late.
const AT_ONCE: usize = 24;

/// The cells of a step.
fn cells(step: Step) -> Vec<Cell> {
    let modes: &[Mode] = if step.matters_to_drops() { &[Mode::Mirror, Mode::Drop] } else { &[Mode::Mirror] };
    let mut cells = Vec::new();
    for blow in Blow::at(step) {
        for times in [Times::Once, Times::Always] {
            for versions in [TlsVersions::Only12, TlsVersions::Only13] {
                for &mode in modes {
                    cells.push(Cell { step, blow, times, versions, mode });
                }
            }
        }
    }
    cells
}

/// Runs every cell of these steps, and fails with all that went wrong.
fn run(steps: &[Step]) {
    let queue: Mutex<VecDeque<Cell>> = Mutex::new(steps.iter().copied().flat_map(cells).collect());
    let (count, outcomes) = (queue.lock().unwrap().len(), Mutex::new(BTreeMap::<_, usize>::new()));
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(cell) = { queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } {
            match catch_unwind(AssertUnwindSafe(|| cell.run())) {
                Ok(outcome) => *outcomes.lock().unwrap().entry(outcome).or_default() += 1,
                Err(_) => wrong.lock().unwrap().push(cell.to_string()),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let told: Vec<_> =
        outcomes.into_inner().unwrap().into_iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
    println!("matrix: {count} cells: {}", told.join(", "));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cells went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_step_and_every_fault_is_in_the_matrix() {
    let count = |step: &Step| cells(*step).len();
    let total: usize = Step::ALL.iter().map(count).sum();
    println!("matrix: {total} cells in all, {} steps", Step::ALL.len());
    assert!(total > 2_000, "{total}");
    assert!(Step::ALL.iter().all(|step| count(step) >= 16), "a step has lost its faults");
}

#[test]
fn greeting_and_tls() {
    run(&[Step::Greeting, Step::Auth, Step::Handshake]);
}

#[test]
fn login() {
    run(&[Step::User, Step::Pass]);
}

#[test]
fn protection() {
    run(&[Step::Pbsz, Step::Prot]);
}

#[test]
fn settings() {
    run(&[Step::Type, Step::OptsUtf8, Step::OptsHash]);
}

#[test]
fn questions_about_the_server() {
    run(&[Step::Pwd, Step::Feat]);
}

#[test]
fn folder_and_port() {
    run(&[Step::Mkd, Step::Epsv]);
}

#[test]
fn data_connection() {
    run(&[Step::Data, Step::Body]);
}

#[test]
fn beginning_of_the_upload() {
    run(&[Step::Begin]);
}

#[test]
fn end_of_the_upload() {
    run(&[Step::End]);
}

#[test]
fn proof_by_hash() {
    run(&[Step::PassingTime, Step::Hash]);
}

#[test]
fn time() {
    run(&[Step::Time, Step::ModifiedTemporary]);
}

#[test]
fn proof_by_size() {
    run(&[Step::SizeTemporary]);
}

#[test]
fn reading_back() {
    run(&[Step::EpsvBack, Step::BeginBack, Step::EndBack]);
}

#[test]
fn data_connection_of_reading_back() {
    run(&[Step::DataBack, Step::BodyBack]);
}

#[test]
fn look_at_the_final_name() {
    run(&[Step::SizeFinal, Step::ModifiedFinal]);
}

#[test]
fn first_half_of_the_rename() {
    run(&[Step::Rnfr]);
}

#[test]
fn second_half_of_the_rename() {
    run(&[Step::Rnto]);
}

#[test]
fn look_after_the_rename() {
    run(&[Step::SizeGone, Step::SizeThere]);
}

#[test]
fn goodbye() {
    run(&[Step::Quit]);
}
