//! What befalls a run, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::watch::Step;

/// When a blow falls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// When this is seen for the nth time in the run, counted from 1.
    At(Step, u32),
    /// So long after the start, wherever the run is.
    After(Duration),
}

/// What falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and the run comes to its own end.
    Terminate,
    /// SIGINT, and the run comes to its own end.
    Interrupt,
    /// All control connections are reset, and the run comes to its own end.
    Cut,
    /// The server's daemon and all its sessions get SIGKILL, and it is started again; the run comes to
    /// its own end.
    Restart,
}

/// A long run takes about so long; after most of that it has ended by itself.
const LONGEST_WAIT_MICROS: usize = 600_000;

/// Every named step of the way of one file; the two between which a file is in doubt twice as often.
const STEPS: [Step; 10] = [
    Step::RunStarted,
    Step::Staging,
    Step::TemporaryAppears,
    Step::TemporaryIsWhole,
    Step::Publishing,
    Step::Publishing,
    Step::FinalAppears,
    Step::FinalAppears,
    Step::Delivered,
    Step::RunFinished,
];

/// What a run does before and beside that, where there is something to do.
const RARE: [Step; 12] = [
    Step::SidecarChanges,
    Step::SidecarAppears,
    Step::TemporaryGrows,
    Step::TemporarySwept,
    Step::Confirmed,
    Step::Presumed,
    Step::Withdrawn,
    Step::Retiring,
    Step::Retired,
    Step::Trashing,
    Step::FinalVanishes,
    Step::Removed,
];

/// Draws a blow; rare steps only where the job can come to them.
pub(super) fn draw(dice: &mut Dice, can_come: impl Fn(Step) -> bool) -> (Moment, Blow) {
    let rare: Vec<Step> = RARE.into_iter().filter(|step| can_come(*step)).collect();
    let nth: u32 = dice.pick(&[1, 1, 2, 3]);
    let moment = match dice.below(10) {
        0..=2 => Moment::After(Duration::from_micros(dice.below(LONGEST_WAIT_MICROS) as u64)),
        3..=4 => match dice.pick(&rare) {
            // Some way into a large file.
            Step::TemporaryGrows => Moment::At(Step::TemporaryGrows, nth * 20),
            step => Moment::At(step, nth),
        },
        _ => match dice.pick(&STEPS) {
            once @ (Step::RunStarted | Step::Staging | Step::RunFinished) => Moment::At(once, 1),
            step => Moment::At(step, nth),
        },
    };
    let blow = match dice.below(16) {
        0 => Blow::Terminate,
        1 => Blow::Interrupt,
        2 => Blow::Cut,
        3 => Blow::Restart,
        _ => Blow::Kill,
    };
    (moment, blow)
}

/// How many blows fell where.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) kills: u64,
    pub(super) presumed: u64,
    pub(super) files: u64,
    pub(super) runs: u64,
    fell: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn count(&mut self, moment: Moment, blow: Blow) {
        self.kills += u64::from(blow == Blow::Kill);
        let place = match moment {
            Moment::At(step, _) => format!("{step:?}"),
            Moment::After(_) => "at random".to_owned(),
        };
        let key = if blow == Blow::Kill { place } else { format!("{blow:?}") };
        *self.fell.entry(key).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.presumed += other.presumed;
        self.files += other.files;
        self.runs += other.runs;
        for (key, count) in &other.fell {
            *self.fell.entry(key.clone()).or_default() += count;
        }
    }

    pub(super) fn shown(&self) -> String {
        let Self { kills, presumed, files, runs, fell } = self;
        let fell: Vec<_> = fell.iter().map(|(key, count)| format!("{key} {count}")).collect();
        format!(
            "{kills} kills in {runs} runs, {files} files written, {presumed} presumed; {}",
            fell.join(", ")
        )
    }
}
