//! Reads a configuration file that only its owner's people can change.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::ConfigError;
use super::problem::{Collector, Position, Problem};

/// Largest configuration file. One of 1,000 jobs has 200 KiB.
pub(super) const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The mode bits by which every user may write, and by which a folder protects its entries from
/// others than their owners.
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(ConfigError::Folder { path: path.to_owned() });
    }
    check_exposure(path, &metadata)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn check_exposure(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let exposed = |path: &Path| ConfigError::Exposed { path: path.to_owned() };
    if metadata.is_file() && metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(exposed(path));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mode = folder.metadata().map_or(0, |folder| folder.mode());
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(exposed(folder));
    }
    Ok(())
}

/// The bytes as text, without the byte order mark that some editors put in front.
pub(super) fn text<'b>(bytes: &'b [u8], problems: &Collector) -> Option<&'b str> {
    let refuse = |good: &[u8], reason: &str, remedy: &str| {
        let line_start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = good.split(|byte| *byte == b'\n').count();
        let before = good.get(line_start..).unwrap_or_default();
        problems.add(Problem {
            at: Position { line, column: String::from_utf8_lossy(before).chars().count() + 1 },
            key_path: String::new(),
            reason: reason.to_owned(),
            remedy: Some(remedy.to_owned()),
        });
        None
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => match text.bytes().position(|byte| byte == 0) {
            Some(at) => refuse(bytes.get(..at)?, "not a text file: it holds a NUL byte", "save it as UTF-8"),
            None => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        },
        Err(error) => {
            let good = bytes.get(..error.valid_up_to())?;
            refuse(good, "not valid UTF-8", "save the file as UTF-8")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_with_modes(folder_mode: u32, file_mode: u32) -> Result<Vec<u8>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.yaml");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
        read(&path)
    }

    #[test]
    fn what_everybody_can_change_is_refused() {
        assert_eq!(read_with_modes(0o700, 0o664).unwrap(), b"x");
        assert_eq!(read_with_modes(0o1777, 0o600).unwrap(), b"x");
        assert!(matches!(read_with_modes(0o700, 0o602), Err(ConfigError::Exposed { .. })));
        let Err(error @ ConfigError::Exposed { .. }) = read_with_modes(0o777, 0o600) else { panic!() };
        assert!(error.remedy().unwrap().starts_with("chmod o-w /"), "{error:?}");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_the_end() {
        assert!(matches!(read(Path::new("/dev/zero")), Err(ConfigError::TooLarge { .. })));
    }

    #[test]
    fn folders_and_missing_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(ConfigError::Folder { .. })));
        let missing = read(&folder.path().join("no")).unwrap_err();
        assert!(missing.remedy().unwrap().contains("--config"), "{missing}");
    }
}
