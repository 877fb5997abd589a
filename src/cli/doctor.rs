//! `nightferry doctor`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::fold::wrapped;
use super::output::{Colour, Format, Output};
use super::{engine, select, trust};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::diagnose::{Examination, Finding, Outcome, Place, examine};
use crate::domain::{Exit, RemotePath, Server, TlsMode};
use crate::observe::escaped;
use crate::remote::Remote;

/// Columns in front of a finding's text: mark and title.
const INDENT: usize = 23;

/// Forgets what was learned of servers, and says so.
pub(super) fn forget(config: &Config, names: &[String], output: &Output) -> Result<Exit, CliError> {
    let profiles = engine::profiles(config);
    for server in select::servers(config, names)? {
        let known = profiles.forget(server);
        match output.format {
            Format::Text if known => {
                output.data(format_args!("{}: what was learned is forgotten", server.name))?;
            }
            Format::Text => output.data(format_args!("{}: nothing was known", server.name))?,
            Format::Json => output.json(&json!({
                "event": "profile-forgotten",
                "server": server.name,
                "known": known,
            }))?,
        }
    }
    Ok(Exit::Done)
}

/// Walks through the layers of each server, and says what came of it. One session of each is left
/// silent for `idle`.
pub(super) fn run(
    config: &Config,
    names: &[String],
    idle: Duration,
    output: &Output,
) -> Result<Exit, CliError> {
    let servers = select::servers(config, names)?;
    let profiles = Arc::new(engine::profiles(config));
    let remotes: Vec<Remote> = servers
        .iter()
        .map(|server| engine::remote(config, &server.name, &profiles))
        .collect::<Result<_, _>>()?;
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    let exit = runtime.block_on(examine_all(config, &remotes, idle, output));
    runtime.shutdown_background();
    profiles.finish_writing();
    exit
}

/// One server after another, until a signal asks to stop: what was stored on the one under way is
/// deleted first.
async fn examine_all(
    config: &Config,
    remotes: &[Remote],
    idle: Duration,
    output: &Output,
) -> Result<Exit, CliError> {
    let stop = CancellationToken::new();
    let mut exit = Exit::Done;
    let all = async {
        for (nth, remote) in remotes.iter().enumerate() {
            if stop.is_cancelled() {
                break;
            }
            if nth > 0 && output.format == Format::Text {
                output.data("")?;
            }
            let (place, state) = (place(config, remote.server(), idle)?, &config.agent.state_dir);
            exit = exit.worst(examine_one(remote, &place, state, &stop, output).await?);
        }
        Ok::<(), CliError>(())
    };
    engine::until_stopped(all, &mut engine::StopSignals::new()?, &stop).await??;
    Ok(exit)
}

async fn examine_one(
    remote: &Remote,
    place: &Place,
    state: &Path,
    stop: &CancellationToken,
    output: &Output,
) -> Result<Exit, CliError> {
    let server = remote.server();
    if output.format == Format::Text {
        output.data(wrapped(&heading(server, place), 2, output.data_width))?;
    }
    // A reader who is gone does not keep the walk from cleaning up.
    let mut written = Ok(());
    let mut untried: Vec<&'static str> = Vec::new();
    let mut tell = |finding: Finding| {
        let told = match output.format {
            Format::Text if finding.outcome == Outcome::NotTried => {
                untried.push(finding.check.title());
                return;
            }
            Format::Text => {
                tell_untried(&mut untried, output).and_then(|()| output.data(line(&finding, output)))
            }
            Format::Json => output.json(&json_line(server, &finding)),
        };
        if written.is_ok() {
            written = told;
        }
    };
    let Examination { exit, known } = Box::pin(examine(remote, &SystemClock, place, stop, &mut tell)).await;
    written?;
    tell_untried(&mut untried, output)?;
    if output.format == Format::Json {
        output.json(&json!({
            "event": "profile",
            "server": server.name,
            "profile": remote.profile(),
            "kept": state.is_dir(),
            "known": known.iter().map(|row| json!({"title": row.title, "text": row.text})).collect::<Vec<_>>(),
        }))?;
        output.json(&json!({
            "event": "doctor-finished",
            "server": server.name,
            "ok": exit == Exit::Done,
            "exit": exit.code(),
        }))?;
        return Ok(exit);
    }
    if !known.is_empty() {
        output.data(format_args!("  What is known of {}, and what jobs make of it:", server.name))?;
    }
    for row in &known {
        let text = wrapped(&escaped(&row.text), INDENT, output.data_width);
        output.data(format_args!("      {:<15}  {text}", row.title))?;
    }
    if !known.is_empty() && !state.is_dir() {
        let text = format!(
            "None of this is kept: the state folder {} does not exist yet. The first `nightferry sync` or `run` \
             makes it, for the user who starts it.",
            escaped(&state.display().to_string())
        );
        output.data(format_args!("  {}", wrapped(&text, 2, output.data_width)))?;
    }
    if exit == Exit::Done {
        output.data(format_args!("  All that jobs need works on {}.", server.name))?;
    }
    Ok(exit)
}

/// The destination of the first job that uses the server, or the login folder.
fn place(config: &Config, server: &Server, silence: Duration) -> Result<Place, CliError> {
    let job = config.jobs.values().find(|job| job.server == server.name);
    Ok(match job {
        Some(job) => Place {
            folder: job.destination.clone(),
            job: Some(job.name.clone()),
            verify: job.verify,
            silence,
        },
        None => Place {
            folder: RemotePath::new(".")
                .map_err(|_| CliError::UnknownServer { name: server.name.clone() })?,
            job: None,
            verify: crate::domain::VerifyPolicy::Auto,
            silence,
        },
    })
}

fn heading(server: &Server, place: &Place) -> String {
    let tls = match server.tls {
        TlsMode::Explicit => "explicit",
        TlsMode::Implicit => "implicit",
    };
    let folder = match &place.job {
        Some(job) => format!("the folder of job {job}"),
        None => "the login folder".to_owned(),
    };
    format!(
        "server {}: {}@{}:{}, {tls} TLS; in {folder}",
        server.name,
        escaped(&server.username),
        server.host,
        server.port
    )
}

/// Names what was not tried in one line: what depends on a failure may be most of it.
fn tell_untried(untried: &mut Vec<&'static str>, output: &Output) -> Result<(), CliError> {
    let titles = std::mem::take(untried).join(", ");
    if titles.is_empty() {
        return Ok(());
    }
    let titles = wrapped(&titles, INDENT, output.data_width);
    output.data(format_args!("  {}  {:<15}  {titles}", output.mark("--", Colour::Yellow), "not tried"))
}

/// A finding as a few lines: its mark, its title, what was seen, and what to do.
fn line(finding: &Finding, output: &Output) -> String {
    let (mark, colour) = match finding.outcome {
        Outcome::Fine => ("ok", Colour::Green),
        Outcome::Lacking | Outcome::NotTried => ("--", Colour::Yellow),
        Outcome::Failed(_) => ("!!", Colour::Red),
    };
    let width = output.data_width;
    let text = wrapped(&escaped(&finding.text), INDENT, width);
    let mut line = format!("  {}  {:<15}  {text}", output.mark(mark, colour), finding.check.title());
    if let Some(help) = &finding.help {
        let help = wrapped(&format!("help: {}", escaped(help)), INDENT, width);
        line.extend(["\n", &" ".repeat(INDENT), &help]);
    }
    line
}

fn json_line(server: &Server, finding: &Finding) -> Value {
    let outcome = match finding.outcome {
        Outcome::Fine => "ok",
        Outcome::Lacking => "lacking",
        Outcome::NotTried => "not-tried",
        Outcome::Failed(_) => "failed",
    };
    let mut line = json!({
        "event": "check",
        "server": server.name,
        "check": finding.check,
        "outcome": outcome,
        "text": finding.text,
    });
    if let Value::Object(fields) = &mut line {
        if let Outcome::Failed(exit) = finding.outcome {
            fields.insert("exit".to_owned(), exit.code().into());
        }
        if let Some(help) = &finding.help {
            fields.insert("help".to_owned(), help.as_str().into());
        }
        if let Some(certificate) = &finding.certificate {
            fields.insert("certificate".to_owned(), trust::as_json(certificate));
        }
    }
    line
}
