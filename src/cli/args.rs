//! The arguments.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use crate::domain::{JobName, Timestamp};

/// Pushes folders to FTPS servers and proves that they arrived.
#[derive(Debug, Parser)]
#[command(name = "nightferry", version, about, propagate_version = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    /// The configuration file [default: /etc/nightferry/jobs.yaml, then ./jobs.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    /// Tell more: one line a file; twice for what happens on the wire
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub(super) verbose: u8,

    /// Tell only of errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// Write JSON to standard output, for programs
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check the configuration, and that secrets and folders can be read; sends nothing
    Check,
    /// Show what would be sent, and why; sends nothing
    Plan {
        /// The jobs to plan; all where none is named
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Send what is new or changed, prove that it arrived, and end
    Sync {
        /// The jobs to run; all where none is named
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Try everything that jobs need of a server, layer by layer; leaves nothing behind
    Doctor {
        /// The servers to look at; all where none is named
        #[arg(value_name = "SERVER")]
        servers: Vec<String>,
    },
    /// Show a server's certificate and the lines that would trust it; logs in nowhere
    Trust {
        /// The server to look at
        #[arg(value_name = "SERVER")]
        server: String,
    },
    /// Look after the ledger of deliveries
    Ledger {
        #[command(subcommand)]
        verb: LedgerVerb,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum LedgerVerb {
    /// Check that no record is damaged, missing or altered
    Verify,
    /// Print the records as lines of JSON, oldest first, as they stand in the ledger
    Export {
        /// Only what was written since then: 2026-11-30 (UTC), or 2026-11-30T17:00:00+01:00
        #[arg(long, value_name = "DATE", value_parser = since)]
        since: Option<Timestamp>,
        /// Only runs of this job, and what they did
        #[arg(long, value_name = "JOB")]
        job: Option<JobName>,
    },
}

/// A day's beginning in UTC, or a point in time.
fn since(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    let read = text.parse().or_else(|_| day.parse());
    read.map_err(|_| "expected a day, as 2026-11-30, or a time, as 2026-11-30T17:00:00+01:00".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_behind_the_verb() {
        for line in ["nightferry -vv --json sync a b", "nightferry sync a b --json -v -v"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((arguments.verbose, arguments.json), (2, true));
            assert!(matches!(arguments.verb, Verb::Sync { jobs } if jobs == ["a", "b"]));
        }
        assert!(Arguments::try_parse_from(["nightferry", "-v", "-q", "check"]).is_err());
    }
}
