//! Uploads and downloads, and what goes wrong with them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{Command, Outcome};
use crate::data::{Agreed, Data, End};
use crate::dialect::{Feature, Manner};
use crate::digest::{Algorithm, of_file};
use crate::event::Event;
use crate::faults::{Action, Blow, Witness};
use crate::reply::Reply;
use crate::session::{Protection, Representation, Session};
use crate::shared::Claim;
use crate::transcript::{Direction, add};

/// The bytes moved at a time.
const CHUNK: usize = 64 * 1024;

/// What Pure-FTPd 1.0.50 writes at a time: the rest of a broken upload is lost.
const PURE_FTPD_BLOCK: u64 = 16 * 1024;

/// Why a transfer does not even begin.
enum Unopened {
    /// 451: nothing may be restarted here.
    Restart,
    /// 554: it would begin behind the end of the file.
    BeyondEnd,
    Failed(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// How an upload ended.
struct Received {
    bytes: u64,
    end: End,
}

impl Session {
    pub(super) fn rest(&mut self, argument: &[u8]) -> Outcome {
        match std::str::from_utf8(argument).ok().and_then(|text| text.parse().ok()) {
            Some(offset) => {
                self.restart_at = offset;
                Outcome::reply(350, format!("Restarting at {offset}. Send STOR or RETR to initiate transfer"))
            }
            None => Outcome::reply(501, "REST requires a value greater than or equal to 0"),
        }
    }

    pub(super) async fn transfer(&mut self, command: &Command) -> io::Result<Outcome> {
        let agreed = match self.take_agreed() {
            Ok(agreed) => agreed,
            Err(refusal) => return Ok(refusal),
        };
        let offset = std::mem::take(&mut self.restart_at);
        let (file, local) = match self.open_file(command, offset) {
            Ok(opened) => opened,
            Err(Unopened::Restart) => {
                return Ok(Outcome::reply(451, "Append/Restart not permitted, try again"));
            }
            Err(Unopened::BeyondEnd) => {
                return Ok(Outcome::reply(554, "REST: invalid argument"));
            }
            Err(Unopened::Failed(error)) => return Ok(self.failed(&command.verb, &command.argument, &error)),
        };
        let text = [b"Opening BINARY mode data connection for ", command.argument.as_slice()].concat();
        let data = match self.open_data(agreed, &command.verb, &command.argument, &text).await? {
            Ok(data) => data,
            Err(refusal) => return Ok(refusal),
        };
        match command.verb.as_str() {
            "RETR" => self.send_bytes(data, file).await,
            _ => self.receive_file(data, file, &local, &command.argument).await,
        }
    }

    /// What was agreed with the client, if its data may come over it.
    pub(super) fn take_agreed(&mut self) -> Result<Agreed, Outcome> {
        if self.protection == Protection::Clear {
            return Err(Outcome::Reply(Reply::unprotected(self.shared.dialect.manner)));
        }
        self.agreed.take().ok_or_else(|| Outcome::reply(425, "Use PORT or PASV first."))
    }

    fn open_file(&self, command: &Command, offset: u64) -> Result<(File, PathBuf), Unopened> {
        let local = self.local(&command.argument)?;
        let file = match command.verb.as_str() {
            "RETR" => open_to_read(&local, offset)?,
            verb => self.open_to_write(&local, verb, offset)?,
        };
        Ok((file, local))
    }

    /// A restart keeps what stands behind its offset (vsftpd, ProFTPD) or cuts there (Pure-FTPd).
    /// Behind the end of the file it makes a hole (vsftpd), is refused (ProFTPD), or goes on at the
    /// real end (Pure-FTPd).
    fn open_to_write(&self, local: &Path, verb: &str, offset: u64) -> Result<File, Unopened> {
        let there = fs::metadata(local).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        if there.is_some() && self.has(&Action::RefuseReplace) {
            return Err(Unopened::Failed(io::ErrorKind::AlreadyExists.into()));
        }
        let restart = offset > 0 || (verb == "APPE" && there.is_some());
        if restart && !self.shared.dialect.has(Feature::RestartStore) {
            return Err(Unopened::Restart);
        }
        let length = there.unwrap_or(0);
        let manner = self.shared.dialect.manner;
        if verb != "APPE" && offset > length && manner == Manner::ProFtpd {
            return Err(Unopened::BeyondEnd);
        }
        let offset = if manner == Manner::PureFtpd { offset.min(length) } else { offset };
        self.shared.claims.set(local, None);
        let mut options = OpenOptions::new();
        options.create(true);
        match verb {
            "APPE" => options.append(true),
            _ => options.write(true).truncate(offset == 0),
        };
        let mut file = options.open(local)?;
        if verb != "APPE" {
            if restart && manner == Manner::PureFtpd {
                file.set_len(offset)?;
            }
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok(file)
    }

    async fn receive_file(
        &mut self,
        data: Data,
        mut file: File,
        local: &Path,
        argument: &[u8],
    ) -> io::Result<Outcome> {
        let received = match self.receive(data, &mut file).await {
            Ok(received) => received,
            Err(error) => return Ok(Outcome::reply(451, format!("Transfer aborted. {error}"))),
        };
        drop(file);
        let fin_will_do = !self.shared.dialect.has(Feature::WantsCloseNotify);
        match received.end {
            End::CloseNotify => {}
            End::Fin if fin_will_do => {}
            End::Fin if self.shared.dialect.manner == Manner::FileZilla => {
                let text = "Error while transfering data: ECONNABORTED - Connection aborted";
                return Ok(Outcome::reply(425, text));
            }
            End::Fin => return Ok(Outcome::reply(426, "Failure reading network stream.")),
            End::Broken(reason) => {
                self.record(Direction::Note, format!("data connection broken: {reason}").as_bytes());
                return Ok(Outcome::reply(426, "Transfer aborted. Data connection closed"));
            }
        }
        let too_large =
            |action: &Action| matches!(action, Action::RefuseAbove(limit) if received.bytes > *limit);
        if self.actions.iter().any(too_large) {
            return Ok(Outcome::reply(552, "Transfer aborted. File too large"));
        }
        self.spoil(local).await?;
        add(&self.shared.tally.stores, 1);
        let path = self.folder.join(argument).text();
        self.shared.tell(&Event::Stored { path, local: local.to_owned(), bytes: received.bytes });
        Ok(self.complete())
    }

    async fn receive(&mut self, mut data: Data, file: &mut File) -> io::Result<Received> {
        let blow_at = self.blow_at();
        let mut text = self.converts_text().then(TextEnds::default);
        let mut chunk = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let room = blow_at.as_ref().map_or(CHUNK as u64, |(after, _)| (after - bytes).min(CHUNK as u64));
            if let (0, Some((_, blow))) = (room, &blow_at) {
                self.lose_rest(file, bytes)?;
                // The connection is to be lost; how well that goes does not matter.
                drop(self.strike(data, blow).await);
                return Ok(Received { bytes, end: End::Broken("by a fault".to_owned()) });
            }
            let space = chunk.get_mut(..usize::try_from(room).unwrap_or(CHUNK)).unwrap_or_default();
            match data.read(space).await {
                Ok(read) => {
                    bytes += read as u64;
                    add(&self.shared.tally.bytes_received, read as u64);
                    let filled = space.get(..read).unwrap_or_default();
                    match &mut text {
                        Some(text) => file.write_all(&text.convert(filled))?,
                        None => file.write_all(filled)?,
                    }
                }
                Err(end) => {
                    if matches!(end, End::Broken(_)) {
                        self.lose_rest(file, bytes)?;
                    }
                    if self.shared.dialect.has(Feature::NeverCloses) {
                        // Until the next upload, which is long after the client has gone away.
                        self.lingering = vec![data];
                        return Ok(Received { bytes, end });
                    }
                    // The client has sent all it will; what becomes of this side's end is its own matter.
                    drop(data.finish().await);
                    return Ok(Received { bytes, end });
                }
            }
        }
    }

    /// What a broken upload loses of the `bytes` that came.
    fn lose_rest(&self, file: &File, bytes: u64) -> io::Result<()> {
        match self.shared.dialect.manner {
            Manner::PureFtpd => file.set_len(file.metadata()?.len() - bytes % PURE_FTPD_BLOCK),
            Manner::ProFtpd | Manner::Vsftpd | Manner::Iis | Manner::FileZilla => Ok(()),
        }
    }

    /// Spoils a file that has arrived, where a fault says so.
    async fn spoil(&self, local: &Path) -> io::Result<()> {
        for action in &self.actions {
            match action {
                Action::StoreHalf => {
                    let file = OpenOptions::new().write(true).open(local)?;
                    file.set_len(file.metadata()?.len() / 2)?;
                }
                Action::FlipByte(witness) => self.flip_byte(local, *witness).await?,
                Action::Vanish => fs::remove_file(local)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes the middle byte; an empty file has none.
    async fn flip_byte(&self, local: &Path, witness: Witness) -> io::Result<()> {
        if witness != Witness::Honest {
            let sha1 = of_file(Algorithm::Sha1, local.to_owned()).await?;
            let sha256 = of_file(Algorithm::Sha256, local.to_owned()).await?;
            self.shared.claims.set(local, Some(Claim { witness, sha1, sha256 }));
        }
        let file = OpenOptions::new().read(true).write(true).open(local)?;
        let length = file.metadata()?.len();
        if length == 0 {
            return Ok(());
        }
        let (middle, mut byte) = (length / 2, [0]);
        file.read_exact_at(&mut byte, middle)?;
        file.write_all_at(&byte.map(|byte| !byte), middle)
    }

    /// Sends bytes over a data connection, and ends it.
    pub(super) async fn send_bytes(&mut self, mut data: Data, mut source: impl Read) -> io::Result<Outcome> {
        if let Some(piece) = self.endless_data() {
            while data.write(&piece).await.is_ok() {
                add(&self.shared.tally.bytes_sent, piece.len() as u64);
            }
            return Ok(Outcome::reply(426, "Transfer aborted. Data connection closed"));
        }
        let blow_at = self.blow_at();
        let mut chunk = vec![0; CHUNK];
        let mut left = blow_at.as_ref().map_or(u64::MAX, |(after, _)| *after);
        loop {
            let room = usize::try_from(left.min(CHUNK as u64)).unwrap_or(CHUNK);
            let read = source.read(chunk.get_mut(..room).unwrap_or_default())?;
            let filled = chunk.get(..read).unwrap_or_default();
            if filled.is_empty() {
                break;
            }
            if data.write(filled).await.is_err() {
                return Ok(Outcome::reply(426, "Transfer aborted. Data connection closed"));
            }
            left -= read as u64;
            add(&self.shared.tally.bytes_sent, read as u64);
        }
        let ended = match &blow_at {
            Some((_, blow)) => {
                self.strike(data, blow).await.and(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            None => data.finish().await,
        };
        match ended {
            Ok(()) => Ok(self.complete()),
            Err(_) => Ok(Outcome::reply(426, "Transfer aborted. Data connection closed")),
        }
    }

    fn complete(&self) -> Outcome {
        match self.shared.dialect.manner {
            Manner::ProFtpd => Outcome::reply(226, "Transfer complete"),
            Manner::FileZilla => Outcome::reply(226, "Operation successful"),
            Manner::Vsftpd | Manner::Iis => Outcome::reply(226, "Transfer complete."),
            Manner::PureFtpd => {
                let (first, last) = ("File successfully transferred", "0.000 seconds (measured here)");
                Outcome::Reply(Reply::lines::<&str>(226, first, &[], last))
            }
        }
    }

    /// What becomes of the data connection, and after how many bytes.
    fn blow_at(&self) -> Option<(u64, Blow)> {
        self.actions.iter().find_map(|action| match action {
            Action::DropData { after, cut } => Some((*after, Blow::Cut(*cut))),
            Action::DataAfter(after, blow) => Some((*after, blow.clone())),
            _ => None,
        })
    }

    /// A chunk of what is sent in place of the true bytes.
    fn endless_data(&self) -> Option<Vec<u8>> {
        self.actions.iter().find_map(|action| match action {
            Action::EndlessData(piece) => Some(piece.repeat(CHUNK.div_ceil(piece.len().max(1)))),
            _ => None,
        })
    }

    fn converts_text(&self) -> bool {
        self.representation == Representation::Ascii && self.shared.dialect.manner != Manner::Vsftpd
    }
}

fn open_to_read(local: &PathBuf, offset: u64) -> io::Result<File> {
    let mut file = File::open(local)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("Not a regular file"));
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// Line ends of an upload in ASCII: `\r\n` becomes `\n`, also across two chunks. A last `\r` is lost,
/// which no client that sends whole lines notices.
#[derive(Debug, Default)]
struct TextEnds {
    held: bool,
}

impl TextEnds {
    fn convert(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut converted = Vec::with_capacity(chunk.len() + 1);
        for byte in chunk {
            if self.held && *byte != b'\n' {
                converted.push(b'\r');
            }
            self.held = *byte == b'\r';
            if !self.held {
                converted.push(*byte);
            }
        }
        converted
    }
}
