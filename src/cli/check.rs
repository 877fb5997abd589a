//! `nightferry check`.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::check_notify;
use super::engine::{carrying, check_sendable};
use super::error::CliError;
use super::fold::folded;
use super::output::{Format, Loudness, Output};
use super::timing;
use crate::clock::{Clock as _, SystemClock};
use crate::config::secret;
use crate::config::{Config, ConfigError};
use crate::domain::{
    AfterDelivery, Bandwidth, Exit, Found, Job, Mode, Overwrite, PublishWay, Rate, RemoteDelete, Server,
    TlsMode, TlsVersion, VerifyPolicy,
};
use crate::observe::{count, escaped};
use crate::plain::{chain, plain};
use crate::remote::check_tls;
use crate::source::{Filter, SourceRoot};

/// Something that a run would stumble over.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The key path that it is about.
    pub(super) about: String,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    #[serde(skip)]
    pub(super) exit: Exit,
}

/// Whether test messages are sent to those who would be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Messages {
    None,
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Warning,
    Error,
}

/// Says what each job does, and what would keep it from doing so.
pub(super) fn run(
    config: Result<Config, CliError>,
    messages: Messages,
    output: &Output,
) -> Result<Exit, CliError> {
    let config = match config {
        Err(CliError::Config(ConfigError::Invalid(problems))) if output.format == Format::Json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| {
                    json!({
                        "line": problem.at.line,
                        "column": problem.at.column,
                        "key_path": problem.key_path,
                        "reason": problem.reason,
                        "remedy": problem.remedy,
                    })
                })
                .collect();
            output.json(&json!({"ok": false, "problems": problems}))?;
            return Ok(Exit::Usage);
        }
        config => config?,
    };
    let mut findings = Vec::new();
    check_page(&config, &mut findings);
    for server in config.servers.values() {
        check_server(server, &mut findings);
    }
    for job in config.jobs.values() {
        check_source(job, &mut findings);
        check_patterns(job, &mut findings);
        if let Some(server) = config.servers.get(&job.server) {
            check_names(job, server, &mut findings);
        }
    }
    check_notify::look(&config, &mut findings);
    if messages == Messages::Sent {
        check_notify::send(&config, &mut findings, output)?;
    }
    let ok = findings.iter().all(|finding| finding.level == Level::Warning);
    match output.format {
        Format::Json => output.json(&described(&config, &findings, ok))?,
        Format::Text => {
            tell(&config, output)?;
            // On a terminal what comes first is out of sight at the end.
            if output.loudness > Loudness::Quiet && !findings.is_empty() {
                output.data("")?;
            }
            for finding in &findings {
                let text = format!("{}: {}", finding.about, finding.text);
                match finding.level {
                    Level::Warning => output.warning(text, finding.remedy.as_deref()),
                    Level::Error => output.problem(text, finding.remedy.as_deref()),
                }
            }
            if findings.is_empty() {
                let sent = match messages {
                    Messages::None => "nothing was sent",
                    Messages::Sent => "no file was sent",
                };
                output.data(format_args!("\nall that can be checked from here is fine; {sent}"))?;
            }
        }
    }
    Ok(findings.iter().map(|finding| finding.exit).fold(Exit::Done, Exit::worst))
}

fn check_page(config: &Config, findings: &mut Vec<Finding>) {
    let open = config.agent.status.as_ref().filter(|page| !page.address.ip().is_loopback());
    if let Some(page) = open {
        let text =
            format!("whoever reaches {} can read it, without a password and without TLS", page.address);
        let remedy = "let a firewall keep others out, or take 127.0.0.1 and a proxy in front of it";
        let (level, about, remedy) = (Level::Warning, "agent.status".to_owned(), Some(remedy.to_owned()));
        findings.push(Finding { level, about, text, remedy, exit: Exit::Done });
    }
    let folder = config.agent.metrics_file.as_ref().and_then(|file| file.parent());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let text = format!("there is no folder {}", folder.display());
        let about = "agent.metrics_file".to_owned();
        findings.push(Finding { level: Level::Warning, about, text, remedy: None, exit: Exit::Done });
    }
}

fn check_server(server: &Server, findings: &mut Vec<Finding>) {
    let about = |key: &str| format!("servers.{}.{key}", server.name);
    let mut add = |key: &str, text: String, remedy: Option<String>| {
        findings.push(Finding { level: Level::Error, about: about(key), text, remedy, exit: Exit::Usage });
    };
    if let Err(error) = secret::resolve(&server.password) {
        let remedy = error.remedy();
        add("password", chain(&error), remedy);
    }
    let mut readable = |key: &str, path: &Path| {
        if let Err(error) = fs::File::open(path) {
            add(key, format!("{}: {}", path.display(), plain(&error)), None);
        }
    };
    server.trust.ca_file.iter().for_each(|path| readable("trust.ca_file", path));
    server.trust.crl_files.iter().for_each(|path| readable("trust.crl_files", path));
    if let Some(certificate) = &server.client_certificate {
        readable("client_certificate.cert_file", &certificate.cert_file);
        readable("client_certificate.key_file", &certificate.key_file);
    }
    // What cannot be read was told already.
    if findings.iter().all(|finding| !finding.about.starts_with(&about("")))
        && let Err(error) = check_tls(server)
    {
        let (about, text) = (format!("servers.{}", server.name), chain(&error));
        findings.push(Finding { level: Level::Error, about, text, remedy: None, exit: Exit::Usage });
    }
}

fn check_source(job: &Job, findings: &mut Vec<Finding>) {
    let path = &job.source;
    let entries = fs::read_dir(path).and_then(|mut entries| entries.next().transpose());
    let (level, text, remedy, exit) = match entries {
        Ok(Some(_)) => return,
        Ok(None) => {
            let text = format!("{} is empty", path.display());
            (Level::Warning, text, "is it the right folder, and is its disk mounted?", Exit::Done)
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let text = format!("{} is not a folder", path.display());
            (Level::Error, text, "name the folder whose files are sent", Exit::Source)
        }
        Err(error) => {
            let text = format!("{}: {}", path.display(), plain(&error));
            (Level::Error, text, "is it the right folder, and is its disk mounted?", Exit::Source)
        }
    };
    let about = format!("jobs.{}.source", job.name);
    findings.push(Finding { level, about, text, remedy: Some(remedy.to_owned()), exit });
}

fn check_patterns(job: &Job, findings: &mut Vec<Finding>) {
    if let Err(error) = Filter::of(job) {
        let about = format!("jobs.{}.{}[{}]", job.name, error.list, error.index);
        let text = format!("`{}`: {}", error.pattern, error.problem);
        findings.push(Finding { level: Level::Error, about, text, remedy: None, exit: Exit::Usage });
    }
}

/// Most files whose names are looked at: so many take less than a second.
const MAX_NAMES_LOOKED_AT: usize = 20_000;

/// Looks for names that the job's server may not take as they are. What keeps the source from being
/// read is told elsewhere.
fn check_names(job: &Job, server: &Server, findings: &mut Vec<Finding>) {
    let (Ok(root), Ok(filter)) = (SourceRoot::of(job), Filter::of(job)) else {
        return;
    };
    let filter = carrying(filter, job, server);
    let (mut twins, mut unsendable) = (Names::default(), Names::default());
    for found in root.scan(&filter, || SystemClock.now()).take(MAX_NAMES_LOOKED_AT) {
        let Found::File { path, twins: its_twins, .. } = found else { continue };
        if let Some(twin) = its_twins.iter().next() {
            twins.add(|| format!("`{path}` {twin}"));
        }
        if let Err(error) = check_sendable(job, server, &path) {
            unsendable.add(|| format!("`{path}`: {error}"));
        }
    }
    let about = format!("jobs.{}.source", job.name);
    let mut add = |text: String, remedy: &str| {
        let (about, remedy) = (about.clone(), Some(remedy.to_owned()));
        findings.push(Finding { level: Level::Warning, about, text, remedy, exit: Exit::Done });
    };
    if let Some(text) = twins.told("that some servers take for another's") {
        add(text, "none of these is sent where the server does not tell them apart: rename one of each");
    }
    if let Some(text) = unsendable.told("that cannot be sent") {
        add(text, "rename them, or give the `charset` that the server uses");
    }
}

/// Files of which the first is named and the others are counted.
#[derive(Default)]
struct Names {
    first: Option<String>,
    number: u64,
}

impl Names {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.first.get_or_insert_with(text);
        self.number += 1;
    }

    fn told(self, what: &str) -> Option<String> {
        let first = self.first?;
        Some(format!("{} with a name {what}; the first: {}", count(self.number, "file"), escaped(&first)))
    }
}

/// Columns of a label with the space behind it.
const LABEL: usize = 10;

fn tell(config: &Config, output: &Output) -> Result<(), CliError> {
    let number = |number: usize, thing| count(u64::try_from(number).unwrap_or(u64::MAX), thing);
    let servers = number(config.servers.len(), "server");
    let jobs = number(config.jobs.len(), "job");
    let tell = |text: &str| output.data(folded(text, LABEL, output.data_width));
    tell(&format!("{}: {servers}, {jobs}", config.path.display()))?;
    tell(&format!("state: {}", config.agent.state_dir.display()))?;
    let told = check_notify::in_words(&config.agent.notify, "\ntells of all jobs: ");
    if !told.is_empty() {
        tell(told.trim_start())?;
    }
    for job in config.jobs.values() {
        if let Some(server) = config.servers.get(&job.server) {
            let times = timing::in_words(&job.timing, job.watch.as_ref(), SystemClock.now());
            let told = check_notify::in_words(&job.notify, "\n  tells     ");
            tell(&format!("\n{}{times}{told}", job_in_words(job, server)))?;
        }
    }
    Ok(())
}

fn publishing(publish: PublishWay) -> &'static str {
    match publish {
        PublishWay::Rename => "",
        PublishWay::Direct => {
            "\n  STORES    FILES UNDER THEIR FINAL NAMES AT ONCE (publish: direct): readers may see half a file, and \
             after a crash one may be delivered twice"
        }
    }
}

fn job_in_words(job: &Job, server: &Server) -> String {
    let files = match (job.include.as_slice(), job.exclude.as_slice()) {
        ([], []) => "all files".to_owned(),
        ([], but) => format!("all files but {}", but.join(", ")),
        (only, []) => only.join(", "),
        (only, but) => format!("{} but not {}", only.join(", "), but.join(", ")),
    };
    let tls = match server.tls {
        TlsMode::Explicit => "explicit",
        TlsMode::Implicit => "implicit",
    };
    let versions = match (server.tls_versions.min, server.tls_versions.max) {
        (TlsVersion::V1_2, TlsVersion::V1_3) => "TLS 1.2 or 1.3".to_owned(),
        (_, only) => format!("{only} only"),
    };
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let verify = match job.verify {
        VerifyPolicy::Auto => {
            "the server's own hash; where it has none, by reading back, which doubles the traffic"
        }
        VerifyPolicy::Hash => "the server's own hash and nothing else",
        VerifyPolicy::ReadBack => "reading it back, which doubles the traffic",
        VerifyPolicy::Size => "its size alone, which says nothing of the bytes",
    };
    let mode = match job.mode {
        Mode::Mirror => "the files stay there (mirror)",
        Mode::Drop => "somebody takes the files away (drop)",
    };
    let overwrite = match job.overwrite {
        Overwrite::Refuse => "left alone, and the file fails",
        Overwrite::Replace => "replaced",
    };
    let publish = publishing(job.publish);
    let afterwards = match &job.after_delivery {
        AfterDelivery::Keep => String::new(),
        AfterDelivery::Delete => {
            "\n  deletes   each file from the source once its delivery is recorded".to_owned()
        }
        AfterDelivery::MoveTo(folder) => {
            format!("\n  moves     each file to {} once its delivery is recorded", folder.display())
        }
    };
    let limits = format!(
        "at most {} % or {} files a run, after a complete scan",
        job.deletes.max_percent, job.deletes.max_files
    );
    let deletes = match job.deletes.remote {
        RemoteDelete::Keep => String::new(),
        RemoteDelete::Trash => format!(
            "\n  trashes   on the server what is gone from the source: {limits}; kept for {} days",
            job.deletes.trash_days
        ),
        RemoteDelete::Delete => format!("\n  deletes   on the server what is gone from the source: {limits}"),
    };
    format!(
        "job {}\n  sends     {files} below {}\n  to        {} on {}@{host}:{} ({tls} {versions}; server {}){}\n  \
         trusts    {}\n  proves    each file by {verify}\n  expects   that {mode}\n  \
         others'   files under the same names are {overwrite}{publish}{afterwards}{deletes}",
        job.name,
        job.source.display(),
        job.destination,
        server.username,
        server.port,
        server.name,
        bandwidth_in_words(&server.bandwidth),
        trust_in_words(server),
    )
}

fn bandwidth_in_words(bandwidth: &Bandwidth) -> String {
    if bandwidth.is_unlimited() {
        return String::new();
    }
    let fast = |limit: Option<Rate>| limit.map_or_else(|| "unlimited".to_owned(), |rate| rate.to_string());
    let hours = bandwidth
        .timetable
        .iter()
        .flat_map(|entry| entry.hours.iter().map(|window| format!(", {window} {}", fast(entry.limit))));
    let hours = hours.collect::<String>();
    format!("\n  at most   {} each way, over all jobs of that server{hours}", fast(bandwidth.limit))
}

fn trust_in_words(server: &Server) -> String {
    let trust = &server.trust;
    let authorities = match &trust.ca_file {
        Some(file) => format!("the authorities in {}", file.display()),
        None => "the system's authorities".to_owned(),
    };
    let unless = if trust.crl_files.is_empty() { "" } else { ", unless revoked" };
    let pinned = match trust.pins.len() {
        0 => return format!("{authorities}{unless}"),
        1 => "the one pinned key".to_owned(),
        pins => format!("any of {pins} pinned keys"),
    };
    match trust.ca_file {
        Some(_) => format!("{authorities}{unless}, and {pinned} only"),
        None => pinned,
    }
}

fn described(config: &Config, findings: &[Finding], ok: bool) -> serde_json::Value {
    let servers: Vec<_> = config.servers.values().map(|server| {
        json!({"name": server.name, "host": server.host, "port": server.port, "username": server.username})
    }).collect();
    let now = SystemClock.now();
    let jobs: Vec<_> = config
        .jobs
        .values()
        .map(|job| {
            json!({
                "name": job.name,
                "source": job.source,
                "server": job.server,
                "destination": job.destination,
                "schedule": timing::described(&job.timing, now),
            })
        })
        .collect();
    json!({
        "ok": ok,
        "config": config.path,
        "state_dir": config.agent.state_dir,
        "servers": servers,
        "jobs": jobs,
        "findings": findings,
    })
}
