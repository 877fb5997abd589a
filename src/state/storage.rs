//! The seam to the disk under the ledger: few operations, so that a simulated disk, which
//! forgets what was not synced, can stand behind it.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files of one folder.
pub(super) trait Storage: Debug + Send + Sync {
    /// The names of the files, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A file from its beginning.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// A new, empty file. It must not exist.
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>>;
    /// A file that exists, to write on at its end.
    fn append(&self, name: &str) -> io::Result<Box<dyn Append>>;
    /// Gives a file another name, taking the place of what has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The length of a file, in bytes.
    fn size(&self, name: &str) -> io::Result<u64>;
    /// Returns when the names of the files will outlast a power cut.
    fn sync_names(&self) -> io::Result<()>;
    /// Returns when the folder itself, and those above it, will outlast a power cut.
    fn sync_home(&self) -> io::Result<()>;
}

/// A file that grows at its end.
pub(super) trait Append: Debug + Send {
    /// Writes at the end. After an error any part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Writes over bytes that are there.
    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written will outlast a power cut. After an error nothing is
    /// known of what was written since the last success, whatever a second call says.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A folder of the real file system.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }
}

impl Storage for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name()));
        names.map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.folder.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        Ok(Box::new(DiskFile { end: 0, file: options.open(self.folder.join(name))? }))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let file = OpenOptions::new().write(true).open(self.folder.join(name))?;
        Ok(Box::new(DiskFile { end: file.metadata()?.len(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        fs::metadata(self.folder.join(name)).map(|found| found.len())
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    fn sync_home(&self) -> io::Result<()> {
        let mut above = self.folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        above.next().map_or(Ok(()), sync_folder)?;
        // One further up that may not be read was not made here just now.
        above.for_each(|above| drop(sync_folder(above)));
        Ok(())
    }
}

/// Returns when the names in a folder will outlast a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    end: u64,
}

impl Append for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end = self.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.end = length;
        Ok(())
    }
}
