//! What crossed the control connections, and how often things happened.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most lines kept; the oldest go first. Ten thousand deliveries write about this many.
const TRANSCRIPT_LINES: usize = 200_000;
/// The most characters kept of one line.
const TRANSCRIPT_LINE: usize = 1_000;

/// Who sent a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    In,
    /// The server.
    Out,
    /// Nobody: a remark of the server's own, such as the end of a connection.
    Note,
}

/// One line of a control connection.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its place in the order of all lines of all connections, from 0.
    pub order: u64,
    /// When it crossed, since the server started.
    pub at: Duration,
    /// The control connection, counted from 1.
    pub connection: u64,
    /// Who sent it.
    pub direction: Direction,
    /// Of a command: how often bytes had come on its connection with it. Commands of one write have the
    /// same number.
    pub write: u64,
    /// The line without its end; the argument of `PASS` is starred.
    pub text: String,
}

/// The lines in their order; shows itself as a readable log.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    lines: Vec<Line>,
}

impl Transcript {
    /// Every line kept, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What clients sent, in order.
    pub fn commands(&self) -> Vec<&str> {
        self.texts(Direction::In)
    }

    /// What the server answered, in order.
    pub fn replies(&self) -> Vec<&str> {
        self.texts(Direction::Out)
    }

    /// How many commands begin with this text.
    pub fn count(&self, start: &str) -> usize {
        self.commands().iter().filter(|command| command.starts_with(start)).count()
    }

    /// What clients sent, write by write and connection by connection: the verbs of each.
    pub fn writes(&self) -> Vec<String> {
        let mut writes: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.direction == Direction::In) {
            let verb = line.text.split(' ').next().unwrap_or_default();
            writes.entry((line.connection, line.write)).or_default().push(verb);
        }
        writes.into_values().map(|verbs| verbs.join(" ")).collect()
    }

    fn texts(&self, direction: Direction) -> Vec<&str> {
        self.lines.iter().filter(|line| line.direction == direction).map(|line| line.text.as_str()).collect()
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let sign = match line.direction {
                Direction::In => ">",
                Direction::Out => "<",
                Direction::Note => "*",
            };
            writeln!(f, "{:9.3} [{}] {sign} {}", line.at.as_secs_f64(), line.connection, line.text)?;
        }
        Ok(())
    }
}

/// Keeps the lines while the server runs.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    order: AtomicU64,
    lines: Mutex<VecDeque<Line>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), order: AtomicU64::new(0), lines: Mutex::default() }
    }

    pub(crate) fn record(&self, connection: u64, direction: Direction, write: u64, text: &[u8]) {
        let text = String::from_utf8_lossy(text).chars().take(TRANSCRIPT_LINE).collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let order = self.order.fetch_add(1, Ordering::Relaxed);
        if lines.len() >= TRANSCRIPT_LINES {
            lines.pop_front();
        }
        lines.push_back(Line { order, at: self.start.elapsed(), connection, direction, write, text });
    }

    pub(crate) fn transcript(&self) -> Transcript {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Transcript { lines: lines.iter().cloned().collect() }
    }
}

/// How often things happened since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Control connections accepted.
    pub control_connections: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Data connections accepted from the control connection's peer.
    pub data_connections: u64,
    /// Data connections whose TLS handshake resumed a session.
    pub resumed_data_handshakes: u64,
    /// Data connections from somebody else, which were dropped.
    pub strangers: u64,
    /// Uploads that were answered with 226, or would have been.
    pub stores: u64,
    /// File bytes that came in before the 150, where a fault looks for them.
    pub early_bytes: u64,
    /// Bytes that came in over data connections.
    pub bytes_received: u64,
    /// File bytes that went out over data connections.
    pub bytes_sent: u64,
}

/// The counters while the server runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) control_connections: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) data_connections: AtomicU64,
    pub(crate) resumed_data_handshakes: AtomicU64,
    pub(crate) strangers: AtomicU64,
    pub(crate) stores: AtomicU64,
    pub(crate) early_bytes: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
}

impl Tally {
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            control_connections: self.control_connections.load(Ordering::SeqCst),
            logins: self.logins.load(Ordering::SeqCst),
            data_connections: self.data_connections.load(Ordering::SeqCst),
            resumed_data_handshakes: self.resumed_data_handshakes.load(Ordering::SeqCst),
            strangers: self.strangers.load(Ordering::SeqCst),
            stores: self.stores.load(Ordering::SeqCst),
            early_bytes: self.early_bytes.load(Ordering::SeqCst),
            bytes_received: self.bytes_received.load(Ordering::SeqCst),
            bytes_sent: self.bytes_sent.load(Ordering::SeqCst),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::SeqCst);
}
