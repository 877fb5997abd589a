//! What stands under a name on a server, and the proof of its content.

use super::failure::AuditError;
use crate::domain::{
    Evidence, Failure, FailureClass, Mismatch, ProofMethod, RemotePath, Sent, Verified, VerifyPolicy, compare,
};
use crate::remote::{Answer, Closing, Connection, FtpsError, Incoming, Refusal, Request, Trouble};

/// What is told of a name without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: Size,
    /// Its time as `MDTM` gives it.
    pub(super) modified: Option<String>,
}

/// The size of what stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Bytes(u64),
    /// Nothing stands there.
    Absent(Refusal),
    /// The server does not tell.
    Untold,
    /// Refused for now.
    NotNow(Refusal),
}

/// Asks for the facts of several names in one write. `SIZE` answers 550 to much else: absence is
/// believed only when `MDTM` says so too. Neither can do any harm to what stands there, as `RNFR`
/// with an `RNTO` onto itself might.
pub(super) async fn facts(
    connection: &mut Connection,
    paths: &[RemotePath],
) -> Result<Vec<Facts>, AuditError> {
    let ask = |path: &RemotePath| [Request::Size(path.clone()), Request::Modified(path.clone())];
    let requests: Vec<_> = paths.iter().flat_map(ask).collect();
    let answers = connection.perform(&requests, 0).await?;
    let told = answers.chunks_exact(2).map(|pair| match pair {
        [size, modified] => Ok(facts_of(size, modified)),
        _ => Err(AuditError::Internal("answers do not come in pairs")),
    });
    told.collect()
}

fn facts_of(size: &Answer, modified: &Answer) -> Facts {
    let absent_too = matches!(modified, Answer::Absent(_));
    let modified = if let Answer::Modified(time) = modified { Some(time.clone()) } else { None };
    let size = match size {
        Answer::Size(size) => Size::Bytes(*size),
        Answer::Absent(refusal) if absent_too => Size::Absent(refusal.clone()),
        Answer::Refused(refusal) if refusal.is_passing() => Size::NotNow(refusal.clone()),
        Answer::Absent(_)
        | Answer::Refused(_)
        | Answer::Unsupported
        | Answer::Done
        | Answer::Modified(_)
        | Answer::Digest(_) => Size::Untold,
    };
    Facts { size, modified }
}

/// Why content is not proved.
#[derive(Debug)]
pub(super) enum Unproved {
    /// It is something else.
    Other(Mismatch),
    /// It could not be read or hashed.
    Unread(Failure),
    /// The same, and what the server said (550) may mean that nothing stands there.
    NotThere(Failure),
}

/// Proves the content of several files by the strongest means that the policy admits and the
/// server offers. Sessions of this kind store nothing and hash no file twice: `ProFTPD` 1.3.8
/// keeps hashes for the session that stored or hashed a file, and answers from them.
pub(super) async fn prove(
    connection: &mut Connection,
    policy: VerifyPolicy,
    wanted: &[(RemotePath, Sent)],
) -> Result<Vec<Result<Verified, Unproved>>, AuditError> {
    let mut hashed = Vec::new();
    if policy.admits(ProofMethod::ServerHash) && connection.has_hash() {
        let requests: Vec<_> = wanted.iter().map(|(path, _)| Request::Hash(path.clone())).collect();
        let bytes = wanted.iter().map(|(_, sent)| sent.size).fold(0, u64::saturating_add);
        hashed = connection.perform(&requests, bytes).await?;
    }
    let mut hashed = hashed.into_iter();
    let mut proofs = Vec::with_capacity(wanted.len());
    for (path, sent) in wanted {
        let evidence = match hashed.next() {
            Some(Answer::Digest(digest)) => Ok(Evidence::ServerHash { digest }),
            answer if policy.admits(ProofMethod::ReadBack) => match answer {
                Some(Answer::Absent(refusal)) => Err(unread(&refusal)),
                _ => read_back(connection, path, sent.size).await?,
            },
            Some(Answer::Absent(refusal) | Answer::Refused(refusal)) => Err(unread(&refusal)),
            _ => Err(Unproved::Unread(Failure::new(
                FailureClass::Refused,
                "the server has no SHA-256 of files (HASH, XSHA256), which `verify: hash` asks for; use \
                 `verify: auto`",
            ))),
        };
        proofs.push(match evidence {
            Ok(evidence) => compare(sent, &evidence, policy).map_err(Unproved::Other),
            Err(unproved) => Err(unproved),
        });
    }
    Ok(proofs)
}

/// Reads a file. A refusal concerns the file alone, any other error the session.
async fn read_back(
    connection: &mut Connection,
    path: &RemotePath,
    size: u64,
) -> Result<Result<Evidence, Unproved>, AuditError> {
    match connection.read_back(path, size, Closing::Awaited).await {
        Ok(Incoming { size, digest }) => Ok(Ok(Evidence::ReadBack { size, digest })),
        Err(error) if concerns_file(connection, &error) => Ok(Err(refused(error))),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error in reading a file concerns that file alone, and not the session: one that has no TLS
/// session left for another data connection has asked for no file.
pub(super) fn concerns_file(connection: &Connection, error: &FtpsError) -> bool {
    connection.is_usable() && error.trouble() != Trouble::SessionsUsedUp
}

/// What a refusal to give a file means.
pub(super) fn refused(error: FtpsError) -> Unproved {
    let absent = matches!(&error, FtpsError::Refused { reply, .. } if reply.code() == Refusal::ABSENT);
    let failure = AuditError::Server(error).failure();
    if absent { Unproved::NotThere(failure) } else { Unproved::Unread(failure) }
}

fn unread(refusal: &Refusal) -> Unproved {
    let class = if refusal.is_passing() { FailureClass::Temporary } else { FailureClass::Refused };
    let failure = Failure::new(class, refusal);
    if refusal.is_absence() { Unproved::NotThere(failure) } else { Unproved::Unread(failure) }
}

/// What stands there in place of what was wanted, in words.
pub(super) fn found(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Size { stored, .. } => format!("{stored} bytes"),
        Mismatch::Digest { stored, .. } => format!("the same size, but SHA-256 {stored}"),
        Mismatch::NotAdmitted { .. } => mismatch.to_string(),
    }
}

/// What should stand there, in words.
pub(super) fn expected(sent: &Sent) -> String {
    format!("{} bytes, SHA-256 {}", sent.size, sent.digest)
}
