//! A server that an agent is set before: a real one where the lab runs, and the scripted one elsewhere.

use std::path::{Path, PathBuf};
use std::{fs, io};

use ftps_server::Server;

use crate::lab;

/// What a configuration says of a server, and where its files are.
pub(super) trait Place {
    /// The keys of its section but for `trust`.
    fn keys(&self) -> String;

    /// Its `trust`.
    fn trust(&self) -> String;

    /// The folder on it that stands for `/`, as jobs name it.
    fn base(&self) -> &str;
}

impl Place for Server {
    fn keys(&self) -> String {
        format!("host: localhost, port: {}, username: user, password: {{env: NF_PASSWORD}}", self.port())
    }

    fn trust(&self) -> String {
        format!("ca_file: {}", self.ca_file().display())
    }

    fn base(&self) -> &'static str {
        ""
    }
}

/// A real server, or the scripted one that stands in for it.
pub(super) enum Counterpart {
    Real(Real),
    Scripted(Server),
}

/// A folder of a real server, which is removed in the end.
pub(super) struct Real {
    pub(super) server: lab::Server,
    base: String,
}

impl Real {
    /// A folder for one test alone.
    pub(super) fn new(server: lab::Server, folder: &str) -> Self {
        let real = Self { server, base: format!("/{folder}") };
        // A test that was stopped leaves it.
        real.remove();
        real
    }

    /// Where its files are on this machine's disk.
    pub(super) fn root(&self) -> PathBuf {
        self.server.root.join(self.base.trim_start_matches('/'))
    }

    fn remove(&self) {
        match fs::remove_dir_all(self.root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.unwrap(),
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Place for Real {
    fn keys(&self) -> String {
        let lab::Server { host, port, tls, user, password, .. } = &self.server;
        format!(
            "host: \"{host}\", port: {port}, tls: {tls}, username: {user}, password: {{command: [echo, {password}]}}"
        )
    }

    fn trust(&self) -> String {
        format!("ca_file: {}", self.server.ca_file().display())
    }

    fn base(&self) -> &str {
        &self.base
    }
}

impl Counterpart {
    /// The lab's server of this name, in a folder for one test alone; the scripted one where no lab runs.
    pub(super) fn of(name: &str, folder: &str) -> Self {
        match lab::server(name) {
            Some(server) => Self::Real(Real::new(server, folder)),
            None => Self::Scripted(Server::builder().start().unwrap()),
        }
    }

    /// Where its files are on this machine's disk.
    pub(super) fn root(&self) -> PathBuf {
        match self {
            Self::Real(real) => real.root(),
            Self::Scripted(server) => server.root().to_owned(),
        }
    }

    fn place(&self) -> &dyn Place {
        match self {
            Self::Real(real) => real,
            Self::Scripted(server) => server,
        }
    }
}

impl Place for Counterpart {
    fn keys(&self) -> String {
        self.place().keys()
    }

    fn trust(&self) -> String {
        self.place().trust()
    }

    fn base(&self) -> &str {
        self.place().base()
    }
}

/// What a configuration says of these servers, and what comes before their folders.
pub(super) fn section(servers: &[(&str, &dyn Place)]) -> (String, String) {
    let line = |(name, server): &(&str, &dyn Place)| {
        format!("  {name}: {{{}, trust: {{{}}}}}\n", server.keys(), server.trust())
    };
    let base = servers.first().map_or("", |(_, server)| server.base()).to_owned();
    assert!(servers.iter().all(|(_, server)| server.base() == base), "one folder a test");
    (servers.iter().map(line).collect(), base)
}

/// The files of a folder on a disk, hidden ones left out or alone.
pub(super) fn names(folder: &Path, hidden: bool) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = found.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with('.') == hidden);
    names.sort();
    names
}
