//! Log messages of the program itself, on standard error.

use std::ffi::OsStr;
use std::io;

use indicatif::MultiProgress;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::output::{Loudness, Output};
use crate::config::{LogConfig, LogFormat, LogLevel};

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

/// The log of the agent: as its configuration says, or as loud as the command was asked to be. In
/// the journal a line carries its priority (`sd-daemon(3)`) and no time, which the journal has.
pub(super) fn start_service(config: LogConfig, output: &Output) {
    let level = match (output.loudness, config.level) {
        (Loudness::Quiet, _) | (Loudness::Normal, LogLevel::Error) => LevelFilter::ERROR,
        (Loudness::Normal, LogLevel::Warn) => LevelFilter::WARN,
        (Loudness::Normal, LogLevel::Info) => LevelFilter::INFO,
        (Loudness::Verbose | Loudness::Debug, _) | (Loudness::Normal, LogLevel::Debug) => LevelFilter::DEBUG,
    };
    let place =
        if is_journal(std::env::var_os("JOURNAL_STREAM").as_deref()) { Place::Journal } else { Place::Other };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(output.is_coloured())
        .with_writer(Lines(place));
    // Fails only where somebody has set one before, as tests may.
    drop(match (config.format, place) {
        (LogFormat::Text, Place::Journal) => {
            tracing::subscriber::set_global_default(builder.without_time().with_level(false).finish())
        }
        (LogFormat::Text, Place::Other) => tracing::subscriber::set_global_default(builder.finish()),
        (LogFormat::Json, Place::Journal) => tracing::subscriber::set_global_default(
            builder.json().flatten_event(true).without_time().finish(),
        ),
        (LogFormat::Json, Place::Other) => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    });
}

/// Where standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Journal,
    Other,
}

/// Whether standard error is the journal's: the variable names its device and inode, and is inherited
/// also by those whose standard error goes elsewhere (systemd.exec(5)).
fn is_journal(variable: Option<&OsStr>) -> bool {
    let named = variable.and_then(OsStr::to_str).and_then(|text| text.split_once(':'));
    let Some((device, inode)) = named else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// Lines of the agent's log.
struct Lines(Place);

/// One line: its priority in front, where the journal reads it.
struct Line(&'static str);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = [self.0.as_bytes(), bytes].concat();
        io::stderr().lock().write_all(&line)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line("")
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(match (self.0, *meta.level()) {
            (Place::Other, _) => "",
            (Place::Journal, Level::ERROR) => "<3>",
            (Place::Journal, Level::WARN) => "<4>",
            (Place::Journal, Level::INFO) => "<6>",
            (Place::Journal, _) => "<7>",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_journals_own_stream_counts() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        let named = |device: u64, inode: u64| is_journal(Some(OsStr::new(&format!("{device}:{inode}"))));
        assert!(named(stat.st_dev, stat.st_ino));
        assert!(!named(stat.st_dev, stat.st_ino + 1) && !named(stat.st_dev + 1, stat.st_ino));
        assert!(!is_journal(None) && !is_journal(Some(OsStr::new("7"))));
    }
}
