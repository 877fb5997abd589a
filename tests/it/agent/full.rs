//! A state folder without room: nothing is acknowledged, and the agent goes on by itself when there is some.

use std::sync::Mutex;

use ftps_server::Event;

use super::clock::{agent_from, library, patient};
use super::*;

/// A file system of its own for the state, let go of when dropped.
struct Disk<'a>(&'a Home);

impl<'a> Disk<'a> {
    fn mount(home: &'a Home) -> Self {
        fs::create_dir(home.path().join("state")).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=4m,mode=700", "none", "state"];
        let mounted = Command::new("mount").args(mount).current_dir(home.path()).status().unwrap();
        assert!(mounted.success());
        Self(home)
    }

    /// Writes until nothing more goes in.
    fn fill(&self) {
        let mut filler = File::create(self.0.path().join("state/filler")).unwrap();
        while filler.write_all(&[7; 4_096]).is_ok() {}
    }

    /// Leaves room for a few records.
    fn make_little_room(&self) {
        let filler = File::options().write(true).open(self.0.path().join("state/filler")).unwrap();
        filler.set_len(filler.metadata().unwrap().len() - 12 * 1_024).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("state/filler")).unwrap();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let unmount = ["--lazy", "state"];
        drop(Command::new("umount").args(unmount).current_dir(self.0.path()).status());
    }
}

#[test]
fn a_full_state_folder_holds_runs_up_until_there_is_room_again() {
    /// Far more than the records for which there is room in what is written already.
    const FILES: usize = 60;
    if !crate::mounts::can_mount() {
        return;
    }
    let Some(library) = library() else { return };
    let renames = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&renames);
    // A look whether a file stands, where that is in doubt, is a rename onto its own name.
    let note = move |event: &Event| match event {
        Event::Renamed { from, to, .. } if from != to => noted.lock().unwrap().push(to.clone()),
        _ => {}
    };
    let server = Server::builder().on_event(note).start().unwrap();
    let job = "  one: {source: source, server: office, destination: /in, watch: {settle: 100ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    let disk = Disk::mount(&home);
    home.write("source/first", b"first");
    patient(&home);
    // Half a minute lies between two tries to open the state: 1.5 seconds here.
    let now = SystemClock.now().to_utc().format("%Y-%m-%d %H:%M:%S").to_string();
    let mut agent = agent_from(&home, &library, &now, 20);
    delivered(&mut agent, 1);
    disk.fill();
    disk.make_little_room();
    // All at once: no later event has another run begun, which could not be recorded from its start.
    for n in 0..FILES {
        home.write(&format!("later/{n:02}"), b"one of many");
    }
    fs::rename(home.path().join("later"), home.path().join("source/later")).unwrap();
    agent.until("Nothing can be recorded");
    agent.until("The state still cannot be opened.");
    assert_eq!(home.status()["readiness"], "cannot-record");
    disk.make_room();
    agent.until("The state is open again.");
    let names = || {
        let names = ["in", "in/later"].map(|folder| fs::read_dir(server.root().join(folder)));
        let files = names.into_iter().flatten().flatten().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().unwrap().is_file());
        files.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    // Without anybody asking for it.
    while names().iter().filter(|name| !name.starts_with('.')).count() <= FILES {
        agent.until("The run ended");
    }
    agent.end();
    let (code, _, stderr) = home.run(&["sync"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(names().len(), FILES + 1, "{:?}", names());
    let renames = renames.lock().unwrap().clone();
    assert_eq!(renames.len(), FILES + 1, "each got its name once: {renames:?}");
    let (code, _, stderr) = home.run(&["verify", "--read"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = home.run(&["ledger", "verify"]);
    assert_eq!(code, 0, "{stderr}");
}
