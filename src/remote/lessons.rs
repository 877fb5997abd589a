//! What a connection finds out about its server while it works, noted in the server's profile.

use std::sync::Arc;

use super::network::learned_passive;
use super::profile::Profiles;
use crate::domain::Server;
use crate::ftps::Session;

/// Where a connection notes what it learns.
#[derive(Debug)]
pub(super) struct Lessons {
    server: Arc<Server>,
    profiles: Arc<Profiles>,
}

impl Lessons {
    pub(super) fn new(server: Arc<Server>, profiles: Arc<Profiles>) -> Self {
        Self { server, profiles }
    }

    /// Notes what a session's data connections have shown. Blocks for as long as writing a small
    /// file takes, where it is news.
    pub(super) fn note(&self, session: &Session) {
        if let Some(verb) = session.passive_verb() {
            self.profiles.learn(&self.server, |profile| profile.passive = learned_passive(verb));
        }
    }
}
