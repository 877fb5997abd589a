//! Whether remote files may be deleted because their sources are gone.
//!
//! An unmounted disk looks like an empty folder, and a ransomed one like another tree. So a
//! deletion needs a [`Permit`], which only [`check`] makes.

use super::CompleteScan;
use crate::domain::{Deletes, Digest, Mount, RelPath, RunId, SourceSeen};

/// What is known when the question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the scan of this run saw.
    pub now: SourceSeen,
    /// What the last complete scan saw.
    pub before: Option<SourceSeen>,
    /// Files that were delivered and that the job's patterns admit.
    pub known: u64,
    /// Those of them that the scan did not find.
    pub missing: Missing,
    /// A file system below the source that was there when files were delivered from it, is not any more,
    /// and from which some of them are missing.
    pub gone_mount: Option<&'a Mount>,
    /// Whether the marker stands in the source; `None` where the job names none.
    pub marker: Option<Marker>,
    /// What a person approved.
    pub approved: Approval,
}

/// What a person approved for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Nothing: the limits hold.
    None,
    /// These files, and no others.
    Of(Missing),
    /// What a run would have deleted of which that is not known, or not any more.
    Unknown(RunId),
}

/// The files that a scan did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub files: u64,
    /// The SHA-256 of their paths, each with a line end, in their order: an approval is good for
    /// these and no others.
    pub paths: Digest,
}

/// Whether a marker stands in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It does.
    Stands,
    /// It does not, or is no regular file.
    Missing,
}

/// The leave to delete the files that a scan did not find, and no others. Each one is looked for
/// once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit(Missing);

impl Permit {
    /// The files that it is for.
    pub const fn missing(&self) -> Missing {
        self.0
    }
}

/// Why nothing is deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tripped {
    /// The marker is not there.
    #[error(
        "the marker file of `delete.marker` does not stand in the source: something else may be mounted there"
    )]
    NoMarker,
    /// Other files are gone than those that a person approved.
    #[error(
        "the approval does not fit: it is for {approved} files, and now {missing} of {known} delivered files are \
         gone from the source, not the same ones"
    )]
    NotAsApproved {
        /// Files that were approved.
        approved: u64,
        /// Files that are gone.
        missing: u64,
        /// Files that were delivered.
        known: u64,
    },
    /// The approved run is not the last one that was stopped.
    #[error(
        "the approval does not fit: run {run} is not the last one whose deletions were stopped; now {missing} of \
         {known} delivered files are gone from the source"
    )]
    NotTheLast {
        /// The run that was approved.
        run: RunId,
        /// Files that are gone.
        missing: u64,
        /// Files that were delivered.
        known: u64,
    },
    /// There is not one file in the source.
    #[error("the source is empty, and {known} files were delivered from it: it may not be mounted")]
    Empty {
        /// Files that were delivered.
        known: u64,
    },
    /// The source folder stands on another file system.
    #[error(
        "the source stands on another file system than in the last run: it may not be mounted, or another disk is"
    )]
    OtherMount,
    /// A file system below the source is not mounted any more.
    #[error(
        "what was mounted on `{folder}` in the source is not there any more, and files were delivered from it: it may \
         have to be mounted again"
    )]
    MountGone {
        /// The folder below the source.
        folder: RelPath,
    },
    /// More than `max_files`.
    #[error(
        "{missing} delivered files are gone from the source, more than `delete.max_files: {limit}` allows"
    )]
    TooManyFiles {
        /// Files that are gone.
        missing: u64,
        /// The limit.
        limit: u64,
    },
    /// More than `max_percent`.
    #[error(
        "{missing} of {known} delivered files are gone from the source, more than `delete.max_percent: {limit}` \
         allows"
    )]
    TooLargeAShare {
        /// Files that are gone.
        missing: u64,
        /// Files that were delivered.
        known: u64,
        /// The limit in percent.
        limit: u8,
    },
}

impl Tripped {
    /// Whether a person's approval helps. What may be a missing disk must be mended, not approved.
    pub const fn can_be_approved(&self) -> bool {
        match self {
            Self::TooManyFiles { .. }
            | Self::TooLargeAShare { .. }
            | Self::NotAsApproved { .. }
            | Self::NotTheLast { .. }
            | Self::Empty { .. }
            | Self::MountGone { .. }
            | Self::OtherMount => true,
            Self::NoMarker => false,
        }
    }

    /// What to do, besides mending the source. `run` is the one that was stopped.
    pub fn remedy(&self, run: RunId) -> String {
        if self.can_be_approved() {
            format!("if they are really meant to go: `nightferry sync --approve-deletes {run}`")
        } else {
            "put the right disk or the marker back".to_owned()
        }
    }
}

/// Whether the files that a complete scan did not find may be deleted on the server.
pub fn check(_: CompleteScan, policy: &Deletes, facts: &Facts<'_>) -> Result<Permit, Tripped> {
    if facts.marker == Some(Marker::Missing) {
        return Err(Tripped::NoMarker);
    }
    let Facts { now, before, known, missing, .. } = *facts;
    match facts.approved {
        Approval::None => {}
        Approval::Of(approved) if approved == missing => return Ok(Permit(missing)),
        // Also within the limits: a person meant other files.
        Approval::Of(approved) => {
            let (approved, missing) = (approved.files, missing.files);
            return Err(Tripped::NotAsApproved { approved, missing, known });
        }
        Approval::Unknown(run) => {
            return Err(Tripped::NotTheLast { run, missing: missing.files, known });
        }
    }
    if now.files == 0 && known > 0 {
        return Err(Tripped::Empty { known });
    }
    if before.is_some_and(|before| !before.same_place(&now)) {
        return Err(Tripped::OtherMount);
    }
    if let Some(mount) = facts.gone_mount {
        return Err(Tripped::MountGone { folder: mount.folder.clone() });
    }
    if missing.files > policy.max_files {
        return Err(Tripped::TooManyFiles { missing: missing.files, limit: policy.max_files });
    }
    let limit = policy.max_percent;
    if u128::from(missing.files) * 100 > u128::from(known) * u128::from(limit) {
        return Err(Tripped::TooLargeAShare { missing: missing.files, known, limit });
    }
    Ok(Permit(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(files: u64) -> Missing {
        Missing { files, paths: Digest::of(&files.to_be_bytes()) }
    }

    fn facts(files: u64, known: u64) -> Facts<'static> {
        let seen = SourceSeen { device: 1, filesystem: 7, files: known - files };
        Facts {
            now: seen,
            before: Some(seen),
            known,
            missing: missing(files),
            gone_mount: None,
            marker: None,
            approved: Approval::None,
        }
    }

    fn ask(policy: &Deletes, facts: &Facts<'_>) -> Result<(), Tripped> {
        check(CompleteScan::new(), policy, facts).map(|_| ())
    }

    #[test]
    fn a_few_files_may_go_and_many_may_not() {
        let policy = Deletes { max_percent: 10, max_files: 50, ..Deletes::default() };
        assert_eq!(ask(&policy, &facts(10, 100)), Ok(()));
        assert_eq!(
            ask(&policy, &facts(11, 100)),
            Err(Tripped::TooLargeAShare { missing: 11, known: 100, limit: 10 })
        );
        assert_eq!(ask(&policy, &facts(51, 10_000)), Err(Tripped::TooManyFiles { missing: 51, limit: 50 }));
        assert!(ask(&policy, &facts(u64::MAX / 2, u64::MAX)).is_err());
        let all = Deletes { max_percent: 100, max_files: u64::MAX, ..Deletes::default() };
        assert_eq!(ask(&all, &facts(99, 100)), Ok(()));
        assert_eq!(
            ask(&all, &facts(100, 100)),
            Err(Tripped::Empty { known: 100 }),
            "whatever the limits are"
        );
    }

    #[test]
    fn another_disk_or_none_deletes_nothing() {
        let policy = Deletes::default();
        let mut elsewhere = facts(1, 100);
        elsewhere.now.device = 2;
        assert_eq!(ask(&policy, &elsewhere), Ok(()), "device numbers change with a restart");
        elsewhere.now.filesystem = 8;
        assert_eq!(ask(&policy, &elsewhere), Err(Tripped::OtherMount));
        elsewhere.now.device = 1;
        assert_eq!(ask(&policy, &elsewhere), Err(Tripped::OtherMount), "another disk in the same place");
        elsewhere.now.device = 2;
        let nameless = SourceSeen { filesystem: 0, ..elsewhere.now };
        let before = Some(SourceSeen { device: 1, ..nameless });
        assert_eq!(ask(&policy, &Facts { now: nameless, before, ..elsewhere }), Err(Tripped::OtherMount));
        let first = Facts { before: None, ..elsewhere };
        assert_eq!(ask(&policy, &first), Ok(()));
        let unmarked = Facts { marker: Some(Marker::Missing), ..facts(1, 100) };
        assert_eq!(ask(&policy, &unmarked), Err(Tripped::NoMarker));
        assert_eq!(ask(&policy, &Facts { marker: Some(Marker::Stands), ..unmarked }), Ok(()));
    }

    #[test]
    fn a_disk_that_is_gone_from_below_deletes_nothing_unless_approved() {
        let folder = RelPath::new("disk2").unwrap();
        let mount = Mount { folder: folder.clone(), device: 3, filesystem: 9 };
        let gone = Facts { gone_mount: Some(&mount), ..facts(1, 100) };
        assert_eq!(ask(&Deletes::default(), &gone), Err(Tripped::MountGone { folder }));
        let approved = Facts { approved: Approval::Of(missing(1)), ..gone };
        assert_eq!(ask(&Deletes::default(), &approved), Ok(()));
    }

    #[test]
    fn an_approval_is_for_the_same_files_only() {
        let policy = Deletes::default();
        let many = facts(60, 100);
        assert!(ask(&policy, &many).is_err());
        let approved = |approved| Facts { approved, ..many };
        assert_eq!(ask(&policy, &approved(Approval::Of(missing(60)))), Ok(()));
        let others = Missing { files: 60, paths: Digest::of(b"others") };
        for other in [missing(59), others] {
            let refused = ask(&policy, &approved(Approval::Of(other))).unwrap_err();
            let expected = Tripped::NotAsApproved { approved: other.files, missing: 60, known: 100 };
            assert_eq!(refused, expected);
        }
        let few = Facts { approved: Approval::Of(missing(59)), ..facts(1, 100) };
        assert!(ask(&policy, &few).is_err(), "within the limits, but a person meant others");
        let unknown = Facts { approved: Approval::Unknown(RunId(7)), ..facts(1, 100) };
        let expected = Tripped::NotTheLast { run: RunId(7), missing: 1, known: 100 };
        assert_eq!(ask(&policy, &unknown), Err(expected));
        let unmarked = Facts { approved: Approval::Of(missing(60)), marker: Some(Marker::Missing), ..many };
        assert_eq!(ask(&policy, &unmarked), Err(Tripped::NoMarker), "a missing disk cannot be approved");
    }
}
