//! Typed access to the tree: each accessor gives the value or reports why it cannot.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_yaml::Value as Yaml;

use super::nearest::nearest;
use super::problem::{Collector, Position, Problem};
use super::tree::{Kind, Node, Pair, Scalar, Style, push_key, shown};

/// A key that a later version of Nightferry reads, and what to do until then.
pub(super) struct Later {
    pub(super) key: &'static str,
    pub(super) instead: &'static str,
}

/// The keys of a section.
pub(super) struct Keys {
    pub(super) known: &'static [&'static str],
    pub(super) later: &'static [Later],
}

/// A mapping with known keys.
pub(super) struct Section<'t> {
    pub(super) place: Place<'t>,
    pairs: &'t [Pair],
    keys: &'static Keys,
}

impl<'t> Section<'t> {
    /// The values of a mapping; reports keys that do not belong there.
    pub(super) fn new(value: &Value<'t>, keys: &'static Keys) -> Option<Self> {
        let section = Self { pairs: value.pairs()?, place: value.place.clone(), keys };
        section.pairs.iter().for_each(|pair| section.check_key(pair));
        Some(section)
    }

    fn check_key(&self, pair: &Pair) {
        let Keys { known, later } = self.keys;
        if known.contains(&pair.key.as_str()) || self.place.problems.is_full() {
            return;
        }
        let place = self.place.below(pair);
        if let Some(later) = later.iter().find(|later| later.key == pair.key) {
            return place.refuse("known, but not in this version", later.instead);
        }
        if let Some(meant) = self.meant(pair) {
            return place.refuse("unknown key", format!("did you mean `{meant}`?"));
        }
        let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        let remedy = format!("the keys here are {}", listed(&known, "and"));
        match place.privacy {
            Privacy::Open => place.refuse("unknown key", remedy),
            Privacy::Secret => {
                Place { at: pair.at, ..self.place.clone() }.refuse("unknown key in it", remedy);
            }
        }
    }

    /// The key that was meant by an unknown one.
    fn meant(&self, pair: &Pair) -> Option<&'static str> {
        let all = self.keys.known.iter().copied().chain(self.keys.later.iter().map(|later| later.key));
        nearest(&pair.key, all)
    }

    /// A value that must be there.
    pub(super) fn required(&self, key: &str, remedy: &str) -> Option<Value<'t>> {
        let Some(pair) = self.pairs.iter().find(|pair| pair.key == key) else {
            let misspelt =
                !self.place.problems.is_full() && self.pairs.iter().any(|pair| self.meant(pair) == Some(key));
            if !misspelt {
                self.place.refuse(format!("`{key}` is missing"), remedy);
            }
            return None;
        };
        let value = Value { place: self.place.below(pair), node: &pair.value };
        if value.is_nothing() {
            value.place.refuse("has no value", remedy);
            return None;
        }
        Some(value)
    }

    /// A value that may be missing, or be nothing.
    pub(super) fn optional(&self, key: &str) -> Option<Value<'t>> {
        let pair = self.pairs.iter().find(|pair| pair.key == key)?;
        let value = Value { place: self.place.below(pair), node: &pair.value };
        (!value.is_nothing()).then_some(value)
    }

    /// A value that may be missing: `default` if it is, `None` if it is wrong.
    pub(super) fn optional_or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Value<'t>) -> Option<T>,
    ) -> Option<T> {
        match self.optional(key) {
            Some(value) => read(&value),
            None => Some(default),
        }
    }
}

/// Where a value stands, and where its problems go.
#[derive(Clone)]
pub(super) struct Place<'t> {
    pub(super) problems: &'t Collector,
    pub(super) key_path: String,
    pub(super) at: Position,
    /// Whether values may be shown.
    pub(super) privacy: Privacy,
}

/// Whether messages may show values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    Open,
    /// A secret may stand here by mistake.
    Secret,
}

impl Place<'_> {
    fn below(&self, pair: &Pair) -> Self {
        let mut key_path = self.key_path.clone();
        push_key(&mut key_path, &pair.key);
        Self { key_path, at: pair.at, ..self.clone() }
    }

    /// Reports a problem with what to do about it.
    pub(super) fn refuse(&self, reason: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        self.problems.add(Problem {
            at: self.at,
            key_path: self.key_path.clone(),
            reason: reason.into(),
            remedy,
        });
    }
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) place: Place<'t>,
    pub(super) node: &'t Node,
}

impl<'t> Value<'t> {
    /// The whole file.
    pub(super) fn root(node: &'t Node, problems: &'t Collector) -> Self {
        let place = Place { problems, key_path: String::new(), at: Position::START, privacy: Privacy::Open };
        Self { place, node }
    }

    /// The same value where messages must not show it.
    pub(super) fn secret(mut self) -> Self {
        self.place.privacy = Privacy::Secret;
        self
    }

    /// A value of a mapping whose keys are checked elsewhere; none where it is nothing.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let Kind::Mapping(pairs) = &self.node.kind else { return None };
        let pair = pairs.iter().find(|pair| pair.key == key)?;
        let value = Self { place: self.place.below(pair), node: &pair.value };
        (!value.is_nothing()).then_some(value)
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(scalar) if typed(scalar).is_null())
    }

    pub(super) fn is_single(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar(_))
    }

    /// A text: any single value but nothing, as it is written (`1.10` stays `1.10`).
    pub(super) fn text(&self) -> Option<String> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !typed(scalar).is_null() => Some(scalar.text.clone()),
            _ => self.expected("a text", ""),
        }
    }

    /// A whole number in a range.
    pub(super) fn number(&self, range: RangeInclusive<u16>) -> Option<u16> {
        let Kind::Scalar(scalar) = &self.node.kind else { return self.expected("a number", "") };
        let yaml = typed(scalar);
        if !yaml.is_number() {
            let quoted = scalar.text.parse::<u16>().is_ok();
            return self.expected("a number", if quoted { "take off the quotes" } else { "" });
        }
        match serde_yaml::from_value::<u16>(yaml) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let reason = format!("must be a whole number from {} to {}", range.start(), range.end());
                self.place.refuse(format!("{reason}, not {}", self.described()), "");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let words = listed(&words, "or");
        let Kind::Scalar(Scalar { text, .. }) = &self.node.kind else { return self.expected(&words, "") };
        match choices.iter().find(|(word, _)| word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => match nearest(text, choices.iter().map(|(word, _)| *word)) {
                Some(meant) => self.expected(&words, &format!("did you mean `{meant}`?")),
                None => self.expected(&words, ""),
            },
        }
    }

    /// The items of a list, each read by `read`; `None` if one of them is wrong.
    pub(super) fn list<T>(&self, read: impl Fn(&Value<'t>) -> Option<T>) -> Option<Vec<T>> {
        let Kind::List(items) = &self.node.kind else {
            return self.expected("a list", "write it in brackets, as in `[a, b]`");
        };
        let item = |(number, node): (usize, &'t Node)| {
            let key_path = format!("{}[{number}]", self.place.key_path);
            read(&Value { place: Place { key_path, at: node.at, ..self.place.clone() }, node })
        };
        // Read all before giving up, so that each reports its problems.
        let items: Vec<Option<T>> = items.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// The keys and values of a mapping whose keys are names that the file chooses.
    pub(super) fn entries(&self) -> Option<BTreeMap<&'t str, Value<'t>>> {
        let entry =
            |pair: &'t Pair| (pair.key.as_str(), Value { place: self.place.below(pair), node: &pair.value });
        Some(self.pairs()?.iter().map(entry).collect())
    }

    fn pairs(&self) -> Option<&'t [Pair]> {
        match &self.node.kind {
            Kind::Mapping(pairs) => Some(pairs),
            _ => self.expected("keys with values", ""),
        }
    }

    /// Reports that something else was expected.
    pub(super) fn expected<T>(&self, what: &str, remedy: &str) -> Option<T> {
        if !matches!(self.node.kind, Kind::Refused) {
            self.place.refuse(format!("expected {what}, found {}", self.described()), remedy);
        }
        None
    }

    /// The value as messages name it.
    pub(super) fn described(&self) -> String {
        match &self.node.kind {
            Kind::List(_) => "a list".to_owned(),
            Kind::Mapping(_) => "keys with values".to_owned(),
            Kind::Refused => "something that is not read".to_owned(),
            Kind::Scalar(_) if self.place.privacy == Privacy::Secret => "a single value".to_owned(),
            Kind::Scalar(scalar) => match typed(scalar) {
                Yaml::Null => "nothing".to_owned(),
                Yaml::Bool(_) => format!("`{}`", scalar.text),
                Yaml::Number(_) => format!("the number {}", scalar.text),
                _ => format!("the text {}", shown(&scalar.text)),
            },
        }
    }
}

/// A scalar with the type that YAML gives it.
fn typed(scalar: &Scalar) -> Yaml {
    let text = || Yaml::String(scalar.text.clone());
    match scalar.style {
        Style::Quoted => text(),
        Style::Plain => match serde_yaml::from_str(&scalar.text) {
            Ok(yaml @ (Yaml::Null | Yaml::Bool(_) | Yaml::Number(_))) => yaml,
            _ => text(),
        },
    }
}

/// `a`, `a or b`, `a, b or c`.
fn listed(words: &[String], last_joined_by: &str) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {last_joined_by} {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
