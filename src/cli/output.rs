//! Standard output and standard error.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::args::Arguments;
use super::error::CliError;
use super::fold::{HELP, broken, folded};
use crate::config::ConfigError;
use crate::plain::chain;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How much is told on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loudness {
    /// Errors.
    Quiet,
    /// Warnings too.
    Normal,
    /// A line a file too.
    Verbose,
    /// What happens on the wire too.
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tints {
    Never,
    Terminal,
}

/// Columns at which a complaint that is too long goes on.
const HANG: usize = 4;

/// Where everything that is printed goes through.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) format: Format,
    pub(super) loudness: Loudness,
    /// Progress bars; they make room for lines on standard error.
    pub(super) bars: MultiProgress,
    tints: Tints,
    /// The same for data.
    data_tints: Tints,
    /// The columns of the terminal to which data goes; none where it goes elsewhere.
    pub(super) data_width: Option<usize>,
    /// The same for what is told on standard error; none with JSON.
    width: Option<usize>,
}

/// The colours that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
}

impl Colour {
    /// Its number in ECMA-48, section 8.3.117.
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }
}

impl Output {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let format = if arguments.json { Format::Json } else { Format::Text };
        let loudness = match (arguments.quiet, arguments.verbose) {
            (true, _) => Loudness::Quiet,
            (_, 0) => Loudness::Normal,
            (_, 1) => Loudness::Verbose,
            _ => Loudness::Debug,
        };
        // https://no-color.org: set, and not empty.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let tints = |terminal: bool| if terminal && !no_colour { Tints::Terminal } else { Tints::Never };
        let data_tints = tints(io::stdout().is_terminal());
        let tints = tints(io::stderr().is_terminal());
        let draws = loudness >= Loudness::Normal && format == Format::Text && io::stderr().is_terminal();
        let target = if draws { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            format,
            loudness,
            bars: MultiProgress::with_draw_target(target),
            tints,
            data_tints,
            data_width: columns(&io::stdout()),
            width: columns(&io::stderr()).filter(|_| format == Format::Text),
        }
    }

    /// Whether colours may be used on standard error.
    pub(super) fn is_coloured(&self) -> bool {
        self.tints == Tints::Terminal
    }

    /// Writes a line of data. A reader who has seen enough (`| head`) is no error.
    pub(super) fn data(&self, line: impl Display) -> Result<(), CliError> {
        let written = self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        });
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
            _ => Ok(()),
        }
    }

    /// Writes a line of data as JSON.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let line = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
        self.data(line)
    }

    /// Tells something to those who did not ask for silence.
    pub(super) fn line(&self, loudness: Loudness, text: impl Display) {
        if self.loudness >= loudness {
            self.tell(format_args!("{}", folded(&text.to_string(), HANG, self.width)));
        }
    }

    /// Tells of something unexpected, with what to do about it.
    pub(super) fn warning(&self, text: impl Display, remedy: Option<&str>) {
        if self.loudness >= Loudness::Normal {
            self.complain("warning", Colour::Yellow, &text.to_string(), remedy);
        }
    }

    /// Tells of something that someone must mend, with what to do about it.
    pub(super) fn problem(&self, text: impl Display, remedy: Option<&str>) {
        self.complain("error", Colour::Red, &text.to_string(), remedy);
    }

    fn complain(&self, level: &'static str, colour: Colour, text: &str, remedy: Option<&str>) {
        let before = "nightferry: : ".len() + level.len();
        // Its words begin behind these on the first line only.
        let (first, rest) = text.split_once('\n').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let first = broken(first, before, HANG, self.width);
        let rest = rest.map(|rest| format!("\n{}", folded(rest, HANG, self.width))).unwrap_or_default();
        let help = remedy.map(|remedy| folded(&format!("\n    {HELP}{remedy}"), HANG, self.width));
        let help = help.unwrap_or_default();
        self.tell(format_args!("nightferry: {}: {first}{rest}{help}", tinted(level, colour, self.tints)));
    }

    /// Tells why the command did not do what it was asked for.
    pub(super) fn error(&self, error: &CliError) {
        if let CliError::Config(ConfigError::Invalid(problems)) = error {
            self.tell(format_args!("{}", folded(&problems.to_string(), HANG, self.width)));
            return self.problem("the configuration has mistakes; nothing was done", None);
        }
        self.problem(chain(error), error.remedy().as_deref());
    }

    fn tell(&self, text: fmt::Arguments<'_>) {
        // Where standard error is gone there is nobody to tell.
        drop(self.bars.suspend(|| writeln!(io::stderr().lock(), "{text}")));
    }

    /// A word in data, coloured on a terminal.
    pub(super) fn mark(&self, word: &'static str, colour: Colour) -> String {
        tinted(word, colour, self.data_tints)
    }
}

/// The columns of a terminal.
fn columns(stream: &(impl io::IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    let told = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok()).flatten();
    told.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0)
}

fn tinted(word: &'static str, colour: Colour, tints: Tints) -> String {
    match tints {
        Tints::Terminal => format!("\x1b[1;{}m{word}\x1b[0m", colour.code()),
        Tints::Never => word.to_owned(),
    }
}
