//! A small FTPS server for tests and the demo, which misbehaves on request.
//!
//! It is a real server on a real socket: curl and lftp talk to it (`tests/clients.rs`). It answers
//! as ProFTPD, vsftpd or Pure-FTPd do ([`Dialect`]), serves one folder, and keeps a [`Transcript`]
//! of every line that crossed the control connections. A [`Fault`] makes it misbehave at a chosen
//! command: refuse, lie, cut, stall, corrupt.
//!
//! It knows nothing of the product that it tests, shares no code with it, and is no server for
//! anybody's files: it hashes nothing on arrival, locks nothing, and has one user.
//!
//! ```
//! use ftps_server::{Action, Fault, Server};
//!
//! # fn main() -> Result<(), ftps_server::StartError> {
//! let server = Server::builder()
//!     .user("reports", "secret")
//!     .fault(Fault::on("STOR", Action::StoreHalf).nth(2))
//!     .start()?;
//! println!("{} trusts {}", server.addr(), server.ca_file().display());
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `server` | the builder, the listening socket, the thread |
//! | `session` | one control connection: read a line, let the faults speak, perform, reply |
//! | `speech` | replies on their way out, and what faults make of them |
//! | `commands` | what each command does |
//! | `drip` | a socket whose bytes come one by one |
//! | `data`, `active` | data connections, whoever opens them |
//! | `tls`, `pki` | sessions that may be resumed; certificates |
//! | `faults`, `dialect` | how it misbehaves; whom it plays |

mod active;
mod commands;
mod control;
mod data;
mod dialect;
mod digest;
mod drip;
mod event;
mod faults;
mod pki;
mod reply;
mod server;
mod session;
mod shared;
mod speech;
mod tls;
mod transcript;
mod tree;

pub use dialect::{Dialect, Feature, Manner, Reuse};
pub use event::Event;
pub use faults::{Action, Blow, Cut, Fault, Moment, Overheard, Witness};
pub use pki::{Identity, Pki};
pub use server::{Builder, Mode, Server, StartError};
pub use speech::PATIENT;
pub use tls::{ClientCertificates, TlsVersions};
pub use transcript::{Counters, Direction, Line, Transcript};
