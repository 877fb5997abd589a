//! Whether a server takes names as they are.
//!
//! Before the first file whose name it might mix up with another's or store under another, a run
//! stores an empty temporary file with such a name and looks for it: once a run at most, and never
//! again once the server was seen to keep names.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

use super::attempt::{Broken, Left, prepare_folder};
use super::failure::DeliveryError;
use super::shared::{Shared, Work};
use crate::domain::{RelPath, RemotePath, Twin, TwinKind};
use crate::remote::{Ability, Answer, Closing, Connection, FtpsError, Profile, Request, Trouble};

/// Letters beyond ASCII, of which one is looked for: the first that the server's charset has. It
/// comes decomposed as well, where its charset has that.
const LETTERS: [&str; 5] = ["é", "д", "中", "あ", "가"];

/// What the workers of a run know of the server's names.
#[derive(Debug)]
pub(super) struct Names {
    /// One asks, the others wait for the answer.
    turn: Semaphore,
    found: Mutex<Option<Found>>,
}

/// What a run found out.
#[derive(Clone, Debug, Default)]
struct Found {
    case: Ability,
    composition: Ability,
    altered: Option<Altered>,
}

/// What a server made of a name.
#[derive(Clone, Debug)]
struct Altered {
    sent: String,
    came_back: String,
    what: Vec<Trait>,
}

/// What a name may hold that some servers alter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trait {
    Capital,
    Space,
    BeyondAscii,
}

impl Trait {
    const ALL: [Self; 3] = [Self::Capital, Self::Space, Self::BeyondAscii];

    fn is_in(self, name: &str) -> bool {
        match self {
            Self::Capital => name.contains(|c: char| c.is_ascii_uppercase()),
            Self::Space => name.contains(' '),
            Self::BeyondAscii => !name.is_ascii(),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), found: Mutex::default() }
    }
}

impl Names {
    fn found(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, found: Found) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Sees to it that a file's name is one that the server keeps, and keeps apart from its twins'.
pub(super) async fn check_name(
    shared: &Shared,
    connection: &mut Connection,
    work: &Work,
) -> Result<(), Broken> {
    if is_in_question(shared, work) {
        find_out(shared, connection, &work.path).await?;
    }
    Ok(judge_name(shared, work)?)
}

/// Whether a file's name is known to be kept, without a question.
pub(super) fn is_sure_of_name(shared: &Shared, work: &Work) -> bool {
    let asked = !is_in_question(shared, work) || shared.names.found().is_some();
    asked && judge_name(shared, work).is_ok()
}

/// Whether the server has to be asked before a file can be sent, unless the run has asked it.
fn is_in_question(shared: &Shared, work: &Work) -> bool {
    let profile = shared.delivery.remote.profile();
    let unsure_of_twins = work.twins.iter().any(|twin| told_apart(&profile, twin) == Ability::Unknown);
    let unsure_of_name =
        profile.names != Ability::Yes && Trait::ALL.iter().any(|one| one.is_in(work.path.as_str()));
    unsure_of_twins || unsure_of_name
}

/// What is known of a file's name.
fn judge_name(shared: &Shared, work: &Work) -> Result<(), DeliveryError> {
    let found = shared.names.found().unwrap_or_default();
    let known = shared.delivery.remote.profile();
    let known = Profile {
        case: known.case.or(found.case),
        composition: known.composition.or(found.composition),
        ..known
    };
    for twin in work.twins.iter() {
        match told_apart(&known, twin) {
            Ability::Yes => {}
            Ability::No => return Err(DeliveryError::Twin { twin: twin.clone() }),
            Ability::Unknown => return Err(DeliveryError::TwinUnknown { twin: twin.clone() }),
        }
    }
    match found.altered {
        Some(Altered { sent, came_back, what }) if what.iter().any(|one| one.is_in(work.path.as_str())) => {
            Err(DeliveryError::NameAltered { sent, came_back })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a server tells two names apart.
fn told_apart(profile: &Profile, twin: &Twin) -> Ability {
    let (case, composition) = (profile.case, profile.composition);
    match (twin.difference, case, composition) {
        (TwinKind::Case, case, _) => case,
        (TwinKind::Composition, _, composition) => composition,
        (TwinKind::Both, Ability::Yes, _) | (TwinKind::Both, _, Ability::Yes) => Ability::Yes,
        (TwinKind::Both, Ability::No, Ability::No) => Ability::No,
        (TwinKind::Both, Ability::Unknown, _) | (TwinKind::Both, _, Ability::Unknown) => Ability::Unknown,
    }
}

impl Ability {
    /// What is known, or else what another says.
    fn or(self, other: Self) -> Self {
        if self == Self::Unknown { other } else { self }
    }
}

/// Asks the server, unless this run has.
async fn find_out(shared: &Shared, connection: &mut Connection, path: &RelPath) -> Result<(), Broken> {
    // The semaphore is never closed.
    let Ok(_turn) = shared.names.turn.acquire().await else { return Ok(()) };
    if shared.names.found().is_some() {
        return Ok(());
    }
    let Some(folder) = shared.destination(path).folder() else { return Ok(()) };
    prepare_folder(shared, connection, folder.clone(), None).await?;
    let Some(sample) = store_sample(shared, connection, &folder).await? else {
        // The server refuses to store such a name, or anything; the file itself will show.
        shared.names.set(Found::default());
        return Ok(());
    };
    let left = |error: FtpsError| Broken { error: error.into(), left: Left::Temporary(sample.path.clone()) };
    let case = asked_for(connection, &sample.path, &sample.other_case()).await.map_err(left)?;
    let composition = match sample.other_composition(shared) {
        Some(other) => asked_for(connection, &sample.path, &other).await.map_err(left)?,
        None => Ability::Unknown,
    };
    let (names, altered) = sample.look(shared, connection, &folder).await.map_err(left)?;
    let found = Found { case, composition, altered };
    shared.delivery.remote.learn(|profile| {
        profile.case = case.or(profile.case);
        profile.composition = composition.or(profile.composition);
        profile.names = names.or(profile.names);
    });
    sample.delete(shared, connection, &folder, found.altered.as_ref()).await.map_err(left)?;
    shared.names.set(found);
    Ok(())
}

/// Whether the server has something else under another name: what stands under `path` shows that
/// it answers such questions at all.
async fn asked_for(
    connection: &mut Connection,
    path: &RemotePath,
    other: &RemotePath,
) -> Result<Ability, FtpsError> {
    let sizes = [Request::Size(path.clone()), Request::Size(other.clone())];
    match connection.perform(&sizes, 0).await?.as_slice() {
        [Answer::Size(_), Answer::Size(_)] => return Ok(Ability::No),
        [Answer::Size(_), Answer::Absent(_)] => return Ok(Ability::Yes),
        _ => {}
    }
    let looks = [Request::Stands(path.clone()), Request::Stands(other.clone())];
    Ok(match connection.perform(&looks, 0).await?.as_slice() {
        [Answer::Done, Answer::Done] => Ability::No,
        [Answer::Done, Answer::Absent(_)] => Ability::Yes,
        _ => Ability::Unknown,
    })
}

/// Whether a listing showed a name exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exact {
    Seen,
    NotSeen,
}

/// A temporary file with a name that servers alter.
struct Sample {
    path: RemotePath,
    /// What no other name holds.
    mark: String,
    letter: &'static str,
}

/// Stores an empty file under a name with all that is looked for. `None` where the server refuses
/// it.
async fn store_sample(
    shared: &Shared,
    connection: &mut Connection,
    folder: &RemotePath,
) -> Result<Option<Sample>, Broken> {
    let remote = &shared.delivery.remote;
    let samples = LETTERS.into_iter().chain([""]).filter_map(|letter| sample(shared, folder, letter));
    let fine = |sample: &Sample| remote.check_path(&sample.path).is_ok();
    let mut samples = samples.filter(fine);
    // With the letter; and, where that is refused, with none.
    let with_letter = samples.next();
    let without = samples.last();
    for sample in with_letter.into_iter().chain(without) {
        let stored = match connection.upload(&sample.path).await {
            Ok(upload) => upload.finish(Closing::Awaited).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => return Ok(Some(sample)),
            Err(error) if error.trouble() == Trouble::Refused => {
                let deleted = connection.perform(&[Request::Delete(sample.path.clone())], 0).await;
                deleted
                    .map_err(|error| Broken { error: error.into(), left: Left::Temporary(sample.path) })?;
            }
            Err(error) => {
                return Err(Broken { error: error.into(), left: Left::Temporary(sample.path) });
            }
        }
    }
    Ok(None)
}

fn sample(shared: &Shared, folder: &RemotePath, letter: &'static str) -> Option<Sample> {
    let tail = format!(" Z{letter}");
    let random = format!("{:016x}", shared.delivery.clock.random());
    let mark = random.get(tail.len()..)?.to_owned();
    let path = folder.child(&format!("{}{mark}{tail}", shared.temporary_prefix())).ok()?;
    Some(Sample { path, mark, letter })
}

impl Sample {
    fn renamed(&self, name: &str) -> Option<RemotePath> {
        self.path.folder()?.child(name).ok()
    }

    /// The name with capital letters for small ones, and the other way round.
    fn other_case(&self) -> RemotePath {
        let swap =
            |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        let name: String = self.path.name().chars().map(swap).collect();
        self.renamed(&name).unwrap_or_else(|| self.path.clone())
    }

    /// The name with its letter decomposed. `None` where it cannot be sent.
    fn other_composition(&self, shared: &Shared) -> Option<RemotePath> {
        let name: String = self.path.name().nfd().collect();
        let other = self.renamed(&name).filter(|other| *other != self.path)?;
        shared.delivery.remote.check_path(&other).is_ok().then_some(other)
    }

    /// Looks how the server shows the name. Where it lets nobody see, it counts as kept. `MLST` would
    /// not do: a server may say there no more than what it was asked.
    async fn look(
        &self,
        shared: &Shared,
        connection: &mut Connection,
        folder: &RemotePath,
    ) -> Result<(Ability, Option<Altered>), FtpsError> {
        if shared.delivery.remote.profile().names == Ability::Yes {
            return Ok((Ability::Yes, None));
        }
        let (sent, mut shown, mut exact) = (self.path.name(), None, Exact::NotSeen);
        let listed = connection
            .entries(folder, &mut |entry| {
                if entry.name == sent {
                    exact = Exact::Seen;
                } else if entry.name.to_ascii_lowercase().contains(&self.mark) {
                    shown = Some(entry.name);
                }
            })
            .await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) if error.trouble() == Trouble::Refused => return Ok((Ability::Yes, None)),
            Err(error) => return Err(error),
        };
        Ok(match (exact, shown) {
            (Exact::NotSeen, Some(came_back)) => (Ability::No, Some(self.altered(sent, came_back))),
            // It may be the very one that could not be read.
            (Exact::NotSeen, None) if listed.unreadable > 0 => (Ability::Unknown, None),
            (Exact::Seen, _) | (Exact::NotSeen, None) => (Ability::Yes, None),
        })
    }

    fn altered(&self, sent: &str, came_back: String) -> Altered {
        let kept = |one: &Trait| match one {
            Trait::Capital => came_back.contains('Z'),
            Trait::Space => came_back.contains(' '),
            Trait::BeyondAscii => self.letter.is_empty() || came_back.contains(self.letter),
        };
        let mut what: Vec<Trait> = Trait::ALL.into_iter().filter(|one| !kept(one)).collect();
        if what.is_empty() {
            // Altered in another way, so that nothing is known of any.
            what = Trait::ALL.to_vec();
        }
        Altered { sent: sent.to_owned(), came_back, what }
    }

    /// Deletes the file, under the name that it has got if it must be.
    async fn delete(
        &self,
        shared: &Shared,
        connection: &mut Connection,
        folder: &RemotePath,
        altered: Option<&Altered>,
    ) -> Result<(), FtpsError> {
        let shown = altered.and_then(|altered| self.renamed(&altered.came_back));
        let mut deleted = false;
        for path in [Some(self.path.clone()), shown].into_iter().flatten() {
            let answers = connection.perform(&[Request::Delete(path)], 0).await?;
            deleted |= matches!(answers.as_slice(), [Answer::Done]);
        }
        if !deleted {
            shared.left_over(folder.clone());
        }
        Ok(())
    }
}
