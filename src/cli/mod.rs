//! The command line: the only place that prints. One file a verb.
//!
//! Data goes to standard output, everything else to standard error, and the exit code is that of
//! [`Exit`]. Verbs parse, select and show; what they do is the engine's.

mod adopt;
mod args;
mod asked;
mod audit;
mod check;
mod check_notify;
mod doctor;
mod engine;
mod error;
mod fold;
mod history;
mod ledger;
mod log;
mod manual;
mod output;
mod person;
mod plan;
mod progress;
mod restore;
mod run;
mod select;
mod settle;
mod status;
mod sync;
mod timing;
mod trust;
mod verify;
mod watch;

use std::ffi::OsString;

use clap::Parser as _;

use self::args::{Arguments, HistoryVerb, LedgerVerb, Verb};
use self::check::Messages;
use self::error::CliError;
use self::output::Output;
use self::settle::Asked;
use crate::audit::Depth;
use crate::diagnose::Place;
use crate::domain::{Decision, Exit, RunId};
use crate::source::PlacePolicy;

/// Runs the command with its arguments, the program's name first, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way as well; a closed pipe is not worth a word.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let output = Output::new(&arguments);
    if !matches!(arguments.verb, Verb::Run) {
        // The agent's log is as its configuration says.
        log::start(&output);
    }
    match verb(&arguments, &output) {
        Ok(exit) => exit,
        Err(error) => {
            output.error(&error);
            error.exit()
        }
    }
}

fn verb(arguments: &Arguments, output: &Output) -> Result<Exit, CliError> {
    let config = select::config(arguments.config.as_deref());
    match &arguments.verb {
        Verb::Check { notify } => {
            let messages = if *notify { Messages::Sent } else { Messages::None };
            check::run(config, messages, output)
        }
        Verb::Run => run::run(config?, output),
        Verb::Status => status::run(&config?, output),
        Verb::History { verb: Some(HistoryVerb::Show { run }), .. } => {
            history::show(&config?, RunId(*run), output)
        }
        Verb::History { job, limit, verb: None } => history::run(&config?, job.as_deref(), *limit, output),
        Verb::Plan { jobs } => plan::run(&config?, jobs, output),
        Verb::Sync { jobs, approve_deletes } => sync::run(&config?, jobs, approve_deletes.map(RunId), output),
        Verb::Verify { jobs, read } => {
            let depth = if *read { Depth::Content } else { Depth::Facts };
            verify::run(&config?, jobs, depth, output)
        }
        Verb::Adopt { job } => adopt::run(&config?, job, output),
        Verb::Restore { job, paths, to, overwrite } => {
            let policy = if *overwrite { PlacePolicy::ReplaceOther } else { PlacePolicy::KeepOther };
            restore::run(&config?, job, paths, to, policy, output)
        }
        Verb::Settle { job, paths, delivered, send_again, lost, .. } => {
            let asked = match (delivered, send_again, lost) {
                (true, ..) => Asked::Decide(Decision::Attested),
                (_, true, _) => Asked::Decide(Decision::SendAgain),
                (.., true) => Asked::Decide(Decision::Lost),
                (false, false, false) => Asked::List,
            };
            settle::run(&config?, job, paths, asked, output)
        }
        Verb::Doctor { servers, forget: true, .. } => doctor::forget(&config?, servers, output),
        Verb::Doctor { servers, idle, forget: false } => {
            doctor::run(&config?, servers, idle.unwrap_or(Place::SILENCE), output)
        }
        Verb::Trust { server } => trust::run(&config?, server, output),
        Verb::Schema => manual::schema(output),
        Verb::Completions { shell } => manual::completions(*shell, output),
        Verb::Man { verb, to: None } => manual::page(verb.as_deref(), output),
        Verb::Man { to: Some(folder), .. } => manual::pages(folder),
        Verb::Ledger { verb: LedgerVerb::Verify } => ledger::verify(&config?, output),
        Verb::Ledger { verb: LedgerVerb::Export { since, job } } => {
            ledger::export(&config?, *since, job.as_ref(), output)
        }
    }
}
