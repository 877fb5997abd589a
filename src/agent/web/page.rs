//! The page for people: how each job is, and what to do about it. HTML without scripts, made of what the
//! agent says; names in it are data, and every one is escaped.

mod words;

use std::fmt::Display;

use self::words::{Mood, ago, mood, todo, verdict};
use crate::agent::status::{
    AlertStatus, JobState, JobStatus, Readiness, RunProgress, RunStatus, ServerStatus, Status, days_left,
};
use crate::domain::{FailedFile, Timestamp, Zone};
use crate::observe::{bytes, count, duration, escaped, parked, rate};

/// The page's style.
pub(super) const STYLE: &str = include_str!("page/style.css");

/// How often the page is asked for again, in seconds: about as often as a person looks.
const AGAIN_SECONDS: u32 = 15;

/// From when on a certificate is to be renewed soon: time enough to ask a partner for it.
const SOON_DAYS: i64 = 30;

/// Most failed files of a job that are named.
const MAX_FILES: usize = 10;

/// The whole page. Times are shown in the zone of their job, else in that of the agent.
pub(super) fn page(status: &Status, now: Timestamp) -> String {
    let zone = status.zone.as_ref().and_then(|name| name.parse().ok()).unwrap_or(Zone::UTC);
    let (mood, headline) = verdict(status);
    let of = |wanted: Mood| status.jobs.iter().filter(move |job| words::mood(job) == wanted);
    let troubled = of(Mood::Bad).chain(of(Mood::Passing));
    let late = late(status, now, zone);
    let others: Vec<_> =
        status.jobs.iter().filter(|job| !matches!(words::mood(job), Mood::Bad | Mood::Passing)).collect();
    let cards: String = troubled.map(|job| card(job, now, zone)).collect();
    let table = if others.is_empty() { String::new() } else { table(&others, now, zone) };
    let servers: String = status.servers.iter().map(|server| certificates(server, now)).collect();
    let servers = match servers.as_str() {
        "" => String::new(),
        rows => format!("<section><h2>Servers</h2><ul class=\"servers\">{rows}</ul></section>"),
    };
    let since = status
        .since
        .map_or_else(String::new, |since| format!(", running for {}", words::span(now.since(since))));
    let (version, shown) = (text(&status.version), text(words::minute(now, zone)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{AGAIN_SECONDS}\">\n\
         <title>{title} – Nightferry</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
         <header class=\"{class}\"><p class=\"name\">Nightferry</p><h1>{title}</h1>\
         <p class=\"as-of\">{shown}</p></header>\n<main>\n{notes}{late}{cards}{table}{servers}</main>\n\
         <footer>Nightferry {version}{since}. This page is made anew every {AGAIN_SECONDS} seconds.</footer>\n\
         </body>\n</html>\n",
        title = text(&headline),
        class = mood.class(),
        notes = notes(status),
    )
}

/// What concerns all jobs.
fn notes(status: &Status) -> String {
    let mut notes = Vec::new();
    match status.readiness {
        Readiness::Ready => {}
        Readiness::Stopping => notes.push("The agent is stopping; files under way may end.".to_owned()),
        Readiness::CannotRecord => notes.push(
            "Nothing can be recorded, so no run is begun. Is the disk full? The agent tries again by itself, \
             and its log says more."
                .to_owned(),
        ),
        Readiness::NoAgent => notes.push("No agent runs.".to_owned()),
    }
    if let Some(cause) = &status.refused_configuration {
        notes.push(format!(
            "The new configuration has a mistake, and the old one goes on: {cause}. Run `nightferry check`."
        ));
    }
    let note = |note: &String| format!("<p class=\"note\">{}</p>\n", prose(note));
    notes.iter().map(note).collect()
}

/// What was expected and has not come, though no run need have failed.
fn late(status: &Status, now: Timestamp, zone: Zone) -> String {
    let row = |alert: &AlertStatus| {
        let job = alert.job.as_ref()?;
        let zone =
            status.jobs.iter().find(|status| status.job == *job).map_or(zone, |job| zone_of(job, zone));
        let since = time(alert.since, now, zone);
        let (badge, todo) = words::alert(alert.kind, job);
        Some(format!(
            "<article class=\"bad\"><h2>{} <span class=\"badge\">{badge}</span></h2>\
             <p class=\"cause\">{}</p><p>Since {since}.</p>\
             <p class=\"todo\"><strong>What to do:</strong> {}</p></article>\n",
            text(job),
            prose(&alert.cause),
            prose(todo),
        ))
    };
    words::beside_runs(status).filter_map(row).collect()
}

/// A job that needs a look.
fn card(job: &JobStatus, now: Timestamp, zone: Zone) -> String {
    let zone = zone_of(job, zone);
    let mut body = String::new();
    let mut put = |html: String| body.push_str(&html);
    if let Some(last) = &job.last {
        put(format!("<p>Last run {}: {}</p>", time(last.began, now, zone), text(words::result(last))));
        if last.is_parked() {
            put(format!("<p class=\"cause\">The job is parked: {}.</p>", prose(parked(&last.counts))));
        }
        if let Some(stopped) = &last.stopped {
            put(format!("<p class=\"cause\">{}</p>", prose(&stopped.cause)));
        }
    }
    put(files(&job.failing, job.last.as_ref().map_or(0, |last| last.counts.failed)));
    put(format!("<p class=\"todo\"><strong>What to do:</strong> {}</p>", prose(todo(job))));
    if let Some(again) = job.next_try {
        put(format!("<p>Tried again by itself {}.</p>", time(again, now, zone)));
    }
    let well = job.last_well.map_or_else(|| "never".to_owned(), |well| time(well, now, zone));
    put(format!("<p>Last ended well: {well}</p>"));
    put(going_on(job, now, zone));
    let mood = mood(job);
    format!(
        "<article class=\"{}\"><h2>{} <span class=\"badge\">{}</span></h2>{body}</article>\n",
        mood.class(),
        text(&job.job),
        text(mood.word()),
    )
}

/// Files that failed, the first of them by name.
fn files(failing: &[FailedFile], all: u64) -> String {
    if failing.is_empty() {
        return String::new();
    }
    let shown = failing.iter().take(MAX_FILES);
    let row =
        |file: &FailedFile| format!("<li><b>{}</b><br>{}</li>", text(&file.name), prose(&file.failure.cause));
    let rows: String = shown.map(row).collect();
    let named = u64::try_from(failing.len().min(MAX_FILES)).unwrap_or(all);
    let more = match all.saturating_sub(named) {
        0 => String::new(),
        more => format!("<li>and {more} more</li>"),
    };
    format!(
        "<p>{} not delivered:</p><ul class=\"files\">{rows}{more}</ul>",
        text(count(all.max(named), "file"))
    )
}

/// What runs, waits and comes next.
fn going_on(job: &JobStatus, now: Timestamp, zone: Zone) -> String {
    let running = match &job.state {
        JobState::Running(run) => Some(progress(run, now)),
        JobState::Idle | JobState::Held => None,
    };
    let waiting = job.oldest_waiting.as_ref().map(|oldest| {
        let waits = job.last.as_ref().map_or(1, |last| last.counts.waiting.max(1));
        format!(
            "<p>{} not ready to be sent, the oldest unchanged for {}: <b>{}</b>: {}</p>",
            text(count(waits, "file")),
            text(words::span(now.since(oldest.since))),
            text(&oldest.name),
            prose(&oldest.cause),
        )
    });
    let next = job.next_run.map(|next| format!("<p>Next run {}.</p>", time(next, now, zone)));
    let verified = job.last_verified.map(|last| format!("<p>Server verified {}.</p>", time(last, now, zone)));
    [running, waiting, verified, next].into_iter().flatten().collect()
}

fn progress(run: &RunStatus, now: Timestamp) -> String {
    if run.audit.is_some() {
        let words =
            format!("Looks whether all still stands on the server, for {}", duration(now.since(run.since)));
        return format!("<p class=\"running\">{}</p>", text(words));
    }
    let RunProgress { files_done, files_total, bytes_done, bytes_total, rate: speed, .. } = run.progress;
    let speed = speed.map_or_else(String::new, |speed| format!(", {}", rate(speed)));
    let words = format!(
        "Running for {}: {files_done} of {}, {} of {}{speed}",
        duration(now.since(run.since)),
        count(files_total, "file"),
        bytes(bytes_done),
        bytes(bytes_total),
    );
    let bar = format!("<progress max=\"{}\" value=\"{bytes_done}\"></progress>", bytes_total.max(1));
    format!("<p class=\"running\">{}{bar}</p>", text(words))
}

/// The jobs that need no look.
fn table(jobs: &[&JobStatus], now: Timestamp, zone: Zone) -> String {
    let rows: String = jobs.iter().map(|job| row(job, now, zone_of(job, zone))).collect();
    format!(
        "<section><h2>Jobs</h2><table><thead><tr><th>Job</th><th>Now</th><th>Last run</th><th>Result</th>\
         <th>Next run</th></tr></thead><tbody>\n{rows}</tbody></table></section>\n"
    )
}

fn row(job: &JobStatus, now: Timestamp, zone: Zone) -> String {
    let mood = mood(job);
    let at = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), |at| time(at, now, zone));
    let last = at(job.last.as_ref().map(|last| last.began), "not yet");
    let next = at(job.next_run, job.next_without_clock());
    let result = job.last.as_ref().map_or_else(|| "–".to_owned(), |last| text(words::result(last)));
    // The next run has a column of its own.
    let below = going_on(&JobStatus { next_run: None, ..(*job).clone() }, now, zone);
    let below = if below.is_empty() {
        below
    } else {
        format!("<tr class=\"below\"><td colspan=\"5\">{below}</td></tr>\n")
    };
    format!(
        "<tr class=\"{}\"><td data-label=\"Job\"><b>{}</b></td><td data-label=\"Now\">\
         <span class=\"badge\">{}</span></td><td data-label=\"Last run\">{last}</td>\
         <td data-label=\"Result\">{result}</td><td data-label=\"Next run\">{next}</td></tr>\n{below}",
        mood.class(),
        text(&job.job),
        text(mood.word()),
    )
}

/// How long a server's certificate is good, and ours that it is shown.
fn certificates(server: &ServerStatus, now: Timestamp) -> String {
    let theirs = server.certificate_expires.map(|expires| {
        let todo = ["ask whoever runs it for a new one", "tell whoever runs it"];
        certificate(server, "its certificate", todo, days_left(expires, now))
    });
    let ours = server.client_certificate_expires.map(|expires| {
        let todo =
            ["put a new one in its place (`client_certificate`)", "get a new one (`client_certificate`)"];
        certificate(server, "our certificate for it", todo, days_left(expires, now))
    });
    theirs.into_iter().chain(ours).collect()
}

fn certificate(server: &ServerStatus, what: &str, [expired, soon]: [&str; 2], days: i64) -> String {
    let (class, words) = match days {
        ..0 => ("bad", format!("{what} has expired: {expired}")),
        0..SOON_DAYS => {
            ("passing", format!("{what} expires in {}: {soon}", count(days.unsigned_abs(), "day")))
        }
        _ => ("well", format!("{what} is good for {days} days")),
    };
    format!("<li class=\"{class}\"><b>{}</b> {}</li>", text(&server.server), prose(words))
}

fn zone_of(job: &JobStatus, zone: Zone) -> Zone {
    job.zone.as_ref().and_then(|name| name.parse().ok()).unwrap_or(zone)
}

/// A point in time: how far away it is, and when.
fn time(at: Timestamp, now: Timestamp, zone: Zone) -> String {
    let (exact, shown) = (at.to_seconds(), words::minute(at, zone));
    format!(
        "<time datetime=\"{}\">{} <span class=\"when\">({})</span></time>",
        exact,
        text(ago(at, now)),
        text(shown)
    )
}

/// A text of ours as HTML, with what stands between backticks as code.
fn prose(words: impl Display) -> String {
    let words = text(words);
    let parts: Vec<&str> = words.split('`').collect();
    // Without its partner a backtick is a sign like others.
    if parts.len().is_multiple_of(2) {
        return words;
    }
    let html = parts
        .iter()
        .enumerate()
        .map(|(nth, part)| if nth % 2 == 0 { (*part).to_owned() } else { format!("<code>{part}</code>") });
    html.collect()
}

/// A text as HTML: nothing in it is markup, in an attribute neither.
fn text(text: impl Display) -> String {
    let text = text.to_string();
    let mut out = String::with_capacity(text.len());
    for c in escaped(&text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
