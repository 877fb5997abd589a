use std::fs;
use std::time::Duration;

use super::*;
use crate::domain::{Digest, RunId};

/// Only reading tells two contents of one length apart that came at the same tick of the clock.
#[test]
fn a_file_whose_facts_are_young_is_read_again_before_it_goes() {
    for (after, content, goes) in [
        (Duration::ZERO, "other", false),
        (Duration::ZERO, "first", true),
        // A change would show in its facts, and has not.
        (Duration::from_mins(1), "other", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = SourceRoot::open(folder.path()).unwrap();
        let path = RelPath::new("a.csv").unwrap();
        fs::write(folder.path().join("a.csv"), content).unwrap();
        let stat = root.open_file(&path).unwrap().stat();
        let private = ".nf-00000000-00000000-0000000000000000".to_owned();
        let digest = Digest::of(b"first");
        let retiring = Retiring { run: RunId(1), path: path.clone(), private: private.clone(), stat, digest };
        let observed_at = stat.mtime.max(stat.ctime).plus(after);
        let set = set_aside(&root, &retiring, observed_at);
        match (goes, set) {
            (true, Ok(Some(_))) => assert!(folder.path().join(&private).exists()),
            (false, Err(RetireError::Changed { .. })) => assert!(folder.path().join("a.csv").exists()),
            (_, set) => panic!("{after:?} {content}: {set:?}"),
        }
    }
}
