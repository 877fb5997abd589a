//! What inotify tells of a server's disk.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{ReadFlags, Reader};
use rustix::io::Errno;

/// What has happened in watched folders since the last look: in which one, by its descriptor, what, and to
/// which name. Does not wait.
pub(super) fn happened(inotify: &OwnedFd) -> Vec<(i32, ReadFlags, String)> {
    let mut events = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                events.push((event.wd(), event.events(), name.unwrap_or_default()));
            }
            Err(Errno::AGAIN) => return events,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Names under which Pure-FTPd 1.0.50 has a file for a while: on the way to its new name, and for as long as the rest
/// of it is stored (`REST` and `STOR`).
pub(super) fn is_pure_ftpds_own(name: &str) -> bool {
    name.starts_with(".pureftpd-rename.") || name.starts_with(".pureftpd-upload.")
}
