//! The kill test: the binary against real servers, struck at every named step and at random, with
//! an office that takes files away; now and then the servers are struck. Nothing may be lost, come twice, or be seen half.
//!
//! `NIGHTFERRY_KILLS` says how often in all (over the four servers), `NIGHTFERRY_KILL_SEED` where
//! the choices begin; both are printed. What is chosen follows from the seed; how far the process
//! is when a blow falls depends on the machine.

mod campaign;
mod dice;
mod journal;
mod line;
mod office;
mod plot;
mod verdict;
mod watch;

use std::env;
use std::hash::{BuildHasher, RandomState};

use crate::lab;
use campaign::{Campaign, Kind};
use plot::Tally;

/// In CI, over all servers.
const KILLS: u64 = 320;
/// Servers among which they are shared out.
const SERVERS: u64 = 4;
/// Few enough that a failing campaign can be read.
const KILLS_IN_A_CAMPAIGN: u64 = 14;
/// Where a run takes a second or more.
const LARGE_KILLS: u64 = 6;
/// One campaign of so many sends a file of 65 MiB.
const LARGE_EVERY: u64 = 60;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: no number: {text}")))
}

/// Campaigns against this server until enough blows have fallen.
fn nothing_is_lost_or_doubled(name: &str) {
    let Some(server) = lab::server(name) else { return };
    let wanted = number("NIGHTFERRY_KILLS").unwrap_or(KILLS).div_ceil(SERVERS);
    let first = number("NIGHTFERRY_KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one(name) >> 16);
    println!("{name}: {wanted} kills from NIGHTFERRY_KILL_SEED={first} on");
    let mut all = Tally::default();
    for seed in first.. {
        if all.kills >= wanted {
            break;
        }
        // Follows from the seed, so that a single campaign can be repeated.
        let turn = usize::try_from(seed % Kind::ALL.len() as u64).unwrap();
        let kind = if seed % LARGE_EVERY == LARGE_EVERY - 1 { Kind::Large } else { Kind::ALL[turn] };
        let most = if kind == Kind::Large { LARGE_KILLS } else { KILLS_IN_A_CAMPAIGN };
        let kills = most.min(wanted - all.kills);
        match Campaign::new(kind, &server, seed).fight(kills) {
            Ok(tally) => all.add(&tally),
            Err(faults) => panic!(
                "{name}, {kind:?}, after {} kills: repeat with NIGHTFERRY_KILL_SEED={seed} NIGHTFERRY_KILLS=40\n{faults}",
                all.kills
            ),
        }
    }
    println!("{name}: {}", all.shown());
}

#[test]
fn vsftpd() {
    nothing_is_lost_or_doubled("vsftpd-killed");
}

#[test]
fn proftpd() {
    nothing_is_lost_or_doubled("proftpd-killed");
}

#[test]
fn pure_ftpd() {
    nothing_is_lost_or_doubled("pureftpd-killed");
}

#[test]
fn pyftpdlib() {
    nothing_is_lost_or_doubled("pyftpd-killed");
}
