//! What is wrong in a configuration file, and where.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// Most problems that are shown of one file; nobody reads on.
const MAX_PROBLEMS_SHOWN: usize = 50;

/// Most problems that are collected; a file of noise has hundreds of thousands.
const MAX_PROBLEMS: usize = 1_000;

/// A place in a file, counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// Where a file begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong in a configuration file. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub at: Position,
    /// The keys that lead there, as in `jobs.reports.include[2]`; empty for the whole file.
    pub key_path: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it, where that is known.
    pub remedy: Option<String>,
}

/// All that is wrong in one file (of very many the first), in the order of the lines; at least
/// one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(path: PathBuf, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.at, &a.key_path).cmp(&(b.at, &b.key_path)));
        Self { path, problems }
    }

    /// The problems, from the first line to the last.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    /// One line a problem, `file:line:column: key.path: reason`, each followed by its remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().take(MAX_PROBLEMS_SHOWN).enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            let Problem { at, key_path, reason, remedy } = problem;
            write!(f, "{}:{}:{}: ", self.path.display(), at.line, at.column)?;
            if !key_path.is_empty() {
                write!(f, "{key_path}: ")?;
            }
            f.write_str(reason)?;
            if let Some(remedy) = remedy {
                write!(f, "\n    help: {remedy}")?;
            }
        }
        if self.problems.len() > MAX_PROBLEMS_SHOWN { f.write_str("\nand more of them") } else { Ok(()) }
    }
}

/// Collects problems, so that a person learns of all of them at once.
#[derive(Debug, Default)]
pub(super) struct Collector(RefCell<Vec<Problem>>);

impl Collector {
    pub(super) fn add(&self, problem: Problem) {
        if !self.is_full() {
            self.0.borrow_mut().push(problem);
        }
    }

    /// Whether no more problems are taken, so that looking for them is in vain.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().len() >= MAX_PROBLEMS
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
