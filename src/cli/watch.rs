//! Shows the events of runs as they happen.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::output::{Format, Loudness, Output};
use super::progress::Bar;
use crate::domain::{Event, EventSink, FileProgress};
use crate::observe::{Json, Weight, line};

/// Most events that wait to be shown. When the terminal or the reader of a pipe does not keep
/// up, the runs wait for it.
const QUEUE: usize = 1_024;

/// How often the progress bar is drawn while nothing happens, so that the time goes on.
const TICK: Duration = Duration::from_millis(200);

/// Takes the events of runs from any task and shows them on a thread of its own.
#[derive(Debug)]
pub(super) struct Watch {
    events: SyncSender<Event>,
    shower: JoinHandle<Result<(), CliError>>,
}

impl Watch {
    pub(super) fn start(output: &Output) -> Self {
        let (events, queue) = mpsc::sync_channel(QUEUE);
        let output = output.clone();
        Self { events, shower: thread::spawn(move || show(&queue, &output)) }
    }

    /// Shows what is left and clears the progress bar.
    pub(super) fn finish(self) -> Result<(), CliError> {
        drop(self.events);
        // A panic there was printed when it happened; the runs are not concerned.
        self.shower.join().unwrap_or(Ok(()))
    }
}

impl EventSink for Watch {
    fn emit(&self, event: Event) {
        if matches!(event, Event::File { progress: FileProgress::Bytes { .. }, .. }) {
            // Only the progress bar wants these, and the file's end puts right what it missed.
            drop(self.events.try_send(event));
        } else {
            // Fails only when the thread that shows them is gone.
            drop(self.events.send(event));
        }
    }
}

fn show(queue: &Receiver<Event>, output: &Output) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut json = Json::default();
    let mut bar = Bar::new(output);
    loop {
        match queue.recv_timeout(TICK) {
            Ok(event) => {
                match output.format {
                    Format::Json => {
                        if let Some(line) = json.line(&event) {
                            output.data(line)?;
                        }
                    }
                    Format::Text => show_line(&event, output),
                }
                bar.apply(&event, begun.elapsed());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        bar.draw(begun.elapsed());
    }
    bar.clear();
    Ok(())
}

fn show_line(event: &Event, output: &Output) {
    if let Some(line) = line(event) {
        match line.weight {
            Weight::Detail => output.line(Loudness::Verbose, line.text),
            Weight::Notice => output.line(Loudness::Normal, line.text),
        }
    }
}
