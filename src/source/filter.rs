//! Which files of a source folder a job is about.

use std::fmt;
use std::sync::Arc;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::{Job, ReadyMarker, RelPath};

/// Most patterns in one list: they are compiled into one automaton, whose size and build time
/// grow with them.
pub const MAX_PATTERNS: usize = 1_000;

/// Patterns that say which files are sent: those that match an `include` (or all, where there
/// is none) and no `exclude`.
///
/// Patterns are compared with the path below the source folder, capital and small letters apart:
/// - `*` and `?` stop at `/`; `**` as a whole name stands for any number of folders; `[a-z]` and
///   `{csv,pdf}` are known; a backslash takes a sign's meaning away.
/// - Without a `/` in front or in the middle, a pattern matches names at any depth (`*.tmp`);
///   with one, paths from the source folder on (`out/*.csv`, `/notes.txt`).
/// - What matches a folder holds for all below it. With a `/` at the end, a pattern matches
///   folders only (`cache/`). An excluded folder is not even opened.
/// - `?` and `[…]` stand for one byte; a letter beyond ASCII, such as `ü`, is two or more.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Option<Arc<Patterns>>,
    exclude: Option<Arc<Patterns>>,
    marker: Option<ReadyMarker>,
    carried: Carried,
}

/// Which paths the server can be told at all.
#[derive(Clone)]
struct Carried(Arc<dyn Fn(&RelPath) -> bool + Send + Sync>);

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried")
    }
}

/// What a filter says of all that lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// Files must match an `include` themselves.
    Ask,
    /// An `include` matched the folder or one above it.
    Included,
}

impl Filter {
    /// Compiles the patterns of a job, whose ready markers are not sent. Fails with the first one that
    /// is none.
    pub fn of(job: &Job) -> Result<Self, PatternError> {
        let marker = job.watch.as_ref().and_then(|watch| watch.ready_marker.clone());
        Ok(Self { marker, ..Self::new(&job.include, &job.exclude)? })
    }

    /// Compiles patterns. Fails with the first one that is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self {
            include: Patterns::new(PatternList::Include, include)?.map(Arc::new),
            exclude: Patterns::new(PatternList::Exclude, exclude)?.map(Arc::new),
            marker: None,
            carried: Carried(Arc::new(|_| true)),
        })
    }

    /// The same for a server that can be told only these paths: a name that it cannot be told is
    /// nobody's twin, since it is never sent. Such files are found all the same, to be told of.
    #[must_use]
    pub fn carrying(self, carried: impl Fn(&RelPath) -> bool + Send + Sync + 'static) -> Self {
        Self { carried: Carried(Arc::new(carried)), ..self }
    }

    /// Whether the server can be told a path, which can be any bytes.
    pub(super) fn carries(&self, path: &[u8]) -> bool {
        let path = std::str::from_utf8(path).ok().and_then(|path| RelPath::new(path).ok());
        path.is_some_and(|path| (self.carried.0)(&path))
    }

    /// Whether a file with this path is sent.
    pub fn admits(&self, path: &RelPath) -> bool {
        let mut below = self.root();
        for folder in path.folders() {
            match self.enter(folder.as_str().as_bytes(), below) {
                Some(inside) => below = inside,
                None => return false,
            }
        }
        self.admits_file(path.as_str().as_bytes(), below)
    }

    /// What holds in the source folder.
    pub(super) fn root(&self) -> Below {
        if self.include.is_none() { Below::Included } else { Below::Ask }
    }

    /// What holds in a folder that lies where `outside` holds; `None` if it is excluded.
    pub(super) fn enter(&self, folder: &[u8], outside: Below) -> Option<Below> {
        let matches = |list: &Option<Arc<Patterns>>| list.as_ref().is_some_and(|list| list.folder(folder));
        if matches(&self.exclude) {
            return None;
        }
        Some(if matches(&self.include) { Below::Included } else { outside })
    }

    /// Whether a file that lies where `below` holds is sent. Its path can be any bytes.
    pub(super) fn admits_file(&self, path: &[u8], below: Below) -> bool {
        let matches = |list: &Option<Arc<Patterns>>| list.as_ref().is_some_and(|list| list.file(path));
        let name = path.rsplit(|byte| *byte == b'/').next().and_then(|name| std::str::from_utf8(name).ok());
        let is_marker =
            || self.marker.as_ref().zip(name).is_some_and(|(marker, name)| marker.is_marker(name));
        !matches(&self.exclude) && !is_marker() && (below == Below::Included || matches(&self.include))
    }
}

/// One list of patterns, compiled.
#[derive(Debug)]
struct Patterns {
    /// Those that match files and folders.
    any: GlobSet,
    /// Those that match folders only.
    folders: GlobSet,
}

impl Patterns {
    /// `None` for an empty list.
    fn new(list: PatternList, patterns: &[String]) -> Result<Option<Self>, PatternError> {
        let fail = |index, pattern: &str, problem| PatternError {
            list,
            index,
            pattern: pattern.escape_debug().to_string(),
            problem,
        };
        if let Some(pattern) = patterns.get(MAX_PATTERNS) {
            return Err(fail(MAX_PATTERNS, pattern, PatternProblem::TooMany));
        }
        let (mut any, mut folders) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for (index, pattern) in patterns.iter().enumerate() {
            let (glob, set) = match pattern.strip_suffix('/') {
                Some(folder) => (folder, &mut folders),
                None => (pattern.as_str(), &mut any),
            };
            let glob = compile(glob).map_err(|problem| fail(index, pattern, problem))?;
            set.add(glob);
        }
        let build = |set: &GlobSetBuilder| {
            set.build().map_err(|error| fail(0, "", PatternProblem::Glob(error.kind().to_string())))
        };
        let compiled = Self { any: build(&any)?, folders: build(&folders)? };
        Ok((!patterns.is_empty()).then_some(compiled))
    }

    fn file(&self, path: &[u8]) -> bool {
        self.any.is_match_candidate(&Candidate::from_bytes(path))
    }

    fn folder(&self, path: &[u8]) -> bool {
        let path = Candidate::from_bytes(path);
        self.any.is_match_candidate(&path) || self.folders.is_match_candidate(&path)
    }
}

fn compile(pattern: &str) -> Result<globset::Glob, PatternProblem> {
    if pattern.starts_with('!') {
        return Err(PatternProblem::Negation);
    }
    if has_letters_beyond_ascii_in_brackets(pattern) {
        return Err(PatternProblem::BracketBeyondAscii);
    }
    let anchored = pattern.strip_prefix('/');
    let names = anchored.unwrap_or(pattern);
    if names.is_empty() {
        return Err(PatternProblem::Empty);
    }
    if names.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(PatternProblem::MatchesNothing);
    }
    let glob =
        if anchored.is_some() || names.contains('/') { names.to_owned() } else { format!("**/{names}") };
    GlobBuilder::new(&glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PatternProblem::Glob(error.kind().to_string()))
}

/// Globs are matched byte by byte: `[äö]` would match single bytes of these letters, and so
/// begin to match `ü`.
fn has_letters_beyond_ascii_in_brackets(pattern: &str) -> bool {
    let mut inside = false;
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' if !inside => drop(signs.next()),
            '[' => inside = true,
            ']' => inside = false,
            _ if inside && !sign.is_ascii() => return true,
            _ => {}
        }
    }
    false
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {} of `{list}`, `{pattern}`: {problem}", index + 1)]
pub struct PatternError {
    /// The list in which it stands.
    pub list: PatternList,
    /// Its place there, from 0.
    pub index: usize,
    /// As it is written, with control characters escaped.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: PatternProblem,
}

/// One of the two lists of a job's patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternList {
    /// `include`.
    Include,
    /// `exclude`.
    Exclude,
}

impl fmt::Display for PatternList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        })
    }
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// There is nothing, or only a slash.
    #[error("it is empty")]
    Empty,
    /// `!` in front, which other tools take for the opposite.
    #[error("`!` in front has no meaning here; write `\\!` for a name that begins with `!`")]
    Negation,
    /// `.`, `..` or nothing between two slashes.
    #[error("it holds `.`, `..` or a doubled slash and so matches nothing; write paths as `folder/name`")]
    MatchesNothing,
    /// A letter beyond ASCII in brackets.
    #[error("only ASCII can stand in `[…]`; write `{{ä,ö}}` for other letters")]
    BracketBeyondAscii,
    /// More than [`MAX_PATTERNS`].
    #[error("there are more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// The glob's syntax.
    #[error("{0}")]
    Glob(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Result<Filter, PatternError> {
        let owned = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude))
    }

    #[track_caller]
    fn check(include: &[&str], exclude: &[&str], admitted: &[&str], refused: &[&str]) {
        let filter = filter(include, exclude).unwrap();
        let admits = |path: &str| filter.admits(&RelPath::new(path).unwrap());
        for path in admitted {
            assert!(admits(path), "{path} by include {include:?} exclude {exclude:?}");
        }
        for path in refused {
            assert!(!admits(path), "{path} by include {include:?} exclude {exclude:?}");
        }
    }

    #[test]
    fn no_patterns_admit_all() {
        check(&[], &[], &["a", ".hidden", "a/b/c"], &[]);
    }

    #[test]
    fn a_pattern_without_a_slash_matches_names_at_any_depth() {
        check(&["*.csv"], &[], &["a.csv", "x/y/a.csv", ".csv"], &["a.CSV", "a.csv.gz", "a"]);
        check(&[], &["*.tmp"], &["a", "tmp"], &["a.tmp", "x/a.tmp"]);
    }

    #[test]
    fn a_pattern_with_a_slash_matches_the_whole_path() {
        check(&["out/*.csv"], &[], &["out/a.csv"], &["a.csv", "x/out/a.csv", "out/x/a.csv"]);
        check(&["/a.csv"], &[], &["a.csv"], &["x/a.csv"]);
        check(&["out/**/*.csv"], &[], &["out/a.csv", "out/x/y/a.csv"], &["x/out/a.csv"]);
        check(&["*/a"], &[], &["x/a"], &["a", "x/y/a"]);
    }

    #[test]
    fn what_matches_a_folder_holds_for_all_below_it() {
        check(&[], &["cache"], &["cached"], &["cache", "cache/a", "x/cache/y/z"]);
        check(&[], &["cache/"], &["cache", "cached/a"], &["cache/a", "x/cache/y/z"]);
        check(&[], &["/x/cache/"], &["cache/a", "y/x/cache/a"], &["x/cache/a"]);
        check(&[], &["x/**"], &["x", "y/x/a"], &["x/a", "x/y/a"]);
        check(&["reports"], &[], &["reports", "reports/a", "x/reports/y/a"], &["a"]);
        check(&["reports/"], &[], &["reports/a"], &["reports", "a"]);
    }

    #[test]
    fn exclude_wins() {
        check(&["*.csv"], &["old/"], &["a.csv", "old.csv"], &["old/a.csv", "a.txt"]);
        check(&["reports/"], &["*.tmp"], &["reports/a"], &["reports/a.tmp", "reports/x/b.tmp"]);
    }

    #[test]
    fn signs_of_the_language() {
        check(&["[ab]?.{csv,pdf}"], &[], &["a1.csv", "b2.pdf"], &["c1.csv", "a1.txt", "a12.csv"]);
        check(&[r"\*.csv", r"\!x"], &[], &["*.csv", "!x"], &["a.csv", "x"]);
        check(&["{ä,ö}*"], &[], &["änderung", "öl"], &["übung"]);
        check(&["?"], &[], &["u"], &["ü", "ab"]);
    }

    #[test]
    fn names_that_are_no_text_are_matched_too() {
        let filter = filter(&["*.csv"], &["b*"]).unwrap();
        assert!(filter.admits_file(b"caf\xe9\n.csv", filter.root()));
        assert!(!filter.admits_file(b"caf\xe9.txt", filter.root()));
        assert!(!filter.admits_file(b"b\xff.csv", filter.root()));
        assert_eq!(filter.enter(b"b\xff", filter.root()), None);
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        let refused = |pattern: &str, problem| {
            let error = filter(&["*"], &["fine", pattern]).unwrap_err();
            assert_eq!((error.index, error.problem), (1, problem), "{pattern}");
        };
        refused("", PatternProblem::Empty);
        refused("/", PatternProblem::Empty);
        refused("!a", PatternProblem::Negation);
        for pattern in ["./a", "a/../b", "..", "a//b", "//a", "a//"] {
            refused(pattern, PatternProblem::MatchesNothing);
        }
        refused("[äö]*", PatternProblem::BracketBeyondAscii);
        for pattern in ["[a", "{a", "a}", "[z-a]", "a\\"] {
            let error = filter(&[pattern], &[]).unwrap_err();
            assert!(matches!(error.problem, PatternProblem::Glob(_)), "{pattern}: {error}");
        }
        let many = vec!["a"; MAX_PATTERNS + 1];
        assert_eq!(filter(&many, &[]).unwrap_err().problem, PatternProblem::TooMany);
        assert!(filter(&many[1..], &[]).is_ok());
        let error = filter(&[], &["x", "a\n["]).unwrap_err().to_string();
        assert!(error.starts_with(r"pattern 2 of `exclude`, `a\n[`: "), "{error}");
    }
}
