//! What the demo says, and how it looks.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// The columns that the text keeps to.
const WIDTH: usize = 78;

/// What stands in front of what a program printed or a file holds.
const INDENT: &str = "    ";

/// Tells the story, and keeps count of its claims.
pub(crate) struct Story {
    out: io::Stdout,
    look: Look,
    acts: u32,
    held: u32,
    broken: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Plain,
    Coloured,
}

/// The colours, as ANSI numbers.
#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Green,
    Red,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Red => "1;31",
        }
    }
}

impl Story {
    pub(crate) fn new() -> Self {
        // https://no-color.org: set, and not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let look = if io::stdout().is_terminal() && !unwanted { Look::Coloured } else { Look::Plain };
        Self { out: io::stdout(), look, acts: 0, held: 0, broken: 0 }
    }

    pub(crate) fn title(&self, text: &str) {
        self.say(&format!("{}\n", self.ink(Ink::Bold, text)));
    }

    /// The headline of the next act.
    pub(crate) fn act(&mut self, text: &str) {
        self.acts += 1;
        let line = format!("{}  {text}", self.acts);
        let rule = "-".repeat(WIDTH.saturating_sub(line.chars().count() + 1));
        self.say(&format!("\n{} {}\n", self.ink(Ink::Bold, &line), self.ink(Ink::Dim, &rule)));
    }

    /// A paragraph.
    pub(crate) fn text(&self, text: &str) {
        self.say(&format!("{}\n", wrapped(text)));
    }

    /// A command as a person would type it.
    pub(crate) fn command(&self, line: &str) {
        self.say(&format!("{} {}", self.ink(Ink::Dim, "$"), self.ink(Ink::Bold, line)));
    }

    /// What a program printed or a file holds.
    pub(crate) fn output(&self, text: &str) {
        for line in text.lines() {
            self.say(&self.ink(Ink::Dim, &format!("{INDENT}{line}")));
        }
    }

    /// An empty line.
    pub(crate) fn gap(&self) {
        self.say("");
    }

    /// Says that something is so, if it is; else that it is not, which the demo is judged by.
    pub(crate) fn claim(&mut self, what: &str, holds: bool) {
        let mark = if holds {
            self.held += 1;
            self.ink(Ink::Green, "ok")
        } else {
            self.broken += 1;
            self.ink(Ink::Red, "NOT SO")
        };
        self.say(&format!("  {mark}  {what}"));
    }

    /// The last words, and how the demo ends.
    pub(crate) fn end(&self, elapsed: Duration) -> ExitCode {
        let seconds = elapsed.as_secs_f64();
        self.gap();
        if self.broken > 0 {
            let text = format!("{} of {} claims do not hold.", self.broken, self.held + self.broken);
            self.say(&self.ink(Ink::Red, &text));
            return ExitCode::FAILURE;
        }
        self.say(&self.ink(Ink::Bold, &format!("All {} claims hold, after {seconds:.1} s.", self.held)));
        ExitCode::SUCCESS
    }

    /// Says why the demo cannot go on.
    pub(crate) fn trouble(&self, error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.extend([": ", &error.to_string()]);
            cause = error.source();
        }
        self.say(&format!("{} the demo cannot go on: {text}", self.ink(Ink::Red, "error:")));
    }

    /// Prints a line. A reader who has seen enough is no reason to stop.
    fn say(&self, line: &str) {
        let mut out = self.out.lock();
        drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        match self.look {
            Look::Coloured if !text.is_empty() => format!("\x1b[{}m{text}\x1b[0m", ink.code()),
            Look::Coloured | Look::Plain => text.to_owned(),
        }
    }
}

/// The text in lines that fit.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.extend([" ", word]);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
