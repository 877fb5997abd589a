//! What systemd is told (`sd_notify(3)`, systemd 257): datagrams to `$NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

use crate::plain::plain;

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub(super) struct Service {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The last status line, so that only news are sent.
    told: String,
}

impl Service {
    /// The one that the environment names; none where that names none.
    pub(super) fn of(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let socket = variable("NOTIFY_SOCKET").and_then(|name| connect(&name));
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // Of another process, where it names one.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|limit| ours && *limit > 0);
        Self { socket, watchdog: limit.map(|limit| Duration::from_micros(limit) / 2), told: String::new() }
    }

    /// How often it wants to hear that the loop goes on: twice in the time after which it acts.
    pub(super) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Says that a configuration is taken in; [`ready`](Self::ready) is to follow.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping: files under way may end.");
    }

    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// The line that `systemctl status` shows. It holds no line feed.
    pub(super) fn status(&mut self, line: String) {
        if line != self.told {
            self.send(&format!("STATUS={line}"));
            self.told = line;
        }
    }

    fn send(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(text.as_bytes()) {
            warn!(error = %plain(&error), "The service manager does not listen.");
        }
    }
}

fn connect(name: &OsStr) -> Option<UnixDatagram> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', abstract_name)) => SocketAddr::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(name),
    };
    let connected = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not hold up the jobs.
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    connected
        .inspect_err(|error| warn!(error = %plain(error), "The service manager cannot be told anything."))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_in_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let variables = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("3000000".into()),
            _ => None,
        };
        let mut service = Service::of(variables);
        assert_eq!(service.watchdog(), Some(Duration::from_millis(1_500)));
        let heard = || {
            let mut buffer = [0; 256];
            let read = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..read].to_vec()).unwrap()
        };
        service.ready();
        assert_eq!(heard(), "READY=1");
        service.reloading();
        let reloading = heard();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        service.status("Idle.".to_owned());
        service.status("Idle.".to_owned());
        service.alive();
        assert_eq!((heard().as_str(), heard().as_str()), ("STATUS=Idle.", "WATCHDOG=1"));
    }

    #[test]
    fn without_a_manager_and_for_others_nothing_is_said() {
        let silent = Service::of(|_| None);
        silent.ready();
        silent.alive();
        let other = Service::of(|name| match name {
            "WATCHDOG_USEC" => Some("3000000".into()),
            "WATCHDOG_PID" => Some("1".into()),
            _ => None,
        });
        assert_eq!(other.watchdog(), None);
    }
}
