//! **Nightferry** pushes folders to FTPS servers and proves that they arrived.
//!
//! This page is the architecture document: what the parts are, what each must not know, and the
//! way that one file takes through them. The README says how to use the program.
//!
//! # What holds, whatever happens
//!
//! - **Delivered means proved.** A file counts as delivered only when the bytes whose SHA-256 is
//!   recorded stand on the server under the final name, proved by a recorded method
//!   ([`domain::compare`] alone makes a [`domain::Verified`]). A server's `226` proves nothing.
//! - **Nobody sees half a file.** A file is stored under a temporary name, proved there, and then
//!   renamed.
//! - **Effectively once.** The intent to rename is durable before the rename; what a crash or a
//!   lost reply leaves in doubt is settled before anything else.
//! - **Nothing in clear.** `AUTH TLS` is all that is ever sent outside TLS, on either connection.
//! - **No destruction.** What Nightferry did not deliver is not replaced, unless the job says so.
//! - **Everything ends.** Every wait has a deadline, every queue, line and listing a limit, each
//!   with a name and a reason.
//!
//! # Map
//!
//! Dependencies point down only; `tests/layering.rs` holds the crate to it.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`domain`] | values and pure rules: paths, digests, jobs, proofs, records, events, reports | – |
//! | [`plain`] | errors as people read them; every module may use it | – |
//! | [`clock`] | the seam to the wall clock and to random numbers | `domain` |
//! | [`ftps`] | the protocol client: a sans-IO core under control, data and TLS. Knows no job and no state | – |
//! | [`config`] | YAML to domain; secrets by reference | `domain` |
//! | [`state`] | ledger and manifest behind one writer and one lock. Knows no network | `domain`, `clock` |
//! | [`source`] | walk, filter, read and hash; place restored files. Follows no link out of the source | `domain` |
//! | [`plan`] | merge of scan and manifest to actions; pure and synchronous | `domain` |
//! | [`remote`] | servers as jobs see them: sessions under a limit, requests and answers, what was learned | `domain`, `clock`, `ftps` |
//! | [`delivery`] | one run of one job: settle, plan, deliver, report. What an error means is decided here | `domain`, `clock`, `remote`, `state`, `source`, `plan` |
//! | [`audit`] | the ways back: verify, adopt, restore. Changes nothing on a server | `domain`, `clock`, `remote`, `state`, `source`, `plan` |
//! | [`diagnose`] | what `doctor` and `trust` find out about a server, layer by layer | `domain`, `clock`, `remote`, `ftps` |
//! | [`trigger`] | why a run starts: schedule, watch, retry, what waits while a job is busy. Cannot transfer | `domain`, `clock` |
//! | [`observe`] | pure folds over events: lines, progress, summary, JSON, metrics; what is wrong and is told ([`observe::Alerts`]) | `domain` |
//! | [`outbound`] | mail, webhooks, commands, pings: a retried, bounded queue for each receiver | `domain`, `clock`, `observe` |
//! | [`agent`] | owns time and tasks: starts runs, answers on its socket and its status page, lives as a service | all above but `diagnose` |
//! | [`cli`] | the only place that prints; one file a verb | all |
//!
//! Only `state` names sled, only `config` the YAML crates, only `ftps::tls` makes a TLS
//! configuration.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | [Server](domain::Server) | an FTPS endpoint and how to trust it |
//! | [Job](domain::Job) | a source folder, a server, a destination folder, a policy |
//! | [Mode](domain::Mode) | `mirror`: absence on the server is damage; `drop`: a consumer takes files away, absence is success |
//! | [Target](domain::Target) | source, host, port, user and destination: what a manifest is about |
//! | [Trigger](domain::Trigger) | why a run starts |
//! | Agent | the process of `nightferry run`, which starts runs by itself and can be [asked](agent::Request) |
//! | Due | of a scheduled time: come, and no run has dealt with it |
//! | [Missed](domain::Missed) | scheduled times at which nothing could run; a *catch-up* makes up for them with one run |
//! | [Scope](domain::Scope) | which part of a source a run is about: all, or the folders that changed |
//! | [Dirty](trigger::Dirty) | of a scope: changed, or may have |
//! | At rest | of a file: left alone for so long that it counts as written to its end ([`Rest`](domain::Rest), `settle` in the configuration); until then it is *waiting* |
//! | [Ready marker](domain::ReadyMarker) | a file whose presence says that the one beside it is written to its end |
//! | [Window](domain::Window) | hours in which transfers may run |
//! | [Run](domain::RunId) | one execution of a job |
//! | Held | of a run: asked for, and not begun yet, because these are not the job's hours or nothing can be recorded |
//! | [Scan](source::Scan) | the sorted stream of source files |
//! | Ledger | the append-only, hash-chained file of [Record](domain::Record)s of what happened: the truth |
//! | [Manifest](state::Manifest) | what is known of each path of a target: the ledger's index |
//! | [Entry](domain::Entry) | what the manifest knows of one path |
//! | [Plan](plan::plan) | the sorted stream of [Action](plan::Action)s, each with a [Reason](plan::Reason) |
//! | Delivery | stage, prove, publish, record |
//! | Temporary name | where a file's bytes stand until they are proved: beside the final name, hidden, with the [agent's](domain::AgentId) and the [target's id](domain::TargetId) in it |
//! | [Twins](domain::Twins) | names in one source folder that a server may take for one: they differ only in case or in Unicode composition |
//! | Backlog | the files of a run that wait for a worker: a bounded look ahead |
//! | [Share](remote::Share) | a run's part in the sessions with a server |
//! | [Permit](remote::Permit) | leave to have one session |
//! | Staging | a folder in which temporary names may stand, recorded before the first goes there |
//! | [Staged file](domain::StagedFile) | a large file on its way to a temporary name, recorded so that its upload can be resumed |
//! | Intent | the durable record ([Publishing](domain::Publishing)) that a proved file is about to get its final name |
//! | [Evidence](domain::Evidence) | what the server showed of what it stored |
//! | [Verified](domain::Verified) | the proof that came of it |
//! | In doubt | an intent whose end is not recorded; *settling* finds out what became of it; the verb `settle` is a person's [Decision](domain::Decision) about what is presumed |
//! | [Storing](domain::Storing) | the intent of a job with `publish: direct`: a file is about to be stored under its final name |
//! | [Displaced](domain::Displaced) | of an old version: under a temporary name, because the server does not rename over files |
//! | [Sidecar](domain::Sidecar) | a small file published beside a delivered one: `X.sha256`, `X.done` |
//! | [Beside](domain::Beside) | the sidecars that stand beside a delivered file, as far as is known: `verify` looks for them |
//! | [Owed](domain::Owed) | of a sidecar: to be published, since its file is delivered, or since `verify` did not find it as it stood |
//! | [Skipped file](domain::SkippedFile) | what is found in a source and is not to be sent: a link, pipe, socket or device, or gone before it was read; told with its reason |
//! | [Parked](domain::Counts::is_parked) | of a job: files wait until the server has room; smaller ones still go, and those are tried again within an hour |
//! | Waived | of owed sidecars: not published, since their file is gone or they are not wanted any more |
//! | Withdrawn | of an intent: found not to have happened; of a staged file: given up |
//! | Presumed | most likely delivered and taken by the consumer; never counted as delivered |
//! | Attested | presumed, and a person said that the receiver has it: neither proved nor sent again |
//! | [Lost](domain::Decision::Lost) | presumed, and a person said that the receiver has it not and that its source is gone: given up |
//! | Round | a verify that the agent starts by itself, as `verify_every` asks |
//! | Verify | holding the server against the manifest; *missing* and *changed* files are to be sent again |
//! | Adopt | making known what stands on the server already, proved equal to the source; found there, not sent |
//! | Restore | bringing back what was delivered, each file *placed* only once its SHA-256 is proved |
//! | [Difference](domain::Difference) | a file that does not stand on the server as it should |
//! | Disposition | what an error means for the file, the session and the run |
//! | [Profile](remote::Profile) | what has been learned of a server |
//! | [Distrust](ftps::Distrust) | why a server's certificate is refused, with what stands in it and the remedy |
//! | [Check](diagnose::Check) | one thing that `doctor` looks at on a server |
//! | [Finding](diagnose::Finding) | what came of a check, with the remedy |
//! | [News](observe::News) | something to tell people: a run ended, something broke, it is well again |
//! | [Alert](observe::Alert) | a trouble that is not over, under a stable key: told when it begins and when it is over, folded between |
//! | [Occasion](domain::Occasion) | what a receiver asks to hear of: `start`, `success`, `failure`, `recovery`, `guard`, `late` |
//! | Receiver | who is told: an entry of `notify` ([`Notify`](domain::Notify)) |
//! | [Late](domain::Late) | of a job: something expected of it has not come, though nothing need have failed |
//! | Ahead | of a worker's next file: taken, opened or begun before the present one is through |
//! | Overlap | of a transfer: begun or ended in one write with other commands |
//! | Follower | whoever asked the agent for a run, and is told of it |
//! | [Event](domain::Event) | something that happened, for those who watch; not kept |
//!
//! # The way of one file
//!
//! 1. `delivery::run` records the run, opens the source folder once ([`source::SourceRoot`]), and
//!    settles and sweeps what earlier runs left, but for the parts of large files that can be gone
//!    on with (`delivery::recover`). If there is nothing to do,
//!    no connection is ever opened.
//! 2. A blocking thread walks the source in sorted order and merges that with the manifest
//!    ([`plan::plan`]): same size, times and inode mean unchanged, and nothing is read. Same
//!    size and other times, or a file that changed shortly before it was last looked at, mean
//!    that it is hashed before anything is sent.
//! 3. Workers take files off a bounded backlog, large ones first (`delivery::backlog`). Each owns one
//!    session ([`ftps::Session`]) with a store of TLS sessions of its own, which it opens where the
//!    backlog is worth it (`delivery::door`), under its server's limit ([`remote::Remote`]), and gives
//!    back between files where another job has fewer.
//! 4. The folder is made, its staging is made durable, and the file goes through SHA-256 to a
//!    fresh temporary name, from one open descriptor (`delivery::pump`). A file that changed
//!    meanwhile is discarded and tried again. Of a large file the temporary name is recorded, so
//!    that an interrupted upload goes on where it stopped (`delivery::resume`): the bytes before
//!    are read and hashed again, the others are sent behind them (`REST`, `STOR`), and the proof
//!    is of the whole. Where a server or a changed file forbids it, the upload starts again.
//! 5. **Proof**, the strongest the server offers: its own SHA-256, else reading it back; the size
//!    only where the job says so. In the same write goes a look at what stands under the final
//!    name; what Nightferry did not deliver last is left alone, unless the job says `replace`. A
//!    server that tells no size of the temporary file either is not believed that nothing is there.
//! 6. The intent is made durable, then `RNFR`, `RNTO`, and a look whether the temporary name is
//!    gone. On a server that renames over no file, what stands there is displaced first: to a
//!    temporary name, with an intent of its own, until the delivery is durable.
//!    `delivery::publish` is this as a pure state machine: answers and acknowledgements go
//!    in, requests and records come out, so that every crash point is a row of a table.
//!    A job with `publish: direct` has neither temporary name nor rename: `delivery::direct` looks,
//!    makes its intent durable ([`domain::Storing`]), stores the file under its final name, and
//!    proves it there; in doubt it compares, and stores it once more.
//!    Meanwhile the next small file is taken and opened (`delivery::ahead`): its folders and its port
//!    ride in one write with the proof, its `STOR` in one write with the rename, so that a file takes
//!    four round trips. It gets its own proof, intent and rename all the same.
//! 7. The delivery is made durable ([`domain::Delivered`]): proof, TLS version, cipher suite,
//!    certificate, peer. Only now does it count.
//!    Where the job wants [sidecars](domain::Sidecar), the delivery owes them from then on; they are published
//!    the same way, `done` last, and those of an older version went before it was replaced
//!    (`delivery::sidecars`). What the job asks for after a delivery comes after them.
//! 8. **In doubt** after a crash, a lost reply or a lost connection: `delivery::settle`, the other
//!    pure machine, looks at the temporary name. It stands: proved afresh and published. It is
//!    gone and the final name holds its bytes: delivered. It is gone, and so is the rest: a
//!    mirror sends again; in a drop it is presumed.
//!
//! # State
//!
//! The ledger is the truth, the manifest its index. One thread writes both: a group of records is
//! written, synced to the disk and acknowledged; the manifest gets some hundred records at a time, and
//! always before it is read. sled 0.34
//! does not sync what it flushes, so the manifest carries no durability: what it lacks is replayed
//! from the ledger on opening, and a damaged one is rebuilt. See [`state`].

pub mod agent;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod diagnose;
pub mod domain;
pub mod ftps;
pub mod observe;
pub mod outbound;
pub mod plain;
pub mod plan;
pub mod remote;
pub mod source;
pub mod state;
pub mod trigger;
