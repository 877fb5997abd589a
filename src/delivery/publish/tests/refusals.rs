//! What the server refuses or lies about, one row each.

use super::*;
use crate::delivery::memory::{Done, Fault, absent, refused};
use crate::domain::ProofMethod;

const HASHED: Policy = Policy { mode: Mode::Mirror, proof: Proof::Hash, overwrite: Overwrite::Refuse };
const READ: Policy = Policy { proof: Proof::ReadBack, ..HASHED };
const SIZED: Policy = Policy { proof: Proof::Size, ..HASHED };
const REPLACES: Policy = Policy { overwrite: Overwrite::Replace, ..HASHED };

/// Faults by where they happen, what is answered, and whether it happens all the same.
type Faults<'a> = &'a [(&'static str, Answer, Done)];

fn world(policy: Policy, before: Before, faults: Faults<'_>) -> World {
    let mut world = World::new(policy, before, Consumer::LeavesIt);
    world.memory.faults =
        faults.iter().cloned().map(|(at, answer, done)| Fault { at, answer, done }).collect();
    world
}

/// Runs once under these faults and expects no delivery, this error, nothing changed under the
/// final name and no litter; once the faults are gone the file is delivered.
fn check(policy: Policy, before: Before, faults: Faults<'_>, wanted: &str) {
    let mut world = world(policy, before, faults);
    let stood = world.standing().map(<[u8]>::to_vec);
    let end = world.run();
    let Ok(End::Failed(error)) = &end else { panic!("{faults:?}: {end:?}") };
    assert!(format!("{error:?}").starts_with(wanted), "{faults:?}: {error:?}, wanted {wanted}");
    assert!(!world.delivered(), "{faults:?}");
    assert_eq!(world.standing().map(<[u8]>::to_vec), stood, "{faults:?}");
    assert_eq!(world.temporaries(), 0, "{faults:?}");
    assert!(world.intent().is_none(), "{faults:?}");
    world.memory.faults.clear();
    if before != Before::Stranger {
        assert_eq!(world.run().unwrap(), End::Delivered, "after {faults:?}");
    }
}

#[test]
fn nothing_is_published_without_proof() {
    let hash = |answer| [("Hash", answer, Done::NotAtAll)];
    let size = |answer| [("Size(\"/in/.nf", answer, Done::NotAtAll)];
    for before in [Before::Nothing, Before::OurOldVersion] {
        check(HASHED, before, &hash(Answer::Digest(Digest::of(b"other"))), "Mismatch(Digest");
        let gone = ("Stands", absent("RNFR"), Done::NotAtAll);
        let no_hash = ("Hash", absent("HASH"), Done::NotAtAll);
        check(HASHED, before, &[no_hash, gone.clone()], "NoProof { refusal: Some");
        check(SIZED, before, &size(Answer::Size(3)), "Mismatch(Size { sent: 11, stored: 3");
        check(SIZED, before, &size(Answer::Unsupported), "Unprovable { refusal: None");
        check(SIZED, before, &size(absent("SIZE")), "Unprovable { refusal: Some");
        let no_size = ("Size(\"/in/.nf", absent("SIZE"), Done::NotAtAll);
        check(SIZED, before, &[no_size, gone], "NoProof { refusal: Some");
    }
}

/// Between the proof of a file in doubt and the look at its final name the earlier rename may come
/// through: then it is our own file that stands there, and the intent must not be taken back.
#[test]
fn a_rename_that_comes_through_late_is_not_taken_for_a_strangers_file() {
    let crashed = (0..).find_map(|step| {
        let mut world = World::new(HASHED, Before::Nothing, Consumer::LeavesIt);
        world.left = Some(step);
        let _crashed = world.run();
        world.intent().map(|intent| (world, intent))
    });
    let (world, intent) = crashed.unwrap();
    let size = Answer::Size(intent.verified.size());
    for (seen, stands) in [
        ([size.clone(), Answer::Done], true),
        ([Answer::Unsupported, Answer::Done], true),
        ([size.clone(), absent("RNFR")], true),
        ([absent("SIZE"), absent("RNFR")], false),
        ([Answer::Unsupported, Answer::Unsupported], false),
    ] {
        let mut machine = Publish::again(world.spec(intent.temporary.clone()), intent.clone());
        let Step::Perform(batch) = machine.start() else { panic!("no question") };
        let answer = |request: &Request| match request {
            Request::Hash(_) => Answer::Digest(intent.verified.digest()),
            Request::Size(_) => size.clone(),
            Request::SetTime(..) => Answer::Done,
            _ => Answer::Unsupported,
        };
        let step = machine.next(Input::Answers(batch.iter().map(answer).collect()));
        assert!(matches!(step, Step::Perform(_)), "{step:?}");
        let step = machine.next(Input::Answers(seen.to_vec()));
        if stands {
            let Step::Commit(record) = &step else { panic!("{seen:?}: {step:?}") };
            assert!(matches!(**record, Record::Withdrawn(_)), "{seen:?}: {record:?}");
        } else {
            assert_eq!(step, Step::Failed(DeliveryError::InDoubt), "{seen:?}");
            assert!(machine.intent().is_some(), "{seen:?}");
        }
    }
}

/// Such as for a file above a limit of the server's: reading back proves as much.
#[test]
fn a_hash_that_is_not_given_is_replaced_by_reading_back_where_the_job_allows_it() {
    for answer in [refused("HASH", 504), absent("HASH"), Answer::Unsupported] {
        let faults = [("Hash", answer, Done::NotAtAll)];
        let mut auto = world(HASHED, Before::Nothing, &faults);
        assert_eq!(auto.run().unwrap(), End::Delivered);
        let proved = auto.records.iter().find_map(|record| match record {
            Record::Delivered(delivered) => Some(delivered.verified.method()),
            _ => None,
        });
        assert_eq!(proved, Some(ProofMethod::ReadBack));
        let mut hash_only = world(HASHED, Before::Nothing, &faults);
        let mut spec = hash_only.spec(RemotePath::new("/in/.nf-1").unwrap());
        spec.policy = VerifyPolicy::Hash;
        hash_only.memory.put(&spec.draft.temporary, NEW, "20260101000000");
        let end = hash_only.publish(Publish::new(spec)).unwrap();
        assert!(matches!(end, End::Failed(DeliveryError::NoProof { .. })), "{end:?}");
    }
}

#[test]
fn what_is_read_back_must_be_what_was_sent() {
    for stored in [b"new c".as_slice(), b"new cOntent", b"new content and more", b""] {
        let mut world = world(READ, Before::Nothing, &[]);
        let spec = world.spec(RemotePath::new("/in/.nf-1").unwrap());
        world.memory.put(&spec.draft.temporary, stored, "20260101000000");
        let end = world.publish(Publish::new(spec)).unwrap();
        assert!(matches!(end, End::Failed(DeliveryError::Mismatch(_))), "{end:?}");
        assert_eq!((world.standing(), world.records.len()), (None, 0));
    }
}

#[test]
fn no_strangers_file_is_replaced_unless_the_job_says_so() {
    use Before::{Nothing, OurOldVersion, Stranger};
    for policy in [HASHED, READ, SIZED] {
        check(policy, Stranger, &[], "Occupied { size: 11, known: false }");
    }
    let at = "Size(\"/in/f";
    check(HASHED, Nothing, &[(at, Answer::Unsupported, Done::NotAtAll)], "CannotLook");
    check(HASHED, Stranger, &[(at, refused("SIZE", 451), Done::NotAtAll)], "NotNow");
    check(HASHED, Stranger, &[(at, refused("SIZE", 501), Done::NotAtAll)], "CannotLook");
    // A server that tells no size of what was just stored does not mean by 550 that nothing is there.
    check(HASHED, Stranger, &[("Size", absent("SIZE"), Done::NotAtAll)], "CannotLook");
    // Somebody changed what we delivered: the same size, but another time or one that is kept back.
    let at = "Modified(\"/in/f";
    let other = Answer::Modified("20200101000001".into());
    check(HASHED, OurOldVersion, &[(at, other, Done::NotAtAll)], "Occupied { size: 11, known: true }");
    check(HASHED, OurOldVersion, &[(at, refused("MDTM", 451), Done::NotAtAll)], "Occupied");

    let mut replaced = world(REPLACES, Stranger, &[]);
    assert_eq!(replaced.run().unwrap(), End::Delivered);
    assert_eq!(replaced.standing(), Some(NEW));
}

#[test]
fn a_rename_that_failed_is_taken_back() {
    use Before::{Nothing, OurOldVersion};
    let from = |answer| [("RenameFrom", answer, Done::NotAtAll)];
    let to = |answer| [("RenameTo", answer, Done::NotAtAll)];
    let refused_over =
        "RenameRefused { refusal: Refusal { verb: \"RNTO\", code: 553, reply: \"553 no\" }, target: Taken";
    check(HASHED, Nothing, &to(absent("RNTO")), "RenameRefused { refusal: Refusal { verb: \"RNTO\"");
    check(HASHED, Nothing, &to(refused("RNTO", 553)), "RenameRefused");
    check(HASHED, OurOldVersion, &to(refused("RNTO", 553)), refused_over);
    // What is refused for now says nothing of renames over files.
    let not_now =
        "RenameRefused { refusal: Refusal { verb: \"RNTO\", code: 450, reply: \"450 no\" }, target: Free";
    check(HASHED, OurOldVersion, &to(refused("RNTO", 450)), not_now);
    check(HASHED, Nothing, &to(Answer::Unsupported), "NoRename");
    check(HASHED, Nothing, &to(Answer::Done), "NotRenamed");
    let left = "Size(\"/in/.";
    let gone = ["RenameFrom", "Stands"].map(|at| (at, absent("RNFR"), Done::NotAtAll));
    let [from_gone, stands_gone] = gone;
    let size_gone = (left, absent("SIZE"), Done::NotAtAll);
    check(REPLACES, Nothing, &[from_gone, stands_gone, size_gone], "Vanished");
    // Without SIZE the temporary name is asked for by RNFR.
    let no_size = (left, Answer::Unsupported, Done::NotAtAll);
    check(REPLACES, Nothing, &[("RenameTo", Answer::Done, Done::NotAtAll), no_size.clone()], "NotRenamed");
    let absent_size = (left, absent("SIZE"), Done::NotAtAll);
    check(REPLACES, Nothing, &[("RenameTo", Answer::Done, Done::NotAtAll), absent_size], "NotRenamed");
    let silent = ("Stands", refused("RNFR", 451), Done::NotAtAll);
    let mut in_doubt = world(REPLACES, Nothing, &[silent, no_size.clone()]);
    assert_eq!(in_doubt.run().unwrap(), End::Failed(DeliveryError::InDoubt));
    let mut without_size = world(REPLACES, Nothing, &[no_size]);
    assert_eq!(without_size.run().unwrap(), End::Delivered);
    check(HASHED, Nothing, &from(refused("RNFR", 553)), "RenameRefused { refusal: Refusal { verb: \"RNFR\"");
    check(HASHED, Nothing, &from(Answer::Unsupported), "NoRename");
    // 550 also means that it is not allowed: SIZE shows that the file still stands.
    let of_rnfr = "RenameRefused { refusal: Refusal { verb: \"RNFR\"";
    check(HASHED, Nothing, &from(absent("RNFR")), of_rnfr);
    check(Policy { mode: Mode::Drop, ..HASHED }, Nothing, &from(absent("RNFR")), of_rnfr);
}

/// 550 to `SIZE` does not mean that the file is lost: it is asked for by `RNFR`.
#[test]
fn a_file_that_has_no_size_after_the_rename_is_not_taken_for_lost() {
    let no_size = ("Size(\"/in/f", absent("SIZE"), Done::NotAtAll);
    let mut world = world(HASHED, Before::Nothing, &[no_size]);
    assert_eq!(world.run().unwrap(), End::Failed(DeliveryError::InDoubt));
    assert_eq!(world.run().unwrap(), End::Delivered);
    assert_eq!(world.memory.published.len(), 1);
}

/// Where renames are not allowed, an intent whose file still stands is no delivery that was taken.
#[test]
fn a_file_that_may_not_be_renamed_is_not_presumed() {
    // Such a server does not tell what stands there, so that only `replace` goes on.
    let policy = Policy { mode: Mode::Drop, overwrite: Overwrite::Replace, ..HASHED };
    let silent = ("Size(\"/in/.", Answer::Unsupported, Done::NotAtAll);
    let unsure = ("Stands", refused("RNFR", 451), Done::NotAtAll);
    let mut world =
        world(policy, Before::Nothing, &[("RenameTo", refused("RNTO", 451), Done::NotAtAll), silent, unsure]);
    assert_eq!(world.run().unwrap(), End::Failed(DeliveryError::InDoubt));
    world.memory.faults = vec![
        Fault { at: "Stands", answer: absent("RNFR"), done: Done::NotAtAll },
        Fault { at: "RenameFrom", answer: absent("RNFR"), done: Done::NotAtAll },
        Fault { at: "RenameTo", answer: refused("RNTO", 503), done: Done::NotAtAll },
    ];
    let end = world.run().unwrap();
    assert!(matches!(end, End::Failed(DeliveryError::RenameRefused { .. })), "{end:?}");
    assert!(!world.presumed());
    world.memory.faults.clear();
    assert_eq!(world.run().unwrap(), End::Delivered);
}

/// A rename that happened, whatever was answered, is found out and recorded by the next attempt.
#[test]
fn a_rename_that_was_refused_and_yet_happened_is_settled() {
    for answer in [absent("RNTO"), refused("RNTO", 451), Answer::Unsupported] {
        for mode in [Mode::Mirror, Mode::Drop] {
            let policy = Policy { mode, ..HASHED };
            let mut world = world(policy, Before::Nothing, &[("RenameTo", answer.clone(), Done::Really)]);
            assert_eq!(world.run().unwrap(), End::Failed(DeliveryError::InDoubt), "{answer:?}");
            assert!(world.intent().is_some());
            assert_eq!(world.run().unwrap(), End::Delivered, "{answer:?}");
            assert_eq!(world.memory.published.len(), 1);
        }
    }
}

#[test]
fn a_mirror_wants_to_see_the_file_and_a_drop_does_not() {
    for (mode, wanted) in [(Mode::Mirror, End::Failed(DeliveryError::Lost)), (Mode::Drop, End::Delivered)] {
        let mut world = World::new(Policy { mode, ..HASHED }, Before::Nothing, Consumer::TakesIt);
        assert_eq!(world.run().unwrap(), wanted, "{mode:?}");
    }
}

/// Times are a service, not a condition.
#[test]
fn what_a_server_cannot_tell_or_set_of_times_does_not_matter() {
    for answer in [Answer::Unsupported, absent("?"), refused("?", 501)] {
        for policy in [HASHED, READ, SIZED] {
            let faults = ["SetTime", "Modified"].map(|at| (at, answer.clone(), Done::NotAtAll));
            let mut world = world(policy, Before::Nothing, &faults);
            assert_eq!(world.run().unwrap(), End::Delivered, "{answer:?}");
        }
    }
    let mut old = World::new(HASHED, Before::Nothing, Consumer::LeavesIt);
    old.mtime = Timestamp::from_unix(-1, 0);
    assert_eq!(old.run().unwrap(), End::Delivered, "from before 1970");
}

/// `ProFTPD` hashes the disk only after the file's time has changed.
#[test]
fn the_time_is_changed_before_the_hash_and_set_right_after_it() {
    let world = World::new(HASHED, Before::Nothing, Consumer::LeavesIt);
    let batch = Publish::new(world.spec(RemotePath::new("/in/.nf-1").unwrap())).first_batch();
    let shown: Vec<_> = batch.iter().map(|request| format!("{request:?}")).collect();
    assert!(shown[0].contains("SetTime") && shown[0].contains(PASSING_TIME), "{shown:#?}");
    assert!(shown[1].contains("Hash"), "{shown:#?}");
    assert!(shown[2].contains("SetTime") && shown[2].contains("20231114221320"), "{shown:#?}");
}

/// A server that carries a rename out late, asked for on a connection that was lost since: after
/// the next session has seen the temporary file, and before it renames that itself.
#[test]
fn a_rename_that_comes_late_is_settled_and_not_done_twice() {
    for policy in [HASHED, READ, SIZED] {
        for late in ["proof", "rename"] {
            let policy = Policy { mode: Mode::Drop, ..policy };
            let mut world = World::new(policy, Before::Nothing, Consumer::TakesIt);
            world.attempts = 1;
            let temporary = RemotePath::new("/in/.nf-1").unwrap();
            world.memory.put(&temporary, NEW, "20260101000000");
            let spec = world.spec(temporary.clone());
            let mut first = Publish::new(spec.clone());
            let mut step = first.start();
            while first.intent().is_none() {
                let input = world.carry_out(step).unwrap();
                step = first.next(input);
            }
            let _recorded = world.carry_out(step).unwrap();
            let mut again = Publish::again(spec, world.intent().unwrap());
            let mut step = again.start();
            if late == "rename" {
                while !matches!(step, Step::Commit(_)) {
                    let input = world.carry_out(step).unwrap();
                    step = again.next(input);
                }
            }
            let _late = [Request::RenameFrom(temporary), Request::RenameTo(destination())]
                .map(|request| world.memory.perform(&request));
            let ended = loop {
                step = match step {
                    Step::Failed(error) => break Some(error),
                    // The session's error, where what is read back is gone: the intent stays.
                    step => match world.carry_out(step) {
                        Ok(input) => again.next(input),
                        Err(Crashed) => break None,
                    },
                };
            };
            assert!(matches!(ended, None | Some(DeliveryError::InDoubt)), "{policy:?} {late}: {ended:?}");
            assert!(again.intent().is_some(), "{policy:?} {late}");
            assert_eq!(world.run().unwrap(), End::Presumed, "{policy:?} {late}");
            assert_eq!(world.memory.published.len(), 1, "{policy:?} {late}");
        }
    }
}

#[test]
fn a_rename_that_comes_late_while_ours_is_refused_stays_in_doubt() {
    let policy = Policy { mode: Mode::Drop, ..HASHED };
    let mut world = World::new(policy, Before::Nothing, Consumer::TakesIt);
    world.attempts = 1;
    let temporary = RemotePath::new("/in/.nf-1").unwrap();
    world.memory.put(&temporary, NEW, "20260101000000");
    let spec = world.spec(temporary.clone());
    let mut first = Publish::new(spec.clone());
    let mut step = first.start();
    while first.intent().is_none() {
        let input = world.carry_out(step).unwrap();
        step = first.next(input);
    }
    let _recorded = world.carry_out(step).unwrap();
    let mut again = Publish::again(spec, world.intent().unwrap());
    let mut step = again.start();
    while !matches!(step, Step::Commit(_)) {
        let input = world.carry_out(step).unwrap();
        step = again.next(input);
    }
    let refusal = |verb, code: u16| Refusal { verb, code, reply: format!("{code} busy") };
    let Step::Perform(_) = again.next(Input::Committed) else { panic!() };
    let step = again.next(Input::Answers(vec![
        Answer::Refused(refusal("RNFR", 450)),
        Answer::Refused(refusal("RNTO", 503)),
        Answer::Absent(refusal("SIZE", 550)),
    ]));
    assert!(matches!(step, Step::Failed(DeliveryError::InDoubt)), "{step:?}");
}
