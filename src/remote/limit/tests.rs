//! Who gets which session, and what refusals say of the limit.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::time::{advance, timeout};

use super::*;

fn limit(most: u16) -> Arc<Limit> {
    Limit::new(most.try_into().unwrap())
}

/// What comes without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn take(share: &Share) -> Permit {
    let mut permit = now(share.permit(Haste::Waiting)).unwrap();
    permit.opened(Duration::ZERO);
    permit
}

#[tokio::test]
async fn the_next_session_goes_to_the_job_that_has_the_fewest() {
    let limit = limit(2);
    let (large, small) = (limit.join(), limit.join());
    let (first, second) = (take(&large), take(&large));
    assert!(!first.is_wanted_elsewhere(), "nobody waits");
    let mut more = pin!(large.permit(Haste::Waiting));
    assert!(now(more.as_mut()).is_none());
    let mut one = pin!(small.permit(Haste::Waiting));
    assert!(now(one.as_mut()).is_none());
    assert!(first.is_wanted_elsewhere());
    assert!(!second.is_wanted_elsewhere(), "one is enough");
    drop(first);
    assert!(now(more.as_mut()).is_none(), "the other job has none");
    let mut one = now(one.as_mut()).unwrap();
    one.opened(Duration::ZERO);
    assert!(!second.is_wanted_elsewhere() && !one.is_wanted_elsewhere(), "both have the same");
}

#[tokio::test]
async fn where_there_is_one_session_jobs_take_turns() {
    let limit = limit(1);
    let (one, other) = (limit.join(), limit.join());
    let mut serving = now(one.permit(Haste::Waiting)).unwrap();
    serving.opened(Duration::from_mins(1));
    let mut next = pin!(other.permit(Haste::Waiting));
    assert!(now(next.as_mut()).is_none());
    assert!(!serving.is_wanted_elsewhere(), "its turn is not over");
    assert!(now(serving.wanted_elsewhere()).is_some(), "while it has nothing to do it is");
    drop(serving);
    let again = now(next.as_mut()).unwrap();
    drop(again);
    let serving = take(&one);
    assert!(now(other.permit(Haste::Waiting)).is_none());
    assert!(!serving.is_wanted_elsewhere(), "who has left the queue does not wait");
}

#[tokio::test]
async fn a_file_under_way_goes_first() {
    let limit = limit(1);
    let share = limit.join();
    let serving = take(&share);
    let mut files = pin!(share.permit(Haste::Waiting));
    let mut file = pin!(share.permit(Haste::UnderWay));
    assert!(now(files.as_mut()).is_none() && now(file.as_mut()).is_none());
    drop(serving);
    assert!(now(files.as_mut()).is_none());
    assert!(now(file.as_mut()).is_some());
}

#[tokio::test]
async fn the_limit_is_what_stands_when_all_refusals_are_in() {
    let limit = limit(4);
    let share = limit.join();
    let first = take(&share);
    let mut three: Vec<Permit> = (0..3).map(|_| now(share.permit(Haste::Waiting)).unwrap()).collect();
    for most in [3, 2] {
        assert_eq!((three.pop().unwrap().refused(), limit.most()), (Refused::Full, most));
    }
    let mut second = three.pop().unwrap();
    assert_eq!(second.opened(Duration::ZERO), 2);
    assert_eq!(limit.most(), 2);
    // One is lost, and the server has not noticed: for a while there is room for one only.
    drop(second);
    let again = now(share.permit(Haste::UnderWay)).unwrap();
    assert_eq!(again.refused(), Refused::Full);
    let mut later = pin!(share.permit(Haste::UnderWay));
    assert!(now(later.as_mut()).is_none());
    limit.held().crowded = Some((1, Instant::now()));
    limit.changed.notify_waiters();
    assert!(now(later.as_mut()).is_some());
    drop(first);
}

#[tokio::test]
async fn a_server_that_is_full_of_others_sets_no_limit() {
    let limit = limit(4);
    let share = limit.join();
    assert_eq!(now(share.permit(Haste::Waiting)).unwrap().refused(), Refused::Alone);
    let (one, two) = (share.permit(Haste::Waiting), share.permit(Haste::Waiting));
    let (one, two) = (now(one).unwrap(), now(two).unwrap());
    assert_eq!(one.refused(), Refused::Alone, "the other has not got in either");
    assert_eq!((two.refused(), limit.most()), (Refused::Alone, 4));
}

/// Whoever waits for something, and is polled again only when it was told.
fn is_there(waiting: Pin<&mut impl Future>) -> bool {
    waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn those_that_wait_are_told_of_each_change() {
    let limit = limit(1);
    let (one, other) = (limit.join(), limit.join());
    let serving = take(&one);
    let mut idle = pin!(serving.wanted_elsewhere());
    assert!(!is_there(idle.as_mut()));
    let mut next = Box::pin(other.permit(Haste::UnderWay));
    assert!(!is_there(next.as_mut()));
    assert!(is_there(idle), "somebody waits");
    let mut after = pin!(other.permit(Haste::Waiting));
    assert!(!is_there(after.as_mut()));
    limit.set_most(2.try_into().unwrap());
    assert!(!is_there(after.as_mut()), "it is not the first one");
    drop(next);
    assert!(is_there(after), "it is the first one now");
    limit.set_most(1.try_into().unwrap());
    let mut next = pin!(other.permit(Haste::Waiting));
    assert!(!is_there(next.as_mut()));
    limit.set_most(3.try_into().unwrap());
    assert!(is_there(next), "there is room");
}

#[tokio::test]
async fn a_session_that_ends_makes_room() {
    let limit = limit(1);
    let share = limit.join();
    let serving = take(&share);
    let mut next = pin!(share.permit(Haste::Waiting));
    assert!(!is_there(next.as_mut()));
    drop(serving);
    assert!(is_there(next));
}

/// Nothing else happens when its time is over.
#[tokio::test(start_paused = true)]
async fn a_crowded_server_is_tried_again_after_half_a_minute() {
    let limit = limit(3);
    let share = limit.join();
    let [_first, lost] = [take(&share), take(&share)];
    drop(lost);
    assert_eq!(now(share.permit(Haste::UnderWay)).unwrap().refused(), Refused::Full);
    let began = Instant::now();
    let again = timeout(Duration::from_mins(5), share.permit(Haste::UnderWay)).await;
    assert_eq!((again.is_ok(), began.elapsed().as_secs()), (true, 30));
    assert_eq!(limit.most(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_allowed_counts_also_while_the_server_is_crowded() {
    let limit = limit(4);
    let share = limit.join();
    let [_a, b, c] = [take(&share), take(&share), take(&share)];
    drop(c);
    assert_eq!(now(share.permit(Haste::Waiting)).unwrap().refused(), Refused::Full);
    limit.set_most(1.try_into().unwrap());
    drop(b);
    assert!(now(share.permit(Haste::Waiting)).is_none());
}

/// What was open at once, and is not any more, says nothing of the server as it is now, once there was none.
#[tokio::test]
async fn the_limit_is_what_was_open_at_once_since_there_was_none() {
    let limit = limit(4);
    let share = limit.join();
    let [_a, b, c] = [take(&share), take(&share), take(&share)];
    drop((b, c));
    let _d = take(&share);
    assert_eq!((now(share.permit(Haste::Waiting)).unwrap().refused(), limit.most()), (Refused::Full, 3));

    let limit = Limit::new(4.try_into().unwrap());
    let share = limit.join();
    drop([take(&share), take(&share), take(&share)]);
    assert_eq!(now(share.permit(Haste::Waiting)).unwrap().refused(), Refused::Alone, "none is open");
    let _a = take(&share);
    assert_eq!((now(share.permit(Haste::Waiting)).unwrap().refused(), limit.most()), (Refused::Full, 1));
}

/// A session gives as many away as others wait for, and no more.
#[tokio::test]
async fn what_is_promised_is_not_asked_for_twice() {
    let limit = limit(4);
    let [large, small, new] = [limit.join(), limit.join(), limit.join()];
    let [first, second, _third] = [take(&large), take(&large), take(&large)];
    let _one = take(&small);
    let mut waiting = pin!(new.permit(Haste::Waiting));
    assert!(!is_there(waiting.as_mut()));
    assert!(first.is_wanted_elsewhere() && first.is_wanted_elsewhere());
    // It would have as many as the large one then.
    let mut another = pin!(small.permit(Haste::Waiting));
    assert!(!is_there(another.as_mut()));
    assert!(!second.is_wanted_elsewhere());
    drop(first);
    let mut given = now(waiting).unwrap();
    given.opened(Duration::ZERO);
    // The promise is kept: the next one who waits is heard as the first one was.
    let newest = limit.join();
    let mut waiting = pin!(newest.permit(Haste::Waiting));
    assert!(!is_there(waiting.as_mut()));
    assert!(second.is_wanted_elsewhere());
}

#[tokio::test]
async fn what_is_promised_is_given_though_nobody_waits_any_more() {
    let limit = limit(1);
    let (one, other) = (limit.join(), limit.join());
    let serving = take(&one);
    let mut waiting = Box::pin(other.permit(Haste::Waiting));
    assert!(!is_there(waiting.as_mut()) && serving.is_wanted_elsewhere());
    drop(waiting);
    assert!(serving.is_wanted_elsewhere());
}

#[tokio::test(start_paused = true)]
async fn a_turn_lasts_ten_times_as_long_as_the_session_took_to_open() {
    let limit = limit(1);
    let (one, other) = (limit.join(), limit.join());
    let mut serving = now(one.permit(Haste::Waiting)).unwrap();
    serving.opened(Duration::from_secs(2));
    let mut waiting = pin!(other.permit(Haste::Waiting));
    assert!(!is_there(waiting.as_mut()));
    advance(Duration::from_secs(19)).await;
    assert!(!serving.is_wanted_elsewhere());
    advance(Duration::from_secs(1)).await;
    assert!(serving.is_wanted_elsewhere());
}

/// An agent has a share for each run, for years.
#[test]
fn a_job_that_is_done_leaves_nothing_behind() {
    let limit = limit(2);
    let share = limit.join();
    let permit = take(&share);
    drop(share);
    assert_eq!(limit.held().shares.len(), 1, "its session is open");
    drop(permit);
    assert_eq!(limit.taken(), 0);
    assert_eq!(limit.held().shares.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_opened_five_milliseconds_apart() {
    let limit = limit(4);
    let began = Instant::now();
    tokio::join!(limit.pace(), limit.pace(), limit.pace());
    assert_eq!(began.elapsed().as_millis(), 10);
    advance(Duration::from_secs(1)).await;
    let began = Instant::now();
    limit.pace().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}
