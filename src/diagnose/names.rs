//! The layer of names: whether they come back as they were sent, and which of them are the same.

use super::doctor::{Doctor, Halt};
use super::finding::Check;
use super::work::FIRST;
use crate::domain::RemotePath;
use crate::ftps::FtpsError;
use crate::remote::{Ability, Answer, Request};

/// Behind a temporary name: a space and a capital, and the same without the capital.
const CAPITAL: [&str; 2] = [" Ab", " ab"];

/// An umlaut as one character, and as a letter and a mark (Unicode normalisation forms C and D).
const UMLAUT: [&str; 2] = ["-\u{fc}", "-u\u{308}"];

/// How a name looks in a listing.
enum Shown {
    AsSent,
    Otherwise(String),
    Nowhere,
}

impl Doctor<'_> {
    /// Stores a name with a space and a capital and one with an umlaut, and looks at what became
    /// of them.
    pub(super) async fn names(&mut self) -> Result<(), Halt> {
        let check = Check::Names;
        let (mut kept, mut seen, mut remedies) = (Ability::Yes, Vec::new(), Vec::new());
        let (capital, umlaut) = (self.fresh_name()?, self.fresh_name()?);
        for (stem, end, what) in [(&capital, CAPITAL[0], "a space"), (&umlaut, UMLAUT[0], "an umlaut")] {
            let Some(path) = beside(stem, end) else { return Ok(()) };
            let stored = match self.ready().await {
                Ok(()) => self.store(&path, FIRST).await,
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => {}
                Err(FtpsError::Refused { reply, .. }) => {
                    kept = Ability::No;
                    seen.push(format!("a name with {what} is refused ({reply})"));
                    remedies.push("rename such files, or exclude them");
                    continue;
                }
                Err(error) => return self.went_wrong(check, &error).await,
            }
            match self.shown(stem, &path).await? {
                Shown::AsSent => {}
                Shown::Nowhere if kept == Ability::No => {}
                Shown::Nowhere => kept = Ability::Unknown,
                Shown::Otherwise(name) => {
                    kept = Ability::No;
                    seen.push(format!("a name with {what} comes back as `{name}`"));
                    remedies.push(
                        "the server keeps names in another encoding: let it use UTF-8, or give `charset`",
                    );
                }
            }
        }
        match kept {
            Ability::Yes => seen.push("umlaut, space and capital come back as sent".to_owned()),
            Ability::Unknown => seen.push("stored, but no listing shows them".to_owned()),
            Ability::No => {}
        }
        let case = self.tells_apart(&capital, CAPITAL).await?;
        let composition = self.tells_apart(&umlaut, UMLAUT).await?;
        self.remote
            .learn(|profile| (profile.names, profile.case, profile.composition) = (kept, case, composition));
        seen.push(told_apart(case, composition).to_owned());
        if case == Ability::No {
            remedies
                .push("see that no two files of a folder differ in case alone: one would replace the other");
        }
        if composition == Ability::No {
            remedies.push("see that no two files of a folder differ only in how an accent is written");
        }
        if remedies.is_empty() {
            self.fine(check, seen.join("; "));
        } else {
            self.lacking(check, seen.join("; "), Some(remedies.join("; ")));
        }
        Ok(())
    }

    /// How a listing shows what was stored under `path`, which begins with `stem`.
    async fn shown(&mut self, stem: &RemotePath, path: &RemotePath) -> Result<Shown, Halt> {
        let folder = self.folder.clone();
        let names = match self.ready().await.and_then(|()| self.connection()) {
            Ok(connection) => connection.names(&folder).await,
            Err(error) => Err(error),
        };
        let names = match names {
            Ok(names) => names,
            Err(FtpsError::Refused { .. }) => return Ok(Shown::Nowhere),
            Err(error) => {
                self.renew(Check::Names, &error).await?;
                return Ok(Shown::Nowhere);
            }
        };
        if names.iter().any(|name| name == path.name()) {
            return Ok(Shown::AsSent);
        }
        let Some(name) = names.into_iter().find(|name| name.starts_with(stem.name())) else {
            return Ok(Shown::Nowhere);
        };
        // Both names are ours: one of them is the one that can be deleted.
        self.litter.extend(self.folder.child(&name));
        Ok(Shown::Otherwise(name))
    }

    /// Whether the second end of a stem is another file than the first, which stands.
    async fn tells_apart(&mut self, stem: &RemotePath, [stored, other]: [&str; 2]) -> Result<Ability, Halt> {
        let (Some(stored), Some(other)) = (beside(stem, stored), beside(stem, other)) else {
            return Ok(Ability::Unknown);
        };
        let stands = self.ask(Check::Names, Request::Size(stored)).await?;
        let other = self.ask(Check::Names, Request::Size(other)).await?;
        Ok(match (stands, other) {
            (Answer::Size(_), Answer::Absent(_)) => Ability::Yes,
            (Answer::Size(_), Answer::Size(_)) => Ability::No,
            _ => Ability::Unknown,
        })
    }
}

/// A name that begins with another one.
fn beside(stem: &RemotePath, end: &str) -> Option<RemotePath> {
    RemotePath::new(&format!("{stem}{end}")).ok()
}

fn told_apart(case: Ability, composition: Ability) -> &'static str {
    use Ability::{No, Unknown, Yes};
    match (case, composition) {
        (Yes, Yes) => "case and Unicode forms are told apart",
        (Yes, No) => "case is told apart, Unicode forms are not",
        (No, Yes) => "Unicode forms are told apart, case is not",
        (No, No) => "neither case nor Unicode forms are told apart",
        (Yes, Unknown) => "case is told apart",
        (No, Unknown) => "case is not told apart",
        (Unknown, _) => "whether case is told apart cannot be seen",
    }
}
