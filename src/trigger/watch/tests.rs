use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::time::timeout;

use super::*;
use crate::domain::{FileStat, Reach, RelPath, Rest, Timestamp};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn policy(rest: Duration) -> Watching {
    Watching { rest: Rest(rest), ..Watching::default() }
}

fn watch(source: &Path) -> Watch {
    Watch::on(Arc::new(Linux), source.to_owned(), Symlinks::Skip, policy(Duration::ZERO))
}

async fn next(watch: &mut Watch) -> Seen {
    timeout(PATIENCE, watch.next()).await.expect("the watch told nothing")
}

async fn dirty(watch: &mut Watch) -> Dirty {
    loop {
        if let Seen::Dirty(dirty) = next(watch).await {
            return dirty;
        }
    }
}

async fn status(watch: &mut Watch) -> WatchStatus {
    loop {
        if let Seen::Status(status) = next(watch).await {
            return status;
        }
    }
}

/// A watch that has told of its beginning.
async fn begun(source: &Path) -> Watch {
    let mut watch = watch(source);
    assert!(matches!(status(&mut watch).await, WatchStatus::Watching { .. }));
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Began });
    watch
}

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

/// A system with switches; what is not switched is this machine.
#[derive(Debug, Default)]
struct Switched {
    limit: Mutex<Option<Degraded>>,
    eventless: AtomicBool,
    signs: Mutex<Option<Arc<Signs>>>,
}

impl System for Switched {
    fn identify(&self, source: &Path) -> io::Result<RootId> {
        Linux.identify(source)
    }

    fn eventless(&self, _: &Path) -> Option<&'static str> {
        self.eventless.load(Ordering::SeqCst).then_some("NFS")
    }

    fn watch(&self, source: &Path, signs: Arc<Signs>) -> Result<Box<dyn Events>, Degraded> {
        *self.signs.lock().unwrap() = Some(Arc::clone(&signs));
        match self.limit.lock().unwrap().clone() {
            Some(cause) => Err(cause),
            None => Linux.watch(source, signs),
        }
    }
}

fn on(system: &Arc<Switched>, source: &Path, policy: Watching) -> Watch {
    let system: Arc<dyn System> = Arc::clone(system) as Arc<dyn System>;
    Watch::on(system, source.to_owned(), Symlinks::Skip, policy)
}

#[tokio::test]
async fn a_closed_file_marks_its_folder_and_reading_it_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    let mut watch = begun(folder.path()).await;
    assert_eq!(watch.status(), &WatchStatus::Watching { folders: 3 });
    fs::write(folder.path().join("a/b/x"), b"1").unwrap();
    let Dirty { scope, reason } = dirty(&mut watch).await;
    assert_eq!((scope.reach(Some(&path("a/b"))), reason), (Reach::Files, DirtyReason::Events));
    assert_eq!(scope.reach(Some(&path("a"))), Reach::Way);
    fs::read(folder.path().join("a/b/x")).unwrap();
    fs::remove_file(folder.path().join("a/b/x")).unwrap();
    fs::write(folder.path().join("y"), b"1").unwrap();
    let Dirty { scope, .. } = dirty(&mut watch).await;
    assert_eq!((scope.reach(None), scope.reach(Some(&path("a/b")))), (Reach::Files, Reach::Nothing));
}

#[tokio::test]
async fn a_folder_that_is_moved_in_is_told_whole_and_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::create_dir_all(folder.path().join("in/deep")).unwrap();
    fs::write(folder.path().join("in/deep/x"), b"1").unwrap();
    let mut watch = begun(&source).await;
    fs::rename(folder.path().join("in"), source.join("in")).unwrap();
    fs::rename(source.join("in/deep/x"), source.join("moved")).unwrap();
    for _look in 0..2 {
        let Dirty { scope, .. } = dirty(&mut watch).await;
        assert_eq!(scope.reach(Some(&path("in/deep"))), Reach::Tree);
    }
    // A file that was moved in is no folder, and is not told once more.
    fs::write(source.join("in/deep/later"), b"1").unwrap();
    let Dirty { scope, .. } = dirty(&mut watch).await;
    let reach = [scope.reach(Some(&path("in/deep"))), scope.reach(None)];
    assert_eq!(reach, [Reach::Files, Reach::Way]);
}

#[tokio::test]
async fn a_root_that_is_moved_away_and_replaced_is_told_once_and_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut watch = begun(&source).await;
    fs::rename(&source, folder.path().join("away")).unwrap();
    assert!(matches!(status(&mut watch).await, WatchStatus::Absent { .. }));
    fs::create_dir(&source).unwrap();
    watch.health = Instant::now();
    assert!(matches!(status(&mut watch).await, WatchStatus::Watching { .. }));
    assert_eq!(dirty(&mut watch).await.scope, Scope::All);
    // What happens in the folder that was moved away is no concern any more.
    fs::write(folder.path().join("away/x"), b"1").unwrap();
    fs::write(source.join("y"), b"1").unwrap();
    assert_eq!(dirty(&mut watch).await.scope.reach(None), Reach::Files);
}

#[tokio::test]
async fn a_root_with_another_inode_is_noticed_by_its_look_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let system = Arc::new(Switched::default());
    fs::create_dir(&source).unwrap();
    fs::create_dir(folder.path().join("other")).unwrap();
    std::os::unix::fs::symlink("source", folder.path().join("link")).unwrap();
    let mut watch = on(&system, &folder.path().join("link"), policy(Duration::ZERO));
    assert_eq!(dirty(&mut watch).await.reason, DirtyReason::Began);
    // No event tells of it: the same as a mount.
    fs::remove_file(folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("other", folder.path().join("link")).unwrap();
    watch.health = Instant::now();
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Replaced });
    fs::write(folder.path().join("other/x"), b"1").unwrap();
    assert_eq!(dirty(&mut watch).await.scope.reach(None), Reach::Files);
}

#[tokio::test]
async fn without_watches_the_source_is_walked_until_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    let system = Arc::new(Switched::default());
    *system.limit.lock().unwrap() = Some(Degraded::TooManyFolders { folders: 2, limit: Some(1) });
    let polled = Watching { poll: Duration::from_millis(20), ..policy(Duration::ZERO) };
    let mut watch = on(&system, folder.path(), polled);
    let WatchStatus::Degraded { cause, .. } = status(&mut watch).await else { panic!("not degraded") };
    assert!(cause.remedy().contains("sysctl fs.inotify.max_user_watches="), "{cause}");
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Began });
    fs::write(folder.path().join("a/x"), b"1").unwrap();
    let Dirty { scope, reason } = dirty(&mut watch).await;
    assert_eq!((scope.reach(Some(&path("a"))), reason), (Reach::Files, DirtyReason::Polled));
    *system.limit.lock().unwrap() = None;
    watch.reconcile = Instant::now();
    assert!(matches!(status(&mut watch).await, WatchStatus::Watching { .. }));
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Reconcile });
    // The limit may also be met by a folder that comes later.
    let signs = system.signs.lock().unwrap().clone().unwrap();
    signs.put(Sign::Failed(Degraded::TooManyFolders { folders: 0, limit: None }));
    assert!(matches!(status(&mut watch).await, WatchStatus::Degraded { .. }));
    assert_eq!(dirty(&mut watch).await.scope, Scope::All);
}

#[tokio::test]
async fn a_source_on_a_network_file_system_is_walked() {
    let folder = tempfile::tempdir().unwrap();
    let system = Arc::new(Switched::default());
    system.eventless.store(true, Ordering::SeqCst);
    let polled = Watching { poll: Duration::from_millis(20), ..policy(Duration::ZERO) };
    let mut watch = on(&system, folder.path(), polled);
    assert!(matches!(status(&mut watch).await, WatchStatus::Polling { file_system: "NFS", .. }));
    assert_eq!(dirty(&mut watch).await.scope, Scope::All);
    fs::write(folder.path().join("x"), b"1").unwrap();
    assert_eq!(dirty(&mut watch).await.scope.reach(None), Reach::Files);
    assert!(system.signs.lock().unwrap().is_none(), "it was watched all the same");
}

#[tokio::test]
async fn lost_events_are_all_of_the_source_watched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let system = Arc::new(Switched::default());
    let mut watch = on(&system, folder.path(), policy(Duration::ZERO));
    assert_eq!(dirty(&mut watch).await.reason, DirtyReason::Began);
    let signs = || system.signs.lock().unwrap().clone().unwrap();
    let first = signs();
    first.put(Sign::Lost);
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Overflow });
    assert!(!Arc::ptr_eq(&first, &signs()), "folders that came meanwhile have no watch");
    watch.reconcile = Instant::now();
    assert_eq!(dirty(&mut watch).await, Dirty { scope: Scope::All, reason: DirtyReason::Reconcile });
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = watch(folder.path());
    let mut told = BTreeSet::new();
    // Each poll is one look, and most are dropped before they are ready.
    while !told.contains("began") {
        tokio::select! {
            biased;
            seen = watch.next() => {
                told.insert(if matches!(seen, Seen::Dirty(_)) { "began" } else { "status" });
            }
            () = tokio::task::yield_now() => {}
        }
    }
    fs::write(folder.path().join("x"), b"1").unwrap();
    let dirty = loop {
        tokio::select! {
            biased;
            seen = watch.next() => break seen,
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(matches!(dirty, Seen::Dirty(Dirty { reason: DirtyReason::Events, .. })), "{dirty:?}");
    assert!(told.contains("status"));
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "file times come from the same clock")]
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_nanos(i64::try_from(since.as_nanos()).unwrap())
}

/// What a run would take: the files in a scope that are at rest.
fn take(source: &Path, scope: &Scope, rest: Rest, taken: &mut BTreeSet<String>, waiting: &mut bool) {
    use std::os::unix::fs::MetadataExt as _;
    for entry in walkdir::WalkDir::new(source).into_iter().filter_map(Result::ok) {
        let Ok(name) = entry.path().strip_prefix(source) else { continue };
        let name = name.to_str().unwrap();
        if !entry.file_type().is_file() || taken.contains(name) || !scope.covers(&path(name)) {
            continue;
        }
        let looked = now();
        let facts = entry.metadata().unwrap();
        let stat = FileStat {
            size: facts.len(),
            mtime: Timestamp::from_unix(facts.mtime(), facts.mtime_nsec()),
            ctime: Timestamp::from_unix(facts.ctime(), facts.ctime_nsec()),
            inode: facts.ino(),
        };
        if rest.waits(&stat, looked).is_some() {
            *waiting = true;
            continue;
        }
        let content = fs::read(entry.path()).unwrap();
        assert_eq!(content, b"one two three", "{name} was taken while it was being written");
        taken.insert(name.to_owned());
    }
}

/// Writes files into new folders, each in three pieces: first all beginnings, then all ends.
fn write_in_pieces(source: &Path, writer: usize, folders: usize, files: usize) {
    for folder in (writer..folders).step_by(4) {
        let folder = source.join(format!("{}/{folder}", folder % 10));
        fs::create_dir_all(&folder).unwrap();
        let write = |number| File::create(folder.join(format!("{number}"))).unwrap();
        let mut open: Vec<File> = (0..files).map(write).collect();
        for piece in ["one ", "two ", "three"] {
            for file in &mut open {
                file.write_all(piece.as_bytes()).unwrap();
            }
        }
    }
}

/// `NIGHTFERRY_STORM=1000x100` for the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_files_in_new_folders_is_told_whole() {
    let form = std::env::var("NIGHTFERRY_STORM").unwrap_or_else(|_| "100x100".to_owned());
    let (folders, files) = form.split_once('x').unwrap();
    let (folders, files): (usize, usize) = (folders.parse().unwrap(), files.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let rest = Rest(Duration::from_secs(1));
    let mut watch = Watch::on(Arc::new(Linux), folder.path().to_owned(), Symlinks::Skip, policy(rest.0));
    assert_eq!(dirty(&mut watch).await.reason, DirtyReason::Began);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let source = folder.path().to_owned();
            spawn_blocking(move || write_in_pieces(&source, writer, folders, files))
        })
        .collect();
    let (mut taken, mut left) = (BTreeSet::new(), Scope::Folders(Folders::default()));
    let began = Instant::now();
    while taken.len() < folders * files {
        assert!(began.elapsed() < PATIENCE * 5, "{} of {}", taken.len(), folders * files);
        // What waited is looked at again when it may be at rest, as the report says.
        let again = !left.is_empty();
        let told = tokio::select! {
            biased;
            dirty = dirty(&mut watch) => dirty.scope,
            () = tokio::time::sleep(rest.0), if again => Scope::Folders(Folders::default()),
        };
        let scope = std::mem::replace(&mut left, Scope::Folders(Folders::default())).and(told);
        let mut waiting = false;
        tokio::task::block_in_place(|| take(folder.path(), &scope, rest, &mut taken, &mut waiting));
        if waiting {
            left = scope;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}
