//! How long to wait before something is tried again.

use std::time::Duration;

/// Waiting times that double, up to a limit, each drawn at random from its whole range ("full
/// jitter"), so that clients which failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub limit: Duration,
}

impl Backoff {
    /// The wait before try number `attempt`, counted from 2; `random` is any number.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(2).min(31);
        let longest = self.base.saturating_mul(1 << doublings).min(self.limit);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random % nanos.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let backoff = Backoff { base: Duration::from_millis(100), limit: Duration::from_secs(1) };
        let longest = |attempt| {
            let ceiling = (1..=10).map(|tenth| backoff.delay(attempt, u64::MAX / 10 * tenth)).max().unwrap();
            let limit = backoff.base.saturating_mul(1 << (attempt - 2).min(20)).min(backoff.limit);
            assert!(ceiling < limit, "{attempt}: {ceiling:?}");
            limit
        };
        assert_eq!(longest(2), Duration::from_millis(100));
        assert_eq!(longest(4), Duration::from_millis(400));
        assert_eq!(longest(60), Duration::from_secs(1));
        assert_eq!(backoff.delay(2, 0), Duration::ZERO);
        assert_eq!(backoff.delay(2, 99_999_999), Duration::from_nanos(99_999_999));
    }
}
