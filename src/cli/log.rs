//! Log messages of the program itself, on standard error.

use std::io;

use indicatif::MultiProgress;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::output::{Loudness, Output};

/// From now on log messages as loud as the command was asked to be go to standard error.
pub(super) fn start(output: &Output) {
    let level = match output.loudness {
        Loudness::Quiet => LevelFilter::ERROR,
        // What goes well is told by the lines that the events give.
        Loudness::Normal | Loudness::Verbose => LevelFilter::WARN,
        Loudness::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .with_ansi(output.is_coloured())
        .with_writer(BesideBars(output.bars.clone()))
        .finish();
    // Fails only where somebody has set one before, as tests may.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Writes to standard error while the progress bars make room.
#[derive(Clone)]
struct BesideBars(MultiProgress);

impl io::Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for BesideBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
