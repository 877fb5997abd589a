//! How long to wait before something is tried again, and how often.

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

/// Whether something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is.
    Granted,
    /// The budget is spent.
    Spent,
}

/// How often a run may try files again, so that a server which fails every file is not asked three
/// times as often for it. What succeeds earns a tenth of another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    tenths: u32,
}

impl RetryBudget {
    /// Most tries that can be saved up, and how many a run begins with: enough for eight sessions
    /// that are lost several times, each with its file.
    pub const MOST: u32 = 100;

    const FULL: u32 = Self::MOST * 10;

    /// Takes one try out.
    pub fn take(&mut self) -> Retry {
        match self.tenths.checked_sub(10) {
            Some(left) => {
                self.tenths = left;
                Retry::Granted
            }
            None => Retry::Spent,
        }
    }

    /// Something succeeded.
    pub fn earn(&mut self) {
        self.tenths = self.tenths.saturating_add(1).min(Self::FULL);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tenths: Self::FULL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_earn_a_try_and_nothing_is_saved_beyond_the_limit() {
        let mut budget = RetryBudget::default();
        (0..100).for_each(|_| budget.earn());
        let granted = (0..1_000).take_while(|_| budget.take() == Retry::Granted).count();
        assert_eq!(u32::try_from(granted).unwrap(), RetryBudget::MOST);
        (0..9).for_each(|_| budget.earn());
        assert_eq!(budget.take(), Retry::Spent);
        budget.earn();
        assert_eq!((budget.take(), budget.take()), (Retry::Granted, Retry::Spent));
    }

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
