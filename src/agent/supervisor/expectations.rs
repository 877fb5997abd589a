//! What is expected of jobs and servers, looked at on the agent's clock.

use std::time::Duration;

use super::Supervisor;
use crate::agent::keeper::Stay;
use crate::domain::Timestamp;

/// How often it is looked at: nothing is expected by the second.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Tells what is late, and what is no longer. Says nothing of jobs whose past is not read yet.
    pub(super) fn look_out(&mut self) {
        let now = self.clock.now();
        // A clock that was put back holds it up no longer than that.
        let is_near = |at: Timestamp| now.since(at) < LOOK_EVERY && at.since(now) < LOOK_EVERY;
        if self.looked_out.is_some_and(is_near) {
            return;
        }
        self.looked_out = Some(now);
        for (name, keeper) in self.keepers.iter_mut().filter(|(_, keeper)| keeper.stay == Stay::Kept) {
            for expected in keeper.standings(now) {
                self.telling.expected(&self.config, name, &expected);
            }
        }
        for server in self.config.servers.values() {
            let theirs = self.profiles.of(server).certificate_good_until(server);
            let ours = self.servers.get(&server.name).and_then(|remote| remote.own_certificate_good_until());
            self.telling.look_at_certificates(&self.config, server, theirs, ours);
        }
    }

    /// Has it looked at anew at once: a run ended, or the configuration is another.
    pub(super) fn look_out_soon(&mut self) {
        self.looked_out = None;
    }
}
