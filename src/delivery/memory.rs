//! A server in memory for the tables of tests: it performs requests, keeps all that ever stood
//! under the final name, and can answer something else than what it did.

use std::collections::BTreeMap;

use super::publish::RenameOver;
use crate::domain::{Digest, RemotePath};
use crate::remote::{Answer, Incoming, Refusal, Request};

/// What a consumer does with a file that comes under the final name by a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    LeavesIt,
    TakesIt,
}

/// Whether a request with another answer is carried out all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Really,
    NotAtAll,
}

/// Another answer than the true one.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The request, as `Debug` begins it: `Hash`, `Size("/in/f`.
    pub(super) at: &'static str,
    pub(super) answer: Answer,
    pub(super) done: Done,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) time: String,
}

/// The server.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) files: BTreeMap<String, File>,
    pub(super) faults: Vec<Fault>,
    /// Every content that came under the final name, in order.
    pub(super) published: Vec<Vec<u8>>,
    folder: RemotePath,
    destination: RemotePath,
    consumer: Consumer,
    /// Whether a rename takes the place of a file.
    pub(super) rename_over: RenameOver,
    from: Option<RemotePath>,
}

impl Memory {
    pub(super) fn new(destination: &RemotePath, consumer: Consumer) -> Self {
        Self {
            files: BTreeMap::new(),
            faults: Vec::new(),
            published: Vec::new(),
            folder: destination.folder().unwrap(),
            destination: destination.clone(),
            consumer,
            rename_over: RenameOver::Replaces,
            from: None,
        }
    }

    pub(super) fn put(&mut self, path: &RemotePath, bytes: &[u8], time: &str) {
        self.files.insert(path.as_str().to_owned(), File { bytes: bytes.to_vec(), time: time.to_owned() });
    }

    pub(super) fn perform(&mut self, request: &Request) -> Answer {
        let shown = format!("{request:?}");
        match self.faults.iter().find(|fault| shown.starts_with(fault.at)).cloned() {
            Some(Fault { answer, done: Done::Really, .. }) => {
                self.really(request);
                answer
            }
            Some(Fault { answer, done: Done::NotAtAll, .. }) => answer,
            None => self.really(request),
        }
    }

    fn really(&mut self, request: &Request) -> Answer {
        match request {
            Request::SetTime(path, time) => {
                self.with(path, |file| time.clone_into(&mut file.time), |()| Answer::Done)
            }
            Request::Modified(path) => self.with(path, |file| file.time.clone(), Answer::Modified),
            Request::Size(path) => self.with(path, |file| file.bytes.len() as u64, Answer::Size),
            Request::Hash(path) => self.with(path, |file| Digest::of(&file.bytes), Answer::Digest),
            Request::Enter(path) if *path == self.folder => Answer::Done,
            Request::Enter(_) => absent("CWD"),
            Request::Stands(path) => self.with(path, |_| (), |()| Answer::Done),
            Request::RenameFrom(path) => {
                let there = self.files.contains_key(path.as_str());
                self.from = there.then(|| path.clone());
                if there { Answer::Done } else { absent("RNFR") }
            }
            Request::RenameTo(path) => {
                let from = self.from.take();
                let over = self.files.contains_key(path.as_str()) && from.as_ref() != Some(path);
                if over && self.rename_over == RenameOver::Refused {
                    return absent("RNTO");
                }
                let file = from.and_then(|from| self.files.remove(from.as_str()));
                let Some(file) = file else { return refused("RNTO", 503) };
                if *path == self.destination {
                    self.published.push(file.bytes.clone());
                    if self.consumer == Consumer::TakesIt {
                        self.files.remove(path.as_str());
                        return Answer::Done;
                    }
                }
                self.files.insert(path.as_str().to_owned(), file);
                Answer::Done
            }
            Request::Delete(path) => match self.files.remove(path.as_str()) {
                Some(_) => Answer::Done,
                None => absent("DELE"),
            },
            Request::MakeFolder(_) => Answer::Done,
        }
    }

    /// A reader of a file that is not there gets an error of the session's, here nothing.
    pub(super) fn read_back(&self, path: &RemotePath) -> Option<Incoming> {
        let file = self.files.get(path.as_str())?;
        Some(Incoming { size: file.bytes.len() as u64, digest: Digest::of(&file.bytes) })
    }

    fn with<T>(
        &mut self,
        path: &RemotePath,
        act: impl FnOnce(&mut File) -> T,
        answer: impl FnOnce(T) -> Answer,
    ) -> Answer {
        self.files.get_mut(path.as_str()).map_or_else(|| absent("?"), |file| answer(act(file)))
    }
}

pub(super) fn refused(verb: &'static str, code: u16) -> Answer {
    Answer::Refused(Refusal { verb, code, reply: format!("{code} no") })
}

pub(super) fn absent(verb: &'static str) -> Answer {
    Answer::Absent(Refusal { verb, code: 550, reply: "550 no".to_owned() })
}
