//! Runs a program that prints a secret.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use secrecy::zeroize::Zeroizing;

use super::{MAX_SECRET_BYTES, SecretError};

/// Longest time that a program may take. A password manager that waits for a person would
/// otherwise hold up a night's run.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a program that has closed its output is asked whether it ended.
const POLL: Duration = Duration::from_millis(5);

/// Longest part of a program's complaint that is shown, in bytes.
const MAX_COMPLAINT_BYTES: u64 = 4 * 1024;
const MAX_COMPLAINT_SHOWN_CHARS: usize = 200;

/// What the program printed, at most one byte more than a secret may have.
pub(super) fn run(words: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    run_until(words, DEADLINE)
}

fn run_until(words: &[String], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let not_run = |source| SecretError::NotRun { program: program.to_owned(), source };
    let deadline = Instant::now() + deadline;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    let stdout = read_aside(child.stdout.take(), MAX_SECRET_BYTES + 1);
    let stderr = read_aside(child.stderr.take(), MAX_COMPLAINT_BYTES);
    let too_slow = |child: &mut Child| {
        stop(child);
        Err(SecretError::TooSlow { program: program.to_owned() })
    };
    let secret = match receive(&stdout, deadline) {
        Ok(secret) => secret.map_err(not_run),
        Err(_) => return too_slow(&mut child),
    };
    let secret = match secret {
        Ok(secret) if secret.len() as u64 <= MAX_SECRET_BYTES => secret,
        Ok(_) => {
            stop(&mut child);
            return Err(SecretError::TooLarge);
        }
        Err(error) => {
            stop(&mut child);
            return Err(error);
        }
    };
    let status = loop {
        match child.try_wait().map_err(not_run)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => return too_slow(&mut child),
            None => thread::sleep(POLL),
        }
    };
    if status.success() {
        return Ok(secret);
    }
    let stderr = receive(&stderr, deadline).ok().and_then(Result::ok).unwrap_or_default();
    Err(SecretError::Failed { program: program.to_owned(), status, stderr: first_line(&stderr) })
}

/// Reads a pipe on a thread of its own: a full pipe would stop the program, and a program that
/// started others can leave its pipes open.
fn read_aside(
    pipe: Option<impl Read + Send + 'static>,
    limit: u64,
) -> Receiver<io::Result<Zeroizing<Vec<u8>>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(limit).read_to_end(&mut bytes));
        // Nobody waits any more after the deadline.
        drop(sender.send(read.map(|_| bytes)));
    });
    receiver
}

fn receive<T>(from: &Receiver<T>, deadline: Instant) -> Result<T, RecvTimeoutError> {
    from.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

fn stop(child: &mut Child) {
    // Both fail only where it has ended.
    drop(child.kill());
    drop(child.wait());
}

fn first_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(MAX_COMPLAINT_SHOWN_CHARS).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        run_until(&["sh", "-c", script].map(str::to_owned), deadline)
    }

    #[test]
    fn what_it_prints_is_the_secret() {
        assert_eq!(**shell("printf 'a b'", DEADLINE).as_ref().unwrap(), b"a b");
    }

    #[test]
    fn a_failure_shows_its_complaint_but_never_its_output() {
        let error = shell("echo hunter2; echo 'no such entry\nmore' >&2; exit 3", DEADLINE).unwrap_err();
        assert_eq!(error.to_string(), "`sh` failed (exit status: 3): no such entry");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_program_that_hangs_or_gushes_is_stopped() {
        let soon = Duration::from_millis(50);
        assert!(matches!(shell("exec sleep 600", soon), Err(SecretError::TooSlow { .. })));
        let silent = "exec sleep 600 >&- 2>&-";
        assert!(matches!(shell(silent, soon), Err(SecretError::TooSlow { .. })));
        assert!(matches!(shell("exec cat /dev/zero", DEADLINE), Err(SecretError::TooLarge)));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(&["/no/such/program".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/no/such/program` for the secret");
    }
}
