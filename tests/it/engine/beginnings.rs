//! What a beginning on the server is worth: which is gone on with, what is learned of the server on
//! the way, and what becomes of it when the source or the server does not keep still.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ftps_server::{Action, Cut, Dialect, Fault, Moment};
use nightferry::domain::{
    Event, Exit, FileProgress, Record, RelPath, RemotePath, RunId, StagedFile, Staging, Target, VerifyPolicy,
};
use nightferry::remote::Ability;
use nightferry::source::SourceRoot;
use nightferry::state::State;

use super::bench::{Bench, cause};
use super::resume::{SIZE, bench, content, cut_at, willing};

/// The limit belongs to those that are gone on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_just_the_limit_is_gone_on_with() {
    let mut bench = bench(&Dialect::full());
    bench.resume_from = SIZE as u64;
    bench.interrupt(2_000_000).await;
    bench.arrives(&content(1)).await;
    assert_eq!(bench.resumed_at(), [2_000_000]);
}

/// From its intent on a large file is settled like any other, and no part of it is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_whose_rename_went_unanswered_is_settled() {
    for moment in [Moment::Before, Moment::Unanswered] {
        let bench = bench(&Dialect::full());
        bench.server.arm(Fault::on("RNTO", Action::DropControl(moment)).once());
        let report = bench.run().await;
        bench.has_arrived(&content(1), report.exit(), &cause(&report));
        assert_eq!((bench.resumed_at(), bench.server.counters().bytes_received), (vec![], SIZE as u64));
        bench.expect_no_connection(1).await;
    }
}

/// Known from another job, or from another file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_known_to_forbid_it_is_not_asked() {
    let bench = bench(&Dialect::full());
    bench.interrupt(2_000_000).await;
    bench.remote().learn_resume(Ability::No);
    bench.arrives(&content(1)).await;
    assert_eq!((bench.retried(), bench.resumed_at()), (vec![], vec![]));
    assert_eq!(bench.server.transcript().count("REST"), 0);
    bench.expect_no_connection(1).await;
}

/// A record that names a file of somebody else, by whatever mistake, makes it nobody's: neither is
/// anything added to it, nor does it get another name, nor is it deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_names_a_file_of_somebody_else_is_not_followed() {
    let bench = bench(&Dialect::full());
    bench.put("in/theirs.tar", &content(1)[..2_000_000]);
    let opened = State::open(&bench.state_folder(), Arc::clone(&bench.clock)).unwrap();
    let path = RelPath::new("dump.tar").unwrap();
    let stat = SourceRoot::open(&bench.job.source).unwrap().open_file(&path).unwrap().stat();
    let temporary = RemotePath::new("/in/theirs.tar").unwrap();
    let file = Some(StagedFile { path, temporary, stat });
    let staging = Staging { run: RunId(0), folder: bench.job.destination.clone(), file };
    let target = Target::of(&bench.job, &bench.definition);
    opened.state.commit(target.id(), vec![Record::Staging(staging)]).await.unwrap();
    opened.state.close().unwrap();
    let report = bench.deliver().await;
    bench.has_arrived(&content(1), report.exit(), &cause(&report));
    assert_eq!(bench.resumed_at(), Vec::<u64>::new());
    assert!(bench.stored("in/theirs.tar").as_deref() == Some(&content(1)[..2_000_000]), "theirs was touched");
}

/// Each large file is known by its own record, also where its folder is on record already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_files_is_gone_on_with() {
    let bench = bench(&Dialect::full());
    bench.write("other.tar", content(3));
    bench.server.arm(cut_at(100_000, Cut::Reset));
    assert_eq!(bench.run().await.counts.delivered, 0);
    assert_eq!(bench.litter().len(), 2);
    bench.server.clear_faults();
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{}", cause(&report));
    assert_eq!(bench.resumed_at().len(), 2);
}

/// What is refused for good takes nobody's room, and the next run knows that nothing is left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_that_was_given_up_is_not_looked_for() {
    let bench = bench(&Dialect::full());
    bench.server.arm(cut_at(2_000_000, Cut::Reset).once());
    bench.server.arm(Fault::on("STOR", Action::ReplyAfter("552 Quota exceeded".into())).once());
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{}", cause(&report));
    assert_eq!(bench.litter(), Vec::<String>::new());
    bench.arrives(&content(1)).await;
    assert_eq!((bench.retried(), bench.resumed_at()), (vec![], vec![]));
}

/// Also where the process dies as soon as it was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_that_came_out_wrong_is_not_gone_on_with_after_a_crash() {
    let bench = bench(&Dialect::full());
    // Else nothing is gone on with on this server from now on.
    bench.remote().learn_resume(Ability::Yes);
    bench.alters_what(&bench.interrupt(2_000_000).await);
    let again = |event: &Event| matches!(event, Event::File { progress: FileProgress::Retrying { .. }, .. });
    assert!(bench.run_until(again).await.is_none(), "it did not die");
    bench.arrives(&content(1)).await;
    assert_eq!((bench.retried(), bench.resumed_at()), (vec![], vec![]));
}

/// The server does not tell its size just now: nothing is given up, and nothing learned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_is_not_told_for_now_is_asked_for_again() {
    for verb in ["450 busy", "451 later"] {
        let bench = bench(&Dialect::full());
        bench.interrupt(2_000_000).await;
        bench.server.arm(Fault::on("SIZE", Action::Reply(verb.into())).naming(".nf-").once());
        bench.arrives(&content(1)).await;
        assert_eq!((bench.resumed_at(), bench.profile().resume), (vec![2_000_000], Ability::Yes), "{verb}");
        assert_eq!(bench.retried().len(), 1);
    }
}

/// The process that served the lost session is given its time between two looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_looks_lie_a_pause_apart() {
    let mut bench = bench(&Dialect::full());
    bench.interrupt(2_000_000).await;
    bench.pause = Duration::from_millis(500);
    let began = Instant::now();
    bench.arrives(&content(1)).await;
    assert!(began.elapsed() >= bench.pause, "{:?}", began.elapsed());
    assert_eq!((bench.resumed_at(), bench.retried()), (vec![2_000_000], vec![]));
}

/// A source that ends before the beginning does: nothing of the rest is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_shrinks_while_its_beginning_is_hashed_starts_again() {
    let bench = bench(&Dialect::full());
    bench.interrupt(2_000_000).await;
    let (source, shrunk) = (bench.job.source.join("dump.tar"), AtomicBool::new(false));
    let shrinks = move |event: &Event| {
        let starts = matches!(event, Event::File { progress: FileProgress::Started { .. }, .. });
        if starts && !shrunk.swap(true, Ordering::SeqCst) {
            fs::write(&source, &content(2)[..1_200_000]).unwrap();
        }
        false
    };
    let report = bench.run_until(shrinks).await.unwrap();
    bench.has_arrived(&content(2)[..1_200_000], report.exit(), &cause(&report));
    assert_eq!((bench.resumed_at(), bench.server.transcript().count("REST")), (vec![], 0));
    let retried = bench.retried();
    assert!(retried.len() == 1 && retried[0].contains("changed"), "{retried:?}");
}

/// That an altered beginning came out wrong says nothing of a server that has taken a rest before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_taken_a_rest_is_asked_again() {
    for (before, after) in [(Ability::Unknown, Ability::No), (Ability::Yes, Ability::Yes)] {
        let bench = bench(&Dialect::full());
        bench.remote().learn_resume(before);
        bench.alters_what(&bench.interrupt(2_000_000).await);
        bench.arrives(&content(1)).await;
        assert_eq!((bench.resumed_at(), bench.profile().resume), (vec![2_000_000], after));
    }
}

/// All of it stood there, and was altered: no rest was sent, so that nothing is learned of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_file_that_was_altered_is_sent_again() {
    for dialect in willing() {
        let bench = bench(&dialect);
        for verb in ["HASH", "XSHA256", "RETR"] {
            bench.server.arm(Fault::on(verb, Action::DropControl(Moment::Before)));
        }
        bench.server.arm(Fault::on("USER", Action::DropControl(Moment::Before)).from(2));
        assert_eq!(bench.run().await.exit(), Exit::Temporary);
        bench.server.clear_faults();
        let [temporary] = bench.litter().try_into().unwrap();
        bench.alters_what(&temporary);
        bench.arrives(&content(1)).await;
        assert_eq!((bench.resumed_at(), bench.profile().resume), (vec![SIZE as u64], Ability::Unknown));
        let retried = bench.retried();
        assert!(retried.len() == 1 && retried[0].contains("came out wrong"), "{dialect:?}: {retried:?}");
    }
}

/// No proof of an upload that was gone on with: it starts again, and the rest is not to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_upload_that_cannot_be_proved_starts_again() {
    let mut bench = bench(&Dialect::full());
    bench.job.verify = VerifyPolicy::Hash;
    bench.interrupt(2_000_000).await;
    bench.server.arm(Fault::on("HASH", Action::Reply("550 not this one".into())).once());
    bench.arrives(&content(1)).await;
    assert_eq!((bench.resumed_at(), bench.profile().resume), (vec![2_000_000], Ability::Unknown));
    let retried = bench.retried();
    assert!(retried.len() == 1 && retried[0].contains("came out wrong"), "{retried:?}");
}

impl Bench {
    /// Changes a byte on the server's disk.
    fn alters_what(&self, temporary: &str) {
        let temporary = self.on_disk(temporary);
        let mut bytes = fs::read(&temporary).unwrap();
        bytes[1_000] ^= 1;
        fs::write(&temporary, bytes).unwrap();
    }
}
