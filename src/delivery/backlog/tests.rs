//! Who gets which file, and when.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::domain::{RelPath, Twins};

const SMALL: u64 = 1;

fn file(name: &str, size: u64) -> Work {
    let path = RelPath::new(name).unwrap();
    Work { path, size, known: None, twins: Twins::NONE, kind: WorkKind::Send }
}

fn backlog(files: &[(&str, u64)]) -> Backlog {
    let backlog = Backlog::new();
    for (name, size) in files {
        backlog.offer(file(name, *size)).unwrap();
    }
    backlog
}

fn next(backlog: &Backlog, readiness: Readiness) -> Option<Next> {
    match pin!(backlog.next(readiness)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => Some(next),
        Poll::Pending => None,
    }
}

fn opens(backlog: &Backlog) -> bool {
    matches!(next(backlog, Readiness::NoSession), Some(Next::Open))
}

fn delivers(backlog: &Backlog) -> Option<Work> {
    match next(backlog, Readiness::Session)? {
        Next::Deliver(work) => Some(work),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sessions_are_opened_for_what_they_save() {
    let few = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL)]);
    assert!(opens(&few) && !opens(&few), "one session finishes these");
    few.offer(file("d", SMALL)).unwrap();
    assert!(opens(&few) && !opens(&few), "two share these");
    let large = backlog(&[("a", 64 << 20), ("b", 64 << 20)]);
    assert!(opens(&large) && opens(&large) && !opens(&large), "each has its own");
    let taken = backlog(&[("a", 64 << 20)]);
    assert!(opens(&taken));
    let _under_way = delivers(&taken).unwrap();
    assert!(!opens(&taken), "nothing waits");
    assert!(!opens(&backlog(&[])));
}

#[test]
fn large_files_go_first_and_small_ones_are_not_kept_waiting() {
    let sizes = [("a", SMALL), ("b", LARGE_BYTES), ("c", SMALL), ("d", 9 * LARGE_BYTES), ("e", LARGE_BYTES)];
    let backlog = backlog(&sizes);
    for _ in 0..4 {
        assert!(opens(&backlog));
    }
    let order: Vec<_> = (0..5).map(|_| delivers(&backlog).unwrap().path.to_string()).collect();
    assert_eq!(order, ["d", "b", "a", "c", "e"]);
}

#[test]
fn on_one_session_large_and_small_files_take_turns() {
    let backlog = Backlog::new();
    for n in 0..3 * SMALL_BETWEEN_LARGE {
        backlog.offer(file(&format!("small{n}"), SMALL)).unwrap();
        backlog.offer(file(&format!("large{n}"), LARGE_BYTES)).unwrap();
    }
    assert!(opens(&backlog));
    let mut order = String::new();
    while let Some(work) = delivers(&backlog) {
        order.push(if is_large(&work) { 'L' } else { 's' });
        backlog.out_of_hand(Hand::of(&work));
    }
    let turns = format!("L{}", "s".repeat(16)).repeat(3);
    assert_eq!(order, format!("{turns}{}", "L".repeat(45)));
}

#[test]
fn a_file_is_taken_ahead_only_where_no_other_session_is_free_for_it() {
    let backlog = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL), ("d", SMALL), ("e", LARGE_BYTES)]);
    assert!(opens(&backlog) && opens(&backlog));
    let [large, _small] = [delivers(&backlog).unwrap(), delivers(&backlog).unwrap()];
    assert!(is_large(&large));
    assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "b");
    backlog.offer(file("f", LARGE_BYTES)).unwrap();
    backlog.out_of_hand(Hand::of(&large));
    assert!(backlog.take_ahead().is_none(), "a large one is next");
    assert!(is_large(&delivers(&backlog).unwrap()));
    assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "c");
    for _ in 0..3 {
        backlog.out_of_hand(Hand::Small);
    }
    assert!(backlog.take_ahead().is_none(), "the other session is free for the last one");
    assert_eq!(delivers(&backlog).unwrap().path.as_str(), "d");
    assert!(backlog.take_ahead().is_none());
}

/// Else a folder of small files would wait for as long as the large ones take.
#[test]
fn large_files_never_take_all_sessions_while_small_ones_wait() {
    let backlog = Backlog::new();
    for n in 0..100 {
        backlog.offer(file(&format!("large{n}"), LARGE_BYTES)).unwrap();
        backlog.offer(file(&format!("small{n}"), SMALL)).unwrap();
    }
    assert!((0..4).all(|_| opens(&backlog)));
    let first: Vec<_> = (0..4).map(|_| is_large(&delivers(&backlog).unwrap())).collect();
    assert_eq!(first, [true, true, false, false]);
    // The large ones take for ever.
    for n in 2..100 {
        backlog.out_of_hand(Hand::Small);
        assert!(!is_large(&delivers(&backlog).unwrap()), "after {n} small ones");
    }
    backlog.out_of_hand(Hand::Small);
    assert!(is_large(&delivers(&backlog).unwrap()), "no small one waits");
}

/// They take long: what waits would wait for all of that.
#[test]
fn sessions_with_large_files_are_not_waited_for() {
    let backlog = backlog(&[("large", 50 << 30)]);
    assert!(opens(&backlog));
    let large = delivers(&backlog).unwrap();
    backlog.offer(file("small", SMALL)).unwrap();
    assert!(opens(&backlog) && !opens(&backlog), "one more is enough");
    backlog.session_ended();
    backlog.out_of_hand(Hand::of(&large));
    assert!(!opens(&backlog), "the session is free");
}

/// Else new files would wait until all is read that only has new times.
#[test]
fn what_waits_to_be_delivered_comes_before_what_is_only_read() {
    let backlog = Backlog::new();
    for name in ["a", "b"] {
        backlog.offer(Work { kind: WorkKind::HashFirst, ..file(name, 50 << 30) }).unwrap();
    }
    let Some(Next::Read(_)) = next(&backlog, Readiness::NoSession) else { panic!() };
    backlog.offer(file("new", SMALL)).unwrap();
    assert!(opens(&backlog));
    let Some(Next::Read(_)) = next(&backlog, Readiness::NoSession) else { panic!() };
    assert_eq!(delivers(&backlog).unwrap().path.as_str(), "new");
}

/// A worker that gets no session any more hands its file back: somebody must be there to take it.
#[test]
fn nobody_ends_while_a_file_may_come_back() {
    let backlog = backlog(&[("a", SMALL)]);
    assert!(opens(&backlog));
    let work = delivers(&backlog).unwrap();
    backlog.complete();
    assert!(next(&backlog, Readiness::NoSession).is_none());
    assert!(matches!(next(&backlog, Readiness::Session), Some(Next::Close)), "of no use meanwhile");
    backlog.put_back(Hand::of(&work), work);
    backlog.session_ended();
    assert!(opens(&backlog));
    let work = delivers(&backlog).unwrap();
    backlog.out_of_hand(Hand::of(&work));
    for readiness in [Readiness::NoSession, Readiness::Session] {
        assert!(matches!(next(&backlog, readiness), Some(Next::End)));
    }
}

#[test]
fn a_closed_backlog_stays_closed() {
    let backlog = backlog(&[("a", SMALL), ("b", LARGE_BYTES)]);
    backlog.offer(Work { kind: WorkKind::HashFirst, ..file("c", SMALL) }).unwrap();
    assert_eq!(backlog.close(), 3);
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(backlog.none_to_deliver()).poll(&mut context).is_ready());
    backlog.complete();
    assert_eq!(backlog.offer(file("d", SMALL)), Err(TooLate));
    assert!(matches!(next(&backlog, Readiness::NoSession), Some(Next::End)));
}

/// Nothing else wakes a worker that found nothing to do.
#[test]
fn workers_that_wait_are_told_of_what_there_is_to_do() {
    let backlog = Backlog::new();
    assert!(!opens(&backlog));
    let mut context = Context::from_waker(Waker::noop());
    let mut told = |readiness, change: &mut dyn FnMut()| {
        let mut next = pin!(backlog.next(readiness));
        assert!(next.as_mut().poll(&mut context).is_pending());
        change();
        match next.poll(&mut context) {
            Poll::Ready(next) => next,
            Poll::Pending => panic!("nobody told it"),
        }
    };
    let opened = told(Readiness::NoSession, &mut || backlog.offer(file("a", SMALL)).unwrap());
    assert!(matches!(opened, Next::Open));
    let work = delivers(&backlog).unwrap();
    let mut back = Some(work);
    let again = told(Readiness::Session, &mut || backlog.put_back(Hand::Small, back.take().unwrap()));
    let Next::Deliver(work) = again else { panic!("{again:?}") };
    // The session counts until it is told to have ended.
    backlog.put_back(Hand::Small, work);
    let opened = told(Readiness::NoSession, &mut || backlog.session_ended());
    assert!(matches!(opened, Next::Open));
    delivers(&backlog).unwrap();
    let closed = told(Readiness::Session, &mut || backlog.complete());
    assert!(matches!(closed, Next::Close));
    let ended = told(Readiness::NoSession, &mut || backlog.out_of_hand(Hand::Small));
    assert!(matches!(ended, Next::End));
}

/// Whoever opens a session for what waits, or stands in line for one, gives that up.
#[test]
fn whoever_takes_the_last_file_tells_the_others() {
    let backlog = backlog(&[("a", SMALL), ("b", SMALL)]);
    assert!(opens(&backlog));
    let mut none = pin!(backlog.none_to_deliver());
    let mut context = Context::from_waker(Waker::noop());
    let _a = delivers(&backlog).unwrap();
    assert!(none.as_mut().poll(&mut context).is_pending());
    let _b = backlog.take_ahead().unwrap();
    assert!(none.as_mut().poll(&mut context).is_ready());
    backlog.offer(file("c", SMALL)).unwrap();
    let mut none = pin!(backlog.none_to_deliver());
    assert!(none.as_mut().poll(&mut context).is_pending());
    let _c = delivers(&backlog).unwrap();
    assert!(none.as_mut().poll(&mut context).is_ready());
}

/// What is settled, or published beside a file, has no upload that could be begun.
#[test]
fn only_what_is_sent_is_taken_ahead() {
    let backlog = backlog(&[("a", SMALL)]);
    backlog.offer(Work { kind: WorkKind::Sidecars, ..file("b", SMALL) }).unwrap();
    backlog.offer(file("c", SMALL)).unwrap();
    assert!(opens(&backlog));
    assert_eq!(delivers(&backlog).unwrap().path.as_str(), "a");
    assert!(backlog.take_ahead().is_none());
    assert_eq!(delivers(&backlog).unwrap().path.as_str(), "b");
    assert_eq!(backlog.take_ahead().unwrap().path.as_str(), "c");
}

#[test]
fn a_file_that_is_put_back_too_late_stays_in_hand() {
    let backlog = backlog(&[("a", SMALL), ("b", SMALL)]);
    assert!(opens(&backlog));
    let _under_way = delivers(&backlog).unwrap();
    let ahead = backlog.take_ahead().unwrap();
    assert_eq!((backlog.close(), backlog.in_hand()), (0, 2));
    backlog.put_back(Hand::of(&ahead), ahead);
    assert_eq!(backlog.in_hand(), 2, "it has no outcome");
    assert!(matches!(next(&backlog, Readiness::Session), Some(Next::End)));
}

#[test]
fn nobody_ends_before_the_last_file_is_read() {
    let backlog = Backlog::new();
    backlog.offer(Work { kind: WorkKind::HashFirst, ..file("a", SMALL) }).unwrap();
    backlog.complete();
    let Some(Next::Read(work)) = next(&backlog, Readiness::NoSession) else { panic!() };
    assert!(next(&backlog, Readiness::Session).is_none(), "it may have to be delivered");
    backlog.put_back(Hand::of(&work), file("a", SMALL));
    let work = delivers(&backlog).unwrap();
    assert!(next(&backlog, Readiness::NoSession).is_none(), "it may come back");
    assert!(matches!(next(&backlog, Readiness::Session), Some(Next::Close)), "nothing is read any more");
    assert_eq!(backlog.in_hand(), 1);
    backlog.out_of_hand(Hand::of(&work));
    assert!(matches!(next(&backlog, Readiness::NoSession), Some(Next::End)));
    assert_eq!(backlog.in_hand(), 0);
}

/// Else files that are taken ahead and put back, one after the other, would come last.
#[test]
fn a_file_that_is_put_back_from_ahead_is_next_again() {
    let backlog = backlog(&[("a", SMALL), ("b", SMALL), ("c", SMALL)]);
    assert!(opens(&backlog));
    let ahead = delivers(&backlog).unwrap();
    backlog.put_back(Hand::of(&ahead), ahead);
    let order: Vec<_> = (0..3).map(|_| delivers(&backlog).unwrap().path.to_string()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn a_full_backlog_lets_the_planner_wait_until_it_is_taken_from_or_closed() {
    let backlog = Backlog::new();
    for n in 0..FILES_WAITING {
        backlog.offer(file(&format!("{n}"), SMALL)).unwrap();
    }
    std::thread::scope(|scope| {
        let planner = scope.spawn(|| backlog.offer(file("one more", SMALL)));
        delivers(&backlog).unwrap();
        assert_eq!(planner.join().unwrap(), Ok(()));
        assert!(opens(&backlog));
        backlog.out_of_hand(Hand::Small);
        delivers(&backlog).unwrap();
        backlog.offer(file("in its place", SMALL)).unwrap();
        let planner = scope.spawn(|| backlog.offer(file("another one", SMALL)));
        backlog.take_ahead().unwrap();
        assert_eq!(planner.join().unwrap(), Ok(()));
        let planner = scope.spawn(|| backlog.offer(file("too many", SMALL)));
        let given_up = backlog.close();
        assert!(planner.join().unwrap().is_err());
        assert_eq!(usize::try_from(given_up).unwrap(), FILES_WAITING);
    });
    assert!(matches!(next(&backlog, Readiness::Session), Some(Next::End)));
}
