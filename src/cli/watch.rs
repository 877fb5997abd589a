//! Shows the events of runs as they happen.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
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
        let (messages, queue) = mpsc::sync_channel(QUEUE);
        let output = output.clone();
        let sink = Arc::new(Sink { messages });
        Self { sink, shower: thread::spawn(move || show(&queue, &output)) }
    }

    /// Where runs put their events.
    pub(super) fn sink(&self) -> Arc<dyn EventSink> {
        Arc::clone(&self.sink) as _
    }

    /// Shows what is left and clears the progress bar. Does not wait for runs that were cut off
    /// and may still hold the sink.
    pub(super) fn finish(self) -> Result<(), CliError> {
        // Fails only when the thread that shows them is gone.
        drop(self.sink.messages.send(Message::End));
        // A panic there was printed when it happened; the runs are not concerned.
        self.shower.join().unwrap_or(Ok(()))
    }
}

/// What is put on the queue.
#[derive(Debug)]
enum Message {
    Event(Event),
    /// Nothing that follows is shown.
    End,
}

/// Takes events from any task.
#[derive(Debug)]
struct Sink {
    messages: SyncSender<Message>,
}

impl EventSink for Sink {
    fn emit(&self, event: Event) {
        // Only the progress bar wants pieces, and the file's end puts right what it missed.
        let piece = matches!(event, Event::File { progress: FileProgress::Bytes { .. }, .. });
        match self.messages.try_send(Message::Event(event)) {
            Err(TrySendError::Full(message)) if !piece => {
                // The runs wait for whoever reads; other tasks of this thread do not.
                tokio::task::block_in_place(|| drop(self.messages.send(message)));
            }
            // Gone is the thread that shows them, or not worth waiting for.
            Ok(()) | Err(_) => {}
        }
    }
}

fn show(queue: &Receiver<Message>, output: &Output) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut json = Json::default();
    let mut bar = Bar::new(output);
    loop {
        match queue.recv_timeout(TICK) {
            Ok(Message::Event(event)) => {
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
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
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
