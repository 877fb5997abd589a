//! What happens during a run, for those who watch. Events are not kept; records are.

use super::{
    AuditKind, AuditReport, Difference, Failure, JobName, ProofMethod, PublishWay, RelPath, Removal, RunId,
    RunReport, ServerName, SessionFacts, Triggers, WaitCause,
};

/// Something that happened during a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The run.
        run: RunId,
        /// Its job.
        job: JobName,
        /// Why it began.
        triggers: Triggers,
    },
    /// A run began that delivers nothing.
    AuditStarted {
        /// The run.
        run: RunId,
        /// Its job.
        job: JobName,
        /// What it does.
        audit: AuditKind,
    },
    /// The job's source, server or destination is another than in its last run: what was
    /// delivered there is not taken into account.
    TargetChanged {
        /// What the last run was about.
        before: String,
        /// What this run is about.
        now: String,
    },
    /// The plan has found one more file to send or to read.
    Planned {
        /// Its bytes.
        bytes: u64,
    },
    /// All files are known.
    PlanComplete {
        /// Files with the same facts as when they were delivered.
        unchanged: u64,
    },
    /// A session is open.
    SessionOpened {
        /// With which server.
        server: ServerName,
        /// How.
        facts: SessionFacts,
    },
    /// A guard kept the run from deleting remote files, and it ends; a person has to look.
    GuardTripped {
        /// Why, and what to do about it.
        cause: String,
    },
    /// Something about the server that Nightferry works around, once per run.
    Notice {
        /// A whole sentence.
        text: String,
    },
    /// Something happened to a file.
    File {
        /// The file.
        path: RelPath,
        /// What happened to it.
        progress: FileProgress,
    },
    /// Something that cannot be sent was met.
    Skipped {
        /// Its name as shown to people.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file that has no path which can be sent was met.
    Refused {
        /// Its name as shown to people.
        name: String,
        /// Why.
        failure: Failure,
    },
    /// The run ended.
    RunFinished {
        /// What came of it.
        report: Box<RunReport>,
    },
    /// A run that delivers nothing ended.
    AuditFinished {
        /// What came of it.
        report: Box<AuditReport>,
    },
}

/// What happened to a file.
#[derive(Clone, Debug)]
pub enum FileProgress {
    /// An attempt to send it begins.
    Started {
        /// Its bytes.
        size: u64,
    },
    /// The attempt goes on where an earlier one was interrupted: the bytes before stand on the
    /// server, and are not sent again.
    Resumed {
        /// The bytes before.
        at: u64,
    },
    /// So many more of its bytes were handed to the network.
    Bytes {
        /// The number of bytes.
        count: u64,
    },
    /// An attempt failed and another one will follow; its bytes do not count.
    Retrying {
        /// Why.
        failure: Failure,
        /// Which attempt comes next, from 2.
        attempt: u32,
    },
    /// It stands under its final name, proved.
    Delivered {
        /// Its bytes.
        size: u64,
        /// How it was proved.
        method: ProofMethod,
        /// How it came under its name.
        publish: PublishWay,
    },
    /// An earlier run had delivered it, but could not record it.
    Settled,
    /// It was read and holds what was delivered.
    Confirmed,
    /// Most likely delivered and taken by the consumer.
    Presumed,
    /// It was presumed, and a person said that the receiver has it.
    Attested,
    /// It is not sent yet.
    Waiting {
        /// Milliseconds since its last change.
        age_ms: u64,
        /// What it waits for.
        cause: WaitCause,
    },
    /// Its source was deleted after the delivery, or moved.
    Retired {
        /// Where it was moved to; deleted where there is none.
        moved_to: Option<String>,
    },
    /// Its source should have been deleted or moved after the delivery, and was not.
    Retained {
        /// Why.
        failure: Failure,
    },
    /// Its source is gone, and the remote file is no concern any more.
    Removed {
        /// What became of it.
        removal: Removal,
    },
    /// Its source is gone, and the remote file should have been deleted or moved to the trash.
    NotRemoved {
        /// Why it was not.
        failure: Failure,
    },
    /// It stands on the server as it should, or was brought back.
    Proved {
        /// Its bytes.
        size: u64,
        /// How it was proved.
        method: ProofMethod,
    },
    /// It does not stand on the server as it should.
    Differs {
        /// How it differs.
        difference: Difference,
    },
    /// It is there already, with the same content.
    Kept,
    /// It is not on the server, as it should be in a drop.
    Taken,
    /// It was not delivered, verified, adopted or restored.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Where events go. Called from many tasks. Must not fail, and may hold its caller up only to let
/// whoever watches keep up.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> EventSink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}
