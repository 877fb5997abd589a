//! The process dies at every step of an upload to a final name, on a server in memory.

use super::*;
use crate::delivery::memory::{Consumer, Memory};
use crate::domain::{EntryStatus, ProofMethod, TlsVersion};

const OLD: &[u8] = b"old content";
const NEW: &[u8] = b"new content, and more";
/// What the source holds once it has changed.
const CHANGED: &[u8] = b"changed";
/// How long the recorded beginnings are; those of real files begin at 1 KiB.
const BEGINNINGS: [usize; 2] = [4, 8];
const OLD_TIME: &str = "20200101000000";
const STORED_TIME: &str = "20260101000000";
/// More steps than any run takes.
const MOST_STEPS: u32 = 60;

/// What somebody else puts under the final name between two runs.
const STRANGERS: [Option<&[u8]>; 4] =
    [None, Some(b"a stranger."), Some(b"a stranger's content!"), Some(b"a stranger's long content")];

/// What stood under the final name before anything began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    OurOldVersion,
    Stranger,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    mode: Mode,
    proof: Proof,
    overwrite: Overwrite,
    before: Before,
    consumer: Consumer,
    stranger: Option<&'static [u8]>,
    crash: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Delivered,
    Unchanged,
    Presumed,
    Failed(DeliveryError),
}

/// The process died.
#[derive(Debug)]
struct Crashed;

/// What outlives a crash.
struct World {
    cell: Cell,
    memory: Memory,
    records: Vec<Record>,
    /// How often the consumer got the whole file.
    taken: u32,
    uploads: u32,
    left: Option<u32>,
    source: &'static [u8],
}

fn destination() -> RemotePath {
    RemotePath::new("/in/f").unwrap()
}

fn beginnings(bytes: &[u8]) -> Vec<Beginning> {
    let short = BEGINNINGS.into_iter().filter(|&size| size < bytes.len());
    short.map(|size| Beginning { size: size as u64, digest: Digest::of(&bytes[..size]) }).collect()
}

fn stat() -> FileStat {
    let mtime = Timestamp::from_unix(1_700_000_000, 5);
    FileStat { size: NEW.len() as u64, mtime, ctime: mtime, inode: 1 }
}

impl World {
    fn new(cell: Cell) -> Self {
        let mut memory = Memory::new(&destination(), cell.consumer);
        match cell.before {
            Before::Nothing => {}
            Before::OurOldVersion => memory.put(&destination(), OLD, OLD_TIME),
            Before::Stranger => memory.put(&destination(), b"theirs", "20210101000000"),
        }
        Self { cell, memory, records: vec![], taken: 0, uploads: 0, left: Some(cell.crash), source: NEW }
    }

    /// A place where the process may die.
    fn tick(&mut self) -> Result<(), Crashed> {
        match &mut self.left {
            Some(0) => Err(Crashed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn open(&self) -> Option<Storing> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Storing(storing) => Some(Some(storing.clone())),
            Record::Delivered(_) | Record::Presumed(_) | Record::Withdrawn(_) => Some(None),
            _ => None,
        })?
    }

    fn standing(&self) -> Option<&[u8]> {
        self.memory.files.get(destination().as_str()).map(|file| file.bytes.as_slice())
    }

    fn spec(&self) -> Spec {
        let Cell { mode, proof, overwrite, before, .. } = self.cell;
        let known = (before == Before::OurOldVersion).then(|| Entry {
            status: EntryStatus::FoundChanged,
            stat: stat(),
            observed_at: Timestamp::from_unix(1_577_836_900, 0),
            size: OLD.len() as u64,
            digest: Digest::of(OLD),
            method: ProofMethod::ReadBack,
            modified: Some(OLD_TIME.to_owned()),
            delivered_at: Timestamp::from_unix(1_577_836_900, 0),
        });
        Spec {
            run: RunId(7),
            path: RelPath::new("f").unwrap(),
            destination: destination(),
            stat: stat(),
            observed_at: Timestamp::from_unix(1_800_000_000, 0),
            session: SessionFacts {
                peer: ([127, 0, 0, 1], 21).into(),
                tls: TlsVersion::V1_3,
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                certificate: Digest::of(b"certificate"),
            },
            sent: Sent { size: self.source.len() as u64, digest: Digest::of(self.source) },
            beginnings: beginnings(self.source),
            proof,
            policy: if proof == Proof::Size { VerifyPolicy::Size } else { VerifyPolicy::Auto },
            overwrite,
            mode,
            sidecars: Sidecars::NONE,
            known,
            open: self.open(),
            sizes: Sizes::Offered,
            hash: if proof == Proof::Hash { ServerHash::Offered } else { ServerHash::Missing },
        }
    }

    fn store(&mut self) -> Result<Upload, Crashed> {
        self.uploads += 1;
        self.tick()?;
        for part in [0, self.source.len() / 2, self.source.len()] {
            self.memory.put(&destination(), &self.source[..part], STORED_TIME);
            if part == self.source.len() && self.cell.consumer == Consumer::TakesIt {
                self.memory.files.clear();
                self.taken += 1;
            }
            self.tick()?;
        }
        Ok(Upload::Whole(Sent { size: self.source.len() as u64, digest: Digest::of(self.source) }))
    }

    fn part(&self, bytes: u64) -> Part {
        let standing = self.standing().unwrap();
        let beginning = Digest::of(&standing[..usize::try_from(bytes).unwrap()]);
        Part::Read { size: standing.len() as u64, beginning }
    }

    fn commit(&mut self, record: Record) -> Result<Input, Crashed> {
        self.tick()?;
        if let Record::Delivered(delivered) = &record {
            assert_eq!(delivered.publish, PublishWay::Direct);
            assert_eq!(self.standing(), Some(self.source), "recorded but not there");
        }
        self.records.push(record);
        self.tick()?;
        Ok(Input::Committed)
    }

    fn run(&mut self) -> Result<End, Crashed> {
        match self.records.last() {
            Some(Record::Delivered(_)) => return Ok(End::Unchanged),
            Some(Record::Presumed(_)) => return Ok(End::Presumed),
            _ => {}
        }
        let mut machine = Direct::new(self.spec());
        let mut step = machine.start();
        loop {
            step = match step {
                DirectStep::Do(Step::Done(_)) => return Ok(End::Delivered),
                DirectStep::Do(Step::Failed(error)) => return Ok(End::Failed(error)),
                DirectStep::Presumed => return Ok(End::Presumed),
                DirectStep::Store => machine.stored(self.store()?),
                DirectStep::Beginning(bytes) => {
                    machine.beginning(Digest::of(&self.source[..usize::try_from(bytes).unwrap()]))
                }
                DirectStep::ReadPart(bytes) => machine.part(self.part(bytes)),
                DirectStep::Do(Step::Commit(record)) => machine.next(self.commit(*record)?),
                DirectStep::Do(Step::ReadBack(path)) => {
                    self.tick()?;
                    let refusal = Refusal { verb: "RETR", code: 550, reply: "550 no".to_owned() };
                    let read = self.memory.read_back(&path);
                    machine.next(read.map_or(Input::Unreadable(refusal), Input::Incoming))
                }
                DirectStep::Do(Step::Perform(requests)) => {
                    let mut answers = Vec::new();
                    for request in &requests {
                        self.tick()?;
                        answers.push(self.memory.perform(request));
                    }
                    machine.next(Input::Answers(answers))
                }
            };
        }
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for mode in [Mode::Mirror, Mode::Drop] {
        for proof in [Proof::Hash, Proof::ReadBack, Proof::Size] {
            for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
                for before in [Before::Nothing, Before::OurOldVersion, Before::Stranger] {
                    for consumer in [Consumer::LeavesIt, Consumer::TakesIt] {
                        cells.extend(STRANGERS.map(|stranger| {
                            let crash = 0;
                            Cell { mode, proof, overwrite, before, consumer, stranger, crash }
                        }));
                    }
                }
            }
        }
    }
    cells
}

/// Plays a cell, and tells whether its crash was reached.
fn check(cell: Cell) -> bool {
    let mut world = World::new(cell);
    let crashed = world.run().is_err();
    world.left = None;
    let recorded = matches!(world.records.last(), Some(Record::Delivered(_) | Record::Presumed(_)));
    if let (Some(bytes), true) = (cell.stranger, crashed) {
        world.memory.put(&destination(), bytes, "20270101000000");
    }
    let end = world.run().unwrap();
    let (uploads, taken) = (world.uploads, world.taken);
    let again = world.run().unwrap();
    assert!(uploads <= 2, "{cell:?}");
    let strange = match (cell.stranger, crashed, cell.before) {
        (Some(bytes), true, _) => Some(bytes),
        (_, _, Before::Stranger) => Some(b"theirs".as_slice()),
        _ => None,
    };
    match (strange, cell.overwrite, cell.mode, cell.consumer) {
        _ if recorded => assert_eq!(taken, u32::from(cell.consumer == Consumer::TakesIt), "{cell:?}"),
        (Some(bytes), Overwrite::Refuse, ..) => {
            assert!(matches!(end, End::Failed(_)), "{end:?} {cell:?}");
            assert_eq!(world.standing(), Some(bytes), "{cell:?}");
        }
        (_, _, _, Consumer::LeavesIt) => {
            assert!(matches!(end, End::Delivered | End::Unchanged), "{end:?} {cell:?}");
            assert_eq!((world.standing(), again), (Some(NEW), End::Unchanged), "{cell:?}");
        }
        (_, _, Mode::Drop, Consumer::TakesIt) => {
            assert_eq!((end, again), (End::Presumed, End::Presumed), "{cell:?}");
            // At least once; and once, if the crash did not come between the upload and its record.
            assert!(taken == 1 || (taken == 2 && crashed), "{taken} {cell:?}");
        }
        (_, _, Mode::Mirror, Consumer::TakesIt) => {
            assert_eq!(end, End::Failed(DeliveryError::Lost), "{cell:?}");
        }
    }
    if cell.mode == Mode::Drop || cell.consumer == Consumer::LeavesIt {
        assert_eq!((world.uploads, world.taken), (uploads, taken), "nothing is sent any more: {cell:?}");
    }
    crashed
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_replaces_no_stranger() {
    for cell in cells() {
        let reached = (0..MOST_STEPS).take_while(|&crash| check(Cell { crash, ..cell })).count();
        assert!((2..MOST_STEPS as usize).contains(&reached), "{reached} {cell:?}");
    }
}

const CELL: Cell = Cell {
    mode: Mode::Mirror,
    proof: Proof::ReadBack,
    overwrite: Overwrite::Refuse,
    before: Before::OurOldVersion,
    consumer: Consumer::LeavesIt,
    stranger: None,
    crash: MOST_STEPS,
};

/// Plays with this end of `STOR`, which leaves these bytes there, to the failure.
fn after(world: &mut World, upload: Upload, left: &[u8]) -> DeliveryError {
    let mut machine = Direct::new(world.spec());
    let mut step = machine.start();
    let mut upload = Some(upload);
    loop {
        step = match step {
            DirectStep::Do(Step::Failed(error)) => return error,
            DirectStep::Store => {
                world.memory.put(&destination(), left, STORED_TIME);
                machine.stored(upload.take().unwrap())
            }
            DirectStep::Beginning(bytes) => {
                machine.beginning(Digest::of(&NEW[..usize::try_from(bytes).unwrap()]))
            }
            DirectStep::Do(Step::Commit(record)) => machine.next(world.commit(*record).unwrap()),
            DirectStep::Do(Step::ReadBack(path)) => {
                machine.next(Input::Incoming(world.memory.read_back(&path).unwrap()))
            }
            DirectStep::Do(Step::Perform(requests)) => {
                let answers = requests.iter().map(|request| world.memory.perform(request)).collect();
                machine.next(Input::Answers(answers))
            }
            step @ (DirectStep::ReadPart(_) | DirectStep::Presumed | DirectStep::Do(Step::Done(_))) => {
                panic!("{step:?}")
            }
        };
    }
}

#[test]
fn a_refused_upload_leaves_no_intent_unless_a_part_may_stand() {
    let mut world = World::new(CELL);
    assert_eq!(after(&mut world, Upload::Refused(DeliveryError::CannotLook), OLD), DeliveryError::CannotLook);
    assert!(matches!(world.records.as_slice(), [Record::Storing(_), Record::Withdrawn(_)]));
    let mut world = World::new(Cell { crash: 6, ..CELL });
    assert!(world.run().is_err());
    assert_eq!(world.uploads, 1);
    world.left = None;
    assert_eq!(after(&mut world, Upload::Refused(DeliveryError::CannotLook), OLD), DeliveryError::CannotLook);
    assert!(world.open().is_some());
}

/// What an upload that failed left is known as ours, though the source is another one by then; a part
/// that was only cut off is not.
#[test]
fn what_a_failed_upload_left_is_kept_in_mind() {
    let broken = || Upload::Broken(DeliveryError::CannotLook);
    let other = || Upload::Whole(Sent { size: 3, digest: Digest::of(b"abc") });
    for upload in [broken(), other()] {
        let mut world = World::new(CELL);
        let _error = after(&mut world, upload, b"abc");
        let open = world.open().unwrap();
        let standing = Standing::File { size: 3, modified: Some(STORED_TIME.to_owned()) };
        assert_eq!((open.step, open.standing), (StoringStep::Begun, standing));
        assert!(matches!(with_another_source(&mut world), DirectStep::Do(Step::Commit(_))));
        world.memory.put(&destination(), b"xyz", "20270101000000");
        let refused = DeliveryError::StrangePart { path: "/in/f".to_owned(), size: 3 };
        assert_eq!(with_another_source(&mut world), DirectStep::Do(Step::Failed(refused)));
    }
}

/// The cells of a source that changes after the crash.
fn changing() -> impl Iterator<Item = Cell> {
    cells().into_iter().filter(|cell| {
        cell.stranger.is_none()
            && cell.before != Before::Stranger
            && cell.overwrite == Overwrite::Refuse
            && cell.consumer == Consumer::LeavesIt
    })
}

/// Plays a cell to its crash, where the source has changed since. `None` where it comes to no crash, or
/// was recorded before.
fn changed(cell: Cell) -> Option<World> {
    let mut world = World::new(cell);
    world.run().err()?;
    world.left = None;
    world.source = CHANGED;
    (!matches!(world.records.last(), Some(Record::Delivered(_)))).then_some(world)
}

/// How many bytes of the old source stand there, where they are a part.
fn part_of(world: &World) -> Option<usize> {
    let standing = world.standing().filter(|bytes| NEW.starts_with(bytes) && bytes.len() < NEW.len());
    standing.map(<[u8]>::len).filter(|&size| size > 0)
}

#[test]
fn a_part_of_a_source_that_has_changed_is_known_by_its_beginning() {
    let mut parts = 0;
    for cell in changing() {
        for crash in 0..MOST_STEPS {
            let Some(mut world) = changed(Cell { crash, ..cell }) else { continue };
            parts += u32::from(part_of(&world).is_some());
            assert_eq!(world.run().unwrap(), End::Delivered, "{crash} {cell:?}");
            assert_eq!(world.standing(), Some(CHANGED), "{crash} {cell:?}");
        }
    }
    assert!(parts > 0, "a crash left a part");
}

/// Neither a part of which the record knows no beginning, nor a file that begins otherwise.
#[test]
fn what_no_recorded_beginning_proves_stays() {
    let strangers: [&[u8]; 4] = [b"new", b"NEW content", b"new cXntent", b"a stranger."];
    let mut refused = 0;
    for cell in changing() {
        for crash in 0..MOST_STEPS {
            let Some(mut world) = changed(Cell { crash, ..cell }) else { continue };
            let Some(open) = world.open() else { continue };
            for stranger in strangers {
                world.memory.put(&destination(), stranger, "20270101000000");
                let end = world.run().unwrap();
                let size = stranger.len() as u64;
                let strange = DeliveryError::StrangePart { path: "/in/f".to_owned(), size };
                assert_eq!(end, End::Failed(strange), "{open:?} {cell:?}");
                assert_eq!(world.standing(), Some(stranger), "{cell:?}");
                refused += 1;
            }
            let Some(mut world) = changed(Cell { crash, ..cell }).filter(|world| part_of(world).is_some())
            else {
                continue;
            };
            for record in &mut world.records {
                if let Record::Storing(storing) = record {
                    storing.beginnings.clear();
                }
            }
            let end = world.run().unwrap();
            assert!(matches!(end, End::Failed(DeliveryError::StrangePart { .. })), "an old record: {end:?}");
            assert!(part_of(&world).is_some(), "{cell:?}");
        }
    }
    assert!(refused > 0, "a crash came after the intent");
}

/// What stands there when a part is read may be another file than the one that was looked at, or none
/// that may be read.
#[test]
fn a_part_that_is_not_read_as_it_was_looked_at_stays() {
    let other = |part, by: fn(u64) -> u64| match part {
        Part::Read { size, beginning } => Part::Read { size: by(size), beginning },
        Part::Unreadable => Part::Unreadable,
    };
    let (longer, shorter) = (|size| size + 1, |size| size - 1);
    let reads: [(&str, &dyn Fn(Part) -> Part); 3] = [
        ("unreadable", &|_| Part::Unreadable),
        ("longer", &|part| other(part, longer)),
        ("shorter", &|part| other(part, shorter)),
    ];
    for (what, read) in reads {
        let mut refused = 0;
        for cell in changing() {
            for crash in 0..MOST_STEPS {
                let world = changed(Cell { crash, ..cell }).filter(|world| part_of(world).is_some());
                let Some(mut world) = world else { continue };
                let before = world.standing().map(<[u8]>::to_vec);
                let Some((mut machine, bytes)) = recalling(&mut world) else { continue };
                let step = machine.part(read(world.part(bytes)));
                let strange = matches!(step, DirectStep::Do(Step::Failed(DeliveryError::StrangePart { .. })));
                assert!(strange, "{what}: {step:?} {cell:?}");
                assert_eq!(world.standing().map(<[u8]>::to_vec), before);
                refused += 1;
            }
        }
        assert!(refused > 0, "a crash left a part");
    }
}

/// A run that has come to reading a part of an upload whose source is another one by now, and how many of
/// its first bytes are wanted.
fn recalling(world: &mut World) -> Option<(Direct, u64)> {
    let mut machine = Direct::new(world.spec());
    let mut step = machine.start();
    loop {
        step = match step {
            DirectStep::Do(Step::Perform(requests)) => {
                let answers = requests.iter().map(|request| world.memory.perform(request)).collect();
                machine.next(Input::Answers(answers))
            }
            DirectStep::ReadPart(bytes) => return Some((machine, bytes)),
            _ => return None,
        };
    }
}

/// The first step, after looks, of a run that finds another source.
fn with_another_source(world: &mut World) -> DirectStep {
    let sent = Sent { size: 99, digest: Digest::of(b"another") };
    let mut machine = Direct::new(Spec { sent, known: None, ..world.spec() });
    let mut step = machine.start();
    loop {
        step = match step {
            DirectStep::Do(Step::Perform(requests)) => {
                let answers = requests.iter().map(|request| world.memory.perform(request)).collect();
                machine.next(Input::Answers(answers))
            }
            DirectStep::Do(Step::ReadBack(path)) => {
                machine.next(Input::Incoming(world.memory.read_back(&path).unwrap()))
            }
            step => return step,
        };
    }
}

/// Wrong bytes are no proof, nor is a hash that cannot be had where the job wants it.
#[test]
fn wrong_bytes_are_noted_and_not_recorded() {
    let mut world = World::new(CELL);
    let upload = Upload::Whole(Sent { size: NEW.len() as u64, digest: Digest::of(NEW) });
    let error = after(&mut world, upload, b"new content, and less");
    assert!(matches!(error, DeliveryError::StoredWrong(_)), "{error:?}");
    assert!(matches!(world.records.as_slice(), [Record::Storing(_), Record::Storing(_)]));
    world.left = None;
    assert_eq!(world.run().unwrap(), End::Delivered);
}
