//! The watches over the sources of jobs, each a task that tells the loop what it sees.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::domain::{Depth, Folders, Job, JobName, RelPath, RunReport, Scope, Timestamp};
use crate::trigger::{Seen, Watch};

/// Most sights that wait for the loop: a watch that finds no room gathers what it sees.
const SIGHTS_WAITING: usize = 64;

/// What a watch saw.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) job: JobName,
    /// The watch's number: what a watch saw that has ended since is of no concern.
    pub(super) watch: u64,
    pub(super) seen: Seen,
}

/// All watches of an agent.
#[derive(Debug)]
pub(super) struct Watches {
    sights: mpsc::Sender<Sight>,
    begun: u64,
}

impl Watches {
    pub(super) fn new() -> (Self, mpsc::Receiver<Sight>) {
        let (sights, seen) = mpsc::channel(SIGHTS_WAITING);
        (Self { sights, begun: 0 }, seen)
    }

    /// Watches the source of a job, if it is to be watched.
    pub(super) fn begin(&mut self, job: &Job) -> Option<Watcher> {
        let policy = job.watch.clone()?;
        self.begun += 1;
        let (number, sights, name) = (self.begun, self.sights.clone(), job.name.clone());
        let mut watch = Watch::new(job, policy);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let seen = watch.next().await;
                if sights.send(Sight { job: name.clone(), watch: number, seen }).await.is_err() {
                    break;
                }
            }
        });
        Some(Watcher { number, status: None, _task: task })
    }
}

/// The watch of one job, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) number: u64,
    /// How it works, as a sentence without the full stop.
    pub(super) status: Option<String>,
    _task: JoinSet<()>,
}

/// What of a source is due, and why.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// What changed, and has not been looked at since.
    changed: Option<Scope>,
    /// Files that were not written to their end yet: where they are, and when to look at them again.
    waiting: Option<(Timestamp, Scope)>,
}

impl Due {
    /// This part of the source is due.
    pub(super) fn add(&mut self, scope: Scope) {
        self.changed = Some(match self.changed.take() {
            None => scope,
            Some(before) => before.and(scope),
        });
    }

    /// A run takes in hand what is due. Returns `None` if nothing in particular is.
    pub(super) fn take(&mut self) -> Option<Scope> {
        self.changed.take()
    }

    /// When files are to be looked at again.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.waiting.as_ref().map(|(at, _)| *at)
    }

    /// Whether the time has come to look at files again; they are due then.
    pub(super) fn poll(&mut self, now: Timestamp) -> Poll {
        match self.waiting.take() {
            Some((at, scope)) if at <= now => {
                self.add(scope);
                Poll::Due
            }
            waiting => {
                self.waiting = waiting;
                Poll::NotYet
            }
        }
    }

    /// Takes in what a run over `scope` left waiting. A run over all of the source knows of all that
    /// waits.
    pub(super) fn left_waiting(&mut self, report: &RunReport, scope: &Scope) {
        let before = match scope {
            Scope::All => None,
            Scope::Folders(_) => self.waiting.take(),
        };
        let now =
            report.look_again.map(|at| (at, folders_of_waiting(report).unwrap_or_else(|| scope.clone())));
        self.waiting = match (before, now) {
            (Some((one, this)), Some((other, that))) => Some((one.min(other), this.and(that))),
            (one, other) => one.or(other),
        };
    }
}

/// Whether something came due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    Due,
    NotYet,
}

/// The folders of the files that wait, if the report names all of them as they are.
fn folders_of_waiting(report: &RunReport) -> Option<Scope> {
    let all = u64::try_from(report.waiting.len()).ok()? == report.counts.waiting;
    let mut folders = Folders::default();
    for file in &report.waiting {
        // A name that is shown in another form is not the file's.
        let path = RelPath::new(file.name.as_str()).ok().filter(|_| !file.name.contains('\\'))?;
        let _full_is_all = folders.add(path.folder(), Depth::Itself);
    }
    (all && folders.iter().count() < Folders::MOST).then_some(Scope::Folders(folders))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RunId, WaitCause, WaitingFile};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0)
    }

    fn folder(path: &str) -> Scope {
        let mut folders = Folders::default();
        folders.add(Some(RelPath::new(path).unwrap()), Depth::Itself);
        Scope::Folders(folders)
    }

    fn report(names: &[&str], until: i64) -> RunReport {
        let mut report = RunReport::new(RunId(1), "j".parse().unwrap());
        for name in names {
            let cause = WaitCause::NotAtRest { until: at(until) };
            report.add_waiting(WaitingFile { name: (*name).to_owned(), age_ms: 1, cause });
        }
        report
    }

    #[test]
    fn what_waits_is_due_in_its_time_and_its_folders() {
        let mut due = Due::default();
        due.left_waiting(&report(&["a/x.csv", "b/y.csv"], 20), &Scope::All);
        assert_eq!((due.next_look(), due.poll(at(19)), due.take()), (Some(at(20)), Poll::NotYet, None));
        assert_eq!((due.poll(at(20)), due.next_look()), (Poll::Due, None));
        assert_eq!(due.take(), Some(folder("a").and(folder("b"))));
    }

    #[test]
    fn a_run_over_a_part_leaves_alone_what_waits_elsewhere() {
        let mut due = Due::default();
        due.left_waiting(&report(&["a/x.csv"], 20), &Scope::All);
        due.left_waiting(&report(&["b/y.csv"], 30), &folder("b"));
        due.left_waiting(&report(&[], 0), &folder("c"));
        assert_eq!((due.poll(at(20)), due.take()), (Poll::Due, Some(folder("a").and(folder("b")))));
        due.left_waiting(&report(&["a/x.csv"], 20), &Scope::All);
        due.left_waiting(&report(&[], 0), &Scope::All);
        assert_eq!(due.next_look(), None, "a run over all found none");
    }

    #[test]
    fn files_that_are_not_named_as_they_are_make_the_whole_part_due() {
        let mut due = Due::default();
        due.left_waiting(&report(&["a\\u{7}/x.csv"], 20), &Scope::All);
        assert_eq!((due.poll(at(20)), due.take()), (Poll::Due, Some(Scope::All)));
        let mut more = report(&["a/x.csv"], 20);
        more.counts.waiting += 1;
        due.left_waiting(&more, &folder("z"));
        assert_eq!((due.poll(at(20)), due.take()), (Poll::Due, Some(folder("z"))));
    }

    #[test]
    fn what_changes_adds_up_until_it_is_taken() {
        let mut due = Due::default();
        due.add(folder("a"));
        due.add(folder("b"));
        assert_eq!(due.take(), Some(folder("a").and(folder("b"))));
        due.add(folder("a"));
        due.add(Scope::All);
        assert_eq!((due.take(), due.take()), (Some(Scope::All), None));
    }
}
