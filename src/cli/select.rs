//! Which configuration, which jobs, which servers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::config::{self, Config, nearest};
use crate::domain::{Job, JobName, Server, ServerName};
use crate::observe::escaped;

/// Where a configuration is looked for if none is named, in this order.
const DEFAULT_PATHS: [&str; 2] = ["/etc/nightferry/jobs.yaml", "jobs.yaml"];

/// Reads the named configuration, or the first default one that exists.
pub(super) fn config(named: Option<&Path>) -> Result<Config, CliError> {
    if let Some(path) = named {
        return Ok(config::load(path)?);
    }
    let looked_at: Vec<_> = DEFAULT_PATHS.map(PathBuf::from).to_vec();
    // What cannot be looked at may well exist: reading it then tells why.
    let found = looked_at.iter().find(|path| path.try_exists().unwrap_or(true)).cloned();
    Ok(config::load(&found.ok_or(CliError::NoConfig { looked_at })?)?)
}

/// The named jobs, each once, in the order in which they are named; all where none is.
pub(super) fn jobs<'c>(config: &'c Config, names: &[String]) -> Result<Vec<&'c Job>, CliError> {
    if names.is_empty() {
        return Ok(config.jobs.values().collect());
    }
    let mut jobs: Vec<&Job> = Vec::new();
    for name in names {
        let job = config.jobs.values().find(|job| job.name.as_str() == name);
        let job = job.ok_or_else(|| unknown_job(name, config.jobs.keys()))?;
        if !jobs.iter().any(|known| known.name == job.name) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// The named servers, each once, in the order in which they are named; all where none is.
pub(super) fn servers<'c>(config: &'c Config, names: &[String]) -> Result<Vec<&'c Server>, CliError> {
    if names.is_empty() {
        return Ok(config.servers.values().collect());
    }
    let mut servers: Vec<&Server> = Vec::new();
    for name in names {
        let server = config.servers.values().find(|server| server.name.as_str() == name);
        let server = server.ok_or_else(|| unknown_server(config, name))?;
        if !servers.iter().any(|known| known.name == server.name) {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn unknown_server(config: &Config, name: &str) -> CliError {
    let remedy = if let Some(meant) = nearest(name, config.servers.keys().map(ServerName::as_str)) {
        format!("did you mean `{meant}`?")
    } else {
        let known: Vec<_> = config.servers.keys().map(|server| format!("`{server}`")).collect();
        format!("the servers are {}", known.join(", "))
    };
    CliError::NoServer { name: escaped(name).into_owned(), remedy }
}

/// That there is no such job among these.
pub(super) fn unknown_job<'j>(name: &str, jobs: impl Iterator<Item = &'j JobName> + Clone) -> CliError {
    let remedy = if let Some(meant) = nearest(name, jobs.clone().map(JobName::as_str)) {
        format!("did you mean `{meant}`?")
    } else {
        let known: BTreeSet<_> = jobs.map(|job| format!("`{job}`")).collect();
        let known: Vec<_> = known.into_iter().collect();
        format!("the jobs are {}", known.join(", "))
    };
    CliError::UnknownJob { name: escaped(name).into_owned(), remedy }
}
