//! Sidecars: small files that say that the file beside them is whole.
//!
//! What a job's `sidecars` promise a consumer: where `X.done` stands, `X` stands beside it, whole and
//! proved; where `X.sha256` stands, it is that of the `X` beside it. So the order is everything.
//!
//! | what happens | what a consumer sees | what is durable |
//! |---|---|---|
//! | `X` is delivered | `X`, without sidecars | `delivered`, which *owes* them from then on |
//! | `X.sha256` gets its name | `X`, `X.sha256` | its intent before, that it stands behind |
//! | `X.done` gets its name | all three | its intent before, that it stands behind: nothing is owed |
//! | a new `X` is proved under a temporary name | the old three | its staging |
//! | the old `X.done` goes, then the old `X.sha256` | the old `X`, alone | that they are owed again, before |
//! | the new `X` gets its name | the new `X`, alone | its intent, then `delivered`, and so on from above |
//!
//! Each is published as a file is: under a temporary name first, proved there, renamed, and settled after
//! a crash by the same machines. A run that is killed anywhere leaves what is owed in the manifest, and the
//! next one publishes it without sending the file again; first it sees that the file still stands as it was
//! delivered. What was taken down for a new version that then was not published is put back by the next
//! run. What the job asks for after a delivery waits until nothing is owed ([`retire`](super::retire)).
//!
//! What they hold follows from the path and the SHA-256 of their file, by which they are known again, also
//! after a loss of the state; which kinds a target ever had is remembered, so that old ones are found when a
//! job wants none any more. What stands under such a name and is no sidecar of what was delivered beside it
//! falls under `overwrite`, before the file itself is published.
//!
//! The manifest keeps those that stand ([`Beside`](crate::domain::Beside)), for `verify`: one that it does
//! not find as it was proved is owed again, and the next run publishes it without its file. Other bytes under
//! the size and time that it had are damage, and are replaced; anything else there is somebody else's, and
//! falls under `overwrite`.
//!
//! In a drop the consumer takes file and sidecars in any order. Where the file is gone before its sidecars
//! came, they are waived: alone they would promise what is not there.
//!
//! With `publish: direct` they are stored under their names at once, as the file is: a reader may see half
//! of an `X.sha256`, and after a crash one may come twice.

mod down;
mod publish;

pub(super) use self::down::{Strangers, take_down};
pub(super) use self::publish::{Freshness, publish_owed};

use super::failure::DeliveryError;
use super::shared::Shared;
use crate::domain::{Record, RelPath, RemotePath, Sidecar, SidecarChange, SidecarNameError, SidecarStep};

/// What the records of a machine are about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// A file of the source.
    File,
    /// The sidecar of one.
    Sidecar { of: &'a RelPath, sidecar: Sidecar },
}

impl Subject<'_> {
    /// A record of a machine, as it is written for this subject.
    pub(super) fn record(self, record: Record) -> Record {
        let Self::Sidecar { of, sidecar } = self else { return record };
        let (run, step) = match record {
            Record::Publishing(intent) => {
                (intent.run, SidecarStep::Publishing { sidecar, intent: Box::new(intent) })
            }
            Record::Delivered(delivered) => {
                let (method, modified) = (delivered.verified.method(), delivered.modified);
                (delivered.run, SidecarStep::Stands { sidecar, method, modified })
            }
            Record::Withdrawn(withdrawn) => {
                (withdrawn.run, SidecarStep::Withdrawn { sidecar, cause: withdrawn.cause })
            }
            Record::Presumed(presumed) => (presumed.run, SidecarStep::Taken { sidecar }),
            // The machines make no others.
            other => return other,
        };
        Record::Sidecar(SidecarChange { run, path: of.clone(), step })
    }
}

/// Where a sidecar stands on the server.
fn place(shared: &Shared, file: &RelPath, sidecar: Sidecar) -> Result<(RelPath, RemotePath), DeliveryError> {
    let path = sidecar.beside(file).ok_or(SidecarNameError::NoRoom { sidecar })?;
    let there = shared.destination(&path);
    Ok((path, there))
}

/// Makes durable what happened to the sidecars of a file.
async fn commit(shared: &Shared, file: &RelPath, step: SidecarStep) -> Result<(), DeliveryError> {
    let change = SidecarChange { run: shared.run, path: file.clone(), step };
    Ok(shared.commit(Record::Sidecar(change)).await?)
}
