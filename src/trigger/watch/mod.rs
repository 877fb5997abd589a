//! Which folders of a source changed.
//!
//! Events of the file system are hints that mark folders; nothing is ever concluded from an event,
//! or from there being none. New folders are meant with all that is in them, since their first files
//! have no events of their own; where events were lost, or the source folder itself is another one,
//! all is meant; and all is meant every now and then in any case.
//!
//! It sends nothing and reads no file. What the system does for it stands behind [`System`].

mod gather;
mod linux;
mod look;
mod poll;
mod status;

pub use self::gather::{Sign, Signs};
pub use self::linux::Linux;
pub use self::look::{Events, RootId, System};
pub use self::status::{Degraded, WatchStatus};

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use self::gather::Gathered;
use self::look::{Looked, look};
use self::poll::{Polled, Prints, poll};
use crate::domain::{Folders, Job, Scope, Symlinks, Watching};

/// How often the source folder itself is looked at: no event tells that it was unmounted, mounted over, or
/// that a folder above it is another one. One look is one `stat`.
const HEALTH: Duration = Duration::from_secs(10);

/// At which look in a row at a source that is not there a run is due, which tells whom it concerns: a folder
/// that is exchanged for another one is away for a moment, too.
const LOOKS_UNTIL_MISSED: u32 = 2;

/// How long changes are gathered at most before they are told, where they never cease.
const MOST_GATHERED: Duration = Duration::from_secs(30);

/// Events of one change come a moment apart, whatever the job says.
const LEAST_QUIET: Duration = Duration::from_millis(50);

/// How long after a look at a new folder it is looked at once more, at least: the system watches a
/// thousand new folders within a tenth of a second.
const LEAST_SECOND_LOOK: Duration = Duration::from_secs(2);

/// What a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Something changed, or may have: a run over this part of the source is due. Where such a run
    /// does not come to its end, the part is still due.
    Dirty(Dirty),
    /// The watch works in another way than before: to be told once.
    Status(WatchStatus),
}

/// A part of a source that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Which part.
    pub scope: Scope,
    /// How that is known.
    pub reason: DirtyReason,
}

/// How it is known that something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyReason {
    /// The watch began: what came before is not known.
    Began,
    /// The source folder was moved, removed, unmounted or replaced since it was last looked at.
    Replaced,
    /// The source folder is not there: a run says so to those who are told of runs.
    Missed,
    /// Events named the folders.
    Events,
    /// The system lost events, or there were too many.
    Overflow,
    /// A walk found them.
    Polled,
    /// The time for a look at all of the source came.
    Reconcile,
}

/// Watches the source folder of one job.
pub struct Watch {
    system: Arc<dyn System>,
    source: Arc<Path>,
    policy: Watching,
    links: Symlinks,
    status: WatchStatus,
    /// A change of status that was not told yet.
    untold: Option<WatchStatus>,
    /// The whole source is due for this reason.
    due: Option<DirtyReason>,
    /// Why all is due once the source is watched again.
    anew: Option<DirtyReason>,
    /// New folders, to be told once more: the system gets to watching one only when it has told all
    /// that came before, and what came into it between our look and that has no event.
    again: VecDeque<(Instant, Folders)>,
    /// Looks in a row that found no source.
    looks_without: u32,
    watched: Option<Watched>,
    prints: Option<Prints>,
    health: Instant,
    reconcile: Instant,
    polls: Instant,
    looking: Option<JoinHandle<Looked>>,
    polling: Option<JoinHandle<Polled>>,
    checking: Option<JoinHandle<Folders>>,
}

/// What is watched.
struct Watched {
    root: RootId,
    /// Where events come from; none where the source is walked instead.
    events: Option<(Box<dyn Events>, Arc<Signs>)>,
}

impl Watch {
    /// Watches the source of a job from the first call of [`next`](Self::next) on. Needs a tokio
    /// runtime then, whose timers run.
    pub fn new(job: &Job, policy: Watching) -> Self {
        Self::on(Arc::new(Linux), job.source.clone(), job.symlinks, policy)
    }

    /// The same with another system.
    pub fn on(system: Arc<dyn System>, source: PathBuf, links: Symlinks, policy: Watching) -> Self {
        let now = Instant::now();
        let reconcile = now + policy.reconcile;
        Self {
            system,
            source: source.into(),
            policy,
            links,
            status: WatchStatus::Beginning,
            untold: None,
            due: None,
            anew: Some(DirtyReason::Began),
            again: VecDeque::new(),
            looks_without: 0,
            watched: None,
            prints: None,
            health: now,
            reconcile,
            polls: now,
            looking: None,
            polling: None,
            checking: None,
        }
    }

    /// How it works at the moment.
    pub const fn status(&self) -> &WatchStatus {
        &self.status
    }

    /// Waits for the next thing to tell; never ends. What changed is told when nothing more came for
    /// the job's `settle`, or after half a minute.
    ///
    /// Cancel safe: what was not told is told by the next call.
    pub async fn next(&mut self) -> Seen {
        loop {
            if let Some(status) = self.untold.take() {
                return Seen::Status(status);
            }
            if let Some(reason) = self.due.take() {
                self.signs().into_iter().for_each(|signs| signs.forget_folders());
                return Seen::Dirty(Dirty { scope: Scope::All, reason });
            }
            if let Some(dirty) = self.step().await {
                return Seen::Dirty(dirty);
            }
        }
    }
}

impl Watch {
    /// Waits for one thing to happen.
    async fn step(&mut self) -> Option<Dirty> {
        if self.signs().is_some_and(|signs| signs.is_urgent()) {
            self.attend();
            return None;
        }
        let now = Instant::now();
        if self.looking.is_none() && now >= self.health {
            self.begin_to_look();
        }
        let ripe = self.ripe();
        if ripe.is_some_and(|ripe| now >= ripe) {
            return self.told();
        }
        if now >= self.reconcile {
            self.reconcile_now(now);
            return None;
        }
        let again = self.again.front().map(|(at, _)| *at);
        if self.checking.is_none() && again.is_some_and(|at| now >= at) {
            self.begin_to_check();
        }
        let walks = self.walks();
        if walks && self.polling.is_none() && now >= self.polls {
            self.begin_to_poll();
        }
        let signs = self.signs().cloned();
        let idle_until = [Some(self.health), ripe, again, Some(self.reconcile), walks.then_some(self.polls)];
        let idle_until = idle_until.into_iter().flatten().filter(|at| *at > now).min();
        tokio::select! {
            looked = ended(&mut self.looking) => {
                self.health = Instant::now() + HEALTH;
                self.take_in(looked);
                None
            }
            polled = ended(&mut self.polling) => {
                self.polls = Instant::now() + self.policy.poll;
                polled.and_then(|polled| self.polled(polled))
            }
            checked = ended(&mut self.checking) => {
                self.dirty(Scope::Folders(checked.unwrap_or_default()), DirtyReason::Events)
            }
            () = came(signs.as_deref()) => None,
            () = until(idle_until) => None,
        }
    }

    fn signs(&self) -> Option<&Arc<Signs>> {
        self.watched.as_ref()?.events.as_ref().map(|(_, signs)| signs)
    }

    /// Whether the source is there and tells no events.
    fn walks(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.events.is_none())
    }

    /// When what was gathered is to be told.
    fn ripe(&self) -> Option<Instant> {
        let quiet = self.policy.rest.0.max(LEAST_QUIET);
        self.signs()
            .and_then(|signs| signs.span())
            .map(|(first, last)| (last + quiet.min(MOST_GATHERED)).min(first + MOST_GATHERED))
    }

    /// Takes out what was gathered.
    fn told(&mut self) -> Option<Dirty> {
        let gathered = self.signs().map(|signs| signs.take()).unwrap_or_default();
        if gathered.lost {
            // Folders that came meanwhile have no watch: all begins anew.
            self.watch_anew(DirtyReason::Overflow);
            return None;
        }
        let Gathered { folders, fresh, .. } = gathered;
        if !fresh.is_empty() {
            let at = Instant::now() + self.policy.rest.0.max(LEAST_SECOND_LOOK);
            self.again.push_back((at, fresh));
        }
        if self.again.iter().map(|(_, folders)| folders.len()).sum::<usize>() > Folders::MOST {
            self.again.clear();
            self.watch_anew(DirtyReason::Overflow);
            return None;
        }
        self.dirty(Scope::Folders(folders), DirtyReason::Events)
    }

    /// Tells new folders once more, of which those that are files are left out.
    fn begin_to_check(&mut self) {
        let Some((_, folders)) = self.again.pop_front() else { return };
        let source = Arc::clone(&self.source);
        self.checking = Some(spawn_blocking(move || still_folders(&source, &folders)));
    }

    fn dirty(&self, scope: Scope, reason: DirtyReason) -> Option<Dirty> {
        // A change behind a link has the path of what it leads to.
        let scope = if self.links == Symlinks::Follow && !scope.is_empty() { Scope::All } else { scope };
        (!scope.is_empty()).then_some(Dirty { scope, reason })
    }

    /// Sees to what cannot wait until all is quiet.
    fn attend(&mut self) {
        let Some(signs) = self.signs() else { return };
        let gathered = signs.take();
        match gathered.failed {
            Some(cause) => {
                self.anew = Some(DirtyReason::Overflow);
                self.walk_instead(WatchStatus::Degraded { cause, every: self.policy.poll });
            }
            // Also what was gathered is told with all, once the source has been looked at.
            None => self.watch_anew(DirtyReason::Replaced),
        }
    }

    /// Watches from the beginning, and tells all of the source then.
    fn watch_anew(&mut self, reason: DirtyReason) {
        self.watched = None;
        self.anew = Some(reason);
        self.again.clear();
        self.health = Instant::now();
    }

    fn walk_instead(&mut self, status: WatchStatus) {
        if let Some(watched) = &mut self.watched {
            watched.events = None;
        }
        self.again.clear();
        self.prints = None;
        self.polls = Instant::now();
        self.show(status);
    }

    /// Looks at all of the source, and tries once more what did not work.
    fn reconcile_now(&mut self, now: Instant) {
        self.reconcile = now + self.policy.reconcile;
        match self.status {
            WatchStatus::Degraded { .. } => self.watch_anew(DirtyReason::Reconcile),
            // A source that is not there is told of by its own look.
            WatchStatus::Absent { .. } | WatchStatus::Beginning => {}
            WatchStatus::Watching { .. } | WatchStatus::Polling { .. } => {
                self.due = Some(DirtyReason::Reconcile);
            }
        }
    }

    fn begin_to_look(&mut self) {
        let (system, source) = (Arc::clone(&self.system), Arc::clone(&self.source));
        let watched = self.watched.as_ref().map(|watched| watched.root);
        self.looking = Some(spawn_blocking(move || look(&*system, &source, watched)));
        // A look that hangs is waited for, and none is begun beside it.
        self.health = Instant::now() + HEALTH;
    }

    fn take_in(&mut self, looked: Option<Looked>) {
        let every = self.policy.poll;
        if !matches!(looked, Some(Looked::Absent { .. }) | None) {
            self.looks_without = 0;
        }
        match looked {
            // It was begun before all had to begin anew.
            Some(Looked::Same) if self.watched.is_none() => self.health = Instant::now(),
            // Where it panicked, the next look tells.
            Some(Looked::Same) | None => {}
            Some(Looked::Replaced) => self.watch_anew(DirtyReason::Replaced),
            Some(Looked::Absent { cause }) => {
                let reason = self.anew.take().unwrap_or(DirtyReason::Replaced);
                self.watch_anew(reason);
                self.health = Instant::now() + HEALTH;
                self.show(WatchStatus::Absent { cause });
                self.looks_without = self.looks_without.saturating_add(1);
                if self.looks_without == LOOKS_UNTIL_MISSED {
                    self.due = Some(DirtyReason::Missed);
                }
            }
            Some(Looked::Watched { root, events, signs }) => {
                let folders = events.folders();
                self.watched = Some(Watched { root, events: Some((events, signs)) });
                self.show(WatchStatus::Watching { folders });
                self.due = Some(self.anew.take().unwrap_or(DirtyReason::Began));
            }
            Some(Looked::Eventless { root, file_system }) => {
                self.watched = Some(Watched { root, events: None });
                self.walk_instead(WatchStatus::Polling { file_system, every });
            }
            Some(Looked::Degraded { root, cause }) => {
                self.watched = Some(Watched { root, events: None });
                self.walk_instead(WatchStatus::Degraded { cause, every });
            }
        }
    }

    fn show(&mut self, status: WatchStatus) {
        if self.status != status {
            self.status = status.clone();
            self.untold = Some(status);
        }
    }

    fn begin_to_poll(&mut self) {
        let (source, before) = (Arc::clone(&self.source), self.prints.take());
        self.polling = Some(spawn_blocking(move || poll(&source, before.as_ref())));
    }

    fn polled(&mut self, polled: Polled) -> Option<Dirty> {
        if !self.walks() {
            return None;
        }
        self.prints = polled.prints;
        // All is told only now that there is something to compare the next walk with, so that nothing
        // changes unseen between the two.
        match self.anew.take() {
            Some(reason) => self.dirty(Scope::All, reason),
            None => self.dirty(polled.scope, DirtyReason::Polled),
        }
    }
}

/// Those that are folders now. Blocks.
fn still_folders(source: &Path, folders: &Folders) -> Folders {
    let mut still = Folders::default();
    for (folder, depth) in folders.iter() {
        let path = folder.map_or_else(|| source.to_owned(), |folder| source.join(folder.as_str()));
        if std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir()) {
            // They are no more than before.
            let _fits = still.add(folder.cloned(), depth);
        }
    }
    still
}

/// The end of a task in a blocking thread; never, where there is none. Cancel safe.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    let Some(running) = task else { return std::future::pending().await };
    let ended = running.await.ok();
    *task = None;
    ended
}

async fn came(signs: Option<&Signs>) {
    match signs {
        Some(signs) => signs.came().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("source", &self.source)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
