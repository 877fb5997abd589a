//! `nightferry check`: who is told of what, and whether messages arrive.

use std::fs;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::check::{Finding, Level};
use super::error::CliError;
use super::output::{Loudness, Output};
use crate::agent::{all_receivers, context};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, secret};
use crate::domain::{Exit, FileNames, Notify, Occasion, Way};
use crate::observe::News;
use crate::outbound::{Outbound, described};
use crate::plain::{chain, plain};

/// Who is told of what: one line each, behind `lead`.
pub(super) fn in_words(list: &[Notify], lead: &str) -> String {
    let line = |notify: &Notify| {
        let on: Vec<_> = notify.on.iter().map(|occasion| Occasion::name(*occasion)).collect();
        let names = match notify.names {
            FileNames::Withheld => "",
            FileNames::Told => "; WITH NAMES OF FILES",
        };
        format!("{lead}{} (on {}{names})", notify.way, on.join(", "))
    };
    list.iter().map(line).collect()
}

/// Looks for secrets and files that cannot be read.
pub(super) fn look(config: &Config, findings: &mut Vec<Finding>) {
    for notify in all_receivers(config) {
        let about = format!("notify: {}", notify.way);
        let mut add = |text: String, remedy: Option<String>| {
            let (level, about) = (Level::Error, about.clone());
            findings.push(Finding { level, about, text, remedy, exit: Exit::Usage });
        };
        let (secret, ca_file) = match &notify.way {
            Way::Webhook(hook) => (hook.secret.as_ref(), hook.ca_file.as_ref()),
            Way::Ping(ping) => (None, ping.ca_file.as_ref()),
            Way::Email(email) => {
                (email.smtp.login.as_ref().map(|(_, password)| password), email.smtp.ca_file.as_ref())
            }
            Way::Command(_) => (None, None),
        };
        if let Some(Err(error)) = secret.map(secret::resolve) {
            add(chain(&error), error.remedy());
        }
        if let Some(Err(error)) = ca_file.map(fs::File::open) {
            add(format!("ca_file: {}", plain(&error)), None);
        }
    }
}

/// Sends a test message to each receiver, once.
pub(super) fn send(config: &Config, findings: &mut Vec<Finding>, output: &Output) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (context, runtime) = (context(&clock), Runtime::new().map_err(CliError::Runtime)?);
    let receivers = all_receivers(config);
    if receivers.is_empty() {
        findings.push(Finding {
            level: Level::Warning,
            about: "notify".to_owned(),
            text: "nobody is told of anything".to_owned(),
            remedy: Some("add `notify` below `agent` or a job".to_owned()),
            exit: Exit::Done,
        });
    }
    for notify in receivers {
        let sent = runtime.block_on(Outbound::try_once(&context, notify, News::test(clock.now())));
        match sent {
            Ok(()) => output.line(Loudness::Normal, format_args!("test message sent: {}", notify.way)),
            Err(error) => findings.push(Finding {
                level: Level::Error,
                about: format!("notify: {}", notify.way),
                text: described(&error),
                remedy: None,
                exit: Exit::Other,
            }),
        }
    }
    // A request that was given up may still be on its way.
    runtime.shutdown_background();
    Ok(())
}
