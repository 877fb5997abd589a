//! How far back a job's past is read when its expectations change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::agent::history::tests::long_ago;
use crate::agent::status::Waiting;
use crate::agent::supervisor::open;
use crate::agent::watches::Watches;
use crate::clock::Clock;
use crate::domain::{AuditCounts, AuditKind, AuditReport, RunId, Timestamp, WaitCause};
use crate::observe::AlertKind;
use crate::remote::Profiles;

#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn random(&self) -> u64 {
        7
    }
}

const SHORT: &str = "verify_every: off";
const LONG: &str = "verify_every: 50d";
const LONGER: &str = "verify_every: 80d";

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn config(home: &Path, keys: &str) -> Config {
    let state = home.join("state");
    let text = format!(
        "version: 1
agent: {{state_dir: {}}}
servers: {{s: {{host: localhost, username: u, password: {{command: [echo, p]}}}}}}
jobs: {{often: {{source: /s, server: s, destination: /d, max_wait: 1h, {keys}}}}}
",
        state.display()
    );
    fs::write(home.join("jobs.yaml"), text).unwrap();
    config::load(&home.join("jobs.yaml")).unwrap()
}

/// An agent that has read what came before, and the time.
async fn agent(home: &Path, keys: &str) -> (Supervisor, Timestamp) {
    let state = home.join("state");
    let now = spawn_blocking(move || long_ago(&state)).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(At(now));
    let opened = open(config(home, keys), &clock).unwrap();
    let mut agent =
        Supervisor::new(opened, clock, crate::agent::service::Service::default(), Watches::new().0);
    let jobs: Vec<_> = agent.config.jobs.values().cloned().collect();
    agent.read_history(&jobs);
    let read = read(&mut agent, 1).await;
    take_in(&mut agent, read).await;
    (agent, now)
}

async fn reload(agent: &mut Supervisor, home: &Path, keys: &str) {
    let config = config(home, keys);
    let profiles = Arc::new(Profiles::open(&home.join("profiles")));
    let servers = Servers::of(&config, &profiles, &agent.servers).unwrap();
    agent.take(config, servers).await;
}

async fn read(agent: &mut Supervisor, most: usize) -> Vec<(task::Id, Loaded)> {
    assert_eq!(agent.loading.len(), most);
    let mut read = Vec::new();
    while let Some(loaded) = agent.loading.join_next_with_id().await {
        read.push(loaded.unwrap());
    }
    read
}

async fn take_in(agent: &mut Supervisor, read: Vec<(task::Id, Loaded)>) {
    for loaded in read {
        agent.loaded(Ok(loaded)).await;
    }
}

fn since(agent: &Supervisor) -> Timestamp {
    agent.keepers.values().next().unwrap().past.as_ref().unwrap().since()
}

#[tokio::test]
async fn what_reaches_further_back_is_read_and_nothing_is_told_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), SHORT).await;
    assert!(since(&agent) > now.minus(days(100)), "{}", since(&agent));
    let name: JobName = "often".parse().unwrap();
    let cause = WaitCause::NoMarker { marker: "m".into() };
    let waiting = Waiting { name: "a".into(), since: now.minus(Duration::from_hours(2)), cause };
    agent.keepers.get_mut(&name).unwrap().oldest_waiting = Some(waiting);
    agent.look_out_soon();
    agent.look_out();
    assert!(agent.telling.is_open(&name, AlertKind::Waiting));

    reload(&mut agent, home.path(), LONG).await;
    agent.look_out();
    let keeper = agent.keepers.get_mut(&name).unwrap();
    assert_eq!((keeper.standings(now).count(), keeper.next_round(now)), (0, None), "too little is known yet");
    assert!(agent.telling.is_open(&name, AlertKind::Waiting));
    let read = read(&mut agent, 1).await;
    take_in(&mut agent, read).await;
    assert!(since(&agent) <= now.minus(days(100)), "{}", since(&agent));
    agent.look_out();
    assert!(agent.telling.is_open(&name, AlertKind::Waiting), "the ledger does not know what waits");
    assert!(agent.keepers[&name].next_round(now).is_some());

    // What needs less is known already.
    reload(&mut agent, home.path(), SHORT).await;
    assert!(agent.loading.is_empty());
}

#[tokio::test]
async fn of_two_readings_the_one_for_what_is_expected_now_counts() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), SHORT).await;
    reload(&mut agent, home.path(), LONG).await;
    reload(&mut agent, home.path(), LONGER).await;
    let mut read = read(&mut agent, 2).await;
    read.sort_by_key(|(_, loaded)| match loaded {
        Loaded::History(looks, _) => looks.iter().map(|look| look.from).min(),
        _ => None,
    });
    take_in(&mut agent, read).await;
    assert!(since(&agent) <= now.minus(days(160)), "{}", since(&agent));
}

#[tokio::test]
async fn a_past_that_cannot_be_read_anew_stays_as_it_was_known() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), SHORT).await;
    let before = since(&agent);
    reload(&mut agent, home.path(), LONG).await;
    let read = read(&mut agent, 1).await;
    let failed = read.into_iter().map(|(id, loaded)| match loaded {
        Loaded::History(looks, _) => (id, Loaded::History(looks, Err(StateError::Stopped))),
        other => (id, other),
    });
    let failed = failed.collect();
    take_in(&mut agent, failed).await;
    assert_eq!(since(&agent), before);
    let keeper = agent.keepers.values_mut().next().unwrap();
    assert!(keeper.standings(now).count() > 0);
}

/// Has a task read something that dies of it, and takes that in.
async fn die(agent: &mut Supervisor, reading: Reading) {
    while agent.loading.join_next_with_id().await.is_some() {}
    agent.read(reading, || panic!("on purpose"));
    let died = agent.loading.join_next_with_id().await.unwrap();
    assert!(died.as_ref().is_err_and(JoinError::is_panic));
    agent.loaded(died).await;
}

#[tokio::test]
async fn a_past_whose_reading_dies_stays_as_it_was_known() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), SHORT).await;
    let before = since(&agent);
    reload(&mut agent, home.path(), LONG).await;
    let looks = agent.keepers.values().filter_map(|keeper| keeper.reading.clone()).collect();
    die(&mut agent, Reading::History(looks)).await;
    assert_eq!(since(&agent), before);
    let keeper = agent.keepers.values_mut().next().unwrap();
    assert!(keeper.standings(now).count() > 0 && keeper.next_round(now).is_some());
}

#[tokio::test]
async fn a_past_whose_first_reading_dies_begins_now() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), LONG).await;
    let keeper = agent.keepers.values_mut().next().unwrap();
    keeper.past = None;
    let jobs = [keeper.job.clone()];
    agent.read_history(&jobs);
    let looks = agent.keepers.values().filter_map(|keeper| keeper.reading.clone()).collect();
    die(&mut agent, Reading::History(looks)).await;
    assert_eq!(since(&agent), now);
    assert!(agent.keepers.values_mut().next().unwrap().next_round(now).is_some());
}

#[tokio::test]
async fn a_configuration_whose_reading_dies_is_refused_and_the_old_one_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), LONG).await;
    die(&mut agent, Reading::Config).await;
    assert!(
        agent.refused.as_ref().is_some_and(|cause| cause.contains("please report it")),
        "{:?}",
        agent.refused
    );
    assert!(agent.keepers.values_mut().next().unwrap().standings(now).count() > 0);
    reload(&mut agent, home.path(), LONG).await;
    assert_eq!(agent.refused, None);
}

#[tokio::test]
async fn a_look_for_what_differs_that_dies_leaves_its_alert() {
    let home = tempfile::tempdir().unwrap();
    let (mut agent, now) = agent(home.path(), LONG).await;
    let name: JobName = "often".parse().unwrap();
    let counts = AuditCounts { missing: 1, ..AuditCounts::default() };
    let mut report = AuditReport::new(RunId(1), name.clone(), AuditKind::Verify);
    report.counts = counts;
    agent.telling.verified(&agent.config, &report);
    assert!(agent.telling.is_open(&name, AlertKind::Verify));
    die(&mut agent, Reading::Differing(name.clone())).await;
    assert!(agent.telling.is_open(&name, AlertKind::Verify));
    assert!(agent.readings.is_empty());
    assert!(agent.keepers.values_mut().next().unwrap().standings(now).count() > 0);
}
