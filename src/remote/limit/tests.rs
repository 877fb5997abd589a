//! Who gets which session, and what refusals say of the limit.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

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
