//! `nightferry settle`.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::error::CliError;
use super::fold::wrapped;
use super::output::{Format, Loudness, Output};
use super::person::person;
use super::{engine, restore, select};
use crate::config::{Config, nearest};
use crate::delivery::{PresumedFile, SourceNow, Undecided, decide, undecided};
use crate::domain::{AfterDelivery, Decision, Exit, Job, Person, RelPath, Target, Zone};
use crate::observe::{bytes, count, escaped, presumed_how};
use crate::state::State;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// What there is to decide.
    List,
    /// To decide it.
    Decide(Decision),
}

/// Shows the presumed files of a job, or decides about them: all, or those that are or lie below
/// `paths`.
pub(super) fn run(
    config: &Config,
    name: &str,
    paths: &[String],
    asked: Asked,
    output: &Output,
) -> Result<Exit, CliError> {
    let jobs = select::jobs(config, &[name.to_owned()])?;
    let paths = paths.iter().map(|path| restore::checked(path)).collect::<Result<Vec<_>, _>>()?;
    let mut exit = Exit::Done;
    for job in jobs {
        let target = Target::of(job, engine::server(config, &job.server)?);
        let zone = job.timing.zone.unwrap_or(config.agent.zone);
        if !State::is_begun(&config.agent.state_dir) {
            // Nothing was ever sent, and asking makes no state.
            let none = Undecided { presumed: Vec::new(), in_doubt: 0 };
            chosen(job, &none, &paths)?;
            list(job, zone, &none, &[], output)?;
            continue;
        }
        let opened = engine::open(config)?;
        opened.notices.iter().for_each(|text| output.warning(text, None));
        let found = undecided(&opened.state, job, &target)?;
        let files = chosen(job, &found, &paths)?;
        match asked {
            Asked::List => list(job, zone, &found, &files, output)?,
            Asked::Decide(decision) => {
                let (good, bad): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| match decision {
                    Decision::Attested => true,
                    Decision::SendAgain => file.source.can_be_sent(),
                    Decision::Lost => !file.source.can_be_sent(),
                });
                let by = person();
                let runtime = Runtime::new().map_err(CliError::Runtime)?;
                runtime.block_on(decide(&opened.state, &target, &good, decision, &by))?;
                let left = found.presumed.len() - good.len();
                told(job, &good, decision, &by, left, output)?;
                if !bad.is_empty() {
                    exit = Exit::FilesFailed;
                    for file in bad {
                        refused(file, decision, output);
                    }
                }
            }
        }
        opened.state.close_telling()?.iter().for_each(|text| output.warning(text, None));
    }
    Ok(exit)
}

/// The files that are meant; a path that means none is a mistake, and nothing is decided then.
fn chosen<'f>(job: &Job, found: &'f Undecided, paths: &[RelPath]) -> Result<Vec<&'f PresumedFile>, CliError> {
    let is_meant = |path: &RelPath, file: &PresumedFile| {
        file.path == *path || file.path.folders().any(|folder| folder.as_str() == path.as_str())
    };
    for path in paths {
        if !found.presumed.iter().any(|file| is_meant(path, file)) {
            let names = found.presumed.iter().map(|file| file.path.as_str());
            let remedy = match nearest(path.as_str(), names) {
                Some(meant) => format!("did you mean `{}`?", escaped(meant)),
                None => format!("`nightferry settle {}` lists the presumed files", job.name),
            };
            let path = escaped(path.as_str()).into_owned();
            return Err(CliError::NotPresumed { job: job.name.clone(), path, remedy });
        }
    }
    let all = paths.is_empty();
    Ok(found.presumed.iter().filter(|file| all || paths.iter().any(|path| is_meant(path, file))).collect())
}

fn list(
    job: &Job,
    zone: Zone,
    found: &Undecided,
    files: &[&PresumedFile],
    output: &Output,
) -> Result<(), CliError> {
    if output.format == Format::Json {
        for file in files {
            output.json(&json!({"event": "presumed", "job": job.name, "file": as_json(file)}))?;
        }
        let (presumed, in_doubt) = (files.len(), found.in_doubt);
        return output.json(
            &json!({"event": "presumed-listed", "job": job.name, "presumed": presumed, "in_doubt": in_doubt}),
        );
    }
    let width = output.data_width;
    if files.is_empty() {
        output.data(format_args!("{}: nothing is presumed; there is nothing to decide", job.name))?;
    } else {
        let what =
            if files.len() == 1 { "1 file is".to_owned() } else { format!("{} files are", files.len()) };
        let head = format!(
            "{}: {what} presumed: most likely delivered and taken away, which cannot be known",
            job.name
        );
        output.data(wrapped(&head, 0, width))?;
        for file in files {
            shown(file, zone, output)?;
        }
        choices(job, output)?;
    }
    if found.in_doubt > 0 {
        let files = count(found.in_doubt.try_into().unwrap_or(u64::MAX), "file");
        let text = format!("{}: {files} in doubt after a cut-off run: the next sync finds out", job.name);
        output.line(Loudness::Normal, text);
    }
    Ok(())
}

fn shown(file: &PresumedFile, zone: Zone, output: &Output) -> Result<(), CliError> {
    let PresumedFile { path, entry, how, source } = file;
    let at = zone.shown(entry.delivered_at);
    let how = match how {
        Some(how) => format!("presumed by run {} at {at}: {}", how.run, presumed_how(how)),
        None => format!("presumed at {at}"),
    };
    let source = match source {
        SourceNow::Same => "source: unchanged",
        SourceNow::Changed => "source: changed since; the next sync sends it, whatever is decided",
        SourceNow::Gone => "source: gone, so that it cannot be sent again unless it is put back",
        SourceNow::NotAdmitted => {
            "source: not admitted by the job's patterns, so that it cannot be sent again"
        }
    };
    output.data(format_args!("\n  {}", escaped(path.as_str())))?;
    output.data(format_args!("    {}, SHA-256\n    {}", bytes(entry.size), entry.digest))?;
    for text in [how.as_str(), source] {
        output.data(format_args!("    {}", wrapped(text, 4, output.data_width)))?;
    }
    Ok(())
}

/// What each decision would do.
fn choices(job: &Job, output: &Output) -> Result<(), CliError> {
    let name = &job.name;
    output.data("\nAsk the receiver, then decide about files or folders (or `--all` for PATH):")?;
    let stays = match job.after_delivery {
        AfterDelivery::Keep => "",
        AfterDelivery::Delete | AfterDelivery::MoveTo(_) => {
            "; its source stays where it is, since `after_delivery` is for what was proved"
        }
    };
    let delivered =
        format!("the receiver has it: it is not sent again, and counts as attested, not as delivered{stays}");
    let again = "the receiver does not have it: the next sync sends it as new".to_owned();
    let lost = "the receiver does not have it, and its source is gone: it is lost, and no longer waited for"
        .to_owned();
    for (decision, effect) in [("--delivered", delivered), ("--send-again", again), ("--lost", lost)] {
        output.data(format_args!("  nightferry settle {name} {decision} PATH"))?;
        output.data(format_args!("      {}", wrapped(&effect, 6, output.data_width)))?;
    }
    Ok(())
}

fn told(
    job: &Job,
    files: &[&PresumedFile],
    decision: Decision,
    by: &Person,
    left: usize,
    output: &Output,
) -> Result<(), CliError> {
    if output.format == Format::Json {
        for file in files {
            output.json(&json!({
                "event": "decided", "job": job.name, "decision": decision, "by": by, "file": as_json(file),
            }))?;
        }
        let decided = files.len();
        return output.json(
            &json!({"event": "settle-finished", "job": job.name, "decided": decided, "still_presumed": left}),
        );
    }
    let verb = match decision {
        Decision::Attested => "attested",
        Decision::SendAgain => "send again",
        Decision::Lost => "lost",
    };
    for file in files {
        output.data(format_args!("{verb:<10}  {}", escaped(file.path.as_str())))?;
    }
    let files = count(files.len().try_into().unwrap_or(u64::MAX), "file");
    let effect = match decision {
        Decision::Attested if job.after_delivery == AfterDelivery::Keep => "not sent again",
        Decision::Attested => "not sent again, and left in the source",
        Decision::SendAgain => "sent by the next sync",
        Decision::Lost => "lost and given up",
    };
    let by = by.to_string();
    let line = format!("{}: {files} {effect}, as {} decided; {left} still presumed", job.name, escaped(&by));
    output.data(wrapped(&line, 0, output.data_width))
}

/// A file of which that cannot be decided.
fn refused(file: &PresumedFile, decision: Decision, output: &Output) {
    let why = match file.source {
        SourceNow::Gone => "its source is gone",
        SourceNow::NotAdmitted => "the job's patterns do not admit it",
        SourceNow::Same => "its source is there",
        SourceNow::Changed => "its source is there, though changed",
    };
    let (effect, remedy) = match decision {
        Decision::Lost => (
            "so that it is not lost",
            "decide `--send-again`: the next sync sends it; or delete the source first",
        ),
        Decision::Attested | Decision::SendAgain => (
            "so that nothing could be sent again",
            "put it back first, or decide `--delivered` if the receiver has it, `--lost` if not",
        ),
    };
    output
        .problem(format_args!("{}: {why}, {effect}; not decided", escaped(file.path.as_str())), Some(remedy));
}

fn as_json(file: &PresumedFile) -> Value {
    let PresumedFile { path, entry, how, source } = file;
    json!({
        "path": path,
        "run": how.as_ref().map(|how| how.run),
        "at": entry.delivered_at,
        "size": entry.size,
        "sha256": entry.digest,
        "found": how.as_ref().map(presumed_how),
        "source": match source {
            SourceNow::Same => "same",
            SourceNow::Changed => "changed",
            SourceNow::Gone => "gone",
            SourceNow::NotAdmitted => "not-admitted",
        },
    })
}
