//! What a test may watch, and act upon, while the server runs.

use std::path::PathBuf;

/// Something that has happened on the server.
///
/// But for [`Asked`](Self::Asked) it is told before the reply is sent: when the client reads its 226 or 250, whatever the hook did
/// to the file has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A command has come, and nothing has been done about it yet.
    Asked {
        /// Its name, in capitals.
        verb: String,
    },
    /// A port waits for a data connection; the client has not been told of it.
    Listening {
        /// The port, on the control connection's address.
        port: u16,
    },
    /// A `STOR` or `APPE` ended well.
    Stored {
        /// The path as the client sees it, absolute.
        path: String,
        /// Where the file lies.
        local: PathBuf,
        /// The bytes that came over the data connection.
        bytes: u64,
    },
    /// A `RNTO` ended well.
    Renamed {
        /// The old path as the client sees it, absolute.
        from: String,
        /// The new path as the client sees it, absolute.
        to: String,
        /// Where the file lies now.
        local: PathBuf,
    },
}
