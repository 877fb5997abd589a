//! What earlier runs left: intents whose end nobody recorded, and temporary files, among them
//! parts of large files to be gone on with.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::absence::folder_is_gone;
use super::ahead::HeadStart;
use super::direct;
use super::failure::DeliveryError;
use super::shared::{Outcome, Shared, Work, WorkKind};
use super::worker::Worker;
use crate::domain::{
    Entry, Failure, FailureClass, Owed, Publishing, Record, RelPath, RemotePath, StagedFile, Twins, Withdrawn,
};
use crate::plain::chain;
use crate::remote::{Ability, Answer, Connection, EntryKind, FtpsError, Request, Trouble};
use crate::source::Filter;
use crate::state::StateError;

/// Settles all intents of earlier runs, then deletes their temporary files, but for the parts of
/// large files that can be gone on with. Opens a session only
/// if there is something to do. Returns the paths that could not be settled; `None` when the run
/// must stop.
pub(super) async fn recover(shared: &Arc<Shared>) -> Option<BTreeSet<RelPath>> {
    let read = match direct::take_up(shared).await {
        Ok(()) => left(shared).await,
        Err(failure) => Err(failure),
    };
    let read = match read {
        Ok(left) => take_up(shared, left).await,
        Err(failure) => Err(failure),
    };
    let Left { intents, folders, partials, owed } = match read {
        Ok(left) => left,
        Err(failure) => {
            shared.stop.cancel();
            shared.tell(Outcome::Stop { failure }).await;
            return None;
        }
    };
    if intents.is_empty() && folders.is_empty() && owed.is_empty() {
        return Some(BTreeSet::new());
    }
    // Until they are swept, they may hold something.
    folders.iter().cloned().for_each(|folder| shared.left_over(folder));
    let mut worker = Worker::new(Arc::clone(shared));
    for (intent, known) in intents {
        let (path, twins) = (intent.path.clone(), Twins::NONE);
        let size = intent.verified.size();
        let work = Work { path, size, known, twins, kind: WorkKind::Settle(Box::new(intent)) };
        // It is the only one, so that nobody else could take it.
        let _through = worker.see_through(work, HeadStart::None).await;
        if shared.stop.is_cancelled() {
            break;
        }
    }
    let still_open = worker.put_up_sidecars().await;
    if let (Ok(still_open), false) = (&still_open, shared.stop.is_cancelled()) {
        let of_intents = still_open.intents.iter().flat_map(|(intent, _)| {
            let displaced = intent.displaced.iter().map(|displaced| &displaced.to);
            std::iter::once(&intent.temporary).chain(displaced)
        });
        let of_owed = still_open.owed.iter().filter_map(|(_, owed)| owed.intent.as_ref());
        let of_owed = of_owed.flat_map(|(_, intent)| {
            let displaced = intent.displaced.iter().map(|displaced| &displaced.to);
            std::iter::once(&intent.temporary).chain(displaced)
        });
        let kept: Vec<&RemotePath> =
            of_intents.chain(partials.iter().map(|partial| &partial.temporary)).chain(of_owed).collect();
        worker.sweep(folders, &kept).await;
    }
    Box::pin(worker.end()).await;
    match still_open {
        Ok(left) if !shared.stop.is_cancelled() => {
            let in_doubt = left.intents.into_iter().map(|(intent, _)| intent.path);
            // Of those that are on their way their own upload tells.
            let owing = left.owed.into_iter().map(|(path, _)| path);
            Some(in_doubt.chain(owing.filter(|path| shared.storing(path).is_none())).collect())
        }
        Ok(_) | Err(_) => None,
    }
}

/// What earlier runs left.
struct Left {
    intents: Vec<(Publishing, Option<Entry>)>,
    folders: Vec<RemotePath>,
    partials: Vec<StagedFile>,
    owed: Vec<(RelPath, Owed)>,
}

/// Hands the parts of large files that can be gone on with to the run, and takes the others back:
/// the sweep finds them.
async fn take_up(shared: &Arc<Shared>, left: Left) -> Result<Left, Failure> {
    if left.partials.is_empty() {
        return Ok(left);
    }
    let looking = Arc::clone(shared);
    let partials = left.partials;
    let sorted = spawn_blocking(move || -> (Vec<_>, Vec<_>) {
        partials.into_iter().partition(|partial| can_go_on(&looking, partial))
    });
    let Ok((good, stale)) = sorted.await else {
        return Err(Failure::new(FailureClass::Other, "the source folder could not be looked at"));
    };
    let cause = "the source file is not the same any more, or the server does not allow to go on";
    let withdrawn = |partial: StagedFile| {
        Record::Withdrawn(Withdrawn { run: shared.run, path: partial.path, cause: cause.to_owned() })
    };
    let records = stale.into_iter().map(withdrawn).collect();
    let committed = shared.delivery.state.commit(shared.target, records).await;
    committed.map_err(|error| Failure::new(error.class(), chain(&error)))?;
    good.iter().cloned().for_each(|partial| shared.keep_partial(partial));
    Ok(Left { partials: good, ..left })
}

/// Whether the plan will come to this very file again. Blocks.
fn can_go_on(shared: &Shared, partial: &StagedFile) -> bool {
    let StagedFile { path, temporary, stat } = partial;
    let job = &shared.delivery.job;
    let admitted = Filter::of(job).is_ok_and(|filter| filter.admits(path));
    admitted
        && shared.delivery.remote.resume() != Ability::No
        && stat.size >= shared.delivery.resume_from
        && shared.is_own_temporary(temporary, path)
        && shared.root.open_file(path).is_ok_and(|file| file.stat() == *stat)
}

async fn left(shared: &Arc<Shared>) -> Result<Left, Failure> {
    let (state, target) = (shared.delivery.state.clone(), shared.target);
    let looking = Arc::clone(shared);
    let read = spawn_blocking(move || {
        let manifest = state.manifest(target)?;
        let with_entry = |intent: Publishing| Ok((manifest.get(&intent.path)?, intent));
        let intents = manifest.intents()?.into_iter().map(with_entry);
        let intents = intents.map(|found| found.map(|(entry, intent)| (intent, entry)));
        let intents = intents.collect::<Result<_, StateError>>()?;
        looking.had_sidecars(manifest.sidecars()?);
        let (folders, partials) = (manifest.staged_folders()?, manifest.partials()?);
        Ok(Left { intents, folders, partials, owed: manifest.all_owed()? })
    });
    match read.await {
        Ok(Ok(left)) => Ok(left),
        Ok(Err(error)) => Err(Failure::new(StateError::class(&error), chain(&error))),
        Err(_) => Err(Failure::new(FailureClass::Other, "the manifest could not be read")),
    }
}

impl Worker {
    /// Publishes the sidecars that earlier runs owe, but for files that are themselves in doubt or on their
    /// way. Returns what is left.
    async fn put_up_sidecars(&mut self) -> Result<Left, Failure> {
        let shared = self.shared();
        let found = left(&shared).await?;
        let in_doubt: BTreeSet<_> = found.intents.iter().map(|(intent, _)| &intent.path).collect();
        let mut tried = false;
        for (path, _) in &found.owed {
            if shared.stop.is_cancelled() {
                break;
            }
            if in_doubt.contains(path) || shared.storing(path).is_some() {
                continue;
            }
            tried = true;
            let (path, twins) = (path.clone(), Twins::NONE);
            let work = Work { path, size: 0, known: None, twins, kind: WorkKind::Sidecars };
            // It is the only one, so that nobody else could take it.
            let _through = self.see_through(work, HeadStart::None).await;
        }
        if tried { left(&shared).await } else { Ok(found) }
    }

    /// Deletes our temporary files in these folders, but for those that are `kept`. A folder in
    /// which that fails stays on the list for the next run.
    async fn sweep(&mut self, folders: Vec<RemotePath>, kept: &[&RemotePath]) {
        let shared = self.shared();
        let prefix = shared.temporary_prefix();
        for folder in folders {
            // The run is stopped then, and keeps all that is staged on the list.
            let Ok(connection) = self.connection().await else { return };
            match sweep_folder(connection, &folder, &prefix, kept).await {
                Ok(()) => shared.swept(&folder),
                Err(DeliveryError::Server(error)) if error.trouble() == Trouble::Refused => {
                    // Either there is no such folder any more, and so nothing in it, or it must
                    // not be listed, and nothing is known.
                    if folder_is_gone(connection, &folder).await {
                        shared.swept(&folder);
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// Most temporary files that are swept from one folder in one run: far more than connections can
/// leave, and a bound to what a server can make us hold.
const MAX_SWEPT: usize = 10_000;

async fn sweep_folder(
    connection: &mut Connection,
    folder: &RemotePath,
    prefix: &str,
    kept: &[&RemotePath],
) -> Result<(), DeliveryError> {
    let (mut ours, mut more) = (Vec::new(), 0_u64);
    connection
        .entries(folder, &mut |entry| {
            let fine = matches!(entry.kind, EntryKind::File | EntryKind::Unknown);
            let temporary = Shared::is_temporary(&entry.name, prefix).then(|| folder.child(&entry.name).ok());
            match temporary.flatten().filter(|temporary| fine && !kept.contains(&temporary)) {
                Some(temporary) if ours.len() < MAX_SWEPT => ours.push(temporary),
                Some(_) => more += 1,
                None => {}
            }
        })
        .await?;
    for temporary in ours {
        let answers = connection.perform(&[Request::Delete(temporary)], 0).await?;
        // It was listed just now: 550 means that it may not be deleted.
        if let [Answer::Refused(refusal) | Answer::Absent(refusal)] = answers.as_slice() {
            return Err(DeliveryError::Unsettled { refusal: refusal.clone() });
        }
    }
    // The folder stays on the list.
    if more == 0 {
        Ok(())
    } else {
        Err(FtpsError::TooLong { what: "leftovers", limit: MAX_SWEPT as u64 }.into())
    }
}
