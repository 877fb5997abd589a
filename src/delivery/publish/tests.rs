//! Publishing and settling against a server in memory: every crash point, every refusal.

mod crashes;
mod refusals;

use super::*;
use crate::delivery::memory::{Consumer, Memory};
use crate::delivery::settle::{Case, Settle, SettleStep, Settled};
use crate::domain::{Digest, FileStat, Presumed, RelPath, RunId, Sent, SessionFacts, Sidecars, Timestamp};

const OLD: &[u8] = b"old content";
const NEW: &[u8] = b"new content";
const STRANGE: &[u8] = b"a stranger.";
const OLD_TIME: &str = "20200101000000";

/// What stood under the final name before anything began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    OurOldVersion,
    Stranger,
}

/// What a job asks for.
#[derive(Clone, Copy, Debug)]
struct Policy {
    mode: Mode,
    proof: Proof,
    overwrite: Overwrite,
}

impl Policy {
    fn verify(self) -> VerifyPolicy {
        match self.proof {
            Proof::Hash | Proof::ReadBack => VerifyPolicy::Auto,
            Proof::Size => VerifyPolicy::Size,
        }
    }
}

/// What came of one run.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Delivered,
    Unchanged,
    Presumed,
    Failed(DeliveryError),
}

/// The process died.
#[derive(Debug)]
struct Crashed;

/// A file, the server and the durable records: all that outlives a crash.
#[derive(Clone, Debug)]
struct World {
    memory: Memory,
    records: Vec<Record>,
    policy: Policy,
    known: Option<Entry>,
    mtime: Timestamp,
    attempts: u32,
    /// What was learned of the server's renames over files.
    learned: RenameOver,
    /// Steps until the process dies.
    left: Option<u32>,
    steps: u32,
}

impl World {
    fn new(policy: Policy, before: Before, consumer: Consumer) -> Self {
        let mut memory = Memory::new(&destination(), consumer);
        match before {
            Before::Nothing => {}
            Before::OurOldVersion => memory.put(&destination(), OLD, OLD_TIME),
            Before::Stranger => memory.put(&destination(), STRANGE, "20210101000000"),
        }
        let known = (before == Before::OurOldVersion).then(|| Entry {
            status: EntryStatus::Delivered,
            stat: stat(Timestamp::from_unix(1_577_836_800, 0)),
            observed_at: Timestamp::from_unix(1_577_836_900, 0),
            size: OLD.len() as u64,
            digest: Digest::of(OLD),
            method: crate::domain::ProofMethod::ReadBack,
            modified: Some(OLD_TIME.to_owned()),
            delivered_at: Timestamp::from_unix(1_577_836_900, 0),
        });
        let mtime = Timestamp::from_unix(1_700_000_000, 5);
        let learned = RenameOver::Replaces;
        Self { memory, records: vec![], policy, known, mtime, attempts: 0, learned, left: None, steps: 0 }
    }

    /// A place where the process may die.
    fn tick(&mut self) -> Result<(), Crashed> {
        self.steps += 1;
        match &mut self.left {
            Some(0) => Err(Crashed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn intent(&self) -> Option<Publishing> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Publishing(intent) => Some(Some(intent.clone())),
            Record::Delivered(_) | Record::Presumed(_) | Record::Withdrawn(_) => Some(None),
            _ => None,
        })?
    }

    fn delivered(&self) -> bool {
        self.records.iter().any(|record| matches!(record, Record::Delivered(_)))
    }

    fn presumed(&self) -> bool {
        self.records.iter().any(|record| matches!(record, Record::Presumed(Presumed { .. })))
    }

    fn commit(&mut self, record: Record) -> Result<(), Crashed> {
        self.tick()?;
        if let Record::Delivered(delivered) = &record {
            assert_eq!(delivered.verified.digest(), Digest::of(NEW));
            assert!(self.memory.published.iter().any(|bytes| bytes == NEW), "recorded but never there");
        }
        self.records.push(record);
        self.tick()
    }

    fn carry_out(&mut self, step: Step) -> Result<Input, Crashed> {
        Ok(match step {
            Step::Perform(requests) => {
                let mut answers = Vec::new();
                for request in &requests {
                    self.tick()?;
                    answers.push(self.memory.perform(request));
                }
                self.tick()?;
                Input::Answers(answers)
            }
            Step::ReadBack(path) => {
                self.tick()?;
                // A file that is not there is the session's error: the run ends, the intent stays.
                Input::Incoming(self.memory.read_back(&path).ok_or(Crashed)?)
            }
            Step::Commit(record) => {
                self.commit(*record)?;
                Input::Committed
            }
            step => panic!("not to be carried out: {step:?}"),
        })
    }

    fn publish(&mut self, mut machine: Publish) -> Result<End, Crashed> {
        let (mut step, mut old_version) = (machine.start(), None);
        loop {
            if machine.intent().is_some() {
                old_version = machine.old_version();
            }
            step = match step {
                Step::Done(_) => {
                    if let Some(old_version) = old_version {
                        self.tick()?;
                        self.memory.perform(&Request::Delete(old_version));
                    }
                    return Ok(End::Delivered);
                }
                Step::Failed(error) => {
                    if machine.intent().is_none() {
                        self.memory.perform(&Request::Delete(machine.temporary().clone()));
                    }
                    return Ok(End::Failed(error));
                }
                step => {
                    let input = self.carry_out(step)?;
                    machine.next(input)
                }
            };
        }
    }

    fn settle(&mut self, intent: Publishing) -> Result<Result<Settled, DeliveryError>, Crashed> {
        let Policy { mode, proof, overwrite } = self.policy;
        let (policy, session) = (self.policy.verify(), intent.session.clone());
        let destination = destination();
        let mut machine =
            Settle::new(Case { run: RunId(9), intent, destination, mode, overwrite, policy, proof, session });
        let mut step = machine.start();
        loop {
            step = match step {
                SettleStep::Do(step) => {
                    let input = self.carry_out(step)?;
                    machine.next(input)
                }
                SettleStep::Known(settled) => return Ok(Ok(settled)),
                SettleStep::Unknown(error) => return Ok(Err(error)),
            };
        }
    }

    /// One run as the engine makes it: settle, sweep, and send what is not delivered.
    fn run(&mut self) -> Result<End, Crashed> {
        if let Some(intent) = self.intent() {
            match self.settle(intent.clone())? {
                Err(error) => return Ok(End::Failed(error)),
                Ok(Settled::Stands) => {
                    let spec = self.spec(intent.temporary.clone());
                    return self.publish(Publish::again(spec, intent));
                }
                Ok(Settled::Delivered(_)) => return Ok(End::Delivered),
                Ok(Settled::Presumed) => return Ok(End::Presumed),
                Ok(Settled::Withdrawn) => {}
            }
        }
        self.memory.files.retain(|path, _| !path.contains("/.nf-"));
        if self.presumed() {
            return Ok(End::Presumed);
        }
        if self.delivered() {
            return Ok(End::Unchanged);
        }
        self.attempts += 1;
        let temporary = RemotePath::new(&format!("/in/.nf-{}", self.attempts)).unwrap();
        self.tick()?;
        self.memory.put(&temporary, NEW, "20260101000000");
        self.tick()?;
        let spec = self.spec(temporary);
        self.publish(Publish::new(spec))
    }

    fn spec(&self, temporary: RemotePath) -> Spec {
        let Policy { mode, proof, overwrite } = self.policy;
        let policy = self.policy.verify();
        let draft = Draft {
            run: RunId(7),
            path: RelPath::new("f").unwrap(),
            temporary,
            stat: stat(self.mtime),
            observed_at: Timestamp::from_unix(1_800_000_000, 0),
            sidecars: Sidecars::NONE,
            session: SessionFacts {
                peer: ([127, 0, 0, 1], 21).into(),
                tls: crate::domain::TlsVersion::V1_3,
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                certificate: Digest::of(b"certificate"),
            },
        };
        let sent = Sent { size: NEW.len() as u64, digest: Digest::of(NEW) };
        let known = self.known.clone();
        let displace_to = RemotePath::new(&format!("/in/.nf-old-{}", self.records.len())).unwrap();
        let (destination, rename_over) = (destination(), self.learned);
        Spec { draft, sent, destination, proof, policy, overwrite, mode, known, rename_over, displace_to }
    }

    /// What stands under the final name.
    fn standing(&self) -> Option<&[u8]> {
        self.memory.files.get(destination().as_str()).map(|file| file.bytes.as_slice())
    }

    fn temporaries(&self) -> usize {
        self.memory.files.keys().filter(|path| path.contains("/.nf-")).count()
    }
}

fn destination() -> RemotePath {
    RemotePath::new("/in/f").unwrap()
}

fn stat(mtime: Timestamp) -> FileStat {
    FileStat { size: NEW.len() as u64, mtime, ctime: mtime, inode: 1 }
}
