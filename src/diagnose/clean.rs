//! The end: what was stored is deleted, whatever happened before.

use super::doctor::Doctor;
use super::finding::Check;
use super::remedy::{exit_of, refusal_help};
use crate::domain::{Exit, RemotePath};
use crate::ftps::FtpsError;
use crate::remote::{Answer, Request};

impl Doctor<'_> {
    /// Deletes what was stored, over a new session if need be, and looks whether it is gone.
    pub(super) async fn clean(&mut self) {
        let litter = std::mem::take(&mut self.litter);
        if litter.is_empty() {
            return;
        }
        let deleted = self.delete(&litter).await;
        let left = |names: &[RemotePath]| {
            let names: Vec<_> = names.iter().map(RemotePath::to_string).collect();
            format!("may be left on the server: {}", names.join(", "))
        };
        match deleted {
            Ok(stands) if stands.is_empty() => {
                self.fine(Check::Delete, "nothing is left behind");
            }
            Ok(stands) => {
                let help = refusal_help(Check::Delete, self.server());
                self.failed(Check::Delete, Exit::Refused, format!("refused; {}", left(&stands)), help);
            }
            Err(error) => {
                let text = format!("{error}; {}", left(&litter));
                self.failed(Check::Delete, exit_of(&error), text, Some("delete it by hand".to_owned()));
            }
        }
    }

    /// Deletes, and gives what stands all the same.
    async fn delete(&mut self, litter: &[RemotePath]) -> Result<Vec<RemotePath>, FtpsError> {
        if self.connection().is_err() {
            self.reopen(self.max).await?;
        }
        let mut stands = Vec::new();
        for path in litter {
            let requests = [Request::Delete(path.clone()), Request::Stands(path.clone())];
            let answers = self.connection()?.perform(&requests, 0).await?;
            if matches!(answers.as_slice(), [_, Answer::Done]) {
                stands.push(path.clone());
            }
        }
        Ok(stands)
    }
}
