//! The layer of proof: what the server shows of a file that it stored.

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::remedy::refusal_help;
use super::work::FIRST;
use crate::domain::{Digest, Evidence, Exit, ProofMethod, RemotePath, Sent, VerifyPolicy, compare};
use crate::ftps::FtpsError;
use crate::remote::{Answer, Closing, Refusal, Request};

impl Doctor<'_> {
    /// Whether the job needs this proof, as far as is known.
    fn needs(&self, method: ProofMethod) -> bool {
        let policy = self.place.verify;
        policy.admits(method) && !(policy == VerifyPolicy::Auto && self.hash_proved)
    }

    /// Holds evidence against what was sent. Any method will do here.
    fn prove(&mut self, check: Check, evidence: &Evidence) {
        let sent = Sent { size: FIRST.len() as u64, digest: Digest::of(FIRST) };
        let policy = match evidence.method() {
            ProofMethod::ServerHash => VerifyPolicy::Hash,
            ProofMethod::ReadBack => VerifyPolicy::ReadBack,
            ProofMethod::Size => VerifyPolicy::Size,
        };
        match compare(&sent, evidence, policy) {
            Ok(verified) => {
                self.hash_proved |= verified.method() == ProofMethod::ServerHash;
                self.fine(check, "what was stored is what was sent");
            }
            Err(mismatch) => {
                let help = "the server alters or loses what it stores: look for a full disk, a virus scanner, \
                            or text conversion (TYPE A) there";
                self.failed(check, Exit::Verification, mismatch.to_string(), Some(help.to_owned()));
            }
        }
    }

    /// A proof that the server does not give.
    fn no_proof(&mut self, check: Check, method: ProofMethod, refusal: Option<&Refusal>, instead: &str) {
        let text = refusal.map_or_else(|| "not offered".to_owned(), |refusal| format!("refused ({refusal})"));
        let wanted = match method {
            ProofMethod::ServerHash => self.place.verify == VerifyPolicy::Hash,
            ProofMethod::ReadBack | ProofMethod::Size => self.needs(method),
        };
        if wanted {
            self.failed(check, Exit::Refused, text, refusal_help(Check::ReadBack, self.server()));
        } else {
            self.lacking(check, format!("{text}{instead}"), None);
        }
    }

    pub(super) async fn server_hash(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let check = Check::ServerHash;
        let answer = self.ask(check, Request::Hash(path.clone())).await?;
        let instead = "; files are read back, which doubles the traffic";
        match answer {
            Answer::Digest(digest) => self.prove(check, &Evidence::ServerHash { digest }),
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.no_proof(check, ProofMethod::ServerHash, Some(&refusal), instead);
            }
            Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Unsupported => {
                self.no_proof(check, ProofMethod::ServerHash, None, instead);
            }
        }
        Ok(())
    }

    pub(super) async fn read_back(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let check = Check::ReadBack;
        let incoming = match self.ready().await.and_then(|()| self.connection()) {
            Ok(connection) => connection.read_back(path, FIRST.len() as u64, Closing::Awaited).await,
            Err(error) => Err(error),
        };
        match incoming {
            Ok(incoming) => {
                let (size, digest) = (incoming.size, incoming.digest);
                self.prove(check, &Evidence::ReadBack { size, digest });
                Ok(())
            }
            Err(FtpsError::Refused { verb, reply }) => {
                let refusal = Refusal { verb, code: reply.code(), reply: reply.to_string() };
                self.no_proof(check, ProofMethod::ReadBack, Some(&refusal), "; the job does not need it");
                Ok(())
            }
            Err(error) => Err(self.fail(check, &error)),
        }
    }

    pub(super) async fn size(&mut self, path: &RemotePath) -> Result<(), Halt> {
        match self.ask(Check::Size, Request::Size(path.clone())).await? {
            Answer::Size(size) => self.prove(Check::Size, &Evidence::Size { size }),
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.no_proof(Check::Size, ProofMethod::Size, Some(&refusal), "; the job does not need it");
            }
            Answer::Done | Answer::Modified(_) | Answer::Digest(_) | Answer::Unsupported => {
                self.no_proof(Check::Size, ProofMethod::Size, None, "; the job does not need it");
            }
        }
        Ok(())
    }
}
