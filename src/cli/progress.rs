//! The progress bar.

use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use crate::domain::Event;
use crate::observe::{Progress, Snapshot, bytes, count, duration, rate};

/// Shortest time between two drawings: more often cannot be read.
const REDRAW: Duration = Duration::from_millis(100);

/// The width that is drawn for where the terminal does not tell its own.
const USUAL_WIDTH: usize = 80;

/// Longest bar; a longer one tells no more.
const MAX_BAR: usize = 30;

/// Shortest bar that tells anything.
const MIN_BAR: usize = 6;

/// Draws how far the runs have come, on a terminal only; elsewhere it does nothing.
#[derive(Debug)]
pub(super) struct Bar {
    progress: Progress,
    drawing: ProgressBar,
    drawn: Option<Duration>,
}

impl Bar {
    pub(super) fn new(output: &Output) -> Self {
        let bar = output.bars.add(ProgressBar::no_length());
        // The template is a constant without a length to compute: it always parses.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { progress: Progress::default(), drawing: bar, drawn: None }
    }

    /// Takes one event that happened at `now`, counted from any fixed moment.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) {
        self.progress.apply(event, now);
    }

    /// Draws, unless it was drawn just before.
    pub(super) fn draw(&mut self, now: Duration) {
        let due = self.drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= REDRAW);
        if due && !self.drawing.is_hidden() {
            self.drawn = Some(now);
            let snapshot = self.progress.at(now);
            if snapshot.files_total > 0 {
                self.drawing.set_message(rendered(&snapshot, width()));
                self.drawing.tick();
            }
        }
    }

    pub(super) fn clear(&self) {
        self.drawing.finish_and_clear();
    }
}

fn width() -> usize {
    let told = rustix::termios::tcgetwinsize(io::stderr()).map(|size| usize::from(size.ws_col));
    told.ok().filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
}

/// One line of at most `width` - 1 columns: what matters most stands first, what does not fit is
/// left out, and a bar fills the room that is left.
fn rendered(now: &Snapshot, width: usize) -> String {
    let room = width.saturating_sub(1);
    let mut line = String::new();
    let add = |line: &mut String, part: String, room: usize| {
        let gap = if line.is_empty() { "" } else { GAP };
        if line.len() + gap.len() + part.len() <= room {
            line.extend([gap, &part]);
        }
    };
    add(&mut line, format!("{}/{} files", now.files_done, now.files_total), room);
    if now.files_failed > 0 {
        add(&mut line, format!("{} failed", now.files_failed), room);
    }
    let total = u128::from(now.bytes_total).max(1);
    add(&mut line, format!("{}%", u128::from(now.bytes_done) * 100 / total), room);
    if let Some(left) = now.left {
        // Tenths of a second would only flicker.
        let left = if left.as_secs() < 60 { format!("{} s", left.as_secs()) } else { duration(left) };
        add(&mut line, format!("{left} left"), room);
    }
    if let Some(speed) = now.rate {
        add(&mut line, rate(speed), room);
    }
    add(&mut line, amount(now), room);
    let room_before_bar = room.saturating_sub(GAP.len() + BRACKETS + MIN_BAR);
    if now.files_retrying > 0 {
        add(&mut line, format!("{} tried again", count(now.files_retrying, "file")), room_before_bar);
    }
    let bar = room.saturating_sub(line.len() + GAP.len() + BRACKETS).min(MAX_BAR);
    if bar >= MIN_BAR {
        let done = usize::try_from(u128::from(now.bytes_done) * bar as u128 / total).unwrap_or(bar).min(bar);
        line.extend([GAP, "[", &"#".repeat(done), &".".repeat(bar - done), "]"]);
    }
    line
}

/// `1.2 of 4.0 MiB`, or `900 KiB of 4.0 MiB`.
fn amount(now: &Snapshot) -> String {
    let (done, total) = (bytes(now.bytes_done), bytes(now.bytes_total));
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {total}"),
        _ => format!("{done} of {total}"),
    }
}

/// What stands between two parts of the line.
const GAP: &str = "  ";

/// Columns of the brackets around the bar.
const BRACKETS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Snapshot = Snapshot {
        files_done: 12,
        files_total: 2000,
        files_failed: 0,
        files_retrying: 0,
        bytes_done: 2 * 1024 * 1024,
        bytes_total: 4 * 1024 * 1024,
        rate: Some(512 * 1024),
        left: Some(Duration::from_secs(4)),
    };

    #[test]
    fn what_matters_most_is_left_on_a_narrow_terminal() {
        for (width, line) in [
            (
                100,
                "12/2000 files  50%  4 s left  512 KiB/s  2.0 of 4.0 MiB  [###############...............]",
            ),
            (80, "12/2000 files  50%  4 s left  512 KiB/s  2.0 of 4.0 MiB  [##########..........]"),
            (60, "12/2000 files  50%  4 s left  512 KiB/s  2.0 of 4.0 MiB"),
            (40, "12/2000 files  50%  4 s left  512 KiB/s"),
            (20, "12/2000 files  50%"),
            (3, ""),
        ] {
            assert_eq!(rendered(&HALF, width), line, "{width}");
        }
    }

    #[test]
    fn trouble_is_seen() {
        let trouble = Snapshot { files_failed: 1, files_retrying: 2, rate: None, left: None, ..HALF };
        let line = rendered(&trouble, 100);
        assert!(
            line.starts_with("12/2000 files  1 failed  50%  2.0 of 4.0 MiB  2 files tried again  ["),
            "{line}"
        );
    }

    #[test]
    fn nothing_to_send_is_no_division() {
        let nothing = Snapshot { bytes_done: 0, bytes_total: 0, rate: None, left: None, ..HALF };
        assert!(rendered(&nothing, 60).starts_with("12/2000 files  0%"));
    }
}
