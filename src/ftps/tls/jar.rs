//! The sessions of one control connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Most TLS 1.3 tickets that are kept: servers give two at a time.
const MAX_TICKETS: usize = 8;

/// The sessions that a control connection's data connections may resume. One a control
/// connection, never shared.
///
/// rustls gives each TLS 1.3 ticket out once. vsftpd and pyftpdlib give a new one with each
/// resumed connection; ProFTPD 1.3.8 gives two on the control connection and no more, so that
/// the jar runs dry after two data connections.
#[derive(Debug, Default)]
pub(in crate::ftps) struct SessionJar(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    kx_hint: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
    tickets_seen: u64,
}

/// What a jar has for the next data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ftps) enum Stock {
    /// A session to resume.
    Filled,
    /// The server has never given a session: it does not resume any.
    NeverFilled,
    /// There were TLS 1.3 tickets, and all are used up.
    UsedUp,
}

impl SessionJar {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // The values are whole after each call, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for the next data connection.
    pub(in crate::ftps) fn stock(&self) -> Stock {
        let sessions = self.lock();
        match (sessions.tls12.is_some() || !sessions.tls13.is_empty(), sessions.tickets_seen) {
            (true, _) => Stock::Filled,
            (false, 0) => Stock::NeverFilled,
            (false, _) => Stock::UsedUp,
        }
    }

    /// How many TLS 1.3 tickets have come in so far.
    pub(in crate::ftps) fn tickets_seen(&self) -> u64 {
        self.lock().tickets_seen
    }
}

impl ClientSessionStore for SessionJar {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().kx_hint = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().kx_hint
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut sessions = self.lock();
        sessions.tickets_seen += 1;
        if sessions.tls13.len() == MAX_TICKETS {
            sessions.tls13.pop_front();
        }
        sessions.tls13.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.pop_back()
    }
}
