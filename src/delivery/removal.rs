//! Deleting remote files whose source is gone, or moving them to the trash: at the end of a run,
//! only with a [`Permit`], and only what is still the file that was delivered.
//!
//! A remote file is ours when its size and time are those of our delivery, and its hash where the
//! server tells one. Between the last look at a remote file and its deletion somebody may replace it; the protocol
//! has no way to rule that out. The trash is for those who share their folder with others.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use tokio::task::spawn_blocking;

use super::failure::DeliveryError;
use super::kin::Kins;
use super::planner::Seen;
use super::publish::is_ours;
use super::shared::{Outcome, Shared};
use super::sidecars::{Strangers, take_down};
use super::worker::{NoSession, Worker};
use crate::domain::{
    Entry, EntryStatus, Event, Failure, FailureClass, GuardTripped, Hasher, Record, RelPath, RemoteDelete,
    RemotePath, Removal, Removed, SourceSeen, Standing, Timestamp, TrashEmptied, Trashing,
};
use crate::plain::chain;
use crate::plan::guard::{self, Approval, Facts, Marker, Missing, Permit, Tripped};
use crate::remote::{Answer, Request};
use crate::source::Filter;
use crate::state::StateError;

/// Files that are looked at in one write: four replies each at most, and a session takes in 32.
const FILES_AT_ONCE: usize = 8;

/// How often a lost session is replaced before the rest is left to the next run.
const MAX_SESSIONS_LOST: u32 = 4;

/// Most files that leave the trash in one run: what is left goes with the next ones.
const MAX_EMPTIED: usize = 10_000;

/// The folder of the trash, below the destination.
const TRASH_FOLDER: &str = ".nightferry-trash";

/// Deletes what the scan did not find, if the job wants it and the guard allows it, and empties
/// the trash. Returns what is to be remembered of the source; nothing where it may be the wrong
/// one.
pub(super) async fn remove_missing(shared: &Arc<Shared>, seen: &Seen) -> Option<SourceSeen> {
    let policy = &shared.delivery.job.deletes;
    let mut remover = Remover {
        worker: Worker::new(Arc::clone(shared)),
        mark: shared.delivery.clock.random(),
        made: BTreeSet::new(),
        lost: 0,
        taken: Kins::default(),
    };
    let mut remembered = (seen.source.files > 0 || seen.known == 0).then_some(seen.source);
    if policy.remote != RemoteDelete::Keep && seen.missing.files > 0 {
        match permit(shared, seen).await {
            Ok(Ok(permit)) => {
                remembered = Some(seen.source);
                remover.remove(permit).await;
            }
            Ok(Err(tripped)) => {
                remembered = None;
                stop_short(shared, seen, &tripped).await;
            }
            Err(error) => shared.tell(stopped(&error)).await,
        }
    } else if let Some(run) = shared.delivery.approved {
        let text = format!(
            "Nothing is gone from the source any more that would be deleted on the server: what was approved with \
             run {run} was not needed."
        );
        shared.delivery.sink.emit(Event::Notice { text });
    }
    remover.empty_trash().await;
    Box::pin(remover.worker.end()).await;
    remembered
}

fn stopped(error: &DeliveryError) -> Outcome {
    Outcome::Stop { failure: Failure::new(error.disposition().class, chain(error)) }
}

async fn permit(shared: &Arc<Shared>, seen: &Seen) -> Result<Result<Permit, Tripped>, DeliveryError> {
    let reader = Arc::clone(shared);
    let looked = spawn_blocking(move || {
        let job = &reader.delivery.job;
        let manifest = reader.delivery.state.manifest(reader.target)?;
        let marker = job.deletes.marker.as_ref().map(|marker| match reader.root.open_file(marker) {
            Ok(_) => Marker::Stands,
            Err(_) => Marker::Missing,
        });
        let stopped = manifest.stopped_deletes()?;
        let approved = match (reader.delivery.approved, stopped) {
            (None, _) => Approval::None,
            (Some(run), Some(stopped)) if stopped.run == run => {
                Approval::Of(Missing { files: stopped.missing, paths: stopped.paths })
            }
            (Some(run), _) => Approval::Unknown(run),
        };
        Ok::<_, StateError>((manifest.source_seen()?, marker, approved))
    });
    let (before, marker, approved) =
        looked.await.map_err(|_| DeliveryError::Internal("what deletes remote files died"))??;
    let Seen { source: now, known, missing, gone_mount, .. } = seen;
    let gone_mount = gone_mount.as_ref();
    let facts = Facts { now: *now, before, known: *known, missing: *missing, gone_mount, marker, approved };
    Ok(guard::check(seen.complete, &shared.delivery.job.deletes, &facts))
}

/// Nothing is deleted: a person has to look.
async fn stop_short(shared: &Shared, seen: &Seen, tripped: &Tripped) {
    let cause = format!("{tripped}; nothing was deleted on the server; {}", tripped.remedy(shared.run));
    let record = GuardTripped {
        run: shared.run,
        missing: seen.missing.files,
        paths: seen.missing.paths,
        cause: cause.clone(),
    };
    if let Err(error) = shared.commit(Record::GuardTripped(record)).await {
        return shared.tell(stopped(&error.into())).await;
    }
    shared.delivery.sink.emit(Event::GuardTripped { cause: cause.clone() });
    shared.stop.cancel();
    shared.tell(Outcome::Stop { failure: Failure::new(FailureClass::Source, cause) }).await;
}

struct Remover {
    worker: Worker,
    /// What no other run has in its folder of the trash, whatever numbers runs get after a loss of state.
    mark: u64,
    /// Folders of the trash that were asked for.
    made: BTreeSet<RemotePath>,
    /// Sessions that were lost.
    lost: u32,
    /// Names under which the server may have other files by now.
    taken: Kins,
}

type Candidate = (RelPath, Entry);

impl Remover {
    /// Removes what the permit is for. Hours may lie between the scan and this: where the source
    /// has changed since, nothing is removed, and the next run asks anew.
    async fn remove(&mut self, permit: Permit) {
        let shared = self.worker.shared();
        let looker = Arc::clone(&shared);
        let counted = spawn_blocking(move || {
            let (mut files, mut paths, mut kins) = (0, Hasher::default(), Kins::default());
            for_each_missing(&looker, |path, _| {
                files += 1;
                paths.update(path.as_str().as_bytes());
                paths.update(b"\n");
                kins.add(&path);
                Search::GoOn
            })?;
            let taken = kins.standing(&looker, &patterns(&looker)?)?;
            Ok::<_, DeliveryError>((Missing { files, paths: paths.finish() }, taken))
        });
        match counted.await {
            Ok(Ok((missing, taken))) if missing == permit.missing() => self.taken = taken,
            Ok(Ok(_)) => {
                let text = "The source changed while the run went on: nothing was deleted on the server, and the \
                            next run looks again.";
                return shared.delivery.sink.emit(Event::Notice { text: text.to_owned() });
            }
            Ok(Err(error)) => return shared.tell(stopped(&error)).await,
            Err(_) => {
                let error = DeliveryError::Internal("what deletes remote files died");
                return shared.tell(stopped(&error)).await;
            }
        }
        let (found, to_remove) = async_channel::bounded(FILES_AT_ONCE);
        let finder = Arc::clone(&shared);
        let most = permit.missing().files;
        let search = spawn_blocking(move || find_missing(&finder, most, &found));
        while let Some(batch) = next_batch(&to_remove).await {
            if shared.stop.is_cancelled() {
                break;
            }
            if let Err(error) = self.remove_batch(&batch).await {
                shared.tell(stopped(&error)).await;
                break;
            }
        }
        drop(to_remove);
        match search.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.tell(stopped(&error)).await,
            Err(_) => shared.tell(stopped(&DeliveryError::Internal("what deletes remote files died"))).await,
        }
    }

    /// Brings some files to their end; an error ends the run.
    async fn remove_batch(&mut self, batch: &[Candidate]) -> Result<(), DeliveryError> {
        let shared = self.worker.shared();
        let looks = batch.iter().flat_map(|(path, _)| {
            let there = shared.destination(path);
            [Request::Size(there.clone()), Request::Modified(there.clone()), Request::Hash(there)]
        });
        let bytes = batch.iter().map(|(_, entry)| entry.size).sum();
        let Some(answers) = self.ask(&looks.collect::<Vec<_>>(), bytes).await? else {
            let paths: Vec<_> = batch.iter().map(|(path, _)| path.clone()).collect();
            left_to_the_next_run(&shared, &paths).await;
            return Ok(());
        };
        let mut ours = Vec::new();
        for ((path, entry), answers) in batch.iter().zip(answers.chunks(3)) {
            if self.taken.have(path) {
                // What stands there, and the sidecars beside it, may be those of the other file.
                record(&shared, path, Removal::NotOurs).await?;
                continue;
            }
            let verdict = judge(answers, entry, shared.delivery.job.deletes.remote);
            if let Some(cause) = self.keeps_sidecars(path, entry, &verdict).await? {
                not_removed(&shared, path, FailureClass::File, cause).await;
                continue;
            }
            match verdict {
                Verdict::Ours => ours.push(path.clone()),
                Verdict::Settled(removal) => record(&shared, path, removal).await?,
                Verdict::Unclear(cause) => not_removed(&shared, path, FailureClass::File, cause).await,
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        match shared.delivery.job.deletes.remote {
            RemoteDelete::Keep => Ok(()),
            RemoteDelete::Delete => self.delete(&ours).await,
            RemoteDelete::Trash => self.trash(&ours).await,
        }
    }

    /// Takes the sidecars of a file down that leaves the server, or is not the delivered one any more.
    /// Returns why they stay.
    async fn keeps_sidecars(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        verdict: &Verdict,
    ) -> Result<Option<String>, DeliveryError> {
        let shared = self.worker.shared();
        if matches!(verdict, Verdict::Unclear(_)) || shared.sidecar_kinds().is_empty() {
            return Ok(None);
        }
        let connection = match self.worker.connection().await {
            Ok(connection) => connection,
            Err(NoSession::Stopped | NoSession::NotNeeded) => return Ok(Some("the run stops".to_owned())),
            Err(NoSession::GaveUp(error)) => return Err(error),
        };
        match take_down(&shared, connection, path, Some(entry), None, Strangers::Stay).await {
            Ok(()) => Ok(None),
            Err(error @ DeliveryError::State(_)) => Err(error),
            Err(error) => {
                self.lost += u32::from(!connection.is_usable());
                if self.lost > MAX_SESSIONS_LOST { Err(error) } else { Ok(Some(chain(&error))) }
            }
        }
    }

    async fn delete(&mut self, ours: &[RelPath]) -> Result<(), DeliveryError> {
        let shared = self.worker.shared();
        let requests: Vec<_> = ours.iter().map(|path| Request::Delete(shared.destination(path))).collect();
        let Some(answers) = self.ask(&requests, 0).await? else {
            left_to_the_next_run(&shared, ours).await;
            return Ok(());
        };
        for (path, answer) in ours.iter().zip(answers) {
            match answer {
                Answer::Done => record(&shared, path, Removal::Deleted).await?,
                answer => refused(&shared, path, &answer).await,
            }
        }
        Ok(())
    }

    async fn trash(&mut self, ours: &[RelPath]) -> Result<(), DeliveryError> {
        let shared = self.worker.shared();
        let day = shared.delivery.clock.now().to_utc().format("%Y-%m-%d").to_string();
        // The run's number keeps two files of one path apart, and the mark does where runs are counted
        // anew after a loss of state: a rename there would replace the older one.
        let folder = format!("{TRASH_FOLDER}/{day}-run-{}-{:016x}", shared.run, self.mark);
        let mut requests = Vec::with_capacity(ours.len() * 2);
        for path in ours {
            let Ok(below) = RelPath::new(format!("{folder}/{path}")) else {
                let cause = "its path in the trash is longer than a server takes".to_owned();
                not_removed(&shared, path, FailureClass::File, cause).await;
                continue;
            };
            let to = shared.destination(&below);
            if self.make_folders(&to).await? == Made::Unknown {
                left_to_the_next_run(&shared, std::slice::from_ref(path)).await;
                continue;
            }
            let trashing = Trashing { run: shared.run, path: path.clone(), to: to.clone() };
            shared.commit(Record::Trashing(trashing)).await?;
            requests.push((path, [Request::RenameFrom(shared.destination(path)), Request::RenameTo(to)]));
        }
        let batch: Vec<_> = requests.iter().flat_map(|(_, pair)| pair.clone()).collect();
        let Some(answers) = self.ask(&batch, 0).await? else {
            let paths: Vec<_> = requests.iter().map(|(path, _)| (*path).clone()).collect();
            left_to_the_next_run(&shared, &paths).await;
            return Ok(());
        };
        for ((path, _), answers) in requests.iter().zip(answers.chunks(2)) {
            match answers {
                [Answer::Done, Answer::Done] => record(&shared, path, Removal::Trashed).await?,
                [Answer::Done, answer] | [answer, _] => refused(&shared, path, answer).await,
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks for the folders above a path in the trash, each until it was answered once in a run.
    async fn make_folders(&mut self, path: &RemotePath) -> Result<Made, DeliveryError> {
        let shared = self.worker.shared();
        let destination = shared.delivery.job.destination.clone();
        let above = std::iter::successors(path.folder(), RemotePath::folder);
        let mut missing: Vec<_> = above
            .take_while(|folder| *folder != destination)
            .take_while(|folder| !self.made.contains(folder))
            .collect();
        missing.reverse();
        for batch in missing.chunks(Shared::MAX_FOLDERS_AT_ONCE) {
            let requests: Vec<_> = batch.iter().cloned().map(Request::MakeFolder).collect();
            // Servers refuse folders that exist in many ways; the rename shows whether it is there. How often
            // a session may be lost is limited.
            while self.ask(&requests, 0).await?.is_none() {
                if shared.stop.is_cancelled() {
                    return Ok(Made::Unknown);
                }
            }
        }
        self.made.extend(missing);
        Ok(Made::Answered)
    }

    /// Deletes what has been in the trash for longer than the job wants.
    async fn empty_trash(&mut self) {
        let shared = self.worker.shared();
        let days = i64::from(shared.delivery.job.deletes.trash_days);
        let before = move |time: Timestamp| {
            // Whole seconds, rounded up.
            let now = time.to_utc().timestamp().saturating_add(1);
            Timestamp::from_unix(now - days * 86_400, 0)
        };
        let reader = Arc::clone(&shared);
        let old = spawn_blocking(move || {
            let manifest = reader.delivery.state.manifest(reader.target)?;
            let now = reader.delivery.clock.now();
            // Without a run before this one, nothing says that the clock is right.
            let Some(pace) = manifest.pace()? else { return Ok((Vec::new(), None)) };
            let counted = pace.at(now).counted();
            let old = manifest.trash_before(before(counted), MAX_EMPTIED)?;
            let later = counted < now && manifest.trash_before(before(now), old.len() + 1)?.len() > old.len();
            Ok::<_, StateError>((old, later.then(|| leap_notice(counted, now))))
        });
        let Ok(Ok((old, notice))) = old.await else { return };
        if let Some(text) = notice {
            shared.delivery.sink.emit(Event::Notice { text });
        }
        for batch in old.chunks(FILES_AT_ONCE) {
            // Nor after a stop by the guard: what is wrong with the source may be wrong with the clock.
            if shared.stop.is_cancelled() {
                return;
            }
            let requests: Vec<_> = batch.iter().cloned().map(Request::Delete).collect();
            let answers = match self.ask(&requests, 0).await {
                Ok(Some(answers)) => answers,
                Ok(None) => return,
                Err(error) => return shared.tell(stopped(&error)).await,
            };
            for (from, answer) in batch.iter().zip(answers) {
                let gone = match answer {
                    Answer::Done => true,
                    // 550 also means that it is not allowed.
                    Answer::Absent(_) => {
                        let looked = self.ask(&[Request::Size(from.clone())], 0).await;
                        matches!(looked.as_ref().map(|seen| seen.as_deref()), Ok(Some([Answer::Absent(_)])))
                    }
                    _ => false,
                };
                if gone {
                    let emptied = TrashEmptied { run: shared.run, from: from.clone() };
                    if let Err(error) = shared.commit(Record::TrashEmptied(emptied)).await {
                        return shared.tell(stopped(&error.into())).await;
                    }
                }
            }
        }
    }

    /// Asks on a session, on a new one where the last was lost. `None` where that does not help,
    /// or the run stops: the next run goes on. What was asked may have been done. `bytes` is how
    /// much the server may have to hash.
    async fn ask(&mut self, requests: &[Request], bytes: u64) -> Result<Option<Vec<Answer>>, DeliveryError> {
        let connection = match self.worker.connection().await {
            Ok(connection) => connection,
            Err(NoSession::Stopped | NoSession::NotNeeded) => return Ok(None),
            Err(NoSession::GaveUp(error)) => return Err(error),
        };
        match connection.perform(requests, bytes).await {
            Ok(answers) => Ok(Some(answers)),
            Err(error) => {
                self.lost += 1;
                if self.lost > MAX_SESSIONS_LOST { Err(error.into()) } else { Ok(None) }
            }
        }
    }
}

/// What to say where the clock would empty the trash and the runs do not bear it out.
fn leap_notice(counted: Timestamp, now: Timestamp) -> String {
    let days = now.nanos_since(counted) / (86_400 * 1_000_000_000);
    format!(
        "The clock is {days} days further than the runs of this job account for: it was set, or the machine was off. \
         What went to the server's trash stays there for longer until the runs have caught up."
    )
}

/// Finds the delivered files that the source has no more: looked for one by one, since a scan may
/// miss what is renamed meanwhile. Blocks.
fn for_each_missing(
    shared: &Shared,
    mut take: impl FnMut(RelPath, Entry) -> Search,
) -> Result<(), DeliveryError> {
    let filter = patterns(shared)?;
    let manifest = shared.delivery.state.manifest(shared.target)?;
    for entry in manifest.entries() {
        let (path, entry) = entry?;
        let gone = is_gone(shared, &filter, &path, &entry);
        if gone && take(path, entry) == Search::Enough {
            break;
        }
    }
    Ok(())
}

fn patterns(shared: &Shared) -> Result<Filter, DeliveryError> {
    let job = &shared.delivery.job;
    Filter::of(job).map_err(|_| DeliveryError::Internal("patterns that were good are not any more"))
}

/// Whether a delivered file is gone from the source, and that is the job's concern.
pub(super) fn is_gone(shared: &Shared, filter: &Filter, path: &RelPath, entry: &Entry) -> bool {
    let ours = match entry.status {
        EntryStatus::Delivered | EntryStatus::FoundMissing | EntryStatus::FoundChanged => true,
        EntryStatus::Presumed | EntryStatus::Retired | EntryStatus::Attested => false,
    };
    ours && filter.admits(path) && shared.root.lacks(path)
}

/// What is known of folders that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// The server has answered.
    Answered,
    /// The run stops.
    Unknown,
}

/// Whether a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    GoOn,
    Enough,
}

/// Hands on what is missing, and no more than was permitted: more may vanish meanwhile. Blocks.
fn find_missing(shared: &Shared, most: u64, found: &Sender<Candidate>) -> Result<(), DeliveryError> {
    let mut left = most;
    for_each_missing(shared, |path, entry| {
        if left == 0 || found.send_blocking((path, entry)).is_err() {
            return Search::Enough;
        }
        left -= 1;
        Search::GoOn
    })
}

async fn next_batch(to_remove: &Receiver<Candidate>) -> Option<Vec<Candidate>> {
    let mut batch = vec![to_remove.recv().await.ok()?];
    while batch.len() < FILES_AT_ONCE
        && let Ok(next) = to_remove.recv().await
    {
        batch.push(next);
    }
    Some(batch)
}

/// What a look at a remote file came to.
enum Verdict {
    /// It is the one that was delivered.
    Ours,
    /// There is nothing to delete.
    Settled(Removal),
    /// It cannot be told.
    Unclear(String),
}

fn judge(answers: &[Answer], entry: &Entry, how: RemoteDelete) -> Verdict {
    let modified = match answers {
        [_, Answer::Modified(time), _] => Some(time.clone()),
        _ => None,
    };
    let size = match answers.first() {
        Some(Answer::Size(size)) => *size,
        // Servers say 550 to SIZE for other reasons as well.
        Some(Answer::Absent(_)) if matches!(answers, [_, Answer::Absent(_), last] if !matches!(last, Answer::Digest(_))) =>
        {
            return Verdict::Settled(Removal::AlreadyGone);
        }
        Some(Answer::Absent(refusal) | Answer::Refused(refusal)) => {
            return Verdict::Unclear(refusal.to_string());
        }
        _ => return Verdict::Unclear("the server does not tell what stands there (SIZE)".to_owned()),
    };
    let same_bytes = match answers {
        [.., Answer::Digest(digest)] => Some(*digest == entry.digest),
        _ => None,
    };
    let told = same_bytes.is_some() || (modified.is_some() && entry.modified.is_some());
    if !is_ours(&Standing::File { size, modified }, Some(entry)) || same_bytes == Some(false) {
        return Verdict::Settled(Removal::NotOurs);
    }
    if how == RemoteDelete::Delete && !told {
        let cause = "the server tells neither the time of files (MDTM) nor their hash, so that it may be another file of the same size: it \
                     was left alone; `delete: {remote: trash}` moves it away instead";
        return Verdict::Unclear(cause.to_owned());
    }
    Verdict::Ours
}

async fn record(shared: &Shared, path: &RelPath, removal: Removal) -> Result<(), DeliveryError> {
    shared.commit(Record::Removed(Removed { run: shared.run, path: path.clone(), removal })).await?;
    if removal == Removal::NotOurs {
        let cause =
            "what stands there is not what was delivered; it was left alone, and is not looked at again";
        not_removed(shared, path, FailureClass::File, cause.to_owned()).await;
        return Ok(());
    }
    shared.tell(Outcome::Removed { path: path.clone(), removal }).await;
    Ok(())
}

async fn refused(shared: &Shared, path: &RelPath, answer: &Answer) {
    let cause = match answer {
        Answer::Refused(refusal) | Answer::Absent(refusal) => refusal.to_string(),
        _ => "the server does not do that".to_owned(),
    };
    not_removed(shared, path, FailureClass::Refused, cause).await;
}

async fn not_removed(shared: &Shared, path: &RelPath, class: FailureClass, cause: String) {
    let failure = Failure::new(class, format!("not deleted on the server: {cause}"));
    shared.tell(Outcome::NotRemoved { path: path.clone(), failure }).await;
}

/// What became of these files is not known: the connection was lost.
async fn left_to_the_next_run(shared: &Shared, paths: &[RelPath]) {
    for path in paths {
        let cause = "the connection was lost; the next run looks again".to_owned();
        not_removed(shared, path, FailureClass::Temporary, cause).await;
    }
}
