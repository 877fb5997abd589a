//! The layer of limits: how many sessions at once, and how long one may be silent.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::doctor::Doctor;
use super::finding::Check;
use crate::ftps::{FtpsError, Reply, Trouble};
use crate::remote::Connection;

/// Between the openings of two sessions: Pure-FTPd's listen queue holds six.
const APART: Duration = Duration::from_millis(10);

/// Below this, sessions end while a job reads a large file or looks through a large folder, and
/// are opened again and again. Servers come with 5 minutes and more.
const SHORT: Duration = Duration::from_mins(1);

/// A silence, and how it ended.
#[derive(Debug)]
pub(super) struct Silence {
    lasted: Duration,
    /// `None`: the server was still there.
    end: Option<FtpsError>,
}

/// Sends nothing on a session for `limit`, or until the server ends it.
async fn keep_silent(connection: &mut Connection, limit: Duration) -> Silence {
    let began = Instant::now();
    let end = connection.keep_silent(limit).await;
    Silence { lasted: began.elapsed(), end }
}

impl Doctor<'_> {
    /// Leaves a session of its own in silence, if the configuration allows more than one.
    pub(super) async fn leave_silent(&mut self, silences: &mut JoinSet<Silence>, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        match self.remote.approach_another(self.max).await {
            None => {}
            Some(Ok(mut connection)) => {
                silences.spawn(async move {
                    let silence = keep_silent(&mut connection, limit).await;
                    connection.quit().await;
                    silence
                });
            }
            Some(Err(error)) => self.second = Some(error),
        }
    }

    /// Opens as many sessions as the configuration allows, or as the server does.
    pub(super) async fn connections(&mut self) {
        let check = Check::Connections;
        let wanted = self.server().connections.get();
        let (mut more, mut refused) = (Vec::new(), self.second.take());
        while refused.is_none() {
            sleep(APART).await;
            match self.remote.approach_another(self.max).await {
                None => break,
                Some(Ok(connection)) => more.push(connection),
                Some(Err(error)) => refused = Some(error),
            }
        }
        let open = self.remote.approached();
        for connection in more {
            connection.quit().await;
        }
        let Some(error) = refused else {
            self.remote.learn(|profile| (profile.connections, profile.connections_seen) = (None, None));
            return self.fine(check, format!("{wanted} of {wanted} sessions at once"));
        };
        let said = match &error {
            FtpsError::Closing { reply }
            | FtpsError::GreetingRefused { reply }
            | FtpsError::LoginRefused { reply } => reply.to_string(),
            error => error.to_string(),
        };
        let text = format!("only {open} of {wanted} sessions at once; one more: {said}");
        let remedy = format!(
            "jobs open no more than {open}; give `connections: {open}`, or have the server take more (vsftpd: \
             max_clients, max_per_ip; ProFTPD: MaxClients, MaxClientsPerHost, MaxClientsPerUser; Pure-FTPd: -c, \
             -C; IIS and FileZilla Server: connection limits). Other programs that log in there count as well"
        );
        if error.trouble() == Trouble::Busy {
            self.remote.learn(|profile| (profile.connections, profile.connections_seen) = (Some(open), None));
            self.lacking(check, text, Some(remedy));
        } else {
            self.lacking(check, text, super::remedy::help(check, &error, self.server(), None));
        }
    }

    /// How long the server bears silence: that of the session which was left alone, or of the only
    /// one.
    pub(super) async fn idle(&mut self, silences: &mut JoinSet<Silence>, limit: Duration) {
        let said = self.greeting.as_ref().and_then(promised);
        let silence = match silences.join_next().await {
            Some(Ok(silence)) => Some(silence),
            Some(Err(_)) => None,
            None if limit.is_zero() => None,
            None => match self.connection() {
                Ok(connection) => Some(keep_silent(connection, limit).await),
                Err(_) => None,
            },
        };
        match (silence, said) {
            (None, None) => {}
            (None, Some(said)) => self.bears(said, format!("the greeting says {}", shown(said))),
            (Some(Silence { end: Some(error), lasted }), _) => self.hung_up(&error, lasted),
            (Some(Silence { end: None, lasted }), said) => {
                self.remote.learn(|profile| {
                    profile.idle_seconds =
                        profile.idle_seconds.filter(|known| Duration::from_secs((*known).into()) > lasted);
                });
                let still = format!("still there after {} of silence", shown(lasted));
                match said {
                    None => self.fine(Check::Idle, still),
                    Some(said) => self.bears(said, format!("{still}; the greeting says {}", shown(said))),
                }
            }
        }
    }

    fn bears(&mut self, limit: Duration, text: String) {
        if limit < SHORT {
            self.lacking(Check::Idle, text, Some(raise()));
        } else {
            self.fine(Check::Idle, text);
        }
    }

    fn hung_up(&mut self, error: &FtpsError, lasted: Duration) {
        let seconds = u32::try_from(rounded(lasted)).unwrap_or(u32::MAX).max(1);
        self.remote.learn(|profile| profile.idle_seconds = Some(seconds));
        let how = match error {
            FtpsError::Closing { reply } => format!("saying {reply}"),
            _ => "without a word".to_owned(),
        };
        let text = format!("the server ended a session after {seconds} s of silence, {how}");
        if lasted < SHORT {
            self.lacking(Check::Idle, text, Some(raise()));
        } else {
            self.fine(Check::Idle, text);
        }
    }
}

fn raise() -> String {
    format!(
        "jobs open new sessions as old ones end, which slows them down: have it bear {} or more (vsftpd: \
         idle_session_timeout; ProFTPD: TimeoutIdle, TimeoutNoTransfer; Pure-FTPd: -I; pyftpdlib: timeout; IIS: \
         control channel timeout; FileZilla Server: activity timeout), and look at the firewalls on the way",
        shown(SHORT)
    )
}

/// What a greeting says of silence, as in Pure-FTPd's `You will be disconnected after 15 minutes of
/// inactivity.`
fn promised(greeting: &Reply) -> Option<Duration> {
    greeting.lines().iter().find_map(|line| {
        let (before, _) = line.split_once(" of inactivity")?;
        let mut words = before.rsplit(' ');
        let unit = words.next()?;
        let number: u64 = words.next()?.parse().ok()?;
        match unit {
            "second" | "seconds" => Some(Duration::from_secs(number)),
            "minute" | "minutes" => Some(Duration::from_secs(number.checked_mul(60)?)),
            "hour" | "hours" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
            _ => None,
        }
    })
}

fn shown(time: Duration) -> String {
    match rounded(time) {
        0 => "less than a second".to_owned(),
        60 => "1 minute".to_owned(),
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Whole seconds.
fn rounded(time: Duration) -> u64 {
    time.saturating_add(Duration::from_millis(500)).as_secs()
}
