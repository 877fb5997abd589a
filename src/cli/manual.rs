//! `nightferry schema`, `completions` and `man`: what is made from the program itself.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::args::Arguments;
use super::error::CliError;
use super::output::Output;
use crate::config::{SCHEMA, nearest};
use crate::domain::Exit;

/// The program's name.
const NAME: &str = "nightferry";

/// What the manual says beside the arguments, in `man(7)`'s words.
const MORE: &str = include_str!("manual/more.roff");

/// Prints the schema of the configuration.
pub(super) fn schema(output: &Output) -> Result<Exit, CliError> {
    output.data(SCHEMA.trim_end())?;
    Ok(Exit::Done)
}

/// Prints a script for a shell.
pub(super) fn completions(shell: Shell, output: &Output) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), NAME, &mut script);
    print(&script, output)
}

/// Prints the manual page of the program or of a verb.
pub(super) fn page(verb: Option<&str>, output: &Output) -> Result<Exit, CliError> {
    let command = built();
    let page = match verb {
        None => rendered(&command, &command),
        Some(verb) => {
            let Some(found) = command.get_subcommands().find(|of| of.get_name() == verb) else {
                let verbs = command.get_subcommands().map(Command::get_name);
                let meant = nearest(verb, verbs).map(str::to_owned);
                return Err(CliError::UnknownVerb { verb: verb.to_owned(), meant });
            };
            rendered(found, &command)
        }
    };
    print(&page.map_err(CliError::Output)?, output)
}

/// Writes all manual pages into a folder: `nightferry.1`, `nightferry-sync.1` and so on.
pub(super) fn pages(folder: &Path) -> Result<Exit, CliError> {
    let command = built();
    let below = command.get_subcommands().filter(|of| of.get_name() != "help");
    for page in std::iter::once(&command).chain(below) {
        let name = page.get_display_name().unwrap_or(NAME);
        let path = folder.join(format!("{name}.1"));
        let written = rendered(page, &command).and_then(|text| fs::write(&path, text));
        written.map_err(|source| CliError::Pages { path, source })?;
    }
    Ok(Exit::Done)
}

/// The command with all that is made from its parts, such as the names of its verbs.
fn built() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

fn rendered(page: &Command, program: &Command) -> io::Result<Vec<u8>> {
    let is_program = page.get_name() == program.get_name();
    let man = Man::new(page.clone().disable_help_subcommand(true)).manual("Nightferry");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if page.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if is_program {
        text.extend_from_slice(MORE.as_bytes());
    } else {
        text.extend_from_slice(b".SH \"SEE ALSO\"\n.BR nightferry (1)\n");
    }
    Ok(text)
}

fn print(text: &[u8], output: &Output) -> Result<Exit, CliError> {
    output.data(String::from_utf8_lossy(text).trim_end())?;
    Ok(Exit::Done)
}
