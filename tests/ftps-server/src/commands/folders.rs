//! Folders.

use std::fs;

use super::Outcome;
use crate::reply::Reply;
use crate::session::Session;

impl Session {
    pub(super) fn pwd(&self) -> Outcome {
        Outcome::reply(257, [&self.folder.quoted(), b" is the current directory".as_slice()].concat())
    }

    pub(super) fn cwd(&mut self, argument: &[u8]) -> Outcome {
        let target = self.folder.join(argument);
        let entered = self.shared.tree.local(&target).and_then(fs::read_dir);
        match entered {
            Ok(_) => {
                self.folder = target;
                Outcome::reply(250, "CWD command successful")
            }
            Err(error) => self.failed("CWD", argument, &error),
        }
    }

    pub(super) fn mkd(&mut self, argument: &[u8]) -> Outcome {
        let target = self.folder.join(argument);
        match self.shared.tree.local(&target).and_then(fs::create_dir) {
            Ok(()) => Outcome::reply(
                257,
                [&target.quoted(), b" - Directory successfully created".as_slice()].concat(),
            ),
            Err(error) => self.failed("MKD", argument, &error),
        }
    }

    pub(super) fn rmd(&mut self, argument: &[u8]) -> Outcome {
        let target = self.folder.join(argument);
        match self.shared.tree.local(&target).and_then(fs::remove_dir) {
            Ok(()) => Outcome::reply(250, "RMD command successful"),
            Err(error) => self.failed("RMD", argument, &error),
        }
    }

    /// The reply to a command that could not be performed.
    pub(super) fn failed(&self, verb: &str, argument: &[u8], error: &std::io::Error) -> Outcome {
        Outcome::Reply(Reply::failure(self.shared.dialect.manner, verb, argument, error))
    }
}
