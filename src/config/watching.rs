//! The key `watch` of a job.

use std::time::Duration;

use super::section::{Keys, Section, Value};
use super::triggers::up_to;
use crate::domain::{ParseMarkerError, Rest, Watching};

/// Longer would hold files back that nobody writes any more; such writers need a `ready_marker`.
const MAX_SETTLE: Duration = Duration::from_hours(1);
/// Walking the source more often would be all that the agent does.
const MIN_POLL: Duration = Duration::from_secs(1);
const MAX_POLL: Duration = Duration::from_hours(24);
const MIN_RECONCILE: Duration = Duration::from_mins(1);
/// Events can be lost without a word, so a walk through all must come at least so often.
const MAX_RECONCILE: Duration = Duration::from_hours(7 * 24);

const KEYS: Keys = Keys { known: &["settle", "ready_marker", "poll", "reconcile"], later: &[] };

/// Whether it says that the source is not watched.
pub(super) fn is_off(value: &Value<'_>) -> bool {
    value.is_single() && value.text().is_some_and(|text| text == "false")
}

/// How the source is watched.
pub(super) fn read(value: &Value<'_>) -> Option<Watching> {
    if value.is_single() {
        return match value.text()?.as_str() {
            "true" => Some(Watching::default()),
            _ => {
                value.expected("how the source is watched", "write `true` or, as an example, `{settle: 5s}`")
            }
        };
    }
    let section = Section::new(value, &KEYS)?;
    let rest = section
        .optional_or("settle", Rest::default(), |value| up_to(value, Duration::ZERO, MAX_SETTLE).map(Rest));
    let ready_marker = section.optional_or("ready_marker", None, |value| {
        let refuse = |error: ParseMarkerError| value.place.refuse(error.to_string(), "as in `\"*.done\"`");
        value.text()?.parse().map_err(refuse).ok().map(Some)
    });
    let poll = section.optional_or("poll", Watching::DEFAULT_POLL, |value| up_to(value, MIN_POLL, MAX_POLL));
    let reconcile = section.optional_or("reconcile", Watching::DEFAULT_RECONCILE, |value| {
        up_to(value, MIN_RECONCILE, MAX_RECONCILE)
    });
    Some(Watching { rest: rest?, ready_marker: ready_marker?, poll: poll?, reconcile: reconcile? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Problems, parse};
    use super::*;

    fn watching(watch: &str) -> Result<Option<Watching>, String> {
        let text = format!(
            "version: 1\nagent: {{state_dir: /state}}\nservers: {{s: {{host: h, username: u, password: {{env: P}}}}}}\n\
             jobs:\n  j:\n    source: /s\n    server: s\n    destination: /d\n{watch}"
        );
        parse(text.as_bytes(), Path::new("/etc/jobs.yaml"), None)
            .map(|config| config.jobs.into_values().next().unwrap().watch)
            .map_err(|problems| Problems::new("jobs.yaml".into(), problems).to_string())
    }

    #[test]
    fn all_keys_are_read() {
        assert_eq!(watching(""), Ok(None));
        assert_eq!(watching("    watch: false\n"), Ok(None));
        assert_eq!(watching("    watch: true\n"), Ok(Some(Watching::default())));
        let all = "    watch: {settle: 0s, ready_marker: \"*.done\", poll: 10s, reconcile: 2h}\n";
        let expected = Watching {
            rest: Rest(Duration::ZERO),
            ready_marker: Some("*.done".parse().unwrap()),
            poll: Duration::from_secs(10),
            reconcile: Duration::from_hours(2),
        };
        assert_eq!(watching(all), Ok(Some(expected)));
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_remedy() {
        let told: Vec<String> = [
            "    watch: always\n",
            "    watch: [a]\n",
            "    watch: {settle: 2h, ready_marker: done, poll: 0s, reconcile: 8d, settel: 1s}\n",
            "    watch:\n      ready_marker: \"*/x\"\n      reconcile: often\n",
        ]
        .into_iter()
        .map(|keys| format!("{keys}--\n{}\n", watching(keys).unwrap_err()))
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
