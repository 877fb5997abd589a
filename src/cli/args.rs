//! The arguments.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

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
    /// Compare the server with what was delivered; what is missing or changed is sent by the next sync
    Verify {
        /// The jobs to verify; all mirrors where none is named
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
        /// Prove the content of every file, by the server's hash or by reading it back
        #[arg(long)]
        read: bool,
    },
    /// Take over what stands on the server already, proved equal to the source; sends nothing
    Adopt {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Bring back what was delivered, proved; changes nothing on the server
    Restore {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
        /// Files and folders below the job's source; everything where none is named
        #[arg(value_name = "PATH")]
        paths: Vec<String>,
        /// The folder into which they go; made if it is missing
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Replace files that stand there with other content
        #[arg(long)]
        overwrite: bool,
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
