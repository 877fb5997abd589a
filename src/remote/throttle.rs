//! Keeps what crosses to and from a server within its bandwidth.
//!
//! Each way has a line of its own, in which all sessions stand: whoever wants to send takes the next
//! free stretch of time, as long as its piece takes at the rate of the hour, and waits for it. So
//! the pieces of all sessions follow one another evenly, none is passed over, and no burst is longer
//! than [`CATCH_UP`]. Pieces are small, so that a rate that changes is felt within seconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::clock::Clock;
use crate::domain::{Bandwidth, Rate, ServerName};

/// How much of the time in which nothing was sent may be made up for: as much as timers and
/// schedulers are late by, and too little for a burst that anybody else on the line feels.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How long a piece takes at the rate.
const PIECE: Duration = Duration::from_millis(50);
/// The smallest piece: the smallest rate sends it in [`PIECE`], about.
const MIN_PIECE_BYTES: u64 = 512;
/// The largest: at higher rates more pieces a second go, not longer ones.
const MAX_PIECE_BYTES: u64 = 64 * 1024;

/// One way to or from a server.
#[derive(Debug)]
pub(super) struct Throttle {
    server: ServerName,
    bandwidth: Bandwidth,
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
    says: Says,
}

/// Whether the log says when the rate becomes another: one of the two ways does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Changes,
    Nothing,
}

#[derive(Debug)]
struct Line {
    /// When the next piece may go.
    free: Instant,
    /// The rate of the last piece.
    rate: Option<Rate>,
}

impl Throttle {
    pub(super) fn new(server: ServerName, bandwidth: Bandwidth, clock: Arc<dyn Clock>, says: Says) -> Self {
        let line = Mutex::new(Line { free: Instant::now(), rate: None });
        Self { server, bandwidth, clock, line, says }
    }

    /// How many bytes may go at once now.
    pub(super) fn piece(&self) -> usize {
        let Some(rate) = self.rate() else { return usize::MAX };
        let bytes = rate.bytes() / u64::from(1_000 / PIECE.subsec_millis().max(1));
        usize::try_from(bytes.clamp(MIN_PIECE_BYTES, MAX_PIECE_BYTES)).unwrap_or(usize::MAX)
    }

    /// Waits until so many bytes may go. Cancel safety: the stretch that was taken stays taken.
    pub(super) async fn pass(&self, bytes: usize) {
        if let Some(at) = self.next(bytes) {
            sleep_until(at).await;
        }
    }

    fn rate(&self) -> Option<Rate> {
        if self.bandwidth.is_unlimited() { None } else { self.bandwidth.at(self.clock.now()) }
    }

    /// Takes a stretch of the line, and says when it begins. `None` where there is no limit now.
    fn next(&self, bytes: usize) -> Option<Instant> {
        let rate = self.rate();
        let mut line = self.line();
        if line.rate != rate {
            line.rate = rate;
            if self.says == Says::Changes {
                if let Some(limit) = rate {
                    info!(server = %self.server, %limit, "Bandwidth is limited.");
                } else {
                    info!(server = %self.server, "Bandwidth is not limited any more.");
                }
            }
        }
        let rate = rate?;
        let nanos =
            u128::from(u64::try_from(bytes).unwrap_or(u64::MAX)) * 1_000_000_000 / u128::from(rate.bytes());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let begins = line.free.max(earliest);
        line.free = begins.checked_add(takes).unwrap_or(begins);
        Some(begins)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::domain::{BandwidthHours, Timestamp, Windows, Zone};

    /// A wall clock that goes with tokio's.
    #[derive(Debug)]
    struct Wall {
        start: Instant,
        shows: Timestamp,
    }

    impl Clock for Wall {
        fn now(&self) -> Timestamp {
            self.shows.plus(self.start.elapsed())
        }

        fn random(&self) -> u64 {
            0
        }
    }

    fn throttle(bandwidth: Bandwidth, shows: &str) -> Arc<Throttle> {
        let clock = Arc::new(Wall { start: Instant::now(), shows: shows.parse().unwrap() });
        Arc::new(Throttle::new("vault".parse().unwrap(), bandwidth, clock, Says::Changes))
    }

    fn limit(text: &str) -> Bandwidth {
        Bandwidth { limit: Some(text.parse().unwrap()), timetable: Vec::new() }
    }

    /// Sends bytes as an upload does, and says when each piece went.
    async fn send(throttle: Arc<Throttle>, mut bytes: usize) -> Vec<(Instant, usize)> {
        let mut sent = Vec::new();
        while bytes > 0 {
            let piece = throttle.piece().min(bytes);
            throttle.pass(piece).await;
            sent.push((Instant::now(), piece));
            bytes -= piece;
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn all_sessions_together_keep_to_the_rate_at_each_moment() {
        for (rate, bytes_each) in [("8 kB/s", 60_000), ("100 kB/s", 500_000), ("20 MB/s", 50_000_000)] {
            let throttle = throttle(limit(rate), "2026-11-23T12:00:00Z");
            let begun = Instant::now();
            let mut sessions = JoinSet::new();
            for _ in 0..8 {
                sessions.spawn(send(Arc::clone(&throttle), bytes_each));
            }
            let mut ends = Vec::new();
            let mut sent = Vec::new();
            while let Some(session) = sessions.join_next().await {
                let session = session.unwrap();
                ends.push(session.last().unwrap().0);
                sent.extend(session);
            }
            let bytes = usize::try_from(rate.parse::<Rate>().unwrap().bytes()).unwrap();
            let expected = Duration::from_millis(u64::try_from(8 * bytes_each * 1_000 / bytes).unwrap());
            let took = begun.elapsed();
            assert!(
                took.abs_diff(expected) < Duration::from_millis(300),
                "{rate}: {took:?}, not {expected:?}"
            );
            // In no second does more go than a second's worth and what may be made up for.
            sent.sort();
            let most = bytes + bytes / 5 + 512;
            let mut from = 0;
            let mut within = 0;
            for (at, bytes) in &sent {
                within += bytes;
                while sent[from].0 + Duration::from_secs(1) <= *at {
                    within -= sent[from].1;
                    from += 1;
                }
                assert!(within <= most, "{rate}: {within} bytes in a second");
            }
            // Nobody is passed over: those who have as much to send end together.
            ends.sort();
            assert!(ends[7] - ends[0] < Duration::from_secs(1), "{rate}: {:?}", ends[7] - ends[0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_saves_up_no_burst() {
        let throttle = throttle(limit("100 kB/s"), "2026-11-23T12:00:00Z");
        send(Arc::clone(&throttle), 10_000).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let begun = Instant::now();
        let sent = send(throttle, 100_000).await;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(800), "{took:?}");
        let at_once: usize = sent.iter().filter(|(at, _)| *at == begun).map(|(_, bytes)| bytes).sum();
        assert!(at_once <= 20_000, "{at_once}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_timetable_is_felt_in_the_middle_of_a_file() {
        let hours = Windows::new(vec!["08:00-18:00".parse().unwrap()], Zone::UTC);
        let slow = BandwidthHours { hours, limit: Some("100 kB/s".parse().unwrap()) };
        let bandwidth = Bandwidth { limit: Some("10 MB/s".parse().unwrap()), timetable: vec![slow] };
        let throttle = throttle(bandwidth, "2026-11-23T07:59:50Z");
        let begun = Instant::now();
        let sent = send(throttle, 200_000_000).await;
        let before = |seconds| {
            let until = begun + Duration::from_secs(seconds);
            sent.iter().filter(|(at, _)| *at < until).map(|(_, bytes)| *bytes).sum::<usize>()
        };
        assert!((98_000_000..103_000_000).contains(&before(10)), "{}", before(10));
        let in_the_hour = before(110) - before(11);
        assert!((9_800_000..10_200_000).contains(&in_the_hour), "{in_the_hour}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let throttle = throttle(Bandwidth::default(), "2026-11-23T12:00:00Z");
        let begun = Instant::now();
        assert_eq!(throttle.piece(), usize::MAX);
        send(throttle, usize::MAX).await;
        assert_eq!(Instant::now(), begun);
    }
}
