//! The section `agent`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::section::{Keys, Later, Section, Value};
use super::{AgentConfig, LogConfig, LogFormat, LogLevel, path_below};
use super::{notify, status, zone};
use crate::domain::Zone;

const KEYS: Keys = Keys {
    known: &["state_dir", "timezone", "log", "status", "metrics_file", "notify"],
    later: &[Later { key: "hooks", instead: "use `notify`" }],
};

/// Where system services keep their state.
const SYSTEM_STATE_DIR: &str = "/var/lib/nightferry";

pub(super) fn read(
    root: &Section<'_>,
    folder: &Path,
    default_state_dir: Option<PathBuf>,
    zone: Option<Zone>,
) -> Option<AgentConfig> {
    let zone = zone.or_else(zone::of_system).unwrap_or(Zone::UTC);
    let section = match root.optional("agent") {
        Some(agent) => Some(Section::new(&agent, &KEYS)?),
        None => None,
    };
    let state_dir = section.as_ref().and_then(|section| section.optional("state_dir"));
    let state_dir = match (state_dir, default_state_dir) {
        (Some(state_dir), _) => path_below(folder, &state_dir),
        (None, Some(default)) => Some(default),
        (None, None) => {
            let place = &section.as_ref().unwrap_or(root).place;
            let reason = "there is no folder for the state: neither $STATE_DIRECTORY nor $HOME is set";
            place.refuse(reason, "name one as `agent: {state_dir: /path}`");
            None
        }
    };
    let Some(section) = section else {
        let (log, notify) = (LogConfig::default(), Vec::new());
        return Some(AgentConfig {
            state_dir: state_dir?,
            zone,
            log,
            status: None,
            metrics_file: None,
            notify,
        });
    };
    let log = section.optional_or("log", LogConfig::default(), |value| log(value));
    let status = section.optional_or("status", None, |value| status::read(value).map(Some));
    let metrics_file = section.optional_or("metrics_file", None, |value| path_below(folder, value).map(Some));
    let notify = notify::read(&section, folder);
    Some(AgentConfig {
        state_dir: state_dir?,
        zone,
        log: log?,
        status: status?,
        metrics_file: metrics_file?,
        notify: notify?,
    })
}

const LOG_KEYS: Keys = Keys { known: &["format", "level"], later: &[] };

fn log(value: &Value<'_>) -> Option<LogConfig> {
    let section = Section::new(value, &LOG_KEYS)?;
    let format = section.optional_or("format", LogFormat::default(), |value| {
        value.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let level = section.optional_or("level", LogLevel::default(), |value| {
        value.choice(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
        ])
    });
    Some(LogConfig { format: format?, level: level? })
}

/// The zone of jobs that name none; the inner `None` where the file does not name it.
#[expect(clippy::option_option, reason = "the outer one says that it is wrong, as everywhere here")]
pub(super) fn zone(root: &Section<'_>) -> Option<Option<Zone>> {
    // Its keys are checked where the others are read.
    let Some(value) = root.optional("agent").and_then(|agent| agent.get("timezone")) else {
        return Some(None);
    };
    zone::read(&value).map(Some)
}

/// Where the state is kept if the file does not say so: the folder that systemd made
/// (`$STATE_DIRECTORY`), for root [`SYSTEM_STATE_DIR`], for others a folder in their home
/// (XDG Base Directory Specification, 0.8). `None` where the environment names none.
pub(super) fn default_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    choose_state_dir(rustix::process::geteuid().is_root().then_some(Path::new(SYSTEM_STATE_DIR)), variable)
}

fn choose_state_dir(of_root: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // Relative ones are to be ignored, says the specification; and systemd gives several with
    // colons between them, of which the first is meant.
    let absolute = |name: &str| {
        let value = variable(name)?;
        let first = std::env::split_paths(&value).next()?;
        first.is_absolute().then_some(first)
    };
    absolute("STATE_DIRECTORY")
        .or_else(|| of_root.map(Path::to_owned))
        .or_else(|| absolute("XDG_STATE_HOME").map(|home| home.join("nightferry")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/nightferry")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of_root: Option<&str>, variables: &[(&str, &str)], expected: Option<&str>) {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        let found = choose_state_dir(of_root.map(Path::new), variable);
        assert_eq!(found.as_deref(), expected.map(Path::new), "{variables:?}");
    }

    #[test]
    fn state_stands_where_the_system_expects_it() {
        let home = ("HOME", "/home/u");
        check(None, &[home], Some("/home/u/.local/state/nightferry"));
        check(None, &[home, ("XDG_STATE_HOME", "/s")], Some("/s/nightferry"));
        check(None, &[home, ("XDG_STATE_HOME", "s")], Some("/home/u/.local/state/nightferry"));
        check(None, &[home, ("STATE_DIRECTORY", "/var/lib/n:/var/lib/o")], Some("/var/lib/n"));
        check(Some(SYSTEM_STATE_DIR), &[home], Some(SYSTEM_STATE_DIR));
        check(Some(SYSTEM_STATE_DIR), &[("STATE_DIRECTORY", "/var/lib/n")], Some("/var/lib/n"));
        check(None, &[], None);
    }
}
