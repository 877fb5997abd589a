//! One cell: a job with one file, a server with one fault, and what must come of it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use ftps_server::{Event as ServerEvent, Server, TlsVersions};
use nightferry::domain::{Event, Exit, FailureClass, Mode, RunReport};
use nightferry::remote::Deadlines;
use tokio::time::timeout;

use super::super::bench::{Bench, TEMPORARY, cause};
use super::blows::{Blow, Times};
use super::steps::Step;

/// The file's path on the server.
pub(super) const FINAL: &str = "/in/a.txt";

/// The time of the source file, as it stands in commands.
pub(super) const TIME: &str = "20210505060708";
const TIME_SECONDS: u64 = 1_620_194_828;

/// Several TLS records, and more than the first flight of a connection.
pub(super) const CONTENT_BYTES: u64 = 40_000;

/// Each limit of time. Long enough for a machine with much else to do, since a reply that comes
/// late is one more fault.
pub(super) const LIMIT: Duration = Duration::from_millis(600);

/// A run opens at most so many sessions for one file: 3 attempts that count, each after up to 4
/// attempts to connect.
const SESSIONS: u32 = 12;

/// In each of them it waits for at most so many things that do not come.
const WAITS: u32 = 3;

/// What a busy machine may take besides waiting.
const SLACK: Duration = Duration::from_secs(20);

/// A fault at a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) step: Step,
    pub(super) blow: Blow,
    pub(super) times: Times,
    pub(super) versions: TlsVersions,
    pub(super) mode: Mode,
}

/// What came of the run with the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Delivered,
    Presumed,
    Failed(FailureClass),
}

/// A cell at work.
struct Trial {
    cell: Cell,
    bench: Bench,
    /// What came under the final name, in order.
    published: Arc<Mutex<Vec<Vec<u8>>>>,
    content: Vec<u8>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, blow, times, versions, mode } = self;
        write!(f, "{step:?} × {blow:?} × {times:?} × {versions:?} × {mode:?}")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Presumed => f.write_str("presumed"),
            Self::Failed(class) => write!(f, "{class:?} errors"),
        }
    }
}

impl Cell {
    /// Runs it, on a thread of its own as far as the client goes.
    pub(super) fn run(self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Trial::new(self).run().await })
    }
}

impl Trial {
    fn new(cell: Cell) -> Self {
        let published = Arc::new(Mutex::new(Vec::new()));
        let (log, mode) = (Arc::clone(&published), cell.mode);
        let hook = move |event: &ServerEvent| {
            if let ServerEvent::Renamed { from, to, local } = event
                && from != to
            {
                assert_eq!(to, FINAL);
                log.lock().unwrap().push(std::fs::read(local).unwrap());
                if mode == Mode::Drop {
                    std::fs::remove_file(local).unwrap();
                }
            }
        };
        let (dialect, verify) = cell.step.server();
        let faults = cell.blow.actions().into_iter().map(|action| cell.step.fault(action, cell.times));
        let server = Server::builder().dialect(dialect).tls_versions(cell.versions).faults(faults);
        let mut bench = Bench::watched(server, hook);
        bench.definition.connections = 1.try_into().unwrap();
        (bench.job.mode, bench.job.verify) = (cell.mode, verify);
        bench.deadlines = Deadlines {
            connect: LIMIT,
            greeting: LIMIT,
            handshake: LIMIT,
            reply: LIMIT,
            data_connect: LIMIT,
            stall: LIMIT,
            final_reply: LIMIT,
            drain: LIMIT / 4,
        };
        let content: Vec<u8> = (0..CONTENT_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
        bench.write("a.txt", &content);
        let source = std::fs::File::options().write(true).open(bench.job.source.join("a.txt")).unwrap();
        source.set_modified(UNIX_EPOCH + Duration::from_secs(TIME_SECONDS)).unwrap();
        Self { cell, bench, published, content }
    }

    /// Runs the job, in time.
    async fn once(&self, which: &str) -> (RunReport, Vec<Event>) {
        let limit = LIMIT * WAITS * SESSIONS + SLACK;
        let ran = timeout(limit, self.bench.run_quietly()).await;
        let (report, events) =
            ran.unwrap_or_else(|_| panic!("{}", self.told(&format!("{which} hangs"), None)));
        self.bench.check_server();
        self.check_published(which, &report);
        (report, events)
    }

    async fn run(self) -> Outcome {
        let (report, events) = self.once("the run with the fault").await;
        let told = |what: &str| self.told(what, Some((&report, &events)));
        let outcome = outcome_of(&report).unwrap_or_else(|| panic!("{}", told("not one outcome")));
        if let Outcome::Failed(class) = outcome {
            assert!(self.cell.deserves(class), "{}", told("another class than the fault deserves"));
        }
        assert!(!cause(&report).contains("mistake in the program"), "{}", told("a mistake"));
        self.converges(&told).await;
        outcome
    }

    /// Without the fault the file comes if it has not, the litter goes, and then there is rest.
    async fn converges(&self, told: &dyn Fn(&str) -> String) {
        self.bench.server.clear_faults();
        let mut last = None;
        for which in ["the first run without the fault", "the second", "the third"] {
            let before = self.bench.server.counters();
            let (report, events) = self.once(which).await;
            let quiet = self.bench.server.counters() == before;
            last = Some((report, events));
            if quiet {
                break;
            }
        }
        let (report, events) = last.unwrap();
        let told = |what| format!("{}\n{}", told("before"), self.told(what, Some((&report, &events))));
        let counts = report.counts;
        assert_eq!(counts.unchanged + counts.confirmed + counts.presumed, 1, "{}", told("does not converge"));
        let rest = if counts.presumed == 1 { Exit::FilesFailed } else { Exit::Done };
        assert_eq!(report.exit(), rest, "{}", told("does not converge"));
        assert_eq!(self.bench.litter(), Vec::<String>::new(), "{}", told("litter"));
        assert_eq!(self.published.lock().unwrap().len(), 1, "{}", told("published not once"));
    }

    /// What is told of as delivered stood there whole, and nothing else ever did.
    fn check_published(&self, which: &str, report: &RunReport) {
        let published = self.published.lock().unwrap().clone();
        let whole = published.iter().all(|bytes| *bytes == self.content);
        let done = report.counts.delivered + report.counts.settled + report.counts.presumed;
        let stands = self.bench.stored(FINAL.trim_start_matches('/'));
        let mut right = whole && published.len() <= 1 && (done == 0 || published.len() == 1);
        right &= match self.cell.mode {
            Mode::Mirror => stands.is_some() == (published.len() == 1),
            Mode::Drop => stands.is_none(),
        };
        right &= stands.is_none_or(|bytes| bytes == self.content);
        assert!(right, "{}", self.told(&format!("{which} is wrong about the server"), Some((report, &[]))));
        let others: Vec<_> = self
            .bench
            .all_stored()
            .into_keys()
            .filter(|path| path != FINAL && !path.contains(TEMPORARY))
            .collect();
        assert!(others.is_empty(), "{}: {others:?}", self.cell);
    }

    /// All that is known.
    fn told(&self, what: &str, ran: Option<(&RunReport, &[Event])>) -> String {
        let published: Vec<_> = self.published.lock().unwrap().iter().map(Vec::len).collect();
        let ran = ran.map(|(report, events)| format!("{events:#?}\n{report:#?}")).unwrap_or_default();
        format!("{}: {what}\npublished: {published:?}\n{}\n{ran}", self.cell, self.bench.server.transcript())
    }
}

/// The file's one outcome.
fn outcome_of(report: &RunReport) -> Option<Outcome> {
    let counts = report.counts;
    let stopped = report.stopped.as_ref().map(|failure| failure.class);
    match (counts.delivered, counts.presumed, counts.failed + counts.not_reached) {
        (1, 0, 0) => Some(Outcome::Delivered),
        (0, 1, 0) => Some(Outcome::Presumed),
        (0, 0, 1) => report.failed.first().map(|file| file.failure.class).or(stopped).map(Outcome::Failed),
        _ => None,
    }
}

impl Cell {
    /// Whether a failure of this class fits the fault.
    fn deserves(&self, class: FailureClass) -> bool {
        use FailureClass as Class;
        let login = matches!(self.step, Step::Auth | Step::Handshake | Step::Pbsz | Step::Prot);
        match class {
            // What passes is got over by trying again.
            Class::Temporary => self.times == Times::Always,
            Class::Refused => {
                self.blow.is_refusal() || (self.step, self.blow) == (Step::Greeting, Blow::Plain)
            }
            // Before TLS everything that is out of place may be an attack.
            Class::Trust => login && (self.blow.is_refusal() || self.blow.comes_in_clear()),
            Class::Verification => {
                self.blow.is_refusal() && matches!(self.step, Step::Hash | Step::SizeTemporary)
            }
            // What stands under the final name is not known; or a reply too many was taken for the
            // answer to that, which shows too late for another verdict, and is for the next run.
            Class::File => match self.step {
                Step::SizeFinal => self.blow.is_refusal(),
                _ => matches!(self.blow, Blow::Extra | Blow::Twice),
            },
            Class::Source | Class::Deadline | Class::Interrupted | Class::Other => false,
        }
    }
}
