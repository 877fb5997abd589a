//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Parser, Subcommand};
use clap_complete::Shell;

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
    /// Check the configuration, and that secrets and folders can be read; sends no file
    Check {
        /// Send a test message to all who would be told of something
        #[arg(long)]
        notify: bool,
    },
    /// Show what would be sent, and why; sends nothing
    Plan {
        /// The jobs to plan; all where none is named
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Run as an agent, in the foreground: jobs run when they are due, until a signal ends it
    Run,
    /// Show what the agent does, when jobs ran and when they run next
    Status,
    /// Show the runs of the past, the last one at the end
    #[command(args_conflicts_with_subcommands = true)]
    History {
        /// Of this job; of all where none is named
        #[arg(value_name = "JOB")]
        job: Option<String>,
        /// At most so many
        #[arg(long, value_name = "RUNS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        #[command(subcommand)]
        verb: Option<HistoryVerb>,
    },
    /// Send what is new or changed, prove that it arrived, and end
    Sync {
        /// The jobs to run; all where none is named
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
        /// Delete on the server what run RUN would have deleted when its guard stopped it: those
        /// files and no others
        #[arg(long, value_name = "RUN")]
        approve_deletes: Option<u64>,
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
    /// Decide about files that were most likely delivered and taken away, which cannot be known; lists
    /// them where nothing is decided
    #[command(group = ArgGroup::new("which").args(["paths", "all"]))]
    Settle {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
        /// Files and folders below the job's source
        #[arg(value_name = "PATH")]
        paths: Vec<String>,
        /// All files that are presumed
        #[arg(long)]
        all: bool,
        /// The receiver has them: they are not sent again
        #[arg(long, conflicts_with = "send_again", requires = "which")]
        delivered: bool,
        /// The receiver does not have them: the next sync sends them as new
        #[arg(long, conflicts_with = "lost", requires = "which")]
        send_again: bool,
        /// The receiver does not have them, and their sources are gone: they are lost, and given up
        #[arg(long, conflicts_with = "delivered", requires = "which")]
        lost: bool,
    },
    /// Try everything that jobs need of a server, layer by layer; leaves nothing behind
    Doctor {
        /// The servers to look at; all where none is named
        #[arg(value_name = "SERVER")]
        servers: Vec<String>,

        /// How long a session is left silent to see whether the server bears it; 0s: not at all
        /// [default: 10s]
        #[arg(long, value_name = "TIME", value_parser = silence)]
        idle: Option<Duration>,

        /// Forget what was learned of the servers, and look at none
        #[arg(long, conflicts_with = "idle")]
        forget: bool,
    },
    /// Show a server's certificate and the lines that would trust it; logs in nowhere
    Trust {
        /// The server to look at
        #[arg(value_name = "SERVER")]
        server: String,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print what makes a shell complete the arguments
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or that of one verb
    Man {
        /// The verb
        #[arg(value_name = "VERB")]
        verb: Option<String>,
        /// Write all pages into a folder instead, which must exist
        #[arg(long, value_name = "DIR", conflicts_with = "verb")]
        to: Option<PathBuf>,
    },
    /// Look after the ledger of deliveries
    Ledger {
        #[command(subcommand)]
        verb: LedgerVerb,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum HistoryVerb {
    /// Show one run with its files
    Show {
        /// Its number
        #[arg(value_name = "RUN")]
        run: u64,
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

/// Longest silence that can be asked for: no server that was met has a limit above it.
const MAX_SILENCE: Duration = Duration::from_hours(1);

fn silence(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time <= MAX_SILENCE { Ok(time) } else { Err("at most 1h".to_owned()) }
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
            assert!(matches!(arguments.verb, Verb::Sync { jobs, .. } if jobs == ["a", "b"]));
        }
        assert!(Arguments::try_parse_from(["nightferry", "-v", "-q", "check"]).is_err());
    }

    #[test]
    fn a_silence_is_a_time_of_at_most_an_hour() {
        let idle = |text: &str| {
            let arguments = Arguments::try_parse_from(["nightferry", "doctor", "--idle", text]).ok()?;
            match arguments.verb {
                Verb::Doctor { idle, .. } => idle,
                _ => None,
            }
        };
        assert_eq!(idle("0s"), Some(Duration::ZERO));
        assert_eq!(idle("1h"), Some(Duration::from_hours(1)));
        for bad in ["61m", "5", "-1s", "soon"] {
            assert_eq!(idle(bad), None, "{bad}");
        }
        let line = ["nightferry", "doctor", "--forget", "--idle", "5s"];
        assert!(Arguments::try_parse_from(line).is_err());
    }
}
