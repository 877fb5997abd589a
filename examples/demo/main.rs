//! Shows Nightferry at work: `cargo run --release --example demo`.
//!
//! A small FTPS server runs inside this program, on a free port of this machine, with a certificate
//! authority made for the occasion. The commands are those of the real program, called as a person
//! would type them, and every claim that the text makes is checked: if one does not hold, the demo
//! says so and ends with 1.

mod clinic;
mod interrupt;
mod office;
mod story;

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ftps_server::{Action, Fault};
use nightferry::domain::Exit;
use tempfile::TempDir;

use crate::clinic::{Clinic, listing};
use crate::interrupt::{Interrupt, Wish};
use crate::office::Office;
use crate::story::Story;

/// How long the demo waits after it has changed files. Nightferry does not take a file's times for
/// granted until it is two seconds old: a later change could hide behind the same times. Without
/// the wait it would read such files once more.
const UNTIL_TIMES_TELL: Duration = Duration::from_millis(2_100);

/// The report of which the server keeps only a half.
const CUT_SHORT: &str = "march/bill 04.csv";

/// Shows Nightferry at work, against a small FTPS server that runs inside this program
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Leave the server up in the end, to try things by hand
    #[arg(long)]
    keep_running: bool,

    /// Leave the demo's folder where it is, with the files, the ledger and the configuration
    #[arg(long)]
    keep_files: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help comes this way as well; where nobody reads it, nothing is lost.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    match demo(&arguments) {
        Ok(code) => code,
        Err(error) => {
            Story::new().trouble(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let began = Instant::now();
    // What the commands say on standard error is a part of the story, and has its place in it.
    rustix::stdio::dup2_stderr(io::stdout())?;
    let interrupt = Interrupt::watch()?;
    let mut folder = tempfile::Builder::new().prefix("nightferry-demo-").tempdir()?;
    folder.disable_cleanup(arguments.keep_files);
    let mut stage = Stage::new(&folder, interrupt)?;
    let told = stage.tell();
    let code = match told {
        Ok(()) => stage.story.end(began.elapsed()),
        Err(Stopped::Interrupted) => return Ok(ExitCode::from(Exit::Interrupted.code())),
        Err(Stopped::Trouble(error)) => return Err(error),
    };
    if arguments.keep_running {
        stage.keep_running(folder.path(), arguments);
    } else {
        stage.story.text("To try it by hand: cargo run --release --example demo -- --keep-running");
    }
    if arguments.keep_files {
        stage.story.text(&format!("The demo's folder stays: {}", folder.path().display()));
    }
    // A process must not stand in a folder that is removed.
    std::env::set_current_dir(std::env::temp_dir())?;
    Ok(code)
}

/// Why the story was not told to its end.
enum Stopped {
    /// Somebody asked to stop.
    Interrupted,
    /// The demo itself could not go on.
    Trouble(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

/// Who takes part: the clinic that sends, the office that receives, and the one who tells it.
struct Stage {
    clinic: Clinic,
    office: Office,
    story: Story,
    interrupt: Interrupt,
}

impl Stage {
    fn new(folder: &TempDir, interrupt: Interrupt) -> Result<Self, Box<dyn Error>> {
        let home = folder.path().canonicalize()?;
        let clinic = Clinic::new(&home)?;
        let office = Office::open(&home, clinic.reports())?;
        clinic.configure(office.port(), &office.ca_pem())?;
        std::env::set_current_dir(&home)?;
        Ok(Self { clinic, office, story: Story::new(), interrupt })
    }

    fn tell(&mut self) -> Result<(), Stopped> {
        self.set_the_scene()?;
        self.four_reports()?;
        self.one_changed()?;
        self.nothing_new()?;
        self.server_keeps_half()?;
        self.server_mended()?;
        self.ledger()
    }

    fn set_the_scene(&mut self) -> Result<(), Stopped> {
        self.story.title("Nightferry at work");
        self.story.text(
            "A clinic sends its reports to a billing office. The office's FTPS server runs inside this \
             demo, on this machine; the program that sends is the real one. This is its configuration:",
        );
        let here = std::env::current_dir()?;
        self.story.command(&format!("cd {}", here.display()));
        self.story.command("cat jobs.yaml");
        self.story.output(&fs::read_to_string("jobs.yaml")?);
        Ok(())
    }

    fn four_reports(&mut self) -> Result<(), Stopped> {
        self.story.act("Four reports are new");
        self.clinic.write("march/bill 02.csv", 4_000)?;
        self.clinic.write("march/bill 03.csv", 5_000)?;
        self.clinic.write("march/Müller & Söhne.csv", 700)?;
        self.clinic.write("scans/knee.dcm", 3_000_000)?;
        self.pause(UNTIL_TIMES_TELL)?;
        let exit = self.nightferry("sync -v")?;
        self.story.text(
            "Each file went to the server under a temporary name. Then the server was asked for the \
             SHA-256 of what it had stored; only when it was that of the bytes which were read here did \
             the file get its final name. One of them, in the server's own log:",
        );
        self.story.output(&self.office.log(0, "RNTO /incoming/march/bill 02.csv"));
        self.story.gap();
        self.story.text("What now lies on the server's disk:");
        self.story.output(&listing(self.office.disk()));
        self.story.gap();
        self.story.claim("the command ended with 0", exit == Exit::Done);
        self.story.claim("the server's disk holds the four files, byte for byte", self.arrived(4)?);
        Ok(())
    }

    fn one_changed(&mut self) -> Result<(), Stopped> {
        self.story.act("One report is changed, another only touched");
        self.clinic.write("march/bill 02.csv", 4_100)?;
        self.clinic.touch("march/bill 03.csv")?;
        self.pause(UNTIL_TIMES_TELL)?;
        let before = self.office.stores();
        let planned = self.nightferry("plan")?;
        let exit = self.nightferry("sync")?;
        self.story.text(
            "The touched file was read, found to hold what was delivered, and not sent. The changed one \
             took the old one's place in one step: a reader saw the whole old file or the whole new one.",
        );
        self.story.claim("both commands ended with 0", (planned, exit) == (Exit::Done, Exit::Done));
        self.story.claim("one file was sent", self.office.stores() == before + 1);
        self.story.claim("the server's disk holds the four files as they are now", self.arrived(4)?);
        Ok(())
    }

    fn nothing_new(&mut self) -> Result<(), Stopped> {
        self.story.act("Nothing is new");
        let before = self.office.connections();
        let exit = self.nightferry("sync")?;
        let after = self.office.connections();
        self.story.text(&format!(
            "Connections that the server has seen: {before} before, {after} after. A folder without changes \
             costs no network at all.",
        ));
        self.story.claim("the command ended with 0", exit == Exit::Done);
        self.story.claim("there was no connection", before == after);
        Ok(())
    }

    fn server_keeps_half(&mut self) -> Result<(), Stopped> {
        self.story.act("The server keeps half of a file, and says that all is well");
        self.clinic.write(CUT_SHORT, 6_000)?;
        self.pause(UNTIL_TIMES_TELL)?;
        let mark = self.office.mark();
        self.office.arm(Fault::on("STOR", Action::StoreHalf));
        let exit = self.nightferry("sync")?;
        self.story.text(
            "Suppose that its disk is full. It answered `226 Transfer complete`, and many programs would now \
             report success. From its log, the first attempt of three:",
        );
        self.story.output(&self.office.log(mark, "DELE"));
        self.story.gap();
        self.story.text(
            "Nightferry did not believe it. The half file never got a final name, was removed, and is not \
             recorded as delivered; the exit code lets a script or a scheduler know. On the server's disk:",
        );
        self.story.output(&listing(self.office.disk()));
        self.story.gap();
        self.story.claim("the command ended with 6, verification failed", exit == Exit::Verification);
        self.story.claim("the server did say 226", self.office.said_since(mark, "226"));
        self.story.claim("no half file, and no temporary one, is on the server", self.arrived(4)?);
        Ok(())
    }

    fn server_mended(&mut self) -> Result<(), Stopped> {
        self.story.act("The server is mended");
        self.office.mend();
        let exit = self.nightferry("sync -v")?;
        self.story.text("Nobody had to remember the file: what is not proved is due until it is.");
        self.story.claim("the command ended with 0", exit == Exit::Done);
        self.story.claim("the server's disk holds all five files, byte for byte", self.arrived(5)?);
        Ok(())
    }

    fn ledger(&mut self) -> Result<(), Stopped> {
        self.story.act("A record to show");
        let exit = self.nightferry("ledger verify")?;
        self.story.text(
            "Every delivery stands in the ledger with its SHA-256, its proof, the TLS version and the \
             server's certificate. Each line holds the hash of the line before, so that none can be \
             changed or taken out unnoticed.",
        );
        self.story.claim("the ledger is whole", exit == Exit::Done);
        let seen = self.office.renames();
        self.story.claim("the office saw every file whole at the moment it appeared", seen.all_whole());
        self.story.claim("no file was ever written under its final name", seen.all_staged());
        Ok(())
    }

    /// Runs a command of the program in this process, after showing it as it would be typed.
    fn nightferry(&mut self, arguments: &str) -> Result<Exit, Stopped> {
        let line = format!("nightferry --config jobs.yaml {arguments}");
        self.story.command(&line);
        let exit = nightferry::cli::run(line.split(' ').map(Into::into));
        self.story.gap();
        if exit == Exit::Interrupted { Err(Stopped::Interrupted) } else { Ok(exit) }
    }

    /// Whether the server's disk holds what the clinic has, when only the first `files` count.
    fn arrived(&self, files: usize) -> io::Result<bool> {
        let mut sent = self.clinic.files()?;
        if files < sent.len() {
            sent.remove(Path::new(CUT_SHORT));
        }
        let stored = clinic::files_below(self.office.disk())?;
        Ok(sent.len() == files && sent == stored)
    }

    fn pause(&self, time: Duration) -> Result<(), Stopped> {
        match self.interrupt.wait(time) {
            Wish::GoOn => Ok(()),
            Wish::Stop => Err(Stopped::Interrupted),
        }
    }

    fn keep_running(&mut self, home: &Path, arguments: &Arguments) {
        self.story.act("Your turn");
        let (home, reports) = (home.display(), self.clinic.reports().display());
        self.story.text("The server is still up. In another terminal, where you started the demo:");
        self.story.command(&format!("echo hello > {reports}/hello.csv"));
        for verb in ["check", "plan", "sync -v", "ledger verify"] {
            self.story.command(&format!("cargo run -qr -- --config {home}/jobs.yaml {verb}"));
        }
        self.story.gap();
        self.story.text(&format!("The server's disk is the folder {}", self.office.disk().display()));
        let fate = if arguments.keep_files { "its folder stays" } else { "its folder is removed" };
        self.story.text(&format!("Enter or Ctrl-C ends the demo; {fate}."));
        self.interrupt.wait_for_enter();
    }
}
