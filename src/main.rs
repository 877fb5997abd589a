//! The `nightferry` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(nightferry::cli::run(std::env::args_os()).code())
}
