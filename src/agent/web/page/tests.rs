use super::*;
use crate::agent::history::{RunEntry, Trouble};
use crate::agent::status::Waiting;
use crate::domain::{AuditKind, Counts, Failure, FailureClass, RunId, Triggers, WaitCause};
use crate::observe::AlertKind;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_763_900_000 + seconds, 0)
}

fn job(name: &str) -> JobStatus {
    JobStatus {
        job: name.parse().unwrap(),
        server: "billing-office".parse().unwrap(),
        state: JobState::Idle,
        zone: None,
        next_run: Some(at(7_300)),
        next_try: None,
        is_watched: false,
        watch: None,
        remembered: Triggers::default(),
        last: Some(entry(name, Counts { delivered: 12, ..Counts::default() })),
        last_well: Some(at(-3_600)),
        last_verified: None,
        next_verify: None,
        expected_by: None,
        failing: Vec::new(),
        oldest_waiting: None,
    }
}

fn entry(name: &str, counts: Counts) -> RunEntry {
    RunEntry {
        run: RunId(7),
        job: name.parse().unwrap(),
        audit: None,
        triggers: Triggers::default(),
        began: at(-3_660),
        ended: Some(at(-3_600)),
        counts,
        audited: None,
        stopped: None,
        failed: Vec::new(),
        trouble: Trouble::default(),
    }
}

fn status(jobs: Vec<JobStatus>) -> Status {
    Status {
        process: Some(4711),
        version: "0.1.0".into(),
        zone: Some("UTC".into()),
        since: Some(at(-300_000)),
        refused_configuration: None,
        readiness: Readiness::Ready,
        jobs,
        servers: vec![ServerStatus {
            server: "billing-office".parse().unwrap(),
            certificate_expires: Some(at(86_400 * 200)),
            client_certificate_expires: None,
        }],
        alerts: Vec::new(),
    }
}

/// A job that is late though its runs are well.
#[test]
fn what_has_not_come_is_told_with_what_to_do() {
    let failed = stopped("scans", FailureClass::Temporary, "connection refused");
    let mut status = status(vec![job("reports"), failed]);
    let alert = |job: &str, kind| AlertStatus {
        kind,
        job: Some(job.parse().unwrap()),
        server: None,
        since: at(-600),
        is_parked: false,
        cause: "0 of 1 file delivered by 17:30: `a<b>`".to_owned(),
        nameless: "0 of 1 file delivered by 17:30".to_owned(),
    };
    status.alerts = vec![alert("reports", AlertKind::TooFew), alert("scans", AlertKind::Run)];
    let page = page(&status, at(0));
    assert!(page.contains("<h1>1 job needs attention</h1>"), "{page}");
    assert_eq!(page.matches("delivered by 17:30").count(), 1, "{page}");
    assert!(page.contains("<code>a&lt;b&gt;</code>") && page.contains("What to do"), "{page}");
    let hidden = super::page(&status.without_file_names(), at(0));
    assert!(hidden.contains("delivered by 17:30") && !hidden.contains("a&lt;b"), "{hidden}");
}

/// What the agent found by itself, and a run whose trouble one over changed folders does not show.
#[test]
fn what_was_found_on_the_server_and_what_a_later_run_hides_read_well() {
    let mut verifying = job("verifying");
    verifying.state = JobState::Running(RunStatus {
        audit: Some(AuditKind::Verify),
        run: Some(RunId(8)),
        since: at(-95),
        triggers: Triggers::default(),
        progress: RunProgress::default(),
    });
    (verifying.last_verified, verifying.next_verify) = (Some(at(-86_400 * 6)), Some(at(-60)));
    let mut status = status(vec![job("differs"), verifying, job("not-verified"), job("hidden")]);
    status.servers[0].client_certificate_expires = Some(at(86_400));
    let alert = |job: &str, kind, cause: &str| AlertStatus {
        kind,
        job: Some(job.parse().unwrap()),
        server: None,
        since: at(-600),
        is_parked: false,
        cause: cause.to_owned(),
        nameless: String::new(),
    };
    status.alerts = vec![
        alert(
            "differs",
            AlertKind::Verify,
            "on the server: 2 files missing, the first of them a.csv; sent again by itself",
        ),
        alert(
            "not-verified",
            AlertKind::NotVerified,
            "since 2025-11-01T02:30:00Z nothing has shown that the files still stand on the server",
        ),
        alert(
            "hidden",
            AlertKind::Run,
            "the source is empty, and 3 files were delivered from it: it may not be mounted",
        ),
    ];
    assert!(shown(&status).contains("<h1>3 jobs need attention</h1>"));
    // A run that did not end well tells by itself.
    let mut told = status.clone();
    told.jobs[3] = stopped("hidden", FailureClass::Source, "the source is empty");
    assert_eq!(shown(&told).matches("it may not be mounted").count(), 0);
    insta::assert_snapshot!(read(&shown(&status)));
}

fn stopped(name: &str, class: FailureClass, cause: &str) -> JobStatus {
    let mut job = job(name);
    if let Some(last) = &mut job.last {
        last.stopped = Some(Failure::new(class, cause));
    }
    job
}

#[test]
fn a_parked_job_says_so_what_still_goes_and_when_it_is_tried_again() {
    let mut full = stopped("full", FailureClass::Refused, "STOR: 552");
    full.next_try = Some(at(1_900));
    if let Some(last) = &mut full.last {
        (last.counts.failed, last.counts.no_room) = (2, 2);
    }
    let html = shown(&status(vec![full.clone()]));
    for part in [
        "The job is parked: the server has no room for 2 files; smaller files are still sent",
        "for more room (quota, disk, largest size of a file)",
        "Tried again by itself",
        "in 31 min",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    // A login that is refused is another matter.
    if let Some(last) = &mut full.last {
        last.counts.no_room = 0;
    }
    assert!(!shown(&status(vec![full])).contains("parked"));
}

fn shown(status: &Status) -> String {
    page(status, at(0))
}

/// The texts of a page, one a line: what a person reads.
fn read(html: &str) -> String {
    let mut out = String::new();
    for part in html.split_once("<body>").unwrap().1.split('<') {
        let (tag, words) = part.split_once('>').unwrap_or(("", part));
        let block = ["p", "h1", "h2", "tr", "li", "article", "/td", "footer"];
        if block.iter().any(|block| tag.split(' ').next() == Some(block)) {
            out.push('\n');
        }
        out.push_str(words.trim_matches('\n'));
    }
    out.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_page_in_every_state_reads_well() {
    let mut failed = job("daily-reports");
    let failure = Failure::new(FailureClass::File, "changed while it was read, 3 times");
    failed.last = Some(entry("daily-reports", Counts { delivered: 4, failed: 12, ..Counts::default() }));
    failed.failing =
        (0..12).map(|n| FailedFile { name: format!("2026/{n}.csv"), failure: failure.clone() }).collect();
    let mut running = job("offsite");
    running.state = JobState::Running(RunStatus {
        audit: None,
        run: Some(RunId(8)),
        since: at(-95),
        triggers: Triggers::default(),
        progress: RunProgress {
            files_done: 3,
            files_total: 9,
            files_failed: 0,
            bytes_done: 5 << 20,
            bytes_total: 20 << 20,
            rate: Some(1 << 20),
        },
    });
    let mut waiting = job("scans");
    (waiting.is_watched, waiting.watch) = (true, Some("watching 3 folders".into()));
    waiting.next_run = None;
    let cause = WaitCause::NoMarker { marker: "a.pdf.done".into() };
    waiting.oldest_waiting = Some(Waiting { name: "a.pdf".into(), since: at(-7_300), cause });
    let mut fresh = job("fresh");
    (fresh.last, fresh.next_run) = (None, None);
    let mut held = job("held");
    held.state = JobState::Held;
    let mut presumed = job("taken");
    presumed.last = Some(entry("taken", Counts { presumed: 2, ..Counts::default() }));
    let mut again = stopped("again", FailureClass::Temporary, "connection refused");
    again.next_try = Some(at(120));
    let guard = stopped(
        "mirror",
        FailureClass::Source,
        "800 of 1,000 files are gone from the source; nothing was deleted on the server; approve with \
         `nightferry sync mirror --approve-deletes 7`",
    );
    let all = [failed, running, waiting, fresh.clone(), held, presumed, again, guard];
    let mut pages = vec![("everything", status(all.into())), ("well", status(vec![job("a"), job("b")]))];
    pages.push(("fresh", status(vec![fresh])));
    for class in [
        FailureClass::Verification,
        FailureClass::Refused,
        FailureClass::Trust,
        FailureClass::Deadline,
        FailureClass::Interrupted,
        FailureClass::Other,
    ] {
        pages.push(("one class", status(vec![stopped("a", class, "the cause")])));
    }
    let mut broken = status(vec![job("a")]);
    broken.readiness = Readiness::CannotRecord;
    broken.refused_configuration = Some("line 3: unknown key".into());
    broken.servers[0].certificate_expires = Some(at(86_400 * 3));
    pages.push(("broken", broken));
    let read: Vec<_> =
        pages.iter().map(|(name, status)| format!("== {name}\n{}", read(&shown(status)))).collect();
    insta::assert_snapshot!(read.join("\n\n"));
}

#[test]
fn names_are_data() {
    let evil = "<script>alert(1)</script>\"' onload=x &amp; \u{202e}\x1b[2J";
    let mut job = stopped("a", FailureClass::File, evil);
    job.watch = Some(evil.into());
    job.failing = vec![FailedFile { name: evil.into(), failure: Failure::new(FailureClass::File, evil) }];
    let cause = WaitCause::NoMarker { marker: evil.into() };
    job.oldest_waiting = Some(Waiting { name: evil.into(), since: at(-9), cause });
    let mut status = status(vec![job]);
    status.refused_configuration = Some(evil.into());
    status.version = evil.into();
    let page = shown(&status);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=x &amp;amp; "), "{page}");
    assert!(!page.contains("<script") && !page.contains("\"' onload"), "{page}");
    assert!(!page.contains(['\u{202e}', '\x1b']), "{page}");
    let hidden = shown(&status.without_file_names());
    // The version is the agent's own word.
    assert_eq!(hidden.matches("alert(1)").count(), 1, "{hidden}");
}

#[test]
fn a_page_loads_nothing_from_elsewhere() {
    let page = shown(&status((0..50).map(|n| job(&format!("job-{n}"))).collect()));
    assert_eq!(page.matches("<tr class=\"well\">").count(), 50);
    for word in ["http://", "https://", "<script", "style=", "onclick", "javascript:", "src="] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

/// Also where names of files are not shown, and what it watches with them.
#[test]
fn a_watched_job_runs_as_files_appear() {
    let mut watched = job("scans");
    (watched.next_run, watched.is_watched) = (None, true);
    watched.watch = Some("watching 3 folders".into());
    let mut asked = job("asked");
    asked.next_run = None;
    let status = status(vec![watched, asked]);
    for status in [status.clone(), status.without_file_names()] {
        let page = shown(&status);
        assert_eq!(page.matches("as files appear").count(), 1, "{page}");
        assert_eq!(page.matches("when asked").count(), 1, "{page}");
    }
}
