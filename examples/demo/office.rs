//! The side that receives: an FTPS server, and what it saw.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ftps_server::{Direction, Event, Fault, Line, Server};

/// Who may log in.
pub(crate) const USER: &str = "clinic";

/// With which password.
pub(crate) const PASSWORD: &str = "only for this demo";

/// Where the clinic's files arrive.
const INCOMING: &str = "incoming";

/// The commands that tell what happens to a file; the others are about times, ports and folders.
const SHOWN: [&str; 5] = ["STOR", "HASH", "RNFR", "RNTO", "DELE"];

/// The billing office's server.
pub(crate) struct Office {
    server: Server,
    disk: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

/// What happened on the server's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Names under which bytes arrived.
    stored: Vec<String>,
    /// Final names, and whether the whole file stood there at that moment.
    appeared: Vec<(String, Whole)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

impl Seen {
    /// Whether each file was the clinic's, byte for byte, when it got its final name.
    pub(crate) fn all_whole(&self) -> bool {
        !self.appeared.is_empty() && self.appeared.iter().all(|(_, whole)| *whole == Whole::Yes)
    }

    /// Whether no bytes arrived under a name that a reader would look at.
    pub(crate) fn all_staged(&self) -> bool {
        !self.stored.is_empty()
            && !self.stored.iter().any(|name| self.appeared.iter().any(|(to, _)| to == name))
    }

    fn note(&mut self, event: &Event, reports: &Path) {
        match event {
            Event::Stored { path, .. } => self.stored.push(path.clone()),
            Event::Renamed { to, local, .. } => {
                let sent = to.strip_prefix(&format!("/{INCOMING}/")).map(|name| fs::read(reports.join(name)));
                let whole = match (sent, fs::read(local)) {
                    (Some(Ok(sent)), Ok(stored)) if sent == stored => Whole::Yes,
                    _ => Whole::No,
                };
                self.appeared.push((to.clone(), whole));
            }
            _ => {}
        }
    }
}

impl Office {
    /// Opens the office for what the clinic has in `reports`; it keeps its disk in `home`.
    pub(crate) fn open(home: &Path, reports: &Path) -> Result<Self, Box<dyn Error>> {
        let root = home.join("billing-office");
        fs::create_dir(&root)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (notes, reports) = (Arc::clone(&seen), reports.to_owned());
        let server = Server::builder()
            .root(&root)
            .user(USER, PASSWORD)
            .on_event(move |event| {
                notes.lock().unwrap_or_else(PoisonError::into_inner).note(event, &reports);
            })
            .start()?;
        Ok(Self { server, disk: root.join(INCOMING), seen })
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.server.ca_pem()
    }

    /// The folder in which the clinic's files arrive.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(crate) fn connections(&self) -> u64 {
        self.server.counters().control_connections
    }

    pub(crate) fn stores(&self) -> u64 {
        self.server.counters().stores
    }

    /// What has happened on the disk so far.
    pub(crate) fn renames(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the server misbehaves.
    pub(crate) fn arm(&self, fault: Fault) {
        self.server.arm(fault);
    }

    /// From now on it behaves.
    pub(crate) fn mend(&self) {
        self.server.clear_faults();
    }

    /// A place in the server's log: its end, for now.
    pub(crate) fn mark(&self) -> usize {
        self.server.transcript().lines().len()
    }

    /// The server's log of the first upload since the mark that ended with this command, without
    /// what would not fit on the page.
    pub(crate) fn log(&self, mark: usize, end: &str) -> String {
        let transcript = self.server.transcript();
        let since = || transcript.lines().iter().skip(mark);
        let ends = |line: &&Line| line.direction == Direction::In && line.text.starts_with(end);
        let Some(last) = since().find(ends) else {
            return String::new();
        };
        let mut shown = Vec::new();
        let mut verb = "";
        for line in since().filter(|line| line.connection == last.connection) {
            match line.direction {
                Direction::In => {
                    verb = line.text.split(' ').next().unwrap_or_default();
                    if verb == "STOR" {
                        shown.clear();
                    }
                    if SHOWN.contains(&verb) {
                        shown.push(format!("> {}", shortened(&line.text)));
                    }
                }
                Direction::Out if SHOWN.contains(&verb) && !line.text.starts_with("150") => {
                    shown.push(format!("< {}", shortened(&line.text)));
                    if line.order > last.order {
                        break;
                    }
                }
                Direction::Out | Direction::Note => {}
            }
        }
        shown.join("\n")
    }

    /// Whether a reply since the mark begins with this text.
    pub(crate) fn said_since(&self, mark: usize, start: &str) -> bool {
        let transcript = self.server.transcript();
        let mut since = transcript.lines().iter().skip(mark);
        since.any(|line| line.direction == Direction::Out && line.text.starts_with(start))
    }
}

/// The text without the folder of names, and with the beginning of a SHA-256 only.
fn shortened(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None if word.len() == 64 => word.chars().take(16).chain(['…']).collect(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
