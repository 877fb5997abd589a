//! The servers, each made ready once and shared by all its jobs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::error::AgentError;
use crate::config::{Config, secret};
use crate::domain::{Digest, Hasher, Server, ServerName};
use crate::remote::{Deadlines, Profiles, Remote};
use crate::source::Filter;

/// Most bytes of a certificate or key file that tell whether it changed: far more than one has.
const MAX_PEM_BYTES: u64 = 16 * 1024 * 1024;

/// The servers of a configuration that jobs use.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers(BTreeMap<ServerName, Known>);

#[derive(Clone, Debug)]
struct Known {
    remote: Arc<Remote>,
    /// Of the password and of all files that the server's settings name.
    secrets: Digest,
}

impl Servers {
    /// Makes ready the servers that jobs use. Those of `before` that are the same, their password
    /// and their files included, are taken over, so that runs under way share the limit of sessions
    /// with those to come. Blocks, with passwords from commands for as long as these take.
    ///
    /// Nothing is connected. Fails at the first server that cannot be used, and at the first
    /// pattern of a job that is none.
    pub(super) fn of(config: &Config, profiles: &Arc<Profiles>, before: &Self) -> Result<Self, AgentError> {
        let mut servers = BTreeMap::new();
        for job in config.jobs.values() {
            let _usable = Filter::new(&job.include, &job.exclude)?;
            let Some(server) = config.servers.get(&job.server) else { continue };
            if servers.contains_key(&job.server) {
                continue;
            }
            let password = secret::resolve(&server.password)
                .map_err(|source| AgentError::Secret { server: server.name.clone(), source })?;
            let secrets = digest(server, password.expose_secret());
            let known = match before.0.get(&job.server) {
                Some(known) if known.secrets == secrets && known.remote.server() == server => known.clone(),
                _ => {
                    let profiles = Arc::clone(profiles);
                    let remote = Remote::new(server.clone(), password, Deadlines::default(), profiles)?;
                    Known { remote: Arc::new(remote), secrets }
                }
            };
            servers.insert(job.server.clone(), known);
        }
        Ok(Self(servers))
    }

    /// The servers by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Remote> {
        self.0.values().map(|known| &*known.remote)
    }

    /// A server that jobs use.
    pub(super) fn get(&self, name: &ServerName) -> Option<Arc<Remote>> {
        self.0.get(name).map(|known| Arc::clone(&known.remote))
    }
}

/// Changes when the password or a file changes.
fn digest(server: &Server, password: &str) -> Digest {
    let trust = server.trust.ca_file.iter().chain(&server.trust.crl_files);
    let client = server.client_certificate.iter().flat_map(|own| [&own.cert_file, &own.key_file]);
    let mut hasher = Hasher::default();
    hasher.update(Digest::of(password.as_bytes()).as_bytes());
    for path in trust.chain(client) {
        // What cannot be read is told where it is used.
        hasher.update(content(path).as_bytes());
    }
    hasher.finish()
}

fn content(path: &Path) -> Digest {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut bytes));
    Digest::of(if read.is_ok() { &bytes } else { b"" })
}
