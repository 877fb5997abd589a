//! The layer of proof: what the server shows of a file that it stored.

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::known::HashGiven;
use super::work::FIRST;
use crate::domain::{Digest, Evidence, Exit, ProofMethod, RemotePath, Sent, VerifyPolicy, compare};
use crate::ftps::FtpsError;
use crate::remote::{Answer, Closing, Refusal, Request};

impl Doctor<'_> {
    /// Whether the job needs this proof, as far as is known.
    fn needs(&self, method: ProofMethod) -> bool {
        let policy = self.place.verify;
        policy.admits(method) && !(policy == VerifyPolicy::Auto && self.is_proved_by(ProofMethod::ServerHash))
    }

    fn is_proved_by(&self, method: ProofMethod) -> bool {
        self.proved.contains(&method)
    }

    /// What helps a job on this server, which does not give the proof that it wants.
    async fn remedy(&mut self, check: Check, path: &RemotePath) -> Result<&'static str, Halt> {
        let by_hash = "`verify: auto` proves by the server's own hash";
        let by_reading = "`verify: auto` reads files back, which doubles the traffic";
        let nothing = "nothing can be proved there: it gives no hash, no bytes and no size of what it has just \
                       stored; ask whoever runs it to allow this account SIZE, for `verify: size`, or better \
                       RETR or HASH";
        Ok(match self.place.verify {
            // Whether they can be read is told next.
            VerifyPolicy::Hash => by_reading,
            VerifyPolicy::Size | VerifyPolicy::ReadBack if self.is_proved_by(ProofMethod::ServerHash) => {
                by_hash
            }
            VerifyPolicy::Size if self.is_proved_by(ProofMethod::ReadBack) => by_reading,
            VerifyPolicy::Size => nothing,
            VerifyPolicy::Auto | VerifyPolicy::ReadBack => {
                match self.ask(check, Request::Size(path.clone())).await? {
                    Answer::Size(_) => {
                        "may this user read here? If not, and the server has no hash, `verify: size` is what is \
                         left"
                    }
                    _ => nothing,
                }
            }
        })
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
                self.proved.push(verified.method());
                self.fine(check, "what was stored is what was sent");
            }
            Err(mismatch) => {
                let help = "the server alters or loses what it stores: look for a full disk, a virus scanner, \
                            or text conversion (TYPE A) there";
                self.failed(check, Exit::Verification, mismatch.to_string(), Some(help.to_owned()));
            }
        }
    }

    /// A proof that the server does not give of `path`.
    async fn no_proof(
        &mut self,
        (check, method): (Check, ProofMethod),
        path: &RemotePath,
        refusal: Option<&Refusal>,
    ) -> Result<(), Halt> {
        let text = refusal.map_or_else(|| "not offered".to_owned(), |refusal| format!("refused ({refusal})"));
        let wanted = match method {
            ProofMethod::ServerHash => self.place.verify == VerifyPolicy::Hash,
            ProofMethod::ReadBack | ProofMethod::Size => self.needs(method),
        };
        if wanted {
            let help = self.remedy(check, path).await?;
            self.failed(check, Exit::Refused, text, Some(help.to_owned()));
        } else {
            let instead = match method {
                ProofMethod::ServerHash => "files are read back, which doubles the traffic",
                ProofMethod::ReadBack | ProofMethod::Size => "the job does not need it",
            };
            self.lacking(check, format!("{text}; {instead}"), None);
        }
        Ok(())
    }

    pub(super) async fn server_hash(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let (check, what) = (Check::ServerHash, (Check::ServerHash, ProofMethod::ServerHash));
        match self.ask(check, Request::Hash(path.clone())).await? {
            Answer::Digest(digest) => {
                self.prove(check, &Evidence::ServerHash { digest });
                Ok(())
            }
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.hash_given = HashGiven::Refused;
                self.no_proof(what, path, Some(&refusal)).await
            }
            Answer::Done | Answer::Size(_) | Answer::Modified(_) | Answer::Unsupported => {
                self.no_proof(what, path, None).await
            }
        }
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
                self.no_proof((check, ProofMethod::ReadBack), path, Some(&refusal)).await
            }
            Err(error) => Err(self.fail(check, &error)),
        }
    }

    pub(super) async fn size(&mut self, path: &RemotePath) -> Result<(), Halt> {
        let what = (Check::Size, ProofMethod::Size);
        match self.ask(Check::Size, Request::Size(path.clone())).await? {
            Answer::Size(size) => {
                self.prove(Check::Size, &Evidence::Size { size });
                Ok(())
            }
            Answer::Absent(refusal) | Answer::Refused(refusal) => {
                self.no_proof(what, path, Some(&refusal)).await
            }
            Answer::Done | Answer::Modified(_) | Answer::Digest(_) | Answer::Unsupported => {
                self.no_proof(what, path, None).await
            }
        }
    }
}
