//! Shows the events of runs as they happen.

use std::sync::Arc;
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

/// Shows the events of runs on a thread of its own.
#[derive(Debug)]
pub(super) struct Watch {
    sink: Arc<Sink>,
    shower: JoinHandle<Result<(), CliError>>,
}

impl Watch {
    pub(super) fn start(output: &Output) -> Self {
        let (events, queue) = mpsc::sync_channel(QUEUE);
        let output = output.clone();
        let sink = Arc::new(Sink { events });
        Self { sink, shower: thread::spawn(move || show(&queue, &output)) }
    }

    /// Where runs put their events.
    pub(super) fn sink(&self) -> Arc<dyn EventSink> {
        Arc::clone(&self.sink) as _
    }

    /// Shows what is left and clears the progress bar, once all runs have let go of the sink.
    pub(super) fn finish(self) -> Result<(), CliError> {
        drop(self.sink);
        // A panic there was printed when it happened; the runs are not concerned.
        self.shower.join().unwrap_or(Ok(()))
    }
}

/// Takes events from any task.
#[derive(Debug)]
struct Sink {
    events: SyncSender<Event>,
}

impl EventSink for Sink {
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
