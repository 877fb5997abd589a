//! How much of a server's talk is taken in, and how long it may take.

use std::time::Duration;

/// Longest reply line, in bytes. RFC 959 sets none; real ones stay below 1 KiB, and `STAT` or
/// `FEAT` lines below 4 KiB.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Longest reply, in bytes over all its lines: the longest `FEAT` and greeting seen are 2 KiB.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Most lines of one reply.
pub const MAX_REPLY_LINES: usize = 1_000;

/// Most replies that may wait unread: as many as the longest batch of commands, and a few.
pub const MAX_REPLIES_WAITING: usize = 32;

/// Most `1xx` replies before a final one; real servers send one.
pub const MAX_PRELIMINARY_REPLIES: usize = 8;

/// Most bytes of one listing, none of which are held: a million entries of 200 bytes.
pub const MAX_LISTING_BYTES: u64 = 200 * 1024 * 1024;

/// Most entries of one listing: the largest folders that people keep have some 100,000.
pub const MAX_LISTING_ENTRIES: u64 = 1_000_000;

/// How long one listing may take, whatever its pace: a million entries over a line of 2 Mbit/s.
pub const MAX_LISTING_TIME: Duration = Duration::from_mins(15);

/// Most characters of a reply that are shown to people.
pub const MAX_REPLY_SHOWN: usize = 512;

/// How often a passive port is asked for when the server says `425`. Servers that pick ports
/// at random fail now and then (Pure-FTPd 1.0.50 and ProFTPD 1.3.8: up to 1 in 2,000).
pub const MAX_PASSIVE_ATTEMPTS: u32 = 5;

/// How long to wait before a passive port is asked for again.
pub const PASSIVE_RETRY_DELAY: Duration = Duration::from_millis(20);

/// How long a server may take to say why a data connection could not be opened. A reply on its way
/// comes by then; most servers wait on for a minute (vsftpd: `accept_timeout`), and know no more.
pub const EXCUSE_PATIENCE: Duration = Duration::from_secs(2);

/// How long the steps of a session may take. All are limits for a whole exchange, not for a
/// byte of it, so that a server that sends a byte a second does not hold a session for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Name resolution and TCP connection, all addresses together.
    pub connect: Duration,
    /// The greeting. Pure-FTPd's listen queue drops a connection now and then, and a fresh
    /// one is quicker than waiting.
    pub greeting: Duration,
    /// A TLS handshake.
    pub handshake: Duration,
    /// The reply to a command.
    pub reply: Duration,
    /// TCP connection of a data connection.
    pub data_connect: Duration,
    /// One buffer of at most 256 KiB on a data connection: below 4 KiB/s a transfer counts as
    /// stalled.
    pub stall: Duration,
    /// The reply after the last byte. Servers that copy or scan what came in take their time.
    pub final_reply: Duration,
    /// How much longer than the final reply the end of the data connection is waited for: IIS
    /// never answers `close_notify`.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            greeting: Duration::from_secs(20),
            handshake: Duration::from_secs(20),
            reply: Duration::from_mins(1),
            data_connect: Duration::from_secs(20),
            stall: Duration::from_mins(1),
            final_reply: Duration::from_mins(5),
            drain: Duration::from_secs(1),
        }
    }
}

impl Deadlines {
    /// Slowest hashing that is waited for, in bytes a second: an old server with one disk.
    const SLOWEST_HASHING: u64 = 10 * 1024 * 1024;

    /// How long a server may take to hash or to flush a file of `size` bytes.
    pub fn for_hashing(&self, size: u64) -> Duration {
        self.reply.saturating_add(Duration::from_secs(size / Self::SLOWEST_HASHING))
    }
}
