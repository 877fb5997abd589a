//! How many files a job usually delivers, so that a number far from it is noticed.

use std::collections::VecDeque;

use super::{Late, Punctuality};

/// How many times more, or fewer, files than usual are unusual: 2 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(u16);

impl Factor {
    /// The least: with less, chance alone would do.
    pub const LEAST: u16 = 2;
    /// The most that makes sense.
    pub const MOST: u16 = 1_000;

    /// A factor in range.
    pub fn new(factor: u16) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&factor).then_some(Self(factor))
    }
}

/// The numbers of files that a job's last scheduled runs delivered: a fold over those that ended well.
/// Runs that began for other reasons say nothing of what is usual, nor do those that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usual(VecDeque<u64>);

impl Usual {
    /// Runs that are looked back at: four weeks of working days.
    const KEPT: usize = 20;
    /// Fewer say nothing.
    const NEEDED: usize = 5;
    /// A difference below is none: where two files are usual, nine are no news.
    const LEAST_DIFFERENCE: u64 = 10;

    /// Takes in how many files a run delivered.
    pub fn add(&mut self, files: u64) {
        self.0.push_back(files);
        if self.0.len() > Self::KEPT {
            self.0.pop_front();
        }
    }

    /// Whether there are as many runs as are looked back at.
    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::KEPT
    }

    /// Whether such a number is unusual: over `factor` times the median of the last runs, or less than
    /// that part of it, and at least ten files away from it. One odd run moves a median little.
    pub fn judge(&self, files: u64, factor: Factor) -> Punctuality {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() >= Self::NEEDED);
        let Some(usual) = median else { return Punctuality::Open };
        let factor = u64::from(factor.0);
        let is_far = files > usual.saturating_mul(factor) || files.saturating_mul(factor) < usual;
        if is_far && files.abs_diff(usual) >= Self::LEAST_DIFFERENCE {
            Punctuality::Late(Late::Unusual { files, usual })
        } else {
            Punctuality::Met
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_far_from_the_median_are_unusual() {
        let five = Factor::new(5).unwrap();
        let of = |runs: &[u64]| {
            let mut usual = Usual::default();
            for files in runs {
                usual.add(*files);
            }
            usual
        };
        let late = |files, usual| Punctuality::Late(Late::Unusual { files, usual });
        let fifty = of(&[48, 50, 52, 9_000, 50]);
        for (files, standing) in [
            (250, Punctuality::Met),
            (251, late(251, 50)),
            (10, Punctuality::Met),
            (9, late(9, 50)),
            (0, late(0, 50)),
        ] {
            assert_eq!(fifty.judge(files, five), standing, "{files}");
        }
        assert_eq!(of(&[50; 4]).judge(0, five), Punctuality::Open, "too few runs to tell");
        assert_eq!(of(&[1; 9]).judge(10, five), Punctuality::Met, "nine more are no news");
        assert_eq!(of(&[0; 9]).judge(10, five), late(10, 0));
        // What has become usual is not unusual.
        let mut grown = fifty;
        (0..20).for_each(|_| grown.add(9_000));
        assert_eq!(grown.judge(9_000, five), Punctuality::Met);
        assert_eq!(grown.0.len(), Usual::KEPT);
        assert!(Factor::new(1).is_none() && Factor::new(1_001).is_none());
    }
}
