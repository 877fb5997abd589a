//! A source folder that is exchanged, removed or unmounted under a watch. None of these waits for the next full
//! look at the source, which is hours away.

use super::place::{Counterpart, names};
use super::*;

const MIRROR: &str = "  one: {source: top/one, server: office, destination: /in, watch: {settle: 100ms}, \
                      delete: {remote: delete}, notify: [{command: [sh, -c, 'echo $NIGHTFERRY_EVENT >> told'], \
                      on: [guard, recovery]}]}\n";

/// What the log says of any of these.
const OTHER: &str = "The source folder was moved, removed, unmounted or replaced";

/// A home whose source has three files.
fn home(server: &Counterpart) -> Home {
    let home = Home::new(&[("office", server)], MIRROR);
    for name in ["a", "b", "c"] {
        home.write(&format!("top/one/{name}.txt"), name.as_bytes());
    }
    home
}

/// An agent that has sent them.
fn begun(home: &Home) -> Agent {
    let mut agent = home.agent();
    delivered(&mut agent, 3);
    agent
}

fn stored(server: &Counterpart) -> Vec<String> {
    names(&server.root().join("in"), false)
}

fn told(home: &Home) -> String {
    fs::read_to_string(home.path().join("told")).unwrap_or_default()
}

/// Ends well or not, over all of the source.
fn next_end(agent: &mut Agent) -> String {
    loop {
        let line = agent.until(" run=");
        if line.contains("The run ended well.") || line.contains("The run needs someone") {
            return line;
        }
    }
}

#[test]
fn an_empty_folder_in_its_place_deletes_nothing_and_what_comes_into_it_is_sent() {
    let server = Counterpart::of("vsftpd", "agent-empty-folder");
    let home = home(&server);
    let mut agent = begun(&home);
    let at = |name: &str| home.path().join(name);
    fs::rename(at("top/one"), at("away")).unwrap();
    fs::create_dir(at("top/one")).unwrap();
    agent.until(OTHER);
    let ended = next_end(&mut agent);
    assert!(ended.contains("the source is empty, and 3 files were delivered from it"), "{ended}");
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt"]);
    home.write("top/one/d.txt", b"d");
    // What comes into the folder that was moved away is no concern any more.
    home.write("away/e.txt", b"e");
    delivered(&mut agent, 1);
    let (_, table, _) = home.run(&["status"]);
    assert!(
        table.contains("wrong since") && table.contains("the source is empty"),
        "a part went well: {table}"
    );
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "d.txt"]);
    let watch = home.status()["jobs"][0]["watch"].clone();
    assert_eq!(watch, "watching 1 folder");

    fs::rename(at("top/one/d.txt"), at("away/d.txt")).unwrap();
    fs::remove_dir(at("top/one")).unwrap();
    fs::rename(at("away"), at("top/one")).unwrap();
    agent.until("The job is well again.");
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"]);
    assert_eq!(home.status()["alerts"].as_array().unwrap().len(), 0);
    let seen = agent.end();
    assert_eq!(seen.matches("The job is well again.").count(), 1, "not for a part of it: {seen}");
    assert_eq!(told(&home), "guard\nrecovery\n");
}

/// No event tells of a folder above that is another one.
#[test]
fn another_folder_with_other_files_in_its_place_is_sent_and_deletes_nothing() {
    let server = Counterpart::of("proftpd", "agent-folder-folder");
    let home = home(&server);
    let mut agent = begun(&home);
    fs::create_dir_all(home.path().join("next/one")).unwrap();
    home.write("next/one/x.txt", b"x");
    fs::rename(home.path().join("top"), home.path().join("away")).unwrap();
    fs::rename(home.path().join("next"), home.path().join("top")).unwrap();
    agent.until(OTHER);
    let ended = next_end(&mut agent);
    assert!(ended.contains("3 of 3 delivered files are gone from the source"), "{ended}");
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "x.txt"]);
    home.write("top/one/y.txt", b"y");
    delivered(&mut agent, 1);
    agent.end();
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "x.txt", "y.txt"]);
    assert_eq!(told(&home), "guard\n");
}

#[test]
fn a_folder_that_is_removed_is_told_to_people_and_found_again() {
    let server = Counterpart::of("pureftpd", "agent-folder-removed");
    let home = home(&server);
    let mut agent = begun(&home);
    fs::remove_dir_all(home.path().join("top/one")).unwrap();
    let gone = agent.until("The source cannot be watched as it should.");
    assert!(gone.contains("the source folder cannot be looked at"), "{gone}");
    agent.until("The source folder is still not there");
    let ended = next_end(&mut agent);
    assert!(ended.contains("delivered=0"), "{ended}");
    let (_, table, _) = home.run(&["status"]);
    assert!(table.contains("the source folder cannot be looked at"), "{table}");
    assert_eq!(home.status()["alerts"][0]["kind"], "run");
    for name in ["a", "b", "c", "d"] {
        home.write(&format!("top/one/{name}.txt"), name.as_bytes());
    }
    agent.until(OTHER);
    agent.until("The job is well again.");
    agent.end();
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "d.txt"]);
    assert_eq!(told(&home), "guard\nrecovery\n");
}

#[test]
fn a_disk_that_is_unmounted_deletes_nothing_and_is_watched_again_when_it_is_back() {
    if !crate::mounts::can_mount() {
        return;
    }
    let server = Counterpart::of("pyftpd", "agent-disk-that");
    let home = home(&server);
    let (source, disk) = (home.path().join("top/one"), home.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs none disk && mkdir disk/data && cp top/one/*.txt disk/data && \
                  mount --bind disk/data top/one && exec \"$0\" \"$@\"";
    let run = home.command(&["run", "-v"]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    unshare.arg(run.get_program()).args(run.get_args()).current_dir(home.path()).stdin(Stdio::null());
    unshare.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut agent = Agent::of(unshare);
    delivered(&mut agent, 3);
    let process = agent.child.id().to_string();
    let inside = |line: &str| {
        let mut enter = Command::new("nsenter");
        let status = enter.args(["--mount", "--target", &process, "sh", "-c", line]).status().unwrap();
        assert!(status.success(), "{line}");
    };
    let (source, disk) = (source.display(), disk.display());
    // What stood there before it was mounted over is not what was sent.
    fs::remove_file(home.path().join("top/one/a.txt")).unwrap();
    // Whoever still has it open does not keep it.
    inside(&format!("umount --lazy {source}"));
    agent.until(OTHER);
    let ended = next_end(&mut agent);
    assert!(ended.contains("stands on another file system"), "{ended}");
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt"]);
    inside(&format!("mount --bind {disk}/data {source} && echo d > {source}/d.txt"));
    agent.until(OTHER);
    delivered(&mut agent, 1);
    inside(&format!("echo e > {source}/e.txt"));
    delivered(&mut agent, 1);
    agent.end();
    assert_eq!(stored(&server), ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"]);
}
