//! The section `jobs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::nearest::nearest;
use super::path_below;
use super::section::{Keys, Later, Section, Value};
use super::server::Servers;
use super::{Surroundings, notify, triggers, watching};
use crate::domain::{
    AfterDelivery, Deletes, Job, JobName, Mode, Overwrite, ParseNameError, PathError, PublishWay, RelPath,
    RemoteDelete, RemotePath, ServerName, Sidecar, Sidecars, Symlinks, Target, TargetId, VerifyPolicy,
};

const SYNC_INSTEAD: &str = "take it out, and start `nightferry sync` from cron or a systemd timer";

pub(super) const KEYS: Keys = Keys {
    known: &[
        "source",
        "server",
        "destination",
        "mode",
        "include",
        "exclude",
        "symlinks",
        "verify",
        "verify_every",
        "overwrite",
        "publish",
        "sidecars",
        "after_delivery",
        "delete",
        "schedule",
        "timezone",
        "jitter",
        "catch_up",
        "window",
        "deadline",
        "expect",
        "max_age",
        "max_wait",
        "unusual",
        "watch",
        "notify",
    ],
    later: &[
        Later { key: "retry", instead: SYNC_INSTEAD },
        Later { key: "bandwidth", instead: "take it out; all that the line gives is used" },
        Later { key: "hooks", instead: "take it out, and run commands after `nightferry sync`" },
        Later { key: "temporary", instead: "take it out; temporary files stand beside the final ones" },
    ],
};

const JOBS_REMEDY: &str =
    "add `jobs:` with a name for each job, and below it `source`, `server` and `destination`";

pub(super) fn read_all(root: &Section<'_>, around: Surroundings<'_>) -> BTreeMap<JobName, Job> {
    let Some(section) = root.required("jobs", JOBS_REMEDY) else { return BTreeMap::new() };
    let Some(entries) = section.entries() else { return BTreeMap::new() };
    if entries.is_empty() {
        section.place.refuse("there is no job", JOBS_REMEDY);
    }
    let mut targets: BTreeMap<TargetId, JobName> = BTreeMap::new();
    let mut jobs = BTreeMap::new();
    for (name, value) in &entries {
        let Some(job) = job(name, value, around) else { continue };
        if let Some(server) = around.servers.read.get(&job.server) {
            let target = Target::of(&job, server).id();
            if let Some(other) = targets.insert(target, job.name.clone()) {
                let reason = format!("the same source, server and destination as job `{other}`");
                value.place.refuse(reason, "join the two; what is known of a file belongs to one job");
            }
        }
        jobs.insert(job.name.clone(), job);
    }
    jobs
}

fn job(name: &str, value: &Value<'_>, around: Surroundings<'_>) -> Option<Job> {
    let Surroundings { folder, servers, zone } = around;
    let name = name.parse().map_err(|error: ParseNameError| value.place.refuse(error.to_string(), ""));
    let section = Section::new(value, &KEYS)?;
    let source = section.required("source", "add the folder whose files are sent");
    let server_name = section.required("server", "add the name of one of `servers`");
    let destination = section.required("destination", "add the folder on the server, as in `/incoming`");
    let source = source.and_then(|value| path_below(folder, &value));
    let server_name = server_name.and_then(|value| self::server_name(&value, servers));
    let destination = destination.and_then(|value| self::destination(&value));
    let mode = section.optional_or("mode", Mode::default(), |value| {
        value.choice(&[("mirror", Mode::Mirror), ("drop", Mode::Drop)])
    });
    let include = section.optional_or("include", Vec::new(), |value| value.list(glob));
    let exclude = section.optional_or("exclude", Vec::new(), |value| value.list(glob));
    let symlinks = section.optional_or("symlinks", Symlinks::default(), |value| {
        value.choice(&[("skip", Symlinks::Skip), ("follow", Symlinks::Follow), ("fail", Symlinks::Fail)])
    });
    let verify = section.optional_or("verify", VerifyPolicy::default(), |value| {
        value.choice(&[
            ("auto", VerifyPolicy::Auto),
            ("hash", VerifyPolicy::Hash),
            ("read-back", VerifyPolicy::ReadBack),
            ("size", VerifyPolicy::Size),
        ])
    });
    let overwrite = section.optional_or("overwrite", Overwrite::default(), |value| {
        value.choice(&[("refuse", Overwrite::Refuse), ("replace", Overwrite::Replace)])
    });
    let publish = section.optional_or("publish", PublishWay::default(), |value| {
        value.choice(&[("rename", PublishWay::Rename), ("direct", PublishWay::Direct)])
    });
    let sidecars = section.optional_or("sidecars", Sidecars::NONE, |value| {
        let kinds = [("sha256", Sidecar::Sha256), ("done", Sidecar::Done)];
        Some(value.list(|item| item.choice(&kinds))?.into_iter().collect())
    });
    let after = section
        .optional_or("after_delivery", AfterDelivery::default(), |value| after_delivery(value, folder));
    let symlinks = symlinks.zip(after.as_ref()).and_then(|(links, after)| leaving(links, after, &section));
    let deletes = section.optional_or("delete", Deletes::default(), deletes);
    let deletes = deletes.zip(mode).and_then(|(it, mode)| fitting(it, mode, after.as_ref(), &section));
    let after_delivery =
        after.zip(source.as_ref()).and_then(|(after, source)| outside(after, source, &section));
    let timing = triggers::read(&section, zone, mode);
    let watch = section.optional_or("watch", None, |value| {
        if watching::is_off(value) { Some(None) } else { watching::read(value).map(Some) }
    });
    let notify = notify::read(&section, folder);
    Some(Job {
        name: name.ok()?,
        source: source?,
        server: server_name?,
        destination: destination?,
        mode: mode?,
        include: include?,
        exclude: exclude?,
        symlinks: symlinks?,
        verify: verify?,
        overwrite: overwrite?,
        publish: publish?,
        sidecars: sidecars?,
        after_delivery: after_delivery?,
        deletes: deletes?,
        timing: timing?,
        watch: watch?,
        notify: notify?,
    })
}

const DELETE_KEYS: Keys =
    Keys { known: &["remote", "max_percent", "max_files", "marker", "trash_days"], later: &[] };

/// What becomes of remote files whose source is gone.
fn deletes(value: &Value<'_>) -> Option<Deletes> {
    let section = Section::new(value, &DELETE_KEYS)?;
    let choices =
        [("keep", RemoteDelete::Keep), ("trash", RemoteDelete::Trash), ("delete", RemoteDelete::Delete)];
    let remote = section.optional_or("remote", RemoteDelete::default(), |value| value.choice(&choices));
    let max_percent = section
        .optional_or("max_percent", u16::from(Deletes::DEFAULT_PERCENT), |value| value.number(0..=100));
    let max_files = section
        .optional_or("max_files", Deletes::DEFAULT_FILES, |value| value.number(0..=u16::MAX).map(u64::from));
    let marker = section.optional_or("marker", None, |value| marker(value).map(Some));
    let trash_days =
        section.optional_or("trash_days", Deletes::DEFAULT_TRASH_DAYS, |value| value.number(1..=3650));
    Some(Deletes {
        remote: remote?,
        max_percent: u8::try_from(max_percent?).ok()?,
        max_files: max_files?,
        marker: marker?,
        trash_days: trash_days?,
    })
}

fn marker(value: &Value<'_>) -> Option<RelPath> {
    let text = value.text()?;
    RelPath::new(text).ok().or_else(|| value.expected("a path below the source", "as in `.mounted`"))
}

/// Where files go away by themselves, their absence means nothing. `after` is nothing where it is wrong.
fn fitting(
    deletes: Deletes,
    mode: Mode,
    after: Option<&AfterDelivery>,
    job: &Section<'_>,
) -> Option<Deletes> {
    if deletes.remote == RemoteDelete::Keep {
        return Some(deletes);
    }
    let reason = match (mode, after) {
        (Mode::Mirror, None | Some(AfterDelivery::Keep)) => return Some(deletes),
        (Mode::Drop, _) => "goes with `mode: mirror` only: in a drop the consumer takes files away",
        (Mode::Mirror, Some(AfterDelivery::Delete | AfterDelivery::MoveTo(_))) => {
            "does not go with `after_delivery`: what leaves the source after its delivery would be deleted there"
        }
    };
    if let Some(value) = job.optional("delete") {
        value.place.refuse(reason, "take one of the two out");
    }
    None
}

const AFTER_DELIVERY_KEYS: Keys = Keys { known: &["move_to"], later: &[] };

fn after_delivery(value: &Value<'_>, folder: &Path) -> Option<AfterDelivery> {
    if value.is_single() {
        let remedy = "write `keep`, `delete` or `{move_to: /folder}`";
        return match value.text()?.as_str() {
            "keep" => Some(AfterDelivery::Keep),
            "delete" => Some(AfterDelivery::Delete),
            _ => value.expected("what becomes of a source file", remedy),
        };
    }
    let section = Section::new(value, &AFTER_DELIVERY_KEYS)?;
    let move_to = section.required("move_to", "name the folder to which delivered files are moved")?;
    path_below(folder, &move_to).map(AfterDelivery::MoveTo)
}

/// A folder inside the source would be sent again, and so on for ever.
fn outside(after: AfterDelivery, source: &Path, job: &Section<'_>) -> Option<AfterDelivery> {
    match &after {
        AfterDelivery::MoveTo(folder) if folder.starts_with(source) => {
            if let Some(value) = job.optional("after_delivery") {
                let remedy = "name a folder beside the source; best on the same file system";
                value.place.refuse("`move_to` lies inside the source, and would be sent again", remedy);
            }
            None
        }
        AfterDelivery::Keep | AfterDelivery::Delete | AfterDelivery::MoveTo(_) => Some(after),
    }
}

/// What lies behind a link would be taken from where it stands, or only the link.
fn leaving(links: Symlinks, after: &AfterDelivery, job: &Section<'_>) -> Option<Symlinks> {
    match (links, after) {
        (Symlinks::Skip | Symlinks::Fail, _) | (Symlinks::Follow, AfterDelivery::Keep) => Some(links),
        (Symlinks::Follow, AfterDelivery::Delete | AfterDelivery::MoveTo(_)) => {
            if let Some(value) = job.optional("symlinks") {
                let reason = "`follow` does not go with `after_delivery`: one file may have several names";
                value.place.refuse(reason, "take one of the two out");
            }
            None
        }
    }
}

fn server_name(value: &Value<'_>, servers: &Servers) -> Option<ServerName> {
    let name = value.text()?;
    if servers.named.contains(&name) {
        // A server with a bad name has been reported at its own place.
        return name.parse().ok();
    }
    let remedy = match nearest(&name, servers.named.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "add it under `servers`".to_owned(),
    };
    value.place.refuse(format!("there is no server {}", super::tree::shown(&name)), remedy);
    None
}

fn destination(value: &Value<'_>) -> Option<RemotePath> {
    let text = value.text()?;
    let reason = match RemotePath::new(&text) {
        Ok(path) => return Some(path),
        // Its text tells how to mend a file's name.
        Err(PathError::Control { .. }) => {
            "a folder with control characters in its name is not taken".to_owned()
        }
        Err(error) => error.to_string(),
    };
    value.place.refuse(reason, "name a folder on the server, as in `/incoming`, or `.`");
    None
}

fn glob(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let reason = match globset::Glob::new(&text) {
        Ok(_) if text.is_empty() => "an empty glob matches no file".to_owned(),
        Ok(_) => return Some(text),
        Err(error) => format!("not a glob: {}", error.kind()),
    };
    value.place.refuse(reason, "as in `*.csv`, `reports/**` or `{a,b}.txt`");
    None
}
