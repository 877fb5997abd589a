//! The text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>): what its server scrapes, and what
//! `node_exporter` reads from files. Its younger sibling `OpenMetrics` names a counter without its
//! `_total` in the line with the type, so that `node_exporter` would lose all types of counters.

use std::fmt::Write as _;

use super::Metrics;
use super::family::{Metric, Scale};

/// What stands in front of every name.
const PREFIX: &str = "nightferry_";

impl Metrics {
    /// All metrics that have a value.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for metric in Metric::ALL {
            let Some(values) = self.values.get(&metric).filter(|values| !values.is_empty()) else { continue };
            let family = metric.family();
            let (name, help, kind) = (family.name, family.help, family.kind.word());
            push(&mut text, format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"));
            for (labels, value) in values {
                push(&mut text, format_args!("{PREFIX}{name}"));
                let pairs = family.labels.iter().zip(labels);
                for (nth, (label, of)) in pairs.enumerate() {
                    let before = if nth == 0 { '{' } else { ',' };
                    push(&mut text, format_args!("{before}{label}=\"{}\"", escaped(of)));
                }
                let close = if labels.is_empty() { "" } else { "}" };
                push(&mut text, format_args!("{close} {}\n", number(*value, family.scale)));
            }
        }
        text
    }

    /// Takes over what a text says, so that counters go on where another process ended. Lines that
    /// are none of [`text`](Self::text)'s are left out.
    pub fn take_over(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((metric, labels, value)) = read(line) {
                self.values.entry(metric).or_default().insert(labels, value);
            }
        }
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _infallible = text.write_fmt(more);
}

fn number(value: u64, scale: Scale) -> String {
    match scale {
        Scale::One => value.to_string(),
        Scale::Thousandth => format!("{}.{:03}", value / 1_000, value % 1_000),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One line of ours. Names of jobs and servers hold neither quotes nor commas, and what has some is
/// left out.
fn read(line: &str) -> Option<(Metric, Vec<String>, u64)> {
    let (series, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let metric = Metric::ALL.into_iter().find(|metric| metric.family().name == name)?;
    let family = metric.family();
    let given: Vec<&str> = if labels.is_empty() { Vec::new() } else { labels.split(',').collect() };
    if given.len() != family.labels.len() {
        return None;
    }
    let label = |(name, given): (&&str, &str)| {
        let value = given.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"')?;
        (!value.contains(['"', '\\'])).then(|| value.to_owned())
    };
    let labels: Option<Vec<String>> = family.labels.iter().zip(given).map(label).collect();
    let value = match family.scale {
        Scale::One => value.parse().ok()?,
        Scale::Thousandth => {
            let (whole, part) = value.split_once('.').filter(|(_, part)| part.len() == 3)?;
            let (whole, part) = (whole.parse::<u64>().ok()?, part.parse::<u64>().ok()?);
            whole.checked_mul(1_000)?.checked_add(part)?
        }
    };
    Some((metric, labels?, value))
}
