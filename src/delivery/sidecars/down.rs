//! Taking sidecars down before their file is replaced or leaves the server.

use super::{commit, place};
use crate::delivery::absence::is_gone;
use crate::delivery::failure::DeliveryError;
use crate::delivery::shared::Shared;
use crate::domain::{
    Digest, Entry, Overwrite, ProofMethod, RelPath, RemotePath, Sent, SidecarStep, VerifyPolicy,
};
use crate::remote::{Answer, Closing, Connection, Request, Trouble};

/// What becomes of what stands under the name of a sidecar and is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Strangers {
    /// What the job's `overwrite` says: a file is about to be published, for which they would vouch.
    AsOverwrite,
    /// They stay: their file leaves the server.
    Stay,
}

/// What stands under the name of a sidecar.
enum There {
    Nothing,
    /// The sidecar of what was delivered, or something that may be replaced.
    Removable,
    /// Something else.
    Strange(Option<u64>),
}

/// Sees to it that no sidecar stands beside a file: those of what was delivered there before go, `done`
/// first. What else stands under their names falls under the job's `overwrite`, and is an error where
/// that is `refuse`. Without sidecars in the job or in what is known of it, nothing is asked.
///
/// `stored` is a file that stands on the server for certain, by which is seen whether the server tells
/// sizes.
pub(in crate::delivery) async fn take_down(
    shared: &Shared,
    connection: &mut Connection,
    file: &RelPath,
    known: Option<&Entry>,
    stored: Option<&RemotePath>,
    strangers: Strangers,
) -> Result<(), DeliveryError> {
    let sidecars = shared.sidecar_kinds();
    if sidecars.is_empty() {
        return Ok(());
    }
    let mut places = Vec::new();
    for sidecar in sidecars.iter() {
        match place(shared, file, sidecar) {
            Ok((_, there)) => places.push((sidecar, there)),
            // One that the job does not want, and that never can have been there.
            Err(_) if !shared.delivery.job.sidecars.iter().any(|wanted| wanted == sidecar) => {}
            Err(error) => return Err(error),
        }
    }
    let questions = stored.into_iter().chain(places.iter().map(|(_, there)| there));
    let questions: Vec<_> = questions.cloned().map(Request::Size).collect();
    let answers = connection.perform(&questions, 0).await?;
    let (told, answers) = match (stored, answers.split_first()) {
        (Some(_), Some((first, rest))) => (matches!(first, Answer::Size(_)), rest),
        (_, _) => (connection.features().has("SIZE"), answers.as_slice()),
    };
    let mut standing = Vec::new();
    for ((sidecar, there), answer) in places.iter().zip(answers) {
        let size = match answer {
            Answer::Size(size) => Some(*size),
            Answer::Absent(_) if told => continue,
            Answer::Refused(refusal) if refusal.is_passing() => {
                return Err(DeliveryError::NotNow { refusal: refusal.clone() });
            }
            _ => None,
        };
        let content = known.map(|known| sidecar.content(file, known.digest));
        let found = match judge(shared, connection, there, size, content).await? {
            There::Strange(_)
                if strangers == Strangers::AsOverwrite
                    && shared.delivery.job.overwrite == Overwrite::Replace =>
            {
                There::Removable
            }
            found => found,
        };
        match found {
            There::Nothing => {}
            There::Removable => standing.push((*sidecar, there.clone())),
            There::Strange(_) if strangers == Strangers::Stay => {}
            There::Strange(size) => {
                return Err(DeliveryError::SidecarTaken { path: there.to_string(), size });
            }
        }
    }
    if standing.is_empty() {
        return Ok(());
    }
    if let Some(known) = known {
        let sidecars = standing.iter().map(|(sidecar, _)| *sidecar).collect();
        commit(shared, file, SidecarStep::TakingDown { sidecars, digest: known.digest }).await?;
    }
    delete(connection, standing.iter().rev().map(|(_, there)| there)).await
}

/// Whether what stands there is the sidecar with this content.
async fn judge(
    shared: &Shared,
    connection: &mut Connection,
    there: &RemotePath,
    size: Option<u64>,
    content: Option<Vec<u8>>,
) -> Result<There, DeliveryError> {
    Ok(match (size, content) {
        (Some(size), Some(content)) if holds(shared, connection, there, size, &content).await?.is_some() => {
            There::Removable
        }
        (None, _) if is_gone(connection, there).await => There::Nothing,
        (size, _) => There::Strange(size),
    })
}

/// By which method it is proved that a file of this size on the server holds these bytes; `None` where
/// it does not, or that cannot be told. An empty file has no others, and a job that is content with sizes
/// is so here.
pub(super) async fn holds(
    shared: &Shared,
    connection: &mut Connection,
    there: &RemotePath,
    size: u64,
    content: &[u8],
) -> Result<Option<ProofMethod>, DeliveryError> {
    let sent = Sent { size: content.len() as u64, digest: Digest::of(content) };
    let proved = |same: bool, method| same.then_some(method);
    if size != sent.size {
        return Ok(None);
    }
    if size == 0 || shared.delivery.job.verify == VerifyPolicy::Size {
        return Ok(Some(ProofMethod::Size));
    }
    if connection.has_hash()
        && let [Answer::Digest(digest)] =
            connection.perform(&[Request::Hash(there.clone())], size).await?.as_slice()
        && *digest == sent.digest
    {
        return Ok(Some(ProofMethod::ServerHash));
    }
    // Another hash may be of what stood there before: ProFTPD 1.3.8 tells that of a file that was replaced
    // within the same second. The few bytes themselves tell.
    match connection.read_back(there, size, Closing::Awaited).await {
        Ok(read) => Ok(proved((read.size, read.digest) == (sent.size, sent.digest), ProofMethod::ReadBack)),
        Err(error) if error.trouble() == Trouble::Refused => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes sidecars one after another: `done` must be gone before anything else goes.
async fn delete(
    connection: &mut Connection,
    standing: impl Iterator<Item = &RemotePath>,
) -> Result<(), DeliveryError> {
    for there in standing {
        match connection.perform(&[Request::Delete(there.clone())], 0).await?.as_slice() {
            [Answer::Done] => {}
            [Answer::Absent(refusal) | Answer::Refused(refusal)] => {
                let refusal = refusal.clone();
                // Servers say 550 as well where deleting is not allowed.
                if !is_gone(connection, there).await {
                    return Err(DeliveryError::SidecarStays { path: there.to_string(), refusal });
                }
            }
            _ => return Err(DeliveryError::Internal("a sidecar was deleted without an answer")),
        }
    }
    Ok(())
}
