//! What a job asks for after a delivery: deleting the source file, or moving it away.
//!
//! Begins only when the delivery is durable, and concerns only the very bytes that were
//! delivered. Each retirement is recorded before the file gets its private name, so that one that
//! was cut short is ended, or undone, by the next run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::failure::DeliveryError;
use super::shared::{Outcome, Shared};
use crate::domain::{
    AfterDelivery, Entry, EntryStatus, Failure, FailureClass, Mode, Record, RelPath, Remembered, Retained,
    Retired, Retiring, Timestamp,
};
use crate::plain::chain;
use crate::source::{Aside, RetireError, SourceRoot};
use crate::state::StateError;

/// What a retirement came to.
enum End {
    /// The file was deleted, or moved to this path.
    Gone(Option<PathBuf>),
    /// Nothing stood under its name any more: somebody else took it.
    Missing,
}

/// Deletes or moves a delivered file, if the job wants that, and tells the run. What is not known
/// as delivered any more stays where it is.
pub(super) async fn retire(shared: &Arc<Shared>, path: &RelPath) {
    if shared.delivery.job.after_delivery == AfterDelivery::Keep {
        return;
    }
    if let Err(error) = try_retire(shared, path).await {
        let failure = Failure::new(error.disposition().class, chain(&error));
        shared.tell(Outcome::Retained { path: path.clone(), failure }).await;
    }
}

async fn try_retire(shared: &Arc<Shared>, path: &RelPath) -> Result<(), DeliveryError> {
    let (reader, wanted) = (Arc::clone(shared), path.clone());
    let entry = blocking(move || {
        let manifest = reader.delivery.state.manifest(reader.target)?;
        // Not before its sidecars stand.
        Ok(if manifest.owed(&wanted)?.is_some() { None } else { manifest.get(&wanted)? })
    })
    .await?;
    let Some(entry) = entry.filter(|entry| entry.status == EntryStatus::Delivered) else { return Ok(()) };
    let retiring = Retiring {
        run: shared.run,
        path: path.clone(),
        private: shared.private_name(),
        stat: entry.stat,
        digest: entry.digest,
    };
    shared.commit(Record::Retiring(retiring.clone())).await?;
    let (root, wanted) = (shared.root.clone(), retiring.clone());
    let aside = blocking(move || Ok(set_aside(&root, &wanted, entry.observed_at)?));
    finish(shared, retiring, aside.await).await
}

/// Gives a delivered file its private name, if it still is what was delivered. Where its facts were too young when
/// they were looked at to tell a change that came at once, it is read again.
fn set_aside(
    root: &SourceRoot,
    retiring: &Retiring,
    observed_at: Timestamp,
) -> Result<Option<Aside>, RetireError> {
    let Retiring { path, private, stat, digest, .. } = retiring;
    match root.set_aside(path, private, stat)? {
        Some(aside) if stat.is_racy(observed_at) => aside.confirm(digest).map(Some),
        aside => Ok(aside),
    }
}

/// Ends what earlier runs began. Returns `false` where the state cannot be read or written, which
/// ends the run.
pub(super) async fn finish_earlier(shared: &Arc<Shared>) -> Result<(), StateError> {
    let reader = Arc::clone(shared);
    let open = blocking(move || Ok(reader.delivery.state.manifest(reader.target)?.retirings()?)).await;
    let open = match open {
        Ok(open) => open,
        Err(DeliveryError::State(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    for retiring in open {
        let root = shared.root.clone();
        let Retiring { path, private, stat, digest, .. } = retiring.clone();
        let (reader, asked) = (Arc::clone(shared), retiring.clone());
        let still_delivered = blocking(move || {
            let entry = reader.delivery.state.manifest(reader.target)?.get(&asked.path)?;
            let same = |entry: Entry| entry.status == EntryStatus::Delivered && entry.digest == asked.digest;
            Ok(entry.is_some_and(same))
        });
        // What was found missing on the server meanwhile may be the only copy.
        let still_delivered = match still_delivered.await {
            Ok(still) => still,
            Err(DeliveryError::State(error)) => return Err(error),
            Err(_) => false,
        };
        let wanted = still_delivered && shared.delivery.job.after_delivery != AfterDelivery::Keep;
        let aside = blocking(move || {
            let aside = match root.find_aside(&path, &private, &stat)? {
                // It may not have got that far.
                None if wanted => root.set_aside(&path, &private, &stat)?,
                found => found,
            };
            match aside {
                Some(aside) if wanted => Ok(Some(aside.confirm(&digest)?)),
                Some(aside) => {
                    aside.put_back()?;
                    Err(RetireError::NotWanted { path }.into())
                }
                None if wanted => Ok(None),
                None => Err(RetireError::NotWanted { path }.into()),
            }
        });
        let path = retiring.path.clone();
        match finish(shared, retiring, aside.await).await {
            Err(DeliveryError::State(error)) => return Err(error),
            Err(error) => {
                let failure = Failure::new(error.disposition().class, chain(&error));
                shared.tell(Outcome::Retained { path, failure }).await;
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Brings a file that was set aside to its end, and records that.
async fn finish(
    shared: &Arc<Shared>,
    retiring: Retiring,
    aside: Result<Option<Aside>, DeliveryError>,
) -> Result<(), DeliveryError> {
    let run = shared.run;
    let path = retiring.path.clone();
    let ended = match aside {
        Ok(Some(aside)) => {
            let (job, stamp) = (shared.delivery.job.clone(), shared.delivery.clock.now());
            let stamp = stamp.to_utc().format("%Y%m%dT%H%M%SZ").to_string();
            let digest = retiring.digest;
            blocking(move || match &job.after_delivery {
                AfterDelivery::MoveTo(folder) => {
                    let below = aside.move_to(folder, &stamp, &digest)?;
                    Ok(End::Gone(Some(folder.join(below))))
                }
                AfterDelivery::Delete => aside.delete().map(|()| End::Gone(None)).map_err(Into::into),
                AfterDelivery::Keep => {
                    let path = retiring.path;
                    aside.put_back()?;
                    Err(RetireError::NotWanted { path }.into())
                }
            })
            .await
        }
        Ok(None) => Ok(End::Missing),
        Err(error) => Err(error),
    };
    match ended {
        Ok(end) => {
            // Before it is recorded: a crash in between leads here again.
            take_marker_along(shared, &path).await;
            let moved_to = if let End::Gone(to) = &end { to.as_deref().map(shown) } else { None };
            let remembered = match shared.delivery.job.mode {
                Mode::Mirror => Remembered::AsOurs,
                Mode::Drop => Remembered::Nothing,
            };
            let retired = Retired { run, path: path.clone(), moved_to: moved_to.clone(), remembered };
            shared.commit(Record::Retired(retired)).await?;
            shared.tell(Outcome::Retired { path, moved_to }).await;
            Ok(())
        }
        Err(error) => {
            let retained = Retained { run, path, cause: chain(&error) };
            shared.commit(Record::Retained(retained)).await?;
            // The next run sends what is there now.
            if matches!(error, DeliveryError::Retire(RetireError::Changed { .. })) {
                Ok(())
            } else {
                Err(error)
            }
        }
    }
}

/// Has the ready marker of a file that is gone go the same way.
async fn take_marker_along(shared: &Arc<Shared>, path: &RelPath) {
    let marker = shared.delivery.job.watch.as_ref().and_then(|watching| watching.ready_marker.as_ref());
    let Some(marker) = marker.and_then(|marker| marker.of(path)) else { return };
    let (after, root) = (shared.delivery.job.after_delivery.clone(), shared.root.clone());
    let stamp = shared.delivery.clock.now().to_utc().format("%Y%m%dT%H%M%SZ").to_string();
    let (of, wanted, private) = (path.clone(), marker.clone(), shared.private_name());
    let taken = blocking(move || {
        let Some((aside, digest)) = root.find_marker(&of, &wanted, &private)? else { return Ok(()) };
        match &after {
            AfterDelivery::MoveTo(folder) => drop(aside.move_to(folder, &stamp, &digest)?),
            AfterDelivery::Delete => aside.delete()?,
            AfterDelivery::Keep => {}
        }
        Ok(())
    });
    if let Err(error) = taken.await {
        let failure = Failure::new(error.disposition().class, chain(&error));
        shared.tell(Outcome::Retained { path: marker, failure }).await;
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder to which delivered files are moved must not lie in the source, also by a link: they
/// would be sent again from there. Blocks.
pub(super) fn check_place(root: &SourceRoot, after: &AfterDelivery) -> Result<(), Failure> {
    let AfterDelivery::MoveTo(folder) = after else { return Ok(()) };
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if real(folder).starts_with(real(root.path())) {
        let cause = format!(
            "the folder for delivered files, {}, lies inside the source: they would be sent again from there; \
             name one outside as `after_delivery.move_to`",
            folder.display()
        );
        return Err(Failure::new(FailureClass::Source, cause));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(DeliveryError::Internal("what deletes or moves source files died")),
    }
}

#[cfg(test)]
mod tests;
