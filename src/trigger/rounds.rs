//! When what a job delivered is held against its server again, though nobody asked.

use std::time::Duration;

use super::schedule::number;
use crate::domain::{AgentId, Digest, JobName, Late, Punctuality, Timestamp};

/// When the rounds of one job are due.
///
/// A round is a verify that the agent starts by itself. What it knows comes from the ledger, so that
/// a restart neither skips a round nor repeats one. To be asked again whenever the clock may have been
/// changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Since when there was something to look at.
    known_since: Timestamp,
    /// When nothing was last left to be looked at.
    whole: Option<Timestamp>,
    /// When everything was last looked at, and there was something.
    seen: Option<Timestamp>,
    /// When a round last ended, whatever it reached.
    last: Option<Timestamp>,
}

/// How much of what was delivered a round reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Each file was looked at.
    Whole,
    /// There was none, so that no server was asked.
    Nothing,
    /// Some were not: the server did not answer, or the time was over.
    Part,
}

/// By which part of the interval a round may come early, and after which it is tried again: with a
/// week, a day. So the agents of many machines do not come together, a server that is away is not
/// asked all day long, and the time that was asked for is kept in either case.
const PART: u32 = 7;

/// How many tries may come to nothing, after the interval is over, before somebody is told: a server that is away for
/// a day is no concern yet.
const TRIES_MISSED: u32 = 2;

/// How far ahead the end of a round may lie: further, and the clock was wrong when it was recorded.
const FURTHEST_AHEAD: Duration = Duration::from_hours(24);

impl Rounds {
    /// Of a job that is known since then, and was never verified.
    pub const fn from(known_since: Timestamp) -> Self {
        Self { known_since, whole: None, seen: None, last: None }
    }

    /// Takes in the end of a round, or of a verify that a person asked for.
    pub const fn ended(&mut self, at: Timestamp, coverage: Coverage) {
        self.last = Some(at);
        match coverage {
            Coverage::Whole => (self.whole, self.seen) = (Some(at), Some(at)),
            Coverage::Nothing => self.whole = Some(at),
            Coverage::Part => {}
        }
    }

    /// When everything was last looked at, and there was something.
    pub const fn seen(&self) -> Option<Timestamp> {
        self.seen
    }

    /// When the next round is due, by the clock as it is now. It may lie in the past.
    pub fn next(&self, every: Duration, agent: AgentId, job: &JobName, now: Timestamp) -> Timestamp {
        let part = every / PART;
        let from = self.whole.unwrap_or(self.known_since);
        if from.since(now) > FURTHEST_AHEAD {
            return now;
        }
        let early = number(Digest::of(format!("round {agent} {job}").as_bytes()));
        let early = early % u64::try_from(part.as_nanos()).unwrap_or(u64::MAX).max(1);
        let due = from.plus(every).minus(Duration::from_nanos(early));
        // One that lies ahead was recorded by another clock: it holds nothing up for longer than it would.
        let again = self.last.filter(|last| *last <= now).map(|last| last.plus(part));
        again.map_or(due, |again| due.max(again))
    }

    /// Whether rounds come to nothing for too long: the interval and two more tries are over. An agent that was
    /// off has a try's time before it says so, from `due_since` on, when it first saw that one was due.
    pub fn punctuality(&self, every: Duration, due_since: Option<Timestamp>, now: Timestamp) -> Punctuality {
        let (part, from) = (every / PART, self.whole.unwrap_or(self.known_since));
        if now.since(from) <= every + part * TRIES_MISSED {
            return Punctuality::Met;
        }
        let was_tried = self.last.is_some_and(|last| last > from);
        if was_tried || due_since.is_some_and(|since| now.since(since) >= part) {
            Punctuality::Late(Late::NotVerified { last: self.seen })
        } else {
            Punctuality::Open
        }
    }
}

/// Since when an agent has seen that a round is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueSince(Option<Timestamp>);

impl DueSince {
    /// Looks whether the next round is due, and says since when it was seen to be. A clock that was put back
    /// begins it anew.
    pub fn look(&mut self, next: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let since = self.0.filter(|since| *since <= now).unwrap_or(now);
        self.0 = next.filter(|next| *next <= now).map(|_| since);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;
    const WEEK: Duration = Duration::from_secs(7 * DAY);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(1_700_000_000 + i64::try_from(seconds).unwrap(), 0)
    }

    fn agent(number: u32) -> AgentId {
        AgentId(number)
    }

    fn job() -> JobName {
        "offsite".parse().unwrap()
    }

    /// The ends of rounds over days in which the agent looks every hour, and is started anew whenever
    /// `restarts` says so, with what the ledger tells.
    fn ends(days: u64, restarts: impl Fn(u64) -> bool, coverage: impl Fn(u64) -> Coverage) -> Vec<u64> {
        let (mut ledger, mut rounds, mut ends) = (Vec::new(), Rounds::from(at(0)), Vec::new());
        for hour in 0..days * 24 {
            if restarts(hour) {
                rounds = Rounds::from(at(0));
                for (at, coverage) in &ledger {
                    rounds.ended(*at, *coverage);
                }
            }
            let now = at(hour * 3_600);
            if rounds.next(WEEK, agent(1), &job(), now) <= now {
                let coverage = coverage(hour);
                ledger.push((now, coverage));
                rounds.ended(now, coverage);
                ends.push(hour);
            }
        }
        ends
    }

    #[test]
    fn a_year_has_a_round_in_every_week_and_restarts_change_nothing() {
        let calm = ends(364, |_| false, |_| Coverage::Whole);
        assert!((52..=61).contains(&calm.len()), "{calm:?}");
        let gaps = std::iter::once(&0).chain(&calm).zip(&calm).map(|(one, next)| next - one);
        assert!(gaps.into_iter().all(|gap| (6 * 24..=7 * 24).contains(&gap)), "{calm:?}");
        assert_eq!(ends(364, |hour| hour % 5 == 0, |_| Coverage::Whole), calm);
    }

    #[test]
    fn what_was_not_reached_is_tried_again_a_day_later() {
        let failing = |until: u64| move |hour| if hour < until { Coverage::Part } else { Coverage::Whole };
        let first = ends(8, |_| false, |_| Coverage::Whole)[0];
        let all = ends(14, |hour| hour % 3 == 0, failing(first + 49));
        assert_eq!(all[..4], [first, first + 24, first + 48, first + 72]);
        assert!(all.get(4).is_none_or(|next| next - all[3] >= 6 * 24), "{all:?}");
    }

    #[test]
    fn agents_do_not_come_together() {
        let rounds = Rounds::from(at(0));
        let mut dues: Vec<_> =
            (0..50).map(|number| rounds.next(WEEK, agent(number), &job(), at(0))).collect();
        dues.sort_unstable();
        assert!(dues.iter().all(|due| (at(6 * DAY)..=at(7 * DAY)).contains(due)), "{dues:?}");
        assert!(dues.last().unwrap().since(dues[0]) > Duration::from_secs(DAY / 2), "{dues:?}");
    }

    #[test]
    fn a_clock_that_jumps_neither_stops_rounds_nor_repeats_them() {
        let mut rounds = Rounds::from(at(0));
        rounds.ended(at(900 * DAY), Coverage::Whole);
        // It was wrong then: nothing would be due for years.
        assert_eq!(rounds.next(WEEK, agent(1), &job(), at(7 * DAY)), at(7 * DAY));
        rounds.ended(at(7 * DAY), Coverage::Whole);
        assert!(rounds.next(WEEK, agent(1), &job(), at(7 * DAY)) >= at(13 * DAY));
        // An hour back is no reason for another one.
        let back = at(7 * DAY - 3_600);
        assert!(rounds.next(WEEK, agent(1), &job(), back) >= at(13 * DAY));
        rounds.ended(at(14 * DAY), Coverage::Part);
        assert!(rounds.next(WEEK, agent(1), &job(), at(10 * DAY)) <= at(14 * DAY), "no longer held up");
    }

    #[test]
    fn what_is_due_is_so_since_it_was_first_seen() {
        let mut due = DueSince::default();
        for (next, now, since) in [
            (None, 4, None),
            (Some(10), 5, None),
            (Some(10), 12, Some(12)),
            (Some(10), 20, Some(12)),
            // The clock was put back.
            (Some(10), 11, Some(11)),
            (Some(10), 20, Some(11)),
            // A round has ended, and the next one is due later.
            (Some(30), 25, None),
            (Some(30), 31, Some(31)),
        ] {
            assert_eq!(due.look(next.map(at), at(now)), since.map(at), "{next:?} at {now}");
        }
    }

    #[test]
    fn rounds_that_come_to_nothing_are_late_two_tries_after_their_interval() {
        let late = |rounds: &Rounds, day, due_since: Option<u64>| {
            let standing = rounds.punctuality(WEEK, due_since.map(|day| at(day * DAY)), at(day * DAY));
            matches!(standing, Punctuality::Late(_))
        };
        let mut rounds = Rounds::from(at(0));
        assert!(!late(&rounds, 9, Some(7)), "two tries are not over");
        assert!(late(&rounds, 10, Some(7)), "no round could begin");
        // The agent was off, and has only just seen that one is due.
        assert_eq!(rounds.punctuality(WEEK, Some(at(30 * DAY)), at(30 * DAY)), Punctuality::Open);
        assert!(late(&rounds, 31, Some(30)));
        rounds.ended(at(8 * DAY), Coverage::Part);
        assert!(!late(&rounds, 9, None) && late(&rounds, 10, None), "it was tried");
        rounds.ended(at(11 * DAY), Coverage::Whole);
        assert_eq!(rounds.punctuality(WEEK, None, at(20 * DAY)), Punctuality::Met);
        let last = Some(at(11 * DAY));
        let is_late = Punctuality::Late(Late::NotVerified { last });
        assert_eq!(rounds.punctuality(WEEK, Some(at(18 * DAY)), at(21 * DAY)), is_late);
        // A clock that was put back knows of no lateness.
        assert_eq!(rounds.punctuality(WEEK, None, at(DAY)), Punctuality::Met);
    }

    #[test]
    fn a_round_with_nothing_to_look_at_puts_the_next_one_off_and_shows_nothing() {
        let mut rounds = Rounds::from(at(0));
        rounds.ended(at(7 * DAY), Coverage::Nothing);
        assert_eq!(rounds.seen(), None);
        assert!(rounds.next(WEEK, agent(1), &job(), at(7 * DAY)) >= at(13 * DAY));
        assert_eq!(rounds.punctuality(WEEK, None, at(16 * DAY)), Punctuality::Met);
        let late = Punctuality::Late(Late::NotVerified { last: None });
        assert_eq!(rounds.punctuality(WEEK, Some(at(14 * DAY)), at(17 * DAY)), late);
        rounds.ended(at(17 * DAY), Coverage::Whole);
        rounds.ended(at(24 * DAY), Coverage::Nothing);
        assert_eq!(rounds.seen(), Some(at(17 * DAY)));
    }
}
