//! `nightferry status`.

use chrono::Local;

use super::asked::refused;
use super::engine;
use super::error::CliError;
use super::fold::folded;
use super::output::{Format, Output};
use crate::agent::{
    AlertStatus, Client, History, JobState, JobStatus, LookBack, Readiness, Request, RunEntry, ServerStatus,
    Status, Told, alerts_in, days_left,
};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::domain::{Exit, Server, Timestamp, Zone};
use crate::observe::{bytes, count, duration, escaped, parked};
use crate::remote::own_certificate_good_until;

/// From when on a certificate is to be renewed soon: time enough to ask a partner for it.
const CERTIFICATE_SOON_DAYS: i64 = 30;

/// Columns by which a line that is too long goes on further right.
const HANG: usize = 2;

/// Shows what the agent says of itself and its jobs; where none runs, what the ledger says.
pub(super) fn run(config: &Config, output: &Output) -> Result<Exit, CliError> {
    let status = match Client::connect(&config.agent.state_dir)? {
        Some(agent) => ask(agent)?,
        None => from_ledger(config)?,
    };
    match output.format {
        Format::Json => output.json(&status)?,
        Format::Text => output.data(folded(&shown(&status), HANG, output.data_width))?,
    }
    Ok(Exit::Done)
}

fn ask(mut agent: Client) -> Result<Status, CliError> {
    agent.ask(Request::Status)?;
    match agent.answer()? {
        Some(Told::Status(status)) => Ok(*status),
        Some(Told::Refused { text, remedy, code }) => Err(refused(&text, remedy, code)),
        _ => Err(CliError::Silent),
    }
}

fn from_ledger(config: &Config) -> Result<Status, CliError> {
    let now = SystemClock.now();
    let looks = config.jobs.values().map(|job| LookBack::of(job, now)).collect();
    let history = History::of_jobs(&config.agent.state_dir, looks)?;
    let jobs = config.jobs.values().map(|job| {
        let last = history.last(&job.name).cloned();
        JobStatus {
            job: job.name.clone(),
            server: job.server.clone(),
            state: JobState::Idle,
            zone: job.timing.zone.map(|zone| zone.name().to_owned()),
            next_run: job.timing.next_runs(now).next(),
            next_try: None,
            is_watched: job.watch.is_some(),
            watch: None,
            remembered: crate::domain::Triggers::default(),
            last_well: history.last_well(&job.name),
            last_verified: history.last_verified(&job.name),
            next_verify: None,
            expected_by: job.timing.expectation.daily.as_ref().and_then(|daily| daily.next_by(now)),
            failing: last.iter().flat_map(|last| last.failed.clone()).collect(),
            oldest_waiting: None,
            last,
        }
    });
    let profiles = engine::profiles(config);
    let used = |server: &&Server| config.jobs.values().any(|job| job.server == server.name);
    let servers = config.servers.values().filter(used);
    let servers = servers
        .map(|server| ServerStatus::of(server, profiles.of(server), own_certificate_good_until(server)));
    Ok(Status {
        process: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        zone: Some(config.agent.zone.name().to_owned()),
        since: None,
        refused_configuration: None,
        readiness: Readiness::NoAgent,
        jobs: jobs.collect(),
        servers: servers.collect(),
        alerts: alerts_in(&config.agent.state_dir).into_iter().map(AlertStatus::from).collect(),
    })
}

/// A few lines, and a table of 80 columns.
fn shown(status: &Status) -> String {
    let zone = zone_named(status.zone.as_ref());
    let mut lines = vec![match (status.process, status.since) {
        (Some(process), Some(since)) => {
            format!("agent {} runs since {} (process {process})", status.version, at(since, zone))
        }
        _ => "no agent runs: scheduled jobs do not start; `nightferry run` starts one".to_owned(),
    }];
    if let Some(cause) = &status.refused_configuration {
        lines.push(format!("the configuration was refused, and an older one goes on: {}", escaped(cause)));
    }
    if let Some(zone) = zone {
        lines.push(format!("times are those of {}", zone.name()));
    }
    lines.push(String::new());
    lines.push(format!("{:<20}  {:<7}  {:<15}  {:<15}  RESULT", "JOB", "STATE", "LAST RUN", "NEXT RUN"));
    let now = SystemClock.now();
    for job in &status.jobs {
        let own = zone_named(job.zone.as_ref()).filter(|own| Some(*own) != zone);
        let zone = own.or(zone);
        lines.extend(row(job, state(job, &status.alerts), now, zone));
        lines.extend(
            status
                .alerts
                .iter()
                .filter(|alert| alert.concerns(job))
                .map(|alert| format!("  wrong since {}: {}", at(alert.since, zone), escaped(&alert.cause))),
        );
        if let Some(own) = own {
            lines.push(format!("  times of this job are those of {}", own.name()));
        }
    }
    for server in &status.servers {
        let (name, theirs, ours) =
            (&server.server, server.certificate_expires, server.client_certificate_expires);
        let theirs =
            theirs.map(|expires| certificate(&format!("certificate of {name}"), THEIRS, expires, now));
        let ours =
            ours.map(|expires| certificate(&format!("our certificate for {name}"), OURS, expires, now));
        lines.extend(theirs.into_iter().chain(ours));
    }
    lines.join("\n")
}

/// What to do about a server's certificate, once it expired and before.
const THEIRS: [&str; 2] = ["ask whoever runs the server for a new one", "tell whoever runs the server"];
/// The same of the one that the server is shown.
const OURS: [&str; 2] =
    ["put a new one in its place (`client_certificate`)", "get a new one (`client_certificate`)"];

/// How long a certificate is good, and what to do.
fn certificate(what: &str, [expired, soon]: [&str; 2], until: Timestamp, now: Timestamp) -> String {
    match days_left(until, now) {
        ..0 => format!("{what}: EXPIRED; {expired}"),
        days @ 0..CERTIFICATE_SOON_DAYS => {
            let days = count(days.unsigned_abs(), "day");
            format!("{what}: expires in {days}; {soon}")
        }
        days => format!("{what}: good for {days} days"),
    }
}

fn zone_named(name: Option<&String>) -> Option<Zone> {
    name.and_then(|name| name.parse().ok())
}

/// A word for what a job does. One that is parked stays so after a run over changed folders that ended well.
fn state(job: &JobStatus, alerts: &[AlertStatus]) -> &'static str {
    let stands = || alerts.iter().any(|alert| alert.is_parked && alert.concerns(job));
    match &job.state {
        JobState::Idle if job.last.as_ref().is_some_and(RunEntry::is_parked) || stands() => "parked",
        JobState::Idle => "idle",
        JobState::Held => "held",
        JobState::Running(_) => "running",
    }
}

fn row(job: &JobStatus, state: &str, now: Timestamp, zone: Option<Zone>) -> Vec<String> {
    let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| at(time, zone));
    let last = time(job.last.as_ref().map(|last| last.began));
    let next = job.next_run.map_or_else(|| job.next_without_clock().to_owned(), |next| at(next, zone));
    let result = job.last.as_ref().map_or_else(|| "-".to_owned(), result);
    let mut lines = vec![format!("{:<20}  {state:<7}  {last:<15}  {next:<15}  {result}", job.job)];
    if let JobState::Running(run) = &job.state
        && run.audit.is_some()
    {
        lines.push(format!("  looks since {} whether all still stands on the server", at(run.since, zone)));
    } else if let JobState::Running(run) = &job.state {
        let now = &run.progress;
        lines.push(format!(
            "  since {}: {} of {} files, {} of {}",
            at(run.since, zone),
            now.files_done,
            now.files_total,
            bytes(now.bytes_done),
            bytes(now.bytes_total)
        ));
    }
    if let Some(by) = job.expected_by {
        lines.push(format!("  files expected by {}", at(by, zone)));
    }
    if job.last_verified.is_some() || job.next_verify.is_some() {
        let next =
            job.next_verify.map_or_else(String::new, |next| format!("; next {}", at(next.max(now), zone)));
        let last = job.last_verified.map_or_else(|| "never yet".to_owned(), |last| at(last, zone));
        lines.push(format!("  server verified {last}{next}"));
    }
    if let Some(watch) = &job.watch {
        lines.push(format!("  {}", escaped(watch)));
    }
    if !job.remembered.is_empty() {
        lines.push(format!("  one more run follows: {}", job.remembered));
    }
    if let Some(last) = job.last.as_ref().filter(|last| last.is_parked()) {
        lines.push(format!("  parked: {}", parked(&last.counts)));
    }
    if let Some(last) = job.last.as_ref().filter(|last| last.counts.presumed > 0) {
        let files = count(last.counts.presumed, "file");
        lines
            .push(format!("  {files} most likely delivered and taken away: `nightferry settle {}`", job.job));
    }
    if let Some(last) = &job.last
        && let Some(stopped) = &last.stopped
    {
        lines.push(format!("  stopped: {}", escaped(&stopped.cause)));
    }
    for file in &job.failing {
        lines.push(format!("  failed {}: {}", escaped(&file.name), escaped(&file.failure.cause)));
    }
    if let Some(oldest) = &job.oldest_waiting {
        let (name, age) = (escaped(&oldest.name), duration(now.since(oldest.since)));
        lines.push(format!("  waiting for {age}: {name}: {}", escaped(&oldest.cause.to_string())));
    }
    if let Some(again) = job.next_try {
        lines.push(format!("  tried again {}", at(again, zone)));
    }
    if job.last.as_ref().is_some_and(|last| !last.is_well()) {
        let well = job.last_well.map_or_else(|| "never".to_owned(), |well| at(well, zone));
        lines.push(format!("  last ended well: {well}"));
    }
    lines
}

/// What came of a run, in a few words.
pub(super) fn result(entry: &RunEntry) -> String {
    let counts = &entry.counts;
    let lacking = counts.left_to_do();
    match (entry.ended, &entry.stopped) {
        (None, _) => "no end known".to_owned(),
        (Some(_), Some(_)) => format!("stopped, {} sent", counts.delivered),
        (Some(_), None) if lacking > 0 => format!("{lacking} not well"),
        (Some(_), None) => format!("{} sent", count(counts.delivered, "file")),
    }
}

/// Day and time, on the clock of a zone or of this machine.
pub(super) fn at(time: Timestamp, zone: Option<Zone>) -> String {
    let local =
        zone.map_or_else(|| time.to_utc().with_timezone(&Local).naive_local(), |zone| zone.local(time));
    local.format("%a %m-%d %H:%M").to_string()
}
