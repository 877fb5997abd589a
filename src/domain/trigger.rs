//! Why a run starts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Why a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Trigger {
    /// A person asked for it.
    Manual,
    /// A scheduled time came.
    Schedule {
        /// That time, before jitter.
        due: Timestamp,
    },
    /// Scheduled times passed while nothing could run: one run makes up for all of them.
    CatchUp(Missed),
    /// Files appeared or changed.
    Watch,
    /// What failed for a passing reason is tried again.
    Retry {
        /// Which try in a row it is, from 2.
        attempt: u32,
    },
    /// What the agent found missing or changed on the server is sent again.
    Repair,
}

impl Trigger {
    /// The scheduled times that it stands for.
    pub const fn dues(&self) -> Option<Missed> {
        match self {
            Self::Schedule { due } => Some(Missed::one(*due)),
            Self::CatchUp(missed) => Some(*missed),
            Self::Manual | Self::Watch | Self::Retry { .. } | Self::Repair => None,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => f.write_str("by hand"),
            Self::Schedule { due } => write!(f, "schedule {}", due.to_seconds()),
            Self::CatchUp(missed) => write!(f, "catch-up of {missed}"),
            Self::Watch => f.write_str("watch"),
            Self::Retry { attempt } => write!(f, "retry {attempt}"),
            Self::Repair => f.write_str("repair"),
        }
    }
}

/// Scheduled times of one job that passed without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many. Of very many, [`Missed::MOST_COUNTED`] are counted.
    pub times: u64,
}

impl Missed {
    /// Most times that are counted: a month by the minute. Counting them takes a tenth of a second.
    pub const MOST_COUNTED: u64 = 44_640;

    /// A single time.
    pub const fn one(due: Timestamp) -> Self {
        Self { first: due, last: due, times: 1 }
    }

    /// These times and others. Times that both have are counted twice, but for a single one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            times: self.times.saturating_add(other.times),
        }
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, times } = self;
        if *times == 1 {
            return write!(f, "{}", last.to_seconds());
        }
        let least = if *times >= Self::MOST_COUNTED { "at least " } else { "" };
        write!(f, "{least}{times} times from {} to {}", first.to_seconds(), last.to_seconds())
    }
}

/// All that one run was started for, at most one trigger of a kind. Empty in records of runs
/// from before triggers were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Triggers(Vec<Trigger>);

impl Triggers {
    /// One trigger.
    pub fn of(trigger: Trigger) -> Self {
        Self(vec![trigger])
    }

    /// Adds a trigger. Scheduled times that come together become one catch-up, of retries the
    /// furthest stays.
    pub fn add(&mut self, trigger: Trigger) {
        for known in &mut self.0 {
            let joined = match (*known, trigger) {
                (Trigger::Manual, Trigger::Manual) | (Trigger::Watch, Trigger::Watch) => Some(trigger),
                (Trigger::Retry { attempt: a }, Trigger::Retry { attempt: b }) => {
                    Some(Trigger::Retry { attempt: a.max(b) })
                }
                (a, b) if a == b => Some(a),
                (a, b) => a.dues().zip(b.dues()).map(|(a, b)| Trigger::CatchUp(a.and(b))),
            };
            if let Some(joined) = joined {
                *known = joined;
                return;
            }
        }
        self.0.push(trigger);
    }

    /// Adds all triggers of others.
    pub fn join(&mut self, others: &Self) {
        others.iter().for_each(|trigger| self.add(*trigger));
    }

    /// The triggers, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Trigger> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last scheduled time that the run stands for: no earlier one is due any more.
    pub fn last_due(&self) -> Option<Timestamp> {
        self.iter().filter_map(Trigger::dues).map(|dues| dues.last).max()
    }
}

impl From<Trigger> for Triggers {
    fn from(trigger: Trigger) -> Self {
        Self::of(trigger)
    }
}

impl fmt::Display for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, trigger) in self.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{trigger}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0)
    }

    fn due(seconds: i64) -> Trigger {
        Trigger::Schedule { due: at(seconds) }
    }

    fn all(triggers: &[Trigger]) -> Triggers {
        let mut all = Triggers::default();
        for trigger in triggers {
            all.add(*trigger);
        }
        all
    }

    #[test]
    fn one_trigger_of_a_kind_stays() {
        let triggers = all(&[
            Trigger::Watch,
            due(100),
            Trigger::Manual,
            Trigger::Watch,
            Trigger::Retry { attempt: 3 },
            Trigger::Retry { attempt: 2 },
            due(200),
            due(50),
        ]);
        let missed = Missed { first: at(50), last: at(200), times: 3 };
        let expected =
            [Trigger::Watch, Trigger::CatchUp(missed), Trigger::Manual, Trigger::Retry { attempt: 3 }];
        assert_eq!(triggers.iter().copied().collect::<Vec<_>>(), expected);
        assert_eq!(triggers.last_due(), Some(at(200)));
        assert_eq!(all(&[due(7), due(7)]), Triggers::of(due(7)));
        assert_eq!(all(&[Trigger::Manual]).last_due(), None);
    }

    #[test]
    fn they_are_written_as_words_and_read_back() {
        let triggers = all(&[due(0), Trigger::Manual]);
        let json = serde_json::to_string(&triggers).unwrap();
        assert_eq!(json, r#"[{"why":"schedule","due":"1970-01-01T00:00:00.000000000Z"},{"why":"manual"}]"#);
        assert_eq!(serde_json::from_str::<Triggers>(&json).unwrap(), triggers);
        let missed = all(&[due(0), due(60)]);
        let json = serde_json::to_string(&missed).unwrap();
        assert_eq!(serde_json::from_str::<Triggers>(&json).unwrap(), missed);
        assert_eq!(triggers.to_string(), "schedule 1970-01-01T00:00:00Z, by hand");
        assert_eq!(
            missed.to_string(),
            "catch-up of 2 times from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z"
        );
    }
}
