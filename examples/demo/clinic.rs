//! The side that sends: its reports and its configuration.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::office::{PASSWORD, USER};

/// When the clinic touched its report: 2026-03-05 17:00 UTC.
const TOUCHED_AT: Duration = Duration::from_hours(492_425);

/// The folder of reports, beside the configuration.
pub(crate) struct Clinic {
    home: PathBuf,
    reports: PathBuf,
}

impl Clinic {
    pub(crate) fn new(home: &Path) -> io::Result<Self> {
        let reports = home.join("reports");
        fs::create_dir(&reports)?;
        Ok(Self { home: home.to_owned(), reports })
    }

    pub(crate) fn reports(&self) -> &Path {
        &self.reports
    }

    /// Writes the configuration, and what it refers to.
    pub(crate) fn configure(&self, port: u16, ca_pem: &str) -> io::Result<()> {
        let yaml = format!(
            "version: 1
agent: {{state_dir: state}}
servers:
  billing-office:
    host: localhost
    port: {port}
    username: {USER}
    password: {{file: password}}
    trust: {{ca_file: ca.pem}}
    connections: 2
jobs:
  daily-reports:
    source: reports
    server: billing-office
    destination: /incoming
"
        );
        fs::write(self.home.join("jobs.yaml"), yaml)?;
        fs::write(self.home.join("ca.pem"), ca_pem)?;
        let password = self.home.join("password");
        // Nightferry takes no password from a file that others can read.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(password)?;
        file.write_all(PASSWORD.as_bytes())
    }

    /// Writes a report of so many bytes; another number of bytes makes another report.
    pub(crate) fn write(&self, name: &str, size: usize) -> io::Result<()> {
        let path = self.reports.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let line = format!("{name};{size};4711;99213;paid\n");
        fs::write(path, line.bytes().cycle().take(size).collect::<Vec<u8>>())
    }

    /// Gives a report another time and nothing else.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        File::options().write(true).open(self.reports.join(name))?.set_modified(UNIX_EPOCH + TOUCHED_AT)
    }

    /// The reports with their bytes.
    pub(crate) fn files(&self) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
        files_below(&self.reports)
    }
}

/// The files of a folder and those below it, by their path in it, with their bytes.
pub(crate) fn files_below(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        if let (false, Ok(name)) = (entry.file_type().is_dir(), entry.path().strip_prefix(folder)) {
            files.insert(name.to_owned(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// The files of a folder and those below it, one a line, with their sizes.
pub(crate) fn listing(folder: &Path) -> String {
    let files = files_below(folder).unwrap_or_default();
    let lines: Vec<String> =
        files.iter().map(|(name, bytes)| format!("{:>9}  {}", bytes.len(), name.display())).collect();
    lines.join("\n")
}
