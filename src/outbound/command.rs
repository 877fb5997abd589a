//! A message handed to a program: JSON on its standard input, and a few variables. No data stands in
//! its arguments, no secret of ours in its environment, and no shell is involved.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::error::NotTold;
use crate::domain::{FileNames, RunReport};
use crate::observe::{News, escaped};
use crate::plain::plain;

/// Longest time that a program may take; then it ends with all that it started.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long its output is waited for once it has ended: something that it started may hold it open.
const LINGER: Duration = Duration::from_secs(1);
/// Most of its complaint that is kept.
const MAX_COMPLAINT_BYTES: u64 = 4 * 1024;
const MAX_COMPLAINT_CHARS: usize = 300;
/// What a program gets of our environment.
const PASSED_ON: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"];

/// Runs the program to its end. Dropped midway, the program is killed.
pub(super) async fn send(words: &[String], news: &News, host: &str, names: FileNames) -> Result<(), NotTold> {
    run(words, news, host, names, DEADLINE).await
}

async fn run(
    words: &[String],
    news: &News,
    host: &str,
    names: FileNames,
    deadline: Duration,
) -> Result<(), NotTold> {
    let (program, arguments) = words.split_first().ok_or_else(|| {
        NotTold::NotRun(io::Error::new(io::ErrorKind::InvalidInput, "there is no program to run"))
    })?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(variables(news, host))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(NotTold::NotRun)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let message = news.json(host, names).to_string();
    let mut reading = JoinSet::new();
    if let Some(stderr) = child.stderr.take() {
        reading.spawn(async move {
            let (mut complaint, mut stderr) = (Vec::new(), stderr);
            drop((&mut stderr).take(MAX_COMPLAINT_BYTES).read_to_end(&mut complaint).await);
            // A full pipe would stop it.
            drop(tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await);
            complaint
        });
    }
    let stdin = child.stdin.take();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // It need not read it.
            drop(stdin.write_all(message.as_bytes()).await);
        }
    };
    let ended = timeout(deadline, async { tokio::join!(feeding, child.wait()).1 }).await;
    let Ok(status) = ended else {
        if let Some(Err(error)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
            debug!(error = %plain(&error), "A program that took too long had ended.");
        }
        return Err(NotTold::TooSlow(deadline));
    };
    let status = status.map_err(NotTold::NotRun)?;
    if status.success() {
        return Ok(());
    }
    let complaint = timeout(LINGER, reading.join_next()).await.ok().flatten().and_then(Result::ok);
    let complaint = String::from_utf8_lossy(&complaint.unwrap_or_default()).trim().to_owned();
    let complaint: String = complaint.chars().take(MAX_COMPLAINT_CHARS).collect();
    Err(NotTold::Failed { status, complaint: escaped(&complaint).into_owned() })
}

/// What a script without a reader of JSON needs. All of it is made of our words and checked names.
fn variables(news: &News, host: &str) -> Vec<(&'static str, String)> {
    let event = news.json(host, FileNames::Withheld);
    let event = event.get("event").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let mut variables = vec![
        ("NIGHTFERRY_EVENT", event),
        ("NIGHTFERRY_KIND", news.kind.name().to_owned()),
        ("NIGHTFERRY_SUMMARY", news.headline()),
        ("NIGHTFERRY_HOST", host.to_owned()),
    ];
    variables.extend(news.job.as_ref().map(|job| ("NIGHTFERRY_JOB", job.to_string())));
    variables.extend(news.server.as_ref().map(|server| ("NIGHTFERRY_SERVER", server.to_string())));
    let run = |report: &RunReport| ("NIGHTFERRY_RUN", report.run.to_string());
    variables.extend(news.report.as_deref().map(run));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, deadline: Duration) -> Result<(), NotTold> {
        let words = ["sh", "-c", script].map(str::to_owned);
        let news = News::test("2026-11-20T17:00:03Z".parse().unwrap());
        run(&words, &news, "clinic-1", FileNames::Withheld, deadline).await
    }

    #[tokio::test]
    async fn it_reads_the_message_and_knows_nothing_else() {
        // The tests' own environment has variables of cargo, which must not arrive.
        assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
        let script =
            r#"grep -q '"event":"test"' && test "$NIGHTFERRY_EVENT" = test && ! env | grep -q CARGO"#;
        shell(script, DEADLINE).await.unwrap();
    }

    #[tokio::test]
    async fn its_complaint_is_bounded_and_cannot_steer_a_terminal() {
        let script = "printf 'no\\033[2J' >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3";
        let error = shell(script, DEADLINE).await.unwrap_err().to_string();
        assert!(error.starts_with(r"the program ended with exit status: 3: no\u{1b}[2Jxxx"), "{error}");
        assert!(error.len() < 400);
    }

    #[tokio::test]
    async fn it_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
        // Both hold the pipe open for as long as they live.
        let script = format!("exec 3>{}; echo begun >&3; sleep 600 & wait", pipe.display());
        // A shell that was not so far yet is given more time.
        for deadline in [500, 5_000, 50_000] {
            let error = shell(&script, Duration::from_millis(deadline)).await.unwrap_err();
            assert!(matches!(error, NotTold::TooSlow(_)), "{error}");
            let mut said = String::new();
            let ended = timeout(Duration::from_mins(1), alive.read_to_string(&mut said)).await;
            ended.expect("something goes on").unwrap();
            if said == "begun\n" {
                return;
            }
        }
        panic!("the script never began");
    }
}
