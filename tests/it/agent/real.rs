//! The agent before real servers: one that stands still, a signal in mid-transfer, and a broken configuration.

use std::collections::BTreeSet;

use rustix::process::Pid;

use super::place::{Real, names};
use super::*;
use crate::lab;

/// The processes of a server that have a connection with this process, stopped: nothing closes, nothing
/// answers. They go on when dropped, or would stand for ever.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn sessions_with(process: u32) -> Self {
        let ours = ports(process);
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        let others =
            all.filter_map(|name| name.to_str()?.parse::<u32>().ok()).filter(|other| *other != process);
        let serves = |other: &u32| peers(*other).intersection(&ours).next().is_some();
        let pid = |other: u32| Pid::from_raw(i32::try_from(other).unwrap()).unwrap();
        let stopped = Self(others.filter(serves).map(pid).collect());
        assert!(!stopped.0.is_empty(), "nobody serves {ours:?}");
        stopped.0.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // One that has ended meanwhile is no concern.
            let _ended = kill_process(*pid, Signal::CONT);
        }
    }
}

/// The TCP connections of a process on loopback, as (its port, the other's port).
fn connections(process: u32) -> Vec<(u16, u16)> {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| {
        Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    let inodes: BTreeSet<String> = links.filter_map(inode).collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| inodes.contains(row[9])).map(|row| (port(row[1]), port(row[2]))).collect()
}

fn ports(process: u32) -> BTreeSet<u16> {
    connections(process).into_iter().map(|(port, _)| port).collect()
}

fn peers(process: u32) -> BTreeSet<u16> {
    connections(process).into_iter().map(|(_, peer)| peer).filter(|peer| *peer > 0).collect()
}

/// Waits until half a file stands there under a temporary name.
fn until_under_way(folder: &Path) {
    let began = Instant::now();
    let is_half = |name: &String| fs::metadata(folder.join(name)).is_ok_and(|facts| facts.len() > 0);
    while !names(folder, true).iter().any(is_half) {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing was begun in {}", folder.display());
        std::thread::yield_now();
    }
}

/// The sessions that serve one job stand still in mid-transfer, as behind a line that went dead.
#[test]
fn a_real_server_that_stands_still_holds_up_no_other_job() {
    let (Some(stalled), Some(fine)) = (lab::server("vsftpd"), lab::server("pureftpd")) else { return };
    let (stalled, fine) = (Real::new(stalled, "agent-stalls"), Real::new(fine, "agent-stalls"));
    let one = "  one: {source: one, server: stalled, destination: /in}\n";
    let two = "  two: {source: two, server: fine, destination: /two, schedule: \"* * * * * *\"}\n";
    let home = Home::new(&[("stalled", &stalled), ("fine", &fine)], one);
    home.write("one/a.raw", b"");
    File::options().write(true).open(home.path().join("one/a.raw")).unwrap().set_len(4 << 30).unwrap();
    home.write("two/b.txt", b"b");
    let mut agent = home.agent();
    let mut waiting =
        home.command(&["sync", "one"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    agent.until("job=one");
    until_under_way(&stalled.root().join("in"));
    let stopped = Stopped::sessions_with(agent.child.id());
    home.configure(&format!("{one}{two}"));
    agent.signal(Signal::HUP);
    agent.until("new=1 changed=0 gone=0");
    for number in 0..3 {
        home.write(&format!("two/{number}.txt"), b"x");
        let ended = agent.until("The run ended well.");
        assert!(ended.contains("job=two"), "{ended}");
    }
    let status = home.status();
    assert_eq!(status["jobs"][0]["state"]["is"], "running", "{status}");
    assert_eq!(fs::read(fine.root().join("two/b.txt")).unwrap(), b"b");
    agent.end_at_once();
    waiting.wait().unwrap();
    drop(stopped);
}

/// Signalled in the middle of many files, and started anew: none is there in part, none is sent again.
fn a_signal_in_mid_transfer(name: &str) {
    const FILES: usize = 600;
    let Some(server) = lab::server(name) else { return };
    let server = Real::new(server, "agent-term");
    let job = "  one: {source: one, server: office, destination: /in, schedule: \"* * * * * *\"}\n";
    let home = Home::new(&[("office", &server)], job);
    for n in 0..FILES {
        home.write(&format!("one/{n:03}"), &vec![b'x'; 30_000]);
    }
    let folder = server.root().join("in");
    let mut agent = home.agent();
    agent.until("A file was delivered.");
    agent.signal(Signal::TERM);
    let seen = agent.ended();
    assert!(seen.contains("interrupted by a signal"), "{seen}");
    let there = names(&folder, false);
    assert!(!there.is_empty() && there.len() < FILES, "{}", there.len());
    let facts = |name: &String| {
        let facts = fs::metadata(folder.join(name)).unwrap();
        assert_eq!(facts.len(), 30_000, "{name}");
        std::os::unix::fs::MetadataExt::ino(&facts)
    };
    let before: Vec<u64> = there.iter().map(facts).collect();
    let mut agent = home.agent();
    agent.until("The run ended well.");
    agent.end();
    assert_eq!((names(&folder, false).len(), names(&folder, true).len()), (FILES, 0));
    assert_eq!(there.iter().map(facts).collect::<Vec<_>>(), before, "some were sent again");
}

#[test]
fn a_signal_in_mid_transfer_to_vsftpd_leaves_nothing_half() {
    a_signal_in_mid_transfer("vsftpd");
}

#[test]
fn a_signal_in_mid_transfer_to_proftpd_leaves_nothing_half() {
    a_signal_in_mid_transfer("proftpd");
}

/// The file under way gets to its end with the configuration that it began with.
#[test]
fn a_broken_configuration_in_mid_transfer_disturbs_nothing() {
    const SIZE: u64 = 300 << 20;
    let Some(server) = lab::server("pureftpd") else { return };
    let server = Real::new(server, "agent-hup");
    let job = "  one: {source: one, server: office, destination: /in, watch: {settle: 100ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    home.write("one/a.raw", b"");
    File::options().write(true).open(home.path().join("one/a.raw")).unwrap().set_len(SIZE).unwrap();
    let mut agent = home.agent();
    until_under_way(&server.root().join("in"));
    home.configure("  one: {source: one, server: offices, destination: /in}\n");
    agent.signal(Signal::HUP);
    agent.until("The configuration is refused");
    assert!(names(&server.root().join("in"), false).is_empty(), "it was over before");
    home.configure(job);
    assert!(home.status()["refused_configuration"].is_string());
    let ended = agent.until("The run ended well.");
    assert!(ended.contains("delivered=1"), "{ended}");
    assert_eq!(fs::metadata(server.root().join("in/a.raw")).unwrap().len(), SIZE);
    home.write("one/b.txt", b"b");
    delivered(&mut agent, 1);
    let seen = agent.end();
    assert!(!seen.contains("The configuration was taken in."), "{seen}");
}
