//! Going on with the upload of a large file that was interrupted: in the same run after a lost
//! connection, or in a later one after a crash.
//!
//! Only a temporary file that the ledger knows as this target's is gone on with, only for the
//! very same source file, and only from where the server's file ends, so that nothing of an
//! earlier attempt stays behind what is sent now. The bytes before are read and hashed again, and
//! are proved with the rest: the size that the server tells is no evidence of them.

use std::time::Duration;

use tokio::time::sleep;

use super::attempt::{Broken, Left, Staged, Start, transfer};
use super::failure::DeliveryError;
use super::pump::{Pump, Skipped};
use super::shared::Shared;
use crate::domain::{FileProgress, RemotePath, StagedFile, Timestamp};
use crate::remote::{Ability, Answer, Closing, Connection, FtpsError, Refusal, Request};

/// How often a server is asked for the size of a file that still grows: the process that served
/// the lost session writes what it has received, which is done within seconds. Two of them must
/// not write to one file.
const MAX_LOOKS: u32 = 20;

/// How often a server hears of us while the beginning of a file is hashed: servers end a session
/// after 300 s of silence (vsftpd, pyftpdlib).
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Stores what is missing of a file behind what stands under its temporary name.
pub(super) async fn go_on(
    shared: &Shared,
    connection: &mut Connection,
    partial: &StagedFile,
    observed_at: Timestamp,
) -> Result<Staged, Broken> {
    let StagedFile { path, temporary, stat } = partial;
    let left = |error: DeliveryError| Broken { error, left: Left::Temporary(temporary.clone()) };
    if shared.delivery.remote.resume() == Ability::No {
        return Err(left(DeliveryError::NotResumed { why: "the server is known not to allow it" }));
    }
    let mut pump = Pump::hold(shared.root.clone(), path.clone()).await?;
    if pump.stat() != *stat {
        return Err(left(DeliveryError::NotResumed { why: "the source file has changed since" }));
    }
    shared.emit(path, FileProgress::Started { size: stat.size });
    let Some(at) = meet(shared, connection, &mut pump, partial).await.map_err(left)? else {
        let read = pump.finish().await;
        return Err(left(
            read.err().unwrap_or(DeliveryError::Internal("a file was not read, for no reason")),
        ));
    };
    let resumed = FileProgress::Resumed { at };
    let (sent, start) = if at == stat.size {
        // Only the proof is missing.
        shared.emit(path, resumed);
        (pump.finish().await.map_err(left)?, Start::Whole)
    } else {
        let upload = connection.upload_from(temporary, at).await;
        let upload = upload.map_err(|error| left(refused(shared, error)))?;
        shared.emit(path, resumed);
        (transfer(shared, path, pump, upload, Closing::Awaited).await.map_err(left)?, Start::Resumed)
    };
    Ok(Staged { temporary: temporary.clone(), stat: *stat, observed_at, sent, start })
}

/// Reads and hashes as many bytes as the server has, once it has the same number twice. `None`
/// where they cannot be read.
async fn meet(
    shared: &Shared,
    connection: &mut Connection,
    pump: &mut Pump,
    partial: &StagedFile,
) -> Result<Option<u64>, DeliveryError> {
    let StagedFile { temporary, stat, .. } = partial;
    let mut before = None;
    for _ in 0..MAX_LOOKS {
        let answer = look(connection, temporary).await?;
        if answer == Answer::Unsupported {
            shared.delivery.remote.learn_resume(Ability::No);
        }
        match judge(answer, before, stat.size) {
            Look::Settled { at } => return Ok(Some(at)),
            Look::Again { at } => {
                if skip(connection, pump, temporary, at).await? == Skipped::Failed {
                    return Ok(None);
                }
                before = Some(at);
                sleep(shared.delivery.backoff.base).await;
            }
            Look::NotNow(refusal) => return Err(DeliveryError::Unsettled { refusal }),
            Look::StartAgain { why } => return Err(DeliveryError::NotResumed { why }),
        }
    }
    Err(DeliveryError::NotResumed { why: "the server still adds to it" })
}

async fn look(connection: &mut Connection, temporary: &RemotePath) -> Result<Answer, DeliveryError> {
    let answers = connection.perform(&[Request::Size(temporary.clone())], 0).await?;
    Ok(answers.into_iter().next().unwrap_or(Answer::Unsupported))
}

/// Hashes the beginning of a file, and keeps the session alive meanwhile.
async fn skip(
    connection: &mut Connection,
    pump: &Pump,
    temporary: &RemotePath,
    to: u64,
) -> Result<Skipped, DeliveryError> {
    attend(pump.skip_to(to), &mut Session { connection, temporary }).await
}

/// Something that must not be left in silence for long.
trait Attended {
    /// Says something to it.
    fn look(&mut self) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

/// A session with a server, which hears of a file.
struct Session<'s> {
    connection: &'s mut Connection,
    temporary: &'s RemotePath,
}

impl Attended for Session<'_> {
    async fn look(&mut self) -> Result<(), DeliveryError> {
        look(self.connection, self.temporary).await.map(drop)
    }
}

/// Does something that may take minutes, and looks after something else every [`KEEP_ALIVE`].
async fn attend<T>(work: impl Future<Output = T>, attended: &mut impl Attended) -> Result<T, DeliveryError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep(KEEP_ALIVE) => attended.look().await?,
        }
    }
}

/// What a look at a temporary file leads to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It ends here, and nobody adds to it: go on.
    Settled { at: u64 },
    /// It ends here, or somebody adds to it: look once more.
    Again { at: u64 },
    /// The server does not tell for now.
    NotNow(Refusal),
    /// Nothing can be gone on with.
    StartAgain { why: &'static str },
}

/// What the answer to `SIZE` means, with what was answered `before`, for a source of `size` bytes.
fn judge(answer: Answer, before: Option<u64>, size: u64) -> Look {
    let start_again = |why| Look::StartAgain { why };
    match answer {
        Answer::Size(0) => start_again("the server has nothing of it"),
        Answer::Size(at) if at > size => start_again("the server has more than there is to send"),
        Answer::Size(at) => match before {
            Some(before) if before == at => Look::Settled { at },
            Some(before) if before > at => start_again("it became shorter on the server"),
            Some(_) | None => Look::Again { at },
        },
        Answer::Absent(_) => start_again("the server does not have it any more"),
        Answer::Refused(refusal) if refusal.is_passing() => Look::NotNow(refusal),
        Answer::Refused(_) | Answer::Unsupported | Answer::Done | Answer::Modified(_) | Answer::Digest(_) => {
            start_again("the server does not tell how much of it it has")
        }
    }
}

/// What it means that the rest was not taken.
fn refused(shared: &Shared, error: FtpsError) -> DeliveryError {
    match error {
        FtpsError::Refused { verb, reply } if forbids_resuming(reply.code()) => {
            shared.delivery.remote.learn_resume(Ability::No);
            let refusal = Refusal { verb, code: reply.code(), reply: reply.to_string() };
            DeliveryError::ResumeRefused { refusal }
        }
        error => error.into(),
    }
}

/// Whether `REST`, or the `STOR` behind it, was refused because of what they ask for, and not for
/// the data connection (425, 426), for the session (421, 530) or for want of room (452, 552).
/// ProFTPD 1.3.8 says 451 unless `AllowStoreRestart` is on.
const fn forbids_resuming(code: u16) -> bool {
    matches!(code, 451 | 500..=504 | 550 | 551 | 553 | 554)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16) -> Refusal {
        Refusal { verb: "SIZE", code, reply: format!("{code} no") }
    }

    #[test]
    fn only_a_size_that_stays_the_same_is_gone_on_from() {
        let check = |answer, before, expected: Look| {
            assert_eq!(judge(answer, before, 100), expected, "after {before:?}");
        };
        let again = |before, answer| match judge(answer, before, 100) {
            Look::StartAgain { .. } => {}
            other => panic!("{other:?} after {before:?}"),
        };
        check(Answer::Size(60), None, Look::Again { at: 60 });
        check(Answer::Size(60), Some(60), Look::Settled { at: 60 });
        check(Answer::Size(61), Some(60), Look::Again { at: 61 });
        check(Answer::Size(100), Some(100), Look::Settled { at: 100 });
        check(Answer::Size(1), Some(1), Look::Settled { at: 1 });
        check(Answer::Refused(refusal(450)), Some(60), Look::NotNow(refusal(450)));
        for before in [None, Some(60), Some(100), Some(101)] {
            again(before, Answer::Size(0));
            again(before, Answer::Size(101));
            again(before, Answer::Size(u64::MAX));
            again(before, Answer::Absent(refusal(550)));
            again(before, Answer::Refused(refusal(553)));
            again(before, Answer::Unsupported);
            again(before, Answer::Done);
        }
        again(Some(60), Answer::Size(59));
    }

    /// When it was looked at, and whether it is still there.
    struct Peer(Vec<tokio::time::Instant>, Result<(), &'static str>);

    impl Attended for Peer {
        async fn look(&mut self) -> Result<(), DeliveryError> {
            self.0.push(tokio::time::Instant::now());
            self.1.map_err(DeliveryError::Internal)
        }
    }

    /// Servers end a session after 300 s in which nothing was said.
    #[tokio::test(start_paused = true)]
    async fn a_session_is_not_left_in_silence_while_a_beginning_is_hashed() {
        let (began, hashing) = (tokio::time::Instant::now(), Duration::from_mins(20));
        let mut peer = Peer(vec![began], Ok(()));
        attend(sleep(hashing), &mut peer).await.unwrap();
        assert_eq!(began.elapsed(), hashing);
        peer.0.push(began + hashing);
        let silences: Vec<_> = peer.0.windows(2).map(|looks| looks[1] - looks[0]).collect();
        assert!(silences.iter().all(|silence| *silence <= Duration::from_mins(1)), "{silences:?}");

        let mut lost = Peer(vec![], Err("it is gone"));
        assert_eq!(attend(sleep(hashing), &mut lost).await, Err(DeliveryError::Internal("it is gone")));
        assert_eq!(lost.0.len(), 1);
    }

    #[test]
    fn refusals_of_the_network_or_the_disk_say_nothing_about_resuming() {
        for code in [451, 500, 501, 502, 503, 504, 550, 553, 554] {
            assert!(forbids_resuming(code), "{code}");
        }
        for code in [421, 425, 426, 450, 452, 522, 530, 532, 534, 552] {
            assert!(!forbids_resuming(code), "{code}");
        }
    }
}
